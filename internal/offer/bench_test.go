// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// busyWorld has ten rollouts and an assignment over one target that has been through a few of them.
func busyWorld(b *testing.B) *story {
	s := tell(b)
	for i := range 10 {
		set(fmt.Sprintf("fw-%d", i))(s)
		rollout(fmt.Sprintf("rollout-%d", i), i, fmt.Sprintf("fw-%d", i))(s)
		if i < 6 {
			carriesOut(s)
		}
	}
	set("mine")(s)
	assignment(20, "mine")(s)
	return s
}

func BenchmarkOffer(b *testing.B) {
	cases := map[string]struct {
		steps []step
		want  eligibility.Code
	}{
		"deploys":               {nil, CodeDeploy},
		"window closed":         {[]step{assignment(20, "mine", within("0 2 * * *", time.Hour))}, eligibility.CodeWindowClosed},
		"nothing left":          {[]step{carriesOut}, eligibility.CodeDone},
		"goes on":               {[]step{takes}, CodeResume},
		"asked to cancel":       {[]step{takes, cancels(2147483, v1alpha1.CancellationSoft), func(s *story) { s.target.Spec.Cancel.UpTo = s.target.Status.NextActionID - 1 }, comesBy}, CodeCancel},
		"waits to be confirmed": {[]step{assignment(20, "mine", confirmed), takes}, CodeConfirm},
	}
	for name, c := range cases {
		b.Run(name, func(b *testing.B) {
			s := busyWorld(b)
			for _, do := range c.steps {
				do(s)
			}
			w := s.world()
			b.ReportAllocs()
			for b.Loop() {
				if _, changed := ApplyPending(w); changed {
					b.Fatal("not settled")
				}
				if o := For(w); o.Reason.Code != c.want {
					b.Fatal(o.Reason)
				}
			}
		})
	}
}
