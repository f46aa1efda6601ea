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

// edit is what a person changes of spec.assignment.
type edit func(*v1alpha1.Assignment)

func assignedAt(at time.Time) edit {
	return func(a *v1alpha1.Assignment) { a.AssignedAt = &metav1.Time{Time: at} }
}

func ofUpdate(u v1alpha1.UpdateType) edit { return func(a *v1alpha1.Assignment) { a.Type = u } }

func mustBeConfirmed(a *v1alpha1.Assignment) { a.ConfirmationRequired = true }

// assigns is a commit of spec.assignment and the look of the target's controller at it.
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

func assignsNothing(s *story) {
	s.target.Spec.Assignment = nil
	s.noteAssignment()
}

// looks is another look of the target's controller, with nothing committed.
func looks(s *story) { s.noteAssignment() }

func (s *story) noteAssignment() {
	status := &s.target.Status
	status.Assignment = NoteAssignment(s.target.Spec.Assignment, status.Assignment, s.now)
	s.intents = nil
	if wanted := s.target.Spec.Assignment; wanted != nil && IsSeen(wanted, status.Assignment) {
		s.intents = []eligibility.Intent{{
			Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev", Since: status.Assignment.Since},
			Update: wanted.Update, Set: s.sets[wanted.DistributionSet],
			StartedAt: status.Assignment.Since.Time, OpenedAt: status.Assignment.Since.Time,
		}}
	}
}

