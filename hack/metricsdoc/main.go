// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command metricsdoc generates the tables of docs/metrics.md from the metrics that the packages
// define and register. It replaces the text between a marker and its end:
//
//	<!-- metrics leader --> ... <!-- end -->       the metrics of the process whose controllers run
//	<!-- metrics device-api --> ... <!-- end -->   those of each process that serves the device API
//	<!-- metrics every --> ... <!-- end -->        those of every process
//	<!-- metrics libraries --> ... <!-- end -->    those of libraries that the alerts and the dashboard use
//	<!-- metrics alerts --> ... <!-- end -->       the alerts
//
// With -json it prints names, types and labels instead, for the check of the queries.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/internal/collectors"
	_ "github.com/goshawk-dev/goshawk/internal/manager" // imports all packages that define metrics
)

//go:generate go run . ../../docs/metrics.md ../../config/prometheus/rules.yaml

// libraries are metrics of controller-runtime and client-go, with their types. Their other
// properties are those that are registered.
var libraries = map[string]string{
	"controller_runtime_active_workers":         "gauge",
	"controller_runtime_reconcile_errors_total": "counter",
	"controller_runtime_reconcile_time_seconds": "histogram",
	"controller_runtime_reconcile_total":        "counter",
	"go_goroutines":                             "gauge",
	"leader_election_master_status":             "gauge",
	"process_cpu_seconds_total":                 "counter",
	"process_resident_memory_bytes":             "gauge",
	"process_start_time_seconds":                "gauge",
	"rest_client_requests_total":                "counter",
	"workqueue_depth":                           "gauge",
	"workqueue_queue_duration_seconds":          "histogram",
	"workqueue_retries_total":                   "counter",
	"workqueue_unfinished_work_seconds":         "gauge",
	"certwatcher_read_certificate_errors_total": "counter",
}

