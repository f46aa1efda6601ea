// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// changeOf returns the change of a rollout without its fields, or a Refusal if the rollout is being
// deleted or is over.
func changeOf(r *v1alpha1.Rollout, operation string) (*Change, error) {
	c := &Change{Operation: operation, Kind: "Rollout", Namespace: r.Namespace, Name: r.Name, State: stateOf(r)}
	switch {
	case !r.DeletionTimestamp.IsZero():
		return nil, refuse(r, operation, "it is being deleted", "")
	case r.Status.State == v1alpha1.RolloutFinished && operation != "retry":
		return nil, refuse(r, operation, "it has finished"+since(r.Status.FinishedAt), "to try failed targets again, use `kubectl goshawk retry`; for everything else create another Rollout")
	case rollout.IsStopped(r) && operation != "stop":
		return nil, refuse(r, operation, "it was stopped, and a stop cannot be taken back", "create another Rollout")
	}
	c.needs(patchRight(rollouts, r.Name, roleEditor))
	return c, nil
}

func refuse(r *v1alpha1.Rollout, operation, reason, fix string) *Refusal {
	return &Refusal{Operation: operation, Object: "rollout " + r.Namespace + "/" + r.Name, Reason: reason, Fix: fix}
}

// stateOf returns the state of a rollout in a few words.
func stateOf(r *v1alpha1.Rollout) string {
	state := string(cmp.Or(r.Status.State, v1alpha1.RolloutCreating))
	if r.Status.PauseReason != "" {
		state += ", " + string(r.Status.PauseReason)
	}
	return state
}

// since returns the words " since" with a time, or "" without one.
func since[T interface{ UTC() time.Time }](at *T) string {
	if at == nil {
		return ""
	}
	return " at " + (*at).UTC().Format(time.RFC3339)
}

func hasStarted(r *v1alpha1.Rollout) bool { return r.Status.StartedAt != nil }

// CountsOf returns the counts of all targets of a rollout. Before the start the targets of the plan
// are scheduled.
func CountsOf(r *v1alpha1.Rollout) v1alpha1.Counts {
	if r.Status.Targets != nil {
		return *r.Status.Targets
	}
	if r.Status.Plan != nil {
		return v1alpha1.Counts{Targets: r.Status.Plan.Targets, Scheduled: r.Status.Plan.Targets}
	}
	return v1alpha1.Counts{}
}

func targets[N int | int32](n N) string { return text.Count(n, "target") }

// intent returns the value of spec.state, with its default.
func intent(r *v1alpha1.Rollout) v1alpha1.RolloutIntent {
	return cmp.Or(r.Spec.State, v1alpha1.IntentRunning)
}

// noteUnseen says that the controllers have not processed the present spec.
func (c *Change) noteUnseen(r *v1alpha1.Rollout) {
	if r.Status.ObservedGeneration < r.Generation {
		c.says("The status is that of generation %d; the spec has generation %d, which the controllers have not processed.", r.Status.ObservedGeneration, r.Generation)
	}
}

// minHash is how many digits of a plan hash identify a plan: the number that `kubectl get -o wide`
// prints.
const minHash = 12

