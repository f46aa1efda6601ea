// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// TestResponsesAreCounted: responses are counted by command and result. A device cannot add a label
// by a command that does not exist.
func TestResponsesAreCounted(t *testing.T) {
	story(t, func(w *world) {
		registry := prometheus.NewRegistry()
		w.options.Registerer = registry
		w.crash(true)
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.respond(c, 503)
		d.respond(c, 204)
		d.publish("command///res/"+pretty(c.id())+"-explode-0/204", nil)
		d.publish("command///res/"+pretty(c.id())+"-install-0/500", nil)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got, handled := map[string]float64{}, uint64(0)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				switch family.GetName() {
				case "goshawk_ditto_responses_total":
					labels := ""
					for _, label := range m.GetLabel() {
						labels += label.GetName() + "=" + label.GetValue() + " "
					}
					got[labels] = m.GetCounter().GetValue()
				case "goshawk_ditto_handling_seconds":
					handled = m.GetHistogram().GetSampleCount()
				}
			}
		}
		if len(got) != 3 || got["result=busy subject=install "] != 1 || got["result=accepted subject=install "] != 1 || got["result=refused subject=install "] != 1 {
			t.Errorf("the responses are counted as %v", got)
		}
		if handled < 5 {
			t.Errorf("the time of %d messages was measured", handled)
		}
	})
}
