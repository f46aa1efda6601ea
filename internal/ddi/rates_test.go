// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// thrice returns a rate of three requests, and then none for longer than a test lasts.
func thrice() deviceapi.Rate { return deviceapi.Rate{PerSecond: 1e-6, Burst: 3} }

func codes(s http.Handler, requests ...*http.Request) []int {
	var codes []int
	for _, r := range requests {
		codes = append(codes, answered(s, r).Code)
	}
	return codes
}

func poll(headers ...string) *http.Request { return ask("GET "+root, headers...) }

func report(resource, status string) *http.Request {
	return ask("POST "+root+"/"+resource+"/31/feedback", `{"status":`+status+`}`)
}

const (
	proceeding = `{"execution":"proceeding","result":{"finished":"none"}}`
	success    = `{"execution":"closed","result":{"finished":"success"}}`
	rejected   = `{"execution":"rejected","result":{"finished":"success"}}`
)

func otherDevice() *http.Request { return ask("GET /acme/controller/v1/dev2") }

func TestRatePerDevice(t *testing.T) {
	b := backend()
	b.Tokens[deviceapi.Device{Namespace: "acme", ControllerID: "dev2"}] = token
	s := deviceAPI(t, b, func(o *ddi.Options) { o.Rates.Device = thrice() })
	got := codes(s, poll(), poll(), poll(), poll(), otherDevice())
	if diff := cmp.Diff([]int{200, 200, 200, 429, 200}, got); diff != "" {
		t.Errorf("codes of four polls and one of another device (-want +got):\n%s", diff)
	}
	if w := answered(s, poll()); w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q, want 1", w.Header().Get("Retry-After"))
	}
	for _, execution := range []string{"proceeding", "scheduled", "resumed", "download"} {
		if got := codes(s, report("deploymentBase", `{"execution":"`+execution+`","result":{"finished":"none"}}`)); got[0] != http.StatusTooManyRequests {
			t.Errorf("beyond the rate, %s is answered %d, want 429", execution, got[0])
		}
	}
	got = codes(s, report("deploymentBase", proceeding), report("cancelAction", rejected),
		report("deploymentBase", success), report("deploymentBase", proceeding))
	if diff := cmp.Diff([]int{429, 200, 200, 429}, got); diff != "" {
		t.Errorf("codes of reports beyond the rate: want 429 for progress only (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{200, 429}, codes(s, report("deploymentBase", success), report("deploymentBase", success))); diff != "" {
		t.Errorf("codes of results beyond their own rate (-want +got):\n%s", diff)
	}
}

// All devices with one gateway token share a rate, in which the token of a device, another gateway
// token and the same token in another namespace do not count. Results have the same rate once more.
func TestRatePerGatewayToken(t *testing.T) {
	s := deviceAPI(t, &openBackend{Backend: backend()}, func(o *ddi.Options) { o.Rates.Gateway = thrice() })
	of := func(device, credentials string) *http.Request {
		return ask("GET /"+device, "Authorization: "+credentials)
	}
	result := func() *http.Request {
		r := report("deploymentBase", success)
		r.Header.Set("Authorization", "GatewayToken one")
		return r
	}
	got := codes(s,
		of("acme/controller/v1/dev1", "GatewayToken one"), of("acme/controller/v1/dev2", "GatewayToken one"), of("acme/controller/v1/dev3", "gatewaytoken one"),
		of("acme/controller/v1/dev1", "GatewayToken one"), of("acme/controller/v1/dev4", "GatewayToken one"),
		of("acme/controller/v1/dev1", "GatewayToken two"), of("acme/controller/v1/dev1", "TargetToken one"), of("other/controller/v1/dev1", "GatewayToken one"),
		result(), result(), result(), result())
	if diff := cmp.Diff([]int{200, 200, 200, 429, 429, 200, 200, 200, 200, 200, 200, 429}, got); diff != "" {
		t.Errorf("codes of polls and results (-want +got):\n%s", diff)
	}
	if w := answered(s, of("acme/controller/v1/dev5", "GatewayToken one")); w.Header().Get("Retry-After") != "10" || !strings.Contains(w.Body.String(), "gateway token") {
		t.Errorf("the response is %q with Retry-After %q", w.Body, w.Header().Get("Retry-After"))
	}
}

// All devices of one namespace share a rate, whatever their credentials, and what is refused leaves
// the rate of all to other namespaces. Results have the same rate once more.
func TestRatePerNamespace(t *testing.T) {
	s := deviceAPI(t, &openBackend{Backend: backend()}, func(o *ddi.Options) {
		o.Rates.Namespace, o.Rates.Global = thrice(), deviceapi.Rate{PerSecond: 1e-6, Burst: 5}
	})
	of := func(device, credentials string) *http.Request {
		return ask("GET /"+device, "Authorization: "+credentials)
	}
	got := codes(s,
		of("acme/controller/v1/dev1", "GatewayToken one"), of("acme/controller/v1/dev2", "GatewayToken two"), of("acme/controller/v1/dev3", "TargetToken three"),
		of("acme/controller/v1/dev1", "GatewayToken one"), of("acme/controller/v1/dev4", "GatewayToken four"), of("acme/controller/v1/dev5", "TargetToken five"),
		of("other/controller/v1/dev1", "TargetToken one"), of("other/controller/v1/dev1", "TargetToken one"), of("other/controller/v1/dev1", "TargetToken one"),
		report("deploymentBase", success), report("deploymentBase", success), report("deploymentBase", proceeding), report("deploymentBase", success), report("deploymentBase", success))
	if diff := cmp.Diff([]int{200, 200, 200, 429, 429, 429, 200, 200, 429, 200, 200, 429, 200, 429}, got); diff != "" {
		t.Errorf("codes of polls and results (-want +got):\n%s", diff)
	}
	if w := answered(s, of("acme/controller/v1/dev6", "GatewayToken one")); w.Header().Get("Retry-After") != "10" || !strings.Contains(w.Body.String(), "tenant") {
		t.Errorf("the response is %q with Retry-After %q", w.Body, w.Header().Get("Retry-After"))
	}
}

