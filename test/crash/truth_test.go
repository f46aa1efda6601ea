// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// truth has every state of every object of a namespace, in the order in which the API server stored
// them: resourceVersions of all kinds are revisions of one etcd.
//
// The invariants, after each state:
//
//	S2  once the status of a set shows its invalidation, no device gets an action for it
//	S3  no group opens before the one before it has reached its success threshold, or has
//	    closed, or is in Error and was resumed, or spec.advance names it; no device gets an
//	    action whose source does not offer it: of a group that has not opened, an
//	    auto-assignment that does not run, an assignment that does not exist
//	S4  no device gets an action of a rollout that is paused by an error threshold or budget
//	S5  an action is created once for a target, source and attempt, never while another one is
//	    open, and never for a set that the device runs
//	S6  no object of Git is written: see the wire
//	S7  a closed action, an open group, a finished group, and a stopped or finished rollout do
//	    not change their state, except by a retry
//	S8  counts add up, and the final ones equal a recount of the targets
type truth struct {
	mu      sync.Mutex
	moments []moment
}

type moment struct {
	revision uint64
	gone     bool
	object   client.Object
}

// follow starts to record.
func follow(t *testing.T, config *rest.Config, namespace string) *truth {
	t.Helper()
	c, err := client.NewWithWatch(config, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	all := &truth{}
	var watchers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); watchers.Wait() })
	for _, list := range []client.ObjectList{&v1alpha1.TargetList{}, &v1alpha1.RolloutList{}, &v1alpha1.DistributionSetList{}, &v1alpha1.DeploymentGroupList{},
		&v1alpha1.AutoAssignmentList{}} {
		w, err := c.Watch(ctx, list, client.InNamespace(namespace), world.Readable)
		if err != nil {
			t.Fatal(err)
		}
		watchers.Go(func() {
			defer w.Stop()
			for e := range w.ResultChan() {
				if o, ok := e.Object.(client.Object); ok {
					all.add(e.Type, o)
				} else if ctx.Err() == nil {
					t.Errorf("the watch that records all states ended: %+v", e.Object)
				}
			}
		})
	}
	return all
}

func (h *truth) add(what watch.EventType, o client.Object) {
	revision, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err) // resourceVersions of this API server are numbers
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moments = append(h.moments, moment{revision, what == watch.Deleted, o})
}

// observer checks the states one after the other.
type observer struct {
	given     map[string]map[int32]bool
	targets   map[string]*v1alpha1.Target
	sets      map[string]*v1alpha1.DistributionSet
	rollouts  map[types.UID]*v1alpha1.Rollout
	autos     map[types.UID]*v1alpha1.AutoAssignment
	groups    map[string]*v1alpha1.DeploymentGroup
	creations map[string]int32
	out       []string
}

// problems returns all violations of the invariants. given has the actions that devices got.
func (h *truth) problems(given map[string]map[int32]bool) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.moments, func(a, b moment) int { return cmp.Compare(a.revision, b.revision) })
	o := &observer{
		given: given, targets: map[string]*v1alpha1.Target{}, sets: map[string]*v1alpha1.DistributionSet{}, rollouts: map[types.UID]*v1alpha1.Rollout{},
		autos: map[types.UID]*v1alpha1.AutoAssignment{}, groups: map[string]*v1alpha1.DeploymentGroup{}, creations: map[string]int32{},
	}
	for _, m := range h.moments {
		o.see(m)
	}
	o.recount()
	return o.out
}

func (o *observer) breach(invariant, format string, args ...any) {
	o.out = append(o.out, invariant+": "+fmt.Sprintf(format, args...))
}

func (o *observer) see(m moment) {
	switch now := m.object.(type) {
	case *v1alpha1.Target:
		o.seeTarget(o.targets[now.Name], now)
		put(o.targets, now.Name, now, m.gone)
	case *v1alpha1.DistributionSet:
		put(o.sets, now.Name, now, m.gone)
	case *v1alpha1.Rollout:
		if !m.gone {
			o.seeRollout(o.rollouts[now.UID], now)
		}
		put(o.rollouts, now.UID, now, m.gone)
	case *v1alpha1.AutoAssignment:
		put(o.autos, now.UID, now, m.gone)
	case *v1alpha1.DeploymentGroup:
		put(o.groups, now.Name, now, m.gone)
	}
}

