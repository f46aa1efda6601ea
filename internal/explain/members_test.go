// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// rolloutOfFive is a rollout with five members: one failed with a code, one with a message, one was
// taken over by a newer update, one was deleted, and one waits for its group to open.
func rolloutOfFive() (*v1alpha1.Rollout, []client.Object) {
	objects := build.At(noon)
	r := objects.Rollout("r", "firmware-2")
	failed := func(code, group string) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{{ID: 1, DistributionSet: "firmware-2", State: v1alpha1.ActionError, StatusCode: code, FailureGroup: group, FailureMessage: group, ClosedAt: ago(1),
				Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.Identity()}}}
		}
	}
	first := objects.DeploymentGroup(r, 0, build.Members("a", "b", "c", "d"), func(g *v1alpha1.DeploymentGroup) { g.Status.Superseded = []byte{0b100} })
	second := objects.DeploymentGroup(r, 1, build.Members("e"))
	build.Running(noon, "", first)(r)
	r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: second.Spec.Group, State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 1, Scheduled: 1}})
	return r, []client.Object{r, first, second, objects.DistributionSet("firmware-2"),
		objects.Target("a", failed("28", "")), objects.Target("b", failed("", "no space")), objects.Target("c"), objects.Target("e")}
}

func TestFindMembers(t *testing.T) {
	r, objects := rolloutOfFive()
	x, err := fleet.Of(objects)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		query MemberQuery
		want  []string
	}{
		"all":                              {MemberQuery{}, []string{`a failed ""`, `b failed ""`, `c canceled "a newer update took the target over"`, `d removed ""`, `e scheduled ""`}},
		"those that failed":                {MemberQuery{Bucket: "failed"}, []string{`a failed ""`, `b failed ""`}},
		"those that failed with a code":    {MemberQuery{Failure: action.Failure{Code: "28"}}, []string{`a failed ""`}},
		"those that failed with a message": {MemberQuery{Bucket: "failed", Failure: action.Failure{Message: "no space"}}, []string{`b failed ""`}},
		"those that were deleted":          {MemberQuery{Bucket: "removed"}, []string{`d removed ""`}},
		"those of a group":                 {MemberQuery{Group: "group-2"}, []string{`e scheduled ""`}},
		"those of a group that failed":     {MemberQuery{Group: "group-2", Bucket: "failed"}, nil},
	} {
		found := FindMembers(x, r, tc.query)
		var got []string
		for _, s := range found.States(0, found.Len()) {
			got = append(got, fmt.Sprintf("%s %s %q", s.Name, s.Bucket, s.Why))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := FindMembers(x, r, MemberQuery{}).States(1, 2); len(got) != 1 || got[0].Name != "b" {
		t.Errorf("the second member: %+v", got)
	}
}

// The details of a rollout of 100 000 targets, with another one of the same targets, and the list
// of its members.
func BenchmarkDetails(b *testing.B) {
	objects := build.At(noon)
	var all []client.Object
	one, two := objects.Rollout("one", "firmware-1"), objects.Rollout("two", "firmware-2")
	for _, r := range []*v1alpha1.Rollout{one, two} {
		var groups []*v1alpha1.DeploymentGroup
		for i := range 10 {
			g := objects.DeploymentGroup(r, int32(i))
			for k := range 10_000 {
				g.Spec.Targets = append(g.Spec.Targets, v1alpha1.TargetName(fmt.Sprintf("t-%d-%d", i, k)))
			}
			groups = append(groups, g)
			all = append(all, g)
		}
		build.Running(noon, "", groups...)(r)
		all = append(all, r)
	}
	for i := range 10 {
		for k := range 10_000 {
			all = append(all, objects.Target(fmt.Sprintf("t-%d-%d", i, k)))
		}
	}
	x, err := fleet.Of(all)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("details", func(b *testing.B) {
		for b.Loop() {
			DetailsOf(RolloutWorld{Index: x, Rollout: one, Groups: true, Targets: true, Sets: true, Modules: true, Now: noon})
		}
	})
	b.Run("failed members", func(b *testing.B) {
		for b.Loop() {
			FindMembers(x, one, MemberQuery{Bucket: "failed"})
		}
	})
}
