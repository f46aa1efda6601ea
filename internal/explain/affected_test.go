// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// An operation shows the devices that it reaches, and what else brings the same set.
func TestAffectedBy(t *testing.T) {
	objects := build.At(noon.Add(-time.Hour))
	running := objects.Rollout("firmware", "set-a", func(r *v1alpha1.Rollout) {
		r.Status.State, r.Status.Targets = v1alpha1.RolloutRunning, &v1alpha1.Counts{Targets: 9, Scheduled: 4, Pending: 2, Failed: 3}
	})
	other := objects.Rollout("other", "set-a", func(r *v1alpha1.Rollout) {
		r.Status.State, r.Status.WaitingFor = v1alpha1.RolloutPaused, &v1alpha1.WaitingFor{Message: "resume"}
	})
	latest := objects.AutoAssignment("latest", "set-a", func(a *v1alpha1.AutoAssignment) {
		a.Status.State, a.Status.Targets = v1alpha1.AutoAssignmentRunning, &v1alpha1.AutoAssignmentTargets{Matched: 5, Started: 2}
	})
	over := objects.Rollout("over", "set-a", func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished })
	ended := objects.AutoAssignment("ended", "set-a", func(a *v1alpha1.AutoAssignment) { a.Status.State = v1alpha1.AutoAssignmentStopped })
	removal := objects.Rollout("removal", "", func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutRunning })
	target := objects.Target("gw-01", func(t *v1alpha1.Target) {
		t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "set-a"}}
	})
	x, err := fleet.Of([]client.Object{running, other, latest, over, ended, removal, target, objects.Rollout("another", "set-b"), objects.DistributionSet("set-a")})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		object  metav1.Object
		verb    operation.Verb
		devices string
		others  string
	}{
		"the stop of a rollout": {running, operation.VerbStop, "4 not started, in groups that have not opened; 2 not started, in open groups; 0 started, in progress; 3 failed",
			"Rollout other: Paused: resume; AutoAssignment latest: Running"},
		"the approval of a rollout":         {running, operation.VerbApprove, "4 not started, in groups that have not opened; 2 not started, in open groups; 0 started, in progress; 3 failed", ""},
		"the pause of an auto-assignment":   {latest, operation.VerbPause, "5 selected; 2 started, in progress; 0 succeeded; 0 failed", "Rollout firmware: Running; Rollout other: Paused: resume"},
		"the stop of a rollout of removals": {removal, operation.VerbStop, "0 not started, in groups that have not opened; 0 not started, in open groups; 0 started, in progress", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := AffectedBy(x, tc.object, tc.verb, noon)
			var devices, others []string
			for _, d := range got.Devices {
				devices = append(devices, fmt.Sprintf("%d %s", d.Count, d.What))
			}
			for _, o := range got.Others {
				others = append(others, fmt.Sprintf("%s %s: %s", o.Kind, o.Name, o.Message))
			}
			if d, o := strings.Join(devices, "; "), strings.Join(others, "; "); d != tc.devices || o != tc.others {
				t.Errorf("devices %q, others %q", d, o)
			}
		})
	}
	held := AffectedBy(x, target, operation.VerbHold, noon)
	if len(held.Others) == 0 || held.Others[0].Kind != string(v1alpha1.SourceTarget) || held.Others[0].Name != "gw-01" || !strings.HasPrefix(held.Others[0].Message, "set-a: ") {
		t.Errorf("the updates of the target are %+v", held.Others)
	}
}