// Approve approves the plan with this hash: the whole hash, or at least its first 12 digits. It
// must be the hash of the present plan, which the user has reviewed.
func Approve(r *v1alpha1.Rollout, hash string) (*Change, error) {
	const operation = "approve"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	plan := r.Status.Plan
	switch {
	case hasStarted(r):
		return nil, refuse(r, operation, "it has started"+since(r.Status.StartedAt)+", so an approval has no effect any more", "")
	case plan == nil || plan.Hash == "":
		return nil, refuse(r, operation, "it has no plan yet"+because(r), "approve it when its state is WaitingForApproval")
	case hash == "":
		return nil, refuse(r, operation, "--hash is missing: an approval names the plan that was reviewed",
			fmt.Sprintf("the present plan is %s, with %s in %s; review it with `kubectl goshawk status %s`, and repeat the command with --hash and its hash", plan.Hash, targets(plan.Targets), text.Count(plan.Groups, "group"), r.Name))
	case !matchesHash(plan.Hash, hash):
		return nil, refuse(r, operation, fmt.Sprintf("the present plan is %s and not %s: the spec, the set or the targets have changed since%s", plan.Hash, hash, made(plan)),
			"review the present plan, and approve that one")
	case r.Spec.Approval != nil && r.Spec.Approval.PlanHash == plan.Hash:
		return nil, refuse(r, operation, "this plan is approved already", waitingFix(r))
	case r.Status.State != v1alpha1.RolloutWaitingForApproval:
		return nil, refuse(r, operation, fmt.Sprintf("it does not wait for an approval: its state is %s%s", stateOf(r), because(r)), "")
	}
	var old any
	if r.Spec.Approval != nil {
		old = orNil(r.Spec.Approval.PlanHash)
	}
	c.set("spec.approval.planHash", old, plan.Hash)
	c.needs(approveRight(r.Name))
	c.Targets = plan.Targets
	c.says("The approval is for this plan only: %s in %s. Another plan needs another approval.", targets(plan.Targets), text.Count(plan.Groups, "group"))
	c.says("%s", afterApproval(r))
	c.Undo = "kubectl goshawk approve " + r.Name + " --withdraw (before the start)"
	c.noteUnseen(r)
	return c, nil
}

func afterApproval(r *v1alpha1.Rollout) string {
	switch {
	case intent(r) == v1alpha1.IntentPlanned, intent(r) == v1alpha1.IntentPaused:
		return fmt.Sprintf("The rollout does not start, because spec.state is %s: start it with `kubectl goshawk start %s`.", intent(r), r.Name)
	case r.Spec.StartAt != nil:
		return fmt.Sprintf("The rollout starts at %s (spec.startAt), or at once if that time has passed.", stamp(r.Spec.StartAt.Time))
	}
	return "The rollout starts at once."
}

// WithdrawApproval removes the approval of a plan that has not started.
func WithdrawApproval(r *v1alpha1.Rollout) (*Change, error) {
	const operation = "withdraw the approval of"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	c.Operation = "withdraw approval"
	switch {
	case r.Spec.Approval == nil:
		return nil, refuse(r, operation, "spec.approval is not set", "")
	case hasStarted(r):
		return nil, refuse(r, operation, "it has started"+since(r.Status.StartedAt), "pause it or stop it instead")
	}
	c.set("spec.approval", map[string]any{"planHash": r.Spec.Approval.PlanHash}, nil)
	c.needs(approveRight(r.Name))
	c.Targets = CountsOf(r).Targets
	if r.Spec.ApprovalRequired {
		c.says("The rollout waits for an approval again.")
	} else {
		c.says("spec.approvalRequired is false: the rollout waits for an approval only if the manager runs with --require-approval.")
	}
	c.Undo = "kubectl goshawk approve " + r.Name + " --hash " + r.Spec.Approval.PlanHash
	return c, nil
}

// Start starts a rollout that is planned, or paused before its start.
func Start(r *v1alpha1.Rollout) (*Change, error) {
	const operation = "start"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	switch {
	case hasStarted(r):
		return nil, refuse(r, operation, "it has started"+since(r.Status.StartedAt), "to end a pause, use `kubectl goshawk resume "+r.Name+"`")
	case intent(r) == v1alpha1.IntentRunning:
		return nil, refuse(r, operation, "spec.state is Running already"+because(r), "")
	}
	c.set("spec.state", orNil(r.Spec.State), string(v1alpha1.IntentRunning))
	c.Targets = CountsOf(r).Targets
	switch {
	case r.Status.State == v1alpha1.RolloutWaitingForApproval:
		c.says("The rollout starts when its plan is approved: %s.", targets(c.Targets))
	case r.Spec.StartAt != nil:
		c.says("The rollout starts at %s (spec.startAt), or at once if that time has passed: %s.", stamp(r.Spec.StartAt.Time), targets(c.Targets))
	default:
		c.says("The rollout starts as soon as its plan is ready: %s.", targets(c.Targets))
	}
	c.says("From the start on, update, selection and groups cannot be changed.")
	c.Undo = "kubectl goshawk pause " + r.Name + " (devices that have started continue)"
	c.noteUnseen(r)
	return c, nil
}

