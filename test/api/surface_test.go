// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// Without this default an object would be Current for kstatus before its first reconcile.
func TestNewObjectHasObservedGenerationMinusOne(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	for kind := range smallest {
		if kind == "TargetInventory" { // no controller reconciles it
			continue
		}
		object := newObject(t, group, kind, namespace, "")
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("git")); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(any(map[string]any{"observedGeneration": int64(-1)}), object.Object["status"]); diff != "" {
			t.Errorf("%s: status (-want +got):\n%s", kind, diff)
		}
	}
}

func TestSpecAndStatusHaveSeparateEndpoints(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	edits := map[string]string{
		"SoftwareModule":  `{vendor: acme}`,
		"DistributionSet": `{description: new}`,
		"Target":          `{hold: true}`,
		"Rollout":         `{stabilizationSeconds: 1}`,
		"AutoAssignment":  `{state: Paused}`,
		"DeviceAccess":    `{targetSelector: {matchLabels: {site: lab}}}`,
		"DeploymentGroup": `{targets: [c]}`,
	}
	for kind := range smallest {
		if edits[kind] == "" { // it has no spec
			continue
		}
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

// A user cannot change a frozen field by writing in the same request that the rollout has not
// started.
func TestStatusInAWriteOfSpecIsIgnored(t *testing.T) {
	t.Parallel()
	c := strict(t)
	object := newObject(t, group, "Rollout", cluster.Namespace(t), `{groupCount: 3}`)
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	patchStatus(t, c, object, started)
	object.Object["status"] = map[string]any{"observedGeneration": int64(-1)}
	object.Object["spec"].(map[string]any)["groupCount"] = int64(4)
	wantRefusal(t, c.Update(t.Context(), object),
		"spec.groupCount: groupCount is immutable once the rollout has started: membership was frozen with the plan; stop this rollout and create another")
}

// shown has, for each kind by its short name, the status of an object and its columns in kubectl.
var shown = map[string]struct {
	kind, spec, status string
	narrow, wide       []string
}{
	"swmod": {
		kind: "SoftwareModule", status: `{locked: true, conditions: [` + condition("Ready", "True", "InUse") + `]}`,
		narrow: []string{"NAME", "TYPE", "MODULE", "VERSION", "LOCKED", "READY", "REASON", "AGE"},
		wide:   []string{"NAME", "TYPE", "MODULE", "VERSION", "LOCKED", "READY", "REASON", "MESSAGE", "AGE"},
	},
	"distset": {
		kind: "DistributionSet", status: `{locked: true, targets: {started: 12, installed: 7}, conditions: [` + condition("Complete", "True", "Ready") + "," + condition("Ready", "False", "DistributionSetInvalid") + `]}`,
		narrow: []string{"NAME", "VERSION", "LOCKED", "ACTIVE", "INSTALLED", "READY", "REASON", "AGE"},
		wide:   []string{"NAME", "VERSION", "LOCKED", "ACTIVE", "INSTALLED", "READY", "REASON", "RELEASE", "COMPLETE", "INVALIDATED", "MESSAGE", "AGE"},
	},
	"tgt": {
		kind: "Target", spec: `{type: gateway-v2, hold: true}`, status: `{updateStatus: InSync, controllerID: "ABC:123", installed: {distributionSet: firmware-2-1},
			actions: [{id: 1, source: {kind: Rollout, name: a}, distributionSet: a, state: Error, failureMessage: older}, {id: 2, source: {kind: Rollout, name: b}, removal: "removal of app 1.2 and 2 more", state: Error, failureMessage: disk-full, warning: true}], conditions: [` + condition("Consistent", "True", "UpdateSucceeded") + "," + condition("Ready", "True", "Ready") + `]}`,
		narrow: []string{"NAME", "STATUS", "INSTALLED", "UPDATE", "ACTION", "CONSISTENT", "SEEN WITHIN"},
		wide:   []string{"NAME", "STATUS", "INSTALLED", "UPDATE", "ACTION", "CONSISTENT", "SEEN WITHIN", "ONLINE", "INSTALLED SOURCE", "HOLD", "TYPE", "CONTROLLER ID", "READY", "REASON", "FAILURE", "WARNING", "AGE"},
	},
	"grollout": {
		kind: "Rollout", status: `{state: Running, update: firmware-2-1, targets: {targets: 40, scheduled: 0, pending: 17, inProgress: 5, succeeded: 12, failed: 3, canceled: 0, skipped: 2, removed: 1}, plan: {hash: "sha256:` + hash64 + `"},
			columns: {group: 2 of 5, targets: 37, plan: "` + hash64[:12] + `"},
			waitingFor: {reason: Progressing, message: devices}, conditions: [` + condition("Succeeded", "Unknown", "Progressing") + "," + condition("Ready", "True", "Progressing") + `]}`,
		narrow: []string{"NAME", "STATE", "GROUP", "TARGETS", "SCHEDULED", "PENDING", "ACTIVE", "DONE", "FAILED", "CANCELED"},
		wide: []string{"NAME", "STATE", "GROUP", "TARGETS", "SCHEDULED", "PENDING", "ACTIVE", "DONE", "FAILED", "CANCELED", "SET", "SKIPPED", "REMOVED", "READY", "REASON", "PLAN",
			"WAITING FOR", "AGE"},
	},
	"tinv": {
		kind: "TargetInventory", status: `{contentsHash: "` + hash64 + `", truncated: 3, conditions: [` + condition("Ready", "True", "Ready") + `]}`,
		narrow: []string{"NAME", "CONTENTS", "TRUNCATED", "CHANGED", "AGE"},
		wide:   []string{"NAME", "CONTENTS", "TRUNCATED", "CHANGED", "READY", "REASON", "AGE"},
	},
	"dgroup": {
		kind: "DeploymentGroup", status: `{state: Running, targets: 2, counts: {targets: 2, succeeded: 1}}`,
		narrow: []string{"NAME", "GROUP", "INDEX", "STATE", "TARGETS", "OPENED", "AGE"},
		wide:   []string{"NAME", "GROUP", "INDEX", "STATE", "TARGETS", "OPENED", "ROLLOUT", "DYNAMIC", "AGE"},
	},
	"autoassign": {
		kind: "AutoAssignment", status: `{state: Running, update: firmware-2-1, targets: {matched: 9, started: 1, succeeded: 2, failed: 0}, conditions: [` + condition("Paused", "False", "Running") + "," + condition("Ready", "True", "Running") + `]}`,
		narrow: []string{"NAME", "SET", "STATE", "MATCHED", "ACTIVE", "DONE", "FAILED", "READY", "AGE"},
		wide:   []string{"NAME", "SET", "STATE", "MATCHED", "ACTIVE", "DONE", "FAILED", "READY", "REASON", "MESSAGE", "AGE"},
	},
	"devacc": {
		kind: "DeviceAccess", spec: `{registration: {maxTargets: 20000}}`, status: `{registered: 12, conditions: [` + condition("Ready", "False", "SecretNotFound") + `]}`,
		narrow: []string{"NAME", "REGISTERED", "MAX", "READY", "REASON", "AGE"},
		wide:   []string{"NAME", "REGISTERED", "MAX", "READY", "REASON", "MESSAGE", "AGE"},
	},
}

// rows are the lines of kubectl for the objects of shown, without name and age.
var rows = map[string]string{
	"swmod":      "os linux 6.6.1 true True InUse why",
	"distset":    "2.1 true 12 7 False DistributionSetInvalid firmware True why",
	"tgt":        "InSync firmware-2-1 removal of app 1.2 and 2 more Error True true gateway-v2 ABC:123 True Ready disk-full true",
	"grollout":   "Running 2 of 5 37 0 17 5 12 3 0 firmware-2-1 2 1 True Progressing " + hash64[:12] + " devices",
	"dgroup":     "group-1 0 Running 2 r",
	"autoassign": "firmware-2-1 Running 9 1 2 0 True Running why",
	"tinv":       hash64 + " 3 True Ready",
	"devacc":     "12 20000 False SecretNotFound why",
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

// maxColumns is the width of a terminal for the default columns.
const maxColumns = 120

// crowded has objects of a large fleet, by the short name of their kind.
var crowded = map[string][]struct{ kind, name, spec, status string }{
	"swmod": {{"SoftwareModule", "gateway-linux-rootfs-2-14-0", `{type: rootfs-image, name: gateway-linux-rootfs, version: 2.14.0-rc.1}`,
		`{locked: true, conditions: [` + condition("Ready", "False", "Duplicate") + `]}`}},
	"distset": {{"DistributionSet", "gateway-firmware-2-14-0-emea", `{name: gateway-firmware, version: 2.14.0-rc.1, type: full-image}`,
		`{locked: true, targets: {started: 12345, installed: 54321}, conditions: [` + condition("Ready", "False", "DistributionSetInvalid") + `]}`}},
	"tgt": {{"Target", "line-3-gateway-00017", `{}`, `{updateStatus: Registered, lastSeen: "2026-01-01T00:00:00Z", installed: {distributionSet: gateway-2-13-0}, actions: [{id: 1,
		source: {kind: Rollout, name: a}, distributionSet: gateway-2-14-0, state: WaitingForConfirmation}], conditions: [` + condition("Consistent", "True", "UpdateSucceeded") + `]}`}},
	"grollout": {{"Rollout", "gateway-firmware-2-14-0-emea", `{update: {distributionSet: gateway-firmware-2-14-0-emea}}`, `{state: Starting, columns: {group: 12 of 40, targets: 40000},
		targets: {targets: 40000, scheduled: 20000, pending: 10000, inProgress: 5000, succeeded: 4000, failed: 500, canceled: 500, skipped: 0, removed: 0}}`}, {"Rollout", "gateway-firmware-2-14",
		`{update: {distributionSet: gateway-firmware-2-14-0-emea}}`, `{state: WaitingForApproval, columns: {targets: 40000},
		targets: {targets: 40000, scheduled: 40000, pending: 0, inProgress: 0, succeeded: 0, failed: 0, canceled: 0, skipped: 0, removed: 0}}`}},
	"tinv": {{"TargetInventory", "line-3-gateway-00017", `{}`, `{contentsHash: "` + hash64 + `", truncated: 1234, history: [{time: "2026-01-01T00:00:00Z"}]}`}},
	"dgroup": {{"DeploymentGroup", "gateway-firmware-2-14-0-emea-00112233-012", `{rollout: gateway-firmware-2-14-0-emea, group: canary-factories-emea, index: 123}`,
		`{state: Scheduled, targets: 20000, openedAt: "2026-01-01T00:00:00Z"}`}},
	"autoassign": {{"AutoAssignment", "new-gateways-of-all-regions", `{update: {distributionSet: gateway-firmware-2-14-0}}`,
		`{state: Running, targets: {matched: 100000, started: 12345, succeeded: 87654, failed: 1}, conditions: [` + condition("Ready", "False", "DistributionSetInvalid") + `]}`}},
	"devacc": {{"DeviceAccess", "gateways-of-all-regions", `{registration: {maxTargets: 100000}}`, `{registered: 100000, conditions: [` + condition("Ready", "False", "InvalidExpression") + `]}`}},
}

func TestTheDefaultViewsFitInto120Columns(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	for short, objects := range crowded {
		for _, want := range objects {
			object := newObject(t, group, want.kind, namespace, want.spec)
			object.SetName(want.name)
			if err := c.Create(t.Context(), object); err != nil {
				t.Fatalf("%s: %v", short, err)
			}
			patchStatus(t, c, object, want.status)
			printed := cluster.Kubectl(t, "-n", namespace, "get", short, want.name)
			for line := range strings.Lines(printed) {
				if width := len(strings.TrimRight(line, " \n")); width > maxColumns {
					t.Errorf("kubectl get %s is %d columns wide, want at most %d:\n%s", short, width, maxColumns, printed)
				}
			}
		}
	}
	if len(crowded) != len(smallest) {
		t.Errorf("%d of %d kinds are measured", len(crowded), len(smallest))
	}
}

// The counts in the default columns of a rollout add up to the column TARGETS, zeros included.
func TestTheCountsInTheColumnsOfARolloutAddUp(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	object := newObject(t, group, "Rollout", namespace, "")
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: object.GetName(), Namespace: namespace}}
	for range 2 { // the second write changes numbers to zeros
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), r); err != nil {
			t.Fatal(err)
		}
		old := r.DeepCopy()
		r.Status.State, r.Status.Columns = v1alpha1.RolloutRunning, &v1alpha1.RolloutColumns{Group: "2 of 5", Targets: 37}
		if old.Status.Targets == nil {
			r.Status.Targets = &v1alpha1.Counts{Targets: 40, Scheduled: 20, Pending: 17, Skipped: 2, Removed: 1}
		} else {
			r.Status.Targets = &v1alpha1.Counts{Targets: 40, Succeeded: 30, Canceled: 7, Skipped: 2, Removed: 1}
		}
		if err := c.Status().Patch(t.Context(), r, client.MergeFrom(old)); err != nil {
			t.Fatal(err)
		}
		header, row := table(cluster.Kubectl(t, "-n", namespace, "get", "grollout", r.Name))
		if len(row) != len(header) {
			t.Fatalf("a column is empty: %q under %q", row, header)
		}
		sum, total := 0, 0
		for i, name := range header {
			switch n, err := strconv.Atoi(row[i]); {
			case err != nil:
			case name == "TARGETS":
				total = n
			default:
				sum += n
			}
		}
		if sum != total || total != 37 {
			t.Errorf("%q under %q: the counts add up to %d, want %d", row, header, sum, total)
		}
	}
}

var (
	gap = regexp.MustCompile(` {2,}`)
	age = regexp.MustCompile(`^[0-9]+[smh]`)
)

// table returns the cells of kubectl's header and first row. Titles of two words are one cell;
// empty cells of the row are left out.
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
