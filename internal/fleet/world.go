// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// World returns everything that an offer to this target depends on.
func (x *Index) World(target *v1alpha1.Target, now time.Time) offer.World {
	return offer.World{
		Now:     now,
		Target:  target,
		Intents: x.For(target, now),
		Set: func(name string) *eligibility.Set {
			return x.Set(sibling(target, name))
		},
		Origin: func(source v1alpha1.ActionSource) cancellation.Request {
			return x.origin(target.Namespace, source)
		},
	}
}
