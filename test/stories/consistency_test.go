// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A device fails after the installation has started, so it is not known what it runs. A rollout of
// the same set to all inconsistent devices installs it again and makes the device consistent.
func TestInconsistentDeviceIsFixedByASecondRollout(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 2, nil)
	broken, whole := names[0], names[1]
	fleet, _ := w.Devices(devicesim.Failing, broken)
	_, others := w.Devices(devicesim.Obedient, whole)
	w.ApplySpec("Rollout", "everybody", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  startAt: "2026-01-01T00:00:00Z"
  errorThreshold: 100
`)
	w.EventuallyRollout("everybody", "finishes", world.InState(v1alpha1.RolloutFinished))
	failed := w.EventuallyTarget(broken, "has failed", newest(v1alpha1.ActionError))
	if !world.Says(failed.Status.Conditions, v1alpha1.ConditionConsistent, metav1.ConditionFalse, v1alpha1.ReasonUpdateFailed) {
		t.Errorf("conditions are %+v", failed.Status.Conditions)
	}
	if got := [2]string{column(w, broken, "CONSISTENT"), column(w, whole, "CONSISTENT")}; got != [2]string{"False", "True"} {
		t.Errorf("kubectl shows Consistent %q, want False and True", got)
	}

	bringOnline(t, fleet, broken)
	w.ApplySpec("Rollout", "repair", `
  targetExpression: target.inconsistent
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  startAt: "2026-01-02T00:00:00Z"
`)
	r := w.EventuallyRollout("repair", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 1, Succeeded: 1}) {
		t.Errorf("counts are %+v, want the one inconsistent device", got)
	}
	repaired := w.EventuallyTarget(broken, "is in sync", inSync("firmware-1"))
	if !world.Says(repaired.Status.Conditions, v1alpha1.ConditionConsistent, metav1.ConditionTrue, v1alpha1.ReasonUpdateSucceeded) {
		t.Errorf("conditions are %+v", repaired.Status.Conditions)
	}
	if got := column(w, broken, "CONSISTENT"); got != "True" {
		t.Errorf("kubectl shows Consistent %q, want True", got)
	}
	startedOnce(t, others, whole)
}

// column returns a column of `kubectl get targets` for one target.
func column(w *world.World, target, heading string) string {
	w.T.Helper()
	table := w.Kubectl("get", "targets", target)
	lines := strings.Split(strings.TrimSpace(table), "\n")
	start := strings.Index(lines[0], heading)
	if start < 0 || len(lines) != 2 || len(lines[1]) <= start {
		w.T.Fatalf("no column %s in\n%s", heading, table)
	}
	cell, _, _ := strings.Cut(lines[1][start:], " ")
	return cell
}
