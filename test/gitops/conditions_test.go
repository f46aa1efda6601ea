// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// words are the values that tools read from an object: the conditions, and the result of kstatus.
type words struct {
	Ready, Reconciling, Stalled, Succeeded string
	Kstatus                                status.Status
}

// read returns the present values of an object. Absent conditions are "-".
func read(t *testing.T, object *unstructured.Unstructured) words {
	t.Helper()
	result, err := status.Compute(object)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	into(object, &s, "status")
	say := func(kind string) string {
		switch c := world.Condition(s.Conditions, kind); {
		case c == nil:
			return "-"
		case kind == v1alpha1.ConditionReady:
			return string(c.Status) + " " + c.Reason
		default:
			return string(c.Status)
		}
	}
	return words{say(v1alpha1.ConditionReady), say(v1alpha1.ConditionReconciling), say(v1alpha1.ConditionStalled), say(v1alpha1.ConditionSucceeded), result.Status}
}

// eventually waits until an object has these values.
func eventually(t *testing.T, w *world.World, kind, name string, want words) {
	t.Helper()
	w.Eventually(fmt.Sprintf("%s %s", kind, name), func() string {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
		if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: name}, object); err != nil {
			return err.Error()
		}
		return cmp.Diff(want, read(t, object))
	})
}

const tomorrow = "2999-01-01T00:00:00Z"

