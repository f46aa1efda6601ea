package intents

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// The place of an auto-assignment in the order of a target's intents.
func TestAutoSince(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lastYear := noon.AddDate(-1, 0, 0)
	tests := map[string]struct {
		startAt                   time.Time // zero: none
		created, target, selected time.Time // selected zero: never changed
		want                      time.Time
	}{
		"a target that was there counts from the start":           {created: noon, target: lastYear, want: noon},
		"a target that came later counts from then":               {created: lastYear, target: noon.Add(time.Hour), want: noon.Add(time.Hour)},
		"a target that changed counts from the change":            {created: noon, target: lastYear, selected: noon.Add(2 * time.Hour), want: noon.Add(2 * time.Hour)},
		"rebuilt together, startAt is the place":                  {startAt: lastYear, created: noon, target: noon.Add(20 * time.Second), want: lastYear},
		"rebuilt together, the first attributes are no change":    {startAt: lastYear, created: noon, target: noon, selected: noon.Add(30 * time.Second), want: lastYear},
		"rebuilt together, a later change counts":                 {startAt: lastYear, created: noon, target: noon, selected: noon.Add(time.Hour), want: noon.Add(time.Hour)},
		"with startAt, a target that came later counts from then": {startAt: lastYear, created: lastYear, target: noon, want: noon},
		"without startAt a rebuild is a new start":                {created: noon, target: noon.Add(20 * time.Second), want: noon.Add(20 * time.Second)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			started := metav1.NewMicroTime(noon)
			a := &v1alpha1.AutoAssignment{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(tt.created)}, Status: v1alpha1.AutoAssignmentStatus{StartedAt: &started}}
			if tt.created.Equal(lastYear) {
				a.Status.StartedAt.Time = lastYear
			}
			if !tt.startAt.IsZero() {
				at := metav1.NewTime(tt.startAt)
				a.Spec.StartAt = &at
			}
			target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(tt.target)}}
			if !tt.selected.IsZero() {
				at := metav1.NewMicroTime(tt.selected)
				target.Status.SelectionChangedAt = &at
			}
			if got := autoSince(a, target); !got.Equal(tt.want) {
				t.Errorf("counts from %s, want %s", got, tt.want)
			}
		})
	}
}
