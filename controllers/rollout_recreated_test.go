// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// releases is a namespace with three releases, a rollout of each, and devices that install each
// offered release. Objects are deleted and created again. No device may start a release that is
// older than the one it runs.
type releases struct {
	t     *testing.T
	store client.WithWatch
	now   time.Time
	r     *racer
	uids  int
	// release of each content hash: 1 is the oldest.
	release map[string]int
	hashes  []string
	// runs has the installed release of each device. It is kept when the Target is deleted.
	runs map[string]int
	// silent devices do not poll.
	silent map[string]bool
	// deliberate is set if a user asked for an older release.
	deliberate bool
	log        []string
}

func newReleases(t *testing.T, devices int) *releases {
	w := &releases{t: t, now: dawn, release: map[string]int{}, runs: map[string]int{}, silent: map[string]bool{}}
	b := indexedServer(t).WithStatusSubresource(&v1alpha1.AutoAssignment{})
	for i := 1; i <= 3; i++ {
		locked, built := dawn.AddDate(0, 0, i), build.Objects(w.meta)
		module := built.SoftwareModule(fmt.Sprintf("os-%d", i))
		set := lockedSet(built, i, locked, module)
		w.release[set.Status.ContentHash] = i
		w.hashes = append(w.hashes, set.Status.ContentHash)
		b = b.WithObjects(module, set)
	}
	w.store = b.Build()
	w.r = newRacer(t, w.store, func() time.Time { return w.now })
	for i := range devices {
		w.addTarget(fmt.Sprintf("dev-%d", i+1))
	}
	w.sync()
	return w
}

func (w *releases) meta(name string) metav1.ObjectMeta {
	w.uids++
	return metav1.ObjectMeta{Namespace: fleetNamespace, Name: name, UID: types.UID(fmt.Sprintf("uid-%d-%s", w.uids, name)), CreationTimestamp: metav1.NewTime(w.now), Generation: 1}
}

func (w *releases) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *releases) say(format string, args ...any) {
	w.log = append(w.log, w.now.Format("02 15:04:05 ")+fmt.Sprintf(format, args...))
}

// sync synchronizes the caches.
func (w *releases) sync() {
	w.t.Helper()
	w.r.sync(w.t, w.store)
}

func (w *releases) addTarget(name string) {
	w.must(w.store.Create(w.t.Context(), build.Objects(w.meta).Target(name, func(t *v1alpha1.Target) { t.Status.NextActionID = action.FirstID(w.now) })))
}

// removeSets deletes the sets, and addSets creates them again. They are locked at once, because the
// rollouts use them.
func (w *releases) removeSets() {
	for i := range w.hashes {
		set := &v1alpha1.DistributionSet{}
		w.must(w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: fmt.Sprintf("fw-%d", i+1)}, set))
		set.Finalizers = nil
		w.must(w.store.Update(w.t.Context(), set))
		w.must(client.IgnoreNotFound(w.store.Delete(w.t.Context(), set)))
	}
	w.sync()
}

func (w *releases) addSets() {
	for i := range w.hashes {
		module := &v1alpha1.SoftwareModule{}
		w.must(w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: fmt.Sprintf("os-%d", i+1)}, module))
		w.must(w.store.Create(w.t.Context(), lockedSet(build.Objects(w.meta), i+1, w.now, module)))
	}
	w.sync()
}

// lockedSet returns the set of a release, which was locked at a time.
func lockedSet(built build.Objects, release int, at time.Time, module *v1alpha1.SoftwareModule) *v1alpha1.DistributionSet {
	set := built.DistributionSet(fmt.Sprintf("fw-%d", release), build.Locked(at, offer.ContentHash, module))
	set.Status.Conditions = append(set.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionLocked, Status: metav1.ConditionTrue, Reason: "InUse", LastTransitionTime: metav1.NewTime(at)})
	return set
}

// recreateTargets deletes the Targets and creates them again. The devices report their installed
// sets.
func (w *releases) recreateTargets() {
	for _, t := range w.r.Index.Targets(fleetNamespace) {
		w.must(w.store.Delete(w.t.Context(), t.DeepCopy()))
		w.addTarget(t.Name)
	}
	for name, release := range w.runs {
		w.report(name, release)
	}
	w.sync()
}

