// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// newerRollout is a newer rollout, as the device API sees it.
type newerRollout struct {
	intent  eligibility.Intent
	members []string
}

// offerWorld returns the world of one target, as the device API sees it.
func (w *world) offerWorld(name string) offer.World {
	return offer.World{Now: w.now, Target: w.targets[name], Intents: w.intents(name), Set: w.setNamed, Origin: w.origin}
}

// intents returns the intents that reach a target: its own assignment, its membership, and its
// membership in newer rollouts.
func (w *world) intents(name string) []*eligibility.Intent {
	var out []*eligibility.Intent
	add := func(in eligibility.Intent) {
		in.Set = w.setOf(&in.Update)
		out = append(out, &in)
	}
	t := w.targets[name]
	if assigned, ok := offer.AssignmentIntent(t, w.setOf); ok {
		add(*assigned)
	}
	if g, i := w.groupOf(name); g != nil {
		add(IntentOfMember(w.rollout, g, counting.MemberOf(g, i), w.set))
	}
	for _, r := range w.newerRollouts {
		if slices.Contains(r.members, name) {
			add(r.intent)
		}
	}
	for _, in := range w.autos {
		add(in)
	}
	return out
}

// setOf returns the set of an update, or what takes its place in a removal.
func (w *world) setOf(u *v1alpha1.Update) *eligibility.Set {
	if removal := eligibility.SetOfRemoval("fleet", u, w.inventoryOf); removal != nil {
		return removal
	}
	return w.setNamed(u.DistributionSet)
}

// inventory is the software that a device has reported. nil: it has reported none.
type inventory []v1alpha1.SoftwareReference

func (v inventory) IsComplete() bool { return v != nil }

func (v inventory) Has(group, name, version string) bool {
	return slices.ContainsFunc(v, func(s v1alpha1.SoftwareReference) bool {
		return s.Group == group && s.Name == name && s.Version == version
	})
}

func (w *world) inventoryOf(t *v1alpha1.Target) eligibility.Inventory { return w.inventories[t.Name] }

func (w *world) setNamed(name string) *eligibility.Set {
	if w.set != nil && w.set.Name == name {
		return w.set
	}
	return w.sets[name]
}

func (w *world) origin(source v1alpha1.ActionSource) cancellation.Request {
	if source.UID == w.rollout.UID {
		return CancellationOf(w.rollout)
	}
	return cancellation.Request{}
}

// applyReport applies pending changes to a target's open action, as the device API does before it
// answers. It reports whether there were any.
func (w *world) applyReport(name string) bool {
	status, pending := offer.ApplyPending(w.offerWorld(name))
	if pending {
		w.targets[name].Status = stored(w.t, *status)
	}
	return pending
}

func (w *world) offer(name string) offer.Offer { return offer.For(w.offerWorld(name)) }

// reasonFor returns the reason of the verdict on this rollout's intent for a member.
func (w *world) reasonFor(name string) eligibility.Reason {
	for _, v := range offer.Judge(w.offerWorld(name)) {
		if v.Intent.Source.UID == w.rollout.UID {
			return v.Reason
		}
	}
	return eligibility.Reason{Code: offer.CodeNothingWanted}
}

// isOffered reports whether this rollout's update would be offered to a device, or a confirmation
// be requested, if it polled now.
func (w *world) isOffered(name string) bool {
	if w.targets[name] == nil {
		return false
	}
	o := w.offer(name)
	return o.Action == nil && o.Intent != nil && o.Intent.Source.UID == w.rollout.UID
}

// take starts an offered update of any source.
func (w *world) take(name string, o offer.Offer) {
	action.Create(&w.targets[name].Status, o.Creation(w.offerWorld(name)))
}

func (w *world) startUpdate(name string) {
	w.t.Helper()
	if !w.isOffered(name) {
		w.t.Fatalf("%s is offered nothing: %s, %s, %+v", name, w.rollout.Status.State, w.bucket(name), w.reasonFor(name))
	}
	w.take(name, w.offer(name))
}

// lookAt reconciles a target: it records the assignment with its place in the order of updates and
// its condition, and applies pending changes to the open action. It reports whether it wrote
// anything.
func (w *world) lookAt(name string) bool {
	t := w.targets[name]
	if t.Spec.Assignment == nil && t.Status.Assignment == nil {
		return w.applyReport(name)
	}
	before := t.Status.DeepCopy()
	w.noteAssignment(t)
	return w.applyReport(name) || !equality.Semantic.DeepEqual(*before, t.Status)
}

func (w *world) noteAssignment(t *v1alpha1.Target) {
	wanted := t.Spec.Assignment
	t.Status.Assignment = offer.NoteAssignment(wanted, t.Status.Assignment, w.now)
	if wanted == nil || offer.IsAhead(wanted, w.now) {
		meta.RemoveStatusCondition(&t.Status.Conditions, v1alpha1.ConditionAssigned)
		return
	}
	meta.SetStatusCondition(&t.Status.Conditions, w.assigned(t.Name))
}

// toFix has the codes of assignments that a person has to fix.
var toFix = []eligibility.Code{
	eligibility.CodeSetInvalid, eligibility.CodeSetNotFound, eligibility.CodeSetNotReady, eligibility.CodeIncompatible, eligibility.CodeFailed, eligibility.CodeContentChanged,
}

