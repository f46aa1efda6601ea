// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

var removed = []v1alpha1.SoftwareReference{{Group: "acme", Name: "app", Version: "1.2", Type: "software"}, {Group: "acme", Name: "lib", Version: "3"}}

// removes makes the rollout of a world remove software.
func removes(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
	r.Spec.Update.DistributionSet, r.Spec.Update.Remove = "", removed
	r.Status.Plan.ContentHash = eligibility.RemovalHash(removed)
}

func TestRemovalIsDeployed(t *testing.T) {
	w := newWorld(t, 1, removes)
	d, ctx := w.deviceAPI(Options{}), context.Background()
	state, err := d.State(ctx, dev0, "")
	if err != nil || state.DeployID != firstID || !state.IsRemoval {
		t.Fatalf("the state is %+v, %v; want the removal %d", state, err, firstID)
	}
	doc, err := d.Deployment(ctx, dev0, firstID)
	if err != nil {
		t.Fatal(err)
	}
	want := []deviceapi.Software{{Group: "acme", Name: "app", Version: "1.2", Type: "software"}, {Group: "acme", Name: "lib", Version: "3"}}
	if diff := cmp.Diff(want, doc.Remove); diff != "" || len(doc.Modules) > 0 || !doc.Created {
		t.Errorf("the deployment is %+v, (-want +got):\n%s", doc, diff)
	}
	d.sync()
	for _, r := range []action.Report{
		{ID: firstID, Event: action.Removed, Modules: []string{"acme:app:1.2"}, ModuleCount: 2},
		{ID: firstID, Event: action.Fail, Modules: []string{"acme:lib:3"}, ModuleCount: 2, StatusCode: "7"},
	} {
		if err := d.Report(ctx, dev0, r); err != nil {
			t.Fatal(err)
		}
		d.sync()
	}
	a := w.target("dev-0").Status.Actions[0]
	if a.State != v1alpha1.ActionError || a.StatusCode != "7" || a.Removal != "removal of app 1.2 and 1 more" || a.DistributionSet != "" ||
		a.Remove[0].State != v1alpha1.ActionFinished || a.Remove[1].State != v1alpha1.ActionError {
		t.Errorf("the action is %+v", a)
	}
}

// TestRefusedRemoval closes a removal that is only offered, and one that was fetched.
func TestRefusedRemoval(t *testing.T) {
	refusal := deviceapi.Refusal{Code: v1alpha1.CodeRemoveNotSupported, Message: "DDI cannot remove software"}
	for name, tt := range map[string]struct {
		confirm, fetch bool
		writes         int
	}{
		"offered":                      {writes: 1},
		"offered with a confirmation":  {confirm: true, writes: 1},
		"fetched":                      {fetch: true, writes: 2},
		"fetched, awaits confirmation": {confirm: true, fetch: true, writes: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, removes, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) {
				r.Spec.Update.ConfirmationRequired = tt.confirm
			})
			if tt.confirm {
				edit(w, "rollout-group-1", &v1alpha1.DeploymentGroup{}, func(g *v1alpha1.DeploymentGroup) { g.Spec.Conditions.ConfirmationRequired = true })
			}
			d, ctx := w.deviceAPI(Options{}), context.Background()
			if tt.fetch {
				ask := d.Deployment
				if tt.confirm {
					ask = d.Confirmation
				}
				if _, err := ask(ctx, dev0, firstID); err != nil {
					t.Fatal(err)
				}
				d.sync()
			}
			if err := d.Refuse(ctx, dev0, firstID, refusal); err != nil {
				t.Fatal(err)
			}
			w.wantWrites(tt.writes, name)
			d.sync()
			a := w.target("dev-0").Status.Actions[0]
			if a.State != v1alpha1.ActionError || a.StatusCode != v1alpha1.CodeRemoveNotSupported || a.FailureMessage != refusal.Message || a.Source.Name != "rollout" {
				t.Errorf("the action is %+v", a)
			}
			if asked := a.History[0].State == v1alpha1.ActionWaitingForConfirmation; asked != (tt.confirm && tt.fetch) {
				t.Errorf("the device was asked for a confirmation: %t; the history is %+v", asked, a.History)
			}
			if err := d.Refuse(ctx, dev0, firstID, refusal); !errors.Is(err, deviceapi.ErrGone) {
				t.Errorf("the second refusal: %v", err)
			}
			if state, err := d.State(ctx, dev0, ""); err != nil || state.DeployID != 0 || state.ConfirmID != 0 || state.IsRemoval {
				t.Errorf("then the state is %+v, %v", state, err)
			}
		})
	}
}

