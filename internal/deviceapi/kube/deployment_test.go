// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

func TestFirstFetchCreatesTheAction(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	p := d.poll()
	if p.DeployID != firstID || p.CancelID != 0 {
		t.Fatalf("the poll announces deployment %d and cancel %d, want %d and none", p.DeployID, p.CancelID, firstID)
	}
	w.takeWrites()

	got, err := d.Deployment(context.Background(), dev0, p.DeployID)
	if err != nil {
		t.Fatal(err)
	}
	w.wantWrites(1, "the creation")
	want := deviceapi.Deployment{ID: firstID, Forced: true, Weight: 1000, Created: true,
		Modules: []deviceapi.Module{{ID: "linux", Type: "os", Name: "linux", Version: "6.6", Metadata: []deviceapi.Metadata{{Key: "shown", Value: "v"}},
			Artifacts: []deviceapi.Artifact{{FileName: "rootfs.swu", Size: 4,
				SHA256: "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", SHA1: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
				Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: "http://files.example/rootfs.swu"}}}}}},
		History: deviceapi.History{State: "Retrieved"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the deployment is not as wanted (-want +got):\n%s", diff)
	}
	a := w.wantState(firstID, v1alpha1.ActionRetrieved)
	if a.Source.Kind != v1alpha1.SourceRollout || a.Source.Name != "rollout" || a.Source.Group != "group-1" || a.Source.Attempt != 1 {
		t.Errorf("the source of the action is %+v", a.Source)
	}
	if s := w.target("dev-0").Status; s.NextActionID != firstID+1 || s.UpdateStatus != v1alpha1.UpdateStatusPending {
		t.Errorf("the next id is %d and the target %s, want %d and Pending", s.NextActionID, s.UpdateStatus, firstID+1)
	}
	if again := d.poll(); again.CacheBuster != p.CacheBuster || again.DeployID != p.DeployID {
		t.Errorf("after the creation the poll announces %d?c=%s, before it %d?c=%s", again.DeployID, again.CacheBuster, p.DeployID, p.CacheBuster)
	}
}

// swupdate fetches the deployment of each action three times.
func TestFurtherFetchesWriteNothing(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	for _, wait := range []time.Duration{0, time.Second, justCreated} {
		w.wait(wait)
		if _, err := d.Deployment(context.Background(), dev0, firstID); err != nil {
			t.Errorf("%s later: %v", wait, err)
		}
	}
	w.wantWrites(0, "fetching a deployment that has started")
	if got := w.reads["*v1alpha1.Rollout"]; got != 3 {
		t.Errorf("the rollout was read %d times from the API server, want 3: at the creation of the action, and for two fetches within justCreated", got)
	}
}

