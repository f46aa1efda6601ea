// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// finding is a reason before it is put into words, which most never are: a device with many intents
// is told of one.
type finding struct {
	code  Code
	until time.Time
	// action, other and err are what the words speak of, where the code has such.
	action *v1alpha1.Action
	other  *Intent
	err    error
}

// isFinal reports whether a finding is final.
func (f finding) isFinal() bool {
	switch f.code {
	case CodeDone, CodeCanceled, CodeFailed, CodeSuperseded, CodeSkipped, CodeDeadlinePassed, CodeAlreadyHad, CodeAlreadyThere, CodeStopped, CodeSetInvalid:
		return true
	}
	return false
}

// words are the reason for people.
func (f finding) words(w *World, in *Intent) Reason {
	if f.code == "" || f.code == in.Closed.Code {
		return Reason{Code: f.code, Message: in.Closed.Message, Until: f.until}
	}
	return Reason{Code: f.code, Message: f.sentence(w, in), Until: f.until}
}

func (f finding) sentence(w *World, in *Intent) string {
	switch f.code {
	case CodeSetNotFound, CodeSetInvalid, CodeSetNotReady, CodeContentChanged, CodeIncompatible, CodeAlreadyThere, CodeAlreadyHad:
		return f.aboutSet(w, in)
	case CodeDone:
		return fmt.Sprintf("%s was carried out as action %d", in.label(), f.action.ID)
	case CodeCanceled:
		return fmt.Sprintf("action %d of %s was canceled", f.action.ID, in.label())
	case CodeFailed:
		return fmt.Sprintf("action %d of %s failed%s and is not tried again%s", f.action.ID, in.label(), withCode(f.action), withMessage(f.action))
	case CodeRetrying:
		return fmt.Sprintf("action %d of %s failed; the next attempt is at %s", f.action.ID, in.label(), stamp(f.until))
	case CodeBusy:
		return fmt.Sprintf("%s waits until action %d (%s) has closed and its cancel, if any, is answered", in.label(), f.action.ID, f.action.DistributionSet)
	case CodeSuperseded:
		return f.aboutSuperseding(in)
	case CodeSkipped:
		return fmt.Sprintf("this target did not start within startDeadlineSeconds of %s and left its group", in.label())
	case CodeDeadlinePassed:
		return fmt.Sprintf("this target did not start within startDeadlineSeconds of %s and counts as failed", in.label())
	case CodeWaitingForStep:
		return fmt.Sprintf("%s waits for the required migration step %s of %s", in.label(), f.other.Update.DistributionSet, f.other.label())
	case CodeHold:
		return "spec.hold keeps this target from start anything; set it to false to release it"
	case CodeWindowClosed:
		return f.aboutWindow(in)
	}
	return string(f.code)
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

func (f finding) aboutSet(w *World, in *Intent) string {
	set, name := in.Set, in.Update.DistributionSet
	switch f.code {
	case CodeSetNotFound:
		return fmt.Sprintf("DistributionSet %s does not exist: create it, or name another in %s", name, in.label())
	case CodeSetInvalid:
		return fmt.Sprintf("DistributionSet %s is invalidated (%s)%s and is never given to a device again", name, set.Invalidation, because(set.InvalidationReason))
	case CodeSetNotReady:
		return fmt.Sprintf("DistributionSet %s is not ready: %s", name, set.NotDeployable)
	case CodeContentChanged:
		return fmt.Sprintf("DistributionSet %s no longer has the content that %s planned", name, in.label())
	case CodeIncompatible:
		return fmt.Sprintf("DistributionSet %s does not fit target type %q: its compatibleTargetTypes are %v", name, w.Target.Spec.Type, set.CompatibleTargetTypes)
	case CodeAlreadyHad:
		return fmt.Sprintf("%s offers a set once, and this target already had %s", in.label(), name)
	}
	return name + " is already installed"
}

func (f finding) aboutSuperseding(in *Intent) string {
	switch {
	case f.action != nil:
		return fmt.Sprintf("%s is no newer than action %d (%s), which this target has started", in.label(), f.action.ID, f.action.DistributionSet)
	case f.other != nil:
		return fmt.Sprintf("the newer %s replaces %s", f.other.label(), in.label())
	}
	return fmt.Sprintf("%s took this target over from %s", takers(in.SupersededBy), in.label())
}

// takers name the newer rollouts that the group gave members up to. Which of several it was is not
// remembered.
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

func (f finding) aboutWindow(in *Intent) string {
	switch {
	case f.err != nil:
		return fmt.Sprintf("maintenanceWindow of %s cannot be read: %v; correct it", in.label(), f.err)
	case f.until.IsZero():
		return fmt.Sprintf("the maintenance window of %s never opens: correct its schedule", in.label())
	}
	return fmt.Sprintf("the maintenance window of %s is closed; it opens at %s", in.label(), stamp(f.until))
}

// label names an intent as people know it.
func (in *Intent) label() string {
	switch in.Source.Kind {
	case v1alpha1.SourceRollout:
		return fmt.Sprintf("rollout %s (group %s)", in.Source.Name, in.Source.Group)
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
