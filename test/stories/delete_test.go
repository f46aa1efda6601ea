// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A rollout in any state is deleted with its manifest and with its groups, also if started devices
// never answer. Open actions are canceled by the stronger one of deletionCancellation and an
// earlier stop.
func TestRolloutIsDeletedInEveryState(t *testing.T) {
	t.Parallel()
	const none, soft, force = v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce
	states := map[string]struct {
		spec    string
		starts  bool // its devices start, and report nothing after that
		then    func(*world.World)
		is      func(*v1alpha1.Rollout) bool
		earlier v1alpha1.Cancellation // the cancellation of an earlier stop
	}{
		"creating": {spec: "stabilizationSeconds: 3600", is: world.InState(v1alpha1.RolloutCreating)},
		"refused":  {spec: "targetExpression: target.colour", is: isStalled(v1alpha1.ReasonInvalidExpression)},
		"waiting":  {spec: "approvalRequired: true", is: world.InState(v1alpha1.RolloutWaitingForApproval)},
		"ready":    {spec: "state: Planned", is: world.InState(v1alpha1.RolloutReady)},
		"running":  {starts: true, is: world.InState(v1alpha1.RolloutRunning)},
		"paused": {starts: true, is: world.InState(v1alpha1.RolloutPaused), then: func(w *world.World) {
			w.CommitRollout("paused", "spec: {state: Paused}")
		}},
		"paused-automatically": {spec: "errorThreshold: 0", starts: true, is: isStalled(v1alpha1.ReasonErrorThresholdExceeded), then: func(w *world.World) {
			w.Devices(devicesim.Failing, "paused-automatically-002")
		}},
		"lost": {starts: true, is: isStalled(v1alpha1.ReasonGroupLost), then: func(w *world.World) { removeGroupsByForce(w, "lost") }},
		"stopped": {starts: true, is: world.InState(v1alpha1.RolloutStopped), earlier: soft, then: func(w *world.World) {
			w.CommitRollout("stopped", "spec: {state: Stopped}")
		}},
		"finished": {is: world.InState(v1alpha1.RolloutFinished), then: func(w *world.World) {
			w.Devices(devicesim.Obedient, "finished-000", "finished-001", "finished-002")
		}},
	}
	becomes := map[v1alpha1.Cancellation]v1alpha1.ActionState{none: v1alpha1.ActionRetrieved, soft: v1alpha1.ActionCanceling, force: v1alpha1.ActionCanceled}
	for cancellation, state := range becomes {
		t.Run(string(cancellation), func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			var manifests strings.Builder
			var silent []string
			for name, state := range states {
				targets := w.Targets(name, 3, map[string]string{"state": name})
				if state.starts {
					silent = append(silent, targets[:2]...)
				}
				fmt.Fprintf(&manifests, `
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %[1]s}
spec:
  update: {distributionSet: firmware-1}
  targetSelector: {matchLabels: {state: %[1]s}}
  startAt: "2026-01-01T00:00:00Z"
  deletionCancellation: %[2]s
  %[3]s
`, name, cancellation, cmp.Or(state.spec, "stabilizationSeconds: 0"))
			}
			w.Apply(manifests.String())
			_, devices := w.Devices(devicesim.Silent, silent...)
			w.EventuallyStarted(devices, silent...)
			for name, state := range states {
				if state.then != nil {
					state.then(w)
				}
				w.EventuallyRollout(name, "reaches its state", state.is)
			}
			w.Kubectl("delete", "grollout", "--all", "--wait=true", "--timeout=60s")
			for name := range states {
				isGone(w, &v1alpha1.Rollout{}, name)
			}
			noGroups(w)
			for name, was := range states {
				want := state
				if cancellation == none {
					want = becomes[cmp.Or(was.earlier, none)]
				}
				for _, target := range []string{name + "-000", name + "-001"} {
					switch a := action.Newest(&w.Target(target).Status); {
					case was.starts:
						w.EventuallyTarget(target, "is "+string(want), newest(want))
					case a != nil && a.State != v1alpha1.ActionFinished:
						t.Errorf("%s was offered no update, but has action %+v", target, a)
					}
				}
			}
		})
	}
}

