// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// The script of docs/gitops.md waits for a rollout and returns its result as exit code.
func TestAScriptNoticesFailure(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(cluster.Root(), "docs", "gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, script, found := strings.Cut(string(page), "```bash\n")
	if script, _, _ = strings.Cut(script, "```"); !found || !strings.Contains(script, "wait -n") {
		t.Fatal("docs/gitops.md has no such script")
	}
	c, namespace := strict(t), cluster.Namespace(t)
	condition := func(kind, status, message string) string {
		return `{type: ` + kind + `, status: "` + status + `", reason: Because, message: ` + message + `, lastTransitionTime: "2026-12-01T02:00:00Z", observedGeneration: 1}`
	}
	for name, story := range map[string]struct {
		conditions string
		timeout    string
		succeeds   bool
		says       string
	}{
		"the fleet is done":            {conditions: condition("Ready", "True", "all is well") + "," + condition("Succeeded", "True", "done"), timeout: "24h", succeeds: true, says: "all is well"},
		"an automatic pause":           {conditions: condition("Ready", "False", "3 of 10 failed") + "," + condition("Stalled", "True", "3 of 10 failed") + "," + condition("Succeeded", "Unknown", "runs"), timeout: "24h", says: "3 of 10 failed"},
		"stopped by spec.state":        {conditions: condition("Ready", "True", "stopped") + "," + condition("Succeeded", "False", "stopped"), timeout: "24h", says: "stopped"},
		"it still runs at the timeout": {conditions: condition("Ready", "True", "group 2 of 5") + "," + condition("Succeeded", "Unknown", "runs"), timeout: "1s", says: "group 2 of 5"},
		"it was never reconciled":      {conditions: "", timeout: "1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rollout := newObject(t, group, "Rollout", namespace, "{}")
			if err := c.Create(t.Context(), rollout); err != nil {
				t.Fatal(err)
			}
			if story.conditions != "" {
				patchStatus(t, c, rollout, `{observedGeneration: 1, conditions: [`+story.conditions+`]}`)
			}
			text := strings.NewReplacer("-n fleet", "-n "+namespace, "firmware-2-1", rollout.GetName(), "24h", story.timeout).Replace(script)
			command := exec.CommandContext(t.Context(), "bash", "-c", text)
			command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(t), "PATH="+filepath.Dir(cluster.KubectlPath(t))+":"+os.Getenv("PATH"))
			out, err := command.CombinedOutput()
			if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if succeeds := err == nil; succeeds != story.succeeds || !strings.Contains(string(out), story.says) {
				t.Errorf("the script succeeds: %t, and prints\n%s", succeeds, out)
			}
		})
	}
}
