// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestSharedIntentsAreThoseOfANewIndex changes random objects of random worlds. After each change
// and some time, every target gets the intents and the offer that it gets from a new index of the
// same objects, which has no shared intent yet.
func TestSharedIntentsAreThoseOfANewIndex(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newSharedWorld(t, rand.New(rand.NewPCG(seed, 1)))
			for range 30 {
				change := w.changeOne()
				w.now = w.now.Add(time.Duration(w.random.IntN(3)) * 4 * time.Second)
				w.mustOfferAsNew(change)
			}
		})
	}
}

// sharedWorld is an index of a few targets that are members of several rollouts.
type sharedWorld struct {
	*fleet
	random *rand.Rand
	now    time.Time
	// modules, sets and rollouts are the names of these objects, of which some do not exist.
	modules, sets, rollouts, targets []string
}

func newSharedWorld(t *testing.T, random *rand.Rand) *sharedWorld {
	w := &sharedWorld{fleet: newFleet(t), random: random, now: noon.Add(time.Second)}
	for i := range 3 {
		w.modules, w.sets = append(w.modules, fmt.Sprint("module-", i)), append(w.sets, fmt.Sprint("set-", i))
		module := built.SoftwareModule(w.modules[i])
		w.put(module, set(w.sets[i], module))
	}
	for i := range 4 {
		w.targets = append(w.targets, fmt.Sprint("dev-", i))
		w.put(built.Target(w.targets[i]))
	}
	for i := range 4 {
		w.rollouts = append(w.rollouts, fmt.Sprint("r", i))
		w.startRollout(w.rollouts[i])
	}
	return w
}

// startRollout creates a rollout of a random set with two groups, of which one may have not opened.
func (w *sharedWorld) startRollout(name string) {
	first, second := group(name, 0, w.targets[:2]...), group(name, 1, w.targets[2:]...)
	of := w.Index.sets[fleetKey(w.one(w.sets))]
	if of == nil {
		return
	}
	r := running(name, of, first, second)
	r.Status.StartedAt.Time = noon.Add(-time.Duration(w.random.IntN(5)) * time.Minute)
	if w.random.IntN(2) == 0 {
		r.Spec.StartAt = &metav1.Time{Time: r.Status.StartedAt.Time}
	}
	if w.random.IntN(3) == 0 {
		r.Status.Groups[1].OpenedAt = nil
	}
	w.put(first, second, r)
}

func (w *sharedWorld) one(names []string) string { return names[w.random.IntN(len(names))] }

// changed puts a changed copy of an object, and returns its name, or nothing if it does not exist.
func changed[T any, P interface {
	*T
	client.Object
	DeepCopy() P
}](w *sharedWorld, object P, change func(P)) string {
	if object == nil {
		return "nothing"
	}
	next := object.DeepCopy()
	change(next)
	w.put(next)
	return object.GetName()
}

