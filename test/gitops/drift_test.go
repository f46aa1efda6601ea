// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
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
			playSamples(t, w)
			r := w.EventuallyRollout("gateway-2-1", "pauses after its canaries", world.InState(v1alpha1.RolloutPaused))

			manifests = commit(t, manifests, "  startAt:", "  resumedAt: "+r.Status.PausedAt.UTC().Format(time.RFC3339Nano)+"\n  startAt:")
			manifests = commit(t, manifests, "  hold: true\n", "")
			kubectl("apply")
			w.Kubectl("wait", "--for=condition=Succeeded", "grollout/gateway-2-1", "--timeout=120s")
			if drift := kubectl("diff"); drift != "" {
				t.Errorf("kubectl diff after the end:\n%s", drift)
			}
			before := generations(w)
			kubectl("apply")
			kubectl("apply")
			if diff := cmp.Diff(before, generations(w)); diff != "" {
				t.Errorf("generations after applying again (-before +after):\n%s", diff)
			}
		})
	}
}

// samples returns config/samples, built by kustomize for the namespace of the test.
func samples(t *testing.T, namespace string) string {
	t.Helper()
	built := cluster.Kubectl(t, "kustomize", cluster.Root()+"/config/samples")
	return strings.NewReplacer("namespace: fleet\n", "namespace: "+namespace+"\n", "name: fleet\n", "name: "+namespace+"\n").Replace(built)
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

// GitOps tools mark objects that they own. Generated objects must not have these marks; the audit
// checks every group.
func TestMarksOfGitToolsAreNotCopied(t *testing.T) {
	t.Parallel()
	w := audited(t)
	w.Set("firmware-1", "1.0")
	w.Targets("device", 4, nil)
	w.Apply(strings.Replace(rollout("firmware-1", "stabilizationSeconds: 0\n  groupCount: 2"), "metadata: {", `metadata: {
  labels: {app.kubernetes.io/instance: fleet, kustomize.toolkit.fluxcd.io/name: fleet, helm.toolkit.fluxcd.io/name: fleet, team: gateways},
  annotations: {argocd.argoproj.io/tracking-id: "fleet:goshawk.dev/Rollout:fleet/firmware-1", argocd.argoproj.io/sync-wave: "1"}, `, 1))
	w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
	groups := w.Groups()
	if len(groups) != 2 {
		t.Errorf("%d groups, want 2", len(groups))
	}
	for _, g := range groups {
		if diff := cmp.Diff(map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue, v1alpha1.RolloutLabel: "firmware-1"}, g.Labels); diff != "" {
			t.Errorf("labels of group %s (-want +got):\n%s", g.Name, diff)
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
	w.Eventually("quiet", func() string {
		before := len(ledger.In(w.Namespace))
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
