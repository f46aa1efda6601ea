// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

// Affected is what an operation on an object reaches: devices by how far they are, and the other
// objects that have to do with it. For an invalidation see Invalidation.
type Affected struct {
	Devices []AffectedCount `json:"devices"`
	// Others are objects that the operation does not change, although they bring the same set, or
	// want an update of the same target.
	Others []RelatedObject `json:"others"`
}

// AffectedCount is a number of devices.
type AffectedCount struct {
	What  string `json:"what"`
	Count int32  `json:"count"`
	// Bucket is the bucket of a rollout that these devices are counted in. Empty: there is none.
	Bucket string `json:"bucket,omitempty"`
}

// RelatedObject is an object that an operation does not change.
type RelatedObject struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Message says how it is, or what it waits for.
	Message string `json:"message"`
}

// AffectedBy returns what an operation on an object reaches.
func AffectedBy(x *fleet.Index, object metav1.Object, verb operation.Verb, now time.Time) Affected {
	var a Affected
	switch o := object.(type) {
	case *v1alpha1.Rollout:
		a.Devices = devicesOf(operation.CountsOf(o))
		if verb == operation.VerbPause || verb == operation.VerbStop {
			a.Others = bringersOf(x, o.Namespace, o.Spec.Update.DistributionSet, "Rollout", o.Name)
		}
	case *v1alpha1.AutoAssignment:
		n := operation.AutoTargets(o)
		a.Devices = []AffectedCount{{What: "selected", Count: n.Matched}, {What: "started, in progress", Count: n.Started}, {What: "succeeded", Count: n.Succeeded}, {What: "failed", Count: n.Failed}}
		if verb == operation.VerbPause {
			a.Others = bringersOf(x, o.Namespace, o.Spec.Update.DistributionSet, "AutoAssignment", o.Name)
		}
	case *v1alpha1.Target:
		a.Others = wantedOf(x, o, now)
	}
	return a
}

func devicesOf(n v1alpha1.Counts) []AffectedCount {
	all := []AffectedCount{
		{"not started, in groups that have not opened", n.Scheduled, "scheduled"}, {"not started, in open groups", n.Pending, "pending"},
		{"started, in progress", n.InProgress, "inProgress"}, {"succeeded", n.Succeeded, "succeeded"}, {"failed", n.Failed, "failed"},
		{"canceled", n.Canceled, "canceled"}, {"skipped", n.Skipped, "skipped"}, {"removed", n.Removed, "removed"},
	}
	always := 3 // the devices that an operation may still reach
	return append(slices.Clone(all[:always]), slices.DeleteFunc(all[always:], func(c AffectedCount) bool { return c.Count == 0 })...)
}

// bringersOf returns the other rollouts and auto-assignments of a namespace that bring a set and
// have not ended.
func bringersOf(x *fleet.Index, namespace, set, kind, name string) []RelatedObject {
	var others []RelatedObject
	add := func(k, n, state, message string) {
		if k == kind && n == name {
			return
		}
		others = append(others, RelatedObject{Kind: k, Name: n, Message: strings.TrimSuffix(state+": "+message, ": ")})
	}
	if set == "" {
		return nil
	}
	for _, r := range x.Rollouts(namespace) {
		state := cmp.Or(r.Status.State, v1alpha1.RolloutCreating)
		if r.Spec.Update.DistributionSet != set || state.IsOver() || r.Unreadable != nil {
			continue
		}
		message := ""
		if r.Status.WaitingFor != nil {
			message = r.Status.WaitingFor.Message
		}
		add("Rollout", r.Name, string(state), message)
	}
	for _, a := range x.AutoAssignments(namespace) {
		state := cmp.Or(a.Status.State, v1alpha1.AutoAssignmentReady)
		if a.Spec.Update.DistributionSet == set && state != v1alpha1.AutoAssignmentStopped && a.Unreadable == nil {
			add("AutoAssignment", a.Name, string(state), "")
		}
	}
	slices.SortFunc(others, func(a, b RelatedObject) int {
		return cmp.Or(-strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return others
}

// wantedOf returns the updates that a target can still get.
func wantedOf(x *fleet.Index, t *v1alpha1.Target, now time.Time) []RelatedObject {
	var wanted []RelatedObject
	why := Why(x, t, "", now)
	for i := range why.Updates {
		u := &why.Updates[i]
		if u.Final {
			continue
		}
		name := cmp.Or(u.Source.Name, t.Name)
		wanted = append(wanted, RelatedObject{Kind: string(u.Source.Kind), Name: name, Message: u.Update + ": " + u.Message})
	}
	return wanted
}
