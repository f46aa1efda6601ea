// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var presentPlan = "sha256:" + strings.Repeat("6d28f836", 8)

// waiting returns a rollout that waits for an approval.
func waiting(edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return objects.Rollout("firmware", "firmware", append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		r.Spec.ApprovalRequired = true
		r.Status.State, r.Status.Plan = v1alpha1.RolloutWaitingForApproval, &v1alpha1.PlanStatus{Hash: presentPlan, Targets: 3, Groups: 3}
	}}, edits...)...)
}

func stoppedWith(c v1alpha1.Cancellation) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Spec.StopCancellation, r.Status.State = v1alpha1.IntentStopped, c, v1alpha1.RolloutStopped
		r.Status.Stop = &v1alpha1.StopStatus{Cancellation: c, ObservedAt: metav1.NewMicroTime(noon)}
	}
}

func inProgress(n int32) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Status.Targets.InProgress = n }
}

// The operations that a person can choose from make sense in the state of the object.
func TestChoicesInEachState(t *testing.T) {
	paused := func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Status.State = v1alpha1.IntentPaused, v1alpha1.RolloutPaused
	}
	tests := map[string]struct {
		object metav1.Object
		want   string
	}{
		"a rollout without a plan":                                          {objects.Rollout("r", "s"), "pause stop"},
		"a rollout that waits for an approval":                              {waiting(), "approve pause stop"},
		"an approved rollout before its start":                              {waiting(func(r *v1alpha1.Rollout) { r.Spec.Approval = &v1alpha1.Approval{PlanHash: presentPlan} }), "withdraw-approval pause stop"},
		"a planned rollout":                                                 {objects.Rollout("r", "s", func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }), "start stop"},
		"a running rollout with a failure":                                  {started(), "pause advance retry stop"},
		"a paused rollout with a failure":                                   {started(paused), "resume advance retry stop"},
		"a rollout that was stopped with Soft":                              {started(stoppedWith(v1alpha1.CancellationSoft), inProgress(1)), "stop"},
		"a rollout that was stopped with Soft, when all devices have ended": {started(stoppedWith(v1alpha1.CancellationSoft)), ""},
		"a rollout that an invalidation has stopped":                        {started(func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStopped }), "stop"},
		"a rollout that was stopped with Force":                             {started(stoppedWith(v1alpha1.CancellationForce)), ""},
		"a finished rollout with a failure":                                 {started(func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }), "retry"},
		"a running auto-assignment":                                         {objects.AutoAssignment("a", "s"), "pause"},
		"a paused auto-assignment":                                          {objects.AutoAssignment("a", "s", func(a *v1alpha1.AutoAssignment) { a.Spec.State = v1alpha1.AutoAssignmentIntentPaused }), "resume"},
		"a target":                                                          {objects.Target("t"), "hold"},
		"a target on hold":                                                  {objects.Target("t", func(t *v1alpha1.Target) { t.Spec.Hold = true }), "release"},
		"a valid set":                                                       {objects.DistributionSet("s"), "invalidate"},
		"an invalid set": {objects.DistributionSet("s", func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationNone}
		}), ""},
		"a kind without operations": {objects.SoftwareModule("m"), ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var possible []string
			for _, choice := range Choices(tc.object) {
				if choice.Refusal == nil {
					possible = append(possible, string(choice.Verb))
				} else if choice.Refusal.Reason == "" {
					t.Errorf("%s is refused without a reason", choice.Verb)
				}
			}
			if got := strings.Join(possible, " "); got != tc.want {
				t.Errorf("possible are %q, want %q", got, tc.want)
			}
		})
	}
}

