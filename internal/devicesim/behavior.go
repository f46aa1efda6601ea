// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"slices"
	"strings"
)

// Behavior is what a device does with updates, cancels and requests for confirmation. If it is
// empty, the fleet's Mix chooses one.
type Behavior string

const (
	// Obedient installs each offered update and cancels when asked to.
	Obedient Behavior = "obedient"
	// Slow is obedient and takes ten times as long.
	Slow Behavior = "slow"
	// Failing fails every installation with its FailCode.
	Failing Behavior = "failing"
	// Flaky fails the first attempts at each software, then succeeds.
	Flaky Behavior = "flaky"
	// DownloadFails fails while downloading.
	DownloadFails Behavior = "download-fails"
	// Inconsistent fails with code INCONSISTENT: neither the old nor the new software is complete.
	Inconsistent Behavior = "inconsistent"
	// RejectsCancel rejects every cancel and continues.
	RejectsCancel Behavior = "rejects-cancel"
	// FinishesInstall cancels while downloading, and rejects a cancel once it installs, as RAUC's
	// client does.
	FinishesInstall Behavior = "finishes-install"
	// Silent fetches its deployment, continues polling, and never reports or answers a cancel.
	Silent Behavior = "silent"
	// Vanishes fetches its deployment and then sends no further requests.
	Vanishes Behavior = "vanishes"
	// Offline never polls.
	Offline Behavior = "offline"
	// ReportsTwice sends every report two times.
	ReportsTwice Behavior = "reports-twice"
	// ReportsLate installs, and reports the result only after its action was closed without it.
	ReportsLate Behavior = "reports-late"
	// SkipsUpdate reports success without a download, as swupdate does when the deployment says
	// skip.
	SkipsUpdate Behavior = "skips-update"
	// Denies denies each update that needs confirmation. With MQTT, which has no confirmation, it
	// rejects each update.
	Denies Behavior = "denies"
	// Unconfirmed never answers a request for confirmation, as most clients do.
	Unconfirmed Behavior = "unconfirmed"

	// The following behaviors are only for devices with MQTT.

	// Detailed reports every status that it can, also those of waiting.
	Detailed Behavior = "detailed"
	// Warns ends with FINISHED_WARNING.
	Warns Behavior = "warns"
	// OutOfOrder reports the statuses of each module in the reverse order.
	OutOfOrder Behavior = "out-of-order"
	// NoResponse does not respond to commands, and does nothing.
	NoResponse Behavior = "no-response"
	// RefusesCommands responds to commands with 400.
	RefusesCommands Behavior = "refuses-commands"
	// IgnoresCancel does not answer a cancel, and continues, as Kanto's agent does.
	IgnoresCancel Behavior = "ignores-cancel"
)

// descriptions has all behaviors in the order in which they are shown.
var descriptions = []struct {
	behavior Behavior
	text     string
}{
	{Obedient, "installs each offered update, cancels when asked to"},
	{Slow, "obedient, ten times slower"},
	{Failing, "fails every installation with its failure code"},
	{Flaky, "fails its first attempt at each software, then succeeds"},
	{DownloadFails, "fails while downloading"},
	{Inconsistent, "fails with code INCONSISTENT"},
	{RejectsCancel, "rejects every cancel and continues"},
	{FinishesInstall, "rejects a cancel once it installs"},
	{Silent, "starts, continues polling, never reports"},
	{Vanishes, "starts and then sends no further requests"},
	{Offline, "never polls"},
	{ReportsTwice, "sends every report two times"},
	{ReportsLate, "reports its result after its action was closed"},
	{SkipsUpdate, "reports success without downloading"},
	{Denies, "denies when asked to confirm"},
	{Unconfirmed, "never answers when asked to confirm"},
	{Detailed, "MQTT: reports every status that it can"},
	{Warns, "MQTT: ends with FINISHED_WARNING"},
	{OutOfOrder, "MQTT: reports the statuses in the reverse order"},
	{NoResponse, "MQTT: does not respond to commands"},
	{RefusesCommands, "MQTT: responds to commands with 400"},
	{IgnoresCancel, "MQTT: does not answer a cancel, and continues"},
}

// Behaviors returns all behaviors, the most common first.
func Behaviors() []Behavior {
	all := make([]Behavior, len(descriptions))
	for i, s := range descriptions {
		all[i] = s.behavior
	}
	return all
}

// needsMQTT reports whether only devices with MQTT can have the behavior.
func (t Behavior) needsMQTT() bool {
	switch t {
	case Detailed, Warns, OutOfOrder, NoResponse, RefusesCommands, IgnoresCancel:
		return true
	default:
		return false
	}
}

// Description returns a short description of the behavior, or "" for an unknown behavior.
func (t Behavior) Description() string {
	for _, s := range descriptions {
		if s.behavior == t {
			return s.text
		}
	}
	return ""
}

// ParseBehavior parses a behavior.
func ParseBehavior(name string) (Behavior, error) {
	all := Behaviors()
	if t := Behavior(strings.TrimSpace(name)); slices.Contains(all, t) {
		return t, nil
	}
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = string(t)
	}
	return "", fmt.Errorf("unknown behavior %q; known are %s", name, strings.Join(names, ", "))
}

// neverReports reports whether devices of this behavior never answer anything about an action that
// they have started.
func (t Behavior) neverReports() bool { return t == Silent || t == Vanishes }
