// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// world is a small fleet with one rollout: the objects that the API server would store, and a clock
// that only the test moves.
type world struct {
	t       testing.TB
	now     time.Time
	rollout *v1alpha1.Rollout
	set     *eligibility.Set
	// deleted is the set before it was deleted; nil if it exists.
	deleted *eligibility.Set
	targets map[string]*v1alpha1.Target
	groups  []*v1alpha1.DeploymentGroup
	claims  []Overlap
	// sets other than the rollout's, by name, and newer rollouts that bring them.
	sets          map[string]*eligibility.Set
	newerRollouts []newerRollout
	// inventories are what devices have reported about their software, by the name of the target.
	inventories map[string]inventory
	// autos are the intents of auto-assignments, which select every target.
	autos []eligibility.Intent

	olderRollouts   []string
	neighbors       []Neighbor
	requireApproval bool
	// newer has the names of the targets of a newer rollout.
	newer map[string]bool

	// crash returns the part of a plan that is carried out before a crash; nil: there is no crash.
	crash func(Plan) Plan

	// log has the events and the steps in order.
	log []string
	// wanted is the plan of the last reconcile, and last the part of it that was carried out.
	wanted, last Plan
}

var epoch = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// built builds the objects of every world, which were created at its start.
var built = build.At(epoch)

// newWorld returns a world with the targets dev-01 to dev-n and a rollout of them in alphabetical
// order, before its first reconcile.
func newWorld(t testing.TB, n int, edit func(*v1alpha1.RolloutSpec)) *world {
	w := &world{t: t, now: epoch, targets: map[string]*v1alpha1.Target{}, sets: map[string]*eligibility.Set{}, inventories: map[string]inventory{}}
	for i := range n {
		w.addTarget(fmt.Sprintf("dev-%02d", i+1))
	}
	w.set = &eligibility.Set{Namespace: "fleet", Name: "firmware-2", ContentHash: "hash-of-firmware-2", Deployable: true}
	zero := int32(0)
	w.rollout = &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "r", UID: "uid-r", Generation: 1, CreationTimestamp: metav1.NewTime(epoch)},
		Spec: v1alpha1.RolloutSpec{
			Update:               v1alpha1.Update{DistributionSet: "firmware-2"},
			GroupOrder:           v1alpha1.GroupOrderName,
			StabilizationSeconds: &zero,
		},
	}
	if edit != nil {
		edit(&w.rollout.Spec)
	}
	if removal := eligibility.SetOfRemoval("fleet", &w.rollout.Spec.Update, w.inventoryOf); removal != nil {
		w.set = removal
	}
	w.tick(time.Second)
	return w
}

// aPlanHash matches plan hashes, which are replaced in the log so that golden files do not depend
// on them.
var aPlanHash = regexp.MustCompile("sha256:[0-9a-f]{64}")

func (w *world) tick(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) addTarget(name string) {
	w.targets[name] = built.Target(name, func(t *v1alpha1.Target) { t.Status.NextActionID = action.FirstID(epoch) })
}

// edit commits a change of the spec.
func (w *world) edit(f func(*v1alpha1.RolloutSpec)) {
	f(&w.rollout.Spec)
	w.rollout.Generation++
}

