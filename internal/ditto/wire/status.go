// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"strings"
)

// Statuses of an operation.
const (
	Started            = "STARTED"
	Downloading        = "DOWNLOADING"
	DownloadingWaiting = "DOWNLOADING_WAITING"
	Downloaded         = "DOWNLOADED"
	Installing         = "INSTALLING"
	InstallingWaiting  = "INSTALLING_WAITING"
	Installed          = "INSTALLED"
	Removing           = "REMOVING"
	RemovingWaiting    = "REMOVING_WAITING"
	Removed            = "REMOVED"
	Canceling          = "CANCELING"
	CancelingWaiting   = "CANCELING_WAITING"
	CancelRejected     = "CANCEL_REJECTED"
	FinishedCanceled   = "FINISHED_CANCELED"
	FinishedSuccess    = "FINISHED_SUCCESS"
	FinishedError      = "FINISHED_ERROR"
	FinishedWarning    = "FINISHED_WARNING"
	FinishedRejected   = "FINISHED_REJECTED"
)

// Statuses are all statuses, in the order of the specification.
var Statuses = []string{
	Started, Downloading, DownloadingWaiting, Downloaded, Installing, InstallingWaiting, Installed,
	Removing, RemovingWaiting, Removed, Canceling, CancelingWaiting, CancelRejected,
	FinishedCanceled, FinishedSuccess, FinishedError, FinishedWarning, FinishedRejected,
}

// OperationStatus is a report of a device: lastOperation and lastFailedOperation.
type OperationStatus struct {
	CorrelationID string `json:"correlationId"`
	Status        string `json:"status"`
	// Module of an install, download or cancel.
	Module *ModuleID `json:"softwareModule,omitempty"`
	// Software of a remove or cancelRemove.
	Software []Dependency `json:"software,omitempty"`
	// Progress in percent.
	Progress   *int32 `json:"progress,omitempty"`
	Message    string `json:"message,omitempty"`
	StatusCode string `json:"statusCode,omitempty"`
}

// DecodeOperationStatus reads a report. It returns nil for null.
func DecodeOperationStatus(raw json.RawMessage) (*OperationStatus, error) {
	if isNull(raw) {
		return nil, nil
	}
	fields, err := object(raw, "the operation status", "correlationId", "status", "softwareModule", "software", "progress", "message", "statusCode")
	if err != nil {
		return nil, err
	}
	o := &OperationStatus{
		CorrelationID: text(fields["correlationId"]),
		Status:        strings.ToUpper(strings.TrimSpace(text(fields["status"]))),
		Software:      software(fields["software"]),
		Message:       text(fields["message"]),
		StatusCode:    text(fields["statusCode"]),
	}
	if percent, ok := integer(fields["progress"]); ok {
		o.Progress = &percent
	}
	if module := fields["softwareModule"]; !isNull(module) {
		if parts, err := object(module, "softwareModule", "name", "version"); err == nil {
			o.Module = &ModuleID{Name: text(parts["name"]), Version: text(parts["version"])}
		}
	}
	if o.Module != nil && *o.Module == (ModuleID{}) {
		o.Module = nil
	}
	switch {
	case o.CorrelationID == "":
		return nil, errors.New("the operation status has no correlationId")
	case o.Status == "":
		return nil, errors.New("the operation status has no status")
	}
	return o, nil
}
