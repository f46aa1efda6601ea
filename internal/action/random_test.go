// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestRandomReports executes random sequences of events, and checks after each step what must
// always hold.
func TestRandomReports(t *testing.T) {
	for seed := range uint64(12) {
		target := &randomTarget{
			testTarget: newTarget(),
			random:     rand.New(rand.NewPCG(seed, 0)),
			closed:     map[int32]v1alpha1.ActionState{},
			counts:     map[int32]int32{},
		}
		for step := range 400 {
			before := target.s.NextActionID
			did := target.step()
			if err := target.holds(before); err != nil {
				t.Fatalf("seed %d, step %d, %s: %v", seed, step, did, err)
			}
		}
	}
}

type randomTarget struct {
	*testTarget
	random *rand.Rand
	// closed and counts are the states and counters of each action before the step.
	closed map[int32]v1alpha1.ActionState
	counts map[int32]int32
}

func (w *randomTarget) step() string {
	w.now = w.now.Add(time.Duration(w.random.IntN(300)) * time.Second)
	switch n := w.random.IntN(100); {
	case n < 12:
		return w.start()
	case n < 80:
		return w.report()
	case n < 90:
		return w.cancel()
	case n < 94:
		id := w.anyID()
		return fmt.Sprintf("expire %d: %t, %t", id, ExpireCancel(&w.s, id, w.now), ExpireProgress(&w.s, id, w.now))
	case n < 96:
		set := pick(w, "one", "two", "two_INCONSISTENT")
		ReportInstalled(&w.s, set, hash(set), w.now)
		return "report installed " + set
	case n < 97:
		id := w.anyID()
		return fmt.Sprintf("refuse %d: %t", id, CloseAsRefused(&w.s, id, v1alpha1.CodeNoFeature, w.text(), w.now))
	case n < 98:
		id := w.anyID()
		return fmt.Sprintf("adopt %d: %t", id, Adopt(&w.s, id, v1alpha1.ActionSource{UID: pick[types.UID](w, "a", "b")}, w.update()))
	case n < 99:
		return w.report()
	default:
		RaiseNextID(&w.s, w.anyID())
		return "raise"
	}
}

func (w *randomTarget) start() string {
	b := Creation{
		Source:          v1alpha1.ActionSource{UID: pick[types.UID](w, "a", "b", "c")},
		DistributionSet: pick(w, "one", "two", "three"),
		Update:          w.update(),
		Confirm:         w.random.IntN(4) == 0,
		Now:             w.now,
	}
	if w.random.IntN(4) == 0 {
		b.DistributionSet, b.Remove = "", software("os:1", "app:1")
	}
	b.ContentHash = hash(b.DistributionSet)
	return fmt.Sprintf("start %s: %t", b.DistributionSet, Create(&w.s, b) != nil)
}

func (w *randomTarget) update() v1alpha1.ActionUpdate {
	deadline := int32(w.random.IntN(2000))
	return v1alpha1.ActionUpdate{
		Type:                    pick(w, v1alpha1.UpdateTypeForced, v1alpha1.UpdateTypeForced, v1alpha1.UpdateTypeDownloadOnly),
		Rollback:                pick(w, v1alpha1.RollbackNone, v1alpha1.RollbackSupported),
		ProgressDeadlineSeconds: &deadline,
		CancelDeadlineSeconds:   &deadline,
		FinishedWarning:         pick(w, v1alpha1.FinishedWarningSuccess, v1alpha1.FinishedWarningFailure),
	}
}

func (w *randomTarget) report() string {
	progress := int32(w.random.IntN(400) - 200)
	r := Report{
		ID:         w.anyID(),
		Event:      pick(w, events...),
		Stage:      w.text(),
		StatusCode: pick(w, "", "7", "INCONSISTENT", "ROLLBACK_FAILED", w.text()),
		Details:    []string{w.text(), w.text() + " failed", w.text()},
		Progress:   &progress,
		Now:        w.now,
	}
	if w.random.IntN(3) == 0 {
		r.Module, r.ModuleCount = pick(w, "os:1", "app:1", "g:os:1", w.text()), w.random.IntN(120)
	}
	if w.random.IntN(6) == 0 {
		r.Modules = []string{"g:os:1", "g:app:1"}
	}
	w.outcome = Apply(&w.s, r)
	return fmt.Sprintf("%s on %d: %s", r.Event, r.ID, w.outcome)
}

