// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

const (
	soft  = v1alpha1.CancellationSoft
	force = v1alpha1.CancellationForce
	none  = v1alpha1.CancellationNone
)

// TestEveryReason reaches each code by the smallest story there is. Of is the intent whose verdict
// is meant; empty: the offer.
func TestEveryReason(t *testing.T) {
	stories := map[eligibility.Code]struct {
		steps []step
		of    string
		says  string
	}{
		CodeDeploy:                     {[]step{set("fw"), rollout("r", 1, "fw")}, "", "rollout r (group group-1) offers fw"},
		CodeResume:                     {[]step{set("fw"), rollout("r", 1, "fw"), takes}, "", "action 100 has started"},
		CodeCancel:                     {[]step{set("fw"), rollout("r", 1, "fw"), takes, cancels(100, soft)}, "", "action 100 is to be canceled (Requested)"},
		CodeConfirm:                    {[]step{set("fw"), rollout("r", 1, "fw", confirmed)}, "", "needs confirmation"},
		CodeNothingWanted:              {nil, "", "no rollout"},
		eligibility.CodeHold:           {[]step{set("fw"), rollout("r", 1, "fw"), holds(true)}, "", "spec.hold"},
		eligibility.CodeNotReady:       {[]step{set("fw"), rollout("r", 1, "fw"), duplicate}, "", "older"},
		eligibility.CodeSetNotFound:    {[]step{rollout("r", 1, "fw")}, "", "fw does not exist: create it"},
		eligibility.CodeSetNotReady:    {[]step{set("fw", notReady), rollout("r", 1, "fw")}, "", "not ready: it has no modules"},
		eligibility.CodeSetInvalid:     {[]step{set("fw", invalid(soft, hour(2))), assignment(1, "fw")}, "", "invalidated (Soft)"},
		eligibility.CodeContentChanged: {[]step{set("fw"), rollout("r", 1, "fw", planned("other"))}, "", "planned"},
		eligibility.CodeIncompatible:   {[]step{set("fw", fits("gateway")), rollout("r", 1, "fw"), ofType("router")}, "", `target type "router": its compatibleTargetTypes are [gateway]`},
		eligibility.CodeNotStarted:     {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeNotStarted))}, "", "closed"},
		eligibility.CodeStabilizing:    {[]step{set("fw"), assignment(1, "fw", closedFor(eligibility.CodeStabilizing))}, "", "closed"},
		eligibility.CodePaused:         {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodePaused))}, "", "closed"},
		eligibility.CodeFinished:       {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeFinished))}, "", "closed"},
		eligibility.CodeStopped:        {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeStopped))}, "", "closed"},
		eligibility.CodeGroupNotOpen:   {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeGroupNotOpen))}, "", "closed"},
		eligibility.CodeSuperseded:     {[]step{set("fw"), set("new"), rollout("r", 1, "fw"), rollout("s", 2, "new")}, "r", "the newer rollout s (group group-1) replaces rollout r"},
		eligibility.CodeSkipped:        {[]step{set("fw"), rollout("r", 1, "fw", skipped)}, "", "left its group"},
		eligibility.CodeWindowClosed:   {[]step{set("fw"), rollout("r", 1, "fw", within("0 2 * * *", time.Hour))}, "", "opens at 2026-03-03T02:00:00Z"},
		eligibility.CodeDeadlinePassed: {[]step{set("fw"), rollout("r", 1, "fw", expired)}, "", "counts as failed"},
		eligibility.CodeAlreadyThere:   {[]step{set("fw"), rollout("r", 1, "fw"), runs("fw", true)}, "", "already installed"},
		eligibility.CodeDone:           {[]step{set("fw"), rollout("r", 1, "fw"), carriesOut}, "", "carried out as action 100"},
		eligibility.CodeFailed:         {[]step{set("fw"), rollout("r", 1, "fw"), fails}, "", `failed with code "17"`},
		eligibility.CodeRetrying:       {[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails}, "", "next attempt is at 2026-03-02T12:01:00Z"},
		eligibility.CodeCanceled:       {[]step{set("fw"), rollout("r", 1, "fw"), takes, cancels(100, soft), comesBy, reports(action.CancelAccepted)}, "", "action 100 of rollout r (group group-1) was canceled"},
		eligibility.CodeBusy:           {[]step{set("fw"), set("new"), rollout("r", 1, "fw"), takes, rollout("s", 2, "new", queued(1))}, "s", "waits until action 100 (fw)"},
		eligibility.CodeWaitingForStep: {[]step{set("mig", migrationStep), set("new"), rollout("r", 1, "mig", closedFor(eligibility.CodePaused)), rollout("s", 2, "new")}, "s", "required migration step mig of rollout r"},
		eligibility.CodeAlreadyHad:     {[]step{set("fw"), auto("a", 1, "fw"), had("fw")}, "", "offers a set once"},
		CodeSetGone:                    {[]step{set("fw"), rollout("r", 1, "fw"), takes, loseSet("fw"), comesBy, reports(action.CancelRejected)}, "", "fw of action 100 is gone"},
	}
	for code, c := range stories {
		t.Run(string(code), func(t *testing.T) {
			s := tell(t, c.steps...)
			reason := s.offer().Reason
			if c.of != "" {
				reason = s.verdict(c.of)
			}
			if reason.Code != code || !strings.Contains(reason.Message, c.says) {
				t.Errorf("got %s %q, want a sentence with %q", reason.Code, reason.Message, c.says)
			}
		})
	}
	for _, code := range codesInSource(t) {
		if _, ok := stories[code]; !ok {
			t.Errorf("no story reaches %s", code)
		}
	}
}

