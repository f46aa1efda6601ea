// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import "github.com/goshawk-dev/goshawk/internal/eligibility"

// Codes of offers other than Nothing, and codes that are about no single update.
const (
	CodeDeploy  eligibility.Code = "Deploy"  // the winning intent starts
	CodeResume  eligibility.Code = "Resume"  // the open action continues
	CodeCancel  eligibility.Code = "Cancel"  // the device is asked to cancel
	CodeConfirm eligibility.Code = "Confirm" // the device is asked for a confirmation

	CodeNothingWanted eligibility.Code = "NothingWanted" // no intent reaches the target
	CodeSetGone       eligibility.Code = "SetGone"       // the set of the open action was deleted or changed
)
