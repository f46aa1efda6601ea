// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"sort"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
)

// Member is what the status of a group says about one of its members.
type Member struct {
	// Superseded: a newer rollout took the target over.
	Superseded bool
	// AlreadyThere: the target had the content when the group opened.
	AlreadyThere bool
	// Skipped: it did not start in time, and startDeadlineAction was Skip.
	Skipped bool
	// Abandoned is true if the member failed and did not start another attempt in time.
	Abandoned bool
	// Expired is when the member expired because it had not started in time; zero if it did not.
	Expired time.Time
	// Joined is when the member joined a dynamic group; zero if it was planned.
	Joined time.Time
}

// IsPlain reports whether the group says nothing about the member, as about most members.
func (m *Member) IsPlain() bool {
	return !m.Superseded && !m.AlreadyThere && !m.Skipped && !m.Abandoned && m.Expired.IsZero() && m.Joined.IsZero()
}

// MemberOf returns what the status of a group says about member i.
func MemberOf(g *v1alpha1.DeploymentGroup, i int) Member {
	s := &g.Status
	m := Member{Superseded: bitmap.Has(s.Superseded, i), AlreadyThere: bitmap.Has(s.AlreadyThere, i), Skipped: bitmap.Has(s.Skipped, i), Abandoned: bitmap.Has(s.Abandoned, i)}
	if bitmap.Has(s.Expired, i) {
		m.Expired = expiredAt(s, i)
	}
	if b := batchOf(s, i); b != nil {
		m.Joined = b.At.Time
	}
	return m
}

// Mark copies to an intent of the member what its group says about it. The retry request of the
// intent must be set already.
func (m Member) Mark(in *eligibility.Intent) {
	in.Superseded, in.AlreadyThere, in.Skipped, in.Abandoned = m.Superseded, m.AlreadyThere, m.Skipped, m.Abandoned
	if !m.Expired.IsZero() {
		in.Expired = m.HasExpired(in.RetryAt, in.RetryFailures)
		in.Forgiven = !in.Expired
	}
}

// HasExpired reports whether the member counts as failed because it did not start in time and no
// retry has undone that.
func (m Member) HasExpired(retryAt time.Time, retried action.Failures) bool {
	return !m.Expired.IsZero() && !(m.Expired.Before(retryAt) && retried.Name(DeadlineExceeded))
}

// DeadlineExceeded is the failure of a member that did not start in time.
var DeadlineExceeded = action.Failure{Code: v1alpha1.CodeStartDeadlineExceeded}

// batchOf returns the batch that member i joined with; nil: it was planned.
func batchOf(s *v1alpha1.DeploymentGroupStatus, i int) *v1alpha1.JoinedBatch {
	if n := sort.Search(len(s.Joined), func(k int) bool { return int(s.Joined[k].First) > i }); n > 0 {
		return &s.Joined[n-1]
	}
	return nil
}

// expiredAt returns when member i, which has expired, counted as failed.
func expiredAt(s *v1alpha1.DeploymentGroupStatus, i int) time.Time {
	for k := len(s.ExpiredAt) - 1; k >= 0; k-- {
		if bitmap.Has(s.ExpiredAt[k].Members, i) {
			return s.ExpiredAt[k].At.Time
		}
	}
	n := sort.Search(len(s.ExpiredAt), func(k int) bool { return int(s.ExpiredAt[k].Through) > i })
	if n == len(s.ExpiredAt) {
		return time.Unix(0, 0) // no batch has the time: long ago
	}
	return s.ExpiredAt[n].At.Time
}
