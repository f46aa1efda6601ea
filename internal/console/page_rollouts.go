// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

var rolloutsPage = &page{
	pattern: "GET /rollouts", template: "rollouts", nav: "Rollouts", key: "r", section: "/rollouts",
	kinds: []Kind{Rollouts},
	load:  loadRollouts,
}

// rolloutsView is the list of rollouts.
type rolloutsView struct {
	Namespaces []string
	// Filters are what can be shown, with the number of rollouts.
	Filters []rolloutFilter
	// States are the states that can be chosen.
	States   []string
	Rollouts []explain.Status
	Pager    pager
	// All is the number of rollouts without a filter.
	All int
}

// rolloutFilter is a choice of rollouts.
type rolloutFilter struct {
	Name, Value string
	Count       int
	Current     bool
}

// Values of the filter by state, beside the states.
const (
	showAttention = "attention"
	showActive    = "active"
	showEnded     = "ended"
)

// rolloutChoices are the choices that have their own link.
var rolloutChoices = []struct {
	name, value string
	has         func(*v1alpha1.Rollout) bool
}{
	{"All", "", func(*v1alpha1.Rollout) bool { return true }},
	{"Need a person", showAttention, func(r *v1alpha1.Rollout) bool { return explain.UrgencyOf(r) < explain.UrgencyNone }},
	{"Not ended", showActive, func(r *v1alpha1.Rollout) bool { return !rollout.IsOver(r) }},
	{"Ended", showEnded, rollout.IsOver},
}

func loadRollouts(r *request) (content, error) {
	state, err := r.oneOf("state", append([]string{showAttention, showActive, showEnded}, rolloutStates...)...)
	if err != nil {
		return content{}, err
	}
	v := rolloutsView{Namespaces: r.allNamespaces(Rollouts), States: rolloutStates}
	for _, choice := range rolloutChoices {
		v.Filters = append(v.Filters, rolloutFilter{Name: choice.name, Value: choice.value, Current: choice.value == state})
	}
	var found []*v1alpha1.Rollout
	for _, namespace := range r.namespaces(Rollouts) {
		for _, o := range r.index.Rollouts(namespace) {
			v.All++
			if !matches(r.param("q"), o.Name, o.Spec.Update.Subject()) {
				continue
			}
			shown := string(o.Status.State) == state
			for i, choice := range rolloutChoices {
				if choice.has(o) {
					v.Filters[i].Count++
					shown = shown || choice.value == state
				}
			}
			if shown {
				found = append(found, o)
			}
		}
	}
	explain.SortByUrgency(found)
	shown, pager, err := paginate(r, found)
	if err != nil {
		return content{}, err
	}
	v.Pager = pager
	for _, o := range shown {
		v.Rollouts = append(v.Rollouts, explain.StatusOf(explain.StatusWorld{Rollout: o, Now: r.now}))
	}
	return content{Title: "Rollouts", Data: v}, nil
}

// outcomeBadge returns the badge of how far a rollout is: its state, with a tone that says whether
// it needs a person, and in words why.
func outcomeBadge(s explain.Status) Badge {
	switch s.Outcome {
	case explain.OutcomePausedByErrors:
		return badgeOf("Paused by errors", "bad")
	case explain.OutcomeWaitsForPerson:
		return badgeOf(waitWords(s), "warn")
	case explain.OutcomeFailed:
		if s.State == v1alpha1.RolloutFinished && s.Reason != "" {
			return badgeOf(s.Reason, finishedTones[s.Reason])
		}
		return badgeOf(s.State, "bad")
	case explain.OutcomeFinished:
		return badgeOf(s.State, "good")
	case explain.OutcomeRunning:
	}
	return badgeOf(s.State)
}

// waitWords returns what a rollout waits for that needs a person, in a few words.
func waitWords(s explain.Status) string {
	switch {
	case s.State == v1alpha1.RolloutWaitingForApproval, s.State == v1alpha1.RolloutPaused:
		return string(s.State)
	case s.Reason == v1alpha1.ReasonPlanned, s.Reason == v1alpha1.ReasonPausedBySpec:
		return "Ready to start"
	}
	return "Needs correction"
}

// finishedTones are the tones of rollouts that have finished without success, by the reason of the
// condition Succeeded.
var finishedTones = map[string]string{
	v1alpha1.ReasonFinishedWithErrors: "bad", v1alpha1.ReasonFailed: "bad", v1alpha1.ReasonSuperseded: "calm", v1alpha1.ReasonCanceled: "warn", v1alpha1.ReasonSkipped: "warn",
}

// stateWords returns a state or a reason in words: "WaitingForApproval" is "Waiting for approval".
// A text of several words stays as it is.
func stateWords[T ~string](state T) string {
	if strings.Contains(string(state), " ") {
		return string(state)
	}
	var b strings.Builder
	for i, c := range string(state) {
		if i > 0 && c >= 'A' && c <= 'Z' {
			b.WriteByte(' ')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
