// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import "testing"

func TestProxiesAreGivenMoreTimeThanDevices(t *testing.T) {
	if deviceIdleTimeout >= idleTimeout {
		t.Errorf("connections of a device stay idle for %s, those of a proxy for %s", deviceIdleTimeout, idleTimeout)
	}
}
