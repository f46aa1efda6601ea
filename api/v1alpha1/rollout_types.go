// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SuccessAction is what a group's success leads to (hawkBit: success action).
// +kubebuilder:validation:Enum=NextGroup;Pause
type SuccessAction string

const (
	// SuccessActionNextGroup opens the next group.
	SuccessActionNextGroup SuccessAction = "NextGroup"
	// SuccessActionPause pauses the rollout before the next group; resumedAt lifts the pause.
	SuccessActionPause SuccessAction = "Pause"
)

// ErrorAction is what a tripped error condition leads to (hawkBit: error action).
// +kubebuilder:validation:Enum=Pause
type ErrorAction string

// ErrorActionPause pauses the whole rollout; resumedAt lifts the pause.
const ErrorActionPause ErrorAction = "Pause"

// GroupOrder is how targets are spread over groups.
// +kubebuilder:validation:Enum=Hash;Name
type GroupOrder string

const (
	// GroupOrderHash spreads targets by a stable hash salted with the rollout's name, so that not
	// always the same devices go first.
	GroupOrderHash GroupOrder = "Hash"
	// GroupOrderName fills groups in alphabetical order of the targets' names.
	GroupOrderName GroupOrder = "Name"
)

// RolloutIntent is what is wanted of a rollout.
// +kubebuilder:validation:Enum=Planned;Running;Paused;Stopped
type RolloutIntent string

const (
	// IntentPlanned makes and shows the plan and does not start it.
	IntentPlanned RolloutIntent = "Planned"
	// IntentRunning starts the rollout, or lets it go on.
	IntentRunning RolloutIntent = "Running"
	// IntentPaused holds back all devices that have not started.
	IntentPaused RolloutIntent = "Paused"
	// IntentStopped ends the rollout for good; stopCancellation says what started devices do.
	IntentStopped RolloutIntent = "Stopped"
)

// RolloutState is one word for where a rollout stands (hawkBit: rollout status).
// +kubebuilder:validation:Enum=Creating;WaitingForApproval;Ready;Starting;Running;Paused;Stopping;Stopped;Finished
type RolloutState string

const (
	// RolloutCreating has no plan yet.
	RolloutCreating RolloutState = "Creating"
	// RolloutWaitingForApproval has a plan that nobody has approved.
	RolloutWaitingForApproval RolloutState = "WaitingForApproval"
	// RolloutReady has a plan and waits for state Running or startAt.
	RolloutReady RolloutState = "Ready"
	// RolloutStarting takes shared targets over from older rollouts, then opens its first group.
	RolloutStarting RolloutState = "Starting"
	// RolloutRunning opens groups and offers the update to members of open groups.
	RolloutRunning RolloutState = "Running"
	// RolloutPaused offers nothing to devices that have not started.
	RolloutPaused RolloutState = "Paused"
	// RolloutStopping is asking started devices to cancel.
	RolloutStopping RolloutState = "Stopping"
	// RolloutStopped ended early, for good.
	RolloutStopped RolloutState = "Stopped"
	// RolloutFinished has closed all groups.
	RolloutFinished RolloutState = "Finished"
)

// GroupState is one word for where a group stands (hawkBit: rollout group status).
// +kubebuilder:validation:Enum=Ready;Scheduled;Running;Finished;Error
type GroupState string

const (
	// GroupReady is planned; the rollout has not started.
	GroupReady GroupState = "Ready"
	// GroupScheduled waits for its turn in a rollout that has started.
	GroupScheduled GroupState = "Scheduled"
	// GroupRunning is open.
	GroupRunning GroupState = "Running"
	// GroupFinished is closed: every member has a result.
	GroupFinished GroupState = "Finished"
	// GroupError tripped its error condition. It stays open to its members once the pause is
	// lifted.
	GroupError GroupState = "Error"
)

// PauseReason is why a rollout is paused.
// +kubebuilder:validation:Enum=PausedBySpec;SuccessActionPause;ErrorThresholdExceeded;ErrorBudgetExceeded;GroupWithoutResults
type PauseReason string

