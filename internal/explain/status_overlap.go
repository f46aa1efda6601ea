// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// OtherRollout is another rollout of the namespace.
type OtherRollout struct {
	Rollout *v1alpha1.Rollout
	// Shared is the number of its targets that the rollout has as well. Zero: they are counted from
	// Groups.
	Shared int
	Groups []*v1alpha1.DeploymentGroup
	// RequiredMigrationStep is the field of its set.
	RequiredMigrationStep bool
}

// Overlap is another rollout that has not ended and has targets of this one.
type Overlap struct {
	Rollout string                `json:"rollout"`
	State   v1alpha1.RolloutState `json:"state"`
	// Targets is the number of targets that both have.
	Targets int `json:"targets"`
	// Message says what becomes of these targets.
	Message string `json:"message"`
}

// Superseded is what newer rollouts took over.
type Superseded struct {
	// Targets is the number of targets that were taken over before they started.
	Targets int `json:"targets"`
	// By are the names of the newer rollouts.
	By []string `json:"by"`
}

// overlapsOf returns the other rollouts that have targets of this one, those with the most targets
// first.
func overlapsOf(w *StatusWorld) []Overlap {
	mine := sync.OnceValue(func() map[v1alpha1.TargetName]bool {
		names := map[v1alpha1.TargetName]bool{}
		for _, g := range w.Groups {
			for _, name := range g.Spec.Targets {
				names[name] = true
			}
		}
		return names
	})
	var overlaps []Overlap
	for _, other := range w.Others {
		shared := other.Shared
		for _, g := range other.Groups {
			for _, name := range g.Spec.Targets {
				if mine()[name] {
					shared++
				}
			}
		}
		if shared > 0 && !rollout.IsOver(w.Rollout) {
			o := other.Rollout
			overlaps = append(overlaps, Overlap{Rollout: o.Name, State: cmp.Or(o.Status.State, v1alpha1.RolloutCreating), Targets: shared, Message: orderOf(w, &other)})
		}
	}
	slices.SortFunc(overlaps, func(a, b Overlap) int {
		return cmp.Or(-cmp.Compare(a.Targets, b.Targets), cmp.Compare(a.Rollout, b.Rollout))
	})
	return overlaps
}

// orderOf returns what becomes of the targets that two rollouts share.
func orderOf(w *StatusWorld, other *OtherRollout) string {
	self := w.Rollout
	step := func(required bool) *eligibility.Set { return &eligibility.Set{RequiredMigrationStep: required} }
	switch {
	case self.Status.StartedAt == nil || other.Rollout.Status.StartedAt == nil:
		return "the newer of the two takes them over when both have started"
	case rollout.Replaces(self, other.Rollout, step(other.RequiredMigrationStep)):
		return "this rollout is newer and takes them over"
	case rollout.Replaces(other.Rollout, self, step(w.RequiredMigrationStep)):
		return "it is newer and takes over those that have not started here when its group opens"
	default:
		return "they get both updates, one after the other"
	}
}

// supersededOf returns what newer rollouts took over from these groups, or nil if nothing.
func supersededOf(groups []*v1alpha1.DeploymentGroup) *Superseded {
	s := Superseded{}
	for _, g := range groups {
		s.Targets += marked(g.Status.Superseded)
		for _, by := range g.Status.SupersededBy {
			s.By = append(s.By, by.Name)
		}
	}
	if s.Targets == 0 {
		return nil
	}
	slices.Sort(s.By)
	s.By = slices.Compact(s.By)
	return &s
}

// marked returns how many members a bitmap marks.
func marked(bitmap []byte) int {
	n := 0
	for _, b := range bitmap {
		n += bits.OnesCount8(b)
	}
	return n
}
