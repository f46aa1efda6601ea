// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// rollout derives the events of a rollout, in the order in which a rollout goes through its states.
func (w *observer) rollout(r *v1alpha1.Rollout) {
	s := &r.Status
	w.data.State, w.data.DistributionSet, w.data.Update = string(s.State), r.Spec.Update.DistributionSet, s.Update
	if s.Plan != nil {
		w.data.PlanHash = s.Plan.Hash
	}
	if s.Targets != nil {
		w.data.Targets = s.Targets.DeepCopy()
	}
	if len(s.Groups) > 0 {
		w.data.Groups = &Groups{Total: len(s.Groups), Opened: opened(s)}
	}
	w.planned(r)
	w.rolloutInvalidated(s)
	w.started(s)
	w.groups(s, slices.Concat(w.resumed(s), w.requests(r)))
	w.paused(s)
	w.end(r)
	w.stalled(s.Conditions, s.PauseReason.IsAutomatic() || s.State == v1alpha1.RolloutFinished || isInvalidated(s.Conditions))
}

func opened(s *v1alpha1.RolloutStatus) (n int) {
	for i := range s.Groups {
		if s.Groups[i].OpenedAt != nil {
			n++
		}
	}
	return n
}

// planned derives the events of a plan and its approval.
func (w *observer) planned(r *v1alpha1.Rollout) {
	s := &r.Status
	if s.Plan == nil || s.Plan.Hash == "" {
		return
	}
	hash := strings.TrimPrefix(s.Plan.Hash, "sha256:")
	plan := hash[:min(len(hash), 16)]
	if s.Plan.CreatedAt != nil {
		plan += ":" + stamp(s.Plan.CreatedAt.Time)
	}
	if w.mark.Plan != plan {
		before := w.mark.Plan
		w.mark.Plan, w.mark.Groups = plan, int(s.Plan.Groups)
		reason, message := "Planned", fmt.Sprintf("planned %s in %s, plan %s", text.Count(s.Plan.Targets, "target"), text.Count(s.Plan.Groups, "group"), s.Plan.Hash)
		if before != "" {
			reason, message = "PlanChanged", message+"; an approval of the plan before is no longer valid"
		}
		w.add(decision{name: "planned", reason: reason, message: message, id: plan, at: timeOf(s.Plan.CreatedAt)})
	}
	if s.State == v1alpha1.RolloutWaitingForApproval && w.mark.Awaited != plan {
		w.mark.Awaited = plan
		message := "waiting for approval: to start, set spec.approval.planHash to " + s.Plan.Hash
		if s.WaitingFor != nil {
			message = s.WaitingFor.Message
		}
		w.add(decision{name: "approvalawaited", reason: v1alpha1.ReasonAwaitingApproval, message: message, id: plan})
	}
	isApproved := r.Spec.Approval != nil && r.Spec.Approval.PlanHash == s.Plan.Hash && s.State != "" && s.State != v1alpha1.RolloutCreating && s.State != v1alpha1.RolloutWaitingForApproval
	if isApproved && w.mark.Approved != plan {
		w.mark.Approved = plan
		w.add(decision{name: "approved", reason: "Approved", message: "spec.approval approves plan " + s.Plan.Hash, id: plan, field: "spec.approval"})
	}
}

func isInvalidated(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionInvalidated)
}

func (w *observer) rolloutInvalidated(s *v1alpha1.RolloutStatus) {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionInvalidated)
	if c == nil || c.Status != metav1.ConditionTrue || w.mark.Invalidated != "" {
		return
	}
	at := c.LastTransitionTime.Time
	w.mark.Invalidated = stamp(at)
	w.add(decision{name: "invalidated", reason: c.Reason, message: c.Message, warning: true, at: at, id: stamp(at)})
}

func (w *observer) started(s *v1alpha1.RolloutStatus) {
	if at := micros(s.StartedAt); at != 0 && w.mark.Started != at {
		w.mark.Started = at
		w.add(decision{name: "started", reason: "Started", message: "the rollout started", at: s.StartedAt.Time, id: fmt.Sprint(at)})
	}
}

// request is a request in the spec that was carried out. Groups that opened before at were open
// already.
type request struct {
	at  time.Time
	add func()
}

