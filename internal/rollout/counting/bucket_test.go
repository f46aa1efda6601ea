// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// TestEveryCodeHasABucket checks that every code has a row, and that final codes are not awaited.
func TestEveryCodeHasABucket(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../eligibility/code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := []eligibility.Code{""}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Code") {
			codes = append(codes, eligibility.Code(strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)))
		}
		return true
	})
	if len(codes) < 20 {
		t.Fatalf("found only %d codes", len(codes))
	}
	for _, code := range codes {
		row, ok := rowOf(code)
		switch {
		case !ok:
			t.Errorf("no row for %q", code)
		case code == eligibility.CodeFinished:
		case row.awaited == code.IsFinal():
			t.Errorf("%q: awaited %t, final %t", code, row.awaited, code.IsFinal())
		case !row.awaited && !row.bucket.IsClosed():
			t.Errorf("%q is final, but the bucket is %s", code, row.bucket)
		}
	}
}