// changeOne makes one random change and returns its description.
func (w *sharedWorld) changeOne() string {
	r := w.Index.rollouts[fleetKey(w.one(w.rollouts))]
	g := w.Index.groups[client.ObjectKeyFromObject(group(w.one(w.rollouts), int32(w.random.IntN(2))))]
	s := w.Index.sets[fleetKey(w.one(w.sets))]
	m := w.Index.modules[fleetKey(w.one(w.modules))]
	at := metav1.NewMicroTime(w.now)
	bits := marked(2, w.random.IntN(2))
	switch w.random.IntN(17) {
	case 0:
		return "pause or continue " + changed(w, r, func(r *v1alpha1.Rollout) {
			r.Spec.State = map[v1alpha1.RolloutIntent]v1alpha1.RolloutIntent{v1alpha1.IntentPaused: v1alpha1.IntentRunning}[r.Spec.State]
			if r.Spec.State == "" {
				r.Spec.State = v1alpha1.IntentPaused
			}
		})
	case 1:
		return "stop " + changed(w, r, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped })
	case 2:
		return "finish " + changed(w, r, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished })
	case 3:
		return "open the second group of " + changed(w, r, func(r *v1alpha1.Rollout) { r.Status.Groups[1].OpenedAt = &metav1.Time{Time: w.now} })
	case 4:
		return "force " + changed(w, r, func(r *v1alpha1.Rollout) { r.Status.UpdateType = v1alpha1.UpdateTypeForced })
	case 5:
		return "retry " + changed(w, r, func(r *v1alpha1.Rollout) {
			r.Spec.Retry, r.Status.Handled = &v1alpha1.Retry{At: metav1.NewTime(w.now)}, &v1alpha1.HandledRequests{RetryAt: &at}
		})
	case 6:
		if r != nil {
			w.remove(r)
		}
		return "delete a rollout"
	case 7:
		name := w.one(w.rollouts)
		w.startRollout(name)
		return "create " + name
	case 8:
		return "supersede a member of " + changed(w, g, func(g *v1alpha1.DeploymentGroup) {
			g.Status.Superseded, g.Status.SupersededBy = bits, []v1alpha1.SupersedingRollout{{Name: "newer"}}
		})
	case 9:
		return "skip a member of " + changed(w, g, func(g *v1alpha1.DeploymentGroup) { g.Status.Skipped = bits })
	case 10:
		return "expire a member of " + changed(w, g, func(g *v1alpha1.DeploymentGroup) {
			g.Status.Expired, g.Status.ExpiredAt = bits, []v1alpha1.ExpiredBatch{{Through: 2, At: at}}
		})
	case 11:
		return "require confirmation in " + changed(w, g, func(g *v1alpha1.DeploymentGroup) {
			g.Spec.Conditions.ConfirmationRequired = !g.Spec.Conditions.ConfirmationRequired
		})
	case 12:
		return "a member joins " + changed(w, g, func(g *v1alpha1.DeploymentGroup) {
			if len(g.Spec.Targets) == 2 {
				g.Spec.Targets = append(g.Spec.Targets, v1alpha1.TargetName(w.one(w.targets)))
				g.Status.Joined = []v1alpha1.JoinedBatch{{First: 2, At: at}}
			}
		})
	case 13:
		if g != nil {
			w.remove(g)
		}
		return "delete a group"
	case 14:
		return "invalidate or change " + changed(w, s, func(s *v1alpha1.DistributionSet) {
			if w.random.IntN(2) == 0 {
				s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft}
			} else {
				s.Spec.CompatibleTargetTypes = append(s.Spec.CompatibleTargetTypes, "other")
			}
		})
	case 15:
		if w.Index.rollouts[fleetKey("newer")] == nil {
			w.put(waitingToStart(noon))
			return "create a newer rollout that has not started"
		}
		return "start " + changed(w, w.Index.rollouts[fleetKey("newer")], func(r *v1alpha1.Rollout) { r.Status.StartedAt = &at })
	default:
		return "change the content of " + changed(w, m, func(m *v1alpha1.SoftwareModule) { m.Spec.Version = fmt.Sprint(w.random.IntN(3)) })
	}
}

// mustOfferAsNew compares each target with a new index of the same objects.
func (w *sharedWorld) mustOfferAsNew(change string) {
	w.t.Helper()
	fresh := newFleet(w.t)
	for _, m := range w.Index.modules {
		fresh.put(m)
	}
	for _, s := range w.Index.sets {
		fresh.put(s)
	}
	for _, g := range w.Index.groups {
		fresh.put(g)
	}
	for _, r := range w.Index.rollouts {
		fresh.put(r)
	}
	for _, name := range w.targets {
		dev := w.Target(fleetKey(name))
		got, want := w.World(dev, w.now), fresh.World(dev, w.now)
		if diff := cmp.Diff(want.Intents, got.Intents); diff != "" {
			w.t.Fatalf("%s: intents of %s (-new index +index):\n%s", change, name, diff)
		}
		if diff := cmp.Diff(offer.For(want), offer.For(got), cmpopts.EquateEmpty()); diff != "" {
			w.t.Fatalf("%s: the offer to %s (-new index +index):\n%s", change, name, diff)
		}
	}
}
