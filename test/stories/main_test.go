// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stories tells whole stories: manifests applied to a real API server, the controllers and
// the device API at work, simulated devices at the device API.
package stories

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// written has all that Goshawk writes while stories are told.
var written world.Ledger

func TestMain(m *testing.M) {
	world.Wrap(written.Wrap)
	cluster.AtOnce(6) // a story mostly waits for its devices
	cluster.Main(m)
}
