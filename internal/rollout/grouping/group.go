// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package grouping makes the plan of a rollout: it selects the targets, spreads them over groups,
// and computes the hash that an approval names. The plan depends on the spec of the rollout, the
// set and the targets only, not on the status of the rollout. The same input gives the same plan.
//
// The package is pure: it knows no client, no clock and no log.
package grouping

import (
	"cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Problem is why there is no plan.
type Problem struct {
	// Reason of the condition Stalled.
	Reason string
	// Message names the field and the fix.
	Message string
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// Group is one group of a plan.
type Group struct {
	Name       string
	Conditions v1alpha1.GroupConditions
	// Targets are the names of the members, in the order of the plan.
	Targets []string
}

// ConditionsOf returns the conditions of the group with this name: those of spec.groups. A group
// that is not among them has equal size, or was added to a dynamic rollout; it has the conditions
// of the last explicit group if there is one.
func ConditionsOf(spec *v1alpha1.RolloutSpec, name string) v1alpha1.GroupConditions {
	for i := range spec.Groups {
		if spec.Groups[i].Name == name || i == len(spec.Groups)-1 {
			return Conditions(spec, &spec.Groups[i])
		}
	}
	return Conditions(spec, nil)
}

// Conditions returns the conditions of a group of spec.groups, or of a group of equal size if g is
// nil. Each field is inherited by itself: the group's value, else that of the rollout, else
// hawkBit's default.
func Conditions(spec *v1alpha1.RolloutSpec, g *v1alpha1.Group) v1alpha1.GroupConditions {
	if g == nil {
		g = &v1alpha1.Group{}
	}
	half, update := int32(50), spec.Update.ConfirmationRequired
	return v1alpha1.GroupConditions{
		SuccessThreshold:     *cmp.Or(g.SuccessThreshold, spec.SuccessThreshold, &half),
		SuccessAction:        cmp.Or(g.SuccessAction, spec.SuccessAction, v1alpha1.SuccessActionNextGroup),
		ErrorThreshold:       *cmp.Or(g.ErrorThreshold, spec.ErrorThreshold, &half),
		ErrorAction:          cmp.Or(g.ErrorAction, spec.ErrorAction, v1alpha1.ErrorActionPause),
		ConfirmationRequired: *cmp.Or(g.ConfirmationRequired, &update),
	}
}
