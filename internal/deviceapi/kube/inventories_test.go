// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// inventory returns the stored inventory of the first device, or nil.
func (w *world) inventory() *v1alpha1.TargetInventory {
	w.t.Helper()
	o := &v1alpha1.TargetInventory{}
	err := w.server.Get(context.Background(), types.NamespacedName{Namespace: fleetNamespace, Name: "dev-0"}, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// installedOn returns the versions of the software that is stored for the first device.
func (w *world) installedOn() string {
	o := w.inventory()
	if o == nil {
		return "none"
	}
	var versions []string
	for _, e := range o.Status.Installed {
		versions = append(versions, e.Version)
	}
	return strings.Join(versions, " ")
}

func appOf(versions ...string) deviceapi.Inventory {
	i := deviceapi.Inventory{Feature: deviceapi.Feature{ID: "app", SoftwareModuleType: "app"}, Installed: []deviceapi.Software{}}
	for _, v := range versions {
		i.Installed = append(i.Installed, appVersion(v))
	}
	return i
}

func appVersion(v string) deviceapi.Software {
	return deviceapi.Software{Group: "org.example", Name: "app", Version: v}
}

// appEdits are changes of single entries of the feature app.
func appEdits(edits ...deviceapi.SoftwareEdit) deviceapi.Inventory {
	return deviceapi.Inventory{Feature: deviceapi.Feature{ID: "app", SoftwareModuleType: "app"}, Edits: edits}
}

func ended(id, status string) deviceapi.Inventory {
	return deviceapi.Inventory{Feature: deviceapi.Feature{ID: "app", LastOperation: &deviceapi.Operation{CorrelationID: id, Status: status, Module: "app:2"}}}
}

// reports sends reports of the first device, and lets the delay of the write pass.
func (d *deviceAPI) reports(t *testing.T, reported ...deviceapi.Inventory) {
	t.Helper()
	for _, r := range reported {
		if err := d.Inventory(t.Context(), dev0, r); err != nil {
			t.Fatal(err)
		}
	}
	d.w.wait(inventoryDelay)
	d.inventories.flush(t.Context(), false)
}

func TestInventoryIsStoredAndBelongsToTheTarget(t *testing.T) {
	w := newWorld(t, 1)
	edit(w, "dev-0", &v1alpha1.Target{}, func(t *v1alpha1.Target) { t.UID = "uid-0" })
	d := w.deviceAPI(Options{})
	if err := d.Inventory(t.Context(), dev0, appOf("1")); err != nil {
		t.Fatal(err)
	}
	if d.inventories.flush(t.Context(), false); w.inventory() != nil {
		t.Fatal("the inventory was written at once, without what follows it")
	}
	if features, err := d.Features(t.Context(), dev0); err != nil || len(features) != 1 || features[0].SoftwareModuleType != "app" {
		t.Errorf("before the write the features are %+v, %v", features, err)
	}
	d.reports(t, ended("3", "FINISHED_SUCCESS"))
	w.wantWrites(1, "the first report")
	o := w.inventory()
	if w.installedOn() != "1" || o.Status.Features[0].LastOperation.Status != "FINISHED_SUCCESS" || o.Status.ContentsHash == "" || o.Status.Installed[0].Type != "app" {
		t.Errorf("stored is %+v", o.Status)
	}
	if !metav1.IsControlledBy(o, w.target("dev-0")) || o.Annotations[v1alpha1.ArgoIgnoreAnnotation] != "true" || o.Labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue {
		t.Errorf("metadata is %+v", o.ObjectMeta)
	}
	d.sync()
	if f := d.index.Inventory(w.target("dev-0")); !f.Has("org.example", "app", "1") || !f.IsComplete() {
		t.Error("the index does not have the inventory")
	}
	if len(d.inventories.devices) != 0 || d.progress.buffer.used.Load() != 0 {
		t.Errorf("%d devices, %d bytes stay in memory", len(d.inventories.devices), d.progress.buffer.used.Load())
	}
}

func TestWritesOfInventories(t *testing.T) {
	for _, c := range []struct {
		name    string
		reports []deviceapi.Inventory
		writes  int
		want    string
	}{
		{"the same report", []deviceapi.Inventory{appOf("1")}, 0, "1"},
		{"the device reconnects, and replaces its feature with lastOperation null", []deviceapi.Inventory{{Feature: deviceapi.Feature{ID: "app", SoftwareModuleType: "app"}, ReplacesAll: true}}, 0, "1"},
		{"the device reconnects with an old end", []deviceapi.Inventory{ended("3", "FINISHED_SUCCESS")}, 0, "1"},
		{"progress", []deviceapi.Inventory{ended("4", "STARTED"), ended("4", "DOWNLOADING"), ended("4", "INSTALLING")}, 0, "1"},
		{"another version", []deviceapi.Inventory{appOf("2")}, 1, "2"},
		{"a whole update", []deviceapi.Inventory{ended("4", "STARTED"), ended("4", "INSTALLED"), appOf("2"), ended("4", "FINISHED_SUCCESS")}, 1, "2"},
		{"nothing is installed any more", []deviceapi.Inventory{appOf()}, 1, ""},
		{"there and back", []deviceapi.Inventory{appOf("2"), appOf("1")}, 0, "1"},
		{"one entry that is added", []deviceapi.Inventory{appEdits(deviceapi.SoftwareEdit{Software: appVersion("2")})}, 1, "1 2"},
		{"one entry that is there already", []deviceapi.Inventory{appEdits(deviceapi.SoftwareEdit{Software: appVersion("1")})}, 0, "1"},
		{"one entry that replaces another", []deviceapi.Inventory{appEdits(deviceapi.SoftwareEdit{Software: appVersion("2")}), appEdits(deviceapi.SoftwareEdit{Removed: true, Software: appVersion("1")})}, 1, "2"},
		{"one entry that is removed", []deviceapi.Inventory{appEdits(deviceapi.SoftwareEdit{Removed: true, Software: appVersion("1")})}, 1, ""},
		{"one entry that is removed and was not there", []deviceapi.Inventory{appEdits(deviceapi.SoftwareEdit{Removed: true, Software: appVersion("7")})}, 0, "1"},
		{"another feature", []deviceapi.Inventory{{Feature: deviceapi.Feature{ID: "os", SoftwareModuleType: "os"}}}, 1, "1"},
		{"a thing that is replaced by the same features, one after the other", []deviceapi.Inventory{{ReplacesAll: true}, appOf("1")}, 0, "1"},
		{"a thing without features", []deviceapi.Inventory{{ReplacesAll: true}}, 1, ""},
		{"the feature is gone", []deviceapi.Inventory{{Feature: deviceapi.Feature{ID: "app"}, Removed: true}}, 1, ""},
	} {
		for _, hasCache := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the cache has the last write: %t", c.name, hasCache), func(t *testing.T) {
				w := newWorld(t, 1)
				d := w.deviceAPI(Options{})
				d.reports(t, appOf("1"), ended("3", "FINISHED_SUCCESS"))
				if w.wantWrites(1, "the first report"); hasCache {
					d.sync()
				}
				d.reports(t, c.reports...)
				if w.wantWrites(c.writes, c.name); w.installedOn() != c.want {
					t.Errorf("installed is %q, want %q", w.installedOn(), c.want)
				}
			})
		}
	}
}

