// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

var (
	noon  = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)
	built = build.At(noon.Add(-48 * time.Hour))
)

// TestWhyAgreesWithTheDeviceAPI makes random worlds and compares what Why says with what the device
// API answers: it applies what is pending, and then asks package offer.
func TestWhyAgreesWithTheDeviceAPI(t *testing.T) {
	kinds := map[offer.Kind]int{}
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 12))
		objects, target := randomWorld(random)
		x, err := fleet.Of(objects)
		if err != nil {
			t.Fatal(err)
		}
		for _, now := range []time.Time{noon, noon.Add(time.Duration(random.IntN(100)) * time.Hour)} {
			why := Why(x, target, "", now)
			w, o := answer(x, target, now)
			kinds[o.Kind]++
			if diff := cmp.Diff([]any{o.Kind, o.ActionID, string(o.Reason.Code), o.Reason.Message}, []any{why.Now.Kind, why.Now.ActionID, why.Now.Code, why.Now.Message}); diff != "" {
				t.Errorf("seed %d: Why differs from the device API (-device API +Why):\n%s", seed, diff)
			}
			checkUpdates(t, &why, &w, &o)
			if o.Intent != nil {
				checkStarted(t, x, &w, &o)
			}
			if t.Failed() {
				t.Fatalf("seed %d, at %s", seed, now)
			}
		}
	}
	for _, kind := range []offer.Kind{offer.Nothing, offer.Deploy, offer.Cancel, offer.Confirm} {
		if kinds[kind] < 50 {
			t.Errorf("%d worlds offer %s, want at least 50: too little happens in them", kinds[kind], kind)
		}
	}
}

// answer returns what the device API answers.
func answer(x *fleet.Index, target *v1alpha1.Target, now time.Time) (offer.World, offer.Offer) {
	w := x.World(target, now)
	status, _ := offer.ApplyPending(w)
	applied := *target
	applied.Status = *status
	w.Target = &applied
	return w, offer.For(w)
}

func checkUpdates(t *testing.T, why *WhyTarget, w *offer.World, o *offer.Offer) {
	t.Helper()
	offered := 0
	for _, r := range why.Updates {
		if r.Message == "" {
			t.Errorf("%+v has no message", r)
		}
		if r.Offered {
			offered++
			if r.Final {
				t.Errorf("%+v is offered and final", r)
			}
		}
	}
	switch {
	case o.Kind == offer.Nothing && offered != 0, offered > 1:
		t.Errorf("%d updates are marked as offered, and the device gets %s", offered, o.Kind)
	case o.Intent != nil && (offered != 1 || *why.Now.Source != *sourceOf(&o.Intent.Source)):
		t.Errorf("the device gets the update of %+v, and Why names %+v", o.Intent.Source, why.Now.Source)
	}
	for _, in := range w.Intents {
		if !slices.ContainsFunc(why.Updates, func(r Reach) bool { return r.Source == *sourceOf(&in.Source) }) {
			t.Errorf("%+v reaches the target and is not listed", in.Source)
		}
	}
	for _, r := range why.Updates {
		if r.Code == CodeNotSelected {
			t.Errorf("%+v does not select the target and is listed", r.Source)
		}
	}
	if why.Next != nil && (why.Next.Offered || why.Next.Final) {
		t.Errorf("the next update is %+v", why.Next)
	}
}

// checkStarted lets the device start what is offered: Why then says that it continues.
func checkStarted(t *testing.T, x *fleet.Index, w *offer.World, o *offer.Offer) {
	t.Helper()
	started := w.Target.DeepCopy()
	if action.Create(&started.Status, o.Creation(*w)) == nil {
		t.Errorf("the offered action cannot be created")
		return
	}
	again, want := Why(x, started, "", w.Now), offer.CodeResume
	if o.Kind == offer.Confirm {
		want = offer.CodeConfirm
	}
	if again.Now.Code != string(want) || again.Now.ActionID != o.ActionID {
		t.Errorf("after the start of action %d: %+v", o.ActionID, again.Now)
	}
}

// randomWorld returns a target and objects of which some reach it.
func randomWorld(random *rand.Rand) ([]client.Object, *v1alpha1.Target) {
	var objects []client.Object
	module := built.SoftwareModule("os-1")
	objects = append(objects, module)
	for i := range 3 {
		objects = append(objects, randomSet(random, fmt.Sprintf("set-%d", i), module))
	}
	names := []string{"other", "dev"}
	for i := range 3 {
		set := objects[1+random.IntN(3)].(*v1alpha1.DistributionSet)
		r := randomRollout(random, fmt.Sprintf("r%d", i), set)
		groups := randomGroups(random, r, names)
		build.Running(r.CreationTimestamp.Add(time.Minute), set.Status.ContentHash, groups...)(r)
		randomState(random, r)
		objects = append(objects, r)
		for _, g := range groups {
			objects = append(objects, g)
		}
	}
	if random.IntN(2) == 0 {
		objects = append(objects, randomAuto(random, objects[1+random.IntN(3)].GetName()))
	}
	target := randomTarget(random, objects)
	return append(objects, target, built.Target("other")), target
}

