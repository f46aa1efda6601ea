// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is Goshawk's vocabulary: the six kinds a fleet is described with, their words
// and their bounds.
//
// Intent is spec, progress is status: people and GitOps tools write spec, Goshawk writes status
// and, of the rest, only its own finalizers. Words are hawkBit's in PascalCase wherever hawkBit has
// a word.
//
// +kubebuilder:object:generate=true
// +groupName=goshawk.dev
package v1alpha1
