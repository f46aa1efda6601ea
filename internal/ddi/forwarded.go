// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goshawk-dev/goshawk/internal/text"
)

// ParseProxies reads a list of addresses and ranges, separated by commas, such as
// "10.0.0.0/8, fd00::/8, 192.0.2.7". An empty list trusts no proxy.
func ParseProxies(list string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		prefix, err := parseProxy(entry)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a range such as 10.0.0.0/8", entry)
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

func parseProxy(entry string) (netip.Prefix, error) {
	if !strings.Contains(entry, "/") {
		address, err := netip.ParseAddr(entry)
		if err != nil {
			return netip.Prefix{}, err
		}
		address = address.Unmap().WithZone("")
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(entry)
	if address := prefix.Addr(); err == nil && address.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(address.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), err
}

// origin is the source of a request and the base of the links in its response.
type origin struct {
	// peer is the address of the other end of the connection.
	peer netip.Addr
	// address of the device, or of its router. It is not valid if it is not known.
	address netip.Addr
	// isProxied means that the connection is one of a trusted proxy.
	isProxied bool
	// base is scheme, host and path prefix, without a slash at the end.
	base string
	// prefix is the path prefix that a proxy may have left in the path.
	prefix string
}

// originOf returns the origin of a request. Forwarded headers count only if a trusted proxy sent
// them, and invalid values are ignored. Both cases are logged as warnings.
func (s *Server) originOf(r *http.Request) origin {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	o := origin{peer: peer.Addr().Unmap().WithZone("")}
	o.address = o.peer
	o.isProxied = s.isProxy(o.address)
	scheme, host := "http", hostOf(r)
	if r.TLS != nil {
		scheme = "https"
	}
	if isForwarded(r.Header) {
		if o.isProxied {
			f := forwarding{header: r.Header, isProxy: s.isProxy}
			o.address = f.address(o.address)
			scheme, host, o.prefix = f.base(scheme, host)
			if f.odd != "" {
				s.proxyWarnings.invalid(s, r, f.odd)
			}
		} else {
			s.proxyWarnings.untrusted(s, r, o.address)
		}
	}
	o.base = scheme + "://" + host + o.prefix
	if s.baseURL != "" {
		o.base = s.baseURL
	}
	if s.basePath != "" {
		o.prefix = s.basePath
	}
	return o
}

// hostOf returns the host of a request. An HTTP/1.0 request need not have one, and a client may
// send one that cannot be part of a URL; links then start with the address that the client has
// connected to.
func hostOf(r *http.Request) string {
	if isPlainHost(r.Host) || isHost(r.Host) {
		return r.Host
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return ""
	}
	address, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return ""
	}
	return netip.AddrPortFrom(address.Addr().Unmap().WithZone(""), address.Port()).String()
}

// isProxy reports whether headers of this address are trusted.
func (s *Server) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// forwardedHeaders are the headers in which proxies pass on the original request.
var forwardedHeaders = []string{
	"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "Forwarded",
}

func isForwarded(h http.Header) bool {
	return slices.ContainsFunc(forwardedHeaders, func(name string) bool { return len(h[name]) > 0 })
}

// forwarding reads the headers of a trusted proxy. X-Forwarded-* take precedence over Forwarded,
// because proxies that set only the former often pass on the latter as the client sent it.
type forwarding struct {
	header  http.Header
	isProxy func(netip.Addr) bool
	// odd is the first value that was ignored, with the name of its header.
	odd string
}

func (f *forwarding) ignore(header, value string) {
	if f.odd == "" {
		f.odd = header + ": " + value
	}
}

// address returns the nearest address that is not a proxy. Each proxy appends the address of its
// client, so entries before the first untrusted one may come from the device itself.
func (f *forwarding) address(peer netip.Addr) netip.Addr {
	name, hops := "X-Forwarded-For", entries(f.header["X-Forwarded-For"])
	if len(hops) == 0 {
		name, hops = "Forwarded", f.elements("for")
	}
	nearest := peer
	for _, hop := range slices.Backward(hops) {
		address, ok := hopAddress(hop)
		if !ok {
			f.ignore(name, hop)
			return nearest
		}
		if nearest = address; !f.isProxy(address) {
			break
		}
	}
	return nearest
}

// hopAddress reads an address with or without port and brackets.
func hopAddress(hop string) (netip.Addr, bool) {
	hop = strings.Trim(hop, `"`)
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]"))
	if err != nil {
		withPort, other := netip.ParseAddrPort(hop)
		address, err = withPort.Addr(), other
	}
	return address.Unmap().WithZone(""), err == nil && address.IsValid()
}

// base is scheme, host with port, and path prefix, as the device sees them.
func (f *forwarding) base(scheme, host string) (string, string, string) {
	if proto, ok := f.first("X-Forwarded-Proto", "proto", isScheme); ok {
		scheme = strings.ToLower(proto)
	}
	if name, ok := f.first("X-Forwarded-Host", "host", isHost); ok {
		host = name
	}
	if port, ok := f.first("X-Forwarded-Port", "", isPort); ok {
		host = withPort(scheme, host, port)
	}
	return scheme, host, f.prefix()
}

