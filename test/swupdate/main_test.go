// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package swupdate tests the device API with a real client: Debian's swupdate, with signed images,
// a real API server and the whole of Goshawk in this process.
//
// Unexpected behavior of swupdate, which these stories therefore test:
//   - it fetches the deployment of an action three times before it starts it;
//   - after the installation it waits to be confirmed (by a restart into the new system, here by
//     its IPC tool) and ignores every other action until then;
//   - it closes an action as a success when the deployment says skip, so no deployment may say so.
package swupdate

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.AtOnce(6) // a story has one device, for whose next poll it mostly waits
	cluster.Main(m)
}
