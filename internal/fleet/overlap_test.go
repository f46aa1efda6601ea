// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// Targets of another namespace, groups of an earlier plan, and groups of a rollout that was deleted
// do not count.
func TestSharedTargets(t *testing.T) {
	planned := func(name string) *v1alpha1.Rollout {
		r := build.Named.Rollout(name, "set", func(r *v1alpha1.Rollout) { r.Status.Plan = &v1alpha1.PlanStatus{Hash: build.PlanHash} })
		r.Namespace, r.UID = "fleet", types.UID("uid-"+name)
		return r
	}
	one, two, three := planned("one"), planned("two"), planned("three")
	group := func(r *v1alpha1.Rollout, index int32, members ...string) *v1alpha1.DeploymentGroup {
		g := build.Named.DeploymentGroup(r, index, build.Members(members...))
		g.Namespace = "fleet"
		return g
	}
	first, second := group(one, 0, "a", "b", "c", "d"), group(one, 1, "e")
	earlier, elsewhere, gone := group(three, 0, "a"), group(two, 5, "a"), group(planned("gone"), 0, "a")
	earlier.Spec.PlanHash, elsewhere.Namespace = "sha256:earlier", "other"
	x, err := Of([]client.Object{one, two, three, first, second, group(two, 0, "b", "x", "c"), group(two, 1, "e", "y"), group(three, 1, "d"), earlier, elsewhere, gone})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"two": 3, "three": 1}, x.SharedTargets([]*v1alpha1.DeploymentGroup{first, second})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