func (w *world) population() []*v1alpha1.Target {
	var out []*v1alpha1.Target
	for _, t := range w.targets {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *v1alpha1.Target) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (w *world) snapshot() Snapshot {
	s := Snapshot{
		Now: w.now, Rollout: w.rollout, Set: w.set, Population: w.population, Overlaps: append(w.overlapsOfNewer(), w.claims...),
		OlderRollouts: w.olderRollouts, Neighbors: w.neighbors, SetNamed: w.setNamed, RequireApproval: w.requireApproval, JoinCandidates: w.joinCandidates, AutoAssignments: w.autoAssignments(),
	}
	for _, g := range w.groups {
		if w.rollout.Status.Plan == nil || g.Spec.PlanHash != w.rollout.Status.Plan.Hash {
			s.Leftover = append(s.Leftover, g)
			continue
		}
		group := Group{Object: g, Members: func() []*v1alpha1.Target { return w.members(g) }}
		if i := int(g.Spec.Index); i < len(w.rollout.Status.Groups) {
			group.Tally = counting.Recount(g, w.rule(i), w.members(g))
		}
		s.Groups = append(s.Groups, group)
	}
	slices.SortFunc(s.Groups, func(a, b Group) int { return int(a.Object.Spec.Index - b.Object.Spec.Index) })
	return s
}

// joinCandidates returns up to n targets that may join and are not members.
func (w *world) joinCandidates(n int) []*v1alpha1.Target {
	filter, err := NewJoinFilter(w.rollout, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*v1alpha1.Target
	for _, t := range w.population() {
		if member, _ := w.groupOf(t.Name); member == nil && !w.newer[t.Name] && !w.hasNewerRollout(t.Name) && filter.Takes(w.rollout, w.set, t) && len(out) < n {
			out = append(out, t)
		}
	}
	return out
}

func (w *world) members(g *v1alpha1.DeploymentGroup) []*v1alpha1.Target {
	var out []*v1alpha1.Target
	for _, name := range g.Spec.Targets {
		out = append(out, w.targets[string(name)])
	}
	return out
}

// reconcile calls Next once and carries its plan out. The results go through JSON, as in the API
// server.
func (w *world) reconcile() Plan {
	w.t.Helper()
	s := w.snapshot()
	before, groupsBefore := w.rollout.DeepCopy(), deepCopies(w.groups)
	p := Next(s)
	if !equality.Semantic.DeepEqual(before, w.rollout) {
		w.t.Fatalf("Next changed the Rollout it was given:\n%s", cmp.Diff(before, w.rollout))
	}
	if !equality.Semantic.DeepEqual(groupsBefore, w.groups) {
		w.t.Fatalf("Next changed a DeploymentGroup it was given:\n%s", cmp.Diff(groupsBefore, w.groups))
	}
	w.checkStep(before, p)
	w.wanted = p
	if w.crash != nil {
		p = w.crash(p)
	}
	w.apply(p)
	w.last = p
	return p
}

func deepCopies(groups []*v1alpha1.DeploymentGroup) []*v1alpha1.DeploymentGroup {
	var out []*v1alpha1.DeploymentGroup
	for _, g := range groups {
		out = append(out, g.DeepCopy())
	}
	return out
}

func (w *world) apply(p Plan) {
	for _, g := range p.Create {
		if slices.ContainsFunc(w.groups, func(o *v1alpha1.DeploymentGroup) bool { return o.Name == g.Name }) {
			continue
		}
		g = stored(w.t, g)
		g.Generation, g.Status.ObservedGeneration = 1, -1
		w.groups = append(w.groups, g)
	}
	w.writeGroups(p.Supersede)
	w.rollout.Status = stored(w.t, p.Status)
	w.writeGroups(p.Mirror)
	w.join(p.Join)
	for _, g := range p.Delete {
		w.groups = slices.DeleteFunc(w.groups, func(o *v1alpha1.DeploymentGroup) bool { return o.Name == g.Name })
	}
	for _, e := range p.Events {
		w.log = append(w.log, fmt.Sprintf("%6s  %s %s: %s", w.now.Sub(epoch), e.Type, e.Reason, aPlanHash.ReplaceAllString(e.Message, "<plan>")))
	}
}

// join writes the status of a group, and then its spec.targets.
func (w *world) join(j *Join) {
	if j == nil {
		return
	}
	w.writeGroups([]GroupStatus{{j.Object, j.Status}})
	for _, g := range w.groups {
		if g.Name == j.Object.Name && len(j.Targets) > 0 {
			g.Spec.Targets = append(slices.Clip(g.Spec.Targets), j.Targets...)
			g.Generation++
		}
	}
}

func (w *world) planHash() string {
	if w.rollout.Status.Plan == nil {
		return "no plan"
	}
	return w.rollout.Status.Plan.Hash
}

func (w *world) writeGroups(statuses []GroupStatus) {
	for _, s := range statuses {
		for _, g := range w.groups {
			if g.Name == s.Object.Name {
				g.Status = stored(w.t, s.Status)
			}
		}
	}
}

// stored returns a value as the API server would return it.
func stored[T any](t testing.TB, v T) T {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// reconcileAll reconciles until the plan is empty. Each decision takes a few reconciles; more than
// ten would be a loop.
func (w *world) reconcileAll() Plan {
	w.t.Helper()
	for range 10 {
		before := w.rollout.Status
		p := w.reconcile()
		if !p.Decided && len(p.Create)+len(p.Supersede)+len(p.Mirror)+len(p.Delete)+len(p.Events) == 0 && p.Join == nil &&
			equality.Semantic.DeepEqual(before, w.rollout.Status) {
			return p
		}
	}
	w.t.Fatalf("the plan is not empty after ten reconciles of an unchanged world: %+v", w.last)
	return Plan{}
}

// checkStep checks what must be true of every plan.
func (w *world) checkStep(before *v1alpha1.Rollout, p Plan) {
	w.t.Helper()
	old, status := before.Status, p.Status
	checkCounts(w.t, status)
	checkConditions(w.t, status)
	w.checkTransitions(old.Conditions, status.Conditions)
	if !p.Decided && len(p.Events) > 0 && len(p.Supersede) == 0 {
		w.t.Errorf("an event without a decision: %v", p.Events)
	}
	if old.StartedAt == nil && status.StartedAt != nil {
		w.checkStart(status.Plan)
	}
	retried := handledTimes(status)["retry"] != handledTimes(old)["retry"]
	switch {
	case old.State == v1alpha1.RolloutStopped && status.State != v1alpha1.RolloutStopped,
		old.State == v1alpha1.RolloutFinished && status.State != v1alpha1.RolloutFinished && !retried:
		w.t.Errorf("%s became %s: a terminal state changed", old.State, status.State)
	}
	for i, g := range status.Groups {
		if old.Plan == nil || status.Plan.Hash != old.Plan.Hash {
			break
		}
		if i >= len(old.Groups) {
			if g.State != v1alpha1.GroupScheduled && g.State != v1alpha1.GroupRunning {
				w.t.Errorf("group %s is created %s", g.Name, g.State)
			}
			continue
		}
		was := old.Groups[i]
		if (was.State == v1alpha1.GroupFinished || was.State == v1alpha1.GroupError && g.State != v1alpha1.GroupFinished) && g.State != was.State && !retried {
			w.t.Errorf("group %s: %s became %s", g.Name, was.State, g.State)
		}
		if !isOpen(was.State) && g.State == v1alpha1.GroupRunning {
			w.checkOpening(i, old, status)
		}
		if g.State == v1alpha1.GroupRunning && !equality.Semantic.DeepEqual(was.OpenedAt, g.OpenedAt) && was.OpenedAt != nil {
			w.t.Errorf("group %s opened twice", g.Name)
		}
	}
}

// checkTransitions checks that lastTransitionTime of a condition changes with its status, and only
// with its status.
func (w *world) checkTransitions(old, now []metav1.Condition) {
	w.t.Helper()
	for _, c := range now {
		was := meta.FindStatusCondition(old, c.Type)
		want := w.now.Truncate(time.Second)
		if was != nil && was.Status == c.Status {
			want = was.LastTransitionTime.Time
		}
		if !c.LastTransitionTime.Time.Equal(want) {
			w.t.Errorf("lastTransitionTime of %s is %s, want %s: it was %+v and is %+v", c.Type, c.LastTransitionTime, want, was, c)
		}
	}
}

// checkStart checks that the plan that starts was made from the present spec and is approved.
func (w *world) checkStart(plan *v1alpha1.PlanStatus) {
	w.t.Helper()
	spec := &w.rollout.Spec
	if plan.SpecHash != grouping.SpecHash(w.rollout) {
		w.t.Error("a plan of another spec started")
	}
	if (spec.ApprovalRequired || w.requireApproval) && (spec.Approval == nil || spec.Approval.PlanHash != plan.Hash) {
		w.t.Errorf("plan %s started, approved is %+v", plan.Hash, spec.Approval)
	}
}

// checkOpening checks that no group opens before the success of the group before it, unless a
// resume or an advance opens it, and that none opens while the rollout is paused.
func (w *world) checkOpening(i int, old, status v1alpha1.RolloutStatus) {
	w.t.Helper()
	if status.State != v1alpha1.RolloutRunning && status.State != v1alpha1.RolloutFinished && !(status.State == v1alpha1.RolloutPaused && isBehindGroup(status.PauseReason)) {
		w.t.Errorf("group %s opened while the rollout is %s", status.Groups[i].Name, status.State)
	}
	if i == 0 || handledTimes(status)["advance"] != handledTimes(old)["advance"] {
		return
	}
	before := status.Groups[i-1]
	conditions := grouping.Conditions(&w.rollout.Spec, nil)
	for j := range w.rollout.Spec.Groups {
		if w.rollout.Spec.Groups[j].Name == before.Name {
			conditions = grouping.Conditions(&w.rollout.Spec, &w.rollout.Spec.Groups[j])
		}
	}
	succeeded := 100*before.Succeeded >= conditions.SuccessThreshold*(before.Targets-before.Removed)
	closed := before.Scheduled+before.Pending+before.InProgress == 0
	resumed := handledTimes(status)["resumed"]
	lifted := isBehindGroup(old.PauseReason) && resumed != handledTimes(old)["resumed"]
	passed := lifted || i <= len(old.Groups) && old.Groups[i-1].Passed // even if the threshold was changed since
	if conditions.SuccessAction == v1alpha1.SuccessActionPause && before.Counts.Existing() > 0 && !passed && before.State != v1alpha1.GroupError {
		w.t.Errorf("group %s opened, but the pause after %s was not lifted", status.Groups[i].Name, before.Name)
	}
	if results := before.Succeeded + before.Failed; closed && results == 0 && before.Targets > 0 && awaits(status.Groups[i:]) && !passed && before.State != v1alpha1.GroupError {
		w.t.Errorf("group %s opened, but group %s has no result: %+v", status.Groups[i].Name, before.Name, before)
	}
	if !succeeded && !closed && !passed && !(before.State == v1alpha1.GroupError && resumed != "") {
		w.t.Errorf("group %s opened before the success of %s: %+v", status.Groups[i].Name, before.Name, before)
	}
}

// awaits reports whether any member of these groups has not started.
func awaits(groups []v1alpha1.GroupStatus) bool {
	return slices.ContainsFunc(groups, func(g v1alpha1.GroupStatus) bool { return g.Scheduled+g.Pending > 0 })
}

func handledTimes(s v1alpha1.RolloutStatus) map[string]string {
	out := map[string]string{}
	if h := s.Handled; h != nil {
		for key, at := range map[string]*metav1.MicroTime{"resumed": h.ResumedAt, "advance": h.AdvanceAt, "retry": h.RetryAt} {
			if at != nil {
				out[key] = at.UTC().String()
			}
		}
	}
	return out
}

func checkCounts(t testing.TB, s v1alpha1.RolloutStatus) {
	t.Helper()
	checkDated(t, s)
	if c := s.Targets; c != nil && s.Columns.Targets != c.Scheduled+c.Pending+c.InProgress+c.Succeeded+c.Failed+c.Canceled {
		t.Errorf("the sum of the columns is wrong: %+v of %+v", *s.Columns, *c)
	}
	var sum int32
	for _, g := range s.Groups {
		if g.Scheduled+g.Pending+g.InProgress+g.Succeeded+g.Failed+g.Canceled+g.Skipped+g.Removed != g.Targets {
			t.Errorf("the sum of the counts of group %s is wrong: %+v", g.Name, g.Counts)
		}
		if g.Counts.Scheduled < 0 || g.Counts.Pending < 0 {
			t.Errorf("counts of group %s are negative: %+v", g.Name, g.Counts)
		}
		sum += g.Targets
	}
	if s.Targets != nil && s.Targets.Targets != sum {
		t.Errorf("status.targets counts %d targets, the groups %d", s.Targets.Targets, sum)
	}
}

// checkConditions checks what kstatus relies on.
func checkConditions(t testing.TB, s v1alpha1.RolloutStatus) {
	t.Helper()
	if !slices.IsSortedFunc(s.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) }) {
		t.Errorf("conditions are not sorted: %v", s.Conditions)
	}
	reconciling, stalled := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReconciling), meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
	if reconciling != nil && stalled != nil {
		t.Errorf("Reconciling and Stalled at once: %v", s.Conditions)
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSucceeded, v1alpha1.ConditionPaused} {
		if meta.FindStatusCondition(s.Conditions, kind) == nil {
			t.Errorf("no condition %s", kind)
		}
	}
	for _, c := range s.Conditions {
		if c.Reason == "" || c.Message == "" || c.LastTransitionTime.IsZero() || c.ObservedGeneration != s.ObservedGeneration {
			t.Errorf("condition %s is incomplete: %+v", c.Type, c)
		}
	}
	if s.WaitingFor == nil && s.State != v1alpha1.RolloutFinished && s.State != v1alpha1.RolloutStopped {
		t.Errorf("%s, and waitingFor is empty", s.State)
	}
}

