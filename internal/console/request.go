// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// rowsPerPage is the number of rows of a list on one page.
const rowsPerPage = 50

// request is what a page is made from.
type request struct {
	// index has the objects. They must not be changed.
	index *fleet.Index
	// roster lists the targets of the index.
	roster *explain.Roster
	// overlaps has the overlaps of namespaces.
	overlaps *overlapCache
	source   Source
	now      time.Time
	log      logr.Logger
	// viewer is nil unless the page is personal: other pages are shared between all viewers who may
	// see the same.
	viewer *Viewer
	// url is the address of the page: the path and the query.
	url *url.URL
	// form has the values of a POST.
	form  url.Values
	http  *http.Request
	scope scope
	// previews are those of invalidations.
	previews *previews
}

func (r *request) context() context.Context { return r.http.Context() }

// param returns a value of the query, without blanks at its ends.
func (r *request) param(name string) string { return strings.TrimSpace(r.url.Query().Get(name)) }

// path returns a part of the path, such as {name} of the pattern.
func (r *request) path(name string) string { return r.http.PathValue(name) }

// namespace returns the namespace of the path, or else that of the filter; empty: all namespaces.
func (r *request) namespace() string {
	if in := r.path("namespace"); in != "" {
		return in
	}
	return r.param("namespace")
}

// namespaces returns the namespaces of the filter in which the viewer may see objects of a kind,
// sorted.
func (r *request) namespaces(kind Kind) []string {
	seen := r.scope.namespaces(kind)
	if only := r.namespace(); only != "" {
		seen = slices.DeleteFunc(slices.Clone(seen), func(n string) bool { return n != only })
	}
	return seen
}

// sees reports whether the viewer may see the objects of a kind in a namespace, and they are read.
// The kind is one of those that the page names.
func (r *request) sees(kind Kind, namespace string) bool {
	return r.scope.problem(kind, namespace) == nil
}

// require returns an error to show if the objects of a kind in a namespace cannot be shown: the
// viewer may not see them, or they are not read. The kind is one of those that the page names.
func (r *request) require(kind Kind, namespace string) error {
	if p := r.scope.problem(kind, namespace); p != nil {
		return p
	}
	return nil
}

// oneOf returns a value of the query that must be empty or one of these.
func (r *request) oneOf(name string, values ...string) (string, error) {
	v := r.param(name)
	if v == "" || slices.Contains(values, v) {
		return v, nil
	}
	return "", badRequest("%s is %q; it must be one of %s.", name, v, strings.Join(values, ", "))
}

// with returns the path and query of the page with another value of its query; an empty one removes
// it. The page number is removed, unless it is set.
func (r *request) with(name, value string) string {
	return withParam(r.url, name, value)
}

func withParam(u *url.URL, name, value string) string {
	q := u.Query()
	q.Del("page")
	if value == "" {
		q.Del(name)
	} else {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + q.Encode()
}

// pager is one page of a list.
type pager struct {
	// From and To are the numbers of the first and the last row, counted from 1. They are 0 if
	// there are no rows.
	From, To int
	// Total is the number of rows of all pages.
	Total int
	// Page is the number of this page, of Pages.
	Page, Pages int
	// Previous and Next are links to other pages. Empty: there is none.
	Previous, Next string
}

// Beyond reports whether the list has more than one page.
func (p pager) Beyond() bool { return p.Pages > 1 }

// paginate returns the rows of the page that the query asks for.
func paginate[T any](r *request, rows []T) ([]T, pager, error) {
	p, err := r.pager(len(rows))
	if err != nil || p.Total == 0 {
		return nil, p, err
	}
	return rows[p.From-1 : p.To], p, nil
}

// pager returns the page that the query asks for, of a list with so many rows. A page beyond the
// last one is the last one, because the list may have become shorter.
func (r *request) pager(total int) (pager, error) { return r.pagerAt(total, 1) }

// pagerAt is pager with the page that is shown if the query asks for none.
func (r *request) pagerAt(total, page int) (pager, error) {
	if v := r.param("page"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return pager{}, badRequest("page is %q; it must be a number from 1.", v)
		}
		page = n
	}
	p := pager{Total: total, Pages: max(1, (total+rowsPerPage-1)/rowsPerPage)}
	p.Page = min(page, p.Pages)
	if total > 0 {
		p.From, p.To = (p.Page-1)*rowsPerPage+1, min(p.Page*rowsPerPage, total)
	}
	if p.Page > 1 {
		p.Previous = r.with("page", strconv.Itoa(p.Page-1))
	}
	if p.Page < p.Pages {
		p.Next = r.with("page", strconv.Itoa(p.Page+1))
	}
	return p, nil
}

// matches reports whether one of the texts contains what is searched, in any case.
func matches(searched string, texts ...string) bool {
	searched = strings.ToLower(searched)
	return searched == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), searched) })
}

// objectPath returns the path of the page of an object.
func objectPath(kind Kind, namespace, name string) string {
	return fmt.Sprintf("%s/%s/%s", listPath(kind), url.PathEscape(namespace), url.PathEscape(name))
}
