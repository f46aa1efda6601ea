// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// started returns a rollout that has started.
func started(name string) *v1alpha1.Rollout {
	at := metav1.NewMicroTime(epoch)
	return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: &at}}
}

func TestReplaces(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(newer, older *v1alpha1.Rollout)
		set  *eligibility.Set
		want bool
	}{
		"the newer has started later":           {func(_, _ *v1alpha1.Rollout) {}, &eligibility.Set{}, true},
		"the older one's set was deleted":       {func(_, _ *v1alpha1.Rollout) {}, nil, true},
		"the older one brings a migration step": {func(_, _ *v1alpha1.Rollout) {}, &eligibility.Set{RequiredMigrationStep: true}, false},
		"the newer is queued":                   {func(newer, _ *v1alpha1.Rollout) { newer.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, nil, false},
		"the older is queued":                   {func(_, older *v1alpha1.Rollout) { older.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, nil, true},
		"the newer has not started":             {func(newer, _ *v1alpha1.Rollout) { newer.Status.StartedAt = nil }, nil, false},
		"the older has not started":             {func(_, older *v1alpha1.Rollout) { older.Status.StartedAt = nil }, nil, false},
		"both started at the same time":         {func(newer, older *v1alpha1.Rollout) { newer.Status.StartedAt = older.Status.StartedAt }, nil, false},
		"startAt takes precedence over the start": {func(newer, older *v1alpha1.Rollout) {
			past, soon := metav1.NewTime(epoch.Add(-time.Hour)), metav1.NewTime(epoch.Add(-time.Minute))
			newer.Spec.StartAt, older.Spec.StartAt = &past, &soon
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			newer, older := started("newer"), started("older")
			newer.Status.StartedAt.Time = epoch.Add(time.Second)
			tt.edit(newer, older)
			if got := Replaces(newer, older, tt.set); got != tt.want {
				t.Errorf("replaces: %v, want %v", got, tt.want)
			}
		})
	}
}

// addNeighbor adds another rollout of the namespace with the set firmware-<name> and these members.
func (w *world) addNeighbor(name string, edit func(*Neighbor), members ...string) {
	set := w.addSet("firmware-" + name)
	set.ContentHash = hashOf(set.Name)
	r := built.Rollout(name, set.Name, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentRunning })
	n := Neighbor{Rollout: r, Set: set, Shared: func() [][]byte { return w.shared(members) }}
	if edit != nil {
		edit(&n)
	}
	w.neighbors = append(w.neighbors, n)
}

// hashOf returns a content hash for a set. The first digits, which targets store, differ from those
// of other sets.
func hashOf(set string) string {
	if set == "firmware-2" {
		return "hash-of-firmware-2"
	}
	return set + "-has-this-hash"
}

// isStarted starts a neighbor at its creation.
func isStarted(n *Neighbor) {
	at := metav1.NewMicroTime(n.Rollout.CreationTimestamp.Time)
	n.Rollout.Status.State, n.Rollout.Status.StartedAt = v1alpha1.RolloutRunning, &at
	n.Rollout.Status.Plan = &v1alpha1.PlanStatus{ContentHash: n.Set.ContentHash}
}

// createdAfter returns an edit that moves the creation of a neighbor.
func createdAfter(d time.Duration) func(*Neighbor) {
	return func(n *Neighbor) { n.Rollout.CreationTimestamp = metav1.NewTime(epoch.Add(d)) }
}

// startsAt returns an edit that sets the startAt of a neighbor.
func startsAt(d time.Duration) func(*Neighbor) {
	return func(n *Neighbor) { n.Rollout.Spec.StartAt = at(epoch.Add(d)) }
}

func isEnding(state v1alpha1.RolloutState, after time.Duration) func(*Neighbor) {
	return func(n *Neighbor) {
		end := metav1.NewMicroTime(epoch.Add(after))
		n.Rollout.Status.State, n.Rollout.Status.FinishedAt = state, &end
	}
}

func isStalledBy(reason string) func(*Neighbor) {
	return func(n *Neighbor) {
		n.Rollout.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: 1}}
	}
}

func all(edits ...func(*Neighbor)) func(*Neighbor) {
	return func(n *Neighbor) {
		for _, edit := range edits {
			edit(n)
		}
	}
}

