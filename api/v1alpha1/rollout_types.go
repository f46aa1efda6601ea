// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SuccessAction is what happens when a group succeeds (hawkBit: success action).
// +kubebuilder:validation:Enum=NextGroup;Pause
type SuccessAction string

const (
	// SuccessActionNextGroup opens the next group.
	SuccessActionNextGroup SuccessAction = "NextGroup"
	// SuccessActionPause pauses the rollout before the next group until resumedAt.
	SuccessActionPause SuccessAction = "Pause"
)

// ErrorAction is what happens when an error threshold or the error budget is exceeded (hawkBit:
// error action).
// +kubebuilder:validation:Enum=Pause
type ErrorAction string

// ErrorActionPause pauses the whole rollout until resumedAt.
const ErrorActionPause ErrorAction = "Pause"

// GroupOrder is how targets are distributed over groups.
// +kubebuilder:validation:Enum=Hash;Name
type GroupOrder string

const (
	// GroupOrderHash orders targets by a stable hash salted with the name of the rollout, so that
	// different rollouts start with different devices.
	GroupOrderHash GroupOrder = "Hash"
	// GroupOrderName fills groups in alphabetical order of the targets' names.
	GroupOrderName GroupOrder = "Name"
)

// RolloutIntent is the state that the user wants for a rollout.
// +kubebuilder:validation:Enum=Planned;Running;Paused;Stopped
type RolloutIntent string

const (
	// IntentPlanned makes and shows the plan and does not start the rollout.
	IntentPlanned RolloutIntent = "Planned"
	// IntentRunning starts or continues the rollout.
	IntentRunning RolloutIntent = "Running"
	// IntentPaused holds back all devices that have not started.
	IntentPaused RolloutIntent = "Paused"
	// IntentStopped ends the rollout, which cannot be taken back; stopCancellation decides what
	// happens to devices that have started.
	IntentStopped RolloutIntent = "Stopped"
)

// RolloutState is the state of a rollout (hawkBit: rollout status).
// +kubebuilder:validation:Enum=Creating;WaitingForApproval;Ready;Starting;Running;Paused;Stopping;Stopped;Finished
type RolloutState string

const (
	// RolloutCreating has no plan yet.
	RolloutCreating RolloutState = "Creating"
	// RolloutWaitingForApproval has a plan that is not approved.
	RolloutWaitingForApproval RolloutState = "WaitingForApproval"
	// RolloutReady has a plan and waits for state Running or startAt.
	RolloutReady RolloutState = "Ready"
	// RolloutStarting takes over shared targets from older rollouts, then opens its first group.
	RolloutStarting RolloutState = "Starting"
	// RolloutRunning opens groups and offers the update to members of open groups.
	RolloutRunning RolloutState = "Running"
	// RolloutPaused offers nothing to devices that have not started.
	RolloutPaused RolloutState = "Paused"
	// RolloutStopping asks devices that have started to cancel.
	RolloutStopping RolloutState = "Stopping"
	// RolloutStopped ended early. It cannot be started again.
	RolloutStopped RolloutState = "Stopped"
	// RolloutFinished has closed all groups.
	RolloutFinished RolloutState = "Finished"
)

// IsOver reports whether a rollout in this state has ended: Finished, or Stopped.
func (s RolloutState) IsOver() bool { return s == RolloutFinished || s == RolloutStopped }

// IsStopped reports whether a rollout in this state was stopped: Stopping, or Stopped.
func (s RolloutState) IsStopped() bool { return s == RolloutStopping || s == RolloutStopped }

// GroupState is the state of a group (hawkBit: rollout group status).
// +kubebuilder:validation:Enum=Ready;Scheduled;Running;Finished;Error
type GroupState string

const (
	// GroupReady is planned; the rollout has not started.
	GroupReady GroupState = "Ready"
	// GroupScheduled waits to open, in a rollout that has started.
	GroupScheduled GroupState = "Scheduled"
	// GroupRunning is open.
	GroupRunning GroupState = "Running"
	// GroupFinished is closed: every member has a result.
	GroupFinished GroupState = "Finished"
	// GroupError has exceeded its error threshold. The group stays open to its members once the
	// pause is lifted.
	GroupError GroupState = "Error"
)

// PauseReason is why a rollout is paused.
// +kubebuilder:validation:Enum=PausedBySpec;SuccessActionPause;ErrorThresholdExceeded;ErrorBudgetExceeded;GroupWithoutResults
type PauseReason string

