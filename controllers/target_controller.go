package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	noteAssignment(t, status, w.Now)
	ready := targetReady(t, r.Index.Claimants(t.Namespace, t.ControllerID()), w.Now)
	setCondition(&status.Conditions, ready)
	setOrDrop(&status.Conditions, v1alpha1.ConditionStalled, stalledBy(ready))
	setOrDrop(&status.Conditions, v1alpha1.ConditionAssigned, targetAssigned(r.Index.World(t, w.Now))) // as of what was just noted
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

// noteAssignment gives a new spec.assignment its place in the order of intents: its assignedAt if given, which survives a rebuild from Git, else now. One whose
// assignedAt is to come is not there until then, so that it has one place and no other.
func noteAssignment(t *v1alpha1.Target, status *v1alpha1.TargetStatus, now time.Time) {
	wanted := t.Spec.Assignment
	switch {
	case wanted == nil, isAhead(wanted, now):
		status.Assignment = nil
	case !intents.IsSeen(wanted, status.Assignment):
		since := now
		if wanted.AssignedAt != nil {
			since = wanted.AssignedAt.Time
		}
		status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: wanted.DistributionSet, AssignedAt: wanted.AssignedAt, Since: &metav1.MicroTime{Time: since}}
	}
}

// isAhead tells whether the time of an assignment is to come.
func isAhead(a *v1alpha1.Assignment, now time.Time) bool {
	return a.AssignedAt != nil && a.AssignedAt.After(now)
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

// targetAssigned tells what became of spec.assignment and spec.cancel; nil: neither is set. An assignment that somebody has to mend goes first: the counters of
// rollouts go by its reason.
func targetAssigned(w offer.World) *metav1.Condition {
	assigned, wrong := assignmentNow(w), wrongCancel(w.Target)
	if wrong == "" {
		return assigned
	}
	if assigned != nil && assigned.Status == metav1.ConditionFalse {
		assigned.Message += "; besides, " + wrong
		return assigned
	}
	return assignedAs(w, metav1.ConditionFalse, v1alpha1.ReasonUnknownCancelID, wrong)
}

// wrongCancel says that spec.cancel names an id that was never given; empty: it does not.
func wrongCancel(t *v1alpha1.Target) string {
	if t.Spec.Cancel == nil || t.Spec.Cancel.UpTo < t.Status.NextActionID {
		return ""
	}
	return fmt.Sprintf("spec.cancel.upTo is %d, but this target was never given an id above %d, so it is ignored: copy the id from status.actions",
		t.Spec.Cancel.UpTo, t.Status.NextActionID-1)
}

// assignmentNow tells what became of spec.assignment; nil: there is none.
func assignmentNow(w offer.World) *metav1.Condition {
	wanted := w.Target.Spec.Assignment
	switch own := ownVerdict(w); {
	case wanted == nil:
		return nil
	case isAhead(wanted, w.Now):
		return assignedAs(w, metav1.ConditionTrue, v1alpha1.ReasonWaitingForStart, fmt.Sprintf(
			"%s is assigned as of %s (spec.assignment.assignedAt) and waits until then", wanted.DistributionSet, wanted.AssignedAt.UTC().Format(time.RFC3339)))
	case own == nil:
		return assignedAs(w, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, "spec.assignment has been noted")
	default:
		status, reason, message := assignedWords(*own)
		return assignedAs(w, status, reason, message)
	}
}

func assignedAs(w offer.World, status metav1.ConditionStatus, reason, message string) *metav1.Condition {
	return &metav1.Condition{Type: v1alpha1.ConditionAssigned, Status: status, Reason: reason, Message: message,
		ObservedGeneration: w.Target.Generation, LastTransitionTime: metav1.NewTime(w.Now)}
}

// ownVerdict is that on the target's own assignment; nil: it does not reach the target.
func ownVerdict(w offer.World) *offer.Verdict {
	if w.Target.Spec.Assignment == nil {
		return nil
	}
	for _, v := range offer.Judge(w) {
		if v.Intent.Source.Kind == v1alpha1.SourceTarget {
			return &v
		}
	}
	return nil
}

// assignedWords turns the verdict on an assignment into a condition: what needs somebody to act is False.
func assignedWords(v offer.Verdict) (metav1.ConditionStatus, string, string) {
	switch {
	case v.Reason.Code == offer.CodeWindowClosed && v.Reason.Until.IsZero(): // it never opens
		return metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, v.Reason.Message
	case slices.Contains(passing, v.Reason.Code):
		return metav1.ConditionTrue, v1alpha1.ReasonProgressing, offeredWords(&v.Intent.Update)
	}
	switch v.Reason.Code {
	case offer.CodeSetInvalid:
		return metav1.ConditionFalse, v1alpha1.ReasonDistributionSetInvalid, v.Reason.Message
	case offer.CodeSetNotFound:
		return metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound, v.Reason.Message
	case offer.CodeSetNotReady, offer.CodeIncompatible, offer.CodeFailed, offer.CodeContentChanged:
		return metav1.ConditionFalse, string(v.Reason.Code), v.Reason.Message
	default:
		return metav1.ConditionTrue, string(v.Reason.Code), v.Reason.Message
	}
}

// passing are verdicts that change with the hour. They are not written down, or every target would be written again when they do.
var passing = []offer.Code{"", offer.CodeWindowClosed, offer.CodeSettling}

// offeredWords hold whether the maintenance window is open or not, so that no target is written when it opens or closes.
func offeredWords(u *v1alpha1.Update) string {
	words := fmt.Sprintf("%s is offered to the device", u.DistributionSet)
	if u.MaintenanceWindow != nil {
		words += " in the maintenance window " + offer.WindowWords(u.MaintenanceWindow)
	}
	return words
}

// recheck is when time alone changes something about a target: a deadline of its open action, what is said of its assignment, or its silence.
func (r *TargetReconciler) recheck(t *v1alpha1.Target) time.Duration {
	now := r.Now()
	var times []time.Time
	if a := action.Open(&t.Status); a != nil {
		times = append(times, action.ProgressDeadline(a), action.CancelDeadline(a), offer.For(r.Index.World(t, now)).Reason.Until)
	}
	if t.Spec.Assignment != nil {
		times = append(times, nextWords(r.Index.World(t, now)))
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

// nextWords is when time alone changes what is said of an assignment; zero: never. Its windows open and close without a word.
func nextWords(w offer.World) time.Time {
	if isAhead(w.Target.Spec.Assignment, w.Now) {
		return w.Target.Spec.Assignment.AssignedAt.Time
	}
	if own := ownVerdict(w); own != nil && own.Reason.Code != offer.CodeWindowClosed && own.Reason.Until.After(w.Now) {
		return own.Reason.Until
	}
	return time.Time{}
}

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
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// concerned are the targets that a change of something else concerns: their open action may have to give way, or what is said of their assignment may be over.
func (r *TargetReconciler) concerned(old, now client.Object) []reconcile.Request {
	any := now
	if any == nil {
		any = old
	}
	switch any := any.(type) {
	case *v1alpha1.Target:
		if now == nil {
			return r.twins(any)
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
		if before, ok := old.(*v1alpha1.AutoAssignment); !ok || now == nil || !intents.OffersAlike(before, any) {
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

// reach is how far a rollout has come towards its members, as far as their other updates depend on it.
type reach struct {
	open             int
	started, stopped bool
	superseding      v1alpha1.Superseding
}

func reachOf(r *v1alpha1.Rollout) reach {
	if r == nil {
		return reach{}
	}
	_, stopped := intents.Gate(r, 0)
	return reach{openGroups(r), r.Status.StartedAt != nil, stopped, r.Spec.Update.Superseding}
}

// isHeld tells whether a rollout offers nothing for the time being.
func isHeld(r *v1alpha1.Rollout) bool {
	return r.Status.State == v1alpha1.RolloutPaused || r.Spec.State == v1alpha1.IntentPaused
}

// targetPredicate lets through what the controller answers to: spec, labels, attributes, actions that opened or closed, and what an assigned device runs. Polls and
// progress wake nobody.
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

// twins of a target that is gone: the next oldest is served from now on.
func (r *TargetReconciler) twins(gone *v1alpha1.Target) []reconcile.Request {
	var requests []reconcile.Request
	for _, name := range r.Index.Claimants(gone.Namespace, gone.ControllerID()) {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: gone.Namespace, Name: name}})
	}
	return requests
}

// membersAtWork are the members of a rollout's open groups that are busy with an action of another source.
func (r *TargetReconciler) membersAtWork(ro *v1alpha1.Rollout) []reconcile.Request {
	var requests []reconcile.Request
	for _, g := range r.Index.Groups(ro.UID) {
		if !intents.Exists(g, ro) || !openGroup(ro, g) {
			continue
		}
		for _, name := range g.Spec.Targets {
			key := types.NamespacedName{Namespace: ro.Namespace, Name: string(name)}
			if t := r.Index.Target(key); t != nil {
				if a := action.Open(&t.Status); a != nil && a.Source.UID != ro.UID {
					requests = append(requests, reconcile.Request{NamespacedName: key})
				}
			}
		}
	}
	return requests
}

// assignedMembers are the members of a rollout that have an assignment of their own. A fleet without assignments costs nothing.
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
