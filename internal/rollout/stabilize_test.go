// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// chatter returns a fleet in which two devices change an attribute every two seconds, and a new
// rollout.
func chatter(t *testing.T, edit func(*v1alpha1.RolloutSpec)) *world {
	t.Helper()
	w := newWorld(t, 4, func(s *v1alpha1.RolloutSpec) {
		s.StabilizationSeconds, s.State = num(5), v1alpha1.IntentPlanned
		if edit != nil {
			edit(s)
		}
	})
	w.rollout.CreationTimestamp = metav1.NewTime(w.now)
	return w
}

// changeAttributes lets time pass until there is a plan, at most an hour, and returns how long it
// took.
func (w *world) changeAttributes(value func(i int) string) time.Duration {
	w.t.Helper()
	started := w.now
	for i := 0; w.rollout.Status.Plan == nil && w.now.Sub(started) < time.Hour; i++ {
		for k, name := range []string{"dev-01", "dev-02"} {
			s := &w.targets[name].Status
			s.Attributes, s.SelectionChangedAt = map[string]v1alpha1.AttributeValue{"battery": v1alpha1.AttributeValue(value(i + k))}, micro(w.now)
		}
		w.reconcileAll()
		w.tick(time.Second)
		w.reconcileAll()
		w.tick(time.Second)
	}
	return w.now.Sub(started)
}

// Attributes that change without changing the plan do not delay the plan.
func TestAttributesThatChangeNoPlanDoNotDelayIt(t *testing.T) {
	w := chatter(t, groupCount(2))
	if took := w.changeAttributes(func(i int) string { return fmt.Sprint(i) }); took > 8*time.Second {
		t.Errorf("the plan was made after %s; %s", took, w.waitingFor())
	}
	if w.rollout.Status.Stabilizing != nil {
		t.Errorf("it has a plan, and status.stabilizing is %+v", w.rollout.Status.Stabilizing)
	}
}

// Targets whose selection keeps changing do not delay the plan for ever.
func TestThePlanIsMadeAlthoughTheSelectionKeepsChanging(t *testing.T) {
	for name, edit := range map[string]func(*v1alpha1.RolloutSpec){
		"the selected targets change": func(s *v1alpha1.RolloutSpec) {
			s.TargetExpression = `target.name > "dev-02" || target.attributes["battery"] == "even"`
		},
		"the groups of targets change": func(s *v1alpha1.RolloutSpec) {
			s.Groups = []v1alpha1.Group{{Name: "even", Selection: v1alpha1.Selection{TargetExpression: `target.attributes["battery"] == "even"`}}, {Name: "rest"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := chatter(t, edit)
			evenAndOdd := func(i int) string { return []string{"even", "odd"}[i%2] }
			if took := w.changeAttributes(evenAndOdd); took < 10*time.Minute || took > 10*time.Minute+10*time.Second {
				t.Errorf("the plan was made after %s; %s", took, w.waitingFor())
			}
		})
	}
}

// Targets are applied from Git for minutes, and later a device changes an attribute: the time
// counts from the creation of the last target.
func TestThePlanWaitsAfterTheLastTargetFromGit(t *testing.T) {
	w := chatter(t, nil)
	for i := range 60 {
		name := fmt.Sprintf("late-%02d", i)
		w.addTarget(name)
		w.targets[name].CreationTimestamp = metav1.NewTime(w.now)
		w.reconcileAll()
		w.tick(4 * time.Second)
	}
	w.changeAttributes(func(i int) string { return fmt.Sprint(i) })
	if p := w.rollout.Status.Plan; p == nil || p.Targets != 64 {
		t.Errorf("planned %+v", p)
	}
}

// No target was selected for an hour. Then targets are applied from Git, one after the other.
func TestThePlanWaitsAfterTheFirstTargetsOfALateStart(t *testing.T) {
	w := chatter(t, nil)
	w.targets = map[string]*v1alpha1.Target{}
	w.passes(time.Minute)
	w.wantCondition(v1alpha1.ConditionStalled, "True NoTargets")
	w.passes(time.Hour)
	for i := range 3 {
		name := fmt.Sprintf("late-%02d", i)
		w.addTarget(name)
		w.targets[name].CreationTimestamp = metav1.NewTime(w.now)
		w.passes(4 * time.Second)
		w.wantCondition(v1alpha1.ConditionReady, "Unknown Stabilizing")
	}
	w.passes(time.Second)
	if p := w.rollout.Status.Plan; p == nil || p.Targets != 3 {
		t.Errorf("planned %+v", p)
	}
}
