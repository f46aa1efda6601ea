// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
)

// TestPollIntervalsFile: a process that serves devices follows the file, also if it is missing at
// the start.
func TestPollIntervalsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "intervals.yaml")
	for name, tc := range map[string]struct {
		options Options
		want    bool
	}{
		"a device API with a file":    {Options{DeviceAPI: true, PollIntervalsFile: file}, true},
		"a device API without a file": {Options{DeviceAPI: true}, false},
		"controllers with a file":     {Options{Controllers: true, Namespace: "goshawk-system", PollIntervalsFile: file}, false},
	} {
		p, err := newProcess(&rest.Config{}, tc.options)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := p.o.Backend.PollIntervals != nil; got != tc.want {
			t.Errorf("%s: it follows a file: %t, want %t", name, got, tc.want)
		}
	}
}