// resumed returns the end of a pause. A pause that a stop ends has no event.
func (w *observer) resumed(s *v1alpha1.RolloutStatus) []request {
	was, bySpec := w.mark.Paused, w.mark.BySpec
	isOver := was != 0 && was != micros(s.PausedAt)
	if h := s.Handled; h != nil && h.ResumedAt != nil && w.mark.Resumed != micros(h.ResumedAt) {
		return []request{{h.ResumedAt.Time, func() {
			w.mark.Resumed = micros(h.ResumedAt)
			w.unpause(isOver)
			w.add(decision{name: "resumed", reason: "Resumed", field: "spec.resumedAt", id: stamp(h.ResumedAt.Time),
				message: fmt.Sprintf("spec.resumedAt %s lifted the pause; only later failures count from now on", h.ResumedAt.UTC().Format(time.RFC3339))})
		}}}
	}
	if isOver && bySpec && !isStopped(s) {
		return []request{{time.UnixMicro(was), func() {
			w.unpause(true)
			w.add(decision{name: "resumed", reason: "Resumed", field: "spec.state", id: fmt.Sprint(was), message: "spec.state is Running again"})
		}}}
	}
	w.unpause(isOver)
	return nil
}

func (w *observer) unpause(isOver bool) {
	if isOver {
		w.mark.Paused, w.mark.BySpec = 0, false
	}
}

func (w *observer) paused(s *v1alpha1.RolloutStatus) {
	at := micros(s.PausedAt)
	if s.PauseReason == "" || at == 0 || w.mark.Paused == at {
		return
	}
	w.mark.Paused, w.mark.BySpec = at, s.PauseReason == v1alpha1.PauseBySpec
	d := decision{name: "paused", reason: string(s.PauseReason), message: s.PauseMessage, at: s.PausedAt.Time, id: fmt.Sprint(at)}
	switch s.PauseReason {
	case v1alpha1.PauseBySpec:
		d.field = "spec.state"
	case v1alpha1.PauseBySuccessAction:
	default:
		d.warning = true
	}
	w.add(d)
}

// requests returns spec.advance and spec.retry, if they were carried out.
func (w *observer) requests(r *v1alpha1.Rollout) (all []request) {
	h := r.Status.Handled
	if h == nil {
		return nil
	}
	if at := micros(h.AdvanceAt); at != 0 && w.mark.Advanced != at {
		message := "spec.advance opened groups even if their conditions were not met"
		if a := r.Spec.Advance; a != nil && micros(&metav1.MicroTime{Time: a.At.Time}) == at {
			message = fmt.Sprintf("spec.advance opens the groups up to %s even if their conditions are not met", a.To)
		}
		all = append(all, request{h.AdvanceAt.Time, func() {
			w.mark.Advanced = at
			w.add(decision{name: "advanced", reason: "Advanced", message: message, id: fmt.Sprint(at), field: "spec.advance"})
		}})
	}
	switch retried, asked := micros(h.RetriedAt), micros(h.RetryAt); {
	case retried != 0 && w.mark.Retried != retried:
		all = append(all, request{h.RetriedAt.Time, func() {
			w.mark.Retried, w.mark.Retry = retried, asked
			w.add(decision{name: "retried", reason: "Retried", at: h.RetriedAt.Time, id: fmt.Sprint(retried), field: "spec.retry",
				message: fmt.Sprintf("spec.retry of %s was carried out: targets that failed before are tried again", h.RetryAt.UTC().Format(time.RFC3339))})
		}})
	case asked != 0 && w.mark.Retry != asked:
		all = append(all, request{h.RetryAt.Time, func() {
			w.mark.Retry = asked
			w.add(decision{name: "retryrefused", reason: "RetryRefused", warning: true, id: fmt.Sprint(asked), field: "spec.retry",
				message: "spec.retry is refused: a stopped rollout is final; create another Rollout"})
		}})
	}
	return all
}

// groups derives the events of groups and of requests: first those of the groups that have opened
// before the requests, and were not notified yet.
func (w *observer) groups(s *v1alpha1.RolloutStatus, requests []request) {
	slices.SortStableFunc(requests, func(a, b request) int { return a.at.Compare(b.at) })
	known, openedBefore := w.mark.Groups, w.mark.Opened
	for i := range s.Groups {
		if s.StartedAt == nil {
			break
		}
		g := &s.Groups[i]
		isNew := g.OpenedAt != nil && i >= openedBefore
		for len(requests) > 0 && !(isNew && g.OpenedAt.Time.Before(requests[0].at.Truncate(time.Second))) {
			requests[0].add()
			requests = requests[1:]
		}
		if i >= known {
			w.mark.Groups = i + 1
			w.add(decision{name: "groupadded", reason: "GroupAdded", group: g, message: fmt.Sprintf("group %s takes targets that appear later", g.Name)})
		}
		if g.OpenedAt == nil {
			continue
		}
		if isNew {
			w.mark.Opened = i + 1
			w.add(decision{name: "groupopened", reason: "GroupOpened", group: g, at: g.OpenedAt.Time, id: stamp(g.OpenedAt.Time),
				message: fmt.Sprintf("group %s opened: %s", g.Name, text.Count(existing(g.Counts), "target"))})
		}
		w.ended(s, i)
	}
	for _, r := range requests {
		r.add()
	}
}