func (w *randomTarget) cancel() string {
	id := w.anyID()
	cause := pick(w, v1alpha1.CauseStopped, v1alpha1.CauseInvalidated, v1alpha1.CauseSuperseded)
	c := pick(w, v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationSoft, v1alpha1.CancellationForce)
	return fmt.Sprintf("cancel %d, %s, %s: %t", id, cause, c, Cancel(&w.s, id, cause, c, w.now))
}

// anyID returns mostly the id of the newest action, sometimes a past or future one.
func (w *randomTarget) anyID() int32 {
	a := Newest(&w.s)
	if a == nil || w.random.IntN(4) == 0 {
		return max(w.s.NextActionID-int32(w.random.IntN(6)), 0) + int32(w.random.IntN(2))
	}
	return a.ID
}

func (w *randomTarget) text() string {
	return strings.Repeat(pick(w, "a", "<", "ü", "\u2028", "\x00", "\xff", "𝄞"), w.random.IntN(700))
}

func pick[T any](w *randomTarget, options ...T) T { return options[w.random.IntN(len(options))] }

// holds returns what is wrong with the status, or nil.
func (w *randomTarget) holds(nextBefore int32) error {
	open := 0
	for i := range w.s.Actions {
		a := &w.s.Actions[i]
		if was, ok := w.closed[a.ID]; ok && was != a.State {
			return fmt.Errorf("action %d was %s and is %s", a.ID, was, a.State)
		}
		if a.Reports < w.counts[a.ID] {
			return fmt.Errorf("action %d had %d reports and has %d", a.ID, w.counts[a.ID], a.Reports)
		}
		w.counts[a.ID] = a.Reports
		if a.State.IsClosed() {
			w.closed[a.ID] = a.State
		} else {
			open++
		}
		if err := inSchema(a); err != nil {
			return err
		}
	}
	switch u := w.s.UpdateStatus; {
	case w.s.NextActionID < nextBefore:
		return fmt.Errorf("nextActionID fell from %d to %d", nextBefore, w.s.NextActionID)
	case open > 1:
		return fmt.Errorf("%d actions are open", open)
	case (u == v1alpha1.UpdateStatusPending) != (open == 1):
		return fmt.Errorf("updateStatus is %q with %d open actions", u, open)
	case u == v1alpha1.UpdateStatusInSync && (w.s.Installed == nil || isSeriouslyInconsistent(&w.s)):
		return fmt.Errorf("InSync although it is not certain what runs: installed %v, consistent %t", w.s.Installed, IsConsistent(&w.s))
	}
	return w.prunes()
}

// prunes prunes the status in each step, as callers do before a write.
func (w *randomTarget) prunes() error {
	before := Newest(&w.s)
	var newest int32
	if before != nil {
		newest = before.ID
	}
	wasOpen := Open(&w.s) != nil
	Prune(&w.s, func(uid types.UID) bool { return uid == "a" })
	p := pruning{actions: w.s.Actions}
	switch {
	case !p.fits():
		return fmt.Errorf("%d actions do not fit after pruning", len(w.s.Actions))
	case wasOpen != (Open(&w.s) != nil):
		return fmt.Errorf("pruning closed or lost the open action")
	case before != nil && Newest(&w.s).ID != newest:
		return fmt.Errorf("pruning lost the newest action, %d", newest)
	}
	return nil
}

func inSchema(a *v1alpha1.Action) error {
	within := func(what, text string, limit int) error {
		if n := utf8.RuneCountInString(text); n > limit || !utf8.ValidString(text) {
			return fmt.Errorf("action %d: %s has %d characters, or is no text: %q", a.ID, what, n, text)
		}
		return nil
	}
	checks := []error{within("stage", a.Stage, 64), within("statusCode", a.StatusCode, 64), within("message", a.Message, 512),
		within("failureMessage", a.FailureMessage, 256), within("failureGroup", a.FailureGroup, 256)}
	for _, line := range a.Messages {
		checks = append(checks, within("messages", line, 256))
	}
	for _, line := range a.History {
		checks = append(checks, within("history", line.Message, 256), within("history", line.StatusCode, 64))
	}
	for _, m := range a.Modules {
		checks = append(checks, within("module", m.Name, 256))
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	if len(a.Messages) > 5 || len(a.History) > 10 || len(a.Modules) > 100 || (a.Progress != nil && (*a.Progress < 0 || *a.Progress > 100)) {
		return fmt.Errorf("action %d: %d lines of history, %d modules, progress %v", a.ID, len(a.History), len(a.Modules), a.Progress)
	}
	return nil
}
