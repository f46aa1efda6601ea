// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// A guard is the rule that protects one field of an approved rollout that has started from a change
// without the approver.
type guard struct {
	given  string // fields in addition to the approval
	when   string // the change that an editor commits
	back   string // the opposite change, which needs no approval, or ""
	as     string // the name in the refusal of the policy, or "": see frozen and free
	frozen bool   // the schema refuses the change after the start, for all users
	free   string // why the field needs no guard
}

const (
	window  = `update: {maintenanceWindow: {schedule: "0 2 * * *", durationSeconds: 600, timeZone: Europe/Berlin}}`
	removal = `update: {distributionSet: null, remove: [{group: g, name: app, version: "1", type: t}]}`
	retries = `update: {retries: {limit: 1, backoffSeconds: 60, statusCodes: [a], messages: [m]}}`
)

func frozen(given, when string) guard { return guard{given: given, when: when, frozen: true} }

// guards has an entry for every field of a Rollout's spec, by its path.
var guards = map[string]guard{
	"update.distributionSet":                   frozen(``, `{update: {distributionSet: other}}`),
	"update.remove.group":                      frozen(removal, `{update: {remove: [{group: h, name: app, version: "1", type: t}]}}`),
	"update.remove.name":                       frozen(removal, `{update: {remove: [{group: g, name: lib, version: "1", type: t}]}}`),
	"update.remove.version":                    frozen(removal, `{update: {remove: [{group: g, name: app, version: "2", type: t}]}}`),
	"update.remove.type":                       frozen(removal, `{update: {remove: [{group: g, name: app, version: "1"}]}}`),
	"update.finishedWarning":                   frozen(`update: {finishedWarning: Failure}`, `{update: {finishedWarning: Success}}`),
	"update.type":                              {given: `update: {type: Soft}`, when: `{update: {type: Forced}}`, as: "update.type"},
	"update.forceAt":                           frozen(`update: {type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}`, `{update: {forceAt: "2026-11-01T02:00:00Z"}}`),
	"update.weight":                            frozen(`update: {weight: 1}`, `{update: {weight: 2}}`),
	"update.confirmationRequired":              frozen(`update: {confirmationRequired: true}`, `{update: {confirmationRequired: false}}`),
	"update.maintenanceWindow.schedule":        frozen(window, `{update: {maintenanceWindow: {schedule: "* * * * *"}}}`),
	"update.maintenanceWindow.durationSeconds": frozen(window, `{update: {maintenanceWindow: {durationSeconds: 6000}}}`),
	"update.maintenanceWindow.timeZone":        frozen(window, `{update: {maintenanceWindow: {timeZone: UTC}}}`),
	"update.superseding":                       frozen(`update: {superseding: Queue}`, `{update: {superseding: Replace}}`),
	"update.reinstall":                         frozen(``, `{update: {reinstall: true}}`),
	"update.startDeadlineSeconds":              frozen(`update: {startDeadlineSeconds: 60}`, `{update: {startDeadlineSeconds: null}}`),
	"update.startDeadlineAction":               frozen(`update: {startDeadlineSeconds: 60}`, `{update: {startDeadlineAction: Skip}}`),
	"update.progressDeadlineSeconds":           frozen(`update: {progressDeadlineSeconds: 60}`, `{update: {progressDeadlineSeconds: 600}}`),
	"update.cancelDeadlineSeconds":             frozen(`update: {cancelDeadlineSeconds: 60}`, `{update: {cancelDeadlineSeconds: 600}}`),
	"update.retries.limit":                     frozen(retries, `{update: {retries: {limit: 10}}}`),
	"update.retries.backoffSeconds":            frozen(retries, `{update: {retries: {backoffSeconds: 0}}}`),
	"update.retries.statusCodes":               frozen(retries, `{update: {retries: {statusCodes: null}}}`),
	"update.retries.messages":                  frozen(retries, `{update: {retries: {messages: [m, other]}}}`),
	"targetSelector.matchLabels":               frozen(`targetSelector: {matchLabels: {a: b}}`, `{targetSelector: {matchLabels: {a: c}}}`),
	"targetSelector.matchExpressions.key":      frozen(`targetSelector: {matchExpressions: [{key: a, operator: Exists}]}`, `{targetSelector: {matchExpressions: [{key: b, operator: Exists}]}}`),
	"targetSelector.matchExpressions.operator": frozen(`targetSelector: {matchExpressions: [{key: a, operator: Exists}]}`, `{targetSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}`),
	"targetSelector.matchExpressions.values":   frozen(`targetSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}`, `{targetSelector: {matchExpressions: [{key: a, operator: In, values: [c]}]}}`),
	"targetExpression":                         frozen(`targetExpression: target.type == "a"`, `{targetExpression: null}`),
	"groupCount":                               frozen(`groupCount: 3`, `{groupCount: 1}`),

	"groups.name":                                     frozen(`groups: [{name: a}]`, `{groups: [{name: b}]}`),
	"groups.percentage":                               frozen(`groups: [{name: a, percentage: 5}, {name: b}]`, `{groups: [{name: a, percentage: 50}, {name: b}]}`),
	"groups.targetSelector.matchLabels":               frozen(`groups: [{name: a, targetSelector: {matchLabels: {a: b}}}]`, `{groups: [{name: a, targetSelector: {matchLabels: {a: c}}}]}`),
	"groups.targetSelector.matchExpressions.key":      frozen(`groups: [{name: a, targetSelector: {matchExpressions: [{key: a, operator: Exists}]}}]`, `{groups: [{name: a, targetSelector: {matchExpressions: [{key: b, operator: Exists}]}}]}`),
	"groups.targetSelector.matchExpressions.operator": frozen(`groups: [{name: a, targetSelector: {matchExpressions: [{key: a, operator: Exists}]}}]`, `{groups: [{name: a, targetSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]}`),
	"groups.targetSelector.matchExpressions.values":   frozen(`groups: [{name: a, targetSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}]`, `{groups: [{name: a, targetSelector: {matchExpressions: [{key: a, operator: In, values: [c]}]}}]}`),
	"groups.targetExpression":                         frozen(`groups: [{name: a, targetExpression: target.type == "a"}]`, `{groups: [{name: a}]}`),

	"groups.successThreshold":     {given: `groups: [{name: a, successThreshold: 90}]`, when: groups(`{name: a, successThreshold: 89}`), back: groups(`{name: a, successThreshold: 91}`), as: "the conditions of group a"},
	"groups.successAction":        {given: `groups: [{name: a, successAction: Pause}]`, when: groups(`{name: a}`), as: "the conditions of group a"},
	"groups.errorThreshold":       {given: `groups: [{name: a, errorThreshold: 5}]`, when: groups(`{name: a}`), back: groups(`{name: a, errorThreshold: 4}`), as: "the conditions of group a"},
	"groups.errorAction":          {given: `groups: [{name: a}]`, when: groups(`{name: a, errorAction: Pause}`), free: "Pause is the only value"},
	"groups.confirmationRequired": {given: `groups: [{name: a, confirmationRequired: true}]`, when: groups(`{name: a, confirmationRequired: false}`), as: "the conditions of group a"},

	"groupOrder":          frozen(`groupOrder: Name`, `{groupOrder: Hash}`),
	"successThreshold":    {given: `successThreshold: 90`, when: `{successThreshold: 89}`, back: `{successThreshold: 91}`, as: "successThreshold"},
	"successAction":       {given: `successAction: Pause`, when: `{successAction: NextGroup}`, as: "successAction"},
	"errorThreshold":      {given: `errorThreshold: 5`, when: `{errorThreshold: 6}`, back: `{errorThreshold: 4}`, as: "errorThreshold"},
	"errorAction":         {when: `{errorAction: Pause}`, free: "Pause is the only value"},
	"minimumReports":      {given: `minimumReports: 10`, when: `{minimumReports: 11}`, back: `{minimumReports: 9}`, as: "minimumReports"},
	"errorBudget.percent": {given: `errorBudget: {percent: 2}`, when: `{errorBudget: {percent: 3}}`, back: `{errorBudget: {percent: 1}}`, as: "errorBudget"},
	"errorBudget.count":   {given: `errorBudget: {count: 2}`, when: `{errorBudget: null}`, back: `{errorBudget: {count: 1}}`, as: "errorBudget"},
	"dynamic.groupSize":   {given: `dynamic: {groupSize: 5}`, when: `{dynamic: {groupSize: 6}}`, back: `{dynamic: {groupSize: 4}}`, as: "dynamic"},
	"dynamic.maxTargets":  {given: `dynamic: {maxTargets: 5}`, when: `{dynamic: {maxTargets: 6}}`, back: `{dynamic: {maxTargets: 4}}`, as: "dynamic"},
	"dynamic.until":       {given: `dynamic: {until: "2026-12-01T02:00:00Z"}`, when: `{dynamic: {until: "2026-12-01T02:00:01Z"}}`, back: `{dynamic: {until: "2026-12-01T01:59:59Z"}}`, as: "dynamic"},

	"stabilizationSeconds": {when: `{stabilizationSeconds: 0}`, free: "it has no effect after the plan is made"},
	"state":                {when: `{state: Paused}`, free: "every user who may write a rollout may pause it; a stop needs rights over targets"},
	"startAt":              {given: `startAt: "2026-12-01T02:00:00Z"`, when: `{startAt: "2026-12-01T03:00:00Z"}`, back: `{startAt: "2026-12-01T03:00:00+01:00"}`, as: "startAt"},
	"approvalRequired":     {when: `{approvalRequired: true}`, free: "its withdrawal needs approve"},
	"approval.planHash":    {when: `{approval: {planHash: ` + plan + `}}`, free: "its change needs approve"},
	"resumedAt":            {given: `resumedAt: "2026-12-01T02:00:00Z"`, when: `{resumedAt: null}`, free: "a new one needs resume"},
	"advance.to":           {given: `advance: {to: a, at: "2026-12-01T02:00:00Z"}`, when: `{advance: {to: b}}`, back: `{advance: null}`, as: "advance"},
	"advance.at":           {given: `advance: {to: a, at: "2026-12-01T02:00:00Z"}`, when: `{advance: {at: "2026-12-01T03:00:00Z"}}`, as: "advance"},
	"retry.at":             {when: `{retry: {at: "2026-12-01T02:00:00Z"}}`, free: "it offers the approved update to approved members again"},
	"retry.statusCodes":    {when: `{retry: {at: "2026-12-01T02:00:00Z", statusCodes: [a]}}`, free: "it offers the approved update to approved members again"},
	"retry.messages":       {when: `{retry: {at: "2026-12-01T02:00:00Z", messages: [m]}}`, free: "it offers the approved update to approved members again"},
	"stopCancellation":     {given: `stopCancellation: Soft`, when: `{stopCancellation: None}`, as: "stopCancellation"},
	"deletionCancellation": {given: `deletionCancellation: Soft`, when: `{deletionCancellation: None}`, as: "deletionCancellation"},
}

