// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestNoteSelecting: an auto-assignment that starts to select a target gets that time as its place
// in the order. One that has selected the target before keeps its place.
func TestNoteSelecting(t *testing.T) {
	before, now := noon, noon.Add(time.Hour)
	auto := func() *v1alpha1.AutoAssignment {
		return built.AutoAssignment("auto", "fw", func(a *v1alpha1.AutoAssignment) {
			a.Status.StartedAt = &metav1.MicroTime{Time: before.Add(-time.Hour)}
			a.Status.Selecting = &v1alpha1.SelectionMark{Since: &metav1.MicroTime{Time: before.Add(30 * time.Minute)}}
		})
	}
	attributes := func(ring string) map[string]v1alpha1.AttributeValue {
		return map[string]v1alpha1.AttributeValue{"ring": v1alpha1.AttributeValue(ring)}
	}
	tests := map[string]struct {
		auto      func(*v1alpha1.AutoAssignment)
		old, next map[string]v1alpha1.AttributeValue
		evaluated bool // the target was written before, while the auto-assignment was running
		selected  bool // the auto-assignment selected it then
		want      *time.Time
		none      bool
	}{
		"the target has changed":                        {old: attributes("lab"), next: attributes("prod"), evaluated: true, want: &now},
		"it was selected before":                        {old: attributes("prod"), next: attributes("prod"), evaluated: true, selected: true},
		"the first attributes of a device":              {next: attributes("prod"), evaluated: true},
		"no selection was evaluated before":             {old: attributes("lab"), next: attributes("prod")},
		"the auto-assignment has started since":         {auto: func(a *v1alpha1.AutoAssignment) { a.Status.StartedAt.Time = before.Add(time.Minute) }, old: attributes("lab"), next: attributes("prod"), evaluated: true},
		"the selection has changed, and not the target": {old: attributes("prod"), next: attributes("prod"), evaluated: true, want: func() *time.Time { at := before.Add(30 * time.Minute); return &at }()},
		"it no longer selects the target":               {old: attributes("prod"), next: attributes("lab"), evaluated: true, selected: true, none: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := auto()
			if tt.auto != nil {
				tt.auto(a)
			}
			old := target()
			old.Status.Attributes = tt.old
			NoteSelection(old, &old.Status, "", before)
			if tt.evaluated {
				old.Status.SelectedAt = &metav1.MicroTime{Time: before}
			}
			if tt.selected {
				old.Status.SelectedBy = []v1alpha1.SelectingAutoAssignment{{UID: "uid-auto"}}
			}
			next := old.DeepCopy()
			next.Status.Attributes = tt.next
			NoteSelection(next, &next.Status, "", now)
			selecting := []*v1alpha1.AutoAssignment{a}
			if tt.none {
				selecting = nil
			}
			noteSelecting(selecting, old, next, now)
			if !next.Status.SelectedAt.Time.Equal(now) {
				t.Errorf("evaluated at %s", next.Status.SelectedAt)
			}
			list := next.Status.SelectedBy
			if tt.none != (len(list) == 0) {
				t.Fatalf("selected by %+v", list)
			}
			if tt.none {
				return
			}
			if got := list[0].Since; (got == nil) != (tt.want == nil) || got != nil && !got.Time.Equal(*tt.want) {
				t.Errorf("selected since %s, want %v", got, tt.want)
			}
		})
	}
}
