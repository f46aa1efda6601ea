// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestQueriesAreChecked: a query must parse, select metrics that exist, and use their labels.
func TestQueriesAreChecked(t *testing.T) {
	known := map[string][]string{"a_total": {"code"}, "h_bucket": {"kind", "le"}, "b": nil}
	for expr, problem := range map[string]string{
		`sum by (code) (rate(a_total{code=~"5.."}[5m]))`:                          "",
		`histogram_quantile(0.9, sum by (le) (rate(h_bucket[$__rate_interval])))`: "",
		`b{namespace="$namespace", job="goshawk"} > 1 and on (pod) a_total`:       "",
		`rate(a_total[5m]`:               "unclosed left parenthesis",
		`rate(c_total[5m])`:              `no metric "c_total"`,
		`h_sum`:                          `no metric "h_sum"`,
		`a_total{device="x"}`:            `a_total has no label "device"`,
		`sum by (device) (a_total)`:      `the label "device"`,
		`sum by (kind) (a_total)`:        `the label "kind"`,
		`a_total * on (kind) b`:          `the label "kind"`,
		`b and sum(b{code="$code"}) > 1`: `b has no label "code"`,
		`time()`:                         "selects no metric",
		``:                               "no expression",
	} {
		problems := strings.Join(check(expr, known), "; ")
		if problem == "" && problems != "" || !strings.Contains(problems, problem) {
			t.Errorf("%s: %q, want %q", expr, problems, problem)
		}
	}
}

// TestTheQueryOfAVariableIsChecked: label_values names a metric and a label.
func TestTheQueryOfAVariableIsChecked(t *testing.T) {
	known := map[string][]string{"r": {"rollout"}}
	for definition, problem := range map[string]string{
		`label_values(r, rollout)`:                         "",
		`label_values(r{namespace="$namespace"}, rollout)`: "",
		`label_values(r, group)`:                           `the label "group"`,
		`label_values(s, rollout)`:                         `no metric "s"`,
	} {
		problems := strings.Join(check(selectorOf(definition), known), "; ")
		if problem == "" && problems != "" || !strings.Contains(problems, problem) {
			t.Errorf("%s: %q, want %q", definition, problems, problem)
		}
	}
}
