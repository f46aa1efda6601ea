// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package demofleet is a fleet with a history, for tests and pictures of what people see: 300
// targets, rollouts in every state, failures, an invalidated set, devices that are inconsistent,
// silent or held, and hostile names. The controllers and the backend of the device API compute all
// of it, over an API server in memory and a clock that only the test moves.
package demofleet

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/controllers"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

// World is a cluster with Goshawk. Only one goroutine may use it, except for Server, Index and Now.
type World struct {
	t testing.TB
	// Server is the API server.
	Server client.WithWatch
	// Index follows it whenever Reconcile is called.
	Index  *fleet.Index
	caches *fakes.Caches
	// changed has the objects that the index has seen change since the last sync.
	changed []client.Object
	// cached is Server, except that lists are those of the caches.
	cached client.WithWatch
	fields indexes

	mu sync.Mutex
	// now is the time of the world.
	now time.Time
	// stale has the objects that were written since the last sync, by their kind.
	stale map[string]map[client.ObjectKey]bool
	// written is when a field manager wrote the spec of an object. The API server in memory has the
	// clock of the machine for that.
	written map[writer]time.Time

	backend *kube.Backend

	modules  *controllers.SoftwareModuleReconciler
	sets     *controllers.DistributionSetReconciler
	targets  *controllers.TargetReconciler
	rollouts *controllers.RolloutReconciler
	autos    *controllers.AutoAssignmentReconciler
	groups   *controllers.DeploymentGroupReconciler
}

// writer is a field manager that has written an object.
type writer struct {
	uid     types.UID
	manager string
}

// system is the namespace of Goshawk itself.
const system = "goshawk-system"

// indexes has the field indexes of the controllers, by the type of object and the name.
type indexes map[reflect.Type]map[string]client.IndexerFunc

// IndexField implements client.FieldIndexer.
func (i indexes) IndexField(_ context.Context, o client.Object, field string, extract client.IndexerFunc) error {
	if i[reflect.TypeOf(o)] == nil {
		i[reflect.TypeOf(o)] = map[string]client.IndexerFunc{}
	}
	i[reflect.TypeOf(o)][field] = extract
	return nil
}

// newWorld returns a world at that time with these objects, with their status.
func newWorld(t testing.TB, now time.Time, watchers []fleet.Watcher, objects ...client.Object) *World {
	t.Helper()
	w := &World{t: t, now: now, caches: fakes.NewCaches(), Index: fleet.New(), stale: map[string]map[client.ObjectKey]bool{}, fields: indexes{}, written: map[writer]time.Time{}}
	for _, o := range objects {
		w.stamp(o)
	}
	w.Server = interceptor.NewClient(fakes.Server(t).WithReturnManagedFields().WithObjects(objects...).Build(), w.noteWrites())
	w.cached = interceptor.NewClient(w.Server, interceptor.Funcs{List: w.listCached})
	if err := controllers.AddIndexes(t.Context(), w.fields); err != nil {
		t.Fatal(err)
	}
	for _, watcher := range watchers {
		w.Index.Watch(watcher)
	}
	if err := w.Index.Follow(t.Context(), w.caches); err != nil {
		t.Fatal(err)
	}
	tallies, counts, recorder := controllers.NewTallies(w.Index), controllers.NewAutoCounts(w.Index), &events.FakeRecorder{}
	w.Index.Watch(func(old, now client.Object) {
		if now == nil {
			now = old
		}
		w.changed = append(w.changed, now)
		if target, is := now.(*v1alpha1.Target); is {
			tallies.TargetChanged(client.ObjectKeyFromObject(target))
			counts.TargetChanged(client.ObjectKeyFromObject(target))
			before, _ := old.(*v1alpha1.Target)
			w.sets.TargetChanged(context.Background(), before, target)
		}
	})
	store := targetstatus.NewStore(w.Index, w.cached, w.Server, w.Now, 8)
	w.backend = kube.New(store, w.Server, recorder, kube.Options{PollInterval: 5 * time.Minute, ProgressInterval: time.Second})
	w.modules = &controllers.SoftwareModuleReconciler{Client: w.cached, Events: recorder, Now: w.Now}
	w.sets = &controllers.DistributionSetReconciler{Client: w.cached, Live: w.Server, Index: w.Index, Targets: store, Events: recorder, Now: w.Now, Namespace: system}
	w.targets = &controllers.TargetReconciler{Client: w.cached, Index: w.Index, Targets: store, Now: w.Now}
	w.rollouts = &controllers.RolloutReconciler{Client: w.cached, Live: w.Server, Index: w.Index, Targets: store, Tallies: tallies, Events: recorder, Now: w.Now}
	w.autos = &controllers.AutoAssignmentReconciler{Client: w.cached, Index: w.Index, Counts: counts, Events: recorder, Now: w.Now}
	w.groups = &controllers.DeploymentGroupReconciler{Client: w.cached, Live: w.Server, Index: w.Index, Tallies: tallies, Now: w.Now}
	if err := w.caches.Sync(t.Context(), w.Server); err != nil {
		t.Fatal(err)
	}
	w.Reconcile()
	return w
}

