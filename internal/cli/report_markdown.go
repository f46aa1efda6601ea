// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// markdown returns a report as Markdown.
func markdown(r *explain.Report) string {
	m := &markdownText{}
	m.line("# Rollout %s/%s", r.Namespace, r.Rollout)
	if r.ArchivedAt != nil {
		m.line("This is the report that was archived at %s. It may be older than the end of the rollout.", timeText(r.ArchivedAt))
	}
	m.summary(r)
	m.writers(r)
	m.plan(r)
	m.decisions(r)
	m.results(r)
	m.invalidation(r)
	m.line("## What is missing")
	for _, gap := range r.Gaps {
		m.out.WriteString("- " + cell(gap) + "\n")
	}
	m.out.WriteString("\n")
	m.spec(r)
	return strings.TrimRight(m.out.String(), "\n") + "\n"
}

// markdownText collects paragraphs.
type markdownText struct{ out strings.Builder }

func (m *markdownText) line(format string, args ...any) {
	fmt.Fprintf(&m.out, format+"\n\n", args...)
}

// table adds a table with these columns. Without rows it adds nothing.
func (m *markdownText) table(columns []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	m.out.WriteString("| " + strings.Join(columns, " | ") + " |\n|" + strings.Repeat(" --- |", len(columns)) + "\n")
	for _, row := range rows {
		cells := make([]string, len(row))
		for i := range row {
			cells[i] = cell(row[i])
		}
		m.out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	m.out.WriteString("\n")
}

// cell makes a text fit for one cell: devices and people write the texts of messages.
func cell(s string) string {
	s = text.Clean(s, 0)
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "`", "'").Replace(s)
}

