// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	ssaerrors "github.com/fluxcd/pkg/ssa/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// flux applies folders with the library and the options of Flux's kustomize-controller.
type flux struct {
	t       *testing.T
	w       *world.World
	manager *ssa.ResourceManager
	// inventory has the objects that the last apply of each folder contained.
	inventory map[string][]*unstructured.Unstructured
	options   ssa.ApplyOptions
}

func newFlux(t *testing.T, w *world.World) *flux {
	t.Helper()
	_, c := cluster.Start(t)
	poller := polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{})
	f := &flux{t: t, w: w, inventory: map[string][]*unstructured.Unstructured{},
		manager: ssa.NewResourceManager(c, poller, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})}
	f.options = ssa.DefaultApplyOptions()
	f.options.ExclusionSelector = map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled", "kustomize.toolkit.fluxcd.io/ssa": "Ignore"}
	f.options.WaitInterval = 100 * time.Millisecond
	f.options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{"kubectl.kubernetes.io/last-applied-configuration"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply}, {Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "kubectl-client-side-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
		},
	}
	return f
}

// try applies a folder and prunes what it no longer contains. It returns what was done, by action,
// without the objects that did not change.
func (f *flux) try(folder string, manifests []*unstructured.Unstructured) (map[ssa.Action][]string, error) {
	f.t.Helper()
	var applied []*unstructured.Unstructured
	for _, object := range manifests {
		applied = append(applied, object.DeepCopy())
	}
	f.manager.SetOwnerLabels(applied, "fleet-"+folder, "flux-system")
	changes, err := f.manager.ApplyAllStaged(f.t.Context(), applied, f.options)
	if err != nil {
		return nil, err
	}
	gone := slices.DeleteFunc(slices.Clone(f.inventory[folder]), func(old *unstructured.Unstructured) bool {
		return slices.ContainsFunc(applied, func(o *unstructured.Unstructured) bool {
			return o.GetKind() == old.GetKind() && o.GetName() == old.GetName()
		})
	})
	f.inventory[folder] = applied
	pruned, err := f.manager.DeleteAll(f.t.Context(), gone, ssa.DeleteOptions{
		PropagationPolicy: metav1.DeletePropagationBackground,
		Inclusions:        f.manager.GetOwnerLabels("fleet-"+folder, "flux-system"),
		Exclusions:        map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled", "kustomize.toolkit.fluxcd.io/reconcile": "disabled"},
	})
	if err != nil {
		return nil, err
	}
	changes.Append(pruned.Entries)
	done := changes.ToGroupedMap()
	delete(done, ssa.UnchangedAction)
	return done, nil
}

func (f *flux) apply(folder string, manifests []*unstructured.Unstructured) map[ssa.Action][]string {
	f.t.Helper()
	done, err := f.try(folder, manifests)
	if err != nil {
		f.t.Fatalf("apply %s: %v", folder, err)
	}
	return done
}

// unchanged applies all folders again, as Flux does at each interval.
func (f *flux) unchanged(when string, fleet map[string][]*unstructured.Unstructured) {
	f.t.Helper()
	for _, folder := range folders {
		if done := f.apply(folder, fleet[folder]); len(done) > 0 {
			f.t.Errorf("%s, Flux changes in %s: %v", when, folder, done)
		}
	}
}

// wait waits as a Kustomization with wait: true.
func (f *flux) wait(folder string, timeout time.Duration) error {
	f.t.Helper()
	return f.manager.Wait(f.inventory[folder], ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: timeout})
}

// fleetOf returns the objects of all folders of examples/fleet.
func fleetOf(t *testing.T, namespace string) map[string][]*unstructured.Unstructured {
	t.Helper()
	fleet := map[string][]*unstructured.Unstructured{}
	for _, folder := range folders {
		fleet[folder] = example(t, namespace, folder)
	}
	return fleet
}

