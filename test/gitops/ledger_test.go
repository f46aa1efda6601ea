// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/world"
)

// ledger has every write that Goshawk sent to the API server.
var ledger world.Ledger

// userKinds are those that Git may own.
var userKinds = []string{"softwaremodules", "distributionsets", "targets", "rollouts", "autoassignments", "deviceaccesses"}

// trespass returns what is wrong with a write, or "".
func trespass(w world.Write) string {
	switch {
	case !slices.Contains(userKinds, w.Resource), w.Subresource == "status":
		return ""
	case w.Method == http.MethodDelete && w.Resource == "rollouts":
		return "" // deleteRollouts of an invalidation
	case w.Method != http.MethodPatch || w.Subresource != "":
		return "only status and the own finalizer may be written"
	}
	var patch map[string]map[string]any
	if err := json.Unmarshal(w.Body, &patch); err != nil {
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

// Finalizer and other marks of other programs, which Goshawk must not change.
const (
	foreignFinalizer = "example.com/hold"
	foreignNote      = "example.com/note"
)

// trespass accepts the writes that are allowed, and no others.
func TestTrespasses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		write world.Write
		is    bool
	}{
		"status":                      {world.Write{Method: "PATCH", Resource: "rollouts", Subresource: "status", Body: []byte(`{"status":{}}`)}, false},
		"own finalizer":               {world.Write{Method: "PATCH", Resource: "rollouts", Body: []byte(`{"metadata":{"finalizers":["goshawk.dev/rollout"],"resourceVersion":"1"}}`)}, false},
		"last finalizer is removed":   {world.Write{Method: "PATCH", Resource: "rollouts", Body: []byte(`{"metadata":{"finalizers":null,"resourceVersion":"1"}}`)}, false},
		"group":                       {world.Write{Method: "POST", Resource: "deploymentgroups", Body: []byte(`{"spec":{}}`)}, false},
		"rollout of an invalid set":   {world.Write{Method: "DELETE", Resource: "rollouts"}, false},
		"another program's finalizer": {world.Write{Method: "PATCH", Resource: "targets", Body: []byte(`{"metadata":{"finalizers":["other"]}}`)}, true},
		"spec":                        {world.Write{Method: "PATCH", Resource: "rollouts", Body: []byte(`{"spec":{"state":"Paused"}}`)}, true},
		"label":                       {world.Write{Method: "PATCH", Resource: "targets", Body: []byte(`{"metadata":{"labels":{"a":"b"}}}`)}, true},
		"annotation":                  {world.Write{Method: "PATCH", Resource: "distributionsets", Body: []byte(`{"metadata":{"annotations":{"a":"b"}}}`)}, true},
		"owner":                       {world.Write{Method: "PATCH", Resource: "targets", Body: []byte(`{"metadata":{"ownerReferences":[]}}`)}, true},
		"status by the main endpoint": {world.Write{Method: "PATCH", Resource: "targets", Body: []byte(`{"status":{}}`)}, true},
		"whole object":                {world.Write{Method: "PUT", Resource: "rollouts", Body: []byte(`{}`)}, true},
		"new object":                  {world.Write{Method: "POST", Resource: "targets", Body: []byte(`{}`)}, true},
		"deletion":                    {world.Write{Method: "DELETE", Resource: "targets"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := trespass(tt.write); (got != "") != tt.is {
				t.Errorf("trespass returns %q", got)
			}
		})
	}
}
