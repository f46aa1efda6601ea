// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Kinds of Goshawk, with the names of their CRDs.
var Kinds = map[string]string{
	"SoftwareModule": "softwaremodules", "DistributionSet": "distributionsets", "Target": "targets",
	"Rollout": "rollouts", "DeploymentGroup": "deploymentgroups", "AutoAssignment": "autoassignments",
	"DeviceAccess": "deviceaccesses",
}

// Readable excludes the objects of Unreadable from a list or watch.
var Readable = client.MatchingFieldsSelector{Selector: fields.OneTermNotEqualSelector("metadata.name", "odd")}

// Unreadable has, for each kind, a spec that this version cannot decode.
var Unreadable = map[string]string{
	"SoftwareModule":  `{type: os, name: odd, version: "1", rollback: Perhaps}`,
	"DistributionSet": `{name: odd, version: "1", type: t, modules: {name: m}}`,
	"Target":          `{assignment: {distributionSet: odd, assignedAt: "2026-12-01T23:59:60Z"}}`,
	"Rollout":         `{update: {distributionSet: odd}, startAt: "2026-12-01t02:00:00z"}`,
	"DeploymentGroup": `{rollout: odd, rolloutUID: u, group: g, index: 99999999999, planHash: h, targets: [odd]}`,
	"AutoAssignment":  `{update: {distributionSet: odd}, startAt: "9999-12-31T23:59:59-01:00"}`,
	"DeviceAccess":    `{gatewayToken: {secretName: tokens}, targetSelector: {matchExpressions: [{key: site, operator: Like}]}}`,
}

// Loosely calls store while the API server accepts any value for spec and status of the named
// kinds, as an older or newer CRD might.
func Loosely(t testing.TB, c client.Client, store func(), kinds ...string) {
	t.Helper()
	var kept []*unstructured.Unstructured
	for _, kind := range kinds {
		crd := readCRD(t, c, Kinds[kind])
		kept = append(kept, crd.DeepCopy())
		loosen(crd)
		replaceCRD(t, c, crd)
	}
	defer func() {
		for _, crd := range kept {
			replaceCRD(t, c, crd)
		}
		awaitSchema(t, c, kinds, false)
	}()
	awaitSchema(t, c, kinds, true)
	store()
}

func readCRD(t testing.TB, c client.Client, plural string) *unstructured.Unstructured {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	if err := c.Get(t.Context(), types.NamespacedName{Name: plural + ".goshawk.dev"}, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// loosen makes a CRD accept any value.
func loosen(crd *unstructured.Unstructured) {
	anything := map[string]any{"x-kubernetes-preserve-unknown-fields": true}
	for _, v := range crd.Object["spec"].(map[string]any)["versions"].([]any) {
		version := v.(map[string]any)
		delete(version, "selectableFields")
		version["schema"] = map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": anything, "status": anything}}}
	}
}

func replaceCRD(t testing.TB, c client.Client, crd *unstructured.Unstructured) {
	t.Helper()
	for range 20 {
		now := crd.DeepCopy()
		now.SetResourceVersion(readCRD(t, c, strings.TrimSuffix(crd.GetName(), ".goshawk.dev")).GetResourceVersion())
		if err := c.Update(t.Context(), now); err == nil {
			return
		} else if !strings.Contains(err.Error(), "modified") {
			t.Fatalf("change CRD %s: %v", crd.GetName(), err)
		}
	}
	t.Fatalf("change CRD %s: too many conflicts with other writers", crd.GetName())
}

// awaitSchema waits until the API server accepts, or refuses, objects of each of the kinds that
// cannot be decoded.
func awaitSchema(t testing.TB, c client.Client, kinds []string, takes bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, kind := range kinds {
		for streak := 0; streak < 3; { // it takes some time until all parts of the API server use the new schema
			err := c.Create(t.Context(), odd(t, kind, "default", "probe"), client.DryRunAll)
			if (err == nil) == takes {
				streak++
				continue
			}
			streak = 0
			if time.Now().After(deadline) {
				t.Fatalf("the API server's response to an unreadable %s is still: %v", kind, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// odd returns an object that cannot be decoded.
func odd(t testing.TB, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(fmt.Sprintf("{apiVersion: goshawk.dev/v1alpha1, kind: %s, spec: %s}", kind, Unreadable[kind])), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// StoreUnreadable stores in each of the namespaces an object of each kind that cannot be decoded,
// named odd.
func StoreUnreadable(t testing.TB, c client.Client, namespaces ...string) {
	t.Helper()
	kinds := slices.Sorted(maps.Keys(Kinds))
	Loosely(t, c, func() {
		for _, namespace := range namespaces {
			for _, kind := range kinds {
				if err := c.Create(t.Context(), odd(t, kind, namespace, "odd")); err != nil {
					t.Fatalf("store an unreadable %s: %v", kind, err)
				}
			}
		}
	}, kinds...)
}

// Force writes a JSON merge patch to an object and its status, without validation.
func (w *World) Force(kind, name, patch string) {
	w.T.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("goshawk.dev/v1alpha1")
	o.SetKind(kind)
	o.SetNamespace(w.Namespace)
	o.SetName(name)
	body, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		w.T.Fatal(err)
	}
	write := w.Client.Patch(w.T.Context(), o, client.RawPatch(types.MergePatchType, body))
	if strings.HasPrefix(patch, "status:") {
		write = w.Client.Status().Patch(w.T.Context(), o, client.RawPatch(types.MergePatchType, body))
	}
	if write != nil {
		w.T.Fatalf("force %s %s: %v", kind, name, write)
	}
}

// Raw returns an object as it is stored.
func (w *World) Raw(kind, name string) map[string]any {
	w.T.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("goshawk.dev/v1alpha1")
	o.SetKind(kind)
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, o); err != nil {
		w.T.Fatal(err)
	}
	return o.Object
}

// EventsOf counts the events with a reason about an object.
func (w *World) EventsOf(kind, name, reason string) int {
	w.T.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("events.k8s.io/v1")
	list.SetKind("EventList")
	if err := w.Client.List(w.T.Context(), list, client.InNamespace(w.Namespace)); err != nil {
		w.T.Fatal(err)
	}
	n := 0
	for _, e := range list.Items {
		regarding, _, _ := unstructured.NestedStringMap(map[string]any{"r": stringsOf(e.Object["regarding"])}, "r")
		if e.Object["reason"] == reason && regarding["kind"] == kind && regarding["name"] == name {
			n++
			if series, ok := e.Object["series"].(map[string]any); ok {
				count, _ := series["count"].(int64)
				n += int(count)
			}
		}
	}
	return n
}

func stringsOf(value any) map[string]any {
	out := map[string]any{}
	fields, _ := value.(map[string]any)
	for key, field := range fields {
		if text, ok := field.(string); ok {
			out[key] = text
		}
	}
	return out
}
