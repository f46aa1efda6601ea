// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// planHash is the hash of the plan of every rollout in these tests.
var planHash = "sha256:" + strings.Repeat("6d28f836", 8)

// ago is a time before noon.
func ago(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(-d)) }

func microAgo(d time.Duration) *metav1.MicroTime {
	at := metav1.NewMicroTime(noon.Add(-d))
	return &at
}

// aRollout returns a rollout of 30 targets in three groups that waits for its approval.
func aRollout(edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return objects.Rollout("firmware-2-1", "firmware-2-1", append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		created := ago(50 * time.Minute)
		r.Spec.State, r.Spec.ApprovalRequired = v1alpha1.IntentRunning, true
		r.Status = v1alpha1.RolloutStatus{ObservedGeneration: 1, UID: r.UID, State: v1alpha1.RolloutWaitingForApproval, Update: "firmware-2-1",
			Plan:       &v1alpha1.PlanStatus{Hash: planHash, ContentHash: "c0ffee", CreatedAt: &created, Targets: 30, Groups: 3},
			Targets:    &v1alpha1.Counts{Targets: 30, Scheduled: 30},
			WaitingFor: &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonAwaitingApproval, Message: "waiting for approval: to start, set spec.approval.planHash to " + planHash}}
		for _, name := range []string{"canary", "early", "rest"} {
			r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupReady, Counts: v1alpha1.Counts{Targets: 10, Scheduled: 10}})
		}
	}}, edits...)...)
}

// approved approves the plan.
func approved(r *v1alpha1.Rollout) { r.Spec.Approval = &v1alpha1.Approval{PlanHash: planHash} }

// isRunning starts the rollout: its first group is open, with five successes, one failure, and two
// devices in progress.
func isRunning(r *v1alpha1.Rollout) {
	approved(r)
	opened, seen := ago(40*time.Minute), ago(20*time.Minute)
	r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, microAgo(40*time.Minute)
	r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: v1alpha1.ReasonProgressing, Message: "group canary: 5 of 10 succeeded, 1 failed, waiting for 80 percent; 2 pending, 2 in progress"}
	r.Status.Groups[0].State, r.Status.Groups[0].OpenedAt = v1alpha1.GroupRunning, &opened
	r.Status.Groups[0].Counts = v1alpha1.Counts{Targets: 10, Pending: 2, InProgress: 2, Succeeded: 5, Failed: 1}
	r.Status.Groups[1].State, r.Status.Groups[2].State = v1alpha1.GroupScheduled, v1alpha1.GroupScheduled
	r.Status.Targets = &v1alpha1.Counts{Targets: 30, Scheduled: 20, Pending: 2, InProgress: 2, Succeeded: 5, Failed: 1}
	r.Status.Failures = []v1alpha1.FailureCount{{StatusCode: "110", Count: 1, Examples: []string{"gw-03"}, FirstSeen: &seen, LastSeen: &seen}}
}

// pausedByErrors pauses the rollout automatically.
func pausedByErrors(r *v1alpha1.Rollout) {
	r.Status.State, r.Status.PauseReason, r.Status.PausedAt = v1alpha1.RolloutPaused, v1alpha1.PauseByErrorThreshold, microAgo(10*time.Minute)
	r.Status.PauseMessage = "group canary went into Error when 1 of 10 had failed, more than errorThreshold 5 percent"
	r.Status.Groups[0].State = v1alpha1.GroupError
}

func stateIs(intent v1alpha1.RolloutIntent) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Spec.State = intent }
}

func stopped(kind v1alpha1.Cancellation) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Spec.StopCancellation, r.Status.State = v1alpha1.IntentStopped, kind, v1alpha1.RolloutStopped
		r.Status.Stop = &v1alpha1.StopStatus{Cancellation: kind, ObservedAt: *microAgo(5 * time.Minute)}
	}
}

