// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// planResult is what plan prints as JSON: the plan of each namespace of the manifests.
type planResult struct {
	Plans []explain.Plan `json:"plans"`
}

func newPlanCommand(o *Options) *cobra.Command {
	var manifests manifestFlags
	var world worldFlags
	var groups int
	c := &cobra.Command{
		Use:   "plan -f DIR|FILE|-",
		Short: "Show what manifests would do before they are applied",
		Long: "Lets the planner of the controllers run over manifests: the groups of each rollout with their\n" +
			"sizes and first targets, the hash of the plan that an approval names, which targets a newer update\n" +
			"takes over, when maintenance windows open, and what the planner warns about.\n\n" +
			"The targets, and the rollouts that exist, are those of the cluster, or of a file that\n" +
			"`kubectl goshawk export` has written. Nothing is written to the cluster. For the same targets the\n" +
			"hash is the one that the controller writes to status.plan.hash.",
		Example: `  # Over the cluster of the kubeconfig
  kubectl goshawk plan -f deploy/fleet

  # Without a cluster, as a comment of a pull request
  kubectl goshawk plan -f deploy/fleet --targets fleet.json.gz -o markdown

  # For kubectl goshawk diff
  kubectl goshawk plan -f deploy/fleet -o json > before.json

  # What Flux would apply
  kubectl goshawk plan -k deploy/production`,
		Args: cobra.NoArgs,
	}
	manifests.add(c)
	world.add(c)
	c.Flags().IntVar(&groups, "groups", 12, "how many groups of a rollout the text shows; 0: all")
	f := addFormat(c, Text, JSON, YAML, Markdown)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if groups < 0 {
			return usageError(c, fmt.Errorf("--groups is %d; it must not be negative", groups))
		}
		documents, err := manifests.read(c, o)
		if err != nil {
			return err
		}
		present, err := world.reader(c.Context(), o)
		if err != nil {
			return err
		}
		namespace, err := o.Namespace()
		if err != nil {
			return err
		}
		all, findings, err := check(c.Context(), documents, namespace, present)
		if err != nil {
			return err
		}
		if err := refused(findings); err != nil {
			return err
		}
		plans, err := world.plans(o, all, present, explain.MakePlan)
		if err != nil {
			return err
		}
		width := o.Style().Width
		return o.print(f, planResult{append([]explain.Plan{}, plans...)}, func() string { return plansText(plans, f.value, width, groups) })
	}
	return c
}

func plansText(plans []explain.Plan, format string, width, groups int) string {
	var out strings.Builder
	if len(plans) == 0 {
		out.WriteString("The manifests have no object of Goshawk.\n")
	}
	for i := range plans {
		p := planPrinter{markdown: format == Markdown, width: width, groups: groups}
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(p.plan(&plans[i]))
	}
	return out.String()
}

// planPrinter prints plans as text or as Markdown.
type planPrinter struct {
	markdown bool
	width    int
	groups   int
}

func (p *planPrinter) plan(plan *explain.Plan) string {
	var out strings.Builder
	out.WriteString(p.heading(1, fmt.Sprintf("Namespace %s: %s", p.code(plan.Namespace), text.Count(plan.Targets, "target"))))
	if len(plan.Rollouts)+len(plan.AutoAssignments) == 0 {
		out.WriteString("\n" + p.line(0, "The manifests have no rollout and no auto-assignment."))
	}
	for i := range plan.Rollouts {
		out.WriteString("\n" + p.rollout(&plan.Rollouts[i]))
	}
	for i := range plan.AutoAssignments {
		out.WriteString("\n" + p.autoAssignment(&plan.AutoAssignments[i]))
	}
	if len(plan.Warnings) > 0 {
		out.WriteString("\n")
	}
	for _, w := range plan.Warnings {
		out.WriteString(p.warning(0, fmt.Sprintf("%s %s: %s: %s", w.Kind, p.code(w.Name), w.Reason, w.Message)))
	}
	return out.String()
}

