// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"sort"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Member is what a group remembers of one of its members.
type Member struct {
	// Abandoned: it failed and did not come back for another attempt.
	Superseded, AlreadyThere, Skipped, Abandoned bool
	// Expired is when it counted as failed because it had not started in time; zero: it does not.
	Expired time.Time
	// Joined is when it joined a dynamic group; zero: it was planned.
	Joined time.Time
}

// MemberOf is what a group remembers of the member at this place.
func MemberOf(g *v1alpha1.DeploymentGroup, i int) Member {
	s := &g.Status
	m := Member{Superseded: Bit(s.Superseded, i), AlreadyThere: Bit(s.AlreadyThere, i), Skipped: Bit(s.Skipped, i), Abandoned: Bit(s.Abandoned, i)}
	if Bit(s.Expired, i) {
		m.Expired = expiredAt(s, i)
	}
	if b := batchOf(s, i); b != nil {
		m.Joined = b.At.Time
	}
	return m
}

// Mark sets on an intent of the member what its group remembers of it. The retry request of the
// intent is set before.
func (m Member) Mark(in *eligibility.Intent) {
	in.Superseded, in.AlreadyThere, in.Skipped, in.Abandoned = m.Superseded, m.AlreadyThere, m.Skipped, m.Abandoned
	if !m.Expired.IsZero() {
		in.Expired = m.hasExpired(in.RetryAt, in.RetryFailures)
		in.Forgiven = !in.Expired
	}
}

// hasExpired reports whether the member failed because it did not start in time, unless a retry has
// taken that back since.
func (m Member) hasExpired(retryAt time.Time, retried action.Failures) bool {
	return !m.Expired.IsZero() && !(m.Expired.Before(retryAt) && retried.Name(notStarted))
}

// notStarted is the failure of a member that did not start in time.
var notStarted = action.Failure{Code: v1alpha1.CodeStartDeadlineExceeded}

// batchOf is the batch that a member joined with; nil: it was planned.
func batchOf(s *v1alpha1.DeploymentGroupStatus, i int) *v1alpha1.JoinedBatch {
	if n := sort.Search(len(s.Joined), func(k int) bool { return int(s.Joined[k].First) > i }); n > 0 {
		return &s.Joined[n-1]
	}
	return nil
}

func expiredAt(s *v1alpha1.DeploymentGroupStatus, i int) time.Time {
	for k := len(s.ExpiredAt) - 1; k >= 0; k-- {
		if Bit(s.ExpiredAt[k].Members, i) {
			return s.ExpiredAt[k].At.Time
		}
	}
	n := sort.Search(len(s.ExpiredAt), func(k int) bool { return int(s.ExpiredAt[k].Through) > i })
	if n == len(s.ExpiredAt) {
		return time.Unix(0, 0) // marked, and nobody knows when: long ago
	}
	return s.ExpiredAt[n].At.Time
}
