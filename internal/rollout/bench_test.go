// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// BenchmarkNext calls Next for a rollout of 100 000 targets in 500 groups in which only counts have
// changed.
func BenchmarkNext(b *testing.B) {
	w := newWorld(b, 0, func(s *v1alpha1.RolloutSpec) { s.GroupCount, s.SuccessThreshold = num(500), num(0) })
	for i := range 100000 {
		w.addTarget(fmt.Sprintf("dev-%06d", i))
	}
	for w.state() != v1alpha1.RolloutRunning {
		w.apply(Next(w.snapshot()))
	}
	w.apply(Next(w.snapshot()))
	s := w.snapshot()
	b.ReportAllocs()
	for b.Loop() {
		if p := Next(s); p.Decided {
			b.Fatal("something was decided")
		}
	}
}
