// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// reason returns a result as a reason. Messages are made only for results that are shown: of many
// intents of a device, that is one.
func (j *judged) reason(w *World) eligibility.Reason {
	return w.reason(j.Code, j.Until, func() string {
		if j.Code == "" || j.Code == j.in.Closed.Code {
			return j.in.Closed.Message
		}
		return j.text(w)
	})
}

func (j *judged) text(w *World) string {
	in := j.in
	switch j.Code {
	case eligibility.CodeSetNotFound, eligibility.CodeSetInvalid, eligibility.CodeSetNotReady, eligibility.CodeContentChanged, eligibility.CodeIncompatible, eligibility.CodeAlreadyThere, eligibility.CodeAlreadyHad:
		return j.aboutSet(w)
	case eligibility.CodeDone:
		return label(in) + " was carried out as action " + strconv.Itoa(int(j.Action.ID))
	case eligibility.CodeCanceled:
		return fmt.Sprintf("action %d of %s was canceled", j.Action.ID, label(in))
	case eligibility.CodeFailed:
		return fmt.Sprintf("action %d of %s failed%s and is not tried again%s", j.Action.ID, label(in), withCode(j.Action), withMessage(j.Action))
	case eligibility.CodeRetrying:
		return fmt.Sprintf("action %d of %s failed; the next attempt is at %s", j.Action.ID, label(in), stamp(j.Until))
	case eligibility.CodeBusy:
		return fmt.Sprintf("%s waits until action %d (%s) has closed and its cancel, if any, is answered", label(in), j.Action.ID, j.Action.Subject())
	case eligibility.CodeSuperseded:
		return j.aboutSuperseding()
	case eligibility.CodeSkipped:
		return fmt.Sprintf("this target did not start within startDeadlineSeconds of %s and left its group", label(in))
	case eligibility.CodeDeadlinePassed:
		return fmt.Sprintf("this target did not start within startDeadlineSeconds of %s and counts as failed", label(in))
	case eligibility.CodeWaitingForStep:
		return fmt.Sprintf("%s waits for the required migration step %s of %s", label(in), j.Other.Update.Subject(), label(j.Other))
	case eligibility.CodeHold:
		return "spec.hold keeps this target from starting an update; set it to false to release it"
	case eligibility.CodeAwaitingFeatures:
		return "the device is connected by MQTT and has not reported its features, so it is not known what it can install: make its client publish them when it connects (docs/mqtt.md)"
	case eligibility.CodeWindowClosed:
		return j.aboutWindow(w.Now)
	default:
		return string(j.Code)
	}
}

func withCode(a *v1alpha1.Action) string {
	if a.StatusCode == "" {
		return ""
	}
	return fmt.Sprintf(" with code %q", a.StatusCode)
}

func withMessage(a *v1alpha1.Action) string {
	if a.FailureMessage == "" {
		return ""
	}
	return fmt.Sprintf("; the device says: %q", a.FailureMessage)
}

func (j *judged) aboutSet(w *World) string {
	in := j.in
	set, name := in.Set, in.Update.Subject()
	switch j.Code {
	case eligibility.CodeSetNotFound:
		return fmt.Sprintf("DistributionSet %s does not exist: create it, or name another in %s", name, label(in))
	case eligibility.CodeSetInvalid:
		return fmt.Sprintf("DistributionSet %s is invalidated (%s)%s and is never given to a device again", name, set.Invalidation, because(set.InvalidationReason))
	case eligibility.CodeSetNotReady:
		return fmt.Sprintf("DistributionSet %s is not ready: %s", name, set.NotDeployable)
	case eligibility.CodeContentChanged:
		return fmt.Sprintf("DistributionSet %s no longer has the content that %s planned", name, label(in))
	case eligibility.CodeIncompatible:
		return fmt.Sprintf("DistributionSet %s does not fit target type %q: its compatibleTargetTypes are %v", name, w.Target.Spec.Type, set.CompatibleTargetTypes)
	case eligibility.CodeAlreadyHad:
		if in.Set.Removes() {
			return fmt.Sprintf("%s offers a removal once, and this target already had the %s", label(in), name)
		}
		return fmt.Sprintf("%s offers a set once, and this target already had %s", label(in), name)
	default:
		if in.Set.Removes() {
			return "the inventory of the device has none of the software: " + name + " has nothing to do"
		}
		return name + " is already installed"
	}
}

func (j *judged) aboutSuperseding() string {
	in := j.in
	switch {
	case j.Action != nil:
		return fmt.Sprintf("%s is no newer than action %d (%s), which this target has started", label(in), j.Action.ID, j.Action.Subject())
	case j.Other != nil:
		return fmt.Sprintf("the newer %s replaces %s", label(j.Other), label(in))
	}
	return fmt.Sprintf("%s took this target over from %s", takers(in.SupersededBy), label(in))
}

// takers returns the names of the newer rollouts that took members of the group over. Which of
// several took over this target is not stored.
func takers(by []v1alpha1.SupersedingRollout) string {
	names := make([]string, len(by))
	for i := range by {
		names[i] = by[i].Name
	}
	switch len(names) {
	case 0:
		return "a newer rollout"
	case 1:
		return "the newer rollout " + names[0]
	}
	return "a newer rollout (one of " + strings.Join(names, ", ") + ")"
}

func (j *judged) aboutWindow(now time.Time) string {
	in := j.in
	if !j.Until.IsZero() {
		return fmt.Sprintf("the maintenance window of %s is closed; it opens at %s", label(in), stamp(j.Until))
	}
	if _, _, err := window.At(in.Update.MaintenanceWindow, now); err != nil {
		return fmt.Sprintf("maintenanceWindow of %s cannot be parsed: %v; correct it", label(in), err)
	}
	return fmt.Sprintf("the maintenance window of %s never opens: correct its schedule", label(in))
}

// label returns the name of an intent in messages.
func label(in *eligibility.Intent) string {
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return "rollout " + in.Source.Name + " (group " + in.Source.Group + ")"
	case v1alpha1.SourceAutoAssignment:
		return "auto-assignment " + in.Source.Name
	default:
		return "spec.assignment"
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " because: " + reason
}
