// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/goshawk-dev/goshawk/internal/console/login"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// TestConsoleRunsWithoutAnAPIServer: it serves HTTPS, asks browsers for no certificate, says that
// the API server cannot be reached, and is not ready.
func TestConsoleRunsWithoutAnAPIServer(t *testing.T) {
	folder := t.TempDir()
	certificate, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	writeCertificate(t, time.Now().Add(time.Hour), certificate, key)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	health := ports.Free(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, &rest.Config{Host: "http://" + ports.Free(t)}, Options{
			Console:        ConsoleOptions{Listener: listener, CertificateFile: certificate, KeyFile: key},
			MetricsAddress: "0", HealthAddress: health,
		})
	}()
	asked := false
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the certificate names no host
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		},
	}}}
	var response *http.Response
	eventually(t, "a page of the console", func() bool {
		response, err = client.Get("https://" + listener.Addr().String() + "/rollouts")
		return err == nil
	})
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.ProtoMajor != 2 || !strings.Contains(string(page), "connection refused") {
		t.Errorf("the page is %s %s\n%s", response.Proto, response.Status, page)
	}
	if asked {
		t.Error("the console asks browsers for a certificate")
	}
	eventually(t, "the health probe", func() bool { return code(health, "/healthz") == http.StatusOK })
	if got := code(health, "/readyz"); got != http.StatusInternalServerError {
		t.Errorf("/readyz is %d", got)
	}
	client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the process ends with %v", err)
	}
}

// TestConsoleWithWrongSettingsEnds: with an error that names the flag.
func TestConsoleWithWrongSettingsEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), &rest.Config{Host: "http://" + ports.Free(t)}, Options{
		Console: ConsoleOptions{Listener: listener, Login: login.Options{
			Issuer: "http://idp.example", ClientID: "a", BaseURL: &url.URL{Scheme: "https", Host: "console.example"}, Scopes: []string{"openid"}, Lifetime: time.Hour,
		}},
		MetricsAddress: "0", HealthAddress: "0",
	})
	if err == nil || !strings.Contains(err.Error(), "--console-oidc-issuer-url=http://idp.example must be a URL with https") {
		t.Errorf("the error is %v", err)
	}
	if _, err := listener.Accept(); err == nil {
		t.Error("the listener is open")
	}
}
