// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package restart ends Goshawk in the middle of things and starts it again, on the same API server
// and with devices that go on polling; and it runs two of them side by side.
package restart

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.AtOnce(6) // a story mostly waits for its devices
	cluster.Main(m)
}
