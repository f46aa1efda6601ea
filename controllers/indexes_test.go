// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

func TestIndexExtractors(t *testing.T) {
	from := func(uid types.UID) func(*v1alpha1.Action) {
		return func(a *v1alpha1.Action) { a.Source.UID = uid }
	}
	busy := built.Target("busy", func(t *v1alpha1.Target) {
		t.Spec.Assignment = assignment("own", nil)
		t.Status.Actions = []v1alpha1.Action{
			build.Action(1, "old", v1alpha1.ActionFinished, from("u1")),
			build.Action(2, "new", v1alpha1.ActionCanceling, from("u2")),
		}
	})
	removing := built.Target("removing", func(t *v1alpha1.Target) {
		t.Spec.Assignment = assignment("", nil)
		t.Status.Actions = []v1alpha1.Action{build.Action(1, "", v1alpha1.ActionRunning, func(a *v1alpha1.Action) { a.Removal = "removal of app 1" })}
	})
	locked := aSet("fw", "m1", "m2")
	locked.Status.ContentHash = "abc"
	for name, tc := range map[string]struct {
		extract client.IndexerFunc
		object  client.Object
		want    []string
	}{
		"a target is found by the set of its open action, not of a closed one":    {OpenSets, busy, []string{"new"}},
		"a target is found by the source of its open action, not of a closed one": {OpenSources, busy, []string{"u2"}},
		"an open removal is found by no set":                                      {OpenSets, removing, nil},
		"an assigned removal is found by no set":                                  {UsedSet, removing, nil},
		"an assigned removal is found by Assigned":                                {HasAssignment, removing, []string{Assigned}},
		"a rollout that removes software is found by no set":                      {UsedSet, built.Rollout("r", ""), nil},
		"an auto-assignment that removes software is found by no set":             {UsedSet, built.AutoAssignment("a", ""), nil},
		"an idle target is found by no set":                                       {OpenSets, built.Target("idle"), nil},
		"a target is found by the set assigned to it":                             {UsedSet, busy, []string{"own"}},
		"a target without assignment is found by none":                            {UsedSet, built.Target("idle"), nil},
		"a target with an assignment is found by Assigned":                        {HasAssignment, busy, []string{Assigned}},
		"a target without assignment is not found by Assigned":                    {HasAssignment, built.Target("idle"), nil},
		"a rollout is found by its set":                                           {UsedSet, built.Rollout("r", "fw"), []string{"fw"}},
		"an auto-assignment is found by its set":                                  {UsedSet, built.AutoAssignment("a", "fw"), []string{"fw"}},
		"a set is found by each of its modules":                                   {SetModules, locked, []string{"m1", "m2"}},
		"a set is found by its content":                                           {SetContentHash, locked, []string{"abc"}},
		"a set without content is found by no content":                            {SetContentHash, aSet("fw"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.extract(tc.object)); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdentityIndexSeparatesItsParts(t *testing.T) {
	a, b := aSet("x"), aSet("x")
	a.Spec.Name, a.Spec.Version = "firm", "ware1"
	b.Spec.Name, b.Spec.Version = "firmware", "1"
	if SetIdentity(a)[0] == SetIdentity(b)[0] {
		t.Error("firm ware1 and firmware 1 have the same identity")
	}
	b.Spec.Name, b.Spec.Version = "firm", "ware1"
	b.Name = "another-object"
	if SetIdentity(a)[0] != SetIdentity(b)[0] {
		t.Error("the name of the object counts for its identity")
	}
	m, n := aModule("m", "os"), aModule("m", "app")
	if ModuleIdentity(m)[0] == ModuleIdentity(n)[0] {
		t.Error("modules of two types have the same identity")
	}
}

type indexRecorder map[string]bool

func (r indexRecorder) IndexField(_ context.Context, _ client.Object, field string, _ client.IndexerFunc) error {
	r[field] = true
	return nil
}

func TestIndexesAreAllAdded(t *testing.T) {
	added := indexRecorder{}
	if err := AddIndexes(t.Context(), added); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{TargetByOpenSet, TargetByOpenSource, TargetByAssignedSet, TargetByAssignment, RolloutBySet, AutoAssignmentBySet, SetByModule, SetByIdentity, SetByContentHash, ModuleByIdentity} {
		if !added[name] {
			t.Errorf("index %s is not added", name)
		}
	}
}
