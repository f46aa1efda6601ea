// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"crypto/sha256"
	"crypto/x509"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Reason is why credentials are refused. It is a label of a metric.
type Reason string

const (
	// NoCredentials means that the request has none.
	NoCredentials Reason = "NoCredentials"
	// UntrustedProxy means that the headers of a proxy come from an address that is not trusted.
	UntrustedProxy Reason = "UntrustedProxy"
	// UnknownToken means that the token is neither that of the target nor one of a gateway.
	UnknownToken Reason = "UnknownToken"
	// UnknownAuthority means that the client certificate is of no accepted CA, is not valid now, or
	// is not for clients; or that no authority that a proxy names is accepted.
	UnknownAuthority Reason = "UnknownAuthority"
	// Revoked means that the serial number of the client certificate, or of an intermediate CA, is
	// revoked.
	Revoked Reason = "Revoked"
	// OtherDevice means that the certificate, or the header of the proxy, names another device.
	OtherDevice Reason = "OtherDevice"
	// NotSelected means that the DeviceAccess does not select the target.
	NotSelected Reason = "NotSelected"
	// NotRegistered means that the device has no target, and that the DeviceAccess does not
	// register it.
	NotRegistered Reason = "NotRegistered"
	// MaxTargetsReached means that the device has no target, and that the DeviceAccess has
	// registered as many as it may. Decide does not return it, because it does not count.
	MaxTargetsReached Reason = "MaxTargetsReached"
)

// reasons in the order in which a request with several credentials came nearer to success.
var reasons = []Reason{NoCredentials, UntrustedProxy, UnknownToken, UnknownAuthority, Revoked, OtherDevice, NotSelected, NotRegistered}

// Request is one request of a device.
type Request struct {
	ControllerID string
	// Target that serves the device, or nil.
	Target *v1alpha1.Target
	// GatewayToken, or "".
	GatewayToken string
	// Certificates of the TLS connection: that of the device, then intermediate ones. The peer has
	// proved to have its key; nothing else is known of them.
	Certificates []*x509.Certificate
	// Peer is the address of the other end of the connection.
	Peer netip.Addr
	// Header contains the headers by canonical name.
	Header map[string][]string
	Now    time.Time
}

// Decision about a request. Access is the DeviceAccess that accepts it, or nil, with the Reason.
type Decision struct {
	Access *Access
	// Register means that the device has no target and should get one.
	Register bool
	Reason   Reason
}

// Rules are all DeviceAccesses of one namespace, by their credentials. They are safe for
// concurrent use.
type Rules struct {
	namespace string
	byToken   map[Digest][]*Access
	roots     *x509.CertPool
	byRoot    map[Digest][]*Access
	// byHeader are the DeviceAccesses with a trusted proxy, by the header with the controllerID,
	// the header with the authority, and the authority.
	byHeader map[string]map[string]map[string][]*Access
	verified verified
}

// NewRules makes the rules of a namespace. If several DeviceAccesses accept the credentials of a
// request, the first one by name decides.
func NewRules(namespace string, accesses []*Access) *Rules {
	r := &Rules{namespace: namespace, byToken: map[Digest][]*Access{}, roots: x509.NewCertPool(), byRoot: map[Digest][]*Access{}, byHeader: map[string]map[string]map[string][]*Access{}}
	for _, a := range accesses {
		if a.selector == nil {
			continue
		}
		for _, token := range a.tokens {
			add(r.byToken, token, a)
		}
		for _, ca := range a.certificate.cas {
			r.roots.AddCert(ca)
			add(r.byRoot, sha256.Sum256(ca.Raw), a)
		}
		if len(a.proxy.addresses) == 0 {
			continue
		}
		for _, authority := range a.proxy.authorities {
			byAuthorityHeader := r.byHeader[a.proxy.controllerID]
			if byAuthorityHeader == nil {
				byAuthorityHeader = map[string]map[string][]*Access{}
				r.byHeader[a.proxy.controllerID] = byAuthorityHeader
			}
			if byAuthorityHeader[a.proxy.authority] == nil {
				byAuthorityHeader[a.proxy.authority] = map[string][]*Access{}
			}
			add(byAuthorityHeader[a.proxy.authority], authority, a)
		}
	}
	return r
}

