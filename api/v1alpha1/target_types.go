// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// UpdateStatus is the update status of a target (hawkBit: TargetUpdateStatus).
// +kubebuilder:validation:Enum=Unknown;Registered;Pending;InSync;Error
type UpdateStatus string

const (
	// UpdateStatusUnknown means that the device has never contacted the device API.
	UpdateStatusUnknown UpdateStatus = "Unknown"
	// UpdateStatusRegistered means that the device has contacted the device API and has not been
	// updated yet.
	UpdateStatusRegistered UpdateStatus = "Registered"
	// UpdateStatusPending means that an action is open. A target whose group is open and whose
	// device has not polled yet is not Pending; its group counts it as pending.
	UpdateStatusPending UpdateStatus = "Pending"
	// UpdateStatusInSync means that no update is open and that the device runs the set in
	// status.installed.
	UpdateStatusInSync UpdateStatus = "InSync"
	// UpdateStatusError means that the last update that was not canceled failed, or that the device
	// may run something else than the status says (condition Consistent is False, with another
	// reason than UpdateCanceled).
	UpdateStatusError UpdateStatus = "Error"
)

// ActionState is the state of one update on one device (hawkBit: action status).
// +kubebuilder:validation:Enum=WaitingForConfirmation;Retrieved;Running;Downloading;Downloaded;Installing;Removing;Canceling;Finished;Error;Canceled
type ActionState string

const (
	// ActionWaitingForConfirmation waits for a person at the device to agree. The device has not
	// started.
	ActionWaitingForConfirmation ActionState = "WaitingForConfirmation"
	// ActionRetrieved means that the device has fetched the deployment. From then on the device
	// counts as started.
	ActionRetrieved ActionState = "Retrieved"
	// ActionRunning means that the device works on the update and does not report at which stage.
	ActionRunning ActionState = "Running"
	// ActionDownloading means that artifacts are being fetched.
	ActionDownloading ActionState = "Downloading"
	// ActionDownloaded means that all artifacts are on the device.
	ActionDownloaded ActionState = "Downloaded"
	// ActionInstalling means that the device installs software.
	ActionInstalling ActionState = "Installing"
	// ActionRemoving means that the device removes software.
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

// IsClosed reports whether the state is final: Finished, Error or Canceled.
func (s ActionState) IsClosed() bool {
	return s == ActionFinished || s == ActionError || s == ActionCanceled
}

// HasStarted reports whether the device has fetched the deployment of an action in this state;
// closed actions count as started.
func (s ActionState) HasStarted() bool { return s != ActionWaitingForConfirmation }

// SourceKind is the kind of object that an action comes from.
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

// CancelCause is why an action is canceled.
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
	// CauseSetGone means that the set or a module was deleted or has another content.
	CauseSetGone CancelCause = "SetGone"
	// CauseMigrationStep means that a request for confirmation is withdrawn because a required
	// migration step goes first. The request is made again afterwards.
	CauseMigrationStep CancelCause = "MigrationStep"
)

// CancelAnswer is the result of a cancel.
// +kubebuilder:validation:Enum=Accepted;Rejected;Overtaken;DeadlineExceeded
type CancelAnswer string

const (
	// AnswerAccepted means that the device canceled.
	AnswerAccepted CancelAnswer = "Accepted"
	// AnswerRejected means that the device refused. The action continues, and the device is not
	// asked again for the same cause.
	AnswerRejected CancelAnswer = "Rejected"
	// AnswerOvertaken means that the device reported a result, or started a newer update, instead
	// of answering.
	AnswerOvertaken CancelAnswer = "Overtaken"
	// AnswerDeadlineExceeded means that cancelDeadlineSeconds passed without an answer.
	AnswerDeadlineExceeded CancelAnswer = "DeadlineExceeded"
)

