// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

// finished is the end of a rollout to three devices.
type finished struct {
	rollout    *v1alpha1.Rollout
	targets    map[string]*v1alpha1.Target
	events     []devicesim.Event
	replicated bool
}

func newFinished() *finished {
	f := &finished{
		rollout: &v1alpha1.Rollout{
			ObjectMeta: metav1.ObjectMeta{Name: "finishing"},
			Status:     v1alpha1.RolloutStatus{Targets: &v1alpha1.Counts{Targets: 3, Succeeded: 3}},
		},
		targets: map[string]*v1alpha1.Target{},
	}
	for _, name := range []string{"a", "b", "c"} {
		t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name}}
		t.Status.Actions = []v1alpha1.Action{
			{ID: 6, Source: v1alpha1.ActionSource{Name: "earlier"}, DistributionSet: "old", State: v1alpha1.ActionError},
			{ID: 7, Source: v1alpha1.ActionSource{Name: "finishing"}, DistributionSet: "set", State: v1alpha1.ActionFinished, Stage: "closed", Reports: reports},
		}
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "set", ActionID: 7}
		f.targets[name] = t
		f.add(devicesim.Started, name, 7)
		for range reports {
			f.add(devicesim.Reported, name, 7)
		}
		f.add(devicesim.Closed, name, 7)
	}
	return f
}

func (f *finished) add(kind devicesim.Kind, device string, action int) {
	f.events = append(f.events, devicesim.Event{Kind: kind, Device: device, Action: strconv.Itoa(action)})
}

func (f *finished) action() *v1alpha1.Action { return &f.targets["b"].Status.Actions[1] }

// TestFaults checks that the benchmark sees what is lost or stored twice.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*finished)
		want   string // part of the only fault
	}{
		"everything is stored once":                       {func(*finished) {}, ""},
		"a result is not in the counts":                   {func(f *finished) { f.rollout.Status.Targets.Succeeded = 2 }, "counts of rollout finishing"},
		"a result is counted twice":                       {func(f *finished) { f.rollout.Status.Targets.Succeeded = 4 }, "counts of rollout finishing"},
		"a result is counted as a failure, too":           {func(f *finished) { f.rollout.Status.Targets.Failed = 1 }, "counts of rollout finishing"},
		"there are no counts":                             {func(f *finished) { f.rollout.Status.Targets = nil }, "counts of rollout finishing"},
		"a target has lost its action":                    {func(f *finished) { f.targets["b"].Status.Actions = f.targets["b"].Status.Actions[:1] }, "target b has the actions []"},
		"a target has two actions":                        {func(f *finished) { f.targets["b"].Status.Actions[0].Source.Name = "finishing" }, "target b has the actions"},
		"the action of a target has another id":           {func(f *finished) { f.action().ID = 8 }, "device has closed action 7"},
		"a result is lost":                                {func(f *finished) { f.action().State = v1alpha1.ActionRunning }, "want Finished"},
		"a success became a failure":                      {func(f *finished) { f.action().State = v1alpha1.ActionError }, "want Finished"},
		"a report is lost":                                {func(f *finished) { f.action().Reports-- }, "7 reports"},
		"a report is stored twice":                        {func(f *finished) { f.action().Reports++ }, "9 reports"},
		"a report is stored twice by replicas":            {func(f *finished) { f.replicated, f.action().Reports = true, 9 }, "9 reports"},
		"a replica has not stored what it buffered":       {func(f *finished) { f.replicated, f.action().Reports = true, 5 }, ""},
		"the installed set is of an earlier action":       {func(f *finished) { f.targets["b"].Status.Installed.ActionID = 6 }, "installed"},
		"there is no installed set":                       {func(f *finished) { f.targets["b"].Status.Installed = nil }, "installed"},
		"a device started twice":                          {func(f *finished) { f.add(devicesim.Started, "b", 8) }, "device b has started the actions [7 8]"},
		"a device closed its action twice":                {func(f *finished) { f.add(devicesim.Closed, "b", 7) }, "closed the actions [7 7]"},
		"a device sent one report more that was accepted": {func(f *finished) { f.add(devicesim.Reported, "b", 7) }, "sent 9 reports"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFinished()
			c.change(f)
			got := faults(f.rollout, f.targets, f.events, f.replicated)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("the faults are %q, want %q", got, c.want)
			}
		})
	}
	t.Run("many faults are summed up", func(t *testing.T) {
		f := newFinished()
		for i := range 30 {
			f.targets[strconv.Itoa(i)] = &v1alpha1.Target{}
		}
		if got := faults(f.rollout, f.targets, f.events, false); len(got) != maxFaults+1 || got[maxFaults] != "and 21 more" {
			t.Errorf("the faults are %q", got)
		}
	})
}