// If the source or the set of an action is stopped between the creation of the action and the
// response, the device does not get the deployment, and the status of the Target is as if the
// device had never had the action.
func TestActionIsWithdrawnDirectlyAfterItsCreation(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(w *world)
		cause     v1alpha1.CancelCause // empty: as if never created
		answered  bool
	}{
		"nothing changes":                   {func(*world) {}, "", true},
		"a user pauses the rollout":         {func(w *world) { w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }) }, "", false},
		"an error pauses the rollout":       {func(w *world) { w.editRollout(func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutPaused }) }, "", false},
		"the rollout is stopped":            {func(w *world) { w.editRollout(stop(v1alpha1.CancellationSoft)) }, v1alpha1.CauseStopped, false},
		"the rollout is stopped with None":  {func(w *world) { w.editRollout(stop(v1alpha1.CancellationNone)) }, v1alpha1.CauseStopped, false},
		"the rollout is deleted":            {func(w *world) { w.remove(built.Rollout("rollout", "firmware")) }, v1alpha1.CauseDeleted, false},
		"the rollout is created again":      {func(w *world) { w.recreateRollout() }, v1alpha1.CauseDeleted, false},
		"the set is invalidated with Soft":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationSoft)) }, v1alpha1.CauseInvalidated, false},
		"the set is invalidated with Force": {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationForce)) }, v1alpha1.CauseInvalidated, false},
		"the set is invalidated with None":  {func(w *world) { w.editSet(invalidate(v1alpha1.CancellationNone)) }, "", true},
		"the set is deleted":                {func(w *world) { w.remove(built.DistributionSet("firmware")) }, v1alpha1.CauseSetGone, false},
		"the set has another content":       {func(w *world) { w.editSet(func(s *v1alpha1.DistributionSet) { s.Status.ContentHash = "another" }) }, v1alpha1.CauseSetGone, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.poll()
			var once sync.Once
			w.set(func(w *world) { w.afterWrite = func(client.Object) { once.Do(func() { c.meanwhile(w) }) } })

			_, err := d.Deployment(context.Background(), dev0, firstID)

			if c.answered {
				if err != nil {
					t.Fatal(err)
				}
				w.wantState(firstID, v1alpha1.ActionRetrieved)
				return
			}
			if !errors.Is(err, deviceapi.ErrNotFound) {
				t.Fatalf("the error is %v, want not found", err)
			}
			status := w.target("dev-0").Status
			if len(status.HadSets) != 0 || w.isInconsistent() || status.UpdateStatus == v1alpha1.UpdateStatusPending {
				t.Errorf("the device never got the deployment, but its status has hadSets %v, updateStatus %s, inconsistent: %t", status.HadSets, status.UpdateStatus, w.isInconsistent())
			}
			switch {
			case c.cause == "" && len(status.Actions) != 0:
				t.Errorf("want no action, so that the update is offered again, got %+v", status.Actions)
			case c.cause != "":
				if a := w.wantState(firstID, v1alpha1.ActionCanceled); a.Cancel == nil || a.Cancel.Cause != c.cause {
					t.Errorf("the cancel is %+v, want the cause %s", a.Cancel, c.cause)
				}
			}
			d.sync()
			if p := d.poll(); p.DeployID != 0 || p.CancelID != 0 {
				t.Errorf("the device is offered %+v", p)
			}
		})
	}
}

// An auto-assignment is read from the API server like a rollout.
func TestActionOfAnAutoAssignmentIsWithdrawnDirectlyAfterItsCreation(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*v1alpha1.AutoAssignment)
		cause    v1alpha1.CancelCause
		answered bool
	}{
		"nothing changes":                      {func(*v1alpha1.AutoAssignment) {}, "", true},
		"the auto-assignment is paused":        {func(a *v1alpha1.AutoAssignment) { a.Spec.State = v1alpha1.AutoAssignmentIntentPaused }, "", false},
		"the auto-assignment has stopped":      {func(a *v1alpha1.AutoAssignment) { a.Status.State = v1alpha1.AutoAssignmentStopped }, v1alpha1.CauseStopped, false},
		"the auto-assignment is deleted":       {nil, v1alpha1.CauseDeleted, false},
		"the auto-assignment gets another set": {func(a *v1alpha1.AutoAssignment) { a.Spec.Update.DistributionSet = "firmware-2" }, v1alpha1.CauseSuperseded, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Status.Groups[0].OpenedAt = nil })
			w.editTarget(func(t *v1alpha1.Target) { t.Labels = map[string]string{"site": "lab"} })
			started := metav1.NewMicroTime(rolloutStart)
			auto := built.AutoAssignment("auto", "firmware")
			auto.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "lab"}}
			auto.Status = v1alpha1.AutoAssignmentStatus{State: v1alpha1.AutoAssignmentRunning, StartedAt: &started}
			if err := w.server.Create(context.Background(), auto); err != nil {
				t.Fatal(err)
			}
			d := w.deviceAPI(Options{})
			if got := d.poll().DeployID; got != firstID {
				t.Fatalf("the poll announces %d, want %d", got, firstID)
			}
			var once sync.Once
			w.set(func(w *world) {
				w.afterWrite = func(client.Object) {
					once.Do(func() {
						if c.change == nil {
							w.remove(auto)
							return
						}
						edit(w, "auto", &v1alpha1.AutoAssignment{}, c.change)
					})
				}
			})
			_, err := d.Deployment(context.Background(), dev0, firstID)
			if c.answered != (err == nil) || err != nil && !errors.Is(err, deviceapi.ErrNotFound) {
				t.Fatalf("the error is %v", err)
			}
			if c.cause != "" {
				if a := w.wantState(firstID, v1alpha1.ActionCanceled); a.Cancel.Cause != c.cause {
					t.Errorf("the cause is %s, want %s", a.Cancel.Cause, c.cause)
				}
			} else if n := len(w.target("dev-0").Status.Actions); (n == 1) != c.answered {
				t.Errorf("the device has %d actions", n)
			}
		})
	}
}

