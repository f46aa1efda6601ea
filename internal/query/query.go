// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package query selects targets by a label selector and a CEL expression over `target`, which must
// both match.
//
// The result depends only on the target: an expression has no clock. An expression that cannot be
// evaluated for a target (because of an attribute that it never reported, or lastSeen before the
// first contact) does not match it. So `target.attributes["hw"] != "B"` matches the targets that
// report a hw other than B. To include those that report none, write `!("hw" in target.attributes)
// || ...`. In the same way, a target that has reported no software has an empty target.software.
package query

import (
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Query is a compiled Selection. It is safe for concurrent use.
type Query struct {
	labels labels.Selector
	// expression is nil when the selection has none.
	expression *expression
}

// Compile compiles a selection. Its error is a sentence that starts with the path of the wrong
// field, relative to the selection. inventories has the software of the targets; nil: none.
func Compile(sel v1alpha1.Selection, inventories Inventories) (*Query, error) {
	selector, err := compileSelector(sel.TargetSelector)
	if err != nil {
		return nil, err
	}
	q := &Query{labels: selector}
	if strings.TrimSpace(sel.TargetExpression) == "" {
		return q, nil
	}
	if q.expression, err = compileExpression(sel.TargetExpression, inventories); err != nil {
		return nil, err
	}
	return q, nil
}

// Matches reports whether the selection matches the target.
func (q *Query) Matches(t *v1alpha1.Target) bool {
	return q.labels.Matches(labels.Set(t.Labels)) && (q.expression == nil || q.expression.holds(t))
}

// ReadsInventory reports whether the result depends on the software of the target.
func (q *Query) ReadsInventory() bool { return q.expression != nil && q.expression.readsInventory }

// String returns the same text for equal selections, independent of the order of their labels.
func (q *Query) String() string {
	if q.expression == nil {
		return q.labels.String()
	}
	return q.labels.String() + "\n" + q.expression.text
}
