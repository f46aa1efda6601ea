// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const root, operations = "../..", "../../docs/operations.md"

// libraryFlags are registered by controller-runtime and zap, not by main.go.
var libraryFlags = regexp.MustCompile(`^--(kubeconfig|zap-.*)$`)

// TestTheTableOfFlagsIsComplete compares the table in docs/operations.md with the flags of main.go:
// the names, and each default that the table gives in code font.
func TestTheTableOfFlagsIsComplete(t *testing.T) {
	registered := flagsOfMain(t)
	documented := map[string]string{}
	for _, row := range rows(read(t, operations), "| flag | default |") {
		inCode := codeWords(row[1])
		for _, name := range codeWords(row[0]) {
			if libraryFlags.MatchString(name) {
				continue
			}
			documented[name] = registered[name] // a default that is not in code font is not compared
			if len(inCode) == 1 {
				documented[name] = inCode[0]
			}
		}
	}
	if d := diff.Diff(registered, documented); d != "" {
		t.Errorf("flags of main.go (-) and of docs/operations.md (+):\n%s", d)
	}
}

// TestManifestsUseFlagsThatExist checks every argument of config/ and of the Helm chart that is a
// flag.
func TestManifestsUseFlagsThatExist(t *testing.T) {
	registered, found := flagsOfMain(t), 0
	manifests := files(t, filepath.Join(root, "config"), ".yaml")
	manifests = append(append(manifests, files(t, filepath.Join(root, "charts"), ".yaml")...), files(t, filepath.Join(root, "charts"), ".tpl")...)
	for _, file := range manifests {
		for _, m := range regexp.MustCompile(`(?m)^\s*(?:-|value:) (--[a-z-]+)`).FindAllStringSubmatch(read(t, file), -1) {
			found++
			if _, ok := registered[m[1]]; !ok && !libraryFlags.MatchString(m[1]) {
				t.Errorf("%s uses %s, which main.go does not have", file, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no manifest uses a flag")
	}
}

// TestMetricsInThePagesExist requires that each metric that a page, a comment of a manifest or an
// alert names is in the tables of docs/metrics.md. Those are generated from the code.
func TestMetricsInThePagesExist(t *testing.T) {
	metrics := map[string]bool{}
	for line := range strings.Lines(read(t, filepath.Join(root, "docs", "metrics.md"))) {
		if m := regexp.MustCompile("^\\| `(goshawk_\\w+)` \\| (counter|gauge|histogram) ").FindStringSubmatch(line); m != nil {
			metrics[m[1]] = true
			if m[2] == "histogram" {
				metrics[m[1]+"_bucket"], metrics[m[1]+"_sum"], metrics[m[1]+"_count"] = true, true, true
			}
		}
	}
	if len(metrics) < 40 {
		t.Fatalf("docs/metrics.md has only %d metrics", len(metrics))
	}
	pages := append(files(t, filepath.Join(root, "docs"), ".md"), filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md"))
	for _, page := range append(pages, files(t, filepath.Join(root, "config"), ".yaml")...) {
		for _, name := range regexp.MustCompile(`\bgoshawk_[a-z_]+\b`).FindAllString(read(t, page), -1) {
			if !metrics[name] {
				t.Errorf("%s names the metric %s, which docs/metrics.md does not have", page, name)
			}
		}
	}
}

// TestEachAlertSaysWhatToDo requires of each alert a severity, a summary, a description, a link to
// its section in docs/metrics.md, and tests in which it fires and in which it does not.
func TestEachAlertSaysWhatToDo(t *testing.T) {
	folder := filepath.Join(root, "config", "prometheus")
	var rules struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert               string
					Labels, Annotations map[string]string
				}
			}
		}
	}
	var tests struct {
		Tests []struct {
			Cases []struct {
				Name   string `json:"alertname"`
				Alerts []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(folder, "rules.yaml"))), &rules); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(folder, "rules_test.yaml"))), &tests); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, one := range tests.Tests {
		for _, c := range one.Cases {
			map[bool]map[string]bool{true: fires, false: quiet}[len(c.Alerts) > 0][c.Name] = true
		}
	}
	sections, found := headings(read(t, filepath.Join(root, "docs", "metrics.md"))), 0
	for _, g := range rules.Spec.Groups {
		for _, r := range g.Rules {
			found++
			if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 80 {
				t.Errorf("%s has no summary, or its description does not say what to do", r.Alert)
			}
			link, section, _ := strings.Cut(r.Annotations["runbook_url"], "#")
			if link != "https://github.com/goshawk-dev/goshawk/blob/main/docs/metrics.md" || section != strings.ToLower(r.Alert) || !slices.Contains(sections, section) {
				t.Errorf("%s links to %q", r.Alert, r.Annotations["runbook_url"])
			}
			if !fires[r.Alert] || !quiet[r.Alert] {
				t.Errorf("%s: a test in which it fires: %v, in which it does not: %v", r.Alert, fires[r.Alert], quiet[r.Alert])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d alerts", found)
	}
}

// reasonAfter has the functions that record an event, with the index of their argument reason.
var reasonAfter = map[string]int{"Eventf": 3, "tell": 2, "normal": 0, "warning": 0}

// TestTheTableOfEventsIsComplete compares the table in docs/operations.md with the reasons of
// events that the code names: those of rollouts, and literals in calls that record an event. The
// table has all of them, and no other word.
func TestTheTableOfEventsIsComplete(t *testing.T) {
	constants, words := map[string]string{}, map[string]bool{}
	var reasons []ast.Expr
	for _, file := range sources(t) {
		ast.Inspect(parse(t, file), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				words[literal(n)] = true
			case *ast.ValueSpec:
				if len(n.Values) == 1 {
					constants[n.Names[0].Name] = literal(n.Values[0])
				}
			case *ast.CallExpr:
				if i, ok := reasonAfter[name(n.Fun)]; ok && len(n.Args) > i+1 {
					reasons = append(reasons, n.Args[i])
				}
			}
			return true
		})
	}
	for _, spec := range specs(parse(t, filepath.Join(root, "internal", "rollout", "events.go"))) {
		if strings.HasPrefix(spec.Names[0].Name, "Event") {
			reasons = append(reasons, spec.Values[0])
		}
	}
	var documented []string
	for _, row := range rows(read(t, operations), "| object | events |") {
		documented = append(documented, codeWords(row[1])...)
	}
	for _, reason := range reasons {
		if word := cmp.Or(literal(reason), constants[name(reason)]); word != "" && !slices.Contains(documented, word) {
			t.Errorf("docs/operations.md has no event %s", word)
		}
	}
	for _, word := range documented {
		if !words[word] {
			t.Errorf("docs/operations.md has an event %s; the code has no such word", word)
		}
	}
	if len(reasons) < 30 {
		t.Errorf("found only %d events in the code; reasonAfter must have the functions that record them", len(reasons))
	}
}

