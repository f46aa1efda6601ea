// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/progress"
)

// Values of --wait.
const (
	waitForPerson = "person"
	waitForEnd    = "end"
)

// statusCommand is `kubectl goshawk status`.
type statusCommand struct {
	*Options
	format        *format
	names         []string
	allNamespaces bool
	watch         bool
	wait          string
	exitCode      bool
	allowMissing  bool
	timeout       time.Duration
}

func newStatusCommand(o *Options) *cobra.Command {
	s := &statusCommand{Options: o}
	c := &cobra.Command{
		Use:   "status [ROLLOUT...]",
		Short: "Show how far rollouts are, what they wait for, and what failed",
		Long: `Shows how far rollouts are: what each waits for and until when, its groups with their targets,
what failed on which targets, other rollouts with the same targets, and when it is expected to end.
Without a name it lists the rollouts of the namespace, one line each.

The forecast is computed from the pace so far: a group that has not opened is expected to take as
long as the groups before it. Without a forecast the line says why there is none.

With --wait, and with --exit-code, the exit code says how far the rollout is; of several rollouts
the worst one counts:
  0  it has finished with success
  1  the status cannot be read
  2  the command line is wrong
  3  it is running, or about to start; with --wait: --timeout is over
  4  it waits for a person, such as for an approval
  5  it was paused because too many targets failed
  6  it was stopped, or has ended without success
  7  there is no rollout of this name`,
		Example: `  # The rollouts of the namespace, one line each; of all namespaces with -A
  kubectl goshawk status -n fleet

  # One rollout as a tree
  kubectl goshawk status firmware-2-1 -n fleet

  # The same, redrawn whenever it changes; lines without a terminal
  kubectl goshawk status firmware-2-1 -n fleet -w

  # In a pipeline: wait until it has ended or needs a person, at most two hours
  kubectl goshawk status firmware-2-1 -n fleet --wait --timeout 2h

  # In a pipeline, after a commit that Argo CD or Flux is about to apply
  kubectl goshawk status firmware-2-1 -n fleet --wait --allow-missing --timeout 2h

  # In a pipeline: wait also while it waits for an approval, or is paused
  kubectl goshawk status firmware-2-1 -n fleet --wait=end --timeout 12h

  # What failed most, for a program
  kubectl goshawk status firmware-2-1 -n fleet -o json | jq '.rollouts[0].failures[0]'`,
		ValidArgsFunction: o.completeNames(&v1alpha1.Rollout{}, 0),
	}
	s.format = addFormat(c, Text, JSON, YAML)
	flags := c.Flags()
	flags.BoolVarP(&s.allNamespaces, "all-namespaces", "A", false, "list the rollouts of all namespaces")
	flags.BoolVarP(&s.watch, "watch", "w", false, "show each change, until the rollouts have ended")
	flags.StringVar(&s.wait, "wait", "", "`person|end`: wait until the rollouts have ended, or with person, which is the default, also until they need a person")
	flags.Lookup("wait").NoOptDefVal = waitForPerson
	flags.BoolVar(&s.exitCode, "exit-code", false, "exit with the code of the state, also without --wait")
	flags.BoolVar(&s.allowMissing, "allow-missing", false, "with --wait or -w: wait also for rollouts that do not exist yet, such as until Argo CD or Flux has applied them")
	flags.DurationVar(&s.timeout, "timeout", 0, "maximum time of --wait and -w, such as 90m (default: none)")
	_ = c.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]string{waitForPerson, waitForEnd}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, args []string) error {
		s.names = nil
		for _, arg := range args {
			s.names = append(s.names, withoutKind(arg, rolloutKinds))
		}
		if err := s.check(); err != nil {
			return usageError(c, err)
		}
		return s.run(c.Context())
	}
	return c
}

// check returns an error if the flags contradict each other.
func (s *statusCommand) check() error {
	switch {
	case s.wait != "" && s.wait != waitForPerson && s.wait != waitForEnd:
		return fmt.Errorf("--wait is %q; it must be %s or %s, with an equals sign: --wait=%s", s.wait, waitForPerson, waitForEnd, waitForEnd)
	case s.allNamespaces && len(s.names) > 0:
		return errors.New("-A lists the rollouts of all namespaces: give no names, or choose a namespace with -n")
	case s.allowMissing && (len(s.names) == 0 || s.wait == "" && !s.watch):
		return errors.New("--allow-missing waits for rollouts that do not exist yet: give their names, and --wait or -w")
	case s.timeout < 0:
		return fmt.Errorf("--timeout is %s; it must not be negative", s.timeout)
	case s.timeout > 0 && s.wait == "" && !s.watch:
		return errors.New("--timeout limits --wait and -w: give one of them")
	case s.watch && s.format.value != Text:
		return fmt.Errorf("-w shows text; with -o %s give --wait, which prints the status at the end", s.format.value)
	}
	return nil
}

