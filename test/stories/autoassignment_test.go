// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// autoAssignment returns the manifest of an AutoAssignment that offers a set to the targets with
// this label.
func autoAssignment(name, set, label, value string) string {
	return fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: %s}
spec: {update: {distributionSet: %s}, targetSelector: {matchLabels: {%s: %q}}}
`, name, set, label, value)
}

// autoAssigned returns an auto-assignment from the API server.
func autoAssigned(w *world.World, name string) *v1alpha1.AutoAssignment {
	w.T.Helper()
	a := &v1alpha1.AutoAssignment{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, a); err != nil {
		w.T.Fatal(err)
	}
	return a
}

func TestAnAutoAssignmentReachesPresentAndFutureTargetsOnce(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	present := w.Targets("present", 3, map[string]string{"kind": "gateway"})
	other := w.Targets("other", 1, map[string]string{"kind": "meter"})
	w.Apply(autoAssignment("gateways", "firmware-1", "kind", "gateway"))
	_, devices := w.Devices(devicesim.Obedient, append(present, other...)...)
	succeeded := func(n int32) func() string {
		return func() string {
			if got := autoAssigned(w, "gateways").Status.Targets; got == nil || got.Matched != n || got.Succeeded != n {
				return fmt.Sprintf("counts are %+v, want %d matched and succeeded", got, n)
			}
			return ""
		}
	}
	w.Eventually("the present gateways have it", succeeded(3))

	future := w.Targets("future", 2, map[string]string{"kind": "gateway"})
	_, late := w.Devices(devicesim.Obedient, future...)
	w.Eventually("the future gateways have it, too", succeeded(5))

	// Only the target whose labels changed is reconciled.
	w.Commit(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: other[0]}}, "metadata: {labels: {kind: gateway}}")
	w.Eventually("the meter that became a gateway has it", succeeded(6))
	for _, recorder := range []*devicesim.Recorder{devices, late} {
		seen := map[string]bool{}
		for _, e := range recorder.Of(devicesim.Started) {
			if seen[e.Device] {
				t.Errorf("device %s started twice", e.Device)
			}
			seen[e.Device] = true
		}
	}
}

// An auto-assignment matches fifty targets whose devices never report, later a new target, and one
// whose label has changed. It causes no write to targets: a target is written at its first
// reconcile, and again only when its device polls.
func TestAnAutoAssignmentCausesNoWriteUntilADevicePolls(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	gateway := map[string]string{"kind": "gateway"}
	silent, other := w.Targets("silent", 50, gateway), w.Targets("other", 1, map[string]string{"kind": "meter"})
	for _, name := range together(silent, other) {
		w.EventuallyTarget(name, "is reconciled", isReconciled)
	}
	matches := func(n int32) {
		t.Helper()
		w.Eventually("all targets are counted", func() string {
			if got := autoAssigned(w, "gateways").Status.Targets; got == nil || got.Matched != n {
				return fmt.Sprintf("counts are %+v, want %d matched", got, n)
			}
			return ""
		})
	}
	costs := func(what string, want map[string]int, do func()) {
		t.Helper()
		before := len(written.In(w.Namespace))
		do()
		writesUntilQuiet(w)
		got := map[string]int{}
		for _, write := range written.In(w.Namespace)[before:] {
			if write.Resource == "targets" && write.Succeeded() {
				got[write.Name]++
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: writes to targets (-want +got):\n%s", what, diff)
		}
	}
	costs("the auto-assignment", map[string]int{}, func() {
		w.Apply(autoAssignment("gateways", "firmware-1", "kind", "gateway"))
		matches(50)
	})
	costs("a new target", map[string]int{"late-000": 1}, func() {
		w.Targets("late", 1, gateway)
		matches(51)
	})
	costs("a changed label", map[string]int{"other-000": 1}, func() {
		commitTo(w, other[0], "metadata: {labels: {kind: gateway}}")
		matches(52)
	})
	costs("a device that polls for the first time, and starts", map[string]int{silent[7]: 2}, func() {
		_, devices := w.Devices(devicesim.Silent, silent[7])
		w.EventuallyStarted(devices, silent[7])
		w.EventuallyPolled(devices, 5, time.Now(), silent[7])
	})
}

// isReconciled reports whether the controller has reconciled a target.
func isReconciled(t *v1alpha1.Target) bool { return t.Status.NextActionID > 0 }

func TestOverlappingAutoAssignmentsReachAStableState(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 3, map[string]string{"kind": "gateway", "site": "north"})
	w.Apply(autoAssignment("by-kind", "firmware-1", "kind", "gateway"))
	w.Eventually("the first runs", func() string { return wantAutoState(w, "by-kind", v1alpha1.AutoAssignmentRunning) })
	w.Apply(autoAssignment("by-site", "firmware-2", "site", "north"))
	w.Eventually("the second runs", func() string { return wantAutoState(w, "by-site", v1alpha1.AutoAssignmentRunning) })
	_, devices := w.Devices(devicesim.Obedient, names...)
	w.Eventually("every target runs the newer one's set", func() string {
		for _, name := range names {
			if i := w.Target(name).Status.Installed; i == nil || i.DistributionSet != "firmware-2" {
				return fmt.Sprintf("%s has %+v", name, i)
			}
		}
		return ""
	})
	w.Eventually("both have the condition Overlapping", func() string {
		for _, name := range []string{"by-kind", "by-site"} {
			if c := world.Condition(autoAssigned(w, name).Status.Conditions, v1alpha1.ConditionOverlapping); c == nil {
				return name + " does not"
			}
		}
		return ""
	})
	if n := len(devices.Of(devicesim.Started)); n != len(names) {
		t.Errorf("%d starts for %d devices: the older auto-assignment must not be offered after the newer one", n, len(names))
	}
}

func TestAnInvalidatedSetStopsItsAutoAssignment(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Apply(autoAssignment("gateways", "firmware-1", "kind", "gateway"))
	w.Eventually("it runs", func() string { return wantAutoState(w, "gateways", v1alpha1.AutoAssignmentRunning) })
	w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, "spec: {invalidation: {cancellation: None}}")
	w.Eventually("it is stopped", func() string { return wantAutoState(w, "gateways", v1alpha1.AutoAssignmentStopped) })
	names := w.Targets("late", 2, map[string]string{"kind": "gateway"})
	_, devices := w.Devices(devicesim.Obedient, names...)
	w.Eventually("the devices have polled", func() string {
		if n := len(devices.Of(devicesim.Polled)); n < 10 {
			return fmt.Sprintf("%d polls", n)
		}
		return ""
	})
	if n := len(devices.Of(devicesim.Started)); n > 0 {
		t.Errorf("%d devices started an invalid set", n)
	}
}

func wantAutoState(w *world.World, name string, want v1alpha1.AutoAssignmentState) string {
	if got := autoAssigned(w, name).Status.State; got != want {
		return fmt.Sprintf("it is %s", got)
	}
	return ""
}
