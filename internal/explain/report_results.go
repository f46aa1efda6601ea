// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// resultCounter counts the results of the members of a rollout, by the rules of its controller.
type resultCounter struct {
	rollout  *v1alpha1.Rollout
	counters []groupCounter
	// members are the places of the targets in the groups.
	members  map[string]memberPlace
	counts   map[resultKey]*ReportResult
	failures []placedFailure
}

type groupCounter struct {
	object  *v1alpha1.DeploymentGroup
	counter *counting.Counter
}

// memberPlace is a position in a group.
type memberPlace struct{ group, member int }

type resultKey struct {
	bucket        counting.Bucket
	code, message string
}

type placedFailure struct {
	memberPlace
	ReportFailure
}

// newResultCounter returns a counter for the groups of the present plan.
func newResultCounter(w *ReportWorld) *resultCounter {
	c := &resultCounter{rollout: w.Rollout, members: map[string]memberPlace{}, counts: map[resultKey]*ReportResult{}}
	set := eligibility.SetOfRemoval(w.Rollout.Namespace, &w.Rollout.Spec.Update, nil)
	if w.Set != nil {
		set = offer.SetOf(w.Set, w.Modules)
	}
	for _, g := range w.Groups {
		if int(g.Spec.Index) >= len(w.Rollout.Status.Groups) {
			continue
		}
		for i, name := range g.Spec.Targets {
			c.members[string(name)] = memberPlace{len(c.counters), i}
		}
		rule := rollout.RuleOf(w.Rollout, set, int(g.Spec.Index), counting.AutoAssignments{})
		c.counters = append(c.counters, groupCounter{g, counting.NewCounter(rule)})
	}
	return c
}

func (c *resultCounter) add(t *v1alpha1.Target) {
	at, ok := c.members[t.Name]
	if !ok {
		return
	}
	g := c.counters[at.group]
	member := counting.MemberOf(g.object, at.member)
	entry, own := g.counter.EntryOf(t, member), action.OfSource(&t.Status, c.rollout.Identity())
	key := resultKey{bucket: entry.Bucket}
	switch entry.Bucket {
	case counting.Failed:
		key.code, key.message = entry.Failure.Code, entry.Failure.Message
		c.addFailure(at, t, own, &entry)
	case counting.Succeeded:
		key.message = succeededWords(own, &member)
	case counting.Canceled:
		key.message = canceledWords(own, &entry)
	case counting.Skipped:
		key.code = v1alpha1.CodeStartDeadlineExceeded
	default:
	}
	line := c.counts[key]
	if line == nil {
		line = &ReportResult{Result: key.bucket.String(), Code: key.code, Message: key.message}
		c.counts[key] = line
	}
	line.Count++
	line.Examples = append(line.Examples, t.Name)
	slices.Sort(line.Examples)
	line.Examples = line.Examples[:min(len(line.Examples), maxNames)]
}

func succeededWords(own *v1alpha1.Action, m *counting.Member) string {
	switch {
	case own == nil && m.AlreadyThere:
		return "the target ran the update when its group opened"
	case own == nil || own.State != v1alpha1.ActionFinished:
		return "another source installed the update"
	case own.Warning:
		return "finished with a warning"
	}
	return ""
}

func canceledWords(own *v1alpha1.Action, e *counting.Entry) string {
	switch {
	case e.Superseded:
		return "a newer update took the target over"
	case own == nil || action.IsUnconfirmed(own):
		return "the device had not started"
	case own.Cancel != nil:
		words := "canceled by cause " + string(own.Cancel.Cause)
		if own.Cancel.Answer != "" {
			words += ", answer of the device: " + string(own.Cancel.Answer)
		}
		return words
	}
	return "canceled by the device"
}

func (c *resultCounter) addFailure(at memberPlace, t *v1alpha1.Target, own *v1alpha1.Action, e *counting.Entry) {
	f := ReportFailure{Target: t.Name, Group: c.counters[at.group].object.Spec.Group, Code: e.Failure.Code, Message: e.Failure.Message,
		Inconsistent: meta.IsStatusConditionFalse(t.Status.Conditions, v1alpha1.ConditionConsistent)}
	if own != nil && own.State == v1alpha1.ActionError {
		f.Message, f.Attempts, f.At = cmp.Or(own.FailureMessage, f.Message), own.Source.Attempt, own.ClosedAt
	} else if e.FailedAt > 0 {
		f.At = &metav1.Time{Time: metav1.Unix(e.FailedAt, 0).UTC()}
	}
	c.failures = append(c.failures, placedFailure{at, f})
}

// failed returns the first failed targets in the order of the plan, and how many there are. A most
// of 0 stands for all.
func (c *resultCounter) failed(most int) ([]ReportFailure, int) {
	slices.SortFunc(c.failures, func(a, b placedFailure) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.member, b.member))
	})
	if most == 0 {
		most = len(c.failures)
	}
	list := []ReportFailure{}
	for _, f := range c.failures[:min(most, len(c.failures))] {
		list = append(list, f.ReportFailure)
	}
	return list, len(c.failures)
}

// lines returns the results: those of one bucket together, the most frequent one first.
func (c *resultCounter) lines() []ReportResult {
	lines := []ReportResult{}
	for _, line := range c.counts {
		lines = append(lines, *line)
	}
	order := func(r ReportResult) int {
		return slices.Index([]string{counting.Succeeded.String(), counting.Failed.String(), counting.Canceled.String(), counting.Skipped.String(),
			counting.InProgress.String(), counting.Pending.String(), counting.Scheduled.String()}, r.Result)
	}
	slices.SortFunc(lines, func(a, b ReportResult) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), -cmp.Compare(a.Count, b.Count), strings.Compare(fmt.Sprint(a.Code, a.Message), fmt.Sprint(b.Code, b.Message)))
	})
	return lines
}
