// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Each invariant finds the history that violates it, and no invariant finds a problem in a correct
// history.
func TestInvariantsFindViolations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		history []moment
		want    string
	}{
		"a correct rollout":                              {history: historyOf(done()...)},
		"an invalid set is started":                      {want: "S2", history: historyOf(roll("", 1, 0), invalidSet(), created("dev-0", 1, "first"))},
		"an action in a group that is not open":          {want: "S3", history: historyOf(roll("", 1, 0), created("dev-1", 1, "second"))},
		"a group opens before the one before it":         {want: "S3", history: historyOf(roll("", 1, 0), roll("", 2, 0))},
		"an action during a pause by an error threshold": {want: "S4", history: historyOf(roll("", 1, 0), roll(v1alpha1.PauseByErrorThreshold, 1, 0), created("dev-0", 1, "first"))},
		"an action is created twice":                     {want: "S5", history: historyOf(roll("", 1, 0), created("dev-0", 1, "first"), created("dev-0", 2, "first"))},
		"a closed action changes its state": {want: "S7", history: historyOf(roll("", 1, 0), created("dev-0", 1, "first"), closed("dev-0", 1, v1alpha1.ActionCanceled),
			closed("dev-0", 1, v1alpha1.ActionFinished))},
		"a group that had opened is closed again":         {want: "S7", history: historyOf(roll("", 1, 0), roll("", 0, 0))},
		"the counts of a rollout differ from its targets": {want: "S8", history: historyOf(roll("", 1, 1))},

		"an action of an auto-assignment and one of an assignment": {history: historyOf(autoIn(v1alpha1.AutoAssignmentRunning), given("dev-0", 1, v1alpha1.SourceAutoAssignment, ""),
			given("dev-1", 1, v1alpha1.SourceTarget, "set"))},
		"an auto-assignment is paused": {want: "S3", history: historyOf(autoIn(v1alpha1.AutoAssignmentPaused), given("dev-0", 1, v1alpha1.SourceAutoAssignment, ""))},
		"an assignment was removed":    {want: "S3", history: historyOf(given("dev-0", 1, v1alpha1.SourceTarget, ""))},
		"a confirmation during a pause by an error threshold": {want: "S4", history: historyOf(roll("", 1, 0), closed("dev-0", 1, v1alpha1.ActionWaitingForConfirmation),
			roll(v1alpha1.PauseByErrorThreshold, 1, 0), created("dev-0", 1, "first"))},
		"an action starts while another one is open":    {want: "S5", history: historyOf(roll("", 1, 0), created("dev-0", 1, "first"), given("dev-0", 2, v1alpha1.SourceTarget, "set"))},
		"a device gets the set that it runs":            {want: "S5", history: historyOf(roll("", 1, 0), running("dev-0"), created("dev-0", 1, "first"))},
		"a retry makes a finished rollout run again":    {history: historyOf(append(done(), ended(), retried())...)},
		"a finished rollout runs again without a retry": {want: "S7", history: historyOf(append(done(), ended(), roll("", 2, 2))...)},
		"a dynamic rollout adds a group":                {history: historyOf(roll("", 1, 0), grown(&v1alpha1.Dynamic{}))},
		"a rollout that is not dynamic adds a group":    {want: "S7", history: historyOf(roll("", 1, 0), grown(nil))},
	} {
		t.Run(name, func(t *testing.T) {
			h := &truth{moments: c.history}
			found := strings.Join(h.problems(map[string]map[int32]bool{"dev-0": {1: true, 2: true}, "dev-1": {1: true}}), "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want+":") && c.want != "" {
				t.Errorf("want %q, found:\n%s", c.want, found)
			}
		})
	}
}

// historyOf returns a history that starts with a set, two targets, and a rollout with two groups of
// one target each.
func historyOf(states ...any) []moment {
	all := []any{
		&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "set"}}, target("dev-0"), target("dev-1"), group("first", 0, "dev-0"), group("second", 1, "dev-1"), roll("", 0, 0),
	}
	var out []moment
	for i, o := range append(all, states...) {
		out = append(out, moment{revision: uint64(i), object: o.(client.Object)})
	}
	return out
}

// done returns the states of a rollout that both targets have finished.
func done() []any {
	return []any{
		roll("", 1, 0), created("dev-0", 1, "first"), closed("dev-0", 1, v1alpha1.ActionFinished),
		roll("", 2, 1), created("dev-1", 1, "second"), closed("dev-1", 1, v1alpha1.ActionFinished), roll("", 2, 2),
	}
}

func target(name string, actions ...v1alpha1.Action) *v1alpha1.Target {
	return &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.TargetStatus{Actions: actions}}
}

func created(name string, id int32, group string) *v1alpha1.Target {
	return target(name, v1alpha1.Action{ID: id, DistributionSet: "set", ContentHash: "content", State: v1alpha1.ActionRetrieved, Source: v1alpha1.ActionSource{Name: "roll", UID: "roll", Group: group}})
}