func (p *planPrinter) rollout(r *explain.RolloutPlan) string {
	var out strings.Builder
	title := fmt.Sprintf("Rollout %s (%s): %s to %s in %s", p.code(r.Name), changeWord(r.Change), r.Update, text.Count(r.Targets, "target"), text.Count(len(r.Groups), "group"))
	out.WriteString(p.heading(2, title))
	out.WriteString(p.facts(p.rolloutFacts(r)))
	if len(r.Groups) > 0 {
		out.WriteString("\n" + p.groupTable(r))
	}
	out.WriteString(p.effects(r.Outcome, r.Overlaps, r.Warnings))
	return out.String()
}

func changeWord(change string) string {
	switch change {
	case explain.New:
		return "new"
	case explain.Changed:
		return "changed"
	case explain.Unchanged:
		return "unchanged"
	}
	return "not among the manifests"
}

func (p *planPrinter) rolloutFacts(r *explain.RolloutPlan) [][]string {
	rows := [][]string{{"plan", p.code(textOrNone(r.Hash))}}
	if r.HasStarted {
		rows = append(rows, []string{"start", fmt.Sprintf("has started (%s): the groups are frozen", r.State)})
	} else if r.State.IsStopped() {
		rows = append(rows, []string{"start", "never: the rollout is stopped"})
	} else if r.Waits == nil {
		rows = append(rows, []string{"start", "at once"})
	} else if w := r.Waits; w.Reason == v1alpha1.ReasonAwaitingApproval {
		rows = append(rows, []string{"start", "after the approval"})
	} else if len(r.Warnings) > 0 && r.Warnings[0].Message == w.Message {
		rows = append(rows, []string{"start", "not before the warning is resolved"})
	} else {
		rows = append(rows, []string{"start", w.Message})
	}
	if a := r.Approval; a != nil {
		switch {
		case a.Given:
			rows = append(rows, []string{"approval", "given for this plan (spec.approval.planHash)"})
		case a.Other != "":
			rows = append(rows, []string{"approval", "needed: spec.approval.planHash names another plan, " + p.code(a.Other)})
		default:
			rows = append(rows, []string{"approval", "needed: set spec.approval.planHash to the hash of the plan"})
		}
	}
	if w := windowFact(r.Window); w != nil {
		rows = append(rows, w)
	}
	for _, s := range r.Settings {
		rows = append(rows, []string{s.Field, s.Value})
	}
	return rows
}

func textOrNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func windowFact(w *explain.WindowPlan) []string {
	if w == nil {
		return nil
	}
	var openings []string
	for _, i := range w.Openings {
		openings = append(openings, openingText(i))
	}
	return []string{"window", fmt.Sprintf("%s (%s, %s): %s", w.Schedule, w.TimeZone, time.Duration(w.DurationSeconds)*time.Second, textOrNone(strings.Join(openings, "; ")))}
}

func openingText(i explain.Interval) string {
	from, to := i.From.UTC(), i.To.UTC()
	if from.Truncate(24*time.Hour).Equal(to.Truncate(24*time.Hour)) && to.Sub(from) < 24*time.Hour {
		return from.Format("2006-01-02 15:04") + " to " + to.Format("15:04Z")
	}
	return from.Format("2006-01-02 15:04") + " to " + to.Format("2006-01-02 15:04Z")
}

