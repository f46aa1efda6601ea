// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// authority is a CA of a test.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes a certificate; without a parent it is self-signed.
func issue(t testing.TB, parent *authority, template *x509.Certificate) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(1)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = noon.Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = noon.Add(24 * time.Hour)
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, certificate, key}
}

func newCA(t testing.TB, name string) *authority {
	return issue(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func (a *authority) device(name string, change ...func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(0x0a1b), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, f := range change {
		f(template)
	}
	return issue(a.t, a, template).certificate
}

func uri(text string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
}

func in(a *v1alpha1.DeviceAccess) *v1alpha1.DeviceAccess {
	a.Namespace = "fleet"
	if a.Name == "" {
		a.Name = "factory"
	}
	return a
}

func secretsOf(secrets map[string]*Secret) Secrets {
	return func(name string) *Secret { return secrets[name] }
}

func target(id string, labels map[string]string) *v1alpha1.Target {
	return &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: id, Labels: labels}}
}

// site is a selector of targets.
func site(name string) *v1alpha1.TargetSelector {
	return &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": v1alpha1.LabelValue(name)}}
}

// fixture has one DeviceAccess with all credentials for the site factory, and one for the site lab.
type fixture struct {
	ca, other *authority
	rules     *Rules
}

func newFixture(t testing.TB, change func(*v1alpha1.DeviceAccess)) *fixture {
	t.Helper()
	f := &fixture{ca: newCA(t, "fleet"), other: newCA(t, "other")}
	factory := in(&v1alpha1.DeviceAccess{Spec: v1alpha1.DeviceAccessSpec{
		TargetSelector:    site("factory"),
		GatewayToken:      &v1alpha1.GatewayToken{SecretName: "gateway"},
		ClientCertificate: &v1alpha1.ClientCertificate{CASecretRef: v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}},
		TrustedProxy:      &v1alpha1.TrustedProxy{Addresses: []string{"10.1.0.0/16", "fd00::7"}, Authorities: []string{"CN=Fleet"}},
	}})
	if change != nil {
		change(factory)
	}
	lab := in(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "lab"}, Spec: v1alpha1.DeviceAccessSpec{
		TargetSelector: site("lab"), GatewayToken: &v1alpha1.GatewayToken{SecretName: "lab"},
		TrustedProxy: &v1alpha1.TrustedProxy{Addresses: []string{"10.2.0.1"}, ControllerIDHeader: "x-ssl-client", AuthorityHeader: "X-SSL-ISSUER", Authorities: []string{"0A1B"}},
	}})
	secrets := secretsOf(map[string]*Secret{
		"gateway": {Data: map[string][]byte{"old": []byte("one\n"), "new": []byte("two"), "empty": nil}},
		"lab":     {Data: map[string][]byte{"token": []byte("three")}},
		"ca":      {Data: map[string][]byte{"ca.crt": f.ca.pem()}},
	})
	f.rules = NewRules("fleet", []*Access{New(factory, secrets, noon), New(lab, secrets, noon)})
	return f
}

