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
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

// hour returns that hour of the day before noon. Intents are given their age with it.
func hour(h int) time.Time { return noon.Add(time.Duration(h-36) * time.Hour) }

// story is one target, the intents that reach it, and the objects around it. Steps change it.
type story struct {
	t       testing.TB
	now     time.Time
	target  *v1alpha1.Target
	intents []eligibility.Intent
	sets    map[string]*eligibility.Set
	origins map[types.UID]cancellation.Request
}

type step func(*story)

// built builds the target, which has no creation time.
var built = build.At(time.Time{})

func newStory(t testing.TB, steps ...step) *story {
	t.Helper()
	s := &story{t: t, now: noon, sets: map[string]*eligibility.Set{}, origins: map[types.UID]cancellation.Request{},
		target: built.Target("dev", func(t *v1alpha1.Target) { t.Status.UpdateStatus = v1alpha1.UpdateStatusRegistered })}
	for _, do := range steps {
		do(s)
	}
	return s
}

func (s *story) world() World {
	return World{
		Now: s.now, Target: s.target, Intents: pointers(s.intents),
		Set:    func(name string) *eligibility.Set { return s.sets[name] },
		Origin: func(source v1alpha1.ActionSource) cancellation.Request { return s.origins[source.UID] },
	}
}

// applyPending stores the result of ApplyPending, as the device API does, and reports whether it
// changed the status.
func (s *story) applyPending() bool {
	status, changed := ApplyPending(s.world())
	if changed {
		s.target.Status = *status
	}
	return changed
}

// offer returns the offer for the device now, as the device API computes it.
func (s *story) offer() Offer {
	s.applyPending()
	return For(s.world())
}

func hash(content string) string {
	const pad = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return (content + pad)[:64]
}

// set adds a deployable set with that name and content.
func set(name string, edits ...func(*eligibility.Set)) step {
	return func(s *story) {
		x := &eligibility.Set{Namespace: build.Namespace, Name: name, ContentHash: hash(name), Deployable: true}
		for _, edit := range edits {
			edit(x)
		}
		s.sets[name] = x
		s.relink()
	}
}

// editSet replaces a set by a changed copy, as an informer does.
func editSet(name string, edit func(*eligibility.Set)) step {
	return func(s *story) {
		x := *s.sets[name]
		edit(&x)
		s.sets[name] = &x
		s.relink()
	}
}

func deleteSet(name string) step {
	return func(s *story) { delete(s.sets, name); s.relink() }
}

func (s *story) relink() {
	for i := range s.intents {
		s.intents[i].Set = s.setOf(&s.intents[i].Update)
	}
}

// setOf returns the set of an update, or what takes its place in a removal. No inventory is known.
func (s *story) setOf(u *v1alpha1.Update) *eligibility.Set {
	if removal := eligibility.SetOfRemoval(build.Namespace, u, nil); removal != nil {
		return removal
	}
	return s.sets[u.DistributionSet]
}

func invalid(c v1alpha1.Cancellation, at time.Time) func(*eligibility.Set) {
	return func(x *eligibility.Set) { x.Invalidation, x.InvalidatedAt = c, at }
}

func migrationStep(x *eligibility.Set) { x.RequiredMigrationStep = true }

// content gives a set the content of another one.
func content(c string) func(*eligibility.Set) {
	return func(x *eligibility.Set) { x.ContentHash = hash(c) }
}