// A request that does not fit the kind of the object is refused, and so is an unknown type.
func TestRequestsThatFitNoObject(t *testing.T) {
	all := []metav1.Object{started(), objects.AutoAssignment("a", "s"), objects.Target("t"), objects.DistributionSet("s"), objects.SoftwareModule("m")}
	for _, object := range all {
		for _, verb := range []Verb{VerbApprove, VerbWithdrawApproval, VerbStart, VerbPause, VerbResume, VerbAdvance, VerbRetry, VerbStop, VerbInvalidate, VerbHold, VerbRelease, "delete", ""} {
			q := Defaults(object, verb)
			_, err := q.On(object, noon)
			isRefused := err != nil && strings.Contains(err.Error(), "no such operation")
			if slices.Contains(VerbsOf(object), verb) == isRefused {
				t.Errorf("%s on %T: %v", verb, object, err)
			}
		}
	}
	for object, verb := range map[metav1.Object]Verb{started(): VerbStop, objects.DistributionSet("s"): VerbInvalidate} {
		q := Request{Verb: verb, Cancellation: "Hard"}
		if _, err := q.On(object, noon); err == nil || !strings.Contains(err.Error(), `there is no type "Hard"`) {
			t.Errorf("%s with an unknown type: %v", verb, err)
		}
	}
}

func TestCommandOfTheRequest(t *testing.T) {
	rollout, auto := &Change{Kind: "Rollout", Namespace: "fleet", Name: "fw"}, &Change{Kind: "AutoAssignment", Namespace: "fleet", Name: "latest"}
	for want, tc := range map[string]struct {
		request Request
		change  *Change
	}{
		"kubectl goshawk -n fleet approve fw --hash " + presentPlan: {Request{Verb: VerbApprove, PlanHash: presentPlan}, rollout},
		"kubectl goshawk -n fleet approve fw --withdraw":            {Request{Verb: VerbWithdrawApproval}, rollout},
		"kubectl goshawk -n fleet pause fw":                         {Request{Verb: VerbPause, Reason: "ignored", Cancellation: "Force"}, rollout},
		"kubectl goshawk -n fleet resume autoassignment/latest":     {Request{Verb: VerbResume}, auto},
		"kubectl goshawk -n fleet advance fw --to rest":             {Request{Verb: VerbAdvance, To: "rest"}, rollout},
		"kubectl goshawk -n fleet retry fw --code 110 --code 'a b' --message 'no space on <path>; it'\\''s full'": {
			Request{Verb: VerbRetry, Codes: []string{"110", "a b"}, Messages: []string{"no space on <path>; it's full"}}, rollout},
		"kubectl goshawk -n fleet stop fw --type Soft":                                                    {Request{Verb: VerbStop, Cancellation: "Soft", DeleteRollouts: true}, rollout},
		"kubectl goshawk -n fleet invalidate fw --type Force --delete-rollouts --reason '$(reboot) `id`'": {Request{Verb: VerbInvalidate, Cancellation: "Force", DeleteRollouts: true, Reason: "$(reboot) `id`"}, rollout},
	} {
		if got := tc.request.Command(tc.change); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// A change that was applied is recognized in the stored object, so that the same request does not
// write twice.
func TestAppliedChangeIsRecognized(t *testing.T) {
	for name, tc := range map[string]struct {
		object metav1.Object
		q      Request
	}{
		"pause":                 {started(), Request{Verb: VerbPause}},
		"withdraw an approval":  {waiting(func(r *v1alpha1.Rollout) { r.Spec.Approval = &v1alpha1.Approval{PlanHash: presentPlan} }), Request{Verb: VerbWithdrawApproval}},
		"retry with codes":      {started(func(r *v1alpha1.Rollout) { r.Status.Failures = []v1alpha1.FailureCount{{StatusCode: "110", Count: 1}} }), Request{Verb: VerbRetry, Codes: []string{"110"}}},
		"advance":               {started(), Request{Verb: VerbAdvance}},
		"invalidate and delete": {objects.DistributionSet("s"), Request{Verb: VerbInvalidate, Cancellation: "Force", DeleteRollouts: true, Reason: "r"}},
		"hold":                  {objects.Target("t"), Request{Verb: VerbHold}},
		"release":               {objects.Target("t", func(t *v1alpha1.Target) { t.Spec.Hold = true }), Request{Verb: VerbRelease}},
		"end an automatic pause": {started(func(r *v1alpha1.Rollout) {
			at := metav1.NewMicroTime(noon.Add(-time.Minute + time.Microsecond))
			r.Status.State, r.Status.PauseReason, r.Status.PausedAt = v1alpha1.RolloutPaused, v1alpha1.PauseByErrorBudget, &at
		}), Request{Verb: VerbResume}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tc.q.On(tc.object, noon)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(tc.object)
			if err != nil {
				t.Fatal(err)
			}
			object := map[string]any{}
			if err := json.Unmarshal(data, &object); err != nil {
				t.Fatal(err)
			}
			if c.IsApplied(object) {
				t.Errorf("before the write: %+v", c.Fields)
			}
			spec, _ := object["spec"].(map[string]any)
			merge(spec, c.Patch()["spec"].(map[string]any))
			if !c.IsApplied(object) {
				t.Errorf("after the write: %+v is not applied in %v", c.Fields, cmp.Diff(nil, spec))
			}
		})
	}
}

// merge applies a merge patch.
func merge(object, patch map[string]any) {
	for name, value := range patch {
		next, isObject := value.(map[string]any)
		switch at, _ := object[name].(map[string]any); {
		case value == nil:
			delete(object, name)
		case isObject && at != nil:
			merge(at, next)
		default:
			object[name] = value
		}
	}
}

// A page that shows what was written knows the fields of each operation.
func TestFieldsOfEachOperation(t *testing.T) {
	hash := func(r *v1alpha1.Rollout) { r.Spec.Approval = &v1alpha1.Approval{PlanHash: presentPlan} }
	both := func(r *v1alpha1.Rollout) {
		at := metav1.NewMicroTime(noon.Add(-time.Minute))
		r.Spec.State, r.Status.State, r.Status.PauseReason, r.Status.PausedAt = v1alpha1.IntentPaused, v1alpha1.RolloutPaused, v1alpha1.PauseByErrorBudget, &at
	}
	for verb, object := range map[Verb]metav1.Object{
		VerbApprove: waiting(), VerbWithdrawApproval: waiting(hash), VerbStart: objects.Rollout("r", "s", func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }),
		VerbPause: started(), VerbResume: started(both), VerbAdvance: started(), VerbRetry: started(), VerbStop: started(),
		VerbInvalidate: objects.DistributionSet("s"), VerbHold: objects.Target("t"), VerbRelease: objects.Target("t", func(t *v1alpha1.Target) { t.Spec.Hold = true }),
	} {
		q := Defaults(object, verb)
		q.Reason, q.Cancellation, q.DeleteRollouts = "r", v1alpha1.CancellationForce, true
		c, err := q.On(object, noon)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.Fields {
			if !slices.Contains(FieldsOf(verb), f.Path) {
				t.Errorf("%s changes %s, which FieldsOf lacks", verb, f.Path)
			}
		}
	}
}

