// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// gateways returns the names of gateways with these numbers.
func gateways(from, to int) []string {
	var names []string
	for i := from; i <= to; i++ {
		names = append(names, fmt.Sprintf("gateway-%03d", i))
	}
	return names
}

// shared sets labels that the controllers set on the groups of a rollout.
func labeled(g *v1alpha1.DeploymentGroup) {
	g.Labels = map[string]string{v1alpha1.RolloutLabel: g.Spec.Rollout}
}

func named(name string) func(*v1alpha1.DeploymentGroup) {
	return func(g *v1alpha1.DeploymentGroup) { g.Spec.Group = name }
}

// planned gives a rollout a plan with this number of targets, whose status describes the spec.
func planned(targets int32, state v1alpha1.RolloutState) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		r.Status.ObservedGeneration, r.Status.UID, r.Status.State = r.Generation, r.UID, state
		r.Status.Plan = &v1alpha1.PlanStatus{Hash: build.PlanHash, Targets: targets}
		r.Status.Targets = &v1alpha1.Counts{Targets: targets, Scheduled: targets}
	}
}

// running is a rollout whose second group is open: ten minutes after the first one. Two of its
// targets failed, and an older rollout has some of its targets.
func running() []client.Object {
	started, canary, early := metav1.NewMicroTime(noon.Add(-15*time.Minute)), metav1.NewTime(noon.Add(-15*time.Minute)), metav1.NewTime(noon.Add(-5*time.Minute))
	threshold := int32(80)
	r := objects.Rollout("firmware-2-1", "gateway-firmware-2-1", planned(60, v1alpha1.RolloutRunning), func(r *v1alpha1.Rollout) {
		r.Spec.SuccessThreshold = &threshold
		r.Status.StartedAt = &started
		r.Status.Targets = &v1alpha1.Counts{Targets: 60, Scheduled: 30, Pending: 3, InProgress: 9, Succeeded: 16, Failed: 2}
		r.Status.Groups = []v1alpha1.GroupStatus{
			{Name: "canary", State: v1alpha1.GroupRunning, OpenedAt: &canary, Counts: v1alpha1.Counts{Targets: 10, InProgress: 1, Succeeded: 9}},
			{Name: "early", State: v1alpha1.GroupRunning, OpenedAt: &early, Counts: v1alpha1.Counts{Targets: 20, Pending: 3, InProgress: 8, Succeeded: 7, Failed: 2}},
			{Name: "rest", State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 30, Scheduled: 30}},
		}
		r.Status.Failures = []v1alpha1.FailureCount{
			{StatusCode: "28", Count: 1, Examples: []string{"gateway-012"}},
			{StatusCode: v1alpha1.CodeStartDeadlineExceeded, Count: 1, Examples: []string{"gateway-013"}},
		}
		r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing,
			Message: "group early: 7 of 20 succeeded, 2 failed, waiting for 80 percent; 3 pending, 8 in progress"}
	})
	before := metav1.NewMicroTime(noon.Add(-2 * time.Hour))
	older := objects.Rollout("firmware-2-0", "gateway-firmware-2-0", planned(20, v1alpha1.RolloutRunning), func(r *v1alpha1.Rollout) {
		r.Status.StartedAt = &before
		r.Status.Groups = []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupRunning, OpenedAt: &canary, Counts: v1alpha1.Counts{Targets: 20, Succeeded: 8, Canceled: 12}}}
		r.Status.Targets = &v1alpha1.Counts{Targets: 20, Succeeded: 8, Canceled: 12}
	})
	return []client.Object{r, older,
		objects.DeploymentGroup(r, 0, labeled, named("canary"), build.Members(gateways(1, 10)...)),
		objects.DeploymentGroup(r, 1, labeled, named("early"), build.Members(gateways(11, 30)...)),
		objects.DeploymentGroup(r, 2, labeled, named("rest"), build.Members(gateways(31, 60)...)),
		objects.DeploymentGroup(older, 0, labeled, build.Members(gateways(1, 20)...)),
		objects.Target("gateway-012", func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{build.Action(3, "gateway-firmware-2-1", v1alpha1.ActionError, func(a *v1alpha1.Action) {
				a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID, Group: "early", Attempt: 2}
				a.StatusCode, a.FailureMessage, a.ClosedAt = "28", "no space left on /data", &early
			})}
			t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUpdateFailed}}
		}),
		objects.Target("gateway-013"),
	}
}

