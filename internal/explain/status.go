// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// Outcome is how far a rollout is, for programs that wait for it.
type Outcome string

const (
	// OutcomeFinished has ended with success.
	OutcomeFinished Outcome = "Finished"
	// OutcomeRunning goes on by itself, or is about to start by itself.
	OutcomeRunning Outcome = "Running"
	// OutcomeWaitsForPerson waits for a change by a person, such as an approval.
	OutcomeWaitsForPerson Outcome = "WaitsForPerson"
	// OutcomePausedByErrors was paused automatically because too many targets failed.
	OutcomePausedByErrors Outcome = "PausedByErrors"
	// OutcomeFailed was stopped, or has ended without success.
	OutcomeFailed Outcome = "Failed"
)

// StatusWorld is what Status is computed from.
type StatusWorld struct {
	Rollout *v1alpha1.Rollout
	// Groups are the DeploymentGroups of the rollout. nil: they were not read.
	Groups []*v1alpha1.DeploymentGroup
	// Failed are targets that failed, such as those that status.failures names. Others are ignored.
	Failed []*v1alpha1.Target
	// Others are the other rollouts of the namespace that have not ended.
	Others []OtherRollout
	// NotCompared are the names of other rollouts with too many targets to read.
	NotCompared []string
	// RequiredMigrationStep is the field of the set of the rollout.
	RequiredMigrationStep bool
	Now                   time.Time
}

// Status is how far a rollout is: what it waits for, its groups, what failed, and when it is
// expected to end.
type Status struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Update is the set, or what is removed.
	Update string `json:"update"`
	// Removes is true if the rollout removes software.
	Removes bool                  `json:"removes,omitempty"`
	State   v1alpha1.RolloutState `json:"state"`
	Outcome Outcome               `json:"outcome"`
	// Reason and Message say what the rollout waits for, or how it has ended.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Until is when the wait ends by itself. nil: it ends with an event only.
	Until *metav1.Time `json:"until,omitempty"`
	// Notices are conditions that need attention and that Message does not name.
	Notices    []Notice          `json:"notices,omitempty"`
	PlanHash   string            `json:"planHash,omitempty"`
	StartedAt  *metav1.MicroTime `json:"startedAt,omitempty"`
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	Targets    v1alpha1.Counts   `json:"targets"`
	Groups     []GroupProgress   `json:"groups,omitempty"`
	// Failed are examples of failed targets whose group is not known; those of a known group are in
	// Groups.
	Failed   []FailedTarget          `json:"failed,omitempty"`
	Failures []v1alpha1.FailureCount `json:"failures,omitempty"`
	Overlaps []Overlap               `json:"overlaps,omitempty"`
	// NotCompared are rollouts that may have targets of this one: they have too many to compare.
	NotCompared []string `json:"notCompared,omitempty"`
	// Superseded is the number of targets that newer rollouts took over before they started.
	Superseded *Superseded `json:"superseded,omitempty"`
	// Forecast is when the rollout is expected to end. nil: it has ended.
	Forecast *Forecast `json:"forecast,omitempty"`
}

// GroupProgress is how far one group is.
type GroupProgress struct {
	Name     string              `json:"name"`
	State    v1alpha1.GroupState `json:"state"`
	OpenedAt *metav1.Time        `json:"openedAt,omitempty"`
	Targets  v1alpha1.Counts     `json:"targets"`
	// Failed are examples of its failed targets.
	Failed []FailedTarget `json:"failed,omitempty"`
}

// FailedTarget is a target that failed, and how.
type FailedTarget struct {
	Name       string       `json:"name"`
	StatusCode string       `json:"statusCode,omitempty"`
	Message    string       `json:"message,omitempty"`
	Attempt    int32        `json:"attempt,omitempty"`
	At         *metav1.Time `json:"at,omitempty"`
	// Inconsistent is true if it is not certain what runs on the device.
	Inconsistent bool `json:"inconsistent,omitempty"`
}

// StatusOf returns how far a rollout is.
func StatusOf(w StatusWorld) Status {
	r := w.Rollout
	s := Status{
		Namespace: r.Namespace, Name: r.Name, Update: cmp.Or(r.Status.Update, r.Spec.Update.Subject()),
		Removes: len(r.Spec.Update.Remove) > 0,
		State:   cmp.Or(r.Status.State, v1alpha1.RolloutCreating), Outcome: outcomeOf(r),
		StartedAt: r.Status.StartedAt, FinishedAt: r.Status.FinishedAt, Failures: r.Status.Failures,
		NotCompared: w.NotCompared, Forecast: forecast(r, w.Groups, w.Now),
	}
	if r.Status.Plan != nil {
		s.PlanHash = r.Status.Plan.Hash
	}
	if r.Status.Targets != nil {
		s.Targets = *r.Status.Targets
	}
	s.explainWaiting(r)
	s.Notices = noticesOfRollout(r, s.Reason, s.Message)
	for i := range r.Status.Groups {
		g := &r.Status.Groups[i]
		s.Groups = append(s.Groups, GroupProgress{Name: g.Name, State: g.State, OpenedAt: g.OpenedAt, Targets: g.Counts})
	}
	s.addFailed(&w)
	s.Overlaps, s.Superseded = overlapsOf(&w), supersededOf(w.Groups)
	return s
}

// Ended reports whether the rollout has ended.
func (s *Status) Ended() bool {
	return s.State.IsOver()
}

