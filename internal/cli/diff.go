// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/manifest"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// codeDifferent is the exit code of diff if the plans differ, as that of kubectl diff.
const codeDifferent = 1

// diffResult is what diff prints as JSON.
type diffResult struct {
	Diffs []explain.PlanDiff `json:"diffs"`
}

func newDiffCommand(o *Options) *cobra.Command {
	var manifests manifestFlags
	var world worldFlags
	c := &cobra.Command{
		Use:   "diff [BEFORE AFTER] [-f DIR|FILE|-]",
		Short: "Show how manifests change the plans of rollouts",
		Long: "Compares the plans of two sets of manifests, or of the manifests of -f with the objects that exist:\n" +
			"groups that grow or shrink, targets that join, leave or move to another group, fields that matter,\n" +
			"and overlaps with other rollouts that are new or gone.\n\n" +
			"BEFORE and AFTER are directories or files with manifests, or files that\n" +
			"`kubectl goshawk plan -o json` has written. An object that only BEFORE has counts as deleted.\n\n" +
			"Exit code 0: no difference; 1: a difference; 2: an error.",
		Example: `  # What does this commit change? Two checkouts, without a cluster
  kubectl goshawk diff main/deploy feature/deploy --targets fleet.json.gz

  # As a comment of a pull request
  kubectl goshawk diff main/deploy feature/deploy --targets fleet.json.gz -o markdown

  # Manifests against the cluster of the kubeconfig
  kubectl goshawk diff -f deploy/

  # Two plans that were saved
  kubectl goshawk diff before.json after.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return fmt.Errorf("give BEFORE and AFTER, or -f; there are %d arguments", len(args))
			}
			return nil
		},
	}
	manifests.add(c)
	world.add(c)
	f := addFormat(c, Text, JSON, YAML, Markdown)
	c.RunE = func(c *cobra.Command, args []string) error {
		d := differ{o: o, world: &world}
		var diffs []explain.PlanDiff
		var err error
		switch given := len(manifests.files) > 0 || manifests.kustomize != ""; {
		case len(args) == 2 && given:
			return usageError(c, errors.New("give BEFORE and AFTER, or -f, not both"))
		case len(args) == 2:
			diffs, err = d.both(c.Context(), args[0], args[1])
		default:
			diffs, err = d.present(c, &manifests)
		}
		if err != nil {
			return asUnchecked(err)
		}
		diffs = slices.DeleteFunc(diffs, func(d explain.PlanDiff) bool { return d.IsEmpty() })
		width := o.Style().Width
		if err := o.print(f, diffResult{diffs}, func() string { return diffsText(diffs, f.value, width) }); err != nil {
			return asUnchecked(err)
		}
		if len(diffs) > 0 {
			return &ExitError{Code: codeDifferent}
		}
		return nil
	}
	return c
}

// differ makes and compares plans.
type differ struct {
	o     *Options
	world *worldFlags
}

// both compares two sources of plans.
func (d *differ) both(ctx context.Context, before, after string) ([]explain.PlanDiff, error) {
	older, err := d.load(ctx, before)
	if err != nil {
		return nil, err
	}
	newer, err := d.load(ctx, after)
	if err != nil {
		return nil, err
	}
	oldPlans, err := d.plans(older, newer.manifests, nil)
	if err != nil {
		return nil, err
	}
	newPlans, err := d.plans(newer, older.manifests, older.manifests)
	if err != nil {
		return nil, err
	}
	return compare(oldPlans, newPlans), nil
}

// source is where one side of a comparison comes from.
type source struct {
	// saved are the plans of a file; nil for manifests.
	saved     []explain.Plan
	manifests []applied
	present   func(string) ([]client.Object, error)
}

// load returns the plans that a file has, or the manifests in a file or directory.
func (d *differ) load(ctx context.Context, path string) (source, error) {
	if plans := savedPlans(path); plans != nil {
		return source{saved: plans}, nil
	}
	documents, err := manifest.Read([]string{path}, d.o.In)
	if err != nil {
		return source{}, err
	}
	present, err := d.world.reader(ctx, d.o)
	if err != nil {
		return source{}, err
	}
	all, err := d.accepted(ctx, documents, present)
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", path, err)
	}
	return source{manifests: all, present: present}, nil
}

// plans returns the plans of a source, also for the namespaces that only the other one has. Objects
// of before that the manifests do not have are deleted.
func (d *differ) plans(s source, other, before []applied) (map[string]*explain.Plan, error) {
	if s.saved != nil {
		return byNamespace(s.saved), nil
	}
	plans, err := d.world.plans(d.o, withNamespaces(s.manifests, other), without(s.present, before, s.manifests), explain.MakePlan)
	return byNamespace(plans), err
}

// accepted returns the manifests if the API server would accept all of them.
func (d *differ) accepted(ctx context.Context, documents []manifest.Document, present func(string) ([]client.Object, error)) ([]applied, error) {
	namespace, err := d.o.Namespace()
	if err != nil {
		return nil, err
	}
	all, findings, err := check(ctx, documents, namespace, present)
	if err != nil {
		return nil, err
	}
	return all, refused(findings)
}

// present compares the objects that exist with what the manifests make of them.
func (d *differ) present(c *cobra.Command, manifests *manifestFlags) ([]explain.PlanDiff, error) {
	documents, err := manifests.read(c, d.o)
	if err != nil {
		return nil, err
	}
	present, err := d.world.reader(c.Context(), d.o)
	if err != nil {
		return nil, err
	}
	all, err := d.accepted(c.Context(), documents, present)
	if err != nil {
		return nil, err
	}
	var none []applied
	for _, a := range all {
		none = append(none, applied{namespace: a.namespace})
	}
	before, err := d.world.plans(d.o, none, present, explain.MakePlanOfAll)
	if err != nil {
		return nil, err
	}
	after, err := d.world.plans(d.o, all, present, explain.MakePlanOfAll)
	if err != nil {
		return nil, err
	}
	return compare(byNamespace(before), byNamespace(after)), nil
}

// savedPlans returns the plans in a file of `plan -o json`, or nil if the file is something else.
func savedPlans(path string) []explain.Plan {
	data, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return nil
	}
	var saved planResult
	if json.Unmarshal(data, &saved) != nil {
		return nil
	}
	return saved.Plans
}

// withNamespaces adds the namespaces that only other has, without manifests.
func withNamespaces(all, other []applied) []applied {
	all = slices.Clone(all)
	for _, b := range other {
		if !slices.ContainsFunc(all, func(a applied) bool { return a.namespace == b.namespace }) {
			all = append(all, applied{namespace: b.namespace})
		}
	}
	return all
}

// without returns the objects of a namespace without those that before has and the manifests do not
// have, and without the groups of such rollouts.
func without(present func(string) ([]client.Object, error), before, all []applied) func(string) ([]client.Object, error) {
	ids := func(list []applied) map[objectID]bool {
		out := map[objectID]bool{}
		for _, a := range list {
			for _, o := range a.objects {
				out[objectID{kindOf(o), a.namespace, o.GetName()}] = true
			}
		}
		return out
	}
	were, are := ids(before), ids(all)
	isDeleted := func(id objectID) bool { return were[id] && !are[id] }
	return func(namespace string) ([]client.Object, error) {
		objects, err := present(namespace)
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(slices.Clone(objects), func(o client.Object) bool {
			if g, ok := o.(*v1alpha1.DeploymentGroup); ok {
				return isDeleted(objectID{"Rollout", namespace, g.Spec.Rollout})
			}
			return isDeleted(objectID{kindOf(o), namespace, o.GetName()})
		}), nil
	}
}

func byNamespace(plans []explain.Plan) map[string]*explain.Plan {
	out := map[string]*explain.Plan{}
	for i := range plans {
		out[plans[i].Namespace] = &plans[i]
	}
	return out
}

func compare(before, after map[string]*explain.Plan) []explain.PlanDiff {
	names := maps.Clone(before)
	maps.Copy(names, after)
	diffs := []explain.PlanDiff{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		diffs = append(diffs, explain.DiffPlans(before[name], after[name]))
	}
	return diffs
}

func diffsText(diffs []explain.PlanDiff, format string, width int) string {
	if len(diffs) == 0 {
		return "No difference.\n"
	}
	var out strings.Builder
	for i := range diffs {
		p := planPrinter{markdown: format == Markdown, width: width}
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(p.diff(&diffs[i]))
	}
	return out.String()
}

func (p *planPrinter) diff(d *explain.PlanDiff) string {
	var out strings.Builder
	title := fmt.Sprintf("Namespace %s: %s", p.code(d.Namespace), text.Count(d.Targets.After, "target"))
	if d.Targets.Before != d.Targets.After {
		title += fmt.Sprintf(" instead of %d", d.Targets.Before)
	}
	out.WriteString(p.heading(1, title))
	for i := range d.Rollouts {
		out.WriteString("\n" + p.sourceDiff("Rollout", &d.Rollouts[i]))
	}
	for i := range d.AutoAssignments {
		out.WriteString("\n" + p.sourceDiff("Auto-assignment", &d.AutoAssignments[i]))
	}
	if len(d.NewWarnings)+len(d.GoneWarnings) > 0 {
		out.WriteString("\n")
	}
	for _, w := range d.NewWarnings {
		out.WriteString(p.warning(0, fmt.Sprintf("%s %s: %s: %s", w.Kind, p.code(w.Name), w.Reason, w.Message)))
	}
	for _, w := range d.GoneWarnings {
		out.WriteString(p.line(0, fmt.Sprintf("no longer: %s %s: %s: %s", w.Kind, p.code(w.Name), w.Reason, w.Message)))
	}
	return out.String()
}

func (p *planPrinter) sourceDiff(kind string, d *explain.SourceDiff) string {
	var out strings.Builder
	out.WriteString(p.heading(2, fmt.Sprintf("%s %s (%s): %s, %s", kind, p.code(d.Name), strings.ToLower(d.Change), d.Update, sizesText(d.Targets))))
	if p.markdown {
		out.WriteString("\n")
	}
	for _, f := range d.Fields {
		out.WriteString(p.line(2, fmt.Sprintf("%s: %s instead of %s", f.Field, p.code(textOrNone(f.After)), p.code(textOrNone(f.Before)))))
	}
	for _, g := range d.Groups {
		if g.Name != "" {
			out.WriteString(p.line(2, p.groupDiff(&g)))
		}
	}
	for _, m := range []struct {
		members *explain.MovedTargets
		one     string
		many    string
	}{{d.Joined, "joins", "join"}, {d.Left, "leaves", "leave"}, {d.Moved, "moves to another group", "move to another group"}} {
		if m.members != nil && d.Change == explain.Changed {
			names := strings.Join(m.members.Examples, ", ")
			if m.members.Count > len(m.members.Examples) {
				names += ", ..."
			}
			out.WriteString(p.line(2, fmt.Sprintf("%s %s: %s", text.Count(m.members.Count, "target"), verb(m.members.Count, m.one, m.many), names)))
		}
	}
	if d.Gets.Before != d.Gets.After {
		out.WriteString(p.line(2, fmt.Sprintf("%s %s the update instead of %d", text.Count(d.Gets.After, "target"), verb(d.Gets.After, "gets", "get"), d.Gets.Before)))
	}
	for i := range d.Overlaps {
		out.WriteString(p.line(2, p.overlapDiff(&d.Overlaps[i])))
	}
	for _, w := range d.NewWarnings {
		out.WriteString(p.warning(2, w.Reason+": "+w.Message))
	}
	for _, w := range d.GoneWarnings {
		out.WriteString(p.line(2, "no longer: "+w.Reason+": "+w.Message))
	}
	return out.String()
}

func sizesText(s explain.Sizes) string {
	if s.Before == s.After {
		return text.Count(s.After, "target")
	}
	return fmt.Sprintf("%s instead of %d", text.Count(s.After, "target"), s.Before)
}

func (p *planPrinter) groupDiff(g *explain.GroupDiff) string {
	name := "group " + p.code(g.Name)
	switch {
	case g.Before < 0:
		return fmt.Sprintf("%s is new, with %s", name, text.Count(g.After, "target"))
	case g.After < 0:
		return fmt.Sprintf("%s is gone; it had %s", name, text.Count(g.Before, "target"))
	case g.After > g.Before:
		return fmt.Sprintf("%s grows from %d to %s", name, g.Before, text.Count(g.After, "target"))
	}
	return fmt.Sprintf("%s shrinks from %d to %s", name, g.Before, text.Count(g.After, "target"))
}

func (p *planPrinter) overlapDiff(d *explain.OverlapDiff) string {
	switch {
	case d.Before == nil:
		return "new: " + p.overlap(d.After)
	case d.After == nil:
		return "no longer: " + p.overlap(d.Before)
	}
	return "now " + p.overlap(d.After) + fmt.Sprintf(" (before: %d shared, this one won on %d, the other one on %d)", d.Before.Targets, d.Before.Wins, d.Before.Loses)
}