// pathsOf lists the fields of a type that hold a value.
func pathsOf(path string, typ reflect.Type) []string {
	switch {
	case typ == reflect.TypeFor[metav1.Time]():
		return []string{path}
	case typ.Kind() == reflect.Pointer, typ.Kind() == reflect.Slice:
		return pathsOf(path, typ.Elem())
	case typ.Kind() != reflect.Struct:
		return []string{path}
	}
	var paths []string
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		paths = append(paths, pathsOf(strings.Trim(strings.TrimSuffix(path, ".")+"."+name, "."), typ.Field(i).Type)...)
	}
	return paths
}

// TestEveryFieldOfAnApprovedRolloutIsGuarded: after the start the plan hash has no effect. The
// fields that an approver relied on are frozen by the schema or checked by the policy. A new field
// fails this test until one of them has it, or guards says why it needs no guard.
func TestEveryFieldOfAnApprovedRolloutIsGuarded(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	paths := pathsOf("", reflect.TypeFor[v1alpha1.RolloutSpec]())
	for _, path := range paths {
		if _, ok := guards[path]; !ok {
			t.Errorf("spec.%s: guards has no entry for it: add what loosens it to config/policy/rollouts.yaml, or say here why it needs no guard", path)
		}
	}
	if len(guards) != len(paths) {
		t.Errorf("%d guards for %d fields", len(guards), len(paths))
	}
	for path, g := range guards {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			given := fmt.Sprintf(`{approvalRequired: true, approval: {planHash: %s}, %s}`, plan, g.given)
			commit := func(person, when string) error {
				name := newName("Rollout")
				f.give(t, f.object(t, "Rollout", name, given), started)
				return serverSideApply(t.Context(), f.as(t, person), f.object(t, "Rollout", name, given, when))
			}
			switch err := commit("editor", g.when); {
			case g.as != "":
				f.wantRefused(t, err, "editor", loosens(g.as))
				f.wantRefused(t, commit("approver", g.when), "approver", "")
			case g.frozen:
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "is immutable once the rollout has started") {
					t.Errorf("the error for the edit is %v, want it frozen", err)
				}
			case g.free == "":
				t.Error("the field is neither guarded nor free with a reason")
			default:
				f.wantRefused(t, err, "editor", "")
			}
			if g.back != "" {
				f.wantRefused(t, commit("editor", g.back), "editor", "")
			}
		})
	}
}

