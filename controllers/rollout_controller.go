// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
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
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// RolloutReconciler applies the plans of internal/rollout. All decisions are stored in
// Rollout.status by one write with the resource version that was read, so a former leader cannot
// write an outdated decision.
type RolloutReconciler struct {
	Client  client.Client
	Live    client.Reader
	Index   *fleet.Index
	Targets *targetstatus.Store
	Tallies *Tallies
	Events  events.EventRecorder
	Now     func() time.Time
	// RequireApproval treats spec.approvalRequired as true for all rollouts.
	RequireApproval bool

	statusThrottle statusThrottle
	overlaps       overlaps
	joinCandidates joinCandidates
	pageCursor     pageCursor
	cancelBackoff  cancelBackoff
}

// Reconcile reconciles one Rollout.
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
		return ctrl.Result{RequeueAfter: conflictRetryDelay}, err
	}
	if err := r.ownGroups(ctx, obj); err != nil {
		return retryConflict(err)
	}
	if wait := r.awaitsTargets(obj); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	plan := r.plan(obj)
	logf.FromContext(ctx).V(1).Info("Made a plan", "steps", plan.Steps, "state", plan.Status.State, "decided", plan.Decided, "recheckAfter", plan.RecheckAfter)
	if wait := r.counterDelay(obj, plan); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	notNotified, err := r.apply(ctx, obj, plan)
	if err != nil {
		return retryConflict(ignoreTerminating(err))
	}
	if notNotified > 0 {
		return ctrl.Result{RequeueAfter: r.cancelBackoff.next(obj.UID, notNotified)}, nil
	}
	return ctrl.Result{RequeueAfter: plan.RecheckAfter}, nil
}

// restoredStatusTimeout is how long after its creation the status of a restored rollout may still
// be written.
const restoredStatusTimeout = 5 * time.Second

// awaitsStatus returns how long to wait for the status of a new rollout, or 0. If there are groups
// that name another rollout of the same name, this rollout is being restored after its groups, and
// the restore writes its status next.
func (r *RolloutReconciler) awaitsStatus(obj *v1alpha1.Rollout) time.Duration {
	if obj.Status.ObservedGeneration > 0 || obj.Status.UID != "" || obj.Status.Plan != nil {
		return 0
	}
	isForeign := func(g *v1alpha1.DeploymentGroup) bool { return g.Spec.RolloutUID != obj.UID }
	if !slices.ContainsFunc(r.Index.GroupsNaming(client.ObjectKeyFromObject(obj)), isForeign) {
		return 0
	}
	return restoredStatusTimeout - r.Now().Sub(obj.CreationTimestamp.Time)
}

// restoredTargetsTimeout is how long after its creation the Targets of a restored rollout may still
// be created.
const restoredTargetsTimeout = time.Minute

// awaitsTargets returns how long to wait for Targets of a restored rollout, or 0. If Targets of its
// groups are missing that existed when the backup was taken, the restore may create them later;
// without them the groups would finish.
func (r *RolloutReconciler) awaitsTargets(obj *v1alpha1.Rollout) time.Duration {
	left := restoredTargetsTimeout - r.Now().Sub(obj.CreationTimestamp.Time)
	if left <= 0 || obj.Status.Targets == nil {
		return 0
	}
	missing := -obj.Status.Targets.Removed
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil || !grouping.BelongsTo(g, obj) || g.Spec.RolloutUID == obj.UID {
			continue
		}
		for _, t := range r.Index.Members(g) {
			if t == nil {
				missing++
			}
		}
	}
	if missing <= 0 {
		return 0
	}
	return left
}

// ownGroups makes the rollout the owner of its groups after a restore. Restored groups have no
// owner, or one with an old UID, which a garbage collector would treat as deleted.
func (r *RolloutReconciler) ownGroups(ctx context.Context, obj *v1alpha1.Rollout) error {
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil || !grouping.BelongsTo(g, obj) || metav1.IsControlledBy(g, obj) {
			continue
		}
		next := g.DeepCopy()
		next.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(obj, v1alpha1.GroupVersion.WithKind("Rollout"))}
		controllerutil.AddFinalizer(next, v1alpha1.DeploymentGroupFinalizer)
		if !g.DeletionTimestamp.IsZero() {
			next.Finalizers = g.Finalizers // the API server refuses a new finalizer on an object that is being deleted
		}
		if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(g, client.MergeFromWithOptimisticLock{}), client.FieldOwner("goshawk")); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("own deployment group %s: %w", g.Name, err)
		}
	}
	return nil
}

