// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// modes are the two ways of a file: through the cache, and past it.
var modes = map[string]func(*Options){
	"through the cache": nil,
	"past the cache":    func(o *Options) { o.CacheDir = "" },
}

func inBothModes(t *testing.T, story func(t *testing.T, w *world)) {
	t.Helper()
	for name, change := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, newWorld(t, change))
		})
	}
}

func TestRequestsOfHTTP(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	etag := `"` + hashOf(content) + `"`
	for name, tt := range map[string]struct {
		method  string
		headers []string
		status  int
		body    []byte
		header  map[string]string
	}{
		"the whole file": {status: 200, body: content, header: map[string]string{
			"Content-Length": "300000", "Accept-Ranges": "bytes", "Etag": etag,
			"Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=rootfs.swu"}},
		"HEAD":                                 {method: "HEAD", status: 200, header: map[string]string{"Content-Length": "300000", "Etag": etag}},
		"HEAD with a range":                    {method: "HEAD", headers: []string{"Range", "bytes=5-"}, status: 206, header: map[string]string{"Content-Length": "299995"}},
		"the rest of a file":                   {headers: []string{"Range", "bytes=250000-"}, status: 206, body: content[250_000:], header: map[string]string{"Content-Range": "bytes 250000-299999/300000"}},
		"a range in the middle":                {headers: []string{"Range", "bytes=100-199"}, status: 206, body: content[100:200]},
		"the last bytes":                       {headers: []string{"Range", "bytes=-10"}, status: 206, body: content[299_990:]},
		"the last byte":                        {headers: []string{"Range", "bytes=299999-"}, status: 206, body: content[299_999:]},
		"a range that ends behind the file":    {headers: []string{"Range", "bytes=299000-400000"}, status: 206, body: content[299_000:]},
		"a range behind the file":              {headers: []string{"Range", "bytes=300000-"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"more last bytes than there are":       {headers: []string{"Range", "bytes=-400000"}, status: 206, body: content, header: map[string]string{"Content-Range": "bytes 0-299999/300000"}},
		"the last 0 bytes":                     {headers: []string{"Range", "bytes=-0"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"the last 0 bytes, twice":              {headers: []string{"Range", "bytes=-0, -00"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"the last 0 bytes and others":          {headers: []string{"Range", "bytes=-0,5-9"}, status: 206, body: content[5:10], header: map[string]string{"Content-Range": "bytes 5-9/300000"}},
		"a malformed range":                    {headers: []string{"Range", "bytes=x-"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"a range that ends before its start":   {headers: []string{"Range", "bytes=9-5"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"a start that is too large to be read": {headers: []string{"Range", "bytes=99999999999999999999-"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"a range without a start or an end":    {headers: []string{"Range", "bytes=-"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"another unit than bytes":              {headers: []string{"Range", "lines=1-"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"HEAD with the last 0 bytes":           {method: "HEAD", headers: []string{"Range", "bytes=-0"}, status: 416, header: map[string]string{"Content-Range": "bytes */300000"}},
		"the first byte":                       {headers: []string{"Range", "bytes=0-0"}, status: 206, body: content[:1]},
		"If-Range with the same file":          {headers: []string{"Range", "bytes=100-199", "If-Range", etag}, status: 206, body: content[100:200]},
		"If-Range with another file":           {headers: []string{"Range", "bytes=100-199", "If-Range", `"other"`}, status: 200, body: content},
		"If-Range with a date":                 {headers: []string{"Range", "bytes=100-199", "If-Range", "Wed, 21 Oct 2015 07:28:00 GMT"}, status: 200, body: content},
		"If-Match with the same file":          {headers: []string{"If-Match", etag}, status: 200, body: content},
		"If-Match with another file":           {headers: []string{"If-Match", `"other"`}, status: 412},
		"If-None-Match with the same file":     {headers: []string{"If-None-Match", etag}, status: 304},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBothModes(t, func(t *testing.T, w *world) {
				source := newUpstream(t, serves(content))
				url := w.serve("f", fileOf(content, source.URL))
				got := w.do(cmpOr(tt.method, "GET"), url, tt.headers...)
				if got.status != tt.status || got.err != nil {
					t.Fatalf("status %d, error %v; want %d", got.status, got.err, tt.status)
				}
				if tt.body != nil && !bytes.Equal(got.body, tt.body) {
					t.Errorf("got %d bytes, want %d others", len(got.body), len(tt.body))
				}
				for name, value := range tt.header {
					if got.header.Get(name) != value {
						t.Errorf("header %s is %q, want %q", name, got.header.Get(name), value)
					}
				}
				if tt.body == nil && source.requests() > 0 {
					t.Errorf("a request that needs no bytes caused %d requests to the source", source.requests())
				}
			})
		})
	}
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

// Several ranges are sent from the cache. Past the cache the whole file is sent instead, because
// each range would need the file from its start.
func TestSeveralRanges(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	source := newUpstream(t, serves(content))

	w := newWorld(t, nil)
	got := w.get(w.serve("f", fileOf(content, source.URL)), "Range", "bytes=200000-200009,0-9")
	if got.status != 206 || !strings.HasPrefix(got.header.Get("Content-Type"), "multipart/byteranges") ||
		!bytes.Contains(got.body, content[200_000:200_010]) || !bytes.Contains(got.body, content[:10]) {
		t.Errorf("through the cache: status %d, type %s, error %v", got.status, got.header.Get("Content-Type"), got.err)
	}

	w = newWorld(t, modes["past the cache"])
	if got := w.get(w.serve("f", fileOf(content, source.URL)), "Range", "bytes=200000-200009,0-9"); !got.isWhole(content) {
		t.Errorf("past the cache: status %d with %d bytes, want the whole file", got.status, len(got.body))
	}
}

// hijack sends raw bytes as the answer, and closes the connection.
func hijack(w http.ResponseWriter, raw string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, raw)
	_ = conn.Close()
}

// Whatever a source does, a device never has a whole file with other content: it gets the right
// file, or an answer without a byte of it, or a connection that breaks before the last byte.
func TestSourcesThatMisbehave(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 300_000, 2_000_000} {
		content, other := randomBytes(size), randomBytes(size)
		other[size/2] ^= 1
		for name, tt := range map[string]struct {
			serve func(w http.ResponseWriter, r *http.Request, n int)
			// works: the device gets the file nevertheless. Otherwise, says is in the reason.
			works bool
			says  string
		}{
			"has other content of the same size": {serve: serves(other), says: "has the SHA-256 " + hashOf(other)},
			"has a shorter file":                 {serve: serves(content[:size-1]), says: fmt.Sprintf("has %d bytes, but size of the artifact is %d", size-1, size)},
			"has a longer file":                  {serve: serves(append(bytes.Clone(content), 0)), says: fmt.Sprintf("has %d bytes, but size", size+1)},
			"has a longer file of unknown length": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) {
				_, _ = w.Write(content)
				w.(http.Flusher).Flush()
				_, _ = w.Write([]byte{0})
			}, says: "sends more bytes than size"},
			"has a shorter file of unknown length": {serve: func(w http.ResponseWriter, r *http.Request, _ int) {
				w.(http.Flusher).Flush()
				_, _ = w.Write(content[:size-1])
			}, says: fmt.Sprintf("ends after %d of %d bytes", size-1, size)},
			"announces more than it sends": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) {
				hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, content[:size/2]))
			}, says: "ends after"},
			"announces less than it sends": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) {
				hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size-1, content))
			}, says: "but size of the artifact is"},
			"breaks once in the middle, with ranges": {serve: func(w http.ResponseWriter, r *http.Request, n int) {
				if n == 1 {
					hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, content[:size/2]))
					return
				}
				serves(content)(w, r, n)
			}, works: true},
			"breaks once in the middle, without ranges": {serve: func(w http.ResponseWriter, _ *http.Request, n int) {
				if n == 1 {
					hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, content[:size/2]))
					return
				}
				_, _ = w.Write(content)
			}, works: true},
			"breaks, and continues with another file": {serve: func(w http.ResponseWriter, r *http.Request, n int) {
				if n == 1 {
					hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, content[:size/3]))
					return
				}
				serves(other)(w, r, n)
			}, says: "has the SHA-256"},
			"continues at another byte": {serve: func(w http.ResponseWriter, _ *http.Request, n int) {
				if n == 1 {
					hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, content[:size/2]))
					return
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 1-%d/%d", size-1, size))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(content[1:])
			}, says: "was asked for the bytes from"},
			"returns 500 once": {serve: func(w http.ResponseWriter, r *http.Request, n int) {
				if n == 1 {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				serves(content)(w, r, n)
			}, works: true},
			"returns 500": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusInternalServerError) }, says: "500 Internal Server Error"},
			"returns 500 after the first half": {serve: func(w http.ResponseWriter, _ *http.Request, n int) {
				if n == 1 {
					hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, content[:size/2]))
					return
				}
				w.WriteHeader(http.StatusInternalServerError)
			}, says: "500 Internal Server Error"},
			"returns 404":           {serve: func(w http.ResponseWriter, r *http.Request, _ int) { http.NotFound(w, r) }, says: "404 Not Found"},
			"closes the connection": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) { hijack(w, "") }, says: "EOF"},
			"sends no HTTP":         {serve: func(w http.ResponseWriter, _ *http.Request, _ int) { hijack(w, "220 ready\r\n") }, says: "malformed"},
			"sends an endless header": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) {
				hijack(w, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
			}, says: "header"},
			"compresses": {serve: func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(content)
			}, says: `Content-Encoding "gzip"`},
			"redirects in a circle": {serve: func(w http.ResponseWriter, r *http.Request, _ int) {
				http.Redirect(w, r, "/again", http.StatusFound)
			}, says: "redirects more than 5 times"},
			"redirects to a file": {serve: func(w http.ResponseWriter, r *http.Request, _ int) {
				w.Header().Set("Location", "file:///etc/passwd")
				w.WriteHeader(http.StatusFound)
			}, says: "redirects to a URL with the scheme file"},
		} {
			t.Run(fmt.Sprintf("%d bytes, source %s", size, name), func(t *testing.T) {
				t.Parallel()
				inBothModes(t, func(t *testing.T, w *world) {
					source := newUpstream(t, tt.serve)
					got := w.get(w.serve("f", fileOf(content, source.URL)))
					if tt.works {
						if !got.isWhole(content) {
							t.Fatalf("status %d, %d bytes, error %v; want the file. Log: %s", got.status, len(got.body), got.err, w.failures())
						}
						return
					}
					switch {
					case got.status == http.StatusOK && got.err == nil:
						t.Fatalf("the device has a whole file of %d bytes", len(got.body))
					case got.status == http.StatusOK && (len(got.body) >= size || !bytes.HasPrefix(content, got.body[:min(len(got.body), size/3)])):
						t.Errorf("the device has %d of %d bytes", len(got.body), size)
					case size <= tail && got.status == http.StatusOK:
						t.Errorf("a small file has status 200 before it is verified")
					}
					if !strings.Contains(w.failures(), tt.says) {
						t.Errorf("the reason is %q, want %q", w.failures(), tt.says)
					}
					if n := source.requests(); n > 2*maxRedirects+maxFailures {
						t.Errorf("one request of a device caused %d requests to the source", n)
					}
				})
			})
		}
	}
}