// The place of an assignment in the order of updates, commit by commit, an hour after the other.
func TestPlacesOfAssignments(t *testing.T) {
	early, late := assignedAt(noon.Add(-48*time.Hour)), assignedAt(noon.Add(-24*time.Hour))
	ahead := assignedAt(noon.Add(90 * time.Minute))
	seen := func(hours int) time.Time { return noon.Add(time.Duration(hours) * time.Hour) }
	never := time.Time{}
	type places = []time.Time // zero: no assignment counts
	for name, c := range map[string]struct {
		commits []step
		want    places
	}{
		"a new one counts from when it was seen":       {[]step{assigns("a")}, places{seen(0)}},
		"one with a past assignedAt counts from then":  {[]step{assigns("a", early)}, places{seen(-48)}},
		"the same, applied again, is as old as it was": {[]step{assigns("a", early), assigns("a", early), looks}, places{seen(-48), seen(-48), seen(-48)}},
		"the same without a time, applied again":       {[]step{assigns("a"), assigns("a"), looks}, places{seen(0), seen(0), seen(0)}},
		"another type, or a confirmation, of the same": {[]step{assigns("a", early), assigns("a", early, ofUpdate(v1alpha1.UpdateTypeSoft), mustBeConfirmed)}, places{seen(-48), seen(-48)}},
		"another set": {[]step{assigns("a"), assigns("b")}, places{seen(0), seen(1)}},
		"another set that keeps the time, as a merge patch leaves it": {[]step{assigns("a", early), assigns("b", early)}, places{seen(-48), seen(1)}},
		"and back to the first, with the time of both":                {[]step{assigns("a", early), assigns("b", early), assigns("a", early)}, places{seen(-48), seen(1), seen(2)}},
		"and back to the first without a time":                        {[]step{assigns("a"), assigns("b"), assigns("a")}, places{seen(0), seen(1), seen(2)}},
		"another set with a later time counts from then":              {[]step{assigns("a", early), assigns("b", late)}, places{seen(-48), seen(-24)}},
		"a revert to the first set with its earlier time":             {[]step{assigns("a", early), assigns("b", late), assigns("a", early)}, places{seen(-48), seen(-24), seen(2)}},
		"a revert of the revert":                                      {[]step{assigns("a", early), assigns("b", late), assigns("a", early), assigns("b", late)}, places{seen(-48), seen(-24), seen(2), seen(3)}},
		"another set with an earlier time":                            {[]step{assigns("b", late), assigns("a", early)}, places{seen(-24), seen(1)}},
		"the same set with a later time":                              {[]step{assigns("a", early), assigns("a", late)}, places{seen(-48), seen(-24)}},
		"the same set with an earlier time":                           {[]step{assigns("a", late), assigns("a", early)}, places{seen(-24), seen(1)}},
		"the same set, its time removed":                              {[]step{assigns("a", late), assigns("a")}, places{seen(-24), seen(1)}},
		"the same set, given a time before it was seen":               {[]step{assigns("a"), assigns("a", late)}, places{seen(0), seen(1)}},
		"removed and put back":                                        {[]step{assigns("a"), assignsNothing, assigns("a")}, places{seen(0), never, seen(2)}},
		"removed and put back with its time":                          {[]step{assigns("a", early), assignsNothing, assigns("a", early)}, places{seen(-48), never, seen(2)}},
		"removed, and another with an earlier time":                   {[]step{assigns("b", late), assignsNothing, assigns("a", early)}, places{seen(-24), never, seen(2)}},
		"removed, and another with a later time":                      {[]step{assigns("a", early), assignsNothing, assigns("b", late)}, places{seen(-48), never, seen(-24)}},
		"removed and seen again and again":                            {[]step{assigns("a", early), assignsNothing, looks, looks, assigns("a", early)}, places{seen(-48), never, never, never, seen(4)}},
		"one with a time to come waits for it":                        {[]step{assigns("a", ahead), looks, looks}, places{never, never, noon.Add(90 * time.Minute)}},
		"put off":                                                     {[]step{assigns("a", early), assigns("a", ahead), looks}, places{seen(-48), never, noon.Add(90 * time.Minute)}},
		"put off, and back":                                           {[]step{assigns("a", early), assigns("a", ahead), assigns("a", early)}, places{seen(-48), never, seen(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t)
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

// A replica whose clock is behind that of the one before lets no assignment fall back behind the
// one that it replaces.
func TestPlacesOfAssignmentsOnlyGrow(t *testing.T) {
	s := tell(t, assigns("a"), later(-time.Hour), assigns("b"))
	if got, want := s.target.Status.Assignment.Since.Time, noon.Add(time.Microsecond); !got.Equal(want) {
		t.Errorf("the second counts from %s, want %s", got, want)
	}
}

// What a device is given after a commit that changes its assignment.
func TestAChangedAssignmentIsOffered(t *testing.T) {
	early, late := assignedAt(noon.Add(-48*time.Hour)), assignedAt(noon.Add(-24*time.Hour))
	sets := func(steps ...step) []step { return append([]step{set("a"), set("b"), assigns("a", early)}, steps...) }
	soon := later(time.Minute)
	cancel := told{Cancel, CodeCancel, 100, ""}
	gives := func(set string, id int32) told { return told{Deploy, CodeDeploy, id, set} }
	check(t, map[string]struct {
		steps []step
		want  told
	}{
		"the first is given":                                    {sets(), gives("a", 100)},
		"another set, before the first was fetched":             {sets(soon, assigns("b", early)), gives("b", 100)},
		"another set, while the first is at work":               {sets(takes, soon, assigns("b", early)), cancel},
		"and after the device has canceled":                     {sets(takes, soon, assigns("b", early), comesBy, reports(action.CancelAccepted)), gives("b", 101)},
		"another set, after the first is done":                  {sets(carriesOut, soon, assigns("b", early)), gives("b", 101)},
		"another set, after the first failed":                   {sets(fails, soon, assigns("b", early)), gives("b", 101)},
		"back to the first, with its time":                      {sets(carriesOut, soon, assigns("b", early), carriesOut, soon, assigns("a", early)), gives("a", 102)},
		"a revert to the first and its earlier time":            {sets(carriesOut, soon, assigns("b", late), carriesOut, soon, assigns("a", early)), gives("a", 102)},
		"a revert while the second is at work":                  {sets(carriesOut, soon, assigns("b", late), takes, soon, assigns("a", early)), told{Cancel, CodeCancel, 101, ""}},
		"a revert before the second was fetched":                {sets(carriesOut, soon, assigns("b", late), soon, assigns("a", early)), told{Nothing, eligibility.CodeAlreadyThere, 0, ""}},
		"a revert before the first was canceled":                {sets(takes, soon, assigns("b", early), soon, assigns("a", early)), told{Deploy, CodeResume, 100, "a"}},
		"a revert while the first is being canceled":            {sets(takes, soon, assigns("b", early), comesBy, soon, assigns("a", early)), cancel},
		"a revert after the first was canceled":                 {sets(takes, soon, assigns("b", early), comesBy, reports(action.CancelAccepted), soon, assigns("a", early)), gives("a", 101)},
		"the same, applied again while it is at work":           {sets(takes, soon, assigns("a", early)), told{Deploy, CodeResume, 100, "a"}},
		"the same, applied again when it is done":               {sets(carriesOut, soon, assigns("a", early)), told{Nothing, eligibility.CodeDone, 0, ""}},
		"the same, applied again when it has failed":            {sets(fails, soon, assigns("a", early)), told{Nothing, eligibility.CodeFailed, 0, ""}},
		"removed and put back when it has failed":               {sets(fails, soon, assignsNothing, soon, assigns("a", early)), gives("a", 101)},
		"removed and put back while it is at work":              {sets(takes, soon, assignsNothing, soon, assigns("a", early)), told{Deploy, CodeResume, 100, "a"}},
		"a confirmation that is not needed any more":            {sets(assigns("b", late, mustBeConfirmed), takes, assigns("b", late)), told{Deploy, CodeResume, 100, "b"}},
		"a confirmation is required before it was fetched":      {sets(assigns("b", late), assigns("b", late, mustBeConfirmed)), told{Confirm, CodeConfirm, 100, "b"}},
		"what was downloaded only is installed at another type": {sets(assigns("b", late, ofUpdate(v1alpha1.UpdateTypeDownloadOnly)), takes, reports(action.Downloaded), assigns("b", late)), gives("b", 101)},
		"what was downloaded only, applied again":               {sets(assigns("b", late, ofUpdate(v1alpha1.UpdateTypeDownloadOnly)), takes, reports(action.Downloaded), assigns("b", late, ofUpdate(v1alpha1.UpdateTypeDownloadOnly))), told{Nothing, eligibility.CodeDone, 0, ""}},
	})
}
