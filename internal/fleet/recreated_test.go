// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestRecreatedAssignmentsDowngradeNoDevice: an assignment or an auto-assignment of an old set,
// without assignedAt or startAt, was created again at noon, together with a rollout. The device
// reports that it runs the set of the rollout.
func TestRecreatedAssignmentsDowngradeNoDevice(t *testing.T) {
	newModule := built.SoftwareModule("os-new", func(m *v1alpha1.SoftwareModule) { m.Spec.Version = "2" })
	newSet, oldModule := set("new", newModule), built.SoftwareModule("os-old")
	oldSet := set("old", oldModule)
	lastWeek := metav1.NewTime(noon.AddDate(0, 0, -7))
	started := func(r *v1alpha1.Rollout) {
		r.Status = running("newer", newSet, group("newer", 0, "dev")).Status
		r.Status.Groups[0].OpenedAt, r.Status.Groups[0].State = nil, v1alpha1.GroupScheduled
		r.Spec.StartAt = &lastWeek
	}
	for name, tt := range map[string]struct {
		rollout func(*v1alpha1.Rollout)
		target  func(*v1alpha1.Target)
		auto    func(*v1alpha1.AutoAssignment)
		assign  func(*v1alpha1.Target)
		want    offer.Kind
	}{
		"the rollout is about to start":                     {want: offer.Nothing},
		"the rollout has started, its group has not opened": {rollout: started, want: offer.Nothing},
		"the rollout is Stalled, since its order is ambiguous": {rollout: func(r *v1alpha1.Rollout) {
			r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonOrderAmbiguous}}
		}, want: offer.Nothing},
		"the rollout was stopped":                                                     {rollout: func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }, want: offer.Deploy},
		"the rollout is from last week":                                               {rollout: func(r *v1alpha1.Rollout) { started(r); r.CreationTimestamp = lastWeek }, want: offer.Deploy},
		"the rollout selects other targets":                                           {rollout: func(r *v1alpha1.Rollout) { r.Spec.TargetExpression = "target.name == 'x'" }, want: offer.Deploy},
		"the device runs something else":                                              {target: func(t *v1alpha1.Target) { action.ReportInstalled(&t.Status, "other", "hash-of-other", noon) }, want: offer.Deploy},
		"the device has reported nothing":                                             {target: func(t *v1alpha1.Target) { t.Status.Installed = nil }, want: offer.Deploy},
		"the rollout installed it in this cluster, and the others were created later": {rollout: started, target: func(t *v1alpha1.Target) { t.Status.Installed.ActionID = 99 }, want: offer.Deploy},
		"both were assigned later": {rollout: started, auto: func(a *v1alpha1.AutoAssignment) {
			since := metav1.NewMicroTime(noon.Add(time.Hour))
			a.Status.Offering = &v1alpha1.OfferedSet{DistributionSet: "old", Since: &since}
		}, assign: func(t *v1alpha1.Target) { t.Status.Assignment.Since = &metav1.MicroTime{Time: noon.Add(time.Hour)} }, want: offer.Deploy},
	} {
		for kind, isAuto := range map[string]bool{"auto-assignment": true, "assignment": false} {
			t.Run(name+", "+kind, func(t *testing.T) {
				f := newFleet(t)
				r := waitingToStart(noon)
				r.Spec.StartAt, r.Spec.State = nil, v1alpha1.IntentRunning
				if tt.rollout != nil {
					tt.rollout(r)
				}
				a := autoFrom(noon)
				if tt.auto != nil {
					tt.auto(a)
				}
				dev := built.Target("dev", func(t *v1alpha1.Target) { action.ReportInstalled(&t.Status, "new", newSet.Status.ContentHash, noon) })
				if !isAuto {
					since := metav1.NewMicroTime(noon)
					dev.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "old"}}
					dev.Status.Assignment = &v1alpha1.SeenAssignment{DistributionSet: "old", Since: &since}
					if tt.assign != nil {
						tt.assign(dev)
					}
				}
				if tt.target != nil {
					tt.target(dev)
				}
				f.put(oldModule, newModule, oldSet, newSet, dev, r)
				if r.Status.Plan != nil {
					f.put(group("newer", 0, "dev"))
				}
				if isAuto {
					f.put(a)
				}
				for _, after := range []time.Duration{10 * time.Second, 2 * time.Hour} {
					now := noon.Add(after)
					if o := offer.For(f.World(f.Target(fleetKey("dev")), now)); o.Kind != tt.want {
						t.Errorf("after %s it is offered %s (%s), want %s", after, o.Kind, o.Reason.Message, tt.want)
					}
				}
			})
		}
	}
}
