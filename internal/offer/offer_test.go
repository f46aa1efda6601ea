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

// TestEveryReason reaches each code with as few steps as possible. If of is set, the code is that
// of the verdict on this intent; else it is that of the offer.
func TestEveryReason(t *testing.T) {
	stories := map[eligibility.Code]struct {
		steps []step
		of    string
		says  string
	}{
		CodeDeploy:                       {[]step{set("fw"), rollout("r", 1, "fw")}, "", "rollout r (group group-1) offers fw"},
		CodeResume:                       {[]step{set("fw"), rollout("r", 1, "fw"), takes}, "", "action 100 has started"},
		CodeCancel:                       {[]step{set("fw"), rollout("r", 1, "fw"), takes, cancels(100, soft)}, "", "action 100 is to be canceled (Requested)"},
		CodeConfirm:                      {[]step{set("fw"), rollout("r", 1, "fw", confirmed)}, "", "needs confirmation"},
		CodeNothingWanted:                {nil, "", "no rollout"},
		eligibility.CodeHold:             {[]step{set("fw"), rollout("r", 1, "fw"), holds(true)}, "", "spec.hold"},
		eligibility.CodeAwaitingFeatures: {[]step{set("fw"), rollout("r", 1, "fw"), withoutFeatures}, "", "has not reported its features"},
		eligibility.CodeNotReady:         {[]step{set("fw"), rollout("r", 1, "fw"), duplicate}, "", "older"},
		eligibility.CodeSetNotFound:      {[]step{rollout("r", 1, "fw")}, "", "fw does not exist: create it"},
		eligibility.CodeSetNotReady:      {[]step{set("fw", notReady), rollout("r", 1, "fw")}, "", "not ready: it has no modules"},
		eligibility.CodeSetInvalid:       {[]step{set("fw", invalid(soft, hour(2))), assignment(1, "fw")}, "", "invalidated (Soft)"},
		eligibility.CodeContentChanged:   {[]step{set("fw"), rollout("r", 1, "fw", planned("other"))}, "", "planned"},
		eligibility.CodeIncompatible:     {[]step{set("fw", fits("gateway")), rollout("r", 1, "fw"), ofType("router")}, "", `target type "router": its compatibleTargetTypes are [gateway]`},
		eligibility.CodeNotStarted:       {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeNotStarted))}, "", "closed"},
		eligibility.CodeStabilizing:      {[]step{set("fw"), assignment(1, "fw", closedFor(eligibility.CodeStabilizing))}, "", "closed"},
		eligibility.CodePaused:           {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodePaused))}, "", "closed"},
		eligibility.CodeFinished:         {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeFinished))}, "", "closed"},
		eligibility.CodeStopped:          {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeStopped))}, "", "closed"},
		eligibility.CodeGroupNotOpen:     {[]step{set("fw"), rollout("r", 1, "fw", closedFor(eligibility.CodeGroupNotOpen))}, "", "closed"},
		eligibility.CodeSuperseded:       {[]step{set("fw"), set("new"), rollout("r", 1, "fw"), rollout("s", 2, "new")}, "r", "the newer rollout s (group group-1) replaces rollout r"},
		eligibility.CodeSkipped:          {[]step{set("fw"), rollout("r", 1, "fw", skipped)}, "", "left its group"},
		eligibility.CodeWindowClosed:     {[]step{set("fw"), rollout("r", 1, "fw", within("0 2 * * *", time.Hour))}, "", "opens at 2026-03-03T02:00:00Z"},
		eligibility.CodeDeadlinePassed:   {[]step{set("fw"), rollout("r", 1, "fw", expired)}, "", "counts as failed"},
		eligibility.CodeAlreadyThere:     {[]step{set("fw"), rollout("r", 1, "fw"), runs("fw", true)}, "", "already installed"},
		eligibility.CodeDone:             {[]step{set("fw"), rollout("r", 1, "fw"), carriesOut}, "", "carried out as action 100"},
		eligibility.CodeFailed:           {[]step{set("fw"), rollout("r", 1, "fw"), fails}, "", `failed with code "17"`},
		eligibility.CodeRetrying:         {[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails}, "", "next attempt is at 2026-03-02T12:01:00Z"},
		eligibility.CodeCanceled:         {[]step{set("fw"), rollout("r", 1, "fw"), takes, cancels(100, soft), polls, reports(action.CancelAccepted)}, "", "action 100 of rollout r (group group-1) was canceled"},
		eligibility.CodeBusy:             {[]step{set("fw"), set("new"), rollout("r", 1, "fw"), takes, rollout("s", 2, "new", queued(1))}, "s", "waits until action 100 (fw)"},
		eligibility.CodeWaitingForStep:   {[]step{set("mig", migrationStep), set("new"), rollout("r", 1, "mig", closedFor(eligibility.CodePaused)), rollout("s", 2, "new")}, "s", "required migration step mig of rollout r"},
		eligibility.CodeAlreadyHad:       {[]step{set("fw"), auto("a", 1, "fw"), had("fw")}, "", "offers a set once"},
		CodeSetGone:                      {[]step{set("fw"), rollout("r", 1, "fw"), takes, deleteSet("fw"), polls, reports(action.CancelRejected)}, "", "fw of action 100 was deleted"},
	}
	for code, c := range stories {
		t.Run(string(code), func(t *testing.T) {
			s := newStory(t, c.steps...)
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

// codesInSource returns the codes in the source files, so that the test fails for a new code
// without a row.
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

// TestOrder checks the order: pending changes, then the open action, then the cancel of an action
// that was closed by force, then the first intent that may start.
func TestOrder(t *testing.T) {
	type row = struct {
		steps []step
		want  given
	}
	both := []step{set("old"), set("new"), rollout("r", 1, "old"), rollout("s", 2, "new")}
	then := func(steps ...step) []step { return slices.Concat(both, steps) }
	check(t, map[string]row{
		"the newest update wins": {both, given{Deploy, CodeDeploy, 100, "new"}},
		"a single assignment that is newer than every rollout wins": {
			then(set("mine"), assignment(3, "mine")), given{Deploy, CodeDeploy, 100, "mine"}},
		"if the newest update is stopped, the one before it is offered": {
			then(stops("s", soft, v1alpha1.CauseStopped)), given{Deploy, CodeDeploy, 100, "old"}},
		"if the newest update is paused, no older one is offered": {
			then(pauses("s")), given{Nothing, eligibility.CodePaused, 0, ""}},
		"an older update never starts after a newer one was carried out": {
			then(carriesOut, removed("s")), given{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"an older update never starts after a newer one failed": {
			then(fails, removed("s")), given{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"an update of equal age from another source never starts": {
			[]step{set("a"), set("b"), rollout("r", 1, "a"), carriesOut, removed("r"), rollout("s", 1, "b")}, given{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"a rollout that has not started is not superseded": {
			then(carriesOut, removed("r"), set("next"), rollout("t", 9, "next", closedFor(eligibility.CodeNotStarted))), given{Nothing, eligibility.CodeNotStarted, 0, ""}},
		"an open action continues outside its window": {
			[]step{set("fw"), rollout("r", 1, "fw", within("0 12 * * *", time.Minute)), takes, later(time.Hour)}, given{Deploy, CodeResume, 100, "fw"}},
		"an open action continues while the target is on hold": {
			then(takes, holds(true)), given{Deploy, CodeResume, 100, "new"}},
		"an open action continues while its rollout is paused": {
			then(takes, pauses("s")), given{Deploy, CodeResume, 100, "new"}},
		"an open action continues after a stop without cancellation": {
			then(takes, stops("s", none, v1alpha1.CauseStopped)), given{Deploy, CodeResume, 100, "new"}},
		"a cancel is offered before the next deployment (W-20)": {
			[]step{set("old"), rollout("r", 1, "old"), takes, set("new"), rollout("s", 2, "new", queued(1000)), cancels(100, soft)},
			given{Cancel, CodeCancel, 100, ""}},
		"a stop is applied before the offer is computed": {
			then(takes, stops("s", soft, v1alpha1.CauseStopped)), given{Cancel, CodeCancel, 100, ""}},
		"a cancel by force stays on offer though the action is closed": {
			then(takes, cancels(100, force), polls, set("next"), rollout("t", 3, "next")), given{Cancel, CodeCancel, 100, ""}},
		"after a cancel by force was accepted the next update starts": {
			then(takes, cancels(100, force), polls, reports(action.CancelAccepted), set("next"), rollout("t", 3, "next")), given{Deploy, CodeDeploy, 101, "next"}},
		"after a cancel by force was refused the next update starts": {
			then(takes, cancels(100, force), polls, reports(action.CancelRejected), set("next"), rollout("t", 3, "next")), given{Deploy, CodeDeploy, 101, "next"}},
		"after a result in place of an answer to a cancel by force the next update starts": {
			then(takes, reports(action.Install), cancels(100, force), polls, reports(action.Succeed), set("next"), rollout("t", 3, "next")), given{Deploy, CodeDeploy, 101, "next"}},
		"a cancel by force without an answer is given up at its deadline": {
			[]step{set("fw"), rollout("r", 1, "fw", deadlines(86400, 3600)), takes, cancels(100, force), polls, set("next"), rollout("t", 3, "next"), later(time.Hour)},
			given{Deploy, CodeDeploy, 101, "next"}},
		"a cancel by force is offered until just before its deadline": {
			[]step{set("fw"), rollout("r", 1, "fw", deadlines(86400, 3600)), takes, cancels(100, force), polls, set("next"), rollout("t", 3, "next"), later(time.Hour - time.Second)},
			given{Cancel, CodeCancel, 100, ""}},
		"the set of the open action was deleted": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, deleteSet("fw")}, given{Cancel, CodeCancel, 100, ""}},
		"a module of the open action's set was deleted": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", func(x *eligibility.Set) { x.Changed = true })}, given{Cancel, CodeCancel, 100, ""}},
		"the set of the open action has another content": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", content("other"))}, given{Cancel, CodeCancel, 100, ""}},
		"an open action continues when its set is no longer Ready": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", notReady)}, given{Deploy, CodeResume, 100, "fw"}},
		"a duplicate target starts nothing": {
			then(duplicate), given{Nothing, eligibility.CodeNotReady, 0, ""}},
		"a target without an id starts nothing": {
			then(spec(func(t *v1alpha1.Target) { t.Status.NextActionID = 0 })), given{Nothing, eligibility.CodeNotReady, 0, ""}},
		"a target on hold starts nothing": {
			then(holds(true)), given{Nothing, eligibility.CodeHold, 0, ""}},
		"a connected device without features starts nothing": {
			then(withoutFeatures), given{Nothing, eligibility.CodeAwaitingFeatures, 0, ""}},
		"an open action continues while the device has reported no features": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, withoutFeatures}, given{Deploy, CodeResume, 100, "fw"}},
		"a target that is released starts": {
			then(holds(true), polls, holds(false)), given{Deploy, CodeDeploy, 100, "new"}},
		"a target without a type fits every set": {
			[]step{set("fw", fits("gateway")), rollout("r", 1, "fw")}, given{Deploy, CodeDeploy, 100, "fw"}},
		"a target of the right type fits": {
			[]step{set("fw", fits("router", "gateway")), rollout("r", 1, "fw"), ofType("gateway")}, given{Deploy, CodeDeploy, 100, "fw"}},
		"a set that was installed when the group opened is not offered, whatever is installed now": {
			[]step{set("fw"), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.AlreadyThere = true }), runs("other", true)}, given{Nothing, eligibility.CodeAlreadyThere, 0, ""}},
		"an older assignment is not offered when the set of a newer rollout, whose group has not opened, is installed": {
			[]step{set("old"), set("new"), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("new", true)}, given{Nothing, eligibility.CodeGroupNotOpen, 0, ""}},
		"an older auto-assignment is not offered when the set of a newer rollout is installed": {
			[]step{set("old"), set("new"), auto("a", 1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("new", true)}, given{Nothing, eligibility.CodeGroupNotOpen, 0, ""}},
		"while an auto-assignment waits for newer rollouts, no older update is offered": {
			[]step{set("old"), set("new"), rollout("r", 1, "old"), auto("a", 2, "new", closedFor(eligibility.CodeStabilizing))}, given{Nothing, eligibility.CodeStabilizing, 0, ""}},
		"an older auto-assignment is superseded by a newer one whose set the target had": {
			[]step{set("old"), set("new"), auto("a", 1, "old"), auto("b", 2, "new"), had("new")}, given{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"an older auto-assignment is offered if the newer one, whose set the target had, is paused": {
			[]step{set("old"), set("new"), auto("a", 1, "old"), auto("b", 2, "new", closedFor(eligibility.CodePaused)), had("new")}, given{Deploy, CodeDeploy, 100, "old"}},
		"an older auto-assignment is offered if the set of the newer one is invalid": {
			[]step{set("old"), set("new", invalid(soft, hour(3))), auto("a", 1, "old"), auto("b", 2, "new"), had("new")}, given{Deploy, CodeDeploy, 100, "old"}},
		"a newer auto-assignment is offered after an older one that a new target started first": {
			[]step{set("old"), set("new"), auto("a", 5, "old", startedAt(1)), takes, reports(action.Install), reports(action.Succeed), auto("b", 5, "new", startedAt(2))}, given{Deploy, CodeDeploy, 101, "new"}},
		"an older auto-assignment is not offered after a newer one": {
			[]step{set("old"), set("new"), auto("b", 5, "new", startedAt(2)), takes, reports(action.Install), reports(action.Succeed), auto("a", 5, "old", startedAt(1))}, given{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"until the group of a newer rollout opens, an older assignment is offered to a target with another set": {
			[]step{set("old"), set("new"), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("other", true)}, given{Deploy, CodeDeploy, 100, "old"}},
		"an older assignment is offered if the newer rollout was stopped": {
			[]step{set("old"), set("new"), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeStopped)), runs("new", true)}, given{Deploy, CodeDeploy, 100, "old"}},
		"an older assignment is offered if the set of the newer rollout is invalid": {
			[]step{set("old"), set("new", invalid(soft, hour(3))), assignment(1, "old"), rollout("r", 2, "new", closedFor(eligibility.CodeGroupNotOpen)), runs("new", true)}, given{Deploy, CodeDeploy, 100, "old"}},
		"an older update is offered if the window of the newer assignment never opens": {
			[]step{set("old"), set("new"), rollout("r", 1, "old"), assignment(2, "new", within("0 2 30 2 *", time.Hour))}, given{Deploy, CodeDeploy, 100, "old"}},
		"an older update is not offered if the window of the newer assignment opens tonight": {
			[]step{set("old"), set("new"), rollout("r", 1, "old"), assignment(2, "new", within("0 2 * * *", time.Hour))}, given{Nothing, eligibility.CodeWindowClosed, 0, ""}},
		"a newer assignment brings back the set from before the rollout": {
			[]step{set("old"), set("new"), rollout("r", 1, "new"), assignment(2, "old"), runs("new", true)}, given{Deploy, CodeDeploy, 100, "old"}},
		"an update with reinstall is offered also when its set is installed": {
			[]step{set("fw"), rollout("r", 1, "fw", reinstalls), runs("fw", true)}, given{Deploy, CodeDeploy, 100, "fw"}},
		"an inconsistent target is offered the installed set again": {
			[]step{set("fw"), rollout("r", 1, "fw"), runs("fw", false)}, given{Deploy, CodeDeploy, 100, "fw"}},
		"another set with the installed content is not offered": {
			[]step{set("duplicate", content("fw")), rollout("r", 1, "duplicate"), runs("fw", true)}, given{Nothing, eligibility.CodeAlreadyThere, 0, ""}},
		"a start deadline does not end retries of an attempt that started in time": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0)), fails, rollout("r", 1, "fw", retries(1, 0), expired)}, given{Deploy, CodeDeploy, 101, "fw"}},
		"an older update is offered to a member that missed the start deadline": {
			then(rollout("s", 2, "new", expired)), given{Deploy, CodeDeploy, 100, "old"}},
	})
}

// TestAttempts checks when an intent that has had an action gets another one.
func TestAttempts(t *testing.T) {
	type row = struct {
		steps []step
		want  given
	}
	check(t, map[string]row{
		"an attempt is left, and its backoff is over": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, later(time.Minute)}, given{Deploy, CodeDeploy, 101, "fw"}},
		"all attempts are used up": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0)), fails, fails}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"two further attempts are three in all": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(2, 0)), fails, fails, fails}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a failure of another code is not tried again": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0, "18")), fails}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a failure of a named code is tried again": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 0, "18", "17")), fails}, given{Deploy, CodeDeploy, 101, "fw"}},
		"an absent backoff is ten minutes": {
			[]step{set("fw"), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.Update.Retries = &v1alpha1.Retries{Limit: 1} }), fails, later(599 * time.Second)}, given{Nothing, eligibility.CodeRetrying, 0, ""}},
		"a retry request covers failures before it": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute))), later(time.Hour)}, given{Deploy, CodeDeploy, 101, "fw"}},
		"a retry request does not cover failures after it": {
			[]step{set("fw"), rollout("r", 1, "fw", retryAsked(noon)), fails}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a retry request with other codes does not cover the failure": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute), "99")), later(time.Hour)}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a retry request does not cover a canceled action": {
			[]step{set("fw"), rollout("r", 1, "fw"), takes, cancels(100, soft), polls, reports(action.CancelAccepted), rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute))), later(time.Hour)},
			given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"a retry request does not cover a target that a newer rollout took over": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute)), func(in *eligibility.Intent) { in.Superseded = true }), later(time.Hour)},
			given{Nothing, eligibility.CodeSuperseded, 0, ""}},
		"no attempt is made after a newer update has started": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, set("new"), assignment(2, "new"), fails}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a target that did not start a retry in time gets no further attempt": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, rollout("r", 1, "fw", retries(1, 60), abandoned), later(time.Hour)}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a target that did not start a retry in time is not covered by that retry request": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, rollout("r", 1, "fw", retryAsked(noon.Add(time.Minute)), abandoned), later(time.Hour)}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"a retry request asks again for a confirmation that was not given in time": {
			[]step{set("fw"), rollout("r", 1, "fw", confirmed), takes, rollout("r", 1, "fw", confirmed, expired), polls, rollout("r", 1, "fw", confirmed, forgiven)},
			given{Confirm, CodeConfirm, 101, "fw"}},
		"a retry request does not ask again for a confirmation that was canceled": {
			[]step{set("fw"), rollout("r", 1, "fw", confirmed), takes, cancels(100, soft), polls, rollout("r", 1, "fw", confirmed, forgiven)}, given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"no attempt is made after the rollout is stopped": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, stops("r", soft, v1alpha1.CauseStopped)}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"no attempt is made after a newer rollout took the target over": {
			[]step{set("fw"), rollout("r", 1, "fw", retries(1, 60)), fails, rollout("r", 1, "fw", retries(1, 60), func(in *eligibility.Intent) { in.Superseded = true })}, given{Nothing, eligibility.CodeFailed, 0, ""}},
		"the same set with a later assignedAt is a new assignment": {
			[]step{set("fw"), assignment(1, "fw"), fails, assignment(2, "fw")}, given{Deploy, CodeDeploy, 101, "fw"}},
		"an auto-assignment offers its new set after a change of the set": {
			[]step{set("fw"), auto("a", 1, "fw"), carriesOut, set("next"), auto("a", 1, "next")}, given{Deploy, CodeDeploy, 101, "next"}},
		"an auto-assignment does not offer a set that a rollout brought before": {
			[]step{set("fw"), rollout("r", 1, "fw"), fails, removed("r"), auto("a", 2, "fw")}, given{Nothing, eligibility.CodeAlreadyHad, 0, ""}},
	})
}

