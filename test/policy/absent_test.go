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

// TestPoliciesWorkWhenAPartIsAbsent takes a sample with all fields, removes every part, and lets a
// user without Goshawk's verbs create it, delete it, and change it from the whole sample and back.
// Each request is accepted or refused with a message of a policy, and never with an error of an
// expression.
func TestPoliciesWorkWhenAPartIsAbsent(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.loosePolicies(t, looseGroup, kinds.Loosened)
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
				whole := f.loose(looseGroup, kind, kinds.Variant{Path: "the whole", Sample: parts})
				check := func(what, path string, err error) {
					t.Helper()
					if err != nil && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "denied request: ") || !strings.Contains(err.Error(), ", which unprivileged lacks")) {
						t.Errorf("%s, %s: %v", what, path, err)
					}
				}
				store(t, admin, whole)
				for _, v := range variants {
					object := f.loose(looseGroup, kind, v)
					if strings.HasPrefix(v.Path, "spec") {
						check("create", v.Path, unprivileged.Create(t.Context(), object.DeepCopy(), client.DryRunAll))
						check("from the whole", v.Path, replace(t.Context(), unprivileged, whole, object))
					}
					store(t, admin, object)
					check("to the whole", v.Path, replace(t.Context(), unprivileged, object, whole))
					check("delete", v.Path, unprivileged.Delete(t.Context(), object.DeepCopy(), client.DryRunAll))
				}
			})
		}
	}
}

