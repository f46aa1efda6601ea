// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// isUnambiguous reports whether this rollout may become the newest on its targets. A rollout
// without spec.startAt is newer than all others because it starts later; but a manifest that was
// deleted and created again starts later as well. If the targets show that this rollout may be
// older, a person has to set spec.startAt.
func (l *planner) isUnambiguous() bool {
	against, wait := l.ambiguity()
	switch {
	case against != "":
		l.stall(v1alpha1.ReasonOrderAmbiguous, "%s", against)
	case wait != nil:
		l.waitForNeighbor(wait)
	default:
		return true
	}
	return false
}

// ambiguity returns a message about why the order is ambiguous, or the neighbor that has to start
// first.
func (l *planner) ambiguity() (against string, wait *Neighbor) {
	if against = l.ambiguousReturn(); against != "" {
		return against, nil
	}
	for i := range l.Neighbors {
		n := &l.Neighbors[i]
		if doubt := l.ambiguousRecreation(n); doubt != "" {
			return doubt, nil
		}
		doubt, first := l.ambiguousNeighbor(n)
		if doubt != "" {
			return doubt, nil
		}
		if first && wait == nil {
			wait = n
		}
	}
	return l.ambiguousPlace(), wait
}

// ambiguousPlace returns a message if targets have an update of another rollout with the same
// spec.startAt. They would not get this one, also if the other rollout is stopped or deleted.
func (l *planner) ambiguousPlace() string {
	if l.spec.StartAt == nil {
		return ""
	}
	in := eligibility.Intent{
		Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: l.Rollout.Name, UID: l.Rollout.Identity(), Since: &metav1.MicroTime{Time: l.spec.StartAt.Time}},
		Update: UpdateOf(l.Rollout), Set: l.Set, PlannedHash: l.status.Plan.ContentHash,
	}
	count, example, other := 0, "", ""
	for _, g := range l.groups {
		for _, t := range g.members() {
			if t == nil {
				continue
			}
			if a := eligibility.ActionInPlaceOf(t, &in); a != nil {
				if count++; example == "" {
					example, other = t.Name, a.Source.Name
				}
			}
		}
	}
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %s had an update of another rollout with the same spec.startAt, %s, e.g. %s of rollout %s, and would not get this one: "+
		"set spec.startAt to the present time if this rollout is the newer one", count, targets(l.status.Plan.Targets), formatTime(l.spec.StartAt.Time), example, other)
}

// ambiguousReturn returns a message if targets had the content before and have another one now, or
// may have: their Target is newer than the first use of the set, and their installed set was first
// used after it.
func (l *planner) ambiguousReturn() string {
	if l.spec.StartAt != nil {
		return ""
	}
	left, example := 0, (*v1alpha1.Target)(nil)
	for _, g := range l.groups {
		for _, t := range g.members() {
			if t != nil && (action.HasLeftContent(&t.Status, l.status.Plan.ContentHash) || l.mayHaveLeft(t)) {
				if left++; example == nil {
					example = t
				}
			}
		}
	}
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %s had, or may have had, the content of %s before and another one since, e.g. %s, and without spec.startAt a manifest that was deleted "+
		"and created again looks like a new one: to bring this content back, set spec.startAt to the present time; otherwise set it to the time of the first start",
		left, targets(l.status.Plan.Targets), l.subject(), nameWithSet(example))
}

// ambiguousRecreation returns a message if targets run the content of a neighbor that has started,
// and their Targets and the sets of both rollouts were created again since. Then no object shows
// whether the targets had the content of this rollout before. A set is locked when its rollout is
// planned, so one that was locked after the start of its rollout was created again.
func (l *planner) ambiguousRecreation(n *Neighbor) string {
	started, theirs := n.Rollout.Status.StartedAt, contentOf(n)
	if l.spec.StartAt != nil || started == nil || n.Set == nil || l.Set.LockedAt.IsZero() || theirs == l.status.Plan.ContentHash ||
		!n.Set.LockedAt.After(started.Time) || !l.Set.LockedAt.Before(n.Set.LockedAt.Add(eligibility.AppliedTogether)) {
		return ""
	}
	count, example := 0, ""
	l.eachShared(n, func(t *v1alpha1.Target) {
		if t.CreationTimestamp.After(started.Time) && action.Installed(&t.Status, theirs) {
			if count++; example == "" {
				example = t.Name
			}
		}
	})
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("the content of rollout %s runs on %s, e.g. %s. Since that rollout started at %s, the Targets and the DistributionSets of both rollouts were created again, "+
		"so no object shows which of the two is newer: to bring the content of %s, set spec.startAt to the present time; otherwise set it to the time of the first start",
		n.Rollout.Name, text.Count(count, "shared target"), example, formatTime(started.Time), l.subject())
}

// subject names the set of the rollout, or its removal.
func (l *planner) subject() string {
	if l.Set.Removes() {
		return "the " + l.spec.Update.Subject()
	}
	return "DistributionSet " + l.spec.Update.DistributionSet
}

