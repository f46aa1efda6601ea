// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// TestWorld: intents, sets and origins are those of the target's own namespace.
func TestWorld(t *testing.T) {
	f := newFleet(t)
	sw := built.SoftwareModule("linux")
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
	dev := built.Target("dev", func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "missing"}}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "missing", Since: &seen}
	})
	w := f.World(dev, noon.Add(2*time.Hour))
	since := metav1.NewMicroTime(noon.Add(-time.Hour))
	want := []*eligibility.Intent{
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
	gone := cancellation.Request{Cause: v1alpha1.CauseDeleted, Cancellation: v1alpha1.CancellationNone}
	for name, c := range map[string]struct {
		source v1alpha1.ActionSource
		want   cancellation.Request
	}{
		"the rollout runs":                   {v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-r"}, cancellation.Request{}},
		"the rollout was deleted":            {v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "s", UID: "uid-s"}, gone},
		"another rollout has its name":       {v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-old"}, gone},
		"a single assignment stops by spec":  {v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev"}, cancellation.Request{}},
		"an auto-assignment stops no action": {v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: "a"}, cancellation.Request{}},
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
		"recorded":                           {wanted(nil), &v1alpha1.SeenAssignment{DistributionSet: "fw", Since: &seenAt}, 1},
		"another set was recorded":           {wanted(nil), &v1alpha1.SeenAssignment{DistributionSet: "old", Since: &seenAt}, 0},
		"recorded with its assignedAt":       {wanted(&first), &v1alpha1.SeenAssignment{DistributionSet: "fw", AssignedAt: &first, Since: &seenAt}, 1},
		"assigned again, not recorded":       {wanted(&second), &v1alpha1.SeenAssignment{DistributionSet: "fw", AssignedAt: &first, Since: &seenAt}, 0},
		"assignedAt was added, not recorded": {wanted(&first), &v1alpha1.SeenAssignment{DistributionSet: "fw", Since: &seenAt}, 0},
		"removed, not recorded":              {nil, &v1alpha1.SeenAssignment{DistributionSet: "fw", Since: &seenAt}, 0},
		"recorded by an older controller":    {wanted(nil), &v1alpha1.SeenAssignment{DistributionSet: "fw"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dev := built.Target("dev", func(t *v1alpha1.Target) { t.Spec.Assignment, t.Status.Assignment = c.wanted, c.seen })
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
		in := f.For(built.Target(name), noon)[0]
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
	in := f.For(built.Target("dev"), noon)[0]
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
	if !f.For(built.Target("late"), noon)[0].Expired || f.For(built.Target("other"), noon)[0].Expired {
		t.Error("the wrong member has expired")
	}
	again := r.DeepCopy()
	again.Spec.Retry = &v1alpha1.Retry{At: metav1.NewTime(noon.Add(2 * time.Hour))}
	again.Status.Handled = &v1alpha1.HandledRequests{RetryAt: &metav1.MicroTime{Time: noon.Add(2 * time.Hour)}}
	f.put(again)
	if f.For(built.Target("late"), noon)[0].Expired {
		t.Error("the retry has not reset it")
	}
}
