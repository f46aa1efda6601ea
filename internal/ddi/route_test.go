// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// TestUnusualPaths requests each path with the token of acme/dev1, with a wrong token and without
// one. No response is a redirect, and the backend gets no device other than that of the row.
func TestUnusualPaths(t *testing.T) {
	tests := map[string]struct {
		path        string
		right       int
		wrong, none int
		// asked is the device of the call of the backend with the right token; empty: there is
		// none.
		asked string
	}{
		"a base URL that ends in a slash":            {"//acme/controller/v1/dev1", 200, 401, 401, "acme/dev1"},
		"slashes in front":                           {"////acme/controller/v1/dev1", 200, 401, 401, "acme/dev1"},
		"slashes in the middle":                      {"/acme//controller///v1//dev1", 200, 401, 401, "acme/dev1"},
		"a resource after two slashes":               {root + "//confirmationBase", 200, 401, 401, "acme/dev1"},
		"a slash at the end":                         {root + "/", 404, 401, 401, ""},
		"slashes at the end":                         {root + "//", 404, 401, 401, ""},
		"a slash after a resource":                   {root + "/confirmationBase/", 404, 401, 401, ""},
		"an id that is missing":                      {"/acme/controller/v1/", 404, 404, 401, ""},
		"an id that is missing before a resource":    {"/acme/controller/v1//configData", 401, 401, 401, ""},
		"a dot in front":                             {"/./acme/controller/v1/dev1", 404, 404, 401, ""},
		"a dot at the end":                           {root + "/.", 404, 401, 401, ""},
		"two dots at the end":                        {root + "/..", 404, 401, 401, ""},
		"dots from another device to this one":       {"/acme/controller/v1/dev2/../dev1", 401, 401, 401, ""},
		"dots from this device to another":           {root + "/../dev2", 404, 401, 401, ""},
		"dots out of the root and back":              {"/x/../acme/controller/v1/dev1", 404, 404, 401, ""},
		"escaped dots":                               {root + "/%2e%2e/dev2", 404, 401, 401, ""},
		"an escaped slash after the id":              {root + "%2FconfirmationBase", 401, 401, 401, ""},
		"an escaped slash within the root":           {"/acme%2Fcontroller/v1/dev1", 404, 404, 401, ""},
		"a slash that is escaped twice":              {root + "%252F..", 401, 401, 401, ""},
		"an id that need not have been escaped":      {"/acme/controller/v1/%64ev1", 200, 401, 401, "acme/dev1"},
		"a resource that need not have been escaped": {root + "/confirmation%42ase", 200, 401, 401, "acme/dev1"},
		"a tenant in capitals":                       {"/ACME/controller/v1/dev1", 200, 401, 401, "acme/dev1"},
		"a tenant in mixed case":                     {"/Acme/controller/v1/dev1", 200, 401, 401, "acme/dev1"},
		"an id in capitals is another id":            {"/acme/controller/v1/DEV1", 401, 401, 401, ""},
		"the root in capitals":                       {"/acme/Controller/V1/dev1", 404, 404, 401, ""},
		"no path":                                    {"/", 404, 404, 401, ""},
		"another path":                               {"/favicon.ico", 404, 404, 401, ""},
		"a long path":                                {root + strings.Repeat("/x", 5000), 404, 401, 401, ""},
		"a long id":                                  {root + strings.Repeat("x", 5000), 400, 400, 400, ""},
		"a slash next to what need not be escaped":   {`/acme/controller/v1/a%2F"b`, 401, 401, 401, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := backend()
			registry := prometheus.NewRegistry()
			s := deviceAPI(t, b, func(o *ddi.Options) { o.Registerer = registry })
			for what, want := range map[string]int{"TargetToken " + token: tc.right, "TargetToken wrong": tc.wrong, "": tc.none} {
				r := ask("GET /", "Authorization: "+what)
				parsed, err := url.Parse("http://devices.example" + tc.path) // resolves nothing
				if err != nil {
					t.Fatal(err)
				}
				r.URL = parsed
				w := answered(s, r)
				if w.Code != want || w.Header().Get("Location") != "" {
					t.Errorf("with %q: %d, Location %q, want %d", what, w.Code, w.Header().Get("Location"), want)
				}
				if w.Code >= 400 && !strings.Contains(w.Body.String(), `"errorCode":"`) {
					t.Errorf("with %q: the body is %q", what, w.Body)
				}
			}
			var asked string
			for _, call := range b.Calls() {
				asked = call.Device.Namespace + "/" + call.Device.ControllerID
			}
			if asked != tc.asked {
				t.Errorf("the backend was asked about %q, want %q", asked, tc.asked)
			}
			if n := requestsCounted(t, registry); n != 3 {
				t.Errorf("the metrics count %v requests, want 3", n)
			}
		})
	}
}

