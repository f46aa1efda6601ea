// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/kinds"
)

const absentGroup = "absent.goshawk.dev"

// TestRulesWorkWhenAPartIsAbsent stores samples with everything in them, and variants that lack one
// optional part, before the rules are installed. Then each variant is labeled, and each variant of
// the spec is created, changed to the whole sample, and made from the whole sample: each request is
// accepted or refused, but never with an error of an expression. A part that is null is absent.
func TestRulesWorkWhenAPartIsAbsent(t *testing.T) {
	t.Parallel()
	definitions, err := kinds.Definitions(cluster.Root())
	if err != nil {
		t.Fatal(err)
	}
	for kind, crd := range definitions {
		if kind == "TargetInventory" { // it has no rule but that of times, which are required where they are
			continue
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			_, c := cluster.Start(t)
			today, namespace := kinds.In(absentGroup, crd), cluster.Namespace(t)
			install(t, c, kinds.Loosened(today))
			schema := kinds.Schema(crd)
			type stored struct {
				path          string
				whole, object *unstructured.Unstructured
			}
			var all []stored
			for name, choose := range map[string]func([]any) any{
				"first": func(enum []any) any { return enum[0] },
				"last":  func(enum []any) any { return enum[len(enum)-1] },
			} {
				sample := kinds.Sample(schema, choose).(map[string]any)
				parts := map[string]any{"spec": sample["spec"], "status": sample["status"]}
				whole := keep(t, c, kind, namespace, parts)
				wantNullsRemoved(t, c, whole)
				all = append(all, stored{name + " values", whole, whole})
				for _, v := range kinds.Variants(parts) {
					if kinds.IsOptional(schema, v.Path) {
						all = append(all, stored{v.Path + ", " + name + " values", whole, keep(t, c, kind, namespace, v.Sample)})
					}
				}
			}
			if len(all) < 20 {
				t.Fatalf("only %d samples", len(all))
			}
			install(t, c, today)
			eventually(t, "today's schema refuses such an object", func() error {
				fresh := all[0].whole.DeepCopy()
				fresh.SetResourceVersion("")
				fresh.SetName("fresh")
				empty := fresh.DeepCopy()
				empty.Object["spec"] = map[string]any{}
				whole, less := c.Create(t.Context(), fresh, client.DryRunAll), c.Create(t.Context(), empty, client.DryRunAll)
				if len(causesOf(whole))+len(causesOf(less)) == 0 {
					return fmt.Errorf("creating another object: %v, and %v", whole, less)
				}
				return nil
			})
			for _, s := range all {
				deeds := map[string]error{"labelled": label(t.Context(), c, s.object)}
				if !strings.HasPrefix(s.path, "status") { // these requests do not change a status
					deeds["made whole"] = respec(t.Context(), c, s.object, s.whole)
					deeds["from the whole"] = respec(t.Context(), c, s.whole, s.object)
					deeds["created"] = recreate(t.Context(), c, s.object)
				}
				for deed, err := range deeds {
					if err != nil && (strings.Contains(err.Error(), "evaluating rule") || strings.Contains(err.Error(), "no such ")) {
						t.Errorf("%s, %s: %v", s.path, deed, err)
					}
				}
			}
		})
	}
}

// keep stores an object with these parts.
func keep(t *testing.T, c client.Client, kind, namespace string, parts map[string]any) *unstructured.Unstructured {
	t.Helper()
	object := (&unstructured.Unstructured{Object: parts}).DeepCopy()
	object.SetAPIVersion(absentGroup + "/v1alpha1")
	object.SetKind(kind)
	object.SetNamespace(namespace)
	object.SetName(fmt.Sprintf("%s-%d", strings.ToLower(kind), names.Add(1)))
	status := object.Object["status"]
	eventually(t, "the loosened schema accepts the object", func() error { return c.Create(t.Context(), object) })
	object.Object["status"] = status
	if err := c.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return object
}

// wantNullsRemoved creates the object twice as a dry run, with null in place of every value of its
// spec and without these values, and fails the test if the results differ.
func wantNullsRemoved(t *testing.T, c client.Client, whole *unstructured.Unstructured) {
	t.Helper()
	with, without := whole.DeepCopy(), whole.DeepCopy()
	eachValue(with.Object["spec"], func(parent map[string]any, key string) { parent[key] = nil })
	eachValue(without.Object["spec"], func(parent map[string]any, key string) { delete(parent, key) })
	for _, object := range []*unstructured.Unstructured{with, without} {
		object.SetName(whole.GetName() + "-nulls")
		object.SetResourceVersion("")
		object.SetUID("")
		if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(without.Object["spec"], with.Object["spec"]); diff != "" {
		t.Errorf("a spec with nulls differs from one without these values (-without +with nulls):\n%s", diff)
	}
}

// eachValue calls do for each value in the maps of a part that is neither a map nor a list.
func eachValue(part any, do func(parent map[string]any, key string)) {
	switch part := part.(type) {
	case map[string]any:
		for key, value := range part {
			switch value.(type) {
			case map[string]any, []any:
				eachValue(value, do)
			default:
				do(part, key)
			}
		}
	case []any:
		for _, item := range part {
			eachValue(item, do)
		}
	}
}

func label(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	next := object.DeepCopy()
	next.SetLabels(map[string]string{"a": "b"})
	return c.Update(ctx, next, client.DryRunAll)
}

// respec changes the spec of a stored object to that of another one, as a dry run.
func respec(ctx context.Context, c client.Client, object, like *unstructured.Unstructured) error {
	next := object.DeepCopy()
	delete(next.Object, "spec")
	if spec, ok := like.Object["spec"]; ok {
		next.Object["spec"] = spec
	}
	return c.Update(ctx, next, client.DryRunAll)
}

func recreate(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	next := object.DeepCopy()
	next.SetName(object.GetName() + "-again")
	next.SetResourceVersion("")
	next.SetUID("")
	return c.Create(ctx, next, client.DryRunAll)
}