// Codes in statusCode. Only Goshawk writes them, except CodeInconsistent. If a device reports one
// of Goshawk's codes, it is stored with the prefix "device:".
const (
	// CodeStartDeadlineExceeded marks a target that did not start within startDeadlineSeconds.
	CodeStartDeadlineExceeded = "StartDeadlineExceeded"
	// CodeProgressDeadlineExceeded marks an action without a result within progressDeadlineSeconds.
	CodeProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// CodeSkipped marks a success of a device that received `update: skip` (DownloadOnly) and
	// reported no download: it has skipped everything, as swupdate does.
	CodeSkipped = "Skipped"
	// CodeNoFeature marks an update with a module type that no feature of the device serves. The
	// device got no command.
	CodeNoFeature = "NoFeature"
	// CodeRemoveNotSupported marks a removal (update.remove) for a device that uses DDI and has not
	// announced that it can remove software.
	CodeRemoveNotSupported = "RemoveNotSupported"
	// CodeInconsistent is the code by which a device says that it is inconsistent.
	CodeInconsistent = "INCONSISTENT"
)

// Attributes in status.attributes that have a meaning for Goshawk. goshawk-agent sends them, and
// any other device may.
const (
	// AttributeConsistent is "true" or "false": whether the device is consistent, according to
	// itself. A device with this attribute reports with each result if it is inconsistent.
	AttributeConsistent = "goshawk-agent.consistent"
	// AttributeRemoves is "true" if the device can remove software over DDI.
	AttributeRemoves = "goshawk-agent.removes"
)

// AutoConfirm is how an update that requires confirmation is confirmed.
// +kubebuilder:validation:Enum=Device;Always
type AutoConfirm string

const (
	// AutoConfirmDevice asks the device, unless the device has activated auto-confirmation with
	// DDI.
	AutoConfirmDevice AutoConfirm = "Device"
	// AutoConfirmAlways never asks the device.
	AutoConfirmAlways AutoConfirm = "Always"
)

// SecretKeyReference refers to one key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name is the name of the Secret. One Secret may hold the tokens of many targets.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// key is the key in the data of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// Assignment assigns one distribution set, or one removal of software, to one target.
type Assignment struct {
	Update `json:",inline"`

	// assignedAt makes the same set a new assignment when it changes. It is also the place of the
	// assignment in the order of updates if it is later than all earlier assignments of this
	// target. Otherwise that place is the time when the change was observed, so that a patch or a
	// revert that keeps an old time works. If it is in the future, nothing is assigned until then.
	// Set it in production, because it survives a rebuild of the cluster from Git. Optional.
	// +optional
	AssignedAt *metav1.Time `json:"assignedAt,omitempty"`
}

// CancelRequest cancels actions of one target.
type CancelRequest struct {
	// upTo cancels every open action whose id is at most this one (see status.actions). An id that
	// was never used has no effect and is reported by a condition, so that a copied request cannot
	// cancel future actions. 1 to 2147483647.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	UpTo int32 `json:"upTo"`

	// cancellation is Soft, which asks the device to cancel, or Force, which closes the actions at
	// once (hawkBit: force quit). Default Soft.
	// +optional
	// +default="Soft"
	// +kubebuilder:validation:XValidation:rule="self != 'None'",message="cancellation of a cancel must be Soft or Force: remove spec.cancel to cancel nothing"
	Cancellation Cancellation `json:"cancellation,omitempty"`
}