func requestsCounted(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var n float64
	for _, family := range families {
		if family.GetName() == "goshawk_ddi_requests_total" {
			for _, metric := range family.GetMetric() {
				n += metric.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestUnknownMethods: a method that a resource does not have is refused with 405, after the check
// of the credentials.
func TestUnknownMethods(t *testing.T) {
	for _, method := range []string{"OPTIONS", "CONNECT", "TRACE", "PATCH", "DELETE", "BREW", "PROPFIND"} {
		for what, want := range map[string]int{token: http.StatusMethodNotAllowed, "wrong": http.StatusUnauthorized} {
			b := backend()
			r := ask("GET "+root, "Authorization: TargetToken "+what)
			r.Method = method
			w := answered(deviceAPI(t, b), r)
			if w.Code != want {
				t.Errorf("%s with token %q: %d, want %d", method, what, w.Code, want)
			}
			if allow := w.Header().Get("Allow"); (allow == "GET, HEAD") != (want == http.StatusMethodNotAllowed) {
				t.Errorf("%s with token %q: Allow is %q", method, what, allow)
			}
			if len(b.Calls()) > 0 {
				t.Errorf("%s with token %q reached the backend", method, what)
			}
		}
	}
}

// TestUnknownPathsAreBounded: a path without a device counts in the rate of its address like wrong
// credentials. An unknown path below a device counts in the rate of the device.
func TestUnknownPathsAreBounded(t *testing.T) {
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Address = thrice() })
	got := codes(s, ask("GET /"), ask("GET /robots.txt"), ask("GET /acme/controller/v1/%20"), ask("GET /"), poll())
	if want := fmt.Sprint([]int{404, 404, 400, 429, 200}); fmt.Sprint(got) != want {
		t.Errorf("requests of paths without a device get %v, want %v", got, want)
	}
	s = deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Device = thrice() })
	got = codes(s, ask("GET "+root+"/x"), ask("DELETE "+root), ask("GET "+root+"/../dev2"), ask("GET "+root+"/x"))
	if want := fmt.Sprint([]int{404, 405, 404, 429}); fmt.Sprint(got) != want {
		t.Errorf("requests of unknown paths of a device get %v, want %v", got, want)
	}
}

// TestNothingIsAnsweredBeforeTheDeviceAPI: net/http would answer OPTIONS * and http.ServeMux would
// redirect some paths; the device API refuses and counts them all. TestHeadersAreBounded and
// TestRequestsThatAreNotHTTP have the exceptions.
func TestNothingIsAnsweredBeforeTheDeviceAPI(t *testing.T) {
	registry := prometheus.NewRegistry()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &deviceapitest.Backend{Tokens: backend().Tokens}
	go func() {
		_ = deviceAPI(t, b, func(o *ddi.Options) { o.Registerer = registry }).Serve(t.Context(), listener)
	}()
	lines := map[string]string{
		"OPTIONS * HTTP/1.1":                                                 "401",
		"CONNECT files.example:443 HTTP/1.1":                                 "401",
		"CONNECT " + root + " HTTP/1.1":                                      "401",
		"GET //acme/controller/v1/dev1 HTTP/1.1":                             "401",
		"GET /acme/controller/v1/dev2/../dev1 HTTP/1.1":                      "401",
		"POST /acme/../acme/controller/v1/dev1 HTTP/1.1":                     "401",
		"GET http://elsewhere.example/a/../b HTTP/1.1":                       "401",
		"GET /acme/controller/v1/" + strings.Repeat("x", 9000) + " HTTP/1.1": "400",
	}
	for line, want := range lines {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s\r\nHost: devices\r\nContent-Length: 0\r\n\r\n", line)
		answer, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
			t.Errorf("%.60s: %q, %v, want %s", line, answer, err, want)
		}
		conn.Close()
	}
	if n := requestsCounted(t, registry); n != float64(len(lines)) {
		t.Errorf("the metrics count %v requests, want %d", n, len(lines))
	}
}

