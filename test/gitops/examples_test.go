// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// folders of examples/fleet, in the order of the waves.
var folders = []string{"base", "sets", "rollouts", "rollouts-waiting"}

// example returns the objects of a folder of examples/fleet, built by kustomize for the namespace
// of the test.
func example(t *testing.T, namespace, folder string) []*unstructured.Unstructured {
	t.Helper()
	return objects(t, inNamespace(namespace, cluster.Kubectl(t, "kustomize", filepath.Join(cluster.Root(), "examples", "fleet", folder))))
}

// inNamespace returns manifests for the namespace of the test in place of fleet.
func inNamespace(namespace, manifests string) string {
	return strings.NewReplacer("namespace: fleet\n", "namespace: "+namespace+"\n", "name: fleet\n", "name: "+namespace+"\n").Replace(manifests)
}

func objects(t *testing.T, manifests string) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	documents := yamlutil.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			t.Fatal(err)
		}
		if string(encoded) == "null" {
			continue // an empty document
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(encoded); err != nil {
			t.Fatal(err)
		}
		list = append(list, object)
	}
}

// giveTokens creates the Secret that is not in Git.
func giveTokens(t *testing.T, w *world.World) {
	t.Helper()
	tokens := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "fleet-tokens", Namespace: w.Namespace}, Type: kube.TokenSecretType, Data: map[string][]byte{}}
	for _, object := range example(t, w.Namespace, "base") {
		if object.GetKind() == "Target" {
			tokens.Data[object.GetName()] = []byte(world.Token)
		}
	}
	if err := w.Client.Create(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
}

// exampleFile returns the objects of a file below examples or config.
func exampleFile(t *testing.T, path ...string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{cluster.Root()}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, string(text))
}

// The folders of examples/fleet have the kinds that docs/gitops.md gives them, in its waves. The
// folder of emergency stops contains nothing else.
func TestExamplesHaveTheDocumentedLayout(t *testing.T) {
	t.Parallel()
	cluster.Start(t)
	want := map[string]map[string][]string{
		"base":             {"Namespace": {"-2"}, "SoftwareModule": {"-1"}, "Target": {"0"}},
		"sets":             {"DistributionSet": {"0"}},
		"rollouts":         {"Rollout": {"1"}, "AutoAssignment": {"1"}},
		"rollouts-waiting": {"Rollout": {"1"}},
	}
	for _, folder := range folders {
		got := map[string][]string{}
		for _, object := range example(t, "fleet", folder) {
			wave := object.GetAnnotations()["argocd.argoproj.io/sync-wave"]
			if kind := object.GetKind(); !slices.Contains(got[kind], wave) {
				got[kind] = append(got[kind], wave)
			}
		}
		if diff := cmp.Diff(want[folder], got); diff != "" {
			t.Errorf("kinds and waves of examples/fleet/%s (-want +got):\n%s", folder, diff)
		}
	}
}

