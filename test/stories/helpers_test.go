// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// stepsOf sets the duration of each of the four steps of an update.
func stepsOf(d time.Duration) func(*devicesim.Config) {
	return func(c *devicesim.Config) { c.StepTime = d }
}

// bringOnline makes offline devices obedient.
func bringOnline(t testing.TB, fleet *devicesim.Fleet, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := fleet.SetBehavior(name, devicesim.Obedient); err != nil {
			t.Error(err)
		}
	}
}

// startedOnce fails the test unless each device has started exactly once.
func startedOnce(t testing.TB, devices *devicesim.Recorder, names ...string) {
	t.Helper()
	started := world.Starts(devices)
	for _, name := range names {
		if started[name] != 1 {
			t.Errorf("device %s started %d times, want once", name, started[name])
		}
	}
}

// inSync reports whether the target has this set installed and no open action.
func inSync(set string) func(*v1alpha1.Target) bool {
	return func(t *v1alpha1.Target) bool {
		return t.Status.UpdateStatus == v1alpha1.UpdateStatusInSync && t.Status.Installed != nil && t.Status.Installed.DistributionSet == set
	}
}

// newest reports whether the newest action of a target is in one of these states.
func newest(states ...v1alpha1.ActionState) func(*v1alpha1.Target) bool {
	return func(t *v1alpha1.Target) bool {
		a := action.Newest(&t.Status)
		return a != nil && slices.Contains(states, a.State)
	}
}

// groupIs reports whether a group is in one of these states.
func groupIs(i int, states ...v1alpha1.GroupState) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool {
		return i < len(r.Status.Groups) && slices.Contains(states, r.Status.Groups[i].State)
	}
}

func together(parts ...[]string) []string { return slices.Concat(parts...) }

// noGroups waits until the namespace has no deployment group left.
func noGroups(w *world.World) {
	w.T.Helper()
	w.Eventually("the groups are gone", func() string {
		if groups := w.Groups(); len(groups) > 0 {
			return fmt.Sprintf("%d groups, the first is %s of rollout %s", len(groups), groups[0].Name, groups[0].Spec.Rollout)
		}
		return ""
	})
}

// commitTo changes a target by a merge patch.
func commitTo(w *world.World, name, patch string) {
	w.T.Helper()
	w.Commit(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name}}, patch)
}

func decimal(id int32) string { return strconv.Itoa(int(id)) }
