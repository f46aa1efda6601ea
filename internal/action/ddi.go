// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

// FromDDI returns the event that feedback on deploymentBase means. Only `closed` ends an update:
// `rejected` and `canceled` leave it open, as in hawkBit, and so does an execution that is not
// known. `scheduled` says that the command has arrived: the device has not started to work at it.
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

// FromDDICancel is what feedback on cancelAction means. Only `closed` ends an update and only
// `closed` with failure, or `rejected`, refuses. Every other word is about the cancel, not about
// the update, and is noted.
func FromDDICancel(execution, finished string) Event {
	switch {
	case execution == "rejected", execution == "closed" && finished == "failure":
		return CancelRejected
	case execution == "closed":
		return CancelAccepted
	}
	return Warn
}
