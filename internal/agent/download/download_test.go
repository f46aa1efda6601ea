// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package download

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/testing/power"
)

// content is the artifact of the tests.
var content = strings.Repeat("0123456789abcdef", 4096)

// bench has a server and a client of it. serve answers the request with a number, from 1.
type bench struct {
	*testing.T
	*Client
	folder string
	serve  func(number int, w http.ResponseWriter, r *http.Request)

	mu       sync.Mutex
	requests []*http.Request
	url      string
	local    bool
	// refreshed is the address after a refresh, or empty.
	refreshed string
	refreshes int
	done      []int64
	pauses    []int
	failures  []string
}

func newBench(t *testing.T, serve func(int, http.ResponseWriter, *http.Request)) *bench {
	t.Helper()
	b := &bench{T: t, folder: filepath.Join(t.TempDir(), "files"), serve: serve}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.requests = append(b.requests, r)
		number := len(b.requests)
		b.mu.Unlock()
		b.serve(number, w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL + "/file"
	b.Client = &Client{Disk: disk.OS{}, HTTP: &http.Client{}, Failed: func(err error) { b.failures = append(b.failures, err.Error()) }, Pause: func(_ context.Context, attempt int) {
		if b.pauses = append(b.pauses, attempt); len(b.pauses) > 30 {
			t.Fatal("there is no end of attempts")
		}
	}}
	return b
}

func (b *bench) Of(update.Artifact) string { return b.url }

func (b *bench) AreLocal() bool { return b.local }

func (b *bench) Refresh(context.Context) {
	b.refreshes++
	if b.refreshed != "" {
		b.url = b.refreshed
	}
}

func artifact(name, content string) update.Artifact {
	sum := sha256.Sum256([]byte(content))
	return update.Artifact{Filename: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

func module(artifacts ...update.Artifact) update.Module {
	return update.Module{Type: "os", Name: "linux", Version: "2", Artifacts: artifacts}
}

func (b *bench) all(m update.Module) error {
	return b.All(b.Context(), m, b.folder, b, func(bytes int64) { b.done = append(b.done, bytes) })
}

// wantFile checks that the artifact has its name, and that nothing else is there.
func (b *bench) wantFile() {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.folder, "file"))
	if err != nil || string(data) != content {
		b.Errorf("the file has %d bytes, %v", len(data), err)
	}
	if entries, _ := os.ReadDir(b.folder); len(entries) != 1 {
		b.Errorf("the folder has %v", entries)
	}
	if last := b.done[len(b.done)-1]; last != int64(len(content)) || !slices.IsSorted(b.done) {
		b.Errorf("the progress is %v", b.done)
	}
}

// wantNoFile checks that nothing has the name of the artifact.
func (b *bench) wantNoFile() {
	b.Helper()
	if _, err := os.Stat(filepath.Join(b.folder, "file")); err == nil {
		b.Error("a file that is not verified has the name of the artifact")
	}
}

// serveAll answers as a good server does.
func serveAll(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"1"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
}

// breakAfter sends a part of the content, and then the connection ends.
func breakAfter(w http.ResponseWriter, n int) {
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write([]byte(content[:n]))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestDownloadContinuesAfterABrokenConnection(t *testing.T) {
	b := newBench(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			breakAfter(w, 1000)
		}
		serveAll(w, r)
	})
	if err := b.all(module(artifact("file", content))); err != nil {
		t.Fatal(err)
	}
	b.wantFile()
	if got := b.requests[1].Header; got.Get("Range") != "bytes=1000-" || got.Get("If-Range") != `"1"` {
		t.Errorf("the second request has range %q and if-range %q", got.Get("Range"), got.Get("If-Range"))
	}
	if got := b.requests[0].Header; got.Get("Range") != "" || got.Get("Accept-Encoding") != "identity" {
		t.Errorf("the first request has %v", got)
	}
}

