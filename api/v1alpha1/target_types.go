// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// UpdateStatus is one word about a target (hawkBit: TargetUpdateStatus).
// +kubebuilder:validation:Enum=Unknown;Registered;Pending;InSync;Error
type UpdateStatus string

const (
	// UpdateStatusUnknown means that the device was never heard of.
	UpdateStatusUnknown UpdateStatus = "Unknown"
	// UpdateStatusRegistered means that the device was heard of and has not been updated yet.
	UpdateStatusRegistered UpdateStatus = "Registered"
	// UpdateStatusPending means that an action is open. A target whose group is open but that has
	// not come by yet is not Pending here; it is counted pending in its group.
	UpdateStatusPending UpdateStatus = "Pending"
	// UpdateStatusInSync means that the device runs what it was last told to run.
	UpdateStatusInSync UpdateStatus = "InSync"
	// UpdateStatusError means that the last update that was not canceled failed, or that the device
	// may run something else than what status says (condition Consistent is False, with another
	// reason than UpdateCanceled).
	UpdateStatusError UpdateStatus = "Error"
)

// ActionState is where the life of one update on one device stands (hawkBit: action status).
// +kubebuilder:validation:Enum=WaitingForConfirmation;Retrieved;Running;Downloading;Downloaded;Installing;Removing;Canceling;Finished;Error;Canceled
type ActionState string

const (
	// ActionWaitingForConfirmation waits for somebody at the device to agree. The device has not
	// started.
	ActionWaitingForConfirmation ActionState = "WaitingForConfirmation"
	// ActionRetrieved means that the device has fetched the deployment. From here on it has started
	// and nobody may assume otherwise.
	ActionRetrieved ActionState = "Retrieved"
	// ActionRunning means that the device is at work, at a stage it does not tell.
	ActionRunning ActionState = "Running"
	// ActionDownloading means that artifacts are being fetched.
	ActionDownloading ActionState = "Downloading"
	// ActionDownloaded means that all artifacts are on the device.
	ActionDownloaded ActionState = "Downloaded"
	// ActionInstalling means that the device changes itself.
	ActionInstalling ActionState = "Installing"
	// ActionRemoving means that software is being removed.
	ActionRemoving ActionState = "Removing"
	// ActionCanceling means that the device has been, or will be, asked to cancel; it may refuse or
	// finish first.
	ActionCanceling ActionState = "Canceling"
	// ActionFinished is closed: the update succeeded.
	ActionFinished ActionState = "Finished"
	// ActionError is closed: the update failed.
	ActionError ActionState = "Error"
	// ActionCanceled is closed: the update was canceled, by the device or by force.
	ActionCanceled ActionState = "Canceled"
)

// IsClosed reports whether the state is absorbing.
func (s ActionState) IsClosed() bool {
	return s == ActionFinished || s == ActionError || s == ActionCanceled
}

// HasStarted reports whether the device has fetched the deployment of an action in this state;
// closed actions count as started.
func (s ActionState) HasStarted() bool { return s != ActionWaitingForConfirmation }

// SourceKind is what kind of intent an action comes from.
// +kubebuilder:validation:Enum=Target;Rollout;AutoAssignment
type SourceKind string

const (
	// SourceTarget is the target's own spec.assignment.
	SourceTarget SourceKind = "Target"
	// SourceRollout is membership in an open group of a Rollout.
	SourceRollout SourceKind = "Rollout"
	// SourceAutoAssignment is a running AutoAssignment that selects the target.
	SourceAutoAssignment SourceKind = "AutoAssignment"
)

// CancelCause is why an action is to be canceled.
// +kubebuilder:validation:Enum=Requested;Stopped;Deleted;Invalidated;Superseded;SetGone;MigrationStep
type CancelCause string

const (
	// CauseRequested means that spec.cancel of the target covers the action.
	CauseRequested CancelCause = "Requested"
	// CauseStopped means that the rollout was stopped.
	CauseStopped CancelCause = "Stopped"
	// CauseDeleted means that the rollout was deleted.
	CauseDeleted CancelCause = "Deleted"
	// CauseInvalidated means that the distribution set was invalidated.
	CauseInvalidated CancelCause = "Invalidated"
	// CauseSuperseded means that a newer update of the target replaces it.
	CauseSuperseded CancelCause = "Superseded"
	// CauseSetGone means that the set or a module is gone or has another content.
	CauseSetGone CancelCause = "SetGone"
	// CauseMigrationStep means that a question is taken back because a required migration step goes
	// first. It is asked again afterwards.
	CauseMigrationStep CancelCause = "MigrationStep"
)

