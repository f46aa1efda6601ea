// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const twoObjects = `# a comment
apiVersion: v1
kind: Namespace
metadata: {name: fleet}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata:
  name: firmware-2-1
spec:
  update: {distributionSet: firmware-2-1}
  startAt: 2026-12-01T02:00:00Z
  groups:
  - name: canary
    percentage: 5
  - name: rest
--- # the last one
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "goshawk.dev/v1alpha1", "kind": "Target", "metadata": {"name": "a"}},
  {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}]}
`

func TestLinesOfFields(t *testing.T) {
	documents := Parse("all.yaml", []byte(twoObjects))
	if len(documents) != 2 || documents[0].Object.GetName() != "firmware-2-1" || documents[1].Object.GetName() != "a" {
		t.Fatalf("documents are %+v", documents)
	}
	for path, want := range map[string]int{
		"":                              6,
		"<nil>":                         6,
		"metadata.name":                 9,
		"spec.update.distributionSet":   11,
		"spec.groups[0].percentage":     15,
		"spec.groups[1].percentage":     16,
		"spec.groups[7].percentage":     13,
		"spec.targetSelector":           10,
		"spec.update.maintenanceWindow": 11,
	} {
		if got := documents[0].Line(path); got != want {
			t.Errorf("%s is in line %d, want %d", path, got, want)
		}
	}
	if got := documents[1].Line("metadata.name"); got != 19 {
		t.Errorf("the name in the list is in line %d, want 19", got)
	}
	if got := documents[0].Value("spec.startAt"); got != "2026-12-01T02:00:00Z" {
		t.Errorf("startAt is %q", got)
	}
	if got, _, _ := stringAt(documents[0].Object.Object, "spec", "startAt"); got != "2026-12-01T02:00:00Z" {
		t.Errorf("startAt of the object is %q, want the text of the file", got)
	}
}

func stringAt(tree map[string]any, path ...string) (string, bool, error) {
	for _, key := range path[:len(path)-1] {
		tree, _ = tree[key].(map[string]any)
	}
	s, ok := tree[path[len(path)-1]].(string)
	return s, ok, nil
}

func TestDocumentThatCannotBeParsedNamesTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"wrong indentation": {"a: 1\n---\nkind: Rollout\n spec: 1\n", "line 4: mapping values are not allowed in this context"},
		"a key twice":       {"---\napiVersion: goshawk.dev/v1alpha1\nkind: Rollout\nkind: Target\n", `line 4: key "kind" already set in map`},
		"no kind":           {"apiVersion: goshawk.dev/v1alpha1\nmetadata: {name: a}\n", "line 1: Object 'Kind' is missing in"},
	} {
		t.Run(name, func(t *testing.T) {
			documents := Parse("f.yaml", []byte(tc.text))
			if len(documents) != 1 || documents[0].Err == nil || !strings.HasPrefix(documents[0].Err.Error(), tc.want) {
				t.Errorf("documents are %+v, want the error %q", documents, tc.want)
			}
		})
	}
}

func TestManifestsOfTheGroupAreThoseWithAnyVersion(t *testing.T) {
	for apiVersion, want := range map[string]int{
		"goshawk.dev/v1alpha1": 1, "goshawk.dev/v9": 1, "goshawk.dev/": 1, "goshawk.dev": 1, "goshawk.device/v1": 0, "v1": 0, "argoproj.io/v1alpha1": 0,
	} {
		if documents := Parse("f.yaml", []byte("apiVersion: "+apiVersion+"\nkind: Rollout\nmetadata: {name: a}\n")); len(documents) != want {
			t.Errorf("%s: %d documents, want %d", apiVersion, len(documents), want)
		}
	}
}

func TestDirectoriesAreReadInTheOrderOfPaths(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"b.yaml": twoObjects, "a/deep.yml": strings.ReplaceAll(twoObjects, "firmware", "deep"), "kustomization.yaml": "resources: [b.yaml]\n",
		"README.md": "kind: Rollout", ".git/c.yaml": twoObjects, ".hidden.yaml": twoObjects, "empty.yaml": "# nothing\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	documents, err := Read([]string{dir, "-"}, strings.NewReader("apiVersion: goshawk.dev/v1alpha1\nkind: Target\nmetadata: {name: piped}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range documents {
		names = append(names, d.Object.GetName())
	}
	if diff := cmp.Diff([]string{"deep-2-1", "a", "firmware-2-1", "a", "piped"}, names); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if _, err := Read([]string{filepath.Join(dir, "none.yaml")}, nil); err == nil {
		t.Error("a file that does not exist is no error")
	}
}
