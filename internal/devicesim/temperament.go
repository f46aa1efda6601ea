// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"slices"
	"strings"
)

// Temperament is how a device behaves. The zero value lets the fleet's Mix
// choose.
type Temperament string

const (
	// Obedient installs what it is offered and gives up when asked to cancel.
	Obedient Temperament = "obedient"
	// Slow is obedient and takes ten times as long.
	Slow Temperament = "slow"
	// Failing fails every installation with its FailCode.
	Failing Temperament = "failing"
	// Flaky fails the first attempts at each software, then succeeds.
	Flaky Temperament = "flaky"
	// DownloadFails gives up while downloading.
	DownloadFails Temperament = "download-fails"
	// Inconsistent fails with code INCONSISTENT: neither old nor new software runs whole.
	Inconsistent Temperament = "inconsistent"
	// RejectsCancel rejects every cancel and goes on.
	RejectsCancel Temperament = "rejects-cancel"
	// FinishesInstall gives up while downloading and rejects a cancel once it installs, as RAUC's
	// client does.
	FinishesInstall Temperament = "finishes-install"
	// Silent fetches its deployment, goes on polling, and never reports or answers a cancel.
	Silent Temperament = "silent"
	// Vanishes fetches its deployment and is never heard of again.
	Vanishes Temperament = "vanishes"
	// Offline never polls.
	Offline Temperament = "offline"
	// ReportsTwice sends every report two times.
	ReportsTwice Temperament = "reports-twice"
	// ReportsLate installs, and reports the result only after its action was closed without it.
	ReportsLate Temperament = "reports-late"
	// SkipsUpdate reports success without downloading, as swupdate does when told to skip.
	SkipsUpdate Temperament = "skips-update"
	// Denies answers no when asked to confirm an update.
	Denies Temperament = "denies"
	// Unconfirmed never answers when asked to confirm, as most clients do.
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

// Temperaments lists all of them, most ordinary first.
func Temperaments() []Temperament {
	all := make([]Temperament, len(stories))
	for i, s := range stories {
		all[i] = s.temperament
	}
	return all
}

// Story says in a few words what the device does; empty for an unknown word.
func (t Temperament) Story() string {
	for _, s := range stories {
		if s.temperament == t {
			return s.story
		}
	}
	return ""
}

// ParseTemperament reads one word.
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

// mute devices never answer anything about the action they have started.
func (t Temperament) mute() bool { return t == Silent || t == Vanishes }
