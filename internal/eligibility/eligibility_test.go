// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package eligibility

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// member is a member of an open group of a rollout that started at noon and planned content c1.
func member(edits ...func(*Intent)) *Intent {
	since := metav1.NewMicroTime(noon)
	in := &Intent{
		Source:    v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-r", Since: &since},
		Update:    v1alpha1.Update{DistributionSet: "fw"},
		Set:       &Set{Name: "fw", ContentHash: "c1", Deployable: true},
		StartedAt: noon, OpenedAt: noon, PlannedHash: "c1",
	}
	for _, edit := range edits {
		edit(in)
	}
	return in
}

func paused(in *Intent)     { in.Closed = Reason{Code: CodePaused, Message: "paused"} }
func stopped(in *Intent)    { in.Closed, in.Stopped = Reason{Code: CodeStopped, Message: "stopped"}, true }
func notOpen(in *Intent)    { in.Closed, in.OpenedAt = Reason{Code: CodeGroupNotOpen}, time.Time{} }
func setGone(in *Intent)    { in.Set = nil }
func notReady(in *Intent)   { in.Set.Deployable = false }
func relocked(in *Intent)   { in.Set.ContentHash = "c2" }
func unfit(in *Intent)      { in.Set.CompatibleTargetTypes = []string{"valve"} }
func reinstalls(in *Intent) { in.Update.Reinstall = true }
func expired(in *Intent)    { in.Expired = true }
func skipped(in *Intent)    { in.Skipped = true }
func superseded(in *Intent) { in.Superseded = true }
func wasThere(in *Intent)   { in.AlreadyThere = true }
func retries(in *Intent)    { in.Update.Retries = &v1alpha1.Retries{Limit: 2} }

func runs(content string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) { t.Status.Installed = &v1alpha1.InstalledSet{ContentHash: content} }
}

// did adds an action of a source that is this many hours newer than the rollout.
func did(source string, hours int, state v1alpha1.ActionState, content string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		since := metav1.NewMicroTime(noon.Add(time.Duration(hours) * time.Hour))
		a := v1alpha1.Action{ID: int32(len(t.Status.Actions)) + 1, State: state, ContentHash: content,
			Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: source, UID: "uid-r", Since: &since, Attempt: 1}}
		if source != "r" {
			a.Source.UID = "uid-other"
		}
		t.Status.Actions = append(t.Status.Actions, a)
	}
}

// takenBack closes the newest action while it waits for confirmation.
func takenBack(cause v1alpha1.CancelCause) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		a := &t.Status.Actions[len(t.Status.Actions)-1]
		a.State, a.Cancel = v1alpha1.ActionCanceled, &v1alpha1.CancelStatus{From: v1alpha1.ActionWaitingForConfirmation, Cause: cause}
	}
}

