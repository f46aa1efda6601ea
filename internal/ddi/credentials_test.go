// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// openBackend accepts all credentials, and keeps the last ones.
type openBackend struct {
	*deviceapitest.Backend
	mu   sync.Mutex
	sent deviceapi.Credentials
}

func (b *openBackend) Authorize(_ context.Context, _ deviceapi.Device, c deviceapi.Credentials) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = c
	return nil
}

// The backend gets the credentials of a request, and the address of the connection even if a
// trusted proxy forwards another one.
func TestCredentialsOfARequest(t *testing.T) {
	for name, tc := range map[string]struct {
		authorization string
		want          deviceapi.Credentials
	}{
		"none":                       {"", deviceapi.Credentials{}},
		"a target token":             {"TargetToken abc", deviceapi.Credentials{TargetToken: "abc"}},
		"a target token in capitals": {"TARGETTOKEN  abc ", deviceapi.Credentials{TargetToken: "abc"}},
		"a gateway token":            {"GatewayToken abc", deviceapi.Credentials{GatewayToken: "abc"}},
		"a gateway token in small":   {"gatewaytoken abc", deviceapi.Credentials{GatewayToken: "abc"}},
		"a scheme without a token":   {"GatewayToken", deviceapi.Credentials{}},
		"another scheme":             {"Bearer abc", deviceapi.Credentials{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &openBackend{Backend: backend()}
			server, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return b, nil }, ddi.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, root, nil)
			r.Header.Set("X-Forwarded-For", "198.51.100.7")
			r.Header.Set("X-Controller-Id", "dev1")
			if tc.authorization != "" {
				r.Header.Set("Authorization", tc.authorization)
			}
			server.ServeHTTP(httptest.NewRecorder(), r)
			if diff := cmp.Diff(tc.want, b.sent, cmpopts.IgnoreFields(deviceapi.Credentials{}, "Peer", "Header")); diff != "" {
				t.Errorf("credentials (-want +got):\n%s", diff)
			}
			if b.sent.Peer != netip.MustParseAddr("192.0.2.1") || len(b.sent.Header["X-Controller-Id"]) != 1 {
				t.Errorf("the peer is %s, the headers are %v", b.sent.Peer, b.sent.Header)
			}
		})
	}
}

// servedTLS is a device API that serves HTTPS, and the certificate to trust.
func servedTLS(t *testing.T, b deviceapi.Backend) (address string, roots *x509.CertPool) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "server")
	roots = certificate(t, name)
	pair, err := tls.LoadX509KeyPair(name+".crt", name+".key")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return b, nil }, ddi.Options{TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String(), roots
}

// clientPair returns a certificate of a device, which no CA has signed, and its key.
func clientPair(t *testing.T) tls.Certificate {
	t.Helper()
	name := filepath.Join(t.TempDir(), "client")
	certificate(t, name)
	pair, err := tls.LoadX509KeyPair(name+".crt", name+".key")
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// With TLS the backend gets the certificate of the client, which it has to verify. Links start with
// https, and there is no HTTP/2.
func TestClientCertificateReachesTheBackend(t *testing.T) {
	b := &openBackend{Backend: backend()}
	address, roots := servedTLS(t, b)
	pair := clientPair(t)
	for what, certificates := range map[string][]tls.Certificate{"no certificate": nil, "a certificate of no CA": {pair}} {
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates}}}
		response, err := client.Get("https://" + address + root)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		response.Body.Close()
		b.mu.Lock()
		sent := b.sent.Certificates
		b.mu.Unlock()
		if response.StatusCode != http.StatusOK || response.Proto != "HTTP/1.1" || len(sent) != len(certificates) {
			t.Errorf("%s: %s %s, %d certificates", what, response.Proto, response.Status, len(sent))
		}
	}
}

// A client that resumes a TLS session sends its certificate only in the first handshake. The
// backend gets it for each connection, so it can refuse one that was revoked in between.
func TestResumedSessionHasTheClientCertificate(t *testing.T) {
	b := &openBackend{Backend: backend()}
	address, roots := servedTLS(t, b)
	pair := clientPair(t)
	for what, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(1), MaxVersion: version}
		for _, isResumed := range []bool{false, true} {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
			response, err := client.Get("https://" + address + root)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			b.mu.Lock()
			sent := b.sent.Certificates
			b.sent = deviceapi.Credentials{}
			b.mu.Unlock()
			if response.TLS.DidResume != isResumed || len(sent) != 1 {
				t.Errorf("%s: resumed %v, want %v, with %d certificates", what, response.TLS.DidResume, isResumed, len(sent))
			}
		}
	}
}

// A client that opens a connection and never finishes the handshake does not keep it.
func TestSlowHandshakeIsClosed(t *testing.T) {
	t.Parallel()
	address, _ := servedTLS(t, backend())
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	started := time.Now()
	if _, err := conn.Write([]byte{0x16, 0x03, 0x01}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(started.Add(25 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("after %s: %v", time.Since(started), err)
	}
}
