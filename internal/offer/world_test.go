// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// hour of the day before noon's; intents are as old as that.
func hour(h int) time.Time { return noon.Add(time.Duration(h-36) * time.Hour) }

// story is one target, what is wanted of it, and what has happened, step by step.
type story struct {
	t       testing.TB
	now     time.Time
	target  *v1alpha1.Target
	intents []eligibility.Intent
	sets    map[string]*eligibility.Set
	origins map[types.UID]cancellation.Request
}

type step func(*story)

func tell(t testing.TB, steps ...step) *story {
	t.Helper()
	s := &story{t: t, now: noon, sets: map[string]*eligibility.Set{}, origins: map[types.UID]cancellation.Request{}, target: &v1alpha1.Target{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "dev", UID: "uid-dev"},
		Status:     v1alpha1.TargetStatus{NextActionID: 100, UpdateStatus: v1alpha1.UpdateStatusRegistered},
	}}
	for _, do := range steps {
		do(s)
	}
	return s
}

func (s *story) world() World {
	return World{
		Now: s.now, Target: s.target, Intents: s.intents,
		Set:    func(name string) *eligibility.Set { return s.sets[name] },
		Origin: func(source v1alpha1.ActionSource) cancellation.Request { return s.origins[source.UID] },
	}
}

// settle stores what Settle says, as a device API does.
func (s *story) settle() bool {
	status, changed := ApplyPending(s.world())
	if changed {
		s.target.Status = *status
	}
	return changed
}

// offer is what the device is told now.
func (s *story) offer() Offer {
	s.settle()
	return For(s.world())
}

func hash(content string) string {
	const pad = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return (content + pad)[:64]
}

// set makes a deployable set of that name and content.
func set(name string, edits ...func(*eligibility.Set)) step {
	return func(s *story) {
		x := &eligibility.Set{Namespace: "fleet", Name: name, ContentHash: hash(name), Deployable: true}
		for _, edit := range edits {
			edit(x)
		}
		s.sets[name] = x
		s.relink()
	}
}

// editSet changes a copy, as an informer would hand out a new object.
func editSet(name string, edit func(*eligibility.Set)) step {
	return func(s *story) {
		x := *s.sets[name]
		edit(&x)
		s.sets[name] = &x
		s.relink()
	}
}

func loseSet(name string) step {
	return func(s *story) { delete(s.sets, name); s.relink() }
}

func (s *story) relink() {
	for i := range s.intents {
		s.intents[i].Set = s.sets[s.intents[i].Update.DistributionSet]
	}
}

func invalid(c v1alpha1.Cancellation, at time.Time) func(*eligibility.Set) {
	return func(x *eligibility.Set) { x.Invalidation, x.InvalidatedAt = c, at }
}

func migrationStep(x *eligibility.Set) { x.RequiredMigrationStep = true }

// content makes a set the same to a device as another one.
func content(c string) func(*eligibility.Set) {
	return func(x *eligibility.Set) { x.ContentHash = hash(c) }
}

// wants adds an intent, or replaces that of the same kind and name.
func wants(in eligibility.Intent, edits []func(*eligibility.Intent)) step {
	return func(s *story) {
		in := in
		in.Set = s.sets[in.Update.DistributionSet]
		for _, edit := range edits {
			edit(&in)
		}
		delete(s.origins, in.Source.UID)
		for i := range s.intents {
			if s.intents[i].Source.Kind == in.Source.Kind && s.intents[i].Source.Name == in.Source.Name {
				s.intents[i] = in
				return
			}
		}
		s.intents = append(s.intents, in)
	}
}

// rollout that started and opened the target's group at that hour.
func rollout(name string, h int, set string, edits ...func(*eligibility.Intent)) step {
	return wants(eligibility.Intent{
		Source:   v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: name, UID: types.UID("uid-" + name), Group: "group-1", Since: &metav1.MicroTime{Time: hour(h)}},
		Update:   v1alpha1.Update{DistributionSet: set, Type: v1alpha1.UpdateTypeForced},
		OpenedAt: hour(h), StartedAt: hour(h),
	}, edits)
}

