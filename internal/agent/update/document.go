// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package update decides what a device does next with an update. It is pure: it reads no file and
// no clock, runs no program, and its only memory is a Document, which its caller stores before and
// after each step. The steps of a Document are always the same, so a device that was killed or lost
// its power at any moment continues from the stored document.
package update

import (
	"cmp"
	"slices"
	"time"
)

// FormatVersion is the version of the stored document that this package reads and writes.
const FormatVersion = 1

// Document is everything that the agent must not forget.
type Document struct {
	// Format is FormatVersion.
	Format int `json:"format"`
	// Installed has the modules on the device, sorted by type and name.
	Installed []Module `json:"installed,omitempty"`
	// Inconsistency says why the modules on the device are not those of Installed. It is nil on a
	// consistent device.
	Inconsistency *Inconsistency `json:"inconsistency,omitempty"`
	// Update is the update in progress, or nil.
	Update *Update `json:"update,omitempty"`
	// Results are results of updates that have ended and that the server has not confirmed yet,
	// oldest first, at most MaxResults.
	Results []Result `json:"results,omitempty"`
	// Question is set while an update waits for a person at the device, and after the answer until
	// the server has it.
	Question *Question `json:"question,omitempty"`
	// Set is the distribution set that a person has installed, until the server knows it. The next
	// update that succeeds replaces it, or removes it.
	Set *Set `json:"set,omitempty"`
	// Ended is the result of the last update that ended, also after its delivery. An update from
	// the server with the same id is not installed again.
	Ended *Result `json:"ended,omitempty"`
}

// Set names a distribution set of the server.
type Set struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// MaxResults is the maximum of Document.Results. If there are more, the oldest ones are dropped:
// the server waits only for the result of its newest update.
const MaxResults = 20

// Module is one piece of software.
type Module struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Artifacts are its files. They are empty for a removal and in Document.Installed.
	Artifacts []Artifact `json:"artifacts,omitempty"`
	// Metadata has the metadata of the software module that the device may see.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Store is the name of the folder in which a built-in handler keeps what belongs to this
	// installation of the module. Each installation has another one, so the installed modules of a
	// document say which folders are valid.
	Store string `json:"store,omitempty"`
}

// IsSame reports whether two modules have the same type and name, and so replace one another.
func (m Module) IsSame(as Module) bool { return m.Type == as.Type && m.Name == as.Name }

