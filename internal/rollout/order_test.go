package rollout

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// started is a rollout that has started.
func started(name string) *v1alpha1.Rollout {
	at := metav1.NewMicroTime(epoch)
	return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: &at}}
}

func TestReplaces(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(newer, older *v1alpha1.Rollout)
		set  *offer.Set
		want bool
	}{
		"the newer has started later": {func(_, _ *v1alpha1.Rollout) {}, &offer.Set{}, true},
		"the older one's set is gone": {func(_, _ *v1alpha1.Rollout) {}, nil, true},
		"the older one is a step":     {func(_, _ *v1alpha1.Rollout) {}, &offer.Set{RequiredMigrationStep: true}, false},
		"the newer wants both":        {func(newer, _ *v1alpha1.Rollout) { newer.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, nil, false},
		"the older wants both":        {func(_, older *v1alpha1.Rollout) { older.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, nil, true},
		"the newer has not started":   {func(newer, _ *v1alpha1.Rollout) { newer.Status.StartedAt = nil }, nil, false},
		"the older has not started":   {func(_, older *v1alpha1.Rollout) { older.Status.StartedAt = nil }, nil, false},
		"both are of the same age":    {func(newer, older *v1alpha1.Rollout) { newer.Status.StartedAt = older.Status.StartedAt }, nil, false},
		"startAt outranks the real start": {func(newer, older *v1alpha1.Rollout) {
			past, soon := metav1.NewTime(epoch.Add(-time.Hour)), metav1.NewTime(epoch.Add(-time.Minute))
			newer.Spec.StartAt, older.Spec.StartAt = &past, &soon
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			newer, older := started("newer"), started("older")
			newer.Status.StartedAt.Time = epoch.Add(time.Second)
			tt.edit(newer, older)
			if got := Replaces(newer, older, tt.set); got != tt.want {
				t.Errorf("replaces: %v, want %v", got, tt.want)
			}
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
			at := metav1.NewTime(epoch)
			first.Spec.StartAt = &at
		}, false},
		"both have the same startAt": {func(first, second *v1alpha1.Rollout) {
			at := metav1.NewTime(epoch)
			first.Spec.StartAt, second.Spec.StartAt = &at, &at
		}, true},
		"both have the same startAt, however long ago the first was created": {func(first, second *v1alpha1.Rollout) {
			at := metav1.NewTime(epoch)
			first.Spec.StartAt, second.Spec.StartAt = &at, &at
			first.CreationTimestamp = metav1.NewTime(epoch.AddDate(0, 0, -7))
		}, true},
		"both have a startAt": {func(first, second *v1alpha1.Rollout) {
			at, later := metav1.NewTime(epoch), metav1.NewTime(epoch.Add(time.Second))
			first.Spec.StartAt, second.Spec.StartAt = &at, &later
		}, false},
		"the one that came later has started, while the plan of this one was late": {func(first, second *v1alpha1.Rollout) {
			first.CreationTimestamp = metav1.NewTime(epoch.Add(time.Second))
			at := metav1.NewMicroTime(epoch.Add(2 * time.Second))
			first.Status.StartedAt = &at
		}, true},
		"the one that came later has not started": {func(first, second *v1alpha1.Rollout) {
			first.CreationTimestamp = metav1.NewTime(epoch.Add(time.Second))
			first.Status.StartedAt = nil
		}, false},
		"the second came a minute later": {func(_, second *v1alpha1.Rollout) {
			second.CreationTimestamp = metav1.NewTime(epoch.Add(time.Minute))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := started("first"), started("second")
			first.CreationTimestamp = metav1.NewTime(epoch)
			second.CreationTimestamp = metav1.NewTime(epoch)
			tt.edit(first, second)
			if got := IsAmbiguous(first, second); got != tt.want {
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
			at := metav1.NewMicroTime(epoch)
			newer.Status.StartedAt = &at
		}, false},
		"the newer is only planned": {func(_, newer *v1alpha1.Rollout) { newer.Spec.State = v1alpha1.IntentPlanned }, false},
		"the newer wants both":      {func(_, newer *v1alpha1.Rollout) { newer.Spec.Update.Superseding = v1alpha1.SupersedingQueue }, false},
		"the newer has no startAt":  {func(_, newer *v1alpha1.Rollout) { newer.Spec.StartAt = nil }, false},
		"the other one is the older one": {func(self, newer *v1alpha1.Rollout) {
			self.Spec.StartAt, newer.Spec.StartAt = newer.Spec.StartAt, self.Spec.StartAt
		}, false},
		"the newer starts next week": {func(_, newer *v1alpha1.Rollout) {
			nextWeek := metav1.NewTime(epoch.AddDate(0, 0, 7))
			newer.Spec.StartAt = &nextWeek
		}, false},
		"the newer was created later": {func(_, newer *v1alpha1.Rollout) {
			newer.CreationTimestamp = metav1.NewTime(epoch.Add(time.Minute))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			self, newer := started("self"), started("newer")
			past, later := metav1.NewTime(epoch.Add(-time.Hour)), metav1.NewTime(epoch.Add(-time.Minute))
			for _, r := range []*v1alpha1.Rollout{self, newer} {
				r.CreationTimestamp, r.Spec.State, r.Status.StartedAt = metav1.NewTime(epoch), v1alpha1.IntentRunning, nil
			}
			self.Spec.StartAt, newer.Spec.StartAt = &past, &later
			tt.edit(self, newer)
			if got := IsBehind(self, newer, epoch); got != tt.want {
				t.Errorf("behind: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestSince(t *testing.T) {
	for name, tt := range map[string]struct {
		startAt time.Duration // after the start
		want    time.Duration
	}{
		"startAt is the place": {-time.Hour, -time.Hour},
		"moved into the future after the start, it orders nothing": {time.Hour, 0},
	} {
		r := started("r")
		at := metav1.NewTime(epoch.Add(tt.startAt))
		r.Spec.StartAt = &at
		if got := Since(r); !got.Equal(epoch.Add(tt.want)) {
			t.Errorf("%s: since %s", name, got)
		}
	}
	if got := Since(started("r")); !got.Equal(epoch) {
		t.Errorf("without startAt: since %s", got)
	}
}