// Devices.

// groupOf returns a target's group, and its place in it.
func (w *world) groupOf(name string) (g *v1alpha1.DeploymentGroup, place int) {
	for _, g := range w.groups {
		if i := slices.Index(g.Spec.Targets, v1alpha1.TargetName(name)); i >= 0 && g.Spec.PlanHash == w.planHash() {
			return g, i
		}
	}
	return nil, 0
}

func (w *world) bucket(name string) counting.Bucket {
	g, i := w.groupOf(name)
	return counting.NewCounter(w.rule(int(g.Spec.Index))).BucketOf(w.targets[name], counting.MemberOf(g, i))
}

func (w *world) rule(group int) counting.Rule {
	return RuleOf(w.rollout, w.set, group, w.autoAssignments())
}

// ofRollout returns an action of a rollout that started this number of minutes after epoch.
func ofRollout(name string, minutes int, state v1alpha1.ActionState) v1alpha1.Action {
	since := metav1.NewMicroTime(epoch.Add(time.Duration(minutes) * time.Minute))
	a := v1alpha1.Action{ID: 1, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: name, UID: types.UID("uid-" + name), Attempt: 1, Since: &since}, State: state}
	if state.IsClosed() {
		a.ClosedAt = at(epoch.Add(time.Hour))
	}
	return a
}

