// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package notification

// Type is a type of events.
type Type struct {
	Kind, Decision string
	// When says which decision it is, and Time where its time is from.
	When, Time string
}

// Name returns the type of the CloudEvent.
func (t Type) Name() string { return typeName(t.Kind, t.Decision) }

// seen is the time of a decision whose time the status does not have.
const seen = "first seen"

// Types returns all types, as docs/notifications.md lists them.
func Types() []Type {
	return []Type{
		{KindRollout, "planned", "the plan was made, or made again because the spec or the content of the set changed", "`status.plan.createdAt`"},
		{KindRollout, "approvalawaited", "the plan waits for `spec.approval`", seen},
		{KindRollout, "approved", "`spec.approval` approves the plan", seen},
		{KindRollout, "started", "the rollout started", "`status.startedAt`"},
		{KindRollout, "groupopened", "a group opened: its members are offered the update", "`openedAt` of the group"},
		{KindRollout, "groupfinished", "every member of a group has a result", seen},
		{KindRollout, "groupfailed", "a group exceeded its `errorThreshold`", seen},
		{KindRollout, "groupadded", "a dynamic rollout has a further group", seen},
		{KindRollout, "paused", "the rollout paused: by `spec.state`, by `successAction: Pause`, or automatically because of failures; `reason` says which", "`status.pausedAt`"},
		{KindRollout, "resumed", "a pause was lifted", seen},
		{KindRollout, "advanced", "`spec.advance` opened groups", seen},
		{KindRollout, "retried", "`spec.retry` was carried out", "`status.handled.retriedAt`"},
		{KindRollout, "retryrefused", "`spec.retry` was refused, because the rollout is stopped", seen},
		{KindRollout, "invalidated", "the set of the rollout was invalidated", "the condition Invalidated"},
		{KindRollout, "stopping", "the rollout is being stopped, and devices that have started are asked to cancel; or `spec.stopCancellation` was raised", "`status.stop.observedAt`; after an invalidation or a raise: first seen"},
		{KindRollout, "stopped", "the stop is complete", "`status.finishedAt`"},
		{KindRollout, "finished", "all groups have closed; `reason` says how the rollout ended", "`status.finishedAt`"},
		{KindRollout, "stalled", "the rollout needs an action of a person, for another cause than those above", seen},
		{KindRollout, "recovered", "it does no longer", seen},
		{KindRollout, "deleted", "the object was deleted", seen},
		{KindDistributionSet, "locked", "the set and its modules were frozen at the first use, or at the invalidation", "the condition Locked"},
		{KindDistributionSet, "invalidated", "the set was invalidated by `spec.invalidation`, or was applied again after an invalidation", "`status.invalidation.observedAt`"},
		{KindDistributionSet, "invalidationnotrecorded", "the invalidation is in effect, and could not be recorded yet", seen},
		{KindDistributionSet, "invalidationfinished", "the cancellation was applied to all open actions", "`status.invalidation.finishedAt`"},
		{KindDistributionSet, "invalidationcleared", "an operator cleared the invalidation record of the set", seen},
		{KindDistributionSet, "stalled", "the set needs an action of a person", seen},
		{KindDistributionSet, "recovered", "it does no longer", seen},
		{KindDistributionSet, "deleted", "the object was deleted", seen},
		{KindAutoAssignment, "started", "the auto-assignment offers its set for the first time", "`status.startedAt`"},
		{KindAutoAssignment, "updatechanged", "it offers another set than before", "`status.offering.since`"},
		{KindAutoAssignment, "paused", "it was paused by `spec.state`", "the condition Paused"},
		{KindAutoAssignment, "resumed", "it offers its set again", "the condition Paused; after a stop: first seen"},
		{KindAutoAssignment, "stopped", "its set was invalidated, which is final, or deleted", seen},
		{KindAutoAssignment, "stalled", "it needs an action of a person before it can offer its set", seen},
		{KindAutoAssignment, "recovered", "it does no longer", seen},
		{KindAutoAssignment, "deleted", "the object was deleted", seen},
	}
}
