// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/access"
	"github.com/goshawk-dev/goshawk/internal/collectors"
)

var (
	actionsStarted = collectors.Define(collectors.Definition{
		Name: "goshawk_actions_started_total", Process: collectors.DeviceAPI,
		Help: "Updates that devices have started at this process.",
	}).Counter()
	actionsClosed = collectors.Define(collectors.Definition{
		Name: "goshawk_actions_closed_total", Process: collectors.DeviceAPI,
		Help: "Updates that devices have closed at this process, by result; without those that Goshawk closes itself (by force, or at a deadline).",
		Labels: []collectors.Label{{Name: "state", Values: []string{
			string(v1alpha1.ActionFinished), string(v1alpha1.ActionError), string(v1alpha1.ActionCanceled),
		}}},
	}).Counters()
	pollFileValid = collectors.Define(collectors.Definition{
		Name: "goshawk_poll_intervals_valid", Process: collectors.DeviceAPI,
		Help:   "1 if the file of poll intervals is in effect, 0 while it cannot be used and the last good one stays in effect; absent without a file.",
		Labels: []collectors.Label{{Name: "file", Of: "the path in --ddi-poll-intervals-file", Max: 1}},
	}).Gauges()
	devicesRefused = collectors.Define(collectors.Definition{
		Name: "goshawk_devices_refused_total", Process: collectors.DeviceAPI,
		Help: "Requests of devices that were refused because of their credentials, by the reasons in the page of DeviceAccess.",
		Labels: []collectors.Label{{Name: "reason", Values: []string{
			string(access.NoCredentials), string(access.UntrustedProxy), string(access.UnknownToken), string(access.UnknownAuthority), string(access.Revoked),
			string(access.OtherDevice), string(access.NotSelected), string(access.NotRegistered), string(access.MaxTargetsReached),
		}}},
	}).Counters()
)

func init() {
	metrics.Registry.MustRegister(actionsStarted, actionsClosed, pollFileValid, devicesRefused)
}
