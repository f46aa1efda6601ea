// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// exchange is one request and its response.
type exchange struct {
	method, path string
	asked        string
	ranges       string // the header Range of the request
	status       int
	answered     string
}

func (e exchange) String() string {
	return fmt.Sprintf("%s %s %s -> %d %s", e.method, e.path, e.asked, e.status, e.answered)
}

// wire is a proxy between a device and the device API that records all exchanges.
type wire struct {
	url string

	mu        sync.Mutex
	exchanges []exchange
	answered  []string // the paths of requests whose whole response was sent
	hold      func(exchange)
	cut       func(exchange) bool
}

// newWire returns a wire to a device API. The device uses the host of the wire, so the links of the
// device API lead to the wire, too.
func newWire(t testing.TB, deviceAPI string) *wire {
	t.Helper()
	to, err := url.Parse(deviceAPI)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		asked, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(asked))
		answer := finalAnswer{httptest.NewRecorder()}
		proxy.ServeHTTP(answer, r)
		cut := w.remember(exchange{method: r.Method, path: r.URL.Path, asked: string(asked), ranges: r.Header.Get("Range"), status: answer.Code, answered: answer.Body.String()})
		for name, values := range answer.Header() {
			out.Header()[name] = values
		}
		out.WriteHeader(answer.Code)
		if cut {
			sendHalf(out, answer.Body.Bytes())
		}
		_, _ = out.Write(answer.Body.Bytes())
		_ = http.NewResponseController(out).Flush()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.answered = append(w.answered, r.URL.Path)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range w.all() {
				t.Log(e)
			}
		}
	})
	w.url = server.URL
	return w
}

// finalAnswer drops the interim response: swupdate sends Expect: 100-continue, and the device API
// responds with 100 first.
type finalAnswer struct{ *httptest.ResponseRecorder }

func (a finalAnswer) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.ResponseRecorder.WriteHeader(status)
	}
}

// remember records an exchange, and reports whether its response is cut off.
func (w *wire) remember(e exchange) (cut bool) {
	w.mu.Lock()
	w.exchanges = append(w.exchanges, e)
	hold, cuts := w.hold, w.cut
	w.mu.Unlock()
	if hold != nil {
		hold(e)
	}
	return cuts != nil && cuts(e)
}

// sendHalf sends the first half of a body, and then closes the connection.
func sendHalf(out http.ResponseWriter, body []byte) {
	_, _ = out.Write(body[:len(body)/2])
	_ = http.NewResponseController(out).Flush()
	panic(http.ErrAbortHandler)
}

// cutOff sends only half of the responses for which f returns true.
func (w *wire) cutOff(f func(exchange) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = f
}

// beforeAnswering calls f with each exchange before the device gets the response.
func (w *wire) beforeAnswering(f func(exchange)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = f
}

// ended returns the number of requests that have their whole response and whose path contains part.
func (w *wire) ended(part string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range w.answered {
		if strings.Contains(path, part) {
			n++
		}
	}
	return n
}

func (w *wire) all() []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.exchanges)
}

// find returns the exchanges of a method whose path contains part.
func (w *wire) find(method, part string) []exchange {
	return slices.DeleteFunc(w.all(), func(e exchange) bool { return e.method != method || !strings.Contains(e.path, part) })
}
