// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// fleetOf returns the rollout firmware-2-1 with three groups, and targets of which each has
// something else that support asks for.
func fleetOf() []client.Object {
	started, opened := metav1.NewMicroTime(noon.Add(-30*time.Minute)), metav1.NewTime(noon.Add(-30*time.Minute))
	r := objects.Rollout("firmware-2-1", "firmware-2-1", planned(8, v1alpha1.RolloutRunning), func(r *v1alpha1.Rollout) {
		r.Status.StartedAt = &started
		r.Spec.Update.Retries = &v1alpha1.Retries{Limit: 1, StatusCodes: []string{"17"}}
		r.Status.Groups = []v1alpha1.GroupStatus{
			{Name: "canary", State: v1alpha1.GroupRunning, OpenedAt: &opened, Counts: v1alpha1.Counts{Targets: 6}},
			{Name: "rest", State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 2}},
		}
	})
	seen := metav1.NewTime(noon.Add(-90 * time.Minute))
	target := func(name string, edits ...func(*v1alpha1.Target)) *v1alpha1.Target {
		return objects.Target(name, append([]func(*v1alpha1.Target){func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"site": "berlin"}
			t.Spec.Type = "gateway"
			t.Status.UpdateStatus, t.Status.LastSeen = v1alpha1.UpdateStatusInSync, &seen
			t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "firmware-2-0", ContentHash: "20", Source: v1alpha1.InstalledByAction}
		}}, edits...)...)
	}
	acts := func(state v1alpha1.ActionState, edits ...func(*v1alpha1.Action)) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			a := build.Action(100, "firmware-2-1", state, append([]func(*v1alpha1.Action){func(a *v1alpha1.Action) {
				a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID, Group: "canary", Attempt: 1, Since: &started}
				if state.IsClosed() {
					a.ClosedAt = &opened
				}
			}}, edits...)...)
			t.Status.Actions = append(t.Status.Actions, a)
			t.Status.UpdateStatus = v1alpha1.UpdateStatusPending
		}
	}
	condition := func(kind, reason, message string) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message})
		}
	}
	failed := func(code, message string) func(*v1alpha1.Action) {
		return func(a *v1alpha1.Action) { a.StatusCode, a.FailureMessage, a.FailureGroup = code, message, message }
	}
	inError := func(t *v1alpha1.Target) { t.Status.UpdateStatus = v1alpha1.UpdateStatusError }
	gone := "gateway-gone"
	return []client.Object{r,
		objects.DistributionSet("firmware-2-1"),
		objects.DeploymentGroup(r, 0, labeled, named("canary"), build.Members("gateway-done", "gateway-failed", "gateway-held", "gateway-retried", "gateway-running", "gateway-silent", gone)),
		objects.DeploymentGroup(r, 1, labeled, named("rest"), build.Members("gateway-later")),
		target("gateway-done", acts(v1alpha1.ActionFinished), func(t *v1alpha1.Target) {
			t.Status.UpdateStatus = v1alpha1.UpdateStatusInSync
			t.Status.Installed.DistributionSet, t.Status.Installed.ContentHash = "firmware-2-1", "21"
		}),
		target("gateway-failed", acts(v1alpha1.ActionError, failed("28", "no space left on /data")), inError,
			condition(v1alpha1.ConditionConsistent, v1alpha1.ReasonUpdateFailed, "action 100 failed while installing")),
		target("gateway-held", func(t *v1alpha1.Target) { t.Spec.Hold = true }),
		target("gateway-later"),
		target("gateway-retried", acts(v1alpha1.ActionError, failed("17", "lost \x1b[31mconnection")), inError),
		target("gateway-running", acts(v1alpha1.ActionInstalling)),
		target("gateway-silent", condition(v1alpha1.ConditionOnline, v1alpha1.ReasonSilent, "no poll for two days"), func(t *v1alpha1.Target) {
			t.Labels["site"] = "paris"
			t.Status.Installed.Source = v1alpha1.InstalledByReport
		}),
		objects.Target("new", condition(v1alpha1.ConditionReady, v1alpha1.ReasonDuplicate, "controllerID new is the one of Target other"), func(t *v1alpha1.Target) { t.Status.UpdateStatus = v1alpha1.UpdateStatusUnknown }),
	}
}

func TestTargets(t *testing.T) {
	w := newWorld(t, fleetOf()...)
	var out strings.Builder
	for _, args := range []string{
		"", "--rollout firmware-2-1", "--rollout firmware-2-1 --group rest", "--rollout firmware-2-1 --bucket failed", "--rollout firmware-2-1 --bucket PENDING",
		"--rollout firmware-2-1 --bucket removed", "--rollout firmware-2-1 --code 28", "--inconsistent", "--silent", "--held", "--set firmware-2-1", "--status error",
		"-l site=paris", "-l site!=berlin,site", "--set nothing", "--limit 2", "--limit 8", "--limit 0 -o name", "--silent --held -o name", "--held -o yaml",
	} {
		got := w.run(append([]string{"targets"}, strings.Fields(args)...)...)
		fmt.Fprintf(&out, "$ kubectl goshawk targets %s\n%s%s\n", args, got.out, got.errOut)
		if got.code != 0 {
			t.Errorf("%s: code %d", args, got.code)
		}
	}
	golden(t, "targets/all.txt", out.String())
	golden(t, "targets/rollout.json", w.run("targets", "--rollout", "firmware-2-1", "--limit", "3", "-o", "json").out)
}

func TestTargetsErrors(t *testing.T) {
	w := newWorld(t, fleetOf()...)
	var out strings.Builder
	for _, tc := range []struct {
		args string
		code int
	}{
		{"--bucket failed", CodeUsage}, {"--group canary", CodeUsage}, {"--rollout firmware-2-1 --bucket done", CodeUsage}, {"--status bad", CodeUsage},
		{"--limit -1", CodeUsage}, {"-l =", CodeUsage}, {"--rollout firmware-2", CodeNotFound}, {"--rollout firmware-2-1 --group late", CodeNotFound}, {"gateway-1", CodeUsage},
	} {
		got := w.run(append([]string{"targets"}, strings.Fields(tc.args)...)...)
		fmt.Fprintf(&out, "$ kubectl goshawk targets %s\n%s", tc.args, got.errOut)
		if got.code != tc.code || got.out != "" {
			t.Errorf("%s: code %d, output %q", tc.args, got.code, got.out)
		}
	}
	golden(t, "targets/errors.txt", out.String())
}

// The rollout lists more members than a page of the API server has.
func TestTargetsAreReadInPages(t *testing.T) {
	var all []client.Object
	for i := range 1203 {
		all = append(all, objects.Target(fmt.Sprintf("device-%04d", i)))
	}
	w := newWorld(t, all...)
	w.pages()
	got := w.run("targets", "--limit", "0", "-o", "name")
	if n := strings.Count(got.out, "\n"); n != 1203 || got.errOut != "" {
		t.Errorf("%d names, errors %q", n, got.errOut)
	}
	if w.requests != 3 {
		t.Errorf("%d requests, want 3", w.requests)
	}
	w.requests = 0
	got = w.run("targets", "-o", "name")
	if n := strings.Count(got.out, "\n"); n != 100 || got.errOut != "These are the first 100; --limit 0 lists all.\n" || w.requests != 1 {
		t.Errorf("%d names, errors %q, %d requests", n, got.errOut, w.requests)
	}
}
