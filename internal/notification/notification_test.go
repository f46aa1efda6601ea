// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var start = time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC)

func second(n int) *metav1.Time {
	at := metav1.NewTime(start.Add(time.Duration(n) * time.Second))
	return &at
}
func micro(n int) *metav1.MicroTime { at := metav1.NewMicroTime(second(n).Time); return &at }

func condition(kind, reason string, at int) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "message of " + reason, LastTransitionTime: *second(at)}
}

const hash = "sha256:6d28f836ef096e718f7072824d05c9717a3d839afdd2cb91b97b18a126ee5f76"

// step is one write of the status, and the decisions that it carries.
type step[T any] struct {
	change func(*T)
	want   []string
}

// play applies the steps one after the other, and compares the decisions of each. It returns all
// events.
func play[T any](t *testing.T, o *T, steps []step[T]) []Event {
	t.Helper()
	var mark Mark
	var all []Event
	for i, s := range steps {
		s.change(o)
		var events []Event
		events, mark = Observe(mark, any(o).(metav1.Object), start.Add(time.Hour))
		if got := decisions(events); !slices.Equal(got, s.want) {
			t.Errorf("step %d: decisions %q, want %q", i+1, got, s.want)
		}
		again, _ := Observe(mark, any(o).(metav1.Object), start.Add(2*time.Hour))
		if len(again) > 0 {
			t.Errorf("step %d: the same status has the decisions %q once more", i+1, decisions(again))
		}
		if encoded, _ := json.Marshal(mark); len(encoded) > 512 {
			t.Errorf("step %d: the mark has %d bytes", i+1, len(encoded))
		}
		for n := range events { // each event can be the last one that was notified
			rest, _ := Observe(events[n].After, any(o).(metav1.Object), start.Add(time.Hour))
			if d := cmp.Diff(idsOf(events[n+1:]), idsOf(rest)); d != "" {
				t.Errorf("step %d: ids after the event %s (-), and those derived from its mark (+):\n%s", i+1, events[n].ID, d)
			}
		}
		all = append(all, events...)
	}
	return all
}

func decisions(events []Event) (names []string) {
	for _, e := range events {
		name := e.Data.Decision
		if e.Data.Group != "" {
			name += " " + e.Data.Group
		}
		names = append(names, name)
	}
	return names
}

func rolloutOf(name string) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name, UID: "1f0c"}}
	r.Spec.Update.DistributionSet = "firmware-2"
	return r
}

type (
	rollout = v1alpha1.Rollout
	set     = v1alpha1.DistributionSet
	auto    = v1alpha1.AutoAssignment
)

