// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

// Limits of the schema, in characters.
const (
	maxWord           = 64
	maxHistoryMessage = 256
	maxSetName        = 253
	maxMessage        = 512
)
