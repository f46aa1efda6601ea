// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/collectors"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// deviceNames are the names of the devices of stories about metrics.
var deviceNames struct {
	sync.Mutex
	list []string
}

// A rollout is paused by errors and stopped, and its set is invalidated. The metrics show each
// state, and keep to their definitions.
func TestMetricsShowARolloutAndItsStop(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	names := w.Targets("measured", 6, nil)
	deviceNames.Lock()
	deviceNames.list = append(deviceNames.list, names...)
	deviceNames.Unlock()
	w.Devices(devicesim.Failing, names...)
	w.ApplySpec("Rollout", "measured-rollout", `
  update: {distributionSet: firmware-1}
  stabilizationSeconds: 0
  groupCount: 2
  errorThreshold: 0
  minimumReports: 3
`)
	w.EventuallyRollout("measured-rollout", "pauses", world.InState(v1alpha1.RolloutPaused))
	eventuallyMeasured(w, "the failures, the groups and the pause", map[string]string{
		"goshawk_rollouts":             "1 state=Paused",
		"goshawk_rollout_targets":      "3 bucket=failed rollout=measured-rollout, 3 bucket=scheduled rollout=measured-rollout",
		"goshawk_rollout_groups":       "1 rollout=measured-rollout state=Error, 1 rollout=measured-rollout state=Scheduled",
		"goshawk_rollout_wait_seconds": "+ reason=ErrorThresholdExceeded rollout=measured-rollout",
		"goshawk_stalled_objects":      "1 kind=Rollout reason=ErrorThresholdExceeded",
		"goshawk_targets":              "3 status=Error, 3 status=Registered",
	})
	stops := observations(t)
	w.Kubectl("patch", "grollout", "measured-rollout", "--type=merge", "-p", `{"spec":{"state":"Stopped"}}`)
	w.EventuallyRollout("measured-rollout", "stops", world.InState(v1alpha1.RolloutStopped))
	w.Kubectl("patch", "distset", "firmware-1", "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Force"}}}`)
	w.Eventually("both stops are measured, by the controllers and by the device API", func() string {
		now := observations(t)
		for _, series := range []string{"goshawk_stop_seconds kind=Rollout", "goshawk_stop_seconds kind=DistributionSet", "goshawk_device_api_stop_delay_seconds kind=Rollout", "goshawk_device_api_stop_delay_seconds kind=DistributionSet"} {
			if now[series] <= stops[series] {
				return fmt.Sprintf("%s: %v observations, %v before the stop", series, now[series], stops[series])
			}
		}
		return ""
	})
	w.Kubectl("delete", "grollout", "measured-rollout")
	eventuallyMeasured(w, "nothing of a deleted rollout", map[string]string{"goshawk_rollouts": "", "goshawk_rollout_targets": "", "goshawk_rollout_groups": "", "goshawk_rollout_wait_seconds": ""})
	exported, err := compareMetrics()
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{
		"goshawk_rollouts", "goshawk_targets", "goshawk_target_problems", "goshawk_stop_pending_seconds", "goshawk_stop_seconds", "goshawk_device_api_stop_delay_seconds",
		"goshawk_ddi_requests_total", "goshawk_ddi_request_seconds", "goshawk_ddi_connections", "goshawk_actions_started_total", "goshawk_actions_closed_total",
		"goshawk_api_writes_total", "goshawk_api_write_seconds", "goshawk_cache_lists_total", "goshawk_cache_age_seconds", "goshawk_target_writes_waiting", "goshawk_target_writes_in_flight",
		"goshawk_namespace_ready", "goshawk_unreadable_objects", "goshawk_mqtt_connections", "goshawk_ditto_devices", "goshawk_artifact_downloads",
	} {
		if !exported[name] {
			t.Errorf("%s is not exported", name)
		}
	}
}

// observations returns the number of observations of each histogram.
func observations(t *testing.T) map[string]uint64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			series := family.GetName()
			for _, label := range m.GetLabel() {
				series += " " + label.GetName() + "=" + label.GetValue()
			}
			found[series] = m.GetHistogram().GetSampleCount()
		}
	}
	return found
}

// eventuallyMeasured waits until the gauges have these values in the namespace of the world. Series
// with the value 0 are left out; + stands for any other value.
func eventuallyMeasured(w *world.World, what string, want map[string]string) {
	w.T.Helper()
	w.Eventually(what, func() string {
		families, err := metrics.Registry.Gather()
		if err != nil {
			return err.Error()
		}
		got := map[string]string{}
		for _, family := range families {
			var series []string
			for _, m := range family.GetMetric() {
				value, labels, isHere := m.GetGauge().GetValue(), "", false
				for _, label := range m.GetLabel() {
					if label.GetName() == "namespace" {
						isHere = label.GetValue() == w.Namespace
						continue
					}
					labels += " " + label.GetName() + "=" + label.GetValue()
				}
				if isHere && strings.HasPrefix(want[family.GetName()], "+") {
					series = append(series, "+"+labels)
				} else if isHere && value != 0 {
					series = append(series, fmt.Sprint(value)+labels)
				}
			}
			got[family.GetName()] = strings.Join(series, ", ")
		}
		for metric, values := range want {
			if got[metric] != values {
				return fmt.Sprintf("%s is %q, want %q", metric, got[metric], values)
			}
		}
		return ""
	})
}

// metricsKeepToTheirDefinitions compares all metrics of the process with their definitions: name,
// type, help, labels, and the values of the labels and their number. It runs once more after all
// stories.
func metricsKeepToTheirDefinitions() error {
	_, err := compareMetrics()
	return err
}

// compareMetrics does that, and returns the names of all metrics that are exported.
func compareMetrics() (exported map[string]bool, err error) {
	families, err := metrics.Registry.Gather()
	if err != nil {
		return nil, err
	}
	exported = map[string]bool{}
	defined := map[string]*collectors.Definition{}
	for _, d := range collectors.All() {
		defined[d.Name] = d
	}
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, "goshawk_") {
			continue
		}
		d := defined[name]
		if d == nil {
			report("%s has no definition, and so is not in docs/metrics.md", name)
			continue
		}
		exported[name] = true
		if got := strings.ToLower(family.GetType().String()); got != d.Type() || family.GetHelp() != d.Help {
			report("%s is a %s with the help %q", name, got, family.GetHelp())
		}
		values := map[string]map[string]bool{}
		for _, m := range family.GetMetric() {
			if len(m.GetLabel()) != len(d.Labels) {
				report("%s has the labels %v", name, m.GetLabel())
			}
			for _, label := range m.GetLabel() {
				if values[label.GetName()] == nil {
					values[label.GetName()] = map[string]bool{}
				}
				values[label.GetName()][label.GetValue()] = true
			}
		}
		for _, label := range d.Labels {
			got := values[label.Name]
			if len(label.Values) == 0 && len(got) > label.Max {
				report("%s has %d values of %s, the bound is %d", name, len(got), label.Name, label.Max)
			}
			for value := range got {
				if len(label.Values) > 0 && !slices.Contains(label.Values, value) {
					report("%s: %s has the value %q, which is not one of %v", name, label.Name, value, label.Values)
				}
				if deviceNames.Lock(); slices.Contains(deviceNames.list, value) {
					report("%s: %s is the name of a device: %q", name, label.Name, value)
				}
				deviceNames.Unlock()
			}
		}
	}
	return exported, errors.Join(problems...)
}
