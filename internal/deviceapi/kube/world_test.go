// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

const (
	fleetNamespace = build.Namespace
	firstID        = build.FirstActionID
)

// rolloutStart is when the rollout of every world started and opened its group.
var rolloutStart = time.Date(2026, 11, 2, 6, 0, 0, 0, time.UTC)

// errInjected is the error of a read or a write that a test lets fail.
var errInjected = errors.New("injected failure")

// world is an API server with one set, one running rollout of it with one open group, and targets
// that are all its members.
type world struct {
	t      testing.TB
	server client.WithWatch // the API server itself
	api    client.Client    // the client of the device API replicas

	mu     sync.Mutex
	now    time.Time
	writes int
	reads  map[string]int
	// beforeWrite and beforeRead are called before a write or a read, which fails with their error;
	// afterWrite is called with the stored object, and afterRead with the object that was read.
	beforeWrite, beforeRead func(client.Object) error
	afterWrite, afterRead   func(client.Object)
}

func newWorld(t testing.TB, devices int, change ...func(*v1alpha1.Rollout, *v1alpha1.DistributionSet)) *world {
	t.Helper()
	w := &world{t: t, now: rolloutStart.Add(time.Minute), reads: map[string]int{}}
	module := built.SoftwareModule("linux", func(m *v1alpha1.SoftwareModule) {
		m.Spec.Version = "6.6"
		m.Spec.Artifacts = []v1alpha1.Artifact{{FileName: "rootfs.swu", Size: 4, Checksums: v1alpha1.Checksums{SHA256: strings.Repeat("0a", 32), SHA1: strings.Repeat("0b", 20)},
			Downloads: []v1alpha1.Download{{Protocol: "HTTP", URL: "http://files.example/rootfs.swu"}}}}
		m.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "shown", Value: "v", VisibleToDevice: true}, {Key: "hidden", Value: "v"}}
	})
	set := aSet("firmware", "1.0", module)
	members := make([]string, devices)
	for i := range members {
		members[i] = deviceName(i)
	}
	rollout := built.Rollout("rollout", set.Name)
	group := built.DeploymentGroup(rollout, 0, build.Members(members...))
	rollout.Spec.Update.Type = v1alpha1.UpdateTypeForced
	build.Running(rolloutStart, set.Status.ContentHash, group)(rollout)
	for _, f := range change {
		f(rollout, set)
	}
	objects := []client.Object{module, set, rollout, group, tokens("tokens", TokenSecretType)}
	for _, name := range members {
		objects = append(objects, aTarget(name))
	}
	w.server = fakes.Server(t).WithObjects(objects...).
		WithIndex(&corev1.Secret{}, metav1.ObjectNameField, func(o client.Object) []string { return []string{o.GetName()} }).Build()
	w.api = interceptor.NewClient(w.server, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := w.intercept(o, &w.beforeRead, func() { w.reads[fmt.Sprintf("%T", o)]++ }); err != nil {
				return err
			}
			err := c.Get(ctx, key, o, opts...)
			w.mu.Lock()
			after := w.afterRead
			w.mu.Unlock()
			if after != nil && err == nil {
				after(o)
			}
			return err
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := w.intercept(o, &w.beforeWrite, nil); err != nil {
				return err
			}
			if err := c.SubResource(sub).Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			w.mu.Lock()
			w.writes++
			after := w.afterWrite
			w.mu.Unlock()
			if after != nil {
				after(o)
			}
			return nil
		},
	})
	return w
}

// intercept calls count and then the hook, and returns the error of the hook.
func (w *world) intercept(o client.Object, ask *func(client.Object) error, count func()) error {
	w.mu.Lock()
	if count != nil {
		count()
	}
	may := *ask
	w.mu.Unlock()
	if may == nil {
		return nil
	}
	return may(o)
}

// built builds the objects of every world, which were created an hour before the rollout started.
var built = build.At(rolloutStart.Add(-time.Hour))

// aSet returns a set of that version which is Ready and locked.
func aSet(name, version string, modules ...*v1alpha1.SoftwareModule) *v1alpha1.DistributionSet {
	return built.DistributionSet(name, func(s *v1alpha1.DistributionSet) { s.Spec.Version = version }, build.Locked(rolloutStart, offer.ContentHash, modules...))
}

// aTarget returns a target whose device authenticates with the token in the Secret of every world.
func aTarget(name string) *v1alpha1.Target {
	return built.Target(name, func(t *v1alpha1.Target) {
		t.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "tokens", Key: "all"}
		t.Status.ControllerID, t.Status.UpdateStatus = name, v1alpha1.UpdateStatusUnknown
	})
}