// Every situation of a rollout, as Flux and Argo CD see it.
func TestConditionsOfRolloutsForTools(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]struct {
		behavior devicesim.Behavior
		spec     string // without update
		then     func(w *world.World)
		want     words
	}{
		"membership is stabilizing": {
			spec: "stabilizationSeconds: 3600",
			want: words{"Unknown Stabilizing", "True", "-", "Unknown", status.InProgressStatus},
		},
		"it waits for approval": {
			spec: "approvalRequired: true",
			want: words{"True AwaitingApproval", "-", "-", "Unknown", status.CurrentStatus},
		},
		"it is planned": {
			spec: "state: Planned",
			want: words{"True Planned", "-", "-", "Unknown", status.CurrentStatus},
		},
		"it waits for its start": {
			spec: `startAt: "` + tomorrow + `"`,
			want: words{"True WaitingForStart", "-", "-", "Unknown", status.CurrentStatus},
		},
		"it is paused before the start": {
			spec: "state: Paused",
			want: words{"True PausedBySpec", "-", "-", "Unknown", status.CurrentStatus},
		},
		"it runs": {
			behavior: devicesim.Silent,
			want:     words{"True Progressing", "-", "-", "Unknown", status.CurrentStatus},
		},
		"it is paused while it runs": {
			behavior: devicesim.Silent,
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
				w.CommitRollout("firmware-1", "spec: {state: Paused}")
			},
			want: words{"True PausedBySpec", "-", "-", "Unknown", status.CurrentStatus},
		},
		"successAction Pause holds the next group": {
			behavior: devicesim.Obedient, spec: "groupCount: 2\n  successAction: Pause",
			want: words{"True SuccessActionPause", "-", "-", "Unknown", status.CurrentStatus},
		},
		"the error threshold is exceeded": {
			behavior: devicesim.Failing, spec: "groupCount: 2",
			want: words{"False ErrorThresholdExceeded", "-", "True", "Unknown", status.FailedStatus},
		},
		"the error budget is exceeded": {
			behavior: devicesim.Failing, spec: "groupCount: 2\n  errorThreshold: 100\n  errorBudget: {count: 0}",
			want: words{"False ErrorBudgetExceeded", "-", "True", "Unknown", status.FailedStatus},
		},
		"the expression is wrong": {
			spec: `targetExpression: "target.colour"`,
			want: words{"False InvalidExpression", "-", "True", "Unknown", status.FailedStatus},
		},
		"no target is selected": {
			spec: "targetSelector: {matchLabels: {site: nowhere}}",
			want: words{"False NoTargets", "-", "True", "Unknown", status.FailedStatus},
		},
		"the set is invalidated before the start": {
			spec: "state: Planned",
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "is planned", world.InState(v1alpha1.RolloutReady))
				invalidate(w, v1alpha1.CancellationNone)
			},
			want: words{"False DistributionSetInvalid", "-", "True", "Unknown", status.FailedStatus},
		},
		"the set is invalidated while it runs": {
			behavior: devicesim.Silent,
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
				invalidate(w, v1alpha1.CancellationForce)
			},
			want: words{"False DistributionSetInvalid", "-", "True", "False", status.FailedStatus},
		},
		"it has finished": {
			behavior: devicesim.Obedient,
			want:     words{"True Succeeded", "-", "-", "True", status.CurrentStatus},
		},
		"it has finished with a group in Error": {
			behavior: devicesim.Failing,
			then: func(w *world.World) {
				r := w.EventuallyRollout("firmware-1", "pauses", world.InState(v1alpha1.RolloutPaused))
				w.CommitRollout("firmware-1", "spec: {resumedAt: "+r.Status.PausedAt.Add(time.Second).UTC().Format(time.RFC3339Nano)+"}")
			},
			want: words{"False FinishedWithErrors", "-", "True", "False", status.FailedStatus},
		},
		// The commit asked for the stop, so Ready is True; the fleet will never be done, so
		// Succeeded is False.
		"it was stopped": {
			behavior: devicesim.Silent,
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
				w.CommitRollout("firmware-1", "spec: {state: Stopped}")
			},
			want: words{"True Stopped", "-", "-", "False", status.CurrentStatus},
		},
		// A revert of a stop is accepted and has no effect: a user must set the field again.
		"its stop was reverted": {
			behavior: devicesim.Silent,
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
				w.CommitRollout("firmware-1", "spec: {state: Stopped}")
				w.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
				w.CommitRollout("firmware-1", "spec: {state: Running}")
			},
			want: words{"False StopIsFinal", "-", "True", "False", status.FailedStatus},
		},
		"its stop was reverted and set again": {
			behavior: devicesim.Silent,
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
				for _, state := range []string{"Stopped", "Running", "Stopped"} {
					w.CommitRollout("firmware-1", "spec: {state: "+state+"}")
					w.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
				}
			},
			want: words{"True Stopped", "-", "-", "False", status.CurrentStatus},
		},
		"Forced was reverted to Soft while it runs": {
			behavior: devicesim.Silent, spec: "state: Planned",
			then: func(w *world.World) {
				w.EventuallyRollout("firmware-1", "is planned", world.InState(v1alpha1.RolloutReady))
				w.CommitRollout("firmware-1", "spec: {update: {type: Soft}, state: Running}")
				for _, kind := range []v1alpha1.UpdateType{v1alpha1.UpdateTypeSoft, v1alpha1.UpdateTypeForced} {
					w.CommitRollout("firmware-1", "spec: {update: {type: "+string(kind)+"}}")
					w.EventuallyRollout("firmware-1", "records "+string(kind), func(r *v1alpha1.Rollout) bool { return r.Status.UpdateType == kind })
				}
				w.CommitRollout("firmware-1", "spec: {update: {type: Soft}}")
			},
			want: words{"False ForcedIsFinal", "-", "True", "Unknown", status.FailedStatus},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := audited(t)
			w.Set("firmware-1", "1.0")
			names := w.Targets("device", 4, nil)
			if story.behavior != "" {
				w.Devices(story.behavior, names...)
			}
			stabilize := "stabilizationSeconds: 1\n  "
			if strings.Contains(story.spec, "stabilizationSeconds") {
				stabilize = ""
			}
			w.Apply(rollout("firmware-1", stabilize+story.spec))
			if story.then != nil {
				story.then(w)
			}
			eventually(t, w, "Rollout", "firmware-1", story.want)
		})
	}
}

func rollout(name, spec string) string {
	return `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: ` + name + `}
spec:
  update: {distributionSet: ` + name + `}
  ` + spec + "\n"
}

func invalidate(w *world.World, c v1alpha1.Cancellation) {
	w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, "spec: {invalidation: {cancellation: "+string(c)+"}}")
}