// codesInSource reads the codes from the source, so that a new one cannot be forgotten here.
func codesInSource(t *testing.T) []eligibility.Code {
	var codes []eligibility.Code
	for _, name := range []string{"codes.go", "../eligibility/code.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
				return true
			}
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, eligibility.Code(code))
			return true
		})
	}
	if len(codes) < 25 {
		t.Fatalf("found only %d codes", len(codes))
	}
	return codes
}

func (s *story) verdict(name string) eligibility.Reason {
	s.t.Helper()
	for _, v := range Judge(s.world()) {
		if v.Intent.Source.Name == name {
			return v.Reason
		}
	}
	s.t.Fatalf("no verdict on %s", name)
	return eligibility.Reason{}
}

func duplicate(s *story) {
	s.target.Status.Conditions = append(s.target.Status.Conditions,
		metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Message: "target dev-0 is older"})
}

func notReady(x *eligibility.Set) { x.Deployable, x.NotDeployable = false, "it has no modules" }

func planned(content string) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) { in.PlannedHash = hash(content) }
}

func fits(types ...string) func(*eligibility.Set) {
	return func(x *eligibility.Set) { x.CompatibleTargetTypes = types }
}

func ofType(name string) step { return spec(func(t *v1alpha1.Target) { t.Spec.Type = name }) }

func had(content string) step {
	return spec(func(t *v1alpha1.Target) { t.Status.HadSets = []string{hash(content)[:16]} })
}

