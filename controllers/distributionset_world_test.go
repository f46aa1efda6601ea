// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

const (
	fleetNamespace = build.Namespace
	system         = "goshawk-system"
)

// dawn is the time at which these tests start.
var dawn = time.Date(2026, 11, 2, 6, 0, 0, 0, time.UTC)

// errCrash is the error of a write during which the process crashes.
var errCrash = errors.New("crash")

// setWorld is an API server, its caches, and the controllers of sets and modules. The caches are
// synchronized explicitly, so that each run is deterministic.
type setWorld struct {
	t     *testing.T
	store client.WithWatch // the API server itself
	api   client.Client    // the client of the controllers
	now   time.Time

	modules *SoftwareModuleReconciler
	sets    *DistributionSetReconciler
	events  *events.FakeRecorder
	caches  *fakes.Caches
	seen    map[string]*v1alpha1.Target

	mu     sync.Mutex
	writes []string
	// cutAt is the write, counted from 1, at which the process crashes; 0 means never. It crashes
	// after the write if afterWrite is set.
	cutAt      int
	afterWrite bool
	// beforeWrite is called before each write.
	beforeWrite func(write string)
	// onWrite is called after each write.
	onWrite func(write string)
}

func newSetWorld(t *testing.T, objects ...client.Object) *setWorld {
	t.Helper()
	w := &setWorld{t: t, store: indexedServer(t).Build(), now: dawn, events: events.NewFakeRecorder(4096)}
	w.api = w.intercepted()
	for _, o := range objects {
		w.create(o)
	}
	w.restart()
	return w
}

// indexedServer returns a builder of an API server with the field indexes of our caches.
func indexedServer(t testing.TB) *fake.ClientBuilder {
	b := fakes.Server(t)
	for _, f := range fieldIndexes() {
		b = b.WithIndex(f.object, f.name, f.extract)
	}
	b = b.WithIndex(&v1alpha1.Target{}, "status.updateStatus", func(o client.Object) []string { // a selectable field of the CRD
		return []string{string(o.(*v1alpha1.Target).Status.UpdateStatus)}
	})
	return b
}

