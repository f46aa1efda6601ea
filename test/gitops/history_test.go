// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// In one fleet a rollout is applied by a single commit. In the other one it is planned, edited,
// approved, the approval is withdrawn, it is paused, and is removed and applied again while it
// runs. Both end with the same manifest, and so with the same status of all objects.
func TestTwoHistoriesOfOneManifestHaveTheSameEnd(t *testing.T) {
	t.Parallel()
	want := endOf(t, oneCommit)
	if diff := cmp.Diff(want, endOf(t, manyCommits)); diff != "" {
		t.Errorf("-one commit +many commits:\n%s", diff)
	}
}

// history applies the rollout with further fields of its spec, as often as it wants to, and the
// last time with lastSpec.
type history func(t *testing.T, w *world.World, fleet *devicesim.Fleet, apply func(string))

// endOf runs a history and returns the final status of all objects, without times.
func endOf(t *testing.T, tell history) map[string]any {
	t.Helper()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("gw", 6, nil)
	fleet, _ := w.Devices(devicesim.Offline, names...)
	tell(t, w, fleet, func(fields string) {
		w.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, startAt: "2026-01-01T00:00:00Z", stabilizationSeconds: 0, groupOrder: Name, successThreshold: 100, %s}
`, fields))
	})
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.Eventually("the set counts all targets", func() string {
		if s := w.DistributionSet("firmware-1").Status.Targets; s == nil || int(s.Installed) != len(names) {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	return timelessEnd(t, w, names)
}

// lastSpec has the fields with which every history ends.
const lastSpec = `groupCount: 3`

func oneCommit(t *testing.T, _ *world.World, fleet *devicesim.Fleet, apply func(string)) {
	apply(lastSpec)
	bringOnline(t, fleet, 0, 6)
}

func manyCommits(t *testing.T, w *world.World, fleet *devicesim.Fleet, apply func(string)) {
	planned := func(groups int) func(*v1alpha1.Rollout) bool {
		return func(r *v1alpha1.Rollout) bool { return r.Status.Plan != nil && len(r.Status.Groups) == groups }
	}
	apply(`groupCount: 2, state: Planned`)
	first := w.EventuallyRollout("firmware-1", "is planned", planned(2))
	apply(`groupCount: 3, approvalRequired: true, approval: {planHash: "` + first.Status.Plan.Hash + `"}`)
	second := w.EventuallyRollout("firmware-1", "is planned again and not approved", func(r *v1alpha1.Rollout) bool {
		return planned(3)(r) && r.Status.State == v1alpha1.RolloutWaitingForApproval
	})
	apply(`groupCount: 3, approvalRequired: true, approval: {planHash: "` + second.Status.Plan.Hash + `"}`)
	w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
	bringOnline(t, fleet, 0, 2)
	w.EventuallyRollout("firmware-1", "opens its second group", func(r *v1alpha1.Rollout) bool { return r.Status.Groups[1].OpenedAt != nil })
	apply(`groupCount: 3, approvalRequired: true, approval: {planHash: "` + second.Status.Plan.Hash + `"}, state: Paused`)
	w.EventuallyRollout("firmware-1", "is paused", world.InState(v1alpha1.RolloutPaused))
	apply(lastSpec)
	w.EventuallyRollout("firmware-1", "goes on", world.InState(v1alpha1.RolloutRunning))
	bringOnline(t, fleet, 2, 4)
	w.EventuallyRollout("firmware-1", "opens its last group", func(r *v1alpha1.Rollout) bool { return r.Status.Groups[2].OpenedAt != nil })
	w.Kubectl("delete", "grollout", "firmware-1", "--wait=true", "--timeout=60s")
	apply(lastSpec)
	bringOnline(t, fleet, 4, 6)
}

// bringOnline makes the devices from one number to another obedient.
func bringOnline(t *testing.T, fleet *devicesim.Fleet, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := fleet.SetBehavior(fmt.Sprintf("gw-%03d", i), devicesim.Obedient); err != nil {
			t.Error(err)
		}
	}
}

// timelessEnd returns the status of rollout, groups, set and targets without times and ids.
func timelessEnd(t *testing.T, w *world.World, names []string) map[string]any {
	t.Helper()
	end := map[string]any{}
	put := func(name string, status any) {
		text, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		var read any
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		end[name] = timeless(read)
	}
	put("rollout", w.Rollout("firmware-1").Status)
	put("set", w.DistributionSet("firmware-1").Status)
	for _, g := range w.Groups() {
		put(g.Spec.Group, g.Status)
	}
	for _, name := range names {
		s := w.Target(name).Status
		put(name, map[string]any{"updateStatus": s.UpdateStatus, "installed": s.Installed, "had": s.HadSets, "conditions": s.Conditions})
	}
	return end
}

func timeless(v any) any {
	fleeting := []string{"lastTransitionTime", "observedGeneration", "since", "handled", "offering", "openedAtOffering", "nextActionID", "actionID", "uid", "hash", "message",
		"alreadyThere", // the targets that had the set when the rollout was applied again
	}
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if strings.HasSuffix(key, "At") || slices.Contains(fleeting, key) {
				delete(v, key)
				continue
			}
			v[key] = timeless(inner)
		}
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	}
	return v
}