// Pause holds back the devices that have not started.
func Pause(r *v1alpha1.Rollout) (*Change, error) {
	const operation = "pause"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	switch intent(r) {
	case v1alpha1.IntentPaused:
		return nil, refuse(r, operation, "spec.state is Paused already", "to continue, use `kubectl goshawk resume "+r.Name+"`")
	case v1alpha1.IntentPlanned:
		return nil, refuse(r, operation, "spec.state is Planned, which starts no device", "")
	default:
	}
	c.set("spec.state", orNil(r.Spec.State), string(v1alpha1.IntentPaused))
	counts := CountsOf(r)
	c.Targets = counts.Scheduled + counts.Pending
	if !hasStarted(r) {
		c.says("The rollout does not start: %s wait.", targets(c.Targets))
	} else {
		c.says("No further device starts, also not in open groups: %s wait (%d in groups that have not opened, %d in open groups).", targets(c.Targets), counts.Scheduled, counts.Pending)
		c.says("Devices that have started continue: %d in progress.", counts.InProgress)
	}
	if r.Status.PauseReason.IsAutomatic() {
		c.says("The rollout is paused already (%s). With spec.state Paused, spec.resumedAt alone does not continue it.", r.Status.PauseReason)
	}
	c.Undo = "kubectl goshawk resume " + r.Name
	c.noteUnseen(r)
	return c, nil
}

// Resume ends every pause that the rollout has: the one by spec.state, and an automatic one. Of an
// automatic pause it lifts the one that is in the status, and no later one.
func Resume(r *v1alpha1.Rollout, now time.Time) (*Change, error) {
	const operation = "resume"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	bySpec := intent(r) != v1alpha1.IntentRunning
	automatic := r.Status.PauseReason.IsAutomatic() && r.Status.PausedAt != nil
	switch {
	case !hasStarted(r) && bySpec:
		return nil, refuse(r, operation, fmt.Sprintf("it has not started: spec.state is %s", intent(r)), "use `kubectl goshawk start "+r.Name+"`")
	case !bySpec && !automatic:
		return nil, refuse(r, operation, fmt.Sprintf("it is not paused: its state is %s%s", stateOf(r), because(r)), "")
	case automatic && !bySpec && isLifting(r):
		return nil, refuse(r, operation, fmt.Sprintf("spec.resumedAt is %s and lifts this pause already", stamp(r.Spec.ResumedAt.Time)), "wait until the controllers have processed it")
	}
	if bySpec {
		c.set("spec.state", orNil(r.Spec.State), string(v1alpha1.IntentRunning))
	}
	if automatic {
		c.set("spec.resumedAt", timeOrNil(r.Spec.ResumedAt), stamp(liftingTime(r, now)))
		c.needs(resumeRight(r.Name))
		c.says("This ends the pause of %s: %s.", stamp(r.Status.PausedAt.Time), strings.TrimSuffix(r.Status.PauseMessage, "."))
		c.says("Error thresholds and the error budget count only failures after that time. A later pause needs another resume.")
	}
	counts := CountsOf(r)
	c.Targets = counts.Scheduled + counts.Pending
	c.says("Devices that have not started may start again: %s (%d in groups that have not opened, %d in open groups).", targets(c.Targets), counts.Scheduled, counts.Pending)
	if counts.Failed > 0 {
		c.says("Failed so far: %s%s.", targets(counts.Failed), inParentheses(failureWords(r.Status.Failures)))
	}
	c.Undo = "kubectl goshawk pause " + r.Name
	c.noteUnseen(r)
	return c, nil
}

// isLifting reports whether spec.resumedAt lifts the present pause once the controllers see it.
func isLifting(r *v1alpha1.Rollout) bool {
	at := r.Spec.ResumedAt
	if at == nil {
		return false
	}
	h := r.Status.Handled
	return !at.Time.Before(r.Status.PausedAt.Truncate(time.Second)) && (h == nil || h.ResumedAt == nil || at.After(h.ResumedAt.Time))
}

// liftingTime returns the value of spec.resumedAt that lifts the present pause: the time of the
// pause, which lifts no later one; or the present time if that has lifted an earlier pause.
func liftingTime(r *v1alpha1.Rollout, now time.Time) time.Time {
	pausedAt := r.Status.PausedAt.Time
	if h := r.Status.Handled; h != nil && h.ResumedAt != nil && !pausedAt.After(h.ResumedAt.Time) {
		return now.Truncate(time.Microsecond)
	}
	return pausedAt
}