// TestRetryCounts checks the number of each attempt.
func TestRetryCounts(t *testing.T) {
	s := newStory(t, set("fw"), rollout("r", 1, "fw", retries(5, 0)), fails, fails, takes)
	var attempts []int32
	for _, a := range s.target.Status.Actions {
		attempts = append(attempts, a.Source.Attempt)
	}
	if diff := cmp.Diff([]int32{1, 2, 3}, attempts); diff != "" {
		t.Error(diff)
	}
}

// TestQueue has two queued campaigns: the first has weight 90, the second has weight 20.
func TestQueue(t *testing.T) {
	campaigns := []step{set("base"), set("addon"), rollout("first", 1, "base", weighing(90)), rollout("second", 2, "addon", queued(20))}
	then := func(steps ...step) []step { return slices.Concat(campaigns, steps) }
	type row = struct {
		steps []step
		want  given
	}
	check(t, map[string]row{
		"the heavier campaign goes first":                  {campaigns, given{Deploy, CodeDeploy, 100, "base"}},
		"the lighter one follows":                          {then(carriesOut), given{Deploy, CodeDeploy, 101, "addon"}},
		"after both nothing is offered":                    {then(carriesOut, carriesOut), given{Nothing, eligibility.CodeDone, 0, ""}},
		"the lighter one follows also a failure":           {then(fails), given{Deploy, CodeDeploy, 101, "addon"}},
		"the lighter one starts while the first is paused": {then(pauses("first")), given{Deploy, CodeDeploy, 100, "addon"}},
		"the first is still offered after the lighter one": {then(pauses("first"), carriesOut, rollout("first", 1, "base", weighing(90))), given{Deploy, CodeDeploy, 101, "base"}},
		"queued updates of equal weight go oldest first": {
			[]step{set("base"), set("addon"), rollout("first", 1, "base", queued(50)), rollout("second", 2, "addon", queued(50))}, given{Deploy, CodeDeploy, 100, "base"}},
		"a weight that is absent is 1000": {
			[]step{set("base"), set("addon"), rollout("first", 1, "base", queued(999)), rollout("second", 2, "addon", func(in *eligibility.Intent) { in.Update.Superseding = v1alpha1.SupersedingQueue })},
			given{Deploy, CodeDeploy, 100, "addon"}},
		"a queued update leaves the open action as it is": {
			then(takes), given{Deploy, CodeResume, 100, "base"}},
		"an update that replaces older ones replaces the queued ones": {
			then(set("hotfix"), rollout("third", 3, "hotfix", weighing(1))), given{Deploy, CodeDeploy, 100, "hotfix"}},
		"an update that replaces older ones cancels the open action of a queued one": {
			then(carriesOut, takes, set("hotfix"), rollout("third", 3, "hotfix")), given{Cancel, CodeCancel, 101, ""}},
		"an update that replaces older ones does so also while a heavier one is queued": {
			[]step{set("old"), rollout("zero", 1, "old"), takes, set("base"), set("addon"), rollout("first", 2, "base", weighing(1)), rollout("second", 3, "addon", queued(900))},
			given{Cancel, CodeCancel, 100, ""}},
		"a newer update whose group has not opened leaves the queue as it is": {
			then(set("hotfix"), rollout("third", 3, "hotfix", closedFor(eligibility.CodeGroupNotOpen))), given{Deploy, CodeDeploy, 100, "base"}},
	})
}

