// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout/bitmap"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var seeds = flag.Int("seeds", 300, "how many random worlds are tested")

// concerns collects the concerns of changes.
type concerns struct{ notified []Concern }

func (f *fleet) collect() *concerns {
	c := &concerns{}
	f.WatchConcerns(func(notified Concern) { c.notified = append(c.notified, notified) })
	return c
}

// include reports whether the collected concerns include a device.
func (c *concerns) include(f *fleet, controllerID string) bool {
	return slices.ContainsFunc(c.notified, func(c Concern) bool {
		t := f.Device("fleet", controllerID)
		return c.All || slices.Contains(c.Devices, controllerID) || t != nil && (slices.Contains(c.Targets, v1alpha1.TargetName(t.Name)) || c.HasOpenAction(t))
	})
}

// names returns the devices that the collected concerns include, and forgets the concerns.
func (c *concerns) names(f *fleet, of ...string) []string {
	defer func() { c.notified = nil }()
	return slices.DeleteFunc(slices.Clone(of), func(name string) bool { return !c.include(f, name) })
}

// TestConcerns: a change concerns the devices that it matters to, and no others.
func TestConcerns(t *testing.T) {
	sw := built.SoftwareModule("linux")
	fw, other := set("fw", sw), set("other", sw)
	one, two := group("r", 0, "a", "b"), group("r", 1, "c")
	r := running("r", fw, one, two)
	everyone := []string{"a", "b", "c", "d"}
	bump := func(o client.Object) { o.SetGeneration(o.GetGeneration() + 1) }
	for name, tc := range map[string]struct {
		change func(f *fleet)
		want   []string
	}{
		"a rollout counts": {func(f *fleet) {
			next := r.DeepCopy()
			next.Status.Targets = &v1alpha1.Counts{Targets: 3, Succeeded: 1}
			next.Status.Groups[0].Counts.Succeeded = 1
			next.Status.WaitingFor = &v1alpha1.WaitingFor{Message: "results of group-1"}
			f.put(next)
		}, nil},
		"a rollout is stopped": {func(f *fleet) {
			next := r.DeepCopy()
			next.Spec.State = v1alpha1.IntentStopped
			f.put(next)
		}, []string{"a", "b", "c", "d"}},
		"a rollout pauses": {func(f *fleet) {
			next := r.DeepCopy()
			next.Status.State = v1alpha1.RolloutPaused
			f.put(next)
		}, []string{"a", "b", "c"}},
		"a group opens": {func(f *fleet) {
			next := r.DeepCopy()
			next.Status.Groups[1].OpenedAt = &metav1.Time{Time: noon.Add(time.Hour)}
			f.put(next)
		}, []string{"c"}},
		"a rollout is deleted": {func(f *fleet) { f.remove(r) }, []string{"a", "b", "c", "d"}},
		"a rollout is created": {func(f *fleet) { f.put(built.Rollout("new", "fw")) }, everyone},
		"a group counts": {func(f *fleet) {
			next := one.DeepCopy()
			next.Status.Counts = &v1alpha1.Counts{Targets: 2, Succeeded: 2}
			f.put(next)
		}, nil},
		"a newer rollout takes one member over": {func(f *fleet) {
			next := one.DeepCopy()
			next.Status.Superseded = marked(2, 1)
			f.put(next)
		}, []string{"b"}},
		"a target joins a group": {func(f *fleet) {
			next := two.DeepCopy()
			next.Spec.Targets = append(next.Spec.Targets, "d")
			next.Status.Joined = []v1alpha1.JoinedBatch{{First: 1, At: metav1.NewMicroTime(noon)}}
			f.put(next)
		}, []string{"d"}},
		"a target changes": {func(f *fleet) {
			f.put(built.Target("b", func(t *v1alpha1.Target) { t.Spec.Hold = true }))
		}, []string{"b"}},
		"a target is deleted": {func(f *fleet) { f.remove(built.Target("a")) }, []string{"a"}},
		"a device reports software": {func(f *fleet) {
			f.setInventory(nil, &v1alpha1.TargetInventory{ObjectMeta: built("b")})
		}, []string{"b"}},
		"a set is used": {func(f *fleet) {
			next := fw.DeepCopy()
			next.ResourceVersion, next.Status.ObservedGeneration = "2", 7
			f.put(next)
		}, nil},
		"a set is invalidated": {func(f *fleet) {
			next := other.DeepCopy()
			next.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce}
			f.put(next)
		}, everyone},
		"a module gets another URL": {func(f *fleet) {
			next := sw.DeepCopy()
			next.Spec.Artifacts = []v1alpha1.Artifact{{FileName: "rootfs", Downloads: []v1alpha1.Download{{Protocol: "HTTP", URL: "http://new.example"}}}}
			f.put(next)
		}, everyone},
		"the status of a module changes": {func(f *fleet) {
			next := sw.DeepCopy()
			next.ResourceVersion = "2"
			f.put(next)
		}, nil},
		"a module of no set": {func(f *fleet) { f.put(built.SoftwareModule("unused")) }, nil},
		"an auto-assignment changes its set": {func(f *fleet) {
			next := f.AutoAssignment(fleetKey("auto")).DeepCopy()
			next.Spec.Update.DistributionSet = "other"
			bump(next)
			old := f.AutoAssignment(fleetKey("auto"))
			f.setAutoAssignment(old, next)
		}, everyone},
		"an auto-assignment counts": {func(f *fleet) {
			old := f.AutoAssignment(fleetKey("auto"))
			next := old.DeepCopy()
			next.ResourceVersion = "2"
			f.setAutoAssignment(old, next)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			f.put(sw, fw, other, one, two, r, built.AutoAssignment("auto", "fw"))
			for _, name := range everyone {
				f.put(built.Target(name, func(t *v1alpha1.Target) {
					if name == "d" { // it has left the rollout with an open action
						t.Status.Actions = []v1alpha1.Action{build.Action(99, "fw", v1alpha1.ActionRunning, func(a *v1alpha1.Action) {
							a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: r.UID}
						})}
					}
				}))
			}
			seen := f.collect()
			tc.change(f)
			if got := seen.names(f, everyone...); !slices.Equal(got, tc.want) {
				t.Errorf("it concerns %q, want %q", got, tc.want)
			}
		})
	}
}