// rollouts returns a rollout in each state that a pipeline can wait for.
func rollouts() map[string]*v1alpha1.Rollout {
	started, ended, opened := metav1.NewMicroTime(noon.Add(-30*time.Minute)), metav1.NewMicroTime(noon.Add(-5*time.Minute)), metav1.NewTime(noon.Add(-30*time.Minute))
	withStatus := func(state v1alpha1.RolloutState, counts v1alpha1.Counts, edit func(*v1alpha1.RolloutStatus)) *v1alpha1.Rollout {
		return objects.Rollout("rollout", "firmware", planned(counts.Targets, state), func(r *v1alpha1.Rollout) {
			r.Status.StartedAt, r.Status.Targets = &started, &counts
			r.Status.Groups = []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupRunning, OpenedAt: &opened, Counts: counts}}
			edit(&r.Status)
		})
	}
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	return map[string]*v1alpha1.Rollout{
		"finished": withStatus(v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 10, Succeeded: 10}, func(s *v1alpha1.RolloutStatus) {
			s.FinishedAt, s.Groups[0].State = &ended, v1alpha1.GroupFinished
			s.Conditions = []metav1.Condition{condition(v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "10 of 10 targets succeeded")}
		}),
		"finished-without-success": withStatus(v1alpha1.RolloutFinished, v1alpha1.Counts{Targets: 10, Failed: 10}, func(s *v1alpha1.RolloutStatus) {
			s.FinishedAt, s.Groups[0].State = &ended, v1alpha1.GroupFinished
			s.Conditions = []metav1.Condition{condition(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonFailed, "no target succeeded: 10 failed")}
		}),
		"stopped": withStatus(v1alpha1.RolloutStopped, v1alpha1.Counts{Targets: 10, Succeeded: 4, InProgress: 2, Canceled: 4}, func(s *v1alpha1.RolloutStatus) {
			s.FinishedAt = &ended
			s.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonStopped, Message: "stopped; no result yet of 2 targets that had started"}
			s.Conditions = []metav1.Condition{
				condition(v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonInvalidatedBySpec, "DistributionSet firmware was invalidated: bricks the modem"),
				condition(v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonStopped, "stopped by an invalidation"),
			}
		}),
		"paused-by-errors": withStatus(v1alpha1.RolloutPaused, v1alpha1.Counts{Targets: 10, Pending: 5, Succeeded: 1, Failed: 4}, func(s *v1alpha1.RolloutStatus) {
			s.PauseReason, s.PausedAt = v1alpha1.PauseByErrorThreshold, &ended
			s.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonErrorThresholdExceeded,
				Message: "group group-1: 4 of 10 failed, more than errorThreshold 30 percent; to continue, set spec.resumedAt to status.pausedAt (2026-06-01T11:55:00Z) or later"}
			s.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionFalse, string(v1alpha1.ReasonErrorThresholdExceeded),
				"group group-1: 4 of 10 failed, more than errorThreshold 30 percent; to continue, set spec.resumedAt to status.pausedAt or later")}
			s.Failures = []v1alpha1.FailureCount{{Message: "cannot open <path>", Count: 3}, {StatusCode: "7", Count: 1}}
		}),
		"paused-by-spec": withStatus(v1alpha1.RolloutPaused, v1alpha1.Counts{Targets: 10, Pending: 10}, func(s *v1alpha1.RolloutStatus) {
			s.PauseReason, s.PausedAt = v1alpha1.PauseBySpec, &ended
			s.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonPausedBySpec, Message: "spec.state is Paused; devices that have started continue; to continue, set spec.state to Running"}
		}),
		"waiting-for-approval": objects.Rollout("rollout", "firmware", planned(10, v1alpha1.RolloutWaitingForApproval), func(r *v1alpha1.Rollout) {
			r.Status.Groups = []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupReady, Counts: v1alpha1.Counts{Targets: 10, Scheduled: 10}}}
			r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonAwaitingApproval, Message: "waiting for approval: to start, set spec.approval.planHash to sha256:plan"}
		}),
		"waiting-for-its-start": objects.Rollout("rollout", "firmware", planned(10, v1alpha1.RolloutReady), func(r *v1alpha1.Rollout) {
			at := metav1.NewTime(noon.Add(time.Hour))
			r.Spec.StartAt = &at
			r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonWaitingForStart, Message: "spec.startAt has not come", Until: &at}
		}),
		"removal": withStatus(v1alpha1.RolloutRunning, v1alpha1.Counts{Targets: 10, Pending: 10}, func(s *v1alpha1.RolloutStatus) {
			s.Update = "removal of agent 1.0"
			s.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing, Message: "group group-1: 0 of 10 succeeded, waiting for the rest; 10 pending"}
		}),
		"not-seen-by-the-controllers": objects.Rollout("rollout", "firmware", func(r *v1alpha1.Rollout) { r.Status.ObservedGeneration = -1 }),
	}
}

