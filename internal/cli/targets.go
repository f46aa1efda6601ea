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

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// Name prints the names only, one a line.
const Name = "name"

// updateStatuses are the values of --status.
var updateStatuses = []string{
	string(v1alpha1.UpdateStatusUnknown), string(v1alpha1.UpdateStatusRegistered), string(v1alpha1.UpdateStatusPending),
	string(v1alpha1.UpdateStatusInSync), string(v1alpha1.UpdateStatusError),
}

// targetsCommand is `kubectl goshawk targets`.
type targetsCommand struct {
	*Options
	format   *format
	filter   explain.TargetFilter
	rollout  string
	selector string
	status   string
	limit    int
}

func newTargetsCommand(o *Options) *cobra.Command {
	s := &targetsCommand{Options: o}
	c := &cobra.Command{
		Use:   "targets",
		Short: "List targets: those of a rollout, those that failed, are inconsistent, silent or held",
		Long: `Lists targets with what they run, their newest action and what needs attention, sorted by name.
With --rollout it lists the members of the rollout, with group and bucket as the rollout counts
them, and why there is no result yet.

It reads the targets in pages and stops after --limit targets, so that it also works for large
fleets. With --rollout, the names of all members are read first.`,
		Example: `  # Which targets failed in this rollout, and why?
  kubectl goshawk targets --rollout firmware-2-1 --bucket failed

  # Which targets of group early have not started, and what do they wait for?
  kubectl goshawk targets --rollout firmware-2-1 --group early --bucket pending

  # Which gateways in Berlin are inconsistent?
  kubectl goshawk targets --inconsistent -l hardware=gateway,site=berlin

  # All targets that run this set, for a script
  kubectl goshawk targets --set firmware-2-0 --limit 0 -o name

  # Targets that have not been heard of, and held ones, for a program
  kubectl goshawk targets --silent -o json
  kubectl goshawk targets --held -o json`,
		Args: cobra.NoArgs,
	}
	s.format = addFormat(c, Text, JSON, YAML, Name)
	flags := c.Flags()
	flags.StringVar(&s.rollout, "rollout", "", "only the members of this Rollout, with group and bucket")
	flags.StringVar(&s.filter.Group, "group", "", "only the members of this group of --rollout")
	flags.StringVar(&s.filter.Bucket, "bucket", "", "only the members in this bucket of --rollout: "+strings.Join(explain.Buckets, ", "))
	flags.StringVar(&s.filter.Code, "code", "", "only targets whose shown action has this statusCode")
	flags.StringVar(&s.filter.Set, "set", "", "only targets that run this DistributionSet, by their reports")
	flags.StringVar(&s.status, "status", "", "only targets with this update status: "+strings.Join(updateStatuses, ", "))
	flags.StringVarP(&s.selector, "selector", "l", "", "only targets with these labels, such as site=berlin,hardware!=v1")
	flags.BoolVar(&s.filter.Inconsistent, "inconsistent", false, "only targets of which it is not certain what they run (condition Consistent)")
	flags.BoolVar(&s.filter.Silent, "silent", false, "only targets that have not been heard of lately (condition Online)")
	flags.BoolVar(&s.filter.Held, "held", false, "only targets with spec.hold")
	flags.IntVar(&s.limit, "limit", 100, "maximum number of targets; 0: all")
	o.completeFlag(c, "rollout", &v1alpha1.Rollout{})
	o.completeFlag(c, "set", &v1alpha1.DistributionSet{})
	_ = c.RegisterFlagCompletionFunc("bucket", cobra.FixedCompletions(explain.Buckets, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(updateStatuses, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("group", s.completeGroup)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := s.check(); err != nil {
			return usageError(c, err)
		}
		return s.run(c.Context())
	}
	return c
}

// completeGroup completes the groups of --rollout.
func (s *targetsCommand) completeGroup(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return s.valuesStarting(c.Context(), s.rollout, typed, groupNames), cobra.ShellCompDirectiveNoFileComp
}

// check returns an error if the flags are wrong or contradict each other.
func (s *targetsCommand) check() error {
	for _, f := range []struct {
		name    string
		value   *string
		allowed []string
	}{{"bucket", &s.filter.Bucket, explain.Buckets}, {"status", &s.status, updateStatuses}} {
		if *f.value == "" {
			continue
		}
		i := slices.IndexFunc(f.allowed, func(value string) bool { return strings.EqualFold(value, *f.value) })
		if i < 0 {
			return fmt.Errorf("--%s is %q; it must be one of %s", f.name, *f.value, strings.Join(f.allowed, ", "))
		}
		*f.value = f.allowed[i]
	}
	switch {
	case s.rollout == "" && (s.filter.Bucket != "" || s.filter.Group != ""):
		return errors.New("--group and --bucket are about the members of a rollout: give --rollout")
	case s.limit < 0:
		return fmt.Errorf("--limit is %d; it must not be negative", s.limit)
	}
	if _, err := labels.Parse(s.selector); err != nil {
		return fmt.Errorf("--selector %q: %w", s.selector, err)
	}
	return nil
}

// targetList is the output for programs.
type targetList struct {
	Targets []explain.TargetState `json:"targets"`
	// Truncated is true if there may be more targets than --limit.
	Truncated bool `json:"truncated,omitempty"`
}

func (s *targetsCommand) run(ctx context.Context) error {
	namespace, err := s.Namespace()
	if err != nil {
		return err
	}
	members, err := s.members(ctx, namespace)
	if err != nil {
		return err
	}
	found, err := s.find(ctx, namespace, members)
	if err != nil {
		return err
	}
	if err := s.print(s.format, found, func() string { return s.text(found.Targets) }); err != nil {
		return err
	}
	switch isForPeople := s.format.value == Text; {
	case found.Truncated && s.format.value != JSON && s.format.value != YAML:
		fmt.Fprintf(s.ErrOut, "These are the first %d; --limit 0 lists all.\n", s.limit)
	case isForPeople && len(found.Targets) == 0:
		fmt.Fprintf(s.ErrOut, "No target of namespace %s matches.\n", namespace)
	}
	return nil
}

// members returns the members of --rollout, or nil without it.
func (s *targetsCommand) members(ctx context.Context, namespace string) (*explain.Members, error) {
	if s.rollout == "" {
		return nil, nil
	}
	r := &v1alpha1.Rollout{}
	if err := s.get(ctx, r, withoutKind(s.rollout, rolloutKinds)); err != nil {
		return nil, err
	}
	if s.filter.Group != "" && !slices.ContainsFunc(r.Status.Groups, func(g v1alpha1.GroupStatus) bool { return g.Name == s.filter.Group }) {
		var names []string
		for i := range r.Status.Groups {
			names = append(names, r.Status.Groups[i].Name)
		}
		return nil, &ExitError{Code: CodeNotFound, Err: fmt.Errorf("Rollout %s/%s has no group %s; it has: %s", namespace, r.Name, s.filter.Group, cmp.Or(strings.Join(names, ", "), "none yet"))} //nolint:staticcheck // the name of a kind
	}
	groups, err := groupsOf(ctx, s.Options, r)
	if err != nil {
		return nil, err
	}
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	objects, err := list(ctx, c, namespace, &v1alpha1.SoftwareModuleList{}, &v1alpha1.DistributionSetList{}, &v1alpha1.AutoAssignmentList{})
	if err != nil {
		return nil, err
	}
	x, err := fleet.Of(objects)
	if err != nil {
		return nil, err
	}
	autos := counting.AutoAssignments{}
	if r.Status.FinishedAt == nil {
		autos = x.AutoAssignmentReach(namespace)
	}
	return explain.MembersOf(r, groups, x.SetOf(namespace, &r.Spec.Update), autos), nil
}

// find returns the first targets that the flags select, sorted by name.
func (s *targetsCommand) find(ctx context.Context, namespace string, members *explain.Members) (targetList, error) {
	found := targetList{Targets: []explain.TargetState{}}
	options := []client.ListOption{client.InNamespace(namespace)}
	if s.selector != "" {
		selector, err := labels.Parse(s.selector)
		if err != nil {
			return found, err
		}
		options = append(options, client.MatchingLabelsSelector{Selector: selector})
	}
	if s.status != "" {
		options = append(options, client.MatchingFields{"status.updateStatus": s.status})
	}
	add := func(t explain.TargetState) bool {
		if !s.filter.Matches(&t) {
			return true
		}
		if s.limit > 0 && len(found.Targets) == s.limit {
			found.Truncated = true
			return false
		}
		found.Targets = append(found.Targets, t)
		return true
	}
	err := eachPage(ctx, s.Options, &v1alpha1.TargetList{}, func(page []*v1alpha1.Target) bool {
		for _, t := range page {
			if state, isMember := members.StateOf(t); (members == nil || isMember) && !add(state) {
				return false
			}
		}
		return true
	}, options...)
	if err != nil || members == nil || found.Truncated || s.selector != "" || s.status != "" {
		return found, err
	}
	for _, t := range members.Rest() { // deleted ones
		if !add(t) {
			break
		}
	}
	return found, nil
}

// text returns the targets as a table, or their names.
func (s *targetsCommand) text(targets []explain.TargetState) string {
	if s.format.value == Name {
		var out strings.Builder
		for i := range targets {
			out.WriteString(targets[i].Name + "\n")
		}
		return out.String()
	}
	if len(targets) == 0 {
		return ""
	}
	var rows [][]string
	add := func(group, bucket, waits string, cells ...string) {
		if s.rollout != "" {
			cells = slices.Insert(cells, 1, group, bucket)
		}
		rows = append(rows, append(cells, waits))
	}
	add("GROUP", "BUCKET", "NOTES", "TARGET", "STATUS", "INSTALLED", "UPDATE", "ACTION", "SEEN WITHIN")
	for i := range targets {
		t := &targets[i]
		seen, update, state := "-", "-", "-"
		if t.LastSeen != nil {
			seen = explain.Duration(max(s.Now().Sub(t.LastSeen.Time), 0))
		}
		if t.Action != nil {
			update, state = t.Action.Update, string(t.Action.State)
		}
		add(t.Group, t.Bucket, cmp.Or(t.Notes(), "-"), t.Name, cmp.Or(string(t.UpdateStatus), "-"), cmp.Or(t.Installed, "-"), update, state, seen)
	}
	return table(0, rows)
}
