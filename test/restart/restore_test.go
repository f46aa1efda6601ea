// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"fmt"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Orders in which the kinds of a backup are restored. Velero restores them by name.
var (
	byName       = []string{"AutoAssignment", "DeploymentGroup", "DistributionSet", "Rollout", "SoftwareModule", "Target"}
	rolloutFirst = []string{"Rollout", "Target", "SoftwareModule", "DistributionSet", "DeploymentGroup", "AutoAssignment"}
)

// backup has all of Goshawk's objects in a namespace.
type backup map[string][]unstructured.Unstructured

func takeBackup(w *world.World) backup {
	w.T.Helper()
	b := backup{}
	for _, kind := range byName {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := w.Client.List(w.T.Context(), list, client.InNamespace(w.Namespace)); err != nil {
			w.T.Fatal(err)
		}
		b[kind] = list.Items
	}
	return b
}

// lose removes all objects and their finalizers, as the loss of a cluster does.
func (b backup) lose(w *world.World) {
	w.T.Helper()
	for _, kind := range byName {
		for i := range b[kind] {
			o := b[kind][i].DeepCopy()
			if err := w.Client.Patch(w.T.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
				w.T.Fatal(err)
			}
			if err := w.Client.Delete(w.T.Context(), o); client.IgnoreNotFound(err) != nil {
				w.T.Fatal(err)
			}
		}
	}
}

// restore creates all objects in an order of kinds, as Velero does: the object without uid and
// owner, then its status. With keepOwner the owner is kept, as with kubectl. Targets are created
// after a pause.
func (b backup) restore(w *world.World, order []string, withStatus, keepOwner bool, pause time.Duration) {
	w.T.Helper()
	for _, kind := range order {
		if kind == "Target" {
			time.Sleep(pause)
		}
		for i := range b[kind] {
			o := b[kind][i].DeepCopy()
			status := o.Object["status"]
			delete(o.Object, "status")
			o.SetUID("")
			o.SetResourceVersion("")
			o.SetGeneration(0)
			if !keepOwner {
				o.SetOwnerReferences(nil)
			}
			if err := w.Client.Create(w.T.Context(), o); err != nil {
				w.T.Fatalf("restore %s %s: %v", kind, o.GetName(), err)
			}
			if !withStatus || status == nil {
				continue
			}
			o.Object["status"] = status
			err := w.Client.Status().Update(w.T.Context(), o)
			for apierrors.IsConflict(err) && kind == "Target" { // Goshawk reconciles every new Target at once
				if err = w.Client.Get(w.T.Context(), client.ObjectKeyFromObject(o), o); err == nil {
					o.Object["status"] = status
					err = w.Client.Status().Update(w.T.Context(), o)
				}
			}
			if apierrors.IsConflict(err) && kind != "Rollout" && kind != "DeploymentGroup" {
				continue // Velero warns and continues: Goshawk was faster, and computes this status again
			}
			if err != nil {
				w.T.Fatalf("restore the status of %s %s: %v", kind, o.GetName(), err)
			}
		}
	}
}

