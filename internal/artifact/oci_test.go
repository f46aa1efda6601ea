// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ociRegistry is a registry with TLS. Its middleware sees each request first.
type ociRegistry struct {
	*httptest.Server
	host  string
	blobs atomic.Int32 // requests for blobs

	mu         sync.Mutex
	middleware func(next http.Handler) http.Handler
	sawHeaders []http.Header
}

func newRegistry(t *testing.T) *ociRegistry {
	t.Helper()
	r := &ociRegistry{middleware: func(next http.Handler) http.Handler { return next }}
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		next := r.middleware(serve)
		r.sawHeaders = append(r.sawHeaders, request.Header.Clone())
		r.mu.Unlock()
		if request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		next.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "https://")
	return r
}

func (r *ociRegistry) use(middleware func(next http.Handler) http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.middleware = middleware
}

// push pushes content as the layer of an OCI artifact, as "oras push" does, and returns the file
// with the URL of the blob.
func (r *ociRegistry) push(t *testing.T, repository string, content []byte) File {
	t.Helper()
	to, err := remote.NewRepository(r.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	to.Client = &auth.Client{Client: r.Client()}
	layer, err := oras.PushBytes(t.Context(), to, "application/vnd.example.rootfs", content)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := oras.PackManifest(t.Context(), to, oras.PackManifestVersion1_1, "application/vnd.example.update", oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Tag(t.Context(), manifest, "1.0"); err != nil {
		t.Fatal(err)
	}
	return fileOf(content, "oci://"+r.host+"/"+repository+"@"+layer.Digest.String())
}

// newOCIWorld trusts the certificate of the registry.
func newOCIWorld(t *testing.T, r *ociRegistry, change func(*Options)) *world {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(r.Certificate())
	return newWorld(t, func(o *Options) {
		o.RootCAs = roots
		if change != nil {
			change(o)
		}
	})
}

func TestBlobOfARegistry(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	for name, change := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			w := newOCIWorld(t, r, change)
			url := w.serve("f", r.push(t, "fleet/gateway-os", content))
			if got := w.get(url, "Authorization", "TargetToken secret"); !got.isWhole(content) {
				t.Fatalf("status %d: %s", got.status, w.failures())
			}
			if got := w.get(url, "Range", "bytes=299990-"); got.status != http.StatusPartialContent || string(got.body) != string(content[299_990:]) {
				t.Errorf("the rest: status %d", got.status)
			}
			for _, header := range r.sawHeaders {
				if strings.Contains(fmt.Sprint(header), "secret") {
					t.Errorf("the registry received %v", header)
				}
			}
		})
	}
}

func TestTwoDevicesCauseOneRequestToTheRegistry(t *testing.T) {
	t.Parallel()
	content := randomBytes(2_000_000)
	r := newRegistry(t)
	w := newOCIWorld(t, r, nil)
	url := w.serve("f", r.push(t, "os", content))
	var devices sync.WaitGroup
	for _, device := range []string{"one", "two"} {
		devices.Go(func() {
			if got := w.get(url, "Device", device); !got.isWhole(content) {
				t.Errorf("device %s: status %d, %s", device, got.status, w.failures())
			}
		})
	}
	devices.Wait()
	if n := r.blobs.Load(); n != 1 {
		t.Errorf("%d requests for the blob", n)
	}
}

// A registry that breaks in the middle is asked for the rest, with and without ranges.
func TestRegistryThatBreaks(t *testing.T) {
	t.Parallel()
	content := randomBytes(2_000_000)
	for name, ranges := range map[string]string{"with ranges": "bytes", "without ranges": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			w := newOCIWorld(t, r, nil)
			url := w.serve("f", r.push(t, "os", content))
			var asked []string
			r.use(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
					if !strings.Contains(request.URL.Path, "/blobs/") {
						next.ServeHTTP(rw, request)
						return
					}
					asked = append(asked, request.Header.Get("Range"))
					if ranges == "" {
						request.Header.Del("Range")
					} else {
						rw.Header().Set("Accept-Ranges", ranges)
					}
					if len(asked) == 1 {
						rw.Header().Set("Content-Length", fmt.Sprint(len(content)))
						_, _ = rw.Write(content[:1_000_000])
						panic(http.ErrAbortHandler)
					}
					next.ServeHTTP(rw, request)
				})
			})
			if got := w.get(url); !got.isWhole(content) {
				t.Fatalf("status %d, %d bytes: %s", got.status, len(got.body), w.failures())
			}
			if last := asked[len(asked)-1]; ranges != "" && !strings.HasPrefix(last, "bytes=") {
				t.Errorf("the registry was asked %q", asked)
			}
		})
	}
}