// plan computes the plan from the incremental counters. If the plan contains a decision, the groups
// are counted again and the plan is computed from that.
func (r *RolloutReconciler) plan(obj *v1alpha1.Rollout) rollout.Plan {
	plan := rollout.Next(r.snapshot(obj, r.Tallies.Of))
	if plan.Decided {
		plan = rollout.Next(r.snapshot(obj, r.Tallies.Recount))
	}
	return plan
}

// apply applies a plan in an order that is safe after a crash at any write. It returns the
// number of targets whose open actions still have to be canceled.
func (r *RolloutReconciler) apply(ctx context.Context, obj *v1alpha1.Rollout, plan rollout.Plan) (notNotified int, err error) {
	if err := r.createGroups(ctx, plan.Create); err != nil {
		return 0, err
	}
	if err := r.writeGroups(ctx, plan.Supersede); err != nil {
		return 0, err
	}
	if err := r.writeStatus(ctx, obj, plan); err != nil {
		return 0, err
	}
	if err := r.writeGroups(ctx, plan.Mirror); err != nil {
		return 0, err
	}
	if err := r.join(ctx, plan.Join); err != nil {
		return 0, err
	}
	if err := r.deleteGroups(ctx, plan.Delete); err != nil {
		return 0, err
	}
	if plan.DeleteSelf {
		return 0, client.IgnoreNotFound(r.Client.Delete(ctx, obj, client.Preconditions{UID: &obj.UID}))
	}
	if !plan.CancelOpenActions {
		return 0, nil
	}
	return r.cancelOpenActions(ctx, obj)
}

// createGroups creates the groups of a plan. Their names are deterministic, so it can be repeated.
func (r *RolloutReconciler) createGroups(ctx context.Context, groups []*v1alpha1.DeploymentGroup) error {
	var work errgroup.Group // one failed write does not stop the others
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

// writeStatus writes the status with the resource version that was read, and records the events
// after the write has succeeded.
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
	r.statusThrottle.start(obj.UID, started.Add(rolloutCounterInterval(r.Now().Sub(started), plan.Status)))
	r.announce(ctx, obj, plan)
	return nil
}

// announce announces what was stored: each event of the plan and, if there is none, a change of
// the state, of what the rollout waits for, or of its condition Ready.
func (r *RolloutReconciler) announce(ctx context.Context, obj *v1alpha1.Rollout, plan rollout.Plan) {
	old, now := obj.Status, plan.Status
	a := announcement{ctx: ctx, events: r.Events, object: obj, from: string(old.State), to: string(now.State)}
	for _, e := range plan.Events {
		a.event(e.Type, e.Reason, "Rollout", e.Message)
	}
	reason, message := awaited(now)
	if before, _ := awaited(old); !a.announced && (old.State != now.State || before != reason) {
		a.log(reason, message)
	}
}

// awaited returns the message about what a rollout waits for, else that of its condition Ready.
func awaited(s v1alpha1.RolloutStatus) (reason, message string) {
	if s.WaitingFor != nil {
		return s.WaitingFor.Reason, s.WaitingFor.Message
	}
	if ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason, ready.Message
	}
	return "", ""
}

