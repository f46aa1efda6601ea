// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// TestRolloutDeletionGivesUpOnTargetsThatCannotBeWritten: a target that cannot be written delays
// the deletion of its rollout for a minute, with few requests to the API server.
func TestRolloutDeletionGivesUpOnTargetsThatCannotBeWritten(t *testing.T) {
	w := newRace(t)
	w.run()
	w.start(w.groups()[0])
	obj := w.rollout()
	obj.Spec.DeletionCancellation = v1alpha1.CancellationSoft
	if err := w.store.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	w.sync()
	writes := 0
	w.old.Targets.Client = refusing{w.store, errBroken, func(name string) bool {
		if name == "dev-1" {
			writes++
		}
		return name == "dev-1"
	}}
	removed := w.rollout().DeletionTimestamp.Time
	w.now = removed
	var events []string
	for range 100 {
		result, said := w.plan(w.old, w.rollout())
		events = append(events, said...)
		if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "r"}, &v1alpha1.Rollout{}); apierrors.IsNotFound(err) {
			break
		}
		w.now = w.now.Add(result.RequeueAfter)
		w.sync()
	}
	if took := w.now.Sub(removed); took < deletionCancelTimeout || took > deletionCancelTimeout+10*time.Second {
		t.Errorf("the rollout was deleted after %s, with %d tries", took, writes)
	}
	if len(events) != 1 || !strings.HasPrefix(events[0], "Warning CancellationIncomplete gave up updating 1 targets") {
		t.Errorf("the events are %q", events)
	}
	other := &v1alpha1.Target{}
	if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "dev-2"}, other); err != nil || action.Open(&other.Status).State != v1alpha1.ActionCanceling {
		t.Errorf("the other device is not asked: %+v (%v)", other.Status.Actions, err)
	}
}

// TestRolloutDeletionCancelsActionsThatItsCacheLacks: a device starts an update a moment before the
// rollout is deleted, and the cache of the controller gets the deletion first.
func TestRolloutDeletionCancelsActionsThatItsCacheLacks(t *testing.T) {
	w := newRace(t)
	w.run()
	obj := w.rollout()
	obj.Spec.DeletionCancellation = v1alpha1.CancellationForce
	if err := w.store.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	w.sync()
	w.old.Client = withoutTargets{w.store}
	stale := map[string]*v1alpha1.Target{}
	for _, target := range w.old.Index.Targets(fleetNamespace) {
		stale[target.Name] = target
	}
	w.start(w.groups()[0])
	if err := w.store.Delete(t.Context(), w.rollout()); err != nil {
		t.Fatal(err)
	}
	w.sync()
	for _, informer := range w.old.caches.Informers() {
		if _, isTarget := informer.Object.(*v1alpha1.Target); isTarget {
			var objects []runtime.Object
			for _, target := range stale {
				objects = append(objects, target)
			}
			informer.Replace(objects)
		}
	}
	for range 10 {
		w.plan(w.old, w.rollout())
		if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "r"}, &v1alpha1.Rollout{}); apierrors.IsNotFound(err) {
			break
		}
	}
	var targets v1alpha1.TargetList
	if err := w.store.List(t.Context(), &targets); err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, target := range targets.Items {
		for _, a := range target.Status.Actions {
			started++
			if a.State != v1alpha1.ActionCanceled || a.Cancel == nil || a.Cancel.Cause != v1alpha1.CauseDeleted {
				t.Errorf("the action of %s is %s, cancel %+v", target.Name, a.State, a.Cancel)
			}
		}
	}
	if started == 0 {
		t.Error("no device has started")
	}
}

// withoutTargets is a cache that lacks all Targets.
type withoutTargets struct{ client.Client }

func (c withoutTargets) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if _, isTargets := list.(*v1alpha1.TargetList); isTargets {
		return nil
	}
	return c.Client.List(ctx, list, options...)
}

// TestCancelBackoffIncreasesWithoutProgress: the backoff is short while canceling makes progress,
// and increases while it does not.
func TestCancelBackoffIncreasesWithoutProgress(t *testing.T) {
	var p cancelBackoff
	for i, step := range []struct {
		left int
		want time.Duration
	}{
		{500, conflictRetryDelay}, {300, conflictRetryDelay}, {100, conflictRetryDelay}, {7, conflictRetryDelay},
		{7, 2 * conflictRetryDelay}, {7, 4 * conflictRetryDelay}, {8, 8 * conflictRetryDelay},
		{6, conflictRetryDelay}, {6, 2 * conflictRetryDelay},
	} {
		if got := p.next("uid", step.left); got != step.want {
			t.Errorf("reconcile %d with %d left: requeue after %s, want %s", i, step.left, got, step.want)
		}
	}
	for range 20 {
		if got := p.next("uid", 6); got > maxCancelBackoff {
			t.Fatalf("the backoff grows to %s", got)
		}
	}
	p.forget("uid")
	if got := p.next("uid", 6); got != conflictRetryDelay {
		t.Errorf("the first backoff is %s", got)
	}
}