// The manifests of Flux have only fields that the kinds of Flux have, also the one in the README.
func TestFluxExampleHasTheFieldsOfFlux(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(cluster.Root(), "examples", "flux")
	readme, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(readme), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	found := map[string]int{}
	for _, object := range slices.Concat(exampleFile(t, "examples", "flux", "sources.yaml"), exampleFile(t, "examples", "flux", "goshawk.yaml"),
		exampleFile(t, "examples", "flux", "fleet.yaml"), objects(t, block)) {
		into, ok := map[string]any{
			kustomizev1.GroupVersion.String() + " Kustomization": &kustomizev1.Kustomization{},
			sourcev1.GroupVersion.String() + " GitRepository":    &sourcev1.GitRepository{},
			sourcev1.GroupVersion.String() + " OCIRepository":    &sourcev1.OCIRepository{},
		}[object.GetAPIVersion()+" "+object.GetKind()]
		if !ok {
			t.Errorf("%s %s is not of Flux", object.GetAPIVersion(), object.GetKind())
			continue
		}
		encoded, err := object.MarshalJSON()
		if err == nil {
			err = yaml.UnmarshalStrict(encoded, into)
		}
		if err != nil {
			t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
		found[object.GetKind()]++
	}
	if diff := cmp.Diff(map[string]int{"Kustomization": 5, "GitRepository": 2, "OCIRepository": 1}, found); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

// What the manifests of Flux must not say, because a stop would wait: see docs/gitops.md.
func TestFluxExampleDelaysNoStop(t *testing.T) {
	t.Parallel()
	names := map[string]*unstructured.Unstructured{}
	for _, file := range []string{"sources.yaml", "goshawk.yaml", "fleet.yaml"} {
		for _, object := range exampleFile(t, "examples", "flux", file) {
			names[object.GetKind()+"/"+object.GetName()] = object
		}
	}
	applied := map[string]string{}
	for key, object := range names {
		kind, name, _ := strings.Cut(key, "/")
		if kind != "Kustomization" {
			continue
		}
		spec := object.Object["spec"].(map[string]any)
		source := spec["sourceRef"].(map[string]any)
		if _, ok := names[source["kind"].(string)+"/"+source["name"].(string)]; !ok {
			t.Errorf("%s has the source %v, which is not in sources.yaml", key, source)
		}
		applied[spec["path"].(string)] = name
		if spec["force"] != nil || spec["interval"] == nil || spec["timeout"] == nil || spec["prune"] == nil {
			t.Errorf("%s: force %v, interval %v, timeout %v, prune %v", key, spec["force"], spec["interval"], spec["timeout"], spec["prune"])
		}
		dependencies, _ := spec["dependsOn"].([]any)
		for _, d := range dependencies {
			if on := d.(map[string]any)["name"].(string); names["Kustomization/"+on] == nil {
				t.Errorf("%s depends on %s, which does not exist", key, on)
			}
		}
		stops := name == "fleet-sets" || name == "fleet-rollouts"
		if stops && (dependencies != nil || spec["wait"] != nil || spec["healthChecks"] != nil || spec["healthCheckExprs"] != nil) {
			t.Errorf("%s has stops and waits: %v", key, spec)
		}
	}
	for _, folder := range folders {
		if applied["./fleet/"+folder] != "fleet-"+folder {
			t.Errorf("fleet/%s is applied by %q", folder, applied["./fleet/"+folder])
		}
	}
	shipped := exampleFile(t, "config", "flux", "wait-for-fleet.yaml")[0]
	want, _, _ := unstructured.NestedSlice(shipped.Object, "spec", "healthCheckExprs")
	got, _, _ := unstructured.NestedSlice(names["Kustomization/fleet-rollouts-waiting"].Object, "spec", "healthCheckExprs")
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("healthCheckExprs (-config/flux +example):\n%s", diff)
	}
}

// The same for the Applications of Argo CD: every folder has one, a newer commit replaces a sync
// that fails, and nothing has to be ignored.
func TestArgoCDExampleDelaysNoStop(t *testing.T) {
	t.Parallel()
	applied := map[string]string{}
	for _, app := range exampleFile(t, "examples", "argocd", "applications.yaml") {
		spec := app.Object["spec"].(map[string]any)
		applied[spec["source"].(map[string]any)["path"].(string)] = app.GetName()
		if app.GetKind() != "Application" || app.GetAPIVersion() != "argoproj.io/v1alpha1" || app.GetNamespace() != "argocd" {
			t.Errorf("it is %s %s in namespace %s", app.GetAPIVersion(), app.GetKind(), app.GetNamespace())
		}
		if spec["ignoreDifferences"] != nil {
			t.Errorf("%s ignores differences: %v", app.GetName(), spec["ignoreDifferences"])
		}
		options, _, _ := unstructured.NestedStringSlice(app.Object, "spec", "syncPolicy", "syncOptions")
		if slices.Contains(options, "Replace=true") || slices.Contains(options, "Force=true") {
			t.Errorf("%s deletes and creates objects again: %v", app.GetName(), options)
		}
		retry, isRetried, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "retry")
		if isRetried && retry["refresh"] != true {
			t.Errorf("%s retries an old commit while a newer one waits: %v", app.GetName(), retry)
		}
	}
	for _, folder := range folders {
		if applied["fleet/"+folder] != "fleet-"+folder {
			t.Errorf("fleet/%s is applied by %q", folder, applied["fleet/"+folder])
		}
	}
}

// isGoshawks reports whether an object is of Goshawk's group.
func isGoshawks(object *unstructured.Unstructured) bool {
	return object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group
}
