// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

func TestUpdateFromOfferToResult(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		d.nothing("without an offer")
		w.offer("app")
		c := d.command(wire.Install)
		d.respond(c, 204)
		w.wantState(c.id(), v1alpha1.ActionRetrieved)
		for _, status := range []string{wire.Started, wire.Downloading, wire.Downloaded, wire.Installing, wire.Installed} {
			d.report(c.id(), status, "app")
		}
		w.wantState(c.id(), v1alpha1.ActionInstalling)
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		time.Sleep(time.Hour)
		d.nothing("after the result")
		if n := len(w.calls("Deployment")); n != 1 {
			t.Errorf("the deployment was read %d times, want once for its command", n)
		}
		if n := w.backend.Connections(dev1); n != 1 {
			t.Errorf("%d connections are recorded", n)
		}
		d.disconnect()
		if n := w.backend.Connections(dev1); n != 0 {
			t.Errorf("%d connections are recorded after the only one has ended", n)
		}
		synctest.Wait()
		w.online("app")
		w.stop()
		if n, watched := w.backend.Connections(dev1), w.backend.Watched(dev1); n != 0 || watched != 0 {
			t.Errorf("after the end of the server %d connections are recorded, and %d functions are called", n, watched)
		}
	})
}
