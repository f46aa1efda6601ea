// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Write is one write request of Goshawk, successful or not.
type Write struct {
	Request

	Body []byte
	// Status of the response, or 0 without a response.
	Status int
}

// Succeeded reports whether the API server carried out the write. A write with a conflict, or one
// that was refused for another reason, changed nothing.
func (w Write) Succeeded() bool { return w.Status >= 200 && w.Status < 300 }

func (w Write) String() string {
	return fmt.Sprintf("%s answered %d: %.300s", w.Request, w.Status, w.Body)
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
		w := Write{Request: RequestOf(r)}
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

// All returns the writes so far in all namespaces, without events.
func (l *Ledger) All() []Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.writes), func(w Write) bool { return w.Resource == "events" })
}
