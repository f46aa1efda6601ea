// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestClosedReason: the spec takes precedence over the status, so a stop is effective as soon as it
// is seen.
func TestClosedReason(t *testing.T) {
	deleted := metav1.NewTime(noon)
	for name, c := range map[string]struct {
		edit    func(*v1alpha1.Rollout)
		code    eligibility.Code
		stopped bool
		says    string
	}{
		"running":                                {func(*v1alpha1.Rollout) {}, "", false, ""},
		"running, the group in Error":            {func(r *v1alpha1.Rollout) { r.Status.Groups[0].State = v1alpha1.GroupError }, "", false, ""},
		"running, the group is finished":         {func(r *v1alpha1.Rollout) { r.Status.Groups[0].State = v1alpha1.GroupFinished }, "", false, ""},
		"being deleted":                          {func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &deleted }, eligibility.CodeStopped, true, "deleted"},
		"stopped by spec, not in the status yet": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }, eligibility.CodeStopped, true, "stopped"},
		"stopping":                               {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopping }, eligibility.CodeStopped, true, "stopped"},
		"stopped by status":                      {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopped }, eligibility.CodeStopped, true, "stopped"},
		"stopped before the start": {func(r *v1alpha1.Rollout) {
			r.Status.StartedAt, r.Spec.State = nil, v1alpha1.IntentStopped
		}, eligibility.CodeStopped, true, "stopped"},
		"not started": {func(r *v1alpha1.Rollout) {
			r.Status.StartedAt = nil
			r.Status.WaitingFor = &v1alpha1.WaitingFor{Message: "starts tomorrow", Until: &deleted}
		}, eligibility.CodeNotStarted, false, "starts tomorrow"},
		"paused by spec, not in the status yet": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }, eligibility.CodePaused, false, "spec.state is Paused"},
		"planned again after the start":         {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }, eligibility.CodePaused, false, "spec.state is Planned"},
		"paused automatically": {func(r *v1alpha1.Rollout) {
			r.Status.State, r.Status.PauseMessage = v1alpha1.RolloutPaused, "3 of 5 failed"
		}, eligibility.CodePaused, false, "3 of 5 failed"},
		"the group has not opened": {func(r *v1alpha1.Rollout) { r.Status.Groups[0].OpenedAt = nil }, eligibility.CodeGroupNotOpen, false, "has not opened"},
		"there is no such group":   {func(r *v1alpha1.Rollout) { r.Status.Groups = nil }, eligibility.CodeGroupNotOpen, false, "has not opened"},
		"finished":                 {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }, eligibility.CodeFinished, false, "finished"},
	} {
		t.Run(name, func(t *testing.T) {
			r := running("r", set("fw"), group("r", 0))
			c.edit(r)
			closed, stopped := ClosedReason(r, 0)
			if closed.Code != c.code || stopped != c.stopped || !strings.Contains(closed.Message, c.says) {
				t.Errorf("got %+v, stopped %v", closed, stopped)
			}
			byName, byNameStopped := GroupClosedReason(r, "group-1")
			if diff := cmp.Diff(closed, byName); diff != "" || stopped != byNameStopped {
				t.Errorf("the reason by the group's name differs:\n%s", diff)
			}
		})
	}
	if closed, _ := GroupClosedReason(running("r", set("fw"), group("r", 0)), "unknown"); closed.Code != eligibility.CodeGroupNotOpen {
		t.Errorf("a group that does not exist: %+v", closed)
	}
}