// TestOrder: pending applies, then what has started, then a cancel by force, then the winning
// intent.
func TestOrder(t *testing.T) {
	type story = struct {
		steps []step
		want  told
	}
	both := []step{set("old"), set("new"), rollout("r", 1, "old"), rollout("s", 2, "new")}
	then := func(steps ...step) []step { return slices.Concat(both, steps) }
	check(t, map[string]story{
		"the newest update wins": {both, told{Deploy, CodeDeploy, 100, "new"}},
		"a single assignment that is newer than every rollout wins": {
			then(set("mine"), assignment(3, "mine")), told{Deploy, CodeDeploy, 100, "mine"}},
		"a stopped newest update gives way to the one before": {
			then(stops("s", soft, v1alpha1.CauseStopped)), told{Deploy, CodeDeploy, 100, "old"}},
		"a paused newest update holds, and nobody falls back": {
			then(pauses("s")), told{Nothing, eligibility.CodePaused, 0, ""}},
		"an older update is dead once a newer one was carried out": {
			then(carriesOut, withdrawn("s")), told{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"an older update is dead also when the newer one failed": {
			then(fails, withdrawn("s")), told{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"an update of equal age from another source is dead": {
			[]step{set("a"), set("b"), rollout("r", 1, "a"), carriesOut, withdrawn("r"), rollout("s", 1, "b")}, told{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"an update that has not started is neither dead nor superseded": {
			then(carriesOut, withdrawn("r"), set("next"), rollout("t", 9, "next", closedFor(eligibility.CodeNotStarted))), told{Nothing, eligibility.CodeNotStarted, 0, ""}},
		"what has started goes on outside its window": {
			[]step{set("fw"), rollout("r", 1, "fw", within("0 12 * * *", time.Minute)), takes, later(time.Hour)}, told{Deploy, CodeResume, 100, "fw"}},
		"what has started goes on while the target is on hold": {
			then(takes, holds(true)), told{Deploy, CodeResume, 100, "new"}},
		"what has started goes on while its rollout is paused": {
			then(takes, pauses("s")), told{Deploy, CodeResume, 100, "new"}},
		"what has started goes on after a stop without cancellation": {
			then(takes, stops("s", none, v1alpha1.CauseStopped)), told{Deploy, CodeResume, 100, "new"}},
		"a cancel goes before the deployment that is to come (W-20)": {
			[]step{set("old"), rollout("r", 1, "old"), takes, set("new"), rollout("s", 2, "new", queued(1000)), cancels(100, soft)},
			told{Cancel, CodeCancel, 100, ""}},
		"a stop applies before anything is answered": {
			then(takes, stops("s", soft, v1alpha1.CauseStopped)), told{Cancel, CodeCancel, 100, ""}},
		"a cancel by force stays on offer though the action is closed": {
			then(takes, cancels(100, force), comesBy, set("next"), rollout("t", 3, "next")), told{Cancel, CodeCancel, 100, ""}},
		"a cancel by force that was accepted makes room": {
			then(takes, cancels(100, force), comesBy, reports(action.CancelAccepted), set("next"), rollout("t", 3, "next")), told{Deploy, CodeDeploy, 101, "next"}},
		"a cancel by force that was refused makes room": {
			then(takes, cancels(100, force), comesBy, reports(action.CancelRejected), set("next"), rollout("t", 3, "next")), told{Deploy, CodeDeploy, 101, "next"}},
		"a cancel by force that met a result makes room": {
			then(takes, reports(action.Install), cancels(100, force), comesBy, reports(action.Succeed), set("next"), rollout("t", 3, "next")), told{Deploy, CodeDeploy, 101, "next"}},
		"a cancel by force that nobody answers is given up at its deadline": {
			[]step{set("fw"), rollout("r", 1, "fw", deadlines(86400, 3600)), takes, cancels(100, force), comesBy, set("next"), rollout("t", 3, "next"), later(time.Hour)},
			told{Deploy, CodeDeploy, 101, "next"}},
		"a cancel by force holds until just before its deadline": {
			[]step{set("fw"), rollout("r", 1, "fw", deadlines(86400, 3600)), takes, cancels(100, force), comesBy, set("next"), rollout("t", 3, "next"), later(time.Hour - time.Second)},
			told{Cancel, CodeCancel, 100, ""}},
		"the set of what has started is gone": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, loseSet("fw")}, told{Cancel, CodeCancel, 100, ""}},
		"a module of what has started is gone": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", func(x *eligibility.Set) { x.Changed = true })}, told{Cancel, CodeCancel, 100, ""}},
		"the set of what has started has another content": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", content("other"))}, told{Cancel, CodeCancel, 100, ""}},
		"a set of what has started that is only not Ready any more goes on": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", notReady)}, told{Deploy, CodeResume, 100, "fw"}},
		"a duplicate target starts nothing": {
			then(duplicate), told{Nothing, eligibility.CodeNotReady, 0, ""}},
		"a target without an id starts nothing": {
			then(spec(func(t *v1alpha1.Target) { t.Status.NextActionID = 0 })), told{Nothing, eligibility.CodeNotReady, 0, ""}},
		"a target on hold starts nothing": {
			then(holds(true)), told{Nothing, eligibility.CodeHold, 0, ""}},
		"a target that is released starts": {
			then(holds(true), comesBy, holds(false)), told{Deploy, CodeDeploy, 100, "new"}},
		"a target without a type fits every set": {
			[]step{set("fw", fits("gateway")), rollout("r", 1, "fw")}, told{Deploy, CodeDeploy, 100, "fw"}},
		"a target of the right type fits": {
			[]step{set("fw", fits("router", "gateway")), rollout("r", 1, "fw"), ofType("gateway")}, told{Deploy, CodeDeploy, 100, "fw"}},
		"what was already there when the group opened stays that, whatever runs now": {
			[]step{set("fw"), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.AlreadyThere = true }), runs("other", true)}, told{Nothing, eligibility.CodeAlreadyThere, 0, ""}},
		"an older assignment does not bring back what a newer rollout, whose group has not opened, is past": {
			[]step{set("old"), set("new"), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("new", true)}, told{Nothing, eligibility.CodeGroupNotOpen, 0, ""}},
		"nor does an older auto-assignment": {
			[]step{set("old"), set("new"), auto("a", 1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("new", true)}, told{Nothing, eligibility.CodeGroupNotOpen, 0, ""}},
		"an auto-assignment that waits for newer rollouts keeps older ones away": {
			[]step{set("old"), set("new"), rollout("r", 1, "old"), auto("a", 2, "new", closedFor(eligibility.CodeStabilizing))}, told{Nothing, eligibility.CodeStabilizing, 0, ""}},
		"an older auto-assignment stays behind a newer one whose set the target had": {
			[]step{set("old"), set("new"), auto("a", 1, "old"), auto("b", 2, "new"), had("new")}, told{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"unless the newer one is paused": {
			[]step{set("old"), set("new"), auto("a", 1, "old"), auto("b", 2, "new", closedFor(eligibility.CodePaused)), had("new")}, told{Deploy, CodeDeploy, 100, "old"}},
		"or its set is invalid": {
			[]step{set("old"), set("new", invalid(soft, hour(3))), auto("a", 1, "old"), auto("b", 2, "new"), had("new")}, told{Deploy, CodeDeploy, 100, "old"}},
		"a newer auto-assignment follows an older one that was faster on a new target": {
			[]step{set("old"), set("new"), auto("a", 5, "old", placed(1)), takes, reports(action.Install), reports(action.Succeed), auto("b", 5, "new", placed(2))}, told{Deploy, CodeDeploy, 101, "new"}},
		"and an older one does not follow a newer": {
			[]step{set("old"), set("new"), auto("b", 5, "new", placed(2)), takes, reports(action.Install), reports(action.Succeed), auto("a", 5, "old", placed(1))}, told{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"until that group opens, an older assignment is given to who runs something else": {
			[]step{set("old"), set("new"), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("other", true)}, told{Deploy, CodeDeploy, 100, "old"}},
		"a newer rollout that was stopped keeps no older assignment away": {
			[]step{set("old"), set("new"), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeStopped)), runs("new", true)}, told{Deploy, CodeDeploy, 100, "old"}},
		"a newer rollout of an invalid set keeps no older assignment away": {
			[]step{set("old"), set("new", invalid(soft, hour(3))), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("new", true)}, told{Deploy, CodeDeploy, 100, "old"}},
		"a newer assignment whose window never opens keeps nothing older away": {
			[]step{set("old"), set("new"), rollout("r", 1, "old"), assignment(2, "new", within("0 2 30 2 *", time.Hour))}, told{Deploy, CodeDeploy, 100, "old"}},
		"a newer assignment whose window opens tonight does": {
			[]step{set("old"), set("new"), rollout("r", 1, "old"), assignment(2, "new", within("0 2 * * *", time.Hour))}, told{Nothing, eligibility.CodeWindowClosed, 0, ""}},
		"a newer assignment brings back what is older than the rollout": {
			[]step{set("old"), set("new"), rollout("r", 1, "new"), assignment(2, "old"), runs("new", true)}, told{Deploy, CodeDeploy, 100, "old"}},
		"a reinstallation does not ask what is there": {
			[]step{set("fw"), rollout("r", 1, "fw", reinstalls), runs("fw", true)}, told{Deploy, CodeDeploy, 100, "fw"}},
		"an inconsistent target gets again what it runs": {
			[]step{set("fw"), rollout("r", 1, "fw"), runs("fw", false)}, told{Deploy, CodeDeploy, 100, "fw"}},
		"another set with the same content is already there": {
			[]step{set("duplicate", content("fw")), rollout("r", 1, "duplicate"), runs("fw", true)}, told{Nothing, eligibility.CodeAlreadyThere, 0, ""}},
		"a start deadline does not end what has started, and is retried": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0)), fails, rollout("r", 1, "fw", retries(1, 0), expired)}, told{Deploy, CodeDeploy, 101, "fw"}},
		"a member that missed its start keeps nothing older away": {
			then(rollout("s", 2, "new", expired)), told{Deploy, CodeDeploy, 100, "old"}},
	})
}

// TestSpent: an intent has its action, and no second one.
func TestSpent(t *testing.T) {
	type story = struct {
		steps []step
		want  told
	}
	check(t, map[string]story{
		"an attempt is left, and its backoff is over": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, later(time.Minute)}, told{Deploy, CodeDeploy, 101, "fw"}},
		"all attempts are used up": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0)), fails, fails}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"two further attempts are three in all": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(2, 0)), fails, fails, fails}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"a failure of another code is not tried again": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0, "18")), fails}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"a failure of a named code is tried again": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0, "18", "17")), fails}, told{Deploy, CodeDeploy, 101, "fw"}},
		"an absent backoff is ten minutes": {
			[]step{set("fw"), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.Update.Retries = &v1alpha1.Retries{Limit: 1} }), fails, later(599 * time.Second)}, told{Nothing, eligibility.CodeRetrying, 0, ""}},
		"a retry names a failure from before it": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute))), later(time.Hour)}, told{Deploy, CodeDeploy, 101, "fw"}},
		"a retry is no licence for failures after it": {
			[]step{set("fw"), rollout("r", 1, "fw", retryAsked(noon)), fails}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"a retry of other codes is none of this target": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute), "99")), later(time.Hour)}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"a retry brings back nothing that was canceled": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, cancels(100, soft), comesBy, reports(action.CancelAccepted), rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute))), later(time.Hour)},
			told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"a retry does not bring back what a newer rollout took over": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute)), func(in *eligibility.Intent) { in.Superseded = true }), later(time.Hour)},
			told{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"nor when a newer update has started since": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, set("new"), assignment(2, "new"), fails}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"who did not come back for an attempt in time gets none": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, rollout("r", 1, "fw", retries(1, 60), abandoned), later(time.Hour)}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"nor by a retry from before": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute)), abandoned), later(time.Hour)}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"a retry asks again where nobody agreed in time": {
			[]step{set("fw"), rollout("r", 1, "fw", confirmed), takes, rollout("r", 1, "fw", confirmed, expired), comesBy, rollout("r", 1, "fw", confirmed, forgiven)},
			told{Confirm, CodeConfirm, 101, "fw"}},
		"but not where somebody canceled the question": {
			[]step{set("fw"), rollout("r", 1, "fw", confirmed), takes, cancels(100, soft), comesBy, rollout("r", 1, "fw", confirmed, forgiven)}, told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"an attempt that is left is none when the rollout is stopped": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, stops("r", soft, v1alpha1.CauseStopped)}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"nor when a newer rollout took the target over": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, rollout("r", 1, "fw", retries(1, 60), func(in *eligibility.Intent) { in.Superseded = true })}, told{Nothing, eligibility.CodeFailed, 0, ""}},
		"the same set assigned anew is a new assignment": {
			[]step{set("fw"), assignment(1, "fw"), fails, assignment(2, "fw")}, told{Deploy, CodeDeploy, 101, "fw"}},
		"an auto-assignment that is given another set offers it": {
			[]step{set("fw"), auto("a", 1, "fw"), carriesOut, set("next"), auto("a", 1, "next")}, told{Deploy, CodeDeploy, 101, "next"}},
		"an auto-assignment offers nothing a rollout has brought before": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, withdrawn("r"), auto("a", 2, "fw")}, told{Nothing, eligibility.CodeAlreadyHad, 0, ""}},
	})
}

