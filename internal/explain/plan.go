// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/text"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// Plan is what manifests would do to a namespace.
type Plan struct {
	Namespace string `json:"namespace"`
	// Targets is the number of targets of the namespace after the manifests were applied.
	Targets int `json:"targets"`
	// Rollouts that are among the manifests, sorted by name.
	Rollouts []RolloutPlan `json:"rollouts"`
	// AutoAssignments that are among the manifests, sorted by name.
	AutoAssignments []AutoAssignmentPlan `json:"autoAssignments,omitempty"`
	// Warnings about other objects.
	Warnings []ObjectWarning `json:"warnings,omitempty"`
}

// Warning is a problem that a person should know before the manifests are applied.
type Warning struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// ObjectWarning is a Warning about an object.
type ObjectWarning struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Warning
}

// RolloutPlan is the plan of one rollout.
type RolloutPlan struct {
	Name string `json:"name"`
	// Change is New, Changed, Unchanged or Present.
	Change string `json:"change"`
	// Update is the name of the set, or the removal.
	Update string `json:"update"`
	// HasStarted is true if the rollout had started before: its plan is frozen.
	HasStarted bool `json:"hasStarted,omitempty"`
	// State after the manifests were applied, and nothing but time has passed.
	State v1alpha1.RolloutState `json:"state,omitempty"`
	// Hash of the plan, which an approval names; empty if there is no plan.
	Hash        string `json:"hash,omitempty"`
	ContentHash string `json:"contentHash,omitempty"`
	// SpecHash is the hash of all fields that an approval covers.
	SpecHash string `json:"specHash,omitempty"`
	// Targets is the number of targets in all groups.
	Targets  int       `json:"targets"`
	Approval *Approval `json:"approval,omitempty"`
	// Waits is what the rollout waits for; nil if it starts at once.
	Waits  *Wait       `json:"waits,omitempty"`
	Window *WindowPlan `json:"window,omitempty"`
	// Settings that matter to the selection and to the pace of the rollout, by field.
	Settings []Setting     `json:"settings,omitempty"`
	Groups   []GroupPlan   `json:"groups,omitempty"`
	Outcome  *PlanOutcome  `json:"outcome,omitempty"`
	Overlaps []PlanOverlap `json:"overlaps,omitempty"`
	Warnings []Warning     `json:"warnings,omitempty"`
}

// Approval is the approval that a rollout needs.
type Approval struct {
	// Given is true if spec.approval names the hash of this plan.
	Given bool `json:"given"`
	// Other is spec.approval.planHash if it names another plan.
	Other string `json:"other,omitempty"`
}

// Wait is what a rollout or an auto-assignment waits for.
type Wait struct {
	Reason  string       `json:"reason"`
	Message string       `json:"message"`
	Until   *metav1.Time `json:"until,omitempty"`
}

// Setting is a field with its value as text.
type Setting struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

// WindowPlan is a maintenance window with its next openings.
type WindowPlan struct {
	Schedule        string     `json:"schedule"`
	TimeZone        string     `json:"timeZone"`
	DurationSeconds int32      `json:"durationSeconds"`
	Openings        []Interval `json:"openings,omitempty"`
}

// Interval is when a window is open.
type Interval struct {
	From metav1.Time `json:"from"`
	To   metav1.Time `json:"to"`
}

// GroupPlan is one group.
type GroupPlan struct {
	Name       string                   `json:"name"`
	State      v1alpha1.GroupState      `json:"state,omitempty"`
	Size       int                      `json:"size"`
	Conditions v1alpha1.GroupConditions `json:"conditions"`
	// Targets are the names of the members, in the order of the plan.
	Targets []v1alpha1.TargetName `json:"targets,omitempty"`
}

// AutoAssignmentPlan is what an auto-assignment would do.
type AutoAssignmentPlan struct {
	Name   string                       `json:"name"`
	Change string                       `json:"change"`
	Update string                       `json:"update"`
	State  v1alpha1.AutoAssignmentState `json:"state,omitempty"`
	// Targets is the number of targets that it matches, and that its set fits.
	Targets  int           `json:"targets"`
	Waits    *Wait         `json:"waits,omitempty"`
	Window   *WindowPlan   `json:"window,omitempty"`
	Outcome  *PlanOutcome  `json:"outcome,omitempty"`
	Overlaps []PlanOverlap `json:"overlaps,omitempty"`
	Warnings []Warning     `json:"warnings,omitempty"`
	// Members are the names of these targets, sorted.
	Members []v1alpha1.TargetName `json:"members,omitempty"`
}

