// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stories has stories of whole rollouts: manifests are applied to a real API server,
// controllers and device API run, and simulated devices use the device API.
package stories

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// written has all writes of Goshawk during the stories. It is audited after the last story.
var written world.Ledger

func TestMain(m *testing.M) {
	world.Wrap(written.Wrap)
	cluster.BeforeStop(metricsKeepToTheirDefinitions)
	cluster.BeforeStop(written.Audit)
	cluster.AtOnce(6) // a story mostly waits for its devices
	cluster.Main(m)
}
