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

// thrice lets through that many requests at once and then, as far as a test
// lives, none.
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
		t.Errorf("three polls at once are fine, and other devices do not suffer (-want +got):\n%s", diff)
	}
	if w := answered(s, poll()); w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q, want 1", w.Header().Get("Retry-After"))
	}
	for _, execution := range []string{"proceeding", "scheduled", "resumed", "download"} {
		if got := codes(s, report("deploymentBase", `{"execution":"`+execution+`","result":{"finished":"none"}}`)); got[0] != http.StatusTooManyRequests {
			t.Errorf("a hurried device's %s is answered %d, want 429", execution, got[0])
		}
	}
	got = codes(s, report("deploymentBase", proceeding), report("cancelAction", rejected),
		report("deploymentBase", success), report("deploymentBase", proceeding))
	if diff := cmp.Diff([]int{429, 200, 200, 429}, got); diff != "" {
		t.Errorf("a hurried device loses progress, but no result (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{200, 429}, codes(s, report("deploymentBase", success), report("deploymentBase", success))); diff != "" {
		t.Errorf("results are bounded too (-want +got):\n%s", diff)
	}
}

// Who has said yes or no at a device in a hurry need not say it again.
func TestRatesKeepConsent(t *testing.T) {
	word := func(text string) *http.Request {
		return ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"`+text+`"}`)
	}
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Rates.Device = thrice() })
	got := codes(s, poll(), poll(), poll(), poll(), word("denied"), word("confirmed"), word("denied"), word("confirmed"), ask("GET "+root+"/confirmationBase/31"))
	if diff := cmp.Diff([]int{200, 200, 200, 429, 200, 200, 200, 429, 429}, got); diff != "" {
		t.Errorf("a hurried device loses no word, but words are bounded too (-want +got):\n%s", diff)
	}
}

// Wrong credentials beyond their rates are answered 429, by device, by address and in all; right
// ones never are.
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
		"of one device, whose flood leaves the rate of its address to others": {func(o *ddi.Options) {
			o.Rates.Guess, o.Rates.Address = deviceapi.Rate{PerSecond: 1e-6, Burst: 1}, thrice()
		},
			[]*http.Request{poll(wrong), poll(wrong), poll(wrong), poll(wrong), wrongFor("dev2", here), wrongFor("dev3", here)},
			[]int{401, 429, 429, 429, 401, 401}},
		"of one address, whose flood leaves the rate of all to others": {func(o *ddi.Options) {
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
		t.Errorf("strangers do not count, devices together do (-want +got):\n%s", diff)
	}
}

func TestDefaultRatesLetARealUpdateThrough(t *testing.T) {
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

// Results, answers to cancels and confirmations are taken also when all devices together ask too
// often, within a bound.
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

// Of large reports that a device sends as fast as it can, only so much is read. Small results are
// always read.
func TestLargeReportsOfAHurriedDeviceAreNotAllRead(t *testing.T) {
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