// TestMigrationStep checks the order of required migration steps and newer updates.
func TestMigrationStep(t *testing.T) {
	type row = struct {
		steps []step
		want  given
	}
	sets := []step{set("mig", migrationStep), set("mig2", migrationStep), set("new")}
	then := func(steps ...step) []step { return slices.Concat(sets, steps) }
	check(t, map[string]row{
		"it is offered before newer updates": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "new")), given{Deploy, CodeDeploy, 100, "mig"}},
		"newer updates follow": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "new"), carriesOut), given{Deploy, CodeDeploy, 101, "new"}},
		"newer updates wait while it is paused": {
			then(rollout("r", 1, "mig", closedFor(eligibility.CodePaused)), rollout("s", 2, "new")), given{Nothing, eligibility.CodePaused, 0, ""}},
		"newer updates do not wait for a group that has not opened": {
			then(rollout("r", 1, "mig", closedFor(eligibility.CodeGroupNotOpen)), rollout("s", 2, "new")), given{Deploy, CodeDeploy, 100, "new"}},
		"newer updates do not wait for a step that does not fit the target": {
			then(set("mig", migrationStep, fits("gateway")), ofType("router"), rollout("r", 1, "mig"), rollout("s", 2, "new")), given{Deploy, CodeDeploy, 100, "new"}},
		"newer updates do not wait for a step that was invalidated": {
			then(set("mig", migrationStep, invalid(force, hour(3))), rollout("r", 1, "mig"), rollout("s", 2, "new")), given{Deploy, CodeDeploy, 100, "new"}},
		"newer updates are offered after its last attempt has failed": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "new"), fails), given{Deploy, CodeDeploy, 101, "new"}},
		"the older of two steps is offered first": {
			then(rollout("r", 1, "mig"), rollout("s", 2, "mig2"), rollout("t", 3, "new")), given{Deploy, CodeDeploy, 100, "mig"}},
		"the newer of two steps waits while the older one is paused": {
			then(rollout("r", 1, "mig", closedFor(eligibility.CodePaused)), rollout("s", 2, "mig2")), given{Nothing, eligibility.CodePaused, 0, ""}},
		"it is not superseded once it has started": {
			then(rollout("r", 1, "mig"), takes, rollout("s", 2, "new")), given{Deploy, CodeResume, 100, "mig"}},
		"it is not superseded after its rollout was deleted": {
			then(rollout("r", 1, "mig"), takes, removed("r"), rollout("s", 2, "new")), given{Deploy, CodeResume, 100, "mig"}},
		"it is offered after a newer update failed": {
			then(rollout("s", 2, "new"), fails, rollout("r", 1, "mig")), given{Deploy, CodeDeploy, 101, "mig"}},
		"it is not offered after a newer update has succeeded": {
			then(rollout("s", 2, "new"), carriesOut, rollout("r", 1, "mig")), given{Nothing, eligibility.CodeSuperseded, 0, ""}},
	})
}