// loose returns a variant as an object of the loosened kind.
func (f *fleet) loose(group, kind string, v kinds.Variant) *unstructured.Unstructured {
	object := (&unstructured.Unstructured{Object: v.Sample}).DeepCopy()
	object.SetAPIVersion(group + "/v1alpha1")
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

// loosePolicies installs the kinds in another group, changed by loosen, and the policies for them.
func (f *fleet) loosePolicies(t *testing.T, group string, loosen func(crd *unstructured.Unstructured) *unstructured.Unstructured) {
	t.Helper()
	definitions, err := kinds.Definitions(cluster.Root())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range guarded {
		if err := f.admin.Create(t.Context(), loosen(kinds.In(group, definitions[kind]))); err != nil {
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
		object.SetName(group + "." + object.GetName())
		if object.GetKind() == "ValidatingAdmissionPolicyBinding" {
			name, _, _ := unstructured.NestedString(object.Object, "spec", "policyName")
			_ = unstructured.SetNestedField(object.Object, group+"."+name, "spec", "policyName")
		} else {
			rules, _, _ := unstructured.NestedSlice(object.Object, "spec", "matchConstraints", "resourceRules")
			rules[0].(map[string]any)["apiGroups"] = []any{group}
			_ = unstructured.SetNestedSlice(object.Object, rules, "spec", "matchConstraints", "resourceRules")
		}
		if err := f.admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	// Each policy is in force when it refuses a request.
	probe := f.as(t, "loose-probe")
	f.bindRules(t, "loose-probe", rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{"*"}, Verbs: []string{"*"}}, rule("get", "rollouts"))
	for kind, spec := range map[string]string{"DistributionSet": `{invalidation: {cancellation: Soft}}`, "Target": `{cancel: {upTo: 1}}`, "Rollout": `{resumedAt: "2026-12-01T02:00:00Z"}`} {
		f.eventually(t, "the policy for loose "+kind+" refuses", func() error {
			object := f.loose(group, kind, kinds.Variant{Sample: map[string]any{"spec": parse(t, spec)}})
			return wantDenied(probe.Create(t.Context(), object, client.DryRunAll))
		})
	}
	module := f.loose(group, "SoftwareModule", kinds.Variant{Sample: map[string]any{"spec": map[string]any{}, "status": map[string]any{"locked": true}}})
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

// oddGroup has the same kinds without a schema, and the same policies.
const oddGroup = "odd.goshawk.dev"

// odds are values that some field cannot have: values of another type, and times that cannot be
// decoded.
var odds = map[string]any{
	"a text": "odd", "a number": int64(99999999999), "a list": []any{"odd"}, "a map": map[string]any{"odd": "odd"},
	"a time in small letters": "2026-12-01t02:00:00z", "a leap second": "2026-12-01T23:59:60Z", "a time after the last year": "9999-12-31T23:59:59-01:00",
	"the 30th of February": "2026-02-30T02:00:00Z", "a time of the year 0": "0000-01-01T00:00:00Z",
}

// fits reports whether to test a value at a path: times at times, and other values anywhere but
// deep in the status, which no policy reads.
func fits(path, what string) bool {
	if strings.Contains(what, "time") || strings.Contains(what, "second") || strings.Contains(what, "February") {
		return strings.HasSuffix(path, "At") || strings.HasSuffix(path, ".at") || strings.HasSuffix(path, ".until")
	}
	return strings.HasPrefix(path, "spec") || strings.Count(path, ".") < 2
}

// anyValue replaces the schema of spec and status by one that accepts any value.
func anyValue(crd *unstructured.Unstructured) *unstructured.Unstructured {
	anything := map[string]any{"x-kubernetes-preserve-unknown-fields": true}
	for _, v := range crd.Object["spec"].(map[string]any)["versions"].([]any) {
		version := v.(map[string]any)
		delete(version, "selectableFields")
		delete(version, "additionalPrinterColumns")
		version["schema"] = map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": anything, "status": anything}}}
	}
	return crd
}

// TestRepairOfAnUnreadableObject takes a sample with all fields and replaces every part by a value
// that cannot be decoded. A user with all rights repairs and deletes every such object. For a user
// without Goshawk's verbs each request is accepted, or refused with a message of a policy, and
// never with an error of an expression.
func TestRepairOfAnUnreadableObject(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.loosePolicies(t, oddGroup, anyValue)
	definitions, err := kinds.Definitions(cluster.Root())
	if err != nil {
		t.Fatal(err)
	}
	unprivileged, admin := f.as(t, "unprivileged"), f.as(t, "admin", "system:masters")
	f.bindRules(t, "unprivileged", rbacv1.PolicyRule{APIGroups: []string{oddGroup}, Resources: []string{"*"}, Verbs: []string{"*"}}, rule("get", "rollouts"))
	for _, kind := range guarded {
		sample := kinds.Sample(kinds.Schema(definitions[kind]), func(enum []any) any { return enum[len(enum)-1] }).(map[string]any)
		parts := map[string]any{"spec": sample["spec"], "status": sample["status"]}
		for what, odd := range odds {
			t.Run(kind+", "+what, func(t *testing.T) {
				t.Parallel()
				whole := f.loose(oddGroup, kind, kinds.Variant{Path: "the whole", Sample: parts})
				check := func(what, path string, err error) {
					t.Helper()
					if err != nil && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), ", which unprivileged lacks")) {
						t.Errorf("%s, %s: %v", what, path, err)
					}
				}
				for _, v := range kinds.Replaced(parts, odd) {
					if !fits(v.Path, what) {
						continue
					}
					object := f.loose(oddGroup, kind, v)
					store(t, admin, object)
					check("repair", v.Path, replace(t.Context(), unprivileged, object, whole))
					check("delete", v.Path, unprivileged.Delete(t.Context(), object.DeepCopy(), client.DryRunAll))
					if err := replace(t.Context(), admin, object, whole); err != nil {
						t.Errorf("repair with all rights, %s: %v", v.Path, err)
					}
					if err := admin.Delete(t.Context(), object); err != nil {
						t.Errorf("delete with all rights, %s: %v", v.Path, err)
					}
				}
			})
		}
	}
}