// MakePlan returns what the manifests of a world would do. It lets the planners of the controllers
// run; so the hash of a plan is the one that the controller writes for the same targets.
func MakePlan(w World) (*Plan, error) {
	return makePlan(w, func(change string) bool { return change != Present })
}

// MakePlanOfAll is MakePlan that also lists the rollouts and auto-assignments of the namespace that
// are not among the manifests.
func MakePlanOfAll(w World) (*Plan, error) {
	return makePlan(w, func(string) bool { return true })
}

func makePlan(w World, wanted func(change string) bool) (*Plan, error) {
	s, err := simulate(w)
	if err != nil {
		return nil, err
	}
	population := s.index.Targets(s.Namespace)
	plan := &Plan{Namespace: s.Namespace, Targets: len(population), Rollouts: []RolloutPlan{}}
	started := map[string]bool{}
	for _, o := range w.Objects {
		if r, ok := o.(*v1alpha1.Rollout); ok && r.Status.StartedAt != nil {
			started[r.Name] = true
		}
	}
	outcomes, err := s.outcomes()
	if err != nil {
		return nil, err
	}
	for _, r := range s.index.Rollouts(s.Namespace) {
		if change := s.changeOf(r); wanted(change) {
			p := s.rolloutPlan(r, change, population)
			p.HasStarted = started[r.Name]
			p.Outcome, p.Overlaps = outcomes.of(source{v1alpha1.SourceRollout, r.Name})
			plan.Rollouts = append(plan.Rollouts, p)
		}
	}
	for _, a := range s.index.AutoAssignments(s.Namespace) {
		if change := s.changeOf(a); wanted(change) {
			p := s.autoAssignmentPlan(a, change, population)
			p.Outcome, p.Overlaps = outcomes.of(source{v1alpha1.SourceAutoAssignment, a.Name})
			plan.AutoAssignments = append(plan.AutoAssignments, p)
		}
	}
	plan.Warnings = s.objectWarnings()
	return plan, nil
}

func (s *simulation) changeOf(o client.Object) string {
	return cmp.Or(s.change[keyFor(o)], Present)
}

func (s *simulation) rolloutPlan(r *v1alpha1.Rollout, change string, population []*v1alpha1.Target) RolloutPlan {
	p := RolloutPlan{
		Name: r.Name, Change: change, Update: r.Spec.Update.Subject(), State: r.Status.State,
		Window: windowPlan(r.Spec.Update.MaintenanceWindow, s.Now), Settings: settingsOf(&r.Spec), Warnings: s.warnings[r.Name],
	}
	if made := r.Status.Plan; made != nil {
		p.Hash, p.ContentHash, p.SpecHash = made.Hash, made.ContentHash, made.SpecHash
		for _, g := range s.index.GroupsOf(r) {
			if !grouping.BelongsTo(g, r) || g.Unreadable != nil {
				continue
			}
			group := GroupPlan{Name: g.Spec.Group, Size: len(g.Spec.Targets), Conditions: g.Spec.Conditions, Targets: g.Spec.Targets}
			if i := int(g.Spec.Index); i < len(r.Status.Groups) && r.Status.StartedAt != nil {
				group.State = r.Status.Groups[i].State
			}
			p.Groups, p.Targets = append(p.Groups, group), p.Targets+group.Size
		}
	}
	if s.RequireApproval || r.Spec.ApprovalRequired {
		p.Approval = &Approval{}
		if a := r.Spec.Approval; a != nil {
			p.Approval.Given = a.PlanHash == p.Hash
			if !p.Approval.Given {
				p.Approval.Other = a.PlanHash
			}
		}
	}
	if waits := r.Status.WaitingFor; waits != nil && r.Status.StartedAt == nil {
		p.Waits = &Wait{Reason: waits.Reason, Message: waits.Message, Until: waits.Until}
	}
	problems := s.problemsOf(r, population)
	for _, w := range p.Warnings {
		if !slices.ContainsFunc(problems, func(other Warning) bool { return other.Message == w.Message }) {
			problems = append(problems, w)
		}
	}
	p.Warnings = problems
	return p
}

