package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// A newer rollout takes over what an older one has, and waits for a required migration step.
func TestWhatANewerRolloutTakesOver(t *testing.T) {
	for name, tt := range map[string]struct {
		set        string
		wantClaims int
		wantJoin   string
	}{
		"from a release that may be skipped": {"fw", 1, ""},
		"nothing from a migration step":      {"step", 0, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newJoinWorld(t)
			w.put(&v1alpha1.DistributionSet{ObjectMeta: w.meta("step"), Spec: v1alpha1.DistributionSetSpec{RequiredMigrationStep: true}})
			w.target("a", "field")
			w.target("b", "field")
			older := w.rollout("older", 0, true, "a")
			older.Spec.Update.DistributionSet = tt.set
			newer := w.rollout("newer", 10, false, "a", "b")
			newer.Status.State, newer.Status.Groups[0].State = v1alpha1.RolloutStarting, v1alpha1.GroupScheduled
			none := func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) rollout.Tally { return rollout.Tally{} }
			if claims := w.snapshot(older, none).Claims; len(claims) != tt.wantClaims {
				t.Errorf("claims on the older one are %+v", claims)
			}
			if unsettled := w.snapshot(newer, none).Unsettled; len(unsettled) != tt.wantClaims {
				t.Errorf("the newer one waits until %v have given up", unsettled)
			}
			w.want(older, 10, tt.wantJoin)
		})
	}
}

// Rollouts that Git brings at once have no order, unless something in them makes it.
func TestAmbiguousOrder(t *testing.T) {
	number := func(n int32) *int32 { return &n }
	for name, tt := range map[string]struct {
		edit func(first, second *v1alpha1.Rollout)
		want bool
	}{
		"nothing says which is newer": {func(_, _ *v1alpha1.Rollout) {}, true},
		"both are queued": {func(first, second *v1alpha1.Rollout) {
			first.Spec.Update.Superseding, second.Spec.Update.Superseding = v1alpha1.SupersedingQueue, v1alpha1.SupersedingQueue
			second.Spec.Update.Weight = number(1000)
		}, true},
		"both are queued, with different weights": {func(first, second *v1alpha1.Rollout) {
			first.Spec.Update.Superseding, second.Spec.Update.Superseding = v1alpha1.SupersedingQueue, v1alpha1.SupersedingQueue
			second.Spec.Update.Weight = number(500)
		}, false},
		"one of them is queued, with different weights": {func(first, second *v1alpha1.Rollout) {
			first.Spec.Update.Superseding, second.Spec.Update.Weight = v1alpha1.SupersedingQueue, number(500)
		}, true},
		"one has startAt": {func(first, _ *v1alpha1.Rollout) {
			at := metav1.NewTime(startOfJoins)
			first.Spec.StartAt = &at
		}, false},
		"the one that came later has started, while the plan of this one was late": {func(first, second *v1alpha1.Rollout) {
			first.CreationTimestamp = metav1.NewTime(startOfJoins.Add(time.Second))
			at := metav1.NewMicroTime(startOfJoins.Add(2 * time.Second))
			first.Status.StartedAt = &at
		}, true},
		"the one that came later has not started": {func(first, second *v1alpha1.Rollout) {
			first.CreationTimestamp = metav1.NewTime(startOfJoins.Add(time.Second))
			first.Status.StartedAt = nil
		}, false},
		"the second came a minute later": {func(_, second *v1alpha1.Rollout) {
			second.CreationTimestamp = metav1.NewTime(startOfJoins.Add(time.Minute))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := aRollout("first", "fw"), aRollout("second", "fw")
			first.CreationTimestamp = metav1.NewTime(startOfJoins)
			second.CreationTimestamp = metav1.NewTime(startOfJoins)
			tt.edit(first, second)
			if got := isAmbiguous(first, second); got != tt.want {
				t.Errorf("ambiguous: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestIsBehind(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(self, newer *v1alpha1.Rollout)
		want bool
	}{
		"created together, the newer has not started": {func(_, _ *v1alpha1.Rollout) {}, true},
		"the newer has started": {func(_, newer *v1alpha1.Rollout) {
			at := metav1.NewMicroTime(startOfJoins)
			newer.Status.StartedAt = &at
		}, false},
		"the newer is only planned": {func(_, newer *v1alpha1.Rollout) { newer.Spec.State = v1alpha1.IntentPlanned }, false},
		"the newer wants both":      {func(_, newer *v1alpha1.Rollout) { newer.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, false},
		"the newer has no startAt":  {func(_, newer *v1alpha1.Rollout) { newer.Spec.StartAt = nil }, false},
		"the other one is the older one": {func(self, newer *v1alpha1.Rollout) {
			self.Spec.StartAt, newer.Spec.StartAt = newer.Spec.StartAt, self.Spec.StartAt
		}, false},
		"the newer was created later": {func(_, newer *v1alpha1.Rollout) {
			newer.CreationTimestamp = metav1.NewTime(startOfJoins.Add(time.Minute))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			self, newer := aRollout("self", "fw"), aRollout("newer", "fw")
			past, later := metav1.NewTime(startOfJoins.Add(-time.Hour)), metav1.NewTime(startOfJoins.Add(-time.Minute))
			for _, r := range []*v1alpha1.Rollout{self, newer} {
				r.CreationTimestamp, r.Spec.State, r.Status.StartedAt = metav1.NewTime(startOfJoins), v1alpha1.IntentRunning, nil
			}
			self.Spec.StartAt, newer.Spec.StartAt = &past, &later
			tt.edit(self, newer)
			if got := isBehind(self, newer); got != tt.want {
				t.Errorf("behind: %v, want %v", got, tt.want)
			}
		})
	}
}
