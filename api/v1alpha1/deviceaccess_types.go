// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultMaxTargets is the default of registration.maxTargets.
const DefaultMaxTargets = 1000

// Default names of the headers of a trusted proxy, as in hawkBit.
const (
	DefaultControllerIDHeader = "X-Controller-Id"
	DefaultAuthorityHeader    = "X-Authority"
)

// CertificateIdentity is the part of a client certificate that names the device.
// +kubebuilder:validation:Enum=CommonName;URI
type CertificateIdentity string

const (
	// IdentityCommonName takes the common name of the subject, which must be the controllerID.
	IdentityCommonName CertificateIdentity = "CommonName"
	// IdentityURI takes the subject alternative names of type URI. One of them must be
	// goshawk://<namespace>/<controllerID>, with the controllerID escaped as in a URL.
	IdentityURI CertificateIdentity = "URI"
)

// GatewayToken accepts the tokens of a Secret for every target of a DeviceAccess.
type GatewayToken struct {
	// secretName is the name of a Secret of type goshawk.dev/device-tokens in the same namespace.
	// Each of its keys holds a token that is accepted, so two keys make a rotation without a gap.
	// Do not name a Secret that holds the tokens of targets: each of these devices could then act
	// for all targets of the DeviceAccess.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`
}

// ClientCertificate accepts client certificates. TLS must end at Goshawk, not at a proxy.
type ClientCertificate struct {
	// caSecretRef refers to the certificates of the CAs, in PEM: up to 100, so two make a rotation
	// without a gap. The type of the Secret must be goshawk.dev/device-tokens; the device API reads
	// no other Secrets. A device may send intermediate certificates together with its own.
	// +required
	CASecretRef SecretKeyReference `json:"caSecretRef"`

	// identity is the part of the certificate that names the device: CommonName or URI. Default
	// CommonName.
	// +optional
	// +default="CommonName"
	Identity CertificateIdentity `json:"identity,omitempty"`

	// revokedSerials are the serial numbers of certificates, or of intermediate CAs, that are not
	// accepted: hexadecimal, in upper or lower case, with or without colons. At most 5000.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f]+(:[0-9A-Fa-f]+)*$`
	RevokedSerials []string `json:"revokedSerials,omitempty"`
}

// TrustedProxy accepts devices that a proxy has authenticated (hawkBit: reverse proxy,
// X-Controller-Id and X-Authority). The proxy terminates TLS, verifies the client certificate, and
// must remove these headers from the requests of devices: also authorityHeader with -1, and without
// a number if the proxy sends the numbered ones.
type TrustedProxy struct {
	// addresses are the addresses of the proxies, as the device API sees them. The headers are
	// ignored in requests from other addresses. 1 to 50.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, isIP(a) || isCIDR(a))",message="addresses must be IP addresses or ranges such as 10.1.0.0/16"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !isCIDR(a) || cidr(a).prefixLength() > 0)",message="addresses must not contain all addresses: every client could then write the headers of the proxy"
	Addresses []string `json:"addresses"`

	// controllerIDHeader is the header with the controllerID. Default X-Controller-Id.
	// +optional
	// +default="X-Controller-Id"
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9-]+$`
	ControllerIDHeader string `json:"controllerIDHeader,omitempty"`

	// authorityHeader is the header with the issuer of the client certificate, as its name or a
	// hash. If a request does not have it, the headers with this name and -1 to -10 count, up to
	// the first one that is missing, for the issuer and the issuers above it. A header that occurs
	// twice does not count. Default X-Authority.
	// +optional
	// +default="X-Authority"
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9-]+$`
	AuthorityHeader string `json:"authorityHeader,omitempty"`

	// authorities are the accepted values of authorityHeader, in upper or lower case. One of the
	// values that the proxy sends must be among them. 1 to 50.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Authorities []string `json:"authorities"`
}

