// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// One edit for every guarded field with the commands that people and GitOps tools use: each command
// of kubectl prints the refusal.
func TestKubectlPrintsTheRefusal(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for name, story := range map[string]struct{ command, kind, edit, may string }{
		"a plan is approved":                               {"apply", "Rollout", "a plan is approved", "approver"},
		"a pause is ended":                                 {"apply --server-side", "Rollout", "an automatic pause is ended", "approver"},
		"an approved rollout is loosened":                  {"replace", "Rollout", "one condition is tightened and two loosened", "approver"},
		"a rollout is stopped by force":                    {"apply", "Rollout", "a stop with Force", "stopper"},
		"deletionCancellation is set":                      {"create", "Rollout", "deletionCancellation Force", "editor-stopper"},
		"an action is force-canceled":                      {"apply --server-side", "Target", "an action is force-canceled", "stopper"},
		"an action is force-canceled by client-side apply": {"apply", "Target", "an action is force-canceled", "stopper"},
		"a dry run":            {"apply --dry-run=server", "DistributionSet", "a set is invalidated: Soft", "stopper"},
		"a set is invalidated": {"apply --server-side", "DistributionSet", "a set is invalidated: Force", "stopper"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edit := updates[story.kind][story.edit]
			for person, refusal := range map[string]string{"editor": edit.refused, story.may: ""} {
				name := newName(story.kind)
				if story.command != "create" {
					f.give(t, f.object(t, story.kind, name, orEmpty(edit.given)), edit.status)
				}
				manifest := f.object(t, story.kind, name, orEmpty(edit.given), edit.when)
				f.wantRefused(t, kubectl(t, person, manifest, story.command), person, refusal)
			}
		})
	}
}

// kubectl runs one of kubectl's commands on a manifest as a user.
func kubectl(t *testing.T, person string, manifest *unstructured.Unstructured, command string, flags ...string) error {
	t.Helper()
	text, err := yaml.Marshal(manifest.Object)
	if err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{"--as", person}, strings.Fields(command)...), flags...)
	_, err = cluster.TryKubectl(t, string(text), append(args, "-f", "-")...)
	return err
}

// fullSpecs has a spec of each kind with every guarded field, which a user with all rights has
// applied.
var fullSpecs = map[string]string{
	"DistributionSet": `{invalidation: {cancellation: Force, deleteRollouts: true, reason: bricks the modem}}`,
	"Target":          `{cancel: {upTo: 17, cancellation: Force}}`,
	"Rollout": `{state: Stopped, stopCancellation: Force, deletionCancellation: Force, approvalRequired: true, approval: {planHash: ` + plan + `},
		resumedAt: "2026-12-01T02:00:00Z", advance: {to: group-1, at: "2026-12-01T02:00:00Z"}, ` + strict + `}`,
}

// A GitOps tool applies its whole folder again every few minutes, with its own rights.
func TestUnchangedManifestsNeedNoRight(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for kind, spec := range fullSpecs {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			manifest := f.object(t, kind, newName(kind), spec)
			f.give(t, manifest, "")
			before := f.generation(t.Context(), t, manifest)
			for by, writeFunc := range writeFuncs {
				for _, person := range writers[kind] {
					if err := writeFunc(t, f.as(t, person), manifest, manifest); err != nil {
						t.Errorf("%s by %s: %v", by, person, err)
					}
				}
			}
			for _, command := range []string{"apply --server-side", "apply"} {
				if err := kubectl(t, "editor", manifest, command); err != nil {
					t.Error(err)
				}
			}
			if after := f.generation(t.Context(), t, manifest); after != before {
				t.Errorf("generation %d became %d", before, after)
			}
			labelled := manifest.DeepCopy()
			labelled.SetLabels(map[string]string{"ring": "canary"})
			if err := serverSideApply(t.Context(), f.as(t, "editor"), labelled); err != nil {
				t.Errorf("a label needs a right: %v", err)
			}
		})
	}
}