// failureWords returns the most frequent failures, for a sentence about failed targets.
func failureWords(failures []v1alpha1.FailureCount) string {
	const most = 3
	var words []string
	for _, f := range failures[:min(len(failures), most)] {
		words = append(words, fmt.Sprintf("%d with %s", f.Count, action.Failure{Code: f.StatusCode, Message: f.Message}))
	}
	if more := len(failures) - most; more > 0 {
		words = append(words, fmt.Sprintf("and %d more kinds", more))
	}
	return strings.Join(words, ", ")
}

// inParentheses returns words for the end of a sentence, or "" if there are none.
func inParentheses(words string) string {
	if words == "" {
		return ""
	}
	return " (" + words + ")"
}

// Retry tries failed targets again: those that failed with one of the codes or messages, or all.
func Retry(r *v1alpha1.Rollout, codes, messages []string, now time.Time) (*Change, error) {
	const operation = "retry"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	failed := CountsOf(r).Failed
	switch {
	case !hasStarted(r):
		return nil, refuse(r, operation, "it has not started", "")
	case failed == 0:
		return nil, refuse(r, operation, "no target has failed", "")
	case isRequested(r):
		return nil, refuse(r, operation, fmt.Sprintf("spec.retry.at is %s, and the controllers have not carried it out", stamp(r.Spec.Retry.At.Time)), "wait until status.handled.retryAt has this time")
	}
	selected, listed := int32(0), int32(0)
	for _, f := range r.Status.Failures {
		listed += f.Count
		if selects(codes, messages, f) {
			selected += f.Count
		}
	}
	all := listed >= failed // the status lists the 10 most frequent failures only
	if selected == 0 && all {
		return nil, refuse(r, operation, "no target has failed with "+wordsOf(codes, messages), "failed so far: "+failureWords(r.Status.Failures))
	}
	c.Targets = selected
	if len(codes)+len(messages) == 0 {
		c.Targets = failed
	}
	var oldAt any
	old := r.Spec.Retry
	if old == nil {
		old = &v1alpha1.Retry{}
	} else {
		oldAt = stamp(old.At.Time)
	}
	c.set("spec.retry.at", oldAt, stamp(retryTime(r, now)))
	c.set("spec.retry.statusCodes", listOrNil(old.StatusCodes), listOrNil(codes))
	c.set("spec.retry.messages", listOrNil(old.Messages), listOrNil(messages))
	least := ""
	if !all && len(codes)+len(messages) > 0 {
		least = "at least "
	}
	c.says("Targets that failed before this time are offered the update again: %s%s.", least, targets(c.Targets))
	if r.Status.State == v1alpha1.RolloutFinished {
		c.says("The rollout is Running again.")
	}
	if r.Status.State == v1alpha1.RolloutPaused {
		c.says("The rollout is paused: these targets start when it is resumed.")
	}
	c.Undo = "kubectl goshawk pause " + r.Name + " (targets that have not started again count as failed if the field is removed)"
	c.noteUnseen(r)
	return c, nil
}

// isRequested reports whether spec.retry has not been carried out yet.
func isRequested(r *v1alpha1.Rollout) bool {
	if r.Spec.Retry == nil || !r.Spec.Retry.At.After(r.Status.StartedAt.Time) {
		return false
	}
	h := r.Status.Handled
	return h == nil || h.RetryAt == nil || !h.RetryAt.Time.Equal(r.Spec.Retry.At.Truncate(time.Microsecond))
}

func selects(codes, messages []string, f v1alpha1.FailureCount) bool {
	if len(codes)+len(messages) == 0 {
		return true
	}
	return slices.Contains(codes, f.StatusCode) || f.StatusCode == "" && slices.Contains(messages, f.Message)
}

func wordsOf(codes, messages []string) string {
	var words []string
	for _, code := range codes {
		words = append(words, "code "+code)
	}
	for _, message := range messages {
		words = append(words, fmt.Sprintf("message %q", message))
	}
	return strings.Join(words, " or ")
}