// TestNoChangeIsForgotten: in random worlds, whenever the offer to a device differs after a change,
// the change concerns the device.
func TestNoChangeIsForgotten(t *testing.T) {
	for seed := range *seeds {
		random := rand.New(rand.NewPCG(uint64(seed), 11))
		w := newRandomWorld(t, random)
		seen := w.collect()
		before, now := w.offers(), ""
		for step := range 60 {
			seen.notified = nil
			now = w.change()
			after := w.offers()
			for id, was := range before {
				if after[id] != was && !seen.include(w.fleet, id) {
					t.Fatalf("seed %d, step %d: %s changes the offer to %s, which is not notified:\nbefore %s\nafter  %s", seed, step, now, id, was, after[id])
				}
			}
			before = after
		}
	}
}

// randomWorld is a fleet of a few objects of each kind, which change at random.
type randomWorld struct {
	*fleet
	*rand.Rand
	version int
}

const (
	worldTargets = 8
	worldKinds   = 3
)

func newRandomWorld(t *testing.T, random *rand.Rand) *randomWorld {
	w := &randomWorld{fleet: newFleet(t), Rand: random}
	for range 40 {
		w.change()
	}
	return w
}

// offers returns what each device gets, without messages.
func (w *randomWorld) offers() map[string]string {
	all := map[string]string{}
	for i := range worldTargets {
		id := fmt.Sprintf("dev-%d", i)
		all[id] = "no target"
		if t := w.Device("fleet", id); t != nil {
			all[id] = w.offerTo(t)
		}
	}
	return all
}

func (w *randomWorld) offerTo(t *v1alpha1.Target) string {
	at := noon.Add(30 * time.Second) // objects that were created together still wait for each other
	world := w.World(t, at)
	if status, pending := offer.ApplyPending(world); pending {
		t = t.DeepCopy()
		t.Status = *status
		world = w.World(t, at)
	}
	o := offer.For(world)
	facts := map[string]any{"target": t.UID, "kind": o.Kind, "id": o.ActionID, "code": o.Reason.Code, "opens": o.OpensAt}
	if a := action.Open(&t.Status); a != nil {
		facts["action"] = []any{a, offer.CurrentUpdate(world, a)}
	}
	if o.Intent != nil {
		facts["update"], facts["source"] = o.Intent.Update, o.Intent.Source
	}
	if o.Set != nil {
		facts["hash"] = o.Set.ContentHash
		for _, m := range o.Set.Modules {
			facts["module "+m.Name] = m.Spec
		}
	}
	text, err := json.Marshal(facts)
	must(w.t, err)
	return string(text)
}