// The rights for an invalidation are those of hawkBit. Each user has another combination of them.
func TestW18_RightsForInvalidations(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	sets, targets, rollouts := rule("create update patch", "distributionsets"), rule("update", "targets"), rule("update", "rollouts")
	people := map[string]struct {
		rules                       []rbacv1.PolicyRule
		none, soft, force, deleting string // the refusal, or "" if it is accepted
	}{
		"sets":                      {rules: []rbacv1.PolicyRule{sets}, soft: softTargets, force: forceTargets, deleting: forceTargets},
		"sets-and-targets":          {rules: []rbacv1.PolicyRule{sets, targets}, soft: softRollouts, force: forceRollout, deleting: forceRollout},
		"sets-and-rollouts":         {rules: []rbacv1.PolicyRule{sets, rollouts}, soft: softTargets, force: forceTargets, deleting: forceTargets},
		"sets-targets-and-rollouts": {rules: []rbacv1.PolicyRule{sets, targets, rollouts}, deleting: deletes},
		"all-and-deletion":          {rules: []rbacv1.PolicyRule{sets, targets, rollouts, rule("delete", "rollouts")}},
		"targets-by-name-only": {rules: []rbacv1.PolicyRule{sets, rollouts, {APIGroups: targets.APIGroups, Resources: targets.Resources, Verbs: targets.Verbs, ResourceNames: []string{"dev-17"}}},
			soft: softTargets, force: forceTargets, deleting: forceTargets},
		"verbs-that-mean-devices": {rules: []rbacv1.PolicyRule{sets, rollouts, rule("patch cancel forcecancel", "targets")}, soft: softTargets, force: forceTargets, deleting: forceTargets},
	}
	for person, story := range people {
		f.bindRules(t, person, story.rules...)
		t.Run(person, func(t *testing.T) {
			t.Parallel()
			for invalidation, sentence := range map[string]string{
				`{cancellation: None}`:                        story.none,
				`{cancellation: Soft}`:                        story.soft,
				`{cancellation: Force}`:                       story.force,
				`{cancellation: Force, deleteRollouts: true}`: story.deleting,
			} {
				set := f.object(t, "DistributionSet", newName("set"))
				f.give(t, set, "")
				invalid := f.object(t, "DistributionSet", set.GetName(), `{invalidation: `+invalidation+`}`)
				f.wantRefused(t, serverSideApply(t.Context(), f.as(t, person), invalid), person, sentence)

				created := f.object(t, "DistributionSet", newName("set"), `{invalidation: `+invalidation+`}`)
				f.wantRefused(t, f.as(t, person).Create(t.Context(), created), person, sentence)
			}
		})
	}
}

// The right to create a set is not enough to create it with an invalidation, because that also
// invalidates other sets of the same name, version and type.
func TestRightToCreateSetsIsNotEnoughToInvalidate(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.bindRules(t, "creator", rule("create", "distributionsets"))
	creator := f.as(t, "creator")
	f.wantRefused(t, creator.Create(t.Context(), f.object(t, "DistributionSet", "created-valid")), "creator", "")
	f.wantRefused(t, creator.Create(t.Context(), f.object(t, "DistributionSet", "created-invalid", `{invalidation: {cancellation: None}}`)), "creator", createdInvalid)
}

// With resourceNames a user may approve and resume only one rollout, or cancel only on one target.
func TestARightMayBeGivenForOneObject(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	only := func(name, verbs, resource string) rbacv1.PolicyRule {
		narrow := rule(verbs, resource)
		narrow.ResourceNames = []string{name}
		return narrow
	}
	f.bindRules(t, "narrow", rule("patch", "rollouts", "targets"), only("mine", "approve resume", "rollouts"), only("mine", "cancel forcecancel", "targets"))
	c := f.as(t, "narrow")
	for name, mine := range map[string]bool{"mine": true, "yours": false} {
		refusalOf := func(sentence string) string {
			if mine {
				return ""
			}
			return sentence
		}
		f.give(t, f.object(t, "Rollout", name), started)
		f.give(t, f.object(t, "Target", name), "")
		f.wantRefused(t, serverSideApply(t.Context(), c, f.object(t, "Rollout", name, `{approval: {planHash: `+plan+`}}`)), "narrow", refusalOf(approves))
		f.wantRefused(t, serverSideApply(t.Context(), c, f.object(t, "Target", name, `{cancel: {upTo: 17, cancellation: Force}}`)), "narrow", refusalOf(forceCancels))
		// A stop affects every device of the rollout, so a right over one device is not enough.
		f.wantRefused(t, serverSideApply(t.Context(), c, f.object(t, "Rollout", name, `{state: Stopped}`)), "narrow", stopsSoft)
	}
}