func TestSlowSourceIsGivenUp(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	inBothModes(t, func(t *testing.T, w *world) {
		w.store.stall = 100 * time.Millisecond
		source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ int) {
			for i := range content { // a byte at a time would take minutes
				if _, err := rw.Write(content[i : i+1]); err != nil || r.Context().Err() != nil {
					return
				}
				rw.(http.Flusher).Flush()
				time.Sleep(time.Millisecond)
			}
		})
		if got := w.get(w.serve("f", fileOf(content, source.URL))); got.isWhole(content) || !strings.Contains(w.failures(), "sends less than 65536 bytes in 100ms") {
			t.Errorf("status %d, reason %q", got.status, w.failures())
		}
	})
}

// silent announces a body that it does not send.
func silent(rw http.ResponseWriter, r *http.Request, status int) {
	rw.Header().Set("Content-Length", "100")
	rw.WriteHeader(status)
	rw.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestSourceThatDoesNotStartIsGivenUp(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	inBothModes(t, func(t *testing.T, w *world) {
		w.store.opening, w.store.firstByte = 50*time.Millisecond, 5*time.Second
		source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ int) {
			rw.Header().Set("Location", "/other")
			silent(rw, r, http.StatusFound)
		})
		w.get(w.serve("f", fileOf(content, source.URL)))
		if want := "it does not start to send the file within 50ms"; !strings.Contains(w.failures(), want) {
			t.Errorf("the reason is %q, want %q", w.failures(), want)
		}
	})
}

