// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// maxHistory is the maximum number of lines in the history of an action.
const maxHistory = 10

// record adds a line when a state is reached for the first time. The newest lines are kept.
func record(a *v1alpha1.Action, state v1alpha1.ActionState, r Report) {
	if r.Event == Deny {
		recordDenial(a, r)
		return
	}
	for _, line := range a.History {
		if line.State == state {
			return
		}
	}
	a.History = append(a.History, v1alpha1.ActionEvent{
		Time:       stamp(r.Now),
		State:      state,
		StatusCode: r.StatusCode,
		Message:    text.Clean(r.message, maxHistoryMessage),
	})
	if extra := len(a.History) - maxHistory; extra > 0 {
		a.History = slices.Delete(a.History, 0, extra)
	}
}

// recordDenial keeps the newest denial, after the line for WaitingForConfirmation. A denial changes
// no state but is of interest to users.
func recordDenial(a *v1alpha1.Action, r Report) {
	message := "denied"
	if r.message != "" {
		message += ": " + r.message
	}
	line := v1alpha1.ActionEvent{Time: stamp(r.Now), State: a.State, StatusCode: r.StatusCode, Message: text.Clean(message, maxHistoryMessage)}
	a.History = append(a.History[:min(len(a.History), 1)], line)
}
