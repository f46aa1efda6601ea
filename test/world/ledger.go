// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Write is one write request of Goshawk, successful or not.
type Write struct {
	Method, Namespace, Resource, Name, Subresource string
	Body                                           []byte
	// Status of the response, or 0 without a response.
	Status int
}

// Succeeded reports whether the API server carried out the write. A write with a conflict, or one
// that was refused for another reason, changed nothing.
func (w Write) Succeeded() bool { return w.Status >= 200 && w.Status < 300 }

func (w Write) String() string {
	return fmt.Sprintf("%s %s/%s %s answered %d: %.300s", w.Method, w.Resource, w.Name, w.Subresource, w.Status, w.Body)
}

// Ledger has every write that Goshawk sent to the API server. The zero value is ready: give its
// Wrap method to Wrap.
type Ledger struct {
	mu     sync.Mutex
	writes []Write
}

// Wrap records the writes and does not change them.
func (l *Ledger) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return next.RoundTrip(r)
		}
		w := writeTo(r.Method, r.URL.Path)
		if r.Body != nil {
			var err error
			if w.Body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(bytes.NewReader(w.Body))
		}
		response, err := next.RoundTrip(r)
		if err == nil {
			w.Status = response.StatusCode
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.writes = append(l.writes, w)
		return response, err
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// writeTo reads /apis/{group}/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}, or
// the same below /api/{version}.
func writeTo(method, path string) Write {
	_, rest, _ := strings.Cut(path, "/namespaces/")
	parts := append(strings.Split(rest, "/"), "", "", "")
	return Write{Method: method, Namespace: parts[0], Resource: parts[1], Name: parts[2], Subresource: parts[3]}
}

// In returns the writes so far in a namespace, without events.
func (l *Ledger) In(namespace string) []Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Write
	for _, w := range l.writes {
		if w.Namespace == namespace && w.Resource != "events" {
			found = append(found, w)
		}
	}
	return found
}