func (w *randomWorld) maybe() bool { return w.IntN(2) == 0 }

// change changes one object at random, and returns what it changed.
func (w *randomWorld) change() string {
	n := w.IntN(worldKinds)
	switch w.IntN(7) {
	case 0:
		return w.changeTarget(w.IntN(worldTargets))
	case 1, 2:
		return w.changeRollout(fmt.Sprintf("r-%d", n))
	case 3, 4:
		return w.changeGroup(fmt.Sprintf("r-%d", n), int32(w.IntN(2)))
	case 5:
		return w.changeSet(fmt.Sprintf("fw-%d", n))
	default:
		return w.changeOther(n)
	}
}

// metadata gives an object a new version, and sometimes another identity.
func (w *randomWorld) metadata(o client.Object) {
	w.version++
	o.SetGeneration(int64(w.version))
	if w.IntN(10) == 0 {
		o.SetUID(types.UID(fmt.Sprintf("uid-%s-%d", o.GetName(), w.version)))
	}
}

func (w *randomWorld) changeTarget(i int) string {
	name := fmt.Sprintf("dev-%d", i)
	old := w.Target(fleetKey(name))
	if old != nil && w.IntN(8) == 0 {
		w.remove(old)
		return "the deletion of target " + name
	}
	t := built.Target(name)
	if old != nil {
		t = old.DeepCopy()
	}
	w.metadata(t)
	t.Labels = map[string]string{"ring": fmt.Sprint(w.IntN(2))}
	t.Spec.Hold = w.IntN(6) == 0
	t.Spec.ControllerID = ""
	if w.IntN(4) == 0 {
		t.Spec.ControllerID = fmt.Sprintf("dev-%d", w.IntN(worldTargets))
	}
	if t.Status.Actions = nil; w.maybe() {
		r := fmt.Sprintf("r-%d", w.IntN(worldKinds))
		started := metav1.NewTime(noon.Add(time.Minute))
		t.Status.NextActionID = build.FirstActionID + 1
		t.Status.Actions = []v1alpha1.Action{build.Action(build.FirstActionID, fmt.Sprintf("fw-%d", w.IntN(worldKinds)), v1alpha1.ActionRunning, func(a *v1alpha1.Action) {
			if a.StartedAt = &started; w.Set(fleetKey(a.DistributionSet)) != nil {
				a.ContentHash = w.Set(fleetKey(a.DistributionSet)).ContentHash
			}
			a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r, UID: types.UID("uid-" + r)}
			if rollout := w.Rollout(fleetKey(r)); rollout != nil {
				a.Source.UID, a.Source.Since = rollout.UID, rollout.Status.StartedAt
			}
		})}
	}
	w.put(t)
	return "target " + name
}

func (w *randomWorld) changeRollout(name string) string {
	old := w.Rollout(fleetKey(name))
	if old != nil && w.IntN(10) == 0 {
		w.remove(old)
		return "the deletion of rollout " + name
	}
	r := built.Rollout(name, fmt.Sprintf("fw-%d", w.IntN(worldKinds)))
	if old != nil {
		r = old.DeepCopy()
	}
	w.metadata(r)
	one, two := group(name, 0), group(name, 1)
	startAt := metav1.NewTime(noon.Add(time.Duration(w.IntN(3)-1) * time.Second))
	switch w.IntN(9) {
	case 0:
		r.Status.StartedAt, r.Status.Plan, r.Status.Groups = nil, nil, nil
	case 1, 2:
		hash := ""
		if s := w.Set(fleetKey(r.Spec.Update.DistributionSet)); s != nil {
			hash = s.ContentHash
		}
		r.Status.Groups = nil
		build.Running(noon.Add(time.Duration(w.IntN(20))*time.Second), hash, one, two)(r)
	case 3:
		r.Spec.State = v1alpha1.IntentStopped
		r.Spec.StopCancellation = v1alpha1.CancellationForce
	case 4:
		r.Spec.State = v1alpha1.IntentRunning
	case 5:
		r.Spec.Update.Type = []v1alpha1.UpdateType{v1alpha1.UpdateTypeSoft, v1alpha1.UpdateTypeForced}[w.IntN(2)]
	case 6:
		r.Spec.StartAt = &startAt
	case 7:
		if len(r.Status.Groups) > 0 {
			r.Status.Groups[w.IntN(len(r.Status.Groups))].OpenedAt = nil
		}
	default:
		r.Status.Targets = &v1alpha1.Counts{Targets: int32(w.IntN(5))}
	}
	w.put(r)
	return "rollout " + name
}