// isStalled reports whether a rollout is Stalled with this reason.
func isStalled(reason string) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason)
	}
}

// isGone fails the test if an object exists.
func isGone(w *world.World, object client.Object, name string) {
	w.T.Helper()
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, object); !apierrors.IsNotFound(err) {
		w.T.Errorf("%s is still there: %v", name, err)
	}
}

// removeGroupsByForce deletes the deployment groups of a rollout and removes their finalizers.
func removeGroupsByForce(w *world.World, rollout string) {
	w.T.Helper()
	for _, g := range w.Groups() {
		if g.Spec.Rollout == rollout {
			w.Kubectl("delete", "dgroup", g.Name, "--wait=false")
			w.Kubectl("patch", "dgroup", g.Name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		}
	}
}

// A newer rollout waits until an older one releases shared targets, which it cannot because its
// status writes are refused. If the newer one is deleted meanwhile, the older one keeps its
// targets.
func TestRolloutDeletedBeforeItsStartSupersedesNothing(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	busy, shared := w.Targets("busy", 1, map[string]string{"ring": "first"}), w.Targets("shared", 2, nil)
	_, silent := w.Devices(devicesim.Silent, busy...)
	_, devices := w.Devices(devicesim.Obedient, shared...)
	w.ApplySpec("Rollout", "older", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 0
  startAt: "2026-01-01T00:00:00Z"
  groups: [{name: first, targetSelector: {matchLabels: {ring: first}}}, {name: rest}]
`)
	w.EventuallyStarted(silent, busy...)
	w.EventuallyRollout("older", "has opened its first group", groupIs(0, v1alpha1.GroupRunning))
	lift := refuseStatusWrites(w, "deploymentgroups", &w.Groups()[0], v1alpha1.RolloutLabel)
	w.ApplySpec("Rollout", "newer", `{update: {distributionSet: firmware-2}, stabilizationSeconds: 0, startAt: "2026-01-02T00:00:00Z", deletionCancellation: Force}`)
	w.EventuallyRollout("newer", "waits for the older one", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutStarting && r.Status.WaitingFor != nil && r.Status.WaitingFor.Reason == v1alpha1.ReasonSuperseding
	})
	w.Kubectl("delete", "grollout", "newer", "--wait=true", "--timeout=60s")
	isGone(w, &v1alpha1.Rollout{}, "newer")
	for _, g := range w.Groups() {
		if g.Spec.Rollout != "older" {
			t.Errorf("group %s has no rollout", g.Name)
		}
	}
	lift()
	w.CommitRollout("older", `spec: {advance: {to: rest, at: "`+time.Now().UTC().Format(time.RFC3339Nano)+`"}}`)
	for _, name := range shared {
		w.EventuallyTarget(name, "is updated by the older rollout", inSync("firmware-1"))
	}
	startedOnce(t, devices, shared...)
	if a := action.Newest(&w.Target(busy[0]).Status); a.State != v1alpha1.ActionRetrieved || a.Cancel != nil {
		t.Errorf("the action of the older rollout is %+v", a)
	}
}

// A stop has not canceled all actions, because one target cannot be written, when the manifest is
// removed. The rollout is deleted when that target can be written, and the stronger cancellation
// applies to it.
func TestStoppingRolloutIsDeleted(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 2, nil)
	stuck := w.Targets("stuck", 1, map[string]string{"stuck": "yes"})
	_, devices := w.Devices(devicesim.Vanishes, together(names, stuck)...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, deletionCancellation: Force}`)
	w.EventuallyStarted(devices, together(names, stuck)...)
	lift := refuseStatusWrites(w, "targets", w.Target(stuck[0]), "stuck")
	w.CommitRollout("firmware-1", "spec: {state: Stopped}")
	r := w.EventuallyRollout("firmware-1", "waits for one target", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutStopping && strings.Contains(r.Status.WaitingFor.Message, "still to be canceled: 1 target")
	})
	for _, name := range names {
		w.EventuallyTarget(name, "is asked", newest(v1alpha1.ActionCanceling))
	}
	w.Kubectl("delete", "grollout", "firmware-1", "--wait=false")
	for _, name := range names {
		w.EventuallyTarget(name, "is closed by the deletion", newest(v1alpha1.ActionCanceled))
	}
	if now := w.Rollout("firmware-1"); now.UID != r.UID || now.DeletionTimestamp.IsZero() {
		t.Errorf("the rollout should wait for the target that cannot be written: %+v", now.ObjectMeta)
	}
	lift()
	w.Kubectl("wait", "--for=delete", "grollout/firmware-1", "--timeout=60s")
	noGroups(w)
	w.EventuallyTarget(stuck[0], "is closed by the deletion", newest(v1alpha1.ActionCanceled))
}

