// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/test/world"
)

const removal = `remove: [{group: acme, name: app, version: "1.2"}, {group: acme, name: lib, version: "3"}]`

// reportInventory stores the inventory of a target, as the device API does.
func reportInventory(w *world.World, name string, installed ...v1alpha1.InventorySoftware) {
	w.T.Helper()
	t := w.Target(name)
	o := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Target", Name: t.Name, UID: t.UID}}}}
	if err := w.Client.Create(w.T.Context(), o); err != nil {
		w.T.Fatal(err)
	}
	o.Status = v1alpha1.TargetInventoryStatus{TargetUID: t.Identity(), Installed: installed, ContentsHash: strings.Repeat("0a", 32)}
	if err := w.Client.Status().Update(w.T.Context(), o); err != nil {
		w.T.Fatal(err)
	}
}

// A rollout that removes software from devices that use DDI: each fails with a code and a message
// that says what to do, without a command, and the error threshold pauses the rollout. Targets
// whose inventory has none of the software count as succeeded, also if they report it after their
// group has opened.
func TestRemovalFromDDIDevices(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	names := w.Targets("device", 6, nil)
	fleet, devices := w.Devices(devicesim.Offline, names...)
	w.Eventually("the targets are reconciled", func() string {
		if w.Target(names[0]).Status.UID == "" {
			return "the first has no uid"
		}
		return ""
	})
	reportInventory(w, names[0], v1alpha1.InventorySoftware{Group: "acme", Name: "app", Version: "1.3"})
	reportInventory(w, names[1], v1alpha1.InventorySoftware{Group: "acme", Name: "lib", Version: "3"})
	w.ApplySpec("Rollout", "cleanup", `{update: {`+removal+`}, groupCount: 2, groupOrder: Name, errorThreshold: 20, stabilizationSeconds: 0, startAt: "2026-01-01T00:00:00Z"}`)
	w.EventuallyRollout("cleanup", "has opened its first group, one target of which has none of the software", func(r *v1alpha1.Rollout) bool {
		return groupIs(0, v1alpha1.GroupRunning)(r) && r.Status.Groups[0].Succeeded == 1 && r.Status.Groups[0].Pending == 2
	})
	reportInventory(w, names[2])
	w.EventuallyRollout("cleanup", "counts the target that reports an empty inventory", func(r *v1alpha1.Rollout) bool { return r.Status.Groups[0].Succeeded == 2 })
	if got := w.Kubectl("get", "grollout", "cleanup", "-o", "wide"); !strings.Contains(got, "removal of app 1.2 and 1 more") {
		t.Errorf("kubectl does not show what is removed:\n%s", got)
	}

	bringOnline(t, fleet, names[1])
	failed := w.EventuallyTarget(names[1], "has failed", newest(v1alpha1.ActionError))
	a := action.Newest(&failed.Status)
	if a.StatusCode != v1alpha1.CodeRemoveNotSupported || !strings.Contains(a.FailureMessage, "leave the target out of the selection") || a.StartedAt == nil || !action.IsConsistent(&failed.Status) {
		t.Errorf("the action is %+v", a)
	}
	if started := world.Starts(devices); len(started) > 0 {
		t.Errorf("devices have started something: %v", started)
	}
	r := w.EventuallyRollout("cleanup", "pauses", func(r *v1alpha1.Rollout) bool { return r.Status.State == v1alpha1.RolloutPaused })
	if !strings.Contains(r.Status.PauseMessage, v1alpha1.CodeRemoveNotSupported) {
		t.Errorf("it says %q", r.Status.PauseMessage)
	}
	if got := w.Kubectl("get", "tgt", names[1]); !strings.Contains(got, "removal of app 1.2 and 1 more") || !strings.Contains(got, "Error") {
		t.Errorf("kubectl shows\n%s", got)
	}

	// The next set is installed as if there had been no removal.
	w.Set("firmware-1", "1.0")
	w.ApplySpec("Rollout", "next", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, startAt: "2026-01-02T00:00:00Z"}`)
	w.EventuallyTarget(names[1], "runs the next set", inSync("firmware-1"))
}

// The other two ways to remove software, an assignment and an auto-assignment, on devices that use
// DDI.
func TestRemovalByAssignments(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	names := w.Targets("device", 2, map[string]string{"site": "north"})
	w.Devices(devicesim.Obedient, names...)
	commitTo(w, names[0], `spec: {assignment: {`+removal+`}}`)
	w.EventuallyTarget(names[0], "reports the failure in its condition", func(t *v1alpha1.Target) bool {
		c := world.Condition(t.Status.Conditions, v1alpha1.ConditionAssigned)
		return c != nil && c.Status == metav1.ConditionFalse && c.Reason == "Failed" && strings.Contains(c.Message, v1alpha1.CodeRemoveNotSupported)
	})
	w.ApplySpec("AutoAssignment", "cleanup", `{update: {`+removal+`}, targetSelector: {matchLabels: {site: north}}}`)
	w.EventuallyTarget(names[1], "has failed", newest(v1alpha1.ActionError))
	w.Eventually("the auto-assignment counts", func() string {
		auto := &v1alpha1.AutoAssignment{}
		if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: "cleanup"}, auto); err != nil {
			return err.Error()
		}
		if auto.Status.Update != "removal of app 1.2 and 1 more" || auto.Status.Targets == nil || auto.Status.Targets.Failed == 0 {
			return fmt.Sprintf("the status is %+v", auto.Status)
		}
		return ""
	})
	started := action.Newest(&w.Target(names[1]).Status).ID
	w.EventuallyTarget(names[1], "polls without a second action", func(t *v1alpha1.Target) bool { return action.Newest(&t.Status).ID == started })
}

// A rollout removes software from a fleet: of devices with SoftwareUpdatable two remove all of it,
// and one a part, in the order of an agent that stops at the first failure; a device that uses DDI
// fails, and one that has none of the software needs nothing.
func TestRemovalFromAFleet(t *testing.T) {
	w := world.New(t)
	whole, partly := w.Targets("whole", 2, nil), w.Targets("partly", 1, nil)[0]
	without, polling := w.Targets("without", 1, nil)[0], w.Targets("polling", 1, nil)[0]
	connected(w, whole...)
	removesPartly(w, partly)
	w.Devices(devicesim.Obedient, polling)
	w.EventuallyTarget(without, "is reconciled", func(t *v1alpha1.Target) bool { return t.Status.UID != "" })
	reportInventory(w, without, v1alpha1.InventorySoftware{Group: "acme", Name: "app", Version: "1.3"})
	w.ApplySpec("Rollout", "cleanup", `{update: {`+removal+`}, errorThreshold: 80, stabilizationSeconds: 0}`)
	r := w.EventuallyRollout("cleanup", "has finished", func(r *v1alpha1.Rollout) bool { return r.Status.State == v1alpha1.RolloutFinished })
	if c := r.Status.Targets; c.Succeeded != 3 || c.Failed != 2 {
		t.Errorf("the counts are %+v", *c)
	}
	if a := action.Newest(&w.Target(whole[0]).Status); a.State != v1alpha1.ActionFinished || a.Remove[0].State != v1alpha1.ActionFinished || w.Target(whole[0]).Status.Installed != nil {
		t.Errorf("the removal of all is %+v", a)
	}
	failed := w.Target(partly)
	a := action.Newest(&failed.Status)
	if a.State != v1alpha1.ActionError || a.StatusCode != "17" || a.Remove[0].State != v1alpha1.ActionFinished || a.Remove[1].State != v1alpha1.ActionError {
		t.Errorf("the partial removal is %+v", a)
	}
	if action.IsConsistent(&failed.Status) {
		t.Error("the device that removed a part is consistent")
	}
	if a := action.Newest(&w.Target(polling).Status); a.StatusCode != v1alpha1.CodeRemoveNotSupported {
		t.Errorf("the action of the device that uses DDI is %+v", a)
	}
	if a := action.Newest(&w.Target(without).Status); a != nil {
		t.Errorf("the target without the software has the action %+v", a)
	}
}

// removesPartly connects a device that removes the first entry of a removal, and fails with the
// second one.
func removesPartly(w *world.World, name string) {
	w.T.Helper()
	var client atomic.Pointer[mqtt.Client]
	var running sync.WaitGroup
	publish := func(path string, value any) {
		payload, err := json.Marshal(map[string]any{"topic": w.Namespace + "/" + name + "/things/twin/commands/modify", "headers": map[string]any{"response-required": false}, "path": path, "value": value})
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the last report may outlast the test
			defer cancel()
			err = client.Load().Publish(ctx, mqtt.Message{Topic: "e", Payload: payload})
		}
		if err != nil {
			w.T.Error(err)
		}
	}
	received := func(m mqtt.Message) bool {
		var command struct {
			Value struct {
				CorrelationID string           `json:"correlationId"`
				Software      []map[string]any `json:"software"`
			}
		}
		if !strings.HasPrefix(m.Topic, "command///req/") {
			return true
		}
		if err := json.Unmarshal(m.Payload, &command); err != nil || !strings.HasSuffix(m.Topic, "/remove") || len(command.Value.Software) != 2 {
			w.T.Errorf("%s received %s on %s: %v", name, m.Payload, m.Topic, err)
			return true
		}
		running.Go(func() { // so that this function can receive the acknowledgements
			first, second := command.Value.Software[:1], command.Value.Software[1:]
			for _, s := range []map[string]any{{"status": "REMOVING", "software": first}, {"status": "REMOVED", "software": first}, {"status": "REMOVING", "software": second},
				{"status": "FINISHED_ERROR", "software": second, "statusCode": "17"}, {"status": "FINISHED_SUCCESS", "software": first}} {
				s["correlationId"] = command.Value.CorrelationID
				publish("/features/SoftwareUpdatable/properties/status/lastOperation", s)
			}
		})
		return true
	}
	w.Eventually("a connection of "+name, func() string {
		c, err := mqtt.Connect(w.T.Context(), mqtt.Options{Address: w.MQTT, ClientID: name, User: name + "@" + w.Namespace, Password: world.Token, Received: received})
		if err != nil {
			return err.Error()
		}
		client.Store(c)
		return ""
	})
	w.T.Cleanup(func() { running.Wait(); client.Load().Close() })
	if _, err := client.Load().Subscribe(w.T.Context(), "command///req/#"); err != nil {
		w.T.Fatal(err)
	}
	publish("/features/SoftwareUpdatable", map[string]any{
		"definition": []string{"org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"},
		"properties": map[string]any{"status": map[string]any{"softwareModuleType": "software", "lastOperation": nil}},
	})
}
