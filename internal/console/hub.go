// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"sync"
	"time"
)

const (
	// flushInterval is the shortest time between two notifications of an open page.
	flushInterval = time.Second
	// maxStreams is the maximum number of open pages that are notified of changes, and
	// maxStreamsOfViewer that of one session. Viewers without a session count together, with
	// maxStreamsOfAnonymous.
	maxStreams            = 1000
	maxStreamsOfViewer    = 20
	maxStreamsOfAnonymous = 500
)

// topic is a kind in a namespace. Without a namespace it is the kind in all of them; without a kind
// it is what is known about the caches.
type topic struct {
	kind      Kind
	namespace string
}

// hub notifies open pages of changes, each at most once in flushInterval. It does nothing while
// nothing changes.
type hub struct {
	mu       sync.Mutex
	versions map[topic]uint64
	dirty    map[topic]bool
	isArmed  bool
	// flushes counts the notifications, so that a page that was made before one is made again after
	// it.
	flushes uint64
	streams map[*stream]struct{}
	// open is the number of streams for each session.
	open map[string]int
}

// stream is an open page.
type stream struct {
	session string
	topics  []topic
	// changed has a value if the page has changed.
	changed chan struct{}
}

func newHub() *hub {
	return &hub{versions: map[topic]uint64{}, dirty: map[topic]bool{}, streams: map[*stream]struct{}{}, open: map[string]int{}}
}

// note records a change of a kind in a namespace.
func (h *hub) note(kind Kind, namespace string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := []topic{{kind, ""}}
	if namespace != "" {
		changed = append(changed, topic{kind, namespace})
	}
	for _, t := range changed {
		h.versions[t]++
		if len(h.streams) > 0 {
			h.dirty[t] = true
		}
	}
	if len(h.streams) > 0 && !h.isArmed {
		h.isArmed = true
		time.AfterFunc(flushInterval, h.flush)
	}
}

// flush notifies the pages for which something has changed.
func (h *hub) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flushes++
	for s := range h.streams {
		for _, t := range s.topics {
			if h.dirty[t] {
				s.notify()
				break
			}
		}
	}
	clear(h.dirty)
	h.isArmed = false
}

// notify makes the stream send an event, unless one is about to be sent.
func (s *stream) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// version returns a number that grows with each change of one of the topics.
func (h *hub) version(topics []topic) (version, flushes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		version += h.versions[t]
	}
	return version, h.flushes
}

var errTooManyStreams = errors.New("too many pages are open")

// add adds an open page of a session.
func (h *hub) add(session string, topics []topic) (*stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit := maxStreamsOfViewer
	if session == "" {
		limit = maxStreamsOfAnonymous
	}
	if len(h.streams) >= maxStreams || h.open[session] >= limit {
		return nil, errTooManyStreams
	}
	s := &stream{session: session, topics: topics, changed: make(chan struct{}, 1)}
	h.streams[s] = struct{}{}
	h.open[session]++
	return s, nil
}

func (h *hub) remove(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	if h.open[s.session]--; h.open[s.session] == 0 {
		delete(h.open, s.session)
	}
}

// topicsOf returns the topics of a page that shows these kinds in a namespace; empty: in all of
// them.
func topicsOf(kinds []Kind, namespace string) []topic {
	topics := make([]topic, 0, len(kinds)+1)
	for _, kind := range kinds {
		topics = append(topics, topic{kind, namespace})
	}
	return append(topics, topic{})
}
