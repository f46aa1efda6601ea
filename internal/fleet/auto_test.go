// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// The place of an auto-assignment in the order of a target's intents.
func TestAutoSince(t *testing.T) {
	lastYear := noon.AddDate(-1, 0, 0)
	tests := map[string]struct {
		startAt         time.Time // zero: none
		created, target time.Time
		auto            func(*v1alpha1.AutoAssignment)
		edit            func(*v1alpha1.TargetStatus)
		want            time.Time
	}{
		"an existing target: from the start": {created: noon, target: lastYear, want: noon},
		"a later target: from its creation":  {created: lastYear, target: noon.Add(time.Hour), want: noon.Add(time.Hour)},
		"a target that was selected from the start, whatever changed since": {
			created: noon, target: lastYear, edit: selectedAt(noon.Add(2*time.Hour), time.Time{}), want: noon},
		"a target that is selected since a change": {
			created: noon, target: lastYear, edit: selectedAt(noon.Add(3*time.Hour), noon.Add(2*time.Hour)), want: noon.Add(2 * time.Hour)},
		"a target that was not selected before the selection changed": {
			created: noon, target: lastYear, edit: notSelectedAt(noon.Add(time.Hour)), auto: selectingSince(noon.Add(2 * time.Hour)), want: noon.Add(2 * time.Hour)},
		"a target that was not evaluated since the start": {
			created: noon, target: lastYear, edit: notSelectedAt(noon.Add(-time.Hour)), auto: selectingSince(noon.Add(2 * time.Hour)), want: noon},
		"another set: from the change, on every target": {
			created: noon, target: lastYear, edit: selectedAt(noon.Add(time.Hour), time.Time{}), auto: offeringSince(noon.Add(2 * time.Hour)), want: noon.Add(2 * time.Hour)},
		"rebuilt together, startAt is the place": {startAt: lastYear, created: noon, target: noon.Add(20 * time.Second), want: lastYear},
		"rebuilt together, a device that first reports after five minutes": {
			startAt: lastYear, created: noon, target: noon, edit: selectedAt(noon.Add(5*time.Minute), time.Time{}), want: lastYear},
		"rebuilt together, a later change counts": {
			startAt: lastYear, created: noon, target: noon, edit: selectedAt(noon.Add(time.Hour), noon.Add(time.Hour)), want: noon.Add(time.Hour)},
		"with startAt, a later target: from its creation": {startAt: lastYear, created: lastYear, target: noon, want: noon},
		"without startAt a rebuild is a new start":        {created: noon, target: noon.Add(20 * time.Second), want: noon.Add(20 * time.Second)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			started := metav1.NewMicroTime(noon)
			a := &v1alpha1.AutoAssignment{ObjectMeta: metav1.ObjectMeta{UID: "auto", CreationTimestamp: metav1.NewTime(tt.created)}, Status: v1alpha1.AutoAssignmentStatus{StartedAt: &started}}
			if tt.created.Equal(lastYear) {
				a.Status.StartedAt.Time = lastYear
			}
			if !tt.startAt.IsZero() {
				at := metav1.NewTime(tt.startAt)
				a.Spec.StartAt = &at
			}
			target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(tt.target)}}
			if tt.auto != nil {
				tt.auto(a)
			}
			if tt.edit != nil {
				tt.edit(&target.Status)
			}
			if got := autoSince(a, target); !got.Equal(tt.want) {
				t.Errorf("since %s, want %s", got, tt.want)
			}
		})
	}
}

func moment(at time.Time) *metav1.MicroTime {
	if at.IsZero() {
		return nil
	}
	return &metav1.MicroTime{Time: at}
}

func selectedAt(at, since time.Time) func(*v1alpha1.TargetStatus) {
	return func(s *v1alpha1.TargetStatus) {
		s.SelectedAt, s.SelectedBy = moment(at), []v1alpha1.SelectingAutoAssignment{{UID: "auto", Since: moment(since)}}
	}
}

func notSelectedAt(at time.Time) func(*v1alpha1.TargetStatus) {
	return func(s *v1alpha1.TargetStatus) {
		s.SelectedAt, s.SelectedBy = moment(at), []v1alpha1.SelectingAutoAssignment{{UID: "another"}}
	}
}

func selectingSince(at time.Time) func(*v1alpha1.AutoAssignment) {
	return func(a *v1alpha1.AutoAssignment) { a.Status.Selecting = &v1alpha1.SelectionMark{Since: moment(at)} }
}

func offeringSince(at time.Time) func(*v1alpha1.AutoAssignment) {
	return func(a *v1alpha1.AutoAssignment) { a.Status.Offering = &v1alpha1.OfferedSet{Since: moment(at)} }
}

// Two auto-assignments select a new target at the same time. The newer of them goes first,
// independent of their names.
func TestTheNewerAutoAssignmentGoesFirst(t *testing.T) {
	f := newFleet(t)
	sw, other := module("linux"), module("linux-2")
	older, newer := autoFrom(noon), autoFrom(noon)
	older.Name, older.UID, newer.Name, newer.UID = "a-first", "uid-a", "b-second", "uid-b"
	newer.Spec.Update.DistributionSet = "new"
	newer.Status.StartedAt = moment(noon.Add(time.Hour))
	f.put(sw, other, set("old", sw), set("new", other), older, newer)
	f.put(target("late", func(t *v1alpha1.Target) { t.CreationTimestamp = metav1.NewTime(noon.Add(2 * time.Hour)) }))
	o := offer.For(f.World(f.Target(fleetKey("late")), noon.Add(3*time.Hour)))
	if o.Set == nil || o.Set.Name != "new" {
		t.Errorf("it is offered %+v: %s", o.Set, o.Reason.Message)
	}
}