func TestStatusOfOneRollout(t *testing.T) {
	w := newWorld(t, running()...)
	for _, format := range []string{Text, JSON, YAML} {
		t.Run(format, func(t *testing.T) {
			got := w.run("status", "firmware-2-1", "-o", format)
			if got.code != 0 || got.errOut != "" {
				t.Fatalf("code %d, errors %q", got.code, got.errOut)
			}
			golden(t, "status/running."+format, got.out)
		})
	}
	w.columns = 80
	golden(t, "status/running.terminal", w.run("status", "firmware-2-1").out)
	w.environment = map[string]string{"NO_COLOR": "1"}
	golden(t, "status/running.ascii", w.run("status", "firmware-2-1").out)
}

func TestStatusOfEachStateWithItsExitCode(t *testing.T) {
	codes := map[string]int{
		"finished": 0, "finished-without-success": CodeFailed, "stopped": CodeFailed, "paused-by-errors": CodePausedByErrors, "paused-by-spec": CodeWaitsForPerson,
		"waiting-for-approval": CodeWaitsForPerson, "waiting-for-its-start": CodeRunning, "removal": CodeRunning, "not-seen-by-the-controllers": CodeRunning,
	}
	for name, r := range rollouts() {
		t.Run(name, func(t *testing.T) {
			if r.Status.Update != "" {
				r.Spec.Update = v1alpha1.Update{Remove: []v1alpha1.SoftwareReference{{Name: "agent", Version: "1.0"}}}
			}
			w := newWorld(t, r)
			got := w.run("status", "rollout")
			golden(t, "status/"+name+".text", got.out)
			if got.code != 0 {
				t.Errorf("without --exit-code the code is %d", got.code)
			}
			if got := w.run("status", "rollout", "--exit-code"); got.code != codes[name] {
				t.Errorf("code %d, want %d", got.code, codes[name])
			}
		})
	}
}

// Text of objects, such as the reason of an invalidation, cannot control the terminal, change the
// direction of other text, or look like further lines.
func TestTextOfObjectsIsPrintedVisibly(t *testing.T) {
	const hostile = "bad\x1b[2J\u009b2J\u202e\u200b\x7f\nrollout is fine"
	paused := rollouts()["paused-by-errors"].DeepCopy()
	paused.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing, Message: hostile}
	for i := range paused.Status.Conditions {
		paused.Status.Conditions[i].Message = hostile
	}
	paused.Status.PauseMessage = hostile
	w := newWorld(t, paused)
	for _, columns := range []int{0, 100} {
		w.columns = columns
		for _, command := range [][]string{{"status", "rollout"}, {"status"}, {"report", "rollout"}} {
			got := w.run(command...)
			if strings.ContainsAny(got.out, "\u009b\u202e\u200b\x7f") || strings.Contains(got.out, "\x1b[2J") {
				t.Errorf("%s, %d columns: %q", command, columns, got.out)
			}
			if strings.Contains(got.out, "\nrollout is fine") {
				t.Errorf("%s, %d columns: a text of an object became a line: %q", command, columns, got.out)
			}
		}
	}
	if got := w.run("status", "rollout"); !strings.Contains(got.out, "bad[2J") {
		t.Errorf("the text is missing in %q", got.out)
	}
}

func TestErrorsArePrintedVisibly(t *testing.T) {
	w := newWorld(t)
	w.connectErr = errors.New("denied \x1b[2J\u202e by \u009bme")
	if got := w.run("status"); got.code == 0 || strings.ContainsAny(got.errOut, "\x1b\u202e\u009b") || !strings.Contains(got.errOut, "denied [2J by me") {
		t.Errorf("code %d, %q", got.code, got.errOut)
	}
}

func TestStatusOfSeveralRolloutsHasTheWorstCode(t *testing.T) {
	var all []client.Object
	for name, r := range rollouts() {
		r.Name = name
		all = append(all, r)
	}
	w := newWorld(t, all...)
	if got := w.run("status", "finished", "waiting-for-approval", "paused-by-errors", "--exit-code"); got.code != CodePausedByErrors {
		t.Errorf("code %d, want %d", got.code, CodePausedByErrors)
	}
	golden(t, "status/several.text", w.run("status", "stopped", "finished", "finished").out)
	golden(t, "status/list.text", w.run("status").out)
	w.columns = 110
	w.environment["NO_COLOR"] = "1"
	golden(t, "status/list.terminal", w.run("status").out)
}

