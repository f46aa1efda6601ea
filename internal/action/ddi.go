// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

// FromDDI returns the event of feedback on deploymentBase. Only `closed` ends an update: `rejected`
// and `canceled` leave it open, as in hawkBit, and so does an unknown execution. `scheduled` means
// that the device has received the command but has not started to work.
func FromDDI(execution, finished string) Event {
	switch execution {
	case "closed":
		if finished == "failure" {
			return Fail
		}
		return Succeed
	case "download":
		return Download
	case "downloaded":
		return Downloaded
	case "scheduled":
		return Start
	case "proceeding", "resumed":
		return Proceed
	}
	return Warn
}

// FromDDICancel returns the event of feedback on cancelAction. Only `closed` ends an update, and
// only `closed` with failure, or `rejected`, refuses the cancel. Any other execution is about the
// cancel, not about the update, and is only recorded.
func FromDDICancel(execution, finished string) Event {
	switch {
	case execution == "rejected", execution == "closed" && finished == "failure":
		return CancelRejected
	case execution == "closed":
		return CancelAccepted
	}
	return Warn
}
