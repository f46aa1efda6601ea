// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package autoassignment

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// The place of an auto-assignment in the order of a target's intents.
func TestSinceOf(t *testing.T) {
	lastYear := now.AddDate(-1, 0, 0)
	tests := map[string]struct {
		startAt         time.Time // zero: none
		created, target time.Time
		auto            func(*v1alpha1.AutoAssignment)
		edit            func(*v1alpha1.TargetStatus)
		want            time.Time
	}{
		"an existing target: from the start": {created: now, target: lastYear, want: now},
		"a later target: from its creation":  {created: lastYear, target: now.Add(time.Hour), want: now.Add(time.Hour)},
		"a target that was selected from the start, whatever changed since": {
			created: now, target: lastYear, edit: selectedAt(now.Add(2*time.Hour), time.Time{}), want: now},
		"a target that is selected since a change": {
			created: now, target: lastYear, edit: selectedAt(now.Add(3*time.Hour), now.Add(2*time.Hour)), want: now.Add(2 * time.Hour)},
		"a target that was not selected before the selection changed": {
			created: now, target: lastYear, edit: notSelectedAt(now.Add(time.Hour)), auto: selectingSince(now.Add(2 * time.Hour)), want: now.Add(2 * time.Hour)},
		"a target that was not evaluated since the start": {
			created: now, target: lastYear, edit: notSelectedAt(now.Add(-time.Hour)), auto: selectingSince(now.Add(2 * time.Hour)), want: now},
		"another set: from the change, on every target": {
			created: now, target: lastYear, edit: selectedAt(now.Add(time.Hour), time.Time{}), auto: offeringSince(now.Add(2 * time.Hour)), want: now.Add(2 * time.Hour)},
		"rebuilt together, startAt is the place": {startAt: lastYear, created: now, target: now.Add(20 * time.Second), want: lastYear},
		"rebuilt together, a device that first reports after five minutes": {
			startAt: lastYear, created: now, target: now, edit: selectedAt(now.Add(5*time.Minute), time.Time{}), want: lastYear},
		"rebuilt together, a later change counts": {
			startAt: lastYear, created: now, target: now, edit: selectedAt(now.Add(time.Hour), now.Add(time.Hour)), want: now.Add(time.Hour)},
		"with startAt, a later target: from its creation": {startAt: lastYear, created: lastYear, target: now, want: now},
		"without startAt a rebuild is a new start":        {created: now, target: now.Add(20 * time.Second), want: now.Add(20 * time.Second)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			started := metav1.NewMicroTime(now)
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
			if got := sinceOf(a, target); !got.Equal(tt.want) {
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

// An auto-assignment that cannot be decoded is treated as paused.
func TestUndecodableAutoAssignmentIsTreatedAsPaused(t *testing.T) {
	a := &v1alpha1.AutoAssignment{Status: v1alpha1.AutoAssignmentStatus{State: v1alpha1.AutoAssignmentRunning}, Unreadable: &v1alpha1.Unreadable{Message: "odd", Fields: []string{"spec.startAt"}}}
	if closed, stopped := ClosedReason(a); closed.Code != eligibility.CodePaused || stopped {
		t.Errorf("the auto-assignment: %+v, %t", closed, stopped)
	}
}
