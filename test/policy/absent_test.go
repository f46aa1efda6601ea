// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/kinds"
)

// looseGroup has the same kinds without any rule, and the same policies, for objects that an older
// schema has accepted.
const looseGroup = "loose.goshawk.dev"

// guarded are the kinds that a policy matches.
var guarded = []string{"SoftwareModule", "DistributionSet", "Target", "Rollout"}

// TestPoliciesWorkWhenAPartIsAbsent takes a sample with all fields, removes every part, replaces
// every part by null, and lets a user without Goshawk's verbs create it, delete it, and change it
// from the whole sample and back. Each request is accepted or refused with a message of a policy,
// and never with an error of an expression.
func TestPoliciesWorkWhenAPartIsAbsent(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.loosePolicies(t)
	definitions, err := kinds.Definitions(cluster.Root())
	if err != nil {
		t.Fatal(err)
	}
	unprivileged, admin := f.as(t, "unprivileged"), f.as(t, "admin", "system:masters")
	f.bindRules(t, "unprivileged", rbacv1.PolicyRule{APIGroups: []string{looseGroup}, Resources: []string{"*"}, Verbs: []string{"*"}}, rule("get", "rollouts"))
	for _, kind := range guarded {
		schema := kinds.Schema(definitions[kind])
		for name, choose := range map[string]func([]any) any{
			"first values": func(enum []any) any { return enum[0] },
			"last values":  func(enum []any) any { return enum[len(enum)-1] },
			"middle":       func(enum []any) any { return enum[len(enum)/2] },
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				sample := kinds.Sample(schema, choose).(map[string]any)
				parts := map[string]any{"spec": sample["spec"], "status": sample["status"]}
				variants := kinds.Variants(parts)
				if len(variants) < 20 {
					t.Fatalf("only %d variants", len(variants))
				}
				whole := f.loose(kind, kinds.Variant{Path: "the whole", Sample: parts})
				check := func(what, path string, err error) {
					t.Helper()
					if err != nil && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "denied request: ") || !strings.Contains(err.Error(), ", which unprivileged lacks")) {
						t.Errorf("%s, %s: %v", what, path, err)
					}
				}
				store(t, admin, whole)
				for _, v := range variants {
					object := f.loose(kind, v)
					if strings.HasPrefix(v.Path, "spec") {
						check("create", v.Path, unprivileged.Create(t.Context(), object.DeepCopy(), client.DryRunAll))
						check("from the whole", v.Path, replace(t.Context(), unprivileged, whole, object))
					}
					store(t, admin, object)
					check("to the whole", v.Path, replace(t.Context(), unprivileged, object, whole))
					check("delete", v.Path, unprivileged.Delete(t.Context(), object.DeepCopy(), client.DryRunAll))
					if err := admin.Delete(t.Context(), object); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

// loose returns a variant as an object of the loosened kind.
func (f *fleet) loose(kind string, v kinds.Variant) *unstructured.Unstructured {
	object := (&unstructured.Unstructured{Object: v.Sample}).DeepCopy()
	object.SetAPIVersion(looseGroup + "/v1alpha1")
	object.SetKind(kind)
	object.SetNamespace(f.namespace)
	object.SetName(newName(kind))
	return object
}

// store creates an object and its status.
func store(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	status := object.Object["status"]
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	object.Object["status"] = status
	if err := c.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// replace updates the stored object to the content of another one, as a dry run.
func replace(ctx context.Context, c client.Client, stored, wanted *unstructured.Unstructured) error {
	next := stored.DeepCopy()
	delete(next.Object, "spec")
	if spec, ok := wanted.Object["spec"]; ok {
		next.Object["spec"] = spec
	}
	return c.Update(ctx, next, client.DryRunAll)
}

// loosePolicies installs the loosened kinds and the policies for them.
func (f *fleet) loosePolicies(t *testing.T) {
	t.Helper()
	definitions, err := kinds.Definitions(cluster.Root())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range guarded {
		if err := f.admin.Create(t.Context(), kinds.Loosened(kinds.In(looseGroup, definitions[kind]))); err != nil {
			t.Fatal(err)
		}
	}
	built := cluster.Kubectl(t, "kustomize", cluster.Root()+"/config/policy")
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(built), 4096)
	for {
		object := &unstructured.Unstructured{}
		if decoder.Decode(&object.Object) != nil {
			break
		}
		object.SetName("loose." + object.GetName())
		if object.GetKind() == "ValidatingAdmissionPolicyBinding" {
			name, _, _ := unstructured.NestedString(object.Object, "spec", "policyName")
			_ = unstructured.SetNestedField(object.Object, "loose."+name, "spec", "policyName")
		} else {
			rules, _, _ := unstructured.NestedSlice(object.Object, "spec", "matchConstraints", "resourceRules")
			rules[0].(map[string]any)["apiGroups"] = []any{looseGroup}
			_ = unstructured.SetNestedSlice(object.Object, rules, "spec", "matchConstraints", "resourceRules")
		}
		if err := f.admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	// Each policy is in force when it refuses a request.
	probe := f.as(t, "loose-probe")
	f.bindRules(t, "loose-probe", rbacv1.PolicyRule{APIGroups: []string{looseGroup}, Resources: []string{"*"}, Verbs: []string{"*"}}, rule("get", "rollouts"))
	for kind, spec := range map[string]string{"DistributionSet": `{invalidation: {cancellation: Soft}}`, "Target": `{cancel: {upTo: 1}}`, "Rollout": `{resumedAt: "2026-12-01T02:00:00Z"}`} {
		f.eventually(t, "the policy for loose "+kind+" refuses", func() error {
			object := f.loose(kind, kinds.Variant{Sample: map[string]any{"spec": parse(t, spec)}})
			return wantDenied(probe.Create(t.Context(), object, client.DryRunAll))
		})
	}
	module := f.loose("SoftwareModule", kinds.Variant{Sample: map[string]any{"spec": map[string]any{}, "status": map[string]any{"locked": true}}})
	store(t, f.admin, module)
	f.eventually(t, "the policy for loose deletions refuses", func() error {
		return wantDenied(probe.Delete(t.Context(), module.DeepCopy(), client.DryRunAll))
	})
}

func wantDenied(err error) error {
	if err == nil {
		return errors.New("accepted")
	}
	if !strings.Contains(err.Error(), "denied request: ") {
		return fmt.Errorf("not refused by a policy: %w", err)
	}
	return nil
}

// A Target may have no spec.
func TestATargetWithoutASpec(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	target := f.object(t, "Target", newName("Target"))
	delete(target.Object, "spec")
	f.wantRefused(t, f.as(t, "editor").Create(t.Context(), target.DeepCopy()), "editor", "")
	f.wantRefused(t, serverSideApply(t.Context(), f.as(t, "editor"), f.object(t, "Target", target.GetName(), `{cancel: {upTo: 1, cancellation: Force}}`)), "editor", forceCancels)
	f.wantRefused(t, serverSideApply(t.Context(), f.as(t, "stopper"), f.object(t, "Target", target.GetName(), `{cancel: {upTo: 1, cancellation: Force}}`)), "stopper", "")
	if err := kubectl(t, "editor", target, "replace", "--as-group=system:masters"); err != nil {
		t.Error(err)
	}
}
