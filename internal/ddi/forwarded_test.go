// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// trust returns an option that trusts these proxies. Requests in these tests come from 192.0.2.7.
func trust(list string) func(*ddi.Options) {
	return func(o *ddi.Options) {
		var err error
		if o.TrustedProxies, err = ddi.ParseProxies(list); err != nil {
			panic(err)
		}
	}
}

func TestLinksBehindProxies(t *testing.T) {
	const proxy = "192.0.2.0/24"
	deviceAPI8080 := "Host: devices.example:8080"
	type headers []string
	tests := map[string]struct {
		proxies string
		headers headers
		want    string
		address string
		// ignored is the reason of the one warning; empty: there is none.
		ignored string
	}{
		"the host of the request":           {"", nil, "http://devices.example", "192.0.2.7", ""},
		"the port of the request":           {"", headers{deviceAPI8080}, "http://devices.example:8080", "192.0.2.7", ""},
		"headers where no proxy is trusted": {"", headers{"X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.9"}, "http://devices.example", "192.0.2.7", "untrusted"},
		"headers of another address":        {"192.0.2.8, 2001:db8::/32", headers{"X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.9"}, "http://devices.example", "192.0.2.7", "untrusted"},
		"Forwarded of another address":      {"", headers{"Forwarded: for=203.0.113.9;proto=https"}, "http://devices.example", "192.0.2.7", "untrusted"},
		"a prefix of another address":       {"", headers{"X-Forwarded-Prefix: /updates"}, "http://devices.example", "192.0.2.7", "untrusted"},
		"a proxy without headers":           {proxy, nil, "http://devices.example", "192.0.2.7", ""},
		"a proxy named by its address":      {"192.0.2.7", headers{"X-Forwarded-Proto: https"}, "https://devices.example", "192.0.2.7", ""},
		"a proxy named as IPv4 in IPv6":     {"::ffff:192.0.2.0/120", headers{"X-Forwarded-Proto: https"}, "https://devices.example", "192.0.2.7", ""},

		"scheme":                         {proxy, headers{"X-Forwarded-Proto: https"}, "https://devices.example", "192.0.2.7", ""},
		"a scheme in capitals":           {proxy, headers{"X-Forwarded-Proto: HTTPS"}, "https://devices.example", "192.0.2.7", ""},
		"a scheme with blanks":           {proxy, headers{"X-Forwarded-Proto:  https "}, "https://devices.example", "192.0.2.7", ""},
		"schemes of two proxies":         {proxy, headers{"X-Forwarded-Proto: https, http"}, "https://devices.example", "192.0.2.7", ""},
		"an empty scheme":                {proxy, headers{"X-Forwarded-Proto: "}, "http://devices.example", "192.0.2.7", ""},
		"an unknown scheme":              {proxy, headers{"X-Forwarded-Proto: gopher"}, "http://devices.example", "192.0.2.7", "invalid"},
		"the host":                       {proxy, headers{"X-Forwarded-Host: public.example"}, "http://public.example", "192.0.2.7", ""},
		"a host with its port":           {proxy, headers{"X-Forwarded-Host: public.example:8443", "X-Forwarded-Proto: https"}, "https://public.example:8443", "192.0.2.7", ""},
		"hosts of two proxies":           {proxy, headers{"X-Forwarded-Host: public.example , inner.example"}, "http://public.example", "192.0.2.7", ""},
		"a host that is an IPv6 address": {proxy, headers{"X-Forwarded-Host: [2001:db8::1]:8443"}, "http://[2001:db8::1]:8443", "192.0.2.7", ""},
		"a host with a path":             {proxy, headers{"X-Forwarded-Host: evil.example/x"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a host with a user":             {proxy, headers{"X-Forwarded-Host: devices.example@evil.example"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a host with a bad port":         {proxy, headers{"X-Forwarded-Host: public.example:99999"}, "http://devices.example", "192.0.2.7", "invalid"},
		"an IPv6 address with a zone":    {proxy, headers{"X-Forwarded-Host: [fe80::1%eth0]:8443"}, "http://devices.example", "192.0.2.7", "invalid"},
		"an escaped zone":                {proxy, headers{"X-Forwarded-Host: [fe80::1%25eth0]:8443"}, "http://devices.example", "192.0.2.7", "invalid"},
		"an IPv6 address, no brackets":   {proxy, headers{"X-Forwarded-Host: 2001:db8::1"}, "http://devices.example", "192.0.2.7", "invalid"},
		"an escaped letter":              {proxy, headers{"X-Forwarded-Host: %65vil.example"}, "http://devices.example", "192.0.2.7", "invalid"},
		"an escaped slash":               {proxy, headers{"X-Forwarded-Host: evil.example%2fx"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a percent sign":                 {proxy, headers{"X-Forwarded-Host: 100%"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a zone in Forwarded":            {proxy, headers{`Forwarded: host="[fe80::1%25eth0]"`}, "http://devices.example", "192.0.2.7", "invalid"},
		"a host with quotes in it":       {proxy, headers{"X-Forwarded-Host: a\"b"}, "http://devices.example", "192.0.2.7", "invalid"},

		"a port":                                      {proxy, headers{"X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"}, "https://devices.example:8443", "192.0.2.7", ""},
		"the usual port of https":                     {proxy, headers{"X-Forwarded-Port: 443", "X-Forwarded-Proto: https"}, "https://devices.example", "192.0.2.7", ""},
		"the usual port of http":                      {proxy, headers{"X-Forwarded-Port: 80"}, "http://devices.example", "192.0.2.7", ""},
		"the port of https with http":                 {proxy, headers{"X-Forwarded-Port: 443"}, "http://devices.example:443", "192.0.2.7", ""},
		"a port other than that of the request":       {proxy, headers{deviceAPI8080, "X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"}, "https://devices.example:8443", "192.0.2.7", ""},
		"the usual port, with another in the request": {proxy, headers{deviceAPI8080, "X-Forwarded-Port: 443", "X-Forwarded-Proto: https"}, "https://devices.example", "192.0.2.7", ""},
		"a port and a host with another":              {proxy, headers{"X-Forwarded-Host: public.example:1234", "X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"}, "https://public.example:8443", "192.0.2.7", ""},
		"a port and an IPv6 address":                  {proxy, headers{"X-Forwarded-Host: [2001:db8::1]", "X-Forwarded-Port: 8443"}, "http://[2001:db8::1]:8443", "192.0.2.7", ""},
		"ports of two proxies":                        {proxy, headers{"X-Forwarded-Port: 8443,8080", "X-Forwarded-Proto: https,http"}, "https://devices.example:8443", "192.0.2.7", ""},
		"port 0":                                      {proxy, headers{"X-Forwarded-Port: 0"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a port that is too large":                    {proxy, headers{"X-Forwarded-Port: 65536"}, "http://devices.example", "192.0.2.7", "invalid"},

		"a path prefix":                 {proxy, headers{"X-Forwarded-Prefix: /updates"}, "http://devices.example/updates", "192.0.2.7", ""},
		"a prefix that ends in a slash": {proxy, headers{"X-Forwarded-Prefix: /updates/"}, "http://devices.example/updates", "192.0.2.7", ""},
		"a prefix of two segments":      {proxy, headers{"X-Forwarded-Prefix: /edge/updates"}, "http://devices.example/edge/updates", "192.0.2.7", ""},
		"prefixes of two proxies":       {proxy, headers{"X-Forwarded-Prefix: /edge, /updates"}, "http://devices.example/edge/updates", "192.0.2.7", ""},
		"a prefix that is only a slash": {proxy, headers{"X-Forwarded-Prefix: /"}, "http://devices.example", "192.0.2.7", ""},
		"an escaped prefix":             {proxy, headers{"X-Forwarded-Prefix: /up%20dates"}, "http://devices.example/up%20dates", "192.0.2.7", ""},
		"a prefix that is relative":     {proxy, headers{"X-Forwarded-Prefix: updates"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a prefix with dots":            {proxy, headers{"X-Forwarded-Prefix: /a/../b"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a prefix with a query":         {proxy, headers{"X-Forwarded-Prefix: /a?b"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a prefix that names a host":    {proxy, headers{"X-Forwarded-Prefix: //evil.example"}, "http://devices.example", "192.0.2.7", "invalid"},
		"a prefix that is too long":     {proxy, headers{"X-Forwarded-Prefix: /" + strings.Repeat("x", 300)}, "http://devices.example", "192.0.2.7", "invalid"},

		"the address":                        {proxy, headers{"X-Forwarded-For: 203.0.113.9"}, "http://devices.example", "203.0.113.9", ""},
		"an address with a port":             {proxy, headers{"X-Forwarded-For: 203.0.113.9:4711"}, "http://devices.example", "203.0.113.9", ""},
		"an IPv6 address":                    {proxy, headers{"X-Forwarded-For: 2001:db8::9"}, "http://devices.example", "2001:db8::9", ""},
		"an IPv6 address in brackets":        {proxy, headers{"X-Forwarded-For: [2001:db8::9]"}, "http://devices.example", "2001:db8::9", ""},
		"an IPv6 address with a port":        {proxy, headers{"X-Forwarded-For: [2001:db8::9]:4711"}, "http://devices.example", "2001:db8::9", ""},
		"an IPv4 address in IPv6":            {proxy, headers{"X-Forwarded-For: ::ffff:203.0.113.9"}, "http://devices.example", "203.0.113.9", ""},
		"an address from the device":         {proxy, headers{"X-Forwarded-For: 198.51.100.1, 203.0.113.9"}, "http://devices.example", "203.0.113.9", ""},
		"two trusted proxies":                {proxy + ",10.0.0.0/8", headers{"X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.1.2.3"}, "http://devices.example", "203.0.113.9", ""},
		"two lines":                          {proxy + ",10.0.0.0/8", headers{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 10.1.2.3"}, "http://devices.example", "203.0.113.9", ""},
		"addresses of proxies only":          {"192.0.2.0/24,10.0.0.0/8", headers{"X-Forwarded-For: 10.9.9.9, 10.1.2.3"}, "http://devices.example", "10.9.9.9", ""},
		"a second proxy that is not trusted": {proxy, headers{"X-Forwarded-For: 203.0.113.9, 10.1.2.3"}, "http://devices.example", "10.1.2.3", ""},
		"an invalid address":                 {proxy, headers{"X-Forwarded-For: unknown"}, "http://devices.example", "192.0.2.7", "invalid"},
		"an invalid address behind a proxy":  {proxy + ",10.0.0.0/8", headers{"X-Forwarded-For: 203.0.113.9, unknown, 10.1.2.3"}, "http://devices.example", "10.1.2.3", "invalid"},
		"empty entries":                      {proxy, headers{"X-Forwarded-For: , 203.0.113.9 ,,"}, "http://devices.example", "203.0.113.9", ""},

		"Forwarded":                    {proxy, headers{`Forwarded: for=203.0.113.9;proto=https;host=public.example`}, "https://public.example", "203.0.113.9", ""},
		"Forwarded in capitals":        {proxy, headers{`Forwarded: For="[2001:db8::9]:4711";Proto=HTTPS;Host="public.example:8443"`}, "https://public.example:8443", "2001:db8::9", ""},
		"Forwarded by several proxies": {proxy + ",10.0.0.0/8", headers{`Forwarded: for=198.51.100.1;proto=http, for=203.0.113.9;proto=https, for=10.1.2.3;by=10.1.2.4`}, "http://devices.example", "203.0.113.9", ""},
		"Forwarded with a name":        {proxy, headers{`Forwarded: for=_hidden;proto=https`}, "https://devices.example", "192.0.2.7", "invalid"},
		"X-Forwarded before Forwarded": {proxy, headers{`Forwarded: for=198.51.100.1;proto=http;host=evil.example`, "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: public.example"}, "https://public.example", "203.0.113.9", ""},
		"an invalid Forwarded":         {proxy, headers{`Forwarded: =;;,"`}, "http://devices.example", "192.0.2.7", ""},

		"all headers": {proxy, headers{deviceAPI8080, "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: public.example", "X-Forwarded-Port: 8443", "X-Forwarded-Prefix: /updates"},
			"https://public.example:8443/updates", "203.0.113.9", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := backend()
			b.Offer.DeployID = 31
			registry := prometheus.NewRegistry()
			var warnings []string
			log := funcr.New(func(_, args string) { warnings = append(warnings, args) }, funcr.Options{})
			s := deviceAPI(t, b, trust(tc.proxies), func(o *ddi.Options) { o.Registerer, o.Log = registry, log })
			for range 3 {
				r := ask("GET " + root)
				for _, h := range tc.headers {
					if name, value, _ := strings.Cut(h, ": "); name == "Host" {
						r.Host = value
					} else {
						r.Header.Add(name, value)
					}
				}
				w := answered(s, r)
				var base wire.Base
				if err := json.Unmarshal(w.Body.Bytes(), &base); err != nil {
					t.Fatal(err)
				}
				if got, want := base.Links.DeploymentBase.Href, tc.want+root+"/deploymentBase/31"; got != want {
					t.Errorf("link %s, want %s", got, want)
				}
			}
			if diff := cmp.Diff(deviceapitest.Call{Method: "State", Device: device, Args: []any{tc.address}}, b.Calls()[0]); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			want := map[string]float64{}
			if tc.ignored != "" {
				want[tc.ignored] = 3
			}
			if diff := cmp.Diff(want, ignoredHeaders(t, registry)); diff != "" {
				t.Errorf("headers that were ignored (-want +got):\n%s", diff)
			}
			if len(warnings) != len(want) {
				t.Errorf("%d warnings, want %d: %q", len(warnings), len(want), warnings)
			}
			if text := fmt.Sprint(warnings); tc.ignored == "untrusted" && (!strings.Contains(text, "--trusted-proxies") || !strings.Contains(text, "192.0.2.7")) {
				t.Errorf("the warning does not contain the option and the address: %s", text)
			}
		})
	}
}

func ignoredHeaders(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "goshawk_ddi_forwarded_ignored_total" {
			for _, metric := range family.GetMetric() {
				counts[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	return counts
}

// TestWarningsAreBounded: there is one warning for each address, and at most 16 in all.
func TestWarningsAreBounded(t *testing.T) {
	var warnings []string
	log := funcr.New(func(_, args string) { warnings = append(warnings, args) }, funcr.Options{})
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Log = log })
	for range 2 {
		for i := range 100 {
			r := ask("GET "+root, "X-Forwarded-Proto: https")
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:4711", i)
			answered(s, r)
		}
	}
	if len(warnings) != 16 || !strings.Contains(warnings[0], "192.0.2.0") || !strings.Contains(warnings[1], "192.0.2.1") {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
}

// TestRatesCountTheAddressBehindAProxy: wrong credentials count for the address that the proxy
// reports, not for the proxy, and not for addresses that the client itself put into the header.
func TestRatesCountTheAddressBehindAProxy(t *testing.T) {
	s := deviceAPI(t, backend(), trust("192.0.2.7"), func(o *ddi.Options) { o.Rates.Address = thrice() })
	from := func(address string, headers ...string) *http.Request {
		return poll(append(headers, "X-Forwarded-For: "+address)...)
	}
	const wrong = "Authorization: TargetToken wrong"
	got := codes(s, from("1.1.1.1, 203.0.113.9", wrong), from("2.2.2.2, 203.0.113.9", wrong), from("3.3.3.3, 203.0.113.9", wrong),
		from("4.4.4.4, 203.0.113.9", wrong), from("203.0.113.10"))
	if diff := cmp.Diff([]int{401, 401, 401, 429, 200}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBaseURL(t *testing.T) {
	const proxy = "192.0.2.7"
	tests := map[string]struct {
		base, asked string
		headers     []string
		want        string
	}{
		"instead of the host of the request":                       {"https://fixed.example/", root, nil, "https://fixed.example"},
		"instead of the headers of a proxy":                        {"https://fixed.example", root, []string{"X-Forwarded-Proto: http", "X-Forwarded-Host: a.example", "X-Forwarded-Prefix: /x"}, "https://fixed.example"},
		"with a path that the proxy removed":                       {"https://fixed.example/updates", root, nil, "https://fixed.example/updates"},
		"with a path that the proxy kept":                          {"https://fixed.example/updates", "/updates" + root, nil, "https://fixed.example/updates"},
		"with a path of several segments":                          {"https://fixed.example/a/b/", "/a/b" + root, nil, "https://fixed.example/a/b"},
		"with an escaped path":                                     {"https://fixed.example/a%20b", "/a%20b" + root, nil, "https://fixed.example/a%20b"},
		"with a port":                                              {"http://fixed.example:8080/u", root, nil, "http://fixed.example:8080/u"},
		"none, with a prefix that the proxy kept":                  {"", "/updates" + root, []string{"X-Forwarded-Prefix: /updates"}, "http://devices.example/updates"},
		"a tenant with the name of the path":                       {"https://fixed.example/acme", root, nil, "https://fixed.example/acme"},
		"a tenant with the name of the path, which the proxy kept": {"https://fixed.example/acme", "/acme" + root, nil, "https://fixed.example/acme"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := backend()
			b.Offer.DeployID = 31
			s := deviceAPI(t, b, trust(proxy), func(o *ddi.Options) { o.BaseURL = tc.base })
			w := answered(s, ask("GET "+tc.asked, tc.headers...))
			if want := `"` + tc.want + root + `/deploymentBase/31"`; !strings.Contains(w.Body.String(), want) {
				t.Errorf("%d %s, want a link to %s", w.Code, w.Body, want)
			}
		})
	}
	if w := answered(deviceAPI(t, backend()), ask("GET /updates"+root, "X-Forwarded-Prefix: /updates")); w.Code != http.StatusNotFound {
		t.Errorf("the prefix of an untrusted address is removed from the path: %d", w.Code)
	}
}

// TestHostOfTheRequest: links start with the host of the request, if it can be part of a URL, and
// otherwise with the address that the device has connected to.
func TestHostOfTheRequest(t *testing.T) {
	connected := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080}
	linkLocal := &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 8080, Zone: "eth0"}
	for name, tc := range map[string]struct {
		host  string
		local *net.TCPAddr
		want  string
	}{
		"a name":                                  {"devices.example", connected, "http://devices.example"},
		"a name with a port":                      {"devices.example:8443", connected, "http://devices.example:8443"},
		"a name with an underscore":               {"device_api", connected, "http://device_api"},
		"an IPv6 address":                         {"[2001:db8::1]", connected, "http://[2001:db8::1]"},
		"an IPv6 address with a port":             {"[2001:db8::1]:8443", connected, "http://[2001:db8::1]:8443"},
		"an IPv6 address without brackets":        {"2001:db8::1", connected, "http://192.0.2.1:8080"},
		"an IPv6 address with a zone":             {"[fe80::1%eth0]", connected, "http://192.0.2.1:8080"},
		"an IPv6 address with an escaped zone":    {"[fe80::1%25eth0]:8080", connected, "http://192.0.2.1:8080"},
		"an IPv6 address with an empty zone":      {"[fe80::1%25]", connected, "http://192.0.2.1:8080"},
		"a bracket that is not closed":            {"[2001:db8::1", connected, "http://192.0.2.1:8080"},
		"an escaped letter":                       {"%64evices.example", connected, "http://192.0.2.1:8080"},
		"an escaped dot":                          {"devices%2eexample", connected, "http://192.0.2.1:8080"},
		"an escaped slash":                        {"devices%2fexample", connected, "http://192.0.2.1:8080"},
		"a percent sign":                          {"100%", connected, "http://192.0.2.1:8080"},
		"no host":                                 {"", connected, "http://192.0.2.1:8080"},
		"no host at a link-local address":         {"", linkLocal, "http://[fe80::1]:8080"},
		"a zone at a link-local address":          {"[fe80::1%25eth0]:8080", linkLocal, "http://[fe80::1]:8080"},
		"no host at an IPv4 address in IPv6 form": {"", &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 8080}, "http://192.0.2.1:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			b := backend()
			b.Offer.DeployID = 31
			r := ask("GET " + root)
			r.Host = tc.host
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tc.local))
			var base wire.Base
			if err := json.Unmarshal(answered(deviceAPI(t, b), r).Body.Bytes(), &base); err != nil {
				t.Fatal(err)
			}
			if got, want := base.Links.DeploymentBase.Href, tc.want+root+"/deploymentBase/31"; got != want {
				t.Errorf("the link is %s, want %s", got, want)
			}
		})
	}
}

func TestBaseURLMustBeUsable(t *testing.T) {
	for _, base := range []string{"devices.example", "ftp://devices.example", "https://", "https://devices.example?x=y", "http://a b", "https://devices.example/a/../b",
		"https://devices.example//a", "https://devices.example/a#b", "https://ada@devices.example", "https://devices.example:99999", "https://devices.example/a?",
		"https://[fe80::1%25eth0]", "https://[fe80::1%eth0]:8443", "https://100%", "https://devices%2eexample", "https://2001:db8::1"} {
		if _, err := newServer(backend(), ddi.Options{BaseURL: base}); err == nil {
			t.Errorf("%q was accepted", base)
		}
	}
}

func TestParseProxies(t *testing.T) {
	for list, want := range map[string]string{
		"":                                  "[]",
		" , ":                               "[]",
		"10.0.0.0/8, fd00::/8,192.0.2.7":    "[10.0.0.0/8 fd00::/8 192.0.2.7/32]",
		"10.1.2.3/8":                        "[10.0.0.0/8]",
		"::ffff:192.0.2.7":                  "[192.0.2.7/32]",
		"::ffff:192.0.2.0/120,fe80::1%eth0": "[192.0.2.0/24 fe80::1/128]",
	} {
		got, err := ddi.ParseProxies(list)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v, want %s", list, got, err, want)
		}
	}
	for _, list := range []string{"ingress", "10.0.0.0/33", "10.0.0.0/8 fd00::/8", "10.0.0", "10.0.0.0/8,*"} {
		if got, err := ddi.ParseProxies(list); err == nil || !strings.Contains(err.Error(), `"`) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
}
