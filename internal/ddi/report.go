// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// ReportOf translates feedback on deploymentBase.
func ReportOf(id int32, f wire.Feedback) action.Report {
	return reportOf(id, action.FromDDI(string(f.Status.Execution), string(f.Status.Result.Finished)), f.Status)
}

// CancelReportOf translates feedback on cancelAction.
func CancelReportOf(id int32, f wire.Feedback) action.Report {
	return reportOf(id, action.FromDDICancel(string(f.Status.Execution), string(f.Status.Result.Finished)), f.Status)
}

func reportOf(id int32, e action.Event, s wire.Status) action.Report {
	r := action.Report{ID: id, Event: e, Stage: string(s.Execution), StatusCode: string(s.Code), Details: s.Details}
	if percent, ok := s.Result.Progress.Percent(); ok {
		p := int32(percent)
		r.Progress = &p
	}
	return r
}

// ConfirmationReportOf translates feedback on confirmationBase.
func ConfirmationReportOf(id int32, f wire.ConfirmationFeedback) action.Report {
	e := action.Deny
	if f.Confirmation == wire.Confirmed {
		e = action.Confirm
	}
	return action.Report{ID: id, Event: e, Stage: string(f.Confirmation), StatusCode: string(f.Code), Details: f.Details}
}

// attributesOf translates a configData document.
func attributesOf(d wire.ConfigData) deviceapi.Attributes {
	a := deviceapi.Attributes{Mode: deviceapi.MergeAttributes, Values: d.Data}
	switch d.Mode {
	case wire.ModeReplace:
		a.Mode = deviceapi.ReplaceAttributes
	case wire.ModeRemove:
		a.Mode = deviceapi.RemoveAttributes
	case wire.ModeMerge: // the default
	}
	return a
}
