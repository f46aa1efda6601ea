// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/text"
)

var fleetPage = &page{
	pattern: "GET /{$}", template: "fleet", nav: "Fleet", key: "f", section: "/",
	kinds: []Kind{Rollouts, Targets, DistributionSets, SoftwareModules, AutoAssignments},
	load:  loadFleet,
}

// The maximum numbers of rows on the page of the fleet.
const (
	fleetTasks    = 20
	fleetSets     = 12
	fleetRollouts = 10
)

// fleetView is the page of the fleet.
type fleetView struct {
	explain.Fleet
	Namespaces []string
	// Several is true if objects of several namespaces are shown.
	Several  bool
	Tasks    []taskRow
	Statuses []fleetCount
	Problems []fleetCount
	Sets     []setRow
	Bar      Bar
	// Attention are the rollouts that need a person, and Active those that have not ended.
	Attention, Active string
	// SeesTargets and SeesRollouts are false if these may not be shown.
	SeesTargets, SeesRollouts bool
}

// fleetCount is a number of targets, with what it means.
type fleetCount struct {
	Name, Meaning, Tone, Class string
	Count                      int
	// Link is the list of these targets.
	Link string
}

// taskRow is something that a person should do.
type taskRow struct {
	explain.Task
	Badge Badge
	Link  string
	// ID is the id of the row.
	ID string
}

// setRow are the targets that run one set.
type setRow struct {
	explain.FleetSet
	Bar Bar
	// Link is the list of these targets, and Page the page of the set.
	Link, Page string
	Errors     fleetCount
	Problems   []fleetCount
}

// statusWords are the update statuses for people.
var statusWords = map[v1alpha1.UpdateStatus]struct{ name, meaning, tone, class string }{
	v1alpha1.UpdateStatusError:      {"Error", "the last update failed, or the device may run something else", "bad", "failed"},
	v1alpha1.UpdateStatusPending:    {"Pending", "an update is in progress on the device", "busy", "inprogress"},
	v1alpha1.UpdateStatusInSync:     {"In sync", "the device runs what it should", "good", "succeeded"},
	v1alpha1.UpdateStatusRegistered: {"Registered", "the device reports, and was not updated yet", "calm", "pending"},
	v1alpha1.UpdateStatusUnknown:    {"Unknown", "the device has never reported", "calm", "scheduled"},
}

// problemWords are the problems of targets for people.
var problemWords = map[fleetcounts.Problem]struct{ name, meaning, tone string }{
	fleetcounts.Inconsistent:           {"Inconsistent", "it is not certain what runs on the device", "bad"},
	fleetcounts.Silent:                 {"Silent", "the device has not been heard of lately", "warn"},
	fleetcounts.Held:                   {"Held", "spec.hold: the device starts no update", "warn"},
	fleetcounts.WaitingForConfirmation: {"To confirm", "a person at the device has to agree to the update", "calm"},
	fleetcounts.NotReady:               {"Not ready", "the target cannot be used, such as a duplicate", "bad"},
	fleetcounts.Unreadable:             {"Unreadable", "the stored target cannot be decoded", "bad"},
}

func loadFleet(r *request) (content, error) {
	targets := r.namespaces(Targets)
	v := fleetView{SeesTargets: len(targets) > 0, SeesRollouts: len(r.namespaces(Rollouts)) > 0, Fleet: explain.FleetOf(explain.FleetWorld{
		Index: r.index, Counts: r.source.Counts(), Now: r.now, Targets: targets, Rollouts: r.namespaces(Rollouts), Sets: r.namespaces(DistributionSets),
		Modules: r.namespaces(SoftwareModules), AutoAssignments: r.namespaces(AutoAssignments), MaxTasks: fleetTasks, MaxSets: fleetSets, MaxRollouts: fleetRollouts,
	})}
	v.Namespaces = r.allNamespaces(Rollouts, Targets)
	v.Attention, v.Active = rolloutsLink(r.namespace(), showAttention), rolloutsLink(r.namespace(), showActive)
	v.Several = len(v.Namespaces) > 1 && r.namespace() == ""
	for i := range v.Fleet.Tasks {
		v.Tasks = append(v.Tasks, taskRowOf(&v.Fleet.Tasks[i]))
	}
	v.Statuses, v.Bar = statusCounts(&v.Fleet.Targets, r.namespace(), "")
	v.Problems = problemCounts(&v.Fleet.Targets, r.namespace(), "")
	for _, s := range v.Fleet.Sets {
		v.Sets = append(v.Sets, setRowOf(s))
	}
	return content{Title: "Fleet", Data: v}, nil
}

