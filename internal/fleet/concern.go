// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// Concern says which devices a change may concern: what they should do next, or who they are, may
// have changed by it. A change of counters or messages concerns none.
type Concern struct {
	Namespace string
	// All means every device of the namespace.
	All bool
	// Devices are controllerIDs, and Targets names of targets. Those need not exist.
	Devices []string
	Targets []v1alpha1.TargetName
	// Rollout adds the devices with an open action of the rollout of this name; empty: none.
	Rollout string
}

// IsEmpty reports whether the change concerns no device.
func (c *Concern) IsEmpty() bool {
	return !c.All && len(c.Devices) == 0 && len(c.Targets) == 0 && c.Rollout == ""
}

// HasOpenAction reports whether the concern includes a target because of its open action.
func (c *Concern) HasOpenAction(t *v1alpha1.Target) bool {
	a := action.Open(&t.Status)
	return c.Rollout != "" && a != nil && a.Source.Kind == v1alpha1.SourceRollout && a.Source.Name == c.Rollout
}

// WatchConcerns adds a function that is called with the concern of every change from now on, after
// the index has applied it. It is not called if the concern is empty.
func (x *Index) WatchConcerns(f func(Concern)) {
	x.watching.Lock()
	defer x.watching.Unlock()
	x.concerned = append(x.concerned, f)
	x.isWatched.Store(true)
}

// tell calls the functions of WatchConcerns. The caller does not hold the lock of the index.
func (x *Index) tell(c Concern) {
	if c.IsEmpty() {
		return
	}
	x.watching.RLock()
	defer x.watching.RUnlock()
	for _, f := range x.concerned {
		f(c)
	}
}

// objects returns both versions of an object, each nil if it does not exist, and its namespace.
func objects[T any, P interface {
	*T
	client.Object
}](old, now client.Object) (before, after P, namespace string) {
	if before, _ = old.(P); before != nil {
		namespace = before.GetNamespace()
	}
	if after, _ = now.(P); after != nil {
		namespace = after.GetNamespace()
	}
	return before, after, namespace
}

// concernOfTarget returns the concern of a change of a target: its device, and the device that it
// was before.
func concernOfTarget(old, now client.Object) Concern {
	before, after, namespace := objects[v1alpha1.Target](old, now)
	c := Concern{Namespace: namespace}
	for _, t := range []*v1alpha1.Target{before, after} {
		if t != nil && !slices.Contains(c.Devices, t.ControllerID()) {
			c.Devices = append(c.Devices, t.ControllerID())
		}
	}
	return c
}

// concernOfRollout returns the concern of a change of a rollout: the members of its groups to which
// it offers something else now. All devices of the namespace are concerned if their updates may
// wait for this rollout. The caller holds the lock.
func (x *Index) concernOfRollout(old, now client.Object) Concern {
	before, after, namespace := objects[v1alpha1.Rollout](old, now)
	c := Concern{Namespace: namespace}
	if !rollout.IsSameCandidate(before, after) {
		c.All = true
		return c
	}
	name := nameOf(old, now)
	if !rollout.RequiresSame(before, after) {
		c.Rollout = name
	}
	for key, g := range x.groups {
		if key.Namespace == namespace && g.Spec.Rollout == name && !rollout.OffersSame(before, after, g) {
			c.Targets = append(c.Targets, g.Spec.Targets...)
		}
	}
	return c
}

// concernOfGroup returns the concern of a change of a group: the members for which it says
// something else now.
func concernOfGroup(old, now client.Object) Concern {
	before, after, namespace := objects[v1alpha1.DeploymentGroup](old, now)
	c := Concern{Namespace: namespace}
	positions, all := rollout.ChangedMembers(before, after)
	for _, g := range []*v1alpha1.DeploymentGroup{before, after} {
		switch {
		case g == nil:
		case all:
			c.Targets = append(c.Targets, g.Spec.Targets...)
		default:
			for _, i := range positions {
				if i < len(g.Spec.Targets) {
					c.Targets = append(c.Targets, g.Spec.Targets[i])
				}
			}
		}
	}
	return c
}

// concernOfAutoAssignment returns the concern of a change of an auto-assignment: all devices of the
// namespace, if it offers something else now.
func concernOfAutoAssignment(old, now client.Object) Concern {
	before, after, namespace := objects[v1alpha1.AutoAssignment](old, now)
	return Concern{Namespace: namespace, All: before == nil || after == nil || !autoassignment.OffersSame(before, after) || (before.Unreadable == nil) != (after.Unreadable == nil)}
}

// concernOfSet returns the concern of a change of a set: all devices of the namespace, if the facts
// about it differ.
func concernOfSet(namespace string, before, after *eligibility.Set) Concern {
	return Concern{Namespace: namespace, All: !isSameSet(before, after)}
}

// isSameSet reports whether the facts about two versions of a set, each of which may be nil, are
// the same to all devices.
func isSameSet(a, b *eligibility.Set) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Modules, y.Modules = nil, nil
	return reflect.DeepEqual(x, y) && slices.EqualFunc(a.Modules, b.Modules, func(m, n *v1alpha1.SoftwareModule) bool {
		return m == n || m.Name == n.Name && (m.Unreadable == nil) == (n.Unreadable == nil) && equality.Semantic.DeepEqual(m.Spec, n.Spec)
	})
}

func nameOf(old, now client.Object) string {
	if now != nil {
		return now.GetName()
	}
	return old.GetName()
}