// TestRetryCounts: each attempt knows its number.
func TestRetryCounts(t *testing.T) {
	s := tell(t, set("fw"), rollout("r", 1, "fw", retries(5, 0)), fails, fails, takes)
	var attempts []int32
	for _, a := range s.target.Status.Actions {
		attempts = append(attempts, a.Source.Attempt)
	}
	if diff := cmp.Diff([]int32{1, 2, 3}, attempts); diff != "" {
		t.Error(diff)
	}
}

// TestQueue: the fifth seed's two campaigns, weight 90 for what goes first and 20 for what goes
// after it.
func TestQueue(t *testing.T) {
	campaigns := []step{set("base"), set("addon"), rollout("first", 1, "base", weighing(90)), rollout("second", 2, "addon", queued(20))}
	then := func(steps ...step) []step { return slices.Concat(campaigns, steps) }
	type story = struct {
		steps []step
		want  told
	}
	check(t, map[string]story{
		"the heavier campaign goes first":         {campaigns, told{Deploy, CodeDeploy, 100, "base"}},
		"then the lighter one":                    {then(carriesOut), told{Deploy, CodeDeploy, 101, "addon"}},
		"then nothing is left":                    {then(carriesOut, carriesOut), told{Nothing, eligibility.CodeDone, 0, ""}},
		"the lighter one also after a failure":    {then(fails), told{Deploy, CodeDeploy, 101, "addon"}},
		"the lighter one while the first waits":   {then(pauses("first")), told{Deploy, CodeDeploy, 100, "addon"}},
		"the first is not dead after the lighter": {then(pauses("first"), carriesOut, rollout("first", 1, "base", weighing(90))), told{Deploy, CodeDeploy, 101, "base"}},
		"queued updates of equal weight go oldest first": {
			[]step{set("base"), set("addon"), rollout("first", 1, "base", queued(50)), rollout("second", 2, "addon", queued(50))}, told{Deploy, CodeDeploy, 100, "base"}},
		"a weight that is absent is 1000": {
			[]step{set("base"), set("addon"), rollout("first", 1, "base", queued(999)), rollout("second", 2, "addon", func(in *eligibility.Intent) { in.Update.Superseding = v1alpha1.SupersedingQueue })},
			told{Deploy, CodeDeploy, 100, "addon"}},
		"a queued update does not touch what has started": {
			then(takes), told{Deploy, CodeResume, 100, "base"}},
		"an update that replaces sweeps the queue": {
			then(set("hotfix"), rollout("third", 3, "hotfix", weighing(1))), told{Deploy, CodeDeploy, 100, "hotfix"}},
		"an update that replaces cancels what a queued one has started": {
			then(carriesOut, takes, set("hotfix"), rollout("third", 3, "hotfix")), told{Cancel, CodeCancel, 101, ""}},
		"an update that replaces does so also while a heavier one is queued beside it": {
			[]step{set("old"), rollout("zero", 1, "old"), takes, set("base"), set("addon"), rollout("first", 2, "base", weighing(1)), rollout("second", 3, "addon", queued(900))},
			told{Cancel, CodeCancel, 100, ""}},
		"a newer update that has not opened yet leaves the queue as it is": {
			then(set("hotfix"), rollout("third", 3, "hotfix", closedFor(eligibility.CodeGroupNotOpen))), told{Deploy, CodeDeploy, 100, "base"}},
	})
}