func (s *statusCommand) run(ctx context.Context) error {
	if s.watch || s.wait != "" {
		return s.follow(ctx)
	}
	rollouts, err := s.read(ctx)
	if err != nil {
		return err
	}
	statuses, err := s.explain(ctx, rollouts)
	if err != nil {
		return err
	}
	if err := s.show(statuses); err != nil {
		return err
	}
	if s.exitCode {
		return exitWith(statuses)
	}
	return nil
}

// read returns the rollouts of the command: those with the names, else those of the namespace.
func (s *statusCommand) read(ctx context.Context) ([]*v1alpha1.Rollout, error) {
	if len(s.names) == 0 {
		return s.list(ctx)
	}
	var rollouts []*v1alpha1.Rollout
	for _, name := range slices.Compact(slices.Sorted(slices.Values(s.names))) {
		r := &v1alpha1.Rollout{}
		if err := s.getIsolated(ctx, r, name); err != nil {
			return nil, err
		}
		rollouts = append(rollouts, r)
	}
	return rollouts, nil
}

// list returns all rollouts of the namespace: first those that have not ended, then the others, the
// one that ended last first.
func (s *statusCommand) list(ctx context.Context) ([]*v1alpha1.Rollout, error) {
	namespace, err := s.scope()
	if err != nil {
		return nil, err
	}
	rollouts, err := listAll[v1alpha1.Rollout](ctx, s.Options, &v1alpha1.RolloutList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rollouts, func(a, b *v1alpha1.Rollout) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), endOf(b).Compare(endOf(a)), cmp.Compare(a.Name, b.Name))
	})
	return rollouts, nil
}

// endOf returns when a rollout ended. One that has not ended is the last to end.
func endOf(r *v1alpha1.Rollout) time.Time {
	if r.Status.FinishedAt == nil {
		return time.Unix(1<<40, 0)
	}
	return r.Status.FinishedAt.Time
}

// scope returns the namespace of the command, or "" for all namespaces.
func (s *statusCommand) scope() (string, error) {
	if s.allNamespaces {
		return "", nil
	}
	return s.Namespace()
}

// statusList is the output for programs.
type statusList struct {
	Rollouts []explain.Status `json:"rollouts"`
}

// show prints the rollouts: as trees if they were named, else as a list.
func (s *statusCommand) show(statuses []explain.Status) error {
	return s.print(s.format, statusList{Rollouts: append([]explain.Status{}, statuses...)}, func() string { return s.text(statuses, 0) })
}

// text returns the rollouts as text that is at most this high. 0: without a limit.
func (s *statusCommand) text(statuses []explain.Status, rows int) string {
	style := s.Style()
	if len(s.names) == 0 {
		return s.rows(statuses, style)
	}
	style.Height = rows / len(statuses)
	var trees []string
	for i := range statuses {
		trees = append(trees, progress.Progress(statuses[i], s.Now(), style))
	}
	return strings.Join(trees, "\n")
}

// rows returns the list of rollouts.
func (s *statusCommand) rows(statuses []explain.Status, style progress.Style) string {
	if len(statuses) == 0 {
		if s.allNamespaces {
			return "There are no rollouts.\n"
		}
		namespace, _ := s.Namespace()
		return fmt.Sprintf("There are no rollouts in namespace %s; -A lists those of all namespaces.\n", namespace)
	}
	var rows [][]string
	add := func(namespace string, cells ...string) {
		if s.allNamespaces {
			cells = append([]string{namespace}, cells...)
		}
		rows = append(rows, cells)
	}
	add("NAMESPACE", "ROLLOUT", "STATE", "", "DONE", "FAILED", "AGE", "WAITS FOR")
	for i := range statuses {
		r, age := &statuses[i], "-"
		if r.StartedAt != nil {
			age = explain.Duration(r.Elapsed(s.Now()))
		}
		add(r.Namespace, r.Name, string(r.State), progress.Summary(r.Targets, 16, style), progress.Done(r.Targets), fmt.Sprint(r.Targets.Failed), age, cmp.Or(r.Message, "-"))
	}
	if s.Terminal() {
		return cut(table(0, rows), style.Width)
	}
	return table(0, rows)
}

// exitWith returns the exit code of the worst of the rollouts, or nil if all have finished with
// success.
func exitWith(statuses []explain.Status) error {
	worst := 0
	for i := range statuses {
		worst = max(worst, codes[statuses[i].Outcome])
	}
	if worst == 0 {
		return nil
	}
	return &ExitError{Code: worst}
}

var codes = map[explain.Outcome]int{
	explain.OutcomeFinished:       0,
	explain.OutcomeRunning:        CodeRunning,
	explain.OutcomeWaitsForPerson: CodeWaitsForPerson,
	explain.OutcomePausedByErrors: CodePausedByErrors,
	explain.OutcomeFailed:         CodeFailed,
}