// basic returns a registry's demand for credentials of which it gets only the right ones.
func basic(user, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// dockerConfig returns what kubectl create secret docker-registry writes.
func dockerConfig(host, user, password string) []byte {
	return fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q,"auth":%q}}}`,
		host, user, password, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func TestPullSecrets(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	for name, tt := range map[string]struct {
		secret func(host string) ([]byte, error)
		unset  bool
		says   string // empty: the device gets the file
	}{
		"the right one":        {secret: func(host string) ([]byte, error) { return dockerConfig(host, "robot", "pass"), nil }},
		"with a URL as host":   {secret: func(host string) ([]byte, error) { return dockerConfig("https://"+host+"/v2/", "robot", "pass"), nil }},
		"a wrong password":     {secret: func(host string) ([]byte, error) { return dockerConfig(host, "robot", "wrong"), nil }, says: "401 Unauthorized"},
		"for another registry": {secret: func(string) ([]byte, error) { return dockerConfig("other.example", "robot", "pass"), nil }, says: "basic credential"},
		"none":                 {unset: true, says: "basic credential"},
		"not JSON":             {secret: func(string) ([]byte, error) { return []byte("pass"), nil }, says: "has no valid .dockerconfigjson"},
		"a Secret that is missing": {secret: func(string) ([]byte, error) {
			return nil, Error{Source: true, Reason: "Secret pull does not exist"}
		}, says: "Secret pull does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			w := newOCIWorld(t, r, func(o *Options) {
				o.PullSecrets = func(_ context.Context, namespace, secret string) ([]byte, error) {
					if namespace != "fleet" || secret != "pull" {
						return nil, errors.New("another Secret was asked for: " + namespace + "/" + secret)
					}
					return tt.secret(r.host)
				}
			})
			file := r.push(t, "os", content)
			r.use(basic("robot", "pass"))
			if !tt.unset {
				file.Places[0].PullSecret = "pull"
			}
			got := w.get(w.serve("f", file))
			if tt.says == "" && !got.isWhole(content) || tt.says != "" && (got.status != http.StatusBadGateway || !strings.Contains(w.failures(), tt.says)) {
				t.Errorf("status %d, reason %q, want %q", got.status, w.failures(), tt.says)
			}
			if strings.Contains(w.failures(), "pass\"") {
				t.Error("the reason quotes the Secret")
			}
		})
	}
}

// A registry that sends its blobs from another host: the credentials stay with the registry.
func TestRegistryCredentialsAreNotRedirected(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	storage := newUpstream(t, serves(content))
	secure := httptest.NewTLSServer(storage.Config.Handler)
	t.Cleanup(secure.Close)
	r := newRegistry(t)
	w := newOCIWorld(t, r, func(o *Options) {
		o.RootCAs.AddCert(secure.Certificate())
		o.PullSecrets = func(context.Context, string, string) ([]byte, error) {
			return dockerConfig(r.host, "robot", "pass"), nil
		}
	})
	file := r.push(t, "os", content)
	file.Places[0].PullSecret = "pull"
	r.use(func(next http.Handler) http.Handler {
		return basic("robot", "pass")(http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
			http.Redirect(rw, request, secure.URL+"/blob?X-Amz-Signature=secret", http.StatusTemporaryRedirect)
		}))
	})
	if got := w.get(w.serve("f", file)); !got.isWhole(content) {
		t.Fatalf("status %d: %s", got.status, w.failures())
	}
	for _, header := range storage.headers() {
		if header.Get("Authorization") != "" || header.Get("Referer") != "" {
			t.Errorf("the storage received %v", header)
		}
	}
}

// The signatures in the URLs that a registry redirects to are in no reason.
func TestReasonsOfRegistriesHideSignatures(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	w := newOCIWorld(t, r, nil)
	file := r.push(t, "os", randomBytes(1000))
	r.use(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
			if !strings.Contains(request.URL.RawQuery, "Signature") {
				http.Redirect(rw, request, "/blob?X-Amz-Signature=secret", http.StatusTemporaryRedirect)
				return
			}
			_, _ = rw.Write([]byte("another size"))
		})
	})
	w.get(w.serve("f", file))
	if text := w.failures(); text == "" || strings.Contains(text, "secret") {
		t.Errorf("the reason is %q", text)
	}
}

func TestRegistryThatDoesNotStartIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(r *ociRegistry, rw http.ResponseWriter, request *http.Request){
		"the response with an error": func(_ *ociRegistry, rw http.ResponseWriter, request *http.Request) {
			silent(rw, request, http.StatusForbidden)
		},
		"the token": func(r *ociRegistry, rw http.ResponseWriter, request *http.Request) {
			if request.URL.Path == "/token" {
				silent(rw, request, http.StatusOK)
				return
			}
			rw.Header().Set("WWW-Authenticate", `Bearer realm="`+r.URL+`/token",service="registry"`)
			rw.WriteHeader(http.StatusUnauthorized)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			file := r.push(t, "os", randomBytes(1000))
			r.use(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) { serve(r, rw, request) })
			})
			w := newOCIWorld(t, r, nil)
			w.store.opening, w.store.firstByte = 500*time.Millisecond, 20*time.Second
			w.get(w.serve("f", file))
			if want := "it does not start to send the file within 500ms"; !strings.Contains(w.failures(), want) {
				t.Errorf("the reason is %q, want %q", w.failures(), want)
			}
		})
	}
}

func TestURLsOfRegistries(t *testing.T) {
	t.Parallel()
	content := randomBytes(100)
	r := newRegistry(t)
	good := r.push(t, "os", content)
	for name, tt := range map[string]struct{ url, says string }{
		"a tag":                  {"oci://" + r.host + "/os:1.0", "must be checksums.sha256"},
		"no digest":              {"oci://" + r.host + "/os", "must be checksums.sha256"},
		"the digest of another":  {"oci://" + r.host + "/os@sha256:" + hashOf([]byte("x")), "must be checksums.sha256"},
		"no repository":          {"oci://" + r.host, "must be oci://registry/repository@sha256:digest"},
		"a repository of dots":   {"oci://" + r.host + "/../os@sha256:" + hashOf(content), "must be oci://registry/repository@sha256:digest"},
		"a registry without TLS": {strings.Replace(good.Places[0].URL, r.host, "127.0.0.1:1", 1), "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newOCIWorld(t, r, nil)
			if got := w.get(w.serve("f", fileOf(content, tt.url))); got.status != http.StatusBadGateway || !strings.Contains(w.failures(), tt.says) {
				t.Errorf("status %d, reason %q", got.status, w.failures())
			}
		})
	}
}

// The manifest has another size than the file, and another registry may send it for the digest.
func TestBlobWithOtherContent(t *testing.T) {
	t.Parallel()
	content := randomBytes(300_000)
	other := append([]byte{1}, content[1:]...)
	other[0] ^= content[0]
	for name, sends := range map[string][]byte{"of the same size": other, "shorter": content[:100], "longer": append(content[:len(content):len(content)], 0)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			w := newOCIWorld(t, r, nil)
			file := r.push(t, "os", content)
			r.use(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(sends) })
			})
			if got := w.get(w.serve("f", file)); got.status == http.StatusOK && got.err == nil {
				t.Errorf("the device has a whole file of %d bytes", len(got.body))
			}
		})
	}
}

func TestRegistryWithoutTLS(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	r := newRegistry(t)
	file := r.push(t, "os", content)
	plain := httptest.NewServer(r.Config.Handler)
	t.Cleanup(plain.Close)
	host := strings.TrimPrefix(plain.URL, "http://")
	file.Places[0].URL = strings.Replace(file.Places[0].URL, r.host, host, 1)
	w := newWorld(t, nil)
	if got := w.get(w.serve("f", file)); got.status != http.StatusBadGateway {
		t.Errorf("without the flag: status %d", got.status)
	}
	w = newWorld(t, func(o *Options) { o.PlainHTTP = []string{host} })
	if got := w.get(w.serve("f", file)); !got.isWhole(content) {
		t.Errorf("with the flag: status %d, %s", got.status, w.failures())
	}
}
