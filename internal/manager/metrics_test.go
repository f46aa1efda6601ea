// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// units are the units that a name may end with, before _total.
var units = []string{"_seconds", "_bytes"}

// TestMetricsFollowTheRules: each metric has a name of the same form, a unit if it measures one, a
// sentence as help, and labels whose values are known or bounded. No label names a device.
func TestMetricsFollowTheRules(t *testing.T) {
	all := collectors.All()
	if len(all) < 40 {
		t.Fatalf("only %d metrics are defined: the packages of all metrics must be imported", len(all))
	}
	named := map[string]bool{}
	for _, d := range all {
		if named[d.Name] {
			t.Errorf("%s is defined twice", d.Name)
		}
		named[d.Name] = true
		if !regexp.MustCompile(`^goshawk_[a-z]+(_[a-z]+)*$`).MatchString(d.Name) {
			t.Errorf("%s: the name has another form", d.Name)
		}
		if help := d.Help; !strings.HasSuffix(help, ".") || help[0] < '0' || help[0] > 'Z' {
			t.Errorf("%s: the help is not a sentence: %s", d.Name, help)
		}
		hasUnit := slices.ContainsFunc(units, func(unit string) bool { return strings.HasSuffix(strings.TrimSuffix(d.Name, "_total"), unit) })
		if d.Type() == "histogram" && !hasUnit {
			t.Errorf("%s: the name of a histogram ends with its unit", d.Name)
		}
		if !slices.IsSorted(d.Buckets) {
			t.Errorf("%s: buckets %v", d.Name, d.Buckets)
		}
		if !slices.Contains([]collectors.Process{collectors.Leader, collectors.DeviceAPI, collectors.Every}, d.Process) {
			t.Errorf("%s: process %q", d.Name, d.Process)
		}
		for _, label := range d.Labels {
			checkLabel(t, d.Name, label)
		}
	}
}

func checkLabel(t *testing.T, metric string, label collectors.Label) {
	t.Helper()
	if !regexp.MustCompile(`^[a-z]+$`).MatchString(label.Name) || slices.Contains([]string{"target", "device", "controllerid", "le"}, label.Name) {
		t.Errorf("%s: label %q", metric, label.Name)
	}
	if listed := len(label.Values) > 0; listed == (label.Of != "") || listed == (label.Max > 0) {
		t.Errorf("%s: label %s must have a list of values, or say what they are and how many there may be", metric, label.Name)
	}
	if values := slices.Clone(label.Values); len(slices.Compact(slices.Sorted(slices.Values(values)))) != len(label.Values) {
		t.Errorf("%s: label %s has a value twice: %v", metric, label.Name, label.Values)
	}
}
