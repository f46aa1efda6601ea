// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// TestRolloutChangesThatAffectOtherRollouts: a change of the spec or the plan of a rollout may end
// the waiting of other rollouts. A change of its counters must enqueue no other rollout.
func TestRolloutChangesThatAffectOtherRollouts(t *testing.T) {
	five, six := int32(5), int32(6)
	for name, tt := range map[string]struct {
		edit func(*v1alpha1.Rollout)
		want bool
	}{
		"it is only planned": {func(r *v1alpha1.Rollout) { r.Generation, r.Spec.State = 2, v1alpha1.IntentPlanned }, true},
		"its startAt changes the order": {func(r *v1alpha1.Rollout) {
			r.Generation, r.Spec.StartAt = 2, &metav1.Time{Time: startOfJoins}
		}, true},
		"its spec stops it from growing":            {func(r *v1alpha1.Rollout) { r.Generation, r.Spec.Dynamic = 2, nil }, true},
		"it has a plan of other targets":            {func(r *v1alpha1.Rollout) { r.Status.Plan = &v1alpha1.PlanStatus{Hash: "another"} }, true},
		"its plan was removed":                      {func(r *v1alpha1.Rollout) { r.Status.Plan = nil }, true},
		"it is full, so others may join older ones": {func(r *v1alpha1.Rollout) { r.Status.Targets = &v1alpha1.Counts{Targets: 6} }, true},
		"it has started":                            {func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutStarting }, true},
		"a group has opened":                        {func(r *v1alpha1.Rollout) { r.Status.Groups[0].OpenedAt = &metav1.Time{Time: startOfJoins} }, true},
		"it is being deleted":                       {func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &metav1.Time{Time: startOfJoins} }, true},
		"its counters change":                       {func(r *v1alpha1.Rollout) { r.Status.Targets = &v1alpha1.Counts{Targets: five, Succeeded: 3} }, false},
		"its waitingFor changes":                    {func(r *v1alpha1.Rollout) { r.Status.WaitingFor = &v1alpha1.WaitingFor{Message: "2 of 5"} }, false},
		"it has made the same plan again":           {func(r *v1alpha1.Rollout) { r.Status.Plan = &v1alpha1.PlanStatus{Hash: build.PlanHash, Targets: 5} }, false},
		"its labels change":                         {func(r *v1alpha1.Rollout) { r.Labels = map[string]string{"team": "blue"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newJoinWorld(t)
				w.rollout("older", -10, true)
				old := w.rollout("r", 0, true)
				old.Generation, old.Spec.Dynamic.MaxTargets, old.Status.Targets = 1, &six, &v1alpha1.Counts{Targets: five}
				now := old.DeepCopy()
				tt.edit(now)
				if got := w.enqueued(func(queue rolloutQueue) { w.wake(queue, old, now) })["older"]; got != tt.want {
					t.Errorf("the other rollout is enqueued: %t, want %t", got, tt.want)
				}
			})
		})
	}
}

// TestCandidatesAreFreeWhenTheNewerRolloutStopsGrowing: targets that a newer rollout would have
// added may join the older one as soon as the newer one stops growing.
func TestCandidatesAreFreeWhenTheNewerRolloutStopsGrowing(t *testing.T) {
	w := newJoinWorld(t)
	w.target("a", "field")
	older, newer := w.rollout("older", 0, true), w.rollout("newer", 10, true)
	w.want(older, 10, "")
	old := newer.DeepCopy()
	newer.Generation, newer.Spec.Dynamic = 1, nil
	w.enqueued(func(queue rolloutQueue) { w.wake(queue, old, newer) })
	w.want(older, 10, "a")
}

// TestNewGroupEnqueuesRolloutsBeforeStart: a rollout that compares its plan with others before its
// start is enqueued for each new group.
func TestNewGroupEnqueuesRolloutsBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newJoinWorld(t)
		w.rollout("running", 0, false)
		w.rollout("comparing", 0, false).Status.StartedAt = nil
		w.rollout("unplanned", 0, false).Status = v1alpha1.RolloutStatus{}
		group := w.built().DeploymentGroup(built.Rollout("other", "fw"), 0)
		enqueued := w.enqueued(func(queue rolloutQueue) { w.wake(queue, nil, group) })
		if diff := cmp.Diff(map[string]bool{"comparing": true}, enqueued); diff != "" {
			t.Errorf("enqueued (-want +got):\n%s", diff)
		}
	})
}

// enqueued returns the rollouts that are enqueued, at once or after a delay.
func (w *joinWorld) enqueued(by func(rolloutQueue)) map[string]bool {
	names := map[string]bool{}
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	by(queue)
	time.Sleep(2 * reportDelay)
	for queue.Len() > 0 {
		request, _ := queue.Get()
		names[request.Name] = true
	}
	return names
}
