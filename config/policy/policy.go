// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy has the ValidatingAdmissionPolicies of this version, for programs that check
// manifests without an API server.
package policy

import "embed"

// Files has a file for each policy, with the policy and its binding, and kustomization.yaml.
//
//go:embed *.yaml
var Files embed.FS
