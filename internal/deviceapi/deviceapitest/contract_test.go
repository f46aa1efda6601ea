// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapitest

import (
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

func TestBackend(t *testing.T) {
	Run(t, func(_ *testing.T, setup Setup) World {
		device := deviceapi.Device{Namespace: "fleet", ControllerID: "dev-0"}
		now := time.Date(2026, 11, 2, 6, 1, 0, 0, time.UTC)
		module := deviceapi.Module{ID: "linux", Type: "os", Name: "linux", Version: "6.6", Artifacts: []deviceapi.Artifact{{FileName: "rootfs.swu"}}}
		b := &Backend{
			Tokens:   map[deviceapi.Device]string{device: "let-me-in"},
			Update:   &Update{Set: Set{Name: "firmware", Version: "1.0", Modules: []deviceapi.Module{module}}, Confirm: setup.Confirm, DownloadOnly: setup.DownloadOnly},
			Sets:     []Set{{Name: "firmware", Version: "0.9"}, {Name: "broken", Version: "1.0", Fault: "module os is missing"}},
			Starting: setup.Starting,
			Now:      func() time.Time { return now },
		}
		return World{
			Backend: b, Device: device, Token: "let-me-in",
			CancelUpdate: func() { b.CancelUpdate(device) },
			Delete:       func() { b.SetToken(device, "") },
			Wait:         func(d time.Duration) { now = now.Add(d) },
		}
	})
}