func (r *RolloutReconciler) writeGroups(ctx context.Context, updates []rollout.GroupStatus) error {
	var work errgroup.Group // one failed write does not stop the others
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

// join first writes when the targets join, and then appends them with the resource version of that
// write. So no target joins twice, and after a crash between the writes the first one has no
// effect.
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

// deleteGroups deletes groups and removes their finalizer. Only this controller removes it, so no
// garbage collector is needed.
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

// addFinalizer runs before the first side effect.
func (r *RolloutReconciler) addFinalizer(ctx context.Context, obj *v1alpha1.Rollout) (bool, error) {
	if controllerutil.ContainsFinalizer(obj, v1alpha1.RolloutFinalizer) {
		return false, nil
	}
	next := obj.DeepCopy()
	controllerutil.AddFinalizer(next, v1alpha1.RolloutFinalizer)
	return true, r.Client.Patch(ctx, next, client.MergeFromWithOptions(obj, client.MergeFromWithOptimisticLock{}))
}

// finalize applies spec.deletionCancellation, releases the groups and then the rollout. It does not
// wait for devices.
func (r *RolloutReconciler) finalize(ctx context.Context, obj *v1alpha1.Rollout) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(obj, v1alpha1.RolloutFinalizer) {
		return ctrl.Result{}, nil
	}
	if again, err := r.cancelForDeletion(ctx, obj); again > 0 || err != nil {
		return ctrl.Result{RequeueAfter: again}, err
	}
	released, err := r.releaseGroups(ctx, obj)
	if err != nil {
		return retryConflict(err)
	}
	next := obj.DeepCopy()
	controllerutil.RemoveFinalizer(next, v1alpha1.RolloutFinalizer)
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(obj, client.MergeFromWithOptimisticLock{})); err != nil {
		return retryConflict(client.IgnoreNotFound(err))
	}
	logging.Decided(logf.FromContext(ctx), logging.Decision{Reason: deleted, From: string(obj.Status.State), To: deleted,
		Message: fmt.Sprintf("the rollout was deleted with its %s; deletionCancellation was %s", text.Count(released, "deployment group"), cmp.Or(obj.Spec.DeletionCancellation, v1alpha1.CancellationNone))})
	r.statusThrottle.forget(obj.UID)
	r.overlaps.forget(obj.UID)
	r.pageCursor.forget(client.ObjectKeyFromObject(obj))
	r.joinCandidates.forget(obj.UID)
	r.cancelBackoff.forget(obj.UID)
	return ctrl.Result{}, nil
}

// releaseGroups deletes the groups of a deleted rollout, and returns how many the API server lists.
func (r *RolloutReconciler) releaseGroups(ctx context.Context, obj *v1alpha1.Rollout) (int, error) {
	for _, g := range r.Index.GroupsOf(obj) {
		if g.Unreadable != nil { // the list below may lack the fields that say whose group it is
			if err := releaseGroup(ctx, r.Client, g); err != nil {
				return 0, err
			}
		}
	}
	var groups v1alpha1.DeploymentGroupList
	if err := r.Live.List(ctx, &groups, client.InNamespace(obj.Namespace), client.MatchingLabels{v1alpha1.RolloutLabel: grouping.LabelValue(obj.Name)}); err != nil {
		return 0, fmt.Errorf("list deployment groups of rollout %s: %w", obj.Name, err)
	}
	for i := range groups.Items {
		if g := &groups.Items[i]; g.Spec.RolloutUID == obj.UID || grouping.BelongsTo(g, obj) {
			if err := releaseGroup(ctx, r.Client, g); err != nil {
				return 0, err
			}
		}
	}
	return len(groups.Items), nil
}

// cancelForDeletion applies spec.deletionCancellation to the open actions of a deleted Rollout
// (None still closes actions that wait for confirmation). It returns the requeue delay, or 0 when
// no action is left. After deletionCancelTimeout, targets that cannot be written are given up with
// a Warning event, so that they cannot block the deletion.
func (r *RolloutReconciler) cancelForDeletion(ctx context.Context, obj *v1alpha1.Rollout) (again time.Duration, err error) {
	if seen := r.Index.Rollout(client.ObjectKeyFromObject(obj)); seen == nil || seen.UID != obj.UID || seen.DeletionTimestamp.IsZero() {
		return conflictRetryDelay, nil // pending changes are computed from the index, which has not seen the deletion yet
	}
	left, err := r.cancelOpenActions(ctx, obj)
	if left == 0 && err == nil {
		left, err = r.cancelUnseenActions(ctx, obj)
	}
	switch {
	case left == 0:
		return 0, err
	case err == nil, r.Now().Sub(obj.DeletionTimestamp.Time) < deletionCancelTimeout:
		return r.cancelBackoff.next(obj.UID, left), nil
	}
	a := announcement{ctx: ctx, events: r.Events, object: obj, from: string(obj.Status.State), to: deleted}
	a.warning("CancellationIncomplete", "Delete", fmt.Sprintf("gave up updating %d targets after %s: their devices were not asked to cancel: %v", left, deletionCancelTimeout, err))
	return 0, nil
}

// deletionCancelTimeout is how long a deleted rollout retries targets that cannot be written.
const deletionCancelTimeout = time.Minute

