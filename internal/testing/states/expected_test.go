// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package states

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var update = flag.Bool("update", false, "write health_test.yaml, argocd-cm.yaml and docs/states/objects.md")

const root = "../../.."

// result is what tools conclude from one object.
type result struct {
	// Kstatus is the status by kstatus, which Flux and kubectl plugins use.
	Kstatus string
	// Argo is the health by Argo CD with the shipped scripts.
	Argo string
	// Fleet is the status by Flux with the shipped health checks, which wait for the fleet. For a
	// kind without a check it is that of kstatus.
	Fleet string
}

// The results that have a name. An object of a kind that Flux has no check for uses its kstatus.
var (
	unseen     = result{"InProgress", "Progressing", "InProgress"}
	preparing  = result{"InProgress", "Progressing", "InProgress"}
	suspended  = result{"Current", "Suspended", "InProgress"}
	works      = result{"Current", "Progressing", "InProgress"}
	stalled    = result{"Failed", "Degraded", "Failed"}
	done       = result{"Current", "Healthy", "Current"}
	unsuccess  = result{"Current", "Degraded", "Failed"}
	terminates = result{"Terminating", "Progressing", "InProgress"}
)

// withEvents adds the results for the states of CheckEvents, for a kind whose example is in state
// done. kstatus calls an object without status Current. No such object comes from the API server,
// which adds status.observedGeneration -1; so it is the same as just-applied there.
func withEvents(of map[string]result) map[string]result {
	for state, r := range map[string]result{
		"without-status":            {"Current", "Progressing", "Current"},
		"just-applied":              unseen,
		"edited-and-not-reconciled": unseen,
		"being-deleted":             {"Terminating", "Progressing", "Terminating"},
		"in-a-future-state":         done,
	} {
		if _, ok := of[state]; !ok {
			of[state] = r
		}
	}
	return of
}