// After a pause between creation and response the update is offered again, with the next id.
func TestUpdateIsOfferedAgainAfterAPause(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.poll()
	var once sync.Once
	w.set(func(w *world) {
		w.afterWrite = func(client.Object) {
			once.Do(func() { w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }) })
		}
	})
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Fatalf("the error is %v, want not found", err)
	}
	w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentRunning })
	d.sync()
	if got := d.start().ID; got != firstID+1 {
		t.Errorf("after the pause the device starts action %d, want %d", got, firstID+1)
	}
}

// If the API server does not respond to the read after the creation, the device gets "unavailable".
// The action exists, and the device gets it when the API server responds.
func TestActionIsCreatedWhenTheReadAfterItFails(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.poll()
	w.set(func(w *world) { w.beforeRead = func(client.Object) error { return errInjected } })
	if _, err := d.Deployment(context.Background(), dev0, firstID); !isUnavailable(err) {
		t.Fatalf("the error is %v, want unavailable", err)
	}
	w.wantState(firstID, v1alpha1.ActionRetrieved)
	w.set(func(w *world) { w.beforeRead = nil })
	if _, err := d.Deployment(context.Background(), dev0, firstID); err != nil {
		t.Error(err)
	}
	if n := len(w.target("dev-0").Status.Actions); n != 1 {
		t.Errorf("the device has %d actions, want one", n)
	}
}

// The read after the creation returns an object that cannot be decoded, before the cache has it.
// The object is held as it is when the cache has it: the device gets nothing, and no action is
// withdrawn because of a field that is not known. An invalidation that can be decoded has its
// effect.
func TestActionIsHeldWhenTheReadAfterItIsUnreadable(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(client.Object)
		wants func(error) bool
		state v1alpha1.ActionState // "" if the action is withdrawn as during a pause
	}{
		"the content hash of the set": {func(o client.Object) {
			if set, ok := o.(*v1alpha1.DistributionSet); ok {
				set.Status.ContentHash, set.Unreadable = "", &v1alpha1.Unreadable{Message: "m", Fields: []string{"status"}}
			}
		}, isUnavailable, v1alpha1.ActionRetrieved},
		"a field of the set": {func(o client.Object) {
			if set, ok := o.(*v1alpha1.DistributionSet); ok {
				set.Unreadable = &v1alpha1.Unreadable{Message: "m", Fields: []string{"spec.modules"}}
			}
		}, isUnavailable, v1alpha1.ActionRetrieved},
		"a field of the set, which is invalid": {func(o client.Object) {
			if set, ok := o.(*v1alpha1.DistributionSet); ok {
				set.Unreadable = &v1alpha1.Unreadable{Message: "m", Fields: []string{"spec.modules"}}
				set.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce}
			}
		}, func(err error) bool { return errors.Is(err, deviceapi.ErrNotFound) }, ""},
		"the rollout": {func(o client.Object) {
			if r, ok := o.(*v1alpha1.Rollout); ok {
				r.Unreadable = &v1alpha1.Unreadable{Message: "m", Fields: []string{"spec.startAt"}}
			}
		}, func(err error) bool { return errors.Is(err, deviceapi.ErrNotFound) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.poll()
			w.set(func(w *world) { w.afterRead = tc.spoil })
			if _, err := d.Deployment(context.Background(), dev0, firstID); !tc.wants(err) {
				t.Errorf("the error is %v", err)
			}
			w.set(func(w *world) { w.afterRead = nil })
			a := action.ByID(&w.target("dev-0").Status, firstID)
			if open := a != nil && !a.State.IsClosed(); open != (tc.state != "") || open && a.State != tc.state {
				t.Errorf("the action is %+v", a)
			}
		})
	}
}

