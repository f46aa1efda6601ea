// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigurationHasDefaults(t *testing.T) {
	c, err := ReadConfig(writeFile(t, "c.yaml", "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(c.Server, c.Folder, c.HandlersFolder, c.RebootCommand); got != "<nil> /var/lib/goshawk-agent /etc/goshawk-agent/handlers.d [systemctl reboot]\n" {
		t.Errorf("the configuration is %s", got)
	}
	if _, err := ReadConfig("../../examples/agent/config.yaml"); err != nil {
		t.Errorf("the example: %v", err)
	}
}

func TestConfigurationThatIsRefused(t *testing.T) {
	server := func(lines ...string) string { return "server:\n  " + strings.Join(lines, "\n  ") }
	for text, want := range map[string]string{
		"folder: [":                                    "yaml",
		"sever: {}":                                    `unknown field "sever"`,
		"handlers: {app: tar}":                         "handlers.app is \"tar\", want bundle or file",
		"handlerTimeout: 5":                            "write for example 30s, 10m or 1h",
		"handlerTimeout: -5m":                          "write for example 30s, 10m or 1h",
		"fileRoots: [opt]":                             `fileRoots has "opt", want an absolute path of a folder other than /`,
		"fileRoots: [/opt, /x/..]":                     `fileRoots has "/x/.."`,
		"downloadBytesPerSecond: -1":                   "want 0 or more",
		"signatureKeys: [hello]":                       "signatureKeys[0] is not a public key of minisign",
		server("targetTokenFile: t"):                   "server.url is missing",
		server("url: http://h/x"):                      "server needs exactly one of targetTokenFile, gatewayTokenFile and clientCertificateFile",
		server("url: ftp://h/x", "targetTokenFile: t"): "the address of the server is \"ftp://h/x\"",
		server("url: http://h/x", "targetTokenFile: t", "gatewayTokenFile: g"):     "server needs exactly one of",
		server("url: http://h/x", "clientCertificateFile: c"):                      "clientCertificateFile and server.clientKeyFile are needed together",
		server("url: http://h/x", "targetTokenFile: t", "clientKeyFile: k"):        "are needed together",
		server("url: http://h/x", "targetTokenFile: t", "proxy: ':3128'"):          "server.proxy is",
		server("url: http://h/x", "targetTokenFile: t", "proxy: 'proxy.lan:3128'"): "server.proxy is",
		server("url: http://h/x", "targetTokenFile: t", "pollInterval: tomorrow"):  "is not a duration",
	} {
		if _, err := ReadConfig(writeFile(t, "c.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v, want %q", text, err, want)
		}
	}
	if _, err := ReadConfig("/nothing/c.yaml"); err == nil || !strings.Contains(err.Error(), "read the configuration: open /nothing/c.yaml") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestCredentialsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		server ServerConfig
		want   string
	}{
		"no token file":            {ServerConfig{TargetTokenFile: "/nothing/token"}, "read the token of the server: open /nothing/token"},
		"an empty token":           {ServerConfig{TargetTokenFile: writeFile(t, "t", "\n")}, "must contain one token and nothing else"},
		"two tokens":               {ServerConfig{GatewayTokenFile: writeFile(t, "t", "a\nb\n")}, "must contain one token and nothing else"},
		"no CA":                    {ServerConfig{CAFile: "/nothing/ca"}, "read server.caFile"},
		"a CA without certificate": {ServerConfig{CAFile: writeFile(t, "ca", "hello")}, "has no certificate in PEM form"},
		"no client certificate":    {ServerConfig{ClientCertificateFile: "/nothing/c", ClientKeyFile: "/nothing/k"}, "read server.clientCertificateFile"},
	} {
		tc.server.URL = "https://h/x"
		_, err := New(Config{Folder: t.TempDir(), Server: &tc.server}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// pollOf polls once with a configuration.
func pollOf(t *testing.T, s *ServerConfig) error {
	t.Helper()
	a, err := New(Config{Folder: t.TempDir(), Server: s}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Server.Client.Poll(t.Context())
	return err
}

// seen are the requests that a server has got.
type seen struct {
	mu   sync.Mutex
	list []string
}

func (s *seen) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, text)
}

func (s *seen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.list, "; ")
}

