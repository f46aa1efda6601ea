// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package query says which targets are meant: a label selector and a CEL expression over `target`,
// which must both hold.
//
// The same Target is always answered the same way: an expression sees no clock and nothing but the
// target. A question that a target cannot answer (an attribute that it never reported, a lastSeen
// before it was ever seen) is answered no. So `target.attributes["hw"] != "B"` means the targets
// that report a hw other than B; to include those that report none, say `!("hw" in
// target.attributes) || ...`.
package query

import (
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Query is a compiled Selection. It may be used by many at once.
type Query struct {
	labels labels.Selector
	// expression is nil when the selection has none.
	expression *expression
}

// Compile reads a selection. Its error is a sentence that starts with the field at fault, as seen
// from where the selection is written.
func Compile(sel v1alpha1.Selection) (*Query, error) {
	selector, err := compileSelector(sel.TargetSelector)
	if err != nil {
		return nil, err
	}
	q := &Query{labels: selector}
	if strings.TrimSpace(sel.TargetExpression) == "" {
		return q, nil
	}
	if q.expression, err = compileExpression(sel.TargetExpression); err != nil {
		return nil, err
	}
	return q, nil
}

// Matches reports whether the selection means this target.
func (q *Query) Matches(t *v1alpha1.Target) bool {
	return q.labels.Matches(labels.Set(t.Labels)) && (q.expression == nil || q.expression.holds(t))
}

// String is the same for selections that say the same, however their labels are ordered.
func (q *Query) String() string {
	if q.expression == nil {
		return q.labels.String()
	}
	return q.labels.String() + "\n" + q.expression.text
}
