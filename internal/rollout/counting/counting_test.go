// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

var epoch = time.Date(2026, 10, 1, 10, 0, 0, 0, time.UTC)

// act returns an action of a source whose intent is this number of minutes newer than the rollout.
func act(id int32, uid types.UID, minutes int, state v1alpha1.ActionState) v1alpha1.Action {
	since := metav1.NewMicroTime(epoch.Add(time.Duration(minutes) * time.Minute))
	a := v1alpha1.Action{ID: id, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: string(uid), UID: uid, Attempt: 1, Since: &since}, State: state}
	if state.IsClosed() {
		a.ClosedAt = &metav1.Time{Time: epoch.Add(time.Hour)}
	}
	return a
}

func failedWith(a v1alpha1.Action, code string, attempt int32) v1alpha1.Action {
	a.StatusCode, a.Source.Attempt = code, attempt
	return a
}

func queued(a v1alpha1.Action) v1alpha1.Action {
	a.Update.Superseding = v1alpha1.SupersedingQueue
	return a
}

func bringing(content string, a v1alpha1.Action) v1alpha1.Action {
	a.ContentHash = content
	return a
}

func takenBack(cause v1alpha1.CancelCause, a v1alpha1.Action) v1alpha1.Action {
	a.Cancel = &v1alpha1.CancelStatus{From: v1alpha1.ActionWaitingForConfirmation, Cause: cause}
	return a
}

func ofRollout(name string, a v1alpha1.Action) v1alpha1.Action {
	a.Source.Kind, a.Source.Name = v1alpha1.SourceRollout, name
	return a
}

func assigned(set string, minutes int, mode v1alpha1.Superseding) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		since := metav1.NewMicroTime(epoch.Add(time.Duration(minutes) * time.Minute))
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: set, Superseding: mode}}
		t.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: set, Since: &since}
	}
}