// Artifact is one file of a module.
type Artifact struct {
	Filename string `json:"filename"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// SHA256 is hexadecimal and never empty.
	SHA256 string `json:"sha256"`
	// URL is where the file is, or empty for an update from a local file.
	URL string `json:"url,omitempty"`
}

// Inconsistency says which modules are neither on their old nor on their new version.
type Inconsistency struct {
	// Update is the id of the update that left them so.
	Update  string    `json:"update"`
	Since   time.Time `json:"since"`
	Modules []Module  `json:"modules"`
	// Reason is a sentence for people.
	Reason string `json:"reason"`
}

// Source says where an update comes from.
type Source string

const (
	// FromServer means that a server assigned the update and waits for its result.
	FromServer Source = "Server"
	// FromDevice means that a person or a program on the device started it.
	FromDevice Source = "Device"
)

// Phase is the state of an update.
type Phase string

// The phases of an update, in their order. RollingBack follows a failure. Without an update the
// phase of a device is Idle or Inconsistent.
const (
	Downloading  Phase = "Downloading"
	Downloaded   Phase = "Downloaded"
	Installing   Phase = "Installing"
	Rebooting    Phase = "Rebooting"
	Verifying    Phase = "Verifying"
	Committing   Phase = "Committing"
	RollingBack  Phase = "RollingBack"
	Idle         Phase = "Idle"
	Inconsistent Phase = "Inconsistent"
)

// Update is an update in progress.
type Update struct {
	// ID is the id of the action at the server, or an id of the device. The pair of Source and ID
	// is unique.
	ID      string    `json:"id"`
	Source  Source    `json:"source"`
	Started time.Time `json:"started"`
	Phase   Phase     `json:"phase"`
	Changes []Change  `json:"changes"`
	// Set is the distribution set that the device runs after the update, if a person has named it.
	Set *Set `json:"set,omitempty"`
	// CanceledBy is set after the server or a person on the device canceled the update.
	CanceledBy Source `json:"canceledBy,omitempty"`
	// Failure is the first failure. The update rolls back after it is set.
	Failure *Failure `json:"failure,omitempty"`
	// BootBefore is the id of the boot in which the reboot was requested, in phase Rebooting.
	BootBefore string `json:"bootBefore,omitempty"`
	// WasRollingBack says that phase Rebooting belongs to the rollback.
	WasRollingBack bool `json:"wasRollingBack,omitempty"`
	// Code and Messages are what handlers printed last, for the result.
	Code     string   `json:"code,omitempty"`
	Messages []string `json:"messages,omitempty"`
}

// Change is one module of an update: its installation or its removal.
type Change struct {
	Module
	// Removes says that the module is removed, not installed.
	Removes bool  `json:"removes,omitempty"`
	Stage   Stage `json:"stage"`
	// Calling is the verb of the handler whose call has been stored as started and has not ended.
	Calling Verb `json:"calling,omitempty"`
	// Interruptions is how often this call was interrupted by the end of the agent or of the
	// device.
	Interruptions int `json:"interruptions,omitempty"`
	// Repeatable says that the handler may repeat an interrupted install or remove.
	Repeatable bool `json:"repeatable,omitempty"`
	// NeedsReboot says that the handler requested a reboot after its last call.
	NeedsReboot bool `json:"needsReboot,omitempty"`
	// RollbackFailure says why the module could not be rolled back.
	RollbackFailure string `json:"rollbackFailure,omitempty"`
	// IsClean says that cleanup was called after the last other call.
	IsClean bool `json:"isClean,omitempty"`
}

// Stage is how far a module is. The stages of an update are passed in this order; RolledBack and
// Broken follow a failure.
type Stage string

const (
	// Pending means that nothing has been done.
	Pending Stage = "Pending"
	// Checked means that the handler can do what the update asks for.
	Checked Stage = "Checked"
	// Ready means that all files are on the device and verified. A module whose install or remove
	// could not even be started is Ready again.
	Ready Stage = "Ready"
	// Changing means that install or remove was started. The module may be on its old version, on
	// its new one, or on neither.
	Changing Stage = "Changing"
	// Changed means that install or remove succeeded.
	Changed Stage = "Changed"
	// Verified means that the handler found the new version to work.
	Verified Stage = "Verified"
	// Committed means that the handler made the new version permanent.
	Committed Stage = "Committed"
	// RolledBack means that the module is on its old version again.
	RolledBack Stage = "RolledBack"
	// Broken means that the module has no rollback, or that its rollback failed.
	Broken Stage = "Broken"
)

// changed reports whether the module may differ from the old version.
func (c *Change) changed() bool {
	switch c.Stage {
	case Changing, Changed, Verified, Committed:
		return true
	default:
		return false
	}
}

// Failure is why an update did not succeed.
type Failure struct {
	// Code is a code for statistics, such as Interrupted or the code that the handler printed.
	Code string `json:"code"`
	// Message is a sentence for people.
	Message string `json:"message"`
}

// Codes of failures that have no code of a handler.
const (
	CodeInterrupted    = "Interrupted"
	CodeCanceled       = "Canceled"
	CodeUnsupported    = "Unsupported"
	CodeDownloadFailed = "DownloadFailed"
	CodeInstallFailed  = "InstallFailed"
	CodeRemoveFailed   = "RemoveFailed"
	CodeVerifyFailed   = "VerifyFailed"
	CodeCommitFailed   = "CommitFailed"
)

// CodeInconsistent is the code that is reported if the device is inconsistent after the update.
const CodeInconsistent = "INCONSISTENT"

// Result is how an update ended.
type Result struct {
	ID     string    `json:"id"`
	Source Source    `json:"source"`
	Ended  time.Time `json:"ended"`
	// Outcome is Succeeded, Failed or Canceled.
	Outcome  Outcome  `json:"outcome"`
	Failure  *Failure `json:"failure,omitempty"`
	Messages []string `json:"messages,omitempty"`
	// Code is what the last handler printed as its code. A result with a failure reports the code
	// of the failure.
	Code string `json:"code,omitempty"`
	// Changes are the modules with their last stage, without artifacts and metadata.
	Changes []Change `json:"changes"`
	// CanceledBy says where the cancel came from, if there was one.
	CanceledBy Source `json:"canceledBy,omitempty"`
	// Inconsistent says that the device is on neither the old nor the new version.
	Inconsistent bool `json:"inconsistent,omitempty"`
}

// Question is an update of the server that waits for the confirmation of a person at the device.
type Question struct {
	ID      string   `json:"id"`
	Modules []Module `json:"modules"`
	// Answer is Confirmed or Denied, or empty.
	Answer Answer `json:"answer,omitempty"`
	// Remark is what the person said.
	Remark string `json:"remark,omitempty"`
}

// Answer is the answer of a person.
type Answer string

// The answers to a Question.
const (
	Confirmed Answer = "Confirmed"
	Denied    Answer = "Denied"
)

// Outcome is the end of an update.
type Outcome string

// The ends of an update.
const (
	Succeeded Outcome = "Succeeded"
	Failed    Outcome = "Failed"
	Canceled  Outcome = "Canceled"
)

// PhaseOf returns the phase of the device, which is Idle or Inconsistent without an update.
func (d *Document) PhaseOf() Phase {
	switch {
	case d.Update != nil:
		return d.Update.Phase
	case d.Inconsistency != nil:
		return Inconsistent
	}
	return Idle
}

func sortModules(modules []Module) {
	slices.SortFunc(modules, func(a, b Module) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
}
