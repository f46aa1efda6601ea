// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strings"
)

// Handling says how a device treats a step of an update.
type Handling string

const (
	// HandlingSkip asks the device not to do this step now.
	HandlingSkip Handling = "skip"
	// HandlingAttempt asks the device to do this step when it is convenient for it or its user.
	HandlingAttempt Handling = "attempt"
	// HandlingForced asks the device to do this step now.
	HandlingForced Handling = "forced"
)

// MaintenanceWindow says whether the update may be installed now. It is only
// written for actions that have a maintenance schedule.
type MaintenanceWindow string

const (
	// WindowAvailable means that the window is open.
	WindowAvailable MaintenanceWindow = "available"
	// WindowUnavailable asks the device to download, and to wait with the installation.
	WindowUnavailable MaintenanceWindow = "unavailable"
)

// DeploymentBase is one action as its device sees it (resources 2 and 7).
type DeploymentBase struct {
	ID            string         `json:"id"`
	Deployment    Deployment     `json:"deployment"`
	ActionHistory *ActionHistory `json:"actionHistory,omitempty"`
}

// ConfirmationAction is an action that waits for its user's consent
// (resource 10): the content of a DeploymentBase under another key.
type ConfirmationAction struct {
	ID            string         `json:"id"`
	Confirmation  Deployment     `json:"confirmation"`
	ActionHistory *ActionHistory `json:"actionHistory,omitempty"`
}

// Deployment is what to bring to the device, and how.
type Deployment struct {
	Download          Handling          `json:"download"`
	Update            Handling          `json:"update"`
	MaintenanceWindow MaintenanceWindow `json:"maintenanceWindow,omitempty"`
	Chunks            List[Chunk]       `json:"chunks"`
}

// ActionHistory is the tail of an action's reports, newest first, sent when
// the device asks for it with actionHistory=n.
type ActionHistory struct {
	Status   string       `json:"status"`
	Messages List[string] `json:"messages"`
}

// Chunk is one software module.
type Chunk struct {
	// Part is the type of the software module, as PartOf gives it.
	Part      string         `json:"part"`
	Version   string         `json:"version"`
	Name      string         `json:"name"`
	Encrypted bool           `json:"encrypted,omitempty"`
	Artifacts List[Artifact] `json:"artifacts"`
	Metadata  []Metadata     `json:"metadata,omitempty"`
}

// Metadata is a device-visible entry of a software module.
type Metadata struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// PartOf is the chunk part of a software module type: the type itself, except
// for two that DDI has always renamed.
func PartOf(moduleType string) string {
	switch moduleType {
	case "application":
		return "bApp"
	case "runtime":
		return "jvm"
	}
	return moduleType
}

// Artifact is one file of a software module. Resource 14 answers a
// List[Artifact].
type Artifact struct {
	Filename string        `json:"filename"`
	Size     int64         `json:"size"`
	Hashes   Hashes        `json:"hashes"`
	Links    ArtifactLinks `json:"_links,omitzero"`
}

// Hashes are hexadecimal checksums. RAUC's client and swupdate need SHA1.
type Hashes struct {
	SHA1   string `json:"sha1,omitempty"`
	MD5    string `json:"md5,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// ArtifactLinks are the ways to an artifact. Clients prefer Download and fall
// back to DownloadHTTP; some know only one of them, so a server sets both.
type ArtifactLinks struct {
	Download     Link `json:"download,omitzero"`
	DownloadHTTP Link `json:"download-http,omitzero"`
	MD5Sum       Link `json:"md5sum,omitzero"`
	MD5SumHTTP   Link `json:"md5sum-http,omitzero"`
}

// Preferred is the link a client downloads from, empty if there is none.
func (l ArtifactLinks) Preferred() string {
	if l.Download.Href != "" {
		return l.Download.Href
	}
	return l.DownloadHTTP.Href
}

// MD5SumLine is the body of resource 16, as md5sum -c reads it.
func MD5SumLine(md5, filename string) string {
	return fmt.Sprintf("%s  %s", strings.ToLower(md5), filename)
}

// CancelAction asks a device to stop (resource 4).
type CancelAction struct {
	ID           string `json:"id"`
	CancelAction Stop   `json:"cancelAction"`
}

// Stop names the action to stop.
type Stop struct {
	StopID string `json:"stopId"`
}

// NewCancelAction asks to stop the action; DDI writes its id twice.
func NewCancelAction(actionID string) CancelAction {
	return CancelAction{ID: actionID, CancelAction: Stop{StopID: actionID}}
}
