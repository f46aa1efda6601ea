// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
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