// TargetSpec describes one device and what applies to it alone. Written by the user.
type TargetSpec struct {
	// controllerID is the id that the device uses in the device API. Absent: metadata.name. Unique
	// in the namespace: a newer duplicate has Ready=False with reason Duplicate, and the device API
	// does not serve it. 1 to 256 characters without white space, slashes, control characters and
	// other invisible ones, and not . or .. Immutable (hawkBit: controllerId).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\s/\\\\p{Z}]+$')",message="controllerID must have no blanks and no slashes"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\p{Cc}\\\\p{Cf}\\\\x{34f}\\\\x{115f}\\\\x{1160}\\\\x{17b4}\\\\x{17b5}\\\\x{180b}-\\\\x{180f}\\\\x{2065}\\\\x{3164}\\\\x{fe00}-\\\\x{fe0f}\\\\x{ffa0}\\\\x{fff0}-\\\\x{fff8}\\\\x{e0000}-\\\\x{e0fff}]+$') && self != '.' && self != '..'",message="controllerID must have no control characters or other invisible ones, and must not be . or .."
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="controllerID is immutable: delete the Target and create another"
	ControllerID string `json:"controllerID,omitempty"`

	// name is a name for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`

	// description is a text for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// address is the address of the device, for people. The address that the device API sees is in
	// status.address. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`

	// type decides which sets fit the target (spec.compatibleTargetTypes of a DistributionSet).
	// Absent: every set fits (hawkBit: target type).
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`

	// tokenSecretRef refers to the token of the device, which authenticates with `Authorization:
	// TargetToken <token>`. The type of the Secret must be goshawk.dev/device-tokens; the device
	// API reads no other Secrets. Absent: no target token is accepted, and only a DeviceAccess lets
	// a device act for this target.
	// +optional
	TokenSecretRef *SecretKeyReference `json:"tokenSecretRef,omitempty"`

	// assignment assigns one set to this target alone. Another set, another assignedAt, or an
	// assignment that is added again after its removal is a new assignment. It is newer than every
	// update of the target so far, unless assignedAt is an earlier time. Changes of other fields
	// apply while the device has not started; changes of type, and of confirmationRequired to
	// false, also apply later. Removing it does not stop a device that has started: use cancel.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.startDeadlineSeconds)",message="startDeadlineSeconds is for the groups of a rollout: an assignment waits for its device; remove it",fieldPath=".startDeadlineSeconds"
	Assignment *Assignment `json:"assignment,omitempty"`

	// cancel cancels the open actions of this target up to an id.
	// +optional
	Cancel *CancelRequest `json:"cancel,omitempty"`

	// autoConfirm is how updates that require confirmation are confirmed: Device asks the device,
	// Always does not. Default Device.
	// +optional
	// +default="Device"
	AutoConfirm AutoConfirm `json:"autoConfirm,omitempty"`

	// hold prevents this device from starting any update. Updates that have started continue.
	// Default false.
	// +optional
	Hold bool `json:"hold,omitempty"`
}

// InstalledSource is the source of the information about what a device runs.
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
	// distributionSet is the name of the set when it was installed. The object may have been
	// deleted since.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`
	// contentHash is status.contentHash of the set. An update with the same contentHash is already
	// installed.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`
	// since is when the device API received the information.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// actionID is the id of the action that installed the set. 0: the device reported the set by
	// itself.
	// +optional
	ActionID int32 `json:"actionID,omitempty"`
	// source is Action if an action of Goshawk installed the set, or Device if the device reported
	// by itself that it runs the set. A set that only the device reported counts as installed, but
	// the device gets no access to its artifacts.
	// +optional
	Source InstalledSource `json:"source,omitempty"`
}