func put[K comparable, V any](known map[K]V, key K, now V, gone bool) {
	if gone {
		delete(known, key)
		return
	}
	known[key] = now
}

func (o *observer) seeTarget(before, now *v1alpha1.Target) {
	for i := range now.Status.Actions {
		a := &now.Status.Actions[i]
		was := actionIn(before, a.ID)
		switch {
		case was == nil && o.given[now.Name][a.ID]: // an action that was stored and withdrawn has never started
			o.seeCreation(before, now, a)
		case was != nil && !was.State.HasStarted() && a.State.HasStarted() && !a.State.IsClosed(): // it was confirmed
			o.seeStart(now, a)
		case was != nil && was.State.IsClosed() && was.State != a.State:
			o.breach("S7", "action %d of %s went from %s to %s", a.ID, now.Name, was.State, a.State)
		}
	}
}

func actionIn(t *v1alpha1.Target, id int32) *v1alpha1.Action {
	if t == nil {
		return nil
	}
	for i := range t.Status.Actions {
		if t.Status.Actions[i].ID == id {
			return &t.Status.Actions[i]
		}
	}
	return nil
}

func (o *observer) seeCreation(before, t *v1alpha1.Target, a *v1alpha1.Action) {
	o.seeStart(t, a)
	key := fmt.Sprintf("%s of %s %s (%s, %s), attempt %d", t.Name, a.Source.Kind, a.Source.Name, a.Source.UID, a.ContentHash, a.Source.Attempt)
	if a.Source.Kind == v1alpha1.SourceTarget {
		key += " of the assignment of " + a.Source.Since.String()
	}
	if id, twice := o.creations[key]; twice {
		o.breach("S5", "%s was created as action %d and as action %d", key, id, a.ID)
	}
	o.creations[key] = a.ID
	if before == nil {
		return
	}
	if open := action.Open(&before.Status); open != nil {
		o.breach("S5", "%s started action %d while action %d was open", t.Name, a.ID, open.ID)
	}
	if action.Installed(&before.Status, a.ContentHash) {
		o.breach("S5", "%s runs %s, and started it as action %d", t.Name, a.DistributionSet, a.ID)
	}
}

// seeStart checks that the action may start, or wait for confirmation, now.
func (o *observer) seeStart(t *v1alpha1.Target, a *v1alpha1.Action) {
	if set := o.sets[a.DistributionSet]; set == nil {
		o.breach("S2", "%s started %s, which does not exist", t.Name, a.DistributionSet)
	} else if i := set.Status.Invalidation; i != nil && i.Cancellation != v1alpha1.CancellationNone {
		o.breach("S2", "%s started %s after the set showed its invalidation", t.Name, a.DistributionSet)
	}
	switch a.Source.Kind {
	case v1alpha1.SourceTarget:
		if wanted := t.Spec.Assignment; wanted == nil || wanted.DistributionSet != a.DistributionSet {
			o.breach("S3", "%s started action %d of an assignment that does not exist", t.Name, a.ID)
		}
	case v1alpha1.SourceAutoAssignment:
		if auto := o.autos[a.Source.UID]; auto == nil || auto.Status.State != v1alpha1.AutoAssignmentRunning {
			o.breach("S3", "%s started action %d of auto-assignment %s, which does not run", t.Name, a.ID, a.Source.Name)
		}
	default:
		o.seeMemberStart(t, a)
	}
}

func (o *observer) seeMemberStart(t *v1alpha1.Target, a *v1alpha1.Action) {
	r := o.rollouts[a.Source.UID]
	if r == nil {
		o.breach("S3", "%s started action %d of rollout %s, which does not exist", t.Name, a.ID, a.Source.Name)
		return
	}
	if r.Status.PauseReason == v1alpha1.PauseByErrorThreshold || r.Status.PauseReason == v1alpha1.PauseByErrorBudget {
		o.breach("S4", "%s started an action of rollout %s, which is paused: %s", t.Name, r.Name, r.Status.PauseReason)
	}
	if i := groupNamed(r, a.Source.Group); i < 0 || r.Status.Groups[i].OpenedAt == nil {
		o.breach("S3", "%s started in group %s of rollout %s, which has not opened", t.Name, a.Source.Group, r.Name)
	}
}

