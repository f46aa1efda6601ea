// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package swupdate lets a device that nobody here wrote go through the device API: Debian's
// swupdate, with signed images, a real API server and the whole of Goshawk in this process.
//
// What swupdate does differently from what one expects, and what these stories therefore hold
// Goshawk to:
//   - it fetches one action three times before it turns to it;
//   - after the installation it waits to be confirmed (by a restart into the new system, here by
//     its IPC tool) and ignores every other action until then;
//   - it closes an action as a success when it is told to skip it, so it must never be told so.
package swupdate

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }
