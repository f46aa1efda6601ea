// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/cli"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// plugin runs `kubectl goshawk` in the namespace of a world and returns its output.
func plugin(t *testing.T, w *world.World, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	root := cli.NewCommand(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	args = append(args, "--kubeconfig", cluster.Kubeconfig(t), "-n", w.Namespace)
	if code := cli.Run(t.Context(), root, &errOut, args); code != 0 {
		t.Fatalf("kubectl goshawk %q ended with %d: %s", args, code, errOut.String())
	}
	return out.String()
}

// The plan of the plugin, made before the commit from an export, is the plan that the controller
// makes after it, with the same hash, groups and members.
func TestPlanOfThePluginIsThePlanOfTheController(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	w.Targets("lab", 7, map[string]string{"site": "lab"})
	names := w.Targets("field", 40, map[string]string{"site": "field"})
	_, devices := w.Devices(devicesim.Obedient, names[:5]...)
	w.ApplySpec("Rollout", "older", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, targetSelector: {matchLabels: {site: lab}}}`)
	w.EventuallyRollout("older", "runs", world.InState(v1alpha1.RolloutRunning))
	w.EventuallyPolled(devices, 1, w.Rollout("older").CreationTimestamp.Time, names[:5]...)

	dir := t.TempDir()
	manifests, targets := filepath.Join(dir, "manifests.yaml"), filepath.Join(dir, "targets.json.gz")
	const commit = `
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: firmware-2}
spec: {type: os, name: linux, version: "2.0"}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: firmware-2}
spec: {name: firmware, version: "2.0", type: full-image, modules: [{name: firmware-2}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: equal}
spec: {update: {distributionSet: firmware-2}, stabilizationSeconds: 1, groupCount: 5, state: Planned, advance: {to: group-2, at: "2026-01-01T00:00:00Z"}}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: explicit}
spec:
  update: {distributionSet: firmware-2, confirmationRequired: true, retries: {limit: 2}}
  stabilizationSeconds: 1
  state: Planned
  approvalRequired: true
  errorThreshold: 7
  targetExpression: target.name != "field-003"
  groups: [{name: lab, targetSelector: {matchLabels: {site: lab}}, successThreshold: 100}, {name: some, percentage: 15}, {name: rest}]
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: removal}
spec: {update: {remove: [{group: g, name: old, version: "1", type: app}]}, stabilizationSeconds: 1, state: Planned, groupOrder: Name, groupCount: 3}
`
	if err := os.WriteFile(manifests, []byte(commit), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(targets, []byte(plugin(t, w, "export", "--gzip")), 0o600); err != nil {
		t.Fatal(err)
	}
	var planned struct {
		Plans []explain.Plan `json:"plans"`
	}
	if err := json.Unmarshal([]byte(plugin(t, w, "plan", "-f", manifests, "--targets", targets, "-o", "json")), &planned); err != nil {
		t.Fatal(err)
	}
	if len(planned.Plans) != 1 || len(planned.Plans[0].Rollouts) != 3 {
		t.Fatalf("the plan is %+v", planned)
	}

	w.Apply(commit)
	for _, p := range planned.Plans[0].Rollouts {
		r := w.EventuallyRollout(p.Name, "has a plan", func(r *v1alpha1.Rollout) bool {
			return r.Status.Plan != nil && (r.Status.State == v1alpha1.RolloutReady || r.Status.State == v1alpha1.RolloutWaitingForApproval)
		})
		if r.Status.Plan.Hash != p.Hash || r.Status.Plan.ContentHash != p.ContentHash || int(r.Status.Plan.Targets) != p.Targets || p.State != r.Status.State {
			t.Errorf("rollout %s: the controller has the plan %+v and the state %s, and the plugin %s, %s, %d targets, %s", p.Name, r.Status.Plan, r.Status.State, p.Hash, p.ContentHash, p.Targets, p.State)
		}
		members := map[string][]v1alpha1.TargetName{}
		for _, g := range w.Groups() {
			if g.Spec.Rollout == p.Name {
				members[g.Spec.Group] = g.Spec.Targets
			}
		}
		for _, g := range p.Groups {
			if diff := cmp.Diff(members[g.Name], g.Targets); diff != "" {
				t.Errorf("rollout %s, group %s (-controller +plugin):\n%s", p.Name, g.Name, diff)
			}
		}
	}
	if out := plugin(t, w, "diff", "-f", manifests); out != "No difference.\n" {
		t.Errorf("after the commit the difference is\n%s", out)
	}

	var why explain.WhyTarget
	if err := json.Unmarshal([]byte(plugin(t, w, "why", names[0], "-o", "json")), &why); err != nil {
		t.Fatal(err)
	}
	if why.Now.Kind != offer.Nothing || why.Now.Code == "" || len(why.Updates) < 3 {
		t.Errorf("a device that is offered nothing: %+v", why)
	}
}

// What the plugin says a device gets is what the device then gets: the same action of the same set.
func TestWhyOfThePluginIsWhatTheDeviceGets(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 2, nil)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupOrder: Name, groupCount: 2}`)
	w.EventuallyRollout("firmware-1", "has opened its first group", func(r *v1alpha1.Rollout) bool {
		return len(r.Status.Groups) == 2 && r.Status.Groups[0].OpenedAt != nil && r.Status.Groups[1].OpenedAt == nil
	})
	why := func(name string) (why explain.WhyTarget) {
		if err := json.Unmarshal([]byte(plugin(t, w, "why", name, "-o", "json")), &why); err != nil {
			t.Fatal(err)
		}
		return why
	}
	first, second := why(names[0]), why(names[1])
	if second.Now.Kind != offer.Nothing || second.Now.Code != "GroupNotOpen" || second.Next == nil || second.Next.Change == nil || second.Next.Change.Field != "spec.advance" {
		t.Errorf("the target of the second group: %+v", second)
	}
	if first.Now.Kind != offer.Deploy || first.Now.Update != "firmware-1" {
		t.Fatalf("the target of the open group: %+v", first.Now)
	}
	w.Devices(devicesim.Obedient, names[0])
	w.EventuallyTarget(names[0], "has the action that the plugin named", func(target *v1alpha1.Target) bool {
		a := action.ByID(&target.Status, first.Now.ActionID)
		return a != nil && a.DistributionSet == "firmware-1" && a.State == v1alpha1.ActionFinished
	})
	if done := why(names[0]); done.Installed != "firmware-1" || len(done.Actions) != 1 || done.Actions[0].State != v1alpha1.ActionFinished {
		t.Errorf("after the update: %+v", done)
	}
}
