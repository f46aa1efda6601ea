// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func mark(fields ...string) *v1alpha1.Unreadable {
	return &v1alpha1.Unreadable{Message: "odd", Fields: fields}
}

// TestUndecodableSetIsNeitherValidNorDeleted puts a set or a module that cannot be decoded.
func TestUndecodableSetIsNeitherValidNorDeleted(t *testing.T) {
	linux := built.SoftwareModule("linux")
	fw := set("fw", linux)
	oddSet, oddModule := fw.DeepCopy(), linux.DeepCopy()
	oddSet.Unreadable, oddSet.Spec.Modules = mark("spec.modules"), nil
	oddModule.Unreadable, oddModule.Spec.Artifacts = mark("spec.artifacts"), nil
	for name, put := range map[string]func(*fleet){
		"the set":    func(f *fleet) { f.put(linux, oddSet) },
		"the module": func(f *fleet) { f.put(fw, oddModule) },
	} {
		f := newFleet(t)
		put(f)
		got := f.Set(fleetKey("fw"))
		if got == nil || !got.Unreadable || got.Deployable || got.Changed || got.Transient || !strings.Contains(got.NotDeployable, "cannot be decoded: odd") {
			t.Errorf("%s: %+v", name, got)
		}
		f.put(linux, fw)
		if got := f.Set(fleetKey("fw")); got.Unreadable || !got.Deployable {
			t.Errorf("%s, fixed: %+v", name, got)
		}
	}
}

// TestUndecodableInvalidSetStaysInvalid: an invalidation that can be decoded stays in effect.
func TestUndecodableInvalidSetStaysInvalid(t *testing.T) {
	fw := set("fw")
	fw.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationForce}
	fw.Unreadable = mark("spec.modules", "spec.invalidation")
	f := newFleet(t)
	f.put(fw)
	if got := f.Set(fleetKey("fw")); got.Invalidation != v1alpha1.CancellationForce || got.Deployable {
		t.Errorf("%+v", got)
	}
}
