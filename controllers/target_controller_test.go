package controllers

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/intents"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The place of a single assignment in the order of updates.
func TestNoteAssignment(t *testing.T) {
	moment := func(d time.Duration) *metav1.Time { at := metav1.NewTime(noon.Add(d)); return &at }
	seen := func(set string, at *metav1.Time) *v1alpha1.SeenAssignment {
		return &v1alpha1.SeenAssignment{DistributionSet: set, AssignedAt: at, Since: &metav1.MicroTime{Time: noon.Add(-time.Hour)}}
	}
	tests := map[string]struct {
		wanted *v1alpha1.Assignment
		seen   *v1alpha1.SeenAssignment
		want   time.Time // zero: no assignment
	}{
		"a new one counts from now":                         {assignment("fw", nil), nil, noon},
		"one with a past assignedAt counts from then":       {assignment("fw", moment(-48*time.Hour)), nil, noon.Add(-48 * time.Hour)},
		"one with an assignedAt to come counts from now":    {assignment("fw", moment(time.Hour)), nil, noon},
		"the same is as old as it was":                      {assignment("fw", nil), seen("fw", nil), noon.Add(-time.Hour)},
		"another set is new":                                {assignment("fw2", nil), seen("fw", nil), noon},
		"the same set with another assignedAt is new again": {assignment("fw", moment(-time.Minute)), seen("fw", nil), noon.Add(-time.Minute)},
		"a removed one is forgotten":                        {nil, seen("fw", nil), time.Time{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Assignment: tt.wanted}, Status: v1alpha1.TargetStatus{Assignment: tt.seen}}
			noteAssignment(target, &target.Status, noon)
			var got time.Time
			if s := target.Status.Assignment; s != nil {
				got = s.Since.Time
			}
			if !got.Equal(tt.want) {
				t.Errorf("counts from %s, want %s", got, tt.want)
			}
		})
	}
}

func assignment(set string, at *metav1.Time) *v1alpha1.Assignment {
	return &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: set}, AssignedAt: at}
}

func TestTheOldestTargetOfAControllerIDIsServed(t *testing.T) {
	target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "younger"}}
	if c := targetReady(target, []string{"younger"}, noon); c.Status != metav1.ConditionTrue || stalledBy(c) != nil {
		t.Errorf("alone it is %s %s", c.Status, c.Reason)
	}
	c := targetReady(target, []string{"elder", "younger"}, noon)
	if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonDuplicate {
		t.Errorf("beside its elder it is %s %s", c.Status, c.Reason)
	}
	if s := stalledBy(c); s == nil || s.Type != v1alpha1.ConditionStalled || s.Status != metav1.ConditionTrue || s.Reason != c.Reason {
		t.Errorf("nobody is told to act: %+v", s)
	}
}

// What a device did under an earlier spec is still true after an edit, and `kubectl wait --for=condition=Consistent` must come back.
func TestALookLetsWhatIsKnownOfTheDeviceHoldForTheNewSpec(t *testing.T) {
	target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "dev", Generation: 2}}
	target.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	r := &TargetReconciler{Index: intents.New()}
	if err := r.look(offer.World{Now: noon, Target: target}, &target.Status); err != nil {
		t.Fatal(err)
	}
	for _, c := range target.Status.Conditions {
		if c.ObservedGeneration != 2 {
			t.Errorf("%s speaks of generation %d, want 2", c.Type, c.ObservedGeneration)
		}
	}
}

func TestACancelOfTheFutureIsIgnoredAndSaid(t *testing.T) {
	target := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Cancel: &v1alpha1.CancelRequest{UpTo: 101}}, Status: v1alpha1.TargetStatus{NextActionID: 101}}
	if c := targetAssigned(offer.World{Now: noon, Target: target}); c == nil || c.Reason != v1alpha1.ReasonUnknownCancelID {
		t.Errorf("condition is %+v", c)
	}
	target.Spec.Cancel.UpTo = 100
	if c := targetAssigned(offer.World{Now: noon, Target: target}); c != nil {
		t.Errorf("an id that was given needs no words: %+v", c)
	}
}

// What becomes of an assignment is said in words that do not change with the hour: no target is written when a window opens or closes.
func TestWordsOfAnAssignment(t *testing.T) {
	nightly := &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 7200, TimeZone: "Europe/Berlin"}
	tests := map[string]struct {
		edit func(*offer.World, *offer.Intent)
		want string
	}{
		"it is offered": {func(*offer.World, *offer.Intent) {}, "True Progressing: fw is offered to the device"},
		"out of hours":  {func(_ *offer.World, in *offer.Intent) { in.Update.MaintenanceWindow = nightly }, `True Progressing: fw is offered to the device in the maintenance window "0 2 * * *" (Europe/Berlin, 2h0m0s)`},
		"within hours": {func(w *offer.World, in *offer.Intent) {
			in.Update.MaintenanceWindow, w.Now = nightly, time.Date(2026, 3, 2, 1, 30, 0, 0, time.UTC)
		}, `True Progressing: fw is offered to the device in the maintenance window "0 2 * * *" (Europe/Berlin, 2h0m0s)`},
		"never": {func(_ *offer.World, in *offer.Intent) {
			in.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 30 2 *", DurationSeconds: 7200}
		}, "False InvalidSpec: the maintenance window of spec.assignment never opens: correct its schedule"},
		"newer rollouts may come with it": {func(_ *offer.World, in *offer.Intent) {
			in.Closed = offer.Reason{Code: offer.CodeSettling, Until: noon}
		}, "True Progressing: fw is offered to the device"},
		"the device is held":     {func(w *offer.World, _ *offer.Intent) { w.Target.Spec.Hold = true }, "True Hold: spec.hold keeps this target from beginning anything; set it to false to release it"},
		"the set is invalid":     {func(_ *offer.World, in *offer.Intent) { in.Set.Invalidation = v1alpha1.CancelationSoft }, "False DistributionSetInvalid: DistributionSet fw is invalidated (Soft) and is never given to a device again"},
		"the set does not exist": {func(_ *offer.World, in *offer.Intent) { in.Set = nil }, "False ReferenceNotFound: DistributionSet fw does not exist: create it, or name another in spec.assignment"},
		"the type does not fit": {func(w *offer.World, in *offer.Intent) {
			w.Target.Spec.Type, in.Set.CompatibleTargetTypes = "meter", []string{"gateway"}
		}, `False Incompatible: DistributionSet fw does not fit target type "meter": its compatibleTargetTypes are [gateway]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			since := metav1.NewMicroTime(noon.Add(-time.Hour))
			target := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Assignment: assignment("fw", nil)}, Status: v1alpha1.TargetStatus{NextActionID: 100}}
			in := offer.Intent{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Since: &since}, Update: target.Spec.Assignment.Update,
				Set: &offer.Set{Name: "fw", ContentHash: "content", Deployable: true}, StartedAt: since.Time, OpenedAt: since.Time}
			w := offer.World{Now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), Target: target}
			tt.edit(&w, &in)
			w.Intents = []offer.Intent{in}
			c := targetAssigned(w)
			if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
