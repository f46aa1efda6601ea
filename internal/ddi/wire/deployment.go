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

// MaintenanceWindow says whether the update may be installed now. It is written only for actions
// with a maintenance window that are installed.
type MaintenanceWindow string

const (
	// WindowAvailable means that the window is open.
	WindowAvailable MaintenanceWindow = "available"
	// WindowUnavailable asks the device to download, and to wait with the installation.
	WindowUnavailable MaintenanceWindow = "unavailable"
)

// DeploymentBase is one action in the form for its device (resources 2 and 7).
type DeploymentBase struct {
	ID            string         `json:"id"`
	Deployment    Deployment     `json:"deployment"`
	ActionHistory *ActionHistory `json:"actionHistory,omitempty"`
}

// ConfirmationAction is an action that waits for confirmation (resource 10). It has the content of
// a DeploymentBase under another key.
type ConfirmationAction struct {
	ID            string         `json:"id"`
	Confirmation  Deployment     `json:"confirmation"`
	ActionHistory *ActionHistory `json:"actionHistory,omitempty"`
}

// Deployment contains the modules of an update, and how the device handles them.
type Deployment struct {
	Download          Handling          `json:"download"`
	Update            Handling          `json:"update"`
	MaintenanceWindow MaintenanceWindow `json:"maintenanceWindow,omitempty"`
	Chunks            List[Chunk]       `json:"chunks"`
}

// ActionHistory is the state of an action and its newest messages, newest first. It is sent if the
// device requests it with actionHistory=n.
type ActionHistory struct {
	Status   string       `json:"status"`
	Messages List[string] `json:"messages"`
}

// Chunk is one software module.
type Chunk struct {
	// Part is the type of the software module, as PartOf returns it.
	Part      string         `json:"part"`
	Version   string         `json:"version"`
	Name      string         `json:"name"`
	Encrypted bool           `json:"encrypted,omitempty"`
	Artifacts List[Artifact] `json:"artifacts"`
	Metadata  []Metadata     `json:"metadata,omitempty"`
}

// Metadata is an entry of the metadata of a software module that the device may see.
type Metadata struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Keys of the metadata of a chunk that removes software, which Goshawk sends only to a device that
// has announced that it can do that.
const (
	// MetadataRemove is "true": the device removes this version of the software, in place of
	// installing it. The chunk has no artifacts.
	MetadataRemove = "goshawk-agent.remove"
	// MetadataGroup is the group of the software; absent: it has none.
	MetadataGroup = "goshawk-agent.group"
)

// PartOf returns the part of a chunk for the type of a software module: the type itself, except for
// two types that DDI renames.
func PartOf(moduleType string) string {
	switch moduleType {
	case "application":
		return "bApp"
	case "runtime":
		return "jvm"
	}
	return moduleType
}

// Artifact is one file of a software module. Resource 14 returns a List[Artifact].
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

// ArtifactLinks are the links to an artifact. Clients prefer Download over DownloadHTTP. Some know
// only one of them, so a server sets both.
type ArtifactLinks struct {
	Download     Link `json:"download,omitzero"`
	DownloadHTTP Link `json:"download-http,omitzero"`
	MD5Sum       Link `json:"md5sum,omitzero"`
	MD5SumHTTP   Link `json:"md5sum-http,omitzero"`
}

// Preferred returns the link from which a client downloads, or "" if there is none.
func (l ArtifactLinks) Preferred() string {
	if l.Download.Href != "" {
		return l.Download.Href
	}
	return l.DownloadHTTP.Href
}

// MD5SumLine returns the body of resource 16, as md5sum -c reads it.
func MD5SumLine(md5, filename string) string {
	return fmt.Sprintf("%s  %s", strings.ToLower(md5), filename)
}

// CancelAction asks a device to cancel an action (resource 4).
type CancelAction struct {
	ID           string `json:"id"`
	CancelAction Stop   `json:"cancelAction"`
}

// Stop contains the id of the action that the device should cancel.
type Stop struct {
	StopID string `json:"stopId"`
}

// NewCancelAction returns the document that asks to cancel the action. DDI writes the id twice.
func NewCancelAction(actionID string) CancelAction {
	return CancelAction{ID: actionID, CancelAction: Stop{StopID: actionID}}
}