func TestProgressIsStoredWithTheNextWrite(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.reports(t, appOf("1"))
	d.sync()
	d.reports(t, ended("4", "INSTALLING"))
	d.reports(t, appOf("2"))
	if o := w.inventory().Status.Features[0].LastOperation; o == nil || o.Status != "INSTALLING" {
		t.Errorf("the operation is %+v", o)
	}
}

func TestHistoryNamesTheAction(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.reports(t, appOf("1"))
	state, err := d.State(t.Context(), dev0, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Deployment(t.Context(), dev0, state.DeployID); err != nil {
		t.Fatal(err)
	}
	d.reports(t, appOf("2"))
	history := w.inventory().Status.History
	if len(history) != 1 || history[0].ActionID != state.DeployID || history[0].Source.Name != "rollout" || history[0].Removed[0].Version != "1" {
		t.Errorf("the history is %+v", history)
	}
}

func TestDeviceThatChangesAllTheTimeHasABudgetOfWrites(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	for i := range 200 {
		d.reports(t, appOf(fmt.Sprint(i)))
	}
	most := writeBurst + int(200*inventoryDelay/writeEvery) + 1
	if n := w.takeWrites(); n > most || n < writeBurst {
		t.Errorf("200 changes cost %d writes, want at most %d", n, most)
	}
	w.wait(writeEvery)
	if d.inventories.flush(t.Context(), false); w.installedOn() != "199" {
		t.Errorf("in the end %q is installed", w.installedOn())
	}
	if _, err := d.State(t.Context(), dev0, ""); err != nil {
		t.Errorf("the device cannot be served: %v", err)
	}
}

func TestResultsDoNotWaitForInventories(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	state, err := d.State(t.Context(), dev0, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Deployment(t.Context(), dev0, state.DeployID); err != nil {
		t.Fatal(err)
	}
	d.reports(t, appOf("1"))
	d.sync()
	blocked := make(chan struct{})
	w.set(func(w *world) {
		w.beforeWrite = func(o client.Object) error {
			if _, ok := o.(*v1alpha1.TargetInventory); ok {
				<-blocked
			}
			return nil
		}
	})
	if err := d.Inventory(t.Context(), dev0, appOf("2")); err != nil {
		t.Fatal(err)
	}
	w.wait(inventoryDelay)
	flushed := make(chan struct{})
	go func() { defer close(flushed); d.inventories.flush(context.Background(), false) }()
	if err := d.Report(t.Context(), dev0, action.Report{ID: state.DeployID, Event: action.Succeed}); err != nil {
		t.Fatal(err)
	}
	if a := w.action(state.DeployID); a.State != v1alpha1.ActionFinished {
		t.Errorf("the action is %s", a.State)
	}
	for !func() bool {
		d.inventories.mu.Lock()
		defer d.inventories.mu.Unlock()
		return d.inventories.devices[client.ObjectKey{Namespace: fleetNamespace, Name: "dev-0"}].isWriting
	}() {
		time.Sleep(time.Millisecond)
	}
	if err := d.Inventory(t.Context(), dev0, appOf("1")); err != nil { // while another one is being written
		t.Fatal(err)
	}
	close(blocked)
	<-flushed
	d.reports(t)
	if w.installedOn() != "1" {
		t.Errorf("installed is %q", w.installedOn())
	}
}

func TestInventoryThatWasNotWrittenIsTriedAgain(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	w.set(func(w *world) { w.beforeWrite = func(client.Object) error { return errors.New("no route to host") } })
	d.reports(t, appOf("1"))
	w.set(func(w *world) { w.beforeWrite = nil })
	d.reports(t, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "os"}})
	w.wait(inventoryRetry)
	if d.inventories.flush(t.Context(), false); w.installedOn() != "1" || len(w.inventory().Status.Features) != 2 {
		t.Errorf("stored is %+v", w.inventory().Status)
	}
}

