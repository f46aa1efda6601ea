package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/intents"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targets"
)

// TargetReconciler gives a target its first look, notes its single assignment, and folds what applies to its open action while the device is away.
type TargetReconciler struct {
	Client  client.Client
	Index   *intents.Index
	Targets *targets.Store
	Now     func() time.Time
}

// Reconcile looks at one target.
func (r *TargetReconciler) Reconcile(ctx context.Context, target *v1alpha1.Target) (ctrl.Result, error) {
	if !target.DeletionTimestamp.IsZero() || !r.Index.HasSynced() {
		return ctrl.Result{RequeueAfter: untilSynced(r.Index)}, nil
	}
	stored, err := r.Targets.Update(ctx, client.ObjectKeyFromObject(target), r.look)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		return retryConflict(err)
	}
	if action.Open(&stored.Status) != nil { // what was just noted, such as an assignment, may replace it
		if stored, err = r.Targets.Settle(ctx, client.ObjectKeyFromObject(target)); err != nil {
			return retryConflict(err)
		}
	}
	return ctrl.Result{RequeueAfter: r.recheck(stored)}, nil
}

// look brings everything up to date that the controller owns in a target's status.
func (r *TargetReconciler) look(w offer.World, status *v1alpha1.TargetStatus) error {
	t := w.Target
	firstLook(t, status, w.Now)
	targets.NoteSelection(t, status, w.Now)
	status.Assignment = offer.NoteAssignment(t.Spec.Assignment, status.Assignment, w.Now)
	ready := targetReady(t, r.Index.Claimants(t.Namespace, t.ControllerID()), w.Now)
	setCondition(&status.Conditions, ready)
	setOrDrop(&status.Conditions, v1alpha1.ConditionStalled, stalledBy(ready))
	setOrDrop(&status.Conditions, v1alpha1.ConditionAssigned, offer.Assigned(r.Index.World(t, w.Now))) // as of what was just noted
	status.ObservedGeneration = t.Generation
	speakOf(status.Conditions, t.Generation)
	return nil
}

// speakOf lets what is known of the device, such as Consistent, hold for the generation that was looked at: kubectl wait takes no word on an older one.
func speakOf(conditions []metav1.Condition, generation int64) {
	for i := range conditions {
		conditions[i].ObservedGeneration = generation
	}
}

// firstLook gives what the door needs before it announces anything: an id, and a number that no action of this name ever had.
func firstLook(t *v1alpha1.Target, status *v1alpha1.TargetStatus, now time.Time) {
	status.ControllerID = t.ControllerID()
	if status.UpdateStatus == "" {
		status.UpdateStatus = v1alpha1.UpdateStatusUnknown
	}
	action.StartIDs(status, now)
}

// targetReady: the oldest target of a controllerID is served, younger twins are not.
func targetReady(t *v1alpha1.Target, claimants []string, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		Message: "the door serves this target", ObservedGeneration: t.Generation, LastTransitionTime: metav1.NewTime(now)}
	if len(claimants) > 0 && claimants[0] != t.Name {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonDuplicate
		c.Message = fmt.Sprintf("target %s is older and has the same controllerID %q: delete one of the two (controllerID is immutable)", claimants[0], t.ControllerID())
	}
	return c
}

// stalledBy is the Stalled condition of a target that somebody has to mend; nil: nobody has to.
func stalledBy(ready metav1.Condition) *metav1.Condition {
	if ready.Status == metav1.ConditionTrue {
		return nil
	}
	ready.Type, ready.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
	return &ready
}

// recheck is when time alone changes something about a target: a deadline of its open action, what is said of its assignment, or its silence.
func (r *TargetReconciler) recheck(t *v1alpha1.Target) time.Duration {
	now := r.Now()
	var times []time.Time
	if a := action.Open(&t.Status); a != nil {
		times = append(times, action.ProgressDeadline(a), action.CancelDeadline(a), offer.For(r.Index.World(t, now)).Reason.Until)
	}
	if t.Spec.Assignment != nil {
		times = append(times, offer.AssignedUntil(r.Index.World(t, now)))
	}
	if seen := t.Status.LastSeen; seen != nil && now.Sub(seen.Time) < targets.OfflineAfter {
		times = append(times, seen.Add(targets.OfflineAfter))
	}
	times = slices.DeleteFunc(times, time.Time.IsZero)
	if len(times) == 0 {
		return 0
	}
	return max(slices.MinFunc(times, time.Time.Compare).Sub(now), time.Second)
}