// TestConfirmation checks the offers of an update that has to be confirmed at the device.
func TestConfirmation(t *testing.T) {
	type row = struct {
		steps []step
		want  given
	}
	asked := []step{set("fw"), rollout("r", 1, "fw", confirmed), takes}
	then := func(steps ...step) []step { return slices.Concat(asked, steps) }
	always := spec(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways })
	active := spec(func(t *v1alpha1.Target) { t.Status.AutoConfirm = &v1alpha1.AutoConfirmStatus{Active: true} })
	check(t, map[string]row{
		"it is asked for with the id of the action that will be created":   {asked[:2], given{Confirm, CodeConfirm, 100, "fw"}},
		"it is asked for until it is answered":                             {asked, given{Confirm, CodeConfirm, 100, "fw"}},
		"with spec.autoConfirm Always it is not asked for":                 {[]step{asked[0], asked[1], always}, given{Deploy, CodeDeploy, 100, "fw"}},
		"a device with active auto-confirm is not asked":                   {[]step{asked[0], asked[1], active}, given{Deploy, CodeDeploy, 100, "fw"}},
		"after auto-confirm is activated the action continues":             {then(active), given{Deploy, CodeResume, 100, "fw"}},
		"spec.autoConfirm Always confirms the waiting action":              {then(always), given{Deploy, CodeResume, 100, "fw"}},
		"spec.autoConfirm Always does not confirm while paused":            {then(pauses("r"), always), given{Nothing, eligibility.CodePaused, 0, ""}},
		"spec.autoConfirm Always does not confirm after a stop":            {then(stops("r", none, v1alpha1.CauseStopped), always), given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"after a confirmation the action continues":                        {then(reports(action.Confirm)), given{Deploy, CodeResume, 100, "fw"}},
		"after a denial it is asked for again":                             {then(reports(action.Deny)), given{Confirm, CodeConfirm, 100, "fw"}},
		"while paused it is not asked for":                                 {then(pauses("r")), given{Nothing, eligibility.CodePaused, 0, ""}},
		"while on hold it is not asked for, nor confirmed by auto-confirm": {then(active, holds(true)), given{Nothing, eligibility.CodeHold, 0, ""}},
		"a stop without cancellation closes the action":                    {then(stops("r", none, v1alpha1.CauseStopped)), given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"the deletion of the rollout closes the action": {
			then(removed("r"), func(s *story) {
				s.origins["uid-r"] = cancellation.Request{Cause: v1alpha1.CauseDeleted, Cancellation: none}
			}), given{Nothing, CodeNothingWanted, 0, ""}},
		"the removal of the assignment closes the action": {
			[]step{set("fw"), assignment(1, "fw", confirmed), takes, removed("dev")}, given{Nothing, CodeNothingWanted, 0, ""}},
		"the start deadline closes the action":                   {then(rollout("r", 1, "fw", confirmed, expired)), given{Nothing, eligibility.CodeDeadlinePassed, 0, ""}},
		"leaving the group closes the action":                    {then(rollout("r", 1, "fw", confirmed, skipped)), given{Nothing, eligibility.CodeSkipped, 0, ""}},
		"an installation by the device itself closes the action": {then(runs("fw", true)), given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"the end of the rollout closes the action":               {then(rollout("r", 1, "fw", confirmed, closedFor(eligibility.CodeStopped))), given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"a newer update closes the action, also a paused one": {
			then(set("new"), rollout("s", 2, "new", closedFor(eligibility.CodePaused))), given{Nothing, eligibility.CodePaused, 0, ""}},
		"a newer update with the same content is asked for again": {
			then(set("duplicate", content("fw")), rollout("s", 2, "duplicate", confirmed)), given{Confirm, CodeConfirm, 101, "duplicate"}},
		"an invalidation with None closes the action of an assignment": {
			[]step{set("fw"), assignment(1, "fw", confirmed), takes, editSet("fw", invalid(none, noon))}, given{Nothing, eligibility.CodeCanceled, 0, ""}},
		"an invalidation with None leaves the action of a rollout that started before": {
			then(editSet("fw", invalid(none, noon))), given{Confirm, CodeConfirm, 100, "fw"}},
	})
}

// TestHoldPreventsAutoConfirm checks that spec.autoConfirm does not confirm an action while
// spec.hold keeps the device from being asked.
func TestHoldPreventsAutoConfirm(t *testing.T) {
	s := newStory(t, set("fw"), rollout("r", 1, "fw", confirmed), takes, holds(true),
		spec(func(t *v1alpha1.Target) { t.Spec.AutoConfirm = v1alpha1.AutoConfirmAlways }), polls)
	if a := action.Open(&s.target.Status); a == nil || a.State.HasStarted() {
		t.Errorf("the action has started under spec.hold: %+v", a)
	}
}

// TestMessagesOfConfirmation checks the messages about a confirmation: why it was given without
// asking, and when it was denied.
func TestMessagesOfConfirmation(t *testing.T) {
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
		"no answer yet":                     {nil, "action 100 waits for confirmation at the device", ""},
		"it was denied":                     {[]step{reports(action.Deny)}, "action 100 waits for confirmation at the device, where it was denied at 2026-03-02T12:00:00Z", ""},
		"spec.autoConfirm is Always":        {[]step{always}, "action 100 has started and continues", "confirmed without asking: spec.autoConfirm is Always"},
		"auto-confirm is active":            {[]step{active("")}, "action 100 has started and continues", "confirmed without asking: auto-confirm is active at the device"},
		"auto-confirm was activated by ada": {[]step{active("ada")}, "action 100 has started and continues", "confirmed without asking: auto-confirm is active at the device, activated by ada"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, slices.Concat(asked, c.steps)...)
			if got := s.offer().Reason.Message; got != c.offered {
				t.Errorf("the reason is %q, want %q", got, c.offered)
			}
			if got := action.Newest(&s.target.Status).Message; got != c.stored {
				t.Errorf("the action says %q, want %q", got, c.stored)
			}
		})
	}
}

