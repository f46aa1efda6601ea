// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/history"
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
	w.stalled(s.Conditions, s.PauseReason.IsAutomatic() || s.State == v1alpha1.RolloutFinished || history.OfInvalidation(s) != nil)
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
		made := *history.OfPlan(s)
		if w.mark.Plan != "" {
			made.Reason, made.Message = "PlanChanged", made.Message+"; an approval of the plan before is no longer valid"
		}
		w.mark.Plan, w.mark.Groups = plan, int(s.Plan.Groups)
		w.add(made, plan)
	}
	if s.State == v1alpha1.RolloutWaitingForApproval && w.mark.Awaited != plan {
		w.mark.Awaited = plan
		message := "waiting for approval: to start, set spec.approval.planHash to " + s.Plan.Hash
		if s.WaitingFor != nil {
			message = s.WaitingFor.Message
		}
		w.add(history.Decision{Kind: "ApprovalAwaited", Reason: v1alpha1.ReasonAwaitingApproval, Message: message}, plan)
	}
	isApproved := r.Spec.Approval != nil && r.Spec.Approval.PlanHash == s.Plan.Hash && s.State != "" && s.State != v1alpha1.RolloutCreating && s.State != v1alpha1.RolloutWaitingForApproval
	if isApproved && w.mark.Approved != plan {
		w.mark.Approved = plan
		w.add(history.Decision{Kind: "Approved", Reason: "Approved", Message: "spec.approval approves plan " + s.Plan.Hash, Field: "spec.approval"}, plan)
	}
}

func (w *observer) rolloutInvalidated(s *v1alpha1.RolloutStatus) {
	d := history.OfInvalidation(s)
	if d == nil || w.mark.Invalidated != "" {
		return
	}
	w.mark.Invalidated = stamp(d.At)
	w.add(*d, stamp(d.At))
}

func (w *observer) started(s *v1alpha1.RolloutStatus) {
	if d := history.OfStart(s); d != nil && w.mark.Started != d.At.UnixMicro() {
		w.mark.Started = d.At.UnixMicro()
		w.add(*d, stamp(d.At))
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
	if d := history.OfResume(s); d != nil && w.mark.Resumed != d.Requested.UnixMicro() {
		return []request{{d.Time(), func() {
			w.mark.Resumed = d.Requested.UnixMicro()
			w.unpause(isOver)
			w.add(*d, stamp(d.Requested))
		}}}
	}
	if isOver && bySpec && !s.State.IsStopped() {
		return []request{{time.UnixMicro(was), func() {
			w.unpause(true)
			w.add(history.Decision{Kind: history.Resumed, Reason: history.Resumed, Field: "spec.state", Message: "spec.state is Running again"}, fmt.Sprint(was))
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
	d := history.OfPause(s)
	if d == nil || d.At.IsZero() || w.mark.Paused == d.At.UnixMicro() {
		return
	}
	w.mark.Paused, w.mark.BySpec = d.At.UnixMicro(), s.PauseReason == v1alpha1.PauseBySpec
	w.add(*d, stamp(d.At))
}

// requests returns spec.advance and spec.retry, if they were handled.
func (w *observer) requests(r *v1alpha1.Rollout) (all []request) {
	if d := history.OfAdvance(r); d != nil && w.mark.Advanced != d.Requested.UnixMicro() {
		all = append(all, request{d.Time(), func() {
			w.mark.Advanced = d.Requested.UnixMicro()
			w.add(*d, stamp(d.Requested))
		}})
	}
	retried, refused := history.OfRetry(&r.Status), history.OfRefusedRetry(&r.Status)
	switch {
	case retried != nil && w.mark.Retried != retried.At.UnixMicro():
		all = append(all, request{retried.Time(), func() {
			w.mark.Retried, w.mark.Retry = retried.At.UnixMicro(), micros(r.Status.Handled.RetryAt)
			w.add(*retried, stamp(retried.At))
		}})
	case refused != nil && w.mark.Retry != refused.Requested.UnixMicro():
		all = append(all, request{refused.Time(), func() {
			w.mark.Retry = refused.Requested.UnixMicro()
			w.add(*refused, stamp(refused.Requested))
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
			w.addGroup(g, history.Decision{Kind: "GroupAdded", Reason: "GroupAdded", Message: fmt.Sprintf("group %s takes targets that appear later", g.Name)})
		}
		if g.OpenedAt == nil {
			continue
		}
		if isNew {
			w.mark.Opened = i + 1
			w.addGroup(g, *history.OfGroup(g), stamp(g.OpenedAt.Time))
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
		w.addGroup(g, history.Decision{Kind: "GroupFailed", Reason: "GroupFailed", Warning: true, Message: fmt.Sprintf("group %s is in Error: %s", g.Name, results(g.Counts))}, again)
	case g.State == v1alpha1.GroupFinished && !isFinished && !s.State.IsStopped(): // the end of a group by a stop is no result
		w.addGroup(g, history.Decision{Kind: "GroupFinished", Reason: "GroupFinished", Message: fmt.Sprintf("group %s finished: %s", g.Name, results(g.Counts))}, again)
	}
}

func results(c v1alpha1.Counts) string {
	return fmt.Sprintf("%d of %d succeeded, %d failed, %d canceled, %d skipped", c.Succeeded, c.Existing(), c.Failed, c.Canceled, c.Skipped)
}

// stoppedBySet is the mark of a stop by the invalidation of the set.
const stoppedBySet = "set"

// end derives the events of a stop and of the end.
func (w *observer) end(r *v1alpha1.Rollout) {
	w.stopping(&r.Status)
	d := history.OfEnd(&r.Status)
	if d == nil || w.mark.Ended == d.At.UnixMicro() {
		return
	}
	w.mark.Ended = d.At.UnixMicro()
	w.add(*d, stamp(d.At))
}

// stopping derives the event of a stop that is not complete, or whose cancellation was raised.
func (w *observer) stopping(s *v1alpha1.RolloutStatus) {
	d, stop := history.OfStop(s), stoppedBySet
	if d != nil {
		stop = stamp(d.At) + ":" + string(d.Cancellation)
	}
	if !s.State.IsStopped() || w.mark.Stopping == stop {
		return
	}
	isRaised := w.mark.Stopping != "" && w.mark.Stopping != stoppedBySet && d != nil
	w.mark.Stopping = stop
	switch {
	case isRaised:
		d.At, d.Reason, d.Field = time.Time{}, "CancellationRaised", "spec.stopCancellation"
		d.Message = fmt.Sprintf("spec.stopCancellation was raised to %s for devices that have started", d.Cancellation)
	case s.State != v1alpha1.RolloutStopping:
		return
	case d == nil:
		d = &history.Decision{Kind: history.Stopping, Reason: history.Stopping, Warning: true, Message: "the rollout is being stopped"}
	}
	if !isRaised && s.WaitingFor != nil {
		d.Message = s.WaitingFor.Message
	}
	w.add(*d, stop)
}

func micros(t *metav1.MicroTime) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
