// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// worldTime is the time of each world.
var worldTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// objects builds the objects of worlds.
var objects = build.At(worldTime.Add(-24 * time.Hour))

// world is a console with a source that a test fills, and a viewer whose rights it sets. It has a
// clock that stands still.
type world struct {
	testing.TB
	server *Server
	source *fakeSource
	// viewer is the viewer of all requests. nil: requests have no session, and login is the error.
	viewer *Viewer
	login  *LoginError
	rights *fakeRights
	now    time.Time
}

// newWorld returns a world with these objects, all of which are read, and a viewer who may list and
// get everything and has no client.
func newWorld(t testing.TB, objects ...client.Object) *world {
	t.Helper()
	source := newFakeSource(t, objects...)
	w := &world{TB: t, source: source, rights: &fakeRights{}, now: worldTime, login: &LoginError{Message: "You are not logged in.", Fix: "Log in.", URL: "/login"}}
	w.viewer = &Viewer{Name: "jane", Session: "session-of-jane", Authorizer: w.rights}
	w.server = New(Options{Source: source, Viewers: w, Now: func() time.Time { return w.now }})
	w.server.cache.stale = 0
	return w
}

// Of implements Viewers.
func (w *world) Of(*http.Request) (*Viewer, error) {
	if w.viewer == nil {
		return nil, w.login
	}
	return w.viewer, nil
}

// get requests a page, whose path may have a query.
func (w *world) get(path string) *response {
	w.Helper()
	return w.do(httptest.NewRequest(http.MethodGet, path, nil))
}

// post sends a form with the token of the session, as the page of the console does.
func (w *world) post(path string, form url.Values) *response {
	w.Helper()
	form = maps.Clone(form)
	if form == nil {
		form = url.Values{}
	}
	if !form.Has("token") && w.viewer != nil {
		form.Set("token", w.viewer.formToken())
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return w.do(r)
}

func (w *world) do(r *http.Request) *response {
	w.Helper()
	recorder := httptest.NewRecorder()
	w.server.ServeHTTP(recorder, r)
	sent, body := recorder.Body.Len(), recorder.Body.String()
	if recorder.Header().Get("Content-Encoding") == "gzip" {
		reader, err := gzip.NewReader(recorder.Body)
		if err != nil {
			w.Fatal(err)
		}
		plain, err := io.ReadAll(reader)
		if err != nil {
			w.Fatal(err)
		}
		body = string(plain)
	}
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		w.Fatalf("%s is no HTML: %v", r.URL, err)
	}
	return &response{TB: w.TB, path: r.URL.String(), status: recorder.Code, header: recorder.Header(), sent: sent, body: body, doc: doc}
}

// response is a page that a test reads.
type response struct {
	testing.TB
	path   string
	status int
	header http.Header
	// sent is the size of the body as it was sent, which may be compressed.
	sent int
	body string
	doc  *html.Node
}

// wantStatus ends the test if the status is another one.
func (p *response) wantStatus(status int) *response {
	p.Helper()
	if p.status != status {
		p.Fatalf("%s has status %d, want %d: %s", p.path, p.status, status, p.text())
	}
	return p
}

// wantText fails the test if the content of the page lacks one of these texts.
func (p *response) wantText(texts ...string) *response {
	p.Helper()
	got := p.text()
	for _, want := range texts {
		if !strings.Contains(got, want) {
			p.Errorf("%s lacks %q:\n%s", p.path, want, got)
		}
	}
	return p
}

// wantNoText fails the test if the content of the page has one of these texts.
func (p *response) wantNoText(texts ...string) *response {
	p.Helper()
	got := p.text()
	for _, unwanted := range texts {
		if strings.Contains(got, unwanted) {
			p.Errorf("%s has %q:\n%s", p.path, unwanted, got)
		}
	}
	return p
}