func (w *randomWorld) changeGroup(of string, index int32) string {
	g := group(of, index)
	if old := w.Group(client.ObjectKeyFromObject(g)); old != nil {
		if w.IntN(10) == 0 {
			w.remove(old)
			return "the deletion of group " + g.Name
		}
		g = old.DeepCopy()
	}
	if r := w.Rollout(fleetKey(of)); r != nil && len(g.Spec.Targets) == 0 {
		g.Spec.RolloutUID = r.UID
	}
	const most = 4
	switch w.IntN(5) {
	case 0, 1:
		if name := v1alpha1.TargetName(fmt.Sprintf("dev-%d", w.IntN(worldTargets))); len(g.Spec.Targets) < most && !slices.Contains(g.Spec.Targets, name) {
			g.Spec.Targets = append(g.Spec.Targets, name)
		}
	case 2:
		g.Status.Superseded = bitmap.Set(slices.Clone(g.Status.Superseded), w.IntN(most), most)
	case 3:
		g.Status.Skipped = bitmap.Set(slices.Clone(g.Status.Skipped), w.IntN(most), most)
	default:
		g.Status.AlreadyThere = nil
		if w.maybe() {
			g.Status.AlreadyThere = bitmap.Set(nil, w.IntN(most), most)
		}
		g.Spec.Conditions.ConfirmationRequired = w.IntN(4) == 0
	}
	w.put(g)
	return "group " + g.Name
}

func (w *randomWorld) changeSet(name string) string {
	key := fleetKey(name)
	if old := w.sets[key]; old != nil && w.IntN(10) == 0 {
		w.remove(old)
		return "the deletion of set " + name
	}
	var modules []*v1alpha1.SoftwareModule
	if m := w.modules[fleetKey("linux")]; m != nil {
		modules = append(modules, m)
	}
	s := set(name, modules...)
	s.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "set", Value: name, VisibleToDevice: true}}
	s.Status.ContentHash = offer.ContentHash(s, modules)
	switch w.IntN(4) {
	case 0:
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce}
	case 1:
		s.Status.Conditions = nil
	default:
	}
	w.put(s)
	return "set " + name
}

func (w *randomWorld) changeOther(i int) string {
	if w.maybe() {
		m := built.SoftwareModule("linux", func(m *v1alpha1.SoftwareModule) { m.Spec.Version = fmt.Sprint(w.IntN(2)) })
		if old := w.modules[fleetKey("linux")]; old != nil && w.IntN(4) == 0 {
			w.remove(old)
			return "the deletion of module linux"
		}
		w.put(m)
		return "module linux"
	}
	name := fmt.Sprintf("auto-%d", i)
	old := w.AutoAssignment(fleetKey(name))
	if old != nil && w.IntN(6) == 0 {
		w.setAutoAssignment(old, nil)
		return "the deletion of auto-assignment " + name
	}
	a := built.AutoAssignment(name, fmt.Sprintf("fw-%d", w.IntN(worldKinds)))
	w.metadata(a)
	a.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": v1alpha1.LabelValue(fmt.Sprint(w.IntN(2)))}}
	if w.maybe() {
		started := metav1.NewMicroTime(noon.Add(time.Duration(w.IntN(20)) * time.Second))
		a.Status.State, a.Status.StartedAt = v1alpha1.AutoAssignmentRunning, &started
	}
	w.setAutoAssignment(orNil(old), a)
	return "auto-assignment " + name
}
