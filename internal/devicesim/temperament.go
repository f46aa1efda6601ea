// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"slices"
	"strings"
)

// Temperament is the behavior of a device. For the zero value, the fleet's Mix chooses.
type Temperament string

const (
	// Obedient installs each offered update and cancels when asked to.
	Obedient Temperament = "obedient"
	// Slow is obedient and takes ten times as long.
	Slow Temperament = "slow"
	// Failing fails every installation with its FailCode.
	Failing Temperament = "failing"
	// Flaky fails the first attempts at each software, then succeeds.
	Flaky Temperament = "flaky"
	// DownloadFails fails while downloading.
	DownloadFails Temperament = "download-fails"
	// Inconsistent fails with code INCONSISTENT: neither the old nor the new software is complete.
	Inconsistent Temperament = "inconsistent"
	// RejectsCancel rejects every cancel and continues.
	RejectsCancel Temperament = "rejects-cancel"
	// FinishesInstall cancels while downloading, and rejects a cancel once it installs, as RAUC's
	// client does.
	FinishesInstall Temperament = "finishes-install"
	// Silent fetches its deployment, continues polling, and never reports or answers a cancel.
	Silent Temperament = "silent"
	// Vanishes fetches its deployment and then sends no further requests.
	Vanishes Temperament = "vanishes"
	// Offline never polls.
	Offline Temperament = "offline"
	// ReportsTwice sends every report two times.
	ReportsTwice Temperament = "reports-twice"
	// ReportsLate installs, and reports the result only after its action was closed without it.
	ReportsLate Temperament = "reports-late"
	// SkipsUpdate reports success without a download, as swupdate does when told to skip.
	SkipsUpdate Temperament = "skips-update"
	// Denies denies each update that needs confirmation.
	Denies Temperament = "denies"
	// Unconfirmed never answers a request for confirmation, as most clients do.
	Unconfirmed Temperament = "unconfirmed"
)

// stories are the temperaments in the order in which they are shown.
var stories = []struct {
	temperament Temperament
	story       string
}{
	{Obedient, "installs what it is offered, gives up when asked to cancel"},
	{Slow, "obedient, ten times slower"},
	{Failing, "fails every installation with its failure code"},
	{Flaky, "fails its first attempt at each software, then succeeds"},
	{DownloadFails, "fails while downloading"},
	{Inconsistent, "fails with code INCONSISTENT"},
	{RejectsCancel, "rejects every cancel and goes on"},
	{FinishesInstall, "rejects a cancel once it installs"},
	{Silent, "starts, goes on polling, never reports"},
	{Vanishes, "starts and is never heard of again"},
	{Offline, "never polls"},
	{ReportsTwice, "sends every report two times"},
	{ReportsLate, "reports its result after its action was closed"},
	{SkipsUpdate, "reports success without downloading"},
	{Denies, "denies when asked to confirm"},
	{Unconfirmed, "never answers when asked to confirm"},
}

// Temperaments returns all temperaments, the most common first.
func Temperaments() []Temperament {
	all := make([]Temperament, len(stories))
	for i, s := range stories {
		all[i] = s.temperament
	}
	return all
}

// Story returns a short description of the behavior, or "" for an unknown temperament.
func (t Temperament) Story() string {
	for _, s := range stories {
		if s.temperament == t {
			return s.story
		}
	}
	return ""
}

// ParseTemperament parses a temperament.
func ParseTemperament(word string) (Temperament, error) {
	all := Temperaments()
	if t := Temperament(strings.TrimSpace(word)); slices.Contains(all, t) {
		return t, nil
	}
	words := make([]string, len(all))
	for i, t := range all {
		words[i] = string(t)
	}
	return "", fmt.Errorf("unknown temperament %q; known are %s", word, strings.Join(words, ", "))
}

// mute reports whether devices of this temperament never answer anything about an action that they
// have started.
func (t Temperament) mute() bool { return t == Silent || t == Vanishes }
