// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// BenchmarkPlan100000Targets plans three rollouts that share targets.
func BenchmarkPlan100000Targets(b *testing.B) {
	w := World{Namespace: "fleet", Now: noon}
	for i := range 100_000 {
		w.Objects = append(w.Objects, built.Target(fmt.Sprintf("dev-%06d", i), func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"ring": fmt.Sprint(i % 10)}
			t.Status.Attributes = map[string]v1alpha1.AttributeValue{"hw": "B"}
		}))
	}
	w.Manifests = append(w.Manifests, commit(
		withRollout("everywhere", "firmware-2-1", startAt(noon.Add(-time.Hour)), func(r *v1alpha1.Rollout) { r.Spec.GroupCount = new(int32(500)) }),
		withRollout("ring-1", "firmware-2-2", startAt(noon), func(r *v1alpha1.Rollout) {
			r.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": "1"}}
		}),
	)...)
	b.ReportAllocs()
	for b.Loop() {
		plan, err := MakePlan(w)
		if err != nil || plan.Rollouts[0].Targets != 100_000 || plan.Rollouts[1].Overlaps[0].Wins != 10_000 {
			b.Fatal(plan.Rollouts[1].Overlaps, err)
		}
	}
}

// commit returns manifests: a module, the sets firmware-2-1 and firmware-2-2, and what is added.
func commit(added ...client.Object) []client.Object {
	module := manifest(built.SoftwareModule("os-1"))
	out := []client.Object{module}
	for _, name := range []string{"firmware-2-1", "firmware-2-2"} {
		out = append(out, manifest(built.DistributionSet(name, func(s *v1alpha1.DistributionSet) {
			s.Spec.Modules = []v1alpha1.ModuleReference{{Name: module.GetName()}}
			s.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "name", Value: name, VisibleToDevice: true}}
		})))
	}
	return append(out, added...)
}

func withRollout(name, set string, edits ...func(*v1alpha1.Rollout)) client.Object {
	return manifest(built.Rollout(name, set, edits...))
}

func startAt(at time.Time) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Spec.StartAt = &metav1.Time{Time: at} }
}

// manifest removes what only the API server writes.
func manifest(o client.Object) client.Object {
	o.SetUID("")
	o.SetCreationTimestamp(metav1.Time{})
	o.SetGeneration(0)
	return o
}
