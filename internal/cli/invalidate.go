// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

func newInvalidateCommand(o *Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "invalidate SET --type None|Soft|Force",
		Short: "Invalidate a distribution set: stop a bad release everywhere",
		Long: `Invalidates a distribution set, which cannot be taken back: spec.invalidation. The set is never
assigned again. --type says what happens to what uses it: None: rollouts that have started go on;
Soft: rollouts stop, and devices that have started are asked to cancel; Force: rollouts stop, and the
actions of devices that have started are closed at once. Auto-assignments stop in each case.

--dry-run prints what is affected with each of the three types, side by side, and which rights each
type needs.

` + howToChange,
		Example: `  # What is affected, with each type
  kubectl goshawk invalidate firmware-2-1 --dry-run

  # What Force would change, and the YAML for a commit
  kubectl goshawk invalidate firmware-2-1 --type Force --reason 'bricks the modem'
  kubectl goshawk invalidate firmware-2-1 --type Force --reason 'bricks the modem' --patch

  # Now: it asks for the name of the set
  kubectl goshawk invalidate firmware-2-1 --type Force --reason 'bricks the modem' --apply

  # The same in a script
  kubectl goshawk invalidate firmware-2-1 --type Force --reason 'bricks the modem' --apply --yes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeNames(&v1alpha1.DistributionSet{}, 1),
	}
	wanted := operation.Request{Verb: operation.VerbInvalidate}
	kind := addType(c, "what happens to rollouts and to devices that have started: None, Soft or Force")
	c.Flags().StringVar(&wanted.Reason, "reason", "", "a text for people that says why, at most 256 characters")
	c.Flags().BoolVar(&wanted.DeleteRollouts, "delete-rollouts", false, "with --type Force: also delete the rollouts of the set")
	dryRun := c.Flags().Bool("dry-run", false, "print what is affected with each type, and write nothing")
	f := addChanging(c)
	f.addYes(c)
	exclude(c, "dry-run", "apply")
	exclude(c, "dry-run", "patch")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *dryRun {
			set := &v1alpha1.DistributionSet{}
			if err := o.get(c.Context(), set, withoutKind(args[0], setKinds)); err != nil {
				return err
			}
			preview, err := o.invalidationPreview(c.Context(), set, wanted.DeleteRollouts)
			if err != nil {
				return err
			}
			o.previewRights(c.Context(), preview)
			return o.print(f.format, preview, func() string { return previewText(preview, o.width()) })
		}
		if kind.value == "" {
			return usageError(c, errors.New("--type is missing: None, Soft or Force; --dry-run shows what each of them does"))
		}
		wanted.Cancellation = kind.value
		return o.invalidate(c.Context(), f, withoutKind(args[0], setKinds), wanted)
	}
	return c
}

// invalidate carries out an invalidation. The effect is computed once, and only if a person waits
// for it: to read all targets of a large fleet takes time, and a stop must not wait for that.
func (o *Options) invalidate(ctx context.Context, f *changing, name string, wanted operation.Request) error {
	set := &v1alpha1.DistributionSet{}
	showsEffect := !f.patch && (!f.apply || f.asks(wanted.Cancellation))
	return o.change(ctx, f, operand{object: set, name: name, compute: func() (*operation.Change, error) {
		change, err := wanted.On(set, o.Now())
		if err != nil {
			return nil, err
		}
		if !showsEffect {
			change.Effect = append([]string{"status.invalidation of the set counts what is affected."}, change.Effect...)
			return change, nil
		}
		showsEffect = false
		preview, err := o.invalidationPreview(ctx, set, wanted.DeleteRollouts)
		if err != nil {
			return nil, err
		}
		change.Effect = append(preview.Sentences(wanted.Cancellation), change.Effect...)
		change.Targets = preview.Affected(wanted.Cancellation)
		return change, nil
	}})
}

// asks reports whether a person has to confirm the cancellation.
func (f *changing) asks(c v1alpha1.Cancellation) bool {
	return !f.yes && cancellation.Of(c).StartedActions == cancellation.Close
}

// invalidationPreview reads what uses the set. It keeps no target in memory.
func (o *Options) invalidationPreview(ctx context.Context, set *v1alpha1.DistributionSet, deleteRollouts bool) (*explain.Invalidation, error) {
	p := explain.NewInvalidationPreview(set, deleteRollouts, o.Now())
	err := errors.Join(
		each(ctx, o, set.Namespace, &v1alpha1.AutoAssignmentList{}, p.AddAutoAssignment),
		each(ctx, o, set.Namespace, &v1alpha1.RolloutList{}, p.AddRollout),
		each(ctx, o, set.Namespace, &v1alpha1.TargetList{}, p.AddTarget),
	)
	if err != nil {
		return nil, err
	}
	return p.Result(), nil
}

// each calls a function for each object of a kind in a namespace, page by page.
func each[T any](ctx context.Context, o *Options, namespace string, list client.ObjectList, do func(*T)) error {
	return eachPage(ctx, o, list, func(page []*T) bool {
		for _, object := range page {
			do(object)
		}
		return true
	}, client.InNamespace(namespace))
}

// previewRights asks for the rights of each type.
func (o *Options) previewRights(ctx context.Context, i *explain.Invalidation) {
	for k := range i.Types {
		_ = o.askRights(ctx, i.Namespace, i.Types[k].Rights)
	}
}

// maxListed is how many names a list of the preview has; the JSON has all.
const maxListed = 20

// previewText returns the preview for a person: the three types side by side.
func previewText(i *explain.Invalidation, width int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "invalidation of DistributionSet %s/%s (%s)\n", i.Namespace, i.Set, i.Release)
	if i.Invalidated != "" {
		fmt.Fprintf(&out, "the set was %s: another invalidation has no effect\n", i.Invalidated)
	}
	fmt.Fprintln(&out)
	rows := [][]string{{"WHAT", "COUNT", "NONE", "SOFT", "FORCE", "E.G."}}
	for _, row := range i.Rows {
		rows = append(rows, []string{row.What, number(row.Count), row.None, row.Soft, row.Force, strings.Join(row.Examples, ", ")})
	}
	out.WriteString(table(0, append(rows, []string{"new uses of the set", "", "refused", "refused", "refused"})))
	if d := i.Devices; d.Connected+d.Polling > 0 {
		fmt.Fprintf(&out, "\n%d devices have started: %d are connected by MQTT and get a cancel at once, %d get it with their next request\n", d.Connected+d.Polling, d.Connected, d.Polling)
	}
	rolloutsText(&out, i)
	autoAssignmentsText(&out, i)
	typesText(&out, i, width)
	fmt.Fprintln(&out, "\nnothing was written")
	return out.String()
}

func rolloutsText(out *strings.Builder, i *explain.Invalidation) {
	if len(i.Rollouts) == 0 {
		return
	}
	fmt.Fprintln(out)
	rows := [][]string{{"ROLLOUT", "STATE", "GROUPS", "SCHEDULED", "PENDING", "ACTIVE", "DONE", "FAILED", "NONE", "SOFT", "FORCE"}}
	for _, r := range i.Rollouts[:min(len(i.Rollouts), maxListed)] {
		n := r.Targets
		rows = append(rows, []string{r.Name, string(r.State), fmt.Sprintf("%d of %d", r.OpenGroups, r.Groups), number(n.Scheduled), number(n.Pending), number(n.InProgress),
			number(n.Succeeded), number(n.Failed), r.None, r.Soft, r.Force})
	}
	out.WriteString(table(0, rows))
	moreText(out, len(i.Rollouts), "rollouts")
}

func autoAssignmentsText(out *strings.Builder, i *explain.Invalidation) {
	if len(i.AutoAssignments) == 0 {
		return
	}
	fmt.Fprintln(out)
	rows := [][]string{{"AUTO-ASSIGNMENT", "STATE", "MATCHED", "ACTIVE", "DONE", "FAILED", "EFFECT"}}
	for _, a := range i.AutoAssignments[:min(len(i.AutoAssignments), maxListed)] {
		n := a.Targets
		rows = append(rows, []string{a.Name, string(a.State), number(n.Matched), number(n.Started), number(n.Succeeded), number(n.Failed), a.Effect})
	}
	out.WriteString(table(0, rows))
	moreText(out, len(i.AutoAssignments), "auto-assignments")
}

func moreText(out *strings.Builder, n int, what string) {
	if n > maxListed {
		fmt.Fprintf(out, "and %d more %s; -o json lists all\n", n-maxListed, what)
	}
}

// typesText says for each type whether the user has its rights, and which roles give those that are
// missing.
func typesText(out *strings.Builder, i *explain.Invalidation, width int) {
	fmt.Fprintln(out)
	rows := [][]string{{"TYPE", "YOU MAY", "RIGHTS"}}
	missingOf := map[string][]string{} // rights by role
	for _, t := range i.Types {
		name, may := string(t.Cancellation), "yes"
		if t.DeleteRollouts {
			name += " with --delete-rollouts"
		}
		missing := operation.Missing(t.Rights)
		switch {
		case slices.ContainsFunc(t.Rights, func(r operation.Right) bool { return r.Allowed == nil }):
			may = "unknown"
		case len(missing) > 0:
			may = "no"
		}
		var names []string
		for _, right := range t.Rights {
			names = append(names, rightName(right))
		}
		rows = append(rows, []string{name, may, strings.Join(names, ", ")})
		for _, right := range missing {
			if name := rightName(right); !slices.Contains(missingOf[right.Role], name) {
				missingOf[right.Role] = append(missingOf[right.Role], name)
			}
		}
	}
	out.WriteString(table(0, rows))
	for _, role := range slices.Sorted(maps.Keys(missingOf)) {
		out.WriteString(wrapped(0, width, fmt.Sprintf("missing: %s; the ClusterRole %s gives %s", strings.Join(missingOf[role], ", "), role, itOrThem(len(missingOf[role])))))
	}
}

func rightName(right operation.Right) string { return right.Verb + " " + right.Resource }

func itOrThem(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func number(n int32) string { return strconv.Itoa(int(n)) }
