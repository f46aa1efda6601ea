// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A rollout that cannot run names the field and the fix in its condition, and runs when the field
// is fixed.
func TestWrongSpecIsNamedAndRecovers(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]struct {
		prepare func(*world.World)
		spec    string
		reason  string
		says    []string
		fix     func(*world.World)
	}{
		"the selector matches nothing": {
			prepare: func(w *world.World) { w.Set("firmware-1", "1.0") },
			spec:    `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, targetSelector: {matchLabels: {site: lyon}}}`,
			reason:  v1alpha1.ReasonNoTargets, says: []string{"spec.targetSelector"},
			fix: func(w *world.World) { w.Kubectl("label", "tgt", "--all", "site=lyon") },
		},
		"the set is unknown": {
			prepare: func(*world.World) {},
			spec:    `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`,
			reason:  v1alpha1.ReasonReferenceNotFound, says: []string{"spec.update.distributionSet", "firmware-1", "create it"},
			fix: func(w *world.World) { w.Set("firmware-1", "1.0") },
		},
		"the set is incomplete": {
			prepare: func(w *world.World) {
				w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: firmware-1}
spec: {name: firmware, version: "1.0", type: full-image, modules: [{name: firmware-1}]}
`)
			},
			spec:   `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1}`,
			reason: v1alpha1.ReasonDistributionSetNotReady, says: []string{"SoftwareModule firmware-1 (spec.modules[0]) does not exist", "create it"},
			fix: func(w *world.World) { w.Set("firmware-1", "1.0") },
		},
		"the expression is wrong": {
			prepare: func(w *world.World) { w.Set("firmware-1", "1.0") },
			spec:    `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, targetExpression: "target.colour == 'red'"}`,
			reason:  v1alpha1.ReasonInvalidExpression, says: []string{"targetExpression", "colour"},
			fix: func(w *world.World) {
				w.CommitRollout("firmware-1", `spec: {targetExpression: "target.name.startsWith('device')"}`)
			},
		},
		"the percentages leave targets over": {
			prepare: func(w *world.World) { w.Set("firmware-1", "1.0") },
			spec:    `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groups: [{name: some, percentage: 30}, {name: more, percentage: 30}]}`,
			reason:  v1alpha1.ReasonTargetsLeftOver, says: []string{"spec.groups"},
			fix: func(w *world.World) {
				w.CommitRollout("firmware-1", `spec: {groups: [{name: some, percentage: 30}, {name: more}]}`)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			names := w.Targets("device", 3, nil)
			_, devices := w.Devices(devicesim.Obedient, names...)
			story.prepare(w)
			w.ApplySpec("Rollout", "firmware-1", story.spec)
			r := w.EventuallyRollout("firmware-1", "is Stalled", func(r *v1alpha1.Rollout) bool {
				return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, story.reason)
			})
			message := world.Condition(r.Status.Conditions, v1alpha1.ConditionStalled).Message
			for _, word := range story.says {
				if !strings.Contains(message, word) {
					t.Errorf("the message of Stalled is %q, want it to contain %q", message, word)
				}
			}
			story.fix(w)
			r = w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
			if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Succeeded: 3}) {
				t.Errorf("counts are %+v", got)
			}
			startedOnce(t, devices, names...)
		})
	}
}