// SelectingAutoAssignment is an auto-assignment that selects a target.
type SelectingAutoAssignment struct {
	// uid is status.uid of the AutoAssignment.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
	// since is when the auto-assignment started to select the target because labels, type or
	// attributes of the target had changed. It is the place in the order of the target's updates.
	// Absent: that place is the start of the auto-assignment, or the creation of the target.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// SeenAssignment is the single assignment that was observed last. Without an assignment, or until
// its assignedAt, only since is set.
type SeenAssignment struct {
	// distributionSet is spec.assignment.distributionSet.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`
	// removal is the hash of spec.assignment.remove. Absent if a set is assigned.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Removal string `json:"removal,omitempty"`
	// assignedAt is spec.assignment.assignedAt.
	// +optional
	AssignedAt *metav1.Time `json:"assignedAt,omitempty"`
	// since is the place of the assignment in the order of updates: assignedAt if it is later than
	// all earlier assignments, else when the assignment was first observed. It only increases.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// AutoConfirmStatus is the auto-confirmation that the device activated with DDI.
type AutoConfirmStatus struct {
	// active is true while the device confirms all updates by itself.
	// +required
	Active bool `json:"active"`
	// initiator is who activated it, as the device reported it. At most 64 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Initiator string `json:"initiator,omitempty"`
	// remark is the text that the device reported with it. At most 512 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Remark string `json:"remark,omitempty"`
	// activatedAt is when it was activated.
	// +optional
	ActivatedAt *metav1.Time `json:"activatedAt,omitempty"`
}

// ActionSource is the object that an action comes from.
type ActionSource struct {
	// kind is the kind of the object.
	// +required
	Kind SourceKind `json:"kind"`
	// name is the name of the Rollout or AutoAssignment. For an assignment it is the name of the
	// target.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid is status.uid of that object.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
	// group is the name of the group of the rollout.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Group string `json:"group,omitempty"`
	// attempt is the number of the attempt on this target, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// since is the place of the update in the order of updates.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// ActionUpdate is the part of Update that an action needs after its source was deleted.
type ActionUpdate struct {
	// type is the value of update.type of the source.
	// +optional
	Type UpdateType `json:"type,omitempty"`
	// forceAt is the value of update.forceAt of the source.
	// +optional
	ForceAt *metav1.Time `json:"forceAt,omitempty"`
	// weight is the value of update.weight of the source.
	// +optional
	Weight *int32 `json:"weight,omitempty"`
	// maintenanceWindow is the value of update.maintenanceWindow of the source.
	// +optional
	MaintenanceWindow *MaintenanceWindow `json:"maintenanceWindow,omitempty"`
	// superseding is the value of update.superseding of the source.
	// +optional
	Superseding Superseding `json:"superseding,omitempty"`
	// progressDeadlineSeconds is the value of update.progressDeadlineSeconds of the source.
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
	// cancelDeadlineSeconds is the value of update.cancelDeadlineSeconds of the source.
	// +optional
	CancelDeadlineSeconds *int32 `json:"cancelDeadlineSeconds,omitempty"`
	// finishedWarning is the value of update.finishedWarning of the source.
	// +optional
	FinishedWarning FinishedWarning `json:"finishedWarning,omitempty"`
	// rollback is Supported if every module of the set declares it.
	// +optional
	Rollback RollbackSupport `json:"rollback,omitempty"`
	// requiredMigrationStep is the value of the set when the action was created.
	// +optional
	RequiredMigrationStep bool `json:"requiredMigrationStep,omitempty"`
}

// ModuleState is the result of one module of an action.
type ModuleState struct {
	// name is the name of the software: spec.name of the SoftwareModule, a colon and the version.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// state is the state that the device last reported for the module.
	// +required
	State ActionState `json:"state"`
	// warning is true if the device reported the result of the module with a warning.
	// +optional
	Warning bool `json:"warning,omitempty"`
}

// SoftwareRemoval is software that an action removes, and its result.
type SoftwareRemoval struct {
	SoftwareReference `json:",inline"`

	// state is the state that the device last reported for the software.
	// +required
	State ActionState `json:"state"`
	// warning is true if the device reported the result with a warning.
	// +optional
	Warning bool `json:"warning,omitempty"`
}

// CancelStatus is the progress of the cancel of one action.
type CancelStatus struct {
	// cause is why the action is canceled.
	// +required
	Cause CancelCause `json:"cause"`
	// cancellation is Soft or Force.
	// +required
	Cancellation Cancellation `json:"cancellation"`
	// requestedAt is when the cancel was requested.
	// +optional
	RequestedAt *metav1.Time `json:"requestedAt,omitempty"`
	// answer is the result of the cancel. Empty: there is none yet.
	// +optional
	Answer CancelAnswer `json:"answer,omitempty"`
	// from is the state of the action when the cancel was requested. The action returns to it if
	// the device refuses.
	// +optional
	From ActionState `json:"from,omitempty"`
	// causes are all causes for which the device was asked so far: it is asked once for each. At
	// most 7.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=7
	Causes []CancelCause `json:"causes,omitempty"`
}

// ActionEvent is one entry in the history of an action.
type ActionEvent struct {
	// time is when the state was reached.
	// +required
	Time metav1.Time `json:"time"`
	// state is the state that was reached.
	// +required
	State ActionState `json:"state"`
	// statusCode is the code of the report.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode,omitempty"`
	// message is the message of the report, shortened to 256 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// Action is one update on one device. It is created when the device fetches the deployment, or is
// asked for confirmation (hawkBit: Action). All times are times of the server. Written by the
// device API and the Target controller.
type Action struct {
	// id is the id that the device uses for the action. It increases for each target and is never
	// used again, not even by a Target of the same name that is created later. 1 to 2147483647,
	// because DDI clients read it as a C int.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	ID int32 `json:"id"`

	// source is the object that the action was created for, or that took the action over because it
	// wants the same content.
	// +required
	Source ActionSource `json:"source"`

	// distributionSet is the name of the set. Absent if the action removes software.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`

	// removal says in a few words what the action removes, such as "removal of app 1.2 and 2 more".
	// Absent if the action installs a set.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Removal string `json:"removal,omitempty"`

	// remove is the software that the device is to remove, with the result of each entry. At most
	// 50. Absent if the action installs a set, and on old actions, to save space.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=name
	// +listMapKey=version
	// +kubebuilder:validation:MaxItems=50
	Remove []SoftwareRemoval `json:"remove,omitempty"`

	// contentHash is status.contentHash of the set when the action was created, or a hash of the
	// software that is removed.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`

	// update is the part of the update that the action needs after its source was deleted.
	// +optional
	Update ActionUpdate `json:"update,omitempty"`

	// state is the state of the action. Finished, Error and Canceled are final.
	// +required
	State ActionState `json:"state"`

	// stage is the DDI execution that the device reported last, as the device wrote it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Stage string `json:"stage,omitempty"`

	// modules are the results of the modules, if the device reports them one by one. At most 100.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Modules []ModuleState `json:"modules,omitempty"`

	// statusCode is the last code that the device reported, or a code of Goshawk:
	// StartDeadlineExceeded, ProgressDeadlineExceeded, Skipped, NoFeature or RemoveNotSupported. If
	// a device reports a code of Goshawk, it is stored with the prefix "device:".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode,omitempty"`

	// message is the last message that the device reported, shortened to 512 characters. It is
	// untrusted text; user information and queries are removed from URLs.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`

	// messages are the last lines that the device reported before the result, oldest first, each
	// shortened to 256 characters. At most 5. Absent if the update succeeded, and on all but open
	// actions and the newest 2 closed ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	// +kubebuilder:validation:items:MaxLength=256
	Messages []string `json:"messages,omitempty"`

	// warning is true if the device finished the update, or one of its modules, with a warning
	// (FINISHED_WARNING of SoftwareUpdatable). message is the warning. update.finishedWarning
	// decides whether the state is Finished or Error.
	// +optional
	Warning bool `json:"warning,omitempty"`

	// failureMessage is the reported line that best explains why the update failed: one of the last
	// lines that look like an error, or the closing message. While the action is open it is the
	// best line so far. Absent if the update succeeded.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	FailureMessage string `json:"failureMessage,omitempty"`

	// failureGroup is failureMessage in which the parts that differ from device to device are
	// replaced: times by <time>, numbers by <n>, and so on. Failures without a statusCode are
	// counted by it (status.failures[].message of a Rollout), and retry.messages refers to it.
	// Absent unless the state is Error and there is no statusCode.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	FailureGroup string `json:"failureGroup,omitempty"`

	// progress is the progress in percent, 0 to 100, as the device reported it last: of an action
	// that failed or was canceled, how far it came. Absent: the device reports none, or has
	// succeeded.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Progress *int32 `json:"progress,omitempty"`

	// reports is the number of reports of the device that are stored. After 1000 reports,
	// intermediate reports are dropped; final reports are always applied. A report on a closed
	// action is counted only if it changes the status. If there are several replicas of the device
	// API, the reports that another replica has not written before the result are not counted.
	// +optional
	Reports int32 `json:"reports,omitempty"`

	// hadBefore is true if the content was in hadSets when the action was created. It stays there
	// if the action is withdrawn.
	// +optional
	HadBefore bool `json:"hadBefore,omitempty"`
	// wasInconsistent is true if the action removes software and the target was inconsistent before
	// the first attempt of this removal. The success of a removal does not end that.
	// +optional
	WasInconsistent bool `json:"wasInconsistent,omitempty"`
	// installingStarted is true once the device may have started to install or remove: it reported
	// that it does, or that it works without a stage.
	// +optional
	InstallingStarted bool `json:"installingStarted,omitempty"`

	// skipRequested is true if the deployment that the device fetched last had `update: skip`, as
	// with DownloadOnly. A success without a sign of a download is then the error Skipped.
	// +optional
	SkipRequested bool `json:"skipRequested,omitempty"`

	// downloadSeen is true once the device reported a download or any progress, or fetched an
	// artifact through the device API.
	// +optional
	DownloadSeen bool `json:"downloadSeen,omitempty"`

	// cancel is the progress of the cancel. Absent: the action is not canceled.
	// +optional
	Cancel *CancelStatus `json:"cancel,omitempty"`

	// history is the first report of each state, the newest 10, for open actions and the newest 2
	// closed ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	History []ActionEvent `json:"history,omitempty"`

	// startedAt is when the device fetched the deployment or was asked for confirmation.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// firstReportedAt is when the first report arrived.
	// +optional
	FirstReportedAt *metav1.Time `json:"firstReportedAt,omitempty"`
	// reportedAt is when the last report arrived.
	// +optional
	ReportedAt *metav1.Time `json:"reportedAt,omitempty"`
	// closedAt is when the action closed.
	// +optional
	ClosedAt *metav1.Time `json:"closedAt,omitempty"`
}

// AttributeValue is the value of a device attribute.
// +kubebuilder:validation:MaxLength=128
type AttributeValue string

// TargetStatus is the observed state of one device. Written by the device API and the Target
// controller, with an optimistic lock.
type TargetStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// uid identifies this object in the actions of the target's own assignment. It is metadata.uid
	// at the first reconcile and never changes. After a restore from a backup with status it is
	// still the uid of the object that was backed up, so that they still belong to it.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`

	// controllerID is the id under which the device API serves this target. A selectable field.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ControllerID string `json:"controllerID,omitempty"`

	// updateStatus is the update status of the target. A selectable field.
	// +optional
	UpdateStatus UpdateStatus `json:"updateStatus,omitempty"`

	// installed is what the device runs, according to its reports. Absent: unknown.
	// +optional
	Installed *InstalledSet `json:"installed,omitempty"`

	// lastSeen is when the device last contacted the device API, as of the last write of the
	// status. It is written together with other changes, otherwise at most once a day.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`

	// address is the network address that the device last used, as of the last write of the status.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Address string `json:"address,omitempty"`

	// attributes are the attributes that the device reported, at most 100 (hawkBit: configData).
	// Keys and values have at most 128 characters each, and all of them together take at most 8 KiB
	// as JSON. The device API refuses more, and stores nothing of such a request.
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.map(k, size(k) + size(self[k])).sum() <= 8192",message="attributes must have at most 8192 characters in all"
	Attributes map[string]AttributeValue `json:"attributes,omitempty"`

	// assignment is the spec.assignment that was observed last.
	// +optional
	Assignment *SeenAssignment `json:"assignment,omitempty"`

	// selectedBy lists the auto-assignments that selected this target at selectedAt, at most 50. It
	// is written together with other changes.
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MaxItems=50
	SelectedBy []SelectingAutoAssignment `json:"selectedBy,omitempty"`

	// selectedAt is when selectedBy was computed. It says nothing about auto-assignments that
	// started later.
	// +optional
	SelectedAt *metav1.MicroTime `json:"selectedAt,omitempty"`

	// selectionChangedAt is when labels, type or attributes last changed, or the software in the
	// TargetInventory while a targetExpression of the namespace reads it.
	// +optional
	SelectionChangedAt *metav1.MicroTime `json:"selectionChangedAt,omitempty"`

	// selectionHash is a fingerprint of labels, type and attributes and, while a targetExpression
	// of the namespace reads it, of the software. A change of it changes selectionChangedAt.
	// +optional
	// +kubebuilder:validation:MaxLength=33
	SelectionHash string `json:"selectionHash,omitempty"`

	// autoConfirm is the auto-confirmation that the device activated with DDI. Absent: the device
	// reported none.
	// +optional
	AutoConfirm *AutoConfirmStatus `json:"autoConfirm,omitempty"`

	// hadSets are the first 16 hexadecimal digits of the contentHash of each set that this target
	// had an action for. The newest 50, newest last.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=16
	HadSets []string `json:"hadSets,omitempty"`

	// nextActionID is the id of the next action. It is stored before it is used, and starts at the
	// number of seconds since 2020, so that a target that is deleted and created again never uses
	// an id twice.
	// +optional
	NextActionID int32 `json:"nextActionID,omitempty"`

	// actions are the open actions, the newest action of every rollout that exists, and the newest
	// 10 closed actions; at most 100 and 32 KiB.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=100
	Actions []Action `json:"actions,omitempty"`

	// conditions are the conditions of the object: Ready, Consistent, Online, Assigned,
	// TokenUsable, Stalled.
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
// +kubebuilder:printcolumn:name="Update",type=string,JSONPath=`.status.actions[-1:]['distributionSet','removal']`,description="the set of the newest action, or what it removes"
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.status.actions[-1:].state`,description="the state of the newest action"
// +kubebuilder:printcolumn:name="Consistent",type=string,JSONPath=`.status.conditions[?(@.type=="Consistent")].status`
// +kubebuilder:printcolumn:name="Seen Within",type=date,JSONPath=`.status.lastSeen`,description="the device was heard of within this time. It is written with other reports, else at most once a day: the condition Online says whether the device is offline"
// +kubebuilder:printcolumn:name="Online",type=string,JSONPath=`.status.conditions[?(@.type=="Online")].status`,priority=1
// +kubebuilder:printcolumn:name="Installed Source",type=string,JSONPath=`.status.installed.source`,priority=1
// +kubebuilder:printcolumn:name="Hold",type=boolean,JSONPath=`.spec.hold`,priority=1
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`,priority=1
// +kubebuilder:printcolumn:name="Controller ID",type=string,JSONPath=`.status.controllerID`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Failure",type=string,JSONPath=`.status.actions[-1:].failureMessage`,priority=1
// +kubebuilder:printcolumn:name="Warning",type=boolean,JSONPath=`.status.actions[-1:].warning`,priority=1,description="the newest action finished with a warning"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
// +kubebuilder:validation:XValidation:rule="(has(self.spec) && has(self.spec.controllerID)) == (has(oldSelf.spec) && has(oldSelf.spec.controllerID))",message="controllerID is immutable: delete the Target and create another",fieldPath=".spec.controllerID"
type Target struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +optional
	Spec TargetSpec `json:"spec,omitempty"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status TargetStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// ControllerID returns the id that the device uses in the device API. It is immutable, so it is
// read from status if spec cannot be decoded.
func (t *Target) ControllerID() string {
	if t.Spec.ControllerID != "" {
		return t.Spec.ControllerID
	}
	if t.Unreadable.Lacks("spec.controllerID") && t.Status.ControllerID != "" {
		return t.Status.ControllerID
	}
	return t.Name
}

// Subject returns what the action is about, for messages: the name of its set, or a few words about
// what it removes.
func (a *Action) Subject() string { return cmp.Or(a.DistributionSet, a.Removal) }

// Removes reports whether the action removes software, in place of installing a set.
func (a *Action) Removes() bool { return a.Removal != "" }

// EffectiveWeight returns weight, or its default.
func (u *ActionUpdate) EffectiveWeight() int32 { return effectiveWeight(u.Weight) }

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
