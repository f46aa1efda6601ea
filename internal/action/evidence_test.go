// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestEvidenceChangesTheResult checks that a result has another effect after an event that is
// evidence, and the same effect after any other event, which therefore need not be stored before
// the result.
func TestEvidenceChangesTheResult(t *testing.T) {
	type shape struct {
		name     string
		creation []func(*Creation)
		signs    []Event
		results  []Event
	}
	signs := []Event{Start, Proceed, Download, Downloaded, Install, EventInstalled, Remove, Warn}
	results := []Event{Succeed, Fail, Abandon}
	for _, s := range []shape{
		{"forced", nil, signs, results},
		{"forced, rolls back", []func(*Creation){canRollBack}, signs, results},
		{"download only", []func(*Creation){downloadsOnly}, []Event{Start, Proceed, Download, Warn}, results},
		{"download only, rolls back", []func(*Creation){downloadsOnly, canRollBack}, []Event{Start, Proceed, Download, Warn}, results},
	} {
		for _, sign := range s.signs {
			matters := false
			for _, result := range s.results {
				with, without := newTarget(starts("one", s.creation...), reports(sign), reports(result)), newTarget(starts("one", s.creation...), reports(result))
				matters = matters || with.facts() != without.facts()
			}
			l := newTarget(starts("one", s.creation...))
			if got := IsEvidence(Newest(&l.s), sign); got != matters {
				t.Errorf("%s: %s is evidence: %t, want %t", s.name, sign, got, matters)
			}
			l = newTarget(starts("one", s.creation...), reports(Download), reports(Install))
			if IsEvidence(Newest(&l.s), sign) {
				t.Errorf("%s: %s is evidence again", s.name, sign)
			}
		}
	}
}

func TestTellToSkip(t *testing.T) {
	l := newTarget(starts("one"))
	if SetSkipRequested(&l.s, 1, false) || !SetSkipRequested(&l.s, 1, true) || SetSkipRequested(&l.s, 1, true) || SetSkipRequested(&l.s, 7, true) {
		t.Error("it must report only a change of an open action")
	}
	l = newTarget(starts("one", downloadsOnly), reports(Downloaded))
	if a := Newest(&l.s); a.State != v1alpha1.ActionFinished || SetSkipRequested(&l.s, 1, false) {
		t.Errorf("a closed action (%s) was changed", a.State)
	}
}
