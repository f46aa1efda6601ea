// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// operators maps the operators of v1alpha1 to those of Kubernetes.
var operators = map[v1alpha1.LabelSelectorOperator]selection.Operator{
	"In":           selection.In,
	"NotIn":        selection.NotIn,
	"Exists":       selection.Exists,
	"DoesNotExist": selection.DoesNotExist,
}

func compileSelector(sel *v1alpha1.TargetSelector) (labels.Selector, error) {
	all := labels.NewSelector()
	if sel == nil {
		return all, nil
	}
	for _, key := range sortedKeys(sel.MatchLabels) {
		path := fmt.Sprintf("targetSelector.matchLabels[%q]", key)
		requirement, err := require(path, key, "In", []v1alpha1.LabelValue{sel.MatchLabels[key]})
		if err != nil {
			return nil, err
		}
		all = all.Add(*requirement)
	}
	for i, e := range sel.MatchExpressions {
		path := fmt.Sprintf("targetSelector.matchExpressions[%d]", i)
		requirement, err := require(path, e.Key, e.Operator, e.Values)
		if err != nil {
			return nil, err
		}
		all = all.Add(*requirement)
	}
	return all, nil
}

// require checks one requirement, with our messages, and converts it.
func require(path, key string, operator v1alpha1.LabelSelectorOperator, values []v1alpha1.LabelValue) (*labels.Requirement, error) {
	op, known := operators[operator]
	if !known {
		return nil, fmt.Errorf("%s: operator %q is unknown: use In, NotIn, Exists or DoesNotExist", path, operator)
	}
	if faults := validation.IsQualifiedName(key); len(faults) > 0 {
		return nil, fmt.Errorf("%s: key %q is not a label key: %s", path, key, faults[0])
	}
	if err := checkValues(path, operator, values); err != nil {
		return nil, err
	}
	plain := make([]string, len(values))
	for i, v := range values {
		plain[i] = string(v)
	}
	requirement, err := labels.NewRequirement(key, op, plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return requirement, nil
}

func checkValues(path string, operator v1alpha1.LabelSelectorOperator, values []v1alpha1.LabelValue) error {
	compares := operator == "In" || operator == "NotIn"
	if compares && len(values) == 0 {
		return fmt.Errorf("%s: operator %s needs values: add values, or use Exists or DoesNotExist", path, operator)
	}
	if !compares && len(values) > 0 {
		return fmt.Errorf("%s: operator %s has no values: remove values, or use In or NotIn", path, operator)
	}
	for _, v := range values {
		if faults := validation.IsValidLabelValue(string(v)); len(faults) > 0 {
			return fmt.Errorf("%s: value %q is not a label value: %s", path, v, strings.TrimSuffix(faults[0], "."))
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
