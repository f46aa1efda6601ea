// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package restart ends Goshawk during updates and starts it again, on the same API server and while
// devices poll; and it runs two processes in parallel.
package restart

import (
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.AtOnce(6) // a story mostly waits for its devices
	cluster.Main(m)
}