// given returns a target that started the set for another source than the rollout. If assigned is
// not empty, the target has an assignment of that set.
func given(name string, id int32, kind v1alpha1.SourceKind, assigned string) *v1alpha1.Target {
	since := metav1.NewMicroTime(time.Unix(0, 0))
	t := target(name, v1alpha1.Action{ID: id, DistributionSet: "set", ContentHash: "content", State: v1alpha1.ActionRetrieved,
		Source: v1alpha1.ActionSource{Kind: kind, Name: "another", UID: "another", Since: &since}})
	if assigned != "" {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: assigned}}
	}
	return t
}

// running returns a target that has the set installed.
func running(name string) *v1alpha1.Target {
	t := target(name)
	t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "set", ContentHash: "content"}
	return t
}

func closed(name string, id int32, state v1alpha1.ActionState) *v1alpha1.Target {
	t := created(name, id, "first")
	t.Status.Actions[0].State = state
	return t
}

func invalidSet() *v1alpha1.DistributionSet {
	return &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "set"},
		Status: v1alpha1.DistributionSetStatus{Invalidation: &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationForce}}}
}

func autoIn(state v1alpha1.AutoAssignmentState) *v1alpha1.AutoAssignment {
	return &v1alpha1.AutoAssignment{ObjectMeta: metav1.ObjectMeta{Name: "another", UID: "another"}, Status: v1alpha1.AutoAssignmentStatus{State: state}}
}

func group(name string, index int32, member v1alpha1.TargetName) *v1alpha1.DeploymentGroup {
	return &v1alpha1.DeploymentGroup{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.DeploymentGroupSpec{RolloutUID: "roll", Group: name, Index: index, Targets: []v1alpha1.TargetName{member}}}
}

// roll returns the rollout with these numbers of open groups and of succeeded targets.
func roll(pause v1alpha1.PauseReason, opened, succeeded int) *v1alpha1.Rollout {
	at := metav1.Unix(1, 0)
	started := metav1.NewMicroTime(at.Time)
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "roll", UID: "roll"},
		Status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: &started, PauseReason: pause, Plan: &v1alpha1.PlanStatus{}}}
	for i, name := range []string{"first", "second"} {
		g := v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 1}}
		switch {
		case i < succeeded:
			g.Succeeded = 1
		case i < opened:
			g.Pending = 1
		default:
			g.Scheduled = 1
		}
		if i < opened {
			g.State, g.OpenedAt = v1alpha1.GroupRunning, &at
		}
		r.Status.Groups = append(r.Status.Groups, g)
	}
	return r
}

// ended returns the finished rollout, and retried the same with a retry.
func ended() *v1alpha1.Rollout {
	r := roll("", 2, 2)
	r.Status.State = v1alpha1.RolloutFinished
	for i := range r.Status.Groups {
		r.Status.Groups[i].State = v1alpha1.GroupFinished
	}
	return r
}

func retried() *v1alpha1.Rollout {
	r, at := roll("", 2, 2), metav1.NewMicroTime(time.Unix(2, 0))
	r.Status.Handled = &v1alpha1.HandledRequests{RetryAt: &at}
	return r
}

// grown returns the rollout with one more group, which is empty.
func grown(dynamic *v1alpha1.Dynamic) *v1alpha1.Rollout {
	r := roll("", 1, 0)
	r.Spec.Dynamic = dynamic
	r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: "third", State: v1alpha1.GroupScheduled})
	return r
}

// The objects that users apply belong to Git: the wire finds every write to them, except that of
// Goshawk's own finalizer.
func TestWireFindsWritesToObjectsOfGit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, path, body string
		isOffence          bool
	}{
		"status":                    {http.MethodPatch, "rollouts/roll/status", `{"status":{}}`, false},
		"the finalizer":             {http.MethodPatch, "rollouts/roll", `{"metadata":{"finalizers":["goshawk.dev/rollout"],"resourceVersion":"7"}}`, false},
		"a generated group":         {http.MethodPost, "deploymentgroups", `{"metadata":{"name":"roll-first-0a0a","labels":{"app.kubernetes.io/managed-by":"goshawk"},"annotations":{"argocd.argoproj.io/ignore-resource-updates":"true"},"ownerReferences":[{"controller":true}]},"spec":{}}`, false},
		"the deletion of a rollout": {http.MethodDelete, "rollouts/roll", `{}`, false},
		"spec":                      {http.MethodPatch, "rollouts/roll", `{"spec":{"state":"Stopped"}}`, true},
		"labels":                    {http.MethodPatch, "targets/dev-0", `{"metadata":{"labels":{"a":"b"}}}`, true},
		"a whole object":            {http.MethodPut, "distributionsets/set", `{"metadata":{"finalizers":[]},"spec":{}}`, true},
		"a target's deletion":       {http.MethodDelete, "targets/dev-0", `{}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, "http://127.0.0.1/apis/goshawk.dev/v1alpha1/namespaces/fleet/"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			_, body, err := describe(r)
			if err != nil {
				t.Fatal(err)
			}
			w := &line{}
			if w.checkOwner(r, body); (len(w.offences) > 0) != c.isOffence {
				t.Errorf("the reported writes are %v", w.offences)
			}
		})
	}
}
