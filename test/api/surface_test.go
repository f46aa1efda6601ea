// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// Without this default kstatus would call an object Current before any controller has seen it.
func TestTheVeryFirstApplyAnswersObservedGenerationMinusOne(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	for kind := range smallest {
		object := newObject(t, group, kind, namespace, "")
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("git")); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(any(map[string]any{"observedGeneration": int64(-1)}), object.Object["status"]); diff != "" {
			t.Errorf("%s: status (-want +got):\n%s", kind, diff)
		}
	}
}

func TestSpecAndStatusHaveDeviceAPIsOfTheirOwn(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	edits := map[string]string{
		"SoftwareModule":  `{vendor: acme}`,
		"DistributionSet": `{description: new}`,
		"Target":          `{hold: true}`,
		"Rollout":         `{stabilizationSeconds: 1}`,
		"AutoAssignment":  `{state: Paused}`,
		"DeploymentGroup": `{targets: [c]}`,
	}
	for kind := range smallest {
		object := newObject(t, group, kind, namespace, "")
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		before := object.DeepCopy()

		merge(object.Object["spec"].(map[string]any), parse(t, edits[kind]))
		if err := c.Status().Update(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(before.Object["spec"], object.Object["spec"]); diff != "" || object.GetGeneration() != 1 {
			t.Errorf("%s: writing the status changed the spec, generation %d (-before +after):\n%s", kind, object.GetGeneration(), diff)
		}

		object.Object["status"] = map[string]any{"observedGeneration": int64(7)}
		if err := c.Update(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(before.Object["status"], object.Object["status"]); diff != "" {
			t.Errorf("%s: writing the object changed the status (-before +after):\n%s", kind, diff)
		}
	}
}

// A user cannot lift the freeze by claiming, in the same write, that the rollout has not started.
func TestAFreezeIsNotLiftedByWritingTheStatusToTheObject(t *testing.T) {
	t.Parallel()
	c := strict(t)
	object := newObject(t, group, "Rollout", cluster.Namespace(t), `{groupCount: 3}`)
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	patchStatus(t, c, object, started)
	object.Object["status"] = map[string]any{"observedGeneration": int64(-1)}
	object.Object["spec"].(map[string]any)["groupCount"] = int64(4)
	wantVerdict(t, c.Update(t.Context(), object),
		"spec.groupCount: groupCount is immutable once the rollout has started: membership was frozen with the plan; stop this rollout and create another")
}

// shown is, for each kind by its short name, an object's status and what kubectl shows of it.
var shown = map[string]struct {
	kind, spec, status string
	narrow, wide       []string
}{
	"swmod": {
		kind: "SoftwareModule", status: `{locked: true, conditions: [` + condition("Ready", "True", "InUse") + `]}`,
		narrow: []string{"NAME", "TYPE", "MODULE", "VERSION", "LOCKED", "READY", "AGE"},
		wide:   []string{"NAME", "TYPE", "MODULE", "VERSION", "LOCKED", "READY", "REASON", "AGE"},
	},
	"distset": {
		kind: "DistributionSet", status: `{locked: true, targets: {started: 12, installed: 7}, conditions: [` + condition("Complete", "True", "Ready") + "," + condition("Ready", "False", "DistributionSetInvalid") + `]}`,
		narrow: []string{"NAME", "RELEASE", "VERSION", "COMPLETE", "LOCKED", "INVALIDATED", "BEGUN", "INSTALLED", "READY", "REASON", "AGE"},
		wide:   []string{"NAME", "RELEASE", "VERSION", "COMPLETE", "LOCKED", "INVALIDATED", "BEGUN", "INSTALLED", "READY", "REASON", "MESSAGE", "AGE"},
	},
	"tgt": {
		kind: "Target", spec: `{type: gateway-v2, hold: true}`, status: `{updateStatus: InSync, controllerID: "ABC:123", installed: {distributionSet: firmware-2-1},
			actions: [{id: 1, source: {kind: Rollout, name: a}, distributionSet: a, state: Error, failureMessage: older}, {id: 2, source: {kind: Rollout, name: b}, distributionSet: b, state: Error, failureMessage: disk-full}], conditions: [` + condition("Consistent", "True", "UpdateSucceeded") + "," + condition("Ready", "True", "Ready") + `]}`,
		narrow: []string{"NAME", "STATUS", "INSTALLED", "CONSISTENT", "LAST SEEN", "AGE"},
		wide:   []string{"NAME", "STATUS", "INSTALLED", "CONSISTENT", "HOLD", "TYPE", "CONTROLLER ID", "READY", "FAILURE", "LAST SEEN", "AGE"},
	},
	"grollout": {
		kind: "Rollout", status: `{state: Running, targets: {targets: 40, pending: 20, inProgress: 5, succeeded: 12, failed: 3}, plan: {hash: "sha256:` + hash64 + `"},
			waitingFor: {reason: Progressing, message: devices}, conditions: [` + condition("Succeeded", "Unknown", "Progressing") + "," + condition("Ready", "True", "Progressing") + `]}`,
		narrow: []string{"NAME", "SET", "STATE", "TARGETS", "PENDING", "IN PROGRESS", "SUCCEEDED", "FAILED", "READY", "REASON", "AGE"},
		wide:   []string{"NAME", "SET", "STATE", "TARGETS", "PENDING", "IN PROGRESS", "SUCCEEDED", "FAILED", "READY", "REASON", "CANCELED", "WAITING FOR", "PLAN", "AGE"},
	},
	"dgroup": {
		kind: "DeploymentGroup", status: `{state: Running, counts: {targets: 2, succeeded: 1}}`,
		narrow: []string{"NAME", "ROLLOUT", "GROUP", "INDEX", "STATE", "TARGETS", "SUCCEEDED", "FAILED", "OPENED", "AGE"},
		wide:   []string{"NAME", "ROLLOUT", "GROUP", "INDEX", "STATE", "TARGETS", "SUCCEEDED", "FAILED", "OPENED", "AGE"},
	},
	"autoassign": {
		kind: "AutoAssignment", status: `{state: Running, targets: {matched: 9, started: 1, succeeded: 2, failed: 0}, conditions: [` + condition("Paused", "False", "Running") + "," + condition("Ready", "True", "Running") + `]}`,
		narrow: []string{"NAME", "SET", "STATE", "MATCHED", "BEGUN", "SUCCEEDED", "FAILED", "READY", "REASON", "AGE"},
		wide:   []string{"NAME", "SET", "STATE", "MATCHED", "BEGUN", "SUCCEEDED", "FAILED", "READY", "REASON", "AGE"},
	},
}

// rows are what kubectl prints for the objects of shown, without name and age.
var rows = map[string]string{
	"swmod":      "os linux 6.6.1 true True InUse",
	"distset":    "firmware 2.1 True true 12 7 False DistributionSetInvalid why",
	"tgt":        "InSync firmware-2-1 True true gateway-v2 ABC:123 True disk-full",
	"grollout":   "firmware-2-1 Running 40 20 5 12 3 True Progressing devices sha256:" + hash64,
	"dgroup":     "r group-1 0 Running 2 1",
	"autoassign": "firmware-2-1 Running 9 1 2 0 True Running",
}

func condition(kind, status, reason string) string {
	return `{type: ` + kind + `, status: "` + status + `", reason: ` + reason + `, message: why, lastTransitionTime: "2026-01-01T00:00:00Z"}`
}

func TestKubectlShowsTheDeclaredColumns(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	var references []string
	for short, want := range shown {
		object := newObject(t, group, want.kind, namespace, want.spec)
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", short, err)
		}
		patchStatus(t, c, object, want.status)
		references = append(references, strings.ToLower(want.kind)+".goshawk.dev/"+object.GetName())

		narrow, _ := table(cluster.Kubectl(t, "-n", namespace, "get", short))
		wide, row := table(cluster.Kubectl(t, "-n", namespace, "get", short, "-o", "wide"))
		if diff := cmp.Diff(want.narrow, narrow); diff != "" {
			t.Errorf("kubectl get %s (-want +got):\n%s", short, diff)
		}
		if diff := cmp.Diff(want.wide, wide); diff != "" {
			t.Errorf("kubectl get %s -o wide (-want +got):\n%s", short, diff)
		}
		if row[0] != object.GetName() || !age.MatchString(row[len(row)-1]) {
			t.Errorf("kubectl get %s: the row starts with %q and ends with %q, want name and age", short, row[0], row[len(row)-1])
		}
		if got := strings.Join(row[1:len(row)-1], " "); got != rows[short] {
			t.Errorf("kubectl get %s -o wide:\n%s, want\n%s", short, got, rows[short])
		}
	}
	listed := strings.Fields(cluster.Kubectl(t, "-n", namespace, "get", "goshawk", "-o", "name"))
	if diff := cmp.Diff(slices.Sorted(slices.Values(references)), slices.Sorted(slices.Values(listed))); diff != "" {
		t.Errorf("kubectl get goshawk (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(shown))); diff != "" || len(shown) != len(smallest) {
		t.Errorf("not every kind is shown:\n%s", diff)
	}
}

var (
	gap = regexp.MustCompile(` {2,}`)
	age = regexp.MustCompile(`^[0-9]+[smh]`)
)

// table takes kubectl's header and first row apart. Titles of two words are one cell; empty cells
// of the row are left out.
func table(printed string) (header, row []string) {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	if len(lines) < 2 {
		return nil, []string{""}
	}
	return gap.Split(strings.TrimSpace(lines[0]), -1), gap.Split(strings.TrimSpace(lines[1]), -1)
}

func TestTargetsAreFoundByStatusAndControllerID(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	found := map[string]string{}
	for id, updateStatus := range map[string]string{"a": "Pending", "b": "InSync", "c": "Pending"} {
		object := newObject(t, group, "Target", namespace, "")
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		patchStatus(t, c, object, `{updateStatus: `+updateStatus+`, controllerID: `+id+`}`)
		found["target.goshawk.dev/"+object.GetName()] = id
	}
	for selector, want := range map[string][]string{
		"status.updateStatus=Pending":                       {"a", "c"},
		"status.updateStatus!=Pending":                      {"b"},
		"status.controllerID=c":                             {"c"},
		"status.controllerID=b,status.updateStatus=Pending": nil,
	} {
		var got []string
		for _, name := range strings.Fields(cluster.Kubectl(t, "-n", namespace, "get", "targets", "--field-selector", selector, "-o", "name")) {
			got = append(got, found[name])
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("--field-selector %s (-want +got):\n%s", selector, diff)
		}
	}
}
