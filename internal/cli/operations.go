// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

// rolloutOperation returns a command that changes one rollout.
func (o *Options) rolloutOperation(c *cobra.Command, request func() operation.Request) *cobra.Command {
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = o.completeNames(&v1alpha1.Rollout{}, 1)
	c.Long += "\n\n" + howToChange
	f := addChanging(c)
	if c.Flags().Lookup("type") != nil {
		f.addYes(c)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.change(c.Context(), f, o.operandOf(&v1alpha1.Rollout{}, withoutKind(args[0], rolloutKinds), request()))
	}
	return c
}

// operandOf returns the operand of a request. The object is empty, and is read later.
func (o *Options) operandOf(object client.Object, name string, request operation.Request) operand {
	return operand{object: object, name: name, compute: func() (*operation.Change, error) { return request.On(object, o.Now()) }}
}

// Names of kinds before a slash, as kubectl takes them.
var (
	rolloutKinds        = []string{"rollout", "rollouts", "rollouts.goshawk.dev", "grollout"}
	setKinds            = []string{"distributionset", "distributionsets", "distributionsets.goshawk.dev", "distset"}
	autoAssignmentKinds = []string{"autoassignment", "autoassignments", "autoassignments.goshawk.dev", "autoassign"}
)

// withoutKind removes a kind and a slash before the name.
func withoutKind(name string, kinds []string) string {
	if kind, rest, ok := strings.Cut(name, "/"); ok && slices.Contains(kinds, strings.ToLower(kind)) {
		return rest
	}
	return name
}

// isOfKind reports whether the name has one of these kinds and a slash before it.
func isOfKind(name string, kinds []string) bool { return withoutKind(name, kinds) != name }

func newApproveCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "approve ROLLOUT --hash HASH",
		Short: "Approve the plan of a rollout that waits for an approval",
		Long: `Approves one plan: spec.approval.planHash. The approval carries the hash of the plan that you have
reviewed, so a plan that was made after the review is not approved by mistake. To deny a plan, stop
the rollout.`,
		Example: `  # Review the plan and its hash
  kubectl goshawk status firmware-2-1

  # What the approval would change, and whether you may approve
  kubectl goshawk approve firmware-2-1 --hash sha256:6d28f836ef09

  # Approve the plan
  kubectl goshawk approve firmware-2-1 --hash sha256:6d28f836ef09 --apply

  # Take the approval back, before the start
  kubectl goshawk approve firmware-2-1 --withdraw --apply`,
	}
	hash := c.Flags().String("hash", "", "hash of the plan that you have reviewed, or its first 12 digits or more")
	withdraw := c.Flags().Bool("withdraw", false, "remove the approval, before the start")
	exclude(c, "hash", "withdraw")
	return o.rolloutOperation(c, func() operation.Request {
		if *withdraw {
			return operation.Request{Verb: operation.VerbWithdrawApproval}
		}
		return operation.Request{Verb: operation.VerbApprove, PlanHash: *hash}
	})
}

func newStartCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "start ROLLOUT",
		Short: "Start a planned rollout",
		Long:  `Starts a rollout with spec.state Planned, or one that was paused before its start.`,
		Example: `  # What the start would change
  kubectl goshawk start firmware-2-1

  # Start
  kubectl goshawk start firmware-2-1 --apply`,
	}
	return o.rolloutOperation(c, func() operation.Request { return operation.Request{Verb: operation.VerbStart} })
}

func newPauseCommand(o *Options) *cobra.Command {
	return o.pauseOrResume(&cobra.Command{
		Use:   "pause ROLLOUT|autoassignment/NAME",
		Short: "Hold back the devices that have not started",
		Long: `Pauses a rollout or an auto-assignment: spec.state Paused. No further device starts, also not in open
groups. Devices that have started continue.`,
		Example: `  # What the pause would change, and how many devices wait
  kubectl goshawk pause firmware-2-1

  # Pause now, and commit the same change afterwards
  kubectl goshawk pause firmware-2-1 --apply
  kubectl goshawk pause firmware-2-1 --patch > pause.yaml

  # Pause an auto-assignment
  kubectl goshawk pause autoassignment/latest --apply`,
	}, operation.VerbPause)
}

