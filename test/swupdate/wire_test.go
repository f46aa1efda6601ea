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
	hold      func(exchange)
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
		w.remember(exchange{method: r.Method, path: r.URL.Path, asked: string(asked), status: answer.Code, answered: answer.Body.String()})
		for name, values := range answer.Header() {
			out.Header()[name] = values
		}
		out.WriteHeader(answer.Code)
		_, _ = out.Write(answer.Body.Bytes())
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

func (w *wire) remember(e exchange) {
	w.mu.Lock()
	w.exchanges = append(w.exchanges, e)
	hold := w.hold
	w.mu.Unlock()
	if hold != nil {
		hold(e)
	}
}

// beforeAnswering calls f with each exchange before the device gets the response.
func (w *wire) beforeAnswering(f func(exchange)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = f
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
