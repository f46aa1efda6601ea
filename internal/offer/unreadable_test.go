// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import "testing"

// What has started with a set that cannot be read any more goes on; what has not, does not start.
func TestWhatHasStartedIsNotCanceledBecauseItsSetCannotBeRead(t *testing.T) {
	s := tell(t, set("fw"), rollout("r", 1, "fw"), takes)
	s.sets["fw"] = &Set{Name: "fw", Unreadable: true, NotDeployable: "it cannot be read"}
	if s.settle() {
		t.Errorf("it is now %+v", s.target.Status.Actions)
	}
	if o := For(s.world()); o.Kind != Deploy || o.Action == nil {
		t.Errorf("the offer is %+v", o)
	}
	s = tell(t, set("fw"), rollout("r", 1, "fw"))
	*s.sets["fw"] = Set{Name: "fw", Unreadable: true, NotDeployable: "it cannot be read"}
	if o := For(s.world()); o.Kind != Nothing || o.Reason.Code != CodeSetNotReady {
		t.Errorf("the offer is %+v", o)
	}
}