// TestMigrationStep: a release that must not be skipped.
func TestMigrationStep(t *testing.T) {
	type story = struct {
		steps []step
		want  told
	}
	sets := []step{set("mig", migrationStep), set("mig2", migrationStep), set("new")}
	then := func(steps ...step) []step { return slices.Concat(sets, steps) }
	check(t, map[string]story{
		"it goes before newer updates": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "new")), told{Deploy, CodeDeploy, 100, "mig"}},
		"newer updates follow": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "new"), carriesOut), told{Deploy, CodeDeploy, 101, "new"}},
		"newer updates wait while it is paused": {
			then(rollout("r", 1, "mig", closedFor(eligibility.CodePaused)), rollout("s", 2, "new")), told{Nothing, eligibility.CodePaused, 0, ""}},
		"newer updates do not wait for a group that has not opened": {
			then(rollout("r", 1, "mig", closedFor(eligibility.CodeGroupNotOpen)), rollout("s", 2, "new")), told{Deploy, CodeDeploy, 100, "new"}},
		"newer updates do not wait for what does not fit": {
			then(set("mig", migrationStep, fits("gateway")), ofType("router"), rollout("r", 1, "mig"), rollout("s", 2, "new")), told{Deploy, CodeDeploy, 100, "new"}},
		"newer updates do not wait for what was invalidated": {
			then(set("mig", migrationStep, invalid(force, hour(3))), rollout("r", 1, "mig"), rollout("s", 2, "new")), told{Deploy, CodeDeploy, 100, "new"}},
		"newer updates go on after it has failed for good": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "new"), fails), told{Deploy, CodeDeploy, 101, "new"}},
		"of two, the older goes first": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "mig2"), rollout("t", 3, "new")), told{Deploy, CodeDeploy, 100, "mig"}},
		"of two, the newer waits while the older does": {
			then(rollout("r", 1, "mig", closedFor(eligibility.CodePaused)), rollout("s", 2, "mig2")), told{Nothing, eligibility.CodePaused, 0, ""}},
		"it is not superseded once it has started": {
			then(rollout("r", 1, "mig"), takes, rollout("s", 2, "new")), told{Deploy, CodeResume, 100, "mig"}},
		"it is not superseded, also when its rollout is gone": {
			then(rollout("r", 1, "mig"), takes, withdrawn("r"), rollout("s", 2, "new")), told{Deploy, CodeResume, 100, "mig"}},
		"it is not dead when a newer update failed": {
			then(rollout("s", 2, "new"), fails, rollout("r", 1, "mig")), told{Deploy, CodeDeploy, 101, "mig"}},
		"it is dead once a newer update has succeeded": {
			then(rollout("s", 2, "new"), carriesOut, rollout("r", 1, "mig")), told{Nothing, eligibility.CodeSuperseded, 0, ""}},
	})
}

