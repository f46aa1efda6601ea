// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package disk

import "syscall"

// SyncAll makes all that was written to any file system durable.
func (OS) SyncAll() { syscall.Sync() }
