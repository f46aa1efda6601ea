// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Ready, Reconciling and Stalled follow kstatus: Ready answers "is this commit
// under control?"; Reconciling and Stalled are present only while True, and never both.
const (
	// ConditionReady is True when the object was accepted and is under control. On a Rollout that
	// does not mean that the fleet is done: ask Succeeded for that.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the controller still takes over what was committed. Absent
	// otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing will move until somebody acts; its message names the
	// field and the fix. Absent otherwise.
	ConditionStalled = "Stalled"
	// ConditionSucceeded is Unknown while a Rollout is active; True when all groups closed without
	// an Error group and the update has reached at least one target, or there was none; False
	// otherwise.
	ConditionSucceeded = "Succeeded"
	// ConditionPaused is True while a Rollout holds back devices that have not started, by spec or
	// by a automatic pause.
	ConditionPaused = "Paused"
	// ConditionInvalidated is True, for good, once the distribution set was taken out of
	// circulation.
	ConditionInvalidated = "Invalidated"
	// ConditionComplete is True when a set has modules, all of them Ready, and every mandatory type
	// among them.
	ConditionComplete = "Complete"
	// ConditionLocked is True once a set or module is in use; what a device would install is frozen
	// from then on.
	ConditionLocked = "Locked"
	// ConditionConsistent is False when nobody knows for certain what runs on the device (Mender:
	// inconsistent). The next success clears it.
	ConditionConsistent = "Consistent"
	// ConditionOnline reports whether the device was heard of lately. It is only as fresh as the
	// writes it rides on.
	ConditionOnline = "Online"
	// ConditionOverlapping is True on an AutoAssignment that shares targets with another one of
	// another set. Absent otherwise.
	ConditionOverlapping = "Overlapping"
	// ConditionAssigned tells what became of spec.assignment and spec.cancel of a Target. Absent
	// when neither is set.
	ConditionAssigned = "Assigned"
	// ConditionTokenUsable is False on a Target whose spec.tokenSecretRef leads to no token, so
	// that no device can authenticate. Absent otherwise. The device API writes it, the only part of
	// Goshawk that reads Secrets; Ready and Stalled have its reason.
	ConditionTokenUsable = "TokenUsable"
)

// Reasons of conditions and of waitingFor. Each is the cause, not the effect.
const (
	// ReasonReady says that nothing is wrong.
	ReasonReady = "Ready"
	// ReasonReferenceNotFound says that a referenced object does not exist; it recovers when the
	// object appears.
	ReasonReferenceNotFound = "ReferenceNotFound"
	// ReasonDuplicate says that an older object already has this identity.
	ReasonDuplicate = "Duplicate"
	// ReasonIncomplete says that a set lacks modules or a mandatory type.
	ReasonIncomplete = "Incomplete"
	// ReasonModuleNotReady says that a module of the set is missing or not Ready.
	ReasonModuleNotReady = "ModuleNotReady"
	// ReasonUnknownModuleType says that a module's type is neither mandatory nor optional in the
	// set.
	ReasonUnknownModuleType = "UnknownModuleType"
	// ReasonLocking says that the set waits for its modules to be frozen.
	ReasonLocking = "Locking"
	// ReasonInUse says that a set or module is locked because something deploys it.
	ReasonInUse = "InUse"
	// ReasonNotUsed says that nothing deploys the set or module yet.
	ReasonNotUsed = "NotUsed"
	// ReasonContentChanged says that a locked set no longer has the content it was locked with.
	ReasonContentChanged = "ContentChanged"
	// ReasonDistributionSetInvalid says that the set was invalidated and cannot be assigned again.
	ReasonDistributionSetInvalid = "DistributionSetInvalid"
	// ReasonInvalidatedBySpec says that spec.invalidation took the set out of circulation.
	ReasonInvalidatedBySpec = "InvalidatedBySpec"
	// ReasonInvalidationIsFinal says that spec.invalidation was changed or removed after it was
	// recorded, without effect.
	ReasonInvalidationIsFinal = "InvalidationIsFinal"
	// ReasonStopIsFinal says that spec.state or spec.stopCancellation takes back a recorded stop,
	// without effect.
	ReasonStopIsFinal = "StopIsFinal"
	// ReasonForcedIsFinal says that spec.update.type was changed back to Soft after Forced was
	// recorded, without effect.
	ReasonForcedIsFinal = "ForcedIsFinal"
	// ReasonInvalidationNotRecorded says that spec.invalidation holds, but that the record that
	// outlives the set could not be written yet.
	ReasonInvalidationNotRecorded = "InvalidationNotRecorded"
	// ReasonPreviouslyInvalidated says that a set of the same namespace, name, version and type was
	// invalidated before this object existed.
	ReasonPreviouslyInvalidated = "PreviouslyInvalidated"
	// ReasonDistributionSetNotReady says that the rollout waits for its set to become complete and
	// Ready.
	ReasonDistributionSetNotReady = "DistributionSetNotReady"
	// ReasonInvalidExpression says that a target expression or selector cannot be evaluated.
	ReasonInvalidExpression = "InvalidExpression"
	// ReasonNoTargets says that the selection matches no compatible target. A dynamic rollout
	// starts without targets. Of a finished rollout: all its targets were deleted before it
	// finished.
	ReasonNoTargets = "NoTargets"
	// ReasonTargetsLeftOver says that explicit groups leave targets without a group.
	ReasonTargetsLeftOver = "TargetsLeftOver"
	// ReasonTooManyGroups says that a plan would have more than 500 groups.
	ReasonTooManyGroups = "TooManyGroups"
	// ReasonGroupTooLarge says that a group would have more than 20 000 targets or 700 KiB of
	// names.
	ReasonGroupTooLarge = "GroupTooLarge"
	// ReasonInvalidSpec says that fields contradict each other in a way the schema could not see.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonStabilizing says that membership is still changing; the plan is made when it has been
	// quiet for stabilizationSeconds.
	ReasonStabilizing = "Stabilizing"
	// ReasonPlanning says that the plan is being written down.
	ReasonPlanning = "Planning"
	// ReasonPlanned says that the plan is ready and spec.state is Planned.
	ReasonPlanned = "Planned"
	// ReasonAwaitingApproval says that spec.approval.planHash is not (or no longer) the hash of the
	// plan.
	ReasonAwaitingApproval = "AwaitingApproval"
	// ReasonWaitingForDevice says that an assignment may start and its device has not fetched it.
	ReasonWaitingForDevice = "WaitingForDevice"
	// ReasonAwaitingConfirmation says that a person at the device has to agree to an assignment.
	ReasonAwaitingConfirmation = "AwaitingConfirmation"
	// ReasonDenied says that a person at the device has refused an assignment, and may still agree.
	ReasonDenied = "Denied"
	// ReasonCanceling says that the device is asked to cancel an assignment.
	ReasonCanceling = "Canceling"
	// ReasonWaitingForStart says that spec.startAt, or assignedAt of a Target's assignment, lies in
	// the future.
	ReasonWaitingForStart = "WaitingForStart"
	// ReasonSuperseding says that a starting rollout waits until older ones gave up shared targets.
	ReasonSuperseding = "Superseding"
	// ReasonProgressing says that devices are being updated.
	ReasonProgressing = "Progressing"
	// ReasonPausedBySpec says that spec.state is Paused.
	ReasonPausedBySpec = "PausedBySpec"
	// ReasonSuccessActionPause says that a group with successAction Pause succeeded and the next
	// one waits for resumedAt.
	ReasonSuccessActionPause = "SuccessActionPause"
	// ReasonErrorThresholdExceeded says that more members of a group failed than errorThreshold
	// allows.
	ReasonErrorThresholdExceeded = "ErrorThresholdExceeded"
	// ReasonErrorBudgetExceeded says that more targets failed over the whole rollout than
	// errorBudget allows.
	ReasonErrorBudgetExceeded = "ErrorBudgetExceeded"
	// ReasonGroupWithoutResults says that a group was planned with members and has no result left,
	// or that more than half of its members were removed, while others wait for their turn behind
	// it.
	ReasonGroupWithoutResults = "GroupWithoutResults"
	// ReasonStopping says that devices that have started are being asked to cancel.
	ReasonStopping = "Stopping"
	// ReasonStopped says that the rollout was stopped for good, by spec or by an invalidation.
	ReasonStopped = "Stopped"
	// ReasonSucceeded says that all groups closed without an Error group, and at least one target
	// succeeded, or there was none.
	ReasonSucceeded = "Succeeded"
	// ReasonSuperseded says that a rollout has finished without a success, and newer updates took
	// most of its targets over.
	ReasonSuperseded = "Superseded"
	// ReasonFailed says that a rollout has finished without a success, and most of its targets
	// failed within errorThreshold.
	ReasonFailed = "Failed"
	// ReasonCanceled says that a rollout has finished without a success, and most of its targets
	// were canceled.
	ReasonCanceled = "Canceled"
	// ReasonSkipped says that a rollout has finished without a success, and most of its targets did
	// not start in time (startDeadlineAction Skip).
	ReasonSkipped = "Skipped"
	// ReasonFinishedWithErrors says that all groups closed and at least one ended in Error.
	ReasonFinishedWithErrors = "FinishedWithErrors"
	// ReasonGroupLost says that a DeploymentGroup of the running plan is gone; Goshawk never
	// replaces it silently by another.
	ReasonGroupLost = "GroupLost"
	// ReasonGroupUnreadable says that a stored DeploymentGroup of the running plan cannot be
	// decoded. Nothing further opens until it can; it recovers by itself.
	ReasonGroupUnreadable = "GroupUnreadable"
	// ReasonOrderAmbiguous says that nothing shows that a rollout is newer than another one over
	// shared targets, or that its content is newer than what its targets run: a startAt decides.
	ReasonOrderAmbiguous = "OrderAmbiguous"
	// ReasonUnknownCancelID says that spec.cancel.upTo names an id this target was never given.
	ReasonUnknownCancelID = "UnknownCancelID"
	// ReasonUpdateFailed says that an update failed after installing may have started.
	ReasonUpdateFailed = "UpdateFailed"
	// ReasonCanceledWhileInstalling says that an update was canceled after the device had reported
	// that it was installing.
	ReasonCanceledWhileInstalling = "CanceledWhileInstalling"
	// ReasonUpdateCanceled says that an update was canceled while the device was at work, and no
	// report says whether installing had started. The device accepted the cancel, so updateStatus
	// is as before the update.
	ReasonUpdateCanceled = "UpdateCanceled"
	// ReasonRollbackFailed says that the device could not return to its old state.
	ReasonRollbackFailed = "RollbackFailed"
	// ReasonReportedByDevice says that the device itself reports to be inconsistent.
	ReasonReportedByDevice = "ReportedByDevice"
	// ReasonClosedWhileRunning says that Goshawk closed an action after the device had started it.
	ReasonClosedWhileRunning = "ClosedWhileRunning"
	// ReasonUpdateSucceeded says that the last update succeeded.
	ReasonUpdateSucceeded = "UpdateSucceeded"
	// ReasonTokenSecretNotFound says that the Secret of spec.tokenSecretRef does not exist in the
	// namespace of the Target.
	ReasonTokenSecretNotFound = "TokenSecretNotFound"
	// ReasonTokenSecretWrongType says that this Secret is not of type goshawk.dev/device-tokens.
	ReasonTokenSecretWrongType = "TokenSecretWrongType"
	// ReasonTokenKeyMissing says that this Secret lacks the key.
	ReasonTokenKeyMissing = "TokenKeyMissing"
	// ReasonTokenEmpty says that there is nothing but blanks under this key.
	ReasonTokenEmpty = "TokenEmpty"
	// ReasonTokenInvalid says that the token has a character that no HTTP header can hold.
	ReasonTokenInvalid = "TokenInvalid"
	// ReasonSharedTargets says that auto-assignments of different sets match the same targets.
	ReasonSharedTargets = "SharedTargets"
	// ReasonRunning says that an AutoAssignment offers its set.
	ReasonRunning = "Running"
)
