// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// maxRefusal is how much of a refusal is read, in bytes.
	maxRefusal = 64 << 10
	// maxMessage is the maximum length of a message about the API server.
	maxMessage = 500
	// progressInterval is the shortest time between two notifications that more was read.
	progressInterval = time.Second
)

// observer sees all requests to the API server: whether it can be reached, what it refuses, and how
// many objects it has sent.
type observer struct {
	now func() time.Time
	// changed is called after a change of what the observer returns.
	changed func()
	// isLoading reports whether the objects of a list are counted, which is until all are read.
	isLoading func(list) bool

	mu sync.Mutex
	// reached is when the API server was reached last.
	reached time.Time
	// failure says why it cannot be reached. Empty: it can.
	failure string
	lists   map[list]*listed
}

// list is a kind in a namespace, or in all of them.
type list struct {
	kind      console.Kind
	namespace string
}

// listed is what was read of a list.
type listed struct {
	objects atomic.Int64
	refused string // guarded by the mutex of the observer
}

func newObserver(now func() time.Time, changed func(), isLoading func(list) bool) *observer {
	return &observer{now: now, changed: changed, isLoading: isLoading, reached: now(), lists: map[list]*listed{}}
}

func (o *observer) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return o.roundTrip(next, r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// roundTrip sends a request and records its result.
func (o *observer) roundTrip(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	at, isList := listOf(r.URL)
	response, err := next.RoundTrip(r)
	switch {
	case err != nil:
		if r.Context().Err() == nil && !errors.Is(err, context.Canceled) {
			o.fail(err.Error())
		}
		return response, err
	case response.StatusCode == http.StatusUnauthorized:
		message := messageOf(response)
		o.fail("It does not accept the credentials any more (401): " + message)
	case response.StatusCode >= http.StatusInternalServerError:
		message := messageOf(response)
		o.fail(fmt.Sprintf("It answers with status %d: %s", response.StatusCode, message))
	case response.StatusCode == http.StatusForbidden && isList, response.StatusCode == http.StatusNotFound && isList:
		o.refuse(at, messageOf(response))
	case response.StatusCode == http.StatusOK && isList:
		o.succeed(at)
		response.Body = &countingBody{ReadCloser: response.Body, observer: o, list: at, listed: o.listed(at), notified: o.now()}
	}
	return response, nil
}

// listOf returns what a request lists or watches.
func listOf(u *url.URL) (list, bool) {
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	at := slices.Index(parts, "goshawk.dev")
	if at < 0 || len(parts) < at+3 {
		return list{}, false
	}
	switch rest := parts[at+2:]; {
	case len(rest) == 1:
		return list{kind: console.Kind(rest[0])}, true
	case len(rest) == 3 && rest[0] == "namespaces":
		return list{kind: console.Kind(rest[2]), namespace: rest[1]}, true
	default:
		return list{}, false
	}
}

// messageOf returns the message of a response that is an error. The body can be read again.
func messageOf(response *http.Response) string {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), response.Body), response.Body}
	var status metav1.Status
	if err == nil && json.Unmarshal(body, &status) == nil && status.Message != "" {
		return text.Clean(status.Message, maxMessage)
	}
	if response.StatusCode == http.StatusNotFound {
		return "the API server does not know this kind: are Goshawk's CRDs installed?"
	}
	return text.Clean(string(body), maxMessage)
}

// fail records that the API server cannot be reached.
func (o *observer) fail(message string) {
	message = text.Clean(message, maxMessage)
	o.mu.Lock()
	isNew := o.failure != message
	o.failure = message
	o.mu.Unlock()
	if isNew {
		o.changed()
	}
}

// refuse records that a list is refused.
func (o *observer) refuse(at list, message string) {
	l := o.listed(at)
	o.mu.Lock()
	isNew := o.failure != "" || l.refused != message
	o.reached, o.failure, l.refused = o.now(), "", message
	o.mu.Unlock()
	if isNew {
		o.changed()
	}
}

// succeed records that a list was accepted.
func (o *observer) succeed(at list) {
	l := o.listed(at)
	o.mu.Lock()
	isNew := o.failure != "" || l.refused != ""
	o.reached, o.failure, l.refused = o.now(), "", ""
	l.objects.Store(0)
	o.mu.Unlock()
	if isNew {
		o.changed()
	}
}

func (o *observer) listed(at list) *listed {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lists[at]
	if l == nil {
		l = &listed{}
		o.lists[at] = l
	}
	return l
}

// reading returns how many objects of a list were sent, and why the list is refused.
func (o *observer) reading(kind console.Kind, namespace string) (objects int, refused string) {
	l := o.listed(list{kind, namespace})
	o.mu.Lock()
	defer o.mu.Unlock()
	return int(l.objects.Load()), l.refused
}

// contact returns when the API server was reached.
func (o *observer) contact() console.Contact {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failure == "" {
		return console.Contact{}
	}
	return console.Contact{LostSince: o.reached, Message: o.failure}
}

// sent records that the API server has sent something, and returns the time.
func (o *observer) sent() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reached = o.now()
	return o.reached
}

// marker is in each object once, and not in the copies of an object in annotations.
var marker = []byte(`"metadata":{`)

// countingBody counts the objects of a list or a watch while they are read.
type countingBody struct {
	io.ReadCloser
	observer *observer
	list     list
	listed   *listed
	// end has the last bytes, which may be the start of a marker.
	end      []byte
	notified time.Time
}

// Read counts what is read.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		now := b.observer.sent()
		if b.observer.isLoading(b.list) {
			b.count(p[:n])
			if now.Sub(b.notified) >= progressInterval {
				b.notified = now
				b.observer.changed()
			}
		}
	}
	return n, err
}

func (b *countingBody) count(data []byte) {
	joined := append(b.end, data[:min(len(data), len(marker)-1)]...)
	n := bytes.Count(joined, marker) + bytes.Count(data, marker)
	b.listed.objects.Add(int64(n))
	if len(data) >= len(marker)-1 {
		b.end = append(b.end[:0], data[len(data)-len(marker)+1:]...)
	} else {
		b.end = append(b.end[:0], joined[max(0, len(joined)-len(marker)+1):]...)
	}
}