// Registration creates Targets for devices that have valid credentials and no Target.
type Registration struct {
	// controllerIDPattern is a regular expression (RE2) that the whole controllerID must match.
	// Absent: every controllerID. At most 256 characters, and at most 2000 characters and classes
	// when repetitions such as {12} are written out.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="(oldSelf.hasValue() && oldSelf.value() == self) || ''.matches(self) || !''.matches(self)",optionalOldSelf=true,message="controllerIDPattern must be a regular expression in RE2 syntax"
	ControllerIDPattern string `json:"controllerIDPattern,omitempty"`

	// labels are the labels of the Targets. targetSelector must select them. At most 20; keys of
	// goshawk.dev, kubernetes.io and k8s.io are reserved.
	// +optional
	// +kubebuilder:validation:MaxProperties=20
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="labels must have keys such as site or example.com/site"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('^([^/]*[.])?(goshawk[.]dev|kubernetes[.]io|k8s[.]io)/'))",message="labels must have no keys of goshawk.dev, kubernetes.io and k8s.io, which are reserved: choose another prefix"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// type is spec.type of the Targets. Absent: every set fits.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`

	// maxTargets is the maximum number of Targets of this DeviceAccess. At this number no further
	// device is registered, and the condition RegistrationStopped says so. Targets count by their
	// annotation goshawk.dev/device-access; one that is deleted makes room for another one. 1 to
	// 100000. Default 1000.
	// +optional
	// +default=1000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxTargets int32 `json:"maxTargets,omitempty"`
}

// DeviceAccessSpec says which credentials are accepted for which targets of the namespace. Written
// by the user.
// +kubebuilder:validation:XValidation:rule="!has(self.registration) || !has(self.targetSelector) || !has(self.targetSelector.matchLabels) || self.targetSelector.matchLabels.all(k, has(self.registration.labels) && k in self.registration.labels && self.registration.labels[k] == self.targetSelector.matchLabels[k]) || (oldSelf.hasValue() && has(oldSelf.value().registration) && has(oldSelf.value().targetSelector) && oldSelf.value().targetSelector == self.targetSelector && oldSelf.value().registration == self.registration)",optionalOldSelf=true,message="labels must contain everything in targetSelector.matchLabels: a device that is registered without them could not be served",fieldPath=".registration.labels"
// +kubebuilder:validation:XValidation:rule="has(self.gatewayToken) || has(self.clientCertificate) || has(self.trustedProxy) || (oldSelf.hasValue() && !has(oldSelf.value().gatewayToken) && !has(oldSelf.value().clientCertificate) && !has(oldSelf.value().trustedProxy))",optionalOldSelf=true,message="set gatewayToken, clientCertificate or trustedProxy: without one of them a DeviceAccess accepts nothing"
type DeviceAccessSpec struct {
	// targetSelector selects the targets that the credentials may act for, by their labels. Absent
	// or empty: all targets of the namespace.
	// +optional
	TargetSelector *TargetSelector `json:"targetSelector,omitempty"`

	// gatewayToken accepts `Authorization: GatewayToken <token>` for every selected target. Absent:
	// none is accepted.
	// +optional
	GatewayToken *GatewayToken `json:"gatewayToken,omitempty"`

	// clientCertificate accepts client certificates, each for the selected target that it names.
	// Absent: none is accepted.
	// +optional
	ClientCertificate *ClientCertificate `json:"clientCertificate,omitempty"`

	// trustedProxy accepts headers of a proxy, for the selected target that they name. Absent: none
	// are accepted.
	// +optional
	TrustedProxy *TrustedProxy `json:"trustedProxy,omitempty"`

	// registration creates a Target for a device that has no Target and sends credentials that this
	// DeviceAccess accepts. Absent: such a device is refused like one with wrong credentials.
	// +optional
	Registration *Registration `json:"registration,omitempty"`
}

// DeviceAccessStatus is the observed state of a DeviceAccess. Written by the device API, the only
// part of Goshawk that reads Secrets.
type DeviceAccessStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// registered is the number of Targets that exist and were registered by this DeviceAccess. It
	// is up to 10 s old.
	// +optional
	Registered int32 `json:"registered,omitempty"`
	// conditions are the conditions of the object: Ready, Stalled, RegistrationStopped.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DeviceAccess says which credentials are accepted for which targets of its namespace, in addition
// to the token of each target, and what happens to devices without a Target (hawkBit: gateway
// token, reverse proxy authentication, plug and play).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=deviceaccesses,shortName=devacc,categories=goshawk
// +kubebuilder:printcolumn:name="Registered",type=integer,JSONPath=`.status.registered`,description="targets that were registered by this object"
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.spec.registration.maxTargets`,description="the maximum of them"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DeviceAccess struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec DeviceAccessSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status DeviceAccessStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. nil: the object was
	// decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// DeviceAccessList is a list of DeviceAccesses.
// +kubebuilder:object:root=true
type DeviceAccessList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DeviceAccess `json:"items"`
}
