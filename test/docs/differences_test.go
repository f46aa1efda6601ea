// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs checks what the documentation says about the code.
package docs

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHawkbitDifferencesNameEveryTest compares docs/hawkbit-differences.md with the test functions
// whose names start with the number of a difference: the page names all of them, and no others.
func TestHawkbitDifferencesNameEveryTest(t *testing.T) {
	page, err := os.ReadFile("../../docs/hawkbit-differences.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := unique(regexp.MustCompile(`TestW\d\d_\w+`).FindAllString(string(page), -1))
	if diff := cmp.Diff(testFunctions(t, `^func (TestW\d\d_\w+)`), documented); diff != "" {
		t.Errorf("tests in the code (-) and in docs/hawkbit-differences.md (+):\n%s", diff)
	}
}

// TestHawkbitDifferencesHaveTests requires a test for every numbered difference.
func TestHawkbitDifferencesHaveTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/hawkbit-differences.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		number := regexp.MustCompile(`^\| W-(\d\d) `).FindStringSubmatch(line)
		if number == nil {
			continue
		}
		rows++
		if !strings.Contains(line, "TestW"+number[1]+"_") {
			t.Errorf("the row of W-%s names no test TestW%s_…", number[1], number[1])
		}
	}
	if rows != 28 {
		t.Errorf("the page has %d numbered differences, want W-01 to W-28", rows)
	}
}

// testFunctions returns the sorted names of all test functions of the repository that match.
func testFunctions(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := exec.Command("git", "grep", "-hE", "^func Test", "--", "../../*_test.go").Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(line); m != nil {
			names = append(names, m[1])
		}
	}
	return unique(names)
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