// TestW19_OffersOfAnInvalidatedSet checks what an invalidation does to offers, for updates that
// have not started and for open actions.
func TestW19_OffersOfAnInvalidatedSet(t *testing.T) {
	type row = struct {
		steps []step
		want  given
	}
	deploy, refused := given{Deploy, CodeDeploy, 100, "fw"}, given{Nothing, eligibility.CodeSetInvalid, 0, ""}
	check(t, map[string]row{
		"None, the rollout started before":                       {[]step{set("fw", invalid(none, hour(5))), rollout("r", 1, "fw")}, deploy},
		"None, the rollout started after":                        {[]step{set("fw", invalid(none, hour(5))), rollout("r", 6, "fw")}, refused},
		"None, the rollout started that second":                  {[]step{set("fw", invalid(none, hour(1))), rollout("r", 1, "fw", func(in *eligibility.Intent) { in.StartedAt = hour(1).Add(time.Second - 1) })}, deploy},
		"None, not recorded yet, the rollout has started":        {[]step{set("fw", invalid(none, time.Time{})), rollout("r", 1, "fw")}, deploy},
		"None, a single assignment from before":                  {[]step{set("fw", invalid(none, hour(5))), assignment(1, "fw")}, refused},
		"None, an auto-assignment from before":                   {[]step{set("fw", invalid(none, hour(5))), auto("a", 1, "fw")}, refused},
		"Soft, the rollout started before":                       {[]step{set("fw", invalid(soft, hour(5))), rollout("r", 1, "fw")}, refused},
		"Force, the rollout started before":                      {[]step{set("fw", invalid(force, hour(5))), rollout("r", 1, "fw")}, refused},
		"Force, a single assignment":                             {[]step{set("fw", invalid(force, hour(5))), assignment(1, "fw")}, refused},
		"None, an open action":                                   {[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(none, noon))}, given{Deploy, CodeResume, 100, "fw"}},
		"None, an open action of an assignment":                  {[]step{set("fw"), assignment(1, "fw"), takes, editSet("fw", invalid(none, noon))}, given{Deploy, CodeResume, 100, "fw"}},
		"Soft, an open action":                                   {[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(soft, noon))}, given{Cancel, CodeCancel, 100, ""}},
		"Soft, an open action, and the device refused to cancel": {[]step{set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(soft, noon)), polls, reports(action.CancelRejected)}, given{Deploy, CodeResume, 100, "fw"}},
		"Force, an open action":                                  {[]step{set("fw"), auto("a", 1, "fw"), takes, editSet("fw", invalid(force, noon))}, given{Cancel, CodeCancel, 100, ""}},
	})
}