// stories has the writes of the status of each kind, through all its states.
func stories(t *testing.T) []Event {
	t.Helper()
	all := play(t, rolloutOf("canary"), []step[rollout]{
		{func(r *rollout) { r.Status.UID, r.Status.State = "1f0c", v1alpha1.RolloutCreating }, nil},
		{func(r *rollout) {
			r.Status.Plan = &v1alpha1.PlanStatus{Hash: hash, CreatedAt: second(1), Targets: 3, Groups: 2}
			r.Status.Groups = []v1alpha1.GroupStatus{{Name: "group-1", State: v1alpha1.GroupReady, Counts: v1alpha1.Counts{Targets: 1, Scheduled: 1}}, {Name: "group-2", State: v1alpha1.GroupReady}}
			r.Status.Targets = &v1alpha1.Counts{Targets: 3, Scheduled: 3}
		}, []string{"planned"}},
		{func(r *rollout) { r.Status.State = v1alpha1.RolloutWaitingForApproval }, []string{"approvalawaited"}},
		{func(r *rollout) { r.Status.Plan.CreatedAt = second(2) }, []string{"planned", "approvalawaited"}},
		{func(r *rollout) {
			r.Spec.Approval = &v1alpha1.Approval{PlanHash: hash}
			r.Status.State, r.Status.StartedAt = v1alpha1.RolloutStarting, micro(5)
		}, []string{"approved", "started"}},
		{func(r *rollout) {
			r.Status.State = v1alpha1.RolloutRunning
			r.Status.Groups[0].State, r.Status.Groups[0].OpenedAt = v1alpha1.GroupRunning, second(6)
		}, []string{"groupopened group-1"}},
		{func(r *rollout) { r.Status.Targets.Succeeded++ }, nil},
		{func(r *rollout) {
			r.Status.State, r.Status.PausedAt, r.Status.PauseReason = v1alpha1.RolloutPaused, micro(7), v1alpha1.PauseByErrorThreshold
			r.Status.Groups[0].State = v1alpha1.GroupError
			r.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionStalled, v1alpha1.ReasonErrorThresholdExceeded, 7)}
		}, []string{"groupfailed group-1", "paused"}},
		{func(r *rollout) {
			r.Status.State, r.Status.PausedAt, r.Status.PauseReason = v1alpha1.RolloutRunning, nil, ""
			r.Status.Handled = &v1alpha1.HandledRequests{ResumedAt: micro(8)}
			r.Status.Conditions = nil
			r.Status.Groups[1].State, r.Status.Groups[1].OpenedAt = v1alpha1.GroupRunning, second(9)
		}, []string{"resumed", "groupopened group-2"}},
		{func(r *rollout) {
			r.Status.State, r.Status.PausedAt, r.Status.PauseReason = v1alpha1.RolloutPaused, micro(10), v1alpha1.PauseBySpec
		}, []string{"paused"}},
		{func(r *rollout) { // lifted and paused again in one write
			r.Status.Handled.ResumedAt, r.Status.PausedAt, r.Status.PauseReason = micro(11), micro(12), v1alpha1.PauseByErrorBudget
		}, []string{"resumed", "paused"}},
		{func(r *rollout) {
			r.Status.State, r.Status.PausedAt, r.Status.PauseReason = v1alpha1.RolloutRunning, nil, ""
			r.Status.Handled.ResumedAt = micro(13)
			r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: "group-3", State: v1alpha1.GroupScheduled})
		}, []string{"resumed", "groupadded group-3"}},
		{func(r *rollout) {
			r.Spec.Advance = &v1alpha1.Advance{To: "group-3", At: *second(14)}
			r.Status.Handled.AdvanceAt = micro(14)
			r.Status.Groups[2].State, r.Status.Groups[2].OpenedAt = v1alpha1.GroupRunning, second(14)
		}, []string{"advanced", "groupopened group-3"}},
		{func(r *rollout) { r.Status.Groups[1].State = v1alpha1.GroupFinished }, []string{"groupfinished group-2"}},
		{func(r *rollout) {
			r.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionStalled, v1alpha1.ReasonGroupLost, 15)}
		}, []string{"stalled"}},
		{func(r *rollout) { r.Status.Conditions = nil }, []string{"recovered"}},
		{func(r *rollout) {
			r.Status.Groups[2].State = v1alpha1.GroupFinished
			r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutFinished, micro(16)
			r.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionStalled, v1alpha1.ReasonFinishedWithErrors, 16)}
		}, []string{"groupfinished group-3", "finished"}},
		{func(r *rollout) {
			r.Status.State, r.Status.FinishedAt, r.Status.Conditions = v1alpha1.RolloutRunning, nil, nil
			r.Status.Handled.RetryAt, r.Status.Handled.RetriedAt = micro(17), micro(18)
			r.Status.Groups[1].State = v1alpha1.GroupRunning
		}, []string{"retried"}},
		{func(r *rollout) { r.Status.Groups[1].State = v1alpha1.GroupFinished }, []string{"groupfinished group-2"}},
		{func(r *rollout) { r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutFinished, micro(19) }, []string{"finished"}},
	})
	stopped := rolloutOf("stopped")
	all = append(all, play(t, stopped, []step[rollout]{
		{func(r *rollout) {
			r.Status.UID, r.Status.State, r.Status.StartedAt = "2f0c", v1alpha1.RolloutPaused, micro(1)
			r.Status.Plan = &v1alpha1.PlanStatus{Hash: hash, CreatedAt: second(1), Groups: 2}
			r.Status.Groups = []v1alpha1.GroupStatus{{Name: "a", State: v1alpha1.GroupRunning, OpenedAt: second(2)}, {Name: "b", State: v1alpha1.GroupScheduled}}
			r.Status.PausedAt, r.Status.PauseReason = micro(2), v1alpha1.PauseBySpec
		}, []string{"planned", "started", "groupopened a", "paused"}},
		{func(r *rollout) {
			r.Status.State, r.Status.PausedAt, r.Status.PauseReason = v1alpha1.RolloutStopping, nil, ""
			r.Status.Groups[0].State, r.Status.Groups[1].State = v1alpha1.GroupFinished, v1alpha1.GroupFinished
			r.Status.Stop = &v1alpha1.StopStatus{Cancellation: v1alpha1.CancellationSoft, ObservedAt: *micro(3)}
			r.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionInvalidated, v1alpha1.ReasonDistributionSetInvalid, 3)}
		}, []string{"invalidated", "stopping"}},
		{func(r *rollout) { r.Status.Stop.Cancellation = v1alpha1.CancellationForce }, []string{"stopping"}},
		{func(r *rollout) { r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutStopped, micro(4) }, []string{"stopped"}},
		{func(r *rollout) { r.Status.Handled = &v1alpha1.HandledRequests{RetryAt: micro(5)} }, []string{"retryrefused"}},
	})...)
	all = append(all, Deleted(KindRollout, "fleet", "stopped", "2f0c", start))
	all = append(all, play(t, rolloutOf("paused"), []step[rollout]{
		{func(r *rollout) {
			r.Status.StartedAt, r.Status.State, r.Status.PausedAt, r.Status.PauseReason = micro(1), v1alpha1.RolloutPaused, micro(2), v1alpha1.PauseBySpec
		}, []string{"started", "paused"}},
		{func(r *rollout) {
			r.Status.State, r.Status.PausedAt, r.Status.PauseReason = v1alpha1.RolloutRunning, nil, ""
		}, []string{"resumed"}},
	})...)
	all = append(all, play(t, &set{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "firmware-2", UID: "3f0c"}}, []step[set]{
		{func(d *set) {
			d.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionStalled, v1alpha1.ReasonIncomplete, 1)}
		}, []string{"stalled"}},
		{func(d *set) { d.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, "Ready", 2)} }, []string{"recovered"}},
		{func(d *set) { d.Status.Locked = true }, []string{"locked"}},
		{func(d *set) {
			d.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionInvalidated, v1alpha1.ReasonInvalidationNotRecorded, 3)}
			d.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationSoft, ObservedAt: second(3), Rollouts: 1}
		}, []string{"invalidated", "invalidationnotrecorded"}},
		{func(d *set) {
			d.Status.Conditions[0].Reason = v1alpha1.ReasonInvalidatedBySpec
			d.Status.Invalidation.FinishedAt, d.Status.Invalidation.Actions = second(4), &v1alpha1.InvalidatedActions{Total: 2, Canceled: 2}
		}, []string{"invalidationfinished"}},
		{func(d *set) { d.Status.Conditions, d.Status.Invalidation = nil, nil }, []string{"invalidationcleared"}},
	})...)
	all = append(all, Deleted(KindDistributionSet, "fleet", "firmware-2", "3f0c", start))
	all = append(all, play(t, &auto{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "baseline", UID: "4f0c"}}, []step[auto]{
		{func(a *auto) {
			a.Status.State, a.Status.Conditions = v1alpha1.AutoAssignmentReady, []metav1.Condition{condition(v1alpha1.ConditionStalled, v1alpha1.ReasonReferenceNotFound, 1)}
		}, []string{"stalled"}},
		{func(a *auto) {
			a.Status.State, a.Status.StartedAt = v1alpha1.AutoAssignmentRunning, micro(2)
			a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionPaused, Status: metav1.ConditionFalse}}
		}, []string{"started", "recovered"}},
		{func(a *auto) {
			a.Status.State, a.Status.Conditions = v1alpha1.AutoAssignmentPaused, []metav1.Condition{condition(v1alpha1.ConditionPaused, v1alpha1.ReasonPausedBySpec, 3)}
		}, []string{"paused"}},
		{func(a *auto) { a.Status.State = v1alpha1.AutoAssignmentRunning }, []string{"resumed"}},
		{func(a *auto) { a.Status.Offering = &v1alpha1.OfferedSet{Since: micro(4)} }, []string{"updatechanged"}},
		{func(a *auto) {
			a.Status.State, a.Status.Conditions = v1alpha1.AutoAssignmentStopped, []metav1.Condition{condition(v1alpha1.ConditionStalled, v1alpha1.ReasonReferenceNotFound, 5)}
		}, []string{"stopped"}},
		{func(a *auto) { a.Status.State, a.Status.Conditions = v1alpha1.AutoAssignmentRunning, nil }, []string{"resumed"}},
	})...)
	return append(all, Deleted(KindAutoAssignment, "fleet", "baseline", "4f0c", start))
}