func TestStatusOfAllNamespaces(t *testing.T) {
	here, there := rollouts()["finished"], rollouts()["paused-by-errors"]
	there.Namespace = "lab"
	golden(t, "status/namespaces.text", newWorld(t, here, there).run("status", "-A").out)
	golden(t, "status/empty.text", newWorld(t, there).run("status").out+newWorld(t).run("status", "-A").out)
}

func TestStatusErrors(t *testing.T) {
	unreachable := newWorld(t)
	unreachable.connectErr = errNoAnswer
	forbidden := newWorld(t, running()...)
	forbidden.refuse(apierrors.NewForbidden(schema.GroupResource{Group: "goshawk.dev", Resource: "rollouts"}, "firmware-2-1", errors.New("user jane cannot get it")))
	expired := newWorld(t)
	expired.refuse(apierrors.NewUnauthorized("token has expired"))
	without := newWorld(t)
	without.refuse(&meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "goshawk.dev", Kind: "Rollout"}, SearchedVersions: []string{"v1alpha1"}})
	var out strings.Builder
	for _, tc := range []struct {
		name  string
		world *world
		args  []string
		code  int
	}{
		{"a similar name", newWorld(t, running()...), []string{"firmware-2-2"}, CodeNotFound},
		{"a namespace without rollouts", newWorld(t), []string{"firmware-2-1"}, CodeNotFound},
		{"no similar name", newWorld(t, running()...), []string{"x"}, CodeNotFound},
		{"no cluster", unreachable, []string{"x"}, CodeError},
		{"forbidden", forbidden, []string{"firmware-2-1"}, CodeError},
		{"expired credentials", expired, []string{"x"}, CodeError},
		{"Goshawk is not installed", without, []string{"x"}, CodeError},
		{"-A with a name", newWorld(t), []string{"-A", "x"}, CodeUsage},
		{"--wait with a space", newWorld(t), []string{"--wait=forever", "x"}, CodeUsage},
		{"-w with JSON", newWorld(t), []string{"-w", "-o", "json", "x"}, CodeUsage},
		{"--allow-missing without --wait", newWorld(t), []string{"--allow-missing", "x"}, CodeUsage},
		{"--allow-missing without a name", newWorld(t), []string{"--allow-missing", "--wait"}, CodeUsage},
		{"--timeout without --wait", newWorld(t), []string{"--timeout", "1m", "x"}, CodeUsage},
	} {
		got := tc.world.run(append([]string{"status"}, tc.args...)...)
		if got.code != tc.code || got.out != "" {
			t.Errorf("%s: code %d, output %q; want code %d and no output", tc.name, got.code, got.out, tc.code)
		}
		fmt.Fprintf(&out, "# %s\n%s", tc.name, got.errOut)
	}
	golden(t, "status/errors.txt", out.String())
}

// errNoAnswer is the error of a network without an answer.
var errNoAnswer = &url.Error{Op: "Get", URL: "https://10.0.0.1:6443/api", Err: errors.New("dial tcp 10.0.0.1:6443: i/o timeout")}

// refuse lets the cluster refuse all reads with an error.
func (w *world) refuse(err error) {
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return err
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return err },
	})
}

// screen is an output that a test reads while a command writes it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// follow starts a command whose output the test reads while it runs.
func (w *world) follow(args ...string) (out, errOut *screen, code <-chan int) {
	out, errOut = &screen{}, &screen{}
	done := make(chan int, 1)
	o := w.options(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: errOut})
	go func() { done <- Run(w.t.Context(), newCommand(o), errOut, args) }()
	return out, errOut, done
}

// wait waits until the output contains a text.
func (w *world) wait(s *screen, text string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no %q in %q", text, s.String())
		}
	}
}