// all returns the elements of the page with that name, such as "main" or "tr".
func (p *response) all(name string) []*html.Node {
	var found []*html.Node
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

// text returns the text of the main element, with single blanks.
func (p *response) text() string {
	if mains := p.all("main"); len(mains) == 1 {
		return textOf(mains[0])
	}
	return textOf(p.doc)
}

// rows returns the text of the cells of the table whose caption contains this, without its head.
func (p *response) rows(caption string) [][]string {
	p.Helper()
	for _, table := range p.all("table") {
		if !strings.Contains(textOf(first(table, atom.Caption)), caption) {
			continue
		}
		var rows [][]string
		for n := range first(table, atom.Tbody).Descendants() {
			if n.DataAtom != atom.Tr {
				continue
			}
			var row []string
			for cell := range n.ChildNodes() {
				if cell.DataAtom == atom.Td || cell.DataAtom == atom.Th {
					row = append(row, textOf(cell))
				}
			}
			rows = append(rows, row)
		}
		return rows
	}
	p.Fatalf("%s has no table with the caption %q:\n%s", p.path, caption, p.text())
	return nil
}

// link returns the address of the link with this text.
func (p *response) link(text string) string {
	p.Helper()
	for _, a := range p.all("a") {
		if textOf(a) == text {
			return attribute(a, "href")
		}
	}
	p.Fatalf("%s has no link %q:\n%s", p.path, text, p.text())
	return ""
}

// first returns the first element of a kind below a node, or an empty one.
func first(n *html.Node, kind atom.Atom) *html.Node {
	for d := range n.Descendants() {
		if d.DataAtom == kind {
			return d
		}
	}
	return &html.Node{}
}

// textOf returns the text of a node, with single blanks.
func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.DataAtom != atom.Script && d.Parent.DataAtom != atom.Style {
			b.WriteString(d.Data)
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// fakeSource is a source that a test fills.
type fakeSource struct {
	t     testing.TB
	index *fleet.Index

	mu       sync.Mutex
	readings map[Kind]Reading
	// counts are those of the objects. nil: they are counted when they are asked for.
	counts   *fleetcounts.Counter
	contact  Contact
	watchers []func(Kind, string)
}

func newFakeSource(t testing.TB, objects ...client.Object) *fakeSource {
	t.Helper()
	index, err := fleet.Of(objects)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeSource{t: t, index: index, readings: map[Kind]Reading{}}
}

func (s *fakeSource) Index() *fleet.Index { return s.index }

func (s *fakeSource) Counts() *fleetcounts.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = fleetcounts.New()
		countAll(s.counts, s.index.AllTargets())
		countAll(s.counts, s.index.AllRollouts())
		countAll(s.counts, s.index.AllSets())
		countAll(s.counts, s.index.AllModules())
		countAll(s.counts, s.index.AllAutoAssignments())
	}
	return s.counts
}

func countAll[T client.Object](c *fleetcounts.Counter, objects []T) {
	for _, o := range objects {
		c.Changed(nil, o)
	}
}

func (s *fakeSource) Reading(kind Kind, _ string) Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.readings[kind]; ok {
		return r
	}
	return Reading{Synced: true}
}

func (s *fakeSource) Contact() Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contact
}

func (s *fakeSource) Watch(f func(Kind, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// put adds or replaces objects, and notifies the watchers.
func (s *fakeSource) put(objects ...client.Object) {
	s.t.Helper()
	for _, o := range objects {
		if err := s.index.Put(o); err != nil {
			s.t.Fatal(err)
		}
		s.mu.Lock()
		s.counts = nil
		s.mu.Unlock()
		s.notify(kindOf(s.t, o), o.GetNamespace())
	}
}

// setReading sets how far a kind is read.
func (s *fakeSource) setReading(kind Kind, r Reading) {
	s.mu.Lock()
	s.readings[kind] = r
	s.mu.Unlock()
	s.notify("", "")
}

// setContact sets when the API server was reached.
func (s *fakeSource) setContact(c Contact) {
	s.mu.Lock()
	s.contact = c
	s.mu.Unlock()
	s.notify("", "")
}

func (s *fakeSource) notify(kind Kind, namespace string) {
	s.mu.Lock()
	watchers := slices.Clone(s.watchers)
	s.mu.Unlock()
	for _, f := range watchers {
		f(kind, namespace)
	}
}

func kindOf(t testing.TB, o client.Object) Kind {
	for kind, names := range kindNames {
		if fmt.Sprintf("*v1alpha1.%s", names.singular) == fmt.Sprintf("%T", o) {
			return kind
		}
	}
	t.Fatalf("%T is no kind of the console", o)
	return ""
}

// fakeRights are the rights of a viewer: everything but what is denied.
type fakeRights struct {
	mu     sync.Mutex
	denied []Access
	err    error
}

// deny denies an access. An empty verb, resource, namespace or name denies all of them.
func (f *fakeRights) deny(a Access) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied = append(f.denied, a)
}

func (f *fakeRights) May(_ context.Context, a Access) (Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Decision{}, f.err
	}
	for _, d := range f.denied {
		// What is denied in one namespace is denied in all namespaces as well.
		if (d.Verb == "" || d.Verb == a.Verb) && (d.Resource == "" || d.Resource == a.Resource) && (d.Name == "" || d.Name == a.Name) &&
			(d.Namespace == "" || a.Namespace == "" || d.Namespace == a.Namespace) {
			return Decision{Reason: "no RBAC rule allows it"}, nil
		}
	}
	return Decision{Allowed: true}, nil
}
