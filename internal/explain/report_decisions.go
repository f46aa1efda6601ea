// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/history"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Sources of decisions.
const (
	fromMetadata  = "metadata"
	fromStatus    = "status"
	fromCondition = "condition"
	fromManaged   = "managedFields"
	fromEvent     = "event"
)

// decisions collects what happened to a rollout.
type decisions struct {
	list   []Decision
	object string
}

func (d *decisions) add(at time.Time, source, reason, format string, args ...any) {
	if at.IsZero() {
		return
	}
	d.list = append(d.list, Decision{Time: metav1.NewMicroTime(at.UTC()), Source: source, Object: d.object, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// decisionsOf returns the decisions that the objects and the events still have, in the order of
// their times. One decision may be in it twice, by its status and by its event.
func decisionsOf(w *ReportWorld) []Decision {
	d := &decisions{list: []Decision{}, object: "Rollout " + w.Rollout.Name}
	d.ofRollout(w.Rollout)
	for _, g := range w.Groups {
		d.ofGroup(g)
	}
	d.object = "Rollout " + w.Rollout.Name
	d.ofConditions(w.Rollout.Status.Conditions)
	d.ofWriters(writersOf(d.object, w.Rollout))
	if w.Set != nil {
		d.object = "DistributionSet " + w.Set.Name
		d.ofStatus(history.OfSet(w.Set))
		d.ofWriters(slices.DeleteFunc(writersOf(d.object, w.Set), func(writer Writer) bool { return !slices.Contains(writer.Fields, "spec.invalidation") }))
	}
	events := slices.Clone(w.Events)
	slices.SortFunc(events, func(a, b ReportEvent) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Object, b.Object), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Message, b.Message))
	})
	for _, e := range events {
		d.object = e.Object
		message := e.Message
		if e.Count > 1 {
			message += fmt.Sprintf(" (%d times)", e.Count)
		}
		d.add(e.Time, fromEvent, e.Reason, "%s", message)
	}
	slices.SortStableFunc(d.list, func(a, b Decision) int { return a.Time.Compare(b.Time.Time) })
	return d.list
}

func (d *decisions) ofRollout(r *v1alpha1.Rollout) {
	d.add(r.CreationTimestamp.Time, fromMetadata, "Created", "the object was created")
	d.ofStatus(history.OfRollout(r))
	for _, f := range r.Status.Failures {
		if f.FirstSeen != nil {
			d.add(f.FirstSeen.Time, fromStatus, "FirstFailure", "the first target failed with %s, e.g. %s", action.Failure{Code: f.StatusCode, Message: f.Message}, strings.Join(f.Examples, ", "))
		}
	}
}

// ofStatus adds what the status of an object records.
func (d *decisions) ofStatus(made []history.Decision) {
	for i := range made {
		message := made[i].Message
		if made[i].Kind == history.Paused {
			message = made[i].Reason + ": " + message
		}
		d.add(made[i].Time(), fromStatus, made[i].Kind, "%s", message)
	}
}

// ofGroup adds what the status of a group records: members that joined, that did not start in time,
// or that a newer rollout took over.
func (d *decisions) ofGroup(g *v1alpha1.DeploymentGroup) {
	d.object = "DeploymentGroup " + g.Name
	for i, b := range g.Status.Joined {
		end := int32(len(g.Spec.Targets))
		if i+1 < len(g.Status.Joined) {
			end = g.Status.Joined[i+1].First
		}
		d.add(b.At.Time, fromStatus, "TargetsJoined", "%s joined group %s", text.Count(end-b.First, "target"), g.Spec.Group)
	}
	for _, b := range g.Status.ExpiredAt {
		d.add(b.At.Time, fromStatus, v1alpha1.CodeStartDeadlineExceeded, "members of group %s had not started in time", g.Spec.Group)
	}
}

func (d *decisions) ofConditions(conditions []metav1.Condition) {
	for _, c := range conditions {
		if c.Type == v1alpha1.ConditionInvalidated && c.Status == metav1.ConditionTrue {
			continue // history has it
		}
		d.add(c.LastTransitionTime.Time, fromCondition, c.Reason, "%s is %s since then: %s", c.Type, c.Status, c.Message)
	}
}

func (d *decisions) ofWriters(writers []Writer) {
	for _, w := range writers {
		if w.Time != nil {
			d.add(w.Time.Time, fromManaged, "SpecWritten", "last write of %s (%s), which owns %s", w.Manager, w.Operation, strings.Join(w.Fields, ", "))
		}
	}
}

// gapsOf says what the report does not have.
func gapsOf(w *ReportWorld, report *Report, results *resultCounter) []string {
	gaps := []string{"People: a Kubernetes object records the program that wrote a field (managedFields), and not the user. The audit log of the API server and the history in Git have the users."}
	oldest := time.Time{}
	for _, e := range w.Events {
		if oldest.IsZero() || e.Time.Before(oldest) {
			oldest = e.Time
		}
	}
	kept := "none is left"
	if !oldest.IsZero() {
		kept = "the oldest is of " + oldest.UTC().Format(time.RFC3339)
	}
	gaps = append(gaps, "Decisions: the API server keeps events for an hour by default (--event-ttl); "+kept+". Earlier decisions are those that the status has: the last pause, resume, advance and retry, and the present plan. The log of the manager has a line for each decision.")
	gaps = append(gaps, "Attempts: a target has its newest action of each rollout that exists, and its newest 10 closed ones. Earlier attempts may be missing.")
	if removed := report.Targets.Removed; removed > 0 {
		gaps = append(gaps, fmt.Sprintf("Deleted targets: %d. The counts of their groups have their results, and the list of results does not.", removed))
	}
	if n := int(report.Targets.Failed); n != report.FailedTotal {
		gaps = append(gaps, fmt.Sprintf("Failed targets: the status counts %d, and %d were found. Targets were deleted, or have got another update, or the status is about to be written.", n, report.FailedTotal))
	}
	if w.Set == nil && w.Rollout.Spec.Update.DistributionSet != "" {
		gaps = append(gaps, "Set: DistributionSet "+w.Rollout.Spec.Update.DistributionSet+" does not exist any more.")
	}
	if missing := len(w.Rollout.Status.Groups) - len(results.counters); missing > 0 {
		gaps = append(gaps, fmt.Sprintf("Groups: %s not found, so the results of the members are missing.", text.Count(missing, "DeploymentGroup")+" were"))
	}
	return append(gaps, w.Unread...)
}