// become gives the rollout of that name the status of another one.
func (w *world) become(name string, like *v1alpha1.Rollout) {
	w.t.Helper()
	r := &v1alpha1.Rollout{}
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: build.Namespace, Name: name}, r); err != nil {
		w.t.Fatal(err)
	}
	r.Status = *like.Status.DeepCopy()
	if err := w.client.Status().Update(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

func TestWaitShowsEachChangeAndReturnsTheCodeOfTheEnd(t *testing.T) {
	all := rollouts()
	tests := map[string]struct {
		args    []string
		changes []string
		code    int
	}{
		"until it has finished":                   {[]string{"--wait"}, []string{"removal", "finished"}, 0},
		"until it was stopped":                    {[]string{"--wait"}, []string{"removal", "stopped"}, CodeFailed},
		"until it needs a person":                 {[]string{"--wait"}, []string{"removal", "waiting-for-approval"}, CodeWaitsForPerson},
		"until it is paused by errors":            {[]string{"--wait"}, []string{"paused-by-errors"}, CodePausedByErrors},
		"until its end, also while it is paused":  {[]string{"--wait=end"}, []string{"paused-by-errors", "finished"}, 0},
		"-w alone says nothing by its code":       {[]string{"-w"}, []string{"paused-by-errors", "finished-without-success"}, 0},
		"-w with --exit-code waits for the end":   {[]string{"-w", "--exit-code"}, []string{"paused-by-spec", "finished-without-success"}, CodeFailed},
		"it has ended before":                     {[]string{"--wait"}, nil, 0},
		"the controllers see the rollout at last": {[]string{"--wait"}, []string{"waiting-for-its-start", "finished"}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			first := all["not-seen-by-the-controllers"]
			if tc.changes == nil {
				first = all["finished"]
			}
			w := newWorld(t, first)
			out, errOut, code := w.follow(append([]string{"status", "rollout"}, tc.args...)...)
			for _, change := range tc.changes {
				before := len(out.String())
				w.become("rollout", all[change])
				w.wait(out, "rollout "+string(all[change].Status.State)+":")
				if len(out.String()) == before {
					t.Errorf("%s printed nothing", change)
				}
			}
			if got := <-code; got != tc.code {
				t.Errorf("code %d, want %d; output %s%s", got, tc.code, out, errOut)
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Errorf("escape sequences without a terminal: %q", out)
			}
		})
	}
}

func TestWaitPrintsALinePerChangeAndTheTreeAtTheEnd(t *testing.T) {
	all := rollouts()
	w := newWorld(t, all["waiting-for-its-start"])
	out, _, code := w.follow("status", "rollout", "--wait")
	w.wait(out, "Ready")
	w.become("rollout", all["removal"])
	w.wait(out, "Running")
	w.become("rollout", all["finished"])
	<-code
	golden(t, "status/wait.text", out.String())
}

func TestWaitRedrawsOnATerminal(t *testing.T) {
	all := rollouts()
	w := newWorld(t, all["removal"])
	w.columns = 80
	out, _, code := w.follow("status", "rollout", "-w")
	w.wait(out, "Running")
	w.become("rollout", all["finished"])
	<-code
	if text := out.String(); !strings.Contains(text, "\x1b[") || !strings.Contains(text, "A\r") || strings.Count(text, "Finished") < 2 {
		t.Errorf("not redrawn: %q", text)
	}
}

func TestWaitWithNoColorPrintsLinesOnATerminal(t *testing.T) {
	all := rollouts()
	w := newWorld(t, all["finished"])
	w.columns, w.environment["NO_COLOR"] = 80, "1"
	if got := w.run("status", "rollout", "-w"); strings.Contains(got.out, "\x1b") || !strings.HasPrefix(got.out, "12:00:00 rollout Finished: 10 succeeded") {
		t.Errorf("output %q", got.out)
	}
}

func TestTimeoutOfWaitHasTheCodeOfTheState(t *testing.T) {
	all := rollouts()
	tests := map[string]struct {
		rollout string
		args    []string
		code    int
		errOut  string
	}{
		"it runs": {"removal", []string{"--wait", "--timeout", "2h"}, CodeRunning,
			"error: --timeout of 2 h is over; rollout is Running: group group-1: 0 of 10 succeeded, waiting for the rest; 10 pending\n"},
		"it waits for an approval": {"waiting-for-approval", []string{"--wait=end", "--timeout", "2h"}, CodeWaitsForPerson,
			"error: --timeout of 2 h is over; rollout is WaitingForApproval: waiting for approval: to start, set spec.approval.planHash to sha256:plan\n"},
		"-w alone": {"removal", []string{"-w", "--timeout", "2h"}, 0, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, all[tc.rollout])
			out, errOut, code := w.follow(append([]string{"status", "rollout"}, tc.args...)...)
			w.wait(out, "rollout "+string(all[tc.rollout].Status.State))
			close(w.expire)
			if got := <-code; got != tc.code || errOut.String() != tc.errOut {
				t.Errorf("code %d, errors %q; want %d, %q", got, errOut, tc.code, tc.errOut)
			}
		})
	}
}

