// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// recipesFleet has the objects to which the documents refer, as small as possible.
const recipesFleet = `
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: firmware-2-1, namespace: NAMESPACE}
spec: {name: firmware, version: "2.1", type: image, modules: [{name: linux}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-2-1, namespace: NAMESPACE}
spec: {state: Planned, update: {distributionSet: firmware-2-1, type: Soft}, groups: [{name: canary, percentage: 10}, {name: rest}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: Target
metadata: {name: gw-09, namespace: NAMESPACE}
`

// The API server accepts every command in the documents that writes a field; the command changes
// the object, and uses no unknown field.
//
// Not parallel: kubectl finds a kind by its name without the group, and
// TestRulesWorkWhenAPartIsAbsent serves the same kinds in another group.
func TestRecipesAreAccepted(t *testing.T) {
	namespace := cluster.Namespace(t)
	if out, err := cluster.TryKubectl(t, strings.ReplaceAll(recipesFleet, "NAMESPACE", namespace), "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := 0
	for _, name := range []string{"README.md", "docs/operations.md", "docs/rights.md", "docs/confirmation.md", "docs/gitops.md"} {
		for _, recipe := range recipes(t, filepath.Join(cluster.Root(), name)) {
			found++
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(name), found), func(t *testing.T) {
				out, err := try(t, recipe, namespace)
				if err != nil || !strings.Contains(out, "patched") || strings.Contains(out, "no change") || strings.Contains(out, "Warning") {
					t.Errorf("%s\n%v\n%s", recipe, err, out)
				}
			})
		}
	}
	if found < 12 {
		t.Errorf("found only %d recipes", found)
	}
}

var (
	shellBlock = regexp.MustCompile("(?ms)^\\s*```sh\n(.*?)^\\s*```")
	// patchCommand matches a command that writes a field of an object.
	patchCommand = regexp.MustCompile(`kubectl -n fleet patch (rollouts\.goshawk\.dev|distributionset|target|autoassignment) .*`)
)

// recipes returns the commands of a document that write a field, one line each.
func recipes(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			if command := patchCommand.FindString(strings.TrimSpace(line)); command != "" {
				list = append(list, command)
			}
		}
	}
	return list
}

// try runs a command in a shell, in another namespace and as a dry run.
func try(t *testing.T, command, namespace string) (string, error) {
	t.Helper()
	script := `kubectl() { shift 2; "$KUBECTL" -n "$NAMESPACE" "$@" --dry-run=server; }; hash=sha256:` + strings.Repeat("0a", 32) + "\n" + command
	shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	shell.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(t), "NAMESPACE="+namespace, "KUBECTL="+cluster.KubectlPath(t))
	out, err := shell.CombinedOutput()
	return string(out), err
}
