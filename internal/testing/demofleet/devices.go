// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package demofleet

import (
	"time"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// step is one report of a device about its update.
type step struct {
	event    action.Event
	code     string
	details  []string
	progress int32
}

var (
	downloads = step{event: action.Download}
	installs  = step{event: action.Proceed, details: []string{"writing partition B"}}
	succeeds  = step{event: action.Succeed}
)

// fails is the report that an update has failed.
func fails(code string, details ...string) step {
	return step{event: action.Fail, code: code, details: details}
}

// update lets devices poll, start the update that they are offered, and report.
func (w *World) update(names []string, steps ...step) {
	w.t.Helper()
	for _, name := range names {
		device := deviceapi.Device{Namespace: Namespace, ControllerID: name}
		state, err := w.backend.State(w.t.Context(), device, "192.0.2.17")
		if err != nil {
			w.t.Fatal(err)
		}
		if state.DeployID == 0 {
			w.t.Fatalf("device %s is offered nothing", name)
		}
		if _, err := w.backend.Deployment(w.t.Context(), device, state.DeployID); err != nil {
			w.t.Fatal(err)
		}
		for _, s := range steps {
			report := action.Report{ID: state.DeployID, Event: s.event, StatusCode: s.code, Details: s.details}
			if s.progress > 0 {
				report.Progress = &s.progress
			}
			if err := w.backend.Report(w.t.Context(), device, report); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.Pass(time.Minute)
}

// Succeed lets devices finish the update that they are offered, or have started.
func (w *World) Succeed(names ...string) {
	w.t.Helper()
	w.update(names, succeeds)
}