const (
	// PauseBySpec is a pause by spec.state; state Running lifts it.
	PauseBySpec PauseReason = ReasonPausedBySpec
	// PauseBySuccessAction is a pause after a group with successAction Pause; resumedAt lifts it.
	PauseBySuccessAction PauseReason = ReasonSuccessActionPause
	// PauseByErrorThreshold is an automatic pause because of the error threshold of a group;
	// resumedAt lifts it.
	PauseByErrorThreshold PauseReason = ReasonErrorThresholdExceeded
	// PauseByErrorBudget is an automatic pause because of the error budget of the rollout;
	// resumedAt lifts it.
	PauseByErrorBudget PauseReason = ReasonErrorBudgetExceeded
	// PauseByWeakGroup is an automatic pause behind a group that has lost all its results or more
	// than half of its members; resumedAt lifts it.
	PauseByWeakGroup PauseReason = ReasonGroupWithoutResults
)

// IsAutomatic reports whether Goshawk paused the rollout by itself, so that only resumedAt lifts
// the pause.
func (r PauseReason) IsAutomatic() bool { return r != "" && r != PauseBySpec }

// Group is one explicit deployment group.
type Group struct {
	// name is the name of the group, unique in the rollout: a DNS label of at most 40 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// percentage is the share of targets, 1 to 100, that the group takes. Among groups with the
	// same selection it is a share of all matching targets, not of those that earlier groups left.
	// Absent: 100, which takes all that are left.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Percentage *int32 `json:"percentage,omitempty"`

	Selection `json:",inline"`

	// successThreshold overrides spec.successThreshold for this group. Absent: the value of the
	// rollout.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessThreshold *int32 `json:"successThreshold,omitempty"`

	// successAction overrides spec.successAction for this group. Absent: the value of the rollout.
	// +optional
	SuccessAction SuccessAction `json:"successAction,omitempty"`

	// errorThreshold overrides spec.errorThreshold for this group. Absent: the value of the
	// rollout.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ErrorThreshold *int32 `json:"errorThreshold,omitempty"`

	// errorAction overrides spec.errorAction for this group. Absent: the value of the rollout.
	// +optional
	ErrorAction ErrorAction `json:"errorAction,omitempty"`

	// confirmationRequired overrides spec.update.confirmationRequired for this group. Absent: the
	// value of the update.
	// +optional
	ConfirmationRequired *bool `json:"confirmationRequired,omitempty"`
}

// ErrorBudget limits the failures of the whole rollout. The limit that is exceeded first pauses the
// rollout.
// +kubebuilder:validation:XValidation:rule="has(self.percent) || has(self.count)",message="errorBudget needs percent, count or both; remove errorBudget for none"
type ErrorBudget struct {
	// percent is the share of all targets of the rollout, 0 to 100, that may fail. The rollout is
	// paused if more have failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`

	// count is the number of targets that may fail, 0 to 10000000. The rollout is paused if more
	// have failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Count *int32 `json:"count,omitempty"`
}