// TestBucketOf checks the bucket of a member of an open group of a rollout that started at 10:00.
func TestBucketOf(t *testing.T) {
	open := Rule{UID: "r", DistributionSet: "firmware-2", Since: epoch, Open: true}
	with := func(edit func(*Rule)) Rule {
		r := open
		edit(&r)
		return r
	}
	closed := with(func(r *Rule) { r.Open = false })
	stopped := with(func(r *Rule) { r.Stopped = true })
	again := with(func(r *Rule) { r.Name = "fw" })
	notStarted := with(func(r *Rule) { r.Open, r.Since = false, time.Time{} })
	step := with(func(r *Rule) { r.RequiredMigrationStep = true })
	retries := with(func(r *Rule) { r.Retries = &v1alpha1.Retries{Limit: 2, StatusCodes: []string{"17"}} })
	retry := with(func(r *Rule) { r.RetryAt, r.RetryFailures.Codes = epoch.Add(2*time.Hour), []string{"17"} })

	there := with(func(r *Rule) { r.ContentHash = "c0ffee" })
	thereRetries := with(func(r *Rule) { r.ContentHash, r.Retries = "c0ffee", &v1alpha1.Retries{Limit: 2} })
	again2 := with(func(r *Rule) { r.ContentHash, r.Reinstall = "c0ffee", true })
	reached := AutoAssignments{Version: 1, HaveReached: func(_ *v1alpha1.Target, since time.Time) bool { return since.Equal(epoch) }}
	under := func(r Rule) Rule { r.AutoAssignments = reached; return r }
	kept, keptRetries, keptStep := under(open), under(retries), under(step)
	runs := func(t *v1alpha1.Target) { t.Status.Installed = &v1alpha1.InstalledSet{ContentHash: "c0ffee"} }
	const newer, same, older = 5, 0, -5
	type bits struct{ superseded, alreadyThere, skipped, abandoned bool }
	tests := map[string]struct {
		rule    Rule
		actions []v1alpha1.Action
		target  func(*v1alpha1.Target)
		bits    bits
		want    Bucket
	}{
		"its group has not opened":                                        {closed, nil, nil, bits{}, Scheduled},
		"its group is open":                                               {open, nil, nil, bits{}, Pending},
		"the set was installed in another way":                            {there, nil, runs, bits{}, Succeeded},
		"the set is installed, with reinstall":                            {again2, nil, runs, bits{}, Pending},
		"a newer replacing action is before a queued one":                 {open, []v1alpha1.Action{act(1, "q", newer, "Finished"), queued(act(2, "q2", newer+1, "Running"))}, nil, bits{}, Canceled},
		"it waits for confirmation":                                       {open, []v1alpha1.Action{act(1, "r", 0, "WaitingForConfirmation")}, nil, bits{}, Pending},
		"it has started":                                                  {open, []v1alpha1.Action{act(1, "r", 0, "Retrieved")}, nil, bits{}, InProgress},
		"it is asked to cancel":                                           {open, []v1alpha1.Action{act(1, "r", 0, "Canceling")}, nil, bits{}, InProgress},
		"its action is Finished":                                          {open, []v1alpha1.Action{act(1, "r", 0, "Finished")}, nil, bits{}, Succeeded},
		"it failed":                                                       {open, []v1alpha1.Action{act(1, "r", 0, "Error")}, nil, bits{}, Failed},
		"it was canceled":                                                 {open, []v1alpha1.Action{act(1, "r", 0, "Canceled")}, nil, bits{}, Canceled},
		"the newest of its actions counts":                                {open, []v1alpha1.Action{act(2, "r", 0, "Finished"), act(1, "r", 0, "Error")}, nil, bits{}, Succeeded},
		"a rollout of the same name has another uid":                      {open, []v1alpha1.Action{act(1, "q", older, "Finished")}, nil, bits{}, Pending},
		"a newer rollout took it over":                                    {open, nil, nil, bits{superseded: true}, Canceled},
		"an action takes precedence over a bit":                           {open, []v1alpha1.Action{act(1, "r", 0, "Finished")}, nil, bits{superseded: true}, Succeeded},
		"superseded takes precedence over already there":                  {open, nil, nil, bits{superseded: true, alreadyThere: true}, Canceled},
		"it had the set when the group opened":                            {open, nil, nil, bits{alreadyThere: true}, Succeeded},
		"it did not start in time":                                        {open, nil, nil, bits{skipped: true}, Skipped},
		"a newer update has started on it":                                {open, []v1alpha1.Action{act(1, "q", newer, "Running")}, nil, bits{}, Canceled},
		"a newer update has started before its group opened":              {closed, []v1alpha1.Action{act(1, "q", newer, "Running")}, nil, bits{}, Canceled},
		"another update with the same time has started on it":             {open, []v1alpha1.Action{act(1, "q", same, "Error")}, nil, bits{}, Canceled},
		"the same rollout had started, and was deleted and created again": {again, []v1alpha1.Action{ofRollout("fw", act(1, "q", same, "Running"))}, nil, bits{}, Pending},
		"a rollout of another name with the same time has started":        {again, []v1alpha1.Action{ofRollout("v1", act(1, "q", same, "Running"))}, nil, bits{}, Canceled},
		"an older update has started on it":                               {open, []v1alpha1.Action{act(1, "q", older, "Running")}, nil, bits{}, Pending},
		"a newer queued update has started on it":                         {open, []v1alpha1.Action{queued(act(1, "q", newer, "Running"))}, nil, bits{}, Pending},
		"a newer update failed before a migration step":                   {step, []v1alpha1.Action{act(1, "q", newer, "Error")}, nil, bits{}, Pending},
		"a newer update succeeded before a migration step":                {step, []v1alpha1.Action{act(1, "q", newer, "Finished")}, nil, bits{}, Canceled},
		"before the start no update is newer":                             {notStarted, []v1alpha1.Action{act(1, "q", newer, "Running")}, nil, bits{}, Scheduled},
		"its own assignment is newer":                                     {open, nil, assigned("hotfix", newer, ""), bits{}, Canceled},
		"its own assignment is newer and names a set that does not exist": {open, nil, func(t *v1alpha1.Target) {
			assigned("hotfxi", newer, "")(t)
			t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAssigned, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonReferenceNotFound}}
		}, bits{}, Pending},
		"its own assignment is older":                              {open, nil, assigned("hotfix", older, ""), bits{}, Pending},
		"a newer update with the same content is running":          {there, []v1alpha1.Action{bringing("c0ffee", act(1, "q", newer, "Running"))}, nil, bits{}, Pending},
		"a newer update with the same content has succeeded":       {there, []v1alpha1.Action{bringing("c0ffee", act(1, "q", newer, "Finished"))}, runs, bits{}, Succeeded},
		"a newer update with the same content has failed":          {there, []v1alpha1.Action{bringing("c0ffee", act(1, "q", newer, "Error"))}, nil, bits{}, Canceled},
		"a newer update with the same content was only downloaded": {there, []v1alpha1.Action{bringing("c0ffee", act(1, "q", newer, "Finished"))}, nil, bits{}, Canceled},
		"a newer auto-assignment has reached it":                   {kept, nil, nil, bits{}, Canceled},
		"it failed, and a newer auto-assignment has reached it":    {keptRetries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1)}, nil, bits{}, Failed},
		"a migration step is not superseded by an auto-assignment": {keptStep, nil, nil, bits{}, Pending},
		"its own assignment brings the same set":                   {open, nil, assigned("firmware-2", newer, ""), bits{}, Pending},
		"its own assignment is queued":                             {open, nil, assigned("hotfix", newer, v1alpha1.SupersedingQueue), bits{}, Pending},
		"the rollout was stopped":                                  {stopped, nil, nil, bits{}, Canceled},
		"the rollout was stopped after it had started":             {stopped, []v1alpha1.Action{act(1, "r", 0, "Running")}, nil, bits{}, InProgress},
		"it failed and is retried":                                 {retries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1)}, nil, bits{}, InProgress},
		"its confirmation was withdrawn for a migration step":      {open, []v1alpha1.Action{takenBack(v1alpha1.CauseMigrationStep, act(1, "r", 0, "Canceled"))}, nil, bits{}, Pending},
		"its confirmation was canceled by a person":                {open, []v1alpha1.Action{takenBack(v1alpha1.CauseRequested, act(1, "r", 0, "Canceled"))}, nil, bits{}, Canceled},
		"it failed and did not start another attempt in time":      {retries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1)}, nil, bits{abandoned: true}, Failed},
		"it started another attempt just in time":                  {retries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1), act(2, "r", 0, "Running")}, nil, bits{abandoned: true}, InProgress},
		"it failed, and the set was installed in another way":      {thereRetries, []v1alpha1.Action{bringing("c0ffee", failedWith(act(1, "r", 0, "Error"), "17", 1))}, runs, bits{}, Succeeded},
		"its attempt failed, and the set was installed later":      {there, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1)}, runs, bits{}, Failed},
		"its last attempt failed":                                  {retries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 3)}, nil, bits{}, Failed},
		"it failed with a code that is not retried":                {retries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "flash", 1)}, nil, bits{}, Failed},
		"it failed, and a newer update has started since":          {retries, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1), act(2, "q", newer, "Running")}, nil, bits{}, Failed},
		"it failed before a retry that names its code":             {retry, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "17", 1)}, nil, bits{}, Pending},
		"it failed before a retry that does not name its code":     {retry, []v1alpha1.Action{failedWith(act(1, "r", 0, "Error"), "flash", 1)}, nil, bits{}, Failed},
		"it was canceled before a retry, which is for failures":    {retry, []v1alpha1.Action{act(1, "r", 0, "Canceled")}, nil, bits{}, Canceled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{Status: v1alpha1.TargetStatus{Actions: tt.actions}}
			if tt.target != nil {
				tt.target(target)
			}
			if got := NewCounter(tt.rule).BucketOf(target, Member{Superseded: tt.bits.superseded, AlreadyThere: tt.bits.alreadyThere, Skipped: tt.bits.skipped, Abandoned: tt.bits.abandoned}); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	if got := NewCounter(open).BucketOf(nil, Member{Superseded: true, AlreadyThere: true, Skipped: true}); got != Removed {
		t.Errorf("a deleted target is %s", got)
	}
}

