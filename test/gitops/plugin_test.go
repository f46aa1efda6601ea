// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/cli"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// plugin runs `kubectl goshawk` in the namespace of a world, and returns its output.
func plugin(t *testing.T, w *world.World, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	root := cli.NewCommand(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	if code := cli.Run(t.Context(), root, &errOut, append([]string{"--kubeconfig", cluster.Kubeconfig(t), "-n", w.Namespace}, args...)); code != 0 {
		t.Fatalf("%v: code %d, %s", args, code, errOut.String())
	}
	return out.String()
}

// The preview of an invalidation says what the controllers then do, for each type.
func TestPreviewOfAnInvalidationIsItsResult(t *testing.T) {
	t.Parallel()
	for _, kind := range cancellation.Types {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			aFleetInUse(w)
			preview := &explain.Invalidation{}
			if err := json.Unmarshal([]byte(plugin(t, w, "invalidate", "firmware-1", "--dry-run", "-o", "json")), preview); err != nil {
				t.Fatal(err)
			}
			plugin(t, w, "invalidate", "firmware-1", "--type", string(kind), "--reason", "bricks", "--apply", "--yes")
			w.Eventually("the result of the preview", func() string { return differenceFrom(w, preview, kind) })
		})
	}
}

// aFleetInUse applies a set with a rollout that runs, one that is planned, an auto-assignment and
// an assignment. Three devices have started and do not report.
func aFleetInUse(w *world.World) {
	w.Set("firmware-1", "1.0")
	running := w.Targets("running", 6, map[string]string{"use": "running"})
	w.Targets("planned", 2, map[string]string{"use": "planned"})
	auto := w.Targets("auto", 2, map[string]string{"use": "auto"})
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Target
metadata: {name: assigned}
spec: {hold: true, assignment: {distributionSet: firmware-1}}
`)
	w.ApplySpec("Rollout", "running", `{update: {distributionSet: firmware-1}, targetSelector: {matchLabels: {use: running}}, groupCount: 2, groupOrder: Name, stabilizationSeconds: 0}`)
	w.ApplySpec("Rollout", "planned", `{update: {distributionSet: firmware-1}, targetSelector: {matchLabels: {use: planned}}, state: Planned, stabilizationSeconds: 0}`)
	w.ApplySpec("AutoAssignment", "auto", `{update: {distributionSet: firmware-1}, targetSelector: {matchLabels: {use: auto}}}`)
	w.Devices(devicesim.Silent, running[0], running[1], auto[0])
	w.EventuallyRollout("planned", "is planned", world.InState(v1alpha1.RolloutReady))
	w.EventuallyRollout("running", "has two devices in progress", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.InProgress == 2 && r.Status.Targets.Pending == 1
	})
	w.EventuallyTarget(auto[0], "has started", func(t *v1alpha1.Target) bool { return len(t.Status.Actions) == 1 })
	w.EventuallyTarget("assigned", "has its assignment recorded", func(t *v1alpha1.Target) bool { return t.Status.Assignment != nil })
}

// differenceFrom returns how the objects differ from the preview, or "".
func differenceFrom(w *world.World, preview *explain.Invalidation, kind v1alpha1.Cancellation) string {
	started := preview.Devices.Connected + preview.Devices.Polling
	asked, closed := preview.Total(kind, "actions", "asked to cancel"), preview.Total(kind, "actions", "closed")
	never := preview.Total(kind, "targets in", "canceled", "no longer offered")
	want := fmt.Sprintf("%d devices, %d asked, %d closed, %d never start", started, asked, closed, never)

	set := w.DistributionSet("firmware-1")
	if set.Status.Invalidation == nil || set.Status.Invalidation.FinishedAt == nil {
		return "the invalidation has not finished"
	}
	actions := set.Status.Invalidation.Actions
	if actions == nil {
		actions = &v1alpha1.InvalidatedActions{}
	}
	canceled := int32(0)
	for _, affected := range preview.Rollouts {
		r := w.Rollout(affected.Name)
		row := explain.InvalidationRow{None: affected.None, Soft: affected.Soft, Force: affected.Force}
		if got, want := effectOn(r), row.Effect(kind); got != want && !(want == "stopped at once" && got == "stopped") {
			return fmt.Sprintf("rollout %s is %q (%s), want %q", r.Name, got, r.Status.State, want)
		}
		if isWaiting := r.Status.State == v1alpha1.RolloutStopping; isWaiting && row.Effect(kind) == "stopped at once" {
			return fmt.Sprintf("rollout %s waits for its devices", r.Name)
		}
		if r.Status.Targets != nil {
			canceled += r.Status.Targets.Canceled
		}
	}
	if closed > 0 { // the counts of a rollout have its own closed actions, too
		canceled -= 2
	}
	got := fmt.Sprintf("%d devices, %d asked, %d closed, %d never start", 3, actions.Canceling, actions.Canceled, canceled)
	if got != want {
		return "the result is " + got + ", and the preview " + want
	}
	auto := &v1alpha1.AutoAssignment{}
	if err := w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "auto"}, auto); err != nil {
		return err.Error()
	}
	if preview.AutoAssignments[0].Effect != "stopped" || auto.Status.State != v1alpha1.AutoAssignmentStopped {
		return fmt.Sprintf("the auto-assignment is %s, and the preview says %s", auto.Status.State, preview.AutoAssignments[0].Effect)
	}
	assigned := world.Condition(w.Target("assigned").Status.Conditions, v1alpha1.ConditionAssigned)
	if len(preview.Assignments) != 1 || assigned == nil || assigned.Reason != v1alpha1.ReasonDistributionSetInvalid {
		return fmt.Sprintf("the assignment is %+v, and the preview lists %v", assigned, preview.Assignments)
	}
	return ""
}

// effectOn returns the effect of the invalidation on a rollout, in the words of the preview. A stop
// at once is a stop, too.
func effectOn(r *v1alpha1.Rollout) string {
	ready := world.Condition(r.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case r.Status.State == v1alpha1.RolloutStopped, r.Status.State == v1alpha1.RolloutStopping:
		return "stopped"
	case ready != nil && ready.Reason == v1alpha1.ReasonDistributionSetInvalid && r.Status.StartedAt == nil:
		return "refused"
	}
	return "go on"
}
