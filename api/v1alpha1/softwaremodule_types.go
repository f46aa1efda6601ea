// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Protocol is the protocol by which an artifact is fetched.
// +kubebuilder:validation:Enum=HTTP;HTTPS;FTP;SFTP;OCI
type Protocol string

const (
	// ProtocolHTTP is HTTP without encryption.
	ProtocolHTTP Protocol = "HTTP"
	// ProtocolHTTPS is HTTP over TLS.
	ProtocolHTTPS Protocol = "HTTPS"
	// ProtocolFTP is the File Transfer Protocol.
	ProtocolFTP Protocol = "FTP"
	// ProtocolSFTP is the SSH File Transfer Protocol.
	ProtocolSFTP Protocol = "SFTP"
	// ProtocolOCI is a blob of an OCI registry. Devices cannot fetch it: Goshawk does, whatever
	// delivery says.
	ProtocolOCI Protocol = "OCI"
)

// Delivery is how devices get the artifacts of a module.
// +kubebuilder:validation:Enum=Direct;Proxy
type Delivery string

const (
	// DeliveryDirect gives devices the URLs of the module, from which they fetch the files.
	DeliveryDirect Delivery = "Direct"
	// DeliveryProxy gives devices URLs of the device API, which fetches the files, verifies them
	// and sends them to the devices.
	DeliveryProxy Delivery = "Proxy"
)