func TestActionIsStoredBeforeTheResponse(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.poll()
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errInjected } })
	if _, err := d.Deployment(context.Background(), dev0, firstID); !isUnavailable(err) {
		t.Fatalf("the error is %v, want unavailable", err)
	}
	if n := len(w.target("dev-0").Status.Actions); n != 0 {
		t.Errorf("the device has %d actions, want none", n)
	}
}

// The caches of two device API replicas do not have the newest write of the other one.
func TestTwoReplicasCreateOneAction(t *testing.T) {
	w := newWorld(t, 1)
	one, other := w.deviceAPI(Options{}), w.deviceAPI(Options{})
	one.poll()
	one.sync()
	other.sync()
	w.takeWrites()
	var both sync.WaitGroup
	for _, d := range []*deviceAPI{one, other, one, other} {
		both.Go(func() {
			if doc, err := d.Deployment(context.Background(), dev0, firstID); err != nil || doc.ID != firstID {
				t.Errorf("a replica returns action %d and error %v, want %d", doc.ID, err, firstID)
			}
		})
	}
	both.Wait()
	w.wantWrites(1, "fetching a deployment from two replicas")
	if n := len(w.target("dev-0").Status.Actions); n != 1 {
		t.Errorf("the device has %d actions, want one", n)
	}
}

// When many devices start at once, their reads of the rollout are shared, and each device that was
// stored after a pause is refused.
func TestManyStartsShareTheirReads(t *testing.T) {
	const devices = 100 // a store under the race detector is slow, and a write has a timeout
	w := newWorld(t, devices)
	d := w.deviceAPI(Options{})
	var creations atomic.Int32
	var stopped sync.Map // the devices that were created after the stop
	var isStopped atomic.Bool
	// A device is decided when its action was stored or, after the pause, refused. The reads of the
	// set wait until all devices are decided.
	var decided atomic.Int32
	allDecided := make(chan struct{})
	decide := func() {
		if decided.Add(1) == devices {
			close(allDecided)
		}
	}
	var stored sync.Map
	w.set(func(w *world) {
		w.beforeWrite = func(o client.Object) error {
			if t := o.(*v1alpha1.Target); isStopped.Load() && len(t.Status.Actions) == 1 {
				stopped.Store(t.Name, true)
			}
			return nil
		}
		w.afterWrite = func(o client.Object) {
			if _, again := stored.LoadOrStore(o.GetName(), true); again {
				return
			}
			if creations.Add(1) == devices/2 {
				w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
				isStopped.Store(true)
			}
			decide()
		}
		w.beforeRead = func(o client.Object) error {
			if _, ok := o.(*v1alpha1.DistributionSet); ok {
				<-allDecided
			}
			return nil
		}
	})
	var answers sync.Map
	var all sync.WaitGroup
	for i := range devices {
		all.Go(func() {
			_, err := d.Deployment(context.Background(), deviceapi.Device{Namespace: fleetNamespace, ControllerID: deviceName(i)}, firstID)
			if err != nil && !errors.Is(err, deviceapi.ErrNotFound) {
				t.Errorf("%s: %v", deviceName(i), err)
			}
			if _, isStored := stored.Load(deviceName(i)); !isStored {
				decide()
			}
			answers.Store(deviceName(i), err == nil)
		})
	}
	all.Wait()
	late := 0
	stopped.Range(func(name, _ any) bool {
		late++
		if answered, _ := answers.Load(name); answered == true {
			t.Errorf("the action of %s was stored after the pause, and the device got it", name)
		}
		return true
	})
	if late == 0 {
		t.Error("no action was stored after the pause")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if sets, rollouts := w.reads["*v1alpha1.DistributionSet"], w.reads["*v1alpha1.Rollout"]; sets > devices/2 || rollouts > devices/2 { // on a busy machine they come in more groups
		t.Errorf("%d starts caused %d reads of the set and %d of the rollout", devices, sets, rollouts)
	}
}

// A device that guesses the next action id gets nothing while its group is not open.
func TestW28_AGuessedIDOpensNothing(t *testing.T) {
	w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Status.Groups[0].OpenedAt = nil })
	d := w.deviceAPI(Options{})
	if p := d.poll(); p.DeployID != 0 {
		t.Fatalf("the poll announces %d", p.DeployID)
	}
	w.takeWrites()
	for _, id := range []int32{firstID, firstID - 1, firstID + 1} {
		if _, err := d.Deployment(context.Background(), dev0, id); !errors.Is(err, deviceapi.ErrNotFound) {
			t.Errorf("action %d: %v, want not found", id, err)
		}
	}
	w.wantWrites(0, "guessing")
}