// problemsOf returns why a rollout is Stalled, and the selected targets that its set does not fit.
func (s *simulation) problemsOf(r *v1alpha1.Rollout, population []*v1alpha1.Target) []Warning {
	var out []Warning
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled); c != nil && c.Status == metav1.ConditionTrue {
		out = append(out, Warning{c.Reason, c.Message})
	}
	if r.Status.StartedAt == nil || s.changeOf(r) != Present {
		if w := s.incompatible(r.Spec.Selection, &r.Spec.Update, population); w != nil {
			out = append(out, *w)
		}
	}
	return out
}

// incompatible returns a warning about the targets that a selection matches and the set does not
// fit, or nil.
func (s *simulation) incompatible(selection v1alpha1.Selection, update *v1alpha1.Update, population []*v1alpha1.Target) *Warning {
	set := s.index.SetOf(s.Namespace, update)
	if set == nil || len(set.CompatibleTargetTypes) == 0 {
		return nil
	}
	q, err := query.Compile(selection, s.index.Software)
	if err != nil {
		return nil // the planner has reported it
	}
	var names []string
	types := map[string]int{}
	for _, t := range population {
		if !set.Fits(t.Spec.Type) && grouping.CanBePlanned(t) && q.Matches(t) {
			names = append(names, t.Name)
			types[t.Spec.Type]++
		}
	}
	if len(names) == 0 {
		return nil
	}
	var kinds []string
	for kind, n := range types {
		kinds = append(kinds, fmt.Sprintf("%d of type %s", n, kind))
	}
	slices.Sort(kinds)
	return &Warning{"Incompatible", fmt.Sprintf("%s selected and left out, because compatibleTargetTypes of DistributionSet %s is %s: %s, e.g. %s",
		isAre(len(names)), set.Name, strings.Join(set.CompatibleTargetTypes, ", "), strings.Join(kinds, ", "), strings.Join(names[:min(3, len(names))], ", "))}
}

func isAre(n int) string {
	if n == 1 {
		return "1 target is"
	}
	return text.Count(n, "target") + " are"
}

func (s *simulation) autoAssignmentPlan(a *v1alpha1.AutoAssignment, change string, population []*v1alpha1.Target) AutoAssignmentPlan {
	p := AutoAssignmentPlan{
		Name: a.Name, Change: change, Update: a.Spec.Update.Subject(), State: a.Status.State,
		Window: windowPlan(a.Spec.Update.MaintenanceWindow, s.Now),
	}
	key := client.ObjectKeyFromObject(a)
	for _, t := range population {
		if grouping.CanBePlanned(t) && s.index.Selects(key, t) {
			p.Members = append(p.Members, v1alpha1.TargetName(t.Name))
		}
	}
	p.Targets = len(p.Members)
	c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	if c != nil && a.Status.State != v1alpha1.AutoAssignmentRunning {
		if meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled) {
			p.Warnings = append(p.Warnings, Warning{c.Reason, c.Message})
		} else {
			p.Waits = &Wait{Reason: c.Reason, Message: c.Message}
		}
	}
	if w := s.incompatible(a.Spec.Selection, &a.Spec.Update, population); w != nil {
		p.Warnings = append(p.Warnings, *w)
	}
	return p
}

// settingsOf returns the fields that say which targets a rollout updates, and that limit its pace
// and the damage.
func settingsOf(spec *v1alpha1.RolloutSpec) []Setting {
	var out []Setting
	add := func(field string, is bool, format string, args ...any) {
		if is {
			out = append(out, Setting{field, fmt.Sprintf(format, args...)})
		}
	}
	if t := spec.TargetSelector; t != nil {
		if q, err := query.Compile(v1alpha1.Selection{TargetSelector: t}, nil); err == nil {
			add("targetSelector", q.String() != "", "%s", q)
		}
	}
	add("targetExpression", spec.TargetExpression != "", "%s", strings.Join(strings.Fields(spec.TargetExpression), " "))
	add("groupOrder", spec.GroupOrder == v1alpha1.GroupOrderName, "%s", spec.GroupOrder)
	add("state", spec.State != "" && spec.State != v1alpha1.IntentRunning, "%s", spec.State)
	if spec.StartAt != nil {
		add("startAt", true, "%s", stamp(spec.StartAt.Time))
	}
	out = append(out, updateSettings(&spec.Update)...)
	add("minimumReports", spec.MinimumReports > 0, "%d", spec.MinimumReports)
	if b := spec.ErrorBudget; b != nil {
		var parts []string
		if b.Percent != nil {
			parts = append(parts, fmt.Sprintf("%d percent", *b.Percent))
		}
		if b.Count != nil {
			parts = append(parts, text.Count(*b.Count, "failure"))
		}
		add("errorBudget", true, "%s", strings.Join(parts, " or "))
	}
	if d := spec.Dynamic; d != nil {
		value := "targets that appear later join"
		if d.MaxTargets != nil {
			value += fmt.Sprintf(", up to %d", *d.MaxTargets)
		}
		if d.Until != nil {
			value += ", until " + stamp(d.Until.Time)
		}
		add("dynamic", true, "%s", value)
	}
	return out
}

