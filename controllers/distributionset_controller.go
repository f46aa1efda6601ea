// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// DistributionSetReconciler reports whether a set can be deployed, freezes its content at the first
// use, and takes it out of circulation when it is invalidated.
//
// A set becomes Ready only after the invalidation record was read. So a set that was invalidated,
// deleted and applied again is never deployable in between.
type DistributionSetReconciler struct {
	Client  client.Client
	Live    client.Reader
	Index   *fleet.Index
	Targets *targetstatus.Store
	Events  events.EventRecorder
	Now     func() time.Time
	// Namespace of the manager. It contains the ConfigMaps of the invalidation record.
	Namespace string

	counts         setCounts
	pageCursor     pageCursor
	statusThrottle statusThrottle
	records        records
}

// Reconcile reconciles one DistributionSet.
func (r *DistributionSetReconciler) Reconcile(ctx context.Context, set *v1alpha1.DistributionSet) (ctrl.Result, error) {
	if wait := untilSynced(r.Index); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if !set.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, set)
	}
	set, err := r.addFinalizer(ctx, set)
	if err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	plan, err := r.plan(ctx, set)
	if err != nil {
		return retryConflict(err)
	}
	again, cancelErr := r.cancelOpenActions(ctx, set)
	again = earliest(again, recordDelay(plan.unrecorded))
	status := plan.status(r.counts.of(client.ObjectKeyFromObject(set)), r.counts.running)
	if wait := r.counterDelay(set, status); wait > 0 {
		return withRequeue(ctrl.Result{RequeueAfter: wait}, again, cancelErr)
	}
	if err := r.writeStatus(ctx, set, status); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	r.announce(ctx, set, status)
	return withRequeue(ctrl.Result{RequeueAfter: plan.remainingGrace()}, again, cancelErr)
}

// earliest returns the shorter of two requeue delays. 0 means that no requeue is needed.
func earliest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// withRequeue requeues after the delay that canceling actions needs, if that is earlier, or at once
// after an error.
func withRequeue(result ctrl.Result, again time.Duration, err error) (ctrl.Result, error) {
	if err != nil {
		return retryConflict(err)
	}
	if again > 0 && (result.RequeueAfter == 0 || again < result.RequeueAfter) {
		result.RequeueAfter = again
	}
	return result, nil
}

// addFinalizer runs before anything else: with the finalizer, the set cannot be removed before its
// invalidation is recorded.
func (r *DistributionSetReconciler) addFinalizer(ctx context.Context, set *v1alpha1.DistributionSet) (*v1alpha1.DistributionSet, error) {
	if controllerutil.ContainsFinalizer(set, v1alpha1.DistributionSetFinalizer) {
		return set, nil
	}
	next := set.DeepCopy()
	controllerutil.AddFinalizer(next, v1alpha1.DistributionSetFinalizer)
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(set, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("add the finalizer of DistributionSet %s: %w", set.Name, err)
	}
	return next, nil
}

// finalize removes the finalizer once the invalidation of the set is recorded, or after
// deletionTimeout if it cannot be recorded. It does not wait for devices, modules or rollouts.
func (r *DistributionSetReconciler) finalize(ctx context.Context, set *v1alpha1.DistributionSet) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(set, v1alpha1.DistributionSetFinalizer) {
		return ctrl.Result{}, nil
	}
	if set.InvalidationInForce() != nil {
		if _, err := r.record(ctx, set); err != nil {
			if end := set.DeletionTimestamp.Add(deletionTimeout); r.Now().Before(end) {
				return r.delayDeletion(ctx, set, end, err)
			}
			a := announcement{ctx: ctx, events: r.Events, object: set, from: readyReason(set.Status.Conditions), to: deleted}
			a.warning(v1alpha1.ReasonInvalidationNotRecorded, "Delete", "the set is deleted, but its invalidation could not be recorded: if the set is applied again without spec.invalidation, it is valid; "+text.LimitBytes(oneLine(err.Error()), 512))
		}
	}
	next := set.DeepCopy()
	controllerutil.RemoveFinalizer(next, v1alpha1.DistributionSetFinalizer)
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(set, client.MergeFromWithOptimisticLock{})); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	logging.Decided(logf.FromContext(ctx), logging.Decision{Reason: deleted, From: readyReason(set.Status.Conditions), To: deleted, Message: "the distribution set was deleted"})
	r.pageCursor.forget(client.ObjectKeyFromObject(set))
	r.statusThrottle.forget(set.UID)
	return ctrl.Result{}, nil
}

// delayDeletion sets the condition that says what the deletion of an invalidated set waits for, and
// until when.
func (r *DistributionSetReconciler) delayDeletion(ctx context.Context, set *v1alpha1.DistributionSet, end time.Time, cause error) (ctrl.Result, error) {
	status := *set.Status.DeepCopy()
	conditions{&status.Conditions, set.Generation, r.Now()}.invalidated(v1alpha1.ReasonInvalidationNotRecorded, fmt.Sprintf(
		"the deletion waits until %s for this invalidation to be recorded; after that the set is deleted without a record; %s", end.UTC().Format(time.RFC3339), notRecorded(cause)))
	if err := r.writeStatus(ctx, set, status); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	return ctrl.Result{RequeueAfter: min(recordDelay(cause), end.Sub(r.Now()))}, nil
}

