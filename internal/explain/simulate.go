// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/rollout/counting"
)

// World is a namespace, and manifests that would be applied to it.
type World struct {
	Namespace string
	// Now is the time at which the manifests would be applied.
	Now time.Time
	// RequireApproval is the manager's --require-approval.
	RequireApproval bool
	// Objects of the namespace with their status, as the API server returns them.
	Objects []client.Object
	// Manifests that are applied, with the defaults that the API server fills in.
	Manifests []client.Object
}

// How applying the manifests changes an object.
const (
	New       = "New"
	Changed   = "Changed"
	Unchanged = "Unchanged"
	// Present is an object of the namespace that is not among the manifests.
	Present = "Present"
)

// simulation applies manifests to a copy of a namespace, and lets the planners of the controllers
// run until nothing changes any more, or time alone does not change anything soon.
type simulation struct {
	World
	index *fleet.Index
	// content has the modules and sets after the manifests were applied.
	content []client.Object
	// change has New, Changed or Unchanged for each manifest.
	change map[objectKey]string
	// warnings of the planner, by rollout.
	warnings map[string][]Warning
}

// objectKey names an object within a namespace.
type objectKey struct{ kind, name string }

func keyFor(o client.Object) objectKey {
	return objectKey{reflect.TypeOf(o).Elem().Name(), o.GetName()}
}

// simulate returns the namespace after the manifests were applied.
func simulate(w World) (*simulation, error) {
	s := &simulation{World: w, change: map[objectKey]string{}, warnings: map[string][]Warning{}}
	s.Now = s.Now.UTC().Truncate(time.Second)
	var err error
	if s.index, err = fleet.Of(s.applied()); err != nil {
		return nil, err
	}
	for _, step := range []func() error{s.runAutoAssignments, s.runRollouts} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// applied returns the objects after the manifests were applied, and after the controllers of
// targets, modules and sets have seen them. Objects of other namespaces and kinds are left out.
func (s *simulation) applied() []client.Object {
	objects := map[objectKey]client.Object{}
	for _, o := range s.Objects {
		if o.GetNamespace() == s.Namespace && isOurs(o) {
			objects[keyFor(o)] = o
		}
	}
	for _, m := range s.Manifests {
		if !isOurs(m) {
			continue
		}
		key := keyFor(m)
		objects[key], s.change[key] = s.overlaid(objects[key], m)
	}
	list := make([]client.Object, 0, len(objects))
	for _, o := range objects {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b client.Object) int {
		ka, kb := keyFor(a), keyFor(b)
		return cmp.Or(cmp.Compare(ka.kind, kb.kind), cmp.Compare(ka.name, kb.name))
	})
	s.reconcileContent(list)
	for _, o := range list {
		switch o.(type) {
		case *v1alpha1.SoftwareModule, *v1alpha1.DistributionSet:
			s.content = append(s.content, o)
		}
	}
	return list
}

func isOurs(o client.Object) bool {
	switch o.(type) {
	case *v1alpha1.Target, *v1alpha1.TargetInventory, *v1alpha1.SoftwareModule, *v1alpha1.DistributionSet, *v1alpha1.Rollout, *v1alpha1.DeploymentGroup, *v1alpha1.AutoAssignment:
		return true
	}
	return false
}

// overlaid returns an object after the manifest was applied, and how that changes it. old is nil if
// there is none. Labels and annotations become those of the manifest.
func (s *simulation) overlaid(old, manifest client.Object) (client.Object, string) {
	now := manifest.DeepCopyObject().(client.Object)
	now.SetNamespace(s.Namespace)
	if old == nil {
		now.SetUID(types.UID(fmt.Sprintf("new:%s/%s", keyFor(manifest).kind, manifest.GetName())))
		now.SetCreationTimestamp(metav1.NewTime(s.Now))
		now.SetGeneration(1)
		reflect.ValueOf(now).Elem().FieldByName("Status").SetZero()
		return now, New
	}
	spec, oldSpec := reflect.ValueOf(now).Elem().FieldByName("Spec"), reflect.ValueOf(old).Elem().FieldByName("Spec")
	if spec.IsValid() && equality.Semantic.DeepEqual(spec.Interface(), oldSpec.Interface()) && equality.Semantic.DeepEqual(old.GetLabels(), now.GetLabels()) {
		return old, Unchanged
	}
	next := old.DeepCopyObject().(client.Object)
	next.SetLabels(now.GetLabels())
	next.SetAnnotations(now.GetAnnotations())
	if spec.IsValid() && !equality.Semantic.DeepEqual(spec.Interface(), oldSpec.Interface()) {
		reflect.ValueOf(next).Elem().FieldByName("Spec").Set(spec)
		if unreadable := reflect.ValueOf(next).Elem().FieldByName("Unreadable"); unreadable.IsValid() {
			unreadable.SetZero() // the manifest was accepted, so the object can be decoded
		}
		next.SetGeneration(old.GetGeneration() + 1)
	}
	return next, Changed
}

