// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

// WhyTarget is what one target gets now, and why.
type WhyTarget struct {
	Namespace    string `json:"namespace"`
	Target       string `json:"target"`
	ControllerID string `json:"controllerID"`
	Type         string `json:"type,omitempty"`
	// UpdateStatus of the target, as stored.
	UpdateStatus v1alpha1.UpdateStatus `json:"updateStatus,omitempty"`
	// Installed is the name of the set that the device runs, or "" if it is not known.
	Installed      string       `json:"installed,omitempty"`
	InstalledSince *metav1.Time `json:"installedSince,omitempty"`
	// Invalidated says how and when the set that the device runs was invalidated, or is "" for a
	// valid set.
	Invalidated string       `json:"invalidated,omitempty"`
	LastSeen    *metav1.Time `json:"lastSeen,omitempty"`
	// Conditions of the target that need the attention of a person.
	Conditions []Notice `json:"conditions,omitempty"`
	// Now is what the device gets if it asks now.
	Now Offered `json:"now"`
	// Pending says what is applied to the open action before the device gets its answer.
	Pending string `json:"pending,omitempty"`
	// Next is the first update after the present one that the target can still get; nil if there is
	// none.
	Next *Reach `json:"next,omitempty"`
	// Updates has every rollout, auto-assignment and assignment that selects the target, in the
	// order in which they are offered.
	Updates []Reach `json:"updates"`
	// Actions of the target, the newest first.
	Actions []PastAction `json:"actions,omitempty"`
}

