// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Limits of a TargetInventory. Together they keep one object below 256 KiB.
const (
	// MaxInventoryFeatures is the largest number of features of one device.
	MaxInventoryFeatures = 16
	// MaxInventoryEntries is the largest number of entries of installed and context together.
	MaxInventoryEntries = 512
	// MaxInventoryBytes is how many bytes these entries may take as JSON.
	MaxInventoryBytes = 64 << 10
	// MaxInventoryHistory is the largest number of changes in the history.
	MaxInventoryHistory = 50
	// MaxInventoryHistoryBytes is how many bytes the history may take as JSON.
	MaxInventoryHistoryBytes = 32 << 10
	// MaxInventoryChangeBytes is how many bytes the entries of one change may take as JSON.
	MaxInventoryChangeBytes = 4 << 10
	// MaxInventoryOperationBytes is how many bytes one operation may take as JSON.
	MaxInventoryOperationBytes = 4 << 10
)

// InventorySoftware is one piece of software on a device, or one property that software depends on
// (SoftwareUpdatable: DependencyDescription). An entry with a longer text than the schema allows,
// or without a name, is left out and counted in status.truncated.
type InventorySoftware struct {
	// feature is the id of the feature that reported the entry. Absent: the device reported it in
	// an attribute.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Feature string `json:"feature,omitempty"`
	// group is the vendor, or whatever makes the name unique, such as org.example.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Group string `json:"group,omitempty"`
	// name is the name within the group.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// version is the version, in whatever form the device writes versions.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Version string `json:"version,omitempty"`
	// type is the kind of software, such as docker:image or hw-part. If the device reports none for
	// an installed entry, it is the softwareModuleType of the feature.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`
}

// InventoryOperation is the state of an operation, as a feature reported it (SoftwareUpdatable:
// OperationStatus). It takes at most 4 KiB: software that does not fit is left out, and the message
// is shortened.
type InventoryOperation struct {
	// correlationID is the id of the action, or whatever id the device reported.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	CorrelationID string `json:"correlationID,omitempty"`
	// status is the status in the words of SoftwareUpdatable, such as FINISHED_SUCCESS. It may be a
	// word that Goshawk does not know.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Status string `json:"status"`
	// message is the text of the device.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
	// progress is in percent, 0 to 100. Absent: not reported.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Progress *int32 `json:"progress,omitempty"`
	// statusCode is the device's own code of the result.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StatusCode string `json:"statusCode,omitempty"`
	// softwareModule is the module that the operation is about, as name:version. Absent for a
	// removal.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	SoftwareModule string `json:"softwareModule,omitempty"`
	// software lists the entries that a removal is about, at most 50.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Software []InventorySoftware `json:"software,omitempty"`
}

// InventoryFeature is one SoftwareUpdatable feature of a device: one type of software that the
// device can install.
type InventoryFeature struct {
	// id is the id of the feature in the device's thing.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// softwareModuleType is the type of modules that the feature installs. Absent: not reported
	// yet, and the feature serves no module.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SoftwareModuleType string `json:"softwareModuleType,omitempty"`
	// definition is the definition of the feature, as
	// org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0. Version 2 is supported; a feature
	// with another version serves no module.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Definition string `json:"definition,omitempty"`
	// installedReported is true once the feature has reported what it has installed, also if that
	// was nothing.
	// +optional
	InstalledReported bool `json:"installedReported,omitempty"`
	// truncatedInstalled is the number of installed entries of this feature that did not fit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TruncatedInstalled int32 `json:"truncatedInstalled,omitempty"`
	// truncatedContext is the number of context entries of this feature that did not fit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TruncatedContext int32 `json:"truncatedContext,omitempty"`
	// lastOperation is the last state that the feature reported. Intermediate states are written
	// only together with something else; status.actions of the Target has the progress.
	// +optional
	LastOperation *InventoryOperation `json:"lastOperation,omitempty"`
	// lastFailedOperation is the last state that the feature reported as failed.
	// +optional
	LastFailedOperation *InventoryOperation `json:"lastFailedOperation,omitempty"`
}