// Goshawk writes no guarded field. It needs no further right for its writes, whatever users have
// committed before, and has the rights for the deletion of a rollout.
func TestGoshawksOwnWritesAreAccepted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	manager, deviceAPI := goshawk(t, f, "goshawk-manager"), goshawk(t, f, "goshawk-device-api")
	for kind, spec := range fullSpecs {
		t.Run(kind, func(t *testing.T) {
			object := f.object(t, kind, newName(kind), spec)
			given := ""
			if kind == "Rollout" {
				given = started
			}
			f.give(t, object, given)
			status := mergePatch(t, map[string]any{"status": map[string]any{"observedGeneration": 1}})
			if err := manager.Status().Patch(t.Context(), object.DeepCopy(), status); err != nil {
				t.Errorf("a write of status by the controllers: %v", err)
			}
			if kind == "Target" {
				if err := deviceAPI.Status().Patch(t.Context(), object.DeepCopy(), status); err != nil {
					t.Errorf("a write of status by the device API: %v", err)
				}
				return // A Target has no finalizer.
			}
			for _, finalizers := range [][]any{{"goshawk.dev/test"}, nil} {
				patch := mergePatch(t, map[string]any{"metadata": map[string]any{"finalizers": finalizers}})
				if err := manager.Patch(t.Context(), object.DeepCopy(), patch); err != nil {
					t.Errorf("finalizers %v: %v", finalizers, err)
				}
			}
			if kind == "Rollout" {
				if err := manager.Delete(t.Context(), object); err != nil {
					t.Errorf("the deletion of a rollout because of deleteRollouts: %v", err)
				}
			}
		})
	}
}

// goshawk returns a client of one of Goshawk's service accounts with the rights of config/rbac.
func goshawk(t *testing.T, f *fleet, account string) client.Client {
	t.Helper()
	const system = "goshawk-system"
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}
	if err := f.admin.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "apply", "--server-side", "-k", filepath.Join(cluster.Root(), "config", "rbac"))
	user := "system:serviceaccount:" + system + ":" + account
	c := f.as(t, user, "system:serviceaccounts", "system:serviceaccounts:"+system)
	// The first read that is allowed shows that the new binding is in force.
	f.eventually(t, account+" may read", func() error {
		return c.List(t.Context(), listOf("Target"), client.InNamespace(f.namespace))
	})
	return c
}

// The schema has this rule, so it applies to all users, also without a policy. When the
// invalidation is recorded, its removal has no effect and is accepted from every user who may write
// the set. To set the field again, or with another value, needs the rights each time.
func TestAnInvalidationIsRevertedOnceItIsRecorded(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const sentence = "invalidation is immutable: an invalidated set is never valid again; put the field back, and create another DistributionSet"
	for _, command := range []string{"apply", "apply --server-side --force-conflicts", "replace"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			object := newName("set")
			manifest := func(spec string) *unstructured.Unstructured { return f.object(t, "DistributionSet", object, spec) }
			apply := func(person, spec string) error { return kubectl(t, person, manifest(spec), command) }
			f.give(t, manifest("{}"), "")
			wants := func(what string, err error, part string) {
				t.Helper()
				if part == "" && err != nil || part != "" && (err == nil || !strings.Contains(err.Error(), part)) {
					t.Errorf("%s: got %v, want %q", what, err, part)
				}
			}
			wants("the invalidation", apply("stopper", `{invalidation: {cancellation: Force}}`), "")
			wants("the revert before it is recorded", apply("stopper", `{description: the revert}`), sentence)
			forged := manifest(`{description: the revert}`)
			forged.Object["status"] = map[string]any{"invalidation": map[string]any{"cancellation": "Force", "recorded": map[string]any{"cancellation": "Force"}}}
			wants("the revert with a forged record", kubectl(t, "stopper", forged, command), sentence)

			cluster.Kubectl(t, "-n", f.namespace, "patch", "distset", object, "--subresource=status", "--type=merge",
				"-p", `{"status":{"invalidation":{"cancellation":"Force","recorded":{"cancellation":"Force"}}}}`)
			forged.Object["status"] = map[string]any{"invalidation": nil}
			wants("the revert with an empty record", kubectl(t, "editor", forged, command), "")
			if got := cluster.Kubectl(t, "-n", f.namespace, "get", "distset", object, "-o", "jsonpath={.spec.invalidation} {.status.invalidation.recorded.cancellation}"); got != " Force" {
				t.Errorf("spec and record are %q", got)
			}
			wants("an editor who sets it again", apply("editor", `{invalidation: {cancellation: Force}}`), "needs the right to update targets")
			wants("a stopper who sets it again", apply("stopper", `{invalidation: {cancellation: Force}}`), "")
			wants("an editor who changes the reason", apply("editor", `{invalidation: {cancellation: Force, reason: other}}`), "")
			wants("an editor who wants no rollouts cancelled", apply("editor", `{invalidation: {cancellation: None}}`), "")
			wants("an editor who deletes rollouts", apply("editor", `{invalidation: {cancellation: Force, deleteRollouts: true}}`), "needs the right to update targets")
			wants("an editor who removes it", apply("editor", `{}`), "")
		})
	}
}