func TestInventoriesAreWrittenAtTheEndOfTheProcess(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	if err := d.Inventory(t.Context(), dev0, appOf("1")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Flush(ctx); err != nil || w.installedOn() != "1" {
		t.Errorf("installed is %q, %v", w.installedOn(), err)
	}
}

func TestReplicasWriteOneInventory(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.deviceAPI(Options{Replicated: true}), w.deviceAPI(Options{Replicated: true})
	a.reports(t, appOf("1"))
	b.reports(t, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "os", SoftwareModuleType: "os"}, Installed: []deviceapi.Software{{Name: "linux", Version: "6"}}})
	if w.installedOn() != "1 6" {
		t.Errorf("installed is %q", w.installedOn())
	}
	conflicts := 0
	w.set(func(w *world) {
		w.beforeWrite = func(client.Object) error {
			if conflicts++; conflicts < 3 {
				return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("targetinventories").GroupResource(), "dev-0", nil)
			}
			return nil
		}
	})
	if a.reports(t, appOf("2")); w.installedOn() != "2 6" {
		t.Errorf("after conflicts installed is %q", w.installedOn())
	}
}

func TestInventoryOfADeletedTarget(t *testing.T) {
	w := newWorld(t, 1)
	edit(w, "dev-0", &v1alpha1.Target{}, func(t *v1alpha1.Target) { t.UID = "first" })
	d := w.deviceAPI(Options{})
	d.reports(t, appOf("1"))
	if err := d.Inventory(t.Context(), dev0, appOf("2")); err != nil {
		t.Fatal(err)
	}
	again := aTarget("dev-0")
	again.UID = "second"
	if err := errors.Join(w.server.Delete(t.Context(), w.target("dev-0")), w.server.Create(t.Context(), again)); err != nil {
		t.Fatal(err)
	}
	d.sync()
	if d.index.Inventory(w.target("dev-0")).IsComplete() {
		t.Error("the inventory of the deleted target counts for the new one")
	}
	if d.reports(t); w.installedOn() != "1" {
		t.Errorf("a report on the deleted target was written: %q", w.installedOn())
	}
	d.reports(t, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "os"}})
	if o := w.inventory(); len(o.Status.Installed) != 0 || !metav1.IsControlledBy(o, again) || o.Status.TargetUID != "second" {
		t.Errorf("the new target has %+v", o)
	}
}

func TestDeletedInventoryIsWrittenAgain(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.reports(t, appOf("1"))
	d.sync()
	d.reports(t, appOf("2"))
	if err := w.server.Delete(t.Context(), w.inventory()); err != nil { // before the cache has the second write
		t.Fatal(err)
	}
	d.sync()
	if d.reports(t, appOf("2")); w.installedOn() != "2" {
		t.Errorf("installed is %q", w.installedOn())
	}
}

