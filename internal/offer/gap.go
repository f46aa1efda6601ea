// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Gap describes what a set lacks.
type Gap struct {
	// Reason and Message of the condition Complete.
	Reason, Message string
	// IsTransient is true if the gap goes away without user action.
	IsTransient bool
}

// GapIn returns the first gap of a set, or nil if the set is complete.
func GapIn(set *v1alpha1.DistributionSet, modules []*v1alpha1.SoftwareModule) *Gap {
	if len(modules) == 0 {
		return &Gap{Reason: v1alpha1.ReasonIncomplete, Message: "spec.modules is empty: name at least one SoftwareModule"}
	}
	for i, m := range modules {
		if g := moduleGap(m, set.Spec.Modules[i].Name, i); g != nil {
			return g
		}
	}
	return typeGap(set.Spec.ModuleTypes, modules)
}

func moduleGap(m *v1alpha1.SoftwareModule, name string, i int) *Gap {
	if m == nil {
		return &Gap{Reason: v1alpha1.ReasonReferenceNotFound, Message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) does not exist: create it, or remove it from spec.modules", name, i)}
	}
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case m.Unreadable != nil:
		return &Gap{Reason: v1alpha1.ReasonModuleNotReady, Message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) cannot be decoded: %s", name, i, m.Unreadable.Message)}
	case ready == nil:
		return &Gap{Reason: v1alpha1.ReasonModuleNotReady, Message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) has not been reconciled yet", name, i), IsTransient: true}
	case ready.Status != metav1.ConditionTrue:
		return &Gap{Reason: v1alpha1.ReasonModuleNotReady, Message: fmt.Sprintf("SoftwareModule %s (spec.modules[%d]) is not ready: %s", name, i, ready.Message)}
	}
	return nil
}

// typeGap compares the modules with spec.moduleTypes. If that has no types, all modules are
// allowed.
func typeGap(types *v1alpha1.ModuleTypes, modules []*v1alpha1.SoftwareModule) *Gap {
	if types == nil || len(types.Mandatory)+len(types.Optional) == 0 {
		return nil
	}
	present := map[string]bool{}
	for _, m := range modules {
		present[m.Spec.Type] = true
		if !slices.Contains(types.Mandatory, m.Spec.Type) && !slices.Contains(types.Optional, m.Spec.Type) {
			return &Gap{Reason: v1alpha1.ReasonUnknownModuleType, Message: fmt.Sprintf(
				"SoftwareModule %s has type %q, which is in neither list of spec.moduleTypes: add the type to optional, or remove the module from spec.modules", m.Name, m.Spec.Type)}
		}
	}
	for _, t := range types.Mandatory {
		if !present[t] {
			return &Gap{Reason: v1alpha1.ReasonIncomplete, Message: fmt.Sprintf(
				"no module has the mandatory type %q: add one to spec.modules, or remove the type from spec.moduleTypes.mandatory", t)}
		}
	}
	return nil
}
