// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

// RolloutWorld is what RolloutDetails are computed from.
type RolloutWorld struct {
	Index   *fleet.Index
	Rollout *v1alpha1.Rollout
	// Groups, Targets, Sets and Modules are true if objects of that kind may be shown.
	Groups, Targets, Sets, Modules bool
	Now                            time.Time
}

// RolloutDetails are what is known about one rollout.
type RolloutDetails struct {
	Status
	// Since is since when it waits for what Message says.
	Since time.Time
	// Decision is the operation that lets the rollout start or continue that waits for a person,
	// and Role a ClusterRole that gives the right to it. nil: there is no such decision.
	Decision *operation.Change
	Role     string
	// Selection says which targets are selected, in a few words.
	Selection string
	Spec      *v1alpha1.RolloutSpec
	// Groups are the groups with their conditions.
	Groups []GroupDetails
	// Failures are the most frequent failures, with examples.
	Failures []FailureDetails
	Set      *ReportSet
	Plan     *v1alpha1.PlanStatus
	Approval *ReportApproval
	// Origins are the objects of GitOps tools that apply the manifest, and Writers the programs
	// that have written fields of it.
	Origins []operation.Origin
	Writers []Writer
	// Decisions are what was decided and requested, the newest first.
	Decisions []Decision
}

// GroupDetails are how far one group is, and what is required of it.
type GroupDetails struct {
	GroupProgress
	Conditions v1alpha1.GroupConditions
}

// FailureDetails are targets that failed in the same way.
type FailureDetails struct {
	v1alpha1.FailureCount
	// Examples are some of these targets.
	Examples []FailedTarget
}

// DetailsOf returns what is known about one rollout.
func DetailsOf(w RolloutWorld) RolloutDetails {
	r := w.Rollout
	status := StatusOf(w.statusWorld())
	d := RolloutDetails{Status: status, Decision: DecisionFor(r, w.Now), Since: rollout.WaitingSince(r),
		Spec: &r.Spec, Selection: selectionText(r.Spec.Selection), Plan: r.Status.Plan, Origins: operation.OriginsOf(r), Writers: writersOf("Rollout "+r.Name, r)}
	if d.Decision != nil {
		d.Role = roleFor(d.Decision.Rights)
	}
	failed := map[string]FailedTarget{}
	for _, f := range status.Failed {
		failed[f.Name] = f
	}
	for _, g := range status.Groups {
		d.Groups = append(d.Groups, GroupDetails{g, grouping.ConditionsOf(&r.Spec, g.Name)})
		for _, f := range g.Failed {
			failed[f.Name] = f
		}
	}
	for _, f := range r.Status.Failures {
		details := FailureDetails{FailureCount: f}
		for _, name := range f.Examples {
			example, found := failed[name]
			if !found {
				example = FailedTarget{Name: name}
			}
			details.Examples = append(details.Examples, example)
		}
		d.Failures = append(d.Failures, details)
	}
	d.addRecord(&w)
	return d
}

// statusWorld returns the world of the status of the rollout.
func (w *RolloutWorld) statusWorld() StatusWorld {
	r := w.Rollout
	s := StatusWorld{Rollout: r, Now: w.Now, RequiredMigrationStep: w.isMigrationStep(r)}
	if w.Targets {
		for _, f := range r.Status.Failures {
			for _, name := range f.Examples {
				if t := w.Index.Target(types.NamespacedName{Namespace: r.Namespace, Name: name}); t != nil {
					s.Failed = append(s.Failed, t)
				}
			}
		}
	}
	if !w.Groups {
		return s
	}
	s.Groups = groupsOfPlan(w.Index, r)
	if rollout.IsOver(r) {
		return s
	}
	for name, shared := range w.Index.SharedTargets(s.Groups) {
		other := w.Index.Rollout(types.NamespacedName{Namespace: r.Namespace, Name: name})
		if other != nil && other.Name != r.Name && !rollout.IsOver(other) {
			s.Others = append(s.Others, OtherRollout{Rollout: other, Shared: shared, RequiredMigrationStep: w.isMigrationStep(other)})
		}
	}
	return s
}

func (w *RolloutWorld) isMigrationStep(r *v1alpha1.Rollout) bool {
	set := w.set(r)
	return set != nil && set.Spec.RequiredMigrationStep
}

func (w *RolloutWorld) set(r *v1alpha1.Rollout) *v1alpha1.DistributionSet {
	return w.Index.DistributionSet(types.NamespacedName{Namespace: r.Namespace, Name: r.Spec.Update.DistributionSet})
}

// groupsOfPlan returns the groups of the present plan of a rollout, in their order.
func groupsOfPlan(x *fleet.Index, r *v1alpha1.Rollout) []*v1alpha1.DeploymentGroup {
	return slices.DeleteFunc(x.GroupsOf(r), func(g *v1alpha1.DeploymentGroup) bool { return !grouping.BelongsTo(g, r) })
}

// addRecord adds what the report of the rollout says about its set, its approval and its decisions.
func (d *RolloutDetails) addRecord(w *RolloutWorld) {
	record := ReportWorld{Rollout: w.Rollout}
	if w.Sets {
		record.Set = w.set(w.Rollout)
	}
	if record.Set != nil && w.Modules {
		for _, m := range record.Set.Spec.Modules {
			record.Modules = append(record.Modules, w.Index.Module(client.ObjectKey{Namespace: w.Rollout.Namespace, Name: m.Name}))
		}
	}
	if w.Groups {
		record.Groups = groupsOfPlan(w.Index, w.Rollout)
	}
	report := Report{Plan: d.Plan}
	report.addWriters(&record)
	d.Approval, d.Set = report.Approval, reportSetOf(&record)
	for _, decision := range slices.Backward(decisionsOf(&record)) {
		if decision.Source != fromCondition { // the page shows the present conditions
			d.Decisions = append(d.Decisions, decision)
		}
	}
}

// selectionText says which targets a selection selects.
func selectionText(s v1alpha1.Selection) string {
	var parts []string
	if s.TargetSelector != nil {
		q, err := query.Compile(v1alpha1.Selection{TargetSelector: s.TargetSelector}, nil)
		if err == nil {
			parts = append(parts, "targets with the labels "+q.String())
		}
	}
	if s.TargetExpression != "" {
		parts = append(parts, "targets for which "+strings.Join(strings.Fields(s.TargetExpression), " ")+" is true")
	}
	return cmp.Or(strings.Join(parts, ", and of these "), "all targets of the namespace")
}

// Sentence returns what the rollout waits for, or how it has ended, as a sentence in which it is
// clear that it waits.
func (s *Status) Sentence() string {
	if s.Message == "" || s.Ended() || strings.HasPrefix(s.Message, "waiting ") {
		return s.Message
	}
	return "waits: " + s.Message
}

// FailureText returns the code or the message that the devices of one entry of status.failures
// reported, for a sentence after "failed with".
func FailureText(f v1alpha1.FailureCount) string {
	return action.Failure{Code: f.StatusCode, Message: f.Message}.String()
}