// TestReasonsInThePagesExist requires that each reason, state and condition in code font, such as
// `PausedBySpec`, is a word of the code or of a manifest.
func TestReasonsInThePagesExist(t *testing.T) {
	words := map[string]bool{}
	for _, file := range append(sources(t), files(t, filepath.Join(root, "config"), ".yaml")...) {
		for _, word := range regexp.MustCompile(`[A-Z][A-Za-z]+`).FindAllString(read(t, file), -1) {
			words[word] = true
		}
	}
	pages := append(files(t, filepath.Join(root, "docs"), ".md"), filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md"))
	for _, page := range pages {
		for _, m := range regexp.MustCompile("`([A-Z][a-z]+(?:[A-Z][A-Za-z]*)+)`").FindAllStringSubmatch(read(t, page), -1) {
			if !words[m[1]] && !strings.HasPrefix(m[1], "Test") {
				t.Errorf("%s: the code has no word %s", page, m[1])
			}
		}
	}
}

// TestTheRightsPageNamesEveryCondition checks that the page on rights says what makes each
// condition of a group looser.
func TestTheRightsPageNamesEveryCondition(t *testing.T) {
	page := read(t, filepath.Join(root, "docs", "rights.md"))
	fields := reflect.TypeFor[v1alpha1.GroupConditions]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if name != "errorAction" && !strings.Contains(page, "`"+name+"`") { // errorAction has one value
			t.Errorf("docs/rights.md does not say which change of %s loosens an approval", name)
		}
	}
}

// TestLinksInThePagesExist checks that every relative link of the pages leads to a file and, if it
// has an anchor, to a heading.
func TestLinksInThePagesExist(t *testing.T) {
	others := []string{"CONTRIBUTING.md", "examples/README.md", "config/rbac/README.md"}
	list := pages(t)
	for _, page := range others {
		list = append(list, filepath.Join(root, page))
	}
	for _, page := range list {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			} else if m[2] != "" && !slices.Contains(headings(read(t, target)), m[2]) {
				t.Errorf("%s links to %s#%s: no such heading", page, m[1], m[2])
			}
		}
	}
}

// flagsOfMain returns the flags that main.go registers, with their defaults.
func flagsOfMain(t *testing.T) map[string]string {
	t.Helper()
	flags := map[string]string{}
	ast.Inspect(parse(t, filepath.Join(root, "main.go")), func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); !ok || name(s.X) != "flag" {
			return true
		}
		switch kind := name(call.Fun); {
		case kind == "Func":
			flags["--"+literal(call.Args[0])] = ""
		case strings.HasSuffix(kind, "Var"):
			flags["--"+literal(call.Args[1])] = value(call.Args[2])
		}
		return true
	})
	if len(flags) == 0 {
		t.Fatal("main.go registers no flags")
	}
	return flags
}

// value returns a default in the form of the pages: 10_000 as 10000, 5*time.Minute as 5m.
func value(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return value(e.X) + map[string]string{"Second": "s", "Minute": "m", "Hour": "h"}[name(e.Y)]
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			return literal(e)
		}
		return strings.ReplaceAll(e.Value, "_", "")
	}
	return name(e)
}

// literal returns the value of a string literal, and "" for other expressions.
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		if text, err := strconv.Unquote(l.Value); err == nil {
			return text
		}
	}
	return ""
}

// name returns the last part of an identifier: Minute of time.Minute.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func specs(file *ast.File) []*ast.ValueSpec {
	var list []*ast.ValueSpec
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			list = append(list, spec)
		}
		return true
	})
	return list
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// rows returns the cells of the table below a header, row by row.
func rows(page, header string) [][]string {
	var list [][]string
	_, table, _ := strings.Cut(page, "\n"+header)
	_, table, _ = strings.Cut(table, "\n|---")
	_, table, _ = strings.Cut(table, "\n")
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		list = append(list, strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | "))
	}
	return list
}

// codeWords returns the words of a cell in code font.
func codeWords(cell string) []string {
	var list []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		list = append(list, m[1])
	}
	return list
}

// headings returns the anchors of a page, as GitHub makes them.
func headings(page string) []string {
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(kept, " ", "-"))
	}
	return list
}

// sources returns the Go files of the product: no tests, no helpers of tests.
func sources(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, folder := range []string{"api", "controllers", "internal", "cmd"} {
		list = append(list, files(t, filepath.Join(root, folder), ".go")...)
	}
	return slices.DeleteFunc(append(list, filepath.Join(root, "main.go")), func(file string) bool { return strings.HasSuffix(file, "_test.go") })
}

func files(t *testing.T, folder, extension string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, extension) {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