// A closed action can be fetched, and the fetch does not change it (W-27).
func TestFetchOfAClosedAction(t *testing.T) {
	for name, result := range map[string]wire.Feedback{"finished": succeeded, "failed": failed} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{})
			d.start()
			d.wantReport(nil, firstID, proceeding)
			d.wantReport(nil, firstID, result)
			before := w.target("dev-0")
			w.takeWrites()
			for what, fetch := range map[string]func(context.Context, deviceapi.Device, int32) (deviceapi.Deployment, error){"deploymentBase": d.Deployment, "installedBase": d.Installed} {
				if doc, err := fetch(context.Background(), dev0, firstID); err != nil || doc.ID != firstID {
					t.Errorf("%s returns action %d and error %v", what, doc.ID, err)
				}
			}
			w.wantWrites(0, "fetching a closed action")
			if diff := cmp.Diff(before.Status, w.target("dev-0").Status); diff != "" {
				t.Errorf("the fetch changed the target:\n%s", diff)
			}
		})
	}
	t.Run("an open action is not found under installedBase", func(t *testing.T) {
		d := newWorld(t, 1).deviceAPI(Options{})
		d.start()
		if _, err := d.Installed(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
			t.Errorf("installedBase of an open action: %v, want not found", err)
		}
	})
}

func TestHandling(t *testing.T) {
	at := func(t time.Time) *metav1.Time { m := metav1.NewTime(t); return &m }
	for name, c := range map[string]struct {
		update               v1alpha1.Update
		forced, downloadOnly bool
		buster               byte
	}{
		"forced":               {v1alpha1.Update{Type: v1alpha1.UpdateTypeForced}, true, false, 'f'},
		"soft":                 {v1alpha1.Update{Type: v1alpha1.UpdateTypeSoft}, false, false, 'a'},
		"forced in the future": {v1alpha1.Update{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: at(rolloutStart.Add(time.Hour))}, false, false, 'a'},
		"forced since now":     {v1alpha1.Update{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: at(rolloutStart)}, true, false, 'f'},
		"download only":        {v1alpha1.Update{Type: v1alpha1.UpdateTypeDownloadOnly}, true, true, 'f'},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update = c.update
				r.Spec.Update.DistributionSet = "firmware"
			})
			d := w.deviceAPI(Options{})
			announced := d.poll().CacheBuster
			if doc := d.start(); doc.Forced != c.forced || doc.DownloadOnly != c.downloadOnly {
				t.Errorf("forced is %t and download only %t, want %t and %t", doc.Forced, doc.DownloadOnly, c.forced, c.downloadOnly)
			}
			if resumed := d.poll().CacheBuster; announced != resumed || announced[len(announced)-1] != c.buster {
				t.Errorf("the cache buster is %s before and %s after the creation, want the end %c", announced, resumed, c.buster)
			}
		})
	}
}

// urgency returns whether the first action of the device is forced, and the cache buster of its
// offer.
func (d *deviceAPI) urgency() (bool, string) {
	d.w.t.Helper()
	p := d.poll()
	doc, err := d.Deployment(context.Background(), dev0, firstID)
	if err != nil || p.DeployID != firstID {
		d.w.t.Fatalf("the poll announces %d, and fetching %d: %v", p.DeployID, firstID, err)
	}
	return doc.Forced, p.CacheBuster
}

