// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// The rollout of config/samples runs from the first canary to the end, with two more commits in
// between. The cluster has the same specs as Git.
func TestSamplesDoNotDrift(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"client-side": nil, "server-side": {"--server-side"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := audited(t)
			manifests := samples(t, w.Namespace)
			kubectl := func(command string) string {
				t.Helper()
				out, err := cluster.TryKubectl(t, manifests, append([]string{command, "-f", "-"}, flags...)...)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return out
			}
			kubectl("apply")
			noDrift(t, w, "directly after the apply", manifests, flags)
			playSamples(t, w)
			r := w.EventuallyRollout("gateway-2-1", "pauses after its canaries", world.InState(v1alpha1.RolloutPaused))
			noDrift(t, w, "while the rollout is paused", manifests, flags)

			manifests = commit(t, manifests, "  startAt:", "  resumedAt: "+r.Status.PausedAt.UTC().Format(time.RFC3339Nano)+"\n  startAt:")
			manifests = commit(t, manifests, "  hold: true\n", "")
			kubectl("apply")
			w.Kubectl("wait", "--for=condition=Succeeded", "grollout/gateway-2-1", "--timeout=120s")
			noDrift(t, w, "after the end", manifests, flags)
			before := generations(w)
			kubectl("apply")
			kubectl("apply")
			if diff := cmp.Diff(before, generations(w)); diff != "" {
				t.Errorf("generations after applying again (-before +after):\n%s", diff)
			}
		})
	}
}

// noDrift checks that kubectl diff is empty, and that a server-side dry run changes no object.
func noDrift(t *testing.T, w *world.World, when, manifests string, flags []string) {
	t.Helper()
	// kubectl reads an object twice, and also compares its status, which may change in between.
	w.Eventually(fmt.Sprintf("an empty kubectl diff %v %s", flags, when), func() string {
		difference, err := cluster.TryKubectl(t, manifests, append([]string{"diff", "-f", "-"}, flags...)...)
		if err != nil && difference == "" {
			return err.Error()
		}
		return difference
	})
	out, err := cluster.TryKubectl(t, manifests, append([]string{"apply", "--dry-run=server", "-o", "json", "-f", "-"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	var predicted unstructured.UnstructuredList
	if err := predicted.UnmarshalJSON([]byte(out)); err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := range predicted.Items {
		object := &predicted.Items[i]
		if !isGoshawks(object) {
			continue // stringData of a Secret is in no response
		}
		found++
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(object), live); err != nil {
			t.Fatal(err)
		}
		if live.GetGeneration() != object.GetGeneration() {
			t.Errorf("a dry run %v %s raises the generation of %s %s", flags, when, object.GetKind(), object.GetName())
		}
		if diff := cmp.Diff(compared(live), compared(object)); diff != "" {
			t.Errorf("a dry run %v %s changes %s %s (-live +dry run):\n%s", flags, when, object.GetKind(), object.GetName(), diff)
		}
	}
	if found < 5 {
		t.Errorf("the dry run has only %d objects of Goshawk", found)
	}
}

// Times, numbers and texts that may be written in several ways stay exactly as they were written,
// while Goshawk works with them.
func TestValuesSurviveAsWritten(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	w.Devices(devicesim.Obedient, w.Targets("device", 2, nil)...)
	manifest := inNamespace(w.Namespace, `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1, namespace: fleet
}
spec:
  update:
    distributionSet: firmware-1
    progressDeadlineSeconds: 3600
    maintenanceWindow: {schedule: "*  0-23   * * *", durationSeconds: 3600, timeZone: Europe/Berlin}
  startAt: "2026-06-01T02:00:00.500+02:00"
  targetExpression: "target.name.startsWith( 'device' )"
  stabilizationSeconds: 0
  errorBudget: {percent: 100}
  groups: [{name: one, percentage: 50, errorThreshold: 0}, {name: rest}]
`)
	written := objects(t, manifest)[0]
	w.Apply(manifest)
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(written.GroupVersionKind())
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "firmware-1"}, live); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(written.Object["spec"], mentioned(written.Object["spec"], live.Object["spec"])); diff != "" {
		t.Errorf("spec (-written +live):\n%s", diff)
	}
}

// samples returns config/samples, built by kustomize for the namespace of the test.
func samples(t *testing.T, namespace string) string {
	t.Helper()
	built := cluster.Kubectl(t, "kustomize", cluster.Root()+"/config/samples")
	return inNamespace(namespace, built)
}