func newResumeCommand(o *Options) *cobra.Command {
	return o.pauseOrResume(&cobra.Command{
		Use:   "resume ROLLOUT|autoassignment/NAME",
		Short: "End the pause of a rollout or an auto-assignment",
		Long: `Ends every pause of a rollout: the one by spec.state, and an automatic one (spec.resumedAt). Of the
automatic pauses it ends the one that status.pausedAt names, and no later one.`,
		Example: `  # Why it is paused, what has failed, and what resume would change
  kubectl goshawk resume firmware-2-1

  # Resume
  kubectl goshawk resume firmware-2-1 --apply

  # Resume an auto-assignment
  kubectl goshawk resume autoassignment/latest --apply`,
	}, operation.VerbResume)
}

// pauseOrResume returns a command for rollouts and auto-assignments.
func (o *Options) pauseOrResume(c *cobra.Command, verb operation.Verb) *cobra.Command {
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = o.completeNames(&v1alpha1.Rollout{}, 1)
	c.Long += "\n\n" + howToChange
	f := addChanging(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		request := operation.Request{Verb: verb}
		if isOfKind(args[0], autoAssignmentKinds) {
			return o.change(c.Context(), f, o.operandOf(&v1alpha1.AutoAssignment{}, withoutKind(args[0], autoAssignmentKinds), request))
		}
		return o.change(c.Context(), f, o.operandOf(&v1alpha1.Rollout{}, withoutKind(args[0], rolloutKinds), request))
	}
	return c
}

func newAdvanceCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "advance ROLLOUT",
		Short: "Open the next groups of a rollout without regard to their conditions",
		Long: `Opens the next group, or all groups up to the one of --to, even if the groups before have not
succeeded: spec.advance. It ends no pause.`,
		Example: `  # Open the next group
  kubectl goshawk advance firmware-2-1 --apply

  # Open all groups up to this one
  kubectl goshawk advance firmware-2-1 --to rest --apply

  # The YAML for a commit
  kubectl goshawk advance firmware-2-1 --to rest --patch`,
	}
	to := c.Flags().String("to", "", "name of the last group to open (default: the next one)")
	o.completeOf(c, "to", groupNames)
	return o.rolloutOperation(c, func() operation.Request { return operation.Request{Verb: operation.VerbAdvance, To: *to} })
}

func newRetryCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "retry ROLLOUT",
		Short: "Try failed targets of a rollout again",
		Long: `Offers the update again to targets that have failed: spec.retry. Without --code and --message to all
of them. A finished rollout is running again.`,
		Example: `  # All failed targets
  kubectl goshawk retry firmware-2-1 --apply

  # Those that failed with one of these codes
  kubectl goshawk retry firmware-2-1 --code 110 --code 112 --apply

  # Those without a code that failed with this message, as in status.failures
  kubectl goshawk retry firmware-2-1 --message 'no space left on <path>' --apply`,
	}
	codes := c.Flags().StringSlice("code", nil, "only failures with this code; may be repeated")
	o.completeOf(c, "code", failureCodes)
	messages := c.Flags().StringArray("message", nil, "only failures without a code and with this message; may be repeated")
	return o.rolloutOperation(c, func() operation.Request {
		return operation.Request{Verb: operation.VerbRetry, Codes: *codes, Messages: *messages}
	})
}

func newStopCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "stop ROLLOUT",
		Short: "Stop a rollout for good, or deny its plan",
		Long: `Stops a rollout, which cannot be taken back: spec.state Stopped. Devices that have not started never
start. --type says what happens to devices that have started: None: they finish; Soft: they are asked
to cancel; Force: their actions are closed at once. After the stop, a stronger --type applies to
devices that have not finished. If the release itself is bad, use invalidate: it reaches every
rollout, auto-assignment and assignment of the set.`,
		Example: `  # What a stop would do, and whether you may stop it
  kubectl goshawk stop firmware-2-1

  # Stop, and ask devices that have started to cancel
  kubectl goshawk stop firmware-2-1 --type Soft --apply

  # Also close the actions of devices that have not answered
  kubectl goshawk stop firmware-2-1 --type Force --apply`,
	}
	kind := addType(c, "what happens to devices that have started: None, Soft or Force (default: spec.stopCancellation)")
	return o.rolloutOperation(c, func() operation.Request { return operation.Request{Verb: operation.VerbStop, Cancellation: kind.value} })
}

// cancellationFlag is the value of --type.
type cancellationFlag struct{ value v1alpha1.Cancellation }

func addType(c *cobra.Command, usage string) *cancellationFlag {
	f := &cancellationFlag{}
	c.Flags().Var(f, "type", usage)
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(typeNames(), cobra.ShellCompDirectiveNoFileComp))
	return f
}

func typeNames() []string {
	var names []string
	for _, c := range cancellation.Types {
		names = append(names, string(c))
	}
	return names
}

func (f *cancellationFlag) String() string { return string(f.value) }
func (f *cancellationFlag) Type() string   { return "type" }

// Set takes the name in any case.
func (f *cancellationFlag) Set(value string) error {
	i := slices.IndexFunc(typeNames(), func(name string) bool { return strings.EqualFold(name, value) })
	if i < 0 {
		return fmt.Errorf("it must be one of %s", strings.Join(typeNames(), ", "))
	}
	f.value = v1alpha1.Cancellation(typeNames()[i])
	return nil
}

func newHoldCommand(o *Options) *cobra.Command {
	return o.targetOperation(&cobra.Command{
		Use:   "hold TARGET...",
		Short: "Keep targets from starting updates",
		Long:  `Keeps targets from starting any update, such as during a repair: spec.hold. Started updates continue.`,
		Example: `  # Hold one device
  kubectl goshawk hold gw-09 --apply

  # The YAML for a commit
  kubectl goshawk hold gw-09 gw-10 --patch`,
	}, operation.VerbHold)
}

func newReleaseCommand(o *Options) *cobra.Command {
	return o.targetOperation(&cobra.Command{
		Use:   "release TARGET...",
		Short: "Let targets on hold start updates again",
		Long:  `Ends the hold of targets: spec.hold.`,
		Example: `  # Release one device
  kubectl goshawk release gw-09 --apply`,
	}, operation.VerbRelease)
}

// targetOperation returns a command that changes targets, one after the other.
func (o *Options) targetOperation(c *cobra.Command, verb operation.Verb) *cobra.Command {
	c.Args = cobra.MinimumNArgs(1)
	c.ValidArgsFunction = o.completeNames(&v1alpha1.Target{}, 0)
	c.Long += "\n\n" + howToChange
	f := addChanging(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.changeEach(c.Context(), f, args, func(name string) operand {
			return o.operandOf(&v1alpha1.Target{}, withoutKind(name, targetKinds), operation.Request{Verb: verb})
		})
	}
	return c
}

// changeEach changes several objects. An object that cannot be changed does not stop the others.
func (o *Options) changeEach(ctx context.Context, f *changing, names []string, of func(string) operand) error {
	var failed []error
	for i, name := range names {
		if i > 0 {
			fmt.Fprintln(o.Out, separator(f))
		}
		if err := o.change(ctx, f, of(name)); err != nil {
			if len(names) == 1 {
				return err
			}
			printError(o.ErrOut, err)
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		result := "cannot be changed"
		if f.apply {
			result = "were not changed"
		}
		return &ExitError{Code: CodeError, Err: fmt.Errorf("%d of %d targets %s", len(failed), len(names), result)}
	}
	return nil
}

// separator returns what stands between the output for two objects.
func separator(f *changing) string {
	if f.patch || f.format.value == YAML {
		return "---"
	}
	return ""
}
