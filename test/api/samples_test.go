// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// samples returns config/samples, built by kustomize for a namespace that does not exist yet.
func samples(t *testing.T, namespace string) string {
	t.Helper()
	cluster.Start(t)
	built := cluster.Kubectl(t, "kustomize", cluster.Root()+"/config/samples")
	return strings.NewReplacer("namespace: fleet\n", "namespace: "+namespace+"\n", "name: fleet\n", "name: "+namespace+"\n").Replace(built)
}

func TestSamplesAppliedAgainChangeNothing(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"client-side": nil,
		"server-side": {"--server-side"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := "samples-" + name
			manifests := samples(t, namespace)
			apply := func(command string) string {
				t.Helper()
				out, err := cluster.TryKubectl(t, manifests, append([]string{command, "-f", "-"}, flags...)...)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return out
			}
			apply("apply")
			before := generations(t, namespace)
			if len(before) == 0 {
				t.Fatal("the samples created nothing")
			}
			if drift := apply("diff"); drift != "" {
				t.Errorf("kubectl diff directly after the apply:\n%s", drift)
			}
			apply("apply")
			apply("apply")
			if diff := cmp.Diff(before, generations(t, namespace)); diff != "" {
				t.Errorf("generations (-first apply +third):\n%s", diff)
			}
		})
	}
}

// generations returns the generation of every object of a fleet.
func generations(t *testing.T, namespace string) map[string]string {
	t.Helper()
	printed := cluster.Kubectl(t, "-n", namespace, "get", "goshawk",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{"\n"}{end}`)
	found := map[string]string{}
	for line := range strings.Lines(printed) {
		name, generation, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[name] = generation
	}
	return found
}

// The samples refer only to objects that are among the samples.
func TestSamplesReferToEachOther(t *testing.T) {
	t.Parallel()
	there, named := map[string]bool{}, map[string]string{}
	kinds := map[string]int{}
	for _, object := range decode(t, samples(t, "fleet")) {
		from := object.GetKind() + "/" + object.GetName()
		there[from] = true
		kinds[object.GetKind()]++
		if object.GetKind() != "Namespace" && object.GetNamespace() != "fleet" {
			t.Errorf("%s is in namespace %q, want fleet", from, object.GetNamespace())
		}
		for key := range dig[map[string]any](object.Object, "stringData") {
			there["token "+key] = true
		}
		for _, module := range dig[[]any](object.Object, "spec", "modules") {
			named["SoftwareModule/"+module.(map[string]any)["name"].(string)] = from
		}
		if set := dig[string](object.Object, "spec", "update", "distributionSet"); set != "" {
			named["DistributionSet/"+set] = from
		}
		if key := dig[string](object.Object, "spec", "tokenSecretRef", "key"); key != "" {
			named["token "+key] = from
			named["Secret/"+dig[string](object.Object, "spec", "tokenSecretRef", "name")] = from
		}
	}
	for name, from := range named {
		if !there[name] {
			t.Errorf("%s refers to %s, which does not exist", from, name)
		}
	}
	want := map[string]int{"Namespace": 1, "Secret": 2, "SoftwareModule": 7, "DistributionSet": 4, "Target": 12, "Rollout": 2, "AutoAssignment": 1, "DeviceAccess": 1}
	if diff := cmp.Diff(want, maps.Clone(kinds)); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func decode(t *testing.T, manifests string) []unstructured.Unstructured {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(manifests), 4096)
	var objects []unstructured.Unstructured
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}
