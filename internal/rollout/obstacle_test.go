// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// waitingFor has the obstacles of the members, with numbers and names. An obstacle that ends is
// removed from it.
func TestObstaclesInWaitingFor(t *testing.T) {
	tests := map[string]struct {
		spec       func(*v1alpha1.RolloutSpec)
		do         func(*world)
		says       string
		afterwards func(*world)
		then       string
	}{
		"a device on hold": {
			do:         func(w *world) { w.targets["dev-02"].Spec.Hold = true },
			says:       "3 pending (1 on hold), e.g. dev-01, dev-02 (on hold), dev-03",
			afterwards: func(w *world) { w.targets["dev-02"].Spec.Hold = false },
			then:       "3 pending, e.g. dev-01, dev-02, dev-03",
		},
		"a connected device without features": {
			do: func(w *world) {
				w.targets["dev-02"].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionOnline, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAwaitingFeatures}}
			},
			says:       "3 pending (1 connected without features), e.g. dev-01, dev-02 (connected without features), dev-03",
			afterwards: func(w *world) { w.targets["dev-02"].Status.Conditions = nil },
			then:       "3 pending, e.g. dev-01, dev-02, dev-03",
		},
		"a device whose type has changed": {
			do: func(w *world) {
				w.set.CompatibleTargetTypes, w.targets["dev-02"].Spec.Type = []string{"gateway"}, "meter"
			},
			says:       "3 pending (1 of a type that the set does not fit), e.g. dev-01, dev-02 (type meter does not fit), dev-03",
			afterwards: func(w *world) { w.set.CompatibleTargetTypes = []string{"gateway", "meter"} },
			then:       "3 pending, e.g. dev-01, dev-02, dev-03",
		},
		"a duplicate controllerID": {
			do: func(w *world) {
				w.targets["dev-02"].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDuplicate}}
			},
			says:       "3 pending (1 with a duplicate controllerID), e.g. dev-01, dev-02 (with a duplicate controllerID), dev-03",
			afterwards: func(w *world) { w.targets["dev-02"].Status.Conditions = nil },
			then:       "3 pending, e.g. dev-01, dev-02, dev-03",
		},
		"a device that is busy with another update": {
			do: func(w *world) {
				old := metav1.NewMicroTime(epoch.Add(-time.Hour))
				action.Create(&w.targets["dev-02"].Status, action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, UID: "uid-dev-02", Since: &old},
					DistributionSet: "firmware-1", ContentHash: "other", Now: w.now})
			},
			says: "3 pending (1 busy with another update), e.g. dev-01, dev-02 (busy with firmware-1), dev-03",
			afterwards: func(w *world) {
				w.report("dev-02", action.Download, "")
				w.report("dev-02", action.Succeed, "")
			},
			then: "3 pending, e.g. dev-01, dev-02, dev-03",
		},
		"a device that waits for confirmation": {
			do: func(w *world) {
				w.startUpdate("dev-02")
				action.Newest(&w.targets["dev-02"].Status).State = v1alpha1.ActionWaitingForConfirmation
			},
			says:       "3 pending (1 waiting for confirmation), e.g. dev-01, dev-02 (waiting for confirmation), dev-03",
			afterwards: func(w *world) { w.report("dev-02", action.Confirm, "") },
			then:       "2 pending, 1 in progress, e.g. dev-01, dev-03, dev-02",
		},
		"a device that failed and waits for a retry": {
			spec:       func(s *v1alpha1.RolloutSpec) { s.Update.Retries = &v1alpha1.Retries{Limit: 1} },
			do:         func(w *world) { w.fail("17", "dev-02") },
			says:       "2 pending, 1 in progress (1 waiting for a retry), e.g. dev-01, dev-03, dev-02 (retried from 2026-03-01T10:10:02Z)",
			afterwards: func(w *world) { w.tick(10 * time.Minute) },
			then:       "2 pending, 1 in progress (1 waiting for a retry), e.g. dev-01, dev-03, dev-02 (retried from 2026-03-01T10:10:02Z)",
		},
		"a device that is asked to cancel": {
			do: func(w *world) {
				w.startUpdate("dev-02")
				s := &w.targets["dev-02"].Status
				action.Cancel(s, action.Newest(s).ID, v1alpha1.CauseRequested, v1alpha1.CancellationSoft, w.now)
			},
			says:       "2 pending, 1 in progress (1 asked to cancel), e.g. dev-01, dev-03, dev-02 (asked to cancel)",
			afterwards: func(w *world) { w.report("dev-02", action.CancelRejected, "") },
			then:       "2 pending, 1 in progress, e.g. dev-01, dev-03, dev-02",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := running(t, 3, tt.spec)
			tt.do(w)
			w.reconcileAll()
			w.wantContains(w.waitingFor()+".", tt.says+".")
			tt.afterwards(w)
			w.reconcileAll()
			w.wantContains(w.waitingFor()+".", tt.then+".")
		})
	}
}

// A change of the compatible types of a set, and a hold, change the counters.
func TestChangesOfObstaclesAreCounted(t *testing.T) {
	w := running(t, 2, nil)
	rule, dev, member := RuleOf(w.rollout, w.set, 0, counting.AutoAssignments{}), w.targets["dev-01"], counting.MemberOf(w.groups[0], 0)
	w.set.CompatibleTargetTypes = []string{"gateway"}
	counter := counting.NewCounter(rule)
	if rule = RuleOf(w.rollout, w.set, 0, counting.AutoAssignments{}); counter.Equal(&rule) {
		t.Error("a change of the types of the set does not change the rule")
	}
	before := counter.EntryOf(dev, member)
	dev.Spec.Hold = true
	if before == counter.EntryOf(dev, member) {
		t.Error("a target on hold has no obstacle")
	}
}