// reconcileContent gives new and changed targets, modules and sets the status that their
// controllers would write. Objects that change are replaced in the list.
func (s *simulation) reconcileContent(list []client.Object) {
	modules, devices := map[string]*v1alpha1.SoftwareModule{}, map[string]*v1alpha1.Target{}
	for i, o := range list {
		switch o := o.(type) {
		case *v1alpha1.SoftwareModule:
			if s.isApplied(o) {
				o = o.DeepCopy()
				s.ready(&o.Status.Conditions, "")
				list[i] = o
			}
			modules[o.Name] = o
		case *v1alpha1.Target:
			if s.isApplied(o) {
				o = s.reconciledTarget(o)
				list[i] = o
			}
			if first := devices[o.ControllerID()]; first == nil || isOlder(o, first) {
				devices[o.ControllerID()] = o
			}
		}
	}
	for i, o := range list {
		switch o := o.(type) {
		case *v1alpha1.DistributionSet:
			list[i] = s.reconciledSet(o, modules)
		case *v1alpha1.Target:
			if s.isApplied(o) && devices[o.ControllerID()] != o {
				meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDuplicate,
					Message: fmt.Sprintf("target %s is older and has the same controllerID %q", devices[o.ControllerID()].Name, o.ControllerID())})
			}
		}
	}
}

// isApplied reports whether a manifest creates or changes the object.
func (s *simulation) isApplied(o client.Object) bool {
	change := s.change[keyFor(o)]
	return change == New || change == Changed
}

func isOlder(a, b client.Object) bool {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(at.Compare(bt.Time), cmp.Compare(a.GetName(), b.GetName())) < 0
}

func (s *simulation) ready(list *[]metav1.Condition, problem string) {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: metav1.NewTime(s.Now)}
	if problem != "" {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonIncomplete, problem
	}
	meta.SetStatusCondition(list, c)
	meta.RemoveStatusCondition(list, v1alpha1.ConditionReconciling)
}

func (s *simulation) reconciledTarget(t *v1alpha1.Target) *v1alpha1.Target {
	t = t.DeepCopy()
	now := metav1.NewMicroTime(s.Now)
	action.StartIDs(&t.Status, s.Now)
	t.Status.SelectionChangedAt = &now
	t.Status.Assignment = offer.NoteAssignment(t.Spec.Assignment, t.Status.Assignment, s.Now)
	return t
}

// reconciledSet returns a set as its controller would leave it if something deploys it.
func (s *simulation) reconciledSet(set *v1alpha1.DistributionSet, modules map[string]*v1alpha1.SoftwareModule) *v1alpha1.DistributionSet {
	set = set.DeepCopy()
	list := make([]*v1alpha1.SoftwareModule, len(set.Spec.Modules))
	for i, ref := range set.Spec.Modules {
		list[i] = modules[ref.Name]
	}
	if i := set.Spec.Invalidation; i != nil && set.Status.Invalidation == nil {
		now := metav1.NewTime(s.Now)
		set.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: i.Cancellation, ObservedAt: &now}
	}
	if set.Status.Locked && set.Status.ContentHash != "" {
		if s.isStored(set) && !meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionReady) {
			s.ready(&set.Status.Conditions, "") // a difference from the locked content is found by its hash
		}
		return set
	}
	if gap := offer.GapIn(set, list); gap != nil {
		s.ready(&set.Status.Conditions, gap.Message)
		return set
	}
	s.ready(&set.Status.Conditions, "")
	set.Status.Locked, set.Status.ContentHash = true, offer.ContentHash(set, list)
	meta.SetStatusCondition(&set.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionLocked, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInUse, LastTransitionTime: metav1.NewTime(s.Now)})
	return set
}

