// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Protocol is how an artifact is fetched.
// +kubebuilder:validation:Enum=HTTP;HTTPS;FTP;SFTP
type Protocol string

// Protocols a download may name (SoftwareUpdatable: Protocol).
const (
	ProtocolHTTP  Protocol = "HTTP"
	ProtocolHTTPS Protocol = "HTTPS"
	ProtocolFTP   Protocol = "FTP"
	ProtocolSFTP  Protocol = "SFTP"
)

// RollbackSupport says whether a device returns to its old state by itself.
// +kubebuilder:validation:Enum=None;Supported
type RollbackSupport string

const (
	// RollbackNone means that it is not certain what the device runs after an update that failed or
	// was canceled while it worked.
	RollbackNone RollbackSupport = "None"
	// RollbackSupported means that a device whose update fails or is canceled runs what it ran
	// before.
	RollbackSupported RollbackSupport = "Supported"
)

// Checksums of an artifact, as lower-case hexadecimal digits.
type Checksums struct {
	// sha256 pins the artifact's bytes wherever its URL points. Required.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="sha256 must be 64 lower-case hexadecimal digits, as sha256sum prints them"
	SHA256 string `json:"sha256"`

	// sha1 is what some clients check instead (RAUC's needs it). Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{40}$')",message="sha1 must be 40 lower-case hexadecimal digits, as sha1sum prints them"
	SHA1 string `json:"sha1,omitempty"`

	// md5 serves DDI's .MD5SUM resource. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{32}$')",message="md5 must be 32 lower-case hexadecimal digits, as md5sum prints them"
	MD5 string `json:"md5,omitempty"`
}

// Download is one place an artifact can be fetched from.
type Download struct {
	// protocol is how it is fetched; a device ignores those it does not speak.
	// +required
	Protocol Protocol `json:"protocol"`

	// url is where the bytes are. Goshawk hands it out unchanged and fetches nothing itself. At
	// most 2048 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|s?ftp)://[^/ ]+(/[^ ]*)?$')",message="url must be an absolute URL with a host, such as https://cdn.example.com/rootfs.swu"
	URL string `json:"url"`

	// md5URL is where a file with the MD5 sum can be fetched. Optional; without it the device API
	// serves the sum itself.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|s?ftp)://[^/ ]+(/[^ ]*)?$')",message="md5URL must be an absolute URL with a host"
	MD5URL string `json:"md5URL,omitempty"`
}

// Artifact is one file of a module.
type Artifact struct {
	// fileName is the file's name as the device sees it; unique in the module.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/\\\\s]+$')",message="fileName must be a plain file name without slashes or blanks"
	FileName string `json:"fileName"`

	// size is the file's length in bytes.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1099511627776
	Size int64 `json:"size"`

	// checksums pin the file's content.
	// +required
	Checksums Checksums `json:"checksums"`

	// downloads say where the file can be fetched, in order of preference; at least one, at most
	// 10. They may change at any time, also when the module is locked: URLs expire, checksums pin.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Downloads []Download `json:"downloads"`
}

// SoftwareModuleSpec is one piece of software: what it is and where its files are.
type SoftwareModuleSpec struct {
	// type is the kind of software, such as os or app; DDI's chunk part and SoftwareUpdatable's
	// softwareModuleType. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="type is immutable: create another SoftwareModule"
	Type string `json:"type"`

	// name of the software. (type, name, version) is unique in the namespace: the newer duplicate
	// is Ready=False, Duplicate. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="name is immutable: create another SoftwareModule"
	Name string `json:"name"`

	// version of the software. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="version is immutable: create another SoftwareModule"
	Version string `json:"version"`

	// vendor says who made it. Optional, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Vendor string `json:"vendor,omitempty"`

	// description is for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// artifacts are the files of the module, at most 50. Empty is legal: metadata can be the whole
	// update. Frozen once the module is locked, except their downloads.
	// +optional
	// +listType=map
	// +listMapKey=fileName
	// +kubebuilder:validation:MaxItems=50
	Artifacts []Artifact `json:"artifacts,omitempty"`

	// metadata are free words about the module, at most 100. Those that are visibleToDevice are
	// frozen once the module is locked.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=100
	Metadata []MetadataEntry `json:"metadata,omitempty"`

	// rollback says whether a device returns to its old state by itself when this module's update
	// fails or is canceled (Mender: inconsistent). Set Supported for devices with two slots (A/B).
	// Default None: a target whose update failed or was canceled after installing may have started
	// is then inconsistent.
	// +optional
	// +default="None"
	Rollback RollbackSupport `json:"rollback,omitempty"`
}

// SoftwareModuleStatus is what Goshawk knows of the module. Written by the SoftwareModule
// controller.
type SoftwareModuleStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// locked is true once a DistributionSet in use contains the module. Never goes back.
	// +optional
	Locked bool `json:"locked,omitempty"`

	// conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SoftwareModule is one piece of software with its files (hawkBit: Software Module). Artifacts live
// where their URLs say; Goshawk distributes references and checksums, not bytes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=swmod,categories=goshawk
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Module",type=string,JSONPath=`.spec.name`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Locked",type=boolean,JSONPath=`.status.locked`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.locked) || !oldSelf.status.locked || ((has(self.spec.artifacts) ? self.spec.artifacts : []).size() == (has(oldSelf.spec.artifacts) ? oldSelf.spec.artifacts : []).size() && (!has(self.spec.artifacts) || self.spec.artifacts.all(a, oldSelf.spec.artifacts.exists(o, o.fileName == a.fileName && o.size == a.size && o.checksums == a.checksums))))",message="artifacts is immutable once the module is locked, except their downloads: a DistributionSet in use or invalidated contains it; create another SoftwareModule",fieldPath=".spec.artifacts"
// +kubebuilder:validation:XValidation:rule=`!has(oldSelf.status) || !has(oldSelf.status.locked) || !oldSelf.status.locked || (has(self.spec.metadata) ? self.spec.metadata : []).transformMapEntry(i, m, has(m.visibleToDevice) && m.visibleToDevice, {m.key: has(m.value) ? m.value : ""}) == (has(oldSelf.spec.metadata) ? oldSelf.spec.metadata : []).transformMapEntry(i, m, has(m.visibleToDevice) && m.visibleToDevice, {m.key: has(m.value) ? m.value : ""})`,message="metadata that is visibleToDevice is immutable once the module is locked: a DistributionSet in use or invalidated contains it; create another SoftwareModule",fieldPath=".spec.metadata"
type SoftwareModule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec SoftwareModuleSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status SoftwareModuleStatus `json:"status,omitempty"`

	// Unreadable is set in memory only, where the stored object cannot be decoded as a whole; nil:
	// it can.
	Unreadable *Unreadable `json:"-"`
}

// SoftwareModuleList is a list of SoftwareModules.
// +kubebuilder:object:root=true
type SoftwareModuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SoftwareModule `json:"items"`
}
