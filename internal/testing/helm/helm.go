// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package helm runs the program helm, which is a Go tool of hack/helm/go.mod, in tests.
package helm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// program builds helm, if the Go cache does not have it, and returns its path.
var program = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	command := exec.Command("go", "tool", "-n", "-modfile="+filepath.Join(filepath.Dir(strings.TrimSpace(string(root))), "hack", "helm", "go.mod"), "helm")
	// The same flags as in the Makefile, also under the race detector, so that helm is built once.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("build helm: %w\n%s", err, problems.String())
	}
	return strings.TrimSpace(string(out)), nil
})

// Run runs helm without a cluster, with its own state in a folder of the test, and returns its
// output. The error has the error output.
func Run(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return RunOn(t, filepath.Join(t.TempDir(), "none"), args...)
}

// RunOn is Run with the cluster of a kubeconfig.
func RunOn(t testing.TB, kubeconfig string, args ...string) (string, error) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	command := exec.CommandContext(t.Context(), path, args...)
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+kubeconfig)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s%s", args[0], err, problems.String(), out.String())
	}
	return out.String(), nil
}

// Template renders a chart as the release goshawk in the namespace goshawk-system, with values in
// YAML.
func Template(t testing.TB, chart, values string) (string, error) {
	t.Helper()
	return Run(t, "template", "goshawk", chart, "--namespace=goshawk-system", "--values="+Values(t, values))
}

// Values returns a file with the values.
func Values(t testing.TB, values string) string {
	t.Helper()
	file, err := os.CreateTemp("", "values-*.yaml") //nolint:usetesting // helm splits a path at commas, which t.TempDir takes from the name of a test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	_, err = file.WriteString(values)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}