// wants adds an intent, or replaces that of the same kind and name.
func wants(in eligibility.Intent, edits []func(*eligibility.Intent)) step {
	return func(s *story) {
		in := in
		in.Set = s.setOf(&in.Update)
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

// rollout adds a rollout that started and opened the target's group at that hour.
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

func removed(name string) step {
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
func startedAt(h int) func(*eligibility.Intent) {
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

// stops stops a source, with this cancellation of its open actions.
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

// pauses pauses a source.
func pauses(name string) step {
	return func(s *story) {
		for i := range s.intents {
			if s.intents[i].Source.Name == name {
				s.intents[i].Closed = eligibility.Reason{Code: eligibility.CodePaused, Message: "paused"}
			}
		}
	}
}

// takes lets the device fetch the offered update, which creates the action.
func takes(s *story) {
	o := s.offer()
	if o.Kind != Deploy && o.Kind != Confirm || o.Action != nil {
		s.t.Fatalf("no new action is offered: %s %s", o.Kind, o.Reason.Message)
	}
	if action.Create(&s.target.Status, o.Creation(s.world())) == nil {
		s.t.Fatal("no action was created")
	}
}

// reports applies a report of the device on the newest action.
func reports(e action.Event, code ...string) step {
	return func(s *story) {
		r := action.Report{ID: action.Newest(&s.target.Status).ID, Event: e, Now: s.now}
		for _, c := range code {
			r.StatusCode = c
		}
		action.Apply(&s.target.Status, r)
	}
}

// carriesOut lets the device fetch the offered update and install it successfully.
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
func polls(s *story)                        { s.offer() }
func spec(edit func(*v1alpha1.Target)) step { return func(s *story) { edit(s.target) } }
func holds(on bool) step                    { return spec(func(t *v1alpha1.Target) { t.Spec.Hold = on }) }

// withoutFeatures connects a device that has not reported its features.
var withoutFeatures = online(metav1.ConditionTrue, v1alpha1.ReasonAwaitingFeatures)

func online(status metav1.ConditionStatus, reason string) step {
	return spec(func(t *v1alpha1.Target) {
		t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionOnline, Status: status, Reason: reason})
	})
}

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

// given is the part of an offer that tests compare.
type given struct {
	Kind Kind
	Code eligibility.Code
	ID   int32
	Set  string
}

func (o Offer) given() given {
	x := given{Kind: o.Kind, Code: o.Reason.Code, ID: o.ActionID}
	if o.Kind != Nothing && o.Kind != Cancel && o.Set != nil {
		x.Set = o.Set.Name
	}
	return x
}

// check takes the steps of each row and compares the offer after them.
func check(t *testing.T, stories map[string]struct {
	steps []step
	want  given
}) {
	t.Helper()
	for name, c := range stories {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, c.steps...)
			s.mustNotChangeInput()
			o := s.offer()
			if diff := cmp.Diff(c.want, o.given()); diff != "" {
				t.Errorf("the offer differs (-want +got):\n%s%s", diff, o.Reason.Message)
			}
			if o.Reason.Message == "" {
				t.Error("the offer has no message")
			}
			s.mustHaveNothingPending()
		})
	}
}

// mustNotChangeInput calls every function of the package and checks that none of them changes the
// world that it is given.
func (s *story) mustNotChangeInput() {
	s.t.Helper()
	before := struct {
		Target  *v1alpha1.Target
		Intents []eligibility.Intent
		Sets    map[string]*eligibility.Set
	}{s.target.DeepCopy(), copied(s.intents), maps.Clone(s.sets)}
	status, changed := ApplyPending(s.world())
	if changed && status == &s.target.Status {
		s.t.Error("ApplyPending changed the status it was given")
	}
	For(s.world())
	Judge(s.world())
	after := before
	after.Target, after.Intents, after.Sets = s.target, s.intents, s.sets
	if diff := cmp.Diff(before, after); diff != "" {
		s.t.Errorf("the world was changed (-before +after):\n%s", diff)
	}
}

// pointers returns a pointer to each intent.
func pointers(intents []eligibility.Intent) []*eligibility.Intent {
	out := make([]*eligibility.Intent, len(intents))
	for i := range intents {
		out[i] = &intents[i]
	}
	return out
}

// copied returns a deep copy of the intents, so that they can be compared later.
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

// mustHaveNothingPending checks that a second call of ApplyPending changes nothing.
func (s *story) mustHaveNothingPending() {
	s.t.Helper()
	before := s.target.DeepCopy()
	if s.applyPending() {
		s.t.Errorf("a second call of ApplyPending changes the status (-first +second):\n%s", cmp.Diff(before.Status, s.target.Status))
	}
}
