// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

// RolloutReconciler carries out what internal/rollout decides. Rollout.status is the one latch:
// every decision is one optimistic-locked write of it, so an old leader loses the lock.
type RolloutReconciler struct {
	Client  client.Client
	Live    client.Reader
	Index   *fleet.Index
	Targets *targetstatus.Store
	Tallies *Tallies
	Events  events.EventRecorder
	Now     func() time.Time
	// RequireApproval makes spec.approvalRequired true for all.
	RequireApproval bool

	statusThrottle statusThrottle
	overlaps       overlaps
	joinCandidates joinCandidates
	pageCursor     pageCursor
	cancelBackoff  cancelBackoff
}

// Reconcile looks at one rollout.
func (r *RolloutReconciler) Reconcile(ctx context.Context, obj *v1alpha1.Rollout) (ctrl.Result, error) {
	if wait := untilSynced(r.Index); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if !obj.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, obj)
	}
	if wait := r.awaitsStatus(obj); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if added, err := r.addFinalizer(ctx, obj); added || err != nil {
		return retryConflict(err)
	}
	if lag, err := r.cacheLags(ctx, obj); lag || err != nil {
		return ctrl.Result{RequeueAfter: conflictPause}, err
	}
	if err := r.ownGroups(ctx, obj); err != nil {
		return retryConflict(err)
	}
	plan := r.plan(obj)
	if wait := r.wait(obj, plan); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	untold, err := r.carryOut(ctx, obj, plan)
	if err != nil {
		return retryConflict(ignoreTerminating(err))
	}
	if untold > 0 {
		return ctrl.Result{RequeueAfter: r.cancelBackoff.next(obj.UID, untold)}, nil
	}
	return ctrl.Result{RequeueAfter: plan.RecheckAfter}, nil
}

// statusArrives is how long the status of a restored rollout may come after its object.
const statusArrives = 5 * time.Second

// awaitsStatus is how long a new rollout without status is left alone: groups that name another
// rollout of its name were restored before it, and whoever restores it writes its status next.
// Zero: its status is not awaited.
func (r *RolloutReconciler) awaitsStatus(obj *v1alpha1.Rollout) time.Duration {
	if obj.Status.ObservedGeneration > 0 || obj.Status.UID != "" || obj.Status.Plan != nil {
		return 0
	}
	isForeign := func(g *v1alpha1.DeploymentGroup) bool { return g.Spec.RolloutUID != obj.UID }
	if !slices.ContainsFunc(r.Index.GroupsNaming(client.ObjectKeyFromObject(obj)), isForeign) {
		return 0
	}
	return statusArrives - r.Now().Sub(obj.CreationTimestamp.Time)
}

// ownGroups makes the rollout the owner of its groups where a restore has left them another one,
// which a garbage collector would take for gone, or none.
func (r *RolloutReconciler) ownGroups(ctx context.Context, obj *v1alpha1.Rollout) error {
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil || !fleet.Exists(g, obj) || metav1.IsControlledBy(g, obj) {
			continue
		}
		next := g.DeepCopy()
		next.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(obj, v1alpha1.GroupVersion.WithKind("Rollout"))}
		controllerutil.AddFinalizer(next, v1alpha1.DeploymentGroupFinalizer)
		if !g.DeletionTimestamp.IsZero() {
			next.Finalizers = g.Finalizers // none can be added any more
		}
		if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(g, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("own deployment group %s: %w", g.Name, err)
		}
	}
	return nil
}

// plan asks the rules with the tallies at hand; what they decide is asked again after a recount,
// and only that answer counts.
func (r *RolloutReconciler) plan(obj *v1alpha1.Rollout) rollout.Plan {
	plan := rollout.Next(r.snapshot(obj, r.Tallies.Of))
	if plan.Decided {
		plan = rollout.Next(r.snapshot(obj, r.Tallies.Recount))
	}
	return plan
}

// carryOut applies a plan in the order that survives a crash after any write, and tells how many
// started devices had not heard of a stop.
func (r *RolloutReconciler) carryOut(ctx context.Context, obj *v1alpha1.Rollout, plan rollout.Plan) (untold int, err error) {
	for _, write := range []func() error{
		func() error { return r.createGroups(ctx, plan.Create) },
		func() error { return r.writeGroups(ctx, plan.Supersede) },
		func() error { return r.writeStatus(ctx, obj, plan) },
		func() error { return r.writeGroups(ctx, plan.Mirror) },
		func() error { return r.join(ctx, plan.Join) },
		func() error { return r.deleteGroups(ctx, plan.Delete) },
	} {
		if err := write(); err != nil {
			return 0, err
		}
	}
	if plan.DeleteSelf {
		return 0, client.IgnoreNotFound(r.Client.Delete(ctx, obj, client.Preconditions{UID: &obj.UID}))
	}
	if !plan.CancelOpenActions {
		return 0, nil
	}
	return r.cancelOpenActions(ctx, obj)
}

