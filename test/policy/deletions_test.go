// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// deleters may delete all kinds. Their names say what other rights they have.
var deleters = map[string][]rbacv1.PolicyRule{
	"deleter":              nil,
	"deleter-canceler":     {rule("cancel", "targets")},
	"deleter-forcer":       {rule("forcecancel", "targets")},
	"deleter-all":          {rule("cancel forcecancel", "targets")},
	"deleter-with-updates": {rule("update patch", "softwaremodules", "distributionsets", "targets", "rollouts")},
}

// bindDeleters gives the deleters their rights in the namespace.
func (f *fleet) bindDeleters(t *testing.T) {
	t.Helper()
	for person, more := range deleters {
		f.bindRules(t, person, append(more, rule("get list delete deletecollection", "softwaremodules", "distributionsets", "targets", "rollouts", "autoassignments"))...)
	}
}

const (
	toStop        = " on targets" + toStopper
	deletesSet    = "the deletion of distributionsets/NAME cancels on devices that have started it (status.locked) and needs the verb cancel" + toStop + "keep it"
	deletesModule = "the deletion of softwaremodules/NAME cancels on devices that have started it (status.locked) and needs the verb cancel" + toStop + "keep it"
	deletesTarget = "the deletion of targets/NAME ends the update that its device has started (status.actions) and needs the verb cancel" + toStop +
		"wait until the device has reported its result"
	deletesSoft = "the deletion of rollouts/NAME cancels on devices that have started (spec.deletionCancellation Soft) and needs the verb cancel" + toStop +
		"set spec.deletionCancellation to None first"
	deletesForce = "the deletion of rollouts/NAME cancels on devices that have started (spec.deletionCancellation Force) and needs the verb forcecancel" + toStop +
		"set spec.deletionCancellation to None first"

	anyone    = "deleter deleter-canceler deleter-forcer deleter-all deleter-with-updates"
	cancelers = "deleter-canceler deleter-all"
	forcers   = "deleter-forcer deleter-all"
)

// deletions are deletions of objects with this spec and status, with the users who may make them.
var deletions = map[string]map[string]edit{
	"SoftwareModule": {
		"a module that was never deployed": {may: anyone},
		"a module of a set in use":         {status: `{locked: true}`, may: cancelers, refused: deletesModule},
	},
	"DistributionSet": {
		"a set that was never deployed":        {status: `{locked: false}`, may: anyone},
		"a set in use":                         {status: `{locked: true}`, may: cancelers, refused: deletesSet},
		"a set in use that is invalid: None":   {given: `{invalidation: {cancellation: None}}`, status: `{locked: true}`, may: cancelers, refused: deletesSet},
		"an invalid set that was never in use": {given: `{invalidation: {cancellation: None}}`, may: anyone},
	},
	"Target": {
		"a target without status":                  {may: anyone},
		"a target whose device has started":        {status: actions(`{id: 1, state: Finished}, {id: 2, state: Downloading}`), may: cancelers, refused: deletesTarget},
		"a target whose device is asked to cancel": {status: actions(`{id: 2, state: Canceling}`), may: cancelers, refused: deletesTarget},
		"a target that waits for confirmation":     {status: actions(`{id: 2, state: WaitingForConfirmation}`), may: anyone},
		"a target whose actions are closed":        {status: actions(`{id: 1, state: Error}, {id: 2, state: Canceled}, {id: 3, state: Finished}`), may: anyone},
	},
	"Rollout": {
		"a rollout that has not started: Force": {given: `{deletionCancellation: Force}`, may: anyone},
		"a running rollout":                     {status: started, may: anyone},
		"a running rollout: Soft":               {given: `{deletionCancellation: Soft}`, status: started, may: cancelers, refused: deletesSoft},
		"a running rollout: Force":              {given: `{deletionCancellation: Force}`, status: started, may: forcers, refused: deletesForce},
		"a rollout that was stopped with None":  {given: `{state: Stopped, stopCancellation: None, deletionCancellation: Soft}`, status: stoppedStatus, may: cancelers, refused: deletesSoft},
		"a finished rollout: Force":             {given: `{deletionCancellation: Force}`, status: finishedStatus, may: anyone},
		"a running rollout: None":               {given: `{deletionCancellation: None}`, status: started, may: anyone},
	},
}

const (
	stoppedStatus  = `{startedAt: "2026-12-01T02:00:00.000000Z", state: Stopped}`
	finishedStatus = `{startedAt: "2026-12-01T02:00:00.000000Z", state: Finished}`
)

