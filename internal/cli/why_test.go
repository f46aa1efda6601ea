// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// neighborhood is a namespace in which the target dev-1 runs firmware-2-0 and failed to install
// firmware-2-1, and in which several updates reach it.
func neighborhood() []client.Object {
	started := noon.Add(-30 * time.Minute)
	module := objects.SoftwareModule("os-1")
	set := func(name string) *v1alpha1.DistributionSet {
		return objects.DistributionSet(name, func(s *v1alpha1.DistributionSet) {
			s.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "name", Value: name, VisibleToDevice: true}}
			build.Locked(started, offer.ContentHash, module)(s)
		})
	}
	old, now, later := set("firmware-2-0"), set("firmware-2-1"), set("firmware-2-2")
	failing := objects.Rollout("firmware-2-1", now.Name)
	canary := objects.DeploymentGroup(failing, 0, build.Members("dev-1"))
	build.Running(started, now.Status.ContentHash, canary)(failing)
	paused := objects.Rollout("firmware-2-2", later.Name, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
	group := objects.DeploymentGroup(paused, 0, build.Members("dev-1", "dev-2"))
	build.Running(started.Add(10*time.Minute), later.Status.ContentHash, group)(paused)
	elsewhere := objects.Rollout("factory-lab", now.Name, func(r *v1alpha1.Rollout) {
		r.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "lab"}}
	})
	stable := objects.AutoAssignment("stable", old.Name, func(a *v1alpha1.AutoAssignment) {
		at := metav1.NewMicroTime(started)
		a.Status.StartedAt, a.Status.State = &at, v1alpha1.AutoAssignmentRunning
	})
	closed, first := metav1.NewTime(started.Add(5*time.Minute)), metav1.NewTime(started.Add(time.Minute))
	dev := objects.Target("dev-1", func(t *v1alpha1.Target) {
		t.Labels = map[string]string{"site": "ulm"}
		t.Spec.ControllerID, t.Spec.Type = "ABC:123", "gateway"
		t.Status.UpdateStatus, t.Status.NextActionID = v1alpha1.UpdateStatusError, 102
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: old.Name, ContentHash: old.Status.ContentHash, Since: &first}
		t.Status.LastSeen = &closed
		t.Status.Actions = []v1alpha1.Action{build.Action(101, now.Name, v1alpha1.ActionError, func(a *v1alpha1.Action) {
			a.ContentHash, a.Source = now.Status.ContentHash, v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: failing.Name, UID: failing.UID, Group: "group-1", Attempt: 1, Since: failing.Status.StartedAt}
			a.StatusCode, a.FailureMessage, a.StartedAt, a.ClosedAt = "17", "no space left on /var", &first, &closed
		})}
	})
	return []client.Object{module, old, now, later, failing, canary, paused, group, elsewhere, stable, dev, objects.Target("dev-2")}
}

func TestWhyTakesNamesWithTheirKinds(t *testing.T) {
	w := newWorld(t, neighborhood()...)
	plain, withKinds := w.run("why", "dev-1", "firmware-2-2"), w.run("why", "target/dev-1", "rollout/firmware-2-2")
	if withKinds.code != 0 || withKinds.out != plain.out {
		t.Errorf("code %d, errors %q, output\n%s\nwant\n%s", withKinds.code, withKinds.errOut, withKinds.out, plain.out)
	}
}

func TestWhy(t *testing.T) {
	tests := map[string]struct {
		args []string
		edit func(*v1alpha1.Target)
		// invalid is a set that was invalidated.
		invalid string
	}{
		"failed.txt":  {args: []string{"why", "dev-1"}},
		"rollout.txt": {args: []string{"why", "dev-1", "firmware-2-2"}},
		"lab.txt":     {args: []string{"why", "dev-1", "factory-lab"}},
		"failed.json": {args: []string{"why", "dev-1", "-o", "json"}},
		"failed.yaml": {args: []string{"why", "dev-1", "-o", "yaml"}},
		"busy.txt": {args: []string{"why", "dev-1"}, edit: func(t *v1alpha1.Target) {
			a := &t.Status.Actions[0]
			a.State, a.ClosedAt, a.StatusCode, a.FailureMessage = v1alpha1.ActionDownloading, nil, "", ""
		}},
		"held.txt":    {args: []string{"why", "dev-2"}, edit: func(t *v1alpha1.Target) { t.Spec.Hold = true }},
		"invalid.txt": {args: []string{"why", "dev-1"}, invalid: "firmware-2-0"},
		"help.txt":    {args: []string{"why", "--help"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			all := neighborhood()
			for _, o := range all {
				if target, ok := o.(*v1alpha1.Target); ok && tc.edit != nil && target.Name == tc.args[1] {
					tc.edit(target)
				}
				if set, ok := o.(*v1alpha1.DistributionSet); ok && set.Name == tc.invalid {
					at := metav1.NewTime(noon.Add(-time.Minute))
					set.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce, Reason: "it bricks the modem"}
					set.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationForce, ObservedAt: &at}
				}
			}
			got := newWorld(t, all...).run(tc.args...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.errOut)
			}
			golden(t, "why/"+name, got.out)
		})
	}
}

func TestWhyOfAnObjectThatDoesNotExist(t *testing.T) {
	for name, args := range map[string][]string{"a target": {"why", "dev-3"}, "a rollout": {"why", "dev-1", "firmware-2-3"}} {
		t.Run(name, func(t *testing.T) {
			if got := newWorld(t, neighborhood()...).run(args...); got.code != CodeNotFound || got.out != "" {
				t.Errorf("exit code %d, output %q, errors %q; want exit code %d", got.code, got.out, got.errOut, CodeNotFound)
			}
		})
	}
}