func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 50_000)
	for name, serve := range map[string]func(http.ResponseWriter){
		"a Content-Encoding": func(rw http.ResponseWriter) { rw.Header().Set("Content-Encoding", long) },
		"a Content-Range": func(rw http.ResponseWriter) {
			rw.Header().Set("Content-Range", long)
			rw.WriteHeader(http.StatusPartialContent)
		},
		"the scheme of a redirect": func(rw http.ResponseWriter) {
			rw.Header().Set("Location", long+"://host")
			rw.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBothModes(t, func(t *testing.T, w *world) {
				source := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ int) { serve(rw) })
				w.get(w.serve("f", fileOf(randomBytes(1000), source.URL)))
				if text := w.failures(); text == "" || len(text) > maxReason+100 {
					t.Errorf("the reason has %d bytes, want 1 to %d", len(text), maxReason+100)
				}
			})
		})
	}
}

func TestNextPlaceIsUsed(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	inBothModes(t, func(t *testing.T, w *world) {
		gone, good := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) { http.NotFound(w, r) }), newUpstream(t, serves(content))
		if got := w.get(w.serve("f", fileOf(content, gone.URL, good.URL))); !got.isWhole(content) {
			t.Errorf("status %d, reason %q", got.status, w.failures())
		}
	})
}

