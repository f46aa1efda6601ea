// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// With a full disk each device gets its file past the cache, a metric counts it, and the log says
// it once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	for name, fill := range map[string]func(*cache){
		"seen before the first byte": func(c *cache) { c.allocate = func(*os.File, int64) error { return syscall.ENOSPC } },
		"seen at the first byte": func(c *cache) {
			c.writeAt = func(*os.File, []byte, int64) (int, error) { return 0, syscall.ENOSPC }
		},
		"seen in the middle": func(c *cache) {
			c.writeAt = func(f *os.File, p []byte, at int64) (int, error) {
				if at > 100_000 {
					return 0, syscall.ENOSPC
				}
				return f.WriteAt(p, at)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			fill(w.store.cache)
			source := newUpstream(t, serves(content))
			url := w.serve("f", fileOf(content, source.URL))
			for range 3 {
				if got := w.get(url); !got.isWhole(content) {
					t.Fatalf("status %d, %d bytes, %v: %s", got.status, len(got.body), got.err, w.failures())
				}
			}
			if got := w.get(url, "Range", "bytes=250000-"); got.status != http.StatusPartialContent || !bytes.Equal(got.body, content[250_000:]) {
				t.Errorf("the rest of a file: status %d", got.status)
			}
			eventually(t, "the metric counts downloads past the cache", func() bool {
				return testutil.ToFloat64(w.store.metrics.uncached.WithLabelValues("disk")) >= 3
			})
			w.log.mu.Lock()
			defer w.log.mu.Unlock()
			if n := strings.Count(w.log.text, "streamed past the cache"); n != 1 {
				t.Errorf("the log says it %d times: %s", n, w.log.text)
			}
			if left := names(t, w.store.cache.dir); len(left) > 0 || w.store.cache.size() != 0 {
				t.Errorf("the cache has %v and counts %d bytes", left, w.store.cache.size())
			}
		})
	}
}

// When the disk has room again, the cache takes files again.
func TestDiskWithRoomAgain(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	w := newWorld(t, nil)
	w.store.cache.allocate = func(*os.File, int64) error { return syscall.ENOSPC }
	source := newUpstream(t, serves(content))
	url := w.serve("f", fileOf(content, source.URL))
	w.get(url)
	w.store.cache.mu.Lock()
	w.store.cache.allocate = allocate
	isPaused := w.store.cache.pause.After(time.Now())
	w.store.cache.pause = time.Now() // a minute has passed
	w.store.cache.mu.Unlock()
	w.get(url)
	w.get(url)
	if !isPaused || source.requests() != 2 {
		t.Errorf("%d requests to the source, want one past the cache and one for it", source.requests())
	}
}

// The disk is full in the middle, and the source has another file by then: what the device has is
// not continued with the other file.
func TestFullDiskAndAnotherFile(t *testing.T) {
	t.Parallel()
	content := randomBytes(2_000_000)
	other := bytes.Clone(content)
	other[0] ^= 1
	w := newWorld(t, nil)
	var isFull atomic.Bool
	w.store.cache.writeAt = func(f *os.File, p []byte, at int64) (int, error) {
		if isFull.Load() {
			return 0, syscall.ENOSPC
		}
		return f.WriteAt(p, at)
	}
	hold := make(chan struct{})
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			serves(content)(rw, r, n)
			return
		}
		_, _ = rw.Write(other[:1_000_000])
		rw.(http.Flusher).Flush()
		<-hold
		_, _ = rw.Write(other[1_000_000:])
	})
	response, err := http.Get(w.serve("f", fileOf(content, source.URL)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	first := make([]byte, 500_000)
	if _, err := response.Body.Read(first); err != nil {
		t.Fatal(err)
	}
	isFull.Store(true)
	close(hold)
	rest := new(bytes.Buffer)
	if _, err := rest.ReadFrom(response.Body); err == nil {
		t.Errorf("the device has a file of two parts, with %d bytes", rest.Len())
	}
	if source.requests() != 2 || !strings.Contains(w.failures(), "another file than a moment ago") {
		t.Errorf("%d requests, reason %q", source.requests(), w.failures())
	}
}

// A cache folder that cannot be used is an error at the start.
func TestCacheFolderThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{CacheDir: file + "/cache", CacheBytes: 1}); err == nil || !strings.Contains(err.Error(), "open the artifact cache") {
		t.Errorf("New returns %v", err)
	}
}
