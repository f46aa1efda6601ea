// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package access decides which credentials may act for which target, from the DeviceAccesses of a
// namespace and the Secrets that they name. It is pure: Secrets, targets and the time are its
// arguments.
//
// New reads one DeviceAccess and reports the faults of its configuration. NewRules makes an index
// of all of one namespace, so that the cost of a decision does not depend on how many there are.
package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// SecretType is the type of the Secrets that the device API reads.
const SecretType = "goshawk.dev/device-tokens"

const (
	// maxCAs is the maximum number of certificates in the Secret of one DeviceAccess.
	maxCAs = 100
	// maxCABytes is the maximum size of that value.
	maxCABytes = 512 << 10
)

// Digest is the SHA-256 of a token without leading and trailing white space.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a token.
func DigestOf(token []byte) Digest { return sha256.Sum256(bytes.TrimSpace(token)) }

// TokenFault returns why a token cannot be used, one of the reasons of v1alpha1, or "".
func TokenFault(token []byte) string {
	token = bytes.TrimSpace(token) // files end in a newline, headers cannot contain one
	switch {
	case len(token) == 0:
		return v1alpha1.ReasonTokenEmpty
	case bytes.ContainsFunc(token, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return v1alpha1.ReasonTokenInvalid
	}
	return ""
}

// Secret is what is known of a Secret that a DeviceAccess names.
type Secret struct {
	// Data is the data of a Secret of SecretType.
	Data map[string][]byte
	// IsOther means that the Secret has another type, so that its data is not known.
	IsOther bool
}

// Secrets returns a Secret of the namespace, or nil if it does not exist.
type Secrets func(name string) *Secret

// Fault is an error in the configuration of a DeviceAccess. The part that it is about accepts
// nothing; the other parts work.
type Fault struct{ Reason, Message string }

// Access is one DeviceAccess, ready to decide.
type Access struct {
	// Name of the DeviceAccess.
	Name string
	// MaxTargets is the maximum number of targets that it registers.
	MaxTargets int
	// Faults of the configuration, in the order of the fields.
	Faults []Fault
	// Until is when a CA certificate expires, so that there is another fault. Zero: there is no CA.
	Until time.Time

	selector     *query.Query
	tokens       []Digest
	certificate  certificateAccess
	proxy        proxyAccess
	registration *registration
}

type certificateAccess struct {
	cas     []*x509.Certificate
	byURI   bool
	revoked map[string]bool
}

type proxyAccess struct {
	addresses               []netip.Prefix
	controllerID, authority string
	authorities             []string
}

type registration struct {
	pattern *regexp.Regexp // nil: every controllerID
	labels  map[string]string
	kind    string
}

// New reads a DeviceAccess. Parts of it with a fault accept nothing.
func New(a *v1alpha1.DeviceAccess, secrets Secrets, now time.Time) *Access {
	made := &Access{Name: a.Name}
	if a.Unreadable != nil && slices.ContainsFunc(a.Unreadable.Fields, func(field string) bool { return strings.HasPrefix(field, "spec") }) {
		made.fault(v1alpha1.ReasonInvalidSpec, "the stored object cannot be decoded, so nothing is accepted: %s", a.Unreadable.Message)
		return made
	}
	selector, err := query.Compile(v1alpha1.Selection{TargetSelector: a.Spec.TargetSelector}, nil)
	if err != nil {
		made.fault(v1alpha1.ReasonInvalidExpression, "spec.%s; nothing is accepted until it is corrected", err)
		return made
	}
	made.selector = selector
	if a.Spec.GatewayToken == nil && a.Spec.ClientCertificate == nil && a.Spec.TrustedProxy == nil {
		made.fault(v1alpha1.ReasonInvalidSpec, "spec has no credential: set gatewayToken, clientCertificate or trustedProxy")
	}
	if g := a.Spec.GatewayToken; g != nil {
		made.readTokens(a.Namespace, g.SecretName, secrets)
	}
	if c := a.Spec.ClientCertificate; c != nil {
		made.readCertificate(a.Namespace, c, secrets, now)
	}
	if p := a.Spec.TrustedProxy; p != nil {
		made.readProxy(p)
	}
	if r := a.Spec.Registration; r != nil {
		made.readRegistration(a.Namespace, r)
	}
	return made
}

func (a *Access) fault(reason, format string, args ...any) {
	a.Faults = append(a.Faults, Fault{reason, fmt.Sprintf(format, args...)})
}

// secret returns the data of a Secret, or notes why there is none. holds says what it should hold.
func (a *Access) secret(namespace, name, field, holds string, secrets Secrets) (data map[string][]byte, ok bool) {
	found := secrets(name)
	named := fmt.Sprintf("Secret %s in namespace %s (%s)", name, namespace, field)
	switch {
	case found == nil:
		a.fault(v1alpha1.ReasonSecretNotFound, "%s does not exist: create it in this namespace, with type %s and %s", named, SecretType, holds)
	case found.IsOther:
		a.fault(v1alpha1.ReasonSecretWrongType, "%s is not of type %s, and the device API reads no others: delete it and create it with that type (the type is immutable)", named, SecretType)
	default:
		return found.Data, true
	}
	return nil, false
}

func (a *Access) readTokens(namespace, name string, secrets Secrets) {
	const field = "spec.gatewayToken.secretName"
	data, ok := a.secret(namespace, name, field, "a key with the token of the gateway", secrets)
	if ok && len(data) == 0 {
		a.fault(v1alpha1.ReasonSecretKeyMissing, "Secret %s in namespace %s (%s) has no key: add a key with the token of the gateway", name, namespace, field)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		switch fault := TokenFault(data[key]); fault {
		case "":
			a.tokens = append(a.tokens, DigestOf(data[key]))
		case v1alpha1.ReasonTokenEmpty:
			a.fault(fault, "the token under key %q of Secret %s in namespace %s (%s) is empty: write the token of the gateway there, or remove the key", key, name, namespace, field)
		default:
			a.fault(fault, "the token under key %q of Secret %s in namespace %s (%s) contains a line break or another control character, which no HTTP header can hold: write one line there", key, name, namespace, field)
		}
	}
}

func (a *Access) readCertificate(namespace string, c *v1alpha1.ClientCertificate, secrets Secrets, now time.Time) {
	a.certificate.byURI = c.Identity == v1alpha1.IdentityURI
	a.certificate.revoked = make(map[string]bool, len(c.RevokedSerials))
	for _, serial := range c.RevokedSerials {
		a.certificate.revoked[plainSerial(serial)] = true
	}
	const field = "spec.clientCertificate.caSecretRef"
	data, exists := a.secret(namespace, c.CASecretRef.Name, field+".name", fmt.Sprintf("key %q", c.CASecretRef.Key), secrets)
	if !exists {
		return
	}
	encoded, ok := data[c.CASecretRef.Key]
	named := fmt.Sprintf("key %q of Secret %s in namespace %s (%s)", c.CASecretRef.Key, c.CASecretRef.Name, namespace, field)
	if !ok {
		a.fault(v1alpha1.ReasonSecretKeyMissing, "Secret %s in namespace %s (%s.name) has no key %q: add the key, or correct %s.key", c.CASecretRef.Name, namespace, field, c.CASecretRef.Key, field)
		return
	}
	cas, problem := parseCAs(encoded)
	if problem != "" {
		a.fault(v1alpha1.ReasonCAInvalid, "%s %s", named, problem)
		return
	}
	for i, ca := range cas {
		if now.After(ca.NotAfter) {
			a.fault(v1alpha1.ReasonCAExpired, "certificate %d in %s (%s) expired at %s, so no certificate of it is accepted: write its successor there, or remove it",
				i+1, named, text.LimitBytes(ca.Subject.String(), maxSubject), ca.NotAfter.UTC().Format(time.RFC3339))
			continue
		}
		if a.Until.IsZero() || ca.NotAfter.Before(a.Until) {
			a.Until = ca.NotAfter
		}
		a.certificate.cas = append(a.certificate.cas, ca)
	}
}

// parseCAs reads CA certificates in PEM. The problem is the rest of a sentence about the value.
func parseCAs(data []byte) (cas []*x509.Certificate, problem string) {
	if len(data) > maxCABytes {
		return nil, fmt.Sprintf("has more than %d KiB: remove certificates", maxCABytes>>10)
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Sprintf("contains a %s: write only the certificates of CAs there", text.LimitBytes(block.Type, maxSubject))
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, fmt.Sprintf("contains a certificate that cannot be read (number %d): %v", len(cas)+1, err)
		case !ca.BasicConstraintsValid || !ca.IsCA:
			return nil, fmt.Sprintf("contains a certificate that is not of a CA (number %d, %s): write the certificate of its issuer there", len(cas)+1, text.LimitBytes(ca.Subject.String(), maxSubject))
		case len(cas) == maxCAs:
			return nil, fmt.Sprintf("contains more than %d certificates: remove some", maxCAs)
		}
		cas = append(cas, ca)
	}
	if len(cas) == 0 {
		return nil, "contains no certificate in PEM: write the certificate of the CA there"
	}
	return cas, ""
}

