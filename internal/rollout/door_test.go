// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// What makes an intent of a member lives above this package. It is handed down, so that the devices
// of these tests are offered what the device API would offer.
func init() {
	rollout.FromRollout, rollout.OriginOf = fleet.FromRollout, fleet.OriginOf
}
