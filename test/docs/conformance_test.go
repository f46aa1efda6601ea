// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestConformanceNamesTestsThatExist checks docs/conformance.md: it has the lines 1 to 52 in their
// order, each with a result and with a test or a decision, and each named test exists.
func TestConformanceNamesTestsThatExist(t *testing.T) {
	exists := map[string]bool{}
	for _, file := range files(t, root, "_test.go") {
		for _, d := range parse(t, file).Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				exists[f.Name.Name] = true
			}
		}
	}
	next := 1
	for line := range strings.Lines(read(t, root+"/docs/conformance.md")) {
		number := regexp.MustCompile(`^\| (\d+) \|`).FindStringSubmatch(line)
		if number == nil {
			continue
		}
		if number[1] != strconv.Itoa(next) {
			t.Errorf("line %s follows line %d", number[1], next-1)
		}
		next++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 4 || !slices.Contains([]string{"met", "decision", "in part"}, strings.TrimSpace(cells[3])) {
			t.Errorf("line %s has no result: %q", number[1], cells[len(cells)-1])
			continue
		}
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(cells[2], -1)
		for _, m := range named {
			if !exists[m[1]] {
				t.Errorf("line %s names %s, which does not exist", number[1], m[1])
			}
		}
		if len(named) == 0 && !strings.Contains(cells[2], "Decision:") {
			t.Errorf("line %s has neither a test nor a decision", number[1])
		}
	}
	if next != 53 {
		t.Errorf("the page has %d lines, want 52", next-1)
	}
}