// Beyond the rate of a device, its confirmations and denials are still accepted.
func TestConfirmationsBeyondTheRate(t *testing.T) {
	word := func(text string) *http.Request {
		return ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"`+text+`"}`)
	}
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Device = thrice() })
	got := codes(s, poll(), poll(), poll(), poll(), word("denied"), word("confirmed"), word("denied"), word("confirmed"), ask("GET "+root+"/confirmationBase/31"))
	if diff := cmp.Diff([]int{200, 200, 200, 429, 200, 200, 200, 429, 429}, got); diff != "" {
		t.Errorf("codes of confirmations beyond the rate of requests, and then beyond their own (-want +got):\n%s", diff)
	}
}

// Wrong credentials get 429 beyond the rate of a device, of an address or of all. Right credentials
// do not.
func TestRatesOfWrongCredentials(t *testing.T) {
	const wrong = "Authorization: TargetToken wrong"
	wrongFor := func(id, address string) *http.Request {
		r := ask("GET /acme/controller/v1/"+id, wrong)
		r.RemoteAddr = address
		return r
	}
	const here, there = "192.0.2.7:4711", "192.0.2.8:4711"
	for name, tc := range map[string]struct {
		rate     func(*ddi.Options)
		requests []*http.Request
		want     []int
	}{
		"of one address for one device": {func(o *ddi.Options) { o.Rates.Guess = thrice() },
			[]*http.Request{poll(wrong), poll(), poll(wrong), poll(wrong), poll(wrong), poll(), wrongFor("dev2", here), wrongFor("dev1", there), poll(wrong)},
			[]int{401, 200, 401, 401, 429, 200, 401, 401, 429}},
		"of one address": {func(o *ddi.Options) { o.Rates.Address = thrice() },
			[]*http.Request{poll(wrong), wrongFor("dev2", here), wrongFor("dev3", here), wrongFor("dev4", here), poll(), wrongFor("dev4", there)},
			[]int{401, 401, 401, 429, 200, 401}},
		"of all addresses": {func(o *ddi.Options) { o.Rates.Refusal = thrice() },
			[]*http.Request{poll(wrong), wrongFor("dev2", there), wrongFor("dev3", here), wrongFor("dev4", there), poll(wrong), poll()},
			[]int{401, 401, 401, 429, 429, 200}},
		"of an IPv6 network": {func(o *ddi.Options) { o.Rates.Address = thrice() },
			[]*http.Request{wrongFor("a", "[2001:db8::1]:1"), wrongFor("b", "[2001:db8::2]:1"), wrongFor("c", "[2001:db8::ffff:0:0:1]:1"), wrongFor("d", "[2001:db8::4]:1"), wrongFor("e", "[2001:db8:0:1::1]:1")},
			[]int{401, 401, 401, 429, 401}},
		"of one device, which does not use up the rate of its address": {func(o *ddi.Options) {
			o.Rates.Guess, o.Rates.Address = deviceapi.Rate{PerSecond: 1e-6, Burst: 1}, thrice()
		},
			[]*http.Request{poll(wrong), poll(wrong), poll(wrong), poll(wrong), wrongFor("dev2", here), wrongFor("dev3", here)},
			[]int{401, 429, 429, 429, 401, 401}},
		"of one address, which does not use up the rate of all": {func(o *ddi.Options) {
			o.Rates.Address, o.Rates.Refusal = deviceapi.Rate{PerSecond: 1e-6, Burst: 1}, thrice()
		},
			[]*http.Request{poll(wrong), wrongFor("dev2", here), wrongFor("dev3", here), wrongFor("dev4", here), poll(wrong), wrongFor("dev2", there)},
			[]int{401, 429, 429, 429, 429, 401}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, codes(deviceAPI(t, backend(), tc.rate), tc.requests...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Address = thrice() })
	codes(s, poll(wrong), poll(wrong), poll(wrong))
	if h := answered(s, poll(wrong)).Header(); h.Get("Retry-After") != "10" || h.Get("Connection") != "close" {
		t.Errorf("Retry-After is %q, want 10; Connection is %q, want close", h.Get("Retry-After"), h.Get("Connection"))
	}
}

func TestRateOfAll(t *testing.T) {
	b := backend()
	b.Tokens[deviceapi.Device{Namespace: "acme", ControllerID: "dev2"}] = token
	s := deviceAPI(t, b, func(o *ddi.Options) { o.Rates.Global = thrice() })
	got := codes(s, poll("Authorization: TargetToken wrong"), poll(), otherDevice(), poll(), otherDevice())
	if diff := cmp.Diff([]int{401, 200, 200, 200, 429}, got); diff != "" {
		t.Errorf("codes of polls; wrong credentials do not count in the rate of all (-want +got):\n%s", diff)
	}
}

func TestDefaultRatesSufficeForAnUpdate(t *testing.T) {
	s, err := newServer(backend(), ddi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	requests := []*http.Request{poll(), ask("GET " + root + "/deploymentBase/31")}
	for range 22 { // as many as RAUC's client sends for one bundle
		requests = append(requests, report("deploymentBase", proceeding))
	}
	for i, code := range codes(s, append(requests, report("deploymentBase", success))...) {
		if code != http.StatusOK {
			t.Errorf("request %d is answered %d", i, code)
		}
	}
}

// Results, answers to cancels and confirmations are accepted, within a limit, also when all devices
// together exceed their rate.
func TestRateOfAllKeepsResults(t *testing.T) {
	b := backend()
	b.Tokens[deviceapi.Device{Namespace: "acme", ControllerID: "dev2"}] = token
	confirmed := func() *http.Request {
		return ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"confirmed"}`)
	}
	s := deviceAPI(t, b, func(o *ddi.Options) { o.Rates.Global = thrice() })
	got := codes(s, poll(), poll(), poll(), poll(), otherDevice(), report("deploymentBase", proceeding), ask("PUT "+root+"/configData", `{"data":{}}`),
		report("deploymentBase", success), report("cancelAction", rejected), confirmed(), report("deploymentBase", success))
	if diff := cmp.Diff([]int{200, 200, 200, 429, 429, 429, 429, 200, 200, 200, 429}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// If a device exceeds its rate, only some of its large reports are read. Small results are always
// read.
func TestLargeReportsBeyondTheRateAreNotAllRead(t *testing.T) {
	large := `{"status":{"details":["` + strings.Repeat("x", 60<<10) + `"],"execution":"proceeding","result":{"finished":"none"}}}`
	for name, length := range map[string]int64{"declared": int64(len(large)), "chunked": -1} {
		s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Device = thrice() })
		read := 0
		for range 1000 {
			body := &counter{Reader: strings.NewReader(large)}
			r := report("deploymentBase", proceeding)
			r.Body, r.ContentLength = io.NopCloser(body), length
			answered(s, r)
			if body.n > 0 {
				read++
			}
		}
		if read > 3+3 {
			t.Errorf("%s: %d bodies of 60 KiB were read, want 3, and 120 KiB", name, read)
		}
		if got := codes(s, report("deploymentBase", success)); got[0] != http.StatusOK {
			t.Errorf("%s: a result is answered %d afterwards", name, got[0])
		}
	}
}
