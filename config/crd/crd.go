// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd has the CustomResourceDefinitions of this version, for programs that check manifests
// without an API server.
package crd

import "embed"

// Files has the directory bases with one YAML file for each kind.
//
//go:embed bases/*.yaml
var Files embed.FS
