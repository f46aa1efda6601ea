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

// busyWorld has ten rollouts and an assignment of one target, which has carried out six of them.
func busyWorld(b *testing.B) *story {
	s := newStory(b)
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
		"deploy":                   {nil, CodeDeploy},
		"closed window":            {[]step{assignment(20, "mine", within("0 2 * * *", time.Hour))}, eligibility.CodeWindowClosed},
		"everything done":          {[]step{carriesOut}, eligibility.CodeDone},
		"open action":              {[]step{takes}, CodeResume},
		"cancel":                   {[]step{takes, cancels(2147483, v1alpha1.CancellationSoft), func(s *story) { s.target.Spec.Cancel.UpTo = s.target.Status.NextActionID - 1 }, polls}, CodeCancel},
		"waiting for confirmation": {[]step{assignment(20, "mine", confirmed), takes}, CodeConfirm},
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
					b.Fatal("the status has pending changes")
				}
				if o := For(w); o.Reason.Code != c.want {
					b.Fatal(o.Reason)
				}
			}
		})
	}
}
