// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

var (
	noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)
	dev  = types.NamespacedName{Namespace: "fleet", Name: "dev"}
)

// server is an API server whose requests tests can intercept, and a cache that shows its targets
// only after show.
type server struct {
	t      testing.TB
	client client.WithWatch
	index  *fleet.Index
	cached sync.Map // types.NamespacedName to *v1alpha1.Target

	writes, reads atomic.Int32
	// onWrite runs instead of a write if it is set. It calls write to execute the write.
	onWrite func(write func() error) error
}

func newServer(t testing.TB, objects ...client.Object) *server {
	s := &server{t: t, index: fleet.New()}
	s.client = fakes.Server(t).WithObjects(objects...).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				s.reads.Add(1)
				return c.Get(ctx, key, o, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				s.writes.Add(1)
				write := func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) }
				if s.onWrite != nil {
					return s.onWrite(write)
				}
				return write()
			},
		}).Build()
	s.show()
	return s
}

// deviceAPI returns the store of another process: it shares the API server and the cache, and
// nothing else.
func (s *server) deviceAPI(inFlight int) *Store {
	store := NewStore(s.index, s.client, s.client, func() time.Time { return noon }, inFlight)
	store.recent.cached = func(key types.NamespacedName) *v1alpha1.Target {
		if t, ok := s.cached.Load(key); ok {
			return t.(*v1alpha1.Target)
		}
		return nil
	}
	return store
}

// show synchronizes the cache.
func (s *server) show() {
	s.t.Helper()
	s.cached.Clear()
	var list v1alpha1.TargetList
	must(s.t, s.client.List(context.Background(), &list))
	for i := range list.Items {
		s.cached.Store(client.ObjectKeyFromObject(&list.Items[i]), &list.Items[i])
	}
}

func (s *server) stored() *v1alpha1.Target {
	s.t.Helper()
	t := &v1alpha1.Target{}
	must(s.t, s.client.Get(context.Background(), dev, t))
	return t
}

// built builds the objects of this package. An API server in memory sets their creation time.
var built = build.At(time.Time{})

