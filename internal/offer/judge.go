// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// Verdict is the result on one intent of a target. A zero Reason means that it may be offered now.
type Verdict struct {
	Intent *eligibility.Intent
	// Result of the rule on this intent, before the order of intents is applied.
	Result eligibility.Result
	Reason eligibility.Reason
}

// Judge returns a verdict on every intent, in the order in which intents are offered: required
// migration steps, then queued updates by weight, then the others, newest first. The first verdict
// with a zero Reason is offered.
func Judge(w World) []Verdict {
	w.explains = true
	return Rank(w)
}

// Rank is Judge for callers that do not need the messages of the reasons, which take time to make.
func Rank(w World) []Verdict {
	judged := judgeAll(&w)
	busy := blocking(&w)
	verdicts := make([]Verdict, len(judged))
	for i := range judged {
		j := &judged[i]
		v := Verdict{Intent: j.in, Result: j.Result}
		if busy != nil && j.mayStart() && !eligibility.IsOwn(busy, j.in) {
			j.Result = eligibility.Result{Code: eligibility.CodeBusy, Action: busy}
		}
		v.Reason = j.reason(&w)
		verdicts[i] = v
	}
	return verdicts
}

// blocking returns the action that must end before another one may start, or nil if there is none:
// the open action, or the one that was closed by force and whose cancel is still offered.
func blocking(w *World) *v1alpha1.Action {
	if a := action.Open(&w.Target.Status); a != nil {
		return a
	}
	return pendingCancel(w)
}

// judged is the result on one intent, without its message.
type judged struct {
	in *eligibility.Intent
	eligibility.Result
}

func (j *judged) mayStart() bool { return j.MayStart() }

// judgeAll checks every intent, as if no action were open.
func judgeAll(w *World) []judged {
	intents := slices.Clone(w.Intents)
	slices.SortFunc(intents, eligibility.NewestFirst)
	newer := eligibility.NewerAmong(w.Target, intents, w.Now)
	slices.SortStableFunc(intents, func(a, b *eligibility.Intent) int { return byTurn(a, b, newer.Reached) })
	list := make([]judged, len(intents))
	for i, in := range intents {
		list[i].in, list[i].Result = in, eligibility.Check(w.Target, in, &newer, w.Now)
	}
	holdBehindSteps(list)
	return list
}

func since(s *v1alpha1.ActionSource) time.Time {
	if s.Since == nil {
		return time.Time{}
	}
	return s.Since.Time
}
