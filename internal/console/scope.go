// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// mostNamespaces is the maximum number of namespaces whose rights are asked for one by one for a
// page. A viewer who may list a kind in all namespaces sees all of them.
const mostNamespaces = 500

// questionsAtATime is the maximum number of questions about rights that a page sends at a time.
const questionsAtATime = 8

// scope is what a viewer may see on a page: the namespaces for each kind of the page.
type scope struct {
	kinds map[Kind]*kindScope
	// notices are sentences about what is not shown.
	notices []string
}

// kindScope is what a viewer may see of a kind.
type kindScope struct {
	// names are the namespaces, sorted. all is true if the viewer may see all namespaces, so that a
	// new one is seen as well.
	names []string
	all   bool
	// problems are the reasons why others are not shown, by namespace.
	problems map[string]*problem
	// whole is the reason why nothing is shown. nil: something is shown.
	whole *problem
}

func (s scope) namespaces(kind Kind) []string {
	if k := s.kinds[kind]; k != nil {
		return k.names
	}
	return nil
}

// problem returns why the objects of a kind in a namespace are not shown, or nil if they are.
func (s scope) problem(kind Kind, namespace string) *problem {
	k := s.kinds[kind]
	if k == nil {
		return &problem{status: http.StatusInternalServerError, title: "Error", message: fmt.Sprintf("This page does not name the kind %s.", kind)}
	}
	if _, found := slices.BinarySearch(k.names, namespace); found {
		return nil
	}
	if p := k.problems[namespace]; p != nil {
		return p
	}
	if k.whole != nil {
		return k.whole
	}
	return &problem{status: http.StatusForbidden, title: "Not allowed", message: fmt.Sprintf("You may not list %s.goshawk.dev in namespace %s.", kind, namespace)}
}

// hidden returns why a page cannot be shown, or nil if it can.
func (s scope) hidden(p *page) *problem {
	for i, kind := range p.kinds {
		k := s.kinds[kind]
		switch {
		case k.whole == nil && (i == 0 || p.anyKind):
			return nil
		case k.whole != nil && !p.anyKind:
			return k.whole
		}
	}
	if len(p.kinds) == 0 {
		return nil
	}
	return s.kinds[p.kinds[0]].whole
}

// key is the same for viewers who see the same.
func (s scope) key() string {
	var b strings.Builder
	for _, kind := range Kinds() {
		if k := s.kinds[kind]; k != nil {
			fmt.Fprintf(&b, "%s=%s;", kind, strings.Join(k.names, ","))
		}
	}
	b.WriteString(strings.Join(s.notices, ";"))
	return b.String()
}

// scopeOf returns what a viewer may see on a page. wanted is the namespace of the address; empty:
// all.
func (s *Server) scopeOf(ctx context.Context, v *Viewer, kinds []Kind, wanted string) scope {
	found := scope{kinds: map[Kind]*kindScope{}}
	candidates := []string{wanted}
	if wanted == "" {
		candidates = s.o.Source.Index().Namespaces()
	}
	for _, kind := range kinds {
		k := s.scopeOfKind(ctx, v, kind, wanted, candidates)
		found.kinds[kind] = k
		if k.whole != nil { // of the first kind, only a page that is shown without it shows the sentence
			found.notices = append(found.notices, fmt.Sprintf("The %s are not shown. %s %s", plural(kind), k.whole.message, k.whole.fix))
		}
		for _, namespace := range candidates {
			if hidden := k.problems[namespace]; hidden != nil && k.whole == nil && hidden.status != http.StatusForbidden {
				found.notices = append(found.notices, fmt.Sprintf("The %s of namespace %s are not shown. %s %s", plural(kind), namespace, hidden.message, hidden.fix))
			}
		}
	}
	return found
}

func (s *Server) scopeOfKind(ctx context.Context, v *Viewer, kind Kind, wanted string, candidates []string) *kindScope {
	k := &kindScope{problems: map[string]*problem{}}
	everywhere, err := v.Authorizer.May(ctx, Access{Verb: "list", Resource: kind})
	if err != nil {
		k.whole = rightsUnknown(err)
		return k
	}
	if k.whole = s.readingProblem(kind, wanted); k.whole != nil {
		return k
	}
	k.all = everywhere.Allowed
	if k.all {
		k.names = slices.Clone(candidates)
	} else {
		s.askRights(ctx, v, kind, candidates[:min(len(candidates), mostNamespaces)], k)
	}
	k.names = slices.DeleteFunc(k.names, func(namespace string) bool {
		p := s.readingProblem(kind, namespace)
		if p != nil {
			k.problems[namespace] = p
		}
		return p != nil
	})
	if len(k.names) == 0 && !k.all {
		k.whole = k.problems[wanted]
		if k.whole == nil {
			k.whole = problemOf(forbidden(Access{Verb: "list", Resource: kind, Namespace: wanted}, v.displayName(), everywhere.Reason))
		}
	}
	return k
}

// askRights asks for the rights in each of the namespaces, several at a time.
func (s *Server) askRights(ctx context.Context, v *Viewer, kind Kind, namespaces []string, k *kindScope) {
	problems := make([]*problem, len(namespaces))
	var asking errgroup.Group
	asking.SetLimit(questionsAtATime)
	for i, namespace := range namespaces {
		asking.Go(func() error {
			a := Access{Verb: "list", Resource: kind, Namespace: namespace}
			switch d, err := v.Authorizer.May(ctx, a); {
			case err != nil:
				problems[i] = rightsUnknown(err)
			case !d.Allowed:
				problems[i] = problemOf(forbidden(a, v.displayName(), d.Reason))
			}
			return nil
		})
	}
	_ = asking.Wait() // its functions return no errors
	for i, namespace := range namespaces {
		if problems[i] == nil {
			k.names = append(k.names, namespace)
		} else {
			k.problems[namespace] = problems[i]
		}
	}
}

// readingProblem returns why the caches do not have the objects of a kind, or nil if they do.
func (s *Server) readingProblem(kind Kind, namespace string) *problem {
	switch reading := s.o.Source.Reading(kind, namespace); {
	case reading.Outside:
		return &problem{
			status: http.StatusNotFound, title: "Not read", message: fmt.Sprintf("This console does not read the namespace %s.", namespace),
			fix: "Choose another namespace, or start the console for this one: kubectl goshawk ui with -n NAMESPACE or -A, or in a cluster the flag --watch-namespaces.", link: "/", linkText: "The start page",
		}
	case reading.Refused != "":
		return problemOf(refused(kind, namespace, reading.Refused))
	case !reading.Synced:
		return problemOf(loading(kind, reading.Objects))
	}
	return nil
}

func rightsUnknown(err error) *problem {
	return &problem{
		status: http.StatusServiceUnavailable, title: "Rights not known",
		message: "The API server did not say what you may see: " + text.Clean(err.Error(), maxReason),
		fix:     "The page appears by itself as soon as the API server says it.", retry: true,
	}
}