// An action that started as Soft becomes forced without a write, and the next poll has a link with
// another cache buster.
func TestStartedActionBecomesForced(t *testing.T) {
	forceAt := metav1.NewTime(rolloutStart.Add(time.Hour))
	for name, c := range map[string]struct {
		update v1alpha1.Update
		later  func(w *world, d *deviceAPI)
	}{
		"a user edits the rollout": {v1alpha1.Update{Type: v1alpha1.UpdateTypeSoft}, func(w *world, d *deviceAPI) {
			w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.Update.Type = v1alpha1.UpdateTypeForced })
			d.sync()
		}},
		"forceAt is reached": {v1alpha1.Update{Type: v1alpha1.UpdateTypeTimeForced, ForceAt: &forceAt}, func(w *world, _ *deviceAPI) { w.wait(time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update = c.update
				r.Spec.Update.DistributionSet = "firmware"
			})
			d := w.deviceAPI(Options{})
			d.start()
			before, announced := d.urgency()
			c.later(w, d)
			after, announcedNow := d.urgency()
			if before || !after || announced == announcedNow {
				t.Errorf("forced is first %t (%s), then %t (%s); want false, then true, with another cache buster", before, announced, after, announcedNow)
			}
			w.wantWrites(0, "becoming forced")
		})
	}
}

// A window limits when a device may start, and not when it may continue. Its start and end cause no
// write.
func TestMaintenanceWindow(t *testing.T) {
	w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
		r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 7 * * *", DurationSeconds: 3600}
	})
	d := w.deviceAPI(Options{})
	d.poll()
	w.takeWrites()
	wantOffered := func(id int32, when string) {
		t.Helper()
		if p := d.poll(); p.DeployID != id || p.CancelID != 0 {
			t.Errorf("%s the poll announces deployment %d and cancel %d, want %d and none", when, p.DeployID, p.CancelID, id)
		}
		w.wantWrites(0, when)
	}
	w.set(func(w *world) { w.now = rolloutStart.Add(time.Hour - time.Second) })
	wantOffered(0, "before the window")
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("fetching before the window: %v, want not found", err)
	}
	w.wait(time.Second)
	wantOffered(firstID, "as the window opens")
	w.wait(time.Hour)
	wantOffered(0, "as the window closes")
	w.set(func(w *world) { w.now = rolloutStart.Add(2*time.Hour - time.Second) })
	wantOffered(firstID, "before the window closes")
	wantDeployment := func(doc deviceapi.Deployment, window deviceapi.Window, when string) {
		t.Helper()
		if doc.Window != window || !doc.Forced || doc.DownloadOnly {
			t.Errorf("%s the window is %q, forced %t and download only %t", when, doc.Window, doc.Forced, doc.DownloadOnly)
		}
	}
	wantDeployment(d.start(), deviceapi.WindowOpen, "in the window")
	inside := d.poll().CacheBuster
	w.wait(time.Second)
	wantOffered(firstID, "after the window, with the update started,")
	if outside := d.poll().CacheBuster; outside == inside {
		t.Errorf("the link is the same inside and outside of the window: %s", outside)
	}
	doc, err := d.Deployment(context.Background(), dev0, firstID)
	if err != nil {
		t.Errorf("fetching again after the window: %v", err)
	}
	wantDeployment(doc, deviceapi.WindowClosed, "after the window")
	w.wantWrites(0, "continuing after the window")
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	w.wantState(firstID, v1alpha1.ActionFinished)
}

// The deployment of an action without a maintenance window has no window.
func TestWindowOfDeployment(t *testing.T) {
	for name, c := range map[string]struct {
		window *v1alpha1.MaintenanceWindow
		kind   v1alpha1.UpdateType
		want   deviceapi.Window
	}{
		"no window":                       {nil, v1alpha1.UpdateTypeForced, deviceapi.NoWindow},
		"an open window":                  {&v1alpha1.MaintenanceWindow{Schedule: "0 6 * * *", DurationSeconds: 3600}, v1alpha1.UpdateTypeForced, deviceapi.WindowOpen},
		"a soft update in an open window": {&v1alpha1.MaintenanceWindow{Schedule: "0 6 * * *", DurationSeconds: 3600}, v1alpha1.UpdateTypeSoft, deviceapi.WindowOpen},
		"a download only in a window":     {&v1alpha1.MaintenanceWindow{Schedule: "0 6 * * *", DurationSeconds: 3600}, v1alpha1.UpdateTypeDownloadOnly, deviceapi.WindowOpen},
		"a window in another time zone":   {&v1alpha1.MaintenanceWindow{Schedule: "0 7 * * *", DurationSeconds: 3600, TimeZone: "Europe/Berlin"}, v1alpha1.UpdateTypeForced, deviceapi.WindowOpen},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update.MaintenanceWindow, r.Spec.Update.Type = c.window, c.kind
			})
			d := w.deviceAPI(Options{})
			doc := d.start()
			if doc.Window != c.want {
				t.Errorf("the window is %q, want %q", doc.Window, c.want)
			}
			d.wantReport(nil, firstID, failed)
			if doc, err := d.Installed(t.Context(), dev0, firstID); err != nil || doc.Window != c.want {
				t.Errorf("after the window it is %q, error %v", doc.Window, err)
			}
		})
	}
}