// updateSettings returns the fields of an update that are not the default.
func updateSettings(u *v1alpha1.Update) []Setting {
	var out []Setting
	add := func(field string, is bool, format string, args ...any) {
		if is {
			out = append(out, Setting{field, fmt.Sprintf(format, args...)})
		}
	}
	add("update.type", u.Type != "" && u.Type != v1alpha1.UpdateTypeForced, "%s", u.Type)
	add("update.confirmationRequired", u.ConfirmationRequired, "true")
	add("update.superseding", u.IsQueued(), "Queue")
	if u.StartDeadlineSeconds != nil {
		add("update.startDeadlineSeconds", true, "%d (%s)", *u.StartDeadlineSeconds, cmp.Or(u.StartDeadlineAction, v1alpha1.DeadlineActionFail))
	}
	if u.Retries != nil {
		add("update.retries", true, "%d", u.Retries.Limit)
	}
	return out
}

// shownOpenings is how many openings of a maintenance window a plan lists.
const shownOpenings = 3

// windowPlan returns the next openings of a window; nil for no window.
func windowPlan(w *v1alpha1.MaintenanceWindow, now time.Time) *WindowPlan {
	if w == nil {
		return nil
	}
	p := &WindowPlan{Schedule: w.Schedule, TimeZone: cmp.Or(w.TimeZone, "UTC"), DurationSeconds: w.DurationSeconds}
	for at := now; len(p.Openings) < shownOpenings; {
		open, next, err := window.At(w, at)
		if err != nil || !open && next.IsZero() {
			return p
		}
		from := at
		if !open {
			from = next
		}
		to := window.NextChange(w, from)
		if to.IsZero() || !to.After(from) {
			return p
		}
		if last := len(p.Openings) - 1; last >= 0 && p.Openings[last].To.Equal(&metav1.Time{Time: from.UTC()}) {
			p.Openings[last].To = metav1.NewTime(to.UTC())
			if to.Sub(now) > maxWindow { // it never closes
				return p
			}
		} else {
			p.Openings = append(p.Openings, Interval{metav1.NewTime(from.UTC()), metav1.NewTime(to.UTC())})
		}
		at = to
	}
	return p
}

// maxWindow is how far windows that follow each other without a gap are followed.
const maxWindow = 7 * 24 * time.Hour

// objectWarnings returns the problems of the modules, sets and targets among the manifests.
func (s *simulation) objectWarnings() []ObjectWarning {
	var out []ObjectWarning
	for _, m := range s.Manifests {
		key := keyFor(m)
		switch m := m.(type) {
		case *v1alpha1.DistributionSet:
			set := s.index.Set(client.ObjectKey{Namespace: s.Namespace, Name: m.Name})
			switch {
			case set == nil:
			case m.Spec.Invalidation != nil && s.change[key] != Unchanged:
				out = append(out, ObjectWarning{key.kind, m.Name, Warning{v1alpha1.ReasonInvalidatedBySpec, fmt.Sprintf(
					"spec.invalidation (%s) is final: no rollout, auto-assignment or assignment can use this set again; see `kubectl goshawk invalidate %s --dry-run`", m.Spec.Invalidation.Cancellation, m.Name)}})
			case !set.Deployable:
				out = append(out, ObjectWarning{key.kind, m.Name, Warning{v1alpha1.ReasonDistributionSetNotReady, set.NotDeployable}})
			}
		case *v1alpha1.Target:
			if t := s.index.Target(client.ObjectKey{Namespace: s.Namespace, Name: m.Name}); t != nil {
				if c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionFalse {
					out = append(out, ObjectWarning{key.kind, m.Name, Warning{c.Reason, c.Message}})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b ObjectWarning) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Message, b.Message))
	})
	return out
}
