// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package states has one object of every kind in every state that it can have. The objects are
// files, in the folders of the tests of Argo CD's health scripts. The tests of the packages that
// compute a status compare them with what the code computes; the tests of this package evaluate
// them as kstatus, Argo CD and Flux do.
package states

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Folder returns the folder of the health script of a kind, below the root of the repository.
func Folder(root, kind string) string {
	return filepath.Join(root, "config", "argocd", v1alpha1.GroupVersion.Group, kind)
}

// File returns the file of a kind in one state.
func File(root, kind, state string) string {
	return filepath.Join(Folder(root, kind), "testdata", state+".yaml")
}

// Read returns an object from its file.
func Read(path string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	text, err = yaml.YAMLToJSON(text)
	if err == nil {
		err = o.UnmarshalJSON(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// Check compares objects, by their state, with their files. With write it writes the files first.
// root is the root of the repository.
func Check[T client.Object](t *testing.T, root string, write bool, objects map[string]T) {
	t.Helper()
	for state, o := range objects {
		checkObject(t, root, write, state, asStored(t, o))
	}
}

// CheckEvents adds to Check the states that do not depend on the code of a kind: events of the life
// of any object, in the given object of that kind.
func CheckEvents(t *testing.T, root string, write bool, o client.Object) {
	t.Helper()
	for state, edit := range events {
		object := asStored(t, o)
		edit(object)
		checkObject(t, root, write, state, object)
	}
}

// Future is the value of enums and reasons that a later version may add.
const Future = "Hibernating"

// events are what happens to objects of every kind.
var events = map[string]func(*unstructured.Unstructured){
	"without-status": func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, "status") },
	"just-applied": func(o *unstructured.Unstructured) {
		_, has, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
		if o.Object["status"] = map[string]any{}; has {
			o.Object["status"] = map[string]any{"observedGeneration": int64(-1)}
		}
	},
	"edited-and-not-reconciled": func(o *unstructured.Unstructured) { o.SetGeneration(o.GetGeneration() + 1) },
	"being-deleted": func(o *unstructured.Unstructured) {
		at := o.GetCreationTimestamp().Add(time.Hour).UTC().Format(time.RFC3339)
		_ = unstructured.SetNestedField(o.Object, at, "metadata", "deletionTimestamp")
		o.SetFinalizers([]string{"example.com/hold"})
	},
	"in-a-future-state": func(o *unstructured.Unstructured) {
		if _, has, _ := unstructured.NestedString(o.Object, "status", "state"); has {
			_ = unstructured.SetNestedField(o.Object, Future, "status", "state")
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, c := range conditions {
			c.(map[string]any)["reason"] = Future
		}
		if conditions != nil {
			future := runtime.DeepCopyJSON(conditions[0].(map[string]any))
			future["type"], future["status"] = Future, "True"
			_ = unstructured.SetNestedSlice(o.Object, append(conditions, future), "status", "conditions")
		}
	},
}

// asStored returns an object as the API server returns it.
func asStored(t *testing.T, o client.Object) *unstructured.Unstructured {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	stored := &unstructured.Unstructured{Object: fields}
	kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1alpha1.")
	stored.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	stored.SetResourceVersion("")
	withoutNulls(stored.Object)
	return stored
}

// withoutNulls removes fields that are null, as the API server does.
func withoutNulls(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if inner == nil {
				delete(value, key)
			}
			withoutNulls(inner)
		}
	case []any:
		for _, inner := range value {
			withoutNulls(inner)
		}
	}
}

func checkObject(t *testing.T, root string, write bool, state string, o *unstructured.Unstructured) {
	t.Helper()
	text, err := yaml.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	path := File(root, o.GetKind(), state)
	if write {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%s in state %s has no file (-update writes it): %v", o.GetKind(), state, err)
		return
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s differs from what the code computes; review the difference, then run this test with -update (-file +computed):\n%s", path, diff)
	}
}