func TestTimeoutWithoutAStatus(t *testing.T) {
	w := newWorld(t, rollouts()["removal"])
	started := make(chan struct{})
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{Get: func(ctx context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}})
	_, errOut, code := w.follow("status", "rollout", "--wait", "--timeout", "1m")
	<-started
	close(w.expire)
	if got, want := <-code, "error: --timeout of 1 min is over before the status could be read: context canceled\n"; got != CodeError || errOut.String() != want {
		t.Errorf("code %d, errors %q", got, errOut)
	}
}

func TestWaitForProgramsPrintsOneStatus(t *testing.T) {
	all := rollouts()
	w := newWorld(t, all["removal"])
	out, _, code := w.follow("status", "rollout", "--wait", "-o", "json")
	w.become("rollout", all["paused-by-errors"])
	if got := <-code; got != CodePausedByErrors {
		t.Errorf("code %d", got)
	}
	golden(t, "status/wait.json", out.String())
}

func TestWaitGoesOnWhenTheClusterComesBack(t *testing.T) {
	w := newWorld(t, rollouts()["removal"])
	var mu sync.Mutex
	failures := 0
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
		mu.Lock()
		defer mu.Unlock()
		if _, isRollout := o.(*v1alpha1.Rollout); isRollout && failures > 0 {
			failures--
			return errNoAnswer
		}
		return c.Get(ctx, key, o, options...)
	}})
	out, errOut, code := w.follow("status", "rollout", "--wait")
	w.wait(out, "Running")
	mu.Lock()
	failures = 2
	mu.Unlock()
	finished := rollouts()["finished"]
	r := &v1alpha1.Rollout{}
	for r.Name == "" { // the first reads of the test fail too
		_ = w.client.Get(t.Context(), client.ObjectKeyFromObject(finished), r)
	}
	r.Status = finished.Status
	if err := w.client.Status().Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("code %d, errors %s", got, errOut)
	}
}

func TestWaitForARolloutThatIsAppliedLater(t *testing.T) {
	w := newWorld(t, objects.Rollout("other", "x"))
	out, errOut, code := w.follow("status", "rollout", "--wait", "--allow-missing")
	w.wait(errOut, "warning: Rollout fleet/rollout does not exist; waiting until it does\n")
	if err := w.client.Create(t.Context(), rollouts()["finished"]); err != nil {
		t.Fatal(err)
	}
	w.become("rollout", rollouts()["finished"])
	if got := <-code; got != 0 || strings.Count(errOut.String(), "\n") != 1 {
		t.Errorf("code %d, output %s, errors %s", got, out, errOut)
	}
	_, errOut, code = w.follow("status", "rolout", "--wait", "--allow-missing", "--timeout", "1h")
	w.wait(errOut, "waiting until it does")
	close(w.expire)
	if got := <-code; got != CodeNotFound || !strings.HasSuffix(errOut.String(), "error: Rollout fleet/rolout does not exist\nsimilar names: rollout\n") {
		t.Errorf("code %d, errors %s", got, errOut)
	}
}

func TestWatchOfANamespaceShowsItsRollouts(t *testing.T) {
	all := rollouts()
	first, second := all["removal"], all["paused-by-spec"]
	first.Name, second.Name = "first", "second"
	w := newWorld(t, first)
	out, errOut, code := w.follow("status", "-w", "--timeout", "1h")
	w.wait(out, "12:00:00 first Running: 10 pending; group-1 Running 0/10\n")
	if err := w.client.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	w.become("second", all["paused-by-spec"])
	w.wait(out, "12:00:00 second Paused: 10 pending;")
	w.become("first", all["finished"])
	w.become("second", all["finished"])
	w.wait(out, "12:00:00 second Finished: 10 succeeded;")
	close(w.expire)
	if got := <-code; got != 0 || errOut.String() != "" {
		t.Errorf("code %d, errors %s", got, errOut)
	}
}

func TestWaitEndsWhenTheRolloutIsDeleted(t *testing.T) {
	w := newWorld(t, rollouts()["removal"])
	out, errOut, code := w.follow("status", "rollout", "--wait")
	w.wait(out, "Running")
	if err := w.client.Delete(t.Context(), objects.Rollout("rollout", "")); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != CodeNotFound || !strings.Contains(errOut.String(), "Rollout fleet/rollout does not exist") {
		t.Errorf("code %d, errors %s", got, errOut)
	}
}