// allNamespaces returns the namespaces in which the viewer may see objects of one of the kinds,
// without regard to the filter.
func (r *request) allNamespaces(kinds ...Kind) []string {
	var all []string
	for _, kind := range kinds {
		all = append(all, r.scope.namespaces(kind)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func taskRowOf(t *explain.Task) taskRow {
	row := taskRow{Task: *t, Badge: badgeOf("Decide", "warn"), Link: taskLink(t), ID: fmt.Sprintf("task.%s.%s.%s.%s", t.Kind, t.Namespace, t.Name, t.Problem)}
	switch t.Urgency {
	case explain.UrgencyFailures:
		row.Badge = badgeOf("Failures", "bad")
	case explain.UrgencyCorrection:
		row.Badge = badgeOf("Correct", "warn")
	case explain.UrgencyDevices:
		row.Badge = badgeOf("Devices", "bad")
	default: // a decision
	}
	return row
}

// taskLink returns the page of the object of a task.
func taskLink(t *explain.Task) string {
	switch t.Kind {
	case "Target":
		return targetsLink(t.Namespace, "", string(t.Problem))
	case "SoftwareModule":
		return listPath(DistributionSets)
	}
	for kind, names := range kindNames {
		if names.singular == t.Kind {
			return objectPath(kind, t.Namespace, t.Name)
		}
	}
	return listPath(Rollouts)
}

// targetsLink returns the list of the targets of a namespace that run a set and have a status or a
// problem. Empty values stand for any.
func targetsLink(namespace, set, state string) string {
	q := url.Values{}
	for name, value := range map[string]string{"namespace": namespace, "set": set, "state": state} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return listPath(Targets)
	}
	return listPath(Targets) + "?" + q.Encode()
}

// rolloutsLink returns the list of the rollouts of a namespace, empty for all, in a state.
func rolloutsLink(namespace, state string) string {
	q := url.Values{"state": {state}}
	if namespace != "" {
		q.Set("namespace", namespace)
	}
	return listPath(Rollouts) + "?" + q.Encode()
}

// statusCounts returns the numbers of targets by update status, and a bar of them.
func statusCounts(t *fleetcounts.Tally, namespace, set string) ([]fleetCount, Bar) {
	var counts []fleetCount
	var parts []part
	for _, status := range explain.UpdateStatuses {
		words, n := statusWords[status], t.Statuses[status]
		c := fleetCount{Name: words.name, Meaning: words.meaning, Class: words.class, Count: n, Link: targetsLink(namespace, set, string(status))}
		if n > 0 {
			c.Tone = words.tone
		}
		counts = append(counts, c)
		parts = append(parts, part{words.class, words.name, n})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return barOrder(a.class) - barOrder(b.class) })
	return counts, barOfParts(text.Count(t.Targets, "target"), parts)
}

// problemCounts returns the numbers of targets by problem; of a set only those that are not 0.
func problemCounts(t *fleetcounts.Tally, namespace, set string) []fleetCount {
	var counts []fleetCount
	for _, p := range fleetcounts.Problems {
		words, n := problemWords[p], t.Problems[p]
		rare := p == fleetcounts.NotReady || p == fleetcounts.Unreadable
		if n == 0 && (set != "" || rare) {
			continue
		}
		c := fleetCount{Name: words.name, Meaning: words.meaning, Count: n, Link: targetsLink(namespace, set, string(p))}
		if n > 0 {
			c.Tone = words.tone
		}
		counts = append(counts, c)
	}
	return counts
}

func setRowOf(s explain.FleetSet) setRow {
	set := s.Name
	if set == "" {
		set = explain.NoSet
	}
	row := setRow{FleetSet: s, Link: targetsLink(s.Namespace, set, ""), Problems: problemCounts(&s.Tally, s.Namespace, set)}
	_, row.Bar = statusCounts(&s.Tally, s.Namespace, set)
	row.Errors = fleetCount{Count: s.Statuses[v1alpha1.UpdateStatusError], Link: targetsLink(s.Namespace, set, string(v1alpha1.UpdateStatusError))}
	if s.Release != "" {
		row.Page = objectPath(DistributionSets, s.Namespace, s.Name)
	}
	return row
}