// TestDevicesThatAnnounceRemoval: a device without attributes is asked for them once before its
// removal, and its attribute says whether it gets the removal by DDI.
func TestDevicesThatAnnounceRemoval(t *testing.T) {
	for name, tt := range map[string]struct {
		attributes map[string]string // nil: the device sends none
		want       deviceapi.CanRemove
	}{
		"it sends no attributes":   {nil, deviceapi.CannotRemove},
		"it announces nothing":     {map[string]string{"hw": "B"}, deviceapi.CannotRemove},
		"it announces the removal": {map[string]string{v1alpha1.AttributeRemoves: "true"}, deviceapi.RemovesSoftware},
		"it denies the removal":    {map[string]string{v1alpha1.AttributeRemoves: "false"}, deviceapi.CannotRemove},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, removes)
			d, ctx := w.deviceAPI(Options{}), context.Background()
			first, err := d.State(ctx, dev0, "")
			if err != nil || first.CanRemove != deviceapi.RemovalUnknown || !first.WantAttributes {
				t.Fatalf("the first poll: %+v, %v; want that the device is asked for its attributes", first, err)
			}
			if tt.attributes != nil {
				if err := d.Attributes(ctx, dev0, data(deviceapi.MergeAttributes, tt.attributes)); err != nil {
					t.Fatal(err)
				}
				d.sync()
			}
			if state, err := d.State(ctx, dev0, ""); err != nil || state.CanRemove != tt.want || state.DeployID != firstID {
				t.Errorf("the second poll: %+v, %v; want %q", state, err, tt.want)
			}
			if doc, err := d.Deployment(ctx, dev0, firstID); err != nil || doc.CanRemove != tt.want {
				t.Errorf("the deployment: %+v, %v; want %q", doc, err, tt.want)
			}
		})
	}
}

// TestConsistencyInAttributes: what a device reports about itself changes the condition, and an
// attribute that only repeats it causes no write.
func TestConsistencyInAttributes(t *testing.T) {
	w := newWorld(t, 1)
	d, ctx := w.deviceAPI(Options{}), context.Background()
	says := func(mode deviceapi.AttributesMode, attributes map[string]string, consistent bool, writes int) {
		t.Helper()
		if err := d.Attributes(ctx, dev0, data(mode, attributes)); err != nil {
			t.Fatal(err)
		}
		w.wantWrites(writes, "attributes")
		d.sync()
		if got := action.IsConsistent(&w.target("dev-0").Status); got != consistent {
			t.Errorf("after %v: consistent is %t, want %t", attributes, got, consistent)
		}
	}
	consistent, inconsistent := map[string]string{v1alpha1.AttributeConsistent: "true"}, map[string]string{v1alpha1.AttributeConsistent: "false"}
	says(deviceapi.MergeAttributes, consistent, true, 1)
	says(deviceapi.ReplaceAttributes, consistent, true, 0)
	says(deviceapi.ReplaceAttributes, inconsistent, false, 1)
	says(deviceapi.ReplaceAttributes, inconsistent, false, 0)
	says(deviceapi.MergeAttributes, consistent, true, 1)
	d.start()
	d.wantReport(nil, firstID, proceeding)
	inconsistently := failed
	inconsistently.Status.Code = v1alpha1.CodeInconsistent
	d.wantReport(nil, firstID, inconsistently)
	d.sync()
	w.takeWrites()
	says(deviceapi.MergeAttributes, map[string]string{"hw": "B"}, false, 1) // its earlier word does not count
	says(deviceapi.RemoveAttributes, map[string]string{v1alpha1.AttributeConsistent: "true"}, false, 1)
	says(deviceapi.MergeAttributes, consistent, true, 1)
	says(deviceapi.MergeAttributes, consistent, true, 0)
}

// TestRemovalWhoseSourceIsStopped: a stop that the cache does not show yet withdraws a new removal.
func TestRemovalWhoseSourceIsStopped(t *testing.T) {
	w := newWorld(t, 1, removes)
	d := w.deviceAPI(Options{})
	edit(w, "rollout", &v1alpha1.Rollout{}, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped })
	if _, err := d.Deployment(context.Background(), dev0, firstID); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("got %v, want that the action was withdrawn", err)
	}
	if a := w.target("dev-0").Status.Actions; len(a) != 1 || a[0].State != v1alpha1.ActionCanceled {
		t.Errorf("the actions are %+v", a)
	}
}
