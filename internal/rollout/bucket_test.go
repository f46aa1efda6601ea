// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// checkOffers compares, for every member of the plan, the bucket that it is counted in with the
// bucket that follows from what the device is offered.
func (s *stage) checkOffers() {
	s.t.Helper()
	for _, g := range s.groups {
		if g.Spec.PlanHash != s.planHash() || int(g.Spec.Index) >= len(s.rollout.Status.Groups) {
			continue
		}
		for _, name := range g.Spec.Targets {
			s.checkOffer(g, string(name))
		}
	}
}

func (s *stage) checkOffer(g *v1alpha1.DeploymentGroup, name string) {
	s.t.Helper()
	if s.targets[name] == nil {
		return
	}
	state := s.rollout.Status.Groups[g.Spec.Index].State
	for _, v := range offer.Judge(s.asks(name)) {
		if v.Intent.Source.UID != s.rollout.UID {
			continue
		}
		if counted, offered := s.bucket(name), BucketOf(&v.Result, isOpen(state)); counted != offered {
			s.t.Errorf("%s in group %s (%s) is counted %s, and by its offer it is %s: %s %s", name, g.Spec.Group, state, counted, offered, v.Reason.Code, v.Reason.Message)
		}
		if counted := s.bucket(name); v.Reason.IsZero() && state == v1alpha1.GroupRunning && counted.IsClosed() {
			s.t.Errorf("%s in group %s may start and is counted %s", name, g.Spec.Group, counted)
		}
	}
}

// A new code cannot be forgotten in the table, and what is final is not awaited.
func TestEveryCodeHasABucket(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../eligibility/code.go", nil, 0)
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
			t.Errorf("%q: nothing more is awaited of a member that is %s", code, row.bucket)
		}
	}
}