func (r *DistributionSetReconciler) invalidationRecord() InvalidationRecord {
	return InvalidationRecord{Reader: r.Live, Client: r.Client, Namespace: r.Namespace}
}

// plan loads all facts about a set. It records an invalidation before it returns; if that fails,
// the planner keeps the error and the open actions are canceled anyway.
func (r *DistributionSetReconciler) plan(ctx context.Context, set *v1alpha1.DistributionSet) (*setPlanner, error) {
	l := &setPlanner{set: set, now: r.Now()}
	hasDuplicates, err := r.loadDuplicates(ctx, l)
	if err != nil {
		return nil, err
	}
	l.invalidationEntry, err = r.invalidationEntry(ctx, set, hasDuplicates)
	if set.InvalidationInForce() != nil {
		l.unrecorded, err = err, nil
	}
	if err != nil {
		return nil, err
	}
	if err := r.loadModules(ctx, l, r.Client); err != nil {
		return nil, err
	}
	if err := r.loadUsers(ctx, l); err != nil {
		return nil, err
	}
	if (l.mustLock() || l.lacksContent()) && len(l.unlocked()) == 0 { // the content hash is final: read the modules from the API server, not from the cache
		return l, r.loadModules(ctx, l, r.Live)
	}
	return l, nil
}

// loadDuplicates finds the oldest duplicate of the set, and reports whether it has duplicates at
// all.
func (r *DistributionSetReconciler) loadDuplicates(ctx context.Context, l *setPlanner) (bool, error) {
	var same v1alpha1.DistributionSetList
	if err := r.Client.List(ctx, &same, client.InNamespace(l.set.Namespace), client.MatchingFields{SetByIdentity: SetIdentity(l.set)[0]}, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list sets of the same name, version and type as %s: %w", l.set.Name, err)
	}
	duplicates := make([]metav1.Object, 0, len(same.Items))
	for i := range same.Items {
		duplicates = append(duplicates, &same.Items[i])
	}
	l.older = olderAmong(l.set, duplicates)
	return len(duplicates) > 1, nil
}

// invalidationEntry records an invalidation that is in the spec of the set. Otherwise it reads the
// record where the result may be new: at the first reconcile, for a set with duplicates, and for a
// set that is invalid only by its entry, because an operator may have cleared the entry.
func (r *DistributionSetReconciler) invalidationEntry(ctx context.Context, set *v1alpha1.DistributionSet, hasDuplicates bool) (*InvalidationEntry, error) {
	status := set.Status.Invalidation
	if set.InvalidationInForce() != nil {
		if isRecorded(set) && status.FinishedAt == nil {
			return nil, nil
		}
		return r.record(ctx, set)
	}
	ready := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason == v1alpha1.ReasonDuplicate || hasDuplicates || status != nil {
		return r.invalidationRecord().Find(ctx, set)
	}
	return nil, nil
}

// loadModules reads the modules in the order of spec.modules. A missing module is nil.
func (r *DistributionSetReconciler) loadModules(ctx context.Context, l *setPlanner, from client.Reader) error {
	l.modules = make([]*v1alpha1.SoftwareModule, len(l.set.Spec.Modules))
	for i, ref := range l.set.Spec.Modules {
		module := &v1alpha1.SoftwareModule{}
		err := from.Get(ctx, types.NamespacedName{Namespace: l.set.Namespace, Name: ref.Name}, module)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read module %s of DistributionSet %s: %w", ref.Name, l.set.Name, err)
		}
		l.modules[i] = module
	}
	l.gap = offer.GapIn(l.set, l.modules)
	return nil
}

// loadUsers lists the objects that deploy the set: while the set is not locked, to find out whether
// it is in use; and when an invalidation is first observed, to count them.
func (r *DistributionSetReconciler) loadUsers(ctx context.Context, l *setPlanner) error {
	isNews := l.invalidation() != nil && l.set.Status.Invalidation == nil
	if l.set.Status.Locked && !isNews {
		return nil
	}
	var rollouts v1alpha1.RolloutList
	var autos v1alpha1.AutoAssignmentList
	var assigned v1alpha1.TargetList
	here, name := client.InNamespace(l.set.Namespace), l.set.Name
	err := errors.Join(
		r.Client.List(ctx, &rollouts, here, client.MatchingFields{RolloutBySet: name}, client.UnsafeDisableDeepCopy),
		r.Client.List(ctx, &autos, here, client.MatchingFields{AutoAssignmentBySet: name}, client.UnsafeDisableDeepCopy),
		r.Client.List(ctx, &assigned, here, client.MatchingFields{TargetByAssignedSet: name}, client.Limit(1), client.UnsafeDisableDeepCopy),
	)
	if err != nil {
		return fmt.Errorf("list what deploys DistributionSet %s: %w", name, err)
	}
	l.rollouts, l.autos = int32(len(rollouts.Items)), int32(len(autos.Items))
	l.user = firstUser(rollouts.Items, autos.Items, len(assigned.Items) > 0)
	return nil
}

