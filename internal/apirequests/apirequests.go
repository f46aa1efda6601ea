// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apirequests exports metrics about the requests of a process to the API server: its
// writes, and the lists and watches of its caches. It measures the HTTP requests themselves, so
// every client of the process is included.
package apirequests

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// kinds are the kinds that have their own value of the label kind, by resource.
var kinds = map[string]string{
	"autoassignments": "AutoAssignment", "deploymentgroups": "DeploymentGroup", "deviceaccesses": "DeviceAccess", "distributionsets": "DistributionSet",
	"rollouts": "Rollout", "softwaremodules": "SoftwareModule", "targets": "Target", "targetinventories": "TargetInventory",
	"configmaps": "ConfigMap", "events": "Event", "leases": "Lease", "secrets": "Secret",
}

// otherKind is the value for all other resources.
const otherKind = "other"

// The values of the label result.
const (
	stored    = "stored"
	conflict  = "conflict"
	refused   = "refused"
	throttled = "throttled"
	failed    = "failed"
)

var (
	kindLabel = collectors.Label{Name: "kind", Values: []string{
		"AutoAssignment", "ConfigMap", "DeploymentGroup", "DeviceAccess", "DistributionSet", "Event", "Lease", "Rollout", "Secret", "SoftwareModule", "Target", "TargetInventory", otherKind,
	}}
	// cachedKindLabel has the kinds that the processes cache.
	cachedKindLabel = collectors.Label{Name: "kind", Values: []string{
		"AutoAssignment", "DeploymentGroup", "DeviceAccess", "DistributionSet", "Rollout", "Secret", "SoftwareModule", "Target", "TargetInventory",
	}}
	writesDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_api_writes_total", Process: collectors.Every,
		Help: "Writes to the API server, of objects and of their status, by kind and result: stored; conflict (another writer was first, or the object exists already: Goshawk tries again); " +
			"refused (4xx: a right is missing, or the object does not exist or is invalid); throttled (429); failed (5xx, or no response).",
		Labels: []collectors.Label{kindLabel, {Name: "result", Values: []string{stored, conflict, refused, throttled, failed}}},
	})
	writeSecondsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_api_write_seconds", Process: collectors.Every,
		Help:    "Time from the start of a write to the API server to the header of its response, by kind.",
		Labels:  []collectors.Label{kindLabel},
		Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	})
	listsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_cache_lists_total", Process: collectors.Every,
		Help:   "How often the caches have read all objects of a kind: once at the start, and again after a watch has fallen so far behind that it could not continue.",
		Labels: []collectors.Label{cachedKindLabel},
	})
	cacheAgeDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_cache_age_seconds", Process: collectors.Every,
		Help: "Time since the API server last sent something to the watch of a kind: a change, a bookmark, or the response to a new watch. Of several namespaces it is the longest time. " +
			"Watches are renewed every 5 to 10 minutes, so a larger value means that the cache no longer follows the API server.",
		Labels: []collectors.Label{cachedKindLabel},
	})
)

var (
	writes       = writesDefinition.Counters()
	writeSeconds = writeSecondsDefinition.Histograms()
	lists        = listsDefinition.Counters()
	watched      = newAges(time.Now)
)

func init() { metrics.Registry.MustRegister(writes, writeSeconds, lists, watched) }

// Wrap returns a transport that measures the requests of next.
func Wrap(next http.RoundTripper) http.RoundTripper { return &transport{next: next} }

type transport struct{ next http.RoundTripper }

// WrappedRoundTripper returns the transport below.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	r := read(request)
	if r.isList {
		lists.WithLabelValues(r.kind).Inc()
	}
	started := time.Now()
	response, err := t.next.RoundTrip(request)
	switch {
	case r.isWrite:
		writeSeconds.WithLabelValues(r.kind).Observe(time.Since(started).Seconds())
		writes.WithLabelValues(r.kind, resultOf(response, err)).Inc()
	case r.isWatch && err == nil && response.StatusCode == http.StatusOK:
		response.Body = watched.follow(r.kind, r.path, response.Body)
	}
	return response, err
}

// resource is what the metrics need of a request.
type resource struct {
	kind, path               string
	isWrite, isWatch, isList bool
}

// read reads the path and the query of a request. A request of a cache has a resourceVersion, other
// lists have none.
func read(request *http.Request) resource {
	r := resource{kind: kindOf(request.URL.Path), path: request.URL.Path}
	switch request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		r.isWrite = r.kind != "" && !strings.Contains(r.path, "/authorization.k8s.io/")
	case http.MethodGet:
		query := request.URL.Query()
		r.isWatch = isTrue(query.Get("watch"))
		r.isList = isTrue(query.Get("sendInitialEvents")) || !r.isWatch && query.Has("resourceVersion")
	}
	return r
}

func isTrue(value string) bool { return value == "true" || value == "1" }

// kindOf returns the kind in a path such as /apis/goshawk.dev/v1alpha1/namespaces/fleet/targets. It
// is empty if the path has no resource.
func kindOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return ""
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if kind, ok := kinds[parts[0]]; ok {
		return kind
	}
	return otherKind
}

func resultOf(response *http.Response, err error) string {
	switch {
	case err != nil:
		return failed
	case response.StatusCode < http.StatusBadRequest:
		return stored
	case response.StatusCode == http.StatusConflict:
		return conflict
	case response.StatusCode == http.StatusTooManyRequests:
		return throttled
	case response.StatusCode < http.StatusInternalServerError:
		return refused
	}
	return failed
}

var cacheAgeDesc = cacheAgeDefinition.Desc()

// Describe implements prometheus.Collector.
func (a *ages) Describe(descs chan<- *prometheus.Desc) { descs <- cacheAgeDesc }

// Collect implements prometheus.Collector.
func (a *ages) Collect(out chan<- prometheus.Metric) {
	for kind, age := range a.longest() {
		out <- prometheus.MustNewConstMetric(cacheAgeDesc, prometheus.GaugeValue, age.Seconds(), kind)
	}
}