// Notice is a condition of an object, for people.
type Notice struct {
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Offered is what a device gets if it asks now.
type Offered struct {
	Kind offer.Kind `json:"kind"`
	// ActionID is the ID that the device gets, or 0 if it gets nothing.
	ActionID int32 `json:"actionID,omitempty"`
	// Update is the set, or the removal, that is offered.
	Update string `json:"update,omitempty"`
	// Source is the object that the update comes from.
	Source *Source `json:"source,omitempty"`
	// State of the action, if it has started.
	State   v1alpha1.ActionState `json:"state,omitempty"`
	Code    string               `json:"code"`
	Message string               `json:"message"`
	// Until is when time alone changes this; nil if only an event can.
	Until *metav1.Time `json:"until,omitempty"`
	// OpensAt is when the next maintenance window opens that the target waits for.
	OpensAt *metav1.Time `json:"opensAt,omitempty"`
	// Change is what a person can change, or nil.
	Change *Change `json:"change,omitempty"`
}

// Source is the object that wants an update.
type Source struct {
	Kind  v1alpha1.SourceKind `json:"kind"`
	Name  string              `json:"name"`
	Group string              `json:"group,omitempty"`
}

// Reach is one update that reaches a target, or would reach it.
type Reach struct {
	Source Source `json:"source"`
	Update string `json:"update"`
	// Since is the place of the update in the order of updates: the newest goes first. nil: it has
	// no place yet.
	Since *metav1.MicroTime `json:"since,omitempty"`
	// Offered is true if the device gets this update now.
	Offered bool `json:"offered"`
	// Final is true if the update will never start on this target.
	Final   bool         `json:"final"`
	Code    string       `json:"code,omitempty"`
	Message string       `json:"message"`
	Until   *metav1.Time `json:"until,omitempty"`
	Change  *Change      `json:"change,omitempty"`
}

// PastAction is one action of a target.
type PastAction struct {
	ID         int32                `json:"id"`
	Source     Source               `json:"source"`
	Update     string               `json:"update"`
	State      v1alpha1.ActionState `json:"state"`
	Stage      string               `json:"stage,omitempty"`
	StatusCode string               `json:"statusCode,omitempty"`
	Message    string               `json:"message,omitempty"`
	Attempt    int32                `json:"attempt,omitempty"`
	StartedAt  *metav1.Time         `json:"startedAt,omitempty"`
	ClosedAt   *metav1.Time         `json:"closedAt,omitempty"`
	Cancel     string               `json:"cancel,omitempty"`
}

// Why returns what a target of the index gets now, and why. If rollout is not "", only the updates
// of the rollout with this name are listed; what the device gets now stays complete.
func Why(x *fleet.Index, t *v1alpha1.Target, rollout string, now time.Time) WhyTarget {
	w := x.World(t, now)
	why := WhyTarget{
		Namespace: t.Namespace, Target: t.Name, ControllerID: t.ControllerID(), Type: t.Spec.Type, UpdateStatus: t.Status.UpdateStatus, LastSeen: t.Status.LastSeen,
		Conditions: noticesOf(t),
	}
	if i := t.Status.Installed; i != nil {
		why.Installed, why.InstalledSince = fleetcounts.Installed(t), i.Since
		if set := x.DistributionSet(types.NamespacedName{Namespace: t.Namespace, Name: why.Installed}); set != nil {
			why.Invalidated = operation.Invalidated(set)
		}
	}
	if status, changed := offer.ApplyPending(w); changed {
		why.Pending = pendingText(&t.Status, status)
		applied := *t
		applied.Status = *status
		w.Target = &applied
	}
	o, verdicts := offer.For(w), offer.Judge(w)
	why.Now = offered(x, &w, &o, verdicts)
	for i := range verdicts {
		why.Updates = append(why.Updates, reach(x, &w, &o, &verdicts[i]))
	}
	why.Updates = append(why.Updates, unreached(x, &w, rollout)...)
	why.Next = nextOf(why.Updates)
	if rollout != "" {
		why.Updates = slices.DeleteFunc(why.Updates, func(r Reach) bool { return r.Source.Kind != v1alpha1.SourceRollout || r.Source.Name != rollout })
	}
	why.Actions = pastActions(&w.Target.Status)
	return why
}

// offered returns the offer for people.
func offered(x *fleet.Index, w *offer.World, o *offer.Offer, verdicts []offer.Verdict) Offered {
	out := Offered{Kind: o.Kind, ActionID: o.ActionID, Code: string(o.Reason.Code), Message: o.Reason.Message, Until: timeOrNil(o.Reason.Until), OpensAt: timeOrNil(o.OpensAt)}
	switch {
	case o.Action != nil:
		out.Update, out.State, out.Source = o.Action.Subject(), o.Action.State, sourceOf(&o.Action.Source)
		out.Change = changeOfAction(w.Target, o)
	case o.Intent != nil:
		out.Update, out.Source = o.Intent.Update.Subject(), sourceOf(&o.Intent.Source)
		if o.Kind == offer.Confirm {
			out.Change = confirmsItself(w.Target)
		}
	default:
		if i := slices.IndexFunc(verdicts, func(v offer.Verdict) bool { return v.Reason == o.Reason }); i >= 0 {
			out.Update, out.Source = verdicts[i].Intent.Update.Subject(), sourceOf(&verdicts[i].Intent.Source)
			out.Change = changeFor(x, w, &verdicts[i])
		}
	}
	return out
}

// reach returns a verdict for people.
func reach(x *fleet.Index, w *offer.World, o *offer.Offer, v *offer.Verdict) Reach {
	in := v.Intent
	r := Reach{
		Source: *sourceOf(&in.Source), Update: in.Update.Subject(), Since: in.Source.Since,
		Code: string(v.Reason.Code), Message: v.Reason.Message, Final: v.Reason.Code.IsFinal(), Until: timeOrNil(v.Reason.Until),
	}
	own := o.Action != nil && eligibility.IsOwn(o.Action, in)
	r.Offered = o.Kind != offer.Nothing && (o.Intent == in || own)
	if r.Offered {
		r.Code, r.Message, r.Final, r.Until = string(o.Reason.Code), o.Reason.Message, false, timeOrNil(o.Reason.Until)
		return r
	}
	if own && r.Code == "" {
		r.Code, r.Message = string(o.Reason.Code), o.Reason.Message
	}
	if r.Code == "" {
		r.Message = "waits for the updates before it"
	}
	r.Change = changeFor(x, w, v)
	return r
}

// nextOf returns the first update that is not offered now and can still start.
func nextOf(updates []Reach) *Reach {
	for i := range updates {
		if r := updates[i]; !r.Offered && !r.Final && r.Code != CodeNotAMember && r.Code != CodeNotSelected {
			return &r
		}
	}
	return nil
}

// pendingText says how the open action changes before the device gets an answer.
func pendingText(before, after *v1alpha1.TargetStatus) string {
	was := action.Open(before)
	if was == nil {
		return ""
	}
	is := action.ByID(after, was.ID)
	switch {
	case is == nil:
		return fmt.Sprintf("action %d ends", was.ID)
	case is.State.IsClosed():
		return fmt.Sprintf("action %d is closed as %s%s", is.ID, is.State, cancelCause(is))
	case is.State == v1alpha1.ActionCanceling && was.State != v1alpha1.ActionCanceling:
		return fmt.Sprintf("action %d is to be canceled%s", is.ID, cancelCause(is))
	case is.Source.UID != was.Source.UID:
		return fmt.Sprintf("action %d is taken over by %s %s", is.ID, is.Source.Kind, is.Source.Name)
	}
	return fmt.Sprintf("action %d becomes %s", is.ID, is.State)
}

func cancelCause(a *v1alpha1.Action) string {
	if a.Cancel == nil {
		return ""
	}
	return fmt.Sprintf(" (%s, %s)", a.Cancel.Cause, a.Cancel.Cancellation)
}

// noticesOf returns what a person should know about the state of a target.
func noticesOf(t *v1alpha1.Target) []Notice {
	var out []Notice
	if t.Spec.Hold {
		out = append(out, Notice{"Hold", "Hold", "spec.hold is true: this target starts no update; set it to false to release it"})
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionConsistent, v1alpha1.ConditionOnline, v1alpha1.ConditionAssigned} {
		if c := meta.FindStatusCondition(t.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			out = append(out, Notice{c.Type, c.Reason, c.Message})
		}
	}
	return out
}

func pastActions(s *v1alpha1.TargetStatus) []PastAction {
	var out []PastAction
	for i := range s.Actions {
		out = append(out, pastAction(&s.Actions[i]))
	}
	slices.SortFunc(out, func(a, b PastAction) int { return cmp.Compare(b.ID, a.ID) })
	return out
}

func pastAction(a *v1alpha1.Action) PastAction {
	p := PastAction{ID: a.ID, Source: *sourceOf(&a.Source), Update: a.Subject(), State: a.State, Stage: a.Stage, StatusCode: a.StatusCode,
		Message: cmp.Or(a.FailureMessage, a.Message), Attempt: a.Source.Attempt, StartedAt: a.StartedAt, ClosedAt: a.ClosedAt}
	if a.Cancel != nil {
		p.Cancel = string(a.Cancel.Cause)
	}
	return p
}

func sourceOf(s *v1alpha1.ActionSource) *Source {
	return &Source{Kind: s.Kind, Name: s.Name, Group: s.Group}
}

func timeOrNil(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t.UTC()}
}

func keyOf(t *v1alpha1.Target) client.ObjectKey { return client.ObjectKeyFromObject(t) }