// plainSerial returns a hexadecimal serial number in lower case, without colons and leading zeros.
func plainSerial(serial string) string {
	return strings.TrimLeft(strings.ToLower(strings.ReplaceAll(serial, ":", "")), "0")
}

func (a *Access) readProxy(p *v1alpha1.TrustedProxy) {
	for i, text := range p.Addresses {
		prefix, err := ParseAddresses(text)
		switch {
		case err != nil:
			a.fault(v1alpha1.ReasonInvalidSpec, "spec.trustedProxy.addresses[%d] %q is neither an IP address nor a range such as 10.1.0.0/16", i, text)
		case prefix.Bits() == 0:
			a.fault(v1alpha1.ReasonInvalidSpec, "spec.trustedProxy.addresses[%d] %q contains all addresses, so every client could write the headers of the proxy: write the addresses of the proxies", i, text)
		default:
			a.proxy.addresses = append(a.proxy.addresses, prefix)
		}
	}
	a.proxy.controllerID = textproto.CanonicalMIMEHeaderKey(orDefault(p.ControllerIDHeader, v1alpha1.DefaultControllerIDHeader))
	a.proxy.authority = textproto.CanonicalMIMEHeaderKey(orDefault(p.AuthorityHeader, v1alpha1.DefaultAuthorityHeader))
	for i, authority := range p.Authorities {
		authority = strings.ToLower(strings.TrimSpace(authority))
		if authority == "" {
			a.fault(v1alpha1.ReasonInvalidSpec, "spec.trustedProxy.authorities[%d] is empty: write the value of %s that the proxy sends", i, a.proxy.authority)
			continue
		}
		a.proxy.authorities = append(a.proxy.authorities, authority)
	}
	if len(p.Addresses) == 0 || len(p.Authorities) == 0 {
		a.fault(v1alpha1.ReasonInvalidSpec, "spec.trustedProxy needs at least one entry in addresses and one in authorities")
	}
}

func orDefault(value, standard string) string {
	if value == "" {
		return standard
	}
	return value
}

// ParseAddresses reads an IP address or a range of addresses.
func ParseAddresses(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		address = address.Unmap().WithZone("")
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if address := prefix.Addr(); err == nil && address.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(address.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), err
}

// maxSubject limits texts of certificates in messages, in bytes.
const maxSubject = 100