func randomSet(random *rand.Rand, name string, module *v1alpha1.SoftwareModule) *v1alpha1.DistributionSet {
	return built.DistributionSet(name, func(s *v1alpha1.DistributionSet) {
		s.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "build", Value: pick(random, "a", "b", "c"), VisibleToDevice: true}}
		s.Spec.RequiredMigrationStep = random.IntN(8) == 0
		if random.IntN(8) == 0 {
			s.Spec.CompatibleTargetTypes = []string{"gateway"}
		}
		if random.IntN(8) == 0 {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: pick(random, v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce)}
		}
		build.Locked(noon.Add(-40*time.Hour), offer.ContentHash, module)(s)
		if random.IntN(10) == 0 {
			s.Status.Conditions = nil
		}
	})
}

func randomRollout(random *rand.Rand, name string, set *v1alpha1.DistributionSet) *v1alpha1.Rollout {
	return built.Rollout(name, set.Name, func(r *v1alpha1.Rollout) {
		r.CreationTimestamp = metav1.NewTime(noon.Add(-time.Duration(1+random.IntN(40)) * time.Hour))
		u := &r.Spec.Update
		u.ConfirmationRequired, u.Reinstall = random.IntN(4) == 0, random.IntN(10) == 0
		if random.IntN(4) == 0 {
			u.Superseding, u.Weight = v1alpha1.SupersedingQueue, new(random.Int32N(1000))
		}
		if random.IntN(4) == 0 {
			u.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 2 * * *", DurationSeconds: 7200}
		}
		if random.IntN(4) == 0 {
			u.Retries = &v1alpha1.Retries{Limit: 2}
		}
	})
}

// randomGroups returns two groups. The target "dev" is in one of them, or in none.
func randomGroups(random *rand.Rand, r *v1alpha1.Rollout, names []string) []*v1alpha1.DeploymentGroup {
	var groups []*v1alpha1.DeploymentGroup
	for i := range int32(2) {
		g := built.DeploymentGroup(r, i)
		if i == 0 {
			build.Members(names[0])(g)
		}
		groups = append(groups, g)
	}
	if n := random.IntN(5); n < 4 {
		g := groups[n%2]
		build.Members(names[1])(g)
		g.Spec.Conditions.ConfirmationRequired = r.Spec.Update.ConfirmationRequired
		bit := make([]byte, 1)
		bit[0] = 1 << (len(g.Spec.Targets) - 1)
		for _, bits := range []*[]byte{&g.Status.Superseded, &g.Status.AlreadyThere, &g.Status.Skipped, &g.Status.Expired} {
			if random.IntN(20) == 0 {
				*bits = bit
			}
		}
	}
	return groups
}

func randomState(random *rand.Rand, r *v1alpha1.Rollout) {
	switch random.IntN(10) {
	case 0:
		r.Spec.State = v1alpha1.IntentPaused
	case 1:
		r.Spec.State = v1alpha1.IntentStopped
	case 2:
		r.Status.State, r.Status.PauseReason, r.Status.PauseMessage = v1alpha1.RolloutPaused, v1alpha1.PauseByErrorThreshold, "too many errors"
	case 3:
		r.Status.State = v1alpha1.RolloutFinished
	case 4:
		r.Status = v1alpha1.RolloutStatus{}
		r.Spec.State = v1alpha1.IntentPlanned
	case 5, 6:
		r.Status.Groups[1].OpenedAt, r.Status.Groups[1].State = nil, v1alpha1.GroupScheduled
	}
}

func randomAuto(random *rand.Rand, set string) *v1alpha1.AutoAssignment {
	return built.AutoAssignment("auto", set, func(a *v1alpha1.AutoAssignment) {
		if random.IntN(4) > 0 {
			at := metav1.NewMicroTime(noon.Add(-time.Duration(random.IntN(40)) * time.Hour))
			a.Status.StartedAt, a.Status.State = &at, v1alpha1.AutoAssignmentRunning
		}
		if random.IntN(4) == 0 {
			a.Spec.State = v1alpha1.AutoAssignmentIntentPaused
		}
	})
}

func randomTarget(random *rand.Rand, objects []client.Object) *v1alpha1.Target {
	target := built.Target("dev", func(t *v1alpha1.Target) {
		t.Spec.Hold, t.Spec.Type = random.IntN(10) == 0, pick(random, "", "gateway", "sensor")
		if random.IntN(6) == 0 {
			since := metav1.NewMicroTime(noon.Add(-time.Duration(random.IntN(40)) * time.Hour))
			t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: objects[1+random.IntN(3)].GetName()}}
			t.Status.Assignment = offer.NoteAssignment(t.Spec.Assignment, nil, since.Time)
		}
	})
	// Let the device take what it is offered for a while, so that it has a history.
	x, err := fleet.Of(append(slices.Clone(objects), target))
	if err != nil {
		panic(err)
	}
	for h := range random.IntN(6) {
		w, o := answer(x, target, noon.Add(time.Duration(h-30)*time.Hour))
		*target = *w.Target
		if o.Intent != nil {
			action.Create(&target.Status, o.Creation(w))
		}
		if a := action.Open(&target.Status); a != nil {
			action.Apply(&target.Status, action.Report{ID: a.ID, Event: pick(random, action.Confirm, action.Download, action.Install, action.Succeed, action.Fail, action.CancelAccepted, action.CancelRejected), Now: w.Now})
		}
	}
	if random.IntN(6) == 0 && target.Status.NextActionID > build.FirstActionID {
		target.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: target.Status.NextActionID - 1, Cancellation: pick(random, v1alpha1.CancellationSoft, v1alpha1.CancellationForce)}
	}
	return target
}

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }
