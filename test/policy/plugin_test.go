// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/cli"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// plugin runs `kubectl goshawk` as a user in the namespace of the fleet.
func (f *fleet) plugin(t *testing.T, person string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := cli.NewCommand(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &stdout, ErrOut: &stderr})
	code = cli.Run(t.Context(), root, &stderr, append([]string{"--kubeconfig", cluster.Kubeconfig(t), "--as", person, "-n", f.namespace}, args...))
	return stdout.String(), stderr.String(), code
}

// operations are the operations of the plugin, each on an object in a state in which it makes
// sense.
var operations = map[string]struct {
	kind, given, status string
	// args are the arguments; NAME stands for the name of the object.
	args string
	// field is the field that the operation changes, below spec, and value its value.
	field, value string
	may, refused string
	// others are further users who try it.
	others []string
}{
	"approve": {"Rollout", `{approvalRequired: true}`, `{state: WaitingForApproval, plan: {hash: ` + plan + `, targets: 3, groups: 1}}`,
		"approve NAME --hash sha256:000000000000", "approval.planHash", strings.Trim(plan, `"`), "approver", approves, nil},
	"withdraw an approval": {"Rollout", approved, `{state: Ready, plan: {hash: ` + plan + `}}`, "approve NAME --withdraw", "approval.planHash", "", "approver", approves, nil},
	"start":                {"Rollout", `{state: Planned}`, `{state: Ready}`, "start NAME", "state", "Running", "editor approver stopper", "", nil},
	"pause":                {"Rollout", `{}`, started, "pause NAME", "state", "Paused", "editor approver stopper", "", []string{"viewer"}},
	"resume": {"Rollout", `{state: Paused}`, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Paused, pausedAt: "2026-01-01T03:00:00.000000Z", pauseReason: PausedBySpec}`,
		"resume NAME", "state", "Running", "editor approver stopper", "", nil},
	"end an automatic pause": {"Rollout", `{}`, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Paused, pausedAt: "2026-01-01T03:00:00.500000Z", pauseReason: ErrorThresholdExceeded}`,
		"resume NAME", "resumedAt", "2026-01-01T03:00:00.5Z", "approver", resumes, nil},
	"retry": {"Rollout", `{}`, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Running, targets: {targets: 3, failed: 1}, failures: [{statusCode: "110", count: 1}]}`,
		"retry NAME --code 110", "retry.statusCodes", "110", "editor approver stopper", "", nil},
	"advance": {"Rollout", `{groupCount: 2}`, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Running, groups: [{name: group-1, state: Running, targets: 1, openedAt: "2026-01-01T02:00:00Z"}, {name: group-2, state: Scheduled, targets: 1}]}`,
		"advance NAME", "advance.to", "group-2", "editor approver stopper", "", nil},
	"advance an approved rollout": {"Rollout", approved, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Running, groups: [{name: group-1, state: Scheduled, targets: 1}]}`,
		"advance NAME --to group-1", "advance.to", "group-1", "approver", loosens("advance"), nil},
	"stop":           {"Rollout", `{}`, started, "stop NAME", "state", "Stopped", "editor stopper", stopsSoft, nil},
	"stop with None": {"Rollout", `{}`, started, "stop NAME --type None", "state", "Stopped", "editor approver stopper", "", nil},
	"stop with Force": {"Rollout", `{}`, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Running, targets: {targets: 3, inProgress: 1}}`,
		"stop NAME --type Force --yes", "stopCancellation", "Force", "stopper", stopsForce, nil},
	"raise a stop": {"Rollout", `{state: Stopped}`, `{startedAt: "2026-01-01T02:00:00.000000Z", state: Stopping, stop: {cancellation: Soft, observedAt: "2026-01-01T03:00:00.000000Z"}}`,
		"stop NAME --type Force --yes", "stopCancellation", "Force", "stopper", raisesForce, nil},
	"deny a plan":           {"Rollout", `{approvalRequired: true}`, `{state: WaitingForApproval, plan: {hash: ` + plan + `}}`, "stop NAME", "state", "Stopped", "editor approver stopper", "", nil},
	"hold":                  {"Target", `{}`, "", "hold NAME", "hold", "true", "editor stopper", "", nil},
	"release":               {"Target", `{hold: true}`, "", "release NAME", "hold", "false", "editor stopper", "", nil},
	"invalidate with None":  {"DistributionSet", `{}`, "", "invalidate NAME --type None", "invalidation.cancellation", "None", "editor stopper", "", nil},
	"invalidate with Soft":  {"DistributionSet", `{}`, "", "invalidate NAME --type Soft --reason bricks", "invalidation.reason", "bricks", "stopper", softTargets, nil},
	"invalidate with Force": {"DistributionSet", `{}`, "", "invalidate NAME --type Force --yes", "invalidation.cancellation", "Force", "stopper", forceTargets, nil},
	"invalidate and delete": {"DistributionSet", `{}`, "", "invalidate NAME --type Force --delete-rollouts --yes", "invalidation.deleteRollouts", "true", "editor-stopper", forceTargets, []string{"editor-stopper"}},
}

// Each operation of the plugin as each user: what it says about the rights is what the API server
// then does, and a refusal is the sentence of the API server.
func TestPluginChangesWhatTheUserMayChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for name, story := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, person := range append([]string{"editor", "approver", "stopper"}, story.others...) {
				may := slices.Contains(strings.Fields(story.may), person)
				object := f.object(t, story.kind, newName("plugin"), story.given)
				f.give(t, object, story.status)
				args := strings.Fields(strings.ReplaceAll(story.args, "NAME", object.GetName()))

				out, errOut, code := f.plugin(t, person, append(slices.Clone(args), "-o", "json")...)
				var proposed struct{ operation.Change }
				if err := json.Unmarshal([]byte(out), &proposed); err != nil || code != 0 {
					t.Fatalf("%s: code %d, %s%v", person, code, errOut, err)
				}
				if missing := operation.Missing(proposed.Rights); (len(missing) == 0) != may {
					t.Errorf("%s lacks %v according to the plugin", person, missing)
				}
				if value := f.valueOf(t, object, story.field); value == story.value {
					t.Fatalf("%s: spec.%s is %s without --apply", person, story.field, value)
				}

				_, errOut, code = f.plugin(t, person, append(slices.Clone(args), "--apply")...)
				written := f.valueOf(t, object, story.field) == story.value
				switch {
				case may && (code != 0 || !written):
					t.Errorf("%s may do it: code %d, %swritten: %t", person, code, errOut, written)
				case !may && (code == 0 || written):
					t.Errorf("%s may not do it: code %d, %swritten: %t", person, code, errOut, written)
				case !may && !strings.Contains(errOut, refusalFor(f, person, story.kind, story.refused, errOut)):
					t.Errorf("%s is refused with\n%s", person, errOut)
				}
			}
		})
	}
}

// refusalFor returns the sentence that a refusal must have: that of RBAC for a user who may not
// patch the kind, else that of the policy.
func refusalFor(f *fleet, person, kind, sentence, said string) string {
	if sentence == "" || strings.Contains(said, "cannot patch resource") {
		return `User "` + person + `" cannot patch resource`
	}
	if kind == "DistributionSet" && person == "stopper" { // the only right that a stopper lacks
		sentence = deletes
	}
	return strings.NewReplacer("NS", f.namespace, "WHO", person).Replace(sentence)
}

// valueOf returns a field of the spec of a stored object, or "" if it is not set.
func (f *fleet) valueOf(t *testing.T, object *unstructured.Unstructured, field string) string {
	t.Helper()
	now := object.DeepCopy()
	if err := f.admin.Get(t.Context(), client.ObjectKeyFromObject(object), now); err != nil {
		t.Fatal(err)
	}
	value, found, _ := unstructured.NestedFieldNoCopy(now.Object, append([]string{"spec"}, strings.Split(field, ".")...)...)
	if !found {
		return ""
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(data), `["]`)
}

// The line of kubectl and the YAML for a commit make the same change as --apply.
func TestPluginPrintsWhatKubectlCanApply(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	started := `{startedAt: "2026-01-01T02:00:00.000000Z", state: Running}`
	line, file, applied := f.object(t, "Rollout", newName("line")), f.object(t, "Rollout", newName("file")), f.object(t, "Rollout", newName("applied"))
	for _, object := range []*unstructured.Unstructured{line, file, applied} {
		f.give(t, object, started)
	}
	out, errOut, code := f.plugin(t, "stopper", "stop", line.GetName(), "--type", "Force", "-o", "json")
	var proposed struct{ Kubectl string }
	if err := json.Unmarshal([]byte(out), &proposed); err != nil {
		t.Fatalf("code %d, %s%v", code, errOut, err)
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(proposed.Kubectl, "kubectl ", cluster.KubectlPath(t)+" ", 1)) //nolint:gosec // the line that the test is about
	shell.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(t))
	if said, err := shell.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", proposed.Kubectl, err, said)
	}
	patch, errOut, code := f.plugin(t, "stopper", "stop", file.GetName(), "--type", "Force", "--patch")
	path := filepath.Join(t.TempDir(), "stop.yaml")
	if err := os.WriteFile(path, []byte(patch), 0o600); err != nil || code != 0 {
		t.Fatalf("code %d, %s%v", code, errOut, err)
	}
	cluster.Kubectl(t, "-n", f.namespace, "patch", "rollouts.goshawk.dev", file.GetName(), "--type=merge", "--patch-file="+path)
	if _, errOut, code := f.plugin(t, "stopper", "stop", applied.GetName(), "--type", "Force", "--apply"); code != 0 {
		t.Errorf("code %d, %s", code, errOut)
	}
	for _, object := range []*unstructured.Unstructured{line, file, applied} {
		if state, kind := f.valueOf(t, object, "state"), f.valueOf(t, object, "stopCancellation"); state != "Stopped" || kind != "Force" {
			t.Errorf("%s: state %s, stopCancellation %s", object.GetName(), state, kind)
		}
	}
	if err := f.admin.Get(t.Context(), client.ObjectKeyFromObject(applied), applied); err != nil {
		t.Fatal(err)
	}
	managers := ""
	for _, entry := range applied.GetManagedFields() {
		managers += entry.Manager + " " + strings.Join(operation.SpecFields(&entry), ",") + "; "
	}
	if !strings.Contains(managers, "kubectl-goshawk spec.state,spec.stopCancellation") {
		t.Errorf("the managers are %s", managers)
	}
}

// The role goshawk-reporter is enough to archive a report, and to read it after the deletion of the
// rollout.
func TestPluginArchivesAReport(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.bind(t, "ClusterRole", "goshawk-reporter", "auditor")
	f.waitUntilAllowed(t, "ClusterRole", "goshawk-reporter", rule("get", "targets"))
	object := f.object(t, "Rollout", newName("audited"))
	f.give(t, object, started)
	name := object.GetName()
	if _, errOut, code := f.plugin(t, "viewer", "report", name, "--archive"); code == 0 || !strings.Contains(errOut, `User "viewer" cannot`) {
		t.Errorf("a viewer: code %d, %s", code, errOut)
	}
	for range 2 { // archiving again replaces the report
		if _, errOut, code := f.plugin(t, "auditor", "report", name, "--archive"); code != 0 {
			t.Fatalf("code %d, %s", code, errOut)
		}
	}
	live, errOut, code := f.plugin(t, "auditor", "report", name)
	if code != 0 || strings.Contains(live, "could not be read") {
		t.Errorf("code %d, %s%s", code, errOut, live)
	}
	if err := f.admin.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "the rollout is deleted", func() error {
		return client.IgnoreNotFound(f.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object.DeepCopy()))
	})
	archived, errOut, code := f.plugin(t, "auditor", "report", name)
	if code != 0 || !strings.Contains(archived, "This is the report that was archived at ") || !strings.Contains(archived, "# Rollout "+f.namespace+"/"+name) {
		t.Errorf("code %d, %s%s", code, errOut, archived)
	}
	archives := &corev1.ConfigMapList{}
	if err := f.admin.List(t.Context(), archives, client.InNamespace(f.namespace), client.HasLabels{"goshawk.dev/report"}); err != nil || len(archives.Items) != 1 {
		t.Errorf("%d archives, %v", len(archives.Items), err)
	}
}
