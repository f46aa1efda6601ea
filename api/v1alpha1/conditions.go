// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Ready, Reconciling and Stalled follow kstatus. Reconciling and Stalled are
// present only while True, and never both.
const (
	// ConditionReady is True if the object was accepted and is under control. For a Rollout it does
	// not mean that all devices are updated: see Succeeded.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the controller processes the committed spec. Absent
	// otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True if nothing moves until a person changes something; its message names
	// the field and the fix. Absent otherwise.
	ConditionStalled = "Stalled"
	// ConditionSucceeded is Unknown while a Rollout is active. It is True if all groups closed
	// without an Error group and the update has reached at least one target, or there was none. It
	// is False otherwise.
	ConditionSucceeded = "Succeeded"
	// ConditionPaused is True while a Rollout or an AutoAssignment holds back devices that have not
	// started, by spec or by an automatic pause.
	ConditionPaused = "Paused"
	// ConditionInvalidated is True once the distribution set was invalidated, and stays True.
	ConditionInvalidated = "Invalidated"
	// ConditionComplete is True if a set has modules, all of them are Ready, and every mandatory
	// module type is among them.
	ConditionComplete = "Complete"
	// ConditionLocked is True once a set or module is in use. From then on its content is frozen.
	ConditionLocked = "Locked"
	// ConditionConsistent is False if it is not certain what runs on the device (Mender:
	// inconsistent). The next successful update sets it to True.
	ConditionConsistent = "Consistent"
	// ConditionOnline reports whether the device polled recently, or whether it has a connection if
	// it is connected by MQTT. For a device that polls, it is only as fresh as the last write of
	// the status: see lastSeen.
	ConditionOnline = "Online"
	// ConditionOverlapping is True on an AutoAssignment that shares targets with an AutoAssignment
	// of another set. Absent otherwise.
	ConditionOverlapping = "Overlapping"
	// ConditionAssigned reports the progress of spec.assignment and spec.cancel of a Target. Absent
	// if neither is set.
	ConditionAssigned = "Assigned"
	// ConditionTokenUsable is False on a Target if spec.tokenSecretRef leads to no token, so that
	// no device can authenticate. Absent otherwise. It is written by the device API, the only part
	// of Goshawk that reads Secrets; Ready and Stalled repeat its reason.
	ConditionTokenUsable = "TokenUsable"
	// ConditionRegistrationStopped is True on a DeviceAccess that registers no further device.
	// Absent otherwise.
	ConditionRegistrationStopped = "RegistrationStopped"
	// ConditionTruncated is True on a TargetInventory if the device has reported more entries than
	// fit. Absent otherwise.
	ConditionTruncated = "Truncated"
	// ConditionUnsupportedDefinition is True on a TargetInventory if the device has a feature of a
	// version of SoftwareUpdatable that is not supported. Absent otherwise.
	ConditionUnsupportedDefinition = "UnsupportedDefinition"
)

