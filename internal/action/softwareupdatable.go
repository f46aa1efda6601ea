// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import "github.com/goshawk-dev/goshawk/api/v1alpha1"

// softwareUpdatable are the 18 statuses of the SoftwareUpdatable feature; FINISHED_WARNING is what
// the update says it is. A status speaks of one module; REMOVED is already the success of the
// software it names.
var softwareUpdatable = map[string]Event{
	"STARTED":             Start,
	"DOWNLOADING":         Download,
	"DOWNLOADING_WAITING": Download,
	"DOWNLOADED":          Downloaded,
	"INSTALLING":          Install,
	"INSTALLING_WAITING":  Install,
	"INSTALLED":           EventInstalled,
	"REMOVING":            Remove,
	"REMOVING_WAITING":    Remove,
	"REMOVED":             Succeed,
	"CANCELING":           Warn,
	"CANCELING_WAITING":   Warn,
	"CANCEL_REJECTED":     CancelRejected,
	"FINISHED_CANCELED":   Abandon,
	"FINISHED_SUCCESS":    Succeed,
	"FINISHED_WARNING":    Succeed,
	"FINISHED_ERROR":      Fail,
	"FINISHED_REJECTED":   Fail,
}

// FromSoftwareUpdatable is what a status means for the module it speaks of; false: it is none of
// the 18, and nothing to act on.
func FromSoftwareUpdatable(status string, finishedWarning v1alpha1.Verdict) (Event, bool) {
	e, ok := softwareUpdatable[status]
	if status == "FINISHED_WARNING" && finishedWarning == v1alpha1.VerdictFailure {
		return Fail, true
	}
	return e, ok
}