func TestTokensAreReadForEachRequest(t *testing.T) {
	var got seen
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.add(r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	file := writeFile(t, "token", " one \n")
	a, err := New(Config{Folder: t.TempDir(), Server: &ServerConfig{URL: server.URL + "/x", GatewayTokenFile: file}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"one", "two", ""} {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Server.Client.Poll(t.Context()); (err == nil) != (token != "") {
			t.Errorf("token %q: %v", token, err)
		}
	}
	if got.String() != "GatewayToken one; GatewayToken two" {
		t.Errorf("the server got %s", got.String())
	}
}

func TestRequestsGoThroughTheProxy(t *testing.T) {
	var got seen
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.add(r.Method + " " + r.URL.String() + " " + r.Header.Get("Proxy-Authorization") + " " + r.Host)
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer proxy.Close()
	token := writeFile(t, "token", "secret")
	address := strings.Replace(proxy.URL, "http://", "http://user:pass@", 1)
	if err := pollOf(t, &ServerConfig{URL: "http://hawkbit.invalid/x", ControllerID: "d", TargetTokenFile: token, Proxy: address}); err != nil {
		t.Error(err)
	}
	if want := "GET http://hawkbit.invalid/x/controller/v1/d Basic dXNlcjpwYXNz hawkbit.invalid"; got.String() != want {
		t.Errorf("the proxy got %q, want %q", got.String(), want)
	}
	if err := pollOf(t, &ServerConfig{URL: "https://hawkbit.invalid/x", ControllerID: "d", TargetTokenFile: token, Proxy: address}); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("a proxy that forbids the connection: %v", err)
	}
}

// TestProxyOfTheEnvironment runs itself in a process with the variables, which net/http reads once.
func TestProxyOfTheEnvironment(t *testing.T) {
	const child = "GOSHAWK_AGENT_TEST_PROXY"
	if os.Getenv(child) == "" {
		var got seen
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got.add(r.Method + " " + r.Host)
			w.WriteHeader(http.StatusForbidden)
		}))
		defer proxy.Close()
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironment$", "-test.v")
		c.Env = append(os.Environ(), child+"=1", "HTTPS_PROXY="+proxy.URL, "HTTP_PROXY=http://plain.invalid:3128", "NO_PROXY=direct.example.com,.inside.example.com,192.0.2.0/24")
		text, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(text), "PASS") {
			t.Errorf("%v: %s", err, text)
		}
		if got.String() != "CONNECT hawkbit.invalid:443" {
			t.Errorf("the proxy got %q", got.String())
		}
		return
	}
	token := writeFile(t, "token", "secret")
	config := &ServerConfig{URL: "https://hawkbit.invalid/x", ControllerID: "d", TargetTokenFile: token}
	if err := pollOf(t, config); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("the poll did not end at the proxy: %v", err)
	}
	proxyFor := func(config *ServerConfig, address string) string {
		a, err := New(Config{Folder: t.TempDir(), Server: config}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := a.Download.HTTP.Transport.(*http.Transport).Proxy(request) // the device API has the same transport
		if err != nil {
			t.Fatal(err)
		}
		if proxy == nil {
			return ""
		}
		return proxy.String()
	}
	for address, want := range map[string]string{
		"https://hawkbit.example.com/x":      os.Getenv("HTTPS_PROXY"),
		"http://hawkbit.example.com/x":       "http://plain.invalid:3128",
		"https://direct.example.com/x":       "",
		"https://files.inside.example.com/x": "",
		"https://192.0.2.7/x":                "",
		"https://localhost/x":                "",
	} {
		if got := proxyFor(config, address); got != want {
			t.Errorf("the proxy for %s is %q, want %q", address, got, want)
		}
	}
	config.Proxy = "http://proxy.example.com:3128"
	if got := proxyFor(config, "https://direct.example.com/x"); got != config.Proxy {
		t.Errorf("the proxy of the configuration is %q", got)
	}
}

// authority signs certificates for a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key, a.serial = key, 1
	return a
}