// report lets a device report its installed set.
func (w *releases) report(name string, release int) {
	t := &v1alpha1.Target{}
	w.must(w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: name}, t))
	w.runs[name] = release
	action.ReportInstalled(&t.Status, fmt.Sprintf("fw-%d", release), w.hashes[release-1], w.now)
	w.must(w.store.Status().Update(w.t.Context(), t))
}

// apply creates the rollout of a release, in two groups.
func (w *releases) apply(release int, startAt *metav1.Time) {
	r := built.Rollout(fmt.Sprintf("r-%d", release), fmt.Sprintf("fw-%d", release))
	r.ObjectMeta = w.meta(r.Name)
	two, five := int32(2), int32(5)
	r.Spec.GroupCount, r.Spec.StabilizationSeconds, r.Spec.GroupOrder, r.Spec.State, r.Spec.StartAt = &two, &five, v1alpha1.GroupOrderName, v1alpha1.IntentRunning, startAt
	w.must(w.store.Create(w.t.Context(), r))
	w.say("%s is created, startAt %v", r.Name, startAt)
}

func (w *releases) rollout(release int) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{}
	w.must(w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: fmt.Sprintf("r-%d", release)}, r))
	return r
}

// remove deletes a rollout and its groups.
func (w *releases) remove(release int) {
	r := w.rollout(release)
	for _, g := range w.r.Index.Groups(r.UID) {
		next := g.DeepCopy()
		next.Finalizers = nil
		w.must(w.store.Update(w.t.Context(), next))
		w.must(client.IgnoreNotFound(w.store.Delete(w.t.Context(), next)))
	}
	r.Finalizers = nil
	w.must(w.store.Update(w.t.Context(), r))
	w.must(client.IgnoreNotFound(w.store.Delete(w.t.Context(), r)))
	w.say("%s is removed", r.Name)
}

// step reconciles each rollout and lets each device poll, and reports whether anything changed.
func (w *releases) step() bool {
	w.t.Helper()
	moved := false
	for _, r := range w.r.Index.Rollouts(fleetNamespace) {
		before := r.Status
		if _, err := w.r.Reconcile(w.t.Context(), r.DeepCopy()); err != nil {
			w.t.Fatal(err)
		}
		w.sync()
		now := w.r.Index.Rollout(client.ObjectKeyFromObject(r))
		if !equality.Semantic.DeepEqual(before, now.Status) {
			moved = true
			if stalled := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionStalled); stalled != nil || before.State != now.Status.State {
				w.say("%s is %s %v", now.Name, now.Status.State, stalled)
			}
		}
	}
	for _, t := range w.r.Index.Targets(fleetNamespace) {
		moved = !w.silent[t.Name] && w.poll(t.Name) || moved
	}
	return moved
}

// poll lets a device poll once and install the offered set.
func (w *releases) poll(name string) bool {
	w.t.Helper()
	key := types.NamespacedName{Namespace: fleetNamespace, Name: name}
	t := w.r.Index.Target(key).DeepCopy()
	before := t.Status.DeepCopy()
	if stable, pending := offer.ApplyPending(w.r.Index.World(t, w.now)); pending {
		t.Status = *stable
	}
	world := w.r.Index.World(t, w.now)
	switch o := offer.For(world); {
	case o.Kind == offer.Cancel:
		action.Apply(&t.Status, action.Report{ID: o.ActionID, Event: action.CancelAccepted, Now: w.now})
	case o.Kind != offer.Deploy:
	case o.Action == nil:
		creation := o.Creation(world)
		release := w.release[creation.ContentHash]
		w.say("%s starts release %d by %s, and runs %d", name, release, creation.Source.Name, w.runs[name])
		if release < w.runs[name] && !w.deliberate {
			w.t.Fatalf("a device was downgraded:\n%s", strings.Join(w.log, "\n"))
		}
		action.Create(&t.Status, creation)
	default:
		w.runs[name] = w.release[o.Action.ContentHash]
		action.Apply(&t.Status, action.Report{ID: o.ActionID, Event: action.Download, Now: w.now})
		action.Apply(&t.Status, action.Report{ID: o.ActionID, Event: action.Succeed, Now: w.now})
	}
	if equality.Semantic.DeepEqual(*before, t.Status) {
		return false
	}
	w.must(w.store.Status().Update(w.t.Context(), t))
	w.sync()
	return true
}