func TestDownloadContinuesAfterARestartOfTheAgent(t *testing.T) {
	for name, tc := range map[string]struct {
		part, wantRange string
	}{
		"with a part":                         {content[:5000], "bytes=5000-"},
		"with the whole file":                 {content, ""},
		"with a file that is too long":        {content + "more", ""},
		"with a part that lost its content":   {string(make([]byte, 5000)), "bytes=5000-"},
		"with a whole file that lost content": {string(make([]byte, len(content))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
			if err := os.MkdirAll(b.folder+partial, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(b.folder+partial, "file"), []byte(tc.part), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := b.all(module(artifact("file", content))); err != nil {
				t.Fatal(err)
			}
			b.done = []int64{int64(len(content))}
			b.wantFile()
			if tc.wantRange != "" && b.requests[0].Header.Get("Range") != tc.wantRange {
				t.Errorf("the range is %q", b.requests[0].Header.Get("Range"))
			}
			if tc.part == content && len(b.requests) > 0 {
				t.Error("a complete file is downloaded again")
			}
		})
	}
}

func TestCompleteFileIsNotDownloadedAgain(t *testing.T) {
	b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
	for range 2 {
		if err := b.all(module(artifact("file", content))); err != nil {
			t.Fatal(err)
		}
		b.done = []int64{int64(len(content))}
		b.wantFile()
	}
	if len(b.requests) != 1 {
		t.Errorf("%d requests", len(b.requests))
	}
}

func TestEmptyArtifact(t *testing.T) {
	b := newBench(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if err := b.all(module(artifact("file", ""))); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(b.folder, "file")); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestServerThatBehavesBadly lists servers with which a download succeeds nevertheless.
func TestServerThatBehavesBadly(t *testing.T) {
	for name, serve := range map[string]func(n int, w http.ResponseWriter, r *http.Request){
		"it ignores the range": func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				breakAfter(w, 1000)
			}
			r.Header.Del("Range")
			serveAll(w, r)
		},
		"the file has changed since the first part": func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("ETag", `"old"`)
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(bytes.Repeat([]byte{'x'}, 1000))
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			serveAll(w, r)
		},
		"the file has changed, and the server has no ETag": func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				_, _ = w.Write(bytes.Repeat([]byte{'x'}, 1000))
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		},
		"it sends another range than requested once": func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				breakAfter(w, 1000)
			case 2:
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-9/%d", len(content)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write([]byte(content[:10]))
			default:
				serveAll(w, r)
			}
		},
		"it says that the range is not satisfiable once": func(n int, w http.ResponseWriter, r *http.Request) {
			switch n {
			case 1:
				breakAfter(w, 1000)
			case 2:
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				serveAll(w, r)
			}
		},
		"it is overloaded for some time": func(n int, w http.ResponseWriter, r *http.Request) {
			if n <= 9 {
				w.WriteHeader([]int{500, 502, 503, 504, 429, 408}[n%6])
				return
			}
			serveAll(w, r)
		},
		"it breaks each connection": func(n int, w http.ResponseWriter, r *http.Request) {
			if n <= 9 {
				breakAfter(w, 0)
			}
			serveAll(w, r)
		},
		"it redirects": func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/file" {
				http.Redirect(w, r, "/other", http.StatusFound)
				return
			}
			serveAll(w, r)
		},
		"it sends chunks without a length": func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write([]byte(content))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, serve)
			if err := b.all(module(artifact("file", content))); err != nil {
				t.Fatal(err)
			}
			b.done = []int64{int64(len(content))}
			b.wantFile()
		})
	}
}

// TestDownloadFails lists servers with which a download can never succeed: it ends, says why, and
// no file has the name of the artifact.
func TestDownloadFails(t *testing.T) {
	status := func(code int) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	send := func(content string, chunked bool) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, r *http.Request) {
			if chunked {
				w.(http.Flusher).Flush()
				_, _ = w.Write([]byte(content))
				return
			}
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		}
	}
	for name, tc := range map[string]struct {
		serve func(int, http.ResponseWriter, *http.Request)
		want  string
	}{
		"another content of the same length":  {send(strings.ToUpper(content), false), "download of file: it has SHA-256 "},
		"a file that is too long":             {send(content+"more", false), fmt.Sprintf("has %d bytes, and the artifact %d", len(content)+4, len(content))},
		"a file that is too short":            {send(content[:100], false), fmt.Sprintf("has 100 bytes, and the artifact %d", len(content))},
		"chunks of a file that is too long":   {send(content+"more", true), "the server sent more than the"},
		"chunks of a file that is too short":  {send(content[:100], true), "the server sent 100 of the"},
		"an empty file":                       {send("", true), "the server sent 0 of the"},
		"no such file":                        {status(404), "the server answered 404 Not Found"},
		"a file that is gone":                 {status(410), "the server answered 410 Gone"},
		"a wrong token":                       {status(401), "the server answered 401 Unauthorized"},
		"a signature of the URL that expired": {status(403), "the server answered 403 Forbidden"},
		"an answer without content":           {status(204), "the server answered 204 No Content"},
		"a range that was not requested": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.WriteHeader(http.StatusPartialContent)
		}, "the server answered 206 Partial Content"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tc.serve)
			err := b.all(module(artifact("file", content)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
			b.wantNoFile()
			if len(b.requests) > 2*maxUseless {
				t.Errorf("%d requests", len(b.requests))
			}
			if info, err := os.Stat(filepath.Join(b.folder+partial, "file")); err == nil && info.Size() > int64(len(content))+1 {
				t.Errorf("%d bytes are on the disk", info.Size())
			}
		})
	}
}