// A place with other content is not used again at once, so the next request gets the file from the
// next place.
func TestPlaceWithOtherContentIsLeftOut(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	inBothModes(t, func(t *testing.T, w *world) {
		other := bytes.Clone(content)
		other[0] ^= 1
		wrong, good := newUpstream(t, serves(other)), newUpstream(t, serves(content))
		url := w.serve("f", fileOf(content, wrong.URL, good.URL))
		if got := w.get(url); got.isWhole(content) {
			t.Error("the first request had the file already")
		}
		if got := w.get(url); !got.isWhole(content) {
			t.Errorf("status %d, reason %q", got.status, w.failures())
		}
		if wrong.requests() != 1 {
			t.Errorf("the wrong place was asked %d times", wrong.requests())
		}
	})
}

// However often devices ask, a place that fails is asked a few times only.
func TestFailingSourceIsNotFlooded(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	inBothModes(t, func(t *testing.T, w *world) {
		source := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) { http.NotFound(w, r) })
		url := w.serve("f", fileOf(content, source.URL))
		for range 20 {
			w.get(url)
		}
		if source.requests() != 1 {
			t.Errorf("20 requests of a device caused %d requests to the source", source.requests())
		}
	})
}

func TestNoPlaceToFetchFrom(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, w *world) {
		if got := w.get(w.serve("f", fileOf(randomBytes(10)))); got.status != http.StatusBadGateway || !strings.Contains(w.failures(), "has no download that Goshawk can fetch") {
			t.Errorf("status %d, reason %q", got.status, w.failures())
		}
	})
}

// Nothing of the request of a device is sent to the source, nor to the host that it redirects to.
func TestCredentialsOfDevicesStayHere(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	inBothModes(t, func(t *testing.T, w *world) {
		target := newUpstream(t, serves(content))
		source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(rw, r, strings.Replace(target.URL, "127.0.0.1", "localhost", 1)+"/other", http.StatusTemporaryRedirect)
		})
		secret := "TargetToken of-the-device"
		got := w.get(w.serve("f", fileOf(content, source.URL+"/?signature=of-the-source")),
			"Authorization", secret, "Cookie", secret, "X-Controller-Id", secret, "Referer", secret, "X-Forwarded-For", secret)
		if !got.isWhole(content) {
			t.Fatalf("status %d, reason %q", got.status, w.failures())
		}
		for _, u := range []*upstream{source, target} {
			for _, header := range u.headers() {
				if text := fmt.Sprint(header); strings.Contains(text, "of-the-device") || strings.Contains(text, "of-the-source") {
					t.Errorf("a source received %s", text)
				}
			}
		}
	})
}

func TestReasonsHideQueriesAndUsers(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, w *world) {
		source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ int) { hijack(rw, "") })
		w.get(w.serve("f", fileOf(randomBytes(10), strings.Replace(source.URL, "//", "//user:secret@", 1)+"/path?token=secret#secret")))
		if text := w.failures(); strings.Contains(text, "secret") || !strings.Contains(text, source.URL+"/path") {
			t.Errorf("the reason is %q", text)
		}
	})
}