// TestLoosenedConditionsOfAnApprovedRollout has the cases that
// TestEveryFieldOfAnApprovedRolloutIsGuarded cannot test with one edit.
func TestLoosenedConditionsOfAnApprovedRollout(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for name, edit := range map[string]edit{
		"an earlier start":                    {given: `startAt: "2026-12-01T02:00:00Z"`, when: `{startAt: "2026-12-01T01:00:00Z"}`, may: "approver", refused: loosens("startAt")},
		"the start time is removed":           {given: `startAt: "2026-12-01T02:00:00Z"`, when: `{startAt: null}`, may: "approver", refused: loosens("startAt")},
		"a later start":                       {given: `startAt: "2026-12-01T02:00:00Z"`, when: `{startAt: "2026-12-01T03:00:00Z"}`, may: "editor approver stopper"},
		"a start time is added":               {when: `{startAt: "2026-12-01T02:00:00Z"}`, may: "editor approver stopper"},
		"the same start in another notation":  {given: `startAt: "2026-12-01T02:00:00Z"`, when: `{startAt: "2026-12-01T03:00:00+01:00"}`, may: "editor approver stopper"},
		"startAt is added after the start":    {status: started, when: `{startAt: "2026-12-01T02:00:00Z"}`, may: "approver", refused: loosens("startAt")},
		"startAt is removed after the start":  {given: `startAt: "2026-12-01T02:00:00Z"`, status: started, when: `{startAt: null}`, may: "approver", refused: loosens("startAt")},
		"a lower stopCancellation":            {given: `stopCancellation: Force`, status: started, when: `{stopCancellation: Soft}`, may: "approver", refused: loosens("stopCancellation")},
		"a stop with None":                    {given: `stopCancellation: Force`, status: started, when: `{state: Stopped, stopCancellation: None}`, may: "editor approver stopper"},
		"a lower deletionCancellation":        {given: `deletionCancellation: Force`, status: started, when: `{deletionCancellation: None}`, may: "approver", refused: loosens("deletionCancellation")},
		"default values are written":          {status: started, when: `{errorThreshold: 50, successThreshold: 50, successAction: NextGroup, minimumReports: 0, update: {type: Forced}, stopCancellation: Soft, deletionCancellation: None}`, may: "editor approver stopper"},
		"a stricter default replaces a value": {given: `minimumReports: 5, errorThreshold: 60`, status: started, when: `{minimumReports: null, errorThreshold: null}`, may: "editor approver stopper"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edit.given = `{approval: {planHash: ` + plan + `}, ` + edit.given + `}`
			for _, person := range writers["Rollout"] {
				f.change(t, "server-side apply", writeFuncs["server-side apply"], "Rollout", person, edit)
			}
		})
	}
}