// cancelOpenActions applies a stop or deletion to the open actions of a rollout, one page per call,
// and returns how many targets were left before. offer.ApplyPending decides what is pending. A
// target that cannot be written does not stop the others.
func (r *RolloutReconciler) cancelOpenActions(ctx context.Context, obj *v1alpha1.Rollout) (left int, err error) {
	var busy v1alpha1.TargetList
	if err := r.Client.List(ctx, &busy, client.InNamespace(obj.Namespace), client.MatchingFields{TargetByOpenSource: string(obj.Identity())}, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list targets with an open action of rollout %s: %w", obj.Name, err)
	}
	var notNotified []string
	for i := range busy.Items {
		t := r.Targets.Get(client.ObjectKeyFromObject(&busy.Items[i]))
		if t == nil || t.Unreadable != nil {
			continue
		}
		if _, pending := offer.ApplyPending(r.Index.World(t, r.Now())); pending {
			notNotified = append(notNotified, t.Name)
		}
	}
	if len(notNotified) == 0 {
		r.cancelBackoff.forget(obj.UID)
		return 0, nil
	}
	slices.Sort(notNotified)
	page := r.pageCursor.next(client.ObjectKeyFromObject(obj), notNotified)
	return len(notNotified), applyPendingToAll(ctx, r.Targets, obj.Namespace, page)
}

// livePage is how many targets one request of cancelUnseenActions reads.
const livePage = 500

// cancelUnseenActions applies a deletion to the open actions that the cache does not contain yet,
// and returns how many there were. A device may have started a moment before the deletion, and
// after it nothing knows its deletionCancellation any more. No device starts after the deletion,
// because a start is verified at the API server. A finished rollout has no such actions.
func (r *RolloutReconciler) cancelUnseenActions(ctx context.Context, obj *v1alpha1.Rollout) (left int, err error) {
	if obj.Status.StartedAt == nil || obj.Status.State == v1alpha1.RolloutFinished {
		return 0, nil
	}
	var unseen []string
	for page := (v1alpha1.TargetList{}); ; {
		if err := r.Live.List(ctx, &page, client.InNamespace(obj.Namespace), client.MatchingFields{"status.updateStatus": string(v1alpha1.UpdateStatusPending)},
			client.Limit(livePage), client.Continue(page.Continue)); err != nil {
			return 0, fmt.Errorf("list targets with an open action: %w", err)
		}
		for i := range page.Items {
			t := &page.Items[i]
			if a := action.Open(&t.Status); t.Unreadable != nil || a == nil || a.Source.UID != obj.Identity() {
				continue
			}
			if _, pending := offer.ApplyPending(r.Index.World(t, r.Now())); pending {
				unseen = append(unseen, t.Name)
			}
		}
		if page.Continue == "" {
			break
		}
	}
	for _, name := range unseen {
		if err := r.Targets.Reload(ctx, types.NamespacedName{Namespace: obj.Namespace, Name: name}); client.IgnoreNotFound(err) != nil {
			return len(unseen), err
		}
	}
	return len(unseen), applyPendingToAll(ctx, r.Targets, obj.Namespace, unseen)
}

const (
	largeStatus          = 64 << 10
	largeCounterInterval = 10 * time.Second
)

// counterDelay returns how long a write that changes only counters has to wait, or 0 to write now.
func (r *RolloutReconciler) counterDelay(obj *v1alpha1.Rollout, plan rollout.Plan) time.Duration {
	if plan.Decided || plan.CancelOpenActions || plan.DeleteSelf || plan.Join != nil ||
		len(plan.Supersede)+len(plan.Mirror)+len(plan.Delete)+len(plan.Create) > 0 ||
		isFinal(plan.Status) || equality.Semantic.DeepEqual(obj.Status, plan.Status) {
		return 0
	}
	return r.statusThrottle.left(obj.UID, r.Now())
}

// isFinal reports whether the status is final. The final counters of a rollout are written at
// once.
func isFinal(s v1alpha1.RolloutStatus) bool {
	return s.State.IsOver() && s.Targets != nil && s.Targets.InProgress == 0
}

// rolloutCounterInterval is counterInterval for a rollout, and at least ten seconds for objects
// above 64 KiB.
func rolloutCounterInterval(took time.Duration, status v1alpha1.RolloutStatus) time.Duration {
	rest := counterInterval(took)
	if encoded, err := json.Marshal(status); err == nil && len(encoded) > largeStatus {
		rest = max(rest, largeCounterInterval)
	}
	return rest
}
