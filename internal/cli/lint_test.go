// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestLint(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"base.txt":         {[]string{"-f", manifests + "base"}, 0},
		"wrong.txt":        {[]string{"-f", manifests + "wrong"}, 1},
		"wrong.json":       {[]string{"-f", manifests + "wrong", "-o", "json"}, 1},
		"wrong.github":     {[]string{"-f", manifests + "wrong", "-o", "github"}, 1},
		"changed.txt":      {[]string{"-f", manifests + "changed"}, 0},
		"strict.txt":       {[]string{"-f", manifests + "changed", "--strict"}, 1},
		"cluster.txt":      {[]string{"-f", manifests + "changed", "--cluster"}, 1},
		"wrongcluster.txt": {[]string{"-f", manifests + "wrong", "--cluster"}, 1},
		"frozen.txt":       {[]string{"-f", manifests + "frozen", "--cluster"}, 1},
		"kustomize.txt":    {[]string{"-k", manifests + "kustomize"}, 0},
		"rights.txt":       {[]string{"-f", manifests + "rights"}, 0},
		"rights.github":    {[]string{"-f", manifests + "rights", "-o", "github"}, 0},
		"role.txt":         {[]string{"-f", manifests + "rights", "--cluster", "--role", "goshawk-editor"}, 1},
		"roles.txt":        {[]string{"-f", manifests + "rights", "--cluster", "--role", "goshawk-approver,goshawk-stopper"}, 1},
		"viewer.txt":       {[]string{"-f", manifests + "base", "--role", "goshawk-viewer"}, 1},
		"help.txt":         {[]string{"--help"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t, countries()...).run(append([]string{"lint"}, tc.args...)...)
			if got.code != tc.code || got.errOut != "" {
				t.Fatalf("exit code %d, want %d: %s", got.code, tc.code, got.errOut)
			}
			golden(t, "lint/"+name, got.out)
		})
	}
}

// TestLintNeedsNoCluster also reads the manifests from the standard input.
func TestLintNeedsNoCluster(t *testing.T) {
	w := newWorld(t)
	w.connectErr = errors.New("no cluster")
	if got := w.run("lint", "-f", manifests+"base"); got.code != 0 {
		t.Errorf("exit code %d: %s", got.code, got.errOut)
	}
	if got := w.run("lint", "-f", manifests+"base", "--cluster"); got.code != 2 || !strings.Contains(got.errOut, "no cluster") {
		t.Errorf("with --cluster: exit code %d: %s", got.code, got.errOut)
	}
}

func TestLintWarnsIfThereIsNothing(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "other.yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := folder + ":1: warning: no object of goshawk.dev was found; check the path; of a directory the files .yaml, .yml and .json are read\n0 objects: 0 errors, 1 warning\n"
	if got := newWorld(t).run("lint", "-f", folder); got.code != 0 || got.out != want {
		t.Errorf("exit code %d, %q, want %q", got.code, got.out, want)
	}
	if got := newWorld(t).run("lint", "-f", folder, "--strict"); got.code != 1 {
		t.Errorf("with --strict: exit code %d", got.code)
	}
}

// A list of a result for programs is never null.
func TestEmptyResultsAreLists(t *testing.T) {
	empty := t.TempDir()
	for list, args := range map[string][]string{
		`"findings": []`: {"lint", "-f", manifests + "base", "-o", "json"},
		`"plans": []`:    {"plan", "-f", empty, "-o", "json"},
		`"rollouts": []`: {"status", "-o", "json"},
		`"targets": []`:  {"targets", "-o", "json"},
	} {
		if got := newWorld(t).run(args...); got.code != 0 || !strings.Contains(got.out, list) {
			t.Errorf("%v: exit code %d, %s%s", args, got.code, got.out, got.errOut)
		}
	}
}

func TestFileThatIsNoExport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.json")
	for content, want := range map[string]string{
		`[{"kind": "Target"}]`: `an object of Kubernetes is expected, not [{"kind": "Target"}]`,
		`"fleet"`:              `an object of Kubernetes is expected, not "fleet"`,
		`{"items": ["a"]}`:     `an object of Kubernetes is expected, not "a"`,
		`{}`:                   `an object has no kind`,
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want = "error: " + file + ": " + want + "\ngive a file that `kubectl goshawk export` has written\n"
		if got := newWorld(t).run("plan", "-f", manifests+"base", "--targets", file); got.code != 1 || got.errOut != want {
			t.Errorf("%s: exit code %d, %q, want %q", content, got.code, got.errOut, want)
		}
	}
}

// A manifest that is stored already needs no right, also with times that the API server stores in
// another notation, and with written default values.
func TestStoredManifestNeedsNoRight(t *testing.T) {
	at := noon.Add(-time.Hour)
	r := objects.Rollout("approved", "hotfix-0", func(r *v1alpha1.Rollout) {
		r.Spec.ApprovalRequired, r.Spec.Approval = true, &v1alpha1.Approval{PlanHash: "sha256:" + strings.Repeat("0", 64)}
		r.Spec.StartAt, r.Spec.ResumedAt = &metav1.Time{Time: at}, &metav1.Time{Time: at}
		r.Spec.StopCancellation, r.Spec.DeletionCancellation = v1alpha1.CancellationForce, v1alpha1.CancellationSoft
		r.Spec.Dynamic = &v1alpha1.Dynamic{Until: &metav1.Time{Time: noon}}
	})
	manifest := `apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: approved}
spec:
  update: {distributionSet: hotfix-0}
  approvalRequired: true
  approval: {planHash: sha256:` + strings.Repeat("0", 64) + `}
  startAt: ` + at.UTC().Format(time.RFC3339) + `
  resumedAt: ` + at.UTC().Format(time.RFC3339) + `
  stopCancellation: Force
  deletionCancellation: Soft
  dynamic: {until: "` + noon.UTC().Format(time.RFC3339) + `"}
`
	file := filepath.Join(t.TempDir(), "rollout.yaml")
	for name, tc := range map[string]struct {
		manifest string
		notices  int
	}{
		"the same":                   {manifest, 0},
		"with a default value":       {manifest + "  errorThreshold: 50\n", 0},
		"with a looser threshold":    {manifest + "  errorThreshold: 60\n", 1},
		"with a weaker cancellation": {strings.Replace(manifest, "stopCancellation: Force", "stopCancellation: Soft", 1), 1},
	} {
		if err := os.WriteFile(file, []byte(tc.manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := newWorld(t, append(countries(), r.DeepCopy())...).run("lint", "-f", file, "--cluster"); strings.Count(got.out, ": notice: ") != tc.notices {
			t.Errorf("%s: want %d notices in\n%s%s", name, tc.notices, got.out, got.errOut)
		}
	}
}

// TestSamplesHaveNoErrors also checks the examples of the repository.
func TestSamplesHaveNoErrors(t *testing.T) {
	for _, dir := range []string{"config/samples", "examples"} {
		path := filepath.Join("../..", dir)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if got := newWorld(t).run("lint", "-f", path); got.code != 0 {
			t.Errorf("%s:\n%s%s", dir, got.out, got.errOut)
		}
	}
}
