// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// kubectlCompletion is the program that kubectl calls to complete `kubectl goshawk`.
const kubectlCompletion = `#!/usr/bin/env sh
# kubectl calls this program to complete "kubectl goshawk". Its name must be
# kubectl_complete-goshawk, and its folder must be in PATH.
exec kubectl goshawk __complete "$@"
`

// newCompletionCommand returns the command that prints completions. The one of cobra completes the
// program kubectl-goshawk only, while people type `kubectl goshawk`.
func newCompletionCommand(o *Options) *cobra.Command {
	shells := []struct {
		name  string
		write func(root *cobra.Command, out io.Writer) error
	}{
		{"kubectl", func(_ *cobra.Command, out io.Writer) error {
			_, err := io.WriteString(out, kubectlCompletion)
			return err
		}},
		{"bash", func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) }},
		{"zsh", func(root *cobra.Command, out io.Writer) error { return root.GenZshCompletion(out) }},
		{"fish", func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) }},
		{"powershell", func(root *cobra.Command, out io.Writer) error { return root.GenPowerShellCompletionWithDesc(out) }},
	}
	var names []string
	for _, s := range shells {
		names = append(names, s.name)
	}
	return &cobra.Command{
		Use:   "completion kubectl|bash|zsh|fish|powershell",
		Short: "Print what a shell needs to complete commands, flags and names of objects",
		Long: `Prints what a shell needs to complete commands, flags, and the names of rollouts, targets and sets
in the cluster.

"kubectl" prints a program for ` + "`kubectl goshawk`" + `: it works in each shell in which kubectl itself is
completed (kubectl completion --help). The others are for the program kubectl-goshawk.`,
		Example: `  # For kubectl goshawk: a program in a folder of PATH
  kubectl goshawk completion kubectl > ~/.local/bin/kubectl_complete-goshawk
  chmod +x ~/.local/bin/kubectl_complete-goshawk

  # For kubectl-goshawk, in this bash
  source <(kubectl goshawk completion bash)

  # For kubectl-goshawk, in each zsh from now on
  kubectl goshawk completion zsh > "${fpath[1]}/_kubectl-goshawk"`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			for _, s := range shells {
				if s.name == args[0] {
					return s.write(c.Root(), o.Out)
				}
			}
			return fmt.Errorf("no completion for %s", args[0])
		},
	}
}