// issue writes a certificate and its key into files.
func (a *authority) issue(t *testing.T, name, certificateFile, keyFile string) {
	t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClientCertificateIsReadForEachConnection(t *testing.T) {
	ca := newAuthority(t)
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	if err := os.WriteFile(in("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ca.issue(t, "server", in("server.pem"), in("server.key"))
	pair, err := tls.LoadX509KeyPair(in("server.pem"), in("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	var got seen
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.add(r.TLS.PeerCertificates[0].Subject.CommonName + r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, "{}")
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	ca.issue(t, "old", in("c.pem"), in("c.key"))
	a, err := New(Config{Folder: in("state"), Server: &ServerConfig{
		URL: strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/x", ClientCertificateFile: in("c.pem"), ClientKeyFile: in("c.key"), CAFile: in("ca.pem"),
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old", "renewed"} {
		ca.issue(t, name, in("c.pem"), in("c.key"))
		if _, err := a.Server.Client.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
	if got.String() != "old; renewed" {
		t.Errorf("the server got the certificates %s", got.String())
	}
	stranger := newAuthority(t)
	stranger.issue(t, "stranger", in("c.pem"), in("c.key"))
	if _, err := a.Server.Client.Poll(t.Context()); err == nil {
		t.Error("a certificate of a stranger is accepted")
	}
	// Without caFile the certificates of the system count, which do not have this authority.
	if err := pollOf(t, &ServerConfig{URL: server.URL + "/x", ClientCertificateFile: in("c.pem"), ClientKeyFile: in("c.key")}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server of an unknown authority: %v", err)
	}
}

func TestTokenIsNotSentWithoutTLSAfterARedirect(t *testing.T) {
	var got seen
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.add(r.URL.Path + r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, "{}")
	}))
	defer plain.Close()
	target := plain.URL
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/x/controller/v1/loop" {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return
		}
		http.Redirect(w, r, target+"/plain", http.StatusFound)
	}))
	defer secure.Close()
	ca := writeFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	token := writeFile(t, "token", "secret")
	if err := pollOf(t, &ServerConfig{URL: secure.URL + "/x", ControllerID: "d", TargetTokenFile: token, CAFile: ca}); err != nil {
		t.Error(err)
	}
	if got.String() != "/plain" {
		t.Errorf("the server without TLS got %s", got.String())
	}
	if err := pollOf(t, &ServerConfig{URL: secure.URL + "/x", ControllerID: "loop", TargetTokenFile: token, CAFile: ca}); err == nil || !strings.Contains(err.Error(), "stopped after 10 redirects") {
		t.Errorf("a loop of redirects: %v", err)
	}
}

// TestRedirects checks who gets the token after a redirect, and that a report is never lost in one.
func TestRedirects(t *testing.T) {
	var got seen
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.add(strings.TrimSpace(r.Method + " " + r.Header.Get("Authorization") + " " + string(body)))
		_, _ = io.WriteString(w, "{}")
	})
	other := httptest.NewServer(handler)
	defer other.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	var status int
	var target string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/moved") {
			handler(w, r)
			return
		}
		http.Redirect(w, r, target, status)
	}))
	defer server.Close()
	ca := writeFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	token := writeFile(t, "token", "secret")
	client := func() *Agent {
		a, err := New(Config{Folder: t.TempDir(), Server: &ServerConfig{URL: server.URL + "/x", ControllerID: "d", TargetTokenFile: token, CAFile: ca}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	attributes := `{"mode":"replace","data":{"hw":"2"}}`
	for name, tc := range map[string]struct {
		status        int
		target        string
		isReport      bool
		got, wantFail string
	}{
		"a poll, to another path":              {302, server.URL + "/moved", false, "GET TargetToken secret", ""},
		"a poll, to another port":              {302, other.URL, false, "GET", ""},
		"a poll, to the same host with TLS":    {301, secure.URL, false, "GET TargetToken secret", ""},
		"a poll, to a file of the device":      {302, "file:///etc/hostname", false, "", "a redirect to file:///etc/hostname is not followed"},
		"a report, as a report":                {307, server.URL + "/moved", true, "PUT TargetToken secret " + attributes, ""},
		"a report, to TLS as a report":         {308, secure.URL, true, "PUT TargetToken secret " + attributes, ""},
		"a report, as a request for a page":    {301, server.URL + "/moved", true, "", "set server.url to the address of the server after the redirect"},
		"a report, as a request for a page, 2": {303, secure.URL, true, "", "set server.url to the address of the server after the redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			got.list, status, target = nil, tc.status, tc.target
			c := client().Server.Client
			var err error
			if tc.isReport {
				err = c.SendAttributes(t.Context(), c.AttributesLink(), map[string]string{"hw": "2"})
			} else {
				_, err = c.Poll(t.Context())
			}
			if (err != nil) != (tc.wantFail != "") || err != nil && !strings.Contains(err.Error(), tc.wantFail) {
				t.Errorf("the error is %v, want %q", err, tc.wantFail)
			}
			if got.String() != tc.got {
				t.Errorf("the server got %q, want %q", got.String(), tc.got)
			}
		})
	}
}

func TestAttributesOfACommand(t *testing.T) {
	for name, tc := range map[string]struct {
		script, want string
	}{
		"lines":                             {"echo a=1; echo b=x=y; echo nothing; echo =1; echo ' c = 3 '", "map[a:1 b:x=y c:3 hw:2]"},
		"that replace those of the file":    {"echo hw=3", "map[hw:3]"},
		"of a command that fails":           {"echo a=1; exit 1", "map[a:1 hw:2]"},
		"of a command that is not there":    {"exec /nothing", "map[hw:2]"},
		"of a command that leaves a daemon": {"sleep 5 & echo a=1", "map[a:1 hw:2]"},
		"of a command that never stops":     {"echo a=1; yes", "map[a:1 hw:2]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Config{Attributes: map[string]string{"hw": "2"}, AttributesCommand: []string{"sh", "-c", tc.script + " # 2>/dev/null"}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if got := fmt.Sprint(c.attributes(slog.New(slog.DiscardHandler))(ctx)); got != tc.want {
				t.Errorf("the attributes are %s, want %s", got, tc.want)
			}
		})
	}
}

func TestOutputOfACommandIsBounded(t *testing.T) {
	text, err := output(t.Context(), []string{"sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"})
	if err == nil || len(text) != maxOutput {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
