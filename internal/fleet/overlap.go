// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// SharedTargets returns the names of the rollouts whose present plans have members of these groups,
// each with the number of these members. The groups are those of one rollout, which is included.
func (x *Index) SharedTargets(groups []*v1alpha1.DeploymentGroup) map[string]int {
	counts := map[types.NamespacedName]int{} // by group
	for _, g := range groups {
		x.countMembers(g, counts)
	}
	shared := map[string]int{}
	for key, n := range counts {
		g := x.Group(key)
		if g == nil {
			continue
		}
		r := x.Rollout(types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.Rollout})
		if r != nil && grouping.BelongsTo(g, r) {
			shared[r.Name] += n
		}
	}
	return shared
}

// countMembers adds, for each group that has members of this one, their number.
func (x *Index) countMembers(g *v1alpha1.DeploymentGroup, counts map[types.NamespacedName]int) {
	own := client.ObjectKeyFromObject(g)
	var last types.NamespacedName // neighbors are mostly in the same group
	n := 0
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, name := range g.Spec.Targets {
		for _, m := range x.members[types.NamespacedName{Namespace: g.Namespace, Name: string(name)}] {
			switch m.group {
			case own:
			case last:
				n++
			default:
				if n > 0 {
					counts[last] += n
				}
				last, n = m.group, 1
			}
		}
	}
	if n > 0 {
		counts[last] += n
	}
}
