// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package apirequests

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// response is a transport that returns the same response to each request.
type response struct {
	status int
	body   string
	err    error
}

func (r response) RoundTrip(*http.Request) (*http.Response, error) {
	if r.err != nil {
		return nil, r.err
	}
	return &http.Response{StatusCode: r.status, Body: io.NopCloser(strings.NewReader(r.body))}, nil
}

// counted sends a request and returns the names and labels of the counters that grew.
func counted(t *testing.T, method, url string, next http.RoundTripper) []string {
	t.Helper()
	before := samples(t)
	request, err := http.NewRequest(method, "https://server"+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Wrap(next).RoundTrip(request)
	if err == nil {
		if _, err := io.ReadAll(got.Body); err != nil {
			t.Fatal(err)
		}
		if err := got.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var grown []string
	for _, s := range samplesInOrder(t) {
		if s.value > before[s.name] {
			grown = append(grown, s.name)
		}
	}
	return grown
}

type sample struct {
	name  string
	value float64
}

func samples(t *testing.T) map[string]float64 {
	all := map[string]float64{}
	for _, s := range samplesInOrder(t) {
		all[s.name] = s.value
	}
	return all
}

func samplesInOrder(t *testing.T) []sample {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(writes, writeSeconds, lists)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []sample
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			all = append(all, sample{name, m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())})
		}
	}
	return all
}

// TestWritesAreCountedByKindAndResult: each write counts once, also one of a status or without a
// response. Reads and reviews of rights are no writes.
func TestWritesAreCountedByKindAndResult(t *testing.T) {
	ok := response{status: http.StatusOK}
	const fleet = "/apis/goshawk.dev/v1alpha1/namespaces/fleet/"
	for _, row := range []struct {
		name, method, url string
		next              response
		want              []string
	}{
		{"the status of a target", http.MethodPatch, fleet + "targets/gw-09/status", ok, []string{"goshawk_api_write_seconds Target", "goshawk_api_writes_total Target stored"}},
		{"a new group", http.MethodPost, fleet + "deploymentgroups?fieldManager=goshawk", response{status: http.StatusCreated}, []string{"goshawk_api_write_seconds DeploymentGroup", "goshawk_api_writes_total DeploymentGroup stored"}},
		{"a conflict", http.MethodPatch, fleet + "rollouts/r/status", response{status: http.StatusConflict}, []string{"goshawk_api_write_seconds Rollout", "goshawk_api_writes_total Rollout conflict"}},
		{"a missing right", http.MethodDelete, fleet + "rollouts/r", response{status: http.StatusForbidden}, []string{"goshawk_api_write_seconds Rollout", "goshawk_api_writes_total Rollout refused"}},
		{"too many requests", http.MethodPatch, fleet + "targets/a/status", response{status: http.StatusTooManyRequests}, []string{"goshawk_api_write_seconds Target", "goshawk_api_writes_total Target throttled"}},
		{"an error of the server", http.MethodPut, "/api/v1/namespaces/goshawk-system/configmaps/a", response{status: http.StatusServiceUnavailable}, []string{"goshawk_api_write_seconds ConfigMap", "goshawk_api_writes_total ConfigMap failed"}},
		{"a lost response", http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/goshawk-system/leases/goshawk-controllers", response{err: errors.New("EOF")}, []string{"goshawk_api_write_seconds Lease", "goshawk_api_writes_total Lease failed"}},
		{"an event", http.MethodPost, "/apis/events.k8s.io/v1/namespaces/fleet/events", ok, []string{"goshawk_api_write_seconds Event", "goshawk_api_writes_total Event stored"}},
		{"another kind", http.MethodPost, "/apis/example.com/v1/things", ok, []string{"goshawk_api_write_seconds other", "goshawk_api_writes_total other stored"}},
		{"a namespace", http.MethodPost, "/api/v1/namespaces", ok, []string{"goshawk_api_write_seconds other", "goshawk_api_writes_total other stored"}},
		{"a review of rights", http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ok, nil},
		{"a read", http.MethodGet, fleet + "targets/gw-09", ok, nil},
		{"a list without the cache", http.MethodGet, fleet + "targets?limit=500", ok, nil},
		{"a path without a resource", http.MethodGet, "/version", ok, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if d := cmp.Diff(row.want, counted(t, row.method, row.url, row.next)); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

// TestListsOfTheCachesAreCounted: a list with a resourceVersion, and a watch that starts with all
// objects, are those of a cache.
func TestListsOfTheCachesAreCounted(t *testing.T) {
	ok := response{status: http.StatusOK}
	for url, want := range map[string][]string{
		"/apis/goshawk.dev/v1alpha1/targets?limit=500&resourceVersion=0":                                                     {"goshawk_cache_lists_total Target"},
		"/apis/goshawk.dev/v1alpha1/rollouts?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan":            {"goshawk_cache_lists_total Rollout"},
		"/apis/goshawk.dev/v1alpha1/namespaces/fleet/distributionsets?watch=1&resourceVersion=12&allowWatchBookmarks=true":   nil,
		"/api/v1/namespaces/fleet/secrets?fieldSelector=type%3Dgoshawk.dev%2Fdevice-tokens&resourceVersion=0&timeoutSeconds": {"goshawk_cache_lists_total Secret"},
	} {
		if d := cmp.Diff(want, counted(t, http.MethodGet, url, ok)); d != "" {
			t.Errorf("%s: want (-), got (+):\n%s", url, d)
		}
	}
}

// TestTheAgeOfACacheIsThatOfItsOldestWatch: everything that the API server sends ends the age, also
// the response to a new watch. While there is no watch, the age grows.
func TestTheAgeOfACacheIsThatOfItsOldestWatch(t *testing.T) {
	now := time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)
	a := newAges(func() time.Time { return now })
	fleet := a.follow("Target", "/fleet", io.NopCloser(strings.NewReader("a change")))
	other := a.follow("Target", "/other", io.NopCloser(strings.NewReader("")))
	a.follow("Rollout", "/fleet", io.NopCloser(strings.NewReader("")))
	mustBe := func(when string, want map[string]time.Duration) {
		t.Helper()
		if d := cmp.Diff(want, a.longest()); d != "" {
			t.Errorf("%s: want (-), got (+):\n%s", when, d)
		}
	}
	now = now.Add(time.Minute)
	if _, err := fleet.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	mustBe("after a change in one of two namespaces", map[string]time.Duration{"Target": time.Minute, "Rollout": time.Minute})
	if n, err := other.Read(make([]byte, 3)); n != 0 || err == nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	mustBe("after the end of a watch", map[string]time.Duration{"Target": time.Minute, "Rollout": time.Minute})
	a.follow("Target", "/other", io.NopCloser(strings.NewReader("")))
	now = now.Add(time.Second)
	mustBe("after the watch was renewed", map[string]time.Duration{"Target": time.Second, "Rollout": time.Minute + time.Second})
}

// TestAWatchIsFollowedOnlyIfItStarts: a watch that is refused has no age.
func TestAWatchIsFollowedOnlyIfItStarts(t *testing.T) {
	for status, want := range map[int]bool{http.StatusOK: true, http.StatusForbidden: false} {
		request, err := http.NewRequest(http.MethodGet, "https://server/apis/goshawk.dev/v1alpha1/softwaremodules?watch=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Wrap(response{status: status}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, is := got.Body.(*followed); is != want {
			t.Errorf("status %d: followed is %v", status, is)
		}
		if err := got.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
