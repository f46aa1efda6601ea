// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