// intercepted returns a client that counts writes and crashes at cutAt.
func (w *setWorld) intercepted() client.Client {
	return interceptor.NewClient(w.store, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return w.write("create", o, func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return w.write("update", o, func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return w.write("patch", o, func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return w.write("delete", o, func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return w.write(sub, o, func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
	})
}

func (w *setWorld) write(verb string, o client.Object, do func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := fmt.Sprintf("%s %s %s", verb, strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1alpha1."), o.GetName())
	if w.beforeWrite != nil {
		w.beforeWrite(line)
	}
	w.writes = append(w.writes, line)
	cut := w.cutAt > 0 && len(w.writes) >= w.cutAt
	if cut && !(w.afterWrite && len(w.writes) == w.cutAt) {
		return errCrash
	}
	if err := do(); err != nil {
		return err
	}
	if w.onWrite != nil {
		w.onWrite(line)
	}
	if cut {
		return errCrash
	}
	return nil
}

// restart starts a new process without the memory of the old one.
func (w *setWorld) restart() {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	index := fleet.New()
	w.caches = fakes.NewCaches()
	w.seen = map[string]*v1alpha1.Target{}
	if err := index.Follow(w.t.Context(), w.caches); err != nil {
		w.t.Fatal(err)
	}
	w.modules = &SoftwareModuleReconciler{Client: w.api, Events: w.events, Now: clock}
	w.sets = &DistributionSetReconciler{Client: w.api, Live: w.api, Index: index, Events: w.events, Now: clock, Namespace: system,
		Targets: targetstatus.NewStore(index, w.api, w.api, clock, 8)}
	w.sync()
}

// sync synchronizes the caches, and returns the sets that changes of targets have enqueued.
func (w *setWorld) sync() []string {
	w.t.Helper()
	if err := w.caches.Sync(w.t.Context(), w.store); err != nil {
		w.t.Fatal(err)
	}
	return w.countTargets()
}

func (w *setWorld) countTargets() []string {
	var list v1alpha1.TargetList
	if err := w.store.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	var enqueued []string
	seen := map[string]*v1alpha1.Target{}
	for i := range list.Items {
		t := &list.Items[i]
		seen[t.Name] = t
		enqueued = append(enqueued, namesOf(w.sets.TargetChanged(w.t.Context(), w.seen[t.Name], t))...)
	}
	for name, gone := range w.seen {
		if seen[name] == nil {
			enqueued = append(enqueued, namesOf(w.sets.TargetChanged(w.t.Context(), gone, nil))...)
		}
	}
	w.seen = seen
	slices.Sort(enqueued)
	return slices.Compact(enqueued)
}

// plan reconciles one set once, and synchronizes the caches.
func (w *setWorld) plan(name string) (ctrl.Result, error) {
	w.t.Helper()
	result, err := reconcile.AsReconciler(w.api, w.sets).Reconcile(w.t.Context(), request(name))
	w.sync()
	return result, err
}

func (w *setWorld) reconcileModule(name string) error {
	w.t.Helper()
	_, err := reconcile.AsReconciler(w.api, w.modules).Reconcile(w.t.Context(), request(name))
	w.sync()
	return err
}

// run reconciles everything until nothing is written any more and no reconcile is due soon. It
// returns the number of passes.
func (w *setWorld) run() int {
	w.t.Helper()
	for pass := 1; pass <= 50; pass++ {
		before, soon, err := len(w.writes), false, error(nil)
		for _, name := range w.names(&v1alpha1.SoftwareModuleList{}) {
			err = errors.Join(err, w.reconcileModule(name))
		}
		for _, name := range w.names(&v1alpha1.DistributionSetList{}) {
			result, lookErr := w.plan(name)
			err, soon = errors.Join(err, lookErr), soon || result.RequeueAfter > 0
		}
		if errors.Is(err, errCrash) {
			w.cutAt = 0
			w.restart()
			continue
		}
		if err != nil {
			w.t.Fatalf("pass %d: %v", pass, err)
		}
		if len(w.writes) == before && !soon {
			return pass
		}
		if soon {
			w.now = w.now.Add(time.Second)
		}
	}
	w.t.Fatalf("the controllers do not stop writing; last writes: %v", w.writes[max(0, len(w.writes)-8):])
	return 0
}

func (w *setWorld) names(list client.ObjectList) []string {
	w.t.Helper()
	if err := w.store.List(w.t.Context(), list, client.InNamespace(fleetNamespace)); err != nil {
		w.t.Fatal(err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, o := range items {
		names = append(names, o.(client.Object).GetName())
	}
	slices.Sort(names)
	return names
}

// create creates an object as the API server does.
func (w *setWorld) create(o client.Object) {
	w.t.Helper()
	if o.GetNamespace() == "" {
		o.SetNamespace(fleetNamespace)
	}
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("%T-%s-%d", o, o.GetName(), w.now.UnixNano())))
	}
	if o.GetCreationTimestamp().Time.IsZero() {
		o.SetCreationTimestamp(metav1.NewTime(w.now))
	}
	o.SetGeneration(1)
	if err := w.store.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
	if w.caches != nil {
		w.sync()
	}
}

func (w *setWorld) remove(o client.Object, name string) {
	w.t.Helper()
	o.SetNamespace(fleetNamespace)
	o.SetName(name)
	if err := w.store.Delete(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
	w.sync()
}

// edit changes the spec of a set, like a commit does.
func (w *setWorld) edit(name string, change func(*v1alpha1.DistributionSet)) {
	w.t.Helper()
	set := w.set(name)
	change(set)
	set.Generation++
	if err := w.store.Update(w.t.Context(), set); err != nil {
		w.t.Fatal(err)
	}
	w.sync()
}

// device changes the status of a target, like a device does.
func (w *setWorld) device(name string, change func(*v1alpha1.TargetStatus)) {
	w.t.Helper()
	t := w.target(name)
	change(&t.Status)
	if err := w.store.Status().Update(w.t.Context(), t); err != nil {
		w.t.Fatal(err)
	}
}

func (w *setWorld) set(name string) *v1alpha1.DistributionSet {
	w.t.Helper()
	set := &v1alpha1.DistributionSet{}
	w.get(name, set)
	return set
}

func (w *setWorld) module(name string) *v1alpha1.SoftwareModule {
	w.t.Helper()
	m := &v1alpha1.SoftwareModule{}
	w.get(name, m)
	return m
}

func (w *setWorld) target(name string) *v1alpha1.Target {
	w.t.Helper()
	t := &v1alpha1.Target{}
	w.get(name, t)
	return t
}

func (w *setWorld) get(name string, o client.Object) {
	w.t.Helper()
	if err := w.store.Get(w.t.Context(), types.NamespacedName{Namespace: fleetNamespace, Name: name}, o); err != nil {
		w.t.Fatal(err)
	}
}

// condition returns a condition of a set as "Status Reason: message", or "" if it is absent.
func (w *setWorld) condition(name, conditionType string) string {
	w.t.Helper()
	return words(w.set(name).Status.Conditions, conditionType)
}

func words(list []metav1.Condition, conditionType string) string {
	c := meta.FindStatusCondition(list, conditionType)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

// recordedEvents returns the events so far, as "Type Reason note".
func (w *setWorld) recordedEvents() []string {
	var events []string
	for {
		select {
		case e := <-w.events.Events:
			events = append(events, e)
		default:
			return events
		}
	}
}

// count returns the number of writes that contain a word.
func (w *setWorld) count(word string) int {
	n := 0
	for _, line := range w.writes {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

func request(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: fleetNamespace, Name: name}}
}

func namesOf(requests []reconcile.Request) []string {
	names := make([]string, 0, len(requests))
	for _, r := range requests {
		names = append(names, r.Name)
	}
	return names
}

// built builds objects with a name only; create adds the rest of their metadata.
var built = build.Named

func aModule(name, kind string) *v1alpha1.SoftwareModule {
	return built.SoftwareModule(name, func(m *v1alpha1.SoftwareModule) {
		m.Spec.Type = kind
		m.Spec.Artifacts = []v1alpha1.Artifact{{FileName: name + ".swu", Size: 10, Checksums: v1alpha1.Checksums{SHA256: strings.Repeat("a", 64)},
			Downloads: []v1alpha1.Download{{Protocol: "HTTPS", URL: "https://files.example.com/" + name + ".swu"}}}}
	})
}

func aSet(name string, modules ...string) *v1alpha1.DistributionSet {
	return built.DistributionSet(name, build.Modules(modules...))
}

func invalidated(c v1alpha1.Cancellation) func(*v1alpha1.DistributionSet) {
	return func(set *v1alpha1.DistributionSet) {
		set.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: c, Reason: "bricks the modem"}
	}
}

// aDeviceAtWork returns a target with an open action of a set.
func (w *setWorld) aDeviceAtWork(name, set string) *v1alpha1.Target {
	t := built.Target(name)
	action.Create(&t.Status, action.Creation{
		Source:          v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "gone", UID: "gone", Since: &metav1.MicroTime{Time: w.now}},
		DistributionSet: set, ContentHash: w.set(set).Status.ContentHash, Now: w.now,
	})
	return t
}

// errBroken is the error of a write to a target that cannot be written.
var errBroken = errors.New("this object is broken")

// refusing is a client that cannot write the status of some objects.
type refusing struct {
	client.Client
	err     error
	refuses func(name string) bool
}

func (r refusing) Status() client.SubResourceWriter {
	return refusingStatus{r.Client.Status(), r}
}

type refusingStatus struct {
	client.SubResourceWriter
	refusing refusing
}

func (r refusingStatus) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
	if r.refusing.refuses(o.GetName()) {
		return r.refusing.err
	}
	return r.SubResourceWriter.Patch(ctx, o, p, opts...)
}
