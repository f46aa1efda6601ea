// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package notification derives notifications from the stored status of objects: one Event for each
// decision. It compares a status with a Mark, which says what of the object has been notified
// before. So a decision is found after a restart as well, and the status needs no field for it.
//
// The package is pure: it knows no client, no clock and no log.
package notification

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/history"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Kinds whose decisions are notified.
const (
	KindRollout         = "Rollout"
	KindDistributionSet = "DistributionSet"
	KindAutoAssignment  = "AutoAssignment"
)

// Event is the notification of one decision.
type Event struct {
	// ID is the same each time the event of the same decision is derived. It has letters, digits,
	// colons and dashes only.
	ID string `json:"id"`
	// Time of the decision: as the status has it, else when the decision was first seen.
	Time time.Time `json:"time"`
	Data Data      `json:"data"`
	// Field of the spec that caused the decision, such as spec.approval. Empty: Goshawk decided by
	// itself.
	Field string `json:"field,omitempty"`

	// After is the mark of an object of which this event, and those before it, are notified.
	After Mark `json:"-"`

	// isTimeStored is true if Time is from the status.
	isTimeStored bool
}

// Type returns the type of the CloudEvent, such as dev.goshawk.rollout.paused.v1.
func (e *Event) Type() string { return typeName(e.Data.Kind, e.Data.Decision) }

func typeName(kind, decision string) string {
	return "dev.goshawk." + strings.ToLower(kind) + "." + decision + ".v1"
}

// Data is the data of the CloudEvent. docs/notifications.schema.json is its schema.
type Data struct {
	// Kind, Namespace, Name and UID are those of the object about which was decided. UID is
	// status.uid, which survives a restore, or metadata.uid.
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Decision is the part of the type behind the kind, such as paused.
	Decision string `json:"decision"`
	// Severity is Normal or Warning, as that of an event of Kubernetes.
	Severity string `json:"severity"`
	// Reason is a cause in CamelCase, and Message a sentence for people.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// State of the object after the decision.
	State string `json:"state,omitempty"`
	// DistributionSet is the name of the set, and Update says in a few words what is installed or
	// removed.
	DistributionSet string `json:"distributionSet,omitempty"`
	Update          string `json:"update,omitempty"`
	// Group is the deployment group about which was decided.
	Group string `json:"group,omitempty"`
	// PlanHash is the hash of the plan of a rollout.
	PlanHash string `json:"planHash,omitempty"`
	// Cancellation is that of a stop or an invalidation.
	Cancellation v1alpha1.Cancellation `json:"cancellation,omitempty"`
	// Targets counts targets: those of Group if there is one, else those of the rollout.
	Targets *v1alpha1.Counts `json:"targets,omitempty"`
	// Groups counts the groups of a rollout.
	Groups *Groups `json:"groups,omitempty"`
	// Actions counts the actions that an invalidation affects.
	Actions *v1alpha1.InvalidatedActions `json:"actions,omitempty"`
	// By is the program that wrote the field of the spec that caused the decision, if it is known.
	By *By `json:"by,omitempty"`
}

// Groups counts the groups of a rollout.
type Groups struct {
	Total  int `json:"total"`
	Opened int `json:"opened"`
}

// By is a field of the spec, and the last field manager that wrote it.
type By struct {
	Field   string    `json:"field"`
	Manager string    `json:"manager"`
	Time    time.Time `json:"time"`
}

// Identity returns the uid by which an object is known. It is status.uid of kinds that have it,
// because that is the same after a restore.
func Identity(o metav1.Object) types.UID {
	if own, ok := o.(interface{ Identity() types.UID }); ok {
		return own.Identity()
	}
	return o.GetUID()
}

// KindOf returns the kind of an object, or "" if its decisions are not notified.
func KindOf(o metav1.Object) string {
	switch o.(type) {
	case *v1alpha1.Rollout:
		return KindRollout
	case *v1alpha1.DistributionSet:
		return KindDistributionSet
	case *v1alpha1.AutoAssignment:
		return KindAutoAssignment
	}
	return ""
}

// IsReadable reports whether an object could be decoded as a whole.
func IsReadable(o metav1.Object) bool {
	switch o := o.(type) {
	case *v1alpha1.Rollout:
		return o.Unreadable == nil
	case *v1alpha1.DistributionSet:
		return o.Unreadable == nil
	case *v1alpha1.AutoAssignment:
		return o.Unreadable == nil
	}
	return false
}

