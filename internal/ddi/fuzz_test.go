// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// fuzzed is a device API with one device, which has an update in progress.
func fuzzed(t testing.TB, change ...func(*ddi.Options)) (*ddi.Server, *deviceapitest.Backend) {
	t.Helper()
	b := &deviceapitest.Backend{
		Tokens: map[deviceapi.Device]string{device: token},
		Update: &deviceapitest.Update{Set: deviceapitest.Set{Name: "firmware", Version: "1.0", Modules: []deviceapi.Module{backend().Module}}},
	}
	s := deviceAPI(t, b, change...)
	if w := send(s, getDeployment); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return s, b
}

// wantResponse fails the test unless the response is one that a client can read: not a failure of
// the device API, with the right length, and a document of the announced type.
func wantResponse(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code < 200 || w.Code >= 500 {
		t.Fatalf("%s %q: %d %s", r.Method, r.URL, w.Code, w.Body)
	}
	if w.Body.Len() == 0 {
		return
	}
	if length := w.Header().Get("Content-Length"); length != strconv.Itoa(w.Body.Len()) {
		t.Errorf("Content-Length is %q, and the body has %d bytes", length, w.Body.Len())
	}
	switch w.Header().Get("Content-Type") {
	case "application/json", "application/hal+json":
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s is no JSON", w.Body)
		}
	case "application/cbor":
		if err := cbor.Wellformed(w.Body.Bytes()); err != nil {
			t.Errorf("%x is no CBOR: %v", w.Body.Bytes(), err)
		}
	case "text/plain; charset=utf-8":
	default:
		t.Errorf("the Content-Type is %q", w.Header().Get("Content-Type"))
	}
}

// FuzzPath sends every method with every path and query. The backend is called only for the device
// with the token, and never without the token.
func FuzzPath(f *testing.F) {
	for _, list := range facts {
		for _, fact := range list {
			method, rest, _ := strings.Cut(fact.request, " ")
			path, _, _ := strings.Cut(rest, " ")
			path, query, _ := strings.Cut(path, "?")
			f.Add(method, root+path, query)
		}
	}
	for _, path := range []string{"//acme//controller/v1/dev1/", "/acme/controller/v1/%64ev1", root + "/%2e%2e/dev2", "/ACME/controller/v1/dev1", root + "/softwaremodules/9/artifacts/%2F", "*", ""} {
		f.Add("GET", path, "actionHistory=-1&c=%zz")
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		for _, credentials := range []string{token, "wrong"} {
			s, b := fuzzed(t)
			calls := len(b.Calls())
			r := ask("GET "+root, "Authorization: TargetToken "+credentials)
			r.Method, r.URL = method, &url.URL{Path: path, RawQuery: query}
			if parsed, err := url.Parse("http://devices.example" + path); err == nil {
				parsed.RawQuery, r.URL = query, parsed
			}
			w := answered(s, r)
			wantResponse(t, r, w)
			for _, call := range b.Calls()[calls:] {
				if call.Device != device || credentials != token {
					t.Errorf("with token %q, %s %q calls %s of %v", credentials, method, path, call.Method, call.Device)
				}
			}
			if credentials != token && w.Code < 400 {
				t.Errorf("without the token, %s %q gets %d", method, path, w.Code)
			}
		}
	})
}