// mayHaveLeft reports whether a target runs a set that was first used after the rollout's set,
// which was first used before the Target was created. The Target has no history of that time.
func (l *planner) mayHaveLeft(t *v1alpha1.Target) bool {
	runs, used := t.Status.Installed, l.Set.LockedAt
	if runs == nil || runs.ContentHash == "" || runs.ContentHash == l.status.Plan.ContentHash || used.IsZero() || !used.Before(t.CreationTimestamp.Time) {
		return false
	}
	other := l.SetNamed(runs.DistributionSet)
	return other != nil && other.ContentHash == runs.ContentHash && other.LockedAt.After(used)
}

// nameWithSet returns the name of a target with its installed set.
func nameWithSet(t *v1alpha1.Target) string {
	if i := t.Status.Installed; i != nil && i.DistributionSet != "" {
		return fmt.Sprintf("%s, which runs %s", t.Name, i.DistributionSet)
	}
	return t.Name
}

// ambiguousNeighbor returns a message about why this rollout may be older than a neighbor, or
// reports that the neighbor has to start first.
func (l *planner) ambiguousNeighbor(n *Neighbor) (against string, first bool) {
	self, other := l.Rollout, n.Rollout
	unordered := areUnordered(self, other, l.Now)
	returns := self.Spec.StartAt == nil && isRunning(other) && !other.Spec.Update.IsQueued()
	if !unordered && !returns {
		return "", false
	}
	e := l.evidenceOn(n)
	switch {
	case e.shared == 0:
	case unordered && e.runTheirs > 0:
		return l.ambiguousMessage(n, e, fmt.Sprintf("%s of them, e.g. %s, had the content of %s when both were created", text.Count(e.runTheirs, "target"), e.example, other.Name)), false
	case returns && e.returned > 0:
		return fmt.Sprintf("%s that it shares with rollout %s, e.g. %s, had the content of %s before that rollout, which is running, and without spec.startAt "+
			"a manifest that was deleted and created again looks like a new one: to bring this content back, set spec.startAt to the present time; otherwise set it to the time of the first start",
			targets(e.returned), other.Name, e.example, l.subject()), false
	case !unordered, e.mineIsNewer == e.shared, isStoppedOrPlanned(other), self.Spec.StartAt == nil && endedBefore(other, self), !goesFirst(other, self, e):
	case other.Status.StartedAt != nil:
		return l.ambiguousMessage(n, e, ""), false
	default:
		return "", CanStart(other, n.Set, l.Now) && l.Now.Before(self.CreationTimestamp.Add(eligibility.AppliedTogether))
	}
	return "", false
}

// isStoppedOrPlanned reports whether a rollout was stopped, or is Planned and has not started.
func isStoppedOrPlanned(r *v1alpha1.Rollout) bool {
	return IsStopped(r) || r.Spec.State == v1alpha1.IntentPlanned && r.Status.StartedAt == nil
}

// ambiguousMessage returns the message that it is ambiguous which of two rollouts is newer, with
// the fix.
func (l *planner) ambiguousMessage(n *Neighbor, e *evidence, besides string) string {
	self, other := l.Rollout, n.Rollout
	why := fmt.Sprintf("this one was created at %s and %s at %s, within a minute of each other", formatTime(self.CreationTimestamp.Time), other.Name, formatTime(other.CreationTimestamp.Time))
	fix := "give each a spec.startAt of its own"
	switch {
	case self.Spec.StartAt != nil && other.Spec.StartAt == nil:
		why += fmt.Sprintf(", and only this one has a spec.startAt, %s", formatTime(self.Spec.StartAt.Time))
		fix = fmt.Sprintf("set spec.startAt of rollout %s to the time of its first start", other.Name)
	case self.Spec.StartAt != nil:
		why = "both have the spec.startAt " + formatTime(self.Spec.StartAt.Time)
	case other.Spec.StartAt != nil:
		why += fmt.Sprintf(", and only %s has a spec.startAt, %s", other.Name, formatTime(other.Spec.StartAt.Time))
		fix = "set spec.startAt to the present time if this rollout is the newer one, otherwise to the time of its first start"
	}
	if besides != "" {
		why += "; " + besides
	}
	return fmt.Sprintf("shares %s with rollout %s, and it is not clear which of the two is newer: %s; %s", targets(e.shared), other.Name, why, fix)
}

// waitForNeighbor waits until a neighbor has started or cannot start any more, for one minute at
// most.
func (l *planner) waitForNeighbor(n *Neighbor) {
	self, other := l.Rollout, n.Rollout
	end := self.CreationTimestamp.Add(eligibility.AppliedTogether)
	l.reconcile(v1alpha1.ReasonStabilizing, end, "waiting, at most until %s, for rollout %s to start: it shares targets with this one and was created at %s, within a minute of this one (%s)",
		formatTime(end), other.Name, formatTime(other.CreationTimestamp.Time), formatTime(self.CreationTimestamp.Time))
	l.recheck(other.CreationTimestamp.Add(arrives))
}