func tokens(name string, kind corev1.SecretType) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: built(name), Type: kind, Data: map[string][]byte{"all": []byte("let-me-in\n"), "empty": nil}}
}

func deviceName(i int) string { return fmt.Sprintf("dev-%d", i) }

// clock is the time of the world.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// takeWrites returns the number of successful writes since its last call.
func (w *world) takeWrites() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.writes
	w.writes = 0
	return n
}

// wantWrites fails the test unless n writes succeeded since the last call of takeWrites. step names
// what was done in between.
func (w *world) wantWrites(n int, step string) {
	w.t.Helper()
	if got := w.takeWrites(); got != n {
		w.t.Errorf("%s cost %d writes, want %d", step, got, n)
	}
}

// set changes the hooks of the world.
func (w *world) set(hook func(w *world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	hook(w)
}

func (w *world) target(name string) *v1alpha1.Target {
	w.t.Helper()
	t := &v1alpha1.Target{}
	if err := w.server.Get(context.Background(), types.NamespacedName{Namespace: fleetNamespace, Name: name}, t); err != nil {
		w.t.Fatal(err)
	}
	return t
}

// action returns an action of the first device. The test fails if there is none with that id.
func (w *world) action(id int32) v1alpha1.Action {
	w.t.Helper()
	for _, a := range w.target("dev-0").Status.Actions {
		if a.ID == id {
			return a
		}
	}
	w.t.Fatalf("dev-0 has no action %d", id)
	return v1alpha1.Action{}
}

// edit changes spec and status of an object on the API server, without any hook.
func edit[T client.Object](w *world, name string, object T, change func(T)) {
	w.t.Helper()
	key := types.NamespacedName{Namespace: fleetNamespace, Name: name}
	if err := w.server.Get(context.Background(), key, object); err != nil {
		w.t.Error(err)
		return
	}
	change(object)
	status := object.DeepCopyObject().(T)
	if err := w.server.Update(context.Background(), object); err != nil {
		w.t.Error(err)
		return
	}
	status.SetResourceVersion(object.GetResourceVersion())
	if err := client.IgnoreNotFound(w.server.Status().Update(context.Background(), status)); err != nil {
		w.t.Error(err)
	}
}

// editRollout and editSet change the source and the set of the action of a device.
func (w *world) editRollout(change func(*v1alpha1.Rollout)) {
	edit(w, "rollout", &v1alpha1.Rollout{}, change)
}
func (w *world) editSet(change func(*v1alpha1.DistributionSet)) {
	edit(w, "firmware", &v1alpha1.DistributionSet{}, change)
}
func (w *world) editTarget(change func(*v1alpha1.Target)) {
	edit(w, "dev-0", &v1alpha1.Target{}, change)
}

func stop(c v1alpha1.Cancellation) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Spec.State, r.Spec.StopCancellation = v1alpha1.IntentStopped, c }
}

func invalidate(c v1alpha1.Cancellation) func(*v1alpha1.DistributionSet) {
	return func(s *v1alpha1.DistributionSet) {
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: c, Reason: "bricks the modem"}
	}
}

// deviceAPI is one process with its own caches, which change only when sync is called.
type deviceAPI struct {
	*Backend
	w      *world
	caches *fakes.Caches
	events *events.FakeRecorder
	status *AccessStatus
	// creations counts the Targets that were created; refuseCreate may refuse one.
	mu           sync.Mutex
	creations    int
	refuseCreate func(*v1alpha1.Target) error
	syncing      sync.Mutex
}

func (w *world) deviceAPI(options Options) *deviceAPI {
	w.t.Helper()
	d := &deviceAPI{w: w, caches: fakes.NewCaches(), events: events.NewFakeRecorder(1 << 12)}
	index := fleet.New()
	if err := index.Follow(context.Background(), d.caches); err != nil {
		w.t.Fatal(err)
	}
	if options.PollInterval == 0 {
		options.PollInterval, options.ProgressInterval = 5*time.Minute, 30*time.Second
	}
	d.Backend = New(targetstatus.NewStore(index, w.api, w.api, w.clock, 8), w.api, d.events, options)
	secrets, err := d.caches.GetInformer(context.Background(), &corev1.Secret{})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := d.FollowSecrets(secrets); err != nil {
		w.t.Fatal(err)
	}
	accesses, err := d.caches.GetInformer(context.Background(), &v1alpha1.DeviceAccess{})
	if err != nil {
		w.t.Fatal(err)
	}
	writer := interceptor.NewClient(w.server, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.refuseCreate != nil {
			if err := d.refuseCreate(o.(*v1alpha1.Target)); err != nil {
				return err
			}
		}
		if err := c.Create(ctx, o, opts...); err != nil {
			return err
		}
		d.creations++
		go func() { // the caches follow later
			time.Sleep(20 * time.Millisecond)
			d.sync()
		}()
		return nil
	}})
	d.status = NewAccessStatus(d.Backend, writer)
	if _, err := d.FollowAccesses(accesses, secrets, writer); err != nil {
		w.t.Fatal(err)
	}
	d.sync()
	return d
}