// ended derives the end of a group: in Error, or finished.
func (w *observer) ended(s *v1alpha1.RolloutStatus, i int) {
	again := "0"
	if s.Handled != nil && s.Handled.RetriedAt != nil {
		again = stamp(s.Handled.RetriedAt.Time)
	}
	g := &s.Groups[i]
	isFinished, isFailed := w.mark.Finished.has(i), w.mark.Failed.has(i)
	w.mark.Finished, w.mark.Failed = w.mark.Finished.with(i, g.State == v1alpha1.GroupFinished), w.mark.Failed.with(i, g.State == v1alpha1.GroupError)
	switch {
	case g.State == v1alpha1.GroupError && !isFailed:
		w.add(decision{name: "groupfailed", reason: "GroupFailed", group: g, warning: true, id: again, message: fmt.Sprintf("group %s is in Error: %s", g.Name, results(g.Counts))})
	case g.State == v1alpha1.GroupFinished && !isFinished && !isStopped(s):
		w.add(decision{name: "groupfinished", reason: "GroupFinished", group: g, id: again, message: fmt.Sprintf("group %s finished: %s", g.Name, results(g.Counts))})
	}
}

// isStopped reports whether a stop has ended the groups of a rollout, which is no result of a
// group.
func isStopped(s *v1alpha1.RolloutStatus) bool {
	return s.State == v1alpha1.RolloutStopping || s.State == v1alpha1.RolloutStopped
}

func existing(c v1alpha1.Counts) int32 { return c.Targets - c.Removed }

func results(c v1alpha1.Counts) string {
	return fmt.Sprintf("%d of %d succeeded, %d failed, %d canceled, %d skipped", c.Succeeded, existing(c), c.Failed, c.Canceled, c.Skipped)
}

// stoppedBySet is the mark of a stop by the invalidation of the set.
const stoppedBySet = "set"

// end derives the events of a stop and of the end.
func (w *observer) end(r *v1alpha1.Rollout) {
	s := &r.Status
	field, stop, applied := "", stoppedBySet, v1alpha1.Cancellation("")
	if s.Stop != nil {
		field, stop, applied = "spec.state", stamp(s.Stop.ObservedAt.Time)+":"+string(s.Stop.Cancellation), s.Stop.Cancellation
	}
	if isStopped(s) && w.mark.Stopping != stop {
		isRaised := w.mark.Stopping != "" && w.mark.Stopping != stoppedBySet && s.Stop != nil
		w.mark.Stopping = stop
		switch {
		case isRaised:
			w.add(decision{name: "stopping", reason: "CancellationRaised", warning: true, id: stop, field: "spec.stopCancellation", cancellation: applied,
				message: fmt.Sprintf("spec.stopCancellation was raised to %s for devices that have started", applied)})
		case s.State == v1alpha1.RolloutStopping:
			d := decision{name: "stopping", reason: v1alpha1.ReasonStopping, warning: true, id: stop, field: field, cancellation: applied, message: "the rollout is being stopped"}
			if s.Stop != nil {
				d.at = s.Stop.ObservedAt.Time
			}
			if s.WaitingFor != nil {
				d.message = s.WaitingFor.Message
			}
			w.add(d)
		}
	}
	end := micros(s.FinishedAt)
	if end == 0 || w.mark.Ended == end {
		return
	}
	d := decision{at: s.FinishedAt.Time, id: fmt.Sprint(end), reason: string(s.State), message: string(s.State)}
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSucceeded)
	if c != nil {
		d.reason, d.message, d.warning = cmp.Or(c.Reason, d.reason), cmp.Or(c.Message, d.message), c.Status == metav1.ConditionFalse
	}
	switch s.State {
	case v1alpha1.RolloutFinished:
		d.name = "finished"
	case v1alpha1.RolloutStopped:
		d.name, d.field, d.cancellation = "stopped", field, applied
	default:
		return
	}
	w.mark.Ended = end
	w.add(d)
}

func micros(t *metav1.MicroTime) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