// A cluster is lost and restored from a backup with status. The rollout continues from the same
// state: no device is updated twice, no result is lost, and open actions are finished for the same
// rollout.
func TestRolloutContinuesAfterARestoreWithStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order     []string
		up        bool // Goshawk runs during the restore; devices do not poll
		keepOwner bool
		pause     time.Duration // before the Targets, long enough for a reconcile of every controller
	}{
		"groups first, Goshawk down":                   {byName, false, false, 0},
		"rollouts first, Goshawk down":                 {rolloutFirst, false, false, 0},
		"by kubectl, with the old owners":              {byName, false, true, 0},
		"groups first, Goshawk up, Targets late":       {byName, true, false, 5 * time.Second},
		"groups first with the old owners, Goshawk up": {byName, true, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, g := newWorld(t, manager.Options{})
			w.Set("firmware-1", "1.0")
			w.Set("firmware-2", "2.0")
			names := w.Targets("device", 6, map[string]string{"by": "rollout"})
			auto := w.Targets("auto", 2, map[string]string{"by": "auto"})
			single := w.Targets("single", 1, map[string]string{"by": "hand"})
			all := slices.Concat(names, auto, single)
			fleet, devices := w.Play(func(c *devicesim.Config) { c.StepTime = 50 * time.Millisecond }, devicesim.Obedient, all...)
			w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec:
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 1
  groupCount: 3
  successThreshold: 100
  successAction: Pause
  targetSelector: {matchLabels: {by: rollout}}
---
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: firmware-2}
spec: {update: {distributionSet: firmware-2}, targetSelector: {matchLabels: {by: auto}}}
`)
			w.Commit(w.Target(single[0]), "spec: {assignment: {distributionSet: firmware-2}}")
			r := w.EventuallyRollout("firmware-1", "pauses after its first group", world.InState(v1alpha1.RolloutPaused))
			for _, name := range slices.Concat(auto, single) {
				w.EventuallyTarget(name, "is done", func(t *v1alpha1.Target) bool {
					return t.Status.UpdateStatus == v1alpha1.UpdateStatusInSync && t.Status.Installed != nil
				})
			}
			// The second group opens; one of its devices has started when the cluster is lost.
			setBehavior := func(behavior devicesim.Behavior, names ...string) {
				for _, name := range names {
					if err := fleet.SetBehavior(name, behavior); err != nil {
						t.Fatal(err)
					}
				}
			}
			idle := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return w.Target(name).Status.Installed != nil })
			setBehavior(devicesim.Silent, idle...)
			w.CommitRollout("firmware-1", fmt.Sprintf("spec: {resumedAt: %q}", r.Status.PausedAt.UTC().Add(time.Second).Format(time.RFC3339)))
			r = w.EventuallyRollout("firmware-1", "has two devices in progress", func(r *v1alpha1.Rollout) bool { return r.Status.Targets.InProgress == 2 })
			setBehavior(devicesim.Offline, all...)
			g.end()
			b := takeBackup(w)
			b.lose(w)
			if c.up {
				g.start()
			}
			b.restore(w, c.order, true, c.keepOwner, c.pause)
			restored := time.Now()
			if !c.up {
				g.start()
			}
			w.EventuallyRollout("firmware-1", "has its counts again", func(now *v1alpha1.Rollout) bool {
				return now.UID != r.UID && now.Identity() == r.UID && now.Status.State == v1alpha1.RolloutRunning && *now.Status.Targets == *r.Status.Targets
			})
			w.Eventually("the groups are those of the plan, and owned by the rollout", func() string {
				groups, owner := w.Groups(), w.Rollout("firmware-1").UID
				if len(groups) != 3 {
					return fmt.Sprintf("%d groups", len(groups))
				}
				for _, group := range groups {
					if len(group.OwnerReferences) != 1 || group.OwnerReferences[0].UID != owner {
						return fmt.Sprintf("group %s is owned by %+v", group.Name, group.OwnerReferences)
					}
				}
				return ""
			})
			setBehavior(devicesim.Obedient, all...)
			w.EventuallyPolled(devices, 3, restored, all...)
			for range 2 {
				now := w.EventuallyRollout("firmware-1", "pauses or ends", func(r *v1alpha1.Rollout) bool {
					return r.Status.State == v1alpha1.RolloutPaused || r.Status.State == v1alpha1.RolloutFinished
				})
				if now.Status.PausedAt != nil {
					w.CommitRollout("firmware-1", fmt.Sprintf("spec: {resumedAt: %q}", now.Status.PausedAt.UTC().Add(time.Second).Format(time.RFC3339)))
					w.EventuallyRollout("firmware-1", "goes on", func(r *v1alpha1.Rollout) bool { return !r.Status.PausedAt.Equal(now.Status.PausedAt) })
				}
			}
			done := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
			if got := *done.Status.Targets; got != (v1alpha1.Counts{Targets: 6, Succeeded: 6}) {
				t.Errorf("counts are %+v", got)
			}
			w.EventuallyPolled(devices, 5, time.Now(), all...)
			for _, name := range all {
				target := w.Target(name)
				if n := len(target.Status.Actions); n != 1 || target.Status.Actions[0].State != v1alpha1.ActionFinished {
					t.Errorf("target %s ends with %d actions: %+v", name, n, target.Status.Actions)
				}
			}
			// Restored objects can be deleted as usual.
			w.Kubectl("delete", "rollouts.goshawk.dev", "firmware-1")
			w.Eventually("no group is left", func() string {
				if groups := w.Groups(); len(groups) > 0 {
					return fmt.Sprintf("%d groups", len(groups))
				}
				return ""
			})
		})
	}
}

// The same backup without status is a rebuild: the rollout makes a new plan, and the groups of the
// old one are deleted.
func TestARestoreWithoutStatusMakesANewPlan(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, manager.Options{})
	w.Set("firmware-1", "1.0")
	w.Targets("device", 4, nil)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupCount: 2}`)
	r := w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
	g.end()
	b := takeBackup(w)
	b.lose(w)
	g.start()
	b.restore(w, byName, false, false, 0)
	now := w.EventuallyRollout("firmware-1", "runs again", world.InState(v1alpha1.RolloutRunning))
	if now.Identity() == r.UID || now.Status.UID != now.UID {
		t.Errorf("its identity is %s, its uid %s, the old uid %s", now.Identity(), now.UID, r.UID)
	}
	w.Eventually("only its own groups", func() string {
		groups := w.Groups()
		for _, group := range groups {
			if group.Spec.RolloutUID != now.UID {
				return fmt.Sprintf("group %s is of %s", group.Name, group.Spec.RolloutUID)
			}
		}
		if len(groups) != 2 {
			return fmt.Sprintf("%d groups", len(groups))
		}
		return ""
	})
}

// A group whose rollout was deleted is deleted, also if Goshawk was down at the deletion.
func TestAGroupWithoutRolloutIsDeleted(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]bool{"while Goshawk is up": false, "while Goshawk is down": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, g := newWorld(t, manager.Options{})
			w.Set("firmware-1", "1.0")
			w.Targets("device", 2, nil)
			w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1, finalizers: [example.com/keep]}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0}
`)
			w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
			g.end()
			w.Kubectl("patch", "rollouts.goshawk.dev", "firmware-1", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/keep"]}}`)
			w.Kubectl("delete", "rollouts.goshawk.dev", "firmware-1", "--wait=false")
			if !down {
				g.start()
				w.Eventually("Goshawk is up", func() string { time.Sleep(2 * time.Second); return "" })
			}
			w.Kubectl("patch", "rollouts.goshawk.dev", "firmware-1", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
			if down {
				g.start()
			}
			w.Eventually("the group is gone", func() string {
				if groups := w.Groups(); len(groups) > 0 {
					return fmt.Sprintf("%d groups", len(groups))
				}
				return ""
			})
		})
	}
}
