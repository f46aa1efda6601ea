// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestArchitectureHasARowForEveryPackage requires a row in the table of packages for each package
// of the product. A package below another one needs no row if the row of its parent names it.
func TestArchitectureHasARowForEveryPackage(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		_, dir, _ := strings.Cut(strings.TrimSpace(line), "github.com/goshawk-dev/goshawk/")
		if dir == "" || strings.HasPrefix(dir, "test/") || strings.HasPrefix(dir, "hack/") {
			continue
		}
		if !hasRow(string(page), dir) {
			t.Errorf("docs/architecture.md has no row for package %s", dir)
		}
	}
}

func hasRow(page, dir string) bool {
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		if strings.Contains(line, "`"+dir+"`") {
			return true
		}
		if parent, name, ok := cutLast(dir); ok && strings.Contains(line, "`"+parent+"`") && strings.Contains(line, "`"+name+"`") {
			return true
		}
	}
	return false
}

func cutLast(dir string) (parent, name string, ok bool) {
	i := strings.LastIndex(dir, "/")
	if i < 0 {
		return "", "", false
	}
	return dir[:i], dir[i+1:], true
}