// Elapsed returns how long the rollout has been running, or ran. It is 0 before the start.
func (s *Status) Elapsed(now time.Time) time.Duration {
	if s.StartedAt == nil {
		return 0
	}
	if s.FinishedAt != nil {
		now = s.FinishedAt.Time
	}
	return max(now.Sub(s.StartedAt.Time), 0)
}

// IsStale reports whether the status does not describe the present spec yet.
func IsStale(r *v1alpha1.Rollout) bool { return r.Status.ObservedGeneration < r.Generation }

// outcomeOf returns how far a rollout is, for programs.
func outcomeOf(r *v1alpha1.Rollout) Outcome {
	s := &r.Status
	stalled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
	isStalled := stalled != nil && stalled.Status == metav1.ConditionTrue
	switch {
	case r.Unreadable != nil:
		return OutcomeWaitsForPerson
	case IsStale(r):
		return OutcomeRunning
	case s.State == v1alpha1.RolloutFinished && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionSucceeded):
		return OutcomeFinished
	case rollout.IsOver(r), s.State == v1alpha1.RolloutStopping:
		return OutcomeFailed
	case s.PauseReason == v1alpha1.PauseByErrorThreshold, s.PauseReason == v1alpha1.PauseByErrorBudget, s.PauseReason == v1alpha1.PauseByWeakGroup:
		return OutcomePausedByErrors
	case s.PauseReason != "", s.State == v1alpha1.RolloutWaitingForApproval:
		return OutcomeWaitsForPerson
	case isStalled && s.State == v1alpha1.RolloutRunning && (stalled.Reason == v1alpha1.ReasonForcedIsFinal || stalled.Reason == v1alpha1.ReasonDistributionSetInvalid):
		return OutcomeRunning // the request of a person had no effect; the rollout continues
	case isStalled:
		return OutcomeWaitsForPerson
	case s.WaitingFor != nil && (s.WaitingFor.Reason == v1alpha1.ReasonPlanned || s.WaitingFor.Reason == v1alpha1.ReasonPausedBySpec):
		return OutcomeWaitsForPerson
	default:
		return OutcomeRunning
	}
}

// explainWaiting sets what the rollout waits for, or how it has ended.
func (s *Status) explainWaiting(r *v1alpha1.Rollout) {
	succeeded := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionSucceeded)
	switch w := r.Status.WaitingFor; {
	case r.Unreadable != nil:
		s.Reason = "Unreadable"
		s.Message = fmt.Sprintf("the stored Rollout cannot be decoded, so that nothing of it starts: correct it: %s", r.Unreadable.Message)
	case IsStale(r):
		s.Reason = "NotObserved"
		s.Message = fmt.Sprintf("the controllers are about to handle generation %d of the spec; if this lasts, check that Goshawk's controllers run", r.Generation)
	case w != nil:
		s.Reason, s.Message, s.Until = w.Reason, w.Message, w.Until
	case rollout.IsOver(r) && succeeded != nil:
		s.Reason, s.Message = succeeded.Reason, succeeded.Message
	}
}

// noticesOfRollout returns the conditions of a rollout that need attention, without those that
// repeat the message, or say it in other words with the same reason.
func noticesOfRollout(r *v1alpha1.Rollout, reason, message string) []Notice {
	var notices []Notice
	seen := []string{message}
	for _, c := range r.Status.Conditions {
		isStop := c.Type == v1alpha1.ConditionInvalidated && r.Status.State.IsStopped() // the message says it
		isBad := c.Status == metav1.ConditionTrue && (c.Type == v1alpha1.ConditionStalled || c.Type == v1alpha1.ConditionInvalidated) && !isStop ||
			c.Status == metav1.ConditionFalse && c.Type == v1alpha1.ConditionReady
		if isBad && c.Reason != reason && !slices.Contains(seen, c.Message) {
			notices = append(notices, Notice{Type: c.Type, Reason: c.Reason, Message: c.Message})
			seen = append(seen, c.Message)
		}
	}
	return notices
}

// addFailed adds the failed targets to their groups.
func (s *Status) addFailed(w *StatusWorld) {
	groups := w.groupsOfFailed()
	for _, t := range w.Failed {
		own := action.OfSource(&t.Status, w.Rollout.Identity())
		if own != nil && own.State != v1alpha1.ActionError {
			continue // it has not failed, or is tried again
		}
		failed := FailedTarget{Name: t.Name, StatusCode: v1alpha1.CodeStartDeadlineExceeded, Inconsistent: meta.IsStatusConditionFalse(t.Status.Conditions, v1alpha1.ConditionConsistent)}
		group := groups[t.Name]
		if own != nil {
			failed.StatusCode, failed.Message, failed.Attempt, failed.At = own.StatusCode, cmp.Or(own.FailureMessage, own.Message), own.Source.Attempt, own.ClosedAt
			group = cmp.Or(group, own.Source.Group)
		}
		at := slices.IndexFunc(s.Groups, func(g GroupProgress) bool { return g.Name == group })
		if at < 0 {
			s.Failed = append(s.Failed, failed)
			continue
		}
		s.Groups[at].Failed = append(s.Groups[at].Failed, failed)
	}
}

// groupsOfFailed returns the groups of the failed targets, by their names.
func (w *StatusWorld) groupsOfFailed() map[string]string {
	groups := make(map[string]string, len(w.Failed))
	for _, t := range w.Failed {
		groups[t.Name] = ""
	}
	if len(groups) == 0 {
		return groups
	}
	for _, g := range w.Groups {
		for _, name := range g.Spec.Targets {
			if _, ok := groups[string(name)]; ok {
				groups[string(name)] = g.Spec.Group
			}
		}
	}
	return groups
}