// Two devices, and twenty, that download the same file at the same time cause one request.
func TestDevicesShareOneRequest(t *testing.T) {
	t.Parallel()
	content := randomBytes(3_000_000)
	w := newWorld(t, nil)
	hold := make(chan struct{})
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) {
		_, _ = rw.Write(content[:1_000_000])
		rw.(http.Flusher).Flush()
		<-hold
		_, _ = rw.Write(content[1_000_000:])
	})
	url := w.serve("f", fileOf(content, source.URL))
	var devices sync.WaitGroup
	for i := range 20 {
		devices.Go(func() {
			if got := w.get(url, "Device", strconv.Itoa(i)); !got.isWhole(content) {
				t.Errorf("device %d: status %d, %d bytes, %v", i, got.status, len(got.body), got.err)
			}
		})
	}
	eventually(t, "20 downloads are under way", func() bool {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.devices) == 20
	})
	close(hold)
	devices.Wait()
	if got := w.get(url); !got.isWhole(content) || source.requests() != 1 {
		t.Errorf("%d requests to the source, want 1", source.requests())
	}
}

// Files of two namespaces are not shared: the second namespace has only shown that it knows the
// checksum.
func TestNamespacesShareNothing(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	w := newWorld(t, nil)
	source := newUpstream(t, serves(content))
	gone := newUpstream(t, func(w http.ResponseWriter, r *http.Request, _ int) { http.NotFound(w, r) })
	if got := w.get(w.serve("a", fileOf(content, source.URL))); !got.isWhole(content) {
		t.Fatal(w.failures())
	}
	other := fileOf(content, gone.URL)
	other.Namespace = "other"
	if got := w.get(w.serve("b", other)); got.status == http.StatusOK {
		t.Error("a namespace got the file of another one")
	}
}

// A device whose download breaks gets the rest, without another request to the source.
func TestInterruptedDownloadResumes(t *testing.T) {
	t.Parallel()
	content := randomBytes(8_000_000)
	w := newWorld(t, nil)
	source := newUpstream(t, serves(content))
	url := w.serve("f", fileOf(content, source.URL))
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	start := make([]byte, 1_234_567)
	if _, err := io.ReadFull(response.Body, start); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	got := w.get(url, "Range", fmt.Sprintf("bytes=%d-", len(start)), "If-Range", response.Header.Get("ETag"))
	if got.status != http.StatusPartialContent || !bytes.Equal(slices.Concat(start, got.body), content) {
		t.Errorf("status %d with %d bytes, %v", got.status, len(got.body), got.err)
	}
	if source.requests() != 1 {
		t.Errorf("%d requests to the source", source.requests())
	}
}

// A device that resumes far ahead of what was fetched is answered before its client gives up, and
// gets the rest later.
func TestDeviceDoesNotWaitWithoutAnswer(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	w := newWorld(t, nil)
	w.store.firstByte = 50 * time.Millisecond
	hold := make(chan struct{})
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) {
		<-hold
		serves(content)(rw, r, n)
	})
	url := w.serve("f", fileOf(content, source.URL))
	if got := w.get(url, "Range", "bytes=200000-"); got.status != http.StatusBadGateway || !strings.Contains(w.failures(), "still being fetched") {
		t.Errorf("status %d, reason %q", got.status, w.failures())
	}
	close(hold)
	eventually(t, "the device gets the rest", func() bool {
		got := w.get(url, "Range", "bytes=200000-")
		return got.status == http.StatusPartialContent && bytes.Equal(got.body, content[200_000:])
	})
	if source.requests() != 1 {
		t.Errorf("%d requests to the source", source.requests())
	}
}