func groupNamed(r *v1alpha1.Rollout, name string) int {
	return slices.IndexFunc(r.Status.Groups, func(g v1alpha1.GroupStatus) bool { return g.Name == name })
}

func (o *observer) seeRollout(before, now *v1alpha1.Rollout) {
	o.addUp(now)
	if before == nil || before.Status.StartedAt == nil {
		return
	}
	if before.Status.Plan.Hash != now.Status.Plan.Hash || len(before.Status.Groups) != len(now.Status.Groups) && !hasGrown(before, now) {
		o.breach("S7", "rollout %s has started and changed its plan", now.Name)
		return
	}
	if isRetried(before, now) {
		return
	}
	if isOver(before) && before.Status.State != now.Status.State {
		o.breach("S7", "rollout %s went from %s to %s", now.Name, before.Status.State, now.Status.State)
	}
	for i := range now.Status.Groups {
		o.seeGroup(before, now, i)
	}
}

// hasGrown reports whether a dynamic rollout has added groups after the planned ones.
func hasGrown(before, now *v1alpha1.Rollout) bool {
	return now.Spec.Dynamic != nil && len(before.Status.Groups) < len(now.Status.Groups)
}

// isRetried reports whether the rollout has just carried out a retry, after which it and its groups
// are Running again.
func isRetried(before, now *v1alpha1.Rollout) bool {
	return retriedAt(now) != nil && !retriedAt(now).Equal(retriedAt(before))
}

func retriedAt(r *v1alpha1.Rollout) *metav1.MicroTime {
	if r.Status.Handled == nil {
		return nil
	}
	return r.Status.Handled.RetryAt
}

// isAdvanced reports whether groups have just opened because of spec.advance.
func isAdvanced(before, now *v1alpha1.Rollout) bool {
	return advancedAt(now) != nil && !advancedAt(now).Equal(advancedAt(before))
}

func advancedAt(r *v1alpha1.Rollout) *metav1.MicroTime {
	if r.Status.Handled == nil {
		return nil
	}
	return r.Status.Handled.AdvanceAt
}

func isOver(r *v1alpha1.Rollout) bool {
	return r.Status.State == v1alpha1.RolloutFinished || r.Status.State == v1alpha1.RolloutStopped
}

func (o *observer) seeGroup(earlier, r *v1alpha1.Rollout, i int) {
	var before v1alpha1.GroupStatus // empty for a group that did not exist
	if i < len(earlier.Status.Groups) {
		before = earlier.Status.Groups[i]
	}
	now := r.Status.Groups[i]
	if before.OpenedAt != nil && !before.OpenedAt.Equal(now.OpenedAt) {
		o.breach("S7", "group %s of rollout %s had opened at %s, and now at %s", now.Name, r.Name, before.OpenedAt, now.OpenedAt)
	}
	if before.State == v1alpha1.GroupFinished && now.State != v1alpha1.GroupFinished {
		o.breach("S7", "group %s of rollout %s went from Finished to %s", now.Name, r.Name, now.State)
	}
	if i == 0 || before.OpenedAt != nil || now.OpenedAt == nil || isAdvanced(earlier, r) {
		return
	}
	if r.Status.Groups[i-1].State == v1alpha1.GroupError && r.Status.Handled != nil && r.Status.Handled.ResumedAt != nil && r.Status.PauseReason == "" {
		return
	}
	c := o.count(r, r.Status.Groups[i-1].Name)
	if 100*c.Succeeded < successThreshold(r)*c.Targets && c.Scheduled+c.Pending+c.InProgress > 0 {
		o.breach("S3", "group %s of rollout %s opened while the counts of the one before were %s", now.Name, r.Name, show(c))
	}
}

func successThreshold(r *v1alpha1.Rollout) int32 {
	if r.Spec.SuccessThreshold == nil {
		return 50
	}
	return *r.Spec.SuccessThreshold
}

