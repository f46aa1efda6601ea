// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// eventStream is the stream of an open page.
type eventStream struct {
	t      testing.TB
	lines  *bufio.Scanner
	status int
}

// openPage opens the stream of a page with these values of its query.
func (w *world) openPage(server *httptest.Server, query string) *eventStream {
	w.Helper()
	ctx, stop := context.WithTimeout(w.Context(), time.Minute)
	w.Cleanup(stop)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events?"+query, nil)
	if err != nil {
		w.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { stop(); _ = response.Body.Close() })
	return &eventStream{t: w.TB, lines: bufio.NewScanner(response.Body), status: response.StatusCode}
}

// next returns the name of the next event.
func (s *eventStream) next() string {
	s.t.Helper()
	for s.lines.Scan() {
		if name, ok := strings.CutPrefix(s.lines.Text(), "event: "); ok {
			return name
		}
	}
	s.t.Fatalf("the stream has ended: %v", s.lines.Err())
	return ""
}

func (s *eventStream) want(name string) {
	s.t.Helper()
	got := s.next()
	for got == "alive" && name != "alive" { // on a slow machine
		got = s.next()
	}
	if got != name {
		s.t.Fatalf("the next event is %q, want %q", got, name)
	}
}

func (w *world) serve() *httptest.Server {
	server := httptest.NewServer(w.server)
	w.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server
}

// versionOf returns the version of a page, as its script sends it.
func (p *response) versionOf() string {
	return attribute(p.all("main")[0], "data-version")
}

func TestOpenPageIsNotifiedOfWhatItShows(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"))
	server := w.serve()
	page := w.get("/rollouts?namespace=fleet").wantStatus(http.StatusOK)
	s := w.openPage(server, "kinds=rollouts&namespace=fleet&version="+page.versionOf())
	s.want("hello")
	w.source.put(inNamespace(objects.Rollout("elsewhere", "set"), "plant"), objects.Target("other-kind"))
	w.source.put(objects.Rollout("new", "set"))
	s.want("changed")
	w.get("/rollouts?namespace=fleet").wantText("new")

	w.source.setContact(Contact{LostSince: worldTime.Add(-time.Minute), Message: "connection refused"})
	s.want("changed")
	lost := w.get("/rollouts?namespace=fleet").wantStatus(http.StatusOK)
	if !strings.Contains(textOf(lost.doc), "The API server was reached last 60s ago") {
		t.Errorf("the page does not say that the connection is lost:\n%s", textOf(lost.doc))
	}
}

func TestServerEndsWithItsOpenPages(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, listener) }()
	root := "http://" + listener.Addr().String()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, root+"/rollouts", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 2*maxHeader))
	// A connection that the server closes while the head is still being sent is an error.
	if response, err := http.DefaultClient.Do(r); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a request with a large head has status %d", response.StatusCode)
		}
	}
	stream, err := http.Get(root + "/events?kinds=rollouts&namespace=&version=0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	lines := bufio.NewScanner(stream.Body)
	if !lines.Scan() {
		t.Fatal("the stream has no first line")
	}
	end()
	if err := <-served; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	for lines.Scan() {
	}
	if len(w.server.hub.streams) > 0 {
		t.Error("a stream is left")
	}
}

func TestPageThatChangedBeforeItsStreamIsUpdated(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"))
	server := w.serve()
	version := w.get("/rollouts").versionOf()
	w.source.put(objects.Rollout("new", "set"))
	s := w.openPage(server, "kinds=rollouts&namespace=&version="+version)
	s.want("hello")
	s.want("changed")
}

func TestPageOfHiddenNamespacesIsNotNotified(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"), inNamespace(objects.Rollout("theirs", "set"), "plant"))
	w.rights.deny(Access{Verb: "list", Resource: Rollouts, Namespace: "plant"})
	r := httptest.NewRequest(http.MethodGet, "/events", nil)
	if got, want := w.server.visibleTopics(r, w.viewer, []Kind{Rollouts}, ""), []topic{{}, {Rollouts, "fleet"}}; !slices.Equal(got, want) {
		t.Errorf("the page is notified of %v, want %v", got, want)
	}
	w = newWorld(t)
	if got, want := w.server.visibleTopics(r, w.viewer, []Kind{Rollouts}, ""), []topic{{}, {Rollouts, ""}}; !slices.Equal(got, want) {
		t.Errorf("the page of a viewer who may see all namespaces is notified of %v, want %v", got, want)
	}
}

func TestQuietStreamHasHeartbeatsAndEndsWithItsSession(t *testing.T) {
	w := newWorld(t)
	w.server.heartbeat = 10 * time.Millisecond
	viewers := &changingViewers{viewer: w.viewer}
	w.server.o.Viewers = viewers
	s := w.openPage(w.serve(), "kinds=rollouts&namespace=&version=0")
	s.want("hello")
	s.want("alive")
	viewers.end()
	for s.lines.Scan() {
	}
	if err := s.lines.Err(); err != nil {
		t.Errorf("the stream did not end by itself: %v", err)
	}
}

// changingViewers has a viewer until the session ends.
type changingViewers struct {
	viewer *Viewer
	ended  atomic.Bool
}

func (v *changingViewers) end() { v.ended.Store(true) }

func (v *changingViewers) Of(*http.Request) (*Viewer, error) {
	if v.ended.Load() {
		return nil, &LoginError{Message: "The session has ended."}
	}
	return v.viewer, nil
}

