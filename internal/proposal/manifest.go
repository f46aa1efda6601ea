// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

// Part returns the YAML of the part of the manifest that changes, for a commit.
func Part(c *operation.Change) (string, error) {
	data, err := yaml.Marshal(c.Manifest())
	return string(data), err
}

// Manifest returns the YAML of an object as it should be in Git: after the change, and without what
// the API server, Goshawk and GitOps tools add. A nil change changes nothing. The object itself
// stays as it is.
func Manifest(object *unstructured.Unstructured, c *operation.Change) (string, error) {
	metadata := map[string]any{"name": object.GetName(), "namespace": object.GetNamespace()}
	add := func(field string, values map[string]string) {
		kept := map[string]any{}
		for name, value := range values {
			if !isOfTool(name) {
				kept[name] = value
			}
		}
		if len(kept) > 0 {
			metadata[field] = kept
		}
	}
	add("labels", object.GetLabels())
	add("annotations", object.GetAnnotations())
	manifest := map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": object.GetKind(), "metadata": metadata}
	spec, _ := object.Object["spec"].(map[string]any)
	manifest["spec"] = runtime.DeepCopyJSON(maps.Clone(spec))
	if spec == nil {
		manifest["spec"] = map[string]any{}
	}
	if c != nil {
		for _, f := range c.Fields {
			set(manifest, strings.Split(f.Path, "."), f.New)
		}
	}
	data, err := yaml.Marshal(manifest)
	return string(data), err
}

// toolPrefixes are those of labels and annotations that kubectl and GitOps tools add to an object
// when they apply it.
var toolPrefixes = []string{
	"kubectl.kubernetes.io/", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/", "reconcile.fluxcd.io/",
	"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "meta.helm.sh/",
}

// isOfTool reports whether a label or an annotation is not in the manifest in Git. Options for
// tools, such as kustomize.toolkit.fluxcd.io/prune, are.
func isOfTool(name string) bool {
	for _, prefix := range toolPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// set sets a field of an object, or removes it if the value is nil.
func set(object map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		next, ok := object[name].(map[string]any)
		if !ok {
			if value == nil {
				return
			}
			next = map[string]any{}
			object[name] = next
		}
		object = next
	}
	last := path[len(path)-1]
	if value == nil {
		delete(object, last)
		return
	}
	object[last] = value
}
