// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestLiveReadIsolatesUnreadableObjects reads objects of every kind from a server that stores
// values that cannot be decoded.
func TestLiveReadIsolatesUnreadableObjects(t *testing.T) {
	stored := map[string]string{
		"SoftwareModule":  object("SoftwareModule", `{"type":"os","rollback":"Perhaps"}`, `{}`),
		"DistributionSet": object("DistributionSet", `{"modules":{"name":"m"}}`, `{}`),
		"Target":          object("Target", `{"assignment":{"distributionSet":"s","assignedAt":"2026-12-01T23:59:60Z"}}`, `{}`),
		"Rollout":         object("Rollout", `{"startAt":"2026-12-01t02:00:00z"}`, `{}`),
		"DeploymentGroup": object("DeploymentGroup", `{"index":99999999999}`, `{}`),
		"AutoAssignment":  object("AutoAssignment", `{"startAt":"9999-12-31T23:59:59-01:00"}`, `{}`),
		"DeviceAccess":    object("DeviceAccess", `{"targetSelector":{"matchExpressions":[{"key":"a","operator":"Like"}]}}`, `{}`),
		"TargetInventory": object("TargetInventory", `{}`, `{"features":[{"id":"app"}],"installed":{"name":"app"},"contentsHash":"0a"}`),
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind := range stored {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for kind, text := range stored {
			plural, _ := meta.UnsafeGuessKindToResource(v1alpha1.GroupVersion.WithKind(kind))
			_, rest, found := strings.Cut(r.URL.Path, "/"+plural.Resource)
			switch {
			case found && rest == "":
				sound := strings.ReplaceAll(object(kind, `{}`, `{}`), `"name":"o"`, `"name":"sound"`)
				list, _ := json.Marshal(map[string]any{"apiVersion": "goshawk.dev/v1alpha1", "kind": kind + "List", "metadata": map[string]string{"resourceVersion": "9"},
					"items": []json.RawMessage{json.RawMessage(text), json.RawMessage(sound)}})
				_, _ = w.Write(list)
				return
			case found && rest == "/o":
				_, _ = w.Write([]byte(text))
				return
			}
		}
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`, http.StatusNotFound)
	}))
	defer server.Close()
	c, err := client.New(&rest.Config{Host: server.URL}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	live := Reader(c)
	for kind := range stored {
		t.Run(kind, func(t *testing.T) {
			o := newOf(kind).(client.Object)
			if err := live.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: "o"}, o); err != nil {
				t.Fatal(err)
			}
			if mark := v1alpha1.UnreadableOf(o); mark == nil || !mark.Lacks("spec") && len(mark.Fields) == 0 || o.GetUID() != "u" || o.GetResourceVersion() != "7" {
				t.Errorf("mark %+v, object %+v", mark, o)
			}
			list := newListOf(o)
			if err := live.List(t.Context(), list.(client.ObjectList), client.InNamespace("n")); err != nil {
				t.Fatal(err)
			}
			items, err := meta.ExtractList(list)
			if err != nil || len(items) != 2 {
				t.Fatalf("%d items, %v", len(items), err)
			}
			if v1alpha1.UnreadableOf(items[0].(client.Object)) == nil || v1alpha1.UnreadableOf(items[1].(client.Object)) != nil {
				t.Error("not exactly the unreadable object is marked")
			}
			if err := live.Get(t.Context(), client.ObjectKey{Namespace: "n", Name: "absent"}, o); !apierrors.IsNotFound(err) {
				t.Errorf("an absent object: %v", err)
			}
		})
	}
}