func TestDownloadOfABadArtifactIsRefused(t *testing.T) {
	good := artifact("file", content)
	change := func(f func(*update.Artifact)) update.Artifact {
		a := good
		f(&a)
		return a
	}
	for want, m := range map[string]update.Module{
		"must be that of a file without folder":               module(change(func(a *update.Artifact) { a.Filename = "../../etc/passwd" })),
		`artifact "" of software module linux`:                module(change(func(a *update.Artifact) { a.Filename = "" })),
		`artifact ".." of software module linux`:              module(change(func(a *update.Artifact) { a.Filename = ".." })),
		"has two artifacts with name file":                    module(good, good),
		`has SHA-256 "": the server must send 64 hexadecimal`: module(change(func(a *update.Artifact) { a.SHA256 = "" })),
		`has SHA-256 "abcd": the server must`:                 module(change(func(a *update.Artifact) { a.SHA256 = "abcd" })),
		"has size 0, and its SHA-256 is not that of an empty": module(change(func(a *update.Artifact) { a.Size = 0 })),
		"has size -1": module(change(func(a *update.Artifact) { a.Size = -1 })),
	} {
		b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
		if err := b.all(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
		if len(b.requests) > 0 {
			t.Errorf("%q: a request was made", want)
		}
	}
}

func TestServerThatSendsNothing(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, n := range map[string]int{"at all": 0, "after a part": 1000} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(number int, w http.ResponseWriter, r *http.Request) {
				if number == 1 {
					if n > 0 {
						w.Header().Set("Content-Length", fmt.Sprint(len(content)))
						_, _ = w.Write([]byte(content[:n]))
						w.(http.Flusher).Flush()
					}
					select {
					case <-r.Context().Done():
					case <-release:
					}
					return
				}
				serveAll(w, r)
			})
			b.Stall = 300 * time.Millisecond
			if err := b.all(module(artifact("file", content))); err != nil {
				t.Fatal(err)
			}
			b.wantFile()
		})
	}
}

func TestDownloadIsCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(content[:1000]))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	if err := b.All(ctx, module(artifact("file", content)), b.folder, b, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	b.wantNoFile()
}

func TestExpiredAddressIsRefreshed(t *testing.T) {
	for _, code := range []int{401, 403, 404, 410} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			b := newBench(t, func(n int, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 1:
					breakAfter(w, 1000)
				case r.URL.Query().Get("signature") != "new":
					w.WriteHeader(code)
				default:
					serveAll(w, r)
				}
			})
			b.refreshed = b.url + "?signature=new"
			if err := b.all(module(artifact("file", content))); err != nil {
				t.Fatal(err)
			}
			b.wantFile()
			if got := b.requests[len(b.requests)-1].Header.Get("Range"); got != "bytes=1000-" || b.refreshes != 1 {
				t.Errorf("the last range is %q after %d refreshes", got, b.refreshes)
			}
		})
	}
}