// createGroups creates a plan's groups; their names make it safe to repeat.
func (r *RolloutReconciler) createGroups(ctx context.Context, groups []*v1alpha1.DeploymentGroup) error {
	var work errgroup.Group // one write that fails does not break off the others
	work.SetLimit(4)
	for _, g := range groups {
		work.Go(func() error {
			err := r.Client.Create(ctx, g.DeepCopy(), client.FieldOwner("goshawk"))
			if apierrors.IsAlreadyExists(err) {
				return nil // the name carries the plan and the rollout's uid
			}
			if err != nil {
				return fmt.Errorf("create deployment group %s: %w", g.Name, err)
			}
			return nil
		})
	}
	return work.Wait()
}

// writeStatus writes the decision under the lock of the Rollout that was read, and then tells
// people of it.
func (r *RolloutReconciler) writeStatus(ctx context.Context, obj *v1alpha1.Rollout, plan rollout.Plan) error {
	if equality.Semantic.DeepEqual(obj.Status, plan.Status) {
		return nil
	}
	next := obj.DeepCopy()
	next.Status = plan.Status
	started := r.Now()
	if err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(obj, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return fmt.Errorf("write status of rollout %s: %w", obj.Name, err)
	}
	r.statusThrottle.start(obj.UID, started.Add(restAfter(r.Now().Sub(started), plan.Status)))
	for _, e := range plan.Events {
		r.Events.Eventf(obj, nil, e.Type, e.Reason, "Rollout", "%s", e.Message)
	}
	return nil
}

func (r *RolloutReconciler) writeGroups(ctx context.Context, updates []rollout.GroupStatus) error {
	var work errgroup.Group // one write that fails does not break off the others
	work.SetLimit(4)
	for _, u := range updates {
		if equality.Semantic.DeepEqual(u.Object.Status, u.Status) {
			continue
		}
		work.Go(func() error {
			next := u.Object.DeepCopy()
			next.Status = u.Status
			if err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(u.Object, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
				return fmt.Errorf("write status of deployment group %s: %w", u.Object.Name, err)
			}
			return nil
		})
	}
	return work.Wait()
}

// join writes when targets join, and then appends them with the lock of that write: nobody joins
// twice, and a crash between leaves a note without effect.
func (r *RolloutReconciler) join(ctx context.Context, j *rollout.Join) error {
	if j == nil {
		return nil
	}
	noted := j.Object.DeepCopy()
	noted.Status = j.Status
	if err := r.Client.Status().Patch(ctx, noted, client.MergeFromWithOptions(j.Object, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return fmt.Errorf("write status of deployment group %s: %w", j.Object.Name, err)
	}
	grown := noted.DeepCopy()
	grown.Spec.Targets = append(grown.Spec.Targets, j.Targets...)
	if err := r.Client.Patch(ctx, grown, client.MergeFromWithOptions(noted, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return fmt.Errorf("append %d targets to deployment group %s: %w", len(j.Targets), j.Object.Name, err)
	}
	return nil
}

// deleteGroups deletes groups and lets them go: only this controller removes their finalizer, and
// no garbage collector is waited for.
func (r *RolloutReconciler) deleteGroups(ctx context.Context, groups []*v1alpha1.DeploymentGroup) error {
	for _, g := range groups {
		if err := releaseGroup(ctx, r.Client, g); err != nil {
			return err
		}
	}
	return nil
}

func releaseGroup(ctx context.Context, c client.Client, g *v1alpha1.DeploymentGroup) error {
	if err := c.Delete(ctx, g.DeepCopy(), client.Preconditions{UID: &g.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete deployment group %s: %w", g.Name, err)
	}
	if !controllerutil.ContainsFinalizer(g, v1alpha1.DeploymentGroupFinalizer) {
		return nil
	}
	next := g.DeepCopy()
	controllerutil.RemoveFinalizer(next, v1alpha1.DeploymentGroupFinalizer)
	if err := c.Patch(ctx, next, client.MergeFrom(g)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release deployment group %s: %w", g.Name, err)
	}
	return nil
}

// addFinalizer comes before the first side effect.
func (r *RolloutReconciler) addFinalizer(ctx context.Context, obj *v1alpha1.Rollout) (bool, error) {
	if controllerutil.ContainsFinalizer(obj, v1alpha1.RolloutFinalizer) {
		return false, nil
	}
	next := obj.DeepCopy()
	controllerutil.AddFinalizer(next, v1alpha1.RolloutFinalizer)
	return true, r.Client.Patch(ctx, next, client.MergeFromWithOptions(obj, client.MergeFromWithOptimisticLock{}))
}

// finalize carries out deletionCancellation, lets the groups go and then the rollout. It waits for
// no device.
func (r *RolloutReconciler) finalize(ctx context.Context, obj *v1alpha1.Rollout) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(obj, v1alpha1.RolloutFinalizer) {
		return ctrl.Result{}, nil
	}
	if again, err := r.cancelForDeletion(ctx, obj); again > 0 || err != nil {
		return ctrl.Result{RequeueAfter: again}, err
	}
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil { // a list that holds it cannot be read past the cache
			if err := releaseGroup(ctx, r.Client, g); err != nil {
				return retryConflict(err)
			}
		}
	}
	var groups v1alpha1.DeploymentGroupList
	if err := r.Live.List(ctx, &groups, client.InNamespace(obj.Namespace), client.MatchingLabels{v1alpha1.RolloutLabel: rollout.RolloutLabelValue(obj.Name)}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list deployment groups of rollout %s: %w", obj.Name, err)
	}
	for i := range groups.Items {
		if g := &groups.Items[i]; g.Spec.RolloutUID == obj.UID || fleet.Exists(g, obj) {
			if err := releaseGroup(ctx, r.Client, g); err != nil {
				return retryConflict(err)
			}
		}
	}
	next := obj.DeepCopy()
	controllerutil.RemoveFinalizer(next, v1alpha1.RolloutFinalizer)
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(obj, client.MergeFromWithOptimisticLock{})); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	r.statusThrottle.forget(obj.UID)
	r.overlaps.forget(obj.UID)
	r.pageCursor.forget(client.ObjectKeyFromObject(obj))
	r.joinCandidates.forget(obj.UID)
	r.cancelBackoff.forget(obj.UID)
	return ctrl.Result{}, nil
}