// Reasons of conditions and of waitingFor. Each is the cause, not the effect.
const (
	// ReasonReady means that nothing is wrong.
	ReasonReady = "Ready"
	// ReasonTooManyEntries means that a device has reported more software than its TargetInventory
	// can hold.
	ReasonTooManyEntries = "TooManyEntries"
	// ReasonUnsupportedDefinition means that a feature of a device has another version than 2 of
	// SoftwareUpdatable.
	ReasonUnsupportedDefinition = "UnsupportedDefinition"
	// ReasonReferenceNotFound means that a referenced object does not exist; it recovers when the
	// object appears.
	ReasonReferenceNotFound = "ReferenceNotFound"
	// ReasonConnected means that the device has a connection, by MQTT.
	ReasonConnected = "Connected"
	// ReasonAwaitingFeatures means that the device has a connection and has not reported which
	// features it has: no update starts before it does.
	ReasonAwaitingFeatures = "AwaitingFeatures"
	// ReasonDisconnected means that the device had a connection and has had none for
	// --offline-after.
	ReasonDisconnected = "Disconnected"
	// ReasonSeen means that the device polled lately.
	ReasonSeen = "Seen"
	// ReasonSilent means that the device has not polled for two days.
	ReasonSilent = "Silent"
	// ReasonDuplicate means that an older object already has this identity.
	ReasonDuplicate = "Duplicate"
	// ReasonIncomplete means that a set lacks modules or a mandatory type.
	ReasonIncomplete = "Incomplete"
	// ReasonModuleNotReady means that a module of the set is missing or not Ready.
	ReasonModuleNotReady = "ModuleNotReady"
	// ReasonUnknownModuleType means that a module's type is neither mandatory nor optional in the
	// set.
	ReasonUnknownModuleType = "UnknownModuleType"
	// ReasonLocking means that the set waits for its modules to be frozen.
	ReasonLocking = "Locking"
	// ReasonInUse means that a set or module is locked because something deploys it.
	ReasonInUse = "InUse"
	// ReasonNotUsed means that nothing deploys the set or module yet.
	ReasonNotUsed = "NotUsed"
	// ReasonContentChanged means that a locked set no longer has the content it was locked with.
	ReasonContentChanged = "ContentChanged"
	// ReasonDistributionSetInvalid means that the set was invalidated and cannot be assigned again.
	ReasonDistributionSetInvalid = "DistributionSetInvalid"
	// ReasonInvalidatedBySpec means that spec.invalidation invalidated the set.
	ReasonInvalidatedBySpec = "InvalidatedBySpec"
	// ReasonInvalidationIsFinal means that spec.invalidation was changed or removed after it was
	// recorded, without effect.
	ReasonInvalidationIsFinal = "InvalidationIsFinal"
	// ReasonStopIsFinal means that spec.state or spec.stopCancellation takes back a recorded stop,
	// without effect.
	ReasonStopIsFinal = "StopIsFinal"
	// ReasonForcedIsFinal means that spec.update.type was changed back to Soft after Forced was
	// recorded, without effect.
	ReasonForcedIsFinal = "ForcedIsFinal"
	// ReasonInvalidationNotRecorded means that spec.invalidation is in force, but that the
	// invalidation record, which outlives the set, could not be written yet.
	ReasonInvalidationNotRecorded = "InvalidationNotRecorded"
	// ReasonPreviouslyInvalidated means that a set of the same namespace, name, version and type
	// was invalidated before this object existed.
	ReasonPreviouslyInvalidated = "PreviouslyInvalidated"
	// ReasonDistributionSetNotReady means that the rollout waits for its set to become complete and
	// Ready.
	ReasonDistributionSetNotReady = "DistributionSetNotReady"
	// ReasonInvalidExpression means that a target expression or selector cannot be evaluated.
	ReasonInvalidExpression = "InvalidExpression"
	// ReasonNoTargets means that the selection matches no compatible target. A dynamic rollout
	// starts without targets. Of a finished rollout: all its targets were deleted before it
	// finished.
	ReasonNoTargets = "NoTargets"
	// ReasonTargetsLeftOver means that explicit groups leave targets without a group.
	ReasonTargetsLeftOver = "TargetsLeftOver"
	// ReasonTooManyGroups means that a plan would have more than 500 groups.
	ReasonTooManyGroups = "TooManyGroups"
	// ReasonGroupTooLarge means that a group would have more than 20 000 targets or 700 KiB of
	// names.
	ReasonGroupTooLarge = "GroupTooLarge"
	// ReasonInvalidSpec means that fields contradict each other in a way that the schema cannot
	// check.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonStabilizing means that the matching targets still change. The plan is made when they
	// have not changed for stabilizationSeconds.
	ReasonStabilizing = "Stabilizing"
	// ReasonPlanning means that the plan is being written.
	ReasonPlanning = "Planning"
	// ReasonPlanned means that the plan is ready and spec.state is Planned.
	ReasonPlanned = "Planned"
	// ReasonAwaitingApproval means that spec.approval.planHash is not (or no longer) the hash of
	// the plan.
	ReasonAwaitingApproval = "AwaitingApproval"
	// ReasonWaitingForDevice means that an assignment may start and its device has not fetched it.
	ReasonWaitingForDevice = "WaitingForDevice"
	// ReasonAwaitingConfirmation means that a person at the device has to agree to an assignment.
	ReasonAwaitingConfirmation = "AwaitingConfirmation"
	// ReasonDenied means that a person at the device has refused an assignment, and may still
	// agree.
	ReasonDenied = "Denied"
	// ReasonCanceling means that the device is asked to cancel an assignment.
	ReasonCanceling = "Canceling"
	// ReasonWaitingForStart means that spec.startAt, or assignedAt of a Target's assignment, lies
	// in the future.
	ReasonWaitingForStart = "WaitingForStart"
	// ReasonSuperseding means that a starting rollout waits until older ones have released shared
	// targets.
	ReasonSuperseding = "Superseding"
	// ReasonProgressing means that devices are being updated.
	ReasonProgressing = "Progressing"
	// ReasonPausedBySpec means that spec.state is Paused.
	ReasonPausedBySpec = "PausedBySpec"
	// ReasonSuccessActionPause means that a group with successAction Pause succeeded and the next
	// one waits for resumedAt.
	ReasonSuccessActionPause = "SuccessActionPause"
	// ReasonErrorThresholdExceeded means that more members of a group failed than errorThreshold
	// allows.
	ReasonErrorThresholdExceeded = "ErrorThresholdExceeded"
	// ReasonErrorBudgetExceeded means that more targets failed over the whole rollout than
	// errorBudget allows.
	ReasonErrorBudgetExceeded = "ErrorBudgetExceeded"
	// ReasonGroupWithoutResults means that a group was planned with members and has no result left,
	// or that more than half of its members were removed, while other groups wait behind it.
	ReasonGroupWithoutResults = "GroupWithoutResults"
	// ReasonStopping means that devices that have started are being asked to cancel.
	ReasonStopping = "Stopping"
	// ReasonStopped means that the rollout was stopped, by spec or by an invalidation. A stop
	// cannot be taken back.
	ReasonStopped = "Stopped"
	// ReasonSucceeded means that all groups closed without an Error group, and at least one target
	// succeeded, or there was none.
	ReasonSucceeded = "Succeeded"
	// ReasonSuperseded means that a rollout has finished without a success, and newer updates took
	// most of its targets over.
	ReasonSuperseded = "Superseded"
	// ReasonFailed means that a rollout has finished without a success, and most of its targets
	// failed within errorThreshold.
	ReasonFailed = "Failed"
	// ReasonCanceled means that a rollout has finished without a success, and most of its targets
	// were canceled.
	ReasonCanceled = "Canceled"
	// ReasonSkipped means that a rollout has finished without a success, and most of its targets
	// did not start in time (startDeadlineAction Skip).
	ReasonSkipped = "Skipped"
	// ReasonFinishedWithErrors means that all groups closed and at least one ended in Error.
	ReasonFinishedWithErrors = "FinishedWithErrors"
	// ReasonGroupLost means that a DeploymentGroup of the running plan was deleted. Goshawk never
	// replaces it by another one.
	ReasonGroupLost = "GroupLost"
	// ReasonGroupUnreadable means that a stored DeploymentGroup of the running plan cannot be
	// decoded. No further group opens until it can be decoded; the rollout then continues by
	// itself.
	ReasonGroupUnreadable = "GroupUnreadable"
	// ReasonOrderAmbiguous means that nothing shows that a rollout is newer than another one with
	// shared targets, or that its content is newer than the content that its targets run. Set
	// spec.startAt to decide.
	ReasonOrderAmbiguous = "OrderAmbiguous"
	// ReasonUnknownCancelID means that spec.cancel.upTo is an id that this target has never used.
	ReasonUnknownCancelID = "UnknownCancelID"
	// ReasonUpdateFailed means that an update failed after installing may have started.
	ReasonUpdateFailed = "UpdateFailed"
	// ReasonCanceledWhileInstalling means that an update was canceled after the device had reported
	// that it was installing.
	ReasonCanceledWhileInstalling = "CanceledWhileInstalling"
	// ReasonUpdateCanceled means that an update was canceled while the device worked on it, and
	// that no report says whether the installation had started. The device accepted the cancel, so
	// updateStatus is as before the update.
	ReasonUpdateCanceled = "UpdateCanceled"
	// ReasonRollbackFailed means that the device could not return to its old state.
	ReasonRollbackFailed = "RollbackFailed"
	// ReasonReportedByDevice means that the device itself reports whether it is consistent.
	ReasonReportedByDevice = "ReportedByDevice"
	// ReasonClosedWhileRunning means that Goshawk closed an action after the device had started it.
	ReasonClosedWhileRunning = "ClosedWhileRunning"
	// ReasonUpdateSucceeded means that the last update succeeded.
	ReasonUpdateSucceeded = "UpdateSucceeded"
	// ReasonTokenSecretNotFound means that the Secret of spec.tokenSecretRef does not exist in the
	// namespace of the Target.
	ReasonTokenSecretNotFound = "TokenSecretNotFound"
	// ReasonTokenSecretWrongType means that this Secret is not of type goshawk.dev/device-tokens.
	ReasonTokenSecretWrongType = "TokenSecretWrongType"
	// ReasonTokenKeyMissing means that this Secret lacks the key.
	ReasonTokenKeyMissing = "TokenKeyMissing"
	// ReasonTokenEmpty means that the value of this key is empty or consists of white space.
	ReasonTokenEmpty = "TokenEmpty"
	// ReasonTokenInvalid means that the token has a character that is not allowed in an HTTP
	// header.
	ReasonTokenInvalid = "TokenInvalid"
	// ReasonSecretNotFound means that a Secret that a DeviceAccess names does not exist in its
	// namespace.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretWrongType means that this Secret is not of type goshawk.dev/device-tokens.
	ReasonSecretWrongType = "SecretWrongType"
	// ReasonSecretKeyMissing means that this Secret lacks the key, or has no key at all.
	ReasonSecretKeyMissing = "SecretKeyMissing"
	// ReasonCAInvalid means that the value of this key is not a list of CA certificates in PEM.
	ReasonCAInvalid = "CAInvalid"
	// ReasonCAExpired means that a CA certificate of this key is not valid any more.
	ReasonCAExpired = "CAExpired"
	// ReasonMaxTargetsReached means that a DeviceAccess has registered as many targets as
	// registration.maxTargets allows.
	ReasonMaxTargetsReached = "MaxTargetsReached"
	// ReasonRegistrationFailed means that the API server has refused the Target of a new device.
	ReasonRegistrationFailed = "RegistrationFailed"
	// ReasonSharedTargets means that auto-assignments of different sets match the same targets.
	ReasonSharedTargets = "SharedTargets"
	// ReasonRunning means that an AutoAssignment offers its set.
	ReasonRunning = "Running"
)
