// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// SoftwareModuleReconciler reports whether a module is the only one with its identity, and freezes
// it once a set that is in use contains it.
type SoftwareModuleReconciler struct {
	Client client.Client
	Events events.EventRecorder
	Now    func() time.Time
}

// Reconcile reconciles one SoftwareModule.
func (r *SoftwareModuleReconciler) Reconcile(ctx context.Context, module *v1alpha1.SoftwareModule) (ctrl.Result, error) {
	if !module.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	older, err := r.olderOf(ctx, module)
	if err != nil {
		return ctrl.Result{}, err
	}
	user, err := r.lockedBy(ctx, module)
	if err != nil {
		return ctrl.Result{}, err
	}
	status := moduleStatus(module, older, user != "", r.Now())
	if equality.Semantic.DeepEqual(module.Status, status) {
		return ctrl.Result{}, nil
	}
	next := module.DeepCopy()
	next.Status = status
	if err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(module, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	r.announce(ctx, module, status, user)
	return ctrl.Result{}, nil
}

// olderOf returns the name of the oldest other module of the same identity, if it is older than
// this one.
func (r *SoftwareModuleReconciler) olderOf(ctx context.Context, module *v1alpha1.SoftwareModule) (string, error) {
	var same v1alpha1.SoftwareModuleList
	if err := r.Client.List(ctx, &same, client.InNamespace(module.Namespace), client.MatchingFields{ModuleByIdentity: ModuleIdentity(module)[0]}, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list modules of the same type, name and version as %s: %w", module.Name, err)
	}
	duplicates := make([]metav1.Object, 0, len(same.Items))
	for i := range same.Items {
		duplicates = append(duplicates, &same.Items[i])
	}
	return olderAmong(module, duplicates), nil
}

// olderAmong returns the name of the oldest object, unless it is the given object itself. It sorts
// by age and then by name, so the result is deterministic.
func olderAmong(object metav1.Object, duplicates []metav1.Object) string {
	oldest := object
	for _, t := range duplicates {
		if byAge(t, oldest) < 0 {
			oldest = t
		}
	}
	if oldest.GetName() == object.GetName() {
		return ""
	}
	return oldest.GetName()
}

func byAge(a, b metav1.Object) int {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if c := at.Compare(bt.Time); c != 0 {
		return c
	}
	if a.GetName() < b.GetName() {
		return -1
	}
	return 1
}

// lockedBy returns the name of a set that contains the module and is in use or about to be, or ""
// if there is none.
func (r *SoftwareModuleReconciler) lockedBy(ctx context.Context, module *v1alpha1.SoftwareModule) (string, error) {
	var sets v1alpha1.DistributionSetList
	if err := r.Client.List(ctx, &sets, client.InNamespace(module.Namespace), client.MatchingFields{SetByModule: module.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list sets that contain module %s: %w", module.Name, err)
	}
	var names []string
	for i := range sets.Items {
		if set := &sets.Items[i]; freezesModules(set) {
			names = append(names, set.Name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return slices.Min(names), nil
}

// freezesModules reports whether a set is locked, or waits for its modules to be frozen.
func freezesModules(set *v1alpha1.DistributionSet) bool {
	locked := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionLocked)
	return set.Status.Locked || locked != nil && locked.Reason == v1alpha1.ReasonLocking
}

// moduleStatus computes the status of a module. A module is never unlocked.
func moduleStatus(module *v1alpha1.SoftwareModule, older string, used bool, now time.Time) v1alpha1.SoftwareModuleStatus {
	status := *module.Status.DeepCopy()
	status.ObservedGeneration = module.Generation
	status.Locked = status.Locked || used
	c := conditions{&status.Conditions, module.Generation, now}
	if older == "" {
		c.ready(v1alpha1.ReasonReady, "no other SoftwareModule has this type, name and version")
		return status
	}
	c.stalled(v1alpha1.ReasonDuplicate, fmt.Sprintf("SoftwareModule %s is older and has the same type %q, name %q and version %q: delete one of the two, or give this one another version",
		older, module.Spec.Type, module.Spec.Name, module.Spec.Version))
	return status
}

// announce announces what was stored.
func (r *SoftwareModuleReconciler) announce(ctx context.Context, module *v1alpha1.SoftwareModule, status v1alpha1.SoftwareModuleStatus, user string) {
	a := announcement{ctx: ctx, events: r.Events, object: module, from: readyReason(module.Status.Conditions), to: readyReason(status.Conditions)}
	if status.Locked && !module.Status.Locked {
		a.normal("Locked", "Lock", fmt.Sprintf("the module is frozen, except its downloads: DistributionSet %s is in use and contains it", user))
	}
	a.readiness(module.Status.Conditions, status.Conditions)
}

// maxNoteBytes is the maximum length of the note of an event that the API server accepts.
const maxNoteBytes = 1000

// SetupWithManager watches modules, their duplicates, and the sets that contain them.
func (r *SoftwareModuleReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("softwaremodule").
		For(&v1alpha1.SoftwareModule{}).
		Watches(&v1alpha1.SoftwareModule{}, handler.EnqueueRequestsFromMapFunc(r.moduleDuplicates), builder.WithPredicates(createdOrDeleted)).
		Watches(&v1alpha1.DistributionSet{}, handler.EnqueueRequestsFromMapFunc(modulesOfSet), builder.WithPredicates(freezesOtherModules)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, NewQueue: fairQueue, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}

// createdOrDeleted passes the creation and the deletion of an object.
var createdOrDeleted = predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}

// freezesOtherModules passes changes of a set that may freeze other modules than before.
var freezesOtherModules = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := e.ObjectOld.(*v1alpha1.DistributionSet), e.ObjectNew.(*v1alpha1.DistributionSet)
		return freezesModules(now) && (!freezesModules(old) || old.Generation != now.Generation)
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}

// modulesOfSet returns the modules that a set names.
func modulesOfSet(_ context.Context, o client.Object) []reconcile.Request {
	return requestsFor(o.GetNamespace(), SetModules(o))
}

// moduleDuplicates returns the other modules with the same identity.
func (r *SoftwareModuleReconciler) moduleDuplicates(ctx context.Context, o client.Object) []reconcile.Request {
	var same v1alpha1.SoftwareModuleList
	if err := r.Client.List(ctx, &same, client.InNamespace(o.GetNamespace()), client.MatchingFields{ModuleByIdentity: ModuleIdentity(o)[0]}, client.UnsafeDisableDeepCopy); err != nil {
		return nil // a cache fails to list only while it shuts down
	}
	var names []string
	for i := range same.Items {
		if same.Items[i].Name != o.GetName() {
			names = append(names, same.Items[i].Name)
		}
	}
	return requestsFor(o.GetNamespace(), names)
}

func requestsFor(namespace string, names []string) []reconcile.Request {
	requests := make([]reconcile.Request, 0, len(names))
	for _, name := range names {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	}
	return requests
}
