// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A change of a help text is forgotten easily, and `make verify` runs late.
func TestPageIsUpToDate(t *testing.T) {
	const page = "../../docs/cli.md"
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	generated := filepath.Join(t.TempDir(), "cli.md")
	if err := os.WriteFile(generated, want, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(generated); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/cli.md is not up to date; run go generate ./hack/clidoc (-page +commands):\n%s", diff)
	}
}

func TestPageWithoutMarkersIsRefused(t *testing.T) {
	page := filepath.Join(t.TempDir(), "cli.md")
	if err := os.WriteFile(page, []byte("# Commands\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(page); err == nil {
		t.Error("accepted")
	}
}
