// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

func TestInventoryIsDeletedWithItsTarget(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "dev-0"}}
	for name, c := range map[string]struct {
		age             time.Duration
		cached, live    bool
		deleted, awaits bool
	}{
		"the Target exists":                             {age: time.Hour, cached: true, live: true},
		"the Target was deleted":                        {age: time.Hour, deleted: true},
		"the Target was created, the cache has it late": {age: time.Hour, live: true},
		"a restore may create the Target next":          {age: time.Second, awaits: true},
	} {
		t.Run(name, func(t *testing.T) {
			i := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "dev-0", UID: "i", CreationTimestamp: metav1.NewTime(now.Add(-c.age))}}
			server := fakes.Server(t).WithObjects(i).Build()
			caches, index := fakes.NewCaches(), fleet.New()
			if err := index.Follow(t.Context(), caches); err != nil {
				t.Fatal(err)
			}
			if c.cached {
				if err := server.Create(t.Context(), target.DeepCopy()); err != nil {
					t.Fatal(err)
				}
			}
			if err := caches.Sync(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			if c.live && !c.cached {
				if err := server.Create(t.Context(), target.DeepCopy()); err != nil {
					t.Fatal(err)
				}
			}
			r := &TargetInventoryReconciler{Client: server, Live: server, Index: index, Now: func() time.Time { return now }}
			result, err := r.Reconcile(t.Context(), i)
			if err != nil || (result.RequeueAfter > 0) != c.awaits {
				t.Errorf("the result is %+v, %v", result, err)
			}
			if err := server.Get(t.Context(), client.ObjectKeyFromObject(i), &v1alpha1.TargetInventory{}); apierrors.IsNotFound(err) != c.deleted {
				t.Errorf("deleted: %v", err)
			}
		})
	}
}
