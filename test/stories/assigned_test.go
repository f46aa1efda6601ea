// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// The condition Assigned of one target in each stage: not fetched, outside the window, denied, in
// progress, done. A report of the device causes one write, which includes the condition.
func TestAssignedNamesTheStageOfAnAssignment(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("device", 1, nil)
	fleet, devices := w.Play(stepsOf(2*time.Second), devicesim.Offline, names...)
	reads := func(what, reason, message string) *v1alpha1.Target {
		t.Helper()
		return w.EventuallyTarget(names[0], what, func(t *v1alpha1.Target) bool {
			c := world.Condition(t.Status.Conditions, v1alpha1.ConditionAssigned)
			return c != nil && c.Status == metav1.ConditionTrue && c.Reason == reason && strings.Contains(c.Message, message) && c.ObservedGeneration == t.Generation
		})
	}
	commitTo(w, names[0], "spec: {assignment: {distributionSet: firmware-1, confirmationRequired: true}}")
	reads("was not fetched", v1alpha1.ReasonWaitingForDevice, "firmware-1 has not been fetched: it waits for the next poll of the device, which is then asked to confirm it")

	opens := time.Now().Add(12 * time.Hour).Truncate(time.Minute)
	commitTo(w, names[0], "spec: {assignment: {maintenanceWindow: "+window(opens, time.Hour)+"}}")
	reads("names its window", v1alpha1.ReasonWaitingForDevice, "open from "+opens.UTC().Format(time.RFC3339)+" to "+opens.Add(time.Hour).UTC().Format(time.RFC3339))
	commitTo(w, names[0], "spec: {assignment: {maintenanceWindow: null}}")
	if err := fleet.SetBehavior(names[0], devicesim.Denies); err != nil {
		t.Fatal(err)
	}
	reads("was denied", v1alpha1.ReasonDenied, "waits for confirmation at the device, where it was denied at ")
	if err := fleet.SetBehavior(names[0], devicesim.Obedient); err != nil {
		t.Fatal(err)
	}
	commitTo(w, names[0], "spec: {assignment: {confirmationRequired: false}}")
	w.EventuallyStarted(devices, names...)
	reads("downloads", v1alpha1.ReasonProgressing, "firmware-1 (action ")
	got := reads("is done", "Done", "spec.assignment was carried out as action ")
	if a := action.Newest(&got.Status); a.State != v1alpha1.ActionFinished || len(got.Status.Actions) != 1 {
		t.Errorf("%d actions, the newest is %+v", len(got.Status.Actions), a)
	}

	writesUntilQuiet(w)
	before := len(written.In(w.Namespace))
	commitTo(w, names[0], "spec: {assignment: {distributionSet: firmware-2}}")
	reads("is done with the next", "Done", "spec.assignment was carried out as action "+decimal(action.Newest(&w.EventuallyTarget(names[0], "runs the next", inSync("firmware-2")).Status).ID))
	writesUntilQuiet(w)
	started := false
	for _, write := range written.In(w.Namespace)[before:] {
		reported := strings.Contains(string(write.Body), `"actions":`)
		if write.Resource == "targets" && started && !reported && write.Succeeded() {
			t.Errorf("the condition caused a separate write: %s", write)
		}
		started = started || reported
	}
	if !started {
		t.Error("no report of the device was written")
	}
}
