// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
)

// authority issues certificates for tests.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	made := a.issue("a CA for tests")
	a.certificate, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue returns a certificate for a name, for servers on loopback and for clients. The first one is
// that of the authority.
func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// pem returns the certificate of the authority as PEM.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// pemOf returns a certificate and its key as PEM.
func (a *authority) pemOf(certificate tls.Certificate) (certificatePEM, keyPEM []byte) {
	a.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
}

func TestEmbeddedWithTLS(t *testing.T) {
	ca := newAuthority(t)
	stranger := newAuthority(t)
	options := fast()
	options.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue("server")}, ClientAuth: tls.RequestClientCert}
	e := embeddedFor(t, options)
	for name, tc := range map[string]struct {
		certificates []tls.Certificate
		password     string
		roots        *authority
		want         error
	}{
		"a password":                      {nil, "secret", ca, nil},
		"a certificate":                   {[]tls.Certificate{ca.issue("dev-1@fleet")}, "", ca, nil},
		"a certificate of another device": {[]tls.Certificate{ca.issue("dev-2@fleet")}, "", ca, mqtt.Refused{Code: 5}},
		"no credential":                   {nil, "", ca, mqtt.Refused{Code: 5}},
		"a client that trusts another CA": {nil, "secret", stranger, &tls.CertificateVerificationError{}},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := e.dial(t, "dev-1@fleet", func(o *mqtt.Options) {
				o.Password = tc.password
				o.TLS = &tls.Config{RootCAs: tc.roots.pool(), Certificates: tc.certificates}
			})
			switch untrusted := new(tls.CertificateVerificationError); {
			case tc.want == nil && err == nil:
				if err := client.Publish(t.Context(), mqtt.Message{Topic: "e", Payload: []byte("hello")}); err != nil {
					t.Error(err)
				}
				if m := e.got(); m[len(m)-1].device != (deviceapi.Device{Namespace: "fleet", ControllerID: "dev-1"}) {
					t.Errorf("got %v", m)
				}
			case !errors.Is(err, tc.want) && !(errors.As(tc.want, &untrusted) && errors.As(err, &untrusted)):
				t.Errorf("the error is %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := e.dial(t, "dev-1@fleet", nil); err == nil {
		t.Error("a client without TLS is accepted")
	}
}