func assignment(h int, set string, edits ...func(*eligibility.Intent)) step {
	return wants(eligibility.Intent{
		Source:    v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev", Since: &metav1.MicroTime{Time: hour(h)}},
		Update:    v1alpha1.Update{DistributionSet: set},
		StartedAt: hour(h), OpenedAt: hour(h),
	}, edits)
}

func auto(name string, h int, set string, edits ...func(*eligibility.Intent)) step {
	return wants(eligibility.Intent{
		Source:    v1alpha1.ActionSource{Kind: v1alpha1.SourceAutoAssignment, Name: name, UID: types.UID("uid-" + name), Since: &metav1.MicroTime{Time: hour(h)}},
		Update:    v1alpha1.Update{DistributionSet: set},
		StartedAt: hour(h),
	}, edits)
}

func withdrawn(name string) step {
	return func(s *story) {
		for i := range s.intents {
			if s.intents[i].Source.Name == name {
				s.intents = append(s.intents[:i:i], s.intents[i+1:]...)
				return
			}
		}
		s.t.Fatalf("there is no intent %s", name)
	}
}

func queued(weight int32) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) {
		in.Update.Superseding, in.Update.Weight = v1alpha1.SupersedingQueue, &weight
	}
}

func weighing(weight int32) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) { in.Update.Weight = &weight }
}
func reinstalls(in *eligibility.Intent)     { in.Update.Reinstall = true }
func confirmed(in *eligibility.Intent)      { in.Update.ConfirmationRequired = true }
func asCreatedAgain(in *eligibility.Intent) { in.Source.UID += "-again" }
func expired(in *eligibility.Intent)        { in.Expired = true }
func placed(h int) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) { in.StartedAt = hour(h) }
}
func abandoned(in *eligibility.Intent) { in.Abandoned = true }
func forgiven(in *eligibility.Intent)  { in.Forgiven = true }
func skipped(in *eligibility.Intent)   { in.Skipped = true }

func closedFor(code eligibility.Code) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) {
		in.Closed = eligibility.Reason{Code: code, Message: "closed"}
		in.Stopped = code == eligibility.CodeStopped
		switch code {
		case eligibility.CodeNotStarted:
			in.StartedAt, in.OpenedAt, in.Source.Since = time.Time{}, time.Time{}, nil
		case eligibility.CodeGroupNotOpen:
			in.OpenedAt = time.Time{}
		}
	}
}

func retries(limit, backoff int32, codes ...string) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) {
		in.Update.Retries = &v1alpha1.Retries{Limit: limit, BackoffSeconds: &backoff, StatusCodes: codes}
	}
}

func retryAsked(at time.Time, codes ...string) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) { in.RetryAt, in.RetryFailures = at, action.Failures{Codes: codes} }
}

func within(schedule string, d time.Duration) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) {
		in.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: schedule, DurationSeconds: int32(d / time.Second), TimeZone: "UTC"}
	}
}

func deadlines(progress, cancel int32) func(*eligibility.Intent) {
	return func(in *eligibility.Intent) {
		in.Update.ProgressDeadlineSeconds, in.Update.CancelDeadlineSeconds = &progress, &cancel
	}
}

// stops is what a source says of its started actions, and of what it still offers.
func stops(name string, c v1alpha1.Cancellation, cause v1alpha1.CancelCause) step {
	return func(s *story) {
		s.origins[types.UID("uid-"+name)] = cancellation.Request{Cause: cause, Cancellation: c}
		for i := range s.intents {
			if s.intents[i].Source.Name == name {
				s.intents[i].Closed, s.intents[i].Stopped = eligibility.Reason{Code: eligibility.CodeStopped, Message: "stopped"}, true
			}
		}
	}
}

// pauses holds a source back without stopping it.
func pauses(name string) step {
	return func(s *story) {
		for i := range s.intents {
			if s.intents[i].Source.Name == name {
				s.intents[i].Closed = eligibility.Reason{Code: eligibility.CodePaused, Message: "paused"}
			}
		}
	}
}

// takes is the device coming by and taking what it is offered.
func takes(s *story) {
	o := s.offer()
	if o.Kind != Deploy && o.Kind != Confirm || o.Action != nil {
		s.t.Fatalf("nothing is to be started: %s %s", o.Kind, o.Reason.Message)
	}
	if action.Create(&s.target.Status, o.Creation(s.world())) == nil {
		s.t.Fatal("nothing was created")
	}
}

