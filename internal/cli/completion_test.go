// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

// complete returns what a shell offers after these words; the last one is being typed.
func (w *world) complete(words ...string) string {
	w.t.Helper()
	got := w.run(append([]string{"__completeNoDesc"}, words...)...)
	offers, _, _ := strings.Cut("\n"+got.out, "\n:")
	return strings.Join(strings.Fields(offers), " ")
}

func TestCompletion(t *testing.T) {
	hotfix := objects.Rollout("hotfix", "x")
	hotfix.Status.Failures = []v1alpha1.FailureCount{{StatusCode: "110", Count: 2}, {Message: "no space", Count: 1}}
	w := newWorld(t, append(fleetOf(), hotfix, objects.DistributionSet("firmware-2-0"))...)
	tests := map[string]struct {
		words []string
		want  string
	}{
		"a command":                          {[]string{"sta"}, "start status"},
		"the name of a rollout":              {[]string{"status", "f"}, "firmware-2-1"},
		"a second name is not the first one": {[]string{"status", "hotfix", ""}, "firmware-2-1"},
		"the name of a target":               {[]string{"compare", "gateway-f"}, "gateway-failed"},
		"no third target":                    {[]string{"compare", "gateway-failed", "gateway-done", ""}, ""},
		"the value of --rollout":             {[]string{"targets", "--rollout", ""}, "firmware-2-1 hotfix"},
		"the groups of that rollout":         {[]string{"targets", "--rollout", "firmware-2-1", "--group", ""}, "canary rest"},
		"a group to advance to":              {[]string{"advance", "firmware-2-1", "--to", "r"}, "rest"},
		"a code to retry":                    {[]string{"retry", "hotfix", "--code", ""}, "110"},
		"a group without a rollout":          {[]string{"advance", "--to", ""}, ""},
		"a bucket":                           {[]string{"targets", "--bucket", ""}, strings.Join(explain.Buckets, " ")},
		"a set":                              {[]string{"targets", "--set", ""}, "firmware-2-0 firmware-2-1"},
		"a role":                             {[]string{"lint", "--role", "goshawk-e"}, "goshawk-access-admin goshawk-approver goshawk-editor goshawk-reporter goshawk-stopper goshawk-viewer"},
		"a format":                           {[]string{"targets", "-o", ""}, "text json yaml name"},
		"a value of --wait":                  {[]string{"status", "--wait="}, "person end"},
		"a shell":                            {[]string{"completion", "f"}, "fish"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := w.complete(tc.words...); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	lost := newWorld(t)
	lost.connectErr = errNoAnswer
	if got := lost.run("__complete", "status", ""); got.code != 0 || strings.Contains(got.out, "timeout") {
		t.Errorf("without a cluster: code %d, %q", got.code, got.out)
	}
}

func TestCompletionOfEachShell(t *testing.T) {
	w := newWorld(t)
	for shell, part := range map[string]string{
		"kubectl": `exec kubectl goshawk __complete "$@"`, "bash": "__start_kubectl-goshawk", "zsh": "#compdef kubectl-goshawk", "fish": "complete -c kubectl-goshawk", "powershell": "Register-ArgumentCompleter",
	} {
		if got := w.run("completion", shell); got.code != 0 || !strings.Contains(got.out, part) {
			t.Errorf("%s: code %d, no %q in %q", shell, got.code, part, got.out)
		}
	}
	if got := w.run("completion", "tcsh"); got.code != CodeUsage || got.errOut != "error: \"tcsh\" is not one of kubectl, bash, zsh, fish, powershell\nsee `kubectl goshawk completion --help`\n" {
		t.Errorf("code %d, errors %q", got.code, got.errOut)
	}
}

// Each command that people see has examples, in which each line is a comment or starts with a
// program, and an explanation that is not wider than a terminal.
func TestEveryCommandHasExamples(t *testing.T) {
	root := newCommand(newWorld(t).options(genericiooptions.NewTestIOStreamsDiscard()))
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		if c.HasParent() && c.IsAvailableCommand() {
			if c.Example == "" || c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("%s: example %q, short %q", c.CommandPath(), c.Example, c.Short)
			}
			for _, line := range strings.Split(c.Long+"\n"+c.Example, "\n") {
				if len([]rune(line)) > 110 && !strings.Contains(c.Example, line) {
					t.Errorf("%s: a line of the help is wider than 110 columns: %s", c.CommandPath(), line)
				}
			}
			if c.GroupID == "" {
				t.Errorf("%s is in no group of --help", c.CommandPath())
			}
		}
		for _, child := range c.Commands() {
			check(child)
		}
	}
	check(root)
	checkFlags(t, root)
	if got := newWorld(t).run("--help"); !strings.Contains(got.out, "Other commands:") || got.code != 0 {
		t.Errorf("code %d, %s", got.code, got.out)
	}
}

// checkFlags checks that the help of a flag shows one word as its value. Of a text in backquotes
// pflag makes the name of the value.
func checkFlags(t *testing.T, c *cobra.Command) {
	t.Helper()
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if name, _ := pflag.UnquoteUsage(f); strings.Contains(name, " ") {
			t.Errorf("%s: the help shows --%s %s", c.CommandPath(), f.Name, name)
		}
	})
	for _, child := range c.Commands() {
		checkFlags(t, child)
	}
}
