// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

func anywhere(string) bool { return true }

func TestSearchFindsTheBestFirst(t *testing.T) {
	objects := build.At(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	other := objects.Target("pump-7")
	other.Namespace = "plant"
	all := []client.Object{
		objects.Rollout("firmware-2", "set-2"), objects.Rollout("old-firmware-2", "set-1"), objects.Rollout("firmware-21", "set-3"),
		objects.DistributionSet("set-2", func(s *v1alpha1.DistributionSet) { s.Spec.Name, s.Spec.Version = "Gateway OS", "2.1.0" }),
		objects.SoftwareModule("os-2", func(m *v1alpha1.SoftwareModule) { m.Spec.Name, m.Spec.Version = "kernel", "6.1" }),
		objects.Target("pump-1", func(t *v1alpha1.Target) { t.Spec.ControllerID = "SN-0042" }), objects.Target("pump-7"), other,
		objects.AutoAssignment("new-pumps", "set-2"),
	}
	for i := range 500 {
		all = append(all, objects.Target(fmt.Sprintf("sensor-%03d", i)))
	}
	x, err := fleet.Of(all)
	if err != nil {
		t.Fatal(err)
	}
	everything := SearchScope{anywhere, anywhere, anywhere, anywhere, anywhere}
	for _, c := range []struct {
		name, searched string
		scope          SearchScope
		want           string
	}{
		{"an exact name comes before longer ones", "firmware-2", everything, "rollouts 3: fleet/firmware-2 fleet/firmware-21"},
		{"in any case", "FIRMWARE-21", everything, "rollouts 1: fleet/firmware-21"},
		{"a target by its controllerID", "sn-0042", everything, "targets 1: fleet/pump-1"},
		{"a set by its software", "gateway os 2.1", everything, "sets 1: fleet/set-2"},
		{"a module by its version", "6.1", everything, "modules 1: fleet/os-2"},
		{"what uses a set, and the set", "set-2", everything, "rollouts 1: fleet/firmware-2; sets 1: fleet/set-2; autoassignments 1: fleet/new-pumps"},
		{"a name in one namespace", "plant/pump", everything, "targets 1: plant/pump-7"},
		{"many, of which the first are shown", "sensor", everything, "targets 500: fleet/sensor-000 fleet/sensor-001"},
		{"nothing", "nothing-like-this", everything, ""},
		{"only namespaces that are searched", "pump-7", SearchScope{anywhere, anywhere, anywhere, func(n string) bool { return n == "plant" }, anywhere}, "targets 1: plant/pump-7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Search(x, c.searched, c.scope, 2)
			var got []string
			for _, kind := range []struct {
				name  string
				found Found
			}{{"rollouts", r.Rollouts}, {"sets", r.Sets}, {"modules", r.Modules}, {"targets", r.Targets}, {"autoassignments", r.AutoAssignments}} {
				if kind.found.Total == 0 {
					continue
				}
				text := fmt.Sprintf("%s %d:", kind.name, kind.found.Total)
				for _, h := range kind.found.Hits {
					text += fmt.Sprintf(" %s/%s", h.Namespace, h.Name)
				}
				got = append(got, text)
			}
			if joined := strings.Join(got, "; "); joined != c.want {
				t.Errorf("got  %s\nwant %s", joined, c.want)
			}
		})
	}
}