// metric is a row of a table.
type metric struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Labels []string `json:"labels"`
	// cells of the table, and the process that exports it; empty: a library.
	labels, help string
	process      collectors.Process
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("metricsdoc: ")
	all, err := registered()
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) == 2 && os.Args[1] == "-json" {
		if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
			log.Fatal(err)
		}
		return
	}
	if len(os.Args) != 3 {
		log.Fatal("usage: metricsdoc PAGE FILE-OF-RULES, or metricsdoc -json")
	}
	if err := refresh(all, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

// registered returns the metrics that are defined, and those of libraries, sorted by name.
func registered() ([]metric, error) {
	var all []metric
	for _, d := range collectors.All() {
		m := metric{Name: d.Name, Type: d.Type(), Labels: []string{}, help: d.Help, process: d.Process}
		var cells []string
		for _, label := range d.Labels {
			m.Labels = append(m.Labels, label.Name)
			cells = append(cells, fmt.Sprintf("`%s`: %s", label.Name, values(label)))
		}
		m.labels = strings.Join(cells, "; ")
		all = append(all, m)
	}
	others, err := ofLibraries()
	return append(all, others...), err
}

// values returns what the values of a label are.
func values(label collectors.Label) string {
	if len(label.Values) == 0 {
		return label.Of
	}
	return strings.Join(label.Values, ", ")
}

// described matches the text of a description, which has no other way to its parts.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)", unit: ".*", constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)

// ofLibraries returns the metrics of libraries as they are registered, sorted by name.
func ofLibraries() ([]metric, error) {
	registry, ok := metrics.Registry.(*prometheus.Registry)
	if !ok {
		return nil, fmt.Errorf("the registry of controller-runtime is a %T", metrics.Registry)
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	var found []metric
	for desc := range descs {
		parts := described.FindStringSubmatch(desc.String())
		if parts == nil {
			return nil, fmt.Errorf("the description %s has another form than expected", desc)
		}
		kind, ok := libraries[parts[1]]
		if !ok {
			continue
		}
		m := metric{Name: parts[1], Type: kind, Labels: []string{}, help: sentence(parts[2])}
		if parts[3] != "" {
			m.Labels = strings.Split(parts[3], ",")
			m.labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		found = append(found, m)
	}
	slices.SortFunc(found, func(a, b metric) int { return strings.Compare(a.Name, b.Name) })
	found = slices.CompactFunc(found, func(a, b metric) bool { return a.Name == b.Name })
	if len(found) != len(libraries) {
		return nil, fmt.Errorf("%d of %d metrics of libraries are registered", len(found), len(libraries))
	}
	return found, nil
}

// sentence returns the first sentence of a help text.
func sentence(help string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(help, `\"`, `"`), ". ")
	return strings.TrimSuffix(first, ".") + "."
}

// rule is an alert, or a recording rule, which has no alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rulesOf returns the rules of a PrometheusRule.
func rulesOf(file string) ([]rule, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []rule `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var rules []rule
	for _, g := range object.Spec.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s has no rules", file)
	}
	return rules, nil
}

// refresh writes the tables of the page.
func refresh(all []metric, path, rulesFile string) error {
	rules, err := rulesOf(rulesFile)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page := string(text)
	for marker, table := range map[string]string{
		"leader":     tableOf(all, rules, collectors.Leader),
		"device-api": tableOf(all, rules, collectors.DeviceAPI),
		"every":      tableOf(all, rules, collectors.Every),
		"libraries":  tableOf(all, rules, ""),
		"alerts":     tableOfAlerts(rules),
	} {
		if page, err = replace(page, marker, table); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

// tableOf returns the table of the metrics of a process.
func tableOf(all []metric, rules []rule, process collectors.Process) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning | alerts |\n|---|---|---|---|---|\n")
	for _, m := range all {
		if m.process == process {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Type, m.labels, m.help, strings.Join(alertsOf(m, rules), ", "))
		}
	}
	return b.String()
}

// alertsOf returns the names of the alerts whose expression uses a metric.
func alertsOf(m metric, rules []rule) []string {
	uses := regexp.MustCompile(`\b` + m.Name + `(_bucket|_sum|_count)?\b`)
	var names []string
	for _, r := range rules {
		if name := fmt.Sprintf("[%s](#%s)", r.Alert, strings.ToLower(r.Alert)); uses.MatchString(r.Expr) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// tableOfAlerts returns a section for each alert. The alerts link to it.
func tableOfAlerts(rules []rule) string {
	var b strings.Builder
	for i, r := range rules {
		if i > 0 {
			b.WriteString("\n")
		}
		held := "at once"
		if r.For != "" {
			held = "after " + r.For
		}
		fmt.Fprintf(&b, "### %s\n\nSeverity %s, %s. %s\n\n%s\n\n```\n%s\n```\n", r.Alert, r.Labels["severity"], held,
			plain(r.Annotations["summary"]), wrap(plain(r.Annotations["description"])), strings.TrimSpace(r.Expr))
	}
	return b.String()
}

// templated matches the templates of a text of an alert.
var templated = regexp.MustCompile(`\{\{\s*([^}]*?)\s*\}\}`)

// plain returns a text of an alert in which names in capital letters take the place of templates.
func plain(text string) string {
	return templated.ReplaceAllStringFunc(strings.Join(strings.Fields(text), " "), func(template string) string {
		parts := templated.FindStringSubmatch(template)
		if name, ok := strings.CutPrefix(parts[1], "$labels."); ok {
			return strings.ToUpper(name)
		}
		return "N"
	})
}

// wrap breaks a text into lines of at most 100 characters.
func wrap(text string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > 100 {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}

// replace returns the page with a text between a marker and its end.
func replace(page, marker, table string) (string, error) {
	start := "<!-- metrics " + marker + " -->\n"
	head, rest, found := strings.Cut(page, start)
	_, tail, ended := strings.Cut(rest, "<!-- end -->")
	if !found || !ended {
		return "", errors.New("the page lacks " + strings.TrimSpace(start) + " or its <!-- end -->")
	}
	return head + start + table + "<!-- end -->" + tail, nil
}
