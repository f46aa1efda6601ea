// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// argo does what Argo CD does with the objects of an Application: it syncs them in the order of
// their waves, compares them in its two ways, and prunes in reverse order. It is written from the
// documentation of Argo CD, because its own library needs a whole kubectl; health is in
// config/argocd.
type argo struct {
	t   *testing.T
	w   *world.World
	app string
}

const trackingAnnotation = "argocd.argoproj.io/tracking-id"

// target returns the objects of Git as Argo CD applies them, with its tracking annotation, in the
// order of their waves.
func (a *argo) target(manifests []*unstructured.Unstructured) []*unstructured.Unstructured {
	var list []*unstructured.Unstructured
	for _, object := range manifests {
		object = object.DeepCopy()
		annotations := object.GetAnnotations()
		annotations[trackingAnnotation] = fmt.Sprintf("%s:%s/%s:%s/%s", a.app, object.GroupVersionKind().Group, object.GetKind(), object.GetNamespace(), object.GetName())
		object.SetAnnotations(annotations)
		list = append(list, object)
	}
	slices.SortStableFunc(list, func(x, y *unstructured.Unstructured) int { return cmp.Compare(wave(x), wave(y)) })
	return list
}

func wave(object *unstructured.Unstructured) int {
	n, _ := strconv.Atoi(object.GetAnnotations()["argocd.argoproj.io/sync-wave"])
	return n
}

