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
	// Denies denies each update that needs confirmation.
	Denies Behavior = "denies"
	// Unconfirmed never answers a request for confirmation, as most clients do.
	Unconfirmed Behavior = "unconfirmed"
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
}

// Behaviors returns all behaviors, the most common first.
func Behaviors() []Behavior {
	all := make([]Behavior, len(descriptions))
	for i, s := range descriptions {
		all[i] = s.behavior
	}
	return all
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
