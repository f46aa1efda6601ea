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
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// The watches of the target controller: all objects that the open action of a target, or the
// messages about its assignment, depend on.

// SetupWithManager watches targets and, through the index, the objects that may change their open
// actions.
func (r *TargetReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("target").
		For(&v1alpha1.Target{}, builder.WithPredicates(targetPredicate)).
		WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			r.Index.Watch(func(old, now client.Object) {
				for _, request := range r.affectedTargets(old, now) {
					queue.Add(request)
				}
			})
			return nil
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4, SkipNameValidation: new(true)}).
		Complete(ignoreRaces{readable(mgr.GetClient(), r)})
}

// affectedTargets returns the targets that a change of another object affects: their open action
// may be superseded, or the message about their assignment may be outdated.
func (r *TargetReconciler) affectedTargets(old, now client.Object) []reconcile.Request {
	object := now
	if object == nil {
		object = old
	}
	switch object := object.(type) {
	case *v1alpha1.Target:
		if now == nil {
			return r.duplicates(object)
		}
	case *v1alpha1.TargetInventory: // of a target that is to remove software; or like a change of attributes, if an expression reads it
		t := r.Index.Target(client.ObjectKeyFromObject(object))
		if t != nil && (t.Spec.Assignment != nil && len(t.Spec.Assignment.Remove) > 0 || !sameSoftware(old, now) && r.Index.ReadsInventory(t.Namespace)) {
			return []reconcile.Request{requestFor(object)}
		}
	case *v1alpha1.Rollout:
		if now != nil {
			before, _ := old.(*v1alpha1.Rollout)
			return r.affectedByRollout(before, object)
		}
	case *v1alpha1.DeploymentGroup:
		if before, ok := old.(*v1alpha1.DeploymentGroup); ok && now != nil {
			return r.affectedByGroup(before, object)
		}
	case *v1alpha1.AutoAssignment:
		if before, ok := old.(*v1alpha1.AutoAssignment); !ok || now == nil || !autoassignment.OffersSame(before, object) {
			return r.assigned(object.Namespace, client.MatchingFields{TargetByAssignment: Assigned})
		}
	case *v1alpha1.DistributionSet: // its conditions change what a target may get
		return r.assigned(object.Namespace, client.MatchingFields{TargetByAssignedSet: object.Name})
	}
	return nil
}

func (r *TargetReconciler) affectedByRollout(before, after *v1alpha1.Rollout) []reconcile.Request {
	var requests []reconcile.Request
	if before == nil || openGroups(before) < openGroups(after) || isHeld(before) && !isHeld(after) {
		requests = r.membersWithOpenAction(after)
	}
	if reachOf(before) != reachOf(after) {
		requests = append(requests, r.assignedMembers(after)...)
	}
	return requests
}

func (r *TargetReconciler) affectedByGroup(before, after *v1alpha1.DeploymentGroup) []reconcile.Request {
	ro := r.Index.Rollout(types.NamespacedName{Namespace: after.Namespace, Name: after.Spec.Rollout})
	grown := len(before.Spec.Targets) < len(after.Spec.Targets)
	if ro == nil || !grown && bitsOf(before) == bitsOf(after) {
		return nil
	}
	requests := r.assignedMembers(ro)
	if grown {
		requests = append(requests, r.membersWithOpenAction(ro)...)
	}
	return requests
}

// reach is the part of a rollout's progress that other updates of its members depend on.
type reach struct {
	open             int
	started, stopped bool
	superseding      v1alpha1.Superseding
}

func reachOf(r *v1alpha1.Rollout) reach {
	if r == nil {
		return reach{}
	}
	_, stopped := rollout.ClosedReason(r, 0)
	return reach{openGroups(r), r.Status.StartedAt != nil, stopped, r.Spec.Update.Superseding}
}

// isHeld reports whether a rollout offers nothing at the moment.
func isHeld(r *v1alpha1.Rollout) bool {
	return r.Status.State == v1alpha1.RolloutPaused || r.Spec.State == v1alpha1.IntentPaused
}

// targetPredicate passes the changes that this controller handles: spec, labels, attributes, opened
// or closed actions, and the installed set of a target with an assignment. Polls and progress
// reports are ignored.
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

// duplicates returns the targets with the controllerID of a deleted target: the next oldest is
// served from now on.
func (r *TargetReconciler) duplicates(gone *v1alpha1.Target) []reconcile.Request {
	var requests []reconcile.Request
	for _, name := range r.Index.NamesWithControllerID(gone.Namespace, gone.ControllerID()) {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: gone.Namespace, Name: name}})
	}
	return requests
}

// membersWithOpenAction returns the members of a rollout's open groups that have an open action of
// another source.
func (r *TargetReconciler) membersWithOpenAction(ro *v1alpha1.Rollout) []reconcile.Request {
	var requests []reconcile.Request
	for _, g := range r.Index.GroupsOf(ro) {
		if !grouping.BelongsTo(g, ro) || !fleet.OpenGroup(ro, g) {
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

// assignedMembers returns the members of a rollout that have an assignment of their own. It uses an
// index, so it costs nothing in a fleet without assignments.
func (r *TargetReconciler) assignedMembers(ro *v1alpha1.Rollout) []reconcile.Request {
	return slices.DeleteFunc(r.assigned(ro.Namespace, client.MatchingFields{TargetByAssignment: Assigned}), func(request reconcile.Request) bool {
		t := r.Index.Target(request.NamespacedName)
		return t == nil || !isMember(r.Index, ro, t)
	})
}

// assigned returns the targets of a namespace that match an index of assignments.
func (r *TargetReconciler) assigned(namespace string, found client.MatchingFields) []reconcile.Request {
	var list v1alpha1.TargetList
	if err := r.Client.List(context.Background(), &list, client.InNamespace(namespace), found, client.UnsafeDisableDeepCopy); err != nil {
		return nil // a cache fails to list only before it has started, and each target is reconciled after that
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i] = requestFor(&list.Items[i])
	}
	return requests
}
