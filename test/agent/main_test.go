// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agent tests Goshawk with its own agent: processes of goshawk-agent update a fleet, and
// what Goshawk shows is what each device says about itself.
package agent

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }
