// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command promtool checks every PromQL query of the alerts and the dashboard: each selects an
// existing metric, and uses only labels that the metric has. It reads the metrics, as `metricsdoc
// -json` prints them, from its standard input, and writes the rules in Prometheus's own format,
// which the program promtool of Prometheus reads. Of the annotations it writes only the summaries,
// because promtool compares all of them.
//
// It is in a module of its own because Prometheus has many dependencies.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// metric is a registered metric.
type metric struct {
	Name, Type string
	Labels     []string
}

// query is an expression and where it is.
type query struct{ at, expr string }

// target labels are those that Prometheus adds to each series.
var targetLabels = []string{"job", "instance", "namespace", "pod", "container", "service", "endpoint"}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: metricsdoc -json | promtool RULES OUT [DASHBOARD...]")
	}
	known, err := readMetrics()
	if err != nil {
		log.Fatal(err)
	}
	queries, err := readRules(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range os.Args[3:] {
		more, err := readDashboard(file)
		if err != nil {
			log.Fatal(err)
		}
		queries = append(queries, more...)
	}
	failed := false
	for _, q := range queries {
		for _, problem := range check(q.expr, known) {
			failed = true
			log.Printf("%s: %s: %s", q.at, problem, q.expr)
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Printf("%d queries select existing metrics and labels\n", len(queries))
}

// readMetrics returns the labels of each series by its name. A histogram has three series.
func readMetrics() (map[string][]string, error) {
	var metrics []metric
	if err := json.NewDecoder(os.Stdin).Decode(&metrics); err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	known := map[string][]string{"up": nil}
	for _, m := range metrics {
		if m.Type == "histogram" {
			known[m.Name+"_bucket"], known[m.Name+"_sum"], known[m.Name+"_count"] = append(slices.Clip(m.Labels), "le"), m.Labels, m.Labels
			continue
		}
		known[m.Name] = m.Labels
	}
	return known, nil
}

// readRules returns the expressions of a PrometheusRule, and writes its spec to out.
func readRules(file, out string) ([]query, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var object struct {
		Spec struct {
			Groups []struct {
				Name  string           `json:"name"`
				Rules []map[string]any `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var queries []query
	for _, g := range object.Spec.Groups {
		for _, r := range g.Rules {
			queries = append(queries, query{fmt.Sprintf("%s: %v", filepath.Base(file), r["alert"]), fmt.Sprint(r["expr"])})
			if annotations, ok := r["annotations"].(map[string]any); ok {
				r["annotations"] = map[string]any{"summary": annotations["summary"]}
			}
		}
	}
	plain, err := yaml.Marshal(object.Spec)
	if err != nil {
		return nil, err
	}
	return queries, os.WriteFile(out, plain, 0o600)
}

// panel is a panel or a row of a dashboard, or the dashboard itself.
type panel struct {
	Title   string
	Panels  []panel
	Targets []struct{ Expr string }
}

// readDashboard returns the queries of the panels and of the variables of a dashboard.
func readDashboard(file string) ([]query, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var dashboard struct {
		panel
		Templating struct {
			List []struct {
				Name, Type, Definition string
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	queries := queriesOf(filepath.Base(file), dashboard.panel)
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" {
			queries = append(queries, query{filepath.Base(file) + ": variable " + v.Name, selectorOf(v.Definition)})
		}
	}
	if len(queries) == 0 {
		return nil, fmt.Errorf("%s has no query", file)
	}
	return queries, nil
}

func queriesOf(at string, p panel) []query {
	var queries []query
	for _, t := range p.Targets {
		queries = append(queries, query{at + ": " + p.Title, t.Expr})
	}
	for _, inner := range p.Panels {
		queries = append(queries, queriesOf(at, inner)...)
	}
	return queries
}

// labelValues matches the query of a variable: label_values(SELECTOR, LABEL).
var labelValues = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)

// selectorOf returns a query that uses the selector and the label of a variable.
func selectorOf(definition string) string {
	if parts := labelValues.FindStringSubmatch(definition); parts != nil {
		return "count by (" + parts[2] + ") (" + parts[1] + ")"
	}
	return definition
}

// variable matches a variable of Grafana, of which those that are durations are in brackets.
var (
	interval = regexp.MustCompile(`\$__(rate_interval|interval|range)`)
	variable = regexp.MustCompile(`\$\w+`)
)

// check returns what is wrong with a query.
func check(expr string, known map[string][]string) []string {
	expr = variable.ReplaceAllString(interval.ReplaceAllString(expr, "5m"), "x")
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	used := map[string]bool{} // labels of all selected metrics
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		own, ok := known[selector.Name]
		if !ok {
			problems = append(problems, fmt.Sprintf("there is no metric %q", selector.Name))
			return nil
		}
		for _, label := range slices.Concat(own, targetLabels) {
			used[label] = true
		}
		for _, m := range selector.LabelMatchers {
			if m.Name != labels.MetricName && !slices.Contains(own, m.Name) && !slices.Contains(targetLabels, m.Name) {
				problems = append(problems, fmt.Sprintf("%s has no label %q", selector.Name, m.Name))
			}
		}
		return nil
	})
	if len(used) == 0 {
		return append(problems, "it selects no metric")
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		var grouped []string
		switch node := node.(type) {
		case *parser.AggregateExpr:
			grouped = node.Grouping
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				grouped = node.VectorMatching.MatchingLabels
			}
		}
		for _, label := range grouped {
			if !used[label] {
				problems = append(problems, fmt.Sprintf("no metric of the query has the label %q", label))
			}
		}
		return nil
	})
	return problems
}
