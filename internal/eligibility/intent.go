// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package eligibility

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// Set has the facts about a distribution set that the rules need.
type Set struct {
	Namespace, Name string
	// ContentHash of the set; empty until it is locked or complete.
	ContentHash string
	// Deployable is true when the set is Ready, complete and locked with the content it was locked
	// with.
	Deployable bool
	// NotDeployable is the message that says why Deployable is false.
	NotDeployable string
	// Transient is true when Deployable becomes true without a change by a person: the set is new,
	// or is being locked for its first use.
	Transient bool
	// Changed is true when a module does not exist, or the content no longer has ContentHash:
	// actions that have started cannot continue.
	Changed bool
	// Unreadable is true when the set, or a module of it, is stored but cannot be decoded: no
	// action of the set is started, and no open action is canceled because of that.
	Unreadable bool
	// Invalidation is the cancellation of spec.invalidation or of the invalidation record; empty
	// while the set is valid.
	Invalidation v1alpha1.Cancellation
	// LockedAt is when the set was first used; zero if no use is known.
	LockedAt time.Time
	// InvalidationReason is spec.invalidation.reason.
	InvalidationReason string
	// DeleteRollouts as in spec.invalidation.
	DeleteRollouts bool
	// InvalidatedAt is when the invalidation was first observed; zero until then.
	InvalidatedAt time.Time
	// CompatibleTargetTypes as in spec; all types if empty.
	CompatibleTargetTypes []string
	// RequiredMigrationStep as in spec.
	RequiredMigrationStep bool
	// Rollback is Supported when every module declares it.
	Rollback v1alpha1.RollbackSupport
	// Modules of the set in the order of spec.modules.
	Modules []*v1alpha1.SoftwareModule
	// Metadata of the set that the device sees.
	Metadata []v1alpha1.MetadataEntry
	// Remove is the software that is removed; empty if a set is installed.
	Remove []v1alpha1.SoftwareReference
	// Inventories is for IsThere of a removal; nil if nothing is known of any target.
	Inventories Inventories
}

// Fits reports whether a target of this type may get the set. A target without type fits every set.
func (s *Set) Fits(targetType string) bool {
	if targetType == "" || len(s.CompatibleTargetTypes) == 0 {
		return true
	}
	for _, t := range s.CompatibleTargetTypes {
		if t == targetType {
			return true
		}
	}
	return false
}

// IsInvalid reports whether the set was invalidated, so that it is refused to every new use.
func (s *Set) IsInvalid() bool {
	return s.Invalidation != "" && cancellation.Of(s.Invalidation).NewUses == cancellation.Refuse
}

// EffectOnRollout returns what the invalidation of the set does to a rollout of it. started is zero
// if the rollout has not started.
func (s *Set) EffectOnRollout(created, started time.Time) cancellation.Effect {
	return s.invalidation().OnRollout(created, started)
}

// DeletesRollout reports whether the invalidation of the set deletes a rollout of it.
func (s *Set) DeletesRollout(created time.Time) bool { return s.invalidation().Deletes(created) }

func (s *Set) invalidation() cancellation.Invalidation {
	return cancellation.Invalidation{Cancellation: s.Invalidation, At: s.InvalidatedAt, DeleteRollouts: s.DeleteRollouts}
}

// Intent is one update that reaches a target: its own assignment, membership in a group, or a
// running auto-assignment.
type Intent struct {
	// Source as an action created from the intent would carry it, with Since set and Attempt zero.
	Source v1alpha1.ActionSource
	// Update as asked for; ConfirmationRequired is that of the group.
	Update v1alpha1.Update
	// Set named by Update; nil if it does not exist.
	Set *Set
	// PlannedHash is the contentHash that was planned or approved; if empty, any content is
	// offered.
	PlannedHash string
	// Closed says why the intent offers nothing now, independent of the target: not started,
	// paused, stopped, group not open. It is zero if the intent offers its update.
	Closed Reason
	// Stopped is true when the intent will never offer again.
	Stopped bool
	// StartedAt is when the rollout or auto-assignment started; zero if it has not. A set
	// invalidated with None is still offered by rollouts that started before.
	StartedAt time.Time
	// CreatedAt is when the object of the intent was created. IsUnplaced is true when only
	// CreatedAt says how new the intent is: there is no startAt or assignedAt, and no edit since.
	CreatedAt  time.Time
	IsUnplaced bool
	// OpenedAt is when the target's group opened, or when the target joined it; zero if not yet.
	OpenedAt time.Time
	// Superseded, AlreadyThere, Skipped, Abandoned and Expired are the member's bits in its
	// DeploymentGroup. If a retry request covers an expired member, Forgiven is true in place of
	// Expired.
	Superseded, AlreadyThere, Skipped, Abandoned, Expired, Forgiven bool
	// SupersededBy lists the newer rollouts that took members of this group over, for the message.
	SupersededBy []v1alpha1.SupersedingRollout
	// RetryAt and RetryFailures are the rollout's retry request, once its time has come.
	RetryAt       time.Time
	RetryFailures action.Failures
}

func since(s *v1alpha1.ActionSource) time.Time {
	if s.Since == nil {
		return time.Time{}
	}
	return s.Since.Time
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