func TestEachDecisionIsNotifiedOnce(t *testing.T) {
	ids, id := map[string]bool{}, regexp.MustCompile(`^[A-Za-z0-9:-]+$`)
	for _, e := range stories(t) {
		if ids[e.ID] {
			t.Errorf("two events have the id %s", e.ID)
		}
		if ids[e.ID] = true; !id.MatchString(e.ID) {
			t.Errorf("id %q", e.ID)
		}
	}
}

func TestEveryTypeIsListedAndOccurs(t *testing.T) {
	occurs := map[string]bool{}
	for _, e := range stories(t) {
		occurs[e.Type()] = true
	}
	for _, listed := range Types() {
		if !occurs[listed.Name()] {
			t.Errorf("no story has an event of type %s", listed.Name())
		}
		delete(occurs, listed.Name())
	}
	for name := range occurs {
		t.Errorf("type %s is not in Types", name)
	}
}

// TestTypesAreThoseOfTheDocumentation compares the table in docs/notifications.md with Types.
func TestTypesAreThoseOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, listed := range Types() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", listed.Name(), listed.When, listed.Time))
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `dev.goshawk.") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rows from Types (-) and of docs/notifications.md (+):\n%s", d)
	}
}

// TestExampleOfTheDocumentationMatchesTheSchema reads the event in docs/notifications.md.
func TestExampleOfTheDocumentationMatchesTheSchema(t *testing.T) {
	page, err := os.ReadFile("../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	var e struct {
		Type string `json:"type"`
		Data any    `json:"data"`
	}
	if err := json.Unmarshal([]byte(example), &e); err != nil {
		t.Fatal(err)
	}
	_, validator := schemaOfData(t)
	if result := validator.Validate(e.Data); !result.IsValid() {
		t.Errorf("%v", result.Errors)
	}
	if !slices.ContainsFunc(Types(), func(listed Type) bool { return listed.Name() == e.Type }) {
		t.Errorf("there is no type %s", e.Type)
	}
}

// TestRestartFindsTheSameEvents kills the process after each status and each number of notified
// decisions: what the next process derives from the stored status has the ids of the events that
// were not notified.
func TestRestartFindsTheSameEvents(t *testing.T) {
	r := rolloutOf("canary")
	r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, micro(5)
	r.Status.Plan = &v1alpha1.PlanStatus{Hash: hash, CreatedAt: second(1), Targets: 3, Groups: 2}
	r.Status.Groups = []v1alpha1.GroupStatus{{Name: "a", State: v1alpha1.GroupFinished, OpenedAt: second(6)}, {Name: "b", State: v1alpha1.GroupRunning, OpenedAt: second(7)}}
	first, _ := Observe(Mark{}, r, start)
	second, _ := Observe(Mark{}, r, start.Add(time.Hour))
	if d := cmp.Diff(idsOf(first), idsOf(second)); d != "" || len(first) != 5 {
		t.Errorf("%d events; ids before (-) and after the restart (+):\n%s", len(first), d)
	}
}

func idsOf(events []Event) (ids []string) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

// TestObjectsFromBeforeAreNotNotified: only decisions since notifications were set up are notified
// of an object that existed before.
func TestObjectsFromBeforeAreNotNotified(t *testing.T) {
	r := rolloutOf("old")
	r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, micro(5)
	r.Status.Groups = []v1alpha1.GroupStatus{{Name: "a", State: v1alpha1.GroupFinished, OpenedAt: second(6)}, {Name: "b", State: v1alpha1.GroupRunning, OpenedAt: second(70)}}
	r.Status.Plan = &v1alpha1.PlanStatus{Hash: hash, CreatedAt: second(1), Groups: 2}
	events, mark := Baseline(r, second(60).Time, start.Add(time.Hour))
	if got := decisions(events); !slices.Equal(got, []string{"groupopened b"}) {
		t.Errorf("decisions %q", got)
	}
	if again, _ := Observe(mark, r, start.Add(time.Hour)); len(again) > 0 {
		t.Errorf("decisions %q after the baseline", decisions(again))
	}
}

func TestUndecodableObjectHasNoEventsAndKeepsItsMark(t *testing.T) {
	r := rolloutOf("broken")
	r.Unreadable = &v1alpha1.Unreadable{Message: "status.plan"}
	before := Mark{Started: 5, Plan: "p"}
	if events, mark := Observe(before, r, start); len(events) > 0 || !reflect.DeepEqual(mark, before) {
		t.Errorf("events %q, mark %+v", decisions(events), mark)
	}
}

func TestMarkOfTheLargestRolloutIsSmall(t *testing.T) {
	r := rolloutOf("large")
	r.Status.Plan, r.Status.StartedAt = &v1alpha1.PlanStatus{Hash: hash, CreatedAt: second(1), Groups: 500}, micro(1)
	r.Status.Handled = &v1alpha1.HandledRequests{ResumedAt: micro(2), AdvanceAt: micro(3), RetryAt: micro(4), RetriedAt: micro(5)}
	for range 500 {
		r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: "g", State: v1alpha1.GroupError, OpenedAt: second(2)})
	}
	events, mark := Observe(Mark{}, r, start)
	if encoded, _ := json.Marshal(mark); len(encoded) > 512 || len(events) != 1005 {
		t.Errorf("%d events, and a mark of %d bytes: %s", len(events), len(encoded), encoded)
	}
}

// TestEventIsSmall: a message of the largest length in characters of four bytes.
func TestEventIsSmall(t *testing.T) {
	r := rolloutOf(strings.Repeat("n", 253))
	r.Status.PauseReason, r.Status.PausedAt, r.Status.PauseMessage = v1alpha1.PauseByErrorBudget, micro(1), strings.Repeat("🦅", 512)
	events, _ := Observe(Mark{}, r, start)
	if n := len(events[0].Data.Message); n > maxMessage || n < maxMessage-64 {
		t.Errorf("a message of %d bytes", n)
	}
}

// TestDataMatchesTheSchema checks the data of every event, and that the schema has exactly the
// fields of the code.
func TestDataMatchesTheSchema(t *testing.T) {
	schema, validator := schemaOfData(t)
	events := stories(t)
	events[0].Data.By = &By{Field: "spec.approval", Manager: "kubectl-edit", Time: start}
	for _, e := range events {
		encoded, _ := json.Marshal(e.Data)
		var data any
		if err := json.Unmarshal(encoded, &data); err != nil {
			t.Fatal(err)
		}
		if result := validator.Validate(data); !result.IsValid() {
			t.Errorf("%s: %v\n%s", e.Type(), result.Errors, encoded)
		}
	}
	for _, bad := range []string{`{}`, `{"kind":"Target"}`, strings.Replace(string(must(json.Marshal(events[0].Data))), "{", `{"secret":"x",`, 1)} {
		var data any
		_ = json.Unmarshal([]byte(bad), &data)
		if validator.Validate(data).IsValid() {
			t.Errorf("the schema accepts %s", bad)
		}
	}
	compareFields(t, "data", reflect.TypeFor[Data](), schema)
}

// schemaOfData returns docs/notifications.schema.json, and its validator.
func schemaOfData(t *testing.T) (*spec.Schema, *validate.SchemaValidator) {
	t.Helper()
	text, err := os.ReadFile("../../docs/notifications.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema := &spec.Schema{}
	if err := json.Unmarshal(text, schema); err != nil {
		t.Fatal(err)
	}
	return schema, validate.NewSchemaValidator(schema, nil, "data", strfmt.Default)
}

func must(b []byte, _ error) []byte { return b }

// compareFields compares the fields of a struct with the properties of a schema.
func compareFields(t *testing.T, path string, of reflect.Type, schema *spec.Schema) {
	t.Helper()
	var fields, properties, required []string
	for i := range of.NumField() {
		name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		fields = append(fields, name)
		if options == "" {
			required = append(required, name)
		}
		inner := of.Field(i).Type
		if inner.Kind() == reflect.Pointer {
			property := schema.Properties[name]
			compareFields(t, path+"."+name, inner.Elem(), &property)
		}
	}
	for name := range schema.Properties {
		properties = append(properties, name)
	}
	slices.Sort(fields)
	slices.Sort(properties)
	if d := cmp.Diff(fields, properties); d != "" {
		t.Errorf("%s: fields of the code (-) and of the schema (+):\n%s", path, d)
	}
	slices.Sort(required)
	slices.Sort(schema.Required)
	if d := cmp.Diff(required, schema.Required); d != "" {
		t.Errorf("%s: fields that are always there, in the code (-) and in the schema (+):\n%s", path, d)
	}
}
