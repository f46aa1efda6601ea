// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/artifact"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/testing/artifactstore"
)

// linkKeys are keys that a test changes. next become the present ones by Reload.
type linkKeys struct {
	present artifact.Keys
	next    *artifact.Keys
}

func (k *linkKeys) Keys() artifact.Keys { return k.present }

func (k *linkKeys) Reload(context.Context) {
	if k.next != nil {
		k.present = *k.next
	}
}

func newKeys(t *testing.T, names ...string) artifact.Keys {
	t.Helper()
	byName := map[string][]byte{}
	for _, name := range names {
		byName[name] = bytes.Repeat([]byte(name[:1]), 32)
	}
	keys, err := artifact.NewKeys(byName)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// delivery is a device API that sends the file rootfs.swu of module 9 itself.
type delivery struct {
	*ddi.Server
	backend *deviceapitest.Backend
	keys    *linkKeys
	content []byte
	sources *atomic.Int32 // requests to the source
	asked   *atomic.Int32 // calls of Authorize
	status  *atomic.Int32 // of the source, if it is not 200
}

// askedBackend counts the calls of Authorize.
type askedBackend struct {
	*deviceapitest.Backend
	asked *atomic.Int32
}

func (b askedBackend) Authorize(ctx context.Context, device deviceapi.Device, credentials deviceapi.Credentials) error {
	b.asked.Add(1)
	return b.Backend.Authorize(ctx, device, credentials)
}

const filePath = root + "/softwaremodules/9/artifacts/rootfs.swu"

func newDelivery(t *testing.T, changes ...func(*ddi.Options)) delivery {
	t.Helper()
	d := delivery{keys: &linkKeys{present: newKeys(t, "a")}, content: bytes.Repeat([]byte("0123456789"), 10_000), sources: &atomic.Int32{}, asked: &atomic.Int32{}, status: &atomic.Int32{}}
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.sources.Add(1)
		if r.Header.Get("Authorization") != "" {
			t.Error("the source received the credentials of the device")
		}
		if status := d.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.content))
	}))
	t.Cleanup(source.Close)
	sum := sha256.Sum256(d.content)
	d.backend = backend()
	d.backend.Tokens[deviceapi.Device{Namespace: "acme", ControllerID: "dev2"}] = token
	module := deviceapi.Module{ID: "9", Type: "os", Name: "rootfs", Version: "1.2", Artifacts: []deviceapi.Artifact{{
		FileName: "rootfs.swu", Size: int64(len(d.content)), SHA256: hex.EncodeToString(sum[:]), MD5: "b2", Proxied: true,
		Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: source.URL, MD5URL: source.URL}},
	}}}
	d.backend.Module, d.backend.Action.Modules = module, []deviceapi.Module{module}
	d.Server = deviceAPI(t, askedBackend{d.backend, d.asked}, func(o *ddi.Options) {
		o.Artifacts = ddi.Artifacts{Store: artifactstore.New(t), Keys: d.keys, Lifetime: time.Hour}
		for _, change := range changes {
			change(o)
		}
	})
	return d
}

// links returns the links of the file in the deployment of dev1.
func (d delivery) links(t *testing.T) wire.ArtifactLinks {
	t.Helper()
	var document wire.DeploymentBase
	w := answered(d, ask("GET "+root+"/deploymentBase/31"))
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	return document.Deployment.Chunks[0].Artifacts[0].Links
}

// follow requests a link without credentials.
func (d delivery) follow(link string, headers ...string) *httptest.ResponseRecorder {
	r := ask("GET "+link, headers...)
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Authorization") }) {
		r.Header.Del("Authorization")
	}
	return answered(d, r)
}

// calls counts the calls of a method of the backend.
func (d delivery) calls(method string) (n int) {
	for _, c := range d.backend.Calls() {
		if c.Method == method {
			n++
		}
	}
	return n
}

func TestLinksOfProxiedFiles(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	links := d.links(t)
	if links.Download != links.DownloadHTTP || links.MD5Sum != links.MD5SumHTTP {
		t.Errorf("the relations differ: %+v", links)
	}
	for link, want := range map[string]string{links.Download.Href: filePath + "?e=", links.MD5Sum.Href: filePath + ".MD5SUM?e="} {
		if !strings.HasPrefix(link, "http://devices.example"+want) {
			t.Errorf("the link is %s", link)
		}
	}
	if w := d.follow(links.Download.Href); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), d.content) {
		t.Errorf("the link without credentials: %d", w.Code)
	}
	if w := d.follow(links.MD5Sum.Href); w.Code != 200 || w.Body.String() != "b2  rootfs.swu" {
		t.Errorf("the link to the MD5 sum without credentials: %d %q", w.Code, w.Body)
	}
	if w := answered(d, ask("GET "+filePath)); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), d.content) {
		t.Errorf("the path with the token: %d", w.Code)
	}
	if n := d.sources.Load(); n != 1 {
		t.Errorf("%d requests to the source", n)
	}
}