// expected has the results for every object, by kind and state.
var expected = map[string]map[string]result{
	"Rollout": withEvents(map[string]result{
		// Flux reports an error of the expression, and waits.
		"without-status":    {"Current", "Progressing", "error"},
		"being-deleted":     terminates,
		"in-a-future-state": works,

		"waiting-for-its-set":     preparing,
		"stabilizing":             preparing,
		"planning":                preparing,
		"planned":                 suspended,
		"waiting-for-approval":    suspended,
		"waiting-for-start":       suspended,
		"paused-before-the-start": suspended,
		"superseding":             works,

		"running":                           works,
		"waiting-for-confirmations":         works,
		"outside-the-maintenance-window":    works,
		"resumed-after-errors":              works,
		"paused-by-spec":                    suspended,
		"paused-by-success-action":          suspended,
		"paused-by-error-threshold":         stalled,
		"paused-by-error-budget":            stalled,
		"paused-by-a-group-without-results": stalled,

		"the-set-is-missing":                       stalled,
		"the-set-is-not-ready":                     stalled,
		"the-set-has-changed":                      stalled,
		"the-set-was-invalidated-before-the-start": stalled,
		"no-target-joins-an-invalidated-set":       stalled,
		"wrong-expression":                         stalled,
		"no-target-is-selected":                    stalled,
		"targets-are-left-over":                    stalled,
		"wrong-window":                             stalled,
		"advanced-to-an-unknown-group":             stalled,
		"the-order-is-ambiguous":                   stalled,
		"a-group-was-lost":                         stalled,
		"a-group-cannot-be-decoded":                stalled,
		"forced-was-reverted":                      stalled,

		"stopping":                       works,
		"stopped":                        {"Current", "Healthy", "Failed"},
		"its-stop-was-reverted":          stalled,
		"stopping-after-an-invalidation": stalled,
		"stopped-by-an-invalidation":     stalled,

		"finished":                                done,
		"finished-with-some-failures":             done,
		"finished-with-errors":                    stalled,
		"finished-as-superseded":                  {"Current", "Suspended", "Failed"},
		"finished-without-a-success":              unsuccess,
		"finished-as-canceled":                    unsuccess,
		"finished-as-skipped":                     unsuccess,
		"finished-after-all-targets-were-deleted": unsuccess,
	}),
	"AutoAssignment": withEvents(map[string]result{
		"running":                        done,
		"waiting-for-start":              {"Current", "Suspended", "Current"},
		"paused-by-spec":                 {"Current", "Suspended", "Current"},
		"waiting-for-its-set":            preparing,
		"the-set-is-being-locked":        preparing,
		"the-set-is-missing":             stalled,
		"the-set-is-not-ready":           stalled,
		"the-set-was-deleted":            stalled,
		"the-set-was-invalidated":        stalled,
		"an-invalidated-set-was-deleted": stalled,
		"wrong-expression":               stalled,
		"wrong-window":                   stalled,
	}),
	"DistributionSet": withEvents(map[string]result{
		"ready":                               done,
		"in-use":                              done,
		"a-module-is-not-reconciled-yet":      preparing,
		"waiting-for-a-module":                preparing,
		"being-locked":                        preparing,
		"without-modules":                     stalled,
		"a-module-is-missing":                 stalled,
		"a-mandatory-type-is-missing":         stalled,
		"a-module-has-another-type":           stalled,
		"a-module-is-not-ready":               stalled,
		"a-duplicate":                         stalled,
		"the-content-has-changed":             stalled,
		"invalidated":                         done,
		"invalidated-and-canceling":           done,
		"created-again-after-an-invalidation": done,
		"the-invalidation-cannot-be-recorded": done,
		"its-invalidation-was-reverted":       stalled,
	}),
	"SoftwareModule": withEvents(map[string]result{
		"ready":       done,
		"in-use":      done,
		"a-duplicate": stalled,
	}),
	"Target": withEvents(map[string]result{
		"ready":                             done,
		"on-hold":                           done,
		"its-assignment-is-offered":         done,
		"its-assignment-waits":              done,
		"its-assignment-names-no-set":       done,
		"its-cancel-names-no-action":        done,
		"being-updated":                     done,
		"the-update-succeeded":              done,
		"the-update-failed":                 done,
		"the-rollback-failed":               done,
		"the-device-is-inconsistent":        done,
		"canceled-before-the-work":          done,
		"canceled-during-the-work":          done,
		"closed-while-installing":           done,
		"canceled-while-installing":         done,
		"a-duplicate":                       stalled,
		"the-token-secret-is-missing":       stalled,
		"the-token-secret-has-another-type": stalled,
		"the-token-key-is-missing":          stalled,
		"the-token-is-empty":                stalled,
		"the-token-is-invalid":              stalled,
	}),
	"DeviceAccess": withEvents(map[string]result{
		"ready":                                            done,
		"no-more-devices-register":                         done,
		"a-registration-failed":                            done,
		"a-secret-is-missing":                              stalled,
		"two-secrets-are-missing":                          stalled,
		"a-secret-has-another-type":                        stalled,
		"a-key-is-missing":                                 stalled,
		"a-token-is-empty":                                 stalled,
		"a-ca-is-invalid":                                  stalled,
		"a-ca-has-expired":                                 stalled,
		"it-registers-devices-that-it-does-not-select":     stalled,
		"no-more-devices-register-and-a-secret-is-missing": stalled,
	}),
	// Goshawk generates the objects of these two kinds: they are in no commit, no tool waits for
	// them. They have no condition Ready, or no generation that changes.
	"DeploymentGroup": withEvents(map[string]result{
		"ready":             {"Current", "Suspended", "Current"},
		"scheduled":         {"Current", "Suspended", "Current"},
		"running":           {"Current", "Progressing", "Current"},
		"finished":          done,
		"with-errors":       {"Current", "Degraded", "Current"},
		"in-a-future-state": {"Current", "Progressing", "Current"},
	}),
	"TargetInventory": withEvents(map[string]result{
		"stored":                    done,
		"truncated":                 done,
		"an-unsupported-definition": stalled,
		// It has no observedGeneration.
		"edited-and-not-reconciled": done,
		"just-applied":              {"Current", "Progressing", "Current"},
	}),
}