// isStored reports whether the set is not held for another reason than its content, such as an
// older set of the same identity.
func (s *simulation) isStored(set *v1alpha1.DistributionSet) bool {
	c := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionReady)
	return c == nil || c.Reason == v1alpha1.ReasonContentChanged || c.Reason == v1alpha1.ReasonReferenceNotFound
}

// runAutoAssignments lets the planner of each auto-assignment run once.
func (s *simulation) runAutoAssignments() error {
	for _, a := range s.index.AutoAssignments(s.Namespace) {
		if a.Unreadable != nil || !a.DeletionTimestamp.IsZero() {
			continue
		}
		snapshot := autoassignment.Snapshot{Now: s.Now.Add(arrival), AutoAssignment: a, Set: s.index.SetOf(a.Namespace, &a.Spec.Update)}
		if err := s.index.SelectionError(client.ObjectKeyFromObject(a)); err != nil {
			snapshot.SelectionError = "spec." + err.Error()
		}
		if a.Status.Targets != nil {
			snapshot.Counts = *a.Status.Targets
		}
		next := a.DeepCopy()
		next.Status = autoassignment.Next(snapshot).Status
		if err := s.index.Put(next); err != nil {
			return err
		}
	}
	return nil
}

const (
	// arrival is how long GitOps tools may take to apply all manifests of a commit; until then no
	// planner treats a missing set as a problem.
	arrival = 5 * time.Second
	// horizon is how long the simulation lets time pass: a plan waits for quiet targets for ten
	// minutes at most, and the order of rollouts is decided within a minute.
	horizon = 12 * time.Minute
	// maxRounds bounds the simulation.
	maxRounds = 1000
)

// runRollouts lets the planner run for all rollouts that have not started, until each of them has
// started or waits for something else than time.
func (s *simulation) runRollouts() error {
	now, end := s.Now, s.Now.Add(horizon)
	for _, r := range s.index.Rollouts(s.Namespace) {
		if r.Spec.StabilizationSeconds != nil {
			end = latest(end, s.Now.Add(horizon+time.Duration(*r.Spec.StabilizationSeconds)*time.Second))
		}
	}
	for range maxRounds {
		changed, wake := false, end
		for _, r := range s.index.RolloutsInOrder(s.Namespace) {
			if !isWaiting(r) {
				continue
			}
			again, after, err := s.reconcile(r, now)
			if err != nil {
				return err
			}
			changed = changed || again
			if after > 0 && now.Add(after).Before(wake) {
				wake = now.Add(after)
			}
		}
		if changed {
			continue
		}
		if !wake.Before(end) {
			return nil
		}
		now = wake
	}
	return fmt.Errorf("the rollouts of namespace %s do not come to rest within %d rounds", s.Namespace, maxRounds)
}

// isWaiting reports whether a rollout has not started and may do so.
func isWaiting(r *v1alpha1.Rollout) bool {
	return r.Status.StartedAt == nil && r.Unreadable == nil && r.DeletionTimestamp.IsZero() && !rollout.IsOver(r)
}

// reconcile carries out one plan of a rollout. It reports whether that changed anything, and after
// which time alone changes the plan.
func (s *simulation) reconcile(r *v1alpha1.Rollout, now time.Time) (changed bool, after time.Duration, err error) {
	snapshot := s.index.Snapshot(r, now, func(*v1alpha1.Rollout, *v1alpha1.DeploymentGroup) counting.Tally { return counting.Tally{} })
	snapshot.RequireApproval = s.RequireApproval
	plan := rollout.Next(snapshot)
	for _, g := range plan.Create {
		g.UID, g.CreationTimestamp = types.UID("new:DeploymentGroup/"+g.Name), metav1.NewTime(now)
		if err := s.index.Put(g); err != nil {
			return false, 0, err
		}
	}
	for _, e := range plan.Events {
		if e.Type == "Warning" {
			s.warn(r.Name, e.Reason, e.Message)
		}
	}
	if len(plan.Create) == 0 && equality.Semantic.DeepEqual(r.Status, plan.Status) {
		return false, plan.RecheckAfter, nil
	}
	next := *r
	next.Status = plan.Status
	return true, plan.RecheckAfter, s.index.Put(&next)
}

func (s *simulation) warn(rollout, reason, message string) {
	w := Warning{Reason: reason, Message: message}
	if !slices.Contains(s.warnings[rollout], w) {
		s.warnings[rollout] = append(s.warnings[rollout], w)
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
