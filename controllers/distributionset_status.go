// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// setPlanner holds all facts about a set for one reconcile, and computes the status from them.
type setPlanner struct {
	set *v1alpha1.DistributionSet
	now time.Time
	// older is the name of an older set with the same identity, or "".
	older string
	// invalidationEntry of the set. It is nil if there is none, or if spec.invalidation decides.
	invalidationEntry *InvalidationEntry
	// unrecorded is the error that kept the invalidation of the set from being recorded, or nil.
	unrecorded error
	// modules in the order of spec.modules. A missing module is nil.
	modules []*v1alpha1.SoftwareModule
	gap     *offer.Gap
	// user is the name of one object that deploys the set, or "".
	user            string
	rollouts, autos int32
}

// effectiveInvalidation is an invalidation that applies, either from the spec or from the record.
type effectiveInvalidation struct {
	cancellation    v1alpha1.Cancellation
	since           time.Time
	reason, message string
}

// invalidation returns the invalidation that applies to the set, or nil if the set is valid.
func (l *setPlanner) invalidation() *effectiveInvalidation {
	since := l.now
	if l.invalidationEntry != nil {
		since = l.invalidationEntry.Since
	}
	switch wanted := l.set.InvalidationInForce(); {
	case wanted != nil:
		ruled := &effectiveInvalidation{wanted.Cancellation, since, v1alpha1.ReasonInvalidatedBySpec, fmt.Sprintf(
			"the set was invalidated by spec.invalidation (%s) and cannot become valid again%s; create another DistributionSet", wanted.Cancellation, reasonSuffix(wanted.Reason))}
		if l.unrecorded != nil {
			ruled.reason, ruled.message = v1alpha1.ReasonInvalidationNotRecorded, ruled.message+"; "+notRecorded(l.unrecorded)
		}
		return ruled
	case l.invalidationEntry != nil:
		return &effectiveInvalidation{l.invalidationEntry.Cancellation, since, v1alpha1.ReasonPreviouslyInvalidated, fmt.Sprintf(
			"a set of this namespace, name, version and type was invalidated (%s) at %s%s; give the release another version, or remove key %s from ConfigMap %s to allow this one again",
			l.invalidationEntry.Cancellation, since.UTC().Format(time.RFC3339), reasonSuffix(l.invalidationEntry.Reason), l.invalidationEntry.Key, l.invalidationEntry.ConfigMap)}
	}
	return nil
}

func reasonSuffix(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + oneLine(reason) + ")"
}

// mustLock reports whether the set must be locked now: it is complete and in use, or it is
// invalidated.
func (l *setPlanner) mustLock() bool {
	return !l.set.Status.Locked && (l.invalidation() != nil || l.user != "" && l.gap == nil && l.older == "")
}

// lacksContent reports whether a locked set has no contentHash yet: at the time of its invalidation
// it was incomplete, or its modules were not frozen.
func (l *setPlanner) lacksContent() bool {
	return l.set.Status.Locked && l.set.Status.ContentHash == ""
}

// unlocked returns the names of the modules that are not frozen.
func (l *setPlanner) unlocked() []string {
	var names []string
	for _, m := range l.modules {
		if m != nil && !m.Status.Locked {
			names = append(names, m.Name)
		}
	}
	return names
}

// status computes the status of the set.
func (l *setPlanner) status(counts actionCounts, running func(namespace, hash string) int32) v1alpha1.DistributionSetStatus {
	status := *l.set.Status.DeepCopy()
	status.ObservedGeneration = l.set.Generation
	c := conditions{&status.Conditions, l.set.Generation, l.now}
	c.complete(l.gap)
	l.updateInvalidation(&status, c, counts)
	l.updateLock(&status, c)
	l.updateReady(&status, c)
	status.Targets = &v1alpha1.SetTargets{Started: counts.open}
	if status.ContentHash != "" {
		status.Targets.Installed = running(l.set.Namespace, status.ContentHash)
	}
	return status
}