// reports is a report on the newest action.
func reports(e action.Event, code ...string) step {
	return func(s *story) {
		r := action.Report{ID: action.Newest(&s.target.Status).ID, Event: e, Now: s.now}
		for _, c := range code {
			r.StatusCode = c
		}
		action.Apply(&s.target.Status, r)
	}
}

// carriesOut is a whole update, to its end.
func carriesOut(s *story) {
	takes(s)
	reports(action.Install)(s)
	reports(action.Succeed)(s)
}

func fails(s *story) {
	takes(s)
	reports(action.Download)(s)
	reports(action.Fail, "17")(s)
}

func later(d time.Duration) step            { return func(s *story) { s.now = s.now.Add(d) } }
func at(now time.Time) step                 { return func(s *story) { s.now = now } }
func comesBy(s *story)                      { s.offer() }
func spec(edit func(*v1alpha1.Target)) step { return func(s *story) { edit(s.target) } }
func holds(on bool) step                    { return spec(func(t *v1alpha1.Target) { t.Spec.Hold = on }) }

func cancels(upTo int32, c v1alpha1.Cancellation) step {
	return spec(func(t *v1alpha1.Target) { t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: upTo, Cancellation: c} })
}

func runs(content string, consistent bool) step {
	return spec(func(t *v1alpha1.Target) {
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: content, ContentHash: hash(content)}
		if !consistent {
			t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse})
		}
	})
}

// told is an offer as short as a test wants it.
type told struct {
	Kind Kind
	Code eligibility.Code
	ID   int32
	Set  string
}

func (o Offer) told() told {
	x := told{Kind: o.Kind, Code: o.Reason.Code, ID: o.ActionID}
	if o.Kind != Nothing && o.Kind != Cancel && o.Set != nil {
		x.Set = o.Set.Name
	}
	return x
}

// check runs a table of stories against what the device is told in the end.
func check(t *testing.T, stories map[string]struct {
	steps []step
	want  told
}) {
	t.Helper()
	for name, c := range stories {
		t.Run(name, func(t *testing.T) {
			s := tell(t, c.steps...)
			s.mustBeLeftAlone()
			o := s.offer()
			if diff := cmp.Diff(c.want, o.told()); diff != "" {
				t.Errorf("the device is told something else (-want +got):\n%s%s", diff, o.Reason.Message)
			}
			if o.Reason.Message == "" {
				t.Error("nobody says why")
			}
			s.mustBeSettled()
		})
	}
}

// mustBeLeftAlone asks everything and compares what was asked about before and after.
func (s *story) mustBeLeftAlone() {
	s.t.Helper()
	before := struct {
		Target  *v1alpha1.Target
		Intents []eligibility.Intent
		Sets    map[string]*eligibility.Set
	}{s.target.DeepCopy(), copied(s.intents), maps.Clone(s.sets)}
	status, changed := ApplyPending(s.world())
	if changed && status == &s.target.Status {
		s.t.Error("Settle changed the status it was given")
	}
	For(s.world())
	Judge(s.world())
	after := before
	after.Target, after.Intents, after.Sets = s.target, s.intents, s.sets
	if diff := cmp.Diff(before, after); diff != "" {
		s.t.Errorf("asking changed what was asked about (-before +after):\n%s", diff)
	}
}

// copied shares no pointer of the updates with the original; sets are compared by what they point
// at.
func copied(intents []eligibility.Intent) []eligibility.Intent {
	out := slices.Clone(intents)
	for i := range out {
		out[i].Update = *out[i].Update.DeepCopy()
		out[i].Source = *out[i].Source.DeepCopy()
		if out[i].Set != nil {
			set := *out[i].Set
			out[i].Set = &set
		}
	}
	return out
}

// mustBeSettled: what has been settled has nothing left to settle.
func (s *story) mustBeSettled() {
	s.t.Helper()
	before := s.target.DeepCopy()
	if s.settle() {
		s.t.Errorf("Settle is not done at once (-first +second):\n%s", cmp.Diff(before.Status, s.target.Status))
	}
}
