// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy has the ValidatingAdmissionPolicies of this version, for programs that check
// manifests without an API server.
package policy

import "embed"

// Files has a YAML file with a policy and its binding for each kind.
//
//go:embed deletions.yaml distributionsets.yaml rollouts.yaml targets.yaml
var Files embed.FS
