// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"cmp"
	"fmt"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Hold keeps one target from starting updates.
func Hold(t *v1alpha1.Target) (*Change, error) {
	c, err := holdChange(t, "hold", true)
	if err != nil {
		return nil, err
	}
	c.says("The device starts no update. It counts as pending in its group, and a start deadline still passes.")
	if a := action.Open(&t.Status); a != nil && a.State.HasStarted() {
		c.says("Its update %s has started (%s) and continues.", a.Subject(), a.State)
	}
	c.Undo = "kubectl goshawk release " + t.Name
	return c, nil
}

// Release ends the hold of one target.
func Release(t *v1alpha1.Target) (*Change, error) {
	c, err := holdChange(t, "release", false)
	if err != nil {
		return nil, err
	}
	c.says("The device may start updates again. Whether one reaches it is what `kubectl goshawk why %s` says.", t.Name)
	c.Undo = "kubectl goshawk hold " + t.Name
	return c, nil
}

func holdChange(t *v1alpha1.Target, operation string, hold bool) (*Change, error) {
	object := "target " + t.Namespace + "/" + t.Name
	switch {
	case !t.DeletionTimestamp.IsZero():
		return nil, &Refusal{operation, object, "it is being deleted", ""}
	case t.Spec.Hold == hold:
		return nil, &Refusal{operation, object, fmt.Sprintf("spec.hold is %t already", hold), ""}
	}
	c := &Change{Operation: operation, Kind: "Target", Namespace: t.Namespace, Name: t.Name, State: string(cmp.Or(t.Status.UpdateStatus, v1alpha1.UpdateStatusUnknown)), Targets: 1}
	c.set("spec.hold", t.Spec.Hold, hold)
	c.needs(patchRight(targetResource, t.Name, roleStopper))
	return c, nil
}

// PauseAutoAssignment holds back the devices that have not started.
func PauseAutoAssignment(a *v1alpha1.AutoAssignment) (*Change, error) {
	c, err := changeOfAutoAssignment(a, "pause", v1alpha1.AutoAssignmentIntentPaused)
	if err != nil {
		return nil, err
	}
	c.says("No further device starts: at most %s wait. Devices that have started continue: %d in progress.", targets(c.Targets), AutoTargets(a).Started)
	c.Undo = "kubectl goshawk resume autoassignment/" + a.Name
	return c, nil
}

// ResumeAutoAssignment ends the pause of an auto-assignment.
func ResumeAutoAssignment(a *v1alpha1.AutoAssignment) (*Change, error) {
	c, err := changeOfAutoAssignment(a, "resume", v1alpha1.AutoAssignmentIntentRunning)
	if err != nil {
		return nil, err
	}
	c.says("Devices that have not started may start: at most %s.", targets(c.Targets))
	c.Undo = "kubectl goshawk pause autoassignment/" + a.Name
	return c, nil
}

func changeOfAutoAssignment(a *v1alpha1.AutoAssignment, operation string, wanted v1alpha1.AutoAssignmentIntent) (*Change, error) {
	object := "auto-assignment " + a.Namespace + "/" + a.Name
	present := cmp.Or(a.Spec.State, v1alpha1.AutoAssignmentIntentRunning)
	switch {
	case !a.DeletionTimestamp.IsZero():
		return nil, &Refusal{operation, object, "it is being deleted", ""}
	case a.Status.State == v1alpha1.AutoAssignmentStopped:
		return nil, &Refusal{operation, object, "it is stopped, because its set was invalidated or deleted", "create an AutoAssignment of another set"}
	case present == wanted:
		return nil, &Refusal{operation, object, fmt.Sprintf("spec.state is %s already", wanted), ""}
	}
	c := &Change{Operation: operation, Kind: "AutoAssignment", Namespace: a.Namespace, Name: a.Name, State: string(cmp.Or(a.Status.State, v1alpha1.AutoAssignmentReady)), Targets: Unserved(a)}
	c.set("spec.state", orNil(a.Spec.State), string(wanted))
	c.needs(patchRight(autoAssignments, a.Name, roleEditor))
	return c, nil
}

// AutoTargets returns the counts of an auto-assignment, which are zero before its first reconcile.
func AutoTargets(a *v1alpha1.AutoAssignment) v1alpha1.AutoAssignmentTargets {
	if a.Status.Targets == nil {
		return v1alpha1.AutoAssignmentTargets{}
	}
	return *a.Status.Targets
}

// Unserved returns how many targets an auto-assignment selects that have no action of it. Some of
// them may have had the set before, and get no offer.
func Unserved(a *v1alpha1.AutoAssignment) int32 {
	n := AutoTargets(a)
	return max(0, n.Matched-n.Started-n.Succeeded-n.Failed)
}