// assigned returns the condition Assigned, which is False if a person has to fix the assignment.
func (w *world) assigned(name string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAssigned, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgressing, LastTransitionTime: metav1.NewTime(w.now)}
	for _, v := range offer.Judge(w.offerWorld(name)) {
		if v.Intent.Source.Kind == v1alpha1.SourceTarget && v.Reason.Code != "" {
			c.Reason, c.Message = string(v.Reason.Code), v.Reason.Message
			if slices.Contains(toFix, v.Reason.Code) {
				c.Status = metav1.ConditionFalse
			}
		}
	}
	return c
}

// assign commits an assignment of one target.
func (w *world) assign(name, set string, how v1alpha1.Superseding) {
	w.addSet(set)
	w.targets[name].Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: set, Superseding: how}}
}

// addSet adds a set with this name if there is none.
func (w *world) addSet(name string) *eligibility.Set {
	if w.setNamed(name) == nil && (w.deleted == nil || w.deleted.Name != name) {
		w.sets[name] = &eligibility.Set{Namespace: "fleet", Name: name, ContentHash: "hash-of-" + name, Deployable: true}
	}
	return w.setNamed(name)
}

// addAuto starts an auto-assignment of a set.
func (w *world) addAuto(set string, how v1alpha1.Superseding) {
	name, since := fmt.Sprintf("auto-%d", len(w.autos)), metav1.NewMicroTime(w.now)
	w.addSet(set)
	w.autos = append(w.autos, eligibility.Intent{
		Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: name, UID: types.UID("uid-" + name), Since: &since},
		Update: v1alpha1.Update{DistributionSet: set, Superseding: how}, StartedAt: w.now, OpenedAt: w.now,
	})
}

// autoAssignments returns w.autos as the snapshot has them.
func (w *world) autoAssignments() counting.AutoAssignments {
	if len(w.autos) == 0 {
		return counting.AutoAssignments{}
	}
	return counting.AutoAssignments{Version: int64(len(w.autos)), HaveReached: func(t *v1alpha1.Target, since time.Time) bool {
		return slices.ContainsFunc(w.autos, func(in eligibility.Intent) bool {
			in.Set = w.setNamed(in.Update.DistributionSet)
			return in.OpenedAt.After(since) && eligibility.AutoHasReached(&in, t)
		})
	}}
}

// addNewerRollout starts a newer rollout with a set. Its group with these members opens later.
func (w *world) addNewerRollout(name, set string, members ...string) {
	since := metav1.NewMicroTime(w.now)
	w.addSet(set)
	w.newerRollouts = append(w.newerRollouts, newerRollout{members: members, intent: eligibility.Intent{
		Source:    v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: name, UID: types.UID("uid-" + name), Group: "group-1", Since: &since},
		Update:    v1alpha1.Update{DistributionSet: set},
		StartedAt: w.now,
		Closed:    eligibility.Reason{Code: eligibility.CodeGroupNotOpen, Message: "the group of " + name + " has not opened"},
	}})
}

func (w *world) hasNewerRollout(name string) bool {
	return slices.ContainsFunc(w.newerRollouts, func(r newerRollout) bool { return slices.Contains(r.members, name) })
}

// overlapsOfNewer returns what newer rollouts take from this one. Members of a required migration
// step are not taken.
func (w *world) overlapsOfNewer() []Overlap {
	var out []Overlap
	for _, r := range w.newerRollouts {
		if w.rollout.Status.StartedAt == nil || !r.intent.Source.Since.After(Since(w.rollout)) || w.set != nil && w.set.RequiredMigrationStep {
			continue
		}
		c := Overlap{Name: r.intent.Source.Name, UID: string(r.intent.Source.UID), Content: w.contentOf(r.intent.Update.DistributionSet), Started: w.shared(r.members)}
		if !r.intent.OpenedAt.IsZero() {
			c.Open, c.OpenGroups = c.Started, 1
		}
		out = append(out, c)
	}
	return out
}

// contentOf returns the contentHash of a set, or "" if the set does not exist.
func (w *world) contentOf(name string) string {
	if set := w.setNamed(name); set != nil {
		return set.ContentHash
	}
	return ""
}

// shared returns, for each group, a bitmap of the named members.
func (w *world) shared(names []string) [][]byte {
	marks := make([][]byte, len(w.rollout.Status.Groups))
	for _, name := range names {
		if g, i := w.groupOf(name); g != nil && int(g.Spec.Index) < len(marks) {
			marks[g.Spec.Index] = bitmap.Set(marks[g.Spec.Index], i, len(g.Spec.Targets))
		}
	}
	return marks
}

// openNewerRollouts opens the groups of newer rollouts.
func (w *world) openNewerRollouts() {
	for i := range w.newerRollouts {
		w.newerRollouts[i].intent.Closed, w.newerRollouts[i].intent.OpenedAt = eligibility.Reason{}, w.now
	}
}

// duplicate makes a target a duplicate of an older one, so that the device API does not serve it.
func (w *world) duplicate(name string, is bool) {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: metav1.NewTime(w.now)}
	if is {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonDuplicate, "another target is older and has the same controllerID"
	}
	meta.SetStatusCondition(&w.targets[name].Status.Conditions, c)
}

// nextHour returns when time alone changes something for a device or for the rollout, or the zero
// time if it never does.
func (w *world) nextHour(lookedAt time.Time) time.Time {
	var next time.Time
	sooner := func(at time.Time) {
		if at.After(w.now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for name := range w.targets {
		sooner(w.offer(name).Reason.Until)
	}
	if w.wanted.RecheckAfter > 0 {
		sooner(lookedAt.Add(w.wanted.RecheckAfter))
	}
	return next
}
