// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// Reasons of events: one for each decision.
const (
	EventPlanned        = "Planned"
	EventPlanChanged    = "PlanChanged"
	EventStarted        = "Started"
	EventGroupOpened    = "GroupOpened"
	EventGroupSucceeded = "GroupSucceeded"
	EventGroupFinished  = "GroupFinished"
	EventGroupFailed    = "GroupFailed"
	EventPaused         = "Paused"
	EventResumed        = "Resumed"
	EventAdvanced       = "Advanced"
	EventRetried        = "Retried"
	EventRetryRefused   = "RetryRefused"
	EventGroupAdded     = "GroupAdded"
	EventGroupEmpty     = "GroupEmpty"
	EventExpired        = v1alpha1.CodeStartDeadlineExceeded
	EventSkipped        = "Skipped"
	EventSuperseded     = "Superseded"
	EventInvalidated    = "Invalidated"
	EventStopping       = "Stopping"
	EventStopped        = "Stopped"
	EventFinished       = "Finished"
)

// Types of events, as Kubernetes has them.
const (
	normal  = "Normal"
	warning = "Warning"
)