// An object that was applied and is not reconciled yet is InProgress, so that a tool that waits
// does not continue too early.
func TestObjectBeforeItsFirstReconcileIsInProgress(t *testing.T) {
	t.Parallel()
	namespace := cluster.Namespace(t)
	for kind, spec := range map[string]string{
		"SoftwareModule":  "{type: os, name: linux, version: '1'}",
		"DistributionSet": "{name: firmware, version: '1', type: full}",
		"Target":          "{}",
		"Rollout":         "{update: {distributionSet: firmware}}",
		"AutoAssignment":  "{update: {distributionSet: firmware}}",
		"DeviceAccess":    "{gatewayToken: {secretName: gateway}}",
	} {
		manifest := "apiVersion: goshawk.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: unseen}\nspec: " + spec
		applied, err := cluster.TryKubectl(t, manifest, "-n", namespace, "apply", "--server-side", "--dry-run=server", "-o", "json", "-f", "-")
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON([]byte(applied)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, object); got != (words{"-", "-", "-", "-", status.InProgressStatus}) {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// An object that is being deleted is Terminating, and Goshawk does not remove finalizers of others.
func TestARolloutThatIsBeingDeletedIsTerminating(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	w.Targets("device", 2, nil)
	w.Apply(strings.Replace(rollout("firmware-1", "stabilizationSeconds: 0"), "metadata: {", "metadata: {finalizers: ["+foreignFinalizer+"], ", 1))
	w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
	w.Kubectl("delete", "grollout", "firmware-1", "--wait=false")
	w.EventuallyRollout("firmware-1", "has no finalizer of Goshawk", func(r *v1alpha1.Rollout) bool {
		return len(r.Finalizers) == 1 && r.Finalizers[0] == foreignFinalizer
	})
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Rollout"))
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "firmware-1"}, object); err != nil {
		t.Fatal(err)
	}
	if got := read(t, object).Kstatus; got != status.TerminatingStatus {
		t.Errorf("kstatus says %s", got)
	}
	if groups := w.Groups(); len(groups) > 0 {
		t.Errorf("%d groups still exist", len(groups))
	}
	w.CommitRollout("firmware-1", "metadata: {finalizers: null}")
}

// The conditions of the other kinds, with and without a problem.
func TestConditionsOfOtherKindsForTools(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	w.Targets("device", 1, nil)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: firmware-1-again} # of two that were created in the same second, the first by name is valid
spec: {type: os, name: linux, version: "1.0"}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: empty}
spec: {name: empty, version: "1.0", type: full-image}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: dangling}
spec: {name: dangling, version: "1.0", type: full-image, modules: [{name: missing}]}
`)
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: running}
spec: {update: {distributionSet: firmware-1}}
---
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: paused}
spec: {update: {distributionSet: firmware-1}, state: Paused}
---
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: dangling}
spec: {update: {distributionSet: missing}}
`)
	current := func(ready string) words { return words{ready, "-", "-", "-", status.CurrentStatus} }
	failed := func(ready string) words { return words{ready, "-", "True", "-", status.FailedStatus} }
	eventually(t, w, "SoftwareModule", "firmware-1", current("True Ready"))
	eventually(t, w, "SoftwareModule", "firmware-1-again", failed("False Duplicate"))
	eventually(t, w, "DistributionSet", "firmware-1", current("True Ready"))
	eventually(t, w, "DistributionSet", "empty", failed("False Incomplete"))
	eventually(t, w, "DistributionSet", "dangling", failed("False ReferenceNotFound"))
	eventually(t, w, "Target", "device-000", current("True Ready"))
	eventually(t, w, "AutoAssignment", "running", current("True Running"))
	eventually(t, w, "AutoAssignment", "paused", current("True PausedBySpec"))
	eventually(t, w, "AutoAssignment", "dangling", failed("False ReferenceNotFound"))
	invalidate(w, v1alpha1.CancellationSoft)
	eventually(t, w, "DistributionSet", "firmware-1", current("True DistributionSetInvalid"))
	eventually(t, w, "AutoAssignment", "running", failed("False DistributionSetInvalid"))
	w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, "spec: {invalidation: null}")
	eventually(t, w, "DistributionSet", "firmware-1", failed("False InvalidationIsFinal"))
	eventually(t, w, "AutoAssignment", "running", failed("False DistributionSetInvalid"))
	invalidate(w, v1alpha1.CancellationSoft)
	eventually(t, w, "DistributionSet", "firmware-1", current("True DistributionSetInvalid"))
}