// actions returns the status of a target with these actions, completed with required fields.
func actions(items string) string {
	more := `, source: {kind: Target, name: a}, distributionSet: firmware-2-1}`
	return `{actions: [` + strings.ReplaceAll(items, "}", more) + `]}`
}

func TestRightsForDeletions(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.bindDeleters(t)
	for kind, edits := range deletions {
		for name, edit := range edits {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				for person := range deleters {
					object := f.object(t, kind, newName(kind), orEmpty(edit.given))
					f.give(t, object, edit.status)
					refusal := strings.ReplaceAll(edit.refusal(person), "NAME", object.GetName())
					f.wantRefused(t, f.as(t, person).Delete(t.Context(), object, client.DryRunAll), person, refusal)
					f.wantRefused(t, f.as(t, person).Delete(t.Context(), object), person, refusal)
				}
			})
		}
	}
}

// In a deletion of many objects each one is checked, with kubectl and with one request.
func TestDeletionOfACollectionChecksEachObject(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(t *testing.T, f *fleet, person string) error{
		"kubectl delete --all": func(t *testing.T, f *fleet, person string) error {
			_, err := cluster.TryKubectl(t, "", "--as", person, "-n", f.namespace, "delete", "distributionsets", "--all")
			return err
		},
		"one request": func(t *testing.T, f *fleet, person string) error {
			set := f.object(t, "DistributionSet", "any")
			return f.as(t, person).DeleteAllOf(t.Context(), set, client.InNamespace(f.namespace))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.bindDeleters(t)
			for _, status := range []string{`{locked: true}`, `{locked: false}`} {
				f.give(t, f.object(t, "DistributionSet", newName("set"), `{version: "`+newName("v")+`"}`), status)
			}
			if err := remove(t, f, "deleter"); err == nil || !strings.Contains(err.Error(), "needs the verb cancel on targets in namespace "+f.namespace+", which deleter lacks") {
				t.Errorf("the error for the deletion is %v, want it refused for the set in use", err)
			}
			f.wantRefused(t, remove(t, f, "deleter-canceler"), "deleter-canceler", "")
			if list := listOf("DistributionSet"); f.admin.List(t.Context(), list, client.InNamespace(f.namespace)) != nil || len(list.Items) != 0 {
				t.Errorf("%d sets are left", len(list.Items))
			}
		})
	}
}

// The namespace controller deletes the objects of a deleted namespace. It has the right to delete
// all objects and none of Goshawk's verbs, and must not be refused.
func TestADeletedNamespaceBecomesEmpty(t *testing.T) {
	t.Parallel()
	for _, account := range []string{
		"system:serviceaccount:kube-system:namespace-controller",
		"system:serviceaccount:kube-system:generic-garbage-collector",
		"system:kube-controller-manager",
	} {
		t.Run(account, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.bindRules(t, account, rule("get list delete deletecollection", "softwaremodules", "distributionsets", "targets", "rollouts"))
			f.give(t, f.object(t, "SoftwareModule", newName("module")), `{locked: true}`)
			f.give(t, f.object(t, "DistributionSet", newName("set")), `{locked: true}`)
			f.give(t, f.object(t, "Target", newName("target")), actions(`{id: 1, state: Running}`))
			f.give(t, f.object(t, "Rollout", newName("rollout"), `{deletionCancellation: Force}`), started)
			for kind := range deletions {
				if err := f.as(t, account).DeleteAllOf(t.Context(), f.object(t, kind, "any"), client.InNamespace(f.namespace)); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
		})
	}
}

// An object with a finalizer that is being deleted can be deleted again without further rights.
func TestSecondDeletionNeedsNoRight(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.bindDeleters(t)
	set := f.object(t, "DistributionSet", newName("set"))
	set.SetFinalizers([]string{"goshawk.dev/test"})
	f.give(t, set, `{locked: true}`)
	f.wantRefused(t, f.as(t, "deleter-canceler").Delete(t.Context(), set), "deleter-canceler", "")
	f.wantRefused(t, f.as(t, "deleter").Delete(t.Context(), set), "deleter", "")
	if err := f.admin.Patch(t.Context(), set, mergePatch(t, map[string]any{"metadata": map[string]any{"finalizers": nil}})); err != nil {
		t.Errorf("the finalizer cannot be removed: %v", err)
	}
}