func TestUnreadableInventoryIsNotChanged(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.reports(t, appOf("1"))
	w.set(func(w *world) {
		w.afterRead = func(o client.Object) {
			if i, ok := o.(*v1alpha1.TargetInventory); ok {
				i.Unreadable = &v1alpha1.Unreadable{Fields: []string{"status.installed"}}
			}
		}
	})
	if d.reports(t, appOf("2")); w.installedOn() != "1" {
		t.Error("an object that cannot be decoded was changed")
	}
	w.set(func(w *world) { w.afterRead = nil })
	w.wait(unreadablePause)
	if d.inventories.flush(t.Context(), false); w.installedOn() != "2" {
		t.Error("the report was lost")
	}
}

func TestReportsOfInventoriesThatAreRefused(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	if err := d.Inventory(t.Context(), dev0, deviceapi.Inventory{Installed: []deviceapi.Software{}}); !errors.As(err, new(deviceapi.BadRequest)) {
		t.Errorf("a report without a feature: %v", err)
	}
	for i := range v1alpha1.MaxInventoryFeatures {
		d.reports(t, deviceapi.Inventory{Feature: deviceapi.Feature{ID: fmt.Sprint("f", i)}})
	}
	if err := d.Inventory(t.Context(), dev0, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "f17"}}); !errors.Is(err, deviceapi.ErrTooMany) {
		t.Errorf("the 17th feature: %v", err)
	}
	d.progress.buffer.limit = 1
	if err := d.Inventory(t.Context(), dev0, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "f1"}, Installed: appOf("1").Installed}); !errors.Is(err, deviceapi.ErrTooMany) {
		t.Errorf("a report without room in memory: %v", err)
	}
}

func TestSoftwareInAttributesIsStored(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{InventoryPrefix: "sw."})
	send := func(mode deviceapi.AttributesMode, values map[string]*string) {
		t.Helper()
		if err := d.Attributes(t.Context(), dev0, deviceapi.Attributes{Mode: mode, Values: values}); err != nil {
			t.Fatal(err)
		}
		d.reports(t)
		d.sync()
	}
	send(deviceapi.MergeAttributes, map[string]*string{"hw": new("B")})
	if w.inventory() != nil {
		t.Fatal("attributes without software made an inventory")
	}
	send(deviceapi.MergeAttributes, map[string]*string{"sw.org.example.app": new("1")})
	if o := w.inventory(); w.installedOn() != "1" || o.Status.Installed[0].Group != "org.example" || o.Status.ContentsHash == "" {
		t.Errorf("stored is %+v", o)
	}
	w.takeWrites()
	send(deviceapi.MergeAttributes, map[string]*string{"sw.org.example.app": new("1")})
	w.wantWrites(0, "the same attributes")
	send(deviceapi.RemoveAttributes, map[string]*string{"sw.org.example.app": nil})
	if w.installedOn() != "" {
		t.Errorf("after the attribute was removed %q is installed", w.installedOn())
	}
}

// TestInventoriesAddNoWriteOfTargets: a device with 200 entries that reports its software around an
// update costs the same writes of its Target as one that reports none.
func TestInventoriesAddNoWriteOfTargets(t *testing.T) {
	update := func(reports bool) map[string]int {
		w := newWorld(t, 1)
		d := w.deviceAPI(Options{})
		writes := map[string]int{}
		w.set(func(w *world) { w.afterWrite = func(o client.Object) { writes[fmt.Sprintf("%T", o)]++ } })
		report := func(version string, more ...deviceapi.Inventory) {
			if !reports {
				return
			}
			i := appOf(version)
			for n := range 199 {
				i.Installed = append(i.Installed, deviceapi.Software{Group: "org.example", Name: fmt.Sprint("lib", n), Version: "1"})
			}
			d.reports(t, append([]deviceapi.Inventory{i}, more...)...)
			d.sync()
		}
		report("1")
		clear(writes)
		state, err := d.State(t.Context(), dev0, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Deployment(t.Context(), dev0, state.DeployID); err != nil {
			t.Fatal(err)
		}
		report("1", ended("1", "DOWNLOADING"), ended("1", "INSTALLING"))
		report("2", ended("1", "FINISHED_SUCCESS"))
		if err := d.Report(t.Context(), dev0, action.Report{ID: state.DeployID, Event: action.Succeed}); err != nil {
			t.Fatal(err)
		}
		report("2")
		return writes
	}
	with, without := update(true), update(false)
	if with["*v1alpha1.Target"] != without["*v1alpha1.Target"] || with["*v1alpha1.TargetInventory"] != 1 || without["*v1alpha1.TargetInventory"] != 0 {
		t.Errorf("writes with an inventory: %v, without: %v", with, without)
	}
}
