// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// UpdateStatuses are the update statuses of targets, those that need a look first.
var UpdateStatuses = []v1alpha1.UpdateStatus{
	v1alpha1.UpdateStatusError, v1alpha1.UpdateStatusPending, v1alpha1.UpdateStatusInSync, v1alpha1.UpdateStatusRegistered, v1alpha1.UpdateStatusUnknown,
}

// FleetWorld is what a Fleet is computed from. Of each kind only the objects of the namespaces that
// are named for it are looked at.
type FleetWorld struct {
	Index  *fleet.Index
	Counts *fleetcounts.Counter
	// The namespaces whose objects of a kind are shown.
	Targets, Rollouts, Sets, Modules, AutoAssignments []string
	Now                                               time.Time
	// MaxTasks, MaxSets and MaxRollouts limit the lists.
	MaxTasks, MaxSets, MaxRollouts int
}

// Fleet is an overview of targets and rollouts.
type Fleet struct {
	// Targets are the counts of all targets, and Sets those by what they have installed: the set
	// with the most targets first. MoreSets is the number of sets that are left out, which have
	// MoreTargets targets.
	Targets               fleetcounts.Tally
	Sets                  []FleetSet
	MoreSets, MoreTargets int
	// Tasks are what a person should do, the most urgent first, and AllTasks is their number.
	Tasks    []Task
	AllTasks int
	// Running are the rollouts that go on by themselves, the newest first, and AllRunning is their
	// number. Ended are those that ended last.
	Running    []Status
	AllRunning int
	Ended      []Status
	// Rollouts is the number of all rollouts.
	Rollouts int
}

// FleetSet are the targets that run one set.
type FleetSet struct {
	Namespace string
	// Name is the set, the first digits of a content hash, or "" for the targets of which it is not
	// known.
	Name string
	// Release is the name and version of the set. Empty: the set does not exist.
	Release string
	// Invalidated is true if the set was invalidated.
	Invalidated bool
	fleetcounts.Tally
}

// FleetOf returns an overview. It reads the counts, and no target: its cost depends on the number
// of sets, modules, rollouts and auto-assignments.
func FleetOf(w FleetWorld) Fleet {
	f := Fleet{}
	f.addTargets(&w)
	f.addRollouts(&w)
	addTasks(&f, w.Sets, w.Index.AllSets(), func(o *v1alpha1.DistributionSet) *v1alpha1.Unreadable { return o.Unreadable })
	addTasks(&f, w.Modules, w.Index.AllModules(), func(o *v1alpha1.SoftwareModule) *v1alpha1.Unreadable { return o.Unreadable })
	addTasks(&f, w.AutoAssignments, slices.DeleteFunc(w.Index.AllAutoAssignments(), w.wasStopped), func(o *v1alpha1.AutoAssignment) *v1alpha1.Unreadable { return o.Unreadable })
	slices.SortStableFunc(f.Tasks, func(a, b Task) int { return cmp.Or(cmp.Compare(a.Urgency, b.Urgency), a.Since.Compare(b.Since)) })
	f.AllTasks = len(f.Tasks)
	f.Tasks = f.Tasks[:min(len(f.Tasks), w.MaxTasks)]
	return f
}

// wasStopped reports whether an invalidation has stopped an auto-assignment, which was its purpose.
// One that was created afterwards is a mistake that a person should correct.
func (w *FleetWorld) wasStopped(a *v1alpha1.AutoAssignment) bool {
	stalled := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionStalled)
	if a.Unreadable != nil || stalled == nil || stalled.Reason != v1alpha1.ReasonDistributionSetInvalid {
		return false
	}
	set := w.Index.DistributionSet(types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.Update.DistributionSet})
	if set == nil || set.Status.Invalidation == nil || set.Status.Invalidation.ObservedAt == nil {
		return a.Status.StartedAt != nil
	}
	return !a.CreationTimestamp.After(set.Status.Invalidation.ObservedAt.Time)
}

// addTargets adds the counts of the targets.
func (f *Fleet) addTargets(w *FleetWorld) {
	sum := fleetcounts.NewCounts()
	for _, namespace := range w.Targets {
		counts := fleetcounts.NewCounts()
		w.Counts.AddTo(counts, namespace)
		sum.Add(counts)
		for name, tally := range counts.Sets {
			f.Sets = append(f.Sets, FleetSet{Namespace: namespace, Name: name, Tally: *tally})
		}
	}
	f.Targets = sum.Targets
	slices.SortFunc(f.Sets, func(a, b FleetSet) int {
		return cmp.Or(-cmp.Compare(a.Targets, b.Targets), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, s := range f.Sets[min(len(f.Sets), w.MaxSets):] {
		f.MoreSets, f.MoreTargets = f.MoreSets+1, f.MoreTargets+s.Targets
	}
	f.Sets = f.Sets[:min(len(f.Sets), w.MaxSets)]
	for i := range f.Sets {
		s := &f.Sets[i]
		if set := w.Index.DistributionSet(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}); set != nil && slices.Contains(w.Sets, s.Namespace) {
			s.Release, s.Invalidated = set.Spec.Name+" "+set.Spec.Version, set.InvalidationInForce() != nil
		}
	}
	only := ""
	if len(w.Targets) == 1 {
		only = w.Targets[0]
	}
	f.Tasks = append(f.Tasks, tasksOfTargets(&f.Targets, only)...)
}

// addRollouts adds the rollouts, and what a person should do about them.
func (f *Fleet) addRollouts(w *FleetWorld) {
	rollouts := inNamespaces(w.Rollouts, w.Index.AllRollouts())
	f.Rollouts = len(rollouts)
	SortByUrgency(rollouts)
	for _, r := range rollouts {
		switch task := taskOfRollout(r, w.Now); {
		case task != nil:
			f.Tasks = append(f.Tasks, *task)
		case !rollout.IsOver(r):
			if f.AllRunning++; f.AllRunning <= w.MaxRollouts {
				f.Running = append(f.Running, StatusOf(StatusWorld{Rollout: r, Now: w.Now}))
			}
		case len(f.Ended) < w.MaxRollouts:
			f.Ended = append(f.Ended, StatusOf(StatusWorld{Rollout: r, Now: w.Now}))
		}
	}
}

// addTasks adds what a person should do about objects of a kind.
func addTasks[T client.Object](f *Fleet, namespaces []string, objects []T, unreadable func(T) *v1alpha1.Unreadable) {
	for _, o := range inNamespaces(namespaces, objects) {
		if task := taskOfObject(o, unreadable(o)); task != nil {
			f.Tasks = append(f.Tasks, *task)
		}
	}
}

// inNamespaces returns the objects of some namespaces, in their order.
func inNamespaces[T client.Object](namespaces []string, objects []T) []T {
	in := make(map[string]bool, len(namespaces))
	for _, namespace := range namespaces {
		in[namespace] = true
	}
	return slices.DeleteFunc(objects, func(o T) bool { return !in[o.GetNamespace()] })
}