// TestRequestsThatAreNotHTTP: what is no request of HTTP/1 is answered before the device API, and
// the connection is closed.
func TestRequestsThatAreNotHTTP(t *testing.T) {
	plain := served(t, nil)
	encrypted, _ := servedTLS(t, backend())
	get, put := "GET "+root+" HTTP/1.1\r\n", "PUT "+root+"/configData HTTP/1.1\r\nHost: devices\r\n"
	for name, tc := range map[string]struct {
		address, request string
		want             int
	}{
		"no request line":                       {plain, "hello\r\n\r\n", 400},
		"a line without a version":              {plain, "GET " + root + "\r\n\r\n", 400},
		"a path that is wrongly escaped":        {plain, "GET " + root + "%zz HTTP/1.1\r\nHost: devices\r\n\r\n", 400},
		"no host":                               {plain, get + "\r\n", 400},
		"two hosts":                             {plain, get + "Host: a\r\nHost: b\r\n\r\n", 400},
		"a header without a colon":              {plain, get + "Host: devices\r\nhello\r\n\r\n", 400},
		"a negative length":                     {plain, put + "Content-Length: -1\r\n\r\n", 400},
		"two lengths":                           {plain, put + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400},
		"HTTP at a port for HTTPS":              {encrypted, get + "Host: devices\r\n\r\n", 400},
		"an expectation other than to go on":    {plain, put + "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", 417},
		"a transfer encoding other than chunks": {plain, put + "Transfer-Encoding: gzip\r\n\r\n", 501},
		"a later version":                       {plain, "GET " + root + " HTTP/3.0\r\nHost: devices\r\n\r\n", 505},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialed(t, tc.address)
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, tc.request); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != tc.want || bytes.Contains(body, []byte("{")) {
				t.Errorf("the answer is %d %s, want %d", response.StatusCode, body, tc.want)
			}
			if _, err := reader.ReadByte(); err == nil || os.IsTimeout(err) {
				t.Errorf("the connection stays open: %v", err)
			}
		})
	}
}

// TestLinksKeepTheTenantAsWritten: links contain the tenant in the case of the request, because
// clients may compare them with their own URL.
func TestLinksKeepTheTenantAsWritten(t *testing.T) {
	b := backend()
	b.Offer.DeployID = 31
	w := answered(deviceAPI(t, b), ask("GET /ACME/controller/v1/dev1"))
	if want := `"http://devices.example/ACME/controller/v1/dev1/deploymentBase/31"`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s, want a link to %s", w.Body, want)
	}
}

// TestCaseOfTheTenantGivesNoSecondRate: requests with the tenant in another case count in the rate
// of the same device.
func TestCaseOfTheTenantGivesNoSecondRate(t *testing.T) {
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Device = thrice() })
	got := codes(s, poll(), ask("GET /ACME/controller/v1/dev1"), ask("GET /Acme/controller/v1/dev1"), ask("GET /aCME/controller/v1/dev1"))
	if want := fmt.Sprint([]int{200, 200, 200, 429}); fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestDefaultTenant: the tenant DEFAULT, in any case, is the namespace of the option. Its links
// keep the tenant as written, and a device has one rate under both tenants.
func TestDefaultTenant(t *testing.T) {
	tests := map[string]struct {
		option, tenant string
		// namespace is the one whose device the backend is asked about; empty: the request is
		// refused.
		namespace string
	}{
		"in capitals":                         {"acme", "DEFAULT", "acme"},
		"in small letters":                    {"acme", "default", "acme"},
		"in mixed case":                       {"acme", "Default", "acme"},
		"the namespace by its own name":       {"acme", "ACME", "acme"},
		"without the option":                  {"", "DEFAULT", ""},
		"the namespace default as the option": {"default", "DEFAULT", ""},
		"a tenant that starts with the word":  {"acme", "DEFAULT2", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := backend()
			b.Offer.DeployID = 31
			s := deviceAPI(t, b, func(o *ddi.Options) { o.DefaultNamespace = tc.option; o.Rates.Device = thrice() })
			path := "/" + tc.tenant + "/controller/v1/dev1"
			w := answered(s, ask("GET "+path))
			if tc.namespace == "" {
				if w.Code != http.StatusUnauthorized || len(b.Calls()) > 0 {
					t.Errorf("%d %s, and %d calls of the backend, want 401", w.Code, w.Body, len(b.Calls()))
				}
				return
			}
			if want := `"http://devices.example` + path + `/deploymentBase/31"`; w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
				t.Fatalf("%d %s, want a link to %s", w.Code, w.Body, want)
			}
			if got := b.Calls()[0].Device.Namespace; got != tc.namespace {
				t.Errorf("the backend was asked about namespace %q, want %q", got, tc.namespace)
			}
			got := codes(s, poll(), ask("GET "+path), poll())
			if want := fmt.Sprint([]int{200, 200, 429}); fmt.Sprint(got) != want {
				t.Errorf("later requests get %v, want %v", got, want)
			}
		})
	}
}