// listCached lists from the cache, as the controllers do. The API server in memory is slow at it.
func (w *World) listCached(ctx context.Context, server client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(options)
	for _, informer := range w.caches.Informers() {
		if reflect.TypeOf(list).Elem().Name() != reflect.TypeOf(informer.Object).Elem().Name()+"List" {
			continue
		}
		var found []runtime.Object
		for _, o := range informer.GetStore().List() {
			if o := o.(client.Object); w.isAsked(o, asked) {
				found = append(found, o.DeepCopyObject())
			}
		}
		return meta.SetList(list, found)
	}
	return server.List(ctx, list, options...)
}

// isAsked reports whether a list with these options has the object.
func (w *World) isAsked(o client.Object, asked client.ListOptions) bool {
	if asked.Namespace != "" && o.GetNamespace() != asked.Namespace || asked.LabelSelector != nil && !asked.LabelSelector.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	if asked.FieldSelector == nil {
		return true
	}
	for _, field := range asked.FieldSelector.Requirements() {
		if extract := w.fields[reflect.TypeOf(o)][field.Field]; extract == nil || !slices.Contains(extract(o), field.Value) {
			return false
		}
	}
	return true
}

// noteWrites notes which objects are written.
func (w *World) noteWrites() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			defer w.wrote(o)
			return c.Create(ctx, o, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			defer w.wrote(o)
			return c.Update(ctx, o, options...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			defer w.wrote(o)
			return c.Patch(ctx, o, patch, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			defer w.wrote(o)
			return c.Delete(ctx, o, options...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			defer w.wrote(o)
			return c.SubResource(sub).Patch(ctx, o, patch, options...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption) error {
			defer w.wrote(o)
			return c.SubResource(sub).Update(ctx, o, options...)
		},
	}
}

// kindOf returns the kind of an object, which may be unstructured.
func kindOf(o client.Object) string {
	if kind := o.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	return reflect.TypeOf(o).Elem().Name()
}

func (w *World) wrote(o client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind := kindOf(o)
	if w.stale[kind] == nil {
		w.stale[kind] = map[client.ObjectKey]bool{}
	}
	w.stale[kind][client.ObjectKeyFromObject(o)] = true
}

// Now returns the time of the world.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Pass lets time pass, and then the controllers run.
func (w *World) Pass(d time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	w.Reconcile()
}

// stamp gives a new object the metadata that the API server sets.
func (w *World) stamp(o client.Object) {
	o.SetUID(types.UID(fmt.Sprintf("%s/%s/%s", reflect.TypeOf(o).Elem().Name(), o.GetNamespace(), o.GetName())))
	o.SetCreationTimestamp(metav1.NewTime(w.Now()))
	o.SetGeneration(1)
}

// Create creates objects, as the field manager with that name.
func (w *World) Create(manager string, objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		w.stamp(o)
		w.written[writer{o.GetUID(), manager}] = w.Now()
		if err := w.Server.Create(w.t.Context(), o, client.FieldOwner(manager)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Edit changes the spec of an object.
func Edit[T client.Object](w *World, manager string, o T, change func(T)) {
	w.t.Helper()
	change(Get(w, o))
	w.written[writer{o.GetUID(), manager}] = w.Now()
	o.SetGeneration(o.GetGeneration() + 1)
	if err := w.Server.Update(w.t.Context(), o, client.FieldOwner(manager)); err != nil {
		w.t.Fatal(err)
	}
}

// Rollout returns a rollout of Namespace, for Edit.
func Rollout(name string) *v1alpha1.Rollout {
	return &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}}
}

// DistributionSet returns a set of Namespace, for Edit.
func DistributionSet(name string) *v1alpha1.DistributionSet {
	return &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}}
}