// names returns the files in the cache.
func names(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// A file that was damaged on disk, while the process runs or before it starts again, is fetched
// again, and no device gets it whole.
func TestDamagedCacheIsNotServed(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	other := bytes.Clone(content)
	other[150_000] ^= 1
	for name, damage := range map[string]func(path string) error{
		"other content": func(path string) error { return os.WriteFile(path, other, 0o600) },
		"shorter":       func(path string) error { return os.WriteFile(path, content[:100], 0o600) },
		"removed":       os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"x", other, 0o600), os.Rename(path+"x", path))
		},
		"a link": func(path string) error {
			return errors.Join(os.WriteFile(path+"x", other, 0o600), os.Remove(path), os.Symlink(path+"x", path))
		},
	} {
		for when, restarts := range map[string]bool{"while the process runs": false, "before a restart": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				change := func(o *Options) { o.CacheDir = dir }
				w := newWorld(t, change)
				source := newUpstream(t, serves(content))
				if got := w.get(w.serve("f", fileOf(content, source.URL))); !got.isWhole(content) {
					t.Fatal(w.failures())
				}
				paths := names(t, dir)
				if len(paths) != 1 {
					t.Fatalf("the cache has %v", paths)
				}
				if restarts {
					w.shut()
				}
				time.Sleep(10 * time.Millisecond) // clocks of file systems are coarse
				if err := damage(paths[0]); err != nil {
					t.Fatal(err)
				}
				if restarts {
					w = newWorld(t, change)
				}
				url := w.serve("f", fileOf(content, source.URL))
				if got := w.get(url); got.status == http.StatusOK && got.err == nil && !bytes.Equal(got.body, content) {
					t.Fatal("the device has a whole damaged file")
				}
				if got := w.get(url); !got.isWhole(content) || source.requests() != 2 {
					t.Errorf("status %d after %d requests to the source, %s", got.status, source.requests(), w.failures())
				}
			})
		}
	}
}

// After a restart a complete file is served without a request to the source, and what was not
// complete, or is not of the cache, does no harm.
func TestRestartKeepsWholeFiles(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	dir := t.TempDir()
	change := func(o *Options) { o.CacheDir = dir }
	w := newWorld(t, change)
	source := newUpstream(t, serves(content))
	w.get(w.serve("f", fileOf(content, source.URL)))
	w.shut()
	part := filepath.Join(dir, "fleet", hashOf([]byte("x"))+"-1000.part")
	foreign := filepath.Join(dir, "fleet", "notes.txt")
	for _, path := range []string{part, foreign} {
		if err := os.WriteFile(path, make([]byte, 500), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w = newWorld(t, change)
	if got := w.get(w.serve("f", fileOf(content, source.URL))); !got.isWhole(content) || source.requests() != 1 {
		t.Errorf("status %d after %d requests to the source", got.status, source.requests())
	}
	if got := w.get(w.URL+"/f", "Range", "bytes=299999-"); got.status != 206 || !bytes.Equal(got.body, content[299_999:]) {
		t.Errorf("the last byte: status %d", got.status)
	}
	if _, err := os.Stat(part); err == nil {
		t.Error("the incomplete file is still there")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("a file that is not of the cache was removed")
	}
}

// A process that ends while a file is fetched leaves nothing that the next one would serve.
func TestEndWhileFetching(t *testing.T) {
	t.Parallel()
	content := randomBytes(1_000_000)
	dir := t.TempDir()
	change := func(o *Options) { o.CacheDir = dir }
	w := newWorld(t, change)
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			serves(content)(rw, r, n)
			return
		}
		_, _ = rw.Write(content[:500_000])
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	response, err := http.Get(w.serve("f", fileOf(content, source.URL)))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	w.shut()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("the cache has %v", left)
	}
	w = newWorld(t, change)
	if got := w.get(w.serve("f", fileOf(content, source.URL))); !got.isWhole(content) {
		t.Errorf("status %d: %s", got.status, w.failures())
	}
}

func TestCacheHasOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newWorld(t, func(o *Options) { o.CacheDir = dir })
	if _, err := New(Options{CacheDir: dir, CacheBytes: 1}); err == nil || !strings.Contains(err.Error(), "another process uses the folder") {
		t.Errorf("the second process gets %v", err)
	}
}

// The cache keeps what was used last, and never exceeds its size.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, func(o *Options) { o.CacheDir, o.CacheBytes = dir, 250_000 })
	file := map[string][]byte{}
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) { serves(file[r.URL.Path[1:]])(rw, r, n) })
	get := func(name string) int {
		before := source.requests()
		content := file[name]
		if got := w.get(w.serve(name, fileOf(content, source.URL+"/"+name))); !got.isWhole(content) {
			t.Fatalf("%s: status %d, %s", name, got.status, w.failures())
		}
		return source.requests() - before
	}
	for i, name := range []string{"a", "b", "c"} {
		file[name] = randomBytes(100_000 + i)
	}
	file["large"] = randomBytes(300_000)
	get("a")
	get("b")
	get("a") // b is the oldest now
	get("c")
	get("large") // past the cache
	var onDisk int64
	for _, path := range names(t, dir) {
		if info, err := os.Stat(path); err == nil {
			onDisk += info.Size()
		}
	}
	if onDisk > 250_000 || w.store.cache.size() != onDisk {
		t.Errorf("the cache has %d bytes on disk and counts %d", onDisk, w.store.cache.size())
	}
	if a, b := get("a"), get("b"); a != 0 || b != 1 {
		t.Errorf("a caused %d requests and b %d, want 0 and 1", a, b)
	}
}