func add[K comparable](to map[K][]*Access, key K, a *Access) {
	if !slices.Contains(to[key], a) {
		to[key] = append(to[key], a)
	}
}

// Decide decides about a request. All refusals take about the same time: every kind of credential
// is looked up, whether or not the device is known.
func (r *Rules) Decide(q *Request) Decision {
	d := decision{request: q}
	d.token(r)
	d.certificates(r)
	d.headers(r)
	if d.accepted != nil {
		return Decision{Access: d.accepted, Register: q.Target == nil}
	}
	return Decision{Reason: reasons[d.nearest]}
}

// decision collects what is found about one request.
type decision struct {
	request  *Request
	accepted *Access
	nearest  int
}

func (d *decision) refuse(reason Reason) {
	d.nearest = max(d.nearest, slices.Index(reasons, reason))
}

// offer is called for a DeviceAccess that accepts the credentials for this controllerID.
func (d *decision) offer(a *Access) {
	if d.accepted != nil && d.accepted.Name <= a.Name {
		return
	}
	q := d.request
	isSelected := q.Target != nil && a.selector.Matches(q.Target)
	mayRegister := !isSelected && a.registration != nil && a.registration.isFor(q.ControllerID)
	switch {
	case isSelected, q.Target == nil && mayRegister:
		d.accepted = a
	case q.Target != nil:
		d.refuse(NotSelected)
	default:
		d.refuse(NotRegistered)
	}
}

func (d *decision) token(r *Rules) {
	if d.request.GatewayToken == "" {
		return
	}
	found := r.byToken[DigestOf([]byte(d.request.GatewayToken))]
	if len(found) == 0 {
		d.refuse(UnknownToken)
	}
	for _, a := range found {
		d.offer(a)
	}
}

func (d *decision) certificates(r *Rules) {
	q := d.request
	if len(q.Certificates) == 0 {
		return
	}
	if len(r.byRoot) == 0 || len(q.Certificates) > maxCertificates {
		d.refuse(UnknownAuthority)
		return
	}
	chains := r.verify(q.Certificates, q.Now)
	if len(chains) == 0 {
		d.refuse(UnknownAuthority)
		return
	}
	leaf := q.Certificates[0]
	isCommonName, isURI := leaf.Subject.CommonName == q.ControllerID, r.namesByURI(leaf, q.ControllerID)
	for _, c := range chains {
		for _, a := range r.byRoot[c.root] {
			switch {
			case slices.ContainsFunc(c.serials, func(serial string) bool { return a.certificate.revoked[serial] }):
				d.refuse(Revoked)
			case a.certificate.byURI && !isURI, !a.certificate.byURI && !isCommonName:
				d.refuse(OtherDevice)
			default:
				d.offer(a)
			}
		}
	}
}

// namesByURI reports whether a certificate has the URI of a device.
func (r *Rules) namesByURI(leaf *x509.Certificate, controllerID string) bool {
	return slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool {
		id, err := url.PathUnescape(strings.TrimPrefix(u.EscapedPath(), "/"))
		return err == nil && u.Scheme == "goshawk" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.Opaque == "" &&
			strings.HasPrefix(u.EscapedPath(), "/") && strings.ToLower(u.Host) == r.namespace && id == controllerID
	})
}

// maxCertificates is the maximum number of certificates that a device may send.
const maxCertificates = 10

// maxAuthorityHeaders is the number of headers with the authorities of one request that are read.
const maxAuthorityHeaders = 10

