// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// setPlanner is all that one look at a set has found.
type setPlanner struct {
	set *v1alpha1.DistributionSet
	now time.Time
	// older is an older set of the same identity; empty: there is none.
	older string
	// invalidation entry of the set; nil: there is none, or spec.invalidation says it all.
	invalidationEntry *InvalidationEntry
	// unrecorded is why the invalidation of the set could not be recorded; nil: it is recorded, or
	// there is none.
	unrecorded error
	// modules in the order of spec.modules; a missing one is nil.
	modules []*v1alpha1.SoftwareModule
	gap     *gap
	// user is one thing that deploys the set; empty: nothing does.
	user            string
	rollouts, autos int32
}

// gap is what a set lacks.
type gap struct {
	reason, message string
	// isPassing is true when nobody has to act.
	isPassing bool
}

// gapIn finds the first thing a set lacks; nil: it is complete.
func gapIn(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) *gap {
	if len(modules) == 0 {
		return &gap{reason: v1alpha1.ReasonIncomplete, message: "spec.modules is empty: name at least one SoftwareModule"}
	}
	for i, m := range modules {
		if g := moduleGap(m, set.Spec.Modules[i].Name, i); g != nil {
			return g
		}
	}
	return typeGap(set.Spec.ModuleTypes, modules)
}

func moduleGap(m *v1alpha1.SoftwareModule, name string, i int) *gap {
	if m == nil {
		return &gap{reason: v1alpha1.ReasonReferenceNotFound, message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) does not exist: create it, or remove it from spec.modules", name, i)}
	}
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case m.Unreadable != nil:
		return &gap{reason: v1alpha1.ReasonModuleNotReady, message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) cannot be read: %s", name, i, m.Unreadable.Message)}
	case ready == nil:
		return &gap{reason: v1alpha1.ReasonModuleNotReady, message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) is new and has its first look in a moment", name, i), isPassing: true}
	case ready.Status != metav1.ConditionTrue:
		return &gap{reason: v1alpha1.ReasonModuleNotReady, message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) is not ready: %s", name, i, ready.Message)}
	}
	return nil
}

// typeGap holds the modules against spec.moduleTypes. Without any type there, any module will do.
func typeGap(types *v1alpha1.ModuleTypes, modules []*v1alpha1.SoftwareModule) *gap {
	if types == nil || len(types.Mandatory)+len(types.Optional) == 0 {
		return nil
	}
	present := map[string]bool{}
	for _, m := range modules {
		present[m.Spec.Type] = true
		if !slices.Contains(types.Mandatory, m.Spec.Type) && !slices.Contains(types.Optional, m.Spec.Type) {
			return &gap{reason: v1alpha1.ReasonUnknownModuleType, message: fmt.Sprintf(
				"SoftwareModule %s has type %q, which is in neither list of spec.moduleTypes: add the type to optional, or remove the module from spec.modules", m.Name, m.Spec.Type)}
		}
	}
	for _, t := range types.Mandatory {
		if !present[t] {
			return &gap{reason: v1alpha1.ReasonIncomplete, message: fmt.Sprintf(
				"no module has the mandatory type %q: add one to spec.modules, or remove the type from spec.moduleTypes.mandatory", t)}
		}
	}
	return nil
}

// ruling is an invalidation, by spec or by invalidation entry.
type ruling struct {
	cancellation    v1alpha1.Cancellation
	since           time.Time
	reason, message string
}

// invalidation that applies to the set; nil: it is valid.
func (l *setPlanner) invalidation() *ruling {
	since := l.now
	if l.invalidationEntry != nil {
		since = l.invalidationEntry.Since
	}
	switch wanted := l.set.InvalidationInForce(); {
	case wanted != nil:
		ruled := &ruling{wanted.Cancellation, since, v1alpha1.ReasonInvalidatedBySpec, fmt.Sprintf(
			"spec.invalidation (%s) took the set out of circulation for good%s; create another DistributionSet", wanted.Cancellation, becauseOf(wanted.Reason))}
		if l.unrecorded != nil {
			ruled.reason, ruled.message = v1alpha1.ReasonInvalidationNotRecorded, ruled.message+"; "+notRecorded(l.unrecorded)
		}
		return ruled
	case l.invalidationEntry != nil:
		return &ruling{l.invalidationEntry.Cancellation, since, v1alpha1.ReasonPreviouslyInvalidated, fmt.Sprintf(
			"a set of this namespace, name, version and type was invalidated (%s) at %s%s; give the release another version, or clear key %s of ConfigMap %s on purpose",
			l.invalidationEntry.Cancellation, since.UTC().Format(time.RFC3339), becauseOf(l.invalidationEntry.Reason), l.invalidationEntry.Key, l.invalidationEntry.ConfigMap)}
	}
	return nil
}

func becauseOf(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + oneLine(reason) + ")"
}

// isWanted reports whether the set is to be locked now: it is complete and in use, or it is
// invalidated, whether it was ever used or not.
func (l *setPlanner) isWanted() bool {
	return !l.set.Status.Locked && (l.invalidation() != nil || l.user != "" && l.gap == nil && l.older == "")
}

// lacksContent reports whether a locked set has no contentHash yet: when it was invalidated, it was
// incomplete or its modules were not frozen.
func (l *setPlanner) lacksContent() bool {
	return l.set.Status.Locked && l.set.Status.ContentHash == ""
}

// unlocked are the names of the modules that are not frozen.
func (l *setPlanner) unlocked() []string {
	var names []string
	for _, m := range l.modules {
		if m != nil && !m.Status.Locked {
			names = append(names, m.Name)
		}
	}
	return names
}

