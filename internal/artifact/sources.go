// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// public is the word for all public addresses in a list of Sources.
const public = "public"

// Sources are the hosts that files may be fetched from. Modules are written by tenants, so without
// this limit each URL that this process can reach would be readable for them. The zero value allows
// nothing.
type Sources struct {
	public   bool
	hosts    []string
	prefixes []netip.Prefix
}

// hostPattern matches a host name, or *. and a domain.
var hostPattern = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// ParseSources reads a list of sources, separated by commas: the word public, host names,
// *.domain, addresses and CIDRs. An empty list allows nothing.
func ParseSources(list string) (Sources, error) {
	var s Sources
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "" {
			continue
		}
		if entry == public {
			s.public = true
		} else if prefix, err := netip.ParsePrefix(entry); err == nil {
			s.prefixes = append(s.prefixes, prefix.Masked())
		} else if address, err := netip.ParseAddr(entry); err == nil {
			s.prefixes = append(s.prefixes, netip.PrefixFrom(address.Unmap().WithZone(""), address.Unmap().BitLen()))
		} else if hostPattern.MatchString(entry) {
			s.hosts = append(s.hosts, entry)
		} else {
			return Sources{}, fmt.Errorf("%q is neither public, nor a host name, *.domain, an address or a CIDR", entry)
		}
	}
	return s, nil
}

// special are address ranges that are not public although netip.Addr has no method for them.
var special = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

// publicIPv6 is the only range from which IPv6 addresses are given out. 64:ff9b::/96, which maps to
// IPv4, is outside of it.
var publicIPv6 = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !contains(special, a) && (a.Is4() || publicIPv6.Contains(a))
}

// check returns why a host at an address may not be connected to, or nil. A host that is allowed by
// its name may have a private address. A loopback or link-local address, at which clouds serve
// credentials, must be allowed as an address.
func (s Sources) check(host string, address netip.Addr) error {
	address = address.Unmap().WithZone("")
	isLocal := address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast()
	if contains(s.prefixes, address) || s.public && isPublic(address) || !isLocal && s.names(host) {
		return nil
	}
	return broken("%s has the address %s, which is not in --artifact-sources", host, address)
}

// names reports whether the list has an entry with the name of a host.
func (s Sources) names(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.ContainsFunc(s.hosts, func(entry string) bool {
		domain, isWild := strings.CutPrefix(entry, "*")
		return entry == host || isWild && strings.HasSuffix(host, domain) && len(host) > len(domain)
	})
}

// dial connects to a host. The address is checked after it was resolved, and no other one is
// connected to, so that a name that changes its address cannot evade the check.
func (s Sources) dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: func(_, resolved string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		return s.check(host, at.Addr())
	}}
	return dialer.DialContext(ctx, network, hostPort)
}
