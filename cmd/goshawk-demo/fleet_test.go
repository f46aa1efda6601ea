// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
)

func TestEveryDeviceHasItsTargetAndToken(t *testing.T) {
	f := newFleet("demo", 200, true)
	if f.tokens.Type != kube.TokenSecretType {
		t.Errorf("the device API does not read Secrets of type %s", f.tokens.Type)
	}
	if got := f.polling(); got != 160 {
		t.Errorf("%d devices poll, want 160", got)
	}
	if without := newFleet("demo", 200, false); without.polling() != 200 {
		t.Errorf("without MQTT %d devices poll, want 200", without.polling())
	}
	names := map[string]bool{}
	for i, target := range f.targets {
		names[target.Name] = true
		token := f.tokens.Data[target.Spec.TokenSecretRef.Key]
		if f.devices[i].ID != target.Name || len(token) == 0 || f.devices[i].Token != string(token) {
			t.Errorf("device %s does not fit target %s", f.devices[i].ID, target.Name)
		}
	}
	if len(names) != 200 || len(f.devices) != 200 || len(f.tokens.Data) != 200 {
		t.Errorf("%d names, %d devices, %d tokens; want 200 of each", len(names), len(f.devices), len(f.tokens.Data))
	}
}

// The demo needs a canary group without failures, and failures in other groups that cause no
// automatic pause.
func TestDefaultSeedCausesNoAutomaticPause(t *testing.T) {
	o, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	behaviors, err := devicesim.ParseMix(mix)
	if err != nil {
		t.Fatal(err)
	}
	r := goodRollout("demo", noon)
	groups, err := grouping.Partition(r, newFleet("demo", o.devices, true).targets, nil)
	if err != nil {
		t.Fatal(err)
	}
	failing := map[string]int{}
	for _, g := range groups {
		for _, name := range g.Targets {
			if behaviors.Choose(o.seed, name) == devicesim.Failing {
				failing[g.Name]++
			}
		}
		if 100*failing[g.Name] > int(*r.Spec.ErrorThreshold)*len(g.Targets) {
			t.Errorf("%d of %d devices of group %s fail, so the rollout would pause", failing[g.Name], len(g.Targets), g.Name)
		}
	}
	if failing["canary"] != 0 || len(failing) < 2 {
		t.Errorf("failing devices by group: %v; want some, and none among the canaries", failing)
	}
}

func TestBadRolloutHasAllTargets(t *testing.T) {
	groups, err := grouping.Partition(badRollout("demo", noon), newFleet("demo", 200, true).targets, nil)
	if err != nil || len(groups) != 1 || len(groups[0].Targets) != 200 {
		t.Errorf("%d groups, error %v; want one group of 200", len(groups), err)
	}
}

func TestFreeName(t *testing.T) {
	tests := map[string]struct {
		taken []string
		want  string
	}{
		"the first demo":                   {[]string{"default", "demolition"}, "demo"},
		"the third demo":                   {[]string{"default", "demo", "demo-2"}, "demo-3"},
		"the second namespace was deleted": {[]string{"demo", "demo-3"}, "demo-2"},
		"the first namespace was deleted":  {[]string{"demo-2"}, "demo"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var taken []corev1.Namespace
			for _, n := range tc.taken {
				taken = append(taken, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}})
			}
			if diff := cmp.Diff(tc.want, freeName(taken)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBothReleasesDifferInContent(t *testing.T) {
	sums := map[string]string{}
	for _, object := range releases("demo") {
		if m, ok := object.(*v1alpha1.SoftwareModule); ok {
			sum := m.Spec.Artifacts[0].Checksums.SHA256
			if other, twice := sums[sum]; twice {
				t.Errorf("modules %s and %s have the same content, so no device would install an update", m.Name, other)
			}
			sums[sum] = m.Name
		}
	}
	if len(sums) != 4 {
		t.Errorf("%d modules, want 4", len(sums))
	}
}
