// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

// Mark says which decisions of one object have been notified. Encoded, it has at most 512 bytes.
// The zero Mark has none. Times are microseconds since 1970, and 0 if there is none.
type Mark struct {
	// Plan identifies the plan, and Approved the plan that was approved.
	Plan     string `json:"plan,omitempty"`
	Awaited  string `json:"awaited,omitempty"`
	Approved string `json:"approved,omitempty"`
	// State is the state of an auto-assignment.
	State   string `json:"state,omitempty"`
	Started int64  `json:"started,omitempty"`
	// Groups is the number of groups of a rollout, and Opened how many have opened.
	Groups int `json:"groups,omitempty"`
	Opened int `json:"opened,omitempty"`
	// Finished and Failed have a bit for each group of a rollout that is finished, or in Error.
	Finished bits `json:"finished,omitempty"`
	Failed   bits `json:"failed,omitempty"`
	// Paused is when the present pause started, and BySpec whether spec.state lifts it.
	Paused int64 `json:"paused,omitempty"`
	BySpec bool  `json:"bySpec,omitempty"`
	// Resumed, Advanced, Retried and Retry are those of status.handled.
	Resumed  int64 `json:"resumed,omitempty"`
	Advanced int64 `json:"advanced,omitempty"`
	Retried  int64 `json:"retried,omitempty"`
	Retry    int64 `json:"retry,omitempty"`
	// Stopping identifies the stop and its cancellation.
	Stopping string `json:"stopping,omitempty"`
	// Ended is when a rollout reached Finished or Stopped.
	Ended       int64  `json:"ended,omitempty"`
	Stalled     string `json:"stalled,omitempty"`
	Invalidated string `json:"invalidated,omitempty"`
	// NotRecorded is true while the invalidation of a set is not recorded, and Processed when it
	// was applied to all open actions.
	NotRecorded bool  `json:"notRecorded,omitempty"`
	Processed   int64 `json:"processed,omitempty"`
	Locked      bool  `json:"locked,omitempty"`
	// Offering is since when an auto-assignment offers its present set, if it had another one.
	Offering int64 `json:"offering,omitempty"`
}

// bits has a bit for each group. It is encoded as base64.
type bits []byte

func (b bits) has(i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

// with returns a copy with bit i set to on.
func (b bits) with(i int, on bool) bits {
	if b.has(i) == on {
		return b
	}
	changed := make(bits, max(len(b), i/8+1))
	copy(changed, b)
	if changed[i/8] ^= 1 << (i % 8); on {
		return changed
	}
	for len(changed) > 0 && changed[len(changed)-1] == 0 {
		changed = changed[:len(changed)-1]
	}
	if len(changed) == 0 {
		return nil
	}
	return changed
}
