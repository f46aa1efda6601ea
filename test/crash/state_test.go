// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"encoding/json"
	"regexp"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// state returns all objects of the namespace, without values that differ from run to run: uids,
// times, ids, and values that depend on them.
func (r *run) state() string {
	r.T.Helper()
	var out []string
	for _, kind := range []schema.GroupVersionKind{
		v1alpha1.GroupVersion.WithKind("SoftwareModule"), v1alpha1.GroupVersion.WithKind("DistributionSet"), v1alpha1.GroupVersion.WithKind("Target"),
		v1alpha1.GroupVersion.WithKind("Rollout"), v1alpha1.GroupVersion.WithKind("AutoAssignment"),
		v1alpha1.GroupVersion.WithKind("DeploymentGroup"), {Version: "v1", Kind: "ConfigMap"},
	} {
		var list unstructured.UnstructuredList
		list.SetGroupVersionKind(kind)
		if err := r.Client.List(r.T.Context(), &list, client.InNamespace(r.Namespace)); err != nil {
			r.T.Fatal(err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; o.GetName() != "kube-root-ca.crt" {
				r.dropWithdrawn(o)
				out = append(out, normalised(o, r.Namespace))
			}
		}
	}
	return strings.Join(out, "---\n")
}

// dropWithdrawn removes actions that were stored and withdrawn, and that no device got, because the
// cache of a device API was late.
func (r *run) dropWithdrawn(o *unstructured.Unstructured) {
	actions, ok, err := unstructured.NestedSlice(o.Object, "status", "actions")
	if err != nil || !ok {
		return
	}
	kept := make([]any, 0, len(actions))
	for _, a := range actions {
		id, _, _ := unstructured.NestedInt64(a.(map[string]any), "id")
		if r.devices.given[o.GetName()][int32(id)] {
			kept = append(kept, a)
		}
	}
	if err := unstructured.SetNestedSlice(o.Object, kept, "status", "actions"); err != nil {
		r.T.Fatal(err)
	}
}

// passing are fields that may differ: identities, ids, the time of contacts, the number of seconds
// of an offer, intermediate reports, which a crash may lose, and how many groups of a newer rollout
// were open when an older one finished. Fields that depend on them, such as the condition
// Consistent and the superseded targets, are compared.
var passing = map[string]bool{
	"uid": true, "rolloutUID": true, "id": true, "actionID": true, "nextActionID": true, "upTo": true, "seconds": true, "lastSeen": true, "address": true,
	"reports": true, "history": true, "firstReportedAt": true, "reportedAt": true, "downloadSeen": true, "installingStarted": true, "stage": true, "from": true, "openGroups": true,
}

func normalised(o *unstructured.Unstructured, namespace string) string {
	name := o.GetName()
	if o.GetKind() == "DeploymentGroup" && name != "odd" {
		name = name[:strings.LastIndex(name, "-")]
		unstructured.RemoveNestedField(o.Object, "status", "counts") // they are from the last change of state; the counts of the rollout are current
	}
	if o.GetKind() == "ConfigMap" {
		name = "invalidation-record"
	}
	labels, _, _ := unstructured.NestedMap(o.Object, "metadata", "labels") // one of them contains the namespace
	finalizers := o.GetFinalizers()
	sort.Strings(finalizers)
	shown := map[string]any{
		"kind": o.GetKind(), "name": name, "finalizers": finalizers, "labels": plain(labels, namespace), "owners": len(o.GetOwnerReferences()), "isGoing": o.GetDeletionTimestamp() != nil,
	}
	for _, part := range []string{"spec", "status", "data"} {
		if found, ok := o.Object[part]; ok {
			shown[part] = plain(found, namespace)
		}
	}
	encoded, err := yaml.Marshal(shown)
	if err != nil {
		panic(err) // it was JSON before
	}
	return string(encoded)
}

func plain(value any, namespace string) any {
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, v := range value {
			if !passing[key] {
				out[plainText(key, namespace)] = plain(v, namespace)
			}
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = plain(value[i], namespace)
		}
		return out
	case string:
		return plainText(value, namespace)
	}
	return value
}

var differing = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( UTC)?`), "TIME"},
	{regexp.MustCompile(`[Aa]ction \d+`), "action N"},
	{regexp.MustCompile(`goshawk-invalidated-[0-9a-z-]+`), "RECORD"},
	{regexp.MustCompile(`^[0-9a-f]{64}$|key [0-9a-f]{64}`), "HASH"},
}

func plainText(text, namespace string) string {
	text = strings.ReplaceAll(text, namespace, "NAMESPACE")
	for _, d := range differing {
		text = d.what.ReplaceAllString(text, d.name)
	}
	return text
}

// show returns an object's status as a short text for a message.
func show(status any) string {
	encoded, err := json.Marshal(status)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}