// cancelForDeletion carries out deletionCancellation, of which None closes the questions that
// nobody has answered, and answers when to be called again while targets are left to be told; zero:
// none is. It does not wait for one that cannot be written: when it has been over all of them and
// only errors are left, the rollout goes and people are told.
func (r *RolloutReconciler) cancelForDeletion(ctx context.Context, obj *v1alpha1.Rollout) (again time.Duration, err error) {
	if seen := r.Index.Rollout(client.ObjectKeyFromObject(obj)); seen == nil || seen.UID != obj.UID || seen.DeletionTimestamp.IsZero() {
		return conflictPause, nil // what the index has not seen yet would not be applied
	}
	left, err := r.cancelOpenActions(ctx, obj)
	switch {
	case left == 0:
		return 0, err
	case err == nil, r.Now().Sub(obj.DeletionTimestamp.Time) < deletionPatience:
		return r.cancelBackoff.next(obj.UID, left), nil
	}
	r.Events.Eventf(obj, nil, "Warning", "CancellationIncomplete", "Delete", "%d targets could not be written within %s and have not been told of the deletion: %v", left, deletionPatience, err)
	return 0, nil
}

// deletionPatience is how long a rollout that goes tries to tell targets that cannot be written.
const deletionPatience = time.Minute

// cancelOpenActions applies a stop or deletion into the open actions of a rollout, a page at a
// time, and answers how many were left before. What there is to apply the offer says; one target
// that cannot be written does not hold the others.
func (r *RolloutReconciler) cancelOpenActions(ctx context.Context, obj *v1alpha1.Rollout) (left int, err error) {
	var busy v1alpha1.TargetList
	if err := r.Client.List(ctx, &busy, client.InNamespace(obj.Namespace), client.MatchingFields{TargetByOpenSource: string(obj.Identity())}, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list targets at work for rollout %s: %w", obj.Name, err)
	}
	var untold []string
	for i := range busy.Items {
		t := r.Targets.Get(client.ObjectKeyFromObject(&busy.Items[i]))
		if t == nil || t.Unreadable != nil {
			continue
		}
		if _, pending := offer.ApplyPending(r.Index.World(t, r.Now())); pending {
			untold = append(untold, t.Name)
		}
	}
	if len(untold) == 0 {
		r.cancelBackoff.forget(obj.UID)
		return 0, nil
	}
	slices.Sort(untold)
	page := r.pageCursor.next(client.ObjectKeyFromObject(obj), untold)
	return len(untold), settleAll(ctx, r.Targets, obj.Namespace, page)
}

const (
	minRest     = time.Second
	largeStatus = 64 << 10
	largeRest   = 10 * time.Second
)

// wait is how long mere counts still have to wait; zero: write.
func (r *RolloutReconciler) wait(obj *v1alpha1.Rollout, plan rollout.Plan) time.Duration {
	if plan.Decided || plan.CancelOpenActions || plan.DeleteSelf || plan.Join != nil ||
		len(plan.Supersede)+len(plan.Mirror)+len(plan.Delete)+len(plan.Create) > 0 ||
		isLastWord(plan.Status) || equality.Semantic.DeepEqual(obj.Status, plan.Status) {
		return 0
	}
	return r.statusThrottle.left(obj.UID, r.Now())
}

// isLastWord reports whether nothing more is awaited: the final counts of a rollout are written at
// once, as its end was.
func isLastWord(s v1alpha1.RolloutStatus) bool {
	return (s.State == v1alpha1.RolloutFinished || s.State == v1alpha1.RolloutStopped) && s.Targets != nil && s.Targets.InProgress == 0
}

// restAfter is how long mere counts rest after a write: a second, longer when writes are slow, ten
// seconds for objects above 64 KiB.
func restAfter(took time.Duration, status v1alpha1.RolloutStatus) time.Duration {
	rest := max(minRest, 20*took)
	if encoded, err := json.Marshal(status); err == nil && len(encoded) > largeStatus {
		rest = max(rest, largeRest)
	}
	return rest
}
