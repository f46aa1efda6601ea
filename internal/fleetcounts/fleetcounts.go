// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fleetcounts counts the targets, the rollouts and the stalled objects of each namespace. A
// Counter follows the changes of an index, so that its counts cost nothing when they are read,
// whatever the number of targets. Metrics and console show the same counts.
package fleetcounts

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Counts are the counts of one namespace, or the sum of several.
type Counts struct {
	// Objects is the number of objects of all kinds.
	Objects int
	// Targets are the counts of all targets.
	Targets Tally
	// Sets are the counts of the targets by what they have installed: Installed of the target.
	Sets map[string]*Tally
	// Rollouts counts the rollouts by state.
	Rollouts map[v1alpha1.RolloutState]int
	// Stalled counts the objects with the condition Stalled=True.
	Stalled map[Stalled]int
}

// Stalled is a kind of object with the reason of its condition Stalled.
type Stalled struct{ Kind, Reason string }

// Tally counts targets.
type Tally struct {
	Targets int
	// Statuses counts them by status.updateStatus.
	Statuses map[v1alpha1.UpdateStatus]int
	// Problems counts them by problem. One target may count several times.
	Problems map[Problem]int
}

// Counter counts the objects of each namespace. It may be used by several goroutines.
type Counter struct {
	mu         sync.Mutex
	namespaces map[string]*Counts
}

// New returns a counter without objects. Make it a watcher of an index before the index follows the
// caches.
func New() *Counter { return &Counter{namespaces: map[string]*Counts{}} }

// Changed applies a change of an object. old is nil for a new object, now is nil for a deleted one.
func (c *Counter) Changed(old, now client.Object) {
	if old == now {
		return // a set is reported again when one of its modules changes
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old != nil {
		c.count(old, -1)
	}
	if now != nil {
		c.count(now, 1)
	}
}

// Namespaces returns the names of the namespaces that have objects, sorted.
func (c *Counter) Namespaces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.namespaces))
}

// AddTo adds the counts of a namespace to a sum.
func (c *Counter) AddTo(sum *Counts, namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if counts := c.namespaces[namespace]; counts != nil {
		sum.Add(counts)
	}
}

// count adds n to the counts that an object belongs to.
func (c *Counter) count(o client.Object, n int) {
	counts := c.namespaces[o.GetNamespace()]
	if counts == nil {
		counts = NewCounts()
		c.namespaces[o.GetNamespace()] = counts
	}
	switch o := o.(type) {
	case *v1alpha1.Target:
		counts.countTarget(o, n)
	case *v1alpha1.Rollout:
		add(counts.Rollouts, cmp.Or(o.Status.State, v1alpha1.RolloutCreating), n)
	}
	if kind, conditions := ConditionsOf(o); kind != "" && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled) {
		add(counts.Stalled, Stalled{kind, meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled).Reason}, n)
	}
	if counts.Objects += n; counts.Objects == 0 {
		delete(c.namespaces, o.GetNamespace())
	}
}

// NewCounts returns counts of nothing.
func NewCounts() *Counts {
	return &Counts{Targets: newTally(), Sets: map[string]*Tally{}, Rollouts: map[v1alpha1.RolloutState]int{}, Stalled: map[Stalled]int{}}
}

// Add adds other counts, which it does not keep.
func (c *Counts) Add(other *Counts) {
	c.Objects += other.Objects
	c.Targets.add(&other.Targets, 1)
	for set, tally := range other.Sets {
		c.set(set).add(tally, 1)
	}
	addAll(c.Rollouts, other.Rollouts, 1)
	addAll(c.Stalled, other.Stalled, 1)
}

func (c *Counts) set(name string) *Tally {
	tally := c.Sets[name]
	if tally == nil {
		t := newTally()
		tally = &t
		c.Sets[name] = tally
	}
	return tally
}

func (c *Counts) countTarget(t *v1alpha1.Target, n int) {
	status, problems, name := StatusOf(t), ProblemsOf(t), Installed(t)
	set := c.set(name)
	for _, tally := range []*Tally{&c.Targets, set} {
		tally.Targets += n
		add(tally.Statuses, status, n)
		for i, p := range problems {
			if p {
				add(tally.Problems, Problems[i], n)
			}
		}
	}
	if set.Targets == 0 {
		delete(c.Sets, name)
	}
}

func newTally() Tally {
	return Tally{Statuses: map[v1alpha1.UpdateStatus]int{}, Problems: map[Problem]int{}}
}

func (t *Tally) add(other *Tally, n int) {
	t.Targets += n * other.Targets
	addAll(t.Statuses, other.Statuses, n)
	addAll(t.Problems, other.Problems, n)
}

func addAll[K comparable](sum, other map[K]int, n int) {
	for key, count := range other {
		add(sum, key, n*count)
	}
}

// add adds n to a count, and drops it when it is 0.
func add[K comparable](counts map[K]int, key K, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

// ConditionsOf returns the kind and the conditions of an object of a kind that has the condition
// Stalled, or "" for an object of another kind.
func ConditionsOf(o client.Object) (kind string, conditions []metav1.Condition) {
	switch o := o.(type) {
	case *v1alpha1.Rollout:
		return "Rollout", o.Status.Conditions
	case *v1alpha1.DistributionSet:
		return "DistributionSet", o.Status.Conditions
	case *v1alpha1.AutoAssignment:
		return "AutoAssignment", o.Status.Conditions
	case *v1alpha1.SoftwareModule:
		return "SoftwareModule", o.Status.Conditions
	}
	return "", nil
}