// While all files in the cache are in use, another one is streamed past it.
func TestFilesInUseAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.CacheBytes = 8_000_000 })
	large, small := randomBytes(8_000_000), randomBytes(100_000)
	first, second := newUpstream(t, serves(large)), newUpstream(t, serves(small))
	reading, err := http.Get(w.serve("large", fileOf(large, first.URL)))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := w.get(w.serve("small", fileOf(small, second.URL))); !got.isWhole(small) {
			t.Fatalf("status %d", got.status)
		}
	}
	if second.requests() != 2 || !w.log.has("streamed past the cache") {
		t.Errorf("%d requests, want 2 and a line in the log", second.requests())
	}
	if got, err := io.ReadAll(reading.Body); err != nil || !bytes.Equal(got, large) {
		t.Errorf("the download that was under way has %d bytes, %v", len(got), err)
	}
	_ = reading.Body.Close()
	if got := w.get(w.URL + "/large"); !got.isWhole(large) || first.requests() != 1 {
		t.Errorf("the file in use was fetched %d times", first.requests())
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	hold := make(chan struct{})
	w := newWorld(t, func(o *Options) { o.MaxDownloads = 8 })
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) {
		<-hold
		serves(content)(rw, r, n)
	})
	file := fileOf(content, source.URL)
	other := file
	other.Namespace = "other"
	url, otherURL := w.serve("f", file), w.serve("o", other)
	var waiting sync.WaitGroup
	start := func(url, device string, want int) {
		waiting.Go(func() {
			if got := w.get(url, "Device", device); !got.isWhole(content) {
				t.Errorf("device %s has status %d", device, got.status)
			}
		})
		eventually(t, "the download is under way", func() bool {
			return w.store.downloads.Taken() == want
		})
	}
	refused := func(url, device, what string) {
		if got := w.get(url, "Device", device); got.status != http.StatusBadGateway || !strings.Contains(string(got.body), "too many artifacts") {
			t.Errorf("%s: status %d", what, got.status)
		}
	}
	for i := range MaxDeviceDownloads {
		start(url, "one", i+1)
	}
	refused(url, "one", "a device with 4 downloads")
	start(url, "two", 5)
	start(url, "three", 6)
	refused(url, "four", "a namespace with three quarters of all")
	start(otherURL, "five", 7)
	start(otherURL, "six", 8)
	refused(otherURL, "seven", "with all in use")
	if got := w.do(http.MethodHead, url, "Device", "one"); got.status != http.StatusOK {
		t.Errorf("HEAD is not a download, and has status %d", got.status)
	}
	close(hold)
	waiting.Wait()
	eventually(t, "everything is released", func() bool {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.devices) == 0 && w.store.downloads.Taken() == 0
	})
}

// The sources of one namespace do not take all fetches.
func TestSlowSourcesOfOneNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.MaxFetches = 4 })
	hold := make(chan struct{})
	slow := newUpstream(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	var waiting sync.WaitGroup
	for i := range 6 {
		url := w.serve(strconv.Itoa(i), fileOf(randomBytes(100+i), slow.URL))
		waiting.Go(func() { w.get(url, "Device", strconv.Itoa(i)) })
	}
	eventually(t, "the slow sources are asked", func() bool { return slow.requests() == 3 })
	content := randomBytes(1000)
	good := newUpstream(t, serves(content))
	file := fileOf(content, good.URL)
	file.Namespace = "other"
	if got := w.get(w.serve("good", file)); !got.isWhole(content) {
		t.Errorf("status %d, %s", got.status, w.failures())
	}
	if slow.requests() != 3 {
		t.Errorf("%d requests to the slow source, want 3 of 4 fetches", slow.requests())
	}
	close(hold)
	waiting.Wait()
}

