// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestTheEndOfACertificateIsExported: as soon as a server has read its certificate, by the name of
// the server.
func TestTheEndOfACertificateIsExported(t *testing.T) {
	ends := time.Date(2036, time.May, 4, 3, 2, 1, 0, time.UTC)
	folder := t.TempDir()
	certificate, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	writeCertificate(t, ends, certificate, key)
	certificateExpiry.Reset()
	if _, err := (&process{}).serverTLS(t.Context(), serverMQTT, certificate, key); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(certificateExpiry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("exported %v", families)
	}
	if m := families[0].GetMetric()[0]; m.GetLabel()[0].GetValue() != "mqtt" || m.GetGauge().GetValue() != float64(ends.Unix()) {
		t.Errorf("exported %v, the certificate ends at %d", m, ends.Unix())
	}
}

// TestReplacedCertificateIsServed replaces a certificate as Kubernetes does in a mounted Secret:
// the files are links into a folder that is replaced as a whole. A pair that cannot be used changes
// nothing, and the next one that can be used is served.
func TestReplacedCertificateIsServed(t *testing.T) {
	folder := t.TempDir()
	mount := func(version string, write func(certificateFile, keyFile string)) {
		t.Helper()
		data := filepath.Join(folder, version)
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(data, "tls.crt"), filepath.Join(data, "tls.key"))
		if err := os.Symlink(version, filepath.Join(folder, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Readlink(filepath.Join(folder, "..data"))
		if err := os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")); err != nil {
			t.Fatal(err)
		}
		if before != "" {
			if err := os.RemoveAll(filepath.Join(folder, before)); err != nil {
				t.Fatal(err)
			}
		}
	}
	until := func(year int) func(string, string) {
		return func(certificateFile, keyFile string) {
			writeCertificate(t, time.Date(year, time.May, 4, 3, 2, 1, 0, time.UTC), certificateFile, keyFile)
		}
	}
	mount("first", until(2036))
	certificate, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for _, file := range []string{certificate, key} {
		if err := os.Symlink(filepath.Join("..data", filepath.Base(file)), file); err != nil {
			t.Fatal(err)
		}
	}
	config, err := (&process{}).serverTLS(t.Context(), serverDDI, certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	served := func() (year int) {
		t.Helper()
		pair, err := config.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.NotAfter.Year()
	}
	wait := func(year int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); served() != year; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after a minute the certificate that ends in %d is served, want %d", served(), year)
			}
		}
	}
	wait(2036)
	mount("second", until(2037))
	wait(2037)
	mount("broken", func(certificateFile, keyFile string) {
		until(2038)(certificateFile, keyFile)
		until(2039)(certificateFile, filepath.Join(folder, "other.key")) // a key of another certificate
	})
	if year := served(); year != 2037 {
		t.Errorf("with a key that does not belong to the certificate, that of %d is served", year)
	}
	mount("third", until(2040))
	wait(2040)
}

// writeCertificate writes a certificate that ends at a time, and its key.
func writeCertificate(t *testing.T, ends time.Time, certificateFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: ends}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certificateFile: {Type: "CERTIFICATE", Bytes: certificate}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