// refuseStatusWrites refuses all writes of the status of an object, and of objects with the same
// value of the label, by an admission policy. The returned function removes the policy.
func refuseStatusWrites(w *world.World, resource string, object client.Object, label string) (lift func()) {
	w.T.Helper()
	world.ExpectErrors("the cluster does not want it") // the error is logged, because an operator must act
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s-%[2]s}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    objectSelector: {matchLabels: {%[3]s: "%[4]s"}}
    resourceRules: [{apiGroups: [goshawk.dev], apiVersions: ["*"], operations: [UPDATE], resources: [%[2]s/status]}]
  validations: [{expression: "false", message: the cluster does not want it}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s-%[2]s}
spec: {policyName: %[1]s-%[2]s, validationActions: [Deny]}
`, w.Namespace, resource, label, object.GetLabels()[label])
	isRefused := func() bool {
		err := w.Client.Status().Patch(w.T.Context(), object, client.RawPatch(types.MergePatchType, []byte("{}")), client.DryRunAll)
		if err != nil && !strings.Contains(err.Error(), "the cluster does not want it") {
			w.T.Fatal(err)
		}
		return err != nil
	}
	await := func(refused bool) {
		w.T.Helper()
		w.Eventually(fmt.Sprintf("writes are refused: %t", refused), func() string {
			if isRefused() != refused {
				return "not yet"
			}
			return ""
		})
	}
	w.Apply(policy)
	await(true)
	return func() {
		w.T.Helper()
		w.Kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", w.Namespace+"-"+resource)
		await(false)
	}
}

// A target and the set of a running rollout are deleted. The rollout counts the target as removed,
// names the missing set, and continues when the set exists again.
func TestRolloutContinuesAfterItsSetIsRestored(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	done, late := w.Targets("done", 2, nil), w.Targets("late", 3, nil)
	w.Devices(devicesim.Obedient, done...)
	fleet, devices := w.Devices(devicesim.Offline, late...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`)
	for _, name := range done {
		w.EventuallyTarget(name, "is done", inSync("firmware-1"))
	}
	w.Kubectl("delete", "tgt", late[0], "--wait=true", "--timeout=30s")
	w.EventuallyRollout("firmware-1", "counts it as removed", func(r *v1alpha1.Rollout) bool { return r.Status.Targets.Removed == 1 })
	w.Kubectl("delete", "distset", "firmware-1", "--wait=true", "--timeout=30s")
	w.Kubectl("delete", "swmod", "firmware-1", "--wait=true", "--timeout=30s")
	w.EventuallyRollout("firmware-1", "names its missing set", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonReferenceNotFound)
	})
	bringOnline(t, fleet, late[1:]...)
	w.EventuallyPolled(devices, 3, w.Rollout("firmware-1").CreationTimestamp.Time, late[1:]...)
	if started := devices.Of(devicesim.Started); len(started) > 0 {
		t.Errorf("devices started a deleted set: %v", started)
	}
	w.Set("firmware-1", "1.0")
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 5, Succeeded: 4, Removed: 1}) {
		t.Errorf("counts are %+v", got)
	}
	startedOnce(t, devices, late[1:]...)
}