func TestBytesPerSecond(t *testing.T) {
	t.Parallel()
	content := randomBytes(200_000)
	w := newWorld(t, func(o *Options) { o.BytesPerSecond = 100_000 })
	source := newUpstream(t, serves(content))
	started := time.Now()
	if got := w.get(w.serve("f", fileOf(content, source.URL))); !got.isWhole(content) {
		t.Fatal(w.failures())
	}
	if took := time.Since(started); took < 900*time.Millisecond {
		t.Errorf("200 000 bytes at 100 000 a second, with as many at once, took %s", took)
	}
}

// An error of started is returned before the source is asked.
func TestRefusedStart(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, w *world) {
		source := newUpstream(t, serves(randomBytes(10)))
		w.startOK = errors.New("not now")
		if got := w.get(w.serve("f", fileOf(randomBytes(10), source.URL))); got.status != http.StatusBadGateway || source.requests() != 0 {
			t.Errorf("status %d after %d requests", got.status, source.requests())
		}
		if w.do(http.MethodHead, w.URL+"/f"); w.starts != 1 {
			t.Errorf("%d starts, want 1: HEAD is none", w.starts)
		}
	})
}

func TestFilesThatCannotBeServed(t *testing.T) {
	t.Parallel()
	good := fileOf(randomBytes(10), "http://127.0.0.1:1")
	for name, change := range map[string]func(*File){
		"a checksum that is a path":           func(f *File) { f.SHA256 = strings.Repeat("../", 21) + "x" },
		"no checksum":                         func(f *File) { f.SHA256 = "" },
		"a namespace that is a path":          func(f *File) { f.Namespace = ".." },
		"no namespace":                        func(f *File) { f.Namespace = "" },
		"a negative size":                     func(f *File) { f.Size = -1 },
		"no size, and the checksum of a file": func(f *File) { f.Size = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			file := good
			change(&file)
			if got := w.get(w.serve("f", file)); got.status != http.StatusBadGateway {
				t.Errorf("status %d", got.status)
			}
		})
	}
}

func TestEmptyFile(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, w *world) {
		if got := w.get(w.serve("f", fileOf(nil, "http://127.0.0.1:1"))); !got.isWhole(nil) || got.header.Get("Content-Length") != "0" {
			t.Errorf("status %d, %v", got.status, got.err)
		}
	})
}

// A device that does not read keeps neither the fetch nor other devices waiting.
func TestDeviceThatDoesNotRead(t *testing.T) {
	t.Parallel()
	content := randomBytes(20_000_000)
	w := newWorld(t, nil)
	source := newUpstream(t, serves(content))
	url := w.serve("f", fileOf(content, source.URL))
	stuck, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stuck.Body.Close() }()
	if got := w.get(url, "Device", "other"); !got.isWhole(content) {
		t.Errorf("status %d, %d bytes", got.status, len(got.body))
	}
}

// A client that goes away while the file is written to several ranges leaves nothing behind.
func TestClientGoesAwayWhileItWaits(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	w := newWorld(t, nil)
	hold := make(chan struct{})
	source := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, n int) {
		<-hold
		serves(content)(rw, r, n)
	})
	for _, ranges := range []string{"bytes=0-", "bytes=0-9,20-29"} {
		request := httptest.NewRequest(http.MethodGet, w.serve("f", fileOf(content, source.URL)), nil)
		request.RequestURI = ""
		request.Header.Set("Range", ranges)
		client := http.Client{Timeout: 50 * time.Millisecond}
		if response, err := client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
	eventually(t, "the downloads have ended", func() bool {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.devices) == 0
	})
	close(hold)
	if got := w.get(w.URL + "/f"); !got.isWhole(content) || source.requests() != 1 {
		t.Errorf("status %d after %d requests to the source", got.status, source.requests())
	}
}

// A download may take longer than the server allows for other requests, and a source may be slow.
func TestDownloadTakesLongerThanOtherRequests(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	inBothModes(t, func(t *testing.T, w *world) {
		server := httptest.NewUnstartedServer(w)
		server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
		server.Start()
		t.Cleanup(server.Close)
		source := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ int) {
			for piece := range slices.Chunk(content, 60_000) {
				_, _ = rw.Write(piece)
				rw.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		})
		w.serve("f", fileOf(content, source.URL))
		if got := w.get(server.URL + "/f"); !got.isWhole(content) {
			t.Errorf("status %d, %d bytes, %v: %s", got.status, len(got.body), got.err, w.failures())
		}
	})
}
