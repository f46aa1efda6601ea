// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

// softwareUpdatable has the events of the 18 statuses of SoftwareUpdatable 2.0.0. Only the
// FINISHED_* statuses are results, and REMOVED of a removal. CANCELING says that the device works
// on a cancel, which changes nothing yet.
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
	"REMOVED":             Removed,
	"CANCELING":           Warn,
	"CANCELING_WAITING":   Warn,
	"CANCEL_REJECTED":     CancelRejected,
	"FINISHED_CANCELED":   Abandon,
	"FINISHED_SUCCESS":    Succeed,
	"FINISHED_WARNING":    FinishWithWarning,
	"FINISHED_ERROR":      Fail,
	"FINISHED_REJECTED":   Fail,
}

// statusFileStored is no status of the model. Eclipse Kanto reports it after the result of a
// download.
const statusFileStored = "DOWNLOADED_FILE_STORED"

// FromSoftwareUpdatable returns the event of a status of SoftwareUpdatable, and whether the status
// is known. An unknown status is recorded and has no other effect.
func FromSoftwareUpdatable(status string) (e Event, known bool) {
	if e, known = softwareUpdatable[status]; known {
		return e, true
	}
	return Warn, status == statusFileStored
}