// firstUser returns the name of one object that deploys a set, or "" if nothing does. A Rollout
// that is being deleted does not count, because it starts nothing.
func firstUser(rollouts []v1alpha1.Rollout, autos []v1alpha1.AutoAssignment, isAssigned bool) string {
	var names []string
	for i := range rollouts {
		if rollouts[i].DeletionTimestamp.IsZero() {
			names = append(names, "Rollout "+rollouts[i].Name)
		}
	}
	for i := range autos {
		names = append(names, "AutoAssignment "+autos[i].Name)
	}
	switch {
	case len(names) > 0:
		return slices.Min(names)
	case isAssigned:
		return "spec.assignment of a Target"
	}
	return ""
}

// writeStatus writes the status if it changed, with the resource version that was read.
func (r *DistributionSetReconciler) writeStatus(ctx context.Context, set *v1alpha1.DistributionSet, status v1alpha1.DistributionSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	next := set.DeepCopy()
	next.Status = status
	started := r.Now()
	if err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(set, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); err != nil {
		return fmt.Errorf("write status of DistributionSet %s: %w", set.Name, err)
	}
	r.statusThrottle.start(set.UID, started.Add(counterInterval(r.Now().Sub(started))))
	return nil
}

// announce announces what was stored, one event per decision.
func (r *DistributionSetReconciler) announce(ctx context.Context, set *v1alpha1.DistributionSet, now v1alpha1.DistributionSetStatus) {
	old := set.Status
	a := announcement{ctx: ctx, events: r.Events, object: set, from: readyReason(old.Conditions), to: readyReason(now.Conditions)}
	switch {
	case !now.Locked || old.Locked:
	case now.ContentHash == "":
		a.normal("Locked", "Lock", "the set is invalidated: it is frozen as it is, and so are its modules")
	default:
		a.normal("Locked", "Lock", "the set and its modules are frozen with content "+now.ContentHash)
	}
	was, is := meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionInvalidated), meta.FindStatusCondition(now.Conditions, v1alpha1.ConditionInvalidated)
	if is != nil && is.Reason == v1alpha1.ReasonInvalidationNotRecorded && (was == nil || was.Reason != is.Reason) {
		a.warning(v1alpha1.ReasonInvalidationNotRecorded, "Invalidate", is.Message)
	}
	switch {
	case was == nil && is != nil:
		a.warning("Invalidated", "Invalidate", invalidationNote(now.Invalidation, is.Message))
	case was != nil && is == nil:
		a.warning("InvalidationEntryCleared", "Validate", "an operator cleared the invalidation record of this set: the set may be deployed again")
	case is != nil && now.Invalidation.Actions != nil && now.Invalidation.FinishedAt != nil && (old.Invalidation == nil || old.Invalidation.FinishedAt == nil):
		n := now.Invalidation.Actions
		a.warning("InvalidationFinished", "Invalidate", fmt.Sprintf("%s processed: %d canceled, %d waiting for their devices to confirm the cancellation, %d continuing or ended with a result; see status.invalidation.actions for the current numbers",
			text.Count(n.Total, "open action"), n.Canceled, n.Canceling, n.Refused))
	}
	a.readiness(old.Conditions, now.Conditions)
}

// invalidationNote returns the message of the event Invalidated. It does not contain the number of
// open actions, because the counters may be behind at this moment. The event InvalidationFinished
// contains the number once it is certain.
func invalidationNote(i *v1alpha1.InvalidationStatus, message string) string {
	actions := ""
	if i.Actions != nil {
		actions = "; its open actions are processed next, see status.invalidation.actions"
	}
	return text.LimitBytes(fmt.Sprintf("cancellation %s, affects %s and %s%s: %s", i.Cancellation,
		text.Count(i.Rollouts, "rollout"), text.Count(i.AutoAssignments, "auto-assignment"), actions, message), maxNoteBytes)
}

// counterDelay returns how long a write that changes only counters has to wait, or 0 to write now.
func (r *DistributionSetReconciler) counterDelay(set *v1alpha1.DistributionSet, status v1alpha1.DistributionSetStatus) time.Duration {
	if equality.Semantic.DeepEqual(set.Status, status) || !equality.Semantic.DeepEqual(withoutCounts(set.Status), withoutCounts(status)) {
		return 0
	}
	return r.statusThrottle.left(set.UID, r.Now())
}

func withoutCounts(s v1alpha1.DistributionSetStatus) v1alpha1.DistributionSetStatus {
	s.Targets = nil
	if s.Invalidation != nil {
		s.Invalidation = s.Invalidation.DeepCopy()
		s.Invalidation.Actions = nil
	}
	return s
}