func TestServerOfAFileAsksToWait(t *testing.T) {
	b := newBench(t, func(number int, w http.ResponseWriter, r *http.Request) {
		if number == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		serveAll(w, r)
	})
	b.RetryAfter = func(r *http.Response) time.Duration {
		if r.StatusCode != http.StatusTooManyRequests {
			t.Errorf("status %d", r.StatusCode)
		}
		return 100 * time.Millisecond
	}
	started := time.Now()
	if err := b.all(module(artifact("file", content))); err != nil {
		t.Fatal(err)
	}
	b.wantFile()
	if took := time.Since(started); took < 100*time.Millisecond || len(b.pauses) != 1 {
		t.Errorf("it took %s with %d pauses", took, len(b.pauses))
	}
	// A cancel ends the wait.
	b.serve = func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	ctx, cancel := context.WithCancel(t.Context())
	b.RetryAfter = func(*http.Response) time.Duration { cancel(); return 24 * time.Hour }
	if err := b.All(ctx, module(artifact("other", content)), b.folder, b, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestAddressThatCannotBeUsed(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ url, want string }{
		"none":                        {"", "the server has sent no link for it"},
		"of another protocol":         {"ftp://files.example.com/file", "ftp://files.example.com/file is no address of HTTP"},
		"with a password":             {"ftp://me:secret@files.example.com/file", "ftp://me:xxxxx@files.example.com/file is no address of HTTP"},
		"of a file of the device":     {"file://" + secret, "is no address of HTTP"},
		"that is relative":            {"/file", "/file is no address of HTTP"},
		"without a host":              {"https:///file", "is no address of HTTP"},
		"that is no address":          {"http://[::1/file", "missing ']' in host"},
		"that redirects to a file":    {"REDIRECT/file", "the redirect is not followed"},
		"with a character of control": {"http://files.example.com/\x7f", "invalid control character"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "file://"+secret, http.StatusFound)
			})
			transport := &http.Transport{}
			transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
			b.HTTP = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
				return fmt.Errorf("%w: the redirect is not followed", ErrAddress)
			}}
			b.url = strings.Replace(tc.url, "REDIRECT/file", b.url, 1)
			err := b.all(module(artifact("file", content)))
			if err == nil || !strings.Contains(err.Error(), "the address of the file cannot be used: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
			if b.refreshes != maxUseless-1 {
				t.Errorf("the address was refreshed %d times", b.refreshes)
			}
			b.wantNoFile()
			if !strings.HasPrefix(tc.url, "file:") {
				return
			}
			b.local = true // a person at the device has named it
			if err := b.all(module(artifact("file", content))); err != nil {
				t.Error(err)
			}
			b.wantFile()
		})
	}
}

func TestPausesGrowUntilThereIsProgress(t *testing.T) {
	b := newBench(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case n <= 4 || n == 6:
			breakAfter(w, 0)
		case n == 5:
			breakAfter(w, 1000)
		default:
			serveAll(w, r)
		}
	})
	if err := b.all(module(artifact("file", content))); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(b.pauses) != "[0 1 2 3 0 1]" {
		t.Errorf("the pauses are those of the attempts %v", b.pauses)
	}
	if len(b.failures) != 6 || b.failures[0] != "download of file: unexpected EOF; it is continued" {
		t.Errorf("the failures are %q", b.failures)
	}
}

func TestPauseHasJitterAndALimit(t *testing.T) {
	for name, tc := range map[string]struct {
		attempt  int
		random   float64
		from, to time.Duration
	}{
		"the shortest": {0, 0, 5 * time.Millisecond, 0}, "the longest first one": {0, 1, 10 * time.Millisecond, 0},
		"the limit": {1000, 0, 20 * time.Millisecond, 0},
	} {
		started := time.Now()
		PauseWithJitter(10*time.Millisecond, 40*time.Millisecond, func() float64 { return tc.random })(t.Context(), tc.attempt)
		if got := time.Since(started); got < tc.from || got > 10*time.Second {
			t.Errorf("%s: %s", name, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	PauseWithJitter(time.Hour, time.Hour, func() float64 { return 1 })(ctx, 0)
}

func TestRateOfADownloadIsLimited(t *testing.T) {
	b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
	b.BytesPerSecond = 256 << 10 // the first 16 KiB of the 64 KiB are free
	started := time.Now()
	if err := b.all(module(artifact("file", content))); err != nil {
		t.Fatal(err)
	}
	b.wantFile()
	if took := time.Since(started); took < 170*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

func TestTokenIsSentToItsServerOnly(t *testing.T) {
	var got []string
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		serveAll(w, r)
	}))
	defer store.Close()
	b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		http.Redirect(w, r, strings.Replace(store.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
	})
	b.Request = func(r *http.Request) error {
		r.Header.Set("Authorization", "TargetToken secret")
		return nil
	}
	if err := b.all(module(artifact("file", content))); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[TargetToken secret ]" {
		t.Errorf("the tokens are %q", got)
	}
}

