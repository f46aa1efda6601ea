// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// What wakes the controller of targets: what their open actions, or the words on their assignments,
// depend on.

// SetupWithManager watches targets, and through the index what may change their open actions.
func (r *TargetReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("target").
		For(&v1alpha1.Target{}, builder.WithPredicates(targetPredicate)).
		WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			r.Index.Watch(func(old, now client.Object) {
				for _, request := range r.concerned(old, now) {
					queue.Add(request)
				}
			})
			return nil
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4, SkipNameValidation: new(true)}).
		Complete(quiet{readable(mgr.GetClient(), r)})
}

// concerned are the targets that a change of something else concerns: their open action may have to
// give way, or what is said of their assignment may be over.
func (r *TargetReconciler) concerned(old, now client.Object) []reconcile.Request {
	any := now
	if any == nil {
		any = old
	}
	switch any := any.(type) {
	case *v1alpha1.Target:
		if now == nil {
			return r.duplicates(any)
		}
	case *v1alpha1.Rollout:
		if now != nil {
			before, _ := old.(*v1alpha1.Rollout)
			return r.concernedByRollout(before, any)
		}
	case *v1alpha1.DeploymentGroup:
		if before, ok := old.(*v1alpha1.DeploymentGroup); ok && now != nil {
			return r.concernedByGroup(before, any)
		}
	case *v1alpha1.AutoAssignment:
		if before, ok := old.(*v1alpha1.AutoAssignment); !ok || now == nil || !fleet.OffersAlike(before, any) {
			return r.assigned(any.Namespace, client.MatchingFields{TargetByAssignment: Assigned})
		}
	case *v1alpha1.DistributionSet: // conditions say what it lacks
		return r.assigned(any.Namespace, client.MatchingFields{TargetByAssignedSet: any.Name})
	}
	return nil
}

func (r *TargetReconciler) concernedByRollout(before, after *v1alpha1.Rollout) []reconcile.Request {
	var requests []reconcile.Request
	if before == nil || openGroups(before) < openGroups(after) || isHeld(before) && !isHeld(after) {
		requests = r.membersAtWork(after)
	}
	if reachOf(before) != reachOf(after) {
		requests = append(requests, r.assignedMembers(after)...)
	}
	return requests
}

func (r *TargetReconciler) concernedByGroup(before, after *v1alpha1.DeploymentGroup) []reconcile.Request {
	ro := r.Index.Rollout(types.NamespacedName{Namespace: after.Namespace, Name: after.Spec.Rollout})
	grown := len(before.Spec.Targets) < len(after.Spec.Targets)
	if ro == nil || !grown && bitsOf(before) == bitsOf(after) {
		return nil
	}
	requests := r.assignedMembers(ro)
	if grown {
		requests = append(requests, r.membersAtWork(ro)...)
	}
	return requests
}

// reach is how far a rollout has come towards its members, as far as their other updates depend on
// it.
type reach struct {
	open             int
	started, stopped bool
	superseding      v1alpha1.Superseding
}

func reachOf(r *v1alpha1.Rollout) reach {
	if r == nil {
		return reach{}
	}
	_, stopped := fleet.Gate(r, 0)
	return reach{openGroups(r), r.Status.StartedAt != nil, stopped, r.Spec.Update.Superseding}
}

// isHeld reports whether a rollout offers nothing for the time being.
func isHeld(r *v1alpha1.Rollout) bool {
	return r.Status.State == v1alpha1.RolloutPaused || r.Spec.State == v1alpha1.IntentPaused
}

// targetPredicate lets through what the controller answers to: spec, labels, attributes, actions
// that opened or closed, and what an assigned device runs. Polls and progress wake nobody.
var targetPredicate = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := e.ObjectOld.(*v1alpha1.Target), e.ObjectNew.(*v1alpha1.Target)
		return old.Generation != now.Generation ||
			!equality.Semantic.DeepEqual(old.Labels, now.Labels) ||
			!equality.Semantic.DeepEqual(old.Status.Attributes, now.Status.Attributes) ||
			now.Status.ObservedGeneration != now.Generation ||
			(hasDeadline(now) || now.Spec.Assignment != nil) && openState(old) != openState(now) ||
			now.Spec.Assignment != nil && !equality.Semantic.DeepEqual(old.Status.Installed, now.Status.Installed)
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}

func openGroups(r *v1alpha1.Rollout) int {
	n := 0
	for _, g := range r.Status.Groups {
		if g.OpenedAt != nil {
			n++
		}
	}
	return n
}

func openState(t *v1alpha1.Target) v1alpha1.ActionState {
	if a := action.Open(&t.Status); a != nil {
		return a.State
	}
	return ""
}

func hasDeadline(t *v1alpha1.Target) bool {
	a := action.Open(&t.Status)
	return a != nil && (a.Update.ProgressDeadlineSeconds != nil || a.Update.CancelDeadlineSeconds != nil)
}

// duplicates of a target that is gone: the next oldest is served from now on.
func (r *TargetReconciler) duplicates(gone *v1alpha1.Target) []reconcile.Request {
	var requests []reconcile.Request
	for _, name := range r.Index.Claimants(gone.Namespace, gone.ControllerID()) {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: gone.Namespace, Name: name}})
	}
	return requests
}

// membersAtWork are the members of a rollout's open groups that are busy with an action of another
// source.
func (r *TargetReconciler) membersAtWork(ro *v1alpha1.Rollout) []reconcile.Request {
	var requests []reconcile.Request
	for _, g := range r.Index.GroupsOf(ro) {
		if !fleet.Exists(g, ro) || !openGroup(ro, g) {
			continue
		}
		for _, name := range g.Spec.Targets {
			key := types.NamespacedName{Namespace: ro.Namespace, Name: string(name)}
			if t := r.Index.Target(key); t != nil {
				if a := action.Open(&t.Status); a != nil && a.Source.UID != ro.Identity() {
					requests = append(requests, reconcile.Request{NamespacedName: key})
				}
			}
		}
	}
	return requests
}

// assignedMembers are the members of a rollout that have an assignment of their own. A fleet
// without assignments costs nothing.
func (r *TargetReconciler) assignedMembers(ro *v1alpha1.Rollout) []reconcile.Request {
	return slices.DeleteFunc(r.assigned(ro.Namespace, client.MatchingFields{TargetByAssignment: Assigned}), func(request reconcile.Request) bool {
		t := r.Index.Target(request.NamespacedName)
		return t == nil || !isMember(r.Index, ro, t)
	})
}

// assigned are the targets of a namespace whose own assignment is found so.
func (r *TargetReconciler) assigned(namespace string, found client.MatchingFields) []reconcile.Request {
	var list v1alpha1.TargetList
	if err := r.Client.List(context.Background(), &list, client.InNamespace(namespace), found, client.UnsafeDisableDeepCopy); err != nil {
		return nil // only a cache that is not up yet fails, and the first look at each target follows
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i] = requestFor(&list.Items[i])
	}
	return requests
}