// run lets time pass until nothing has changed for two minutes.
func (w *releases) run() {
	w.t.Helper()
	for ignoreRaces := 0; ignoreRaces < 6; ignoreRaces++ {
		w.now = w.now.Add(time.Second)
		if ignoreRaces > 2 {
			w.now = w.now.Add(40 * time.Second)
		}
		if w.step() {
			ignoreRaces = 0
		}
	}
}

// history rolls out three releases, one a day. The last rollout may still be running, before the
// devices of its second group start.
func (w *releases) history(placed [3]bool, atWork bool) (startAt [3]*metav1.Time) {
	w.t.Helper()
	for i := range 3 {
		w.now = dawn.AddDate(0, 0, i+1)
		if placed[i] {
			at := metav1.NewTime(w.now)
			startAt[i] = &at
		}
		if i == 2 && atWork {
			w.silent["dev-1"] = true // a device of the first group, so the second group does not open
		}
		w.apply(i+1, startAt[i])
		w.sync()
		w.run()
	}
	want := 3
	if atWork {
		want = 2
	}
	for name, release := range w.runs {
		if release != want {
			w.t.Fatalf("before the deletion %s ends with release %d, want %d:\n%s", name, release, want, strings.Join(w.log, "\n"))
		}
	}
	w.silent = map[string]bool{}
	w.now = dawn.AddDate(0, 0, 10)
	return startAt
}

// orders returns all orders in which some of three rollouts are created again.
func orders() [][]int {
	return [][]int{{1}, {2}, {3}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {2, 3}, {3, 2}, {1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}}
}

// sets says whether the sets are created again, too, and when.
type sets string

const (
	setsRemain    sets = "remain"
	setsComeFirst sets = "are created before the rollouts"
	setsComeLast  sets = "are created after the rollouts"
)

// TestRecreatedRolloutsDowngradeNoDevice: one, some or all rollouts are deleted and created again,
// in any order, with and without startAt. No device is downgraded. The Targets either remain, and
// then the rollouts are created again at any time; or the Targets are created again as well and the
// devices report their installed sets, and then the rollouts are created within
// stabilizationSeconds.
func TestRecreatedRolloutsDowngradeNoDevice(t *testing.T) {
	for range 40 {
		order, placed := orders()[rand.IntN(15)], [3]bool{rand.IntN(2) == 0, rand.IntN(2) == 0, rand.IntN(2) == 0}
		targetsToo, atWork := rand.IntN(2) == 0, rand.IntN(2) == 0
		gap := []time.Duration{time.Second, 20 * time.Second}[rand.IntN(2)]
		if targetsToo {
			gap = []time.Duration{time.Second / 2, 2 * time.Second}[rand.IntN(2)]
		}
		t.Run(fmt.Sprintf("order %v, startAt %v, with Targets %v, running %v, gap %s", order, placed, targetsToo, atWork, gap), func(t *testing.T) {
			recreate(t, order, placed, targetsToo, atWork, setsRemain, gap)
		})
	}
	t.Run("the newest rollout has no startAt", func(t *testing.T) {
		recreate(t, []int{2, 3}, [3]bool{false, true, false}, true, false, setsRemain, time.Second)
	})
	t.Run("the newest rollout has not opened its group", func(t *testing.T) {
		recreate(t, []int{2, 3}, [3]bool{true, true, true}, true, false, setsRemain, 2*time.Second)
	})
	t.Run("the newest rollout has ended again", func(t *testing.T) {
		recreate(t, []int{3, 1}, [3]bool{false, true, true}, true, true, setsRemain, 20*time.Second)
	})
}

