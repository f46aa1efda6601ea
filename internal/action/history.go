package action

import (
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// maxHistory is how many lines an action keeps.
const maxHistory = 10

// record writes a line for the first time that a state is reached; the newest lines are kept.
func record(a *v1alpha1.Action, state v1alpha1.ActionState, r Report) {
	for _, line := range a.History {
		if line.State == state {
			return
		}
	}
	a.History = append(a.History, v1alpha1.ActionEvent{
		Time:       stamp(r.Now),
		State:      state,
		StatusCode: r.StatusCode,
		Message:    clean(r.Message, maxHistoryMessage),
	})
	if extra := len(a.History) - maxHistory; extra > 0 {
		a.History = slices.Delete(a.History, 0, extra)
	}
}
