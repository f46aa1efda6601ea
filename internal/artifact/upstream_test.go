// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
)

// loopback allows the servers of the tests, which public does not.
func loopback(t *testing.T) Sources {
	t.Helper()
	s, err := ParseSources("127.0.0.0/8, ::1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// randomBytes returns size bytes that are the same in each run.
func randomBytes(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(content)
	return content
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// fileOf describes content that is at the URLs.
func fileOf(content []byte, urls ...string) File {
	file := File{Namespace: "fleet", Name: "rootfs.swu", SHA256: hashOf(content), Size: int64(len(content))}
	for _, u := range urls {
		file.Places = append(file.Places, Place{URL: u})
	}
	return file
}

// upstream is a source that counts its requests and records their headers.
type upstream struct {
	*httptest.Server
	count atomic.Int32
	mu    sync.Mutex
	heads []http.Header
}

func (u *upstream) requests() int { return int(u.count.Load()) }

func (u *upstream) headers() []http.Header {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]http.Header(nil), u.heads...)
}

func newUpstream(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, n int)) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(u.count.Add(1))
		u.mu.Lock()
		u.heads = append(u.heads, r.Header.Clone())
		u.mu.Unlock()
		serve(w, r, n)
	}))
	t.Cleanup(u.Close)
	return u
}

// serves is a source that works.
func serves(content []byte) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, r *http.Request, _ int) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// world is a Store behind an HTTP server, as devices see it.
type world struct {
	*httptest.Server
	t     *testing.T
	store *Store
	log   *lines

	mu      sync.Mutex
	files   map[string]File
	errs    []error
	starts  int
	startOK error
}

type lines struct {
	mu   sync.Mutex
	text string
}

func (l *lines) add(_, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += args + "\n"
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text, text)
}

// newWorld serves files at /NAME. change may change the options.
func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, files: map[string]File{}, log: &lines{}}
	o := Options{Sources: loopback(t), CacheDir: t.TempDir(), CacheBytes: 100 << 20, Log: funcr.New(w.log.add, funcr.Options{})}
	if change != nil {
		change(&o)
	}
	store, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	store.pause = time.Millisecond
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.shut)
	return w
}

func (w *world) shut() {
	w.Server.CloseClientConnections()
	w.Server.Close()
	w.store.Close()
}

// serve makes a file available and returns its URL.
func (w *world) serve(name string, file File) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[name] = file
	return w.URL + "/" + name
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	file := w.files[r.URL.Path[1:]]
	w.mu.Unlock()
	status, err := w.store.Serve(rw, r, r.Header.Get("Device"), file, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.starts++
		return w.startOK
	})
	if err == nil {
		return
	}
	w.mu.Lock()
	w.errs = append(w.errs, err)
	w.mu.Unlock()
	if status == 0 {
		http.Error(rw, err.Error(), http.StatusBadGateway)
	}
}

// failures are the errors so far, as one text.
func (w *world) failures() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var text string
	for _, err := range w.errs {
		text += err.Error() + "\n"
	}
	return text
}

// response is what a device received.
type response struct {
	status int
	header http.Header
	body   []byte
	// err is why the body ended before its announced length.
	err error
}

// get sends a request with the headers, given as name and value.
func (w *world) get(url string, headers ...string) response {
	w.t.Helper()
	return w.do(http.MethodGet, url, headers...)
}

func (w *world) do(method, url string, headers ...string) response {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return response{err: err}
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return response{answer.StatusCode, answer.Header, body, err}
}

// isWhole reports whether a device received exactly this content.
func (r response) isWhole(content []byte) bool {
	return r.status == http.StatusOK && r.err == nil && bytes.Equal(r.body, content)
}

// eventually waits until is returns true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout while waiting for: %s", what)
		}
	}
}