// TestConfirmation: what waits for a person at the device has not started.
func TestConfirmation(t *testing.T) {
	type story = struct {
		steps []step
		want  told
	}
	asked := []step{set("fw"), rollout("r", 1, "fw", confirmed), takes}
	then := func(steps ...step) []step { return slices.Concat(asked, steps) }
	always := spec(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
	active := spec(func(t *v1alpha1.Target) { t.Status.AutoConfirm = &v1alpha1.AutoConfirmStatus{Active: true} })
	check(t, map[string]story{
		"it is asked for under the id that will be given":   {asked[:2], told{Confirm, CodeConfirm, 100, "fw"}},
		"it stays asked for":                                {asked, told{Confirm, CodeConfirm, 100, "fw"}},
		"spec.autoConfirm Always asks nobody":               {[]step{asked[0], asked[1], always}, told{Deploy, CodeDeploy, 100, "fw"}},
		"a device that confirms by itself is not asked":     {[]step{asked[0], asked[1], active}, told{Deploy, CodeDeploy, 100, "fw"}},
		"one that starts to confirm by itself goes on":      {then(active), told{Deploy, CodeResume, 100, "fw"}},
		"spec.autoConfirm Always confirms what waits":       {then(always), told{Deploy, CodeResume, 100, "fw"}},
		"but not what is paused":                            {then(pauses("r"), always), told{Nothing, eligibility.CodePaused, 0, ""}},
		"nor what is stopped, whatever started ones do":     {then(stops("r", none, v1alpha1.CauseStopped), always), told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"agreed, it goes on":                                {then(reports(action.Confirm)), told{Deploy, CodeResume, 100, "fw"}},
		"denied, it stays asked for":                        {then(reports(action.Deny)), told{Confirm, CodeConfirm, 100, "fw"}},
		"a pause asks nobody":                               {then(pauses("r")), told{Nothing, eligibility.CodePaused, 0, ""}},
		"a hold asks nobody, also who confirms by itself":   {then(active, holds(true)), told{Nothing, eligibility.CodeHold, 0, ""}},
		"a stop that lets go on what has started closes it": {then(stops("r", none, v1alpha1.CauseStopped)), told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"a rollout that is gone closes it": {
			then(withdrawn("r"), func(s *story_) {
				s.origins["uid-r"] = cancellation.Request{Cause: v1alpha1.CauseDeleted, Cancellation: none}
			}), told{Nothing, CodeNothingWanted, 0, ""}},
		"an assignment that is gone closes it": {
			[]step{set("fw"), assignment(1, "fw", confirmed), takes, withdrawn("dev")}, told{Nothing, CodeNothingWanted, 0, ""}},
		"a start deadline closes it":                    {then(rollout("r", 1, "fw", confirmed, expired)), told{Nothing, eligibility.CodeDeadlinePassed, 0, ""}},
		"a group that is left closes it":                {then(rollout("r", 1, "fw", confirmed, skipped)), told{Nothing, eligibility.CodeSkipped, 0, ""}},
		"what the device installed by itself closes it": {then(runs("fw", true)), told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"a rollout that is over closes it":              {then(rollout("r", 1, "fw", confirmed, closedFor(eligibility.CodeStopped))), told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"a newer update closes it, also one that waits": {
			then(set("new"), rollout("s", 2, "new", closedFor(eligibility.CodePaused))), told{Nothing, eligibility.CodePaused, 0, ""}},
		"a newer update for the same content is asked for anew": {
			then(set("duplicate", content("fw")), rollout("s", 2, "duplicate", confirmed)), told{Confirm, CodeConfirm, 101, "duplicate"}},
		"an invalidation with None closes what did not start before": {
			[]step{set("fw"), assignment(1, "fw", confirmed), takes, editSet("fw", invalid(none, noon))}, told{Nothing, eligibility.CodeCanceled, 0, ""}},
		"an invalidation with None leaves what started before": {
			then(editSet("fw", invalid(none, noon))), told{Confirm, CodeConfirm, 100, "fw"}},
	})
}

// TestWorkDoneWithoutLeave: what a hold keeps from being asked is not confirmed behind its back.
func TestWorkDoneWithoutLeave(t *testing.T) {
	s := tell(t, set("fw"), rollout("r", 1, "fw", confirmed), takes, holds(true),
		spec(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways }), comesBy)
	if a := action.Open(&s.target.Status); a == nil || a.State.HasStarted() {
		t.Errorf("the action has started under spec.hold: %+v", a)
	}
}

// TestWordsOfConfirmation: people see who agreed in whose name, and who has said no.
func TestWordsOfConfirmation(t *testing.T) {
	asked := []step{set("fw"), rollout("r", 1, "fw", confirmed), takes}
	active := func(initiator string) step {
		return spec(func(t *v1alpha1.Target) {
			t.Status.AutoConfirm = &v1alpha1.AutoConfirmStatus{Active: true, Initiator: initiator}
		})
	}
	always := spec(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
	for name, c := range map[string]struct {
		steps           []step
		offered, stored string
	}{
		"nobody has answered": {nil, "action 100 waits for confirmation at the device", ""},
		"it was denied":       {[]step{reports(action.Deny)}, "action 100 waits for confirmation at the device, where it was denied at 2026-03-02T12:00:00Z", ""},
		"the manifest agrees": {[]step{always}, "action 100 has started and goes on", "confirmed without asking: spec.autoConfirm is Always"},
		"the device agrees":   {[]step{active("")}, "action 100 has started and goes on", "confirmed without asking: auto-confirm is active at the device"},
		"somebody made it":    {[]step{active("ada")}, "action 100 has started and goes on", "confirmed without asking: auto-confirm is active at the device, activated by ada"},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, slices.Concat(asked, c.steps)...)
			if got := s.offer().Reason.Message; got != c.offered {
				t.Errorf("the reason is %q, want %q", got, c.offered)
			}
			if got := action.Newest(&s.target.Status).Message; got != c.stored {
				t.Errorf("the action says %q, want %q", got, c.stored)
			}
		})
	}
}

// story_ lets tables name the type story for themselves.
type story_ = story

// TestW19_WhatHasNotStartedOfAnInvalidSet is the table of the first seed, for what has not started.
func TestW19_WhatHasNotStartedOfAnInvalidSet(t *testing.T) {
	type story = struct {
		steps []step
		want  told
	}
	deploy, refused := told{Deploy, CodeDeploy, 100, "fw"}, told{Nothing, eligibility.CodeSetInvalid, 0, ""}
	check(t, map[string]story{
		"None, the rollout started before":      {[]step{set("fw", invalid(none, hour(5))), rollout("r", 1, "fw")}, deploy},
		"None, the rollout started after":       {[]step{set("fw", invalid(none, hour(5))), rollout("r", 6, "fw")}, refused},
		"None, the rollout started that second": {[]step{set("fw", invalid(none, hour(1))), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.StartedAt = hour(1).Add(time.Second - 1) })}, deploy},
		"None, not noted yet, and has started":  {[]step{set("fw", invalid(none, time.Time{})), rollout("r", 1, "fw")}, deploy},
		"None, a single assignment from before": {[]step{set("fw", invalid(none, hour(5))), assignment(1, "fw")}, refused},
		"None, an auto-assignment from before":  {[]step{set("fw", invalid(none, hour(5))), auto("a", 1, "fw")}, refused},
		"Soft, the rollout started before":      {[]step{set("fw", invalid(soft, hour(5))), rollout("r", 1, "fw")}, refused},
		"Force, the rollout started before":     {[]step{set("fw", invalid(force, hour(5))), rollout("r", 1, "fw")}, refused},
		"Force, a single assignment":            {[]step{set("fw", invalid(force, hour(5))), assignment(1, "fw")}, refused},
		"None, started":                         {[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(none, noon))}, told{Deploy, CodeResume, 100, "fw"}},
		"None, started from an assignment":      {[]step{set("fw"), assignment(1, "fw"), takes, editSet("fw", invalid(none, noon))}, told{Deploy, CodeResume, 100, "fw"}},
		"Soft, started":                         {[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(soft, noon))}, told{Cancel, CodeCancel, 100, ""}},
		"Soft, started and refused":             {[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(soft, noon)), comesBy, reports(action.CancelRejected)}, told{Deploy, CodeResume, 100, "fw"}},
		"Force, started":                        {[]step{set("fw"), auto("a", 1, "fw"), takes, editSet("fw", invalid(force, noon))}, told{Cancel, CodeCancel, 100, ""}},
	})
}