func (d *decision) headers(r *Rules) {
	q := d.request
	if len(r.byHeader) == 0 {
		return
	}
	for name, values := range q.Header {
		byAuthorityHeader := r.byHeader[name]
		if byAuthorityHeader == nil {
			continue
		}
		for header, byAuthority := range byAuthorityHeader {
			accesses := trusting(byAuthority, authoritiesOf(q.Header, header))
			if len(accesses) == 0 {
				d.refuse(UnknownAuthority)
			}
			for _, a := range accesses {
				switch {
				case !slices.ContainsFunc(a.proxy.addresses, func(p netip.Prefix) bool { return p.Contains(q.Peer) }):
					d.refuse(UntrustedProxy)
				case len(values) != 1 || values[0] != q.ControllerID: // two values may be one of the proxy and one of the device
					d.refuse(OtherDevice)
				default:
					d.offer(a)
				}
			}
		}
	}
}

// authoritiesOf returns the value of a header. If the request does not have it, it returns the
// values of the headers with its name and -1, -2 and so on, up to the first one that is missing. As
// in hawkBit, a proxy sends one form or the other, so a device cannot add numbered headers to those
// of a proxy that sends the plain one. A header with two values has none: one of them may be of the
// device.
func authoritiesOf(headers map[string][]string, name string) []string {
	if plain, ok := headers[name]; ok {
		return onlyValue(plain)
	}
	var found []string
	for i := 1; i <= maxAuthorityHeaders; i++ {
		values, ok := headers[name+"-"+strconv.Itoa(i)]
		if !ok {
			break
		}
		found = append(found, onlyValue(values)...)
	}
	return found
}

// onlyValue returns the values of a header if there is exactly one.
func onlyValue(values []string) []string {
	if len(values) != 1 {
		return nil
	}
	return values
}

// trusting returns the DeviceAccesses that accept one of the authorities, each once.
func trusting(byAuthority map[string][]*Access, authorities []string) []*Access {
	var found []*Access
	for _, authority := range authorities {
		for _, a := range byAuthority[strings.ToLower(strings.TrimSpace(authority))] {
			if !slices.Contains(found, a) {
				found = append(found, a)
			}
		}
	}
	return found
}

// chain is a verified chain of certificates.
type chain struct {
	root    Digest
	serials []string // without that of the root
	from    time.Time
	until   time.Time
}

// verify returns the chains to accepted CAs. The last results are remembered, so that a connection
// costs one verification.
func (r *Rules) verify(certificates []*x509.Certificate, now time.Time) []chain {
	key := keyOf(certificates)
	if known, ok := r.verified.get(key); ok && !slices.ContainsFunc(known, func(c chain) bool { return now.Before(c.from) || now.After(c.until) }) {
		return known
	}
	intermediates := x509.NewCertPool()
	for _, c := range certificates[1:] {
		intermediates.AddCert(c)
	}
	found, err := certificates[0].Verify(x509.VerifyOptions{
		Roots: r.roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil
	}
	chains := make([]chain, 0, len(found))
	for _, path := range found {
		c := chain{root: sha256.Sum256(path[len(path)-1].Raw), from: path[0].NotBefore, until: path[0].NotAfter}
		for i, certificate := range path {
			if i < len(path)-1 || i == 0 {
				c.serials = append(c.serials, plainSerial(certificate.SerialNumber.Text(16)))
			}
			if certificate.NotBefore.After(c.from) {
				c.from = certificate.NotBefore
			}
			if certificate.NotAfter.Before(c.until) {
				c.until = certificate.NotAfter
			}
		}
		chains = append(chains, c)
	}
	r.verified.put(key, chains)
	return chains
}

func keyOf(certificates []*x509.Certificate) Digest {
	h := sha256.New()
	for _, c := range certificates {
		h.Write(c.Raw)
	}
	return Digest(h.Sum(nil))
}

// maxVerified is the number of remembered chains. They are only a cache: at the limit all are
// dropped.
const maxVerified = 1 << 14

type verified struct {
	mu    sync.Mutex
	byKey map[Digest][]chain
}

func (v *verified) get(key Digest) ([]chain, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.byKey[key]
	return known, ok
}

func (v *verified) put(key Digest, chains []chain) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byKey == nil || len(v.byKey) >= maxVerified {
		v.byKey = map[Digest][]chain{}
	}
	v.byKey[key] = chains
}