// retryTime returns a time after the start and after every failure so far. It is the present time,
// unless the clock of this computer is behind that of the cluster.
func retryTime(r *v1alpha1.Rollout, now time.Time) time.Time {
	at := requestTime(r, now)
	for _, f := range r.Status.Failures {
		if f.LastSeen != nil && !at.After(f.LastSeen.Time) {
			at = f.LastSeen.Add(time.Second)
		}
	}
	if old := r.Spec.Retry; old != nil && !at.After(old.At.Time) {
		at = old.At.Add(time.Second)
	}
	return at
}

// requestTime returns the present time as a request has it: whole seconds, and after the start.
func requestTime(r *v1alpha1.Rollout, now time.Time) time.Time {
	at := now.UTC().Truncate(time.Second)
	if started := r.Status.StartedAt; started != nil && !at.After(started.Time) {
		at = started.UTC().Truncate(time.Second).Add(time.Second)
	}
	return at
}

// Stop ends a rollout for good, with this cancellation for devices that have started; "" stands for
// spec.stopCancellation. Before the start it denies the plan. After the stop the cancellation can
// be raised while devices are in progress. A rollout that the invalidation of its set has stopped
// can be stopped, too: this ends its condition Stalled, and can cancel more firmly.
func Stop(r *v1alpha1.Rollout, kind v1alpha1.Cancellation) (*Change, error) {
	const operation = "stop"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	present := cmp.Or(r.Spec.StopCancellation, v1alpha1.CancellationSoft)
	kind = cmp.Or(kind, present)
	applied, isStopped := rollout.StopOf(r)
	counts := CountsOf(r)
	isOver := r.Status.State == v1alpha1.RolloutStopped && counts.InProgress == 0
	switch {
	case !isType(kind):
		return nil, refuse(r, operation, noType(kind), chooseType)
	case isStopped && isOver:
		return nil, refuse(r, operation, fmt.Sprintf("it was stopped with %s already, and no device is in progress", applied), "")
	case isStopped && !cancellation.Stronger(kind, applied):
		return nil, refuse(r, operation, fmt.Sprintf("it was stopped with %s already", applied), raiseFix(r, applied))
	}
	c.set("spec.state", orNil(r.Spec.State), string(v1alpha1.IntentStopped))
	if kind != present {
		c.set("spec.stopCancellation", orNil(r.Spec.StopCancellation), string(kind))
	}
	c.Targets = counts.Scheduled + counts.Pending + counts.InProgress
	switch {
	case !isStopped && rollout.IsStopped(r):
		c.Targets = counts.InProgress
		c.says("The invalidation of its set has stopped the rollout already. With spec.state Stopped it is no longer Stalled.")
		switch {
		case counts.InProgress == 0:
			c.says("No device is in progress.")
		case kind == v1alpha1.CancellationForce:
			c.says("%s", effectOnStarted(kind, counts.InProgress))
		default:
			c.says("For devices that have started, the type of the invalidation applies: %d in progress. To close their actions, choose Force.", counts.InProgress)
		}
	case !hasStarted(r):
		c.says("The plan is denied: no device has started, and none of %s ever starts.", targets(counts.Targets))
	case isStopped:
		c.Targets = counts.InProgress
		c.says("The rollout is stopped already. %s", effectOnStarted(kind, counts.InProgress))
	default:
		c.says("Groups that have not opened never open, and devices that have not started never start: %s count as canceled.", targets(counts.Scheduled+counts.Pending))
		c.says("%s", effectOnStarted(kind, counts.InProgress))
	}
	if hasStarted(r) {
		c.needs(stopRights(kind)...)
		c.Forced = cancellation.Of(kind).StartedActions == cancellation.Close && counts.InProgress > 0
	} else if cancellation.Stronger(kind, present) {
		c.needs(stopRights(kind)...)
	}
	c.says("A stop is final: to continue the update, create another Rollout.")
	c.noteUnseen(r)
	return c, nil
}

func raiseFix(r *v1alpha1.Rollout, applied v1alpha1.Cancellation) string {
	if !cancellation.Stronger(v1alpha1.CancellationForce, applied) {
		return ""
	}
	return "a stronger --type applies to devices that have not finished: `kubectl goshawk stop " + r.Name + " --type Force`"
}

