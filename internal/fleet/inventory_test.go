// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// report stores the software of a target, compressed as in the caches.
func (f *fleet) report(target *v1alpha1.Target, versions ...string) {
	f.t.Helper()
	o := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: target.Namespace, Name: target.Name}}
	o.Status.TargetUID = target.Identity()
	for _, version := range versions {
		o.Status.Installed = append(o.Status.Installed, v1alpha1.InventorySoftware{Name: "driver", Version: version})
	}
	o.Compress()
	if f.inventories.Load() == nil {
		f.inventories.Store(new(toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)))
	}
	old := f.InventoryObject(types.NamespacedName{Namespace: target.Namespace, Name: target.Name})
	must(f.t, (*f.inventories.Load()).Add(o))
	f.setInventory(orNil(old), o)
}

// TestSelectionFollowsTheSoftware: an auto-assignment whose expression reads software selects the
// targets that have reported it.
func TestSelectionFollowsTheSoftware(t *testing.T) {
	f := newFleet(t)
	var concerns []Concern
	f.WatchConcerns(func(c Concern) { concerns = append(concerns, c) })
	sw := built.SoftwareModule("linux")
	a, other := built.Target("a"), built.Target("b")
	f.put(sw, set("old", sw), a, other)
	f.report(a, "1.0.0")
	if f.SelectionFingerprint(a) != "" || f.ReadsInventory(a.Namespace) {
		t.Error("no expression reads software")
	}
	auto := autoFrom(noon)
	auto.Spec.TargetSelector, auto.Spec.TargetExpression = nil, `target.software.exists(s, s.name == "driver" && semver(s.version).isGreaterThan(semver("1.9.0")))`
	f.put(auto)
	selecting := func(target *v1alpha1.Target) int { return len(f.Selecting(target)) }
	if selecting(a) != 0 || !f.ReadsInventory(a.Namespace) || f.ReadsInventory("elsewhere") {
		t.Error("version 1.0.0 is selected, or the expression does not count as reading software")
	}
	before := f.SelectionFingerprint(a)
	concerns = nil
	f.report(a, "1.10.0")
	if selecting(a) != 1 || selecting(other) != 0 || len(f.For(a, noon.Add(time.Hour))) != 1 || f.SelectionFingerprint(a) == before || f.SelectionFingerprint(other) != "" {
		t.Error("version 1.10.0 is not selected")
	}
	f.report(a, "1.10.0")
	if diff := cmp.Diff([]Concern{{Namespace: a.Namespace, Targets: []v1alpha1.TargetName{"a"}}}, concerns); diff != "" {
		t.Errorf("concerns (-want +got):\n%s", diff)
	}
	again := a.DeepCopy()
	again.UID, again.Status.UID = "another", ""
	if selecting(again) != 0 {
		t.Error("the software of a deleted target selects the new one")
	}
}

// TestMemoryOfInventories: 5000 targets with 200 entries each, with the versions of five releases
// and one serial number for each device, stay below the size that docs/operations.md states.
func TestMemoryOfInventories(t *testing.T) {
	const targets, entries, stated = 5000, 200, 24 << 20
	store := make([]*v1alpha1.TargetInventory, targets)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range store {
		o := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: fmt.Sprint("target-", i)}}
		for n := range entries - 1 {
			o.Status.Installed = append(o.Status.Installed, v1alpha1.InventorySoftware{Feature: "os", Group: "org.example.os", Name: fmt.Sprint("library-", n), Version: fmt.Sprintf("%d.0.%d", i%5, n), Type: "deb"})
		}
		o.Status.Installed = append(o.Status.Installed, v1alpha1.InventorySoftware{Feature: "os", Name: "serial", Version: fmt.Sprint("SN", i)})
		o.Status.Features = []v1alpha1.InventoryFeature{{ID: "os", SoftwareModuleType: "deb", Definition: "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"}}
		o.Compress()
		store[i] = o
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int(after.HeapAlloc) - int(before.HeapAlloc)
	t.Logf("%d targets with %d entries take %d KiB, %d bytes each", targets, entries, used>>10, used/targets)
	if used > stated {
		t.Errorf("the inventories take %d bytes, stated are %d", used, stated)
	}
	runtime.KeepAlive(store)
}