// FuzzHeaders sends every header that the device API reads, with and without a trusted proxy.
// Headers are no credentials, and links stay links.
func FuzzHeaders(f *testing.F) {
	f.Add("TargetToken secret", "application/json;q=0.5, */*", "application/json", `"a", W/"b"`, "identity", "devices.example:8080", "for=203.0.113.9;proto=https;host=a.example", "203.0.113.9", "https", "a.example", "443", "/p")
	f.Add("targettoken  secret ", "application/cbor", "application/cbor", "*", "gzip", "[::1]:80", `for="[2001:db8::9]:4711"`, "unknown, 10.1.2.3", "HTTPS, http", "evil.example/x", "99999", "//x")
	f.Add("GatewayToken secret", "*; q=.2, text/html", "application/json; charset=\"", "", "", "a b", "for=_x;proto=;;", ":,", "ftp", "[::", "-1", "/../")
	trusted := func(o *ddi.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }
	f.Fuzz(func(t *testing.T, authorization, accept, contentType, ifNoneMatch, encoding, host, forwarded, address, scheme, forwardedHost, port, prefix string) {
		for _, change := range []func(*ddi.Options){func(*ddi.Options) {}, trusted} {
			for _, request := range []string{"GET ", getDeployment, reportProgress, sendAttributes} {
				s, b := fuzzed(t, change)
				calls := len(b.Calls())
				method, rest, _ := strings.Cut(request, " ")
				path, body, _ := strings.Cut(rest, " ")
				r := httptest.NewRequest(method, root+path, strings.NewReader(body))
				r.Host, r.RemoteAddr = host, "192.0.2.7:4711"
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080}))
				r.Header = http.Header{
					"Authorization": {authorization}, "Accept": {accept}, "Content-Type": {contentType}, "If-None-Match": {ifNoneMatch}, "Content-Encoding": {encoding},
					"Forwarded": {forwarded}, "X-Forwarded-For": {address}, "X-Forwarded-Proto": {scheme}, "X-Forwarded-Host": {forwardedHost},
					"X-Forwarded-Port": {port}, "X-Forwarded-Prefix": {prefix},
				}
				w := answered(s, r)
				wantResponse(t, r, w)
				scheme, sent, _ := strings.Cut(authorization, " ")
				if isRight := strings.EqualFold(scheme, "TargetToken") && strings.TrimSpace(sent) == token; !isRight && (len(b.Calls()) > calls || w.Code < 400) {
					t.Errorf("with the credentials %q, %s gets %d and calls the backend %d times", authorization, request, w.Code, len(b.Calls())-calls)
				}
				wantLinks(t, w)
			}
		}
	})
}

// wantLinks fails the test unless all links of a document in JSON are absolute URLs.
func wantLinks(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var document struct {
		Links map[string]struct{ Href string } `json:"_links"`
	}
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &document) != nil {
		return
	}
	for relation, link := range document.Links {
		if u, err := url.Parse(link.Href); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			t.Errorf("the link %s leads to %q: %v", relation, link.Href, err)
		}
	}
}

// bodies are the resources with a body.
var bodies = []string{
	"POST /deploymentBase/100/feedback", "POST /cancelAction/100/feedback", "PUT /configData", "PUT /installedBase",
	"POST /confirmationBase/100/feedback", "POST /confirmationBase/activateAutoConfirm", "POST /confirmationBase/deactivateAutoConfirm",
}

// FuzzBody sends every body to every resource with a body, as JSON and as CBOR. It changes nothing
// unless it is accepted.
func FuzzBody(f *testing.F) {
	for _, list := range facts {
		for _, fact := range list {
			if method, rest, _ := strings.Cut(fact.request, " "); method != http.MethodGet {
				_, body, _ := strings.Cut(rest, " ")
				f.Add([]byte(body))
				if json.Valid([]byte(body)) {
					f.Add(asCBOR(f, body))
				}
			}
		}
	}
	f.Add([]byte("\xbf\x66status\xbf\xff\xff"))
	f.Add([]byte(`{"status":{"execution":"closed","result":{"finished":"success","progress":{"cnt":1e400,"of":"x"}},"code":[],"details":[[[{}]]]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, resource := range bodies {
			for _, mediaType := range []string{"application/json", "application/cbor"} {
				s, b := fuzzed(t)
				calls := len(b.Calls())
				method, path, _ := strings.Cut(resource, " ")
				r := ask("GET "+root+path, "Content-Type: "+mediaType)
				r.Method, r.Body, r.ContentLength = method, io.NopCloser(strings.NewReader(string(body))), int64(len(body))
				w := answered(s, r)
				wantResponse(t, r, w)
				switch made := len(b.Calls()) - calls; {
				case made > 1, made == 0 && w.Code < 400:
					t.Errorf("%s with %q as %s gets %d, and calls the backend %d times", resource, body, mediaType, w.Code, made)
				}
			}
		}
	})
}