// effectOnStarted says what a cancellation does to devices that have started.
func effectOnStarted(c v1alpha1.Cancellation, n int32) string {
	switch cancellation.Of(c).StartedActions {
	case cancellation.Ask:
		return fmt.Sprintf("Devices that have started are asked to cancel, and may refuse or finish: %d in progress.", n)
	case cancellation.Close:
		return fmt.Sprintf("The actions of devices that have started are closed at once: %d in progress. These targets are inconsistent until their next success.", n)
	default:
		return fmt.Sprintf("Devices that have started finish: %d in progress.", n)
	}
}

// Advance opens groups up to the named one, without regard to the conditions of the groups before
// it. "" stands for the next group.
func Advance(r *v1alpha1.Rollout, to string, now time.Time) (*Change, error) {
	const operation = "advance"
	c, err := changeOf(r, operation)
	if err != nil {
		return nil, err
	}
	if !hasStarted(r) {
		return nil, refuse(r, operation, "it has not started"+because(r), "")
	}
	var names, unopened []string
	for _, g := range r.Status.Groups {
		names = append(names, g.Name)
		if g.OpenedAt == nil {
			unopened = append(unopened, g.Name)
		}
	}
	switch i := slices.Index(unopened, cmp.Or(to, first(unopened))); {
	case len(unopened) == 0:
		return nil, refuse(r, operation, "all groups have opened", "")
	case to != "" && !slices.Contains(names, to):
		return nil, refuse(r, operation, fmt.Sprintf("there is no group %s", to), "groups that have not opened: "+shortList(unopened))
	case i < 0:
		return nil, refuse(r, operation, fmt.Sprintf("group %s has opened already", to), "groups that have not opened: "+shortList(unopened))
	default:
		to, unopened = unopened[i], unopened[:i+1]
	}
	at := requestTime(r, now)
	if old := r.Spec.Advance; old != nil && !at.After(old.At.Time) {
		at = old.At.Add(time.Second)
	}
	var oldTo, oldAt any
	if r.Spec.Advance != nil {
		oldTo, oldAt = orNil(r.Spec.Advance.To), timeOrNil(&r.Spec.Advance.At)
	}
	c.add("spec.advance.to", oldTo, to) // also if it is the same group again: both fields are one request
	c.set("spec.advance.at", oldAt, stamp(at))
	for _, g := range r.Status.Groups {
		if slices.Contains(unopened, g.Name) {
			c.Targets += g.Targets
		}
	}
	c.says("%s without regard to the conditions of the groups before: %s with %s.", opens(unopened), shortList(unopened), targets(c.Targets))
	if r.Status.State == v1alpha1.RolloutPaused {
		c.says("The rollout is paused: no device starts before it is resumed.")
	}
	if r.Spec.Approval != nil {
		c.needs(approveRight(r.Name))
	}
	c.says("An open group stays open: to keep its devices from starting, pause the rollout.")
	c.Undo = "kubectl goshawk pause " + r.Name + " (the groups stay open)"
	c.noteUnseen(r)
	return c, nil
}

func opens(groups []string) string {
	if len(groups) == 1 {
		return "One group opens"
	}
	return fmt.Sprintf("%d groups open", len(groups))
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// shortList returns the first five names, and how many more there are.
func shortList(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// because returns what the rollout waits for, as the end of a sentence.
func because(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return ""
	}
	return " (" + r.Status.WaitingFor.Message + ")"
}

func waitingFix(r *v1alpha1.Rollout) string {
	if r.Status.WaitingFor == nil {
		return ""
	}
	return "it waits for something else: " + r.Status.WaitingFor.Message
}

func made(plan *v1alpha1.PlanStatus) string {
	if plan.CreatedAt == nil {
		return ""
	}
	return ", and the plan was made again at " + plan.CreatedAt.UTC().Format(time.RFC3339)
}

// matchesHash reports whether a hash, or its first digits, is that of the plan.
func matchesHash(plan, hash string) bool {
	const prefix = "sha256:"
	digits := strings.TrimPrefix(hash, prefix)
	return len(digits) >= minHash && strings.HasPrefix(strings.TrimPrefix(plan, prefix), digits)
}
