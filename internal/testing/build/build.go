// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package build makes the objects of tests. Each object has the smallest valid content; edits,
// which are functions that change it, add what a test needs. A test world keeps one Objects for the
// metadata that it gives to all its objects.
package build

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Namespace is the namespace of the objects of At.
const Namespace = "fleet"

// PlanHash is the plan of each DeploymentGroup and of each rollout that Running edits.
const PlanHash = "sha256:plan"

// FirstActionID is the ID of the first action of each target.
const FirstActionID = 100

// Objects returns the metadata of the object with that name. Its methods build the object.
type Objects func(name string) metav1.ObjectMeta

// Named gives each object its name only: the test adds the rest of the metadata.
var Named Objects = func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// At builds objects of Namespace that were created at that time and have generation 1. The UID of
// an object is "uid-" and its name.
func At(created time.Time) Objects {
	return func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: Namespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(created), Generation: 1}
	}
}

// edited returns the object after the edits, which it takes in their order.
func edited[T any](o *T, edits []func(*T)) *T {
	for _, edit := range edits {
		edit(o)
	}
	return o
}

// Target returns a target that can be offered updates and whose device has reported nothing.
func (o Objects) Target(name string, edits ...func(*v1alpha1.Target)) *v1alpha1.Target {
	return edited(&v1alpha1.Target{ObjectMeta: o(name), Status: v1alpha1.TargetStatus{NextActionID: FirstActionID}}, edits)
}

// SoftwareModule returns a module of type "os" with version 1 and without artifacts.
func (o Objects) SoftwareModule(name string, edits ...func(*v1alpha1.SoftwareModule)) *v1alpha1.SoftwareModule {
	return edited(&v1alpha1.SoftwareModule{ObjectMeta: o(name), Spec: v1alpha1.SoftwareModuleSpec{Type: "os", Name: name, Version: "1"}}, edits)
}

// DistributionSet returns a set "firmware" whose version is its name. It has no modules and no
// status.
func (o Objects) DistributionSet(name string, edits ...func(*v1alpha1.DistributionSet)) *v1alpha1.DistributionSet {
	return edited(&v1alpha1.DistributionSet{ObjectMeta: o(name), Spec: v1alpha1.DistributionSetSpec{Name: "firmware", Version: name, Type: "full-image"}}, edits)
}

// Modules adds references to modules to a set.
func Modules(names ...string) func(*v1alpha1.DistributionSet) {
	return func(s *v1alpha1.DistributionSet) {
		for _, name := range names {
			s.Spec.Modules = append(s.Spec.Modules, v1alpha1.ModuleReference{Name: name})
		}
	}
}

// Locked adds the modules to a set, which is Ready since that time and locked with their content.
// The hash is offer.ContentHash; this package cannot import it, because the tests of package offer
// use this package.
func Locked(since time.Time, hash func(*v1alpha1.DistributionSet, []*v1alpha1.SoftwareModule) string, modules ...*v1alpha1.SoftwareModule) func(*v1alpha1.DistributionSet) {
	return func(s *v1alpha1.DistributionSet) {
		for _, m := range modules {
			Modules(m.Name)(s)
		}
		s.Status.Locked, s.Status.ContentHash = true, hash(s, modules)
		s.Status.Conditions = append(s.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: metav1.NewTime(since)})
	}
}

// Rollout returns a rollout of the set with that name to all targets. It has not started.
func (o Objects) Rollout(name, set string, edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return edited(&v1alpha1.Rollout{ObjectMeta: o(name), Spec: v1alpha1.RolloutSpec{Update: v1alpha1.Update{DistributionSet: set}}}, edits)
}

// Running gives a rollout the status of a rollout of that content that started, and opened these
// groups, at that time.
func Running(since time.Time, contentHash string, groups ...*v1alpha1.DeploymentGroup) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		started, opened := metav1.NewMicroTime(since), metav1.NewTime(since)
		r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, &started
		r.Status.Plan = &v1alpha1.PlanStatus{Hash: PlanHash, ContentHash: contentHash}
		for _, g := range groups {
			r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: g.Spec.Group, State: v1alpha1.GroupRunning, OpenedAt: &opened,
				Counts: v1alpha1.Counts{Targets: int32(len(g.Spec.Targets))}})
		}
	}
}

// DeploymentGroup returns the group of a rollout with that index, which starts at 0. It is called
// group-1 if the index is 0, and has no members.
func (o Objects) DeploymentGroup(r *v1alpha1.Rollout, index int32, edits ...func(*v1alpha1.DeploymentGroup)) *v1alpha1.DeploymentGroup {
	group := fmt.Sprintf("group-%d", index+1)
	return edited(&v1alpha1.DeploymentGroup{ObjectMeta: o(r.Name + "-" + group), Spec: v1alpha1.DeploymentGroupSpec{
		Rollout: r.Name, RolloutUID: r.UID, Group: group, Index: index, PlanHash: PlanHash}}, edits)
}

// Members adds targets to a group.
func Members(names ...string) func(*v1alpha1.DeploymentGroup) {
	return func(g *v1alpha1.DeploymentGroup) {
		for _, name := range names {
			g.Spec.Targets = append(g.Spec.Targets, v1alpha1.TargetName(name))
		}
	}
}

// AutoAssignment returns an auto-assignment of the set with that name to all targets. It has no
// status.
func (o Objects) AutoAssignment(name, set string, edits ...func(*v1alpha1.AutoAssignment)) *v1alpha1.AutoAssignment {
	return edited(&v1alpha1.AutoAssignment{ObjectMeta: o(name), Spec: v1alpha1.AutoAssignmentSpec{Update: v1alpha1.Update{DistributionSet: set}}}, edits)
}

// Action returns an action of the set with that name.
func Action(id int32, set string, state v1alpha1.ActionState, edits ...func(*v1alpha1.Action)) v1alpha1.Action {
	return *edited(&v1alpha1.Action{ID: id, DistributionSet: set, State: state}, edits)
}
