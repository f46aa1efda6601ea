// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cancellation

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Invalidation of a set.
type Invalidation struct {
	// Cancellation is its type; empty: the set is valid.
	Cancellation v1alpha1.Cancellation
	// At is when it was first observed, to the second; zero: it is seen for the first time.
	At time.Time
	// DeleteRollouts as in spec.invalidation.
	DeleteRollouts bool
}

// OnRollout returns the effect on a rollout of the set. started is zero if it has not started.
func (i Invalidation) OnRollout(created, started time.Time) Effect {
	effects := Of(i.Cancellation)
	switch {
	case i.Cancellation == "":
		return Continue
	case !started.IsZero() && effects.StartedRollouts != Continue:
		return effects.StartedRollouts
	case !started.IsZero() && i.isAfterStart(started):
		return Continue
	case started.IsZero() && i.isAfterCreation(created):
		return effects.OtherRollouts
	}
	return effects.NewUses
}

// Deletes reports whether the invalidation deletes a rollout of the set. A rollout that is created
// again is newer than the invalidation and stays.
func (i Invalidation) Deletes(created time.Time) bool {
	return Of(i.Cancellation).DeleteRollouts && i.DeleteRollouts && !i.At.IsZero() && i.isAfterCreation(created)
}

// isAfterStart reports whether a rollout had started before the invalidation. No rollout starts
// once the invalidation is seen, so a start in the same second was before.
func (i Invalidation) isAfterStart(started time.Time) bool {
	return i.At.IsZero() || !started.Truncate(time.Second).After(i.At)
}

// isAfterCreation compares whole seconds, because the time of a creation has no fraction.
func (i Invalidation) isAfterCreation(created time.Time) bool {
	return i.At.IsZero() || created.Before(i.At.Truncate(time.Second))
}
