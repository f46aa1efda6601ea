// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue returns a work queue that is fair between namespaces: an object waits for at most one
// object of each other namespace, however many objects of one namespace are queued.
func fairQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
		Name: name,
		DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{
			Name: name,
			Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{
				Name: name, Queue: &byNamespace{waiting: map[string][]reconcile.Request{}},
			}),
		}),
	})
}

// byNamespace holds the queued objects by namespace. Its caller locks it.
type byNamespace struct {
	// order of the namespaces that have queued objects.
	order   []string
	waiting map[string][]reconcile.Request
	n       int
}

// Touch is called for an object that is queued already. The object keeps its place.
func (q *byNamespace) Touch(reconcile.Request) {}

// Push adds an object after the other objects of its namespace.
func (q *byNamespace) Push(r reconcile.Request) {
	if len(q.waiting[r.Namespace]) == 0 {
		q.order = append(q.order, r.Namespace)
	}
	q.waiting[r.Namespace] = append(q.waiting[r.Namespace], r)
	q.n++
}

// Len returns the number of queued objects.
func (q *byNamespace) Len() int { return q.n }

// Pop returns the first object of the namespace that is next.
func (q *byNamespace) Pop() reconcile.Request {
	namespace := q.order[0]
	q.order = q.order[1:]
	first, rest := q.waiting[namespace][0], q.waiting[namespace][1:]
	if len(rest) == 0 {
		delete(q.waiting, namespace)
	} else {
		q.waiting[namespace] = rest
		q.order = append(q.order, namespace)
	}
	q.n--
	return first
}