// ownedByFlux makes Flux the owner of spec.state.
func ownedByFlux(o client.Object) {
	at := ago(time.Hour)
	o.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "rollouts", "kustomize.toolkit.fluxcd.io/namespace": "fleet"})
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kustomize-controller", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "goshawk.dev/v1alpha1", Time: &at,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:state":{},"f:update":{"f:distributionSet":{}}}}`)}})
}

// answerRights lets the API server say that the user has these rights, each a verb and a resource.
func (w *world) answerRights(has ...string) *world {
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			review, ok := o.(*authorizationv1.SelfSubjectAccessReview)
			if !ok {
				return c.Create(ctx, o, opts...)
			}
			asked := review.Spec.ResourceAttributes
			review.Status.Allowed = asked.Group == "goshawk.dev" && asked.Namespace == build.Namespace && slices.Contains(has, asked.Verb+" "+asked.Resource)
			return nil
		},
	})
	return w
}

// typing runs a command at a terminal, at which a person types the text.
func (w *world) typing(text string, args ...string) result {
	w.t.Helper()
	var out, errOut bytes.Buffer
	o := w.options(genericiooptions.IOStreams{In: strings.NewReader(text), Out: &out, ErrOut: &errOut})
	o.AsksTerminal = func() bool { return true }
	code := Run(w.t.Context(), newCommand(o), &errOut, args)
	return result{out: out.String(), errOut: errOut.String(), code: code}
}

func (w *world) rollout() *v1alpha1.Rollout {
	w.t.Helper()
	r := &v1alpha1.Rollout{}
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: build.Namespace, Name: "firmware-2-1"}, r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestOperationsSayWhatTheyChange(t *testing.T) {
	editor := []string{"patch rollouts", "patch targets", "patch autoassignments", "cancel targets"}
	auto := objects.AutoAssignment("latest", "firmware-2-1", func(a *v1alpha1.AutoAssignment) {
		a.Status.State = v1alpha1.AutoAssignmentRunning
		a.Status.Targets = &v1alpha1.AutoAssignmentTargets{Matched: 40, Started: 3, Succeeded: 12, Failed: 1}
	})
	target := objects.Target("gw-09", func(t *v1alpha1.Target) {
		t.Status.UpdateStatus = v1alpha1.UpdateStatusPending
		t.Status.Actions = []v1alpha1.Action{build.Action(100, "firmware-2-1", v1alpha1.ActionDownloading)}
	})
	held := target.DeepCopy()
	held.Spec.Hold = true
	flux := aRollout(isRunning)
	ownedByFlux(flux)
	tests := map[string]struct {
		object client.Object
		args   string
		may    []string
	}{
		"approve":              {aRollout(), "approve firmware-2-1 --hash " + planHash[:len("sha256:")+12], []string{"patch rollouts", "approve rollouts"}},
		"approve-as-editor":    {aRollout(), "approve firmware-2-1 --hash " + planHash, editor},
		"approve-withdraw":     {aRollout(approved), "approve firmware-2-1 --withdraw", editor},
		"start":                {aRollout(stateIs(v1alpha1.IntentPlanned)), "start firmware-2-1", editor},
		"pause":                {aRollout(isRunning), "pause firmware-2-1", editor},
		"pause-owned-by-flux":  {flux, "pause rollout/firmware-2-1", editor},
		"pause-auto":           {auto, "pause autoassignment/latest", editor},
		"resume":               {aRollout(isRunning, pausedByErrors), "resume firmware-2-1", editor},
		"resume-both":          {aRollout(isRunning, pausedByErrors, stateIs(v1alpha1.IntentPaused)), "resume firmware-2-1", []string{"patch rollouts", "resume rollouts"}},
		"retry":                {aRollout(isRunning), "retry firmware-2-1 --code 110", editor},
		"advance":              {aRollout(isRunning), "advance firmware-2-1 --to rest", editor},
		"stop":                 {aRollout(isRunning), "stop firmware-2-1", editor},
		"stop-force":           {aRollout(isRunning), "stop firmware-2-1 --type force", editor},
		"stop-raised":          {aRollout(isRunning, stopped(v1alpha1.CancellationSoft)), "stop firmware-2-1 --type Force", []string{"patch rollouts", "forcecancel targets"}},
		"stop-invalidated":     {aRollout(isRunning, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopping }), "stop firmware-2-1 --type Force", []string{"patch rollouts", "forcecancel targets"}},
		"stop-before-start":    {aRollout(), "stop firmware-2-1", editor},
		"hold":                 {target, "hold gw-09", editor},
		"release":              {held, "release gw-09", editor},
		"pause-patch":          {aRollout(isRunning), "pause firmware-2-1 --patch", nil},
		"withdraw-patch":       {aRollout(approved), "approve firmware-2-1 --withdraw --patch", nil},
		"stop-for-programs":    {aRollout(isRunning), "stop firmware-2-1 -o json", editor},
		"advance-for-programs": {aRollout(isRunning), "advance firmware-2-1 -o yaml", editor},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t, tc.object).answerRights(tc.may...).run(strings.Fields(tc.args)...)
			if got.code != 0 || got.errOut != "" {
				t.Fatalf("code %d, %s", got.code, got.errOut)
			}
			golden(t, "operations/"+name+".txt", got.out)
		})
	}
}

func TestOperationsWithoutSenseAreRefused(t *testing.T) {
	tests := map[string]struct {
		object client.Object
		args   string
		want   string
	}{
		"approve without a hash": {aRollout(), "approve firmware-2-1", "--hash is missing: an approval names the plan that was reviewed\nthe present plan is " + planHash},
		"approve another plan":   {aRollout(), "approve firmware-2-1 --hash sha256:" + strings.Repeat("0", 64), "the present plan is " + planHash + " and not sha256:000"},
		"approve a hash of eleven digits": {aRollout(), "approve firmware-2-1 --hash " + planHash[:len("sha256:")+11],
			"the present plan is " + planHash},
		"approve twice": {aRollout(approved, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutReady }),
			"approve firmware-2-1 --hash " + planHash, "this plan is approved already"},
		"approve a rollout that waits for no approval": {aRollout(func(r *v1alpha1.Rollout) { r.Status.State, r.Status.WaitingFor = v1alpha1.RolloutReady, nil }),
			"approve firmware-2-1 --hash " + planHash, "it does not wait for an approval: its state is Ready"},
		"approve before there is a plan": {aRollout(func(r *v1alpha1.Rollout) {
			r.Status.Plan, r.Status.State = nil, v1alpha1.RolloutCreating
			r.Status.WaitingFor.Message = "the matching targets still change"
		}), "approve firmware-2-1 --hash " + planHash, "it has no plan yet (the matching targets still change)\napprove it when its state is WaitingForApproval"},
		"approve after the start":   {aRollout(isRunning), "approve firmware-2-1 --hash " + planHash, "it has started at 2026-06-01T11:20:00Z, so an approval has no effect any more"},
		"withdraw without approval": {aRollout(), "approve firmware-2-1 --withdraw", "spec.approval is not set"},
		"withdraw after the start":  {aRollout(isRunning), "approve firmware-2-1 --withdraw", "it has started at 2026-06-01T11:20:00Z\npause it or stop it instead"},
		"start twice":               {aRollout(isRunning), "start firmware-2-1", "it has started at 2026-06-01T11:20:00Z"},
		"start what only waits":     {aRollout(), "start firmware-2-1", "spec.state is Running already (waiting for approval"},
		"pause twice":               {aRollout(isRunning, stateIs(v1alpha1.IntentPaused)), "pause firmware-2-1", "spec.state is Paused already\nto continue, use `kubectl goshawk resume firmware-2-1`"},
		"pause a planned rollout":   {aRollout(stateIs(v1alpha1.IntentPlanned)), "pause firmware-2-1", "spec.state is Planned, which starts no device"},
		"pause a stopped rollout":   {aRollout(isRunning, stopped(v1alpha1.CancellationSoft)), "pause firmware-2-1", "it was stopped, and a stop cannot be taken back\ncreate another Rollout"},
		"resume a running rollout":  {aRollout(isRunning), "resume firmware-2-1", "it is not paused: its state is Running (group canary: 5 of 10"},
		"resume a planned rollout":  {aRollout(stateIs(v1alpha1.IntentPlanned)), "resume firmware-2-1", "it has not started: spec.state is Planned\nuse `kubectl goshawk start firmware-2-1`"},
		"resume twice": {aRollout(isRunning, pausedByErrors, func(r *v1alpha1.Rollout) { at := ago(time.Minute); r.Spec.ResumedAt = &at }), "resume firmware-2-1",
			"spec.resumedAt is 2026-06-01T11:59:00Z and lifts this pause already\nwait until the controllers have processed it"},
		"retry without a failure": {aRollout(isRunning, func(r *v1alpha1.Rollout) { r.Status.Targets.Failed = 0 }), "retry firmware-2-1", "no target has failed"},
		"retry another code":      {aRollout(isRunning), "retry firmware-2-1 --code 112", "no target has failed with code 112\nfailed so far: 1 with code 110"},
		"retry a stopped rollout": {aRollout(isRunning, stopped(v1alpha1.CancellationSoft)), "retry firmware-2-1", "it was stopped, and a stop cannot be taken back"},
		"retry before the start":  {aRollout(), "retry firmware-2-1", "it has not started"},
		"retry twice": {aRollout(isRunning, func(r *v1alpha1.Rollout) { r.Spec.Retry = &v1alpha1.Retry{At: ago(time.Minute)} }), "retry firmware-2-1",
			"spec.retry.at is 2026-06-01T11:59:00Z, and the controllers have not carried it out"},
		"stop with the same cancellation": {aRollout(isRunning, stopped(v1alpha1.CancellationSoft)), "stop firmware-2-1", "it was stopped with Soft already\na stronger --type applies"},
		"stop with a weaker one":          {aRollout(isRunning, stopped(v1alpha1.CancellationForce)), "stop firmware-2-1 --type None", "it was stopped with Force already"},
		"stop a finished rollout": {aRollout(isRunning, func(r *v1alpha1.Rollout) {
			r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutFinished, microAgo(time.Minute)
		}), "stop firmware-2-1",
			"it has finished at 2026-06-01T11:59:00Z"},
		"advance before the start":      {aRollout(), "advance firmware-2-1", "it has not started (waiting for approval"},
		"advance to an unknown group":   {aRollout(isRunning), "advance firmware-2-1 --to last", "there is no group last\ngroups that have not opened: early, rest"},
		"advance to an open group":      {aRollout(isRunning), "advance firmware-2-1 --to canary", "group canary has opened already\ngroups that have not opened: early, rest"},
		"hold twice":                    {objects.Target("gw-09", func(t *v1alpha1.Target) { t.Spec.Hold = true }), "hold gw-09", "spec.hold is true already"},
		"release without hold":          {objects.Target("gw-09"), "release gw-09", "spec.hold is false already"},
		"pause a stopped auto":          {objects.AutoAssignment("latest", "x", func(a *v1alpha1.AutoAssignment) { a.Status.State = v1alpha1.AutoAssignmentStopped }), "pause autoassignment/latest", "it is stopped, because its set was invalidated or deleted"},
		"a rollout that does not exist": {aRollout(), "pause firmware-2-2", "similar names: firmware-2-1"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.object)
			for _, more := range []string{"", "--apply", "--patch"} {
				got := w.run(strings.Fields(tc.args + " " + more)...)
				if got.code == 0 || got.out != "" || !strings.Contains(got.errOut, tc.want) {
					t.Errorf("%s: code %d, output %q, errors %q; want %q", more, got.code, got.out, got.errOut, tc.want)
				}
			}
		})
	}
}

func TestApplyWritesOnlyTheShownFields(t *testing.T) {
	w := newWorld(t, aRollout(isRunning)).answerRights("patch rollouts")
	before, manager := w.rollout(), ""
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		manager = (&client.PatchOptions{}).ApplyOptions(opts).FieldManager
		return c.Patch(ctx, o, p, opts...)
	}})
	got := w.run("pause", "firmware-2-1", "--apply")
	golden(t, "operations/pause-applied.txt", got.out+got.errOut)
	after := w.rollout()
	if after.Spec.State != v1alpha1.IntentPaused {
		t.Errorf("spec.state is %s", after.Spec.State)
	}
	after.Spec.State = before.Spec.State
	if before.Spec.Update.DistributionSet != after.Spec.Update.DistributionSet || after.Spec.Approval == nil {
		t.Errorf("spec is %+v", after.Spec)
	}
	if manager != FieldManager {
		t.Errorf("the field manager is %q", manager)
	}
}

func TestApplyToAFieldThatFluxOwns(t *testing.T) {
	flux := aRollout(isRunning)
	ownedByFlux(flux)
	w := newWorld(t, flux).answerRights("patch rollouts")
	refused := w.run("pause", "firmware-2-1", "--apply")
	golden(t, "operations/pause-not-applied.txt", refused.errOut)
	if refused.code != CodeError || refused.out != "" || w.rollout().Spec.State != v1alpha1.IntentRunning {
		t.Errorf("code %d, output %q, spec.state %s", refused.code, refused.out, w.rollout().Spec.State)
	}
	if got := w.run("pause", "firmware-2-1", "--apply", "--force"); got.code != 0 || w.rollout().Spec.State != v1alpha1.IntentPaused {
		t.Errorf("with --force: code %d, %s, spec.state %s", got.code, got.errOut, w.rollout().Spec.State)
	}
	// Flux does not own spec.hold, spec.resumedAt or spec.stopCancellation, so these need no force.
	paused := aRollout(isRunning, pausedByErrors)
	ownedByFlux(paused)
	if got := newWorld(t, paused).answerRights().run("resume", "firmware-2-1", "--apply"); got.code != 0 {
		t.Errorf("resume: %s", got.errOut)
	}
}

// conflicting lets the next writes of a rollout fail, as if the object had changed in between.
func (w *world) conflicting(times int, change func(*v1alpha1.Rollout)) {
	inner := w.client
	w.client = interceptor.NewClient(inner, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if times > 0 {
				times--
				r := w.rollout()
				change(r)
				if err := inner.Update(ctx, r); err != nil {
					return err
				}
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
}

func TestApplyReadsAgainAfterAConflict(t *testing.T) {
	w := newWorld(t, aRollout(isRunning)).answerRights()
	w.conflicting(3, func(r *v1alpha1.Rollout) { r.Annotations = map[string]string{"seen": r.ResourceVersion} })
	if got := w.run("stop", "firmware-2-1", "--apply"); got.code != 0 || w.rollout().Spec.State != v1alpha1.IntentStopped {
		t.Errorf("code %d, %s, spec.state %s", got.code, got.errOut, w.rollout().Spec.State)
	}

	w = newWorld(t, aRollout(isRunning)).answerRights()
	w.conflicting(1, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
	got := w.run("stop", "firmware-2-1", "--apply")
	want := "error: not applied: Rollout fleet/firmware-2-1 was changed meanwhile: spec.state: Paused -> Stopped\nrun the command again\n"
	if got.code != CodeError || got.errOut != want || w.rollout().Spec.State != v1alpha1.IntentPaused {
		t.Errorf("code %d, errors %q, spec.state %s", got.code, got.errOut, w.rollout().Spec.State)
	}

	w = newWorld(t, aRollout(isRunning)).answerRights()
	w.conflicting(1, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped })
	if got := w.run("pause", "firmware-2-1", "--apply"); got.code != CodeError || !strings.Contains(got.errOut, "cannot pause rollout fleet/firmware-2-1: it was stopped") {
		t.Errorf("code %d, errors %q", got.code, got.errOut)
	}
}

func TestRefusalOfTheAPIServerIsPrintedWordForWord(t *testing.T) {
	const sentence = "ValidatingAdmissionPolicy 'rollouts.rights.goshawk.dev' with binding 'rollouts.rights.goshawk.dev' denied request: to stop with stopCancellation Soft needs the verb cancel on targets in namespace fleet, which anna lacks: bind the ClusterRole goshawk-stopper to anna in that namespace, or stop with None"
	w := newWorld(t, aRollout(isRunning)).answerRights("patch rollouts")
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
		return apierrors.NewForbidden(schema.GroupResource{Group: "goshawk.dev", Resource: "rollouts"}, "firmware-2-1", errorText(sentence))
	}})
	got := w.run("stop", "firmware-2-1", "--apply")
	if got.code != CodeError || !strings.Contains(got.errOut, sentence) || got.out != "" {
		t.Errorf("code %d, output %q, errors %q", got.code, got.out, got.errOut)
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }

func TestForceIsConfirmedByAName(t *testing.T) {
	set := objects.DistributionSet("firmware-2-1")
	stop, invalidate := []string{"stop", "firmware-2-1", "--type", "Force", "--apply"}, []string{"invalidate", "firmware-2-1", "--type", "Force", "--apply"}
	tests := map[string]struct {
		typed string
		args  []string
		want  string // in the errors; "": it is applied
	}{
		"stop, the name":                      {"firmware-2-1\n", stop, ""},
		"stop, the name without a line break": {"firmware-2-1", stop, ""},
		"stop, another name":                  {"firmware-2-0\n", stop, `not applied: "firmware-2-0" was typed, not "firmware-2-1"`},
		"stop, y":                             {"y\n", stop, `not applied: "y" was typed`},
		"stop, nothing":                       {"", stop, `not applied: "" was typed`},
		"invalidate, the name":                {"firmware-2-1\n", invalidate, ""},
		"invalidate, another name":            {"yes\n", invalidate, `not applied: "yes" was typed`},
		"invalidate with Soft asks nothing":   {"", []string{"invalidate", "firmware-2-1", "--type", "Soft", "--apply"}, ""},
		"invalidate with --yes asks nothing":  {"", append(slices.Clone(invalidate), "--yes"), ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, aRollout(isRunning), set).answerRights()
			got := w.typing(tc.typed, tc.args...)
			if isApplied := got.code == 0; isApplied != (tc.want == "") || !strings.Contains(got.errOut, tc.want) {
				t.Errorf("code %d, errors %q", got.code, got.errOut)
			}
			changed := &v1alpha1.DistributionSet{}
			if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(set), changed); err != nil {
				t.Fatal(err)
			}
			if wrote := w.rollout().Spec.State == v1alpha1.IntentStopped || changed.Spec.Invalidation != nil; wrote != (tc.want == "") {
				t.Errorf("written: %t", wrote)
			}
		})
	}
	for _, args := range [][]string{stop, invalidate} {
		got := newWorld(t, aRollout(isRunning), set).answerRights().run(args...)
		if got.code != CodeError || !strings.Contains(got.errOut, "the input is no terminal\ngive --yes to confirm it in a script") {
			t.Errorf("%s without a terminal: code %d, %q", args[0], got.code, got.errOut)
		}
	}
}

func TestTargetsAreHeldOneByOne(t *testing.T) {
	w := newWorld(t, objects.Target("gw-01"), objects.Target("gw-02", func(t *v1alpha1.Target) { t.Spec.Hold = true }), objects.Target("gw-03")).answerRights()
	got := w.run("hold", "gw-01", "gw-02", "gw-03", "--apply")
	if got.code != CodeError || !strings.Contains(got.errOut, "cannot hold target fleet/gw-02: spec.hold is true already") || !strings.Contains(got.errOut, "1 of 3 targets were not changed") {
		t.Errorf("code %d, %q", got.code, got.errOut)
	}
	for _, name := range []string{"gw-01", "gw-02", "gw-03"} {
		held := &v1alpha1.Target{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: build.Namespace, Name: name}, held); err != nil || !held.Spec.Hold {
			t.Errorf("%s: hold %t, %v", name, held.Spec.Hold, err)
		}
	}
}

func TestTargetsThatCannotBeHeldWithoutApply(t *testing.T) {
	got := newWorld(t, objects.Target("gw-01")).answerRights().run("hold", "gw-01", "gw-02")
	if want := "error: 1 of 2 targets cannot be changed\n"; got.code != CodeError || !strings.HasSuffix(got.errOut, want) {
		t.Errorf("code %d, errors %q, want them to end with %q", got.code, got.errOut, want)
	}
}

func TestOperationsHaveExamples(t *testing.T) {
	for _, name := range []string{"approve", "start", "pause", "resume", "retry", "stop", "advance", "hold", "release", "invalidate"} {
		got := newWorld(t).run(name, "--help")
		if got.code != 0 || !strings.Contains(got.out, "kubectl goshawk "+name) || !strings.Contains(got.out, "--apply") {
			t.Errorf("%s: %s", name, got.out)
		}
	}
}

func TestManifestInGitIsNamed(t *testing.T) {
	const url = "https://forge.example/fleet/edit/main/firmware-2-1.yaml"
	target := objects.Target("gw-01", func(t *v1alpha1.Target) { t.Annotations = map[string]string{v1alpha1.ManifestURLAnnotation: url} })
	w := newWorld(t, target)
	if got := w.run("hold", "gw-01"); !strings.Contains(got.out, "\nmanifest in Git:\n  "+url+"\n") {
		t.Errorf("the proposal is\n%s%s", got.out, got.errOut)
	}
	if got := w.run("hold", "gw-01", "-o", "json"); !strings.Contains(got.out, `"manifestURL": "`+url+`"`) {
		t.Errorf("for a program:\n%s%s", got.out, got.errOut)
	}
	if got := w.run("hold", "gw-01", "--patch"); strings.Contains(got.out, url) {
		t.Errorf("the patch is\n%s", got.out)
	}
	if got := w.run("hold", "gw-01", "--apply"); !strings.Contains(got.out, "commit the same change: --patch prints it\nmanifest in Git: "+url+"\n") {
		t.Errorf("after the write:\n%s%s", got.out, got.errOut)
	}
}