// updateInvalidation sets when an invalidation was first observed, and its progress.
func (l *setPlanner) updateInvalidation(status *v1alpha1.DistributionSetStatus, c conditions, counts actionCounts) {
	i := l.invalidation()
	if i == nil {
		status.Invalidation = nil
		c.valid()
		return
	}
	c.invalidated(i.reason, i.message)
	seen := status.Invalidation
	isNews := seen == nil || seen.Cancellation != i.cancellation
	if isNews {
		seen = &v1alpha1.InvalidationStatus{Cancellation: i.cancellation, ObservedAt: toSecond(i.since), Rollouts: l.rollouts, AutoAssignments: l.autos}
	}
	if seen.Recorded == nil {
		seen.Recorded = l.set.Spec.Invalidation.DeepCopy()
	}
	seen.Actions = progress(seen.Actions, counts, i.cancellation)
	if seen.FinishedAt == nil && (seen.Actions == nil || !isNews && counts.unapplied(i.cancellation) == 0) {
		seen.FinishedAt = toSecond(l.now)
	}
	status.Invalidation = seen
}

// changeOfFinal returns a message if spec.invalidation differs from the recorded invalidation: the
// difference and what to do. It returns "" if they are the same.
func (l *setPlanner) changeOfFinal() string {
	if l.set.Status.Invalidation == nil || l.set.Status.Invalidation.Recorded == nil {
		return ""
	}
	final, now := l.set.Status.Invalidation.Recorded, l.set.Spec.Invalidation
	const sentence = "spec.invalidation was %s, which has no effect, because an invalidation is final; change it back to %s, or delete this DistributionSet and create another one"
	switch {
	case now == nil:
		return fmt.Sprintf(sentence, "removed", asManifest(final))
	case *now != *final:
		return fmt.Sprintf(sentence, "changed to "+asManifest(now), asManifest(final))
	}
	return ""
}

// asManifest returns an invalidation in the form of a manifest, in one line.
func asManifest(i *v1alpha1.Invalidation) string {
	fields := "cancellation: " + string(i.Cancellation)
	if i.DeleteRollouts {
		fields += ", deleteRollouts: true"
	}
	if i.Reason != "" {
		fields += fmt.Sprintf(", reason: %q", i.Reason)
	}
	return "{" + fields + "}"
}

// toSecond truncates a time to whole seconds, as the API server stores it.
func toSecond(t time.Time) *metav1.Time {
	return &metav1.Time{Time: t.Truncate(time.Second)}
}

// updateLock locks the set once it is in use and all its modules are frozen, or at once if it is
// invalidated. A set is never unlocked.
func (l *setPlanner) updateLock(status *v1alpha1.DistributionSetStatus, c conditions) {
	if !status.Locked || l.lacksContent() {
		areFrozen := len(l.unlocked()) == 0
		status.Locked = status.Locked || l.mustLock() && (areFrozen || l.invalidation() != nil)
		status.ContentHash = ""
		if l.gap == nil && (areFrozen || !status.Locked) { // a locked set keeps its hash
			status.ContentHash = offer.ContentHash(l.set, l.modules)
		}
	}
	switch {
	case status.Locked && l.isLockedUnused():
		c.locked(metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid, "the set was invalidated: its content is frozen")
	case status.Locked:
		c.locked(metav1.ConditionTrue, v1alpha1.ReasonInUse, "the set was deployed: its content is frozen")
	case l.older != "":
		c.locked(metav1.ConditionFalse, v1alpha1.ReasonDuplicate, fmt.Sprintf("DistributionSet %s is older and is used instead", l.older))
	case l.user == "":
		c.locked(metav1.ConditionFalse, v1alpha1.ReasonNotUsed, "nothing deploys the set yet")
	case l.gap != nil:
		c.locked(metav1.ConditionFalse, l.gap.Reason, l.user+" deploys the set, but it is not complete")
	default:
		c.locked(metav1.ConditionUnknown, v1alpha1.ReasonLocking, l.lockingMessage())
	}
}