// TestOriginOf: what a rollout requires for started actions.
func TestOriginOf(t *testing.T) {
	deleted := metav1.NewTime(noon)
	const none, soft, force = v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce
	for name, c := range map[string]struct {
		edit func(*v1alpha1.Rollout)
		want offer.Origin
	}{
		"running":             {func(*v1alpha1.Rollout) {}, offer.Origin{}},
		"paused":              {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }, offer.Origin{}},
		"stopped, by default": {func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }, offer.Origin{Stop: soft, Cause: v1alpha1.CauseStopped}},
		"stopped with None": {func(r *v1alpha1.Rollout) { r.Spec.State, r.Spec.StopCancellation = v1alpha1.IntentStopped, none },
			offer.Origin{Stop: none, Cause: v1alpha1.CauseStopped}},
		"deleted, by default": {func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &deleted }, offer.Origin{Stop: none, Cause: v1alpha1.CauseDeleted}},
		"deleted with Force": {func(r *v1alpha1.Rollout) { r.DeletionTimestamp, r.Spec.DeletionCancellation = &deleted, force },
			offer.Origin{Stop: force, Cause: v1alpha1.CauseDeleted}},
		"stopped with Force, then deleted": {func(r *v1alpha1.Rollout) {
			r.Spec.State, r.Spec.StopCancellation, r.DeletionTimestamp = v1alpha1.IntentStopped, force, &deleted
		}, offer.Origin{Stop: force, Cause: v1alpha1.CauseStopped}},
		"stopped, then deleted with Force": {func(r *v1alpha1.Rollout) {
			r.Spec.State, r.DeletionTimestamp, r.Spec.DeletionCancellation = v1alpha1.IntentStopped, &deleted, force
		}, offer.Origin{Stop: force, Cause: v1alpha1.CauseDeleted}},
		"stopped with Soft, then deleted with Soft": {func(r *v1alpha1.Rollout) {
			r.Spec.State, r.DeletionTimestamp, r.Spec.DeletionCancellation = v1alpha1.IntentStopped, &deleted, soft
		}, offer.Origin{Stop: soft, Cause: v1alpha1.CauseStopped}},
	} {
		t.Run(name, func(t *testing.T) {
			r := running("r", set("fw"))
			c.edit(r)
			if diff := cmp.Diff(c.want, OriginOf(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWorld: intents, sets and origins are those of the target's own namespace.
func TestWorld(t *testing.T) {
	f := newFleet(t)
	sw := module("linux")
	fw := set("fw", sw)
	g := group("r", 0, "other", "dev")
	g.Spec.Conditions.ConfirmationRequired = true
	g.Status.AlreadyThere, g.Status.Superseded, g.Status.Skipped = marked(2, 1), marked(2, 0), marked(2, 0, 1)
	r := running("r", fw, g)
	r.Spec.StartAt = &metav1.Time{Time: noon.Add(-time.Hour)}
	r.Spec.Retry = &v1alpha1.Retry{At: metav1.NewTime(noon.Add(time.Hour)), StatusCodes: []string{"17"}}
	r.Status.Handled = &v1alpha1.HandledRequests{RetryAt: &metav1.MicroTime{Time: noon.Add(time.Hour)}}
	f.put(sw, fw, g, r)

	seen := metav1.NewMicroTime(noon.Add(time.Minute))
	dev := target("dev", func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "missing"}}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "missing", Since: &seen}
	})
	w := f.World(dev, noon.Add(2*time.Hour))
	since := metav1.NewMicroTime(noon.Add(-time.Hour))
	want := []eligibility.Intent{
		{
			Source:    v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev", Since: &seen},
			Update:    v1alpha1.Update{DistributionSet: "missing"},
			StartedAt: seen.Time, OpenedAt: seen.Time, CreatedAt: noon,
		},
		{
			Source:      v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-r", Group: "group-1", Since: &since},
			Update:      v1alpha1.Update{DistributionSet: "fw", ConfirmationRequired: true},
			Set:         f.Set(fleetKey("fw")),
			PlannedHash: fw.Status.ContentHash,
			StartedAt:   noon, OpenedAt: noon, CreatedAt: noon,
			AlreadyThere: true, Skipped: true,
			RetryAt: noon.Add(time.Hour), RetryFailures: action.Failures{Codes: []string{"17"}},
		},
	}
	if diff := cmp.Diff(want, w.Intents); diff != "" {
		t.Errorf("intents (-want +got):\n%s", diff)
	}
	if got := w.Set("fw"); got == nil || !got.Deployable || w.Set("missing") != nil {
		t.Errorf("sets: %v, %v", got, w.Set("missing"))
	}
	gone := offer.Origin{Stop: v1alpha1.CancellationNone, Cause: v1alpha1.CauseDeleted}
	for name, c := range map[string]struct {
		source v1alpha1.ActionSource
		want   offer.Origin
	}{
		"the rollout runs":                   {v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-r"}, offer.Origin{}},
		"the rollout was deleted":            {v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "s", UID: "uid-s"}, gone},
		"another rollout has its name":       {v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-old"}, gone},
		"a single assignment stops by spec":  {v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev"}, offer.Origin{}},
		"an auto-assignment stops no action": {v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: "a"}, offer.Origin{}},
	} {
		if diff := cmp.Diff(c.want, w.Origin(c.source)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestAssignmentIsSeen: an assignment is an intent once its controller has recorded it, and only
// while it is unchanged.
func TestAssignmentIsSeen(t *testing.T) {
	seenAt, first, second := metav1.NewMicroTime(noon), metav1.NewTime(noon.Add(-time.Hour)), metav1.NewTime(noon)
	wanted := func(at *metav1.Time) *v1alpha1.Assignment {
		return &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "fw"}, AssignedAt: at}
	}
	for name, c := range map[string]struct {
		wanted *v1alpha1.Assignment
		seen   *v1alpha1.SeenAssignment
		want   int
	}{
		"not recorded yet":                   {wanted(nil), nil, 0},
		"noted":                              {wanted(nil), &v1alpha1.SeenAssignment{DistributionSet: "fw", Since: &seenAt}, 1},
		"another set was recorded":           {wanted(nil), &v1alpha1.SeenAssignment{DistributionSet: "old", Since: &seenAt}, 0},
		"recorded with its assignedAt":       {wanted(&first), &v1alpha1.SeenAssignment{DistributionSet: "fw", AssignedAt: &first, Since: &seenAt}, 1},
		"assigned again, not recorded":       {wanted(&second), &v1alpha1.SeenAssignment{DistributionSet: "fw", AssignedAt: &first, Since: &seenAt}, 0},
		"assignedAt was added, not recorded": {wanted(&first), &v1alpha1.SeenAssignment{DistributionSet: "fw", Since: &seenAt}, 0},
		"removed, not recorded":              {nil, &v1alpha1.SeenAssignment{DistributionSet: "fw", Since: &seenAt}, 0},
		"recorded by an older controller":    {wanted(nil), &v1alpha1.SeenAssignment{DistributionSet: "fw"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dev := target("dev", func(t *v1alpha1.Target) { t.Spec.Assignment, t.Status.Assignment = c.wanted, c.seen })
			if got := len(newFleet(t).For(dev, noon)); got != c.want {
				t.Errorf("%d intents", got)
			}
		})
	}
}

// TestDynamicMember: the place of a member that joined later is the time when it joined.
func TestDynamicMember(t *testing.T) {
	f := newFleet(t)
	g := group("r", 0, "first", "second", "third")
	joinedAt := metav1.NewMicroTime(noon.Add(time.Hour))
	g.Status.Joined = []v1alpha1.JoinedBatch{{First: 1, At: joinedAt}}
	f.put(g, running("r", set("fw"), g))
	for name, want := range map[string]time.Time{"first": noon, "second": joinedAt.Time, "third": joinedAt.Time} {
		in := f.For(target(name), noon)[0]
		if !in.Source.Since.Time.Equal(want) || !in.OpenedAt.Equal(want) || !in.StartedAt.Equal(noon) {
			t.Errorf("%s: since %s, opened %s, started %s", name, in.Source.Since, in.OpenedAt, in.StartedAt)
		}
	}
}

// TestNotStarted: before the start a rollout has no place in the order, and nothing is open.
func TestNotStarted(t *testing.T) {
	f := newFleet(t)
	g := group("r", 0, "dev")
	r := running("r", set("fw"), g)
	r.Status.StartedAt, r.Status.Groups[0].OpenedAt = nil, nil
	f.put(g, r)
	in := f.For(target("dev"), noon)[0]
	if in.Source.Since != nil || !in.StartedAt.IsZero() || !in.OpenedAt.IsZero() || in.Closed.Code != eligibility.CodeNotStarted {
		t.Errorf("got %+v", in)
	}
}

// TestExpiredMember: a member that did not start in time has failed, until it is retried.
func TestExpiredMember(t *testing.T) {
	f := newFleet(t)
	g := group("r", 0, "late", "other")
	g.Status.Expired = marked(2, 0)
	g.Status.ExpiredAt = []v1alpha1.ExpiredBatch{{Through: 2, At: metav1.NewMicroTime(noon.Add(time.Hour))}}
	r := running("r", set("fw"), g)
	f.put(g, r)
	if !f.For(target("late"), noon)[0].Expired || f.For(target("other"), noon)[0].Expired {
		t.Error("the wrong member has expired")
	}
	again := r.DeepCopy()
	again.Spec.Retry = &v1alpha1.Retry{At: metav1.NewTime(noon.Add(2 * time.Hour))}
	again.Status.Handled = &v1alpha1.HandledRequests{RetryAt: &metav1.MicroTime{Time: noon.Add(2 * time.Hour)}}
	f.put(again)
	if f.For(target("late"), noon)[0].Expired {
		t.Error("the retry has not reset it")
	}
}