// TestForceLeavesTheTargetInconsistent checks that Force closes the action at once; what the device
// has installed is not known then.
func TestForceLeavesTheTargetInconsistent(t *testing.T) {
	s := newStory(t, set("fw"), rollout("r", 1, "fw"), takes, editSet("fw", invalid(force, noon)), polls)
	a := action.ByID(&s.target.Status, 100)
	if a.State != v1alpha1.ActionCanceled || action.IsConsistent(&s.target.Status) {
		t.Errorf("action is %s, consistent %v", a.State, action.IsConsistent(&s.target.Status))
	}
}

// TestIsForced checks that an update is forced by its type, by its time, or because the device is
// not consistent.
func TestIsForced(t *testing.T) {
	at := metav1.NewTime(noon)
	for name, c := range map[string]struct {
		update     v1alpha1.ActionUpdate
		consistent bool
		want       bool
	}{
		"forced":                             {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeForced}, true, true},
		"no type":                            {v1alpha1.ActionUpdate{}, true, true},
		"soft":                               {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeSoft}, true, false},
		"soft, the device is not consistent": {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeSoft}, false, true},
		"time forced, at its time":           {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &at}, true, true},
		"time forced, before its time":       {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &metav1.Time{Time: noon.Add(time.Second)}}, true, false},
		"time forced, before its time, the device is not consistent": {v1alpha1.ActionUpdate{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &metav1.Time{Time: noon.Add(time.Second)}}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := IsForced(c.update, c.consistent, noon); got != c.want {
				t.Errorf("forced %v", got)
			}
		})
	}
}