// TestForcedByForce: Force closes at once, and nobody knows how far the device got.
func TestForcedByForce(t *testing.T) {
	s := tell(t, set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(force, noon)), comesBy)
	a := action.ByID(&s.target.Status, 100)
	if a.State != v1alpha1.ActionCanceled || action.IsConsistent(&s.target.Status) {
		t.Errorf("action is %s, consistent %v", a.State, action.IsConsistent(&s.target.Status))
	}
}

// TestUrgency: a device that is not consistent is served as forced.
func TestUrgency(t *testing.T) {
	at := metav1.NewTime(noon)
	for name, c := range map[string]struct {
		update     v1alpha1.ActionUpdate
		consistent bool
		want       bool
	}{
		"forced":                              {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeForced}, true, true},
		"nothing said is forced":              {v1alpha1.ActionUpdate{}, true, true},
		"soft":                                {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeSoft}, true, false},
		"soft, and the device is in doubt":    {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeSoft}, false, true},
		"time forced, its time has come":      {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &at}, true, true},
		"time forced for later":               {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &metav1.Time{Time: noon.Add(time.Second)}}, true, false},
		"time forced for later, but in doubt": {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &metav1.Time{Time: noon.Add(time.Second)}}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := IsForced(c.update, c.consistent, noon); got != c.want {
				t.Errorf("forced %v", got)
			}
		})
	}
}