func TestNewestWriterOfAField(t *testing.T) {
	entry := func(manager string, at time.Duration, fields, subresource string) metav1.ManagedFieldsEntry {
		when := metav1.NewTime(noon.Add(at))
		return metav1.ManagedFieldsEntry{Manager: manager, Time: &when, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields), Subresource: subresource}
	}
	r := started()
	r.ManagedFields = []metav1.ManagedFieldsEntry{
		entry("kustomize-controller", -time.Hour, `{"f:spec":{"f:state":{},"f:update":{}}}`, ""),
		entry("goshawk-console", -time.Minute, `{"f:spec":{"f:state":{}}}`, ""),
		entry("goshawk", 0, `{"f:spec":{"f:state":{}}}`, "status"),
	}
	for path, want := range map[string]string{"spec.state": "goshawk-console", "spec.update": "kustomize-controller", "spec.hold": ""} {
		if got, ok := WriterOf(r, path); got.Manager != want || ok != (want != "") {
			t.Errorf("%s was written by %+v, want %q", path, got, want)
		}
	}
}

func TestEachTypeIsExplained(t *testing.T) {
	for _, verb := range []Verb{VerbStop, VerbInvalidate} {
		seen := map[string]bool{}
		for _, c := range []v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce} {
			words := WordsOf(verb, c)
			if words.Does == "" || words.Choose == "" || seen[words.Does] || seen[words.Choose] {
				t.Errorf("%s %s: %+v", verb, c, words)
			}
			seen[words.Does], seen[words.Choose] = true, true
		}
	}
}