func TestNumberOfStreamsIsLimited(t *testing.T) {
	h := newHub()
	for i := range maxStreamsOfViewer {
		if _, err := h.add("jane", nil); err != nil {
			t.Fatalf("stream %d of a session is refused", i)
		}
	}
	if _, err := h.add("jane", nil); err == nil {
		t.Error("a session has more streams than it may have")
	}
	for i := range maxStreamsOfAnonymous {
		if _, err := h.add("", nil); err != nil {
			t.Fatalf("stream %d without a session is refused", i)
		}
	}
	if _, err := h.add("", nil); err == nil {
		t.Error("viewers without a session have more streams than they may have")
	}
	var last *stream
	for i := len(h.streams); i < maxStreams; i++ {
		var err error
		if last, err = h.add(fmt.Sprint("viewer-", i), nil); err != nil {
			t.Fatalf("stream %d is refused", i)
		}
	}
	if _, err := h.add("john", nil); err == nil {
		t.Error("there are more streams than there may be")
	}
	h.remove(last)
	if _, err := h.add("john", nil); err != nil {
		t.Error("a stream that has ended counts still")
	}

	w := newWorld(t)
	w.server.hub = h
	w.get("/events?kinds=rollouts&namespace=&version=0").wantStatus(http.StatusServiceUnavailable).wantText("Too many pages")
	w.get("/events?kinds=secrets&namespace=&version=0").wantStatus(http.StatusBadRequest)
}

func TestManyChangesGiveOneNotification(t *testing.T) {
	h := newHub()
	s, err := h.add("jane", topicsOf([]Kind{Targets}, ""))
	if err != nil {
		t.Fatal(err)
	}
	h.isArmed = true // the test flushes
	for range 1000 {
		h.note(Targets, "fleet")
		h.note(Rollouts, "fleet")
	}
	h.flush()
	h.flush()
	if len(s.changed) != 1 {
		t.Errorf("1000 changes gave %d notifications, want 1", len(s.changed))
	}
}

func TestManyViewersOfOnePageCauseOneRendering(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"))
	var loads atomic.Int32
	counted := *rolloutsPage
	counted.load = func(r *request) (content, error) {
		loads.Add(1)
		time.Sleep(50 * time.Millisecond)
		return rolloutsPage.load(r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(counted.pattern, func(rw http.ResponseWriter, r *http.Request) { w.server.servePage(rw, r, &counted) })
	w.server.handler = mux
	var viewers sync.WaitGroup
	for range 50 {
		viewers.Go(func() {
			r := httptest.NewRecorder()
			w.server.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/rollouts", nil))
			if r.Code != http.StatusOK {
				t.Errorf("a viewer has status %d", r.Code)
			}
		})
	}
	viewers.Wait()
	if got := loads.Load(); got != 1 {
		t.Errorf("50 viewers of one page caused %d renderings, want 1", got)
	}
	w.rights.deny(Access{Verb: "list", Resource: Rollouts, Namespace: "plant"})
	w.source.put(inNamespace(objects.Rollout("theirs", "set"), "plant"))
	w.get("/rollouts").wantNoText("theirs")
	if got := loads.Load(); got != 2 {
		t.Errorf("the page of a viewer with fewer rights caused %d renderings in all, want 2", got)
	}
	w.get("/rollouts?q=r")
	if got := loads.Load(); got != 3 {
		t.Errorf("the page with a filter caused %d renderings in all, want 3", got)
	}
	w.now = w.now.Add(cachedLifetime)
	w.get("/rollouts?q=r")
	if got := loads.Load(); got != 4 {
		t.Errorf("an old page caused %d renderings in all, want 4", got)
	}
}

func TestKeptPagesAreLimited(t *testing.T) {
	c := newPageCache()
	page := &made{main: "x"}
	for i := range 2 * maxCached {
		if _, err := c.get(t.Context(), fmt.Sprint(i), 0, 0, worldTime, func() (*made, error) { return page, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.entries) != maxCached || c.used.Len() != maxCached {
		t.Errorf("%d pages are kept, want %d", len(c.entries), maxCached)
	}
	large := &made{}
	large.main += "x"
	for len(large.main) < maxCachedBytes/4 {
		large.main += large.main
	}
	for i := range 10 {
		if _, err := c.get(t.Context(), fmt.Sprint("large-", i), 0, 0, worldTime, func() (*made, error) { return large, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if c.bytes > maxCachedBytes {
		t.Errorf("%d bytes of pages are kept, want at most %d", c.bytes, maxCachedBytes)
	}
}

func TestPartThatIsKnownIsNotSentAgain(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"))
	part := func(tag string) *response {
		r := httptest.NewRequest(http.MethodGet, "/rollouts", nil)
		r.Header.Set(partHeader, "main")
		r.Header.Set("If-None-Match", tag)
		return w.do(r)
	}
	tag := part("").wantStatus(http.StatusOK).header.Get("ETag")
	if known := part(tag).wantStatus(http.StatusNotModified); known.body != "" {
		t.Errorf("a known part was sent again:\n%s", known.body)
	}
	w.source.put(objects.Rollout("r", "other", func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutRunning }))
	part(tag).wantStatus(http.StatusOK).wantText("Running")
}

func TestPageThatPanicsIsAnErrorOfThatPage(t *testing.T) {
	w := newWorld(t)
	broken := &page{pattern: "GET /broken", template: "rollouts", kinds: []Kind{Rollouts}, load: func(*request) (content, error) { panic("x") }}
	w.server.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.server.servePage(rw, r, broken) })
	for range 2 {
		w.get("/broken").wantStatus(http.StatusInternalServerError).wantText("a fault of the program")
	}
}
