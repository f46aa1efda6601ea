package gitops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// write is one request by which Goshawk changed something.
type write struct {
	method, namespace, resource, name, subresource string
	body                                           []byte
	status                                         int
}

func (w write) String() string {
	return fmt.Sprintf("%s %s/%s %s answered %d: %.300s", w.method, w.resource, w.name, w.subresource, w.status, w.body)
}

// ledger has every write that Goshawk sent to the API server.
var ledger book

type book struct {
	mu     sync.Mutex
	writes []write
}

func (b *book) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return next.RoundTrip(r)
		}
		w := parse(r.Method, r.URL.Path)
		if r.Body != nil {
			var err error
			if w.body, err = io.ReadAll(r.Body); err != nil {
				return nil, err
			}
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(bytes.NewReader(w.body))
		}
		response, err := next.RoundTrip(r)
		if err == nil {
			w.status = response.StatusCode
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.writes = append(b.writes, w)
		return response, err
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// parse reads /apis/{group}/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}, or the same below /api/{version}.
func parse(method, path string) write {
	w := write{method: method}
	_, rest, _ := strings.Cut(path, "/namespaces/")
	for i, part := range strings.Split(rest, "/") {
		switch i {
		case 0:
			w.namespace = part
		case 1:
			w.resource = part
		case 2:
			w.name = part
		case 3:
			w.subresource = part
		}
	}
	return w
}

// in are the writes so far in a namespace, events left out: they tell people and change nothing.
func (b *book) in(namespace string) []write {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []write
	for _, w := range b.writes {
		if w.namespace == namespace && w.resource != "events" {
			found = append(found, w)
		}
	}
	return found
}

// userKinds are those that Git may own.
var userKinds = []string{"softwaremodules", "distributionsets", "targets", "rollouts", "autoassignments"}

// trespass says what is wrong about a write; empty: nothing.
func trespass(w write) string {
	switch {
	case !slices.Contains(userKinds, w.resource), w.subresource == "status":
		return ""
	case w.method == http.MethodDelete && w.resource == "rollouts":
		return "" // deleteRollouts of an invalidation
	case w.method != http.MethodPatch || w.subresource != "":
		return "only status and the own finalizer may be written"
	}
	var patch map[string]map[string]any
	if err := json.Unmarshal(w.body, &patch); err != nil {
		return "the patch cannot be read: " + err.Error()
	}
	for field := range patch {
		if field != "metadata" {
			return "the patch writes " + field
		}
	}
	for field := range patch["metadata"] {
		if field != "finalizers" && field != "resourceVersion" {
			return "the patch writes metadata." + field
		}
	}
	for _, finalizer := range asList(patch["metadata"]["finalizers"]) {
		if finalizer != v1alpha1.RolloutFinalizer && finalizer != v1alpha1.DistributionSetFinalizer && finalizer != foreignFinalizer {
			return fmt.Sprintf("the patch writes finalizer %v", finalizer)
		}
	}
	return ""
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// What somebody else puts on objects, and Goshawk has to leave alone.
const (
	foreignFinalizer = "example.com/hold"
	foreignNote      = "example.com/note"
)

// The judge of writes is judged: it lets through what is allowed and nothing else.
func TestTrespasses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		write write
		is    bool
	}{
		"status":                      {write{method: "PATCH", resource: "rollouts", subresource: "status", body: []byte(`{"status":{}}`)}, false},
		"own finalizer":               {write{method: "PATCH", resource: "rollouts", body: []byte(`{"metadata":{"finalizers":["goshawk.dev/rollout"],"resourceVersion":"1"}}`)}, false},
		"last finalizer goes":         {write{method: "PATCH", resource: "rollouts", body: []byte(`{"metadata":{"finalizers":null,"resourceVersion":"1"}}`)}, false},
		"group":                       {write{method: "POST", resource: "deploymentgroups", body: []byte(`{"spec":{}}`)}, false},
		"rollout of an invalid set":   {write{method: "DELETE", resource: "rollouts"}, false},
		"somebody's finalizer":        {write{method: "PATCH", resource: "targets", body: []byte(`{"metadata":{"finalizers":["other"]}}`)}, true},
		"spec":                        {write{method: "PATCH", resource: "rollouts", body: []byte(`{"spec":{"state":"Paused"}}`)}, true},
		"label":                       {write{method: "PATCH", resource: "targets", body: []byte(`{"metadata":{"labels":{"a":"b"}}}`)}, true},
		"annotation":                  {write{method: "PATCH", resource: "distributionsets", body: []byte(`{"metadata":{"annotations":{"a":"b"}}}`)}, true},
		"owner":                       {write{method: "PATCH", resource: "targets", body: []byte(`{"metadata":{"ownerReferences":[]}}`)}, true},
		"status by the main endpoint": {write{method: "PATCH", resource: "targets", body: []byte(`{"status":{}}`)}, true},
		"whole object":                {write{method: "PUT", resource: "rollouts", body: []byte(`{}`)}, true},
		"new object":                  {write{method: "POST", resource: "targets", body: []byte(`{}`)}, true},
		"deletion":                    {write{method: "DELETE", resource: "targets"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := trespass(tt.write); (got != "") != tt.is {
				t.Errorf("trespass says %q", got)
			}
		})
	}
}
