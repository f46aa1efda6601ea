// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 contains the API types of Goshawk: seven kinds, with their limits and defaults.
//
// People and GitOps tools write spec. Goshawk writes status and its own finalizers, and nothing
// else. Values have the names that hawkBit uses, in PascalCase, if hawkBit has a name.
//
// +kubebuilder:object:generate=true
// +groupName=goshawk.dev
package v1alpha1
