// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFunctionsFitOneScreen: a reconciler loads, plans, applies and reports; what does not fit one
// screen is a rule that belongs in a pure package, or a step that needs a name.
func TestFunctionsFitOneScreen(t *testing.T) {
	const screen = 40
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; lines > screen {
				t.Errorf("%s: %s has %d lines, and %d fit one screen", name, f.Name.Name, lines, screen)
			}
		}
	}
}

// TestControllersHaveNoClockOfTheirOwn: the time is given to a reconciler as a function, and to a
// rule as a value, so that tests move it and a wake-up is computed from the plan.
func TestControllersHaveNoClockOfTheirOwn(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for _, folder := range []string{".", "../internal/fleet", "../internal/targetstatus", "../internal/rollout", "../internal/autoassignment", "../internal/offer", "../internal/eligibility"} {
		for position, name := range calls(t, folder, "time") {
			if slices.Contains(clock, name) {
				t.Errorf("%s calls time.%s", position, name)
			}
		}
	}
}

// calls returns the functions of a package that the Go files of a folder name, by position.
func calls(t *testing.T, folder, of string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in %s: %v", len(files), folder, err)
	}
	found := map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == of && x.Obj == nil {
					found[fmt.Sprint(set.Position(s.Pos()))] = s.Sel.Name
				}
			}
			return true
		})
	}
	return found
}