// commitTo changes a field of an object of Git. Without a value the field is removed.
func commitTo(t *testing.T, manifests []*unstructured.Unstructured, kind, name string, value any, path ...string) {
	t.Helper()
	for _, object := range manifests {
		if object.GetKind() != kind || object.GetName() != name {
			continue
		}
		if value == nil {
			unstructured.RemoveNestedField(object.Object, path...)
		} else if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("there is no %s %s", kind, name)
}

// gateways are the devices of examples/fleet outside of the lab.
var gateways = []string{"gw-berlin-01", "gw-berlin-02", "gw-lyon-01", "gw-porto-01"}

// TestFluxAppliesTheExamplesOnce: Flux applies the examples, and from then on changes nothing:
// directly after, while the rollouts run, when they are over, and after kubectl has applied the
// same manifests. wait: true of a Kustomization does not wait for the end of a rollout.
func TestFluxAppliesTheExamplesOnce(t *testing.T) {
	t.Parallel()
	w := audited(t)
	f, fleet := newFlux(t, w), fleetOf(t, w.Namespace)
	giveTokens(t, w)
	for _, folder := range []string{"rollouts", "rollouts-waiting", "sets", "base"} { // the order does not matter
		if done := f.apply(folder, fleet[folder]); len(done[ssa.CreatedAction])+len(done[ssa.ConfiguredAction]) != len(fleet[folder]) {
			t.Errorf("the first apply of %s does %v", folder, done)
		}
	}
	f.unchanged("directly after the apply", fleet)
	for _, folder := range folders {
		if err := f.wait(folder, 2*time.Minute); err != nil {
			t.Errorf("a wait for the commit of %s: %v", folder, err)
		}
	}
	f.unchanged("while the rollouts wait for devices", fleet)
	before := generations(w)
	w.Devices(devicesim.Obedient, append(slices.Clone(gateways), "gw-lab-01")...)
	for _, name := range []string{"gateway-2-1", "lab-2-1"} {
		w.EventuallyRollout(name, "succeeds", func(r *v1alpha1.Rollout) bool {
			return r.Status.State == v1alpha1.RolloutFinished && r.Status.Targets.Succeeded == r.Status.Targets.Targets
		})
	}
	f.unchanged("when the rollouts are over", fleet)
	manifests := ""
	for _, folder := range folders {
		manifests += inNamespace(w.Namespace, cluster.Kubectl(t, "kustomize", cluster.Root()+"/examples/fleet/"+folder)) + "---\n"
	}
	for _, flags := range [][]string{{"apply", "--server-side", "--force-conflicts"}, {"apply"}} {
		if out, err := cluster.TryKubectl(t, manifests, append(flags, "-f", "-")...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		noDrift(t, w, "after kubectl", manifests, flags[1:])
		for _, folder := range folders { // Flux takes the fields back that kubectl has applied
			f.apply(folder, fleet[folder])
		}
		f.unchanged("after kubectl "+strings.Join(flags, " "), fleet)
	}
	for name, generation := range generations(w) {
		if before[name] != "" && before[name] != generation {
			t.Errorf("the generation of %s changed from %s to %s", name, before[name], generation)
		}
	}
}

// TestFluxStopsAnUpdateThatFails: an update fails, so the rollout is paused automatically. A
// Kustomization that waits for it reports a failure; the folder of the sets is applied all the
// same, and its invalidation is carried out. The revert of the invalidation is accepted and changes
// nothing on devices, and Flux changes nothing any more.
func TestFluxStopsAnUpdateThatFails(t *testing.T) {
	t.Parallel()
	w := audited(t)
	f, fleet := newFlux(t, w), fleetOf(t, w.Namespace)
	giveTokens(t, w)
	for _, folder := range folders {
		f.apply(folder, fleet[folder])
	}
	_, devices := w.Devices(devicesim.Failing, gateways...)
	r := w.EventuallyRollout("gateway-2-1", "is paused by the error of its canary", world.InState(v1alpha1.RolloutPaused))
	f.unchanged("while the rollout is paused by errors", fleet)
	// The wait ends at once, because the others of the folder are Current: Flux waits only while an
	// object is InProgress.
	if err := f.wait("rollouts", 2*time.Minute); err == nil || !strings.Contains(err.Error(), "failed early due to stalled resources") {
		t.Errorf("a wait for the paused rollout: %v", err)
	}

	const stop = "invalidation"
	commitTo(t, fleet["sets"], "DistributionSet", "gateway-2-1", map[string]any{"cancellation": "Soft", "reason": "does not boot"}, "spec", stop)
	if done := f.apply("sets", fleet["sets"]); len(done[ssa.ConfiguredAction]) != 1 || len(done) != 1 {
		t.Errorf("the apply of the invalidation does %v", done)
	}
	if err := f.wait("sets", 2*time.Minute); err != nil {
		t.Errorf("a wait for the invalidation: %v", err)
	}
	recorded := func() string {
		if s := w.DistributionSet("gateway-2-1"); s.Status.Invalidation == nil || s.Status.Invalidation.Recorded == nil {
			return fmt.Sprintf("its status is %+v", s.Status.Invalidation)
		}
		return ""
	}
	w.Eventually("the record of the invalidation", recorded)
	w.EventuallyRollout("gateway-2-1", "is stopped by the invalidation", world.InState(v1alpha1.RolloutStopped))
	f.unchanged("after the invalidation", fleet)

	commitTo(t, fleet["sets"], "DistributionSet", "gateway-2-1", nil, "spec", stop)
	if done := f.apply("sets", fleet["sets"]); len(done[ssa.ConfiguredAction]) != 1 {
		t.Errorf("the apply of the revert does %v", done)
	}
	eventually(t, w, "DistributionSet", "gateway-2-1", words{"False InvalidationIsFinal", "-", "True", "-", "Failed"})
	if missing := recorded(); missing != "" {
		t.Error("the revert has removed the record: " + missing)
	}
	commitTo(t, fleet["rollouts"], "Rollout", "gateway-2-1", r.Status.PausedAt.Add(time.Second).UTC().Format(time.RFC3339Nano), "spec", "resumedAt")
	f.apply("rollouts", fleet["rollouts"])
	started := world.Starts(devices)
	w.EventuallyPolled(devices, 5, time.Now(), gateways...)
	for _, name := range gateways {
		if n := world.Starts(devices)[name]; n != started[name] {
			t.Errorf("%s has started the invalid set again", name)
		}
	}
	f.unchanged("after the revert", fleet)
}

// TestFluxPrunesAndRecreates: a manifest is removed and its revert is committed, while a device
// works on the update. The pruned rollout leaves the device alone (deletionCancellation None), and
// the new one counts what the device does. The namespace is never pruned.
func TestFluxPrunesAndRecreates(t *testing.T) {
	t.Parallel()
	w := audited(t)
	f, fleet := newFlux(t, w), fleetOf(t, w.Namespace)
	giveTokens(t, w)
	for _, folder := range folders {
		f.apply(folder, fleet[folder])
	}
	simulated, devices := w.Devices(devicesim.Silent, gateways...)
	w.EventuallyStarted(devices, gateways[0])

	withoutRollout := slices.DeleteFunc(slices.Clone(fleet["rollouts"]), func(o *unstructured.Unstructured) bool { return o.GetName() == "gateway-2-1" })
	if done := f.apply("rollouts", withoutRollout); len(done) != 1 || len(done[ssa.DeletedAction]) != 1 {
		t.Errorf("the apply of the removal does %v", done)
	}
	w.Eventually("the rollout is deleted", func() string {
		err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "gateway-2-1"}, &v1alpha1.Rollout{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	if groups := w.Groups(); slices.ContainsFunc(groups, func(g v1alpha1.DeploymentGroup) bool { return g.Spec.Rollout == "gateway-2-1" }) {
		t.Error("groups of the deleted rollout exist")
	}
	if done := f.apply("rollouts", fleet["rollouts"]); len(done) != 1 || len(done[ssa.CreatedAction]) != 1 {
		t.Errorf("the apply of the revert does %v", done)
	}
	w.EventuallyRollout("gateway-2-1", "has adopted the device", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.InProgress == 1
	})
	for _, name := range gateways {
		if err := simulated.SetBehavior(name, devicesim.Obedient); err != nil {
			t.Error(err)
		}
	}
	if started := world.Starts(devices)[gateways[0]]; started != 1 {
		t.Errorf("the canary has started %d times", started)
	}
	f.unchanged("after the revert", fleet)

	withoutNamespace := slices.DeleteFunc(slices.Clone(fleet["base"]), func(o *unstructured.Unstructured) bool { return o.GetKind() == "Namespace" })
	if done := f.apply("base", withoutNamespace); len(done) != 1 || len(done[ssa.SkippedAction]) != 1 {
		t.Errorf("without the manifest of the namespace Flux does %v", done)
	}
}

// TestFluxRefusesAFolderAsAWhole: a change that the API server refuses delays all manifests of its
// folder and none of another one. force: true deletes and creates the rollout again, and the new
// one adopts what devices do.
func TestFluxRefusesAFolderAsAWhole(t *testing.T) {
	t.Parallel()
	w := audited(t)
	f, fleet := newFlux(t, w), fleetOf(t, w.Namespace)
	giveTokens(t, w)
	for _, folder := range folders {
		f.apply(folder, fleet[folder])
	}
	_, devices := w.Devices(devicesim.Silent, gateways...)
	w.EventuallyStarted(devices, gateways[0])
	before := w.Rollout("gateway-2-1").UID

	commitTo(t, fleet["rollouts"], "Rollout", "gateway-2-1", int64(60), "spec", "update", "progressDeadlineSeconds")
	commitTo(t, fleet["rollouts"], "AutoAssignment", "new-gateways", "Paused", "spec", "state")
	var refusal *ssaerrors.DryRunErr
	if _, err := f.try("rollouts", fleet["rollouts"]); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "is immutable once the rollout has started") {
		t.Errorf("the apply of a frozen field: %v", err)
	}
	var assignment v1alpha1.AutoAssignment
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "new-gateways"}, &assignment); err != nil || assignment.Spec.State == "Paused" {
		t.Errorf("the other object of the folder was changed: %q, %v", assignment.Spec.State, err)
	}
	commitTo(t, fleet["sets"], "DistributionSet", "gateway-2-0", map[string]any{"cancellation": "None"}, "spec", "invalidation")
	if done := f.apply("sets", fleet["sets"]); len(done[ssa.ConfiguredAction]) != 1 {
		t.Errorf("the apply of the other folder does %v", done)
	}

	f.options.Force = true
	f.apply("rollouts", fleet["rollouts"])
	r := w.EventuallyRollout("gateway-2-1", "has adopted the device", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.InProgress == 1
	})
	if r.UID == before {
		t.Error("force did not create the rollout again, so docs/gitops.md is wrong")
	}
	if started := world.Starts(devices)[gateways[0]]; started != 1 {
		t.Errorf("the canary has started %d times", started)
	}
}