// Observe returns the events of the decisions that the status of an object has and the mark has
// not, in the order of the decisions, and the mark after them. An object that cannot be decoded has
// no events.
func Observe(mark Mark, o metav1.Object, now time.Time) ([]Event, Mark) {
	w := &observer{mark: mark, now: now, data: Data{Kind: KindOf(o), Namespace: o.GetNamespace(), Name: o.GetName(), UID: Identity(o)}}
	if !IsReadable(o) {
		return nil, mark
	}
	switch o := o.(type) {
	case *v1alpha1.Rollout:
		w.rollout(o)
	case *v1alpha1.DistributionSet:
		w.set(o)
	case *v1alpha1.AutoAssignment:
		w.auto(o)
	}
	return w.events, w.mark
}

// kindDeleted is the kind of the decision to delete an object.
const kindDeleted = "Deleted"

// IsDeletion reports whether an event is that of a deletion.
func (e *Event) IsDeletion() bool { return e.Data.Decision == strings.ToLower(kindDeleted) }

// Deleted returns the event of the deletion of an object.
func Deleted(kind, namespace, name string, identity types.UID, now time.Time) Event {
	w := &observer{now: now, data: Data{Kind: kind, Namespace: namespace, Name: name, UID: identity, State: "Deleted"}}
	w.add(history.Decision{Kind: kindDeleted, Reason: kindDeleted, Message: fmt.Sprintf("%s %s was deleted", kind, name)})
	return w.events[0]
}

// Baseline returns the mark of an object that existed before notifications were set up, or in a
// backup, and the events of its decisions since then.
func Baseline(o metav1.Object, since, now time.Time) ([]Event, Mark) {
	if created := o.GetCreationTimestamp(); created.After(since) {
		since = created.Time // it was restored from a backup
	}
	all, mark := Observe(Mark{}, o, now)
	var events []Event
	for i := range all {
		if all[i].isTimeStored && !all[i].Time.Before(since) {
			events = append(events, all[i])
		}
	}
	return events, mark
}

// observer derives the events of one object.
type observer struct {
	mark   Mark
	now    time.Time
	data   Data
	events []Event
}

// maxMessage is the maximum length of a message in bytes. It limits the size of an event.
const maxMessage = 1024

// clean returns a message as one line of at most maxMessage bytes.
func clean(message string) string {
	if message = text.Clean(message, maxMessage/2); len(message) > maxMessage {
		message = text.Clean(message, maxMessage/utf8.UTFMax)
	}
	return message
}

// add adds the event of a decision, and returns it. The id distinguishes the decision from others
// of the same kind about the same object.
func (w *observer) add(d history.Decision, id ...string) *Event {
	name := strings.ToLower(d.Kind)
	e := Event{ID: strings.Join(append([]string{string(w.data.UID), name}, id...), ":"), Time: d.At.UTC(), Data: w.data, Field: d.Field, After: w.mark, isTimeStored: !d.At.IsZero()}
	if !e.isTimeStored {
		e.Time = w.now.UTC()
	}
	e.Data.Decision, e.Data.Severity, e.Data.Reason, e.Data.Message, e.Data.Cancellation = name, "Normal", d.Reason, clean(d.Message), d.Cancellation
	if d.Warning {
		e.Data.Severity = "Warning"
	}
	w.events = append(w.events, e)
	return &w.events[len(w.events)-1]
}

// addGroup adds the event of a decision about a group.
func (w *observer) addGroup(g *v1alpha1.GroupStatus, d history.Decision, id ...string) {
	counts := g.Counts
	e := w.add(d, append([]string{g.Name}, id...)...)
	e.Data.Group, e.Data.Targets = g.Name, &counts
}

// stalled adds an event when the object needs an action of a person, once per reason, and
// when it does no longer. Reasons that another event of the object has are not repeated.
func (w *observer) stalled(conditions []metav1.Condition, repeated bool) {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	isStalled := c != nil && c.Status == metav1.ConditionTrue
	switch {
	case isStalled && !repeated && c.Reason != w.mark.Stalled:
		w.mark.Stalled = c.Reason
		w.add(history.Decision{Kind: "Stalled", Reason: c.Reason, Message: c.Message, Warning: true}, c.Reason, stamp(c.LastTransitionTime.Time), fmt.Sprint(c.ObservedGeneration))
	case isStalled && repeated:
		w.mark.Stalled = ""
	case !isStalled && w.mark.Stalled != "":
		reason, message := "Recovered", "no action is needed any more"
		if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
			reason, message = ready.Reason, ready.Message
		}
		id := []string{w.mark.Stalled}
		if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
			id = append(id, stamp(ready.LastTransitionTime.Time))
		}
		w.mark.Stalled = ""
		w.add(history.Decision{Kind: "Recovered", Reason: reason, Message: message}, id...)
	}
}

// stamp returns a time as a part of an id: microseconds since 1970.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return fmt.Sprint(t.UnixMicro())
}