// The same with a stop of an approved rollout: its revert needs no right over devices and no
// approval; to stop again needs them.
func TestAStopIsRevertedOnceItIsRecorded(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const sentence = "state Stopped is final: it is immutable; put it back, and create another Rollout"
	for _, command := range []string{"apply", "apply --server-side --force-conflicts", "replace"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			object := newName("rollout")
			approved := `{approval: {planHash: "sha256:` + strings.Repeat("0", 64) + `"}}`
			manifest := func(spec string) *unstructured.Unstructured { return f.object(t, "Rollout", object, approved, spec) }
			apply := func(person, spec string) error { return kubectl(t, person, manifest(spec), command) }
			f.give(t, manifest("{}"), `{startedAt: "2026-01-01T00:00:00.000000Z", state: Running}`)
			wants := func(what string, err error, part string) {
				t.Helper()
				if part == "" && err != nil || part != "" && (err == nil || !strings.Contains(err.Error(), part)) {
					t.Errorf("%s: got %v, want %q", what, err, part)
				}
			}
			wants("the stop", apply("stopper", `{state: Stopped, stopCancellation: Force}`), "")
			wants("the revert before it is recorded", apply("stopper", `{}`), sentence)
			forged := manifest(`{}`)
			forged.Object["status"] = map[string]any{"state": "Finished", "stop": map[string]any{"cancellation": "Force", "observedAt": "2026-01-01T00:00:00.000000Z"}}
			wants("the revert with a forged record", kubectl(t, "stopper", forged, command), sentence)
			cluster.Kubectl(t, "-n", f.namespace, "patch", "rollouts.goshawk.dev", object, "--subresource=status", "--type=merge",
				"-p", `{"status":{"state":"Stopping","stop":{"cancellation":"Force","observedAt":"2026-01-01T00:00:00.000000Z"}}}`)
			wants("an editor who lowers it", apply("editor", `{state: Stopped, stopCancellation: None}`), "")
			wants("an editor who reverts it", apply("editor", `{}`), "")
			wants("an editor who stops by force again", apply("editor", `{state: Stopped, stopCancellation: Force}`), "needs the verb forcecancel on targets")
			wants("a stopper who stops by force again", apply("stopper", `{state: Stopped, stopCancellation: Force}`), "")
		})
	}
}

// An on-call engineer writes a field with kubectl. The GitOps tool continues to apply a manifest
// without the field, and does not remove it.
func TestAFieldWrittenWithKubectlStays(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	set := f.object(t, "DistributionSet", "firmware-2-1")
	if err := serverSideApply(t.Context(), f.as(t, "editor"), set); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "--as", "stopper", "-n", f.namespace, "patch", "distributionset", "firmware-2-1", "--type=merge", "--field-manager=on-call",
		"-p", `{"spec":{"invalidation":{"cancellation":"Force","reason":"bricks the modem"}}}`)
	if err := serverSideApply(t.Context(), f.as(t, "editor"), set); err != nil {
		t.Errorf("the GitOps tool is refused: %v", err)
	}
	if got := cluster.Kubectl(t, "-n", f.namespace, "get", "distset", "firmware-2-1", "-o", "jsonpath={.spec.invalidation.cancellation} {.spec.version}"); got != "Force 2.1" {
		t.Errorf("the set has %q", got)
	}
}

// config/default contains the policies, also in an overlay with another namespace.
func TestDefaultContainsThePolicies(t *testing.T) {
	t.Parallel()
	cluster.Start(t)
	overlay := t.TempDir()
	relative, err := filepath.Rel(overlay, filepath.Join(cluster.Root(), "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	kustomization := "namespace: elsewhere\nresources: [" + relative + "]\n"
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "create", "namespace", "elsewhere")
	applied := strings.Fields(cluster.Kubectl(t, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "name", "-k", overlay))
	for _, kind := range []string{"validatingadmissionpolicy", "validatingadmissionpolicybinding"} {
		for _, name := range []string{"distributionsets.rights", "targets.rights", "rollouts.rights", "deletions.rights", "owners.rights", "terminating"} {
			want := kind + ".admissionregistration.k8s.io/" + name + ".goshawk.dev"
			if !slices.Contains(applied, want) {
				t.Errorf("config/default does not contain %s", want)
			}
		}
	}
}
