// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

func TestObjectsOfAllNamespacesAreSorted(t *testing.T) {
	var objects []client.Object
	for _, namespace := range []string{"b", "a"} {
		for _, name := range []string{"two", "one"} {
			of := []client.Object{build.Named.Rollout(name, "set"), build.Named.DistributionSet(name), build.Named.SoftwareModule(name), build.Named.AutoAssignment(name, "set")}
			for _, o := range of {
				o.SetNamespace(namespace)
			}
			objects = append(objects, of...)
		}
	}
	x, err := Of(objects)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a/one", "a/two", "b/one", "b/two"}
	for kind, got := range map[string][]string{
		"rollouts": keys(x.AllRollouts()), "sets": keys(x.AllSets()), "modules": keys(x.AllModules()), "auto-assignments": keys(x.AllAutoAssignments()),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	if set := x.DistributionSet(types.NamespacedName{Namespace: "a", Name: "two"}); set == nil || set.Name != "two" {
		t.Errorf("set a/two: %v", set)
	}
	if m := x.Module(types.NamespacedName{Namespace: "b", Name: "one"}); m == nil || m.Name != "one" {
		t.Errorf("module b/one: %v", m)
	}
	if x.DistributionSet(types.NamespacedName{Namespace: "c", Name: "two"}) != nil || x.Module(types.NamespacedName{Namespace: "a", Name: "three"}) != nil {
		t.Error("an object that does not exist")
	}
}

// keys returns the names of objects with their namespaces, in their order.
func keys[T client.Object](objects []T) []string {
	var names []string
	for o := range slices.Values(objects) {
		names = append(names, o.GetNamespace()+"/"+o.GetName())
	}
	return names
}
