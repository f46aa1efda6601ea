// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package disk

// SyncAll does nothing: the agent is for Linux, and only its tests run elsewhere.
func (OS) SyncAll() {}