// first returns the first valid entry of a header, or else of a parameter of Forwarded: the value
// of the proxy that is nearest to the device.
func (f *forwarding) first(header, parameter string, isValid func(string) bool) (string, bool) {
	name, found := header, entries(f.header[header])
	if len(found) == 0 && parameter != "" {
		name, found = "Forwarded", f.elements(parameter)
	}
	if len(found) == 0 {
		return "", false
	}
	value := strings.Trim(found[0], `"`)
	if !isValid(value) {
		f.ignore(name, value)
		return "", false
	}
	return value, true
}

// prefix joins the path prefixes that proxies have removed, the outermost first.
func (f *forwarding) prefix() string {
	joined := ""
	for _, prefix := range entries(f.header["X-Forwarded-Prefix"]) {
		if !isPathPrefix(prefix) || len(joined)+len(prefix) > maxPrefix {
			f.ignore("X-Forwarded-Prefix", prefix)
			return ""
		}
		joined += strings.TrimSuffix(prefix, "/")
	}
	return joined
}

// entries splits the lines of a header at commas and drops empty entries.
func entries(lines []string) []string {
	var found []string
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				found = append(found, entry)
			}
		}
	}
	return found
}

// elements returns the values of one parameter of Forwarded (RFC 7239), the outermost proxy first.
// Valid values contain no comma or semicolon, so quotes are ignored.
func (f *forwarding) elements(parameter string) []string {
	var found []string
	for _, element := range entries(f.header["Forwarded"]) {
		for pair := range strings.SplitSeq(element, ";") {
			name, value, _ := strings.Cut(pair, "=")
			if strings.EqualFold(strings.TrimSpace(name), parameter) {
				found = append(found, strings.TrimSpace(value))
			}
		}
	}
	return found
}

func isScheme(text string) bool {
	return strings.EqualFold(text, "http") || strings.EqualFold(text, "https")
}

// isHost accepts a name or an address, with or without port, and nothing that would change the
// target of a link.
func isHost(text string) bool {
	if text == "" || len(text) > 255+6 || strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/\@?#<>"'%^{}|,;`+"`", r)
	}) {
		return false
	}
	u, err := url.Parse("http://" + text)
	return err == nil && u.Host == text && u.Hostname() != "" && (u.Port() == "" && !strings.HasSuffix(text, ":") || isPort(u.Port()))
}

// isPlainHost reports whether a host is a name of letters, digits, hyphens and dots, or an IPv4
// address, with or without port. It is a fast form of isHost for nearly all requests.
func isPlainHost(text string) bool {
	name, port, hasPort := strings.Cut(text, ":")
	if name == "" || len(name) > 255 || hasPort && !isPort(port) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c != '-' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// withPort replaces the port of a host; the usual port of the scheme is left out.
func withPort(scheme, host, port string) string {
	u := url.URL{Host: host}
	name := u.Hostname()
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if n, _ := strconv.Atoi(port); scheme == "http" && n == 80 || scheme == "https" && n == 443 {
		return name
	}
	return name + ":" + port
}

// maxPrefix is the maximum length of the path prefixes of all proxies together.
const maxPrefix = 256

// isPathPrefix accepts an absolute path without dot segments, empty segments, query or fragment.
func isPathPrefix(text string) bool {
	if text == "/" {
		return true
	}
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(text, "/") || u.EscapedPath() != text {
		return false
	}
	for segment := range strings.SplitSeq(strings.Trim(u.Path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.HasPrefix(text, "//") && !strings.HasSuffix(text, "//")
}

// proxyWarnings logs once why the headers of a proxy are ignored, because devices behind it get
// wrong links and nothing else shows the reason. A metric counts all requests.
type proxyWarnings struct {
	mu sync.Mutex
	// warned are the addresses of proxies that were logged, and "" for values.
	warned map[string]bool
}

// maxWarnings limits the number of logged addresses.
const maxWarnings = 16

func (w *proxyWarnings) untrusted(s *Server, r *http.Request, address netip.Addr) {
	s.metrics.forwardedIgnored.WithLabelValues("untrusted").Inc()
	if w.isNew(address.String()) {
		s.log.Info("Forwarded headers are ignored, because they come from an address that --trusted-proxies does not name. "+
			"If it is your proxy, add it: links lead to where the proxy asked until then. If it is a device, ignore this",
			"address", address.String(), "links", "http://"+r.Host, "headers", forwardedNames(r.Header))
	}
}

func (w *proxyWarnings) invalid(s *Server, r *http.Request, odd string) {
	s.metrics.forwardedIgnored.WithLabelValues("invalid").Inc()
	if w.isNew("") {
		s.log.Info("A value in the forwarded headers of a trusted proxy is not valid and is ignored. Correct the configuration of the proxy",
			"header", text.LimitBytes(odd, maxReason), "proxy", r.RemoteAddr)
	}
}

func (w *proxyWarnings) isNew(about string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.warned[about] || len(w.warned) >= maxWarnings {
		return false
	}
	if w.warned == nil {
		w.warned = map[string]bool{}
	}
	w.warned[about] = true
	return true
}

func forwardedNames(h http.Header) string {
	var names []string
	for _, name := range forwardedHeaders {
		if len(h[name]) > 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
