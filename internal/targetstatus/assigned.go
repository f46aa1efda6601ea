// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// noteAssigned lets what is said of the target's own assignment ride on a write that happens
// anyway, such as a report of its device. Without it the controller would write once more after
// each of them. An assignment that the controller has not noted yet is left to it, and so is a
// cancel alone.
func (s *Store) noteAssigned(t *v1alpha1.Target, now time.Time) {
	if wanted := t.Spec.Assignment; wanted == nil || !offer.IsSeen(wanted, t.Status.Assignment) {
		return
	}
	if c := offer.Assigned(s.Index.World(t, now)); c != nil {
		c.ObservedGeneration = observedGeneration(t)
		meta.SetStatusCondition(&t.Status.Conditions, *c)
	}
}