// target returns the target dev.
func target(edits ...func(*v1alpha1.Target)) *v1alpha1.Target {
	return built.Target(dev.Name, edits...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// starts returns the change of a device API when a device fetches an offer: it creates the offered
// action, unless another writer was faster.
func starts(id int32) Change {
	return func(w offer.World, status *v1alpha1.TargetStatus) error {
		if a := action.Open(status); a != nil {
			return nil
		}
		if status.NextActionID != id {
			return fmt.Errorf("action %d is not offered", id)
		}
		action.Create(status, action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r", UID: "uid-r"}, DistributionSet: "fw", ContentHash: "hash", Now: w.Now})
		return nil
	}
}

func notes(address string) Change {
	return func(_ offer.World, status *v1alpha1.TargetStatus) error {
		status.Address = address
		return nil
	}
}

// TestW11_ConflictAppliesAgain: another writer was faster, so the target is read from the API
// server and the change is applied again.
func TestW11_ConflictAppliesAgain(t *testing.T) {
	s := newServer(t, target())
	other := s.deviceAPI(1)
	_, err := other.Update(t.Context(), dev, starts(100))
	must(t, err)

	store, applies := s.deviceAPI(1), 0
	s.reads.Store(0)
	stored, err := store.Update(t.Context(), dev, func(w offer.World, status *v1alpha1.TargetStatus) error {
		applies++
		status.Address = fmt.Sprintf("with %d actions", len(w.Target.Status.Actions))
		return nil
	})
	must(t, err)
	if applies != 2 || s.reads.Load() != 1 {
		t.Errorf("applied %d times with %d reads", applies, s.reads.Load())
	}
	if diff := cmp.Diff(s.stored(), stored); diff != "" {
		t.Errorf("the returned target is not the stored one:\n%s", diff)
	}
	if stored.Status.Address != "with 1 actions" || len(stored.Status.Actions) != 1 {
		t.Errorf("the other writer's change is lost: %+v", stored.Status)
	}
}

// TestEndlessConflict: the conflict is returned to the caller.
func TestEndlessConflict(t *testing.T) {
	s := newServer(t, target())
	s.onWrite = func(func() error) error {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("targets").GroupResource(), "dev", nil)
	}
	if _, err := s.deviceAPI(1).Update(t.Context(), dev, notes("here")); !apierrors.IsConflict(err) {
		t.Errorf("got %v", err)
	}
	if got := s.writes.Load(); got != maxTries+1 {
		t.Errorf("tried %d times", got)
	}
}

// TestOwnWrite: an own write is seen before the cache shows it, and the cache is used again as soon
// as it is newer.
func TestOwnWrite(t *testing.T) {
	s := newServer(t, target())
	store := s.deviceAPI(1)
	_, err := store.Update(t.Context(), dev, starts(100))
	must(t, err)
	if a := action.Open(&store.Get(dev).Status); a == nil || a.ID != 100 {
		t.Fatalf("the action that was just started is missing: %+v", store.Get(dev).Status)
	}
	s.reads.Store(0)
	_, err = store.Update(t.Context(), dev, func(_ offer.World, status *v1alpha1.TargetStatus) error {
		action.Apply(status, action.Report{ID: 100, Event: action.Install, Now: noon})
		return nil
	})
	must(t, err)
	if s.reads.Load() != 0 {
		t.Error("a report on the action that was just started read from the API server")
	}
	s.show()
	if got := store.Get(dev); !got.Status.Actions[0].InstallingStarted || len(store.recent.targets) != 0 {
		t.Errorf("the cache has caught up, but %d writes are remembered, and the action is %+v", len(store.recent.targets), got.Status.Actions[0])
	}
	_, err = s.deviceAPI(1).Update(t.Context(), dev, notes("elsewhere"))
	must(t, err)
	s.show()
	if got := store.Get(dev).Status.Address; got != "elsewhere" {
		t.Errorf("the address is %q", got)
	}
}

// TestDeletedTarget: a deleted target is dropped, also if its last write was ours.
func TestDeletedTarget(t *testing.T) {
	s := newServer(t, target())
	store := s.deviceAPI(1)
	_, err := store.Update(t.Context(), dev, notes("here"))
	must(t, err)
	must(t, s.client.Delete(t.Context(), target()))
	s.show()
	if got := store.Get(dev); got != nil {
		t.Errorf("the target still exists: %+v", got)
	}
	if _, err := store.Update(t.Context(), dev, notes("there")); !apierrors.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	again := target()
	again.UID = "uid-again"
	must(t, s.client.Create(t.Context(), again))
	s.show()
	if got := store.Get(dev); got == nil || got.UID != "uid-again" || got.Status.Address != "" {
		t.Errorf("the target that was created again is %+v", got)
	}
}

// TestCreatedAgainUnseen: the cache still shows a target that was deleted and created again.
// Nothing of the old target is written to the new one.
func TestCreatedAgainUnseen(t *testing.T) {
	s := newServer(t, target(func(t *v1alpha1.Target) { t.Status.Address = "old" }))
	store := s.deviceAPI(1)
	must(t, s.client.Delete(t.Context(), target()))
	again := target()
	again.UID = "uid-again"
	must(t, s.client.Create(t.Context(), again))
	stored, err := store.Update(t.Context(), dev, func(_ offer.World, status *v1alpha1.TargetStatus) error {
		status.ControllerID = "seen"
		return nil
	})
	must(t, err)
	if stored.UID != "uid-again" || stored.Status.Address != "" || stored.Status.ControllerID != "seen" {
		t.Errorf("stored is %+v", stored)
	}
}

// TestUnseenTarget: a target that the cache does not show yet is read from the API server.
func TestUnseenTarget(t *testing.T) {
	s := newServer(t)
	must(t, s.client.Create(t.Context(), target()))
	_, err := s.deviceAPI(1).Update(t.Context(), dev, notes("here"))
	must(t, err)
	if got := s.stored().Status.Address; got != "here" {
		t.Errorf("the address is %q", got)
	}
}

// TestNothingToWrite: a change without effect costs nothing.
func TestNothingToWrite(t *testing.T) {
	s := newServer(t, target(func(t *v1alpha1.Target) { t.Status.Address = "here" }))
	store := s.deviceAPI(1)
	for _, change := range []Change{notes("here"), func(offer.World, *v1alpha1.TargetStatus) error { return nil }} {
		_, err := store.Update(t.Context(), dev, change)
		must(t, err)
	}
	_, err := store.ApplyPending(t.Context(), dev)
	must(t, err)
	if s.writes.Load() != 0 || s.reads.Load() != 0 {
		t.Errorf("%d writes, %d reads", s.writes.Load(), s.reads.Load())
	}
}

// TestChangeGivesUp: the error of the change is returned, and nothing is written, also nothing that
// it changed before.
func TestChangeGivesUp(t *testing.T) {
	s := newServer(t, target())
	errChange := errors.New("not now")
	before := s.deviceAPI(1).Get(dev).DeepCopy()
	store := s.deviceAPI(1)
	_, err := store.Update(t.Context(), dev, func(_ offer.World, status *v1alpha1.TargetStatus) error {
		status.Address = "half"
		return errChange
	})
	if !errors.Is(err, errChange) || s.writes.Load() != 0 {
		t.Errorf("got %v after %d writes", err, s.writes.Load())
	}
	if diff := cmp.Diff(before, store.Get(dev)); diff != "" {
		t.Errorf("the remembered target has changed:\n%s", diff)
	}
}

// TestApplyPending writes a pending change once, and shows it to the given change.
func TestApplyPending(t *testing.T) {
	s := newServer(t, target(func(t *v1alpha1.Target) {
		action.Create(&t.Status, action.Creation{Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: "uid-dev"}, DistributionSet: "fw", ContentHash: "hash", Now: noon})
		t.Spec.Cancel = &v1alpha1.CancelRequest{UpTo: 100, Cancellation: v1alpha1.CancellationForce}
	}))
	cached := s.deviceAPI(1).Get(dev).DeepCopy()
	store := s.deviceAPI(1)
	stored, err := store.Update(t.Context(), dev, func(w offer.World, status *v1alpha1.TargetStatus) error {
		if w.Target.Status.Actions[0].State != v1alpha1.ActionCanceled || status.Actions[0].State != v1alpha1.ActionCanceled {
			t.Error("the change gets a target whose pending changes are not applied")
		}
		return nil
	})
	must(t, err)
	if stored.Status.Actions[0].State != v1alpha1.ActionCanceled || s.writes.Load() != 1 {
		t.Errorf("state %s after %d writes", stored.Status.Actions[0].State, s.writes.Load())
	}
	_, err = store.ApplyPending(t.Context(), dev)
	must(t, err)
	if s.writes.Load() != 1 {
		t.Error("it is written again")
	}
	old, _ := s.cached.Load(dev)
	if diff := cmp.Diff(cached, old); diff != "" {
		t.Errorf("an object of the cache was changed:\n%s", diff)
	}
}

// TestInFlight: there are no more writes at a time than configured, and a canceled write leaves the
// queue.
func TestInFlight(t *testing.T) {
	const most, devices = 3, 12
	var objects []client.Object
	for i := range devices {
		objects = append(objects, target(func(t *v1alpha1.Target) { t.Name = fmt.Sprintf("dev-%d", i) }))
	}
	s := newServer(t, objects...)
	var now, highest atomic.Int32
	full, release := make(chan struct{}), make(chan struct{})
	s.onWrite = func(write func() error) error {
		n := now.Add(1)
		defer now.Add(-1)
		for seen := highest.Load(); n > seen && !highest.CompareAndSwap(seen, n); seen = highest.Load() {
		}
		if n == most {
			close(full)
		}
		<-release
		return write()
	}
	store := s.deviceAPI(most)
	var work sync.WaitGroup
	for i := range devices {
		work.Go(func() {
			_, err := store.Update(context.Background(), types.NamespacedName{Namespace: "fleet", Name: fmt.Sprintf("dev-%d", i)}, notes("here"))
			if err != nil {
				t.Error(err)
			}
		})
	}
	<-full
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Update(impatient, types.NamespacedName{Namespace: "fleet", Name: "dev-0"}, notes("there")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.onWrite = nil
	close(release)
	work.Wait()
	if highest.Load() > most || s.writes.Load() != devices {
		t.Errorf("%d writes at a time, %d in all", highest.Load(), s.writes.Load())
	}
}

// TestLostReply: the creation was stored, but the reply was lost. The device asks again and gets
// the same action.
func TestLostReply(t *testing.T) {
	s := newServer(t, target())
	store, lost := s.deviceAPI(1), errors.New("connection reset")
	s.onWrite = func(write func() error) error {
		must(t, write())
		return lost
	}
	if _, err := store.Update(t.Context(), dev, starts(100)); !errors.Is(err, lost) {
		t.Fatalf("got %v", err)
	}
	s.onWrite = nil
	stored, err := store.Update(t.Context(), dev, starts(100))
	must(t, err)
	if len(stored.Status.Actions) != 1 || stored.Status.Actions[0].ID != 100 || stored.Status.NextActionID != 101 {
		t.Errorf("stored is %+v", stored.Status)
	}
}

// TestTwoDeviceAPIs: two processes start the same action at the same time. It is created once, and
// both return it.
func TestTwoDeviceAPIs(t *testing.T) {
	s := newServer(t, target())
	var bothApplied sync.WaitGroup
	bothApplied.Add(2)
	var first sync.Map
	s.onWrite = func(write func() error) error {
		if n := s.writes.Load(); n <= 2 {
			if _, met := first.LoadOrStore(n, true); !met {
				bothApplied.Done()
				bothApplied.Wait() // both have applied before either has written
			}
		}
		return write()
	}
	var work sync.WaitGroup
	answers := make([]*v1alpha1.Target, 2)
	for i := range answers {
		work.Go(func() {
			stored, err := s.deviceAPI(1).Update(context.Background(), dev, starts(100))
			if err != nil {
				t.Error(err)
			}
			answers[i] = stored
		})
	}
	work.Wait()
	for i, answer := range answers {
		if answer == nil || len(answer.Status.Actions) != 1 || answer.Status.Actions[0].ID != 100 {
			t.Errorf("device API %d returns %+v", i, answer)
		}
	}
	if got := s.stored().Status; len(got.Actions) != 1 || got.NextActionID != 101 {
		t.Errorf("stored is %+v", got)
	}
}

// TestRecentIsBounded: the number of remembered writes does not grow with the fleet.
func TestRecentIsBounded(t *testing.T) {
	shown := map[types.NamespacedName]*v1alpha1.Target{}
	r := newRecent(func(key types.NamespacedName) *v1alpha1.Target { return shown[key] })
	for i := range 3 * maxRecent {
		written := target(func(t *v1alpha1.Target) { t.Name, t.ResourceVersion = fmt.Sprintf("dev-%d", i), "2" })
		shown[key(written)] = written
		r.remember(written)
	}
	if got := len(r.targets); got > maxRecent {
		t.Errorf("%d writes are remembered", got)
	}
}

// TestNewestWriteCounts: replies may arrive in another order than the writes.
func TestNewestWriteCounts(t *testing.T) {
	at := func(version string) *v1alpha1.Target {
		return target(func(t *v1alpha1.Target) { t.ResourceVersion = version })
	}
	r := newRecent(func(types.NamespacedName) *v1alpha1.Target { return at("9") })
	r.remember(at("11"))
	r.remember(at("10"))
	if got := r.get(dev).ResourceVersion; got != "11" {
		t.Errorf("version %s", got)
	}
}

// TestTheOwnAssignmentIsRemembered: the last action of the target's own assignment is kept, however
// many actions follow. Otherwise the assignment would be executed again.
func TestTheOwnAssignmentIsRemembered(t *testing.T) {
	closed := func(id int32, source v1alpha1.ActionSource) v1alpha1.Action {
		return build.Action(id, "fw", v1alpha1.ActionFinished, func(a *v1alpha1.Action) { a.Source = source })
	}
	s := newServer(t, target(func(t *v1alpha1.Target) {
		t.Status.Actions = append(t.Status.Actions, closed(1, v1alpha1.ActionSource{Kind: v1alpha1.SourceTarget, Name: "dev", UID: t.UID}))
		for id := int32(2); id < 20; id++ {
			t.Status.Actions = append(t.Status.Actions, closed(id, v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "gone", UID: types.UID(fmt.Sprint("uid-", id))}))
		}
	}))
	if _, err := s.deviceAPI(8).Update(context.Background(), dev, notes("elsewhere")); err != nil {
		t.Fatal(err)
	}
	actions := s.stored().Status.Actions
	if len(actions) > 12 || actions[0].ID != 1 {
		t.Errorf("%d actions are left, the first is %d", len(actions), actions[0].ID)
	}
}
