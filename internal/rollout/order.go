package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// How two rollouts of a namespace stand to each other, as far as their manifests tell. Whether they share targets is another question.

// together is how close to each other two rollouts must have been created to count as applied together.
const together = time.Minute

// Replaces tells whether the newer of two started rollouts replaces the older one on the targets that they share. older brings the set; nil: it is gone. A required
// migration step is not replaced but waited for.
func Replaces(newer, older *v1alpha1.Rollout, set *offer.Set) bool {
	return newer.Status.StartedAt != nil && older.Status.StartedAt != nil && Since(newer).After(Since(older)) &&
		!isQueued(newer) && !(set != nil && set.RequiredMigrationStep)
}

// IsOver tells whether a rollout has ended.
func IsOver(r *v1alpha1.Rollout) bool {
	return r.Status.State == v1alpha1.RolloutFinished || r.Status.State == v1alpha1.RolloutStopped
}

// IsBehind tells whether a newer rollout, by the startAt of both, was created together with this one and is about to start: were the older one first by a moment, as
// after a rebuild from Git, a device that comes by would fall back.
func IsBehind(self, other *v1alpha1.Rollout, now time.Time) bool {
	return self.Spec.StartAt != nil && other.Spec.StartAt != nil && self.Spec.StartAt.Before(other.Spec.StartAt) && !other.Spec.StartAt.After(now) &&
		other.Spec.State == v1alpha1.IntentRunning && !IsStopped(other) && other.Status.StartedAt == nil && !isQueued(other) &&
		self.CreationTimestamp.Sub(other.CreationTimestamp.Time).Abs() < together
}

// IsAmbiguous tells whether nobody could say, after a rebuild from Git, which of two rollouts is the newer: they have the same startAt, or none and were created together.
// The second of them waits, and so does one whose plan came late when the other has started. Queued ones of different weight go by that.
func IsAmbiguous(first, second *v1alpha1.Rollout) bool {
	a, b := first.Spec.StartAt, second.Spec.StartAt
	isEqual := a != nil && b != nil && a.Equal(b)
	if !isEqual && (a != nil || b != nil) || IsStopped(first) || first.Spec.State == v1alpha1.IntentPlanned {
		return false
	}
	if isQueued(first) && isQueued(second) && weight(first) != weight(second) {
		return false
	}
	gap := second.CreationTimestamp.Sub(first.CreationTimestamp.Time)
	return (isEqual || gap.Abs() < together) && (first.Status.StartedAt != nil || gap > 0 || gap == 0 && first.Name < second.Name)
}

func isQueued(r *v1alpha1.Rollout) bool {
	return r.Spec.Update.Superseding == v1alpha1.SupersedingQueue
}

// weight of a rollout's update; the highest unless it says otherwise.
func weight(r *v1alpha1.Rollout) int32 {
	if r.Spec.Update.Weight == nil {
		return 1000
	}
	return *r.Spec.Update.Weight
}