// TestRecreatedSetsDowngradeNoDevice: all Targets and sets are created again, and some rollouts,
// which have no startAt. A rollout that remains shows that devices run its content.
func TestRecreatedSetsDowngradeNoDevice(t *testing.T) {
	for name, tt := range map[string]struct {
		order  []int
		placed [3]bool
		atWork bool
		sets   sets
		gap    time.Duration
	}{
		"the newest rollout remains":                                      {[]int{2, 1}, [3]bool{false, false, true}, false, setsComeFirst, time.Second / 2},
		"the newest rollout remains, and the sets come last":              {[]int{1, 2}, [3]bool{false, false, true}, false, setsComeLast, 2 * time.Second},
		"the newest rollout remains and is running":                       {[]int{1, 2}, [3]bool{}, true, setsComeFirst, 2 * time.Second},
		"the newest rollout remains and is running; the sets come last":   {[]int{2, 1}, [3]bool{true, false, false}, true, setsComeLast, 2 * time.Second},
		"the rollout remains whose content the devices run":               {[]int{3, 1}, [3]bool{}, true, setsComeLast, time.Second / 2},
		"only the oldest rollout is created again":                        {[]int{1}, [3]bool{}, false, setsComeFirst, time.Second},
		"only the oldest rollout is created again, the newest is running": {[]int{1}, [3]bool{false, false, true}, true, setsComeFirst, time.Second},
	} {
		t.Run(name, func(t *testing.T) { recreate(t, tt.order, tt.placed, true, tt.atWork, tt.sets, tt.gap) })
	}
}

// recreate runs the history, and then creates these rollouts again in this order.
func recreate(t *testing.T, order []int, placed [3]bool, targetsToo, atWork bool, setsToo sets, gap time.Duration) {
	w := newReleases(t, 2)
	startAt := w.history(placed, atWork)
	for _, release := range order {
		w.remove(release)
	}
	w.sync()
	if setsToo != setsRemain {
		w.removeSets()
	}
	if targetsToo {
		w.recreateTargets()
	}
	if setsToo == setsComeFirst {
		w.addSets()
	}
	for _, release := range order {
		w.apply(release, startAt[release-1])
		w.sync()
		for end := w.now.Add(gap); w.now.Before(end); w.now = w.now.Add(time.Second / 2) {
			w.step()
		}
	}
	if setsToo == setsComeLast {
		w.addSets()
	}
	w.run()
	for name, release := range w.runs {
		if release < 2 {
			t.Errorf("%s ends with release %d:\n%s", name, release, strings.Join(w.log, "\n"))
		}
	}
	if slices.Contains(order, 3) && placed == [3]bool{true, true, true} && w.rollout(3).Status.StartedAt == nil {
		t.Errorf("all rollouts have a startAt, but the newest one does not start:\n%s", strings.Join(w.log, "\n"))
	}
}

// TestDeliberateDowngrade: a user deploys an old release again by a new rollout with a startAt.
func TestDeliberateDowngrade(t *testing.T) {
	w := newReleases(t, 2)
	w.history([3]bool{}, false)
	w.remove(1)
	w.apply(1, nil)
	w.sync()
	w.run()
	if stalled := meta.FindStatusCondition(w.rollout(1).Status.Conditions, v1alpha1.ConditionStalled); stalled == nil || stalled.Reason != v1alpha1.ReasonOrderAmbiguous {
		t.Fatalf("without startAt it is %+v", w.rollout(1).Status)
	}
	r := w.rollout(1)
	at := metav1.NewTime(w.now)
	r.Spec.StartAt, w.deliberate = &at, true
	r.Generation++
	w.must(w.store.Update(t.Context(), r))
	w.sync()
	w.run()
	for name, release := range w.runs {
		if release != 1 {
			t.Errorf("%s runs release %d", name, release)
		}
	}
	if got := w.rollout(1).Status; got.State != v1alpha1.RolloutFinished || got.Targets.Succeeded != 2 {
		t.Errorf("ends %s, %+v", got.State, got.Targets)
	}
}

// TestNewReleasesNeedNoStartAt: there is one rollout a day without a startAt, and another one a
// minute after the last one ended.
func TestNewReleasesNeedNoStartAt(t *testing.T) {
	w := newReleases(t, 2)
	for i := range 3 {
		w.apply(i+1, nil)
		w.sync()
		for range 57 {
			w.step()
			w.now = w.now.Add(time.Second)
		}
		if got := w.rollout(i + 1).Status; got.State != v1alpha1.RolloutFinished || got.Targets.Succeeded != 2 {
			t.Fatalf("release %d is %s after 57 seconds, %+v:\n%s", i+1, got.State, got.Targets, strings.Join(w.log, "\n"))
		}
	}
}
