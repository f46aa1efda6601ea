// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac has the ClusterRoles for people of this version, for programs that check manifests
// without an API server.
package rbac

import _ "embed"

// UserRoles has the ClusterRoles as YAML documents.
//
//go:embed user_roles.yaml
var UserRoles []byte