func TestFreeSpaceIsCheckedFirst(t *testing.T) {
	b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
	free := int64(disk.Reserve + len(content) - 1)
	b.Free = func(string) (int64, error) { return free, nil }
	err := b.all(module(artifact("file", content)))
	if err == nil || !strings.Contains(err.Error(), "remove files, or use a larger file system") || len(b.requests) > 0 {
		t.Errorf("the error is %v after %d requests", err, len(b.requests))
	}
	// What is on the device already needs no space again.
	if err := os.WriteFile(filepath.Join(b.folder+partial, "file"), []byte(content[:1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.all(module(artifact("file", content))); err != nil {
		t.Error(err)
	}
	b.Free = func(string) (int64, error) { return 0, errors.New("no such file system") }
	if err := b.all(module(artifact("file", content))); err == nil || !strings.Contains(err.Error(), "no such file system") {
		t.Errorf("the error is %v", err)
	}
}

func TestFullOrReadOnlyDisk(t *testing.T) {
	for _, why := range []error{syscall.ENOSPC, syscall.EROFS} {
		t.Run(why.Error(), func(t *testing.T) {
			b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
			b.folder = power.Folder(t)
			device := power.New(b.folder, 1)
			b.Disk = device
			device.Fail = why
			if err := b.all(module(artifact("file", content))); !errors.Is(err, why) {
				t.Errorf("the error is %v", err)
			}
			b.wantNoFile()
			device.Fail = nil
			if err := b.all(module(artifact("file", content))); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestArtifactWithTheNameOfASignatureNeedsOne(t *testing.T) {
	public, _, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveAll(w, r) })
	b.Keys = []minisign.PublicKey{public}
	for _, m := range []update.Module{
		module(artifact("file"+SignatureSuffix, content)),
		module(artifact(SignatureSuffix, content)),
		module(artifact("other", content), artifact("file"+SignatureSuffix, content)),
	} {
		if err := b.all(m); err == nil || !strings.Contains(err.Error(), "it has no signature") {
			t.Errorf("%s: %v", m.Artifacts[0].Filename, err)
		}
	}
	if got := WithoutSignatures(module(artifact("a", ""), artifact("a.minisig", ""), artifact("b.minisig", "")).Artifacts); len(got) != 2 || got[0].Filename != "a" || got[1].Filename != "b.minisig" {
		t.Errorf("without signatures: %+v", got)
	}
}

func TestSignatures(t *testing.T) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// prehashed is a signature as the program minisign makes it today.
	prehashed := func(key minisign.PrivateKey, content string) string {
		r := minisign.NewReader(strings.NewReader(content))
		var sink bytes.Buffer
		if _, err := sink.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		return string(r.Sign(key))
	}
	good := prehashed(private, content)
	for name, tc := range map[string]struct {
		signature string // "" is none
		want      string // "" is success
	}{
		"a good one":               {good, ""},
		"one of an old minisign":   {string(minisign.Sign(private, []byte(content))), "was made by an old minisign: sign again"},
		"none":                     {"", "it has no signature, and the configuration of the agent has keys: add file.minisig"},
		"of another content":       {prehashed(private, content+"x"), "none of the keys of the agent has made the signature file.minisig"},
		"of an unknown key":        {prehashed(stranger, content), "none of the keys of the agent"},
		"one that is no signature": {"hello", "none of the keys of the agent"},
		"one that is too large":    {strings.Repeat("x", maxSignature+1), "is not a minisign signature"},
		"one with another comment": {strings.Replace(good, "\ntrusted comment: ", "\ntrusted comment: version 3 ", 1), "none of the keys of the agent"},
	} {
		t.Run(name, func(t *testing.T) {
			served := content
			b := newBench(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(served))
			})
			b.Keys = []minisign.PublicKey{{}, public}
			m := module(artifact("file", content))
			if tc.signature != "" {
				m.Artifacts = append(m.Artifacts, artifact("file"+SignatureSuffix, tc.signature))
				b.serve = func(n int, w http.ResponseWriter, r *http.Request) {
					served = []string{content, tc.signature}[(n-1)%2]
					http.ServeContent(w, r, "", time.Time{}, strings.NewReader(served))
				}
			}
			err := b.all(m)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
			b.Keys = nil
			if err := b.all(m); err != nil {
				t.Errorf("without keys: %v", err)
			}
		})
	}
}