// CancelAnswer is what became of a cancel.
// +kubebuilder:validation:Enum=Accepted;Rejected;Overtaken;DeadlineExceeded
type CancelAnswer string

const (
	// AnswerAccepted means that the device canceled.
	AnswerAccepted CancelAnswer = "Accepted"
	// AnswerRejected means that the device refused; the action goes on and is not asked again for
	// the same cause.
	AnswerRejected CancelAnswer = "Rejected"
	// AnswerOvertaken means that the device reported a result, or started something newer, instead
	// of an answer.
	AnswerOvertaken CancelAnswer = "Overtaken"
	// AnswerDeadlineExceeded means that cancelDeadlineSeconds passed without an answer.
	AnswerDeadlineExceeded CancelAnswer = "DeadlineExceeded"
)

// Codes in statusCode. Goshawk writes all of them but CodeInconsistent. A device that sends one of
// Goshawk's codes is not trusted: its code is stored with the prefix "device:".
const (
	// CodeStartDeadlineExceeded marks a target that did not start within startDeadlineSeconds.
	CodeStartDeadlineExceeded = "StartDeadlineExceeded"
	// CodeProgressDeadlineExceeded marks an action without a result within progressDeadlineSeconds.
	CodeProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// CodeSkipped marks a success of a device that was told `update: skip` (DownloadOnly) and shows
	// no download: it has skipped everything, as swupdate does.
	CodeSkipped = "Skipped"
	// CodeNoFeature is reserved for a device API that checks whether a device can install the type
	// of a module. Nothing writes it yet.
	CodeNoFeature = "NoFeature"
	// CodeRemoveNotSupported is reserved for a device API that removes software. Nothing writes it
	// yet.
	CodeRemoveNotSupported = "RemoveNotSupported"
	// CodeInconsistent is the code by which a device says that it is inconsistent.
	CodeInconsistent = "INCONSISTENT"
)

// AutoConfirm says who agrees to an update that requires confirmation.
// +kubebuilder:validation:Enum=Device;Always
type AutoConfirm string

const (
	// AutoConfirmDevice asks the device, unless it has activated auto-confirmation over DDI.
	AutoConfirmDevice AutoConfirm = "Device"
	// AutoConfirmAlways never asks.
	AutoConfirmAlways AutoConfirm = "Always"
)

// SecretKeyReference names one key of a Secret of the same namespace.
type SecretKeyReference struct {
	// name of the Secret. One Secret may hold the tokens of many targets.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// key in the Secret's data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// Assignment brings one distribution set to one target.
type Assignment struct {
	Update `json:",inline"`

	// assignedAt makes the same set a new assignment when it changes. It is also the assignment's
	// place in the order of updates, if it is later than the places of all earlier assignments of
	// this target; else that is the moment the change was seen, so that a patch or a revert that
	// keeps an old time works. Give it in production: it survives a rebuild from Git. Until a time
	// to come, nothing is assigned. Optional.
	// +optional
	AssignedAt *metav1.Time `json:"assignedAt,omitempty"`
}

// CancelRequest cancels actions of one target.
type CancelRequest struct {
	// upTo cancels every open action with an id up to this one (see status.actions). An id that was
	// never given is ignored, with a condition, so that a request copied from elsewhere cannot
	// cancel the future.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	UpTo int32 `json:"upTo"`

	// cancellation is Soft (the device is asked) or Force (closed at once; hawkBit: force quit).
	// Default Soft.
	// +optional
	// +default="Soft"
	// +kubebuilder:validation:XValidation:rule="self != 'None'",message="cancellation of a cancel must be Soft or Force: remove spec.cancel to cancel nothing"
	Cancellation Cancellation `json:"cancellation,omitempty"`
}

// TargetSpec is one device and what is wanted of it alone.
type TargetSpec struct {
	// controllerID is the device's own id, as it says it to the device API. Absent: metadata.name.
	// Unique in the namespace: the newer duplicate is Ready=False, Duplicate, and the device API
	// does not serve it. 1 to 256 characters without blanks, slashes and control characters, and
	// not . or .., as the device API takes it. Immutable (hawkBit: controllerId).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\s/\\\\p{Z}]+$')",message="controllerID must have no blanks and no slashes"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\p{Cc}\\\\p{Cf}]+$') && self != '.' && self != '..'",message="controllerID must have no control characters, and must not be . or .."
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="controllerID is immutable: delete the Target and create another"
	ControllerID string `json:"controllerID,omitempty"`

	// name is a name for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`

	// description is for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// address is where the device is, for people. What the device API sees is status.address.
	// Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`

	// type decides which sets fit (DistributionSet.spec.compatibleTargetTypes). Absent: every set
	// fits (hawkBit: target type).
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`

	// tokenSecretRef is where the device's token is: it authenticates with `Authorization:
	// TargetToken <token>`. The Secret's type must be goshawk.dev/device-tokens; the device API
	// reads no others. Absent: no token is accepted.
	// +optional
	TokenSecretRef *SecretKeyReference `json:"tokenSecretRef,omitempty"`

	// assignment brings one set to this target alone. Another set, another assignedAt, or an
	// assignment that is put back after its removal is a new assignment, newer than every update
	// the target has met, unless its assignedAt says an earlier time. The other fields only change
	// how it is carried out, as long as the device has not started; type and a confirmation that is
	// not required any more also count later. Removing it takes nothing back: a device that has
	// started finishes (use cancel).
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.startDeadlineSeconds)",message="startDeadlineSeconds is for the groups of a rollout: an assignment waits for its device; remove it",fieldPath=".startDeadlineSeconds"
	Assignment *Assignment `json:"assignment,omitempty"`

	// cancel cancels this target's open actions up to an id.
	// +optional
	Cancel *CancelRequest `json:"cancel,omitempty"`

	// autoConfirm says who agrees to updates that require confirmation. Default Device.
	// +optional
	// +default="Device"
	AutoConfirm AutoConfirm `json:"autoConfirm,omitempty"`

	// hold keeps this device from start anything until it is released. What has started goes on.
	// Default false.
	// +optional
	Hold bool `json:"hold,omitempty"`
}

// InstalledSource names the party that says what a device runs.
// +kubebuilder:validation:Enum=Action;Device
type InstalledSource string

const (
	// InstalledByAction is a set that an action of Goshawk installed.
	InstalledByAction InstalledSource = "Action"
	// InstalledByReport is a set that the device reported by itself, with PUT installedBase or by
	// its attributes.
	InstalledByReport InstalledSource = "Device"
)

// InstalledSet is what a device runs.
type InstalledSet struct {
	// distributionSet is the name of the set when it was installed; the object may be gone.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`
	// contentHash of the set: what "already there" compares.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`
	// since is when the device API learned of it, by the server's clock.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// actionID is the action that installed it; 0 when the device reported it by itself.
	// +optional
	ActionID int32 `json:"actionID,omitempty"`
	// source is Action if an action of Goshawk installed the set, or Device if the device reported
	// by itself that it runs it. A set that only the device reported counts as installed, but gives
	// the device no access to artifacts. Written by Goshawk.
	// +optional
	Source InstalledSource `json:"source,omitempty"`
}