// TestLive checks that the open action follows its rollout from Soft to Forced, and keeps its own
// type after the rollout was deleted.
func TestLive(t *testing.T) {
	as := func(u v1alpha1.UpdateType) func(*eligibility.Intent) {
		return func(in *eligibility.Intent) { in.Update.Type = u }
	}
	s := newStory(t, set("fw"), rollout("r", 1, "fw", as(v1alpha1.UpdateTypeSoft)), takes, rollout("r", 1, "fw", as(v1alpha1.UpdateTypeForced)))
	if got := CurrentUpdate(s.world(), action.Open(&s.target.Status)).Type; got != v1alpha1.UpdateTypeForced {
		t.Errorf("type is %s", got)
	}
	removed("r")(s)
	if got := CurrentUpdate(s.world(), action.Open(&s.target.Status)).Type; got != v1alpha1.UpdateTypeSoft {
		t.Errorf("without its source, type is %s", got)
	}
}

// TestCreationSharesNothing checks that the new action shares no pointer with the intent: a client
// may decode into the stored status, and must not change objects of the caches.
func TestCreationSharesNothing(t *testing.T) {
	s := newStory(t, set("fw"), rollout("r", 1, "fw", within("* * * * *", time.Hour), deadlines(1, 1), queued(5)))
	s.intents[0].Update.ForceAt = &metav1.Time{Time: noon}
	before := copied(s.intents)
	b := s.offer().Creation(s.world())
	b.Source.Since.Time, b.Update.ForceAt.Time = noon, hour(1)
	b.Update.MaintenanceWindow.Schedule = "changed"
	*b.Update.Weight, *b.Update.ProgressDeadlineSeconds, *b.Update.CancelDeadlineSeconds = 7, 7, 7
	if diff := cmp.Diff(before, s.intents); diff != "" {
		t.Errorf("the intent was changed (-before +after):\n%s", diff)
	}
}