const (
	// PauseBySpec is a pause by spec.state; state Running lifts it.
	PauseBySpec PauseReason = ReasonPausedBySpec
	// PauseBySuccessAction is a gate between groups; resumedAt lifts it.
	PauseBySuccessAction PauseReason = ReasonSuccessActionPause
	// PauseByErrorThreshold is a group's automatic pause; resumedAt lifts it.
	PauseByErrorThreshold PauseReason = ReasonErrorThresholdExceeded
	// PauseByErrorBudget is the rollout's automatic pause; resumedAt lifts it.
	PauseByErrorBudget PauseReason = ReasonErrorBudgetExceeded
	// PauseByWeakGroup holds the group behind one that has lost all its results or more than half
	// of its members; resumedAt lifts it.
	PauseByWeakGroup PauseReason = ReasonGroupWithoutResults
)

// IsAutomatic reports whether Goshawk paused by itself, so that only resumedAt lifts the pause.
func (r PauseReason) IsAutomatic() bool { return r != "" && r != PauseBySpec }

// Group is one explicit deployment group.
type Group struct {
	// name of the group, unique in the rollout: a DNS label of at most 40 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// percentage of the targets that match this group's selection and that no earlier group took;
	// of the whole, not of the rest, among groups with the same selection (hawkbit 2.3). 1 to 100;
	// absent: 100, which takes all that are left.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Percentage *int32 `json:"percentage,omitempty"`

	Selection `json:",inline"`

	// successThreshold of this group; absent: the rollout's.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessThreshold *int32 `json:"successThreshold,omitempty"`

	// successAction of this group; absent: the rollout's.
	// +optional
	SuccessAction SuccessAction `json:"successAction,omitempty"`

	// errorThreshold of this group; absent: the rollout's.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ErrorThreshold *int32 `json:"errorThreshold,omitempty"`

	// errorAction of this group; absent: the rollout's.
	// +optional
	ErrorAction ErrorAction `json:"errorAction,omitempty"`

	// confirmationRequired of this group; absent: the update's.
	// +optional
	ConfirmationRequired *bool `json:"confirmationRequired,omitempty"`
}

// ErrorBudget is how much may fail over the whole rollout; whichever limit is passed first trips
// the automatic pause.
// +kubebuilder:validation:XValidation:rule="has(self.percent) || has(self.count)",message="errorBudget needs percent, count or both; remove errorBudget for none"
type ErrorBudget struct {
	// percent of the rollout's targets that may fail; tripped when strictly more have failed. 0 to
	// 100.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`

	// count of targets that may fail; tripped when strictly more have failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Count *int32 `json:"count,omitempty"`
}

