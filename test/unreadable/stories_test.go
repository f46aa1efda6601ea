// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package unreadable

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

const firmware = `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groups: [{name: first, percentage: 50, successAction: Pause}, {name: rest, percentage: 100}]}
`

// fixes are merge patches that make the objects of world.Unreadable readable.
var fixes = map[string]string{
	"SoftwareModule":  `spec: {rollback: None}`,
	"DistributionSet": `spec: {modules: [{name: odd}]}`,
	"Target":          `spec: {assignment: {assignedAt: "2026-12-01T23:59:59Z"}}`,
	"Rollout":         `spec: {startAt: "2026-01-01T02:00:00Z"}`,
	"DeploymentGroup": `spec: {index: 1, conditions: {successThreshold: 50, successAction: NextGroup, errorThreshold: 50, errorAction: Pause}}`,
	"AutoAssignment":  `spec: {startAt: "2026-01-01T02:00:00Z"}`,
	"DeviceAccess":    `spec: {targetSelector: {matchExpressions: [{key: site, operator: Exists}]}}`,
}

// Objects that cannot be decoded exist when Goshawk starts. All other objects are handled as usual,
// in their namespace and in another one.
func TestUnreadableObjectsAtTheStartDoNotAffectOthers(t *testing.T) {
	beside, other := newWorld(t), newWorld(t)
	world.StoreUnreadable(t, beside.Client, beside.Namespace)
	before := map[string]map[string]any{}
	for kind := range world.Kinds {
		before[kind] = beside.Raw(kind, "odd")
	}
	g := start(t, beside, other)
	g.ready(other)
	one := map[string]int{"SoftwareModule": 1, "DistributionSet": 1, "Target": 1, "Rollout": 1, "DeploymentGroup": 1, "AutoAssignment": 1, "DeviceAccess": 1}
	g.counted(other, one)

	for _, w := range []*world.World{beside, other} {
		w.Set("firmware-1", "1.0")
		names := w.Targets("device", 4, nil)
		w.Devices(devicesim.Obedient, names...)
		w.Apply(firmware)
	}
	for _, w := range []*world.World{beside, other} {
		w.EventuallyRollout("firmware-1", "pauses after its first group", world.InState(v1alpha1.RolloutPaused))
		w.CommitRollout("firmware-1", "spec: {state: Stopped}")
		w.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	}
	for kind := range world.Kinds {
		if diff := gocmp.Diff(before[kind], beside.Raw(kind, "odd")); diff != "" {
			t.Errorf("the unreadable %s was written to:\n%s", kind, diff)
		}
		beside.Eventually("an event of "+kind, func() string {
			if n := beside.EventsOf(kind, "odd", "Unreadable"); n != 1 {
				return fmt.Sprintf("%d events", n)
			}
			return ""
		})
	}
	if code := poll(t, beside, "odd"); code != http.StatusUnauthorized { // it has no token
		t.Errorf("a device without a token gets %d", code)
	}

	for _, kind := range []string{"SoftwareModule", "DistributionSet", "Target", "Rollout", "DeploymentGroup", "AutoAssignment", "DeviceAccess"} {
		if kind == "DeploymentGroup" { // its spec is immutable
			world.Loosely(t, beside.Client, func() { beside.Force(kind, "odd", fixes[kind]) }, kind)
		} else {
			beside.Force(kind, "odd", fixes[kind])
		}
		one[kind] = 0
		g.counted(beside, one)
	}
	beside.EventuallyRollout("odd", "starts when it is fixed", func(r *v1alpha1.Rollout) bool { return r.Status.StartedAt != nil })
	beside.EventuallyTarget("odd", "is reconciled when it is fixed", func(t *v1alpha1.Target) bool {
		return world.Says(t.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})
	if set := beside.DistributionSet("odd"); set.Status.ObservedGeneration < 1 {
		t.Errorf("the fixed set has the status %+v", set.Status)
	}
	beside.Eventually("the group without a rollout is deleted when it is fixed", func() string {
		for _, group := range beside.Groups() {
			if group.Name == "odd" {
				return "it exists"
			}
		}
		return ""
	})
}

func poll(t *testing.T, w *world.World, device string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.DeviceAPI+"/"+w.Namespace+"/controller/v1/"+device, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// Objects of a running rollout become unreadable. Nothing is lost, no new plan is made, no action
// is canceled; a fixed object is handled as before.
func TestObjectThatBecomesUnreadableIsHeldUntilItIsFixed(t *testing.T) {
	w := newWorld(t)
	g := start(t, w)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 4, nil)
	busy := w.Targets("busy", 1, nil)
	w.Devices(devicesim.Obedient, names...)
	_, silent := w.Devices(devicesim.Silent, busy...)
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1, startDeadlineSeconds: 5}
  stabilizationSeconds: 1
  groups:
  - {name: first, targetExpression: 'target.name.startsWith("busy") || target.name == "device-000"', successThreshold: 100}
  - {name: rest, percentage: 100}
`)
	w.EventuallyStarted(silent, busy...)
	w.EventuallyRollout("firmware-1", "counts", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.Succeeded == 1 && r.Status.Targets.InProgress == 1
	})
	plan, groups := w.Rollout("firmware-1").Status.Plan, w.Groups()
	slices.SortFunc(groups, func(a, b v1alpha1.DeploymentGroup) int { return cmp.Compare(a.Spec.Index, b.Spec.Index) })
	open := w.Target("busy-000").Status.Actions

	for name, tt := range map[string]struct{ kind, object, breaks, fixes string }{
		"a set":                         {"DistributionSet", "firmware-1", `spec: {modules: {name: m}}`, `spec: {modules: [{name: firmware-1}]}`},
		"the status of a set":           {"DistributionSet", "firmware-1", `status: {locked: perhaps}`, `status: {locked: true}`},
		"a module":                      {"SoftwareModule", "firmware-1", `spec: {rollback: Perhaps}`, `spec: {rollback: None}`},
		"the status of a group":         {"DeploymentGroup", groups[0].Name, `status: {openedAt: "2026-12-01t02:00:00z"}`, `status: {openedAt: "` + openedAt(groups[0]) + `"}`},
		"a group":                       {"DeploymentGroup", groups[1].Name, `spec: {index: 99999999999}`, fmt.Sprintf(`spec: {index: %d}`, groups[1].Spec.Index)},
		"the rollout":                   {"Rollout", "firmware-1", `spec: {retry: {at: "2026-12-01T23:59:60Z"}}`, `spec: {retry: null}`},
		"the rollout's status":          {"Rollout", "firmware-1", `status: {pausedAt: "2026-12-01T02:00:00Z"}`, `status: {pausedAt: null}`},
		"a target that has finished":    {"Target", "device-000", `status: {updateStatus: Dreaming}`, `status: {updateStatus: InSync}`},
		"a target that has started":     {"Target", "busy-000", `spec: {cancel: {upTo: 99999999999}}`, `spec: {cancel: null}`},
		"a target that has not started": {"Target", "device-001", `spec: {assignment: {distributionSet: firmware-1, assignedAt: "2026-12-01 02:00:00Z"}}`, `spec: {assignment: null}`},
	} {
		t.Run(name, func(t *testing.T) {
			world.Loosely(t, w.Client, func() { w.Force(tt.kind, tt.object, tt.breaks) }, tt.kind)
			g.counted(w, map[string]int{tt.kind: 1})
			stored := w.Raw(tt.kind, tt.object)
			time.Sleep(3 * time.Second) // long enough for wrong decisions
			if diff := gocmp.Diff(stored, w.Raw(tt.kind, tt.object)); diff != "" {
				t.Errorf("it was written to:\n%s", diff)
			}
			if tt.kind == "Target" && tt.object == "device-000" {
				if code := poll(t, w, tt.object); code != http.StatusServiceUnavailable {
					t.Errorf("its device gets %d", code)
				}
			}
			world.Loosely(t, w.Client, func() { w.Force(tt.kind, tt.object, tt.fixes) }, tt.kind)
			g.counted(w, map[string]int{tt.kind: 0})
			w.EventuallyRollout("firmware-1", "has its state again", func(r *v1alpha1.Rollout) bool {
				return r.Status.State == v1alpha1.RolloutRunning && !world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, "x") &&
					world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled) == nil && r.Status.Targets.Succeeded == 1 && r.Status.Targets.InProgress == 1
			})
			now := w.Rollout("firmware-1")
			if diff := gocmp.Diff(plan, now.Status.Plan); diff != "" {
				t.Errorf("the plan has changed (-before +after):\n%s", diff)
			}
			if left := w.Groups(); len(left) != len(groups) || left[0].UID != groups[0].UID || left[1].UID != groups[1].UID {
				t.Errorf("the groups have changed: %v", left)
			}
			if diff := gocmp.Diff(open, w.Target("busy-000").Status.Actions); diff != "" {
				t.Errorf("the actions of the started device:\n%s", diff)
			}
		})
	}
	w.CommitRollout("firmware-1", "spec: {state: Stopped}")
	w.EventuallyRollout("firmware-1", "stops in the end", world.InState(v1alpha1.RolloutStopped))
}

func openedAt(g v1alpha1.DeploymentGroup) string {
	if g.Status.OpenedAt == nil {
		return ""
	}
	return g.Status.OpenedAt.UTC().Format(time.RFC3339)
}