// isFuture reports whether the CRDs do not allow the object, because it is one of a later version.
func isFuture(state string) bool { return state == "in-a-future-state" }

// every calls a function for every object, as a subtest.
func every(t *testing.T, do func(t *testing.T, o *unstructured.Unstructured, kind, state string, want result)) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(expected)) {
		for _, state := range slices.Sorted(maps.Keys(expected[kind])) {
			t.Run(kind+"/"+state, func(t *testing.T) {
				o, err := Read(File(root, kind, state))
				if err != nil {
					t.Fatal(err)
				}
				do(t, o, kind, state, expected[kind][state])
			})
		}
	}
}

// TestEveryFileHasAnExpectedResult compares the files with the table.
func TestEveryFileHasAnExpectedResult(t *testing.T) {
	crds, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(crds) != len(expected) {
		t.Errorf("%d kinds have expected results, and there are %d CRDs: %v", len(expected), len(crds), err)
	}
	for kind, of := range expected {
		files, err := os.ReadDir(filepath.Join(Folder(root, kind), "testdata"))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, f := range files {
			found = append(found, strings.TrimSuffix(f.Name(), ".yaml"))
		}
		slices.Sort(found)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(of)), found); diff != "" {
			t.Errorf("%s: states in the table (-) and files (+):\n%s", kind, diff)
		}
	}
}

// TestPageOfStates compares docs/states/objects.md with the objects and the expected results.
func TestPageOfStates(t *testing.T) {
	const page = root + "/docs/states/objects.md"
	want := printPage(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/states/objects.md differs; run `go test ./internal/testing/states -update` and review the difference (-page +objects):\n%s", diff)
	}
}

const intro = `# States of all kinds, and what tools conclude

This page is printed from the objects in ` + "`config/argocd/goshawk.dev/KIND/testdata`" + `, which
Goshawk's code computes, by ` + "`go test ./internal/testing/states -update`" + `. The tests evaluate each
object by kstatus, by Argo CD with the scripts of [config/argocd](../../config/argocd), and by Flux
with the health checks of [config/flux](../../config/flux), which wait for the fleet.
[gitops.md](../gitops.md) explains the conditions.

An object that the API server returns has a status, at least with ` + "`observedGeneration: -1`" + `: the
rows ` + "`without-status`" + ` show what the tools do with a manifest.
`

func printPage(t *testing.T) string {
	t.Helper()
	var page strings.Builder
	page.WriteString(intro)
	for _, kind := range slices.Sorted(maps.Keys(expected)) {
		header, fleet := "| state | Ready | kstatus | Argo CD |", ""
		if kind == "Rollout" {
			header, fleet = "| state | Ready | Succeeded | kstatus | Argo CD | Flux, waiting for the fleet |", "---|---|"
		}
		fmt.Fprintf(&page, "\n## %s\n\n%s\n|---|---|---|---|%s\n", kind, header, fleet)
		for _, state := range slices.Sorted(maps.Keys(expected[kind])) {
			o, err := Read(File(root, kind, state))
			if err != nil {
				t.Fatal(err)
			}
			r := expected[kind][state]
			cells := []string{fmt.Sprintf("[%s](../../config/argocd/goshawk.dev/%s/testdata/%s.yaml)", state, kind, state), short(o, "Ready")}
			if kind == "Rollout" {
				cells = append(cells, short(o, "Succeeded"))
			}
			cells = append(cells, r.Kstatus, r.Argo)
			if kind == "Rollout" {
				cells = append(cells, r.Fleet)
			}
			fmt.Fprintf(&page, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return page.String()
}

// short returns status and reason of a condition, or nothing.
func short(o *unstructured.Unstructured, kind string) string {
	if c := condition(o, kind); c != nil {
		return fmt.Sprintf("%s, %s", c["status"], c["reason"])
	}
	return ""
}

func condition(o *unstructured.Unstructured, kind string) map[string]any {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if c := c.(map[string]any); c["type"] == kind {
			return c
		}
	}
	return nil
}
