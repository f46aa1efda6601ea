// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// A device that cannot be told of a removal keeps the rollout for a minute, not the API server
// busy.
func TestARemovalIsPatientWithTargetsThatCannotBeWritten(t *testing.T) {
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
	var told []string
	for range 100 {
		result, said := w.plan(w.old, w.rollout())
		told = append(told, said...)
		if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "r"}, &v1alpha1.Rollout{}); apierrors.IsNotFound(err) {
			break
		}
		w.now = w.now.Add(result.RequeueAfter)
		w.sync()
	}
	if took := w.now.Sub(removed); took < deletionPatience || took > deletionPatience+10*time.Second {
		t.Errorf("the rollout went after %s, with %d tries", took, writes)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "Warning CancellationIncomplete 1 targets could not be written") {
		t.Errorf("people are told %q", told)
	}
	other := &v1alpha1.Target{}
	if err := w.store.Get(t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: "dev-2"}, other); err != nil || action.Open(&other.Status).State != v1alpha1.ActionCanceling {
		t.Errorf("the other device is not asked: %+v (%v)", other.Status.Actions, err)
	}
}

// A walk that gets on comes back at once, one that does not ever later.
func TestPausesGrowWhileAWalkGetsNowhere(t *testing.T) {
	var p cancelBackoff
	for i, step := range []struct {
		left int
		want time.Duration
	}{
		{500, conflictPause}, {300, conflictPause}, {100, conflictPause}, {7, conflictPause},
		{7, 2 * conflictPause}, {7, 4 * conflictPause}, {8, 8 * conflictPause},
		{6, conflictPause}, {6, 2 * conflictPause},
	} {
		if got := p.next("uid", step.left); got != step.want {
			t.Errorf("look %d with %d left: again after %s, want %s", i, step.left, got, step.want)
		}
	}
	for range 20 {
		if got := p.next("uid", 6); got > longestPause {
			t.Fatalf("the pause grows to %s", got)
		}
	}
	p.forget("uid")
	if got := p.next("uid", 6); got != conflictPause {
		t.Errorf("a walk that starts comes back after %s", got)
	}
}