// TestAutoHasReached checks that a running auto-assignment replaces older updates, also on a target
// that has its set installed.
func TestAutoHasReached(t *testing.T) {
	for name, c := range map[string]struct {
		steps []step
		want  bool
	}{
		"the set is installed":                  {[]step{set("fw"), auto("a", 1, "fw"), runs("fw", true)}, true},
		"another set is installed":              {[]step{set("fw"), auto("a", 1, "fw"), runs("other", true)}, true},
		"the target is not consistent":          {[]step{set("fw"), auto("a", 1, "fw"), runs("fw", false)}, true},
		"the auto-assignment brought it before": {[]step{set("fw"), auto("a", 1, "fw"), runs("fw", true), had("fw")}, false},
		"the auto-assignment is paused":         {[]step{set("fw"), auto("a", 1, "fw", closedFor(eligibility.CodePaused)), runs("fw", true)}, false},
		"the auto-assignment was stopped":       {[]step{set("fw"), auto("a", 1, "fw", closedFor(eligibility.CodeStopped)), runs("fw", true)}, false},
		"the auto-assignment is queued":         {[]step{set("fw"), auto("a", 1, "fw", queued(1)), runs("fw", true)}, false},
		"the set is invalid":                    {[]step{set("fw", invalid(soft, hour(2))), auto("a", 1, "fw"), runs("fw", true)}, false},
		"the set does not exist":                {[]step{auto("a", 1, "fw"), runs("fw", true)}, false},
		"a rollout is not covered by this rule": {[]step{set("fw"), rollout("a", 1, "fw"), runs("fw", true)}, false},
	} {
		s := newStory(t, c.steps...)
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

// TestMigrationStepIsOfferedBeforeAConfirmation checks that a device that is asked to confirm a
// newer update first gets the required migration step, and is asked again after it.
func TestMigrationStepIsOfferedBeforeAConfirmation(t *testing.T) {
	s := newStory(t, set("step", migrationStep), set("new"), rollout("n", 5, "new", confirmed, retries(1, 0)), takes)
	rollout("s", 2, "step", func(in *eligibility.Intent) { in.OpenedAt = hour(6) })(s)
	if got := s.offer().given(); got != (given{Deploy, CodeDeploy, 101, "step"}) {
		t.Fatalf("got %+v: %s", got, s.offer().Reason.Message)
	}
	takes(s)
	reports(action.Install)(s)
	reports(action.Succeed)(s)
	if got := s.offer().given(); got != (given{Confirm, CodeConfirm, 102, "new"}) {
		t.Fatalf("after the step got %+v: %s", got, s.offer().Reason.Message)
	}
	takes(s)
	if a := action.Open(&s.target.Status); a.Source.Attempt != 1 {
		t.Errorf("it is attempt %d, want the first", a.Source.Attempt)
	}
}

// TestWrongAssignmentIsReported checks that the message about an assignment that has to be fixed is
// not hidden by the message about a newer update.
func TestWrongAssignmentIsReported(t *testing.T) {
	s := newStory(t, set("fw"), assignment(1, "missing"), auto("a", 2, "fw"))
	if r := s.verdict("dev"); r.Code != eligibility.CodeSetNotFound {
		t.Errorf("the verdict on the assignment is %s: %s", r.Code, r.Message)
	}
}
