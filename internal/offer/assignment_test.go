// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// edit changes spec.assignment.
type edit func(*v1alpha1.Assignment)

func assignedAt(at time.Time) edit {
	return func(a *v1alpha1.Assignment) { a.AssignedAt = &metav1.Time{Time: at} }
}

func ofUpdate(u v1alpha1.UpdateType) edit { return func(a *v1alpha1.Assignment) { a.Type = u } }

func mustBeConfirmed(a *v1alpha1.Assignment) { a.ConfirmationRequired = true }

// assigns sets spec.assignment, and the target's controller reconciles the target.
func assigns(set string, edits ...edit) step {
	return func(s *story) {
		a := &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: set}}
		for _, e := range edits {
			e(a)
		}
		s.target.Spec.Assignment = a
		s.noteAssignment()
	}
}

func unassigns(s *story) {
	s.target.Spec.Assignment = nil
	s.noteAssignment()
}

// reconciles lets the target's controller reconcile the target once more, without a change.
func reconciles(s *story) { s.noteAssignment() }

func (s *story) noteAssignment() {
	status := &s.target.Status
	status.Assignment = NoteAssignment(s.target.Spec.Assignment, status.Assignment, s.now)
	s.intents = nil
	if wanted := s.target.Spec.Assignment; wanted != nil && IsSeen(wanted, status.Assignment) {
		s.intents = []eligibility.Intent{{
			Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev", Since: status.Assignment.Since},
			Update: wanted.Update, Set: s.setOf(&wanted.Update),
			StartedAt: status.Assignment.Since.Time, OpenedAt: status.Assignment.Since.Time,
		}}
	}
}