// isLockedUnused reports whether the set is, or was, locked by its invalidation and not by its
// first use.
func (l *setPlanner) isLockedUnused() bool {
	if l.invalidation() == nil {
		return false
	}
	had := meta.FindStatusCondition(l.set.Status.Conditions, v1alpha1.ConditionLocked)
	return !l.set.Status.Locked || had != nil && had.Reason == v1alpha1.ReasonDistributionSetInvalid
}

func (l *setPlanner) lockingMessage() string {
	return fmt.Sprintf("%s deploys the set; waiting until its modules are frozen: %s", l.user, strings.Join(l.unlocked(), ", "))
}

// updateReady sets Ready, Stalled and Reconciling. An invalidated set is Ready: there is nothing
// left to do.
func (l *setPlanner) updateReady(status *v1alpha1.DistributionSetStatus, c conditions) {
	change := l.contentChange(status)
	switch i := l.invalidation(); {
	case i != nil && l.changeOfFinal() != "":
		c.stalled(v1alpha1.ReasonInvalidationIsFinal, l.changeOfFinal())
	case i != nil:
		c.ready(v1alpha1.ReasonDistributionSetInvalid, i.message)
	case l.older != "":
		c.stalled(v1alpha1.ReasonDuplicate, fmt.Sprintf("DistributionSet %s is older and has the same name %q, version %q and type %q: delete one of the two, or give this one another version",
			l.older, l.set.Spec.Name, l.set.Spec.Version, l.set.Spec.Type))
	case change != "":
		c.stalled(v1alpha1.ReasonContentChanged, change)
	case l.gap != nil && (l.gap.IsTransient || l.remainingGrace() > 0):
		c.reconciling(metav1.ConditionFalse, l.gap.Reason, l.gap.Message)
	case l.gap != nil:
		c.stalled(l.gap.Reason, l.gap.Message)
	case l.mustLock() && !status.Locked:
		c.reconciling(metav1.ConditionTrue, v1alpha1.ReasonLocking, l.lockingMessage())
	default:
		c.ready(v1alpha1.ReasonReady, "the set is complete")
	}
}

// applyGrace is how long after its creation a set may lack modules without being Stalled: GitOps
// tools apply manifests in any order.
const applyGrace = 5 * time.Second

// remainingGrace returns the remaining part of applyGrace while the set is incomplete.
func (l *setPlanner) remainingGrace() time.Duration {
	if l.gap == nil {
		return 0
	}
	return max(0, l.set.CreationTimestamp.Add(applyGrace).Sub(l.now))
}

// contentChange returns a message if the content of a locked set differs from the locked content,
// or "".
func (l *setPlanner) contentChange(status *v1alpha1.DistributionSetStatus) string {
	if !status.Locked || status.ContentHash == "" {
		return ""
	}
	for i, m := range l.modules {
		if m == nil {
			return fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) was deleted, but the set is locked: create the module again with the same content", l.set.Spec.Modules[i].Name, i)
		}
	}
	if offer.ContentHash(l.set, l.modules) == status.ContentHash {
		return ""
	}
	return fmt.Sprintf("%s changed since the set was locked (content hash %s): restore the content, or create another DistributionSet", l.changedModules(status), status.ContentHash)
}

// changedModules names the modules that were created after the set was locked. Frozen modules
// cannot have changed.
func (l *setPlanner) changedModules(status *v1alpha1.DistributionSetStatus) string {
	locked := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionLocked)
	var names []string
	for _, m := range l.modules {
		if m.CreationTimestamp.After(locked.LastTransitionTime.Time) {
			names = append(names, m.Name)
		}
	}
	switch len(names) {
	case 0:
		return "the set or one of its modules has"
	case 1:
		return "SoftwareModule " + names[0] + " has"
	}
	return "one of the SoftwareModules " + strings.Join(names, ", ") + " has"
}
