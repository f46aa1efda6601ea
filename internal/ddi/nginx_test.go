// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/testing/nginx"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// documentedProxy starts nginx with the configuration of that number in docs/devices.md, with paths
// of this machine and with the replacements in change (old, new, …). It returns its address and the
// certificate to trust.
func documentedProxy(t *testing.T, number int, upstream string, change ...string) (address string, roots *x509.CertPool) {
	t.Helper()
	nginx.Require(t)
	folder := t.TempDir()
	page, err := os.ReadFile("../../docs/devices.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "```nginx\n")
	if len(parts) <= number {
		t.Fatalf("docs/devices.md has no configuration %d of nginx", number)
	}
	server, _, _ := strings.Cut(parts[number], "```")
	address, roots = ports.Free(t), certificate(t, filepath.Join(folder, "devices"))
	pairs := append(change, "listen 443", "listen "+address, "/etc/nginx/devices", filepath.Join(folder, "devices"),
		"goshawk-device-api.goshawk-system.svc:8080", upstream)
	for ; len(pairs) > 1; pairs = pairs[2:] {
		if !strings.Contains(server, pairs[0]) {
			t.Fatalf("the documented configuration does not contain %q", pairs[0])
		}
		server = strings.ReplaceAll(server, pairs[0], pairs[1])
	}
	nginx.Run(t, folder, server, address)
	return address, roots
}

// certificate writes name.crt and name.key of this machine.
func certificate(t *testing.T, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: filepath.Base(name)}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	crt, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: crt}, ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name+file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(crt)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return roots
}

// TestBehindNginx: a device that uses TLS and a path prefix gets links with both, whether nginx
// keeps or removes the prefix. The backend gets the address of the device, which is 127.0.0.2.
func TestBehindNginx(t *testing.T) {
	tests := map[string]struct {
		change  []string
		options func(*ddi.Options)
		prefix  string
		id      string
		// links start with this; empty: with the URL that the device used.
		links   string
		address string
	}{
		"as documented":                   {nil, trust("127.0.0.1"), "/updates", "dev1", "", "127.0.0.2"},
		"an id with an escaped slash":     {nil, trust("127.0.0.1"), "/updates", "a/b", "", "127.0.0.2"},
		"the prefix is removed":           {[]string{":8080;", ":8080/;"}, trust("127.0.0.1"), "/updates", "dev1", "", "127.0.0.2"},
		"without a prefix":                {[]string{"location /updates/", "location /", "Prefix /updates", `Prefix ""`}, trust("127.0.0.1"), "", "dev1", "", "127.0.0.2"},
		"Forwarded only":                  {[]string{"X-Forwarded-For $remote_addr", `X-Forwarded-For ""`, "X-Forwarded-Proto $scheme", `X-Forwarded-Proto ""`, "X-Forwarded-Host $http_host", `X-Forwarded-Host ""`, `Forwarded ""`, `Forwarded "for=$remote_addr;proto=$scheme;host=\"$http_host\""`}, trust("127.0.0.1"), "/updates", "dev1", "", "127.0.0.2"},
		"the port in a header of its own": {[]string{"Host $http_host", "Host $host", `X-Forwarded-Port ""`, "X-Forwarded-Port $server_port"}, trust("127.0.0.0/8"), "/updates", "dev1", "", "127.0.0.2"},
		"a base URL with a path":          {nil, func(o *ddi.Options) { o.BaseURL = "https://devices.example.com/updates" }, "/updates", "dev1", "https://devices.example.com/updates", "127.0.0.1"},
		"a proxy that is not trusted":     {[]string{"location /updates/", "location /"}, func(*ddi.Options) {}, "", "dev1", "http://", "127.0.0.1"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := backend()
			b.Tokens[deviceapi.Device{Namespace: "acme", ControllerID: tc.id}] = token
			b.Offer.DeployID = 31
			upstream := httptest.NewServer(deviceAPI(t, b, tc.options))
			defer upstream.Close()
			address, roots := documentedProxy(t, 1, strings.TrimPrefix(upstream.URL, "http://"), tc.change...)
			from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			client := &http.Client{Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots},
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return from.DialContext(ctx, network, address)
				},
			}, Timeout: 10 * time.Second}
			send := func(method, url, body string) (int, string) {
				t.Helper()
				r, err := http.NewRequest(method, url, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "TargetToken "+token)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("X-Forwarded-For", "198.51.100.66") // the header of a device is ignored
				r.Header.Set("X-Forwarded-Port", "1")
				response, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				content, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				return response.StatusCode, string(content)
			}
			asked := "https://" + address + tc.prefix + wire.RootPath("acme", tc.id)
			code, body := send("GET", asked, "")
			var base wire.Base
			if err := json.Unmarshal([]byte(body), &base); err != nil || code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
			link := base.Links.DeploymentBase.Href
			if tc.links != "" {
				if !strings.HasPrefix(link, tc.links) {
					t.Errorf("the link is %s, want one that starts with %s", link, tc.links)
				}
			} else if link != asked+"/deploymentBase/31" {
				t.Errorf("the link is %s, want %s/deploymentBase/31", link, asked)
			} else if code, body := send("GET", link, ""); code != http.StatusOK {
				t.Errorf("the link answers %d %s", code, body)
			}
			if code, body := send("POST", asked+"/deploymentBase/31/feedback", `{"status":`+success+`}`); code != http.StatusOK {
				t.Errorf("the report is answered %d %s", code, body)
			}
			want := deviceapitest.Call{Method: "State", Device: deviceapi.Device{Namespace: "acme", ControllerID: tc.id}, Args: []any{tc.address}}
			if diff := cmp.Diff(want, b.Calls()[0]); diff != "" {
				t.Errorf("the poll (-want +got):\n%s", diff)
			}
		})
	}
}

// The headers about the certificate are those of nginx, and none of the device.
func TestCertificateBehindNginx(t *testing.T) {
	received := make(chan http.Header, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header }))
	defer upstream.Close()
	name := filepath.Join(t.TempDir(), "dev-00b2")
	certificate(t, name)
	device, err := tls.LoadX509KeyPair(name+".crt", name+".key")
	if err != nil {
		t.Fatal(err)
	}
	address, roots := documentedProxy(t, 2, strings.TrimPrefix(upstream.URL, "http://"), "/etc/nginx/fleet-ca.crt", name+".crt")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{device}}}, Timeout: 10 * time.Second}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+wire.RootPath("acme", "dev-00b2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"X-Controller-Id": "dev-00b2", "X-Authority": "CN=dev-00b2", "X-Authority-1": ""}
	for header := range want {
		r.Header.Set(header, "CN=Other CA")
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("nginx answers %s", response.Status)
	}
	got := <-received
	for header, value := range want {
		if sent := got.Get(header); sent != value {
			t.Errorf("nginx sends %s: %q, want %q", header, sent, value)
		}
	}
}
