// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"changed.txt":      {[]string{manifests + "base", manifests + "changed"}, codeDifferent},
		"changed.markdown": {[]string{manifests + "base", manifests + "changed", "-o", "markdown"}, codeDifferent},
		"changed.json":     {[]string{manifests + "base", manifests + "changed", "-o", "json"}, codeDifferent},
		"deleted.txt":      {[]string{manifests + "changed", manifests + "base"}, codeDifferent},
		"same.txt":         {[]string{manifests + "base", manifests + "base"}, 0},
		"cluster.txt":      {[]string{"-f", manifests + "changed"}, codeDifferent},
		"help.txt":         {[]string{"--help"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t, countries()...).run(append([]string{"diff"}, tc.args...)...)
			if got.code != tc.code {
				t.Fatalf("exit code %d, want %d: %s", got.code, tc.code, got.errOut)
			}
			golden(t, "diff/"+name, got.out)
		})
	}
}

func TestDiffOfSavedPlansIsTheDiffOfTheManifests(t *testing.T) {
	w := newWorld(t, countries()...)
	var files []string
	for _, name := range []string{"base", "changed"} {
		file := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(file, []byte(w.run("plan", "-f", manifests+name, "-o", "json").out), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	saved, direct := w.run("diff", files[0], files[1]), w.run("diff", manifests+"base", manifests+"changed")
	if saved.code != codeDifferent || saved.out != direct.out {
		t.Errorf("exit code %d, %s; the difference is\n%s\nwant\n%s", saved.code, saved.errOut, saved.out, direct.out)
	}
}

func TestDiffHasExitCode2ForErrors(t *testing.T) {
	w := newWorld(t, countries()...)
	for name, args := range map[string][]string{
		"a directory that does not exist": {manifests + "base", manifests + "none"},
		"manifests that are refused":      {manifests + "base", manifests + "wrong"},
		"one argument":                    {manifests + "base"},
		"neither arguments nor -f":        {},
		"arguments and -f":                {manifests + "base", manifests + "base", "-f", manifests + "base"},
		"an export that does not exist":   {manifests + "base", manifests + "base", "--targets", "none.json"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.run(append([]string{"diff"}, args...)...); got.code != CodeUsage || got.errOut == "" {
				t.Errorf("exit code %d, errors %q", got.code, got.errOut)
			}
		})
	}
}

// TestDiffOfANewNamespaceCountsItsTargetsOnBothSides has a side without manifests of the
// namespace: the targets of the namespace are there before and after.
func TestDiffOfANewNamespaceCountsItsTargetsOnBothSides(t *testing.T) {
	empty := t.TempDir()
	saved := filepath.Join(t.TempDir(), "empty.json")
	if err := os.WriteFile(saved, []byte(`{"plans":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"the first manifests":                 {empty, manifests + "base"},
		"the last manifests are gone":         {manifests + "base", empty},
		"the first manifests, a saved plan":   {saved, manifests + "base"},
		"no manifests any more, a saved plan": {manifests + "base", saved},
	} {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t, countries()...).run(append([]string{"diff"}, args...)...)
			if title := "Namespace fleet: 20 targets\n"; got.code != codeDifferent || !strings.HasPrefix(got.out, title) {
				t.Errorf("exit code %d, %s; the difference is\n%s\nwant it to start with %q", got.code, got.errOut, got.out, title)
			}
		})
	}
}
