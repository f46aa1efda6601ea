// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// noteAssigned updates the condition Assigned in a write that happens anyway, such as a report of
// the device, so that the controller does not have to write once more after each of them. If the
// controller has not recorded the assignment yet, or if there is only a spec.cancel, it is left to
// the controller.
func (s *Store) noteAssigned(t *v1alpha1.Target, now time.Time) {
	if wanted := t.Spec.Assignment; wanted == nil || !offer.IsSeen(wanted, t.Status.Assignment) {
		return
	}
	if c := offer.Assigned(s.Index.World(t, now)); c != nil {
		c.ObservedGeneration = observedGeneration(t)
		meta.SetStatusCondition(&t.Status.Conditions, *c)
	}
}
