// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// heartbeatInterval is the interval of the event "alive" on the stream of a page, so that proxies
// keep it, and a lost connection is noticed. The script of the page expects an event every 50
// seconds.
const heartbeatInterval = 20 * time.Second

// serveEvents serves the stream of an open page: "hello" once, with what the page compares with its
// own, "changed" after each change of what it shows, and "alive" in between. The query has the
// kinds and the namespace of the page, and the version that the page was made from.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	viewer, err := s.o.Viewers.Of(r)
	if err != nil {
		s.serveProblem(w, r, nil, problemOf(err))
		return
	}
	kinds, err := kindsOf(r.URL.Query().Get("kinds"))
	if err != nil {
		s.serveProblem(w, r, viewer, problemOf(err))
		return
	}
	namespace := r.URL.Query().Get("namespace")
	open, err := s.hub.add(viewer.Session, s.visibleTopics(r, viewer, kinds, namespace))
	if err != nil {
		w.Header().Set("Retry-After", "60")
		s.serveProblem(w, r, viewer, &problem{
			status: http.StatusServiceUnavailable, title: "Not live",
			message: "Too many pages of the console are open, so this one is not updated by itself.", fix: "Close other pages, or load this one again to see changes.",
		})
		return
	}
	defer s.hub.remove(open)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	out := eventWriter{w: w, control: http.NewResponseController(w), timeout: s.bounds.write}
	_ = out.control.SetReadDeadline(time.Time{}) // that of the request would end the stream
	hello, _ := json.Marshal(struct {
		Instance string `json:"instance"`
		Script   string `json:"script"`
	}{s.instance, assetPath(".js")})
	if !out.send("retry: 2000\nevent: hello\ndata: %s\n\n", hello) {
		return
	}
	if version, _ := s.hub.version(topicsOf(kinds, namespace)); r.URL.Query().Get("version") != strconv.FormatUint(version, 10) {
		open.notify() // it has changed since the page was made
	}
	heartbeat := time.NewTicker(s.heartbeat)
	defer heartbeat.Stop()
	end := time.NewTimer(s.bounds.stream)
	defer end.Stop()
	for {
		ok := true
		select {
		case <-r.Context().Done():
			return
		case <-end.C:
			return
		case <-open.changed:
			ok = out.send("event: changed\ndata: 1\n\n")
		case <-heartbeat.C:
			if _, err := s.o.Viewers.Of(r); err != nil {
				return // the session has ended: the page shows it when it connects again
			}
			ok = out.send("event: alive\ndata: 1\n\n")
		}
		if !ok {
			return
		}
	}
}

// eventWriter writes events to a browser.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// send writes an event and reports whether the browser is still there.
func (e eventWriter) send(format string, args ...any) bool {
	_ = e.control.SetWriteDeadline(time.Now().Add(e.timeout)) // not all servers have one
	if _, err := fmt.Fprintf(e.w, format, args...); err != nil {
		return false
	}
	return e.control.Flush() == nil
}

// kindsOf returns the kinds of a list with commas.
func kindsOf(names string) ([]Kind, error) {
	var kinds []Kind
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(Kinds(), Kind(name)) || slices.Contains(kinds, Kind(name)) {
			return nil, badRequest("kinds is %q; it must be a list of kinds of Goshawk.", names)
		}
		kinds = append(kinds, Kind(name))
	}
	return kinds, nil
}

// visibleTopics returns what the stream of a page is notified of: changes that the viewer may see.
func (s *Server) visibleTopics(r *http.Request, viewer *Viewer, kinds []Kind, namespace string) []topic {
	seen := s.scopeOf(r.Context(), viewer, kinds, namespace)
	topics := []topic{{}}
	for _, kind := range kinds {
		k := seen.kinds[kind]
		if k.all {
			topics = append(topics, topic{kind, namespace})
			continue
		}
		for _, name := range k.names {
			topics = append(topics, topic{kind, name})
		}
	}
	return topics
}