// addUp checks the sums of the counts of each group and of the rollout.
func (o *observer) addUp(r *v1alpha1.Rollout) {
	var sum v1alpha1.Counts
	for _, g := range r.Status.Groups {
		if total(g.Counts) != g.Targets {
			o.breach("S8", "group %s of rollout %s counts %s", g.Name, r.Name, show(g.Counts))
		}
		sum = plus(sum, g.Counts)
	}
	if t := r.Status.Targets; t != nil && !equality.Semantic.DeepEqual(*t, sum) {
		o.breach("S8", "rollout %s counts %s, and its groups together %s", r.Name, show(t), show(sum))
	}
}

func total(c v1alpha1.Counts) int32 {
	return c.Scheduled + c.Pending + c.InProgress + c.Succeeded + c.Failed + c.Canceled + c.Skipped + c.Removed
}

func plus(a, b v1alpha1.Counts) v1alpha1.Counts {
	return v1alpha1.Counts{
		Targets: a.Targets + b.Targets, Scheduled: a.Scheduled + b.Scheduled, Pending: a.Pending + b.Pending, InProgress: a.InProgress + b.InProgress,
		Succeeded: a.Succeeded + b.Succeeded, Failed: a.Failed + b.Failed, Canceled: a.Canceled + b.Canceled, Skipped: a.Skipped + b.Skipped, Removed: a.Removed + b.Removed,
	}
}

// recount compares the final counts of the rollouts with the targets.
func (o *observer) recount() {
	for _, r := range o.rollouts {
		for _, g := range r.Status.Groups {
			if want := o.count(r, g.Name); !equality.Semantic.DeepEqual(g.Counts, want) {
				o.breach("S8", "the final counts of group %s of rollout %s are %s, but those of its targets %s", g.Name, r.Name, show(g.Counts), show(want))
			}
		}
	}
}

// count counts the members of a group by their actions and their bitmaps. It supports only the
// cases of these scenarios.
func (o *observer) count(r *v1alpha1.Rollout, name string) v1alpha1.Counts {
	var c v1alpha1.Counts
	for _, g := range o.groups {
		if g.Spec.RolloutUID != r.UID || g.Spec.Group != name || g.Spec.PlanHash != r.Status.Plan.Hash {
			continue
		}
		isOpen := r.Status.Groups[g.Spec.Index].OpenedAt != nil
		isStopped := r.Status.State == v1alpha1.RolloutStopped || r.Status.State == v1alpha1.RolloutStopping
		for i, member := range g.Spec.Targets {
			c.Targets++
			switch t := o.targets[string(member)]; {
			case newestOf(t, r) != nil:
				*bucketOf(&c, newestOf(t, r))++
			case bitmap.Has(g.Status.AlreadyThere, i):
				c.Succeeded++
			case bitmap.Has(g.Status.Skipped, i):
				c.Skipped++
			case isStopped, bitmap.Has(g.Status.Superseded, i), isTaken(t, r):
				c.Canceled++
			case isOpen && action.Installed(&t.Status, r.Status.Plan.ContentHash): // before the group has recorded it
				c.Succeeded++
			case isOpen:
				c.Pending++
			default:
				c.Scheduled++
			}
		}
	}
	return c
}

// newestOf returns the newest action of a rollout on a target, or nil.
func newestOf(t *v1alpha1.Target, r *v1alpha1.Rollout) *v1alpha1.Action {
	var newest *v1alpha1.Action
	for i := range t.Status.Actions {
		if a := &t.Status.Actions[i]; a.Source.UID == r.UID && (newest == nil || a.ID > newest.ID) {
			newest = a
		}
	}
	return newest
}

// isTaken reports whether a target has started an update that is newer than a rollout.
func isTaken(t *v1alpha1.Target, r *v1alpha1.Rollout) bool {
	return slices.ContainsFunc(t.Status.Actions, func(a v1alpha1.Action) bool {
		return a.Source.UID != r.UID && r.Status.StartedAt != nil && a.Source.Since != nil && a.Source.Since.After(rollout.Since(r))
	})
}

func bucketOf(c *v1alpha1.Counts, a *v1alpha1.Action) *int32 {
	switch a.State {
	case v1alpha1.ActionFinished:
		return &c.Succeeded
	case v1alpha1.ActionError:
		return &c.Failed
	case v1alpha1.ActionCanceled:
		return &c.Canceled
	}
	return &c.InProgress
}