// SelectingAutoAssignment is an auto-assignment that selects a target.
type SelectingAutoAssignment struct {
	// uid of it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
	// since when, if it does so because labels, type or attributes of the target have changed: its
	// place in the order of the target's updates. Absent: that is its start, or when the target was
	// created.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// SeenAssignment is the single assignment that was seen last. Without one, or until its assignedAt
// comes, only since is left.
type SeenAssignment struct {
	// distributionSet as in spec.assignment.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`
	// assignedAt as in spec.assignment.
	// +optional
	AssignedAt *metav1.Time `json:"assignedAt,omitempty"`
	// since is the assignment's place in the order of intents: assignedAt if that is later than the
	// places of all earlier assignments, else when it was first seen. It only grows.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// AutoConfirmStatus is what the device said about confirming by itself.
type AutoConfirmStatus struct {
	// active is true while the device confirms everything by itself.
	Active bool `json:"active"`
	// initiator is who activated it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Initiator string `json:"initiator,omitempty"`
	// remark is why.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Remark string `json:"remark,omitempty"`
	// activatedAt is when, by the server's clock.
	// +optional
	ActivatedAt *metav1.Time `json:"activatedAt,omitempty"`
}

// ActionSource is the intent that an action was created from.
type ActionSource struct {
	// kind of the intent.
	Kind SourceKind `json:"kind"`
	// name of the Rollout or AutoAssignment; the target's own name for an assignment.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of that object.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
	// group of the rollout.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Group string `json:"group,omitempty"`
	// attempt counts the tries of this intent on this target, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// since is the intent's place in the order of intents.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// ActionUpdate is what an action needs of its Update when its source is gone.
type ActionUpdate struct {
	// type as in Update.
	// +optional
	Type UpdateType `json:"type,omitempty"`
	// forceAt as in Update.
	// +optional
	ForceAt *metav1.Time `json:"forceAt,omitempty"`
	// weight as in Update.
	// +optional
	Weight *int32 `json:"weight,omitempty"`
	// maintenanceWindow as in Update.
	// +optional
	MaintenanceWindow *MaintenanceWindow `json:"maintenanceWindow,omitempty"`
	// superseding as in Update.
	// +optional
	Superseding Superseding `json:"superseding,omitempty"`
	// progressDeadlineSeconds as in Update.
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
	// cancelDeadlineSeconds as in Update.
	// +optional
	CancelDeadlineSeconds *int32 `json:"cancelDeadlineSeconds,omitempty"`
	// rollback is Supported when every module of the set declares it.
	// +optional
	Rollback RollbackSupport `json:"rollback,omitempty"`
	// requiredMigrationStep of the set at creation.
	// +optional
	RequiredMigrationStep bool `json:"requiredMigrationStep,omitempty"`
}

// ModuleState is the result of one module of an action.
type ModuleState struct {
	// name of the software (SoftwareModule.spec.name, with ":" and version).
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// state that the device reported last for it.
	State ActionState `json:"state"`
}

// CancelStatus is what became of a cancel of one action.
type CancelStatus struct {
	// cause is why.
	Cause CancelCause `json:"cause"`
	// cancellation is Soft or Force.
	Cancellation Cancellation `json:"cancellation"`
	// requestedAt is when it was asked, by the server's clock.
	// +optional
	RequestedAt *metav1.Time `json:"requestedAt,omitempty"`
	// answer is empty until there is one.
	// +optional
	Answer CancelAnswer `json:"answer,omitempty"`
	// from is the state the action was in when it was asked; a refusal returns to it.
	// +optional
	From ActionState `json:"from,omitempty"`
	// causes are all causes asked so far, so that none is asked twice. At most 7.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=7
	Causes []CancelCause `json:"causes,omitempty"`
}

// ActionEvent is one line of an action's history.
type ActionEvent struct {
	// time by the server's clock.
	Time metav1.Time `json:"time"`
	// state that was reached.
	State ActionState `json:"state"`
	// statusCode of the report.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode,omitempty"`
	// message of the report, shortened.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// Action is one update on one device, from the moment the device fetched it (hawkBit: Action).
type Action struct {
	// id is what the device calls the action. It counts up per target and is never used again, also
	// not by a Target of the same name that is created later. 1 to 2147483647: DDI clients read it
	// as a C int.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	ID int32 `json:"id"`

	// source is the intent that it was created from, or that adopted it.
	Source ActionSource `json:"source"`

	// distributionSet is the name of the set.
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet"`

	// contentHash of the set at creation.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`

	// update is what the action needs when its source is gone.
	// +optional
	Update ActionUpdate `json:"update,omitempty"`

	// state of the action. Closed states (Finished, Error, Canceled) are absorbing.
	State ActionState `json:"state"`

	// stage is the device's last word for what it does: a DDI execution or a SoftwareUpdatable
	// status.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Stage string `json:"stage,omitempty"`

	// modules are the results module by module, where the device tells them apart. At most 100.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Modules []ModuleState `json:"modules,omitempty"`

	// statusCode is the device's last code, or one of Goshawk's (StartDeadlineExceeded,
	// ProgressDeadlineExceeded, Skipped). One of Goshawk's codes that a device sends is stored with
	// the prefix "device:".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode,omitempty"`

	// message is the device's last message, shortened. It is untrusted text, without user
	// information and query of URLs.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`

	// messages are the last lines that the device sent before the result, oldest first, each
	// shortened. At most 5; absent when the update succeeded, and on all but open actions and the
	// newest 2 closed ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	// +kubebuilder:validation:items:MaxLength=256
	Messages []string `json:"messages,omitempty"`

	// failureMessage is the line of the device that says most about why the update failed: of its
	// last lines that look like an error, or of its closing message if that says more. While the
	// action is open: so far. Absent when the update succeeded.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	FailureMessage string `json:"failureMessage,omitempty"`

	// failureGroup is failureMessage with what differs from device to device replaced: times by
	// <time>, numbers by <n>, and so on. Failures without statusCode are counted by it
	// (status.failures[].message of a Rollout), and retry.messages names it. Absent unless the
	// state is Error and there is no statusCode.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	FailureGroup string `json:"failureGroup,omitempty"`

	// progress in percent, as far as the device tells.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Progress *int32 `json:"progress,omitempty"`

	// reports counts the device's reports. Beyond 1000 intermediate ones are dropped; final ones
	// always count.
	// +optional
	Reports int32 `json:"reports,omitempty"`

	// hadBefore: the content was in hadSets when the action started, and stays there when it is
	// taken back.
	// +optional
	HadBefore bool `json:"hadBefore,omitempty"`
	// installingStarted is true once the device may have started to change itself: it reported that
	// it installs, or work of no particular kind.
	// +optional
	InstallingStarted bool `json:"installingStarted,omitempty"`

	// toldToSkip is true if the deployment that the device fetched last said `update: skip`, which
	// is so for DownloadOnly. A success without a sign of a download is then the error Skipped.
	// +optional
	ToldToSkip bool `json:"toldToSkip,omitempty"`

	// downloadSeen is true once the device reported a download or any progress, or fetched an
	// artifact through the device API.
	// +optional
	DownloadSeen bool `json:"downloadSeen,omitempty"`

	// cancel is what became of a cancel.
	// +optional
	Cancel *CancelStatus `json:"cancel,omitempty"`

	// history holds the first of each state, newest 10, for open actions and the newest 2 closed
	// ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	History []ActionEvent `json:"history,omitempty"`

	// startedAt is when the device fetched the deployment (or was asked to confirm), by the
	// server's clock, as all times here.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// firstReportedAt is when the first report came.
	// +optional
	FirstReportedAt *metav1.Time `json:"firstReportedAt,omitempty"`
	// reportedAt is when the last report came.
	// +optional
	ReportedAt *metav1.Time `json:"reportedAt,omitempty"`
	// closedAt is when the action closed.
	// +optional
	ClosedAt *metav1.Time `json:"closedAt,omitempty"`
}

// AttributeValue is the value of a device attribute.
// +kubebuilder:validation:MaxLength=128
type AttributeValue string

// TargetStatus is what is known of one device. Written by the device API replicas and the Target
// controller, each with an optimistic lock.
type TargetStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// uid is by what the actions of its own assignment name this object: its metadata.uid. After a
	// restore with status it stays that of the object that was backed up, so that they still belong
	// to it. Written at the first look, then never changed.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`

	// controllerID is the id that the device API serves this target under. A selectable field.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ControllerID string `json:"controllerID,omitempty"`

	// updateStatus is one word about the target. A selectable field.
	// +optional
	UpdateStatus UpdateStatus `json:"updateStatus,omitempty"`

	// installed is what the device runs, by its reports. Absent: unknown.
	// +optional
	Installed *InstalledSet `json:"installed,omitempty"`

	// lastSeen is when the device was last heard of, as of the last write: it rides on other
	// writes, else at most once a day.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`

	// address that the device last came from, as of the last write.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`

	// attributes that the device reported, at most 100 (hawkBit: configData). Keys and values have at
	// most 128 characters each, and all of them together take at most 8 KiB as JSON: the device API
	// refuses more, and stores nothing of such a request.
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.map(k, size(k) + size(self[k])).sum() <= 8192",message="attributes must have at most 8192 characters in all"
	Attributes map[string]AttributeValue `json:"attributes,omitempty"`

	// assignment is the spec.assignment that was seen last, and since when.
	// +optional
	Assignment *SeenAssignment `json:"assignment,omitempty"`

	// selectedBy lists the auto-assignments that selected this target at selectedAt, at most 50. It
	// rides on other writes.
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MaxItems=50
	SelectedBy []SelectingAutoAssignment `json:"selectedBy,omitempty"`

	// selectedAt is when selectedBy was noted: an auto-assignment that has started since was not
	// asked.
	// +optional
	SelectedAt *metav1.MicroTime `json:"selectedAt,omitempty"`

	// selectionChangedAt is when labels, type or attributes last changed: what selects this target
	// may be new since then.
	// +optional
	SelectionChangedAt *metav1.MicroTime `json:"selectionChangedAt,omitempty"`

	// selectionHash is a fingerprint of labels, type and attributes, by which a change is noticed.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	SelectionHash string `json:"selectionHash,omitempty"`

	// autoConfirm is what the device said about confirming by itself.
	// +optional
	AutoConfirm *AutoConfirmStatus `json:"autoConfirm,omitempty"`

	// hadSets are the first 16 hexadecimal digits of the contentHashes this target had actions for,
	// newest 50, newest last.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=16
	HadSets []string `json:"hadSets,omitempty"`

	// nextActionID is the id that the next action will have. It is stored before it is first
	// announced and starts at the seconds since 2020, so that a target that is deleted and created
	// again never uses an id twice.
	// +optional
	NextActionID int32 `json:"nextActionID,omitempty"`

	// actions: open ones, the newest one of every rollout that still lives, and the newest 10
	// closed; 32 KiB in all.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=100
	Actions []Action `json:"actions,omitempty"`

	// conditions: Ready, Consistent, Online, Assigned, Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Target is one device (hawkBit: Target).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tgt,categories=goshawk
// +kubebuilder:selectablefield:JSONPath=`.status.updateStatus`
// +kubebuilder:selectablefield:JSONPath=`.status.controllerID`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.updateStatus`
// +kubebuilder:printcolumn:name="Installed",type=string,JSONPath=`.status.installed.distributionSet`,description="the set that the device runs, by its reports"
// +kubebuilder:printcolumn:name="Update",type=string,JSONPath=`.status.actions[-1:].distributionSet`,description="the set of the newest action"
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.status.actions[-1:].state`,description="the state of the newest action"
// +kubebuilder:printcolumn:name="Consistent",type=string,JSONPath=`.status.conditions[?(@.type=="Consistent")].status`
// +kubebuilder:printcolumn:name="Seen Within",type=date,JSONPath=`.status.lastSeen`,description="the device was heard of within this time. It is written with other reports, else at most once a day: the condition Online says whether the device is offline"
// +kubebuilder:printcolumn:name="Online",type=string,JSONPath=`.status.conditions[?(@.type=="Online")].status`,priority=1
// +kubebuilder:printcolumn:name="Installed Source",type=string,JSONPath=`.status.installed.source`,priority=1
// +kubebuilder:printcolumn:name="Hold",type=boolean,JSONPath=`.spec.hold`,priority=1
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`,priority=1
// +kubebuilder:printcolumn:name="Controller ID",type=string,JSONPath=`.status.controllerID`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Failure",type=string,JSONPath=`.status.actions[-1:].failureMessage`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
// +kubebuilder:validation:XValidation:rule="(has(self.spec) && has(self.spec.controllerID)) == (has(oldSelf.spec) && has(oldSelf.spec.controllerID))",message="controllerID is immutable: delete the Target and create another",fieldPath=".spec.controllerID"
type Target struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +optional
	Spec TargetSpec `json:"spec,omitempty"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status TargetStatus `json:"status,omitempty"`

	// Unreadable is set in memory only, where the stored object cannot be decoded as a whole; nil:
	// it can.
	Unreadable *Unreadable `json:"-"`
}

// ControllerID is the id under which the device comes to the device API. It is immutable, so status
// has it where spec cannot be decoded.
func (t *Target) ControllerID() string {
	if t.Spec.ControllerID != "" {
		return t.Spec.ControllerID
	}
	if t.Unreadable.Lacks("spec.controllerID") && t.Status.ControllerID != "" {
		return t.Status.ControllerID
	}
	return t.Name
}

// Identity returns the uid by which the actions of its own assignment name this object: status.uid
// if there is one, else metadata.uid.
func (t *Target) Identity() types.UID {
	if t.Status.UID != "" {
		return t.Status.UID
	}
	return t.UID
}

// TargetList is a list of Targets.
// +kubebuilder:object:root=true
type TargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Target `json:"items"`
}
