// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// TestNamespacesTakeTurns: two thousand sets are queued in one namespace when one set is added in
// each of two other namespaces. These two are next, after one set of the first namespace.
func TestNamespacesTakeTurns(t *testing.T) {
	queue := fairQueue("fair-test", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	in := func(namespace, name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
	}
	for i := range 2000 {
		queue.Add(in("busy", fmt.Sprintf("set-%04d", i)))
	}
	queue.Add(in("quiet", "stop"))
	queue.Add(in("calm", "stop"))
	queue.Add(in("quiet", "stop")) // is queued already
	if queue.Len() != 2002 {
		t.Errorf("%d wait", queue.Len())
	}
	var got []string
	for range 5 {
		r, _ := queue.Get()
		got = append(got, r.String())
		queue.Done(r)
	}
	if want := "[busy/set-0000 quiet/stop calm/stop busy/set-0001 busy/set-0002]"; fmt.Sprint(got) != want {
		t.Errorf("the order is %v, want %s", got, want)
	}
	for queue.Len() > 0 {
		r, _ := queue.Get()
		queue.Done(r)
	}
	queue.Add(in("busy", "again"))
	if r, _ := queue.Get(); r.Name != "again" {
		t.Errorf("after the last object the queue returns %v", r)
	}
}
