// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// TestInvalidationTableFollowsTheRules compares the table for operators with the table that the
// rules read.
func TestInvalidationTableFollowsTheRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	starts := map[cancellation.Effect]string{
		cancellation.Continue: "continue", cancellation.Refuse: "never start", cancellation.Stop: "Stopp", cancellation.StopAtOnce: "Stopped",
		cancellation.Ask: "are asked to cancel", cancellation.Close: "the action is closed",
	}
	for label, effect := range map[string]func(cancellation.Effects) cancellation.Effect{
		"devices that have started":      func(e cancellation.Effects) cancellation.Effect { return e.StartedActions },
		"rollouts that have started":     func(e cancellation.Effects) cancellation.Effect { return e.StartedRollouts },
		"rollouts that have not started": func(e cancellation.Effects) cancellation.Effect { return e.OtherRollouts },
		"auto-assignments":               func(e cancellation.Effects) cancellation.Effect { return e.AutoAssignments },
	} {
		cells := row(string(page), label)
		if len(cells) != 3 {
			t.Errorf("docs/operations.md: %d cells in the row %q", len(cells), label)
			continue
		}
		for i, kind := range []v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce} {
			effects := cancellation.Of(kind)
			if want := starts[effect(effects)]; !strings.HasPrefix(cells[i], want) {
				t.Errorf("docs/operations.md: %s with %s is %q, and the rules say %s", label, kind, cells[i], effect(effects))
			}
			if says := strings.Contains(cells[i], "deleteRollouts"); strings.HasPrefix(label, "rollouts") && says != effects.DeleteRollouts {
				t.Errorf("docs/operations.md: %s with %s is %q, and deleteRollouts has an effect: %t", label, kind, cells[i], effects.DeleteRollouts)
			}
		}
	}
}

// row returns the cells behind the label of a row.
func row(page, label string) []string {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "| "+label+" | "); ok {
			return strings.Split(strings.TrimSuffix(strings.TrimSpace(rest), " |"), " | ")
		}
	}
	return nil
}
