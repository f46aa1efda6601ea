// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

const (
	// RolloutFinalizer keeps a Rollout until its deletionCancellation has been carried out and its
	// DeploymentGroups are deleted. The Rollout controller adds and removes it; it waits for no
	// device.
	RolloutFinalizer = "goshawk.dev/rollout"
	// DeploymentGroupFinalizer protects a DeploymentGroup from being deleted by hand. Only the
	// Rollout controller removes it.
	DeploymentGroupFinalizer = "goshawk.dev/deploymentgroup"
	// DistributionSetFinalizer keeps a DistributionSet until its invalidation is in the
	// invalidation record.
	DistributionSetFinalizer = "goshawk.dev/distributionset"

	// RolloutLabel is the label of a DeploymentGroup with the name of its Rollout, shortened to 63
	// characters. The uid of the owner decides.
	RolloutLabel = "goshawk.dev/rollout"
	// ManagedByLabel is the label of all objects that Goshawk generates.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of ManagedByLabel.
	ManagedByValue = "goshawk"
	// InvalidatedNamespaceLabel is the label of a ConfigMap of the invalidation record with the
	// namespace of the invalidated sets.
	InvalidatedNamespaceLabel = "goshawk.dev/invalidated-namespace"
	// ReportLabel is the label of a ConfigMap with the archived report of a Rollout: the name of
	// the Rollout, shortened to 63 characters. `kubectl goshawk report --archive` writes it.
	ReportLabel = "goshawk.dev/report"
	// ReportRolloutAnnotation is the annotation of such a ConfigMap with the name of the Rollout.
	ReportRolloutAnnotation = "goshawk.dev/report-rollout"
	// ReportUIDAnnotation is the annotation of such a ConfigMap with the UID of the Rollout.
	ReportUIDAnnotation = "goshawk.dev/report-uid"
	// ReportTimeAnnotation is the annotation of such a ConfigMap with the time of the archiving.
	ReportTimeAnnotation = "goshawk.dev/report-archived-at"
	// DeviceAccessAnnotation is the annotation of a Target that the device API has registered, with
	// the name of the DeviceAccess that allowed it. It only counts the Target for that
	// DeviceAccess: users who may write Targets may change it.
	DeviceAccessAnnotation = "goshawk.dev/device-access"
	// ManifestURLAnnotation is an annotation that users may write: the http or https URL of the
	// manifest of the object in Git, such as the page of a forge that edits it. The plugin and the
	// console show it where a change is to be committed. Another value is ignored.
	ManifestURLAnnotation = "goshawk.dev/manifest-url"
	// ArgoIgnoreAnnotation prevents Argo CD from refreshing an application each time a generated
	// object changes.
	ArgoIgnoreAnnotation = "argocd.argoproj.io/ignore-resource-updates"
)