// TestSafeguardIsNotLiftedByItsRepair: the old value of a field of an approved rollout cannot be
// decoded. An editor cannot replace it by any value and cannot remove it, because the old value may
// have been stricter; an editor who is an approver can. Other changes are checked as usual.
func TestSafeguardIsNotLiftedByItsRepair(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const group = "guard.goshawk.dev"
	f.loosePolicies(t, group, anyValue)
	editor := f.as(t, "odd-editor")
	f.bindRules(t, "odd-editor", rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{"*"}, Verbs: []string{"*"}}, rule("get", "rollouts"))
	approver := f.as(t, "odd-approver")
	f.bindRules(t, "odd-approver", rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{"*"}, Verbs: []string{"*"}}, rule("get approve", "rollouts"))
	for name, tc := range map[string]struct{ given, change, guards string }{
		"startAt":                         {`{startAt: "2026-12-01t02:00:00z"}`, `{startAt: "2027-12-01T02:00:00Z"}`, "startAt"},
		"startAt is removed":              {`{startAt: "2026-12-01T23:59:60Z"}`, `{startAt: null}`, "startAt"},
		"startAt is a number":             {`{startAt: 5}`, `{startAt: "2027-12-01T02:00:00Z"}`, "startAt"},
		"until":                           {`{dynamic: {until: "2026-12-01T23:59:60Z"}}`, `{dynamic: {until: "2026-12-01T23:59:59Z"}}`, "dynamic"},
		"until is removed":                {`{dynamic: {until: "0000-01-01T00:00:00Z"}}`, `{dynamic: {until: null}}`, "dynamic"},
		"until, when dynamic is removed":  {`{dynamic: {until: "2026-12-01t02:00:00z"}}`, `{dynamic: null}`, ""},
		"dynamic":                         {`{dynamic: odd}`, `{dynamic: {maxTargets: 1}}`, "dynamic"},
		"maxTargets":                      {`{dynamic: {maxTargets: many}}`, `{dynamic: {maxTargets: 1}}`, "dynamic"},
		"errorThreshold":                  {`{errorThreshold: few}`, `{errorThreshold: 1}`, "errorThreshold"},
		"successThreshold":                {`{successThreshold: []}`, `{successThreshold: 99}`, "successThreshold"},
		"successAction":                   {`{successAction: Ponder}`, `{successAction: NextGroup}`, "successAction"},
		"successAction becomes Pause":     {`{successAction: Ponder}`, `{successAction: Pause}`, ""},
		"minimumReports":                  {`{minimumReports: few}`, `{minimumReports: 0}`, "minimumReports"},
		"errorBudget":                     {`{errorBudget: {percent: few}}`, `{errorBudget: {percent: 1}}`, "errorBudget"},
		"update.type":                     {`{update: {type: Gentle}}`, `{update: {type: Forced}}`, "update.type"},
		"update":                          {`{update: odd}`, `{update: {type: Soft}}`, "update.type"},
		"stopCancellation":                {`{stopCancellation: Gentle}`, `{stopCancellation: Soft}`, "stopCancellation"},
		"deletionCancellation":            {`{deletionCancellation: 5}`, `{deletionCancellation: None}`, "deletionCancellation"},
		"groups":                          {`{groups: {a: b}}`, `{groups: [{name: a}]}`, "groups"},
		"the condition of a group":        {`{groups: [{name: a, errorThreshold: few}]}`, `{groups: [{name: a, errorThreshold: 1}]}`, "groups"},
		"another field":                   {`{startAt: "2026-12-01t02:00:00z"}`, `{errorThreshold: 1}`, ""},
		"another field, looser":           {`{startAt: "2026-12-01t02:00:00z", errorThreshold: 1}`, `{errorThreshold: 2}`, "errorThreshold"},
		"a pause":                         {`{startAt: "2026-12-01t02:00:00z", groups: odd}`, `{state: Paused}`, ""},
		"a stop that cancels nothing":     {`{startAt: 5, dynamic: [], errorBudget: odd}`, `{state: Stopped, stopCancellation: None}`, ""},
		"a leap day is a time":            {`{startAt: "2028-02-29T02:00:00Z"}`, `{startAt: "2028-03-01T02:00:00Z"}`, ""},
		"a time with an offset is a time": {`{dynamic: {until: "2026-12-01T02:00:00.5+14:00"}}`, `{dynamic: {until: "2026-11-01T02:00:00Z"}}`, ""},
		"the last moment is a time":       {`{dynamic: {until: "9999-12-31T23:59:59Z"}}`, `{dynamic: {until: "2026-11-01T02:00:00Z"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := parse(t, `{approvalRequired: true, approval: {planHash: `+plan+`}}`)
			merge(given, parse(t, tc.given))
			object := f.loose(group, "Rollout", kinds.Variant{Sample: map[string]any{"spec": given}})
			if err := f.admin.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			change := mergePatch(t, map[string]any{"spec": parse(t, tc.change)})
			refusal := ""
			if tc.guards != "" {
				refusal = loosens(tc.guards)
			}
			f.wantRefused(t, editor.Patch(t.Context(), object.DeepCopy(), change, client.DryRunAll), "odd-editor", refusal)
			f.wantRefused(t, approver.Patch(t.Context(), object.DeepCopy(), change, client.DryRunAll), "odd-approver", "")
		})
	}
}