// TestLive: a rollout that turns from Soft to Forced hurries what has started; one that is gone
// does not.
func TestLive(t *testing.T) {
	as := func(u v1alpha1.UpdateType) func(*eligibility.Intent) {
		return func(in *eligibility.Intent) { in.Update.Type = u }
	}
	s := tell(t, set("fw"), rollout("r", 1, "fw", as(v1alpha1.UpdateTypeSoft)), takes, rollout("r", 1, "fw", as(v1alpha1.UpdateTypeForced)))
	if got := Live(s.world(), action.Open(&s.target.Status)).Type; got != v1alpha1.UpdateTypeForced {
		t.Errorf("type is %s", got)
	}
	withdrawn("r")(s)
	if got := Live(s.world(), action.Open(&s.target.Status)).Type; got != v1alpha1.UpdateTypeSoft {
		t.Errorf("without its source, type is %s", got)
	}
}

// TestCreationSharesNothing: what is stored may be decoded into, and must not reach the objects of
// the caches.
func TestCreationSharesNothing(t *testing.T) {
	s := tell(t, set("fw"), rollout("r", 1, "fw", within("* * * * *", time.Hour), deadlines(1, 1), queued(5)))
	s.intents[0].Update.ForceAt = &metav1.Time{Time: noon}
	before := copied(s.intents)
	b := s.offer().Creation(s.world())
	b.Source.Since.Time, b.Update.ForceAt.Time = noon, hour(1)
	b.Update.MaintenanceWindow.Schedule = "changed"
	*b.Update.Weight, *b.Update.ProgressDeadlineSeconds, *b.Update.CancelDeadlineSeconds = 7, 7, 7
	if diff := cmp.Diff(before, s.intents); diff != "" {
		t.Errorf("the intent was reached (-before +after):\n%s", diff)
	}
}

// TestCovers: what a running auto-assignment has for a target replaces what is older, also where
// the target runs it already.
func TestCovers(t *testing.T) {
	for name, c := range map[string]struct {
		steps []step
		want  bool
	}{
		"it runs the set":                             {[]step{set("fw"), auto("a", 1, "fw"), runs("fw", true)}, true},
		"it runs something else":                      {[]step{set("fw"), auto("a", 1, "fw"), runs("other", true)}, true},
		"nobody knows what runs":                      {[]step{set("fw"), auto("a", 1, "fw"), runs("fw", false)}, true},
		"the auto-assignment brought it before":       {[]step{set("fw"), auto("a", 1, "fw"), runs("fw", true), had("fw")}, false},
		"the auto-assignment is paused":               {[]step{set("fw"), auto("a", 1, "fw", closedFor(eligibility.CodePaused)), runs("fw", true)}, false},
		"it was stopped":                              {[]step{set("fw"), auto("a", 1, "fw", closedFor(eligibility.CodeStopped)), runs("fw", true)}, false},
		"it wants both":                               {[]step{set("fw"), auto("a", 1, "fw", queued(1)), runs("fw", true)}, false},
		"the set is invalid":                          {[]step{set("fw", invalid(soft, hour(2))), auto("a", 1, "fw"), runs("fw", true)}, false},
		"the set does not exist":                      {[]step{auto("a", 1, "fw"), runs("fw", true)}, false},
		"a rollout says so by its group, not by this": {[]step{set("fw"), rollout("a", 1, "fw"), runs("fw", true)}, false},
	} {
		s := tell(t, c.steps...)
		if got := eligibility.AutoHasReached(&s.intents[0], s.target); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		if !c.want {
			continue
		}
		set("old")(s)
		rollout("old", 0, "old")(s)
		if r := s.verdict("old"); r.Code != eligibility.CodeSuperseded {
			t.Errorf("%s, and the older rollout is not superseded but %s", name, r.Code)
		}
	}
}

// TestQuestionsGiveWayToSteps: a device that is asked to agree to something newer gets the required
// migration step first, and is asked again then.
func TestQuestionsGiveWayToSteps(t *testing.T) {
	s := tell(t, set("step", migrationStep), set("new"), rollout("n", 5, "new", confirmed, retries(1, 0)), takes)
	rollout("s", 2, "step", func(in *eligibility.Intent) { in.OpenedAt = hour(6) })(s)
	if got := s.offer().told(); got != (told{Deploy, CodeDeploy, 101, "step"}) {
		t.Fatalf("got %+v: %s", got, s.offer().Reason.Message)
	}
	takes(s)
	reports(action.Install)(s)
	reports(action.Succeed)(s)
	if got := s.offer().told(); got != (told{Confirm, CodeConfirm, 102, "new"}) {
		t.Fatalf("after the step got %+v: %s", got, s.offer().Reason.Message)
	}
	takes(s)
	if a := action.Open(&s.target.Status); a.Source.Attempt != 1 {
		t.Errorf("it is attempt %d: nobody has tried before", a.Source.Attempt)
	}
}

// TestAMistakenAssignmentSaysSo: somebody has to fix it, and does not hear of it if all it says is
// that something is newer.
func TestAMistakenAssignmentSaysSo(t *testing.T) {
	s := tell(t, set("fw"), assignment(1, "missing"), auto("a", 2, "fw"))
	if r := s.verdict("dev"); r.Code != eligibility.CodeSetNotFound {
		t.Errorf("the assignment is judged %s: %s", r.Code, r.Message)
	}
}