// Dynamic lets targets that appear later, and that the selection of the rollout matches, join
// further groups. These groups are numbered after the last planned group: group-4, group-5 and so
// on. After explicit groups they are dynamic-1, dynamic-2 and so on, with the conditions of the
// last explicit group. A limit that is reached, or the removal of dynamic, only ends the growth:
// the rollout is Finished when the growth has ended and all groups have closed.
type Dynamic struct {
	// groupSize is the maximum number of targets in each further group. 1 to 20000; absent: the
	// size of the last planned group, or 100 if the rollout was planned without targets (hawkBit:
	// dynamic group template).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20000
	GroupSize *int32 `json:"groupSize,omitempty"`

	// maxTargets ends the growth when the rollout has this many targets. 1 to 10000000; absent:
	// limited by 500 groups only.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	MaxTargets *int32 `json:"maxTargets,omitempty"`

	// until ends the growth at this time. Absent: never.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// Approval approves one plan.
type Approval struct {
	// planHash must equal status.plan.hash: sha256: and 64 hexadecimal digits. The rollout starts
	// only with exactly this plan.
	// +required
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="planHash must be copied from status.plan.hash: sha256: and 64 hexadecimal digits"
	PlanHash string `json:"planHash"`
}

// Advance opens groups even if the conditions for opening them are not met (hawkBit: trigger next
// group).
type Advance struct {
	// to is the name of the last group to open.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	To string `json:"to"`

	// at is the time of the request; a new time is a new request. It only has an effect if it is
	// later than the start of the rollout, so that a cluster that is rebuilt from Git does not
	// repeat it.
	// +required
	At metav1.Time `json:"at"`
}

// Retry retries failed targets.
type Retry struct {
	// at is the time of the request: targets that failed before it are retried. A new time is a new
	// request.
	// +required
	At metav1.Time `json:"at"`

	// statusCodes limits the retry to failures with one of these codes, in addition to those that
	// messages lists. Absent: all failures, unless messages is set. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	StatusCodes []string `json:"statusCodes,omitempty"`

	// messages limits the retry to failures without a code whose message, as in
	// status.failures[].message, is one of these, in addition to those that statusCodes lists.
	// Absent: all failures, unless statusCodes is set. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.all(m, !m.matches('[0-9]'))",message="messages must be copied from status.failures[].message of the Rollout, where a number is written <n>"
	Messages []string `json:"messages,omitempty"`
}

// RolloutSpec is the update, its targets, its groups and the wanted state. Written by the user.
// +kubebuilder:validation:XValidation:rule="!(has(self.groupCount) && has(self.groups)) || (oldSelf.hasValue() && has(oldSelf.value().groupCount) && has(oldSelf.value().groups))",optionalOldSelf=true,message="give groupCount or groups, not both",fieldPath=".groupCount"
type RolloutSpec struct {
	// update is the set that is installed and how. Frozen once the rollout has started, except that
	// type may change from Soft to Forced.
	// +required
	Update Update `json:"update"`

	Selection `json:",inline"`

	// groupCount splits the targets into this many groups of equal size, named group-1, group-2 and
	// so on. 1 to 500. Not together with groups; without both there is one group. Frozen once the
	// rollout has started (hawkBit: amountGroups).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	GroupCount *int32 `json:"groupCount,omitempty"`

	// groups are explicit groups in the order in which they open, at most 500. Together they must
	// take every selected target. Names, percentages and selections are frozen once the rollout has
	// started; conditions may change.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:XValidation:rule="[self.map(g, g.name)].all(names, names.all(i, name, names.indexOf(name) == i))",message="group names must be unique"
	Groups []Group `json:"groups,omitempty"`

	// groupOrder is how targets are distributed over groups: Hash or Name. Default Hash. Frozen
	// once the rollout has started.
	// +optional
	// +default="Hash"
	GroupOrder GroupOrder `json:"groupOrder,omitempty"`

	// successThreshold is the share of the targets of a group, in whole percent, that must have
	// succeeded (>=) before successAction happens. It also happens, even below the threshold, when
	// all members have a result. 0 to 100, default 50 (hawkBit: success condition THRESHOLD). May
	// change while the rollout runs.
	// +optional
	// +default=50
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessThreshold *int32 `json:"successThreshold,omitempty"`

	// successAction is what happens when a group succeeds: NextGroup opens the next group, Pause
	// waits for resumedAt. Default NextGroup. May change while the rollout runs.
	// +optional
	// +default="NextGroup"
	SuccessAction SuccessAction `json:"successAction,omitempty"`

	// errorThreshold is the share of the targets of a group, in whole percent, that may fail.
	// errorAction happens if more have failed: with 0 at the first failure, with 100 never. 0 to
	// 100, default 50 (hawkBit: error condition THRESHOLD). May change while the rollout runs.
	// +optional
	// +default=50
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ErrorThreshold *int32 `json:"errorThreshold,omitempty"`

	// errorAction is what happens when errorThreshold or errorBudget is exceeded. Only Pause is
	// supported. Default Pause.
	// +optional
	// +default="Pause"
	ErrorAction ErrorAction `json:"errorAction,omitempty"`

	// minimumReports is the number of results that a group must have before errorThreshold is
	// evaluated; it is always evaluated when all members have a result. 0 to 20000, default 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=20000
	MinimumReports int32 `json:"minimumReports,omitempty"`

	// errorBudget limits the failures of the whole rollout. Absent: only the thresholds of the
	// groups apply. May change while the rollout runs.
	// +optional
	ErrorBudget *ErrorBudget `json:"errorBudget,omitempty"`

	// dynamic lets targets that appear later join further groups. Absent: the members are frozen
	// when the plan is made. May change while the rollout runs.
	// +optional
	Dynamic *Dynamic `json:"dynamic,omitempty"`

	// stabilizationSeconds is how long the matching targets must not have changed before the plan
	// is made, because GitOps tools apply manifests in any order. If they keep changing for ten
	// minutes longer, the plan is made with the targets that match then. 0 to 3600 seconds, default
	// 5.
	// +optional
	// +default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	StabilizationSeconds *int32 `json:"stabilizationSeconds,omitempty"`

	// state is the wanted state: Planned, Running, Paused or Stopped. Default Running. Stopped is
	// final: another value is refused until status.stop records the stop, and has no effect
	// afterwards (Ready=False, reason StopIsFinal).
	// +optional
	// +default="Running"
	State RolloutIntent `json:"state,omitempty"`

	// startAt is when the rollout starts, and its place in the order of updates: a newer update
	// replaces an older one. Set it in production, because it survives a rebuild of the cluster
	// from Git. Absent: the rollout starts as soon as it can, and its start is its place in the
	// order, unless something shows that the object was only created again (reason OrderAmbiguous).
	// It may be added or changed later; a time after the start does not change the order.
	// +optional
	StartAt *metav1.Time `json:"startAt,omitempty"`

	// approvalRequired prevents the rollout from starting without an approval. The flag
	// --require-approval of the manager sets it for all rollouts. Default false.
	// +optional
	ApprovalRequired bool `json:"approvalRequired,omitempty"`

	// approval approves exactly one plan. Before the start, a change of the spec makes a new plan,
	// which needs a new approval; changes of state, startAt, stabilizationSeconds,
	// approvalRequired, resumedAt and retry do not.
	// +optional
	Approval *Approval `json:"approval,omitempty"`

	// resumedAt lifts automatic pauses that started at or before this time, once that time has
	// come. Copy status.pausedAt, or write the present time. Later pauses start later, so it does
	// not lift them in a rebuilt cluster either.
	// +optional
	ResumedAt *metav1.Time `json:"resumedAt,omitempty"`

	// advance opens groups up to and including one group, even if their conditions are not met. It
	// lifts no pause.
	// +optional
	Advance *Advance `json:"advance,omitempty"`

	// retry retries failed targets.
	// +optional
	Retry *Retry `json:"retry,omitempty"`

	// stopCancellation is what happens to devices that have started when state is Stopped. None:
	// they finish. Soft: they are asked to cancel. Force: their actions are closed at once. Default
	// Soft. After the stop it may be raised. A lower value is refused until
	// status.stop.cancellation records the value, and has no effect afterwards (Ready=False, reason
	// StopIsFinal).
	// +optional
	// +default="Soft"
	StopCancellation Cancellation `json:"stopCancellation,omitempty"`

	// deletionCancellation is what happens to devices that have started when the Rollout is
	// deleted: None, Soft or Force as for stopCancellation. Default None, because a GitOps tool may
	// delete and re-create an object by mistake.
	// +optional
	// +default="None"
	DeletionCancellation Cancellation `json:"deletionCancellation,omitempty"`
}

// PlanStatus is the plan of a rollout.
type PlanStatus struct {
	// hash is sha256: and a SHA-256 of the contentHash of the set, specHash, and the ordered groups
	// with their names and target names; specHash covers their conditions. An approval refers to
	// hash. It is written last: groups with another hash are ignored.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	Hash string `json:"hash,omitempty"`
	// contentHash is status.contentHash of the set when the plan was made.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`
	// specHash is a fingerprint of the spec without the fields that an approval does not cover
	// (state, startAt, stabilizationSeconds, approvalRequired, approval, resumedAt, retry). Before
	// the start, a change of it makes a new plan.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SpecHash string `json:"specHash,omitempty"`
	// createdAt is when the plan was made.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
	// targets is the number of targets in all groups.
	// +optional
	Targets int32 `json:"targets,omitempty"`
	// groups is the number of groups.
	// +optional
	Groups int32 `json:"groups,omitempty"`
}

// Counts are numbers of targets by result. The other numbers add up to targets. Zeros are written,
// because a column of `kubectl get` is empty if the field is absent.
type Counts struct {
	// targets is the number of planned targets.
	// +required
	Targets int32 `json:"targets"`
	// scheduled is the number of targets whose group has not opened.
	// +optional
	Scheduled int32 `json:"scheduled"`
	// pending is the number of targets whose group is open and whose device has not started.
	// +optional
	Pending int32 `json:"pending"`
	// inProgress is the number of targets whose device has started.
	// +optional
	InProgress int32 `json:"inProgress"`
	// succeeded is the number of targets on which the update is installed, or was already
	// installed.
	// +optional
	Succeeded int32 `json:"succeeded"`
	// failed is the number of targets that failed after all retries.
	// +optional
	Failed int32 `json:"failed"`
	// canceled is the number of targets whose update was canceled by the device or by force, or
	// superseded by a newer update before it started.
	// +optional
	Canceled int32 `json:"canceled"`
	// skipped is the number of targets that did not start within startDeadlineSeconds, with
	// startDeadlineAction Skip.
	// +optional
	Skipped int32 `json:"skipped"`
	// removed is the number of targets that were deleted.
	// +optional
	Removed int32 `json:"removed"`
}

// Add adds the counts of other targets.
func (c *Counts) Add(other Counts) {
	c.Targets += other.Targets
	c.Scheduled += other.Scheduled
	c.Pending += other.Pending
	c.InProgress += other.InProgress
	c.Succeeded += other.Succeeded
	c.Failed += other.Failed
	c.Canceled += other.Canceled
	c.Skipped += other.Skipped
	c.Removed += other.Removed
}

// Existing returns how many of the targets were not deleted. Percentages are of this number.
func (c Counts) Existing() int32 { return c.Targets - c.Removed }

// GroupStatus is the state of one group and its live counts. It decides whether the group is open.
type GroupStatus struct {
	// name is the name of the group.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// state is the state of the group.
	// +required
	State GroupState `json:"state"`
	// openedAt is when the group opened. From then on the update is offered to its members.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// openedAtOffering is the value of status.offering in seconds when the group opened.
	// +optional
	OpenedAtOffering int64 `json:"openedAtOffering,omitempty"`
	// passed is true once spec.resumedAt has lifted the pause behind this group. The next group
	// then opens as soon as nothing else prevents it.
	// +optional
	Passed bool `json:"passed,omitempty"`
	// countedFailures is the number of failures in this group that errorThreshold and errorBudget
	// count: those after the last resumedAt, including removedFailures.
	// +optional
	CountedFailures int32 `json:"countedFailures,omitempty"`
	// removedFailures is the number of those failures whose Target was deleted, or created again,
	// after it had failed. They count until the next resumedAt; a retry does not remove them.
	// +optional
	RemovedFailures int32 `json:"removedFailures,omitempty"`

	Counts `json:",inline"`
}

// FailureCount counts failures with the same statusCode or message.
type FailureCount struct {
	// statusCode is the code that the devices reported. Empty: they reported none.
	// +required
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode"`
	// message is the most meaningful line that the devices reported, if there is no code. Numbers,
	// times, paths and ids are replaced by <n>, <time>, <path> and <id>. Copy it to retry.messages
	// or update.retries.messages.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
	// count is the number of targets.
	// +required
	Count int32 `json:"count"`
	// examples are the names of up to 3 of these targets.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MaxLength=253
	Examples []string `json:"examples,omitempty"`
	// firstSeen is when the first of them failed.
	// +optional
	FirstSeen *metav1.Time `json:"firstSeen,omitempty"`
	// lastSeen is when the last of them failed.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
}

// WaitingFor is what the rollout waits for, and until when.
type WaitingFor struct {
	// reason is the cause in CamelCase.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message is a sentence for people.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
	// until is when the wait ends by itself. Absent: it ends with an event only.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// StopStatus records spec.state Stopped.
type StopStatus struct {
	// cancellation is the strongest value of stopCancellation that was observed together with
	// spec.state Stopped.
	// +required
	Cancellation Cancellation `json:"cancellation"`
	// observedAt is when spec.state Stopped was first observed.
	// +required
	ObservedAt metav1.MicroTime `json:"observedAt"`
}

// HandledRequests records the requests in spec that have been handled.
type HandledRequests struct {
	// resumedAt is the last spec.resumedAt that lifted a pause.
	// +optional
	ResumedAt *metav1.MicroTime `json:"resumedAt,omitempty"`
	// advanceAt is the last spec.advance.at that opened groups.
	// +optional
	AdvanceAt *metav1.MicroTime `json:"advanceAt,omitempty"`
	// retryAt is the last spec.retry.at that was handled: it retried targets, or it was refused
	// because the rollout is stopped.
	// +optional
	RetryAt *metav1.MicroTime `json:"retryAt,omitempty"`
	// retriedAt is when a retry was last carried out. The startDeadlineSeconds of retried targets
	// start then.
	// +optional
	RetriedAt *metav1.MicroTime `json:"retriedAt,omitempty"`
}

// RolloutColumns are the columns of `kubectl get` that are computed. They are for people; programs
// read status.groups, status.plan and status.targets.
type RolloutColumns struct {
	// group is how many groups have opened, such as "2 of 5". Empty before the start.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Group string `json:"group,omitempty"`
	// plan is the first 12 hexadecimal digits of status.plan.hash, without sha256:. An approval
	// needs the whole hash.
	// +optional
	// +kubebuilder:validation:MaxLength=12
	Plan string `json:"plan,omitempty"`
	// targets is status.targets.targets without skipped and removed: the sum of scheduled, pending,
	// inProgress, succeeded, failed and canceled.
	// +required
	Targets int32 `json:"targets"`
}

// OfferingClock measures how long a rollout has offered its update, in whole seconds. Pauses,
// closed maintenance windows and times without anything to offer do not count. startDeadlineSeconds
// is measured with it. It is written when it starts or stops, never periodically.
type OfferingClock struct {
	// seconds is the number of seconds that had been measured at since, or when the clock stopped.
	// +required
	Seconds int64 `json:"seconds"`
	// since is when the clock started, moved by the closed times of the maintenance window if there
	// is one. Absent: the clock is stopped.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
	// runningSince is when the clock last started. The deadline of another attempt counts from
	// then, or from when the attempt is due, whichever is later.
	// +optional
	RunningSince *metav1.MicroTime `json:"runningSince,omitempty"`
	// retriedAt is the value of the clock in seconds when spec.retry last gave more time to targets
	// that had not started.
	// +optional
	RetriedAt int64 `json:"retriedAt,omitempty"`
}

// Stabilizing records how long the matching targets have not changed.
type Stabilizing struct {
	// plan is a fingerprint of the plan that would be made now, or of the reason why there would be
	// none.
	// +required
	// +kubebuilder:validation:MaxLength=71
	Plan string `json:"plan"`
	// since is when this plan was first computed: the matching targets have not changed since then.
	// +required
	Since metav1.MicroTime `json:"since"`
	// started is when the present period of changes started. The plan is made at the latest ten
	// minutes and stabilizationSeconds later, with the targets that match then.
	// +required
	Started metav1.MicroTime `json:"started"`
}

// RolloutStatus is the observed state of a Rollout. Written by the Rollout controller, with an
// optimistic lock.
type RolloutStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// uid identifies this object in deployment groups and in the actions of targets. It is
	// metadata.uid at the first reconcile and never changes. After a restore from a backup with
	// status it is still the uid of the object that was backed up, so that they still belong to it.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`

	// state is the state of the rollout.
	// +optional
	State RolloutState `json:"state,omitempty"`

	// plan is the plan that will run or runs. Absent: there is none yet.
	// +optional
	Plan *PlanStatus `json:"plan,omitempty"`

	// stabilizing records how long the matching targets have not changed. Absent once there is a
	// plan.
	// +optional
	Stabilizing *Stabilizing `json:"stabilizing,omitempty"`

	// groups are the groups in the order in which they open, at most 500. They decide which group
	// is open.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Groups []GroupStatus `json:"groups,omitempty"`

	// targets counts the targets of all groups.
	// +optional
	Targets *Counts `json:"targets,omitempty"`

	// columns are the computed columns of `kubectl get`. Absent without a plan.
	// +optional
	Columns *RolloutColumns `json:"columns,omitempty"`

	// failures are the 10 most frequent failures, by statusCode, or by message if there is no code.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []FailureCount `json:"failures,omitempty"`

	// waitingFor is what the rollout waits for. Absent: nothing.
	// +optional
	WaitingFor *WaitingFor `json:"waitingFor,omitempty"`

	// startedAt is when the rollout started; the spec is frozen from then on. It is written before
	// the first effect on a device.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// pausedAt is when the present pause started.
	// +optional
	PausedAt *metav1.MicroTime `json:"pausedAt,omitempty"`
	// pauseReason is why the rollout is paused.
	// +optional
	PauseReason PauseReason `json:"pauseReason,omitempty"`
	// pauseMessage is a sentence about the pause. Its numbers are those of pausedAt; the present
	// numbers are in targets and groups.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	PauseMessage string `json:"pauseMessage,omitempty"`
	// stop records spec.state Stopped. It is final: later changes of spec.state have no effect.
	// Absent: the rollout was not stopped by spec.state.
	// +optional
	Stop *StopStatus `json:"stop,omitempty"`
	// update says in a few words what the rollout brings: the name of the set, or what is removed.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Update string `json:"update,omitempty"`
	// updateType is Soft for a rollout that started with update.type Soft, and Forced once
	// update.type was changed to Forced, which is final. Absent: the rollout has not started, or
	// has started with another type.
	// +optional
	UpdateType UpdateType `json:"updateType,omitempty"`
	// finishedAt is when the rollout reached Finished or Stopped.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`

	// offering is the clock for startDeadlineSeconds. Absent without startDeadlineSeconds.
	// +optional
	Offering *OfferingClock `json:"offering,omitempty"`

	// handled records the requests in spec that have been carried out.
	// +optional
	Handled *HandledRequests `json:"handled,omitempty"`

	// conditions are the conditions of the object: Ready, Reconciling, Stalled, Succeeded, Paused,
	// Invalidated.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Rollout installs a distribution set on selected targets, group by group (hawkBit: Rollout).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=grollout,categories=goshawk
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.status.columns.group`,description="how many groups have opened"
// +kubebuilder:printcolumn:name="Targets",type=integer,JSONPath=`.status.columns.targets`,description="planned targets without skipped and removed ones: the sum of the six columns that follow"
// +kubebuilder:printcolumn:name="Scheduled",type=integer,JSONPath=`.status.targets.scheduled`,description="targets whose group has not opened"
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.targets.pending`,description="targets whose group is open and whose device has not started"
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.targets.inProgress`,description="targets in progress: the device has started"
// +kubebuilder:printcolumn:name="Done",type=integer,JSONPath=`.status.targets.succeeded`,description="targets that succeeded"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.targets.failed`,description="targets that failed after all retries"
// +kubebuilder:printcolumn:name="Canceled",type=integer,JSONPath=`.status.targets.canceled`,description="targets that were canceled or taken over by a newer update"
// +kubebuilder:printcolumn:name="Set",type=string,JSONPath=`.status.update`,description="the set, or what is removed",priority=1
// +kubebuilder:printcolumn:name="Skipped",type=integer,JSONPath=`.status.targets.skipped`,description="targets that did not start in time and left their group",priority=1
// +kubebuilder:printcolumn:name="Removed",type=integer,JSONPath=`.status.targets.removed`,description="targets that are deleted",priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.columns.plan`,description="the first 12 digits of status.plan.hash",priority=1
// +kubebuilder:printcolumn:name="Waiting For",type=string,JSONPath=`.status.waitingFor.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.update.distributionSet) == has(oldSelf.spec.update.distributionSet) && (!has(self.spec.update.distributionSet) || self.spec.update.distributionSet == oldSelf.spec.update.distributionSet) && has(self.spec.update.remove) == has(oldSelf.spec.update.remove) && (!has(self.spec.update.remove) || self.spec.update.remove == oldSelf.spec.update.remove) && has(self.spec.update.finishedWarning) == has(oldSelf.spec.update.finishedWarning) && (!has(self.spec.update.finishedWarning) || self.spec.update.finishedWarning == oldSelf.spec.update.finishedWarning) && has(self.spec.update.forceAt) == has(oldSelf.spec.update.forceAt) && (!has(self.spec.update.forceAt) || self.spec.update.forceAt == oldSelf.spec.update.forceAt || timestamp(self.spec.update.forceAt) == timestamp(oldSelf.spec.update.forceAt)) && has(self.spec.update.weight) == has(oldSelf.spec.update.weight) && (!has(self.spec.update.weight) || self.spec.update.weight == oldSelf.spec.update.weight) && (has(self.spec.update.confirmationRequired) && self.spec.update.confirmationRequired) == (has(oldSelf.spec.update.confirmationRequired) && oldSelf.spec.update.confirmationRequired) && has(self.spec.update.maintenanceWindow) == has(oldSelf.spec.update.maintenanceWindow) && (!has(self.spec.update.maintenanceWindow) || self.spec.update.maintenanceWindow == oldSelf.spec.update.maintenanceWindow) && has(self.spec.update.superseding) == has(oldSelf.spec.update.superseding) && (!has(self.spec.update.superseding) || self.spec.update.superseding == oldSelf.spec.update.superseding) && (has(self.spec.update.reinstall) && self.spec.update.reinstall) == (has(oldSelf.spec.update.reinstall) && oldSelf.spec.update.reinstall) && has(self.spec.update.startDeadlineSeconds) == has(oldSelf.spec.update.startDeadlineSeconds) && (!has(self.spec.update.startDeadlineSeconds) || self.spec.update.startDeadlineSeconds == oldSelf.spec.update.startDeadlineSeconds) && has(self.spec.update.startDeadlineAction) == has(oldSelf.spec.update.startDeadlineAction) && (!has(self.spec.update.startDeadlineAction) || self.spec.update.startDeadlineAction == oldSelf.spec.update.startDeadlineAction) && has(self.spec.update.progressDeadlineSeconds) == has(oldSelf.spec.update.progressDeadlineSeconds) && (!has(self.spec.update.progressDeadlineSeconds) || self.spec.update.progressDeadlineSeconds == oldSelf.spec.update.progressDeadlineSeconds) && has(self.spec.update.cancelDeadlineSeconds) == has(oldSelf.spec.update.cancelDeadlineSeconds) && (!has(self.spec.update.cancelDeadlineSeconds) || self.spec.update.cancelDeadlineSeconds == oldSelf.spec.update.cancelDeadlineSeconds) && has(self.spec.update.retries) == has(oldSelf.spec.update.retries) && (!has(self.spec.update.retries) || self.spec.update.retries == oldSelf.spec.update.retries))",message="update is immutable once the rollout has started, except type from Soft to Forced: stop this rollout and create another",fieldPath=".spec.update"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.update.type) == has(oldSelf.spec.update.type) && (!has(self.spec.update.type) || self.spec.update.type == oldSelf.spec.update.type)) || ((has(self.spec.update.type) ? self.spec.update.type : 'Forced') == 'Forced' && has(oldSelf.spec.update.type) && oldSelf.spec.update.type == 'Soft') || (has(self.spec.update.type) && self.spec.update.type == 'Soft' && has(oldSelf.status.updateType) && oldSelf.status.updateType == 'Forced')",message="update.type is immutable once the rollout has started, except from Soft to Forced: stop this rollout and create another",fieldPath=".spec.update.type"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.targetSelector) == has(oldSelf.spec.targetSelector) && (!has(self.spec.targetSelector) || self.spec.targetSelector == oldSelf.spec.targetSelector))",message="targetSelector is immutable once the rollout has started: membership was frozen with the plan; create another Rollout for other targets",fieldPath=".spec.targetSelector"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.targetExpression) == has(oldSelf.spec.targetExpression) && (!has(self.spec.targetExpression) || self.spec.targetExpression == oldSelf.spec.targetExpression))",message="targetExpression is immutable once the rollout has started: membership was frozen with the plan; create another Rollout for other targets",fieldPath=".spec.targetExpression"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.groupCount) == has(oldSelf.spec.groupCount) && (!has(self.spec.groupCount) || self.spec.groupCount == oldSelf.spec.groupCount))",message="groupCount is immutable once the rollout has started: membership was frozen with the plan; stop this rollout and create another",fieldPath=".spec.groupCount"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.groupOrder) == has(oldSelf.spec.groupOrder) && (!has(self.spec.groupOrder) || self.spec.groupOrder == oldSelf.spec.groupOrder))",message="groupOrder is immutable once the rollout has started: membership was frozen with the plan; stop this rollout and create another",fieldPath=".spec.groupOrder"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (has(self.spec.groups) == has(oldSelf.spec.groups) && (!has(self.spec.groups) || (self.spec.groups.map(g, g.name) == oldSelf.spec.groups.map(g, g.name) && self.spec.groups.map(g, has(g.percentage) ? g.percentage : 100) == oldSelf.spec.groups.map(g, has(g.percentage) ? g.percentage : 100) && self.spec.groups.map(g, has(g.targetSelector) ? [g.targetSelector] : []) == oldSelf.spec.groups.map(g, has(g.targetSelector) ? [g.targetSelector] : []) && self.spec.groups.map(g, has(g.targetExpression) ? [g.targetExpression] : []) == oldSelf.spec.groups.map(g, has(g.targetExpression) ? [g.targetExpression] : []))))",message="groups is immutable once the rollout has started, except their thresholds, actions and confirmationRequired: stop this rollout and create another",fieldPath=".spec.groups"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.spec.state) || oldSelf.spec.state != 'Stopped' || (has(self.spec.state) && self.spec.state == 'Stopped') || (has(oldSelf.status) && (has(oldSelf.status.state) && oldSelf.status.state == 'Finished' || has(oldSelf.status.stop) && {'None': 0, 'Soft': 1, 'Force': 2}[oldSelf.status.stop.cancellation] >= {'None': 0, 'Soft': 1, 'Force': 2}[has(oldSelf.spec.stopCancellation) ? oldSelf.spec.stopCancellation : 'Soft']))",message="state Stopped is final: it is immutable; put it back, and create another Rollout",fieldPath=".spec.state"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.spec.state) || oldSelf.spec.state != 'Stopped' || {'None': 0, 'Soft': 1, 'Force': 2}[has(self.spec.stopCancellation) ? self.spec.stopCancellation : 'Soft'] >= {'None': 0, 'Soft': 1, 'Force': 2}[has(oldSelf.spec.stopCancellation) ? oldSelf.spec.stopCancellation : 'Soft'] || (has(oldSelf.status) && (has(oldSelf.status.state) && oldSelf.status.state == 'Finished' || has(oldSelf.status.stop) && {'None': 0, 'Soft': 1, 'Force': 2}[oldSelf.status.stop.cancellation] >= {'None': 0, 'Soft': 1, 'Force': 2}[has(oldSelf.spec.stopCancellation) ? oldSelf.spec.stopCancellation : 'Soft']))",message="stopCancellation is immutable after the stop, except that it may be raised, from None to Soft to Force: keep it or raise it",fieldPath=".spec.stopCancellation"
type Rollout struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec RolloutSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status RolloutStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// Identity returns the uid by which deployment groups and the actions of targets name this object:
// status.uid if there is one, else metadata.uid.
func (r *Rollout) Identity() types.UID {
	if r.Status.UID != "" {
		return r.Status.UID
	}
	return r.UID
}

// RolloutList is a list of Rollouts.
// +kubebuilder:object:root=true
type RolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Rollout `json:"items"`
}