// PullSecretReference names a Secret with the credentials of an OCI registry.
type PullSecretReference struct {
	// name is the name of the Secret, in the namespace of the module. Its type is
	// kubernetes.io/dockerconfigjson, as kubectl create secret docker-registry writes it. Its
	// credentials are sent only to the registry that it names them for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// RollbackSupport reports whether a device returns to its old state by itself.
// +kubebuilder:validation:Enum=None;Supported
type RollbackSupport string

const (
	// RollbackNone means that it is not certain what the device runs after an update that failed or
	// was canceled during the installation.
	RollbackNone RollbackSupport = "None"
	// RollbackSupported means that a device whose update fails or is canceled runs what it ran
	// before.
	RollbackSupported RollbackSupport = "Supported"
)

// Checksums are the checksums of an artifact, as lower-case hexadecimal digits.
type Checksums struct {
	// sha256 is the SHA-256 of the file. It identifies the content wherever the URL points.
	// Required.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="sha256 must be 64 lower-case hexadecimal digits, as sha256sum prints them"
	SHA256 string `json:"sha256"`

	// sha1 is the SHA-1 of the file, for clients that check it instead, such as
	// rauc-hawkbit-updater. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{40}$')",message="sha1 must be 40 lower-case hexadecimal digits, as sha1sum prints them"
	SHA1 string `json:"sha1,omitempty"`

	// md5 is the MD5 of the file, for the .MD5SUM resource of DDI. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{32}$')",message="md5 must be 32 lower-case hexadecimal digits, as md5sum prints them"
	MD5 string `json:"md5,omitempty"`
}

// Download is one place from which an artifact can be fetched.
// +kubebuilder:validation:XValidation:rule="self.protocol == 'OCI' ? self.url.matches('^oci://[^/ ]+/[^ ]+@sha256:[0-9a-f]{64}$') : !self.url.startsWith('oci://')",message="protocol OCI goes with a url such as oci://registry.example.com/os/rootfs@sha256:<digest of the blob>, and such a url goes with protocol OCI",fieldPath=".url"
// +kubebuilder:validation:XValidation:rule="!has(self.pullSecretRef) || self.protocol == 'OCI'",message="pullSecretRef goes with protocol OCI only: remove it, or use protocol OCI",fieldPath=".pullSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.md5URL) || self.protocol != 'OCI'",message="md5URL does not go with protocol OCI: remove it",fieldPath=".md5URL"
type Download struct {
	// protocol is how the file is fetched; a device ignores protocols that it does not support.
	// +required
	Protocol Protocol `json:"protocol"`

	// url is where the file is. With delivery Direct it is given to devices unchanged, and Goshawk
	// does not fetch it. With protocol OCI it is oci://registry/repository@sha256:digest, where the
	// digest is that of the blob with the file, so it is the same as checksums.sha256. At most 2048
	// characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|s?ftp|oci)://[^/ ]+(/[^ ]*)?$')",message="url must be an absolute URL with a host, such as https://cdn.example.com/rootfs.swu"
	URL string `json:"url"`

	// md5URL is where a file with the MD5 sum can be fetched. Absent, and with delivery Proxy: the
	// device API serves the MD5 sum. At most 2048 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|s?ftp)://[^/ ]+(/[^ ]*)?$')",message="md5URL must be an absolute URL with a host"
	MD5URL string `json:"md5URL,omitempty"`

	// pullSecretRef names a Secret with the credentials of the registry, for protocol OCI. Absent:
	// the registry is asked without credentials.
	// +optional
	PullSecretRef *PullSecretReference `json:"pullSecretRef,omitempty"`
}

// Artifact is one file of a module.
// +kubebuilder:validation:XValidation:rule="self.downloads.all(d, !d.url.matches('^oci:.*@sha256:[0-9a-f]{64}$') || d.url.endsWith('@sha256:' + self.checksums.sha256))",message="the digest in the url of a download with protocol OCI must be checksums.sha256: give the digest of the blob with the file, not that of its manifest",fieldPath=".downloads"
type Artifact struct {
	// fileName is the name of the file as the device sees it, unique in the module. 1 to 256
	// characters without slashes and white space.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/\\\\s]+$')",message="fileName must be a plain file name without slashes or blanks"
	FileName string `json:"fileName"`

	// size is the length of the file in bytes. At most 1 TiB.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1099511627776
	Size int64 `json:"size"`

	// checksums identify the content of the file.
	// +required
	Checksums Checksums `json:"checksums"`

	// downloads are the places from which the file can be fetched, in order of preference; 1 to 10.
	// They may change at any time, even if the module is locked.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Downloads []Download `json:"downloads"`
}

// SoftwareModuleSpec describes one piece of software and its files. Written by the user.
// +kubebuilder:validation:XValidation:rule="!has(self.delivery) || self.delivery != 'Proxy' || !has(self.artifacts) || self.artifacts.all(a, a.downloads.exists(d, d.protocol in ['HTTP', 'HTTPS', 'OCI']))",message="with delivery: Proxy each artifact needs a download with protocol HTTPS, HTTP or OCI: add one, or choose delivery: Direct",fieldPath=".artifacts"
// +kubebuilder:validation:XValidation:rule="!has(self.delivery) || self.delivery != 'Direct' || !has(self.artifacts) || self.artifacts.all(a, a.downloads.exists(d, d.protocol != 'OCI'))",message="devices cannot fetch from OCI registries: with delivery: Direct each artifact needs a download with another protocol than OCI; add one, or choose delivery: Proxy",fieldPath=".artifacts"
type SoftwareModuleSpec struct {
	// type is the kind of software, such as os or app (DDI: the part of a chunk). Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="type is immutable: create another SoftwareModule"
	Type string `json:"type"`

	// name is the name of the software. The combination of type, name and version is unique in the
	// namespace: a newer duplicate has Ready=False with reason Duplicate. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="name is immutable: create another SoftwareModule"
	Name string `json:"name"`

	// version is the version of the software. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="version is immutable: create another SoftwareModule"
	Version string `json:"version"`

	// vendor is the vendor of the software, for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Vendor string `json:"vendor,omitempty"`

	// description is a text for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// delivery is how devices get the artifacts: Direct from the URLs of their downloads, or Proxy
	// through the device API. Absent: the flag --artifact-delivery decides (Direct by default). An
	// artifact whose downloads are all OCI is always delivered through the device API. It may
	// change at any time, even if the module is locked: checksums pin the content.
	// +optional
	Delivery Delivery `json:"delivery,omitempty"`

	// artifacts are the files of the module, at most 50. Empty is legal: metadata can be the whole
	// update. Frozen once the module is locked, except their downloads.
	// +optional
	// +listType=map
	// +listMapKey=fileName
	// +kubebuilder:validation:MaxItems=50
	Artifacts []Artifact `json:"artifacts,omitempty"`

	// metadata are key-value pairs about the module, at most 100. Entries that are visibleToDevice
	// are frozen once the module is locked.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=100
	Metadata []MetadataEntry `json:"metadata,omitempty"`

	// rollback declares whether a device returns to its old state by itself when an update with
	// this module fails or is canceled (Mender: inconsistent). Set Supported for devices with two
	// slots (A/B). Default None: a target whose update failed or was canceled after the
	// installation may have started is inconsistent.
	// +optional
	// +default="None"
	Rollback RollbackSupport `json:"rollback,omitempty"`
}

// SoftwareModuleStatus is the observed state of a SoftwareModule. Written by the SoftwareModule
// controller.
type SoftwareModuleStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// locked is true once a DistributionSet that is in use or invalidated contains the module. It
	// never becomes false again.
	// +optional
	Locked bool `json:"locked,omitempty"`

	// conditions are the conditions of the object: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SoftwareModule is one piece of software with its files (hawkBit: Software Module). Goshawk stores
// no files: devices fetch them from the URLs of the module, or through the device API.
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
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec SoftwareModuleSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status SoftwareModuleStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// SoftwareModuleList is a list of SoftwareModules.
// +kubebuilder:object:root=true
type SoftwareModuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SoftwareModule `json:"items"`
}
