// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import "time"

// State is what a device should do next. Of CancelID, ConfirmID and DeployID the first one that is
// not zero is offered; a device never gets two of them.
type State struct {
	// Sleep is the time until the device should ask again. It is already spread over the fleet.
	Sleep                         time.Duration
	CancelID, ConfirmID, DeployID int32
	// IsRemoval means that the action of ConfirmID or DeployID removes software. A protocol that
	// cannot let the device do that closes the action with Backend.Refuse.
	IsRemoval bool
	// CanRemove is set if IsRemoval is.
	CanRemove CanRemove
	// InstalledID is the action that installed the set that the device runs, or zero if none is
	// known.
	InstalledID int32
	// CacheBuster changes when the content of the offered deployment does.
	CacheBuster string
	// WantAttributes asks the device for its attributes.
	WantAttributes bool
	// NextChange is when the state may change by time alone, such as when a window opens or a
	// deadline passes. Zero: only by an event. It is set only for a device that Backend.Changed was
	// called for.
	NextChange time.Time
}

// CanRemove says whether a device removes software by a protocol that has no command for that, such
// as DDI. The device announces it with v1alpha1.AttributeRemoves.
type CanRemove string

const (
	// CannotRemove means that the device has not announced it.
	CannotRemove CanRemove = ""
	// RemovesSoftware means that the device has announced it.
	RemovesSoftware CanRemove = "RemovesSoftware"
	// RemovalUnknown means that no attributes of the device are known, and that it is asked for
	// them now. It is returned once for a device.
	RemovalUnknown CanRemove = "RemovalUnknown"
)

// Consent is how a device handles updates that need confirmation.
type Consent struct {
	// Active means that the device confirms all updates automatically, since ActivatedAt. Initiator
	// and Remark were sent with the activation.
	Active            bool
	Initiator, Remark string
	ActivatedAt       time.Time
	// ConfirmID is the action that waits for confirmation, or zero; CacheBuster is as in State.
	ConfirmID   int32
	CacheBuster string
}

// Deployment is one action as it is sent to its device.
type Deployment struct {
	ID int32
	// Forced means that the device installs now. Otherwise the device, or its user, decides when.
	Forced bool
	// DownloadOnly means that the device downloads the modules and does not install them.
	DownloadOnly bool
	Window       Window
	// Modules of the set. They are empty if software is removed.
	Modules []Module
	// Remove is the software that the device removes, in place of Modules. CanRemove says whether
	// it can do that by DDI; it is never RemovalUnknown.
	Remove    []Software
	CanRemove CanRemove
	// Metadata is the metadata of the set that the device may see.
	Metadata []Metadata
	// Weight of the update, from 0 to 1000: the greater one is more important.
	Weight int32
	// Created means that this call has created the action, so no process has sent a command for it.
	Created bool
	// Acknowledged means that the device has received the command of the action: see
	// Backend.Acknowledge.
	Acknowledged bool
	// History is how far the action has come.
	History History
}

// Refusal is why a device cannot carry out an action.
type Refusal struct {
	// Code is the code of the action: v1alpha1.CodeNoFeature or v1alpha1.CodeRemoveNotSupported.
	Code string
	// Message is a sentence that says what the device lacks.
	Message string
}

// Window is whether the maintenance window of an action is open.
type Window string

const (
	// NoWindow means that the action has no maintenance window.
	NoWindow Window = ""
	// WindowOpen means that the device may install.
	WindowOpen Window = "open"
	// WindowClosed means that the device may download, and waits with the installation.
	WindowClosed Window = "closed"
)

// History is the state of an action, as in the status of its Target, and the messages that its
// device has reported, newest first.
type History struct {
	State    string
	Messages []string
}

// Module is one software module.
type Module struct {
	// ID names the module in requests of the device.
	ID                  string
	Type, Name, Version string
	Artifacts           []Artifact
	// Metadata is the metadata that the device may see.
	Metadata []Metadata
	// Downloading means that the device has started to download the module for its open action.
	// Only Artifacts sets it.
	Downloading bool
}

// Metadata is one entry of the metadata of a module or a set.
type Metadata struct{ Key, Value string }

// Artifact is one file of a module. Checksums are hexadecimal; an empty checksum is not known.
type Artifact struct {
	FileName          string
	Size              int64
	SHA1, MD5, SHA256 string
	// Proxied means that the device API sends the file to the device. Otherwise the device fetches
	// it from the URL of a download.
	Proxied   bool
	Downloads []Download
}

// Download is one place that an artifact can be downloaded from.
type Download struct {
	Protocol Protocol
	URL      string
	// MD5URL is the URL of a file with the MD5 sum, or empty if there is none.
	MD5URL string
	// PullSecret is the name of the Secret with the credentials of the registry; empty: none. Only
	// proxied files have it.
	PullSecret string
}

// Protocol is how a download is fetched, in capitals. Other values than those below are possible.
type Protocol string

// Protocols that DDI and SoftwareUpdatable have links for.
const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
)
