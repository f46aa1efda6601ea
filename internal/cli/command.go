// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the kubectl plugin `kubectl goshawk`. A command reads objects, lets a pure package
// such as internal/explain judge them, and prints the result.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// NewCommand returns the command `kubectl goshawk` with all its commands. It reads the cluster of
// the kubeconfig.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return newCommand(NewOptions(streams))
}

func newCommand(o *Options) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-goshawk",
		Short: "Show and control rollouts of device software",
		Long: "Shows rollouts and targets of Goshawk, says why an update does not move, and changes the\n" +
			"fields that control a rollout.",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl goshawk"},
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.ErrOut)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError(c, err) })
	o.addFlags(root.PersistentFlags())
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.CompletionOptions.DisableDefaultCmd = true
	addGroup(root, "show", "Show rollouts and targets:",
		newStatusCommand(o),
		newTargetsCommand(o),
		newWhyCommand(o),
		newCompareCommand(o),
		newReportCommand(o),
		newUICommand(o),
	)
	addGroup(root, "change", "Change fields; without --apply they only print the change:",
		newApproveCommand(o),
		newStartCommand(o),
		newPauseCommand(o),
		newResumeCommand(o),
		newAdvanceCommand(o),
		newRetryCommand(o),
		newStopCommand(o),
		newInvalidateCommand(o),
		newHoldCommand(o),
		newReleaseCommand(o),
	)
	addGroup(root, "review", "Review manifests before they are applied:",
		newPlanCommand(o),
		newDiffCommand(o),
		newLintCommand(o),
		newExportCommand(o),
	)
	addGroup(root, "other", "Other commands:",
		newCompletionCommand(o),
		newOptionsCommand(o),
		newVersionCommand(o),
	)
	checkArguments(root)
	return root
}

// addGroup adds commands that --help shows together.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}

// checkArguments makes the errors about the arguments usage errors that people understand, and
// refuses arguments and flags that are empty.
func checkArguments(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		switch err := check(c, args); {
		case err == nil:
			return emptyValues(c, args)
		case !c.HasParent():
			return usageError(c, unknownCommand(c, args[0]))
		case len(args) == 0:
			return usageError(c, fmt.Errorf("an argument is missing: %s", c.UseLine()))
		case len(c.ValidArgs) > 0:
			return usageError(c, fmt.Errorf("%q is not one of %s", strings.Join(args, " "), strings.Join(c.ValidArgs, ", ")))
		default:
			return usageError(c, fmt.Errorf("too many or too few arguments: %s", c.UseLine()))
		}
	}
	for _, child := range c.Commands() {
		checkArguments(child)
	}
}

// emptyValues returns an error about an argument or a flag of the command without a value, which a
// script gives if a variable is not set: a filter without a value would select everything.
func emptyValues(c *cobra.Command, args []string) error {
	if slices.Contains(args, "") {
		return usageError(c, fmt.Errorf("an argument is empty: %s", c.UseLine()))
	}
	var err error
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		// Everything is selected by an empty selector, as with kubectl.
		if err == nil && f.Changed && f.Value.Type() == "string" && f.Value.String() == "" && f.Name != "selector" {
			err = usageError(c, fmt.Errorf("--%s is empty: give a value, or leave out the flag", f.Name))
		}
	})
	return err
}

// unknownCommand returns the error about a command that does not exist, with similar ones.
func unknownCommand(root *cobra.Command, name string) error {
	var names []string
	for _, child := range root.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	err := fmt.Errorf("there is no command %q", name)
	if near := similar(name, names); len(near) > 0 {
		return fmt.Errorf("%w; similar commands: %s", err, strings.Join(near, ", "))
	}
	return err
}

// Run runs the command with these arguments, prints its error, and returns the exit code.
func Run(ctx context.Context, root *cobra.Command, errOut io.Writer, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch exit := (*ExitError)(nil); {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.Err != nil {
			printError(errOut, exit.Err)
		}
		return exit.Code
	case ctx.Err() != nil:
		return codeInterrupted
	default:
		printError(errOut, err)
		return codeOf(err)
	}
}
