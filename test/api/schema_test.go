// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// A definition is one CRD of the repository.
type definition map[string]any

// definitions returns the CRDs by kind.
func definitions(t *testing.T) map[string]definition {
	t.Helper()
	byKind := map[string]definition{}
	for _, text := range files(t, "config/crd/bases/*.yaml") {
		crd := parse(t, text)
		byKind[dig[string](crd, "spec", "names", "kind")] = crd
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(smallest)), slices.Sorted(maps.Keys(byKind))); diff != "" {
		t.Fatalf("kinds (-tested +installed):\n%s", diff)
	}
	return byKind
}

// version returns the only version of a kind.
func (d definition) version() map[string]any {
	return dig[[]any](d, "spec", "versions")[0].(map[string]any)
}

func (d definition) schema() map[string]any {
	return dig[map[string]any](d.version(), "schema", "openAPIV3Schema")
}

// files returns the content of the files that match a pattern below the root of the module, by
// path.
func files(t *testing.T, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(cluster.Root(), pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	content := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[path] = string(text)
	}
	return content
}

// dig returns a value in a tree of maps, or the zero value if it does not exist.
func dig[T any](tree map[string]any, path ...string) T {
	var value any = tree
	for _, key := range path {
		inner, _ := value.(map[string]any)
		value = inner[key]
	}
	found, _ := value.(T)
	return found
}

// walk visits a schema and all schemas below it. Paths are like .spec.groups[].name.
func walk(path string, schema map[string]any, visit func(path string, schema map[string]any)) {
	visit(path, schema)
	for name := range dig[map[string]any](schema, "properties") {
		walk(path+"."+name, dig[map[string]any](schema, "properties", name), visit)
	}
	if items := dig[map[string]any](schema, "items"); items != nil {
		walk(path+"[]", items, visit)
	}
	if values := dig[map[string]any](schema, "additionalProperties"); values != nil {
		walk(path+"{}", values, visit)
	}
}

func TestEverythingIsBounded(t *testing.T) {
	for kind, crd := range definitions(t) {
		walk("", crd.schema(), func(path string, schema map[string]any) {
			switch {
			case path == ".apiVersion" || path == ".kind":
			case schema["type"] == "string" && schema["enum"] == nil && schema["maxLength"] == nil:
				t.Errorf("%s%s has no maxLength", kind, path)
			case schema["type"] == "array" && schema["maxItems"] == nil:
				t.Errorf("%s%s has no maxItems", kind, path)
			case schema["type"] == "array" && schema["x-kubernetes-list-type"] == nil:
				t.Errorf("%s%s does not say how it is merged (x-kubernetes-list-type)", kind, path)
			case schema["additionalProperties"] != nil && schema["maxProperties"] == nil:
				t.Errorf("%s%s has no maxProperties", kind, path)
			case strings.HasPrefix(path, ".spec") && schema["type"] == "number":
				t.Errorf("%s%s is a float, whose value can change when it is stored", kind, path)
			}
		})
	}
}

// A default in a list item is drift for GitOps tools, which compare each item of a list with Git.
func TestNoListItemOfASpecHasADefault(t *testing.T) {
	for kind, crd := range definitions(t) {
		walk("", crd.schema(), func(path string, schema map[string]any) {
			if strings.HasPrefix(path, ".spec") && strings.Contains(path, "[]") && schema["default"] != nil {
				t.Errorf("%s%s has the default %v", kind, path, schema["default"])
			}
		})
	}
}

func TestEveryRuleNamesFieldAndFix(t *testing.T) {
	rules := 0
	for kind, crd := range definitions(t) {
		walk("", crd.schema(), func(path string, schema map[string]any) {
			for _, rule := range dig[[]any](schema, "x-kubernetes-validations") {
				rules++
				rule := rule.(map[string]any)
				message, at := dig[string](rule, "message"), path+dig[string](rule, "fieldPath")
				if field := at[strings.LastIndex(at, ".")+1:]; at != ".spec" && !strings.Contains(message, field) && !strings.Contains(message, strings.TrimSuffix(field, "s")) {
					t.Errorf("%s%s: %q does not name the field", kind, at, message)
				}
				transition := strings.Contains(dig[string](rule, "rule"), "oldSelf") && rule["optionalOldSelf"] == nil
				if transition && !strings.Contains(message, "is immutable") {
					t.Errorf("%s%s: %q does not say \"is immutable\", which Flux looks for", kind, at, message)
				}
			}
		})
	}
	if rules == 0 {
		t.Error("no rules were found in the CRDs")
	}
}

// Flux replaces such variables in all manifests.
func TestNothingLooksLikeAVariable(t *testing.T) {
	for _, pattern := range []string{"config/crd/bases/*.yaml", "config/samples/*.yaml"} {
		for path, text := range files(t, pattern) {
			if strings.Contains(text, "$"+"{") {
				t.Errorf("%s contains a dollar sign before a brace", path)
			}
		}
	}
}

func TestAllKindsHaveTheSameDeclaration(t *testing.T) {
	short := map[string]any{"SoftwareModule": "swmod", "DistributionSet": "distset", "Target": "tgt", "Rollout": "grollout",
		"DeploymentGroup": "dgroup", "AutoAssignment": "autoassign", "DeviceAccess": "devacc", "TargetInventory": "tinv"}
	for kind, crd := range definitions(t) {
		want := map[string]any{
			"group": group, "scope": "Namespaced", "versions": 1, "categories": []any{"goshawk"}, "shortNames": []any{short[kind]},
			"status subresource": true, "status default": map[string]any{"observedGeneration": float64(-1)}, "last column": "Age",
		}
		if kind == "TargetInventory" { // no controller reconciles it
			want["status default"] = map[string]any(nil)
		}
		columns := dig[[]any](crd.version(), "additionalPrinterColumns")
		got := map[string]any{
			"group": dig[string](crd, "spec", "group"), "scope": dig[string](crd, "spec", "scope"),
			"versions": len(dig[[]any](crd, "spec", "versions")), "categories": dig[[]any](crd, "spec", "names", "categories"),
			"shortNames":         dig[[]any](crd, "spec", "names", "shortNames"),
			"status subresource": dig[map[string]any](crd.version(), "subresources", "status") != nil,
			"status default":     dig[map[string]any](crd.schema(), "properties", "status", "default"),
			"last column":        columns[len(columns)-1].(map[string]any)["name"],
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}