// sync updates the caches of the device API from the API server.
func (d *deviceAPI) sync() {
	d.w.t.Helper()
	d.syncing.Lock()
	defer d.syncing.Unlock()
	if err := d.caches.Sync(context.Background(), d.w.server); err != nil {
		d.w.t.Fatal(err)
	}
}

// newEvents returns the events since its last call.
func (d *deviceAPI) newEvents() []string {
	var recorded []string
	for {
		select {
		case e := <-d.events.Events:
			recorded = append(recorded, e)
		default:
			return recorded
		}
	}
}

var dev0 = deviceapi.Device{Namespace: fleetNamespace, ControllerID: "dev-0"}

func (d *deviceAPI) poll() deviceapi.State {
	d.w.t.Helper()
	p, err := d.State(context.Background(), dev0, "192.0.2.7")
	if err != nil {
		d.w.t.Fatalf("poll: %v", err)
	}
	return p
}

// start lets the first device poll and fetch the deployment that it is offered.
func (d *deviceAPI) start() deviceapi.Deployment {
	d.w.t.Helper()
	doc, err := d.Deployment(context.Background(), dev0, d.poll().DeployID)
	if err != nil {
		d.w.t.Fatalf("start: %v", err)
	}
	d.w.takeWrites()
	return doc
}

// report sends a report of the first device and returns the error of the device API.
func (d *deviceAPI) report(id int32, f wire.Feedback) error {
	return d.Feedback(context.Background(), dev0, id, f)
}

// Feedback, CancelFeedback and ConfirmationFeedback take reports as devices send them over DDI.

func (d *deviceAPI) Feedback(ctx context.Context, device deviceapi.Device, id int32, f wire.Feedback) error {
	return d.Report(ctx, device, ddi.ReportOf(id, f))
}

func (d *deviceAPI) CancelFeedback(ctx context.Context, device deviceapi.Device, id int32, f wire.Feedback) error {
	return d.AnswerCancel(ctx, device, ddi.CancelReportOf(id, f))
}

func (d *deviceAPI) ConfirmationFeedback(ctx context.Context, device deviceapi.Device, id int32, f wire.ConfirmationFeedback) error {
	return d.Confirm(ctx, device, ddi.ConfirmationReportOf(id, f))
}

// wantReport sends a report of the first device. The test fails if the error is not want.
func (d *deviceAPI) wantReport(want error, id int32, f wire.Feedback) {
	d.w.t.Helper()
	if got := d.report(id, f); !errors.Is(got, want) || want == nil && got != nil {
		d.w.t.Errorf("the error for the report %s/%s is %v, want %v", f.Status.Execution, f.Status.Result.Finished, got, want)
	}
}

func feedback(execution wire.Execution, finished wire.Finished, details ...string) wire.Feedback {
	return wire.Feedback{Status: wire.Status{Execution: execution, Result: wire.Result{Finished: finished}, Details: details}}
}

var (
	proceeding = feedback(wire.ExecutionProceeding, wire.FinishedNone)
	succeeded  = feedback(wire.ExecutionClosed, wire.FinishedSuccess)
	failed     = feedback(wire.ExecutionClosed, wire.FinishedFailure)
)

// wantState returns an action of the first device. The test fails if its state is not want.
func (w *world) wantState(id int32, want v1alpha1.ActionState) v1alpha1.Action {
	w.t.Helper()
	a := w.action(id)
	if a.State != want {
		w.t.Errorf("action %d is %s, want %s", id, a.State, want)
	}
	return a
}

func (w *world) isInconsistent() bool {
	return meta.IsStatusConditionFalse(w.target("dev-0").Status.Conditions, v1alpha1.ConditionConsistent)
}

func isUnavailable(err error) bool {
	_, ok := errors.AsType[deviceapi.Unavailable](err)
	return ok
}

func isBadRequest(err error) bool {
	_, ok := errors.AsType[deviceapi.BadRequest](err)
	return ok
}