// status is what the look comes to.
func (l *setPlanner) status(counts actionCounts, running func(namespace, hash string) int32) v1alpha1.DistributionSetStatus {
	status := *l.set.Status.DeepCopy()
	status.ObservedGeneration = l.set.Generation
	c := conditions{&status.Conditions, l.set.Generation, l.now}
	c.complete(l.gap)
	l.takeInvalidation(&status, c, counts)
	l.takeContent(&status, c)
	l.takeReady(&status, c)
	status.Targets = &v1alpha1.SetTargets{Started: counts.open}
	if status.ContentHash != "" {
		status.Targets.Installed = running(l.set.Namespace, status.ContentHash)
	}
	return status
}

// takeInvalidation notes when an invalidation was first seen, and how far it has come since.
func (l *setPlanner) takeInvalidation(status *v1alpha1.DistributionSetStatus, c conditions, counts actionCounts) {
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
		seen = &v1alpha1.InvalidationStatus{Cancellation: i.cancellation, ObservedAt: second(i.since), Rollouts: l.rollouts, AutoAssignments: l.autos}
	}
	if seen.Recorded == nil {
		seen.Recorded = l.set.Spec.Invalidation.DeepCopy()
	}
	seen.Actions = progress(seen.Actions, counts, i.cancellation)
	if seen.FinishedAt == nil && (seen.Actions == nil || !isNews && counts.unapplied(i.cancellation) == 0) {
		seen.FinishedAt = second(l.now)
	}
	status.Invalidation = seen
}

// changeOfFinal returns what spec.invalidation says otherwise than the recorded invalidation, and
// what to do. Empty: nothing.
func (l *setPlanner) changeOfFinal() string {
	if l.set.Status.Invalidation == nil || l.set.Status.Invalidation.Recorded == nil {
		return ""
	}
	final, now := l.set.Status.Invalidation.Recorded, l.set.Spec.Invalidation
	const sentence = "spec.invalidation was %s, which has no effect: the set was invalidated for good; put it back as %s, or delete this DistributionSet and create another one"
	switch {
	case now == nil:
		return fmt.Sprintf(sentence, "removed", asManifest(final))
	case *now != *final:
		return fmt.Sprintf(sentence, "changed to "+asManifest(now), asManifest(final))
	}
	return ""
}

// asManifest writes an invalidation as a manifest would, in one line.
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

// second is a time as it will be stored.
func second(t time.Time) *metav1.Time {
	return &metav1.Time{Time: t.Truncate(time.Second)}
}

// takeContent locks the set once it is in use and all its modules are frozen, and at once when it
// is invalidated. The lock never goes back.
func (l *setPlanner) takeContent(status *v1alpha1.DistributionSetStatus, c conditions) {
	if !status.Locked || l.lacksContent() {
		areFrozen := len(l.unlocked()) == 0
		status.Locked = status.Locked || l.isWanted() && (areFrozen || l.invalidation() != nil)
		status.ContentHash = ""
		if l.gap == nil && (areFrozen || !status.Locked) { // of a locked set it holds for good
			status.ContentHash = offer.ContentHash(l.set, l.modules)
		}
	}
	switch {
	case status.Locked && l.isLockedUnused():
		c.locked(metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid, "the set was invalidated: what a device would install is frozen")
	case status.Locked:
		c.locked(metav1.ConditionTrue, v1alpha1.ReasonInUse, "the set was deployed: what a device would install is frozen")
	case l.older != "":
		c.locked(metav1.ConditionFalse, v1alpha1.ReasonDuplicate, fmt.Sprintf("DistributionSet %s is older and is used instead", l.older))
	case l.user == "":
		c.locked(metav1.ConditionFalse, v1alpha1.ReasonNotUsed, "nothing deploys the set yet")
	case l.gap != nil:
		c.locked(metav1.ConditionFalse, l.gap.reason, l.user+" deploys the set, but it is not complete")
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

// takeReady answers whether the commit is under control. An invalidated set is: nothing is left to
// do about it.
func (l *setPlanner) takeReady(status *v1alpha1.DistributionSetStatus, c conditions) {
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
	case l.gap != nil && (l.gap.isPassing || l.grace() > 0):
		c.reconciling(metav1.ConditionFalse, l.gap.reason, l.gap.message)
	case l.gap != nil:
		c.stalled(l.gap.reason, l.gap.message)
	case l.isWanted() && !status.Locked:
		c.reconciling(metav1.ConditionTrue, v1alpha1.ReasonLocking, l.lockingMessage())
	default:
		c.ready(v1alpha1.ReasonReady, "the set is complete")
	}
}

// applyGrace is how long after its creation a set may lack modules before that is a problem: Git
// applies manifests in any order.
const applyGrace = 5 * time.Second

// grace is what is left of it, while something is lacking.
func (l *setPlanner) grace() time.Duration {
	if l.gap == nil {
		return 0
	}
	return max(0, l.set.CreationTimestamp.Add(applyGrace).Sub(l.now))
}

// contentChange says how a locked set differs from what it was locked with; empty: it does not.
func (l *setPlanner) contentChange(status *v1alpha1.DistributionSetStatus) string {
	if !status.Locked || status.ContentHash == "" {
		return ""
	}
	for i, m := range l.modules {
		if m == nil {
			return fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) is gone, and the set is locked: create it again with the same content", l.set.Spec.Modules[i].Name, i)
		}
	}
	if offer.ContentHash(l.set, l.modules) == status.ContentHash {
		return ""
	}
	return fmt.Sprintf("%s no longer the content that the set was locked with (%s): restore it, or create another DistributionSet", l.suspects(status), status.ContentHash)
}

// suspects names the modules that were created after the set was locked: frozen ones cannot have
// changed.
func (l *setPlanner) suspects(status *v1alpha1.DistributionSetStatus) string {
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