func timeText(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (m *markdownText) summary(r *explain.Report) {
	rows := [][]string{{"update", r.Update}, {"state", string(r.State)}, {"message", r.Message}, {"UID", r.UID}}
	if r.Set != nil {
		rows = append(rows, []string{"set", r.Set.Name + ": " + r.Set.Release}, []string{"content hash", r.Set.ContentHash})
		for _, module := range r.Set.Modules {
			rows = append(rows, []string{"module", module.Name + " " + module.Version + filesText(module.Files)})
		}
	}
	n := r.Targets
	rows = append(rows, []string{"targets", fmt.Sprintf("%d: %d succeeded, %d failed, %d canceled, %d skipped, %d removed, %d in progress, %d pending, %d scheduled",
		n.Targets, n.Succeeded, n.Failed, n.Canceled, n.Skipped, n.Removed, n.InProgress, n.Pending, n.Scheduled)})
	m.table([]string{"", ""}, rows)
}

func filesText(files []string) string {
	if len(files) == 0 {
		return ""
	}
	return ": " + strings.Join(files, ", ")
}

func (m *markdownText) writers(r *explain.Report) {
	m.line("## Writers of the manifests")
	for _, origin := range r.Origins {
		m.line("%s applies them: %s.", origin.Tool, cell(origin.Object))
	}
	var rows [][]string
	for _, w := range r.Writers {
		manager := w.Manager
		if w.Tool != "" {
			manager += " (" + w.Tool + ")"
		}
		rows = append(rows, []string{w.Object, manager, w.Operation, timeText(w.Time), strings.Join(w.Fields, ", ")})
	}
	m.table([]string{"object", "program", "operation", "last write", "fields"}, rows)
	if len(rows) == 0 {
		m.line("The objects do not say which program wrote them.")
	}
}

func (m *markdownText) plan(r *explain.Report) {
	m.line("## Plan and approval")
	if r.Plan == nil {
		m.line("There is no plan.")
	} else {
		m.table([]string{"", ""}, [][]string{{"plan hash", r.Plan.Hash}, {"made at", timeText(r.Plan.CreatedAt)}, {"content hash", r.Plan.ContentHash},
			{"size", text.Count(r.Plan.Targets, "target") + " in " + text.Count(r.Plan.Groups, "group")}})
	}
	switch a := r.Approval; {
	case a == nil && r.Spec.ApprovalRequired:
		m.line("The plan needs an approval and has none.")
	case a == nil:
		m.line("The manifest has no approval, and does not require one.")
	case a.OfThisPlan:
		m.line("spec.approval approves this plan. Programs that own the field, with their last write: %s.", cell(orNone(a.Writers)))
	default:
		m.line("spec.approval is for another plan: %s. Programs that own the field, with their last write: %s.", cell(a.PlanHash), cell(orNone(a.Writers)))
	}
	var rows [][]string
	for _, g := range r.Groups {
		conditions := ""
		if g.Conditions != nil {
			conditions = explain.ConditionsText(g.Conditions)
		}
		n := g.Targets
		rows = append(rows, []string{g.Name, string(g.State), timeText(g.OpenedAt), number(n.Targets), number(n.Succeeded), number(n.Failed), number(n.Canceled), number(n.Skipped), number(n.Removed), conditions})
	}
	m.table([]string{"group", "state", "opened", "targets", "succeeded", "failed", "canceled", "skipped", "removed", "planned conditions"}, rows)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func (m *markdownText) decisions(r *explain.Report) {
	m.line("## Decisions")
	var rows [][]string
	for _, d := range r.Decisions {
		rows = append(rows, []string{d.Time.UTC().Format(time.RFC3339Nano), d.Object, d.Reason, d.Message, d.Source})
	}
	m.table([]string{"time", "object", "what", "details", "recorded in"}, rows)
}

func (m *markdownText) results(r *explain.Report) {
	m.line("## Results")
	var rows [][]string
	for _, result := range r.Results {
		rows = append(rows, []string{result.Result, result.Code, result.Message, fmt.Sprint(result.Count), strings.Join(result.Examples, ", ")})
	}
	m.table([]string{"result", "code", "message", "targets", "e.g."}, rows)
	if len(rows) == 0 {
		m.line("No target is a member.")
	}
	rows = nil
	for _, f := range r.Failed {
		consistent := ""
		if f.Inconsistent {
			consistent = "no"
		}
		rows = append(rows, []string{f.Target, f.Group, f.Code, f.Message, number(f.Attempts), timeText(f.At), consistent})
	}
	if len(rows) == 0 {
		return
	}
	m.line("### Failed targets")
	m.table([]string{"target", "group", "code", "message", "attempts", "failed", "consistent"}, rows)
	if more := r.FailedTotal - len(r.Failed); more > 0 {
		m.line("%d of %d failed targets are listed; --all lists all.", len(r.Failed), r.FailedTotal)
	}
}

func (m *markdownText) invalidation(r *explain.Report) {
	if r.Set == nil || r.Set.Invalidation == nil {
		return
	}
	i := r.Set.Invalidation
	m.line("## Invalidation of the set")
	rows := [][]string{{"type", string(i.Cancellation)}, {"observed", timeText(i.ObservedAt)}, {"applied to all open actions", timeText(i.FinishedAt)},
		{"rollouts", number(i.Rollouts)}, {"auto-assignments", number(i.AutoAssignments)}}
	if i.Recorded != nil {
		rows = append(rows, []string{"reason", i.Recorded.Reason}, []string{"deletes rollouts", fmt.Sprint(i.Recorded.DeleteRollouts)})
	}
	if a := i.Actions; a != nil {
		rows = append(rows, []string{"actions", fmt.Sprintf("%d: %d canceled, %d asked and without an answer, %d refused or ended with a result", a.Total, a.Canceled, a.Canceling, a.Refused)})
	}
	m.table([]string{"", ""}, rows)
}

func (m *markdownText) spec(r *explain.Report) {
	data, err := yaml.Marshal(r.Spec)
	if err != nil {
		return
	}
	m.line("## Spec")
	m.line("```yaml\n%s```", data)
}