func TestEntryOf(t *testing.T) {
	rule := Rule{UID: "r", DistributionSet: "firmware-2", Since: epoch, Open: true}
	resumed := rule
	resumed.ResumedAt = epoch.Add(time.Hour)
	asked := act(1, "r", 0, v1alpha1.ActionCanceling)
	refused := act(1, "r", 0, v1alpha1.ActionRunning)
	refused.Cancel = &v1alpha1.CancelStatus{Answer: v1alpha1.AnswerRejected, Causes: []v1alpha1.CancelCause{v1alpha1.CauseSuperseded, v1alpha1.CauseStopped}}
	refusedAnother := act(1, "r", 0, v1alpha1.ActionRunning)
	refusedAnother.Cancel = &v1alpha1.CancelStatus{Answer: v1alpha1.AnswerRejected, Causes: []v1alpha1.CancelCause{v1alpha1.CauseSuperseded}}
	refusedGone := act(1, "r", 0, v1alpha1.ActionRunning)
	refusedGone.Cancel = &v1alpha1.CancelStatus{Answer: v1alpha1.AnswerRejected, Causes: []v1alpha1.CancelCause{v1alpha1.CauseSetGone}}
	gone := rule
	gone.SetGone = true
	replaced := act(1, "r", 0, v1alpha1.ActionCanceled)
	replaced.Cancel = &v1alpha1.CancelStatus{Answer: v1alpha1.AnswerAccepted, Causes: []v1alpha1.CancelCause{v1alpha1.CauseSuperseded}}
	failure := failedWith(act(1, "r", 0, v1alpha1.ActionError), "17", 1)
	failedAt := epoch.Add(time.Hour).Unix()

	tests := map[string]struct {
		rule       Rule
		action     *v1alpha1.Action
		superseded bool
		want       Entry
	}{
		"nothing":                            {rule, nil, false, Entry{Bucket: Pending, NotStarted: true}},
		"superseded before it started":       {rule, nil, true, Entry{Bucket: Canceled, Superseded: true}},
		"canceled because it was superseded": {rule, &replaced, false, Entry{Bucket: Canceled, Superseded: true}},
		"at work":                            {rule, new(act(1, "r", 0, v1alpha1.ActionRunning)), false, Entry{Bucket: InProgress, Open: true}},
		"asked to cancel":                    {rule, &asked, false, Entry{Bucket: InProgress, Open: true, Canceling: true, Obstacle: Canceling}},
		"refused the stop":                   {rule, &refused, false, Entry{Bucket: InProgress, Open: true, Canceling: true}},
		"refused because the set was deleted, and it does not exist": {gone, &refusedGone, false, Entry{Bucket: InProgress, Open: true, Canceling: true}},
		"refused because the set was deleted, and it exists again":   {rule, &refusedGone, false, Entry{Bucket: InProgress, Open: true}},
		"refused another cancel before the stop":                     {rule, &refusedAnother, false, Entry{Bucket: InProgress, Open: true}},
		"failed, without a resume":                                   {rule, &failure, false, Entry{Bucket: Failed, FailedSinceResume: true, Failure: action.Failure{Code: "17"}, FailedAt: failedAt}},
		"failed at the time of the resume":                           {resumed, &failure, false, Entry{Bucket: Failed, Failure: action.Failure{Code: "17"}, FailedAt: failedAt}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{}
			if tt.action != nil {
				target.Status.Actions = []v1alpha1.Action{*tt.action}
			}
			if diff := cmp.Diff(tt.want, NewCounter(tt.rule).EntryOf(target, Member{Superseded: tt.superseded})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestTheTallyEqualsARecount: a tally that is updated by each report equals a recount, except for
// the examples and times of failures.
func TestTheTallyEqualsARecount(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		rule := Rule{UID: "r", Since: epoch, Open: true}
		counter := NewCounter(rule)
		g := &v1alpha1.DeploymentGroup{}
		members := make([]*v1alpha1.Target, 50)
		entries := make([]Entry, 50)
		var tally Tally
		for i := range members {
			g.Spec.Targets = append(g.Spec.Targets, v1alpha1.TargetName(fmt.Sprint("dev-", i)))
			members[i] = &v1alpha1.Target{}
			entries[i] = counter.EntryOf(members[i], Member{})
			tally.Add(entries[i], string(g.Spec.Targets[i]))
		}
		states := []v1alpha1.ActionState{"Retrieved", "Canceling", "Finished", "Error", "Canceled", "WaitingForConfirmation"}
		for range 2000 {
			i := random.IntN(len(members))
			members[i] = &v1alpha1.Target{}
			switch random.IntN(10) {
			case 0:
				members[i] = nil
			default:
				a := act(1, "r", 0, states[random.IntN(len(states))])
				a.StatusCode = fmt.Sprint(random.IntN(3))
				members[i].Status.Actions = []v1alpha1.Action{a}
			}
			entry := counter.EntryOf(members[i], Member{})
			tally.Remove(entries[i], string(g.Spec.Targets[i]))
			tally.Add(entry, string(g.Spec.Targets[i]))
			entries[i] = entry
			approximate := cmpopts.IgnoreFields(v1alpha1.FailureCount{}, "Examples", "FirstSeen", "LastSeen")
			if diff := cmp.Diff(Recount(g, rule, members), tally, approximate, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("-recount +tally:\n%s", diff)
			}
			for code, line := range tally.Failures {
				if len(line.Examples) > MaxExamples || len(line.Examples) > int(line.Count) {
					t.Fatalf("%+v: %d examples of %d", code, len(line.Examples), line.Count)
				}
			}
		}
	})
}

func TestCloneDoesNotChangeWithItsTally(t *testing.T) {
	var tally Tally
	failure := Entry{Bucket: Failed, Failure: action.Failure{Code: "17"}, FailedAt: epoch.Unix()}
	tally.Add(failure, "dev-1")
	clone := tally.Clone()
	tally.Add(failure, "dev-2")
	tally.Remove(failure, "dev-1")
	if line := clone.Failures[action.Failure{Code: "17"}]; line.Count != 1 || len(line.Examples) != 1 || line.Examples[0] != "dev-1" {
		t.Errorf("the clone has %+v", line)
	}
}

// BenchmarkApplyOneReport counts one report. The time must not depend on the size of the group:
// compare ns/op of the two.
func BenchmarkApplyOneReport(b *testing.B) {
	for _, n := range []int{1000, 100000} {
		b.Run(fmt.Sprintf("%d targets", n), func(b *testing.B) {
			rule := Rule{UID: "r", DistributionSet: "firmware-2", Since: epoch, Open: true}
			counter := NewCounter(rule)
			var tally Tally
			targets, names, entries := make([]*v1alpha1.Target, n), make([]string, n), make([]Entry, n)
			for i := range n {
				targets[i], names[i] = &v1alpha1.Target{}, fmt.Sprint("dev-", i)
				targets[i].Status.Actions = []v1alpha1.Action{act(1, "r", 0, v1alpha1.ActionRunning)}
				entries[i] = counter.EntryOf(targets[i], Member{})
				tally.Add(entries[i], names[i])
			}
			reported := []v1alpha1.Action{
				act(1, "r", 0, v1alpha1.ActionFinished),
				failedWith(act(1, "r", 0, v1alpha1.ActionError), "17", 1),
				act(1, "r", 0, v1alpha1.ActionDownloading),
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				// The same thousand devices report, so that what the processor's caches hold is the
				// same in both.
				place := n - 1000 + i%1000
				targets[place].Status.Actions[0] = reported[i%len(reported)]
				entry := counter.EntryOf(targets[place], Member{})
				tally.Remove(entries[place], names[place])
				tally.Add(entry, names[place])
				entries[place] = entry
				i++
			}
		})
	}
}