// commit returns the manifests with old replaced by now. The test fails unless old occurs once.
func commit(t *testing.T, manifests, old, now string) string {
	t.Helper()
	if n := strings.Count(manifests, old); n != 1 {
		t.Fatalf("%q occurs %d times", old, n)
	}
	return strings.Replace(manifests, old, now, 1)
}

// playSamples runs a device for every target, with its token of the samples.
func playSamples(t *testing.T, w *world.World) {
	t.Helper()
	var targets v1alpha1.TargetList
	var tokens corev1.Secret
	if err := errors.Join(
		w.Client.List(t.Context(), &targets, client.InNamespace(w.Namespace)),
		w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "fleet-tokens"}, &tokens),
	); err != nil {
		t.Fatal(err)
	}
	w.Play(func(c *devicesim.Config) {
		for _, target := range targets.Items {
			c.Devices = append(c.Devices, devicesim.Device{
				ID: target.ControllerID(), Behavior: devicesim.Obedient,
				Token: string(tokens.Data[target.Spec.TokenSecretRef.Key]),
			})
		}
	}, devicesim.Obedient)
}

// generations returns the generation of every object of a fleet.
func generations(w *world.World) map[string]string {
	w.T.Helper()
	printed := w.Kubectl("get", "goshawk", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{"\n"}{end}`)
	found := map[string]string{}
	for line := range strings.Lines(printed) {
		name, generation, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[name] = generation
	}
	return found
}

// kubectl wait returns when the object has the condition and not before, also directly after the
// apply.
func TestKubectlWaitReturnsInTime(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 4, nil)
	w.Devices(devicesim.Obedient, names...)
	w.Apply(rollout("firmware-1", "stabilizationSeconds: 1"))
	w.Kubectl("wait", "--for=condition=Ready", "grollout/firmware-1", "distset/firmware-1", "swmod/firmware-1", "--timeout=60s")
	if r := w.Rollout("firmware-1"); r.Status.Plan == nil || r.Status.ObservedGeneration != r.Generation {
		t.Errorf("Ready before there was a plan: %+v", r.Status)
	}
	w.Kubectl("wait", "--for=condition=Succeeded", "grollout/firmware-1", "--timeout=60s")
	for _, name := range names {
		if target := w.Target(name); target.Status.UpdateStatus != v1alpha1.UpdateStatusInSync {
			t.Errorf("Succeeded is True, but target %s is %s", name, target.Status.UpdateStatus)
		}
	}
	w.CommitRollout("firmware-1", "spec: {successThreshold: 70}")
	w.Kubectl("wait", "--for=condition=Succeeded", "grollout/firmware-1", "--timeout=60s")
	if r := w.Rollout("firmware-1"); r.Status.ObservedGeneration != r.Generation {
		t.Errorf("kubectl wait returned for generation %d of %d", r.Status.ObservedGeneration, r.Generation)
	}
}

// marksOfTools are the labels and annotations by which GitOps tools find the objects that they own.
var marksOfTools = map[string]map[string]string{
	"labels": {
		"app.kubernetes.io/instance": "fleet", "app.kubernetes.io/managed-by": "Helm", "argocd.argoproj.io/instance": "fleet", "helm.sh/chart": "fleet-1.0",
		"kustomize.toolkit.fluxcd.io/name": "fleet", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
		"helm.toolkit.fluxcd.io/name": "fleet", "helm.toolkit.fluxcd.io/namespace": "flux-system", "team": "gateways",
	},
	"annotations": {
		"argocd.argoproj.io/tracking-id": "fleet:goshawk.dev/Rollout:fleet/firmware-1", "argocd.argoproj.io/installation-id": "a", "argocd.argoproj.io/sync-wave": "1",
		"argocd.argoproj.io/sync-options": "Prune=false", "argocd.argoproj.io/hook": "Sync", "meta.helm.sh/release-name": "fleet", "meta.helm.sh/release-namespace": "fleet",
		"kustomize.toolkit.fluxcd.io/prune": "disabled", "kustomize.toolkit.fluxcd.io/reconcile": "disabled", "config.kubernetes.io/owning-inventory": "a", "team": "gateways",
	},
}

// GitOps tools mark objects that they own. The objects that Goshawk generates have none of these
// marks of their parents: DeploymentGroups of the Rollout, TargetInventories of the Target. Their
// names do not depend on chance. The audit checks the requests, too.
func TestMarksOfGitToolsAreNotCopied(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 4, nil)
	marks, err := json.Marshal(map[string]any{"metadata": marksOfTools})
	if err != nil {
		t.Fatal(err)
	}
	w.Commit(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: names[0]}}, string(marks))
	w.Play(func(c *devicesim.Config) {
		for i := range c.Devices {
			c.Devices[i].Attributes = map[string]string{"sw.org.example.driver": "1.0"}
		}
	}, devicesim.Silent, names...)
	w.Eventually("the inventory", func() string {
		err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: names[0]}, &v1alpha1.TargetInventory{})
		if err != nil {
			return err.Error()
		}
		return ""
	})
	var inventory v1alpha1.TargetInventory
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: names[0]}, &inventory); err != nil {
		t.Fatal(err)
	}
	managed, ignored := map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}, map[string]string{v1alpha1.ArgoIgnoreAnnotation: "true"}
	if diff := cmp.Diff([]map[string]string{managed, ignored}, []map[string]string{inventory.Labels, inventory.Annotations}); diff != "" || !metav1.IsControlledBy(&inventory, w.Target(names[0])) {
		t.Errorf("labels and annotations of the inventory (-want +got):\n%s\nowners %v", diff, inventory.OwnerReferences)
	}

	w.Apply(rollout("firmware-1", "stabilizationSeconds: 0\n  groupCount: 2"))
	w.CommitRollout("firmware-1", string(marks))
	r := w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
	groups := w.Groups()
	if len(groups) != 2 {
		t.Errorf("%d groups, want 2", len(groups))
	}
	for _, g := range groups {
		labels := map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue, v1alpha1.RolloutLabel: "firmware-1"}
		if diff := cmp.Diff([]map[string]string{labels, ignored}, []map[string]string{g.Labels, g.Annotations}); diff != "" || !metav1.IsControlledBy(&g, r) {
			t.Errorf("labels and annotations of group %s (-want +got):\n%s\nowners %v", g.Name, diff, g.OwnerReferences)
		}
		if want := grouping.NewDeploymentGroup(r, r.Status.Plan.Hash, 0, grouping.Group{Name: g.Spec.Group}).Name; g.Name != want {
			t.Errorf("the name of the group is %s, want %s, which follows from rollout and plan", g.Name, want)
		}
	}
}

// Devices poll, one rollout has ended, one waits for an offline device, one is Stalled: there are
// no writes.
func TestAnIdleWorldWritesNothing(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names, drawer := w.Targets("device", 6, nil), w.Targets("drawer", 1, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	_, silent := w.Devices(devicesim.Silent, w.Targets("silent", 1, nil)...)
	w.Apply(rollout("firmware-1", "stabilizationSeconds: 1\n  startAt: \"2026-01-01T00:00:00Z\"\n  targetExpression: target.name.startsWith('device')"))
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.Apply(rollout("firmware-2", "stabilizationSeconds: 1\n  startAt: \"2026-01-02T00:00:00Z\""))
	w.Apply(rollout("firmware-3", "stabilizationSeconds: 1"))
	w.EventuallyStarted(silent, "silent-000")
	w.EventuallyRollout("firmware-2", "waits for the offline device", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && *r.Status.Targets == (v1alpha1.Counts{Targets: 8, Succeeded: 6, Pending: 1, InProgress: 1})
	})
	everybody := func(n int) { w.EventuallyPolled(devices, n, time.Now(), names...) }
	// The controllers write the counts of sets at most once per second.
	for set, want := range map[string]v1alpha1.SetTargets{"firmware-1": {}, "firmware-2": {Installed: 6, Started: 1}} {
		w.Eventually(set+" has its final counts", func() string {
			if got := w.DistributionSet(set).Status.Targets; got == nil || *got != want {
				return fmt.Sprintf("status.targets is %+v, want %+v", got, want)
			}
			return ""
		})
	}
	w.Eventually("quiet", func() string {
		before := len(ledger.In(w.Namespace))
		time.Sleep(2 * time.Second) // the longest delay of a status write
		if everybody(10); len(ledger.In(w.Namespace)) != before {
			return fmt.Sprintf("%d writes", len(ledger.In(w.Namespace))-before)
		}
		return ""
	})
	before := len(ledger.In(w.Namespace))
	everybody(20)
	// An annotation on every object makes every controller reconcile again.
	w.Kubectl("annotate", "swmod,distset,tgt,grollout,autoassign,dgroup", "--all", foreignNote+"=looked")
	everybody(10)
	for _, write := range ledger.In(w.Namespace)[before:] {
		t.Errorf("in the idle world Goshawk wrote %s", write)
	}
	if before < len(names)+len(drawer) {
		t.Errorf("the ledger has %d writes, so it does not record writes", before)
	}
}