func headers(pairs ...string) map[string][]string {
	h := map[string][]string{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

func TestDecide(t *testing.T) {
	registering := func(a *v1alpha1.DeviceAccess) {
		a.Spec.Registration = &v1alpha1.Registration{ControllerIDPattern: "dev-[0-9]+", Labels: map[string]v1alpha1.LabelValue{"site": "factory"}}
	}
	byURI := func(a *v1alpha1.DeviceAccess) { a.Spec.ClientCertificate.Identity = v1alpha1.IdentityURI }
	revoking := func(serials ...string) func(*v1alpha1.DeviceAccess) {
		return func(a *v1alpha1.DeviceAccess) { a.Spec.ClientCertificate.RevokedSerials = serials }
	}
	factory, lab := target("dev-1", map[string]string{"site": "factory"}), target("dev-1", map[string]string{"site": "lab"})
	proxy, stranger := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.2.0.2")
	good := headers("X-Controller-Id", "dev-1", "X-Authority", "cn=fleet")
	numbered := func(n int) map[string][]string { // only the authority n is accepted
		found := headers("X-Controller-Id", "dev-1", fmt.Sprintf("X-Authority-%d", n), "CN=Fleet")
		for i := 1; i < n; i++ {
			found[fmt.Sprintf("X-Authority-%d", i)] = []string{"CN=Other"}
		}
		return found
	}
	for name, tc := range map[string]struct {
		change   func(*v1alpha1.DeviceAccess)
		device   string // default dev-1
		target   *v1alpha1.Target
		token    string
		cert     func(f *fixture) []*x509.Certificate
		peer     netip.Addr
		header   map[string][]string
		want     string // name of the DeviceAccess, or the reason
		register bool
	}{
		"no credentials":                                      {target: factory, want: "NoCredentials"},
		"no credentials of an unknown device":                 {want: "NoCredentials"},
		"a gateway token":                                     {target: factory, token: "one", want: "factory"},
		"the second gateway token of a rotation":              {target: factory, token: "two", want: "factory"},
		"a wrong gateway token":                               {target: factory, token: "four", want: "UnknownToken"},
		"a wrong gateway token for an unknown device":         {token: "four", want: "UnknownToken"},
		"the gateway token of another DeviceAccess":           {target: factory, token: "three", want: "NotSelected"},
		"a gateway token for a target of another site":        {target: lab, token: "one", want: "NotSelected"},
		"a gateway token for an unknown device":               {token: "one", want: "NotRegistered"},
		"a gateway token, and registration":                   {change: registering, token: "one", want: "factory", register: true},
		"registration of an id that does not match":           {change: registering, device: "evil-1", token: "one", want: "NotRegistered"},
		"registration of an id that matches partly":           {change: registering, device: "dev-1x", token: "one", want: "NotRegistered"},
		"registration of an id with a slash":                  {change: func(a *v1alpha1.DeviceAccess) { registering(a); a.Spec.Registration.ControllerIDPattern = "" }, device: "a/b", token: "one", want: "NotRegistered"},
		"registration with a wrong token":                     {change: registering, token: "four", want: "UnknownToken"},
		"registration does not reach a target of another one": {change: registering, target: lab, token: "one", want: "NotSelected"},

		"a certificate":                   {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "factory"},
		"a certificate of another device": {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-2")) }, want: "OtherDevice"},
		"a certificate of another CA":     {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.other.device("dev-1")) }, want: "UnknownAuthority"},
		"a self-signed certificate":       {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(newCA(t, "dev-1").certificate) }, want: "UnknownAuthority"},
		"a certificate, another site":     {target: lab, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "NotSelected"},
		"a certificate, unknown device":   {cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "NotRegistered"},
		"a certificate, registration":     {change: registering, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "factory", register: true},
		"a certificate without a name":    {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("")) }, want: "OtherDevice"},
		"an expired certificate":          {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", valid(-2, -1))) }, want: "UnknownAuthority"},
		"a certificate of tomorrow":       {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", valid(1, 2))) }, want: "UnknownAuthority"},
		"a certificate for servers":       {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", forServers)) }, want: "UnknownAuthority"},
		"a certificate without usages":    {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", forAll)) }, want: "factory"},
		"the CA's own certificate":        {target: target("fleet", map[string]string{"site": "factory"}), device: "fleet2", cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.certificate) }, want: "OtherDevice"},
		"a revoked certificate":           {change: revoking("0a1b"), target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "Revoked"},
		"a serial with colons and zeros":  {change: revoking("00:0A:1B"), target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "Revoked"},
		"another revoked serial":          {change: revoking("0a1c", "a1b0"), target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "factory"},
		"an intermediate CA":              {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.below("dev-1") }, want: "factory"},
		"a missing intermediate CA":       {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.below("dev-1")[:1] }, want: "UnknownAuthority"},
		"a revoked intermediate CA":       {change: revoking("ff"), target: factory, cert: func(f *fixture) []*x509.Certificate { return f.below("dev-1") }, want: "Revoked"},
		"a chain that is too long": {target: factory, cert: func(f *fixture) []*x509.Certificate {
			return append(f.below("dev-1"), make([]*x509.Certificate, 20)...)
		}, want: "UnknownAuthority"},
		"a URI where a name is wanted": {target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("x", uri("goshawk://fleet/dev-1"))) }, want: "OtherDevice"},
		"a URI":                        {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("x", uri("goshawk://fleet/dev-1"))) }, want: "factory"},
		"a second URI": {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate {
			return f.one(f.ca.device("x", uri("https://example.com/"), uri("goshawk://fleet/dev-1")))
		}, want: "factory"},
		"a name where a URI is wanted": {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "OtherDevice"},
		"a URI of another namespace":   {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", uri("goshawk://other/dev-1"))) }, want: "OtherDevice"},
		"a URI of another device":      {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", uri("goshawk://fleet/dev-2"))) }, want: "OtherDevice"},
		"a URI of another scheme":      {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1", uri("https://fleet/dev-1"))) }, want: "OtherDevice"},
		"a URI with more path": {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate {
			return f.one(f.ca.device("dev-1", uri("goshawk://fleet/dev-1/x")))
		}, want: "OtherDevice"},
		"a URI with a query": {change: byURI, target: factory, cert: func(f *fixture) []*x509.Certificate {
			return f.one(f.ca.device("dev-1", uri("goshawk://fleet/dev-1?x")))
		}, want: "OtherDevice"},
		"a URI with an escaped id":          {change: byURI, device: "GW:1%2", target: factory, cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("x", uri("goshawk://fleet/GW:1%252"))) }, want: "factory"},
		"a certificate and a wrong token":   {target: factory, token: "four", cert: func(f *fixture) []*x509.Certificate { return f.one(f.ca.device("dev-1")) }, want: "factory"},
		"a token and a foreign certificate": {target: factory, token: "one", cert: func(f *fixture) []*x509.Certificate { return f.one(f.other.device("dev-9")) }, want: "factory"},

		"headers of a proxy":                        {target: factory, peer: proxy, header: good, want: "factory"},
		"headers of a proxy with IPv6":              {target: factory, peer: netip.MustParseAddr("fd00::7"), header: good, want: "factory"},
		"headers of another address":                {target: factory, peer: stranger, header: good, want: "UntrustedProxy"},
		"headers of no known address":               {target: factory, header: good, want: "UntrustedProxy"},
		"headers for another device":                {target: factory, device: "dev-2", peer: proxy, header: good, want: "OtherDevice"},
		"headers of another site":                   {target: lab, peer: proxy, header: good, want: "NotSelected"},
		"headers of an unknown device":              {peer: proxy, header: good, want: "NotRegistered"},
		"headers and registration":                  {change: registering, peer: proxy, header: good, want: "factory", register: true},
		"headers without an authority":              {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1"), want: "UnknownAuthority"},
		"headers with another authority":            {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority", "CN=Other"), want: "UnknownAuthority"},
		"an authority without an id":                {target: factory, peer: proxy, header: headers("X-Authority", "CN=Fleet"), want: "NoCredentials"},
		"an empty id":                               {target: factory, peer: proxy, header: headers("X-Controller-Id", "", "X-Authority", "CN=Fleet"), want: "OtherDevice"},
		"two ids, one of the device":                {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Controller-Id", "dev-2", "X-Authority", "CN=Fleet"), want: "OtherDevice"},
		"a numbered authority":                      {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority-1", "CN=Root", "X-Authority-2", "CN=Fleet"), want: "factory"},
		"a numbered authority after a gap":          {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority-2", "CN=Fleet"), want: "UnknownAuthority"},
		"the tenth numbered authority":              {target: factory, peer: proxy, header: numbered(10), want: "factory"},
		"the eleventh numbered authority":           {target: factory, peer: proxy, header: numbered(11), want: "UnknownAuthority"},
		"a numbered authority beside a plain one":   {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority", "CN=Other", "X-Authority-1", "CN=Fleet"), want: "UnknownAuthority"},
		"a numbered authority beside an empty one":  {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority", "", "X-Authority-1", "CN=Fleet"), want: "UnknownAuthority"},
		"a plain authority beside a numbered one":   {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority", "CN=Fleet", "X-Authority-1", "CN=Other"), want: "factory"},
		"two plain authorities":                     {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority", "CN=Other", "X-Authority", "CN=Fleet"), want: "UnknownAuthority"},
		"a numbered authority with two values":      {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority-1", "CN=Other", "X-Authority-1", "CN=Fleet"), want: "UnknownAuthority"},
		"the authority after one with two values":   {target: factory, peer: proxy, header: headers("X-Controller-Id", "dev-1", "X-Authority-1", "CN=Other", "X-Authority-1", "CN=Other", "X-Authority-2", "CN=Fleet"), want: "factory"},
		"headers with other names":                  {target: lab, peer: netip.MustParseAddr("10.2.0.1"), header: headers("X-Ssl-Client", "dev-1", "X-Ssl-Issuer", "0a1b"), want: "lab"},
		"the headers of another DeviceAccess":       {target: factory, peer: netip.MustParseAddr("10.2.0.1"), header: headers("X-Ssl-Client", "dev-1", "X-Ssl-Issuer", "0a1b"), want: "NotSelected"},
		"the id in a header that nothing names":     {target: factory, peer: proxy, header: headers("X-Device", "dev-1", "X-Authority", "CN=Fleet"), want: "NoCredentials"},
		"the address of the proxy of the other one": {target: factory, peer: netip.MustParseAddr("10.2.0.1"), header: good, want: "UntrustedProxy"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tc.change)
			q := &Request{ControllerID: tc.device, Target: tc.target, GatewayToken: tc.token, Peer: tc.peer, Header: tc.header, Now: noon}
			if q.ControllerID == "" {
				q.ControllerID = "dev-1"
			}
			if tc.cert != nil {
				q.Certificates = tc.cert(f)
			}
			for range 2 { // the second time from the memory of chains
				d := f.rules.Decide(q)
				got := string(d.Reason)
				if d.Access != nil {
					got = d.Access.Name
				}
				if got != tc.want || d.Register != tc.register {
					t.Fatalf("decided %s, register %v, want %s, %v", got, d.Register, tc.want, tc.register)
				}
			}
		})
	}
}

func (f *fixture) one(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }

// below is a certificate of an intermediate CA, and that of the CA.
func (f *fixture) below(name string) []*x509.Certificate {
	middle := issue(f.ca.t, f.ca, &x509.Certificate{Subject: pkix.Name{CommonName: "site"}, SerialNumber: big.NewInt(0xff), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return []*x509.Certificate{middle.device(name), middle.certificate}
}

func valid(from, until int) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = noon.Add(time.Duration(from)*time.Hour), noon.Add(time.Duration(until)*time.Hour)
	}
}

func forServers(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
func forAll(c *x509.Certificate)     { c.ExtKeyUsage = nil }

// The chain of a connection is remembered, and refused when a certificate of it expires.
func TestCertificateExpiresWhileConnected(t *testing.T) {
	f := newFixture(t, nil)
	q := &Request{ControllerID: "dev-1", Target: target("dev-1", map[string]string{"site": "factory"}), Certificates: f.one(f.ca.device("dev-1", valid(-1, 1))), Now: noon}
	if d := f.rules.Decide(q); d.Access == nil {
		t.Fatalf("refused: %s", d.Reason)
	}
	q.Now = noon.Add(2 * time.Hour)
	if d := f.rules.Decide(q); d.Access != nil {
		t.Error("an expired certificate is accepted")
	}
}

// The decision does not depend on the order of the DeviceAccesses.
func TestFirstDeviceAccessByNameRegisters(t *testing.T) {
	secrets := secretsOf(map[string]*Secret{"gateway": {Data: map[string][]byte{"t": []byte("one")}}})
	var all []*Access
	for _, name := range []string{"c", "a", "b"} {
		a := in(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.DeviceAccessSpec{GatewayToken: &v1alpha1.GatewayToken{SecretName: "gateway"}, Registration: &v1alpha1.Registration{}}})
		all = append(all, New(a, secrets, noon))
	}
	for range 3 {
		all = append(all[1:], all[0])
		if d := NewRules("fleet", all).Decide(&Request{ControllerID: "dev-1", GatewayToken: "one", Now: noon}); d.Access.Name != "a" || !d.Register {
			t.Errorf("decided %+v", d)
		}
	}
}

func TestFaults(t *testing.T) {
	ca, leaf := newCA(t, "fleet"), newCA(t, "fleet").device("dev-1")
	old := issue(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "old"}, IsCA: true, BasicConstraintsValid: true, NotBefore: noon.Add(-2 * time.Hour), NotAfter: noon.Add(-time.Hour)})
	gateway := v1alpha1.DeviceAccessSpec{GatewayToken: &v1alpha1.GatewayToken{SecretName: "s"}}
	certificate := v1alpha1.DeviceAccessSpec{ClientCertificate: &v1alpha1.ClientCertificate{CASecretRef: v1alpha1.SecretKeyReference{Name: "s", Key: "ca.crt"}}}
	with := func(spec v1alpha1.DeviceAccessSpec, r v1alpha1.Registration) v1alpha1.DeviceAccessSpec {
		spec.Registration = &r
		return spec
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")})
	leafPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	brokenPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("broken")})
	for name, tc := range map[string]struct {
		spec   v1alpha1.DeviceAccessSpec
		secret *Secret
		reason string
		says   []string
	}{
		"a gateway token":               {spec: gateway, secret: &Secret{Data: map[string][]byte{"a": []byte("t\n")}}},
		"no Secret":                     {spec: gateway, reason: v1alpha1.ReasonSecretNotFound, says: []string{"Secret s in namespace fleet (spec.gatewayToken.secretName) does not exist", "goshawk.dev/device-tokens"}},
		"a Secret of another type":      {spec: gateway, secret: &Secret{IsOther: true}, reason: v1alpha1.ReasonSecretWrongType, says: []string{"spec.gatewayToken.secretName", "delete it and create it"}},
		"a Secret without keys":         {spec: gateway, secret: &Secret{}, reason: v1alpha1.ReasonSecretKeyMissing, says: []string{"has no key"}},
		"an empty token":                {spec: gateway, secret: &Secret{Data: map[string][]byte{"a": []byte(" \n")}}, reason: v1alpha1.ReasonTokenEmpty, says: []string{`key "a"`, "or remove the key"}},
		"a token of two lines":          {spec: gateway, secret: &Secret{Data: map[string][]byte{"a": []byte("x\ny")}}, reason: v1alpha1.ReasonTokenInvalid, says: []string{"line break"}},
		"a CA":                          {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": ca.pem()}}},
		"two CAs with text around":      {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": []byte("# one\n" + string(ca.pem()) + "# two\n" + string(ca.pem()))}}},
		"no Secret of the CA":           {spec: certificate, reason: v1alpha1.ReasonSecretNotFound, says: []string{"spec.clientCertificate.caSecretRef.name", `key "ca.crt"`}},
		"a CA Secret of another type":   {spec: certificate, secret: &Secret{IsOther: true}, reason: v1alpha1.ReasonSecretWrongType},
		"no key of the CA":              {spec: certificate, secret: &Secret{Data: map[string][]byte{"tls.crt": ca.pem()}}, reason: v1alpha1.ReasonSecretKeyMissing, says: []string{`has no key "ca.crt"`, "spec.clientCertificate.caSecretRef.key"}},
		"an empty CA":                   {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": nil}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"contains no certificate in PEM"}},
		"a CA that is no PEM":           {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": ca.certificate.Raw}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"contains no certificate in PEM"}},
		"a private key":                 {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": keyPEM}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"contains a EC PRIVATE KEY"}},
		"a certificate of a device":     {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": leafPEM}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"not of a CA", "CN=dev-1"}},
		"a broken second certificate":   {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": append(ca.pem(), brokenPEM...)}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"cannot be read (number 2)"}},
		"too many certificates":         {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": []byte(strings.Repeat(string(ca.pem()), 101))}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"more than 100"}},
		"a value that is too large":     {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": make([]byte, 600<<10)}}, reason: v1alpha1.ReasonCAInvalid, says: []string{"512 KiB"}},
		"an expired CA":                 {spec: certificate, secret: &Secret{Data: map[string][]byte{"ca.crt": old.pem()}}, reason: v1alpha1.ReasonCAExpired, says: []string{"certificate 1", "CN=old", "2026-12-01T11:00:00Z"}},
		"no credential":                 {spec: v1alpha1.DeviceAccessSpec{}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"set gatewayToken, clientCertificate or trustedProxy"}},
		"a broken selector":             {spec: v1alpha1.DeviceAccessSpec{TargetSelector: &v1alpha1.TargetSelector{MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "a", Operator: "Like"}}}, GatewayToken: gateway.GatewayToken}, secret: &Secret{Data: map[string][]byte{"a": []byte("t")}}, reason: v1alpha1.ReasonInvalidExpression, says: []string{"spec.targetSelector.matchExpressions[0]"}},
		"a broken address":              {spec: v1alpha1.DeviceAccessSpec{TrustedProxy: &v1alpha1.TrustedProxy{Addresses: []string{"10.1"}, Authorities: []string{"a"}}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"spec.trustedProxy.addresses[0]"}},
		"all addresses":                 {spec: v1alpha1.DeviceAccessSpec{TrustedProxy: &v1alpha1.TrustedProxy{Addresses: []string{"::/0"}, Authorities: []string{"a"}}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"all addresses"}},
		"an authority of blanks":        {spec: v1alpha1.DeviceAccessSpec{TrustedProxy: &v1alpha1.TrustedProxy{Addresses: []string{"10.1.0.1"}, Authorities: []string{" "}}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"spec.trustedProxy.authorities[0]"}},
		"a pattern that is none":        {spec: with(gateway, v1alpha1.Registration{ControllerIDPattern: "("}), secret: &Secret{Data: map[string][]byte{"a": []byte("t")}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"spec.registration.controllerIDPattern", "missing closing )"}},
		"a pattern that grows":          {spec: with(gateway, v1alpha1.Registration{ControllerIDPattern: "((abc){30}[a-f]{10}){30}"}), secret: &Secret{Data: map[string][]byte{"a": []byte("t")}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"more than 2000"}},
		"a pattern of repeated classes": {spec: with(gateway, v1alpha1.Registration{ControllerIDPattern: `(\pL{1000}){3}`}), secret: &Secret{Data: map[string][]byte{"a": []byte("t")}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"controllerIDPattern"}},
		"a pattern of a MAC address":    {spec: with(gateway, v1alpha1.Registration{ControllerIDPattern: "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"}), secret: &Secret{Data: map[string][]byte{"a": []byte("t")}}},
		"labels that are not selected":  {spec: v1alpha1.DeviceAccessSpec{TargetSelector: &v1alpha1.TargetSelector{MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "site", Operator: "Exists"}}}, GatewayToken: gateway.GatewayToken, Registration: &v1alpha1.Registration{}}, secret: &Secret{Data: map[string][]byte{"a": []byte("t")}}, reason: v1alpha1.ReasonInvalidSpec, says: []string{"spec.registration.labels do not match spec.targetSelector"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(in(&v1alpha1.DeviceAccess{Spec: tc.spec}), func(string) *Secret { return tc.secret }, noon)
			if tc.reason == "" {
				if len(a.Faults) > 0 {
					t.Errorf("faults %+v", a.Faults)
				}
				return
			}
			if len(a.Faults) == 0 || a.Faults[0].Reason != tc.reason {
				t.Fatalf("faults %+v, want %s", a.Faults, tc.reason)
			}
			for _, words := range tc.says {
				if !strings.Contains(a.Faults[0].Message, words) {
					t.Errorf("the message %q lacks %q", a.Faults[0].Message, words)
				}
			}
			if d := NewRules("fleet", []*Access{a}).Decide(&Request{ControllerID: "dev-1", GatewayToken: "", Header: headers("X-Controller-Id", "dev-1", "X-Authority", ""), Now: noon}); d.Access != nil {
				t.Error("a DeviceAccess with a fault accepts empty credentials")
			}
		})
	}
}

// A fault in one part of a DeviceAccess does not disable the others.
func TestFaultDisablesItsPartOnly(t *testing.T) {
	f := newFixture(t, func(a *v1alpha1.DeviceAccess) {
		a.Spec.ClientCertificate.CASecretRef.Name = "missing"
		a.Spec.Registration = &v1alpha1.Registration{ControllerIDPattern: "(", Labels: map[string]v1alpha1.LabelValue{"site": "factory"}}
	})
	served := target("dev-1", map[string]string{"site": "factory"})
	if d := f.rules.Decide(&Request{ControllerID: "dev-1", Target: served, GatewayToken: "one", Now: noon}); d.Access == nil {
		t.Errorf("the gateway token is refused: %s", d.Reason)
	}
	if d := f.rules.Decide(&Request{ControllerID: "dev-1", Target: served, Certificates: f.one(f.ca.device("dev-1")), Now: noon}); d.Access != nil {
		t.Error("a certificate is accepted without its CA")
	}
	if d := f.rules.Decide(&Request{ControllerID: "dev-1", GatewayToken: "one", Now: noon}); d.Access != nil {
		t.Error("a device is registered with a broken pattern")
	}
}

// An object that cannot be decoded as a whole might lack a restriction, so it accepts nothing.
func TestUndecodableDeviceAccessAcceptsNothing(t *testing.T) {
	for field, accepted := range map[string]bool{"spec.targetSelector": false, "spec": false, "status.conditions": true} {
		f := newFixture(t, func(a *v1alpha1.DeviceAccess) {
			a.Unreadable = &v1alpha1.Unreadable{Fields: []string{field}, Message: field}
		})
		d := f.rules.Decide(&Request{ControllerID: "dev-1", Target: target("dev-1", map[string]string{"site": "factory"}), GatewayToken: "one", Now: noon})
		if (d.Access != nil) != accepted {
			t.Errorf("%s cannot be decoded: decided %+v", field, d)
		}
	}
}

func TestNamesOfRegisteredTargets(t *testing.T) {
	seen := map[string]string{}
	for id, want := range map[string]string{
		"dev-1": "dev-1", "dev.1": "dev.1", "GW:00:1A:07": "gw-00-1a-07-", "Dev-1": "dev-1-", "äöü": "device-", "_": "device-", "-dev-": "dev-",
		strings.Repeat("a", 253): strings.Repeat("a", 253), strings.Repeat("a", 254): strings.Repeat("a", 40) + "-", "a" + strings.Repeat("ä", 200): "a-", "dev/1": "dev-1-", "dev 1": "dev-1-",
	} {
		name := TargetName(id)
		if !strings.HasPrefix(name, want) || name == want && name != id {
			t.Errorf("the Target of %q is %s, want %s", id, name, want)
		}
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Errorf("the name %s of %q is not valid: %v", name, id, problems)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q have the same name", id, other)
		}
		seen[name] = id
		a := &Access{Name: "factory", registration: &registration{kind: "gateway-v2", labels: map[string]string{"site": "factory"}}}
		if made := a.NewTarget("fleet", id); made.ControllerID() != id || made.Labels["site"] != "factory" || made.Spec.Type != "gateway-v2" || made.Annotations[v1alpha1.DeviceAccessAnnotation] != "factory" {
			t.Errorf("the Target of %q is %+v", id, made)
		}
	}
}

// FuzzNames checks that each id gets a valid name.
func FuzzNames(f *testing.F) {
	f.Add("dev-1")
	f.Add("GW:00:1A:07")
	f.Add("\u0130\u212a")
	f.Fuzz(func(t *testing.T, id string) {
		for _, name := range []string{TargetName(id), OtherName(id)} {
			if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
				t.Errorf("the name %s of %q is not valid: %v", name, id, problems)
			}
		}
	})
}

// FuzzPatterns checks that the size of an accepted pattern is bounded.
func FuzzPatterns(f *testing.F) {
	f.Add("^dev-[0-9a-f]{12}$", "dev-0123456789ab")
	f.Add("((a{1,60}){1,60}){1,60}", "a")
	f.Add(")(", "a")
	f.Fuzz(func(t *testing.T, pattern, id string) {
		if len(pattern) > 256 || len(id) > 256 {
			return
		}
		compiled, problem := compilePattern(pattern)
		if (compiled == nil) != (problem != "") {
			t.Fatalf("%q: %v %q", pattern, compiled, problem)
		}
		if compiled != nil {
			compiled.MatchString(id)
		}
	})
}

// BenchmarkDecide measures a request among 1000 DeviceAccesses, and all refusals side by side.
func BenchmarkDecide(b *testing.B) {
	f := newFixture(b, nil)
	var all []*Access
	for i := range 1000 {
		name := "access-" + big.NewInt(int64(i)).String()
		a := in(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.DeviceAccessSpec{TargetSelector: site("factory"), GatewayToken: &v1alpha1.GatewayToken{SecretName: name}}})
		all = append(all, New(a, func(name string) *Secret { return &Secret{Data: map[string][]byte{"t": []byte(name)}} }, noon))
	}
	many := NewRules("fleet", all)
	served := target("dev-1", map[string]string{"site": "factory"})
	certificate := f.one(f.ca.device("dev-1"))
	for name, tc := range map[string]struct {
		rules *Rules
		q     Request
	}{
		"gateway token":               {f.rules, Request{Target: served, GatewayToken: "one"}},
		"gateway token of 1000":       {many, Request{Target: served, GatewayToken: "access-500"}},
		"wrong token":                 {f.rules, Request{Target: served, GatewayToken: "four"}},
		"wrong token of 1000":         {many, Request{Target: served, GatewayToken: "four"}},
		"wrong token, unknown device": {f.rules, Request{GatewayToken: "four"}},
		"foreign token":               {f.rules, Request{Target: served, GatewayToken: "three"}},
		"right token, unknown device": {f.rules, Request{GatewayToken: "one"}},
		"certificate":                 {f.rules, Request{Target: served, Certificates: certificate}},
		"certificate, unknown device": {f.rules, Request{Certificates: certificate}},
	} {
		b.Run(name, func(b *testing.B) {
			tc.q.ControllerID, tc.q.Now = "dev-1", noon
			b.ReportAllocs()
			for b.Loop() {
				tc.rules.Decide(&tc.q)
			}
		})
	}
}