// Dynamic lets targets that appear later, and that the rollout's selection means, join trailing
// groups. They are named on after the last planned group: group-4, group-5 and so on, or dynamic-1,
// dynamic-2 and so on after explicit groups, whose last one gives them its conditions. Limits, and
// removing dynamic, end the growth, never the evaluation: the rollout is Finished when growth has
// ended and all groups have closed.
type Dynamic struct {
	// groupSize is the capacity of each trailing group. 1 to 20000; absent: the size of the last
	// planned group, or 100 if the rollout was planned without targets (hawkBit: dynamic group
	// template).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20000
	GroupSize *int32 `json:"groupSize,omitempty"`

	// maxTargets ends the growth, and so the rollout, at this many targets in all. Absent: no limit
	// but 500 groups.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	MaxTargets *int32 `json:"maxTargets,omitempty"`

	// until ends the growth, and so the rollout, at this time. Absent: never.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// Approval agrees to one plan.
type Approval struct {
	// planHash must equal status.plan.hash, written as sha256: and 64 hexadecimal digits; the
	// rollout starts only with exactly this plan.
	// +required
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="planHash must be copied from status.plan.hash: sha256: and 64 hexadecimal digits"
	PlanHash string `json:"planHash"`
}

// Advance opens groups whatever the conditions say (hawkBit: trigger next group).
type Advance struct {
	// to is the name of the last group to open.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	To string `json:"to"`

	// at is when; a new time is a new request. It counts only if it lies after the start, so that a
	// rebuilt cluster does not repeat it.
	// +required
	At metav1.Time `json:"at"`
}

// Retry tries failed targets again.
type Retry struct {
	// at is when; targets that failed before are tried again. A new time is a new request.
	// +required
	At metav1.Time `json:"at"`

	// statusCodes limits the retry to failures with one of these codes, or one of messages. Absent:
	// all, unless messages is given. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	StatusCodes []string `json:"statusCodes,omitempty"`

	// messages limits the retry to failures without a code whose message, as
	// status.failures[].message writes it, is one of these, or that have one of statusCodes.
	// Absent: all, unless statusCodes is given. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.all(m, !m.matches('[0-9]'))",message="messages must be copied from status.failures[].message of the Rollout, where a number is written <n>"
	Messages []string `json:"messages,omitempty"`
}

// RolloutSpec says what is brought to which targets, in which groups, and what is wanted now.
// +kubebuilder:validation:XValidation:rule="!(has(self.groupCount) && has(self.groups)) || (oldSelf.hasValue() && has(oldSelf.value().groupCount) && has(oldSelf.value().groups))",optionalOldSelf=true,message="give groupCount or groups, not both",fieldPath=".groupCount"
type RolloutSpec struct {
	// update is what is brought to a device. Frozen once the rollout has started, except type from
	// Soft to Forced.
	// +required
	Update Update `json:"update"`

	Selection `json:",inline"`

	// groupCount splits the targets into this many equal groups named group-1 and so on. 1 to 500;
	// goes without groups. Neither: one group. Frozen once started (hawkBit: amountGroups).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	GroupCount *int32 `json:"groupCount,omitempty"`

	// groups are explicit groups in the order they open, at most 500. Together they must take every
	// selected target. Names, percentages and selections are frozen once started; conditions may
	// change.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:XValidation:rule="[self.map(g, g.name)].all(names, names.all(i, name, names.indexOf(name) == i))",message="group names must be unique"
	Groups []Group `json:"groups,omitempty"`

	// groupOrder is how targets are spread over groups. Default Hash. Frozen once started.
	// +optional
	// +default="Hash"
	GroupOrder GroupOrder `json:"groupOrder,omitempty"`

	// successThreshold is the share of a group's targets, in whole percent, that must have
	// succeeded for successAction; reached means >=. A group whose members all closed fires
	// successAction even below. 0 to 100, default 50 (hawkBit: success condition THRESHOLD). May
	// change while running.
	// +optional
	// +default=50
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessThreshold *int32 `json:"successThreshold,omitempty"`

	// successAction is what a group's success leads to. Default NextGroup. May change while
	// running.
	// +optional
	// +default="NextGroup"
	SuccessAction SuccessAction `json:"successAction,omitempty"`

	// errorThreshold is the share of a group's targets, in whole percent, that may fail; it trips
	// when strictly more have failed. 0 trips on the first failure, 100 never. Default 50 (hawkBit:
	// error condition THRESHOLD). May change while running.
	// +optional
	// +default=50
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ErrorThreshold *int32 `json:"errorThreshold,omitempty"`

	// errorAction is what a tripped errorThreshold or errorBudget leads to. Default Pause, the only
	// one.
	// +optional
	// +default="Pause"
	ErrorAction ErrorAction `json:"errorAction,omitempty"`

	// minimumReports is how many results a group must have before its error threshold can trip,
	// unless all its members closed. 0 to 20000, default 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=20000
	MinimumReports int32 `json:"minimumReports,omitempty"`

	// errorBudget is how much may fail over the whole rollout. Absent: no limit beyond the groups'.
	// May change while running.
	// +optional
	ErrorBudget *ErrorBudget `json:"errorBudget,omitempty"`

	// dynamic lets targets that appear later join trailing groups. Absent: membership is frozen
	// when the plan is made. May change while running.
	// +optional
	Dynamic *Dynamic `json:"dynamic,omitempty"`

	// stabilizationSeconds is how long matching membership must have been quiet before the plan is
	// made, since Git applies manifests in any order. Membership that is never quiet is waited for
	// ten minutes longer, and then planned as it is. 0 to 3600 seconds, default 5.
	// +optional
	// +default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	StabilizationSeconds *int32 `json:"stabilizationSeconds,omitempty"`

	// state is what is wanted now. Default Running. Stopped is final: another state is refused
	// until status.stop records the stop, and has no effect from then on (Ready=False, reason
	// StopIsFinal).
	// +optional
	// +default="Running"
	State RolloutIntent `json:"state,omitempty"`

	// startAt is when to start, and the rollout's place in the order of updates: the newer wins.
	// Give it in production: it survives a rebuild from Git. Absent: when it first can; the rollout
	// is then as new as its start, unless something shows that its object was only created again
	// (reason OrderAmbiguous). May be added or changed later; a time after the start orders
	// nothing.
	// +optional
	StartAt *metav1.Time `json:"startAt,omitempty"`

	// approvalRequired keeps the rollout from starting without approval. The manager's
	// --require-approval makes it true for all. Default false.
	// +optional
	ApprovalRequired bool `json:"approvalRequired,omitempty"`

	// approval agrees to exactly one plan. An edit of the spec before the start makes another plan,
	// except of state, startAt, stabilizationSeconds, approvalRequired, resumedAt and retry; a plan
	// that changes needs a new approval.
	// +optional
	Approval *Approval `json:"approval,omitempty"`

	// resumedAt lifts automatic pauses that started at or before this time, once that time has
	// come: copy status.pausedAt, or write the present time. Later pauses have later times, so a
	// rebuilt cluster never inherits it.
	// +optional
	ResumedAt *metav1.Time `json:"resumedAt,omitempty"`

	// advance opens groups up to and including one whatever the conditions say. It lifts no pause.
	// +optional
	Advance *Advance `json:"advance,omitempty"`

	// retry tries failed targets again.
	// +optional
	Retry *Retry `json:"retry,omitempty"`

	// stopCancellation says what started devices do when state is Stopped: None lets them finish,
	// Soft asks them to cancel, Force closes at once. Default Soft. After the stop it may be
	// raised. Lowering it is refused until status.stop.cancellation records the value, and has no
	// effect from then on (Ready=False, reason StopIsFinal).
	// +optional
	// +default="Soft"
	StopCancellation Cancellation `json:"stopCancellation,omitempty"`

	// deletionCancellation says what started devices do when the manifest is removed. Default None,
	// the safe one: Flux may delete and re-create an object because of a typo.
	// +optional
	// +default="None"
	DeletionCancellation Cancellation `json:"deletionCancellation,omitempty"`
}

// PlanStatus is the plan as it will run.
type PlanStatus struct {
	// hash is sha256: and the SHA-256 over the set's contentHash, specHash and the ordered groups
	// with names, conditions and target names. An approval agrees to it. Written last, after all
	// groups: groups with another hash do not exist for anybody.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	Hash string `json:"hash,omitempty"`
	// contentHash of the set when the plan was made.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`
	// specHash is a fingerprint of the spec without the fields that an approval does not bind
	// (state, startAt, stabilizationSeconds, approvalRequired, approval, resumedAt, retry); until
	// the start another one makes a new plan.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SpecHash string `json:"specHash,omitempty"`
	// createdAt is when the plan was made.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
	// targets in all groups.
	// +optional
	Targets int32 `json:"targets,omitempty"`
	// groups in the plan.
	// +optional
	Groups int32 `json:"groups,omitempty"`
}

// Counts are targets by what became of them. They always add up to targets. Zeros are written: a
// column of `kubectl get` is empty where the field is absent.
type Counts struct {
	// targets that were planned.
	Targets int32 `json:"targets"`
	// scheduled: the group has not opened.
	// +optional
	Scheduled int32 `json:"scheduled"`
	// pending: the group is open and the device has not started.
	// +optional
	Pending int32 `json:"pending"`
	// inProgress: the device has started.
	// +optional
	InProgress int32 `json:"inProgress"`
	// succeeded: the update is installed, or was already there.
	// +optional
	Succeeded int32 `json:"succeeded"`
	// failed: after all retries.
	// +optional
	Failed int32 `json:"failed"`
	// canceled: by the device, by force, or superseded by a newer update before it started.
	// +optional
	Canceled int32 `json:"canceled"`
	// skipped: did not start within startDeadlineSeconds, with startDeadlineAction Skip.
	// +optional
	Skipped int32 `json:"skipped"`
	// removed: the Target is gone.
	// +optional
	Removed int32 `json:"removed"`
}

// GroupStatus is one group as the rollout sees it: the one authority on what is open, and the live
// counts.
type GroupStatus struct {
	// name of the group.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// state of the group.
	State GroupState `json:"state"`
	// openedAt is when the group opened. From then on its members are offered the update.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// openedAtOffering is what status.offering read when the group opened.
	// +optional
	OpenedAtOffering int64 `json:"openedAtOffering,omitempty"`
	// passed: spec.resumedAt has lifted the pause behind this group, and the next group opens as
	// soon as nothing else holds it.
	// +optional
	Passed bool `json:"passed,omitempty"`
	// countedFailures is how many failures errorThreshold and errorBudget count in this group:
	// those after the last resumedAt, with removedFailures.
	// +optional
	CountedFailures int32 `json:"countedFailures,omitempty"`
	// removedFailures are those of them whose Target was removed, or created anew, after it had
	// failed. They count until the next resumedAt: a retry concerns those that are there to be
	// tried again.
	// +optional
	RemovedFailures int32 `json:"removedFailures,omitempty"`

	Counts `json:",inline"`
}

// FailureCount is one line of the failure table.
type FailureCount struct {
	// statusCode that the devices reported; empty: none.
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode"`
	// message that the devices reported, where there is no code: the one that says most about the
	// cause, with numbers, times, paths and ids replaced (<n>, <time>, <path>, <id>).
	// retry.messages and update.retries.messages name it.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
	// count of targets.
	Count int32 `json:"count"`
	// examples: the names of up to 3 targets.
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

// WaitingFor says what would move next, and when time alone moves it.
type WaitingFor struct {
	// reason is one word.
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// message is one sentence for people.
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
	// until is when time alone changes something. Absent: only an event can.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// StopStatus is spec.state Stopped as it is carried out.
type StopStatus struct {
	// cancellation is the strongest stopCancellation that was seen together with spec.state
	// Stopped.
	Cancellation Cancellation `json:"cancellation"`
	// observedAt is when spec.state Stopped was first seen.
	ObservedAt metav1.MicroTime `json:"observedAt"`
}

// HandledRequests echo the requests of spec that have been carried out.
type HandledRequests struct {
	// resumedAt that lifted a pause last.
	// +optional
	ResumedAt *metav1.MicroTime `json:"resumedAt,omitempty"`
	// advanceAt that opened groups last.
	// +optional
	AdvanceAt *metav1.MicroTime `json:"advanceAt,omitempty"`
	// retryAt that retried targets last.
	// +optional
	RetryAt *metav1.MicroTime `json:"retryAt,omitempty"`
	// retriedAt is when that was carried out. Those retried have startDeadlineSeconds from then.
	// +optional
	RetriedAt *metav1.MicroTime `json:"retriedAt,omitempty"`
}

// RolloutColumns are texts and numbers for the columns of `kubectl get`, which can show a field and
// compute nothing. They are for people and are written with the fields that they are made of;
// programs read those: status.groups, status.plan and status.targets.
type RolloutColumns struct {
	// group is how many groups have opened, such as "2 of 5". Empty before the start.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Group string `json:"group,omitempty"`
	// plan is the start of status.plan.hash, 12 hexadecimal digits without sha256:. An approval
	// needs the whole hash.
	// +optional
	// +kubebuilder:validation:MaxLength=12
	Plan string `json:"plan,omitempty"`
	// targets that count: status.targets.targets without skipped and removed. The counts scheduled,
	// pending, inProgress, succeeded, failed and canceled add up to it.
	Targets int32 `json:"targets"`
}

// OfferingClock counts how long a rollout has been offering its update, in whole seconds: pauses,
// closed maintenance windows and times in which there was nothing to offer are left out. What
// startDeadlineSeconds means is read from it. It is written when it starts or stops to run, never
// periodically.
type OfferingClock struct {
	// seconds that it had counted at since, or until it was stopped.
	Seconds int64 `json:"seconds"`
	// since is from when on it has been running, by the open time of the maintenance window if
	// there is one. Absent: it is stopped.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
	// runningSince is when it was last started. The deadline of another attempt counts from then,
	// or from when the attempt was due, whichever is later.
	// +optional
	RunningSince *metav1.MicroTime `json:"runningSince,omitempty"`
	// retriedAt is what it read when spec.retry last gave more time to who had not started.
	// +optional
	RetriedAt int64 `json:"retriedAt,omitempty"`
}

// Stabilizing is what a rollout remembers of matching membership that was not quiet.
type Settling struct {
	// plan is a fingerprint of the plan that would be made now, or of why there would be none.
	// +kubebuilder:validation:MaxLength=71
	Plan string `json:"plan"`
	// since is since when it has been this one. It counts as quiet from then on.
	Since metav1.MicroTime `json:"since"`
	// started is when it was last quiet no more. Ten minutes and stabilizationSeconds later the
	// plan is made with who is there.
	Started metav1.MicroTime `json:"started"`
}

// RolloutStatus is what Goshawk decided and counted. Written by the Rollout controller, with an
// optimistic lock.
type RolloutStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// uid is by what deployment groups and the actions of targets name this object: its
	// metadata.uid. After a restore with status it stays that of the object that was backed up, so
	// that they still belong to it. Written at the first look, then never changed.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`

	// state is one word for where the rollout stands.
	// +optional
	State RolloutState `json:"state,omitempty"`

	// plan as it will run, or runs.
	// +optional
	Plan *PlanStatus `json:"plan,omitempty"`

	// stabilizing remembers, until there is a plan, since when matching membership has been quiet.
	// +optional
	Settling *Settling `json:"stabilizing,omitempty"`

	// groups in the order they open, at most 500. The one authority on what is open.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Groups []GroupStatus `json:"groups,omitempty"`

	// targets over all groups.
	// +optional
	Targets *Counts `json:"targets,omitempty"`

	// columns are what `kubectl get` shows beside the counts; for people. Absent without a plan.
	// +optional
	Columns *RolloutColumns `json:"columns,omitempty"`

	// failures by statusCode, or by message where there is no code; the 10 most frequent.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []FailureCount `json:"failures,omitempty"`

	// waitingFor says what would move next.
	// +optional
	WaitingFor *WaitingFor `json:"waitingFor,omitempty"`

	// startedAt is when the rollout started; the spec is frozen from then on. Written before the
	// first side effect.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// pausedAt is when the present pause started.
	// +optional
	PausedAt *metav1.MicroTime `json:"pausedAt,omitempty"`
	// pauseReason is why.
	// +optional
	PauseReason PauseReason `json:"pauseReason,omitempty"`
	// pauseMessage says why in a sentence. Its numbers are those of the moment of the pause,
	// pausedAt; the present ones are in targets and groups.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	PauseMessage string `json:"pauseMessage,omitempty"`
	// stop records spec.state Stopped. It is final and decides from then on, whatever spec.state
	// says. Absent: the rollout was not stopped by spec.state.
	// +optional
	Stop *StopStatus `json:"stop,omitempty"`
	// updateType is Soft for a rollout that started with update.type Soft, and Forced once
	// update.type was raised; that is final. Absent: the rollout has not started, or has started
	// with another type.
	// +optional
	UpdateType UpdateType `json:"updateType,omitempty"`
	// finishedAt is when the rollout reached Finished or Stopped.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`

	// offering is the clock that startDeadlineSeconds is measured by. Absent without
	// startDeadlineSeconds.
	// +optional
	Offering *OfferingClock `json:"offering,omitempty"`

	// handled echoes requests of spec that have been carried out.
	// +optional
	Handled *HandledRequests `json:"handled,omitempty"`

	// conditions: Ready, Reconciling, Stalled, Succeeded, Paused, Invalidated.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Rollout brings a distribution set to selected targets, group by group (hawkBit: Rollout).
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
// +kubebuilder:printcolumn:name="Set",type=string,JSONPath=`.spec.update.distributionSet`,priority=1
// +kubebuilder:printcolumn:name="Skipped",type=integer,JSONPath=`.status.targets.skipped`,description="targets that did not start in time and left their group",priority=1
// +kubebuilder:printcolumn:name="Removed",type=integer,JSONPath=`.status.targets.removed`,description="targets that are deleted",priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Plan",type=string,JSONPath=`.status.columns.plan`,description="the first 12 digits of status.plan.hash",priority=1
// +kubebuilder:printcolumn:name="Waiting For",type=string,JSONPath=`.status.waitingFor.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.startedAt) || (self.spec.update.distributionSet == oldSelf.spec.update.distributionSet && has(self.spec.update.forceAt) == has(oldSelf.spec.update.forceAt) && (!has(self.spec.update.forceAt) || self.spec.update.forceAt == oldSelf.spec.update.forceAt || timestamp(self.spec.update.forceAt) == timestamp(oldSelf.spec.update.forceAt)) && has(self.spec.update.weight) == has(oldSelf.spec.update.weight) && (!has(self.spec.update.weight) || self.spec.update.weight == oldSelf.spec.update.weight) && (has(self.spec.update.confirmationRequired) && self.spec.update.confirmationRequired) == (has(oldSelf.spec.update.confirmationRequired) && oldSelf.spec.update.confirmationRequired) && has(self.spec.update.maintenanceWindow) == has(oldSelf.spec.update.maintenanceWindow) && (!has(self.spec.update.maintenanceWindow) || self.spec.update.maintenanceWindow == oldSelf.spec.update.maintenanceWindow) && has(self.spec.update.superseding) == has(oldSelf.spec.update.superseding) && (!has(self.spec.update.superseding) || self.spec.update.superseding == oldSelf.spec.update.superseding) && (has(self.spec.update.reinstall) && self.spec.update.reinstall) == (has(oldSelf.spec.update.reinstall) && oldSelf.spec.update.reinstall) && has(self.spec.update.startDeadlineSeconds) == has(oldSelf.spec.update.startDeadlineSeconds) && (!has(self.spec.update.startDeadlineSeconds) || self.spec.update.startDeadlineSeconds == oldSelf.spec.update.startDeadlineSeconds) && has(self.spec.update.startDeadlineAction) == has(oldSelf.spec.update.startDeadlineAction) && (!has(self.spec.update.startDeadlineAction) || self.spec.update.startDeadlineAction == oldSelf.spec.update.startDeadlineAction) && has(self.spec.update.progressDeadlineSeconds) == has(oldSelf.spec.update.progressDeadlineSeconds) && (!has(self.spec.update.progressDeadlineSeconds) || self.spec.update.progressDeadlineSeconds == oldSelf.spec.update.progressDeadlineSeconds) && has(self.spec.update.cancelDeadlineSeconds) == has(oldSelf.spec.update.cancelDeadlineSeconds) && (!has(self.spec.update.cancelDeadlineSeconds) || self.spec.update.cancelDeadlineSeconds == oldSelf.spec.update.cancelDeadlineSeconds) && has(self.spec.update.retries) == has(oldSelf.spec.update.retries) && (!has(self.spec.update.retries) || self.spec.update.retries == oldSelf.spec.update.retries))",message="update is immutable once the rollout has started, except type from Soft to Forced: stop this rollout and create another",fieldPath=".spec.update"
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
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec RolloutSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status RolloutStatus `json:"status,omitempty"`

	// Unreadable is set in memory only, where the stored object cannot be decoded as a whole; nil:
	// it can.
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