// sync applies the objects, with ServerSideApply=true.
func (a *argo) sync(manifests []*unstructured.Unstructured) {
	a.t.Helper()
	for _, object := range a.target(manifests) {
		if err := a.w.Client.Apply(a.t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("argocd-controller"), client.ForceOwnership); err != nil {
			a.t.Errorf("sync of %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// prune deletes objects with foreground propagation, those of the last wave first.
func (a *argo) prune(manifests []*unstructured.Unstructured) {
	a.t.Helper()
	list := a.target(manifests)
	slices.Reverse(list)
	for _, object := range list {
		if err := a.w.Client.Delete(a.t.Context(), object, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
			a.t.Errorf("prune of %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// inSync compares the objects of Git with those of the cluster in the two ways of Argo CD, without
// any ignoreDifferences: the default one, and with ServerSideDiff=true.
func (a *argo) inSync(when string, manifests []*unstructured.Unstructured) {
	a.t.Helper()
	for _, object := range a.target(manifests) {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		if err := a.w.Client.Get(a.t.Context(), client.ObjectKeyFromObject(object), live); err != nil {
			a.t.Fatal(err)
		}
		if d := diff.Diff(object.Object, mentioned(object.Object, live.Object)); d != "" {
			a.t.Errorf("%s, Argo CD shows a difference of %s %s (-Git +cluster):\n%s", when, object.GetKind(), object.GetName(), d)
		}
		predicted := object.DeepCopy()
		if err := a.w.Client.Apply(a.t.Context(), client.ApplyConfigurationFromUnstructured(predicted), client.FieldOwner("argocd-controller"), client.ForceOwnership, client.DryRunAll); err != nil {
			a.t.Fatal(err)
		}
		if d := diff.Diff(compared(live), compared(predicted)); d != "" {
			a.t.Errorf("%s, Argo CD's server-side diff shows a difference of %s %s (-cluster +predicted):\n%s", when, object.GetKind(), object.GetName(), d)
		}
	}
}

// mentioned returns what a value of the cluster has of the fields that Git mentions. Items of lists
// are compared by position, as Argo CD does for kinds that it does not know.
func mentioned(git, live any) any {
	switch git := git.(type) {
	case map[string]any:
		object, ok := live.(map[string]any)
		if !ok {
			return live
		}
		found := map[string]any{}
		for key, value := range git {
			if there, ok := object[key]; ok {
				found[key] = mentioned(value, there)
			}
		}
		return found
	case []any:
		list, ok := live.([]any)
		if !ok {
			return live
		}
		found := slices.Clone(list)
		for i := range min(len(git), len(list)) {
			found[i] = mentioned(git[i], list[i])
		}
		return found
	}
	return live
}

// compared returns an object without the fields that Argo CD's server-side diff ignores: those that
// no manifest has, and which Goshawk may change between two reads.
func compared(object *unstructured.Unstructured) map[string]any {
	o := object.DeepCopy()
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	o.SetResourceVersion("")
	o.SetGeneration(0)
	delete(o.Object, "status")
	return o.Object
}

// TestArgoCDFindsNoDifference: the examples are synced, their rollouts run to the end, and a
// rollout is pruned. At no time does Argo CD find a difference or adopt a generated object.
func TestArgoCDFindsNoDifference(t *testing.T) {
	t.Parallel()
	w := audited(t)
	giveTokens(t, w)
	fleet := fleetOf(t, w.Namespace)
	apps := map[string]*argo{}
	all := func(do func(a *argo, manifests []*unstructured.Unstructured)) {
		for _, folder := range folders {
			if apps[folder] == nil {
				apps[folder] = &argo{t, w, "fleet-" + folder}
			}
			do(apps[folder], fleet[folder])
		}
	}
	all((*argo).sync)
	inSync := func(when string) {
		all(func(a *argo, manifests []*unstructured.Unstructured) { a.inSync(when, manifests) })
	}
	inSync("directly after the sync")
	before := generations(w)
	w.EventuallyRollout("gateway-2-1", "runs", world.InState(v1alpha1.RolloutRunning))
	inSync("while the rollout runs")
	_, devices := w.Devices(devicesim.Obedient, append(slices.Clone(gateways), "gw-lab-01")...)
	for _, name := range []string{"gateway-2-1", "lab-2-1"} {
		w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
	}
	inSync("when the rollouts are over")
	all((*argo).sync)
	w.EventuallyPolled(devices, 3, time.Now(), gateways...)
	for name, generation := range generations(w) {
		if before[name] != "" && before[name] != generation {
			t.Errorf("self-heal changed the generation of %s from %s to %s", name, before[name], generation)
		}
	}
	for _, g := range w.Groups() {
		if len(g.OwnerReferences) != 1 || g.Annotations[trackingAnnotation] != "" || g.Annotations[v1alpha1.ArgoIgnoreAnnotation] != "true" {
			t.Errorf("group %s has owners %v and annotations %v, so Argo CD would treat it as an object of Git", g.Name, g.OwnerReferences, g.Annotations)
		}
	}

	apps["rollouts"].prune(fleet["rollouts"])
	// The garbage collector, which does not run here, removes the last finalizer: that of a
	// foreground deletion.
	w.EventuallyRollout("gateway-2-1", "has only the finalizer of the garbage collector", func(r *v1alpha1.Rollout) bool {
		return !r.DeletionTimestamp.IsZero() && slices.Equal(r.Finalizers, []string{metav1.FinalizerDeleteDependents})
	})
	if groups := w.Groups(); slices.ContainsFunc(groups, func(g v1alpha1.DeploymentGroup) bool { return g.Spec.Rollout == "gateway-2-1" }) {
		t.Error("groups of the pruned rollout exist")
	}
	apps["sets"].inSync("after the prune of the rollouts", fleet["sets"])
}

// The comparison finds what Argo CD finds, and ignores what it ignores.
func TestComparisonOfArgoCD(t *testing.T) {
	t.Parallel()
	git := map[string]any{"a": "1", "list": []any{map[string]any{"name": "x"}}}
	for name, tt := range map[string]struct {
		live   map[string]any
		differ bool
	}{
		"the same":                       {map[string]any{"a": "1", "list": []any{map[string]any{"name": "x"}}}, false},
		"a field that Git does not have": {map[string]any{"a": "1", "b": "2", "list": []any{map[string]any{"name": "x", "default": true}}}, false},
		"another value":                  {map[string]any{"a": "2", "list": []any{map[string]any{"name": "x"}}}, true},
		"a field is missing":             {map[string]any{"list": []any{map[string]any{"name": "x"}}}, true},
		"one item more":                  {map[string]any{"a": "1", "list": []any{map[string]any{"name": "x"}, map[string]any{"name": "y"}}}, true},
		"another order":                  {map[string]any{"a": "1", "list": []any{map[string]any{"name": "y"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := !diff.Equal(any(git), mentioned(git, tt.live)); got != tt.differ {
				t.Errorf("a difference is reported: %t, want %t", got, tt.differ)
			}
		})
	}
}