// InventorySource is the object that an action came from.
type InventorySource struct {
	// kind is the kind of the object.
	// +required
	Kind SourceKind `json:"kind"`
	// name is the name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// InventoryChange is one change of what is installed on a device. The entries of a change take at
// most 4 KiB.
type InventoryChange struct {
	// time is when Goshawk received the report.
	// +required
	Time metav1.Time `json:"time"`
	// actionID is the id of the action that was open at that time, or had been closed within the
	// two minutes before. Absent: there was none, so the change did not come from Goshawk.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	ActionID int32 `json:"actionID,omitempty"`
	// source is the object that this action came from.
	// +optional
	Source *InventorySource `json:"source,omitempty"`
	// added lists entries that are installed now and were not before.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Added []InventorySoftware `json:"added,omitempty"`
	// removed lists entries that were installed before and are not now.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Removed []InventorySoftware `json:"removed,omitempty"`
	// omitted is the number of further added and removed entries, which did not fit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Omitted int32 `json:"omitted,omitempty"`
}

// TargetInventoryStatus is what a device has reported about its software. Written by the device API
// only, when the content changes.
type TargetInventoryStatus struct {
	// targetUID is status.uid of the Target that the status is about. The status of an earlier
	// Target of the same name counts as empty.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	TargetUID types.UID `json:"targetUID,omitempty"`
	// features are the SoftwareUpdatable features of the device, at most 16. A device that speaks
	// DDI has none.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Features []InventoryFeature `json:"features,omitempty"`
	// installed is the software on the device, sorted by feature, group, name, version and type;
	// each entry once. At most 512 entries and 64 KiB together with context.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Installed []InventorySoftware `json:"installed,omitempty"`
	// context lists what decides whether software can be installed, such as hardware and runtimes;
	// sorted in the same way.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Context []InventorySoftware `json:"context,omitempty"`
	// contentsHash is the SHA-256 of installed in hexadecimal: devices with an equal hash have the
	// same software installed. Absent while nothing was reported, and while installed entries did
	// not fit, because then a part of the software is not known.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentsHash string `json:"contentsHash,omitempty"`
	// truncated is the number of reported entries that did not fit into installed and context. The
	// condition Truncated says so as well.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Truncated int32 `json:"truncated,omitempty"`
	// history lists the newest changes of installed, oldest first: at most 50, and 32 KiB. The
	// first report of a feature is not a change.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	History []InventoryChange `json:"history,omitempty"`
	// conditions are Ready and, only while True, Truncated and UnsupportedDefinition.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TargetInventory is what is on one device: its software, what it can install, and how that
// changed. It has the name of its Target, and is deleted with it. Generated by Goshawk; do not
// edit.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=targetinventories,shortName=tinv,categories=goshawk
// +kubebuilder:selectablefield:JSONPath=`.status.contentsHash`
// +kubebuilder:printcolumn:name="Contents",type=string,JSONPath=`.status.contentsHash`,description="devices with the same value have the same software installed"
// +kubebuilder:printcolumn:name="Truncated",type=integer,JSONPath=`.status.truncated`,description="reported entries that did not fit"
// +kubebuilder:printcolumn:name="Changed",type=date,JSONPath=`.status.history[-1:].time`,description="the time since the installed software last changed"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TargetInventory struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// status is what the device has reported.
	// +optional
	Status TargetInventoryStatus `json:"status,omitempty"`

	// Compact has what the caches keep of status.installed and status.context, which are then
	// empty: see Compress. It is nil in an object that was read from the API server. It is set in
	// memory only and never stored.
	Compact *CompactInventory `json:"-"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// TargetInventoryList is a list of TargetInventories.
// +kubebuilder:object:root=true
type TargetInventoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TargetInventory `json:"items"`
}
