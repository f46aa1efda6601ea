// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

// Software is one piece of software on a device. Name and Version are not empty.
type Software struct{ Group, Name, Version, Type string }

// Feature is a part of a device that installs or removes software of one type.
type Feature struct {
	// ID names the feature on its device. It is not empty.
	ID string
	// SoftwareModuleType is the type of modules that the feature serves. Empty: not reported.
	SoftwareModuleType string
	// Definition is the model that the feature follows, as namespace:name:version. Empty: not
	// reported.
	Definition string
	// LastOperation and LastFailedOperation are the last report about an operation, and the last
	// one about a failure. They are nil if there is none.
	LastOperation, LastFailedOperation *Operation
}

// Operation is the last report of a device about one operation of a feature, as it was sent.
type Operation struct {
	// CorrelationID is the id of the operation: for those of Goshawk, that of the action.
	CorrelationID               string
	Status, Message, StatusCode string
	// Progress in percent, or nil if the device reports none.
	Progress *int32
	// Module that the report is about, as name:version; empty: none.
	Module string
	// Software that the report of a removal is about.
	Software []Software
}

// Inventory is what a device reports about one of its features.
type Inventory struct {
	// Feature is the present content of the feature, whose ID says which one it is. Fields that are
	// not reported are as they were reported before.
	Feature Feature
	// Installed and Context are the software that the feature has installed, and what else matters
	// for an installation, such as the hardware. nil: not reported now, so what is stored stays;
	// empty: there is none.
	Installed, Context []Software
	// Edits are changes of single entries of what is stored, if the whole list is not reported.
	Edits []SoftwareEdit
	// Removed means that the device does not have the feature any more.
	Removed bool
	// ReplacesAll means that the device reports all of its features anew, and this is the first
	// one: features that it reported earlier, and does not report again at once, are dropped. The
	// id of the feature may be empty then.
	ReplacesAll bool
}

// SoftwareEdit is a change of one entry of the software or the context of a feature.
type SoftwareEdit struct {
	// Context means that the entry is one of Inventory.Context, and not of Inventory.Installed.
	Context bool
	// Removed means that the device does not have the software any more. The parts of its name are
	// then a guess: entries are the same if group.name:version is.
	Removed  bool
	Software Software
}
