package rollout_test

import (
	"github.com/goshawk-dev/goshawk/internal/intents"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// What makes an intent of a member lives above this package. It is handed down, so that the devices of these tests are offered what the door would offer.
func init() {
	rollout.FromRollout, rollout.OriginOf = intents.FromRollout, intents.OriginOf
}