// groupTable returns the groups with sizes, conditions and first targets. The middle of a long list
// is summed up.
func (p *planPrinter) groupTable(r *explain.RolloutPlan) string {
	rows := [][]string{{"GROUP", "TARGETS", "SHARE", "SUCCESS", "ERROR", "CONFIRM", "FIRST TARGETS"}}
	if r.HasStarted {
		rows[0] = append([]string{"STATE"}, rows[0]...)
	}
	from, to := p.hidden(len(r.Groups))
	for i := range r.Groups {
		g := &r.Groups[i]
		if i == from && to > from {
			n := 0
			for _, h := range r.Groups[from:to] {
				n += h.Size
			}
			row := []string{fmt.Sprintf("(%d more)", to-from), strconv.Itoa(n), shareText(n, r.Targets), "", "", "", ""}
			if r.HasStarted {
				row = append([]string{""}, row...)
			}
			rows = append(rows, row)
		}
		if i >= from && i < to {
			continue
		}
		c := &g.Conditions
		row := []string{
			p.code(g.Name), strconv.Itoa(g.Size), shareText(g.Size, r.Targets),
			strings.Join(append([]string{fmt.Sprintf(">= %d%%, %s", c.SuccessThreshold, c.SuccessAction)}, explain.OtherConditions(c)...), ", "), fmt.Sprintf("> %d%%, %s", c.ErrorThreshold, c.ErrorAction), word(c.ConfirmationRequired, "yes"), firstTargets(g.Targets),
		}
		if r.HasStarted {
			row = append([]string{string(g.State)}, row...)
		}
		rows = append(rows, row)
	}
	return p.table(rows)
}

// hidden returns which groups a table leaves out.
func (p *planPrinter) hidden(n int) (from, to int) {
	if p.groups <= 0 || n <= p.groups {
		return 0, 0
	}
	last := max(1, p.groups/4)
	return p.groups - last, n - last
}

func shareText(n, total int) string {
	if total == 0 {
		return "0%"
	}
	tenths := (n*1000 + total/2) / total
	if tenths%10 == 0 {
		return fmt.Sprintf("%d%%", tenths/10)
	}
	return fmt.Sprintf("%d.%d%%", tenths/10, tenths%10)
}

// shownTargets is how many targets of a group are named.
const shownTargets = 3

func firstTargets(names []v1alpha1.TargetName) string {
	var out []string
	for _, name := range names[:min(shownTargets, len(names))] {
		out = append(out, string(name))
	}
	if len(names) > shownTargets {
		out = append(out, "...")
	}
	return textOrNone(strings.Join(out, ", "))
}

func (p *planPrinter) autoAssignment(a *explain.AutoAssignmentPlan) string {
	var out strings.Builder
	out.WriteString(p.heading(2, fmt.Sprintf("Auto-assignment %s (%s): %s to %s", p.code(a.Name), changeWord(a.Change), a.Update, text.Count(a.Targets, "target"))))
	rows := [][]string{{"state", textOrNone(string(a.State))}}
	if a.Waits != nil {
		rows = append(rows, []string{"start", a.Waits.Message})
	}
	if w := windowFact(a.Window); w != nil {
		rows = append(rows, w)
	}
	out.WriteString(p.facts(rows) + p.effects(a.Outcome, a.Overlaps, a.Warnings))
	return out.String()
}

// effects returns what the targets get, the overlaps and the warnings.
func (p *planPrinter) effects(outcome *explain.PlanOutcome, overlaps []explain.PlanOverlap, warnings []explain.Warning) string {
	var out strings.Builder
	if outcome != nil || len(overlaps)+len(warnings) > 0 {
		out.WriteString("\n")
	}
	if outcome != nil {
		out.WriteString(p.line(2, outcomeText(outcome)))
	}
	for i := range overlaps {
		out.WriteString(p.line(2, p.overlap(&overlaps[i])))
	}
	for _, w := range warnings {
		out.WriteString(p.warning(2, w.Reason+": "+w.Message))
	}
	return out.String()
}