// maxRounds is how often the controllers run before a world that still changes is a fault.
const maxRounds = 50

// Reconcile lets the index follow the API server, and the controllers run until nothing changes.
func (w *World) Reconcile() {
	w.t.Helper()
	for range maxRounds {
		changed := w.sync()
		for _, o := range changed {
			if target, is := o.(*v1alpha1.Target); is && w.Index.Target(client.ObjectKeyFromObject(target)) != nil {
				w.try(w.targets.Reconcile(w.t.Context(), target))
			}
		}
		each(w, &v1alpha1.SoftwareModuleList{}, w.modules.Reconcile)
		each(w, &v1alpha1.DistributionSetList{}, w.sets.Reconcile)
		each(w, &v1alpha1.AutoAssignmentList{}, w.autos.Reconcile)
		each(w, &v1alpha1.RolloutList{}, w.rollouts.Reconcile)
		each(w, &v1alpha1.DeploymentGroupList{}, w.groups.Reconcile)
		if len(changed) == 0 && !w.isStale() {
			return
		}
	}
	w.t.Fatalf("the world still changes after %d rounds", maxRounds)
}

// sync lets the index follow the API server, and returns what has changed.
func (w *World) sync() []client.Object {
	w.t.Helper()
	w.mu.Lock()
	stale := maps.Clone(w.stale)
	clear(w.stale)
	w.mu.Unlock()
	for _, informer := range w.caches.Informers() {
		keys := stale[kindOf(informer.Object)]
		if len(keys) == 0 {
			continue
		}
		var objects []runtime.Object
		for _, o := range informer.GetStore().List() {
			if !keys[client.ObjectKeyFromObject(o.(client.Object))] {
				objects = append(objects, o.(client.Object))
			}
		}
		for key := range keys {
			o := reflect.New(reflect.TypeOf(informer.Object).Elem()).Interface().(client.Object)
			if err := w.Server.Get(w.t.Context(), key, o); client.IgnoreNotFound(err) != nil {
				w.t.Fatal(err)
			} else if err == nil {
				w.setWritten(o)
				objects = append(objects, o)
			}
		}
		informer.Replace(objects)
	}
	changed := w.changed
	w.changed = nil
	return changed
}

// Get reads an object from the API server.
func Get[T client.Object](w *World, o T) T {
	w.t.Helper()
	if err := w.Server.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// setWritten gives the managed fields of an object the times of the world.
func (w *World) setWritten(o client.Object) {
	fields := o.GetManagedFields()
	for i := range fields {
		at, known := w.written[writer{o.GetUID(), fields[i].Manager}]
		if !known {
			at = w.Now()
		}
		fields[i].Time = new(metav1.NewTime(at))
	}
}

// isStale reports whether anything was written since the last sync.
func (w *World) isStale() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stale) > 0
}

// each reconciles all objects of a kind.
func each[T any, P interface {
	*T
	client.Object
}](w *World, list client.ObjectList, reconcile func(context.Context, P) (ctrl.Result, error)) {
	w.t.Helper()
	if err := w.cached.List(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range objects {
		w.try(reconcile(w.t.Context(), o.(P)))
	}
}

func (w *World) try(_ ctrl.Result, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