// TestTwoPeople applies the example of docs/rights.md: an approver does not edit, and an editor
// does not approve. The policy applies to one namespace here, so that it does not affect the other
// tests.
func TestTwoPeople(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const refusal = "WHO may approve rollouts and so may change only approval, approvalRequired, resumedAt, advance, state, stopCancellation of one: " +
		"a person without the verb approve must commit the rest"
	edits := map[string]struct{ person, when, refused string }{
		"an approver approves":           {"approver", `{approval: {planHash: ` + plan + `}}`, ""},
		"an approver resumes and pauses": {"approver", `{resumedAt: "2026-12-01T02:00:00Z", state: Paused}`, ""},
		"an approver edits":              {"approver", `{errorThreshold: 1}`, refusal},
		"an approver removes a field":    {"approver", `{errorBudget: null}`, refusal},
		"an approver edits and approves": {"approver", `{approval: {planHash: ` + plan + `}, groupCount: 9}`, refusal},
		"an editor and approver edits":   {"editor-approver", `{groupCount: 9}`, refusal},
		"an editor edits":                {"editor", `{groupCount: 9}`, ""},
		"an editor approves":             {"editor", `{approval: {planHash: ` + plan + `}}`, approves},
		"a stopper pauses":               {"stopper", `{state: Paused}`, ""},
	}
	// The policy also refuses edits of the administrator, so all rollouts are created first.
	const given = `{approvalRequired: true, errorBudget: {count: 5}}`
	rollouts := map[string]string{}
	for name := range edits {
		rollouts[name] = newName("Rollout")
		f.give(t, f.object(t, "Rollout", rollouts[name], given), "")
	}
	policy := recipe(t, "docs/rights.md", "kind: ValidatingAdmissionPolicy\n")
	policy = strings.Replace(policy, "resourceRules:", "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+f.namespace+"}}\n    resourceRules:", 1)
	if _, err := cluster.TryKubectl(t, policy, "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "the policy refuses", func() error {
		if err := f.as(t, "editor-approver").Create(t.Context(), f.object(t, "Rollout", newName("Rollout")), client.DryRunAll); err == nil {
			return errors.New("an approver can create a rollout")
		}
		return nil
	})
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			manifest := f.object(t, "Rollout", rollouts[name], given, edit.when)
			f.wantRefused(t, serverSideApply(t.Context(), f.as(t, edit.person), manifest), edit.person, edit.refused)
		})
	}
}

// recipe returns the code block of a page that contains a text, without its indentation.
func recipe(t *testing.T, page, contains string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), page))
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 1 && strings.Contains(block, contains) {
			_, block, _ = strings.Cut(block, "\n")
			indent := block[:len(block)-len(strings.TrimLeft(block, " "))]
			return strings.ReplaceAll("\n"+block, "\n"+indent, "\n")
		}
	}
	t.Fatalf("%s has no code block with %q", page, contains)
	return ""
}