func (w *world) report(name string, e action.Event, code string) {
	s := &w.targets[name].Status
	action.Apply(s, action.Report{ID: action.Newest(s).ID, Event: e, StatusCode: code, Now: w.now})
}

func (w *world) succeed(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.startUpdate(name)
		w.report(name, action.Download, "")
		w.report(name, action.Succeed, "")
	}
}

func (w *world) fail(code string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.startUpdate(name)
		w.report(name, action.Download, "")
		w.report(name, action.Fail, code)
	}
}

// cancelOpenActions applies the stop to open actions, as Plan.CancelOpenActions requests.
func (w *world) cancelOpenActions(c v1alpha1.Cancellation, cause v1alpha1.CancelCause) {
	for _, t := range w.targets {
		if a := action.Open(&t.Status); a != nil && a.Source.UID == w.rollout.UID {
			action.Cancel(&t.Status, a.ID, cause, c, w.now)
		}
	}
}

// Checks.

func (w *world) state() v1alpha1.RolloutState { return w.rollout.Status.State }

// states returns the states of the groups.
func (w *world) states() string {
	var out []string
	for _, g := range w.rollout.Status.Groups {
		out = append(out, string(g.State))
	}
	return strings.Join(out, " ")
}

func (w *world) condition(kind string) string {
	c := meta.FindStatusCondition(w.rollout.Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

func (w *world) message(kind string) string {
	if c := meta.FindStatusCondition(w.rollout.Status.Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

func (w *world) waitingFor() string {
	if w.rollout.Status.WaitingFor == nil {
		return ""
	}
	return w.rollout.Status.WaitingFor.Message
}

func (w *world) want(state v1alpha1.RolloutState, groups string) {
	w.t.Helper()
	if w.state() != state || w.states() != groups {
		w.t.Fatalf("got %s [%s], want %s [%s]; %s\n%s", w.state(), w.states(), state, groups, w.waitingFor(), strings.Join(w.log, "\n"))
	}
}

func (w *world) wantCondition(kind, want string) {
	w.t.Helper()
	if got := w.condition(kind); got != want {
		w.t.Errorf("%s is %q (%s), want %q", kind, got, w.message(kind), want)
	}
}

func (w *world) wantContains(text, part string) {
	w.t.Helper()
	if !strings.Contains(text, part) {
		w.t.Errorf("%q does not contain %q", text, part)
	}
}

func num(n int32) *int32 { return &n }

func groupCount(n int32) func(*v1alpha1.RolloutSpec) {
	return func(s *v1alpha1.RolloutSpec) { s.GroupCount = &n }
}

func at(t time.Time) *metav1.Time {
	out := metav1.NewTime(t)
	return &out
}

// running returns a world whose first group has opened.
func running(t testing.TB, n int, edit func(*v1alpha1.RolloutSpec)) *world {
	t.Helper()
	w := newWorld(t, n, edit)
	w.reconcileAll()
	if w.rollout.Status.StartedAt == nil {
		t.Fatalf("not started: %s", w.waitingFor())
	}
	w.tick(time.Second)
	return w
}

// resume lifts the present pause.
func (w *world) resume() {
	w.t.Helper()
	at := metav1.NewTime(w.rollout.Status.PausedAt.Time)
	w.tick(time.Second)
	w.edit(func(s *v1alpha1.RolloutSpec) { s.ResumedAt = &at })
}