func TestCheck(t *testing.T) {
	type target = func(*v1alpha1.Target)
	assigned := func(set string) *Intent {
		since := metav1.NewMicroTime(noon.Add(time.Hour))
		return &Intent{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", Since: &since}, Update: v1alpha1.Update{DistributionSet: set}}
	}
	for name, c := range map[string]struct {
		in     *Intent
		target []target
		newer  Newer
		want   Code
	}{
		"an open group":         {member(), nil, Newer{}, ""},
		"the rollout is paused": {member(paused), nil, Newer{}, CodePaused},

		"the content was installed in another way":                                  {member(), []target{runs("c1")}, Newer{}, CodeAlreadyThere},
		"the content was installed in another way, and the rollout is paused":       {member(paused), []target{runs("c1")}, Newer{}, CodeAlreadyThere},
		"the content was installed in another way, and the set was deleted":         {member(setGone), []target{runs("c1")}, Newer{}, CodeAlreadyThere},
		"the content was installed in another way, and the set is not ready":        {member(notReady), []target{runs("c1")}, Newer{}, CodeAlreadyThere},
		"the content was installed in another way, and the set has another one now": {member(relocked), []target{runs("c1")}, Newer{}, CodeAlreadyThere},
		"the content was installed in another way, and the type does not fit":       {member(unfit), []target{runs("c1"), func(t *v1alpha1.Target) { t.Spec.Type = "pump" }}, Newer{}, CodeAlreadyThere},
		"the content was installed in another way, and is to be installed again":    {member(reinstalls), []target{runs("c1")}, Newer{}, ""},
		"the content was installed in another way, and the group has not opened":    {member(notOpen), []target{runs("c1")}, Newer{}, CodeGroupNotOpen},
		"the content was installed in another way, and the rollout was stopped":     {member(stopped), []target{runs("c1")}, Newer{}, CodeStopped},
		"the content was there when the group opened, before the stop":              {member(wasThere, stopped), nil, Newer{}, CodeAlreadyThere},
		"the content was there, and a newer rollout has taken the member over":      {member(wasThere, superseded), nil, Newer{}, CodeSuperseded},

		"it did not start in time, and was superseded later":             {member(expired, superseded), nil, Newer{}, CodeDeadlinePassed},
		"it was asked to confirm until the start deadline":               {member(expired), []target{did("r", 0, "", "c1"), takenBack(v1alpha1.CauseStopped)}, Newer{}, CodeDeadlinePassed},
		"it was asked to confirm until it left the group":                {member(skipped), []target{did("r", 0, "", "c1"), takenBack(v1alpha1.CauseStopped)}, Newer{}, CodeSkipped},
		"it was asked to confirm until a person canceled that":           {member(), []target{did("r", 0, "", "c1"), takenBack(v1alpha1.CauseRequested)}, Newer{}, CodeCanceled},
		"a migration step went first, and it left the group meanwhile":   {member(skipped), []target{did("r", 0, "", "c1"), takenBack(v1alpha1.CauseMigrationStep)}, Newer{}, CodeSkipped},
		"it started in time, and the bit was written later":              {member(expired, retries), []target{did("r", 0, v1alpha1.ActionError, "c1")}, Newer{}, ""},
		"a newer update has started":                                     {member(), []target{did("s", 1, v1alpha1.ActionRunning, "c2")}, Newer{}, CodeSuperseded},
		"an older update has started":                                    {member(), []target{did("s", -1, v1alpha1.ActionRunning, "c2")}, Newer{}, ""},
		"it failed, and a newer update with another content has started": {member(retries), []target{did("r", 0, v1alpha1.ActionError, "c1"), did("s", 1, v1alpha1.ActionRunning, "c2")}, Newer{}, CodeFailed},

		"the target's own assignment is newer":                      {member(), nil, Newer{Reached: assigned("hotfix")}, CodeSuperseded},
		"the assignment is newer, and the content is there":         {member(), []target{runs("c1")}, Newer{Reached: assigned("hotfix")}, CodeAlreadyThere},
		"a newer auto-assignment that only AutoHasReached knows":    {member(), nil, Newer{AutoHasReached: func(_ *v1alpha1.Target, since time.Time) bool { return since.Equal(noon) }}, CodeSuperseded},
		"a newer update replaces a member of a paused rollout":      {member(paused), nil, Newer{Reached: assigned("hotfix")}, CodeSuperseded},
		"a newer update does not replace a member before the start": {member(func(in *Intent) { in.Source.Since = nil }), nil, Newer{Reached: assigned("hotfix")}, ""},
		"a newer update does not replace a required migration step": {member(func(in *Intent) { in.Set.RequiredMigrationStep = true }), nil, Newer{Reached: assigned("hotfix")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{}
			for _, edit := range c.target {
				edit(target)
			}
			if got := Check(target, c.in, &c.newer, noon.Add(2*time.Hour)); got.Code != c.want {
				t.Errorf("got %q, want %q", got.Code, c.want)
			}
		})
	}
}

// TestBrought checks that an update is superseded, and awaited, if a newer one brings its content.
func TestBrought(t *testing.T) {
	since := metav1.NewMicroTime(noon.Add(time.Hour))
	assigned := &Intent{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", Since: &since}, Update: v1alpha1.Update{DistributionSet: "fw"}}
	auto := func(hours int) Newer {
		return Newer{Reached: assigned, AutoHasReached: func(_ *v1alpha1.Target, since time.Time) bool {
			return noon.Add(time.Duration(hours) * time.Hour).After(since)
		}}
	}
	for name, c := range map[string]struct {
		in      *Intent
		target  func(*v1alpha1.Target)
		newer   Newer
		brought bool
	}{
		"a newer action brings the same content":            {member(), did("s", 1, v1alpha1.ActionRunning, "c1"), Newer{}, true},
		"a newer action brings another content":             {member(), did("s", 1, v1alpha1.ActionRunning, "c2"), Newer{}, false},
		"a newer action has failed to bring it":             {member(), did("s", 1, v1alpha1.ActionError, "c1"), Newer{}, false},
		"a newer action brings what is installed again":     {member(reinstalls), did("s", 1, v1alpha1.ActionRunning, "c1"), Newer{}, false},
		"the target's own assignment names the same set":    {member(), nil, Newer{Reached: assigned}, true},
		"an older auto-assignment does not come between":    {member(), nil, auto(0), true},
		"an auto-assignment is newer than the assignment":   {member(), nil, auto(2), false},
		"another assignment replaces what an action brings": {member(), did("s", 1, v1alpha1.ActionRunning, "c1"), auto(2), false},
	} {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{}
			if c.target != nil {
				c.target(target)
			}
			for _, got := range []Result{Check(target, c.in, &c.newer, noon), Lasting(target, c.in, &c.newer)} {
				if got.Code != CodeSuperseded || got.Brought != c.brought {
					t.Errorf("got %q, brought %t; want %q, brought %t", got.Code, got.Brought, CodeSuperseded, c.brought)
				}
			}
		})
	}
}
