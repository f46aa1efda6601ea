// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/collectors"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

const (
	// maxRollouts and maxNamespaces are how many rollouts and namespaces have their own series.
	// The others are summed in the series of Others.
	maxRollouts, maxNamespaces = 500, 500
	// Others is the value of the labels namespace and rollout for what has no series of its own. No
	// namespace and no rollout can have this name.
	Others = "_others"
)

var (
	namespaceLabel = collectors.Label{Name: "namespace", Of: "the first 500 namespaces by name; the others are summed as `_others`", Max: maxNamespaces + 1}
	// rolloutLabels are the labels of one rollout.
	rolloutNamespace = collectors.Label{Name: "namespace", Of: "the namespace of the rollout", Max: maxNamespaces + 1}
	rolloutName      = collectors.Label{Name: "rollout", Of: "up to 500 rollouts, first those that are not over, the newest first; the others are summed as `_others`", Max: maxRollouts + 1}
	stopKind         = collectors.Label{Name: "kind", Values: []string{kindSet, kindRollout}}

	buckets       = []string{"scheduled", "pending", "inProgress", "succeeded", "failed", "canceled", "skipped", "removed"}
	groupStates   = names(v1alpha1.GroupReady, v1alpha1.GroupScheduled, v1alpha1.GroupRunning, v1alpha1.GroupFinished, v1alpha1.GroupError)
	rolloutStates = names(v1alpha1.RolloutCreating, v1alpha1.RolloutWaitingForApproval, v1alpha1.RolloutReady, v1alpha1.RolloutStarting, v1alpha1.RolloutRunning,
		v1alpha1.RolloutPaused, v1alpha1.RolloutStopping, v1alpha1.RolloutStopped, v1alpha1.RolloutFinished)
	updateStatuses = names(v1alpha1.UpdateStatusUnknown, v1alpha1.UpdateStatusRegistered, v1alpha1.UpdateStatusPending, v1alpha1.UpdateStatusInSync, v1alpha1.UpdateStatusError)
	// problems are the exported problems, and problemLabels the values of their label.
	problems      = []fleetcounts.Problem{fleetcounts.Silent, fleetcounts.Inconsistent, fleetcounts.WaitingForConfirmation, fleetcounts.NotReady}
	problemLabels = []string{"offline", "inconsistent", "waitingForConfirmation", "notReady"}
)

var (
	rolloutsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_rollouts", Process: collectors.Leader,
		Help:   "Rollouts by state, also those that have been over for long.",
		Labels: []collectors.Label{namespaceLabel, {Name: "state", Values: rolloutStates}},
	})
	groupsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_rollout_groups", Process: collectors.Leader,
		Help:   "Groups of a rollout by state. The series end when the rollout is deleted, or one hour after it was finished or stopped.",
		Labels: []collectors.Label{rolloutNamespace, rolloutName, {Name: "state", Values: groupStates}},
	})
	rolloutTargetsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_rollout_targets", Process: collectors.Leader,
		Help:   "Targets of a rollout by bucket, as in status.targets. The series end when the rollout is deleted, or one hour after it was finished or stopped.",
		Labels: []collectors.Label{rolloutNamespace, rolloutName, {Name: "bucket", Values: buckets}},
	})
	waitDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_rollout_wait_seconds", Process: collectors.Leader,
		Help: "How long a rollout has waited for what status.waitingFor says, by its reason: since the pause, since the plan that needs an approval or a start was made, since the last group was opened, " +
			"since the stop, or since the condition Ready changed. In the series of other rollouts it is the longest wait.",
		Labels: []collectors.Label{rolloutNamespace, rolloutName, {Name: "reason", Of: "a reason of `status.waitingFor`", Max: 60}},
	})
	stalledDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_stalled_objects", Process: collectors.Leader,
		Help: "Objects with the condition Stalled=True, which wait for a change by a person, by the reason of the condition.",
		Labels: []collectors.Label{
			namespaceLabel, {Name: "kind", Values: []string{"AutoAssignment", kindSet, kindRollout, "SoftwareModule"}}, {Name: "reason", Of: "a reason of the condition Stalled", Max: 60},
		},
	})
	targetsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_targets", Process: collectors.Leader,
		Help:   "Targets by status.updateStatus.",
		Labels: []collectors.Label{namespaceLabel, {Name: "status", Values: updateStatuses}},
	})
	problemsDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_target_problems", Process: collectors.Leader,
		Help: "Targets with the condition Online=False (offline), Consistent=False (inconsistent) or Ready=False (notReady), and those whose open action waits for a confirmation at the device (waitingForConfirmation). " +
			"One target may count several times.",
		Labels: []collectors.Label{namespaceLabel, {Name: "problem", Values: problemLabels}},
	})
	pendingStopDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_stop_pending_seconds", Process: collectors.Leader,
		Help:   "How long the oldest stop has been under way that is not applied to all open actions yet: an invalidation of a set, or a rollout with spec.state Stopped. 0 if there is none.",
		Labels: []collectors.Label{stopKind},
	})
	stopDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_stop_seconds", Process: collectors.Leader,
		Help: "Time to stop: from the moment at which the controllers saw an invalidation (DistributionSet) or spec.state Stopped (Rollout) until every open action that it concerns was canceled, or its cancel was stored for the device. " +
			"The time until a device answers its cancel is not part of it.",
		Labels:  []collectors.Label{stopKind},
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	})
	delayDefinition = collectors.Define(collectors.Definition{
		Name: "goshawk_device_api_stop_delay_seconds", Process: collectors.DeviceAPI,
		Help: "How much later than the controllers this process saw a stop. It offers the update until then, and never afterwards. 0 if it saw the stop first. " +
			"The controllers store the time of an invalidation in whole seconds, so that for a DistributionSet the value may be up to one second too large.",
		Labels:  []collectors.Label{stopKind},
		Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	})
)

func names[T ~string](of ...T) []string {
	list := make([]string, len(of))
	for i, value := range of {
		list[i] = string(value)
	}
	return list
}