// TestLinksForOtherProtocols follows links that a device gets in another way than by polling.
func TestLinksForOtherProtocols(t *testing.T) {
	t.Parallel()
	device := deviceapi.Device{Namespace: "acme", ControllerID: "dev1"}
	d := newDelivery(t, func(o *ddi.Options) { o.BaseURL = "https://public.example/devices/" })
	for name, want := range map[string]string{"rootfs.swu": string(d.content), "rootfs.swu.MD5SUM": "b2  rootfs.swu"} {
		link := d.FileLink(device, "9", name)
		path, ok := strings.CutPrefix(link, "https://public.example/devices")
		if !ok || !strings.HasPrefix(path, root+"/softwaremodules/9/artifacts/"+name+"?e=") {
			t.Errorf("the link is %s", link)
		}
		if w := d.follow(path); w.Code != 200 || w.Body.String() != want {
			t.Errorf("the link to %s without credentials: %d", name, w.Code)
		}
	}
	d.keys.present = artifact.Keys{}
	if link := d.FileLink(device, "9", "a b"); link != "https://public.example/devices"+root+"/softwaremodules/9/artifacts/a%20b" {
		t.Errorf("without keys the link is %s", link)
	}
	if link := newDelivery(t).FileLink(device, "9", "rootfs.swu"); link != "" {
		t.Errorf("without a base URL the link is %s", link)
	}
}

// Without keys a link is not signed, and needs the credentials of the device.
func TestLinksWithoutKeys(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	d.keys.present = artifact.Keys{}
	link := d.links(t).Download.Href
	if link != "http://devices.example"+filePath {
		t.Errorf("the link is %s", link)
	}
	for _, query := range []string{"", "?e=zzzzzz&s=", "?s=AAAAAAAAAAAAAAAAAAAAAA&e=zzzzzz"} {
		if w := d.follow(link + query); w.Code != 401 {
			t.Errorf("%q without credentials: %d", query, w.Code)
		}
	}
	if w := answered(d, ask("GET "+link)); w.Code != 200 {
		t.Errorf("with the token: %d", w.Code)
	}
}

// signed returns a link to the file that was signed some time ago.
func signed(k artifact.Keys, ago time.Duration) string {
	link := artifact.Link{Namespace: "acme", ControllerID: "dev1", Module: "9", FileName: "rootfs.swu"}
	return "?" + k.Sign(link, time.Now().Add(-ago), time.Hour)
}

func TestSignedLinks(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		ago           time.Duration
		path          string // with %s for the query; default: filePath
		headers       []string
		isDownloading bool
		want          int
		code          string // of the error
	}{
		"a valid link":                                       {want: 200},
		"a valid link in the case of the tenant":             {path: "/ACME/controller/v1/dev1/softwaremodules/9/artifacts/rootfs.swu%s", want: 200},
		"a valid link with a wrong token":                    {headers: []string{"Authorization: TargetToken wrong"}, want: 200},
		"a valid link for the rest":                          {headers: []string{"Range: bytes=99990-"}, want: 206},
		"of another device":                                  {path: "/acme/controller/v1/dev2/softwaremodules/9/artifacts/rootfs.swu%s", want: 401, code: "unauthorized"},
		"of a device that does not exist":                    {path: "/acme/controller/v1/dev3/softwaremodules/9/artifacts/rootfs.swu%s", want: 401, code: "unauthorized"},
		"of another namespace":                               {path: "/other/controller/v1/dev1/softwaremodules/9/artifacts/rootfs.swu%s", want: 401, code: "unauthorized"},
		"of another module":                                  {path: root + "/softwaremodules/8/artifacts/rootfs.swu%s", want: 401, code: "unauthorized"},
		"of another file":                                    {path: root + "/softwaremodules/9/artifacts/rootfs.swu.MD5SUM%s", want: 401, code: "unauthorized"},
		"on another resource":                                {path: root + "/deploymentBase/31%s", want: 401, code: "unauthorized"},
		"on the list of artifacts":                           {path: root + "/softwaremodules/9/artifacts%s", want: 401, code: "unauthorized"},
		"with a later expiry":                                {path: filePath + "%sx", want: 401, code: "unauthorized"},
		"expired":                                            {ago: 2 * time.Hour, want: 401, code: "linkExpired"},
		"expired, with the right token":                      {ago: 2 * time.Hour, headers: []string{"Authorization: TargetToken " + token}, want: 200},
		"expired, for the rest of a download":                {ago: 2 * time.Hour, headers: []string{"Range: bytes=99990-"}, isDownloading: true, want: 206},
		"expired, for the rest of a download that is whole":  {ago: 2 * time.Hour, headers: []string{"Range: bytes=100000-"}, isDownloading: true, want: 416},
		"expired, for the rest, but nothing was started":     {ago: 2 * time.Hour, headers: []string{"Range: bytes=99990-"}, want: 401, code: "linkExpired"},
		"expired, for the whole file as a range":             {ago: 2 * time.Hour, headers: []string{"Range: bytes=0-"}, isDownloading: true, want: 401, code: "linkExpired"},
		"expired, for the last bytes":                        {ago: 2 * time.Hour, headers: []string{"Range: bytes=-10"}, isDownloading: true, want: 401, code: "linkExpired"},
		"expired, for the rest and then the start":           {ago: 2 * time.Hour, headers: []string{"Range: bytes=1-,0-0"}, isDownloading: true, want: 401, code: "linkExpired"},
		"expired, for the whole file":                        {ago: 2 * time.Hour, isDownloading: true, want: 401, code: "linkExpired"},
		"expired for six days, for the rest of a download":   {ago: 6 * day, headers: []string{"Range: bytes=99990-"}, isDownloading: true, want: 206},
		"expired for eight days, for the rest of a download": {ago: 8 * day, headers: []string{"Range: bytes=99990-"}, isDownloading: true, want: 401, code: "linkExpired"},
		"expired, of another device, for the rest":           {ago: 2 * time.Hour, path: "/acme/controller/v1/dev2/softwaremodules/9/artifacts/rootfs.swu%s", headers: []string{"Range: bytes=99990-"}, isDownloading: true, want: 401, code: "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDelivery(t)
			d.backend.Module.Downloading = tt.isDownloading
			query := signed(d.keys.present, tt.ago)
			if name == "with a later expiry" {
				query = strings.Replace(query, "e=", "e=1", 1)
			}
			path := tt.path
			if path == "" {
				path = filePath + "%s"
			}
			w := d.follow(fmt.Sprintf(path, query), tt.headers...)
			if w.Code != tt.want || tt.code != "" && !strings.Contains(w.Body.String(), tt.code) {
				t.Errorf("%d %.200s, want %d %s", w.Code, w.Body, tt.want, tt.code)
			}
			isByCredentials := tt.want == 401 || slices.Contains(tt.headers, "Authorization: TargetToken "+token)
			if got := d.asked.Load() > 0; got != isByCredentials {
				t.Errorf("the backend was asked about the credentials: %v, want %v; it counts a refusal", got, isByCredentials)
			}
			if tt.want == 401 && w.Header().Get("Connection") != "close" {
				t.Error("the connection stays open")
			}
		})
	}
}

