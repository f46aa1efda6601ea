// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		list, host, address string
		isAllowed           bool
	}{
		"public: a public address":                   {"public", "cdn.example.com", "93.184.216.34", true},
		"public: a public IPv6 address":              {"public", "cdn.example.com", "2606:2800:220:1::1", true},
		"public: loopback":                           {"public", "localhost", "127.0.0.1", false},
		"public: IPv6 loopback":                      {"public", "localhost", "::1", false},
		"public: loopback as IPv6":                   {"public", "x", "::ffff:127.0.0.1", false},
		"public: the metadata server of clouds":      {"public", "x", "169.254.169.254", false},
		"public: the metadata server as IPv6":        {"public", "x", "::ffff:169.254.169.254", false},
		"public: the metadata server by NAT64":       {"public", "x", "64:ff9b::a9fe:a9fe", false},
		"public: the metadata server by 6to4":        {"public", "x", "2002:a9fe:a9fe::1", false},
		"public: the metadata server of AWS by IPv6": {"public", "x", "fd00:ec2::254", false},
		"public: link-local":                         {"public", "x", "fe80::1", false},
		"public: link-local with a zone":             {"public", "x", "fe80::1%eth0", false},
		"public: a pod":                              {"public", "x", "10.244.0.7", false},
		"public: a service":                          {"public", "kubernetes.default.svc", "10.96.0.1", false},
		"public: 172.16/12":                          {"public", "x", "172.20.1.1", false},
		"public: 192.168/16":                         {"public", "x", "192.168.1.1", false},
		"public: shared addresses of providers":      {"public", "x", "100.64.0.1", false},
		"public: unspecified":                        {"public", "x", "0.0.0.0", false},
		"public: 0/8":                                {"public", "x", "0.1.2.3", false},
		"public: broadcast":                          {"public", "x", "255.255.255.255", false},
		"public: multicast":                          {"public", "x", "224.0.0.1", false},
		"public: IPv6 multicast":                     {"public", "x", "ff02::1", false},
		"public: documentation":                      {"public", "x", "2001:db8::1", false},
		"public: Teredo":                             {"public", "x", "2001::1", false},
		"an empty list":                              {"", "cdn.example.com", "93.184.216.34", false},
		"a name: the host at a private address":      {"registry.corp", "registry.corp", "10.1.2.3", true},
		"a name: in capitals and with a dot":         {"registry.corp", "REGISTRY.corp.", "10.1.2.3", true},
		"a name: another host at that address":       {"registry.corp", "other.corp", "10.1.2.3", false},
		"a name: a subdomain":                        {"registry.corp", "x.registry.corp", "10.1.2.3", false},
		"a name: the host at loopback":               {"registry.corp", "registry.corp", "127.0.0.1", false},
		"a name: the host at the metadata server":    {"registry.corp", "registry.corp", "169.254.169.254", false},
		"a name: a public host":                      {"registry.corp", "cdn.example.com", "93.184.216.34", false},
		"a domain: a host in it":                     {"*.corp.example", "a.b.corp.example", "10.1.2.3", true},
		"a domain: the domain itself":                {"*.corp.example", "corp.example", "10.1.2.3", false},
		"a domain: a name that only ends like it":    {"*.corp.example", "evilcorp.example", "10.1.2.3", false},
		"a CIDR: an address in it":                   {"10.20.0.0/16", "x", "10.20.3.4", true},
		"a CIDR: an address in it as IPv6":           {"10.20.0.0/16", "x", "::ffff:10.20.3.4", true},
		"a CIDR: an address outside":                 {"10.20.0.0/16", "x", "10.21.3.4", false},
		"a CIDR with host bits":                      {"10.20.1.1/16", "x", "10.20.3.4", true},
		"an address":                                 {"127.0.0.1", "x", "127.0.0.1", true},
		"an address: its neighbour":                  {"127.0.0.1", "x", "127.0.0.2", false},
		"several entries: the second":                {"public, registry.corp", "registry.corp", "10.1.2.3", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ParseSources(tt.list)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.check(tt.host, netip.MustParseAddr(tt.address)); (err == nil) != tt.isAllowed {
				t.Errorf("check returns %v", err)
			} else if err != nil && !strings.Contains(err.Error(), "not in --artifact-sources") {
				t.Errorf("the reason is %q", err)
			}
		})
	}
}

func TestSourcesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"http://cdn.example.com", "cdn.example.com:443", "10.0.0.0/33", "a b", "*", "*.*.example", "-x", "cdn/path"} {
		if _, err := ParseSources(list); err == nil {
			t.Errorf("%q is read", list)
		}
	}
}

// A source that is not allowed is never connected to, whether the URL of a module names it, by its
// name or by its address, or a redirect leads to it.
func TestForbiddenSourceIsNotAsked(t *testing.T) {
	t.Parallel()
	content := randomBytes(1000)
	inBothModes(t, func(t *testing.T, w *world) {
		inside := newUpstream(t, serves(content))
		only, err := ParseSources("public, 127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		w.store.fetch = newFetcher(Options{Sources: only})
		port := inside.URL[strings.LastIndex(inside.URL, ":"):]
		for i, url := range []string{inside.URL, "http://localhost" + port, "http://2130706433" + port, "http://0x7f.1" + port, "http://[::ffff:127.0.0.1]" + port, "oci://127.0.0.1" + port + "/a@sha256:" + hashOf(content)} {
			file := fileOf(append(content, byte(i)), url)
			if strings.HasPrefix(url, "oci") {
				file = fileOf(content, url)
			}
			if got := w.get(w.serve("f", file)); got.status != http.StatusBadGateway {
				t.Errorf("%s: status %d", url, got.status)
			}
		}
		listener, err := net.Listen("tcp", "127.0.0.3:0")
		if err != nil {
			t.Fatal(err)
		}
		hidden := httptest.NewUnstartedServer(inside.Config.Handler)
		_ = hidden.Listener.Close()
		hidden.Listener = listener
		hidden.Start()
		t.Cleanup(hidden.Close)
		outside := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(rw, r, hidden.URL, http.StatusFound)
		})
		first, err := ParseSources("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		w.store.fetch = newFetcher(Options{Sources: first})
		w.get(w.serve("redirect", fileOf(randomBytes(7), outside.URL)))
		if outside.requests() == 0 || !strings.Contains(w.failures(), "127.0.0.3 has the address 127.0.0.3, which is not in --artifact-sources") {
			t.Errorf("the reasons are %q", w.failures())
		}
		if inside.requests() > 0 {
			t.Errorf("the forbidden source received %d requests", inside.requests())
		}
		if !strings.Contains(w.failures(), "127.0.0.1 has the address 127.0.0.1, which is not in --artifact-sources") {
			t.Errorf("the reasons are %q", w.failures())
		}
	})
}