// runs lets a device report that it runs a set, without an action.
func (w *world) runs(name, set string) {
	action.ReportInstalled(&w.targets[name].Status, set, hashOf(set), w.now)
}

// had adds a successful action to a target, of a source with this place in the order.
func (w *world) had(name, set, source string, since time.Time) {
	w.hadResult(name, set, source, since, action.Succeed)
}

// hadResult is had with another result.
func (w *world) hadResult(name, set, source string, since time.Time, result action.Event) {
	at, s := metav1.NewMicroTime(since), &w.targets[name].Status
	a := action.Create(s, action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: source, UID: types.UID("uid-of-old-" + source), Since: &at, Attempt: 1},
		DistributionSet: set, ContentHash: hashOf(set), Now: since})
	for _, e := range []action.Event{action.Download, result} {
		action.Apply(s, action.Report{ID: a.ID, Event: e, Now: since})
	}
}

// TestStartBesideANeighbor: a rollout that could start now, and another one. The rollout is r,
// brings firmware-2, and was created a second ago.
func TestStartBesideANeighbor(t *testing.T) {
	const starts, waits, ambiguous = "", v1alpha1.ReasonStabilizing, v1alpha1.ReasonOrderAmbiguous
	ago := func(d time.Duration) time.Time { return epoch.Add(-d) }
	placed := func(d time.Duration) func(*world) {
		return func(w *world) { w.rollout.Spec.StartAt = at(epoch.Add(d)) }
	}
	both := func(fs ...func(*world)) func(*world) {
		return func(w *world) {
			for _, f := range fs {
				f(w)
			}
		}
	}
	queued := func(weight int32) func(*Neighbor) {
		return func(n *Neighbor) {
			n.Rollout.Spec.Update.Superseding, n.Rollout.Spec.Update.Weight = v1alpha1.SupersedingQueue, num(weight)
		}
	}
	isQueued := func(w *world) { w.rollout.Spec.Update.Superseding = v1alpha1.SupersedingQueue }
	// recreatedAt lets dev-01 run the set of the neighbor, with a Target that was created at target
	// and a set of r that was locked at set.
	recreatedAt := func(target, set time.Duration) func(*world) {
		return func(w *world) {
			w.runs("dev-01", "firmware-older")
			w.targets["dev-01"].CreationTimestamp = metav1.NewTime(epoch.Add(target))
			w.set.LockedAt = epoch.Add(set)
		}
	}
	lockedAt := func(d time.Duration) func(*Neighbor) {
		return func(n *Neighbor) { n.Set.LockedAt = epoch.Add(d) }
	}
	const shared, disjoint = "dev-01", ""
	lastWeek := createdAfter(-7 * 24 * time.Hour)
	for name, tt := range map[string]struct {
		self     func(*world)
		neighbor func(*Neighbor)
		name     string // default: older, which sorts first
		members  string
		now      time.Duration // since the creation; default: a second
		want     string
		says     string
	}{
		// Neither has a startAt.
		"the other one has started":                        {neighbor: isStarted, members: shared, want: ambiguous, says: "give each a spec.startAt of its own"},
		"the other one is about to start, and sorts first": {members: shared, want: waits, says: "for rollout older to start"},
		"the other one is about to start, and sorts last":  {name: "z", members: shared, want: starts},
		"the other one was created first":                  {name: "z", neighbor: createdAfter(-time.Second), members: shared, want: waits},
		"the other one was created later and has started":  {name: "z", neighbor: all(createdAfter(time.Second), isStarted), members: shared, want: ambiguous},
		"it shares no target":                              {members: disjoint, want: starts},
		"it has started and shares no target":              {neighbor: isStarted, members: disjoint, want: starts},
		"it was created a minute before":                   {neighbor: all(createdAfter(-time.Minute), isStarted), members: shared, want: starts},
		"it was created 59 seconds before and is running":  {neighbor: all(createdAfter(-59*time.Second), isStarted), members: shared, want: ambiguous, says: "and older at 2026-03-01T09:59:01Z"},
		"it was created 57 seconds before and had ended":   {neighbor: all(createdAfter(-57*time.Second), isStarted, isEnding(v1alpha1.RolloutFinished, -20*time.Second)), members: shared, want: starts},
		"it ended after this one was created":              {neighbor: all(createdAfter(-57*time.Second), isStarted, isEnding(v1alpha1.RolloutFinished, time.Second)), members: shared, want: ambiguous},
		"it was stopped":                                   {neighbor: all(isStarted, isEnding(v1alpha1.RolloutStopped, time.Second)), members: shared, want: starts},
		"it does not start within a minute":                {members: shared, now: time.Minute, want: starts},
		"its set has the same content":                     {neighbor: all(func(n *Neighbor) { n.Set.ContentHash = "hash-of-firmware-2" }, isStarted), members: shared, want: ambiguous},
		// A rollout that cannot start is not waited for.
		"its spec.state is Planned":     {neighbor: func(n *Neighbor) { n.Rollout.Spec.State = v1alpha1.IntentPlanned }, members: shared, want: starts},
		"it is paused before its start": {neighbor: func(n *Neighbor) { n.Rollout.Spec.State = v1alpha1.IntentPaused }, members: shared, want: starts},
		"its spec.state is Stopped":     {neighbor: func(n *Neighbor) { n.Rollout.Spec.State = v1alpha1.IntentStopped }, members: shared, want: starts},
		"it waits for approval":         {neighbor: func(n *Neighbor) { n.Rollout.Spec.ApprovalRequired = true }, members: shared, want: starts},
		"another plan of it was approved": {neighbor: func(n *Neighbor) {
			n.Rollout.Spec.ApprovalRequired, n.Rollout.Spec.Approval = true, &v1alpha1.Approval{PlanHash: "old"}
			n.Rollout.Status.Plan = &v1alpha1.PlanStatus{Hash: "new"}
		}, members: shared, want: starts},
		"the manager requires an approval, and it has none": {neighbor: func(n *Neighbor) {
			n.Rollout.Status.State, n.Rollout.Status.ObservedGeneration = v1alpha1.RolloutWaitingForApproval, 1
		}, members: shared, want: starts},
		"its set may still be applied":    {neighbor: func(n *Neighbor) { n.Set = nil }, members: shared, want: waits},
		"its set was not applied in time": {neighbor: func(n *Neighbor) { n.Set = nil }, members: shared, now: 5 * time.Second, want: starts},
		"its set is invalid":              {neighbor: func(n *Neighbor) { n.Set.Invalidation = v1alpha1.CancellationNone }, members: shared, want: starts},
		"its set lacks a module":          {neighbor: func(n *Neighbor) { n.Set.Deployable = false }, members: shared, now: 5 * time.Second, want: starts},
		"its set is being locked":         {neighbor: func(n *Neighbor) { n.Set.Deployable, n.Set.Transient = false, true }, members: shared, now: 5 * time.Second, want: waits},
		"its expression is invalid":       {neighbor: isStalledBy(v1alpha1.ReasonInvalidExpression), members: shared, want: starts},
		"it selects no targets":           {neighbor: isStalledBy(v1alpha1.ReasonNoTargets), members: shared, want: starts},
		"it lost a group":                 {neighbor: isStalledBy(v1alpha1.ReasonGroupLost), members: shared, want: starts},
		"it was corrected a moment ago":   {neighbor: all(isStalledBy(v1alpha1.ReasonInvalidExpression), func(n *Neighbor) { n.Rollout.Generation++ }), members: shared, want: waits},
		"its content keeps changing":      {neighbor: func(n *Neighbor) { n.Rollout.Status.State = v1alpha1.RolloutCreating }, members: shared, now: time.Minute, want: starts},
		// startAt.
		"the other one has an earlier startAt and has started":    {neighbor: all(startsAt(-time.Hour), isStarted), members: shared, want: ambiguous, says: "only older has a spec.startAt, 2026-03-01T09:00:00Z; set spec.startAt to the present time"},
		"the other one has an earlier startAt and may start":      {name: "z", neighbor: startsAt(-time.Hour), members: shared, want: waits},
		"the other one has an earlier startAt and cannot start":   {neighbor: all(startsAt(-time.Hour), func(n *Neighbor) { n.Set.Invalidation = v1alpha1.CancellationSoft }), members: shared, want: starts},
		"the other one starts tomorrow":                           {neighbor: startsAt(24 * time.Hour), members: shared, want: starts},
		"only this one has a startAt, and the other has started":  {self: placed(-time.Hour), neighbor: isStarted, members: shared, want: starts},
		"both have a startAt, and the other one is newer":         {self: placed(-2 * time.Hour), neighbor: startsAt(-time.Hour), members: shared, want: starts},
		"both have a startAt, and the other one is older":         {self: placed(-time.Hour), neighbor: all(startsAt(-2*time.Hour), isStarted), members: shared, want: starts},
		"both have the same startAt":                              {self: placed(-time.Hour), neighbor: all(startsAt(-time.Hour), isStarted), members: shared, want: ambiguous, says: "both have the spec.startAt 2026-03-01T09:00:00Z; give each"},
		"both have the same startAt, of which one ended long ago": {self: placed(-time.Hour), neighbor: all(lastWeek, startsAt(-time.Hour), isStarted, isEnding(v1alpha1.RolloutFinished, -24*time.Hour)), members: shared, want: ambiguous},
		"both have the same startAt and share nothing":            {self: placed(-time.Hour), neighbor: all(startsAt(-time.Hour), isStarted), members: disjoint, want: starts},
		"a target had an update of a stopped one with the same startAt": {self: both(placed(-time.Hour), func(w *world) { w.hadResult("dev-01", "firmware-older", "older", ago(time.Hour), action.Abandon) }),
			neighbor: all(lastWeek, startsAt(-time.Hour), isStarted, isEnding(v1alpha1.RolloutStopped, -time.Minute)), members: shared, want: ambiguous,
			says: "1 of 4 targets had an update of another rollout with the same spec.startAt, 2026-03-01T09:00:00Z, e.g. dev-01 of rollout older, and would not get this one: set spec.startAt to the present time"},
		"a target had an update of a deleted one with the same startAt":                     {self: both(placed(-time.Hour), func(w *world) { w.had("dev-02", "firmware-1", "deleted", ago(time.Hour)) }), members: disjoint, want: ambiguous, says: "e.g. dev-02 of rollout deleted"},
		"a target had an update of a deleted one with an earlier startAt":                   {self: both(placed(-time.Hour), func(w *world) { w.had("dev-02", "firmware-1", "deleted", ago(time.Hour+time.Second)) }), members: disjoint, want: starts},
		"a target runs the content of this one since a deleted one with the same startAt":   {self: both(placed(-time.Hour), func(w *world) { w.had("dev-02", "firmware-2", "deleted", ago(time.Hour)) }), members: disjoint, want: starts},
		"a target had an update of this one, which was created again with the same startAt": {self: both(placed(-time.Hour), func(w *world) { w.had("dev-02", "firmware-1", "r", ago(time.Hour)) }), members: disjoint, want: starts},
		"a stopped one with the same startAt has updated no target":                         {self: placed(-time.Hour), neighbor: all(lastWeek, startsAt(-time.Hour), isStarted, isEnding(v1alpha1.RolloutStopped, -time.Minute)), members: shared, want: starts},
		// Queues.
		"both are queued":                         {self: isQueued, neighbor: all(queued(1000), isStarted), members: shared, want: ambiguous},
		"both are queued, with different weights": {self: isQueued, neighbor: all(queued(500), isStarted), members: shared, want: starts},
		"only the other is queued":                {neighbor: all(queued(500), isStarted), members: shared, want: ambiguous},
		// Installed sets, if the Targets were created again, too.
		"a shared device runs the set of the other one": {self: func(w *world) { w.runs("dev-01", "firmware-z") }, name: "z", members: shared, want: ambiguous, says: "1 target of them, e.g. dev-01, had the content of z when both were created"},
		"a shared device runs the set of the other one, which has ended since": {self: func(w *world) { w.runs("dev-01", "firmware-z") }, name: "z",
			neighbor: all(createdAfter(-20*time.Second), isStarted, isEnding(v1alpha1.RolloutFinished, -10*time.Second)), members: shared, want: ambiguous},
		"a shared device runs the set of the other one, which cannot start": {self: func(w *world) { w.runs("dev-01", "firmware-z") }, name: "z", neighbor: isStalledBy("x"), members: shared, want: ambiguous},
		"a shared device runs the set of this one":                          {self: func(w *world) { w.runs("dev-01", "firmware-2") }, members: shared, want: starts},
		"it runs another set":                          {self: func(w *world) { w.runs("dev-01", "firmware-0") }, name: "z", members: shared, want: starts},
		"another device runs the set of the other one": {self: func(w *world) { w.runs("dev-02", "firmware-z") }, name: "z", members: shared, want: starts},
		"it runs the set of a rollout of last week":    {self: func(w *world) { w.runs("dev-01", "firmware-older") }, neighbor: all(lastWeek, isStarted), members: shared, want: starts},
		"with a startAt the order is known":            {self: both(placed(-2*time.Hour), func(w *world) { w.runs("dev-01", "firmware-z") }), name: "z", neighbor: startsAt(-time.Hour), members: shared, want: starts},
		// Targets and sets that were created again, beside a rollout that was not.
		"a target and both sets were created again, and the device runs the set of the other one": {self: recreatedAt(0, 0), neighbor: all(lastWeek, isStarted, isEnding(v1alpha1.RolloutFinished, -24*time.Hour), lockedAt(0)), members: shared, want: ambiguous,
			says: "the content of rollout older runs on 1 shared target, e.g. dev-01. Since that rollout started at 2026-02-22T10:00:00Z, the Targets and"},
		"the set of the other one was locked after this one":             {self: recreatedAt(0, 0), neighbor: all(lastWeek, isStarted, lockedAt(30*time.Second)), members: shared, want: ambiguous},
		"the set of the other one was locked before this one":            {self: recreatedAt(0, 0), neighbor: all(lastWeek, isStarted, lockedAt(-30*time.Second)), members: shared, want: ambiguous},
		"the other one was stopped":                                      {self: recreatedAt(0, 0), neighbor: all(lastWeek, isStarted, isEnding(v1alpha1.RolloutStopped, -time.Hour), lockedAt(0)), members: shared, want: ambiguous},
		"the other one has installed its set on the new Target":          {self: both(recreatedAt(0, 0), func(w *world) { w.had("dev-01", "firmware-older", "older", ago(7*24*time.Hour)) }), neighbor: all(lastWeek, isStarted, lockedAt(0)), members: shared, want: ambiguous},
		"both sets were created again, and startAt is set":               {self: both(placed(0), recreatedAt(0, 0)), neighbor: all(lastWeek, isStarted, lockedAt(0)), members: shared, want: starts},
		"the set of this one was locked a minute later":                  {self: recreatedAt(0, 0), neighbor: all(lastWeek, isStarted, lockedAt(-time.Minute)), members: shared, want: starts},
		"the set of the other one was not created again":                 {self: recreatedAt(0, 0), neighbor: all(lastWeek, lockedAt(-7*24*time.Hour), isStarted), members: shared, want: starts},
		"the Target is older than the start of the other one":            {self: recreatedAt(-8*24*time.Hour, 0), neighbor: all(lastWeek, isStarted, lockedAt(0)), members: shared, want: starts},
		"the other one does not have the target":                         {self: recreatedAt(0, 0), neighbor: all(lastWeek, isStarted, lockedAt(0)), members: disjoint, want: starts},
		"both sets were created again, and the device runs a third one":  {self: both(recreatedAt(0, 0), func(w *world) { w.runs("dev-01", "firmware-0") }), neighbor: all(lastWeek, isStarted, lockedAt(0)), members: shared, want: starts},
		"both sets were created again, and the device runs that of this": {self: both(recreatedAt(0, 0), func(w *world) { w.runs("dev-01", "firmware-2") }), neighbor: all(lastWeek, isStarted, lockedAt(0)), members: shared, want: starts},
		// Stored actions of Targets.
		"a target had this content and has another one now": {self: both(func(w *world) { w.had("dev-02", "firmware-2", "r", ago(2*time.Hour)) }, func(w *world) { w.had("dev-02", "firmware-older", "older", ago(time.Hour)) }),
			neighbor: all(lastWeek, isStarted, isEnding(v1alpha1.RolloutFinished, -time.Hour)), members: shared, want: ambiguous, says: "1 of 4 targets had, or may have had, the content of DistributionSet firmware-2 before and another one since, e.g. dev-02, which runs firmware-older"},
		"a target had this content, and the device installed another one by itself": {self: both(func(w *world) { w.had("dev-02", "firmware-2", "r", ago(2*time.Hour)) }, func(w *world) { w.runs("dev-02", "firmware-9") }), want: ambiguous},
		"a target had this content, and startAt is set":                             {self: both(placed(0), func(w *world) { w.had("dev-02", "firmware-2", "r", ago(2*time.Hour)) }, func(w *world) { w.had("dev-02", "firmware-older", "older", ago(time.Hour)) }), want: starts},
		"a target had another content since, and has this one again": {self: both(func(w *world) { w.had("dev-02", "firmware-2", "r", ago(3*time.Hour)) },
			func(w *world) { w.had("dev-02", "firmware-older", "older", ago(2*time.Hour)) }, func(w *world) { w.had("dev-02", "firmware-2", "r", ago(time.Hour)) }), want: starts},
		"a target runs it": {self: func(w *world) { w.had("dev-02", "firmware-2", "r", ago(2*time.Hour)) }, want: starts},
		"an update of it failed": {self: func(w *world) {
			w.runs("dev-02", "firmware-1")
			at := metav1.NewMicroTime(ago(time.Hour))
			a := action.Create(&w.targets["dev-02"].Status, action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-old", Since: &at}, DistributionSet: "firmware-2", ContentHash: "hash-of-firmware-2", Now: ago(time.Hour)})
			action.Apply(&w.targets["dev-02"].Status, action.Report{ID: a.ID, Event: action.Fail, Now: ago(time.Hour)})
		}, want: starts},
		"the other one is running and newer than the update of this one": {self: func(w *world) { w.had("dev-01", "firmware-2", "r", ago(8*24*time.Hour)) },
			neighbor: all(lastWeek, isStarted), members: shared, want: ambiguous, says: "had the content of DistributionSet firmware-2 before that rollout, which is running"},
		"the other one is running and older": {self: func(w *world) { w.had("dev-01", "firmware-2", "r", ago(time.Hour)) },
			neighbor: all(lastWeek, isStarted), members: shared, want: starts},
		"the other one was newer and is being stopped": {self: func(w *world) { w.had("dev-01", "firmware-2", "r", ago(8*24*time.Hour)) },
			neighbor: all(lastWeek, isStarted, func(n *Neighbor) { n.Rollout.Spec.State = v1alpha1.IntentStopped }), members: shared, want: starts},
		"all are created again, and this one is the newest": {self: both(func(w *world) { w.had("dev-01", "firmware-older", "older", ago(2*time.Hour)) }, func(w *world) { w.had("dev-01", "firmware-2", "r", ago(time.Hour)) }),
			neighbor: all(startsAt(-90*time.Minute), isStarted), members: shared, want: starts},
		"all are created again, and the other one started after this one": {self: func(w *world) { w.had("dev-01", "firmware-2", "r", ago(2*time.Hour)) },
			neighbor: all(startsAt(-time.Hour), isStarted), members: shared, want: ambiguous},
		"all are created again without startAt, and this one is the newest": {self: both(func(w *world) { w.had("dev-01", "firmware-older", "older", ago(2*time.Hour)) }, func(w *world) { w.had("dev-01", "firmware-2", "r", ago(time.Hour)) }),
			members: shared, want: starts},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4, groupCount(2))
			if tt.self != nil {
				tt.self(w)
			}
			var members []string
			if tt.members != "" {
				members = []string{tt.members}
			}
			w.addNeighbor(cmp.Or(tt.name, "older"), tt.neighbor, members...)
			w.now = epoch.Add(cmp.Or(tt.now, time.Second))
			p := w.reconcileAll()
			got := ""
			if w.rollout.Status.StartedAt == nil {
				got = w.rollout.Status.WaitingFor.Reason
			}
			if got != tt.want {
				t.Errorf("%q, want %q: %s", got, tt.want, w.waitingFor())
			}
			w.wantContains(w.waitingFor(), tt.says)
			if got == waits && p.RecheckAfter == 0 {
				t.Error("RecheckAfter is 0")
			}
		})
	}
}

func TestSince(t *testing.T) {
	for name, tt := range map[string]struct {
		startAt time.Duration // after the start
		want    time.Duration
	}{
		"startAt is before the start":                      {-time.Hour, -time.Hour},
		"startAt is moved into the future after the start": {time.Hour, 0},
	} {
		r := started("r")
		at := metav1.NewTime(epoch.Add(tt.startAt))
		r.Spec.StartAt = &at
		if got := Since(r); !got.Equal(epoch.Add(tt.want)) {
			t.Errorf("%s: since %s", name, got)
		}
	}
	if got := Since(started("r")); !got.Equal(epoch) {
		t.Errorf("without startAt: since %s", got)
	}
}