// Another replica has the new key already: the keys are read again before a link is refused.
func TestNewKeyOfAnotherReplica(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	both := newKeys(t, "a", "b")
	d.keys.next = &both
	if w := d.follow(filePath + signed(both, 0)); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A GET is the start of the download; HEAD, a request without bytes and a checksum are not.
func TestStartOfAProxiedDownload(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	for i, tt := range []struct {
		request *http.Request
		started int
	}{
		{ask("HEAD " + filePath), 0},
		{ask("GET " + filePath + ".MD5SUM"), 0},
		{ask("GET " + filePath), 1},
		{ask("GET "+filePath, "Range: bytes=10-"), 2},
	} {
		if w := answered(d, tt.request); w.Code >= 300 || d.calls("ArtifactFetched") != tt.started {
			t.Errorf("request %d: status %d, %d starts, want %d", i, w.Code, d.calls("ArtifactFetched"), tt.started)
		}
	}
}

func TestProxiedFileThatCannotBeSent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(delivery)
		want   int
		says   string
		failed int // calls of ArtifactFailed
		retry  bool
	}{
		"the source has no such file":      {change: func(d delivery) { d.status.Store(404) }, want: 502, says: "artifactBroken", failed: 1},
		"the source has another checksum":  {change: func(d delivery) { d.content[5] ^= 1 }, want: 200, failed: 1}, // and the connection breaks
		"the backend refuses the download": {change: func(d delivery) { d.backend.Errors = map[string]error{"ArtifactFetched": deviceapi.ErrTooMany} }, want: 429, says: "quota"},
		"the backend fails":                {change: func(d delivery) { d.backend.Errors = map[string]error{"ArtifactFetched": errors.New("broken")} }, want: 500},
		"it is not a file of the device":   {change: func(d delivery) { d.backend.Errors = map[string]error{"Artifacts": deviceapi.ErrNotFound} }, want: 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDelivery(t)
			tt.change(d)
			server := httptest.NewServer(d)
			defer server.Close()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+filePath, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "TargetToken "+token)
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode != tt.want || !strings.Contains(string(body), tt.says) {
				t.Errorf("%d %.300s", response.StatusCode, body)
			}
			if tt.want == 200 && (err == nil || len(body) >= len(d.content)) {
				t.Errorf("the device has %d bytes, error %v", len(body), err)
			}
			if tt.want != 200 && response.Header.Get("Content-Type") == "application/octet-stream" {
				t.Error("the error has the headers of the file")
			}
			if n := d.calls("ArtifactFailed"); n != tt.failed {
				t.Errorf("%d failures were recorded, want %d", n, tt.failed)
			}
		})
	}
}

// A process that sends no artifacts says so.
func TestProxiedFileWithoutStore(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	s := deviceAPI(t, d.backend)
	if w := answered(s, ask("GET "+filePath)); w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
