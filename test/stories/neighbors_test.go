// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

const longAgo, later = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"

// A rollout that cannot start delays no other one, with or without shared targets. The other one is
// applied together with it, is second by its name, and is older by its startAt if it has one.
func TestARolloutThatCannotStartDelaysNoOther(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		neighbor string // its spec without startAt and stabilizationSeconds
		startAt  string // of the other rollout
		theirs   string
	}{
		"its set is missing":                        {neighbor: "update: {distributionSet: nowhere}"},
		"its set is missing, both with startAt":     {neighbor: "update: {distributionSet: nowhere}", startAt: longAgo, theirs: later},
		"its set is invalid":                        {neighbor: "update: {distributionSet: invalid}"},
		"its set is invalid, both with startAt":     {neighbor: "update: {distributionSet: invalid}", startAt: longAgo, theirs: later},
		"its set is invalid, only it has startAt":   {neighbor: "update: {distributionSet: invalid}", theirs: later},
		"its set lacks a module":                    {neighbor: "update: {distributionSet: incomplete}"},
		"it waits for approval":                     {neighbor: "update: {distributionSet: firmware-2}\n  approvalRequired: true"},
		"it waits for approval, both with startAt":  {neighbor: "update: {distributionSet: firmware-2}\n  approvalRequired: true", startAt: longAgo, theirs: later},
		"it is planned, both with startAt":          {neighbor: "update: {distributionSet: firmware-2}\n  state: Planned", startAt: longAgo, theirs: later},
		"it is paused":                              {neighbor: "update: {distributionSet: firmware-2}\n  state: Paused"},
		"it is stopped":                             {neighbor: "update: {distributionSet: firmware-2}\n  state: Stopped"},
		"it selects no targets":                     {neighbor: "update: {distributionSet: firmware-2}\n  targetSelector: {matchLabels: {site: nowhere}}"},
		"it selects other targets by an expression": {neighbor: "update: {distributionSet: firmware-2}\n  targetExpression: target.name.startsWith('other')\n  approvalRequired: true"},
		"its expression is invalid":                 {neighbor: "update: {distributionSet: firmware-2}\n  targetExpression: target.colour == 'red'"},
		"its stabilizationSeconds is one hour":      {neighbor: "update: {distributionSet: firmware-2}\n  stabilizationSeconds: 3600\n  targetSelector: {matchLabels: {kind: other}}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			w.Set("firmware-2", "2.0")
			w.Set("invalid", "3.0")
			w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: incomplete}
spec: {name: firmware, version: "4.0", type: full-image, modules: [{name: nowhere}]}
`)
			w.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "invalid"}}, "spec: {invalidation: {cancellation: None}}")
			names := w.Targets("device", 3, nil)
			w.Targets("other", 1, map[string]string{"kind": "other"})
			w.Devices(devicesim.Obedient, names...)
			rollout := func(name, startAt, spec string) string {
				if startAt != "" {
					spec += fmt.Sprintf("\n  startAt: %q", startAt)
				}
				return "\n---\napiVersion: goshawk.dev/v1alpha1\nkind: Rollout\nmetadata: {name: " + name + "}\nspec:\n  " + spec + "\n"
			}
			started := time.Now()
			w.Apply(rollout("a-neighbor", tt.theirs, tt.neighbor) +
				rollout("b-healthy", tt.startAt, "update: {distributionSet: firmware-1}\n  stabilizationSeconds: 1\n  targetExpression: target.name.startsWith('device')"))
			w.EventuallyRollout("b-healthy", "finishes", world.InState(v1alpha1.RolloutFinished))
			if took := time.Since(started); took > 40*time.Second {
				t.Errorf("it took %s", took)
			}
			for _, name := range names {
				w.EventuallyTarget(name, "runs the set", inSync("firmware-1"))
			}
		})
	}
}

// A new rollout that is created directly after the end of another one is the newer one, also
// without startAt.
func TestANewRolloutRightAfterAFinishedOne(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	names := w.Targets("device", 3, nil)
	w.Devices(devicesim.Obedient, names...)
	for i := 1; i <= 3; i++ {
		name := fmt.Sprintf("firmware-%d", i)
		w.Set(name, fmt.Sprintf("%d.0", i))
		w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: ` + name + `}
spec: {update: {distributionSet: ` + name + `}, stabilizationSeconds: 1}
`)
		r := w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
		if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 3, Succeeded: 3}) {
			t.Errorf("counts of %s are %+v", name, got)
		}
		time.Sleep(1100 * time.Millisecond) // times of creation are whole seconds
	}
}

// A manifest of an old rollout is deleted and created again. Without startAt it waits until a user
// sets startAt.
func TestAnOldRolloutThatIsCreatedAgain(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	names := w.Targets("device", 3, nil)
	_, devices := w.Devices(devicesim.Obedient, names...)
	old := `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 1}
`
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	w.Apply(old)
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	time.Sleep(1100 * time.Millisecond)
	w.ApplySpec("Rollout", "firmware-2", `{update: {distributionSet: firmware-2}, stabilizationSeconds: 1}`)
	w.EventuallyRollout("firmware-2", "finishes", world.InState(v1alpha1.RolloutFinished))
	if err := w.Client.Delete(t.Context(), w.Rollout("firmware-1")); err != nil {
		t.Fatal(err)
	}
	w.Eventually("firmware-1 is gone", func() string {
		err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "firmware-1"}, &v1alpha1.Rollout{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return "it still exists"
	})
	w.Apply(old)
	w.EventuallyRollout("firmware-1", "is ambiguous", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonOrderAmbiguous)
	})
	w.EventuallyPolled(devices, 3, time.Now(), names...)
	for _, name := range names {
		w.EventuallyTarget(name, "runs the newer set", inSync("firmware-2"))
	}
	w.CommitRollout("firmware-1", `spec: {startAt: "`+time.Now().UTC().Format(time.RFC3339)+`"}`)
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	for _, name := range names {
		w.EventuallyTarget(name, "is downgraded by the new startAt", inSync("firmware-1"))
	}
}