// Before a window opens, the poll interval ends soon after the opening, without a write, and is
// never too short.
func TestPollsBeforeAWindow(t *testing.T) {
	opening := rolloutStart.Add(time.Hour)
	type span struct{ from, to time.Duration }
	usual := span{270 * time.Second, 330 * time.Second}
	for name, c := range map[string]struct {
		at     time.Duration // before the opening
		change func(w *world)
		want   span
	}{
		"long before":          {30 * time.Minute, nil, usual},
		"two minutes before":   {2 * time.Minute, nil, span{2 * time.Minute, 2*time.Minute + 30*time.Second}},
		"ten seconds before":   {10 * time.Second, nil, span{10 * time.Second, 40 * time.Second}},
		"a millisecond before": {time.Millisecond, nil, span{5 * time.Second, 31 * time.Second}},
		"while it is open":     {0, nil, usual},
		"the target is held, so the window has no effect": {2 * time.Minute, func(w *world) { w.editTarget(func(t *v1alpha1.Target) { t.Spec.Hold = true }) }, usual},
		"the rollout is paused, so the window has no effect": {2 * time.Minute, func(w *world) {
			w.editRollout(func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused })
		}, usual},
		"another update waits for something else": {2 * time.Minute, func(w *world) {
			w.editTarget(func(t *v1alpha1.Target) {
				t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "missing"}}
			})
		}, span{2 * time.Minute, 2*time.Minute + 30*time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 7 * * *", DurationSeconds: 3600}
			})
			if c.change != nil {
				c.change(w)
			}
			d := w.deviceAPI(Options{})
			d.poll()
			w.takeWrites()
			w.set(func(w *world) { w.now = opening.Add(-c.at) })
			for range 3 {
				if got := d.poll().Sleep; got < c.want.from || got > c.want.to {
					t.Errorf("the poll interval is %s, want %s to %s", got, c.want.from, c.want.to)
				}
			}
			w.wantWrites(0, "polling before a window")
		})
	}
	t.Run("an update that continues outside its window", func(t *testing.T) {
		w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
			r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 7 * * *", DurationSeconds: 3600}
		})
		d := w.deviceAPI(Options{})
		w.set(func(w *world) { w.now = opening })
		d.start()
		w.wait(24*time.Hour - time.Minute)
		if got := d.poll().Sleep; got < time.Minute || got > time.Minute+30*time.Second {
			t.Errorf("the poll interval is %s, want one that ends when the window opens again", got)
		}
	})
	t.Run("a configured interval that is shorter than all limits", func(t *testing.T) {
		w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
			r.Spec.Update.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Schedule: "0 7 * * *", DurationSeconds: 3600}
		})
		d := w.deviceAPI(Options{PollInterval: 2 * time.Second, ProgressInterval: time.Second})
		if got := d.poll().Sleep; got != 2*time.Second {
			t.Errorf("the poll interval is %s", got)
		}
	})
}

func (w *world) remove(o client.Object) {
	if err := w.server.Delete(context.Background(), o); err != nil {
		w.t.Error(fmt.Errorf("remove %s: %w", o.GetName(), err))
	}
}

// recreateRollout replaces the rollout by one with the same name and another UID.
func (w *world) recreateRollout() {
	r := &v1alpha1.Rollout{}
	if err := w.server.Get(context.Background(), client.ObjectKey{Namespace: fleetNamespace, Name: "rollout"}, r); err != nil {
		w.t.Error(err)
	}
	w.remove(r.DeepCopy())
	r.UID, r.ResourceVersion = "another", ""
	if err := w.server.Create(context.Background(), r); err != nil {
		w.t.Error(err)
	}
}