// TestPlacesOfAssignments checks the place of an assignment in the order of updates after each of
// several commits, which are one hour apart.
func TestPlacesOfAssignments(t *testing.T) {
	early, late := assignedAt(noon.Add(-48*time.Hour)), assignedAt(noon.Add(-24*time.Hour))
	ahead := assignedAt(noon.Add(90 * time.Minute))
	seen := func(hours int) time.Time { return noon.Add(time.Duration(hours) * time.Hour) }
	never := time.Time{}
	type places = []time.Time // the zero time stands for: no assignment counts
	for name, c := range map[string]struct {
		commits []step
		want    places
	}{
		"a new assignment counts from when it was seen":         {[]step{assigns("a")}, places{seen(0)}},
		"an assignment with a past assignedAt counts from then": {[]step{assigns("a", early)}, places{seen(-48)}},
		"the same, applied again, keeps its place":              {[]step{assigns("a", early), assigns("a", early), reconciles}, places{seen(-48), seen(-48), seen(-48)}},
		"the same without a time, applied again":                {[]step{assigns("a"), assigns("a"), reconciles}, places{seen(0), seen(0), seen(0)}},
		"another type, or a confirmation, of the same":          {[]step{assigns("a", early), assigns("a", early, ofUpdate(v1alpha1.UpdateTypeSoft), mustBeConfirmed)}, places{seen(-48), seen(-48)}},
		"another set": {[]step{assigns("a"), assigns("b")}, places{seen(0), seen(1)}},
		"another set that keeps the time, as a merge patch leaves it": {[]step{assigns("a", early), assigns("b", early)}, places{seen(-48), seen(1)}},
		"back to the first set, with the time of both":                {[]step{assigns("a", early), assigns("b", early), assigns("a", early)}, places{seen(-48), seen(1), seen(2)}},
		"back to the first set, without a time":                       {[]step{assigns("a"), assigns("b"), assigns("a")}, places{seen(0), seen(1), seen(2)}},
		"another set with a later time counts from then":              {[]step{assigns("a", early), assigns("b", late)}, places{seen(-48), seen(-24)}},
		"a revert to the first set with its earlier time":             {[]step{assigns("a", early), assigns("b", late), assigns("a", early)}, places{seen(-48), seen(-24), seen(2)}},
		"a revert of the revert":                                      {[]step{assigns("a", early), assigns("b", late), assigns("a", early), assigns("b", late)}, places{seen(-48), seen(-24), seen(2), seen(3)}},
		"another set with an earlier time":                            {[]step{assigns("b", late), assigns("a", early)}, places{seen(-24), seen(1)}},
		"the same set with a later time":                              {[]step{assigns("a", early), assigns("a", late)}, places{seen(-48), seen(-24)}},
		"the same set with an earlier time":                           {[]step{assigns("a", late), assigns("a", early)}, places{seen(-24), seen(1)}},
		"the same set, its time removed":                              {[]step{assigns("a", late), assigns("a")}, places{seen(-24), seen(1)}},
		"the same set, given a time before it was seen":               {[]step{assigns("a"), assigns("a", late)}, places{seen(0), seen(1)}},
		"removed and put back":                                        {[]step{assigns("a"), unassigns, assigns("a")}, places{seen(0), never, seen(2)}},
		"removed and put back with its time":                          {[]step{assigns("a", early), unassigns, assigns("a", early)}, places{seen(-48), never, seen(2)}},
		"removed, and another with an earlier time":                   {[]step{assigns("b", late), unassigns, assigns("a", early)}, places{seen(-24), never, seen(2)}},
		"removed, and another with a later time":                      {[]step{assigns("a", early), unassigns, assigns("b", late)}, places{seen(-48), never, seen(-24)}},
		"removed and seen again and again":                            {[]step{assigns("a", early), unassigns, reconciles, reconciles, assigns("a", early)}, places{seen(-48), never, never, never, seen(4)}},
		"an assignment with a future assignedAt waits for it":         {[]step{assigns("a", ahead), reconciles, reconciles}, places{never, never, noon.Add(90 * time.Minute)}},
		"given a future assignedAt":                                   {[]step{assigns("a", early), assigns("a", ahead), reconciles}, places{seen(-48), never, noon.Add(90 * time.Minute)}},
		"given a future assignedAt, then the earlier one":             {[]step{assigns("a", early), assigns("a", ahead), assigns("a", early)}, places{seen(-48), never, seen(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			var got places
			for _, commit := range c.commits {
				commit(s)
				place := never
				if len(s.intents) > 0 {
					place = s.intents[0].StartedAt
				}
				got = append(got, place)
				s.now = s.now.Add(time.Hour)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlacesOfAssignmentsOnlyGrow lets a replica with a slower clock see the second assignment: its
// place is still later than that of the first.
func TestPlacesOfAssignmentsOnlyGrow(t *testing.T) {
	s := newStory(t, assigns("a"), later(-time.Hour), assigns("b"))
	if got, want := s.target.Status.Assignment.Since.Time, noon.Add(time.Microsecond); !got.Equal(want) {
		t.Errorf("the second counts from %s, want %s", got, want)
	}
}

// TestAChangedAssignmentIsOffered checks the offer after a commit that changes spec.assignment.
func TestAChangedAssignmentIsOffered(t *testing.T) {
	early, late := assignedAt(noon.Add(-48*time.Hour)), assignedAt(noon.Add(-24*time.Hour))
	sets := func(steps ...step) []step { return append([]step{set("a"), set("b"), assigns("a", early)}, steps...) }
	soon := later(time.Minute)
	cancel := given{Cancel, CodeCancel, 100, ""}
	gives := func(set string, id int32) given { return given{Deploy, CodeDeploy, id, set} }
	check(t, map[string]struct {
		steps []step
		want  given
	}{
		"the first set is offered":                             {sets(), gives("a", 100)},
		"another set, before the first was fetched":            {sets(soon, assigns("b", early)), gives("b", 100)},
		"another set, while the first is being installed":      {sets(takes, soon, assigns("b", early)), cancel},
		"another set, after the device has canceled the first": {sets(takes, soon, assigns("b", early), polls, reports(action.CancelAccepted)), gives("b", 101)},
		"another set, after the first was installed":           {sets(carriesOut, soon, assigns("b", early)), gives("b", 101)},
		"another set, after the first failed":                  {sets(fails, soon, assigns("b", early)), gives("b", 101)},
		"back to the first set, with its time":                 {sets(carriesOut, soon, assigns("b", early), carriesOut, soon, assigns("a", early)), gives("a", 102)},
		"a revert to the first and its earlier time":           {sets(carriesOut, soon, assigns("b", late), carriesOut, soon, assigns("a", early)), gives("a", 102)},
		"a revert while the second is being installed":         {sets(carriesOut, soon, assigns("b", late), takes, soon, assigns("a", early)), given{Cancel, CodeCancel, 101, ""}},
		"a revert before the second was fetched":               {sets(carriesOut, soon, assigns("b", late), soon, assigns("a", early)), given{Nothing, eligibility.CodeAlreadyThere, 0, ""}},
		"a revert before the first was canceled":               {sets(takes, soon, assigns("b", early), soon, assigns("a", early)), given{Deploy, CodeResume, 100, "a"}},
		"a revert while the first is being canceled":           {sets(takes, soon, assigns("b", early), polls, soon, assigns("a", early)), cancel},
		"a revert after the first was canceled":                {sets(takes, soon, assigns("b", early), polls, reports(action.CancelAccepted), soon, assigns("a", early)), gives("a", 101)},
		"the same, applied again while it is being installed":  {sets(takes, soon, assigns("a", early)), given{Deploy, CodeResume, 100, "a"}},
		"the same, applied again when it was installed":        {sets(carriesOut, soon, assigns("a", early)), given{Nothing, eligibility.CodeDone, 0, ""}},
		"the same, applied again when it has failed":           {sets(fails, soon, assigns("a", early)), given{Nothing, eligibility.CodeFailed, 0, ""}},
		"removed and put back when it has failed":              {sets(fails, soon, unassigns, soon, assigns("a", early)), gives("a", 101)},
		"removed and put back while it is being installed":     {sets(takes, soon, unassigns, soon, assigns("a", early)), given{Deploy, CodeResume, 100, "a"}},
		"a confirmation that is no longer required":            {sets(assigns("b", late, mustBeConfirmed), takes, assigns("b", late)), given{Deploy, CodeResume, 100, "b"}},
		"a confirmation that is required before the fetch":     {sets(assigns("b", late), assigns("b", late, mustBeConfirmed)), given{Confirm, CodeConfirm, 100, "b"}},
		"a downloaded set is installed when the type changes":  {sets(assigns("b", late, ofUpdate(v1alpha1.UpdateTypeDownloadOnly)), takes, reports(action.Downloaded), assigns("b", late)), gives("b", 101)},
		"a downloaded set, applied again":                      {sets(assigns("b", late, ofUpdate(v1alpha1.UpdateTypeDownloadOnly)), takes, reports(action.Downloaded), assigns("b", late, ofUpdate(v1alpha1.UpdateTypeDownloadOnly))), given{Nothing, eligibility.CodeDone, 0, ""}},
	})
}
