// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package states

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// generated are the kinds without a spec that a user changes: their generation says nothing.
var generated = []string{"TargetInventory"}

// TestConditionsOfEveryState checks what tools rely on in every state: which conditions exclude
// each other, that they are sorted and complete, and that they are about the observed generation.
func TestConditionsOfEveryState(t *testing.T) {
	every(t, func(t *testing.T, o *unstructured.Unstructured, kind, state string, _ result) {
		list, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
		if err != nil {
			t.Fatal(err)
		}
		observed, hasObserved, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
		var types []string
		for _, c := range list {
			c := c.(map[string]any)
			kind, reason, message := text(c, "type"), text(c, "reason"), text(c, "message")
			types = append(types, kind)
			if !regexp.MustCompile(`^[A-Z][A-Za-z]*$`).MatchString(reason) || message == "" || text(c, "lastTransitionTime") == "" {
				t.Errorf("condition %s is not complete: %v", kind, c)
			}
			if generation, has, _ := unstructured.NestedInt64(c, "observedGeneration"); hasObserved && (!has || generation != observed) {
				t.Errorf("condition %s has observedGeneration %d, the status has %d", kind, generation, observed)
			}
		}
		if !isFuture(state) && (!slices.IsSorted(types) || len(slices.Compact(slices.Clone(types))) != len(types) || len(types) > 16) {
			t.Errorf("the conditions are %v: they must be sorted, each once, at most 16", types)
		}
		checkAbnormal(t, o)
		if !hasObserved && len(list) > 0 && !slices.Contains(generated, kind) {
			t.Error("status.observedGeneration is missing")
		}
	})
}

// checkAbnormal checks Reconciling and Stalled: they exist only while they are True, never both,
// and Ready agrees with them.
func checkAbnormal(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	ready, reconciling, stalled := condition(o, "Ready"), condition(o, "Reconciling"), condition(o, "Stalled")
	if reconciling != nil && stalled != nil {
		t.Error("Reconciling and Stalled both exist")
	}
	for _, c := range []map[string]any{reconciling, stalled} {
		if c != nil && (c["status"] != "True" || ready == nil || c["reason"] != ready["reason"] || c["message"] != ready["message"]) {
			t.Errorf("%v does not agree with Ready %v", c, ready)
		}
	}
	if ready == nil {
		return
	}
	if (ready["status"] == "False" && reconciling == nil) != (stalled != nil) {
		t.Errorf("Ready is %v, Reconciling %v, Stalled %v: a problem that needs a person is Stalled, and nothing else", ready, reconciling, stalled)
	}
	if ready["status"] == "Unknown" && reconciling == nil {
		t.Error("Ready is Unknown without Reconciling")
	}
}

// TestEveryRolloutThatIsNotOverSaysWhatItWaitsFor: status.waitingFor has reason and message of what
// a rollout waits for and, if time alone ends it, until when.
func TestEveryRolloutThatIsNotOverSaysWhatItWaitsFor(t *testing.T) {
	timed := []string{"waiting-for-its-set", "stabilizing", "planning", "waiting-for-start", "outside-the-maintenance-window"}
	every(t, func(t *testing.T, o *unstructured.Unstructured, kind, state string, _ result) {
		now, reconciled, _ := unstructured.NestedString(o.Object, "status", "state")
		if kind != "Rollout" || !reconciled || now == "Finished" || now == "Stopped" {
			return
		}
		waiting, _, _ := unstructured.NestedMap(o.Object, "status", "waitingFor")
		if text(waiting, "reason") == "" || text(waiting, "message") == "" {
			t.Errorf("status.waitingFor is %v", waiting)
		}
		if slices.Contains(timed, state) && text(waiting, "until") == "" {
			t.Errorf("status.waitingFor does not say until when: %v", waiting)
		}
	})
}

func text(c map[string]any, field string) string {
	s, _ := c[field].(string)
	return s
}

// elsewhere are the reasons of the API that no file has, with the cause.
var elsewhere = map[string]string{
	"TooManyGroups": "a plan of more than 500 groups",
	"GroupTooLarge": "a group of more than 20000 targets",
	"SharedTargets": "condition Overlapping of an AutoAssignment, which kstatus and the scripts do not read",

	"Connected":        "condition Online of a Target, which kstatus and the scripts do not read",
	"AwaitingFeatures": "condition Online",
	"Disconnected":     "condition Online",
	"Seen":             "condition Online",
	"Silent":           "condition Online",

	"Denied":               "condition Assigned of a Target that is Ready; internal/offer has all its messages",
	"AwaitingConfirmation": "condition Assigned",
}

// TestEveryReasonIsInAFile: a reason, a state or a reason of a pause that the API adds is added to
// the files, too, so that no tool meets it unprepared.
func TestEveryReasonIsInAFile(t *testing.T) {
	var texts strings.Builder
	for kind, of := range expected {
		for state := range of {
			text, err := os.ReadFile(File(root, kind, state))
			if err != nil {
				t.Fatal(err)
			}
			texts.Write(text)
		}
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^[ -]*(?:reason|state|pauseReason|updateStatus): (\w+)$`).FindAllStringSubmatch(texts.String(), -1) {
		used[m[1]] = true
	}
	declared := declaredConstants(t, regexp.MustCompile(`^(Reason[A-Z]|PauseBy|Rollout[A-Z]|Group(Ready|Sch|Run|Fin|Err)|AutoAssignment[A-Z]|UpdateStatus[A-Z])\w*$`))
	for name, value := range declared {
		if _, excepted := elsewhere[value]; !used[value] && !excepted {
			t.Errorf("no file has %s (%s): add a state to the states_test.go of the package that sets it", value, name)
		} else if used[value] && excepted {
			t.Errorf("%s is in a file: remove it from the exceptions", value)
		}
	}
	for value := range elsewhere {
		if !slices.ContainsFunc(slices.Collect(values(declared)), func(v string) bool { return v == value }) {
			t.Errorf("the exception %s is no constant of the API", value)
		}
	}
}

func values(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// declaredConstants returns the string constants of the API whose names match.
func declaredConstants(t *testing.T, names *regexp.Regexp) map[string]string {
	t.Helper()
	found := map[string]string{}
	files, err := filepath.Glob(filepath.Join(root, "api", "v1alpha1", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !names.MatchString(spec.Names[0].Name) {
				return true
			}
			if strings.HasPrefix(spec.Names[0].Name, "RolloutLabel") || strings.HasSuffix(spec.Names[0].Name, "Finalizer") {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[spec.Names[0].Name] = value
			}
			return true
		})
	}
	if len(found) < 50 {
		t.Fatalf("only %d constants were found", len(found))
	}
	return found
}
