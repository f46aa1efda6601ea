// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestHasLeft checks whether a target that had a content has left it.
func TestHasLeft(t *testing.T) {
	now := time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)
	const mine, other = "1111111111111111-mine", "2222222222222222-other"
	start := func(hash string) func(*v1alpha1.TargetStatus) {
		return func(s *v1alpha1.TargetStatus) {
			now = now.Add(time.Minute)
			Create(s, Creation{Source: v1alpha1.ActionSource{UID: "uid"}, DistributionSet: hash[:4], ContentHash: hash, Now: now})
		}
	}
	end := func(e Event) func(*v1alpha1.TargetStatus) {
		return func(s *v1alpha1.TargetStatus) {
			now = now.Add(time.Minute)
			Apply(s, Report{ID: Newest(s).ID, Event: Download, Now: now})
			Apply(s, Report{ID: Newest(s).ID, Event: e, Now: now})
		}
	}
	says := func(hash string) func(*v1alpha1.TargetStatus) {
		return func(s *v1alpha1.TargetStatus) {
			now = now.Add(time.Minute)
			ReportInstalled(s, hash[:4], hash, now)
		}
	}
	type events []func(*v1alpha1.TargetStatus)
	for name, tt := range map[string]struct {
		steps events
		want  bool
	}{
		"the target never had it":                       {events{start(other), end(Succeed)}, false},
		"it is installed":                               {events{start(mine), end(Succeed)}, false},
		"the open action is for it":                     {events{start(other), end(Succeed), start(mine)}, false},
		"its action failed last":                        {events{start(other), end(Succeed), start(mine), end(Fail)}, false},
		"another one succeeded after it":                {events{start(mine), end(Succeed), start(other), end(Succeed)}, true},
		"another one succeeded after its failure":       {events{start(mine), end(Fail), start(other), end(Succeed)}, true},
		"the open action is for another one":            {events{start(mine), end(Succeed), start(other)}, true},
		"another one failed after it":                   {events{start(mine), end(Succeed), start(other), end(Fail)}, false},
		"it was installed again":                        {events{start(mine), end(Succeed), start(other), end(Succeed), start(mine), end(Succeed)}, false},
		"the device reports that it is installed again": {events{start(mine), end(Succeed), start(other), end(Succeed), says(mine)}, false},
		"the device reports another one":                {events{start(mine), end(Succeed), says(other)}, true},
		"the device reported another one before":        {events{says(other), start(mine), end(Fail)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.TargetStatus{}
			for _, e := range tt.steps {
				e(s)
			}
			if got := HasLeftContent(s, mine); got != tt.want {
				t.Errorf("has left it: %v, want %v; %+v had %v", got, tt.want, s.Installed, s.HadSets)
			}
		})
	}
}
