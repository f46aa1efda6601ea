// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue makes the queue of a controller in which the namespaces take turns: however much waits
// in one of them, an object of another waits for one object of each namespace at most.
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

// byNamespace holds what waits, by namespace. Its user locks it.
type byNamespace struct {
	// order of the namespaces in which something waits.
	order   []string
	waiting map[string][]reconcile.Request
	n       int
}

// Touch is called for what waits already and keeps its place.
func (q *byNamespace) Touch(reconcile.Request) {}

// Push puts an object behind the others of its namespace.
func (q *byNamespace) Push(r reconcile.Request) {
	if len(q.waiting[r.Namespace]) == 0 {
		q.order = append(q.order, r.Namespace)
	}
	q.waiting[r.Namespace] = append(q.waiting[r.Namespace], r)
	q.n++
}

// Len is how many objects wait.
func (q *byNamespace) Len() int { return q.n }

// Pop takes the first object of the namespace whose turn it is.
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