// outcomeText says what the targets get in the end.
func outcomeText(o *explain.PlanOutcome) string {
	parts := []string{fmt.Sprintf("%s %s the update", text.Count(o.Gets, "target"), verb(o.Gets, "gets", "get"))}
	if o.Held > 0 {
		parts[0] += fmt.Sprintf(" (%d on hold)", o.Held)
	}
	if o.AlreadyThere > 0 {
		parts = append(parts, fmt.Sprintf("%d %s it already", o.AlreadyThere, verb(o.AlreadyThere, "has", "have")))
	}
	if o.Superseded > 0 {
		parts = append(parts, fmt.Sprintf("%d %s a newer update instead", o.Superseded, verb(o.Superseded, "gets", "get")))
	}
	for _, c := range o.Never {
		parts = append(parts, fmt.Sprintf("%d never %s it (%s)", c.Targets, verb(c.Targets, "gets", "get"), c.Code))
	}
	return strings.Join(parts, ", ")
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (p *planPrinter) overlap(o *explain.PlanOverlap) string {
	with := "assignments of targets"
	switch o.Kind {
	case v1alpha1.SourceRollout:
		with = "rollout " + p.code(o.Name)
	case v1alpha1.SourceAutoAssignment:
		with = "auto-assignment " + p.code(o.Name)
	case v1alpha1.SourceTarget:
	}
	if o.Update != "" {
		with += " (" + o.Update + ")"
	}
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{{o.Wins, "this one wins on %d"}, {o.Loses, "the other one wins on %d"}, {o.Both, "%d get both"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf(part.text, part.n))
		}
	}
	if rest := o.Targets - o.Wins - o.Loses - o.Both; rest > 0 {
		parts = append(parts, fmt.Sprintf("%d get neither", rest))
	}
	return fmt.Sprintf("shares %s with %s: %s, e.g. %s", text.Count(o.Targets, "target"), with, strings.Join(parts, ", "), strings.Join(o.Examples, ", "))
}

func (p *planPrinter) heading(level int, title string) string {
	if p.markdown {
		return strings.Repeat("#", level+1) + " " + title + "\n"
	}
	return title + "\n"
}

// code marks a name in Markdown.
func (p *planPrinter) code(s string) string {
	if p.markdown && s != "" && s != "none" {
		return "`" + s + "`"
	}
	return s
}

func (p *planPrinter) facts(rows [][]string) string {
	if !p.markdown {
		return p.wrappedFacts(rows)
	}
	var out strings.Builder
	out.WriteString("\n| | |\n|---|---|\n")
	for _, row := range rows {
		out.WriteString("| " + row[0] + " | " + escapeCell(row[1]) + " |\n")
	}
	return out.String()
}

// wrappedFacts returns names and values in two columns, of which the second one is wrapped.
func (p *planPrinter) wrappedFacts(rows [][]string) string {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	var out strings.Builder
	for _, row := range rows {
		value := wrapped(width+4, p.width, row[1])
		out.WriteString("  " + row[0] + strings.Repeat(" ", width+2-len(row[0])) + strings.TrimLeft(value, " "))
	}
	return out.String()
}

func (p *planPrinter) table(rows [][]string) string {
	if !p.markdown {
		return table(2, rows)
	}
	var out strings.Builder
	used := usedColumns(rows)
	for i, row := range rows {
		for k, cell := range row {
			if used[k] {
				out.WriteString("| " + escapeCell(cell) + " ")
			}
		}
		out.WriteString("|\n")
		if i == 0 {
			for k := range row {
				if used[k] {
					out.WriteString("|---")
				}
			}
			out.WriteString("|\n")
		}
	}
	return out.String()
}

// usedColumns reports for each column whether a row below the first one has something in it.
func usedColumns(rows [][]string) []bool {
	used := make([]bool, len(rows[0]))
	for _, row := range rows[1:] {
		for k, cell := range row {
			used[k] = used[k] || cell != ""
		}
	}
	return used
}

func escapeCell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(s)
}

func (p *planPrinter) line(indent int, s string) string {
	if p.markdown {
		return "- " + strings.ReplaceAll(s, "\n", " ") + "\n"
	}
	return wrapped(indent, p.width, s)
}

func (p *planPrinter) warning(indent int, s string) string {
	if p.markdown {
		return "- :warning: " + strings.ReplaceAll(s, "\n", " ") + "\n"
	}
	return wrapped(indent, p.width, "warning: "+s)
}
