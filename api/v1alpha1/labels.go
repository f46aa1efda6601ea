// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

const (
	// RolloutFinalizer holds a Rollout until its deletionCancellation has been carried out and its
	// DeploymentGroups are gone. The Rollout's controller adds and removes it; it waits for no
	// device.
	RolloutFinalizer = "goshawk.dev/rollout"
	// DeploymentGroupFinalizer protects a frozen membership from being deleted by hand. Only the
	// Rollout's controller removes it.
	DeploymentGroupFinalizer = "goshawk.dev/deploymentgroup"
	// DistributionSetFinalizer makes sure that an invalidation is written to the invalidation
	// record before the set can vanish.
	DistributionSetFinalizer = "goshawk.dev/distributionset"

	// RolloutLabel names, on a DeploymentGroup, the Rollout it belongs to (shortened to 63
	// characters; the owner's uid decides).
	RolloutLabel = "goshawk.dev/rollout"
	// ManagedByLabel and ManagedByValue mark what Goshawk generates.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of ManagedByLabel.
	ManagedByValue = "goshawk"
	// InvalidatedNamespaceLabel names, on a ConfigMap with a part of the record of invalidated
	// sets, the namespace of those sets.
	InvalidatedNamespaceLabel = "goshawk.dev/invalidated-namespace"
	// ArgoIgnoreAnnotation keeps Argo CD from refreshing an application each time a generated
	// object changes.
	ArgoIgnoreAnnotation = "argocd.argoproj.io/ignore-resource-updates"
)
