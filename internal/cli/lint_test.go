// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
