package ddi_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi"
)

// thrice lets through that many requests at once and then, as far as a test
// lives, none.
func thrice() ddi.Rate { return ddi.Rate{PerSecond: 1e-6, Burst: 3} }

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
	b.Tokens[ddi.Device{Tenant: "acme", ControllerID: "dev2"}] = token
	s := door(t, b, func(o *ddi.Options) { o.DeviceRate = thrice() })
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
	s := door(t, backend(), func(o *ddi.Options) { o.DeviceRate = thrice() })
	got := codes(s, poll(), poll(), poll(), poll(), word("denied"), word("confirmed"), word("denied"), word("confirmed"), ask("GET "+root+"/confirmationBase/31"))
	if diff := cmp.Diff([]int{200, 200, 200, 429, 200, 200, 200, 429, 429}, got); diff != "" {
		t.Errorf("a hurried device loses no word, but words are bounded too (-want +got):\n%s", diff)
	}
}

func TestRatePerAddress(t *testing.T) {
	const wrong = "Authorization: TargetToken wrong"
	s := door(t, backend(), func(o *ddi.Options) { o.AddressRate = thrice() })
	got := codes(s, poll(), poll(), poll(), poll(), poll(wrong), poll(wrong), poll(), poll(wrong), poll(wrong), poll())
	if diff := cmp.Diff([]int{200, 200, 200, 200, 401, 401, 200, 401, 429, 429}, got); diff != "" {
		t.Errorf("only refusals count; after three the address is barred (-want +got):\n%s", diff)
	}
	elsewhere := poll()
	elsewhere.RemoteAddr = "[2001:db8::1]:4711"
	if w := answered(s, elsewhere); w.Code != http.StatusOK {
		t.Errorf("another address is answered %d, want 200", w.Code)
	}
	if w := answered(s, poll()); w.Header().Get("Retry-After") != "10" {
		t.Errorf("Retry-After is %q, want 10", w.Header().Get("Retry-After"))
	}
}

func TestRateOfAll(t *testing.T) {
	b := backend()
	b.Tokens[ddi.Device{Tenant: "acme", ControllerID: "dev2"}] = token
	s := door(t, b, func(o *ddi.Options) { o.GlobalRate = thrice() })
	got := codes(s, poll("Authorization: TargetToken wrong"), poll(), otherDevice(), poll(), otherDevice())
	if diff := cmp.Diff([]int{401, 200, 200, 200, 429}, got); diff != "" {
		t.Errorf("strangers do not count, devices together do (-want +got):\n%s", diff)
	}
}

func TestDefaultRatesLetARealUpdateThrough(t *testing.T) {
	s, err := ddi.NewServer(backend(), ddi.Options{})
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
