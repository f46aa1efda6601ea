// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops tests what Argo CD, Flux and kubectl expect of a controller: the writers of
// fields, the conditions, and that a manifest that is applied again changes nothing.
package gitops

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

func TestMain(m *testing.M) {
	world.Wrap(ledger.Wrap)
	cluster.BeforeStop(ledger.Audit)
	cluster.AtOnce(6) // a story mostly waits for its devices
	cluster.Main(m)
}
