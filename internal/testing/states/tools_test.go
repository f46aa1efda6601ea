// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package states

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// TestKstatusOfEveryState evaluates every object by kstatus.
func TestKstatusOfEveryState(t *testing.T) {
	every(t, func(t *testing.T, o *unstructured.Unstructured, _, _ string, want result) {
		got, err := status.Compute(o)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Status) != want.Kstatus {
			t.Errorf("kstatus is %s, want %s: %s", got.Status, want.Kstatus, got.Message)
		}
	})
}

// health is a result of a health script, as in health_test.yaml.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// argoHealth runs a health script as Argo CD does for a script of the ConfigMap argocd-cm: with the
// libraries package, base and table, and with a second of time.
func argoHealth(script string, o *unstructured.Unstructured) (health, error) {
	if o.GetDeletionTimestamp() != nil {
		return health{"Progressing", "Pending deletion"}, nil // before any script
	}
	return runHealth(script, o)
}

func runHealth(script string, o *unstructured.Unstructured) (health, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(library.open), Protect: true}, lua.LString(library.name)); err != nil {
			return health{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", luaValue(l, o.Object))
	if err := l.DoString(script); err != nil {
		return health{}, err
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, fmt.Errorf("the script returns a %s instead of a table", l.Get(-1).Type())
	}
	h := health{table.RawGetString("status").String(), table.RawGetString("message").String()}
	if !slices.Contains([]string{"Progressing", "Suspended", "Healthy", "Degraded", "Missing"}, h.Status) {
		return h, fmt.Errorf("Argo CD does not know status %q", h.Status)
	}
	return h, nil
}

func luaValue(l *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		list := l.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(luaValue(l, item))
		}
		return list
	case map[string]any:
		table := l.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(l, item))
		}
		return table
	}
	return lua.LNil
}

// healthTest is the form of health_test.yaml of Argo CD.
type healthTest struct {
	Tests []struct {
		HealthStatus health `json:"healthStatus"`
		InputPath    string `json:"inputPath"`
	} `json:"tests"`
}

// TestArgoHealthOfEveryState runs the health scripts on every object. The health is that of the
// table, and the messages are those of health_test.yaml, which Argo CD's own test can run.
func TestArgoHealthOfEveryState(t *testing.T) {
	for _, kind := range slices.Sorted(maps.Keys(expected)) {
		script, err := os.ReadFile(filepath.Join(Folder(root, kind), "health.lua"))
		if err != nil {
			t.Fatal(err)
		}
		got := healthTest{}
		for _, state := range slices.Sorted(maps.Keys(expected[kind])) {
			o, err := Read(File(root, kind, state))
			if err != nil {
				t.Fatal(err)
			}
			h, err := argoHealth(string(script), o)
			switch {
			case err != nil:
				t.Errorf("%s in state %s: %v", kind, state, err)
			case h.Status != expected[kind][state].Argo || h.Message == "":
				t.Errorf("the health of %s in state %s is %s (%s), want %s", kind, state, h.Status, h.Message, expected[kind][state].Argo)
			}
			if h.Status == "Degraded" && !strings.HasPrefix(h.Message, kind+" "+o.GetName()) {
				t.Errorf("the message of %s in state %s does not start with the object: %s", kind, state, h.Message)
			}
			if o.GetDeletionTimestamp() != nil {
				continue // Argo CD's test runs the script, which is not asked
			}
			got.Tests = append(got.Tests, struct {
				HealthStatus health `json:"healthStatus"`
				InputPath    string `json:"inputPath"`
			}{h, "testdata/" + state + ".yaml"})
		}
		path := filepath.Join(Folder(root, kind), "health_test.yaml")
		if *update {
			text, err := yaml.Marshal(got)
			if err == nil {
				err = os.WriteFile(path, text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var want healthTest
		if err := yaml.UnmarshalStrict(text, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: health_test.yaml (-) and the script (+); -update writes it:\n%s", kind, diff)
		}
	}
}

// TestHealthScriptsNeverFail runs the scripts on objects that lack any one of their parts.
func TestHealthScriptsNeverFail(t *testing.T) {
	for kind, of := range expected {
		script, err := os.ReadFile(filepath.Join(Folder(root, kind), "health.lua"))
		if err != nil {
			t.Fatal(err)
		}
		for state := range of {
			o, err := Read(File(root, kind, state))
			if err != nil {
				t.Fatal(err)
			}
			for path, part := range without(o.Object, "status") {
				if h, err := runHealth(string(script), &unstructured.Unstructured{Object: part}); err != nil {
					t.Errorf("%s in state %s without %s: %s, %v", kind, state, path, h, err)
				}
			}
		}
	}
}

// without returns copies of an object that lack one part of a field each, or have an empty one.
func without(object map[string]any, field string) map[string]map[string]any {
	copies := map[string]map[string]any{}
	var visit func(path string, at []any)
	find := func(root any, at []any) any {
		for _, step := range at {
			switch step := step.(type) {
			case string:
				root = root.(map[string]any)[step]
			case int:
				root = root.([]any)[step]
			}
		}
		return root
	}
	visit = func(path string, at []any) {
		last, parent := at[len(at)-1], at[:len(at)-1]
		for name, replacement := range map[string]any{" (absent)": nil, " (empty)": map[string]any{}, " (empty list)": []any{}} {
			c := (&unstructured.Unstructured{Object: object}).DeepCopy().Object
			switch container := find(c, parent).(type) {
			case map[string]any:
				if container[last.(string)] = replacement; replacement == nil {
					delete(container, last.(string))
				}
			case []any:
				container[last.(int)] = map[string]any{}
			}
			copies[path+name] = c
		}
		switch value := find(object, at).(type) {
		case map[string]any:
			for key := range value {
				if path == field && key != "conditions" && key != "state" && key != "observedGeneration" {
					continue // the scripts do not read it
				}
				visit(path+"."+key, append(slices.Clone(at), key))
			}
		case []any:
			for i := range min(len(value), 8) {
				visit(fmt.Sprintf("%s[%d]", path, i), append(slices.Clone(at), i))
			}
		}
	}
	if _, has := object[field]; has {
		visit(field, []any{field})
	}
	return copies
}

// TestADegradedObjectIsNamed: of two rollouts in one Application one is Degraded. The health of the
// Application is the worst, and the message names the object.
func TestADegradedObjectIsNamed(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(Folder(root, "Rollout"), "health.lua"))
	if err != nil {
		t.Fatal(err)
	}
	var worst health
	order := []string{"Healthy", "Suspended", "Progressing", "Missing", "Degraded"}
	for name, state := range map[string]string{"gateways-2": "running", "sensors-7": "paused-by-error-threshold"} {
		o, err := Read(File(root, "Rollout", state))
		if err != nil {
			t.Fatal(err)
		}
		o.SetName(name)
		h, err := argoHealth(string(script), o)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Index(order, h.Status) >= slices.Index(order, worst.Status) {
			worst = h
		}
	}
	if worst.Status != "Degraded" || !strings.HasPrefix(worst.Message, "Rollout sensors-7: group group-1 went into Error") {
		t.Errorf("the health of the Application is %+v", worst)
	}
}

// TestTheConfigMapHasTheScripts: config/argocd/argocd-cm.yaml is the health scripts, in the form
// that Argo CD reads.
func TestTheConfigMapHasTheScripts(t *testing.T) {
	const path = root + "/config/argocd/argocd-cm.yaml"
	var text strings.Builder
	text.WriteString("# Written from the files health.lua by `go test ./internal/testing/states -update`.\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\n  labels:\n    app.kubernetes.io/name: argocd-cm\n    app.kubernetes.io/part-of: argocd\ndata:\n")
	scripts := map[string]string{}
	for _, kind := range slices.Sorted(maps.Keys(expected)) {
		script, err := os.ReadFile(filepath.Join(Folder(root, kind), "health.lua"))
		if err != nil {
			t.Fatal(err)
		}
		key := "resource.customizations.health." + v1alpha1.GroupVersion.Group + "_" + kind
		scripts[key] = string(script)
		fmt.Fprintf(&text, "  %s: |\n", key)
		for line := range strings.Lines(string(script)) {
			text.WriteString("    " + line)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text.String(), string(stored)); diff != "" {
		t.Errorf("argocd-cm.yaml differs from the scripts (-scripts +file); -update writes it:\n%s", diff)
	}
	var read struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(stored, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(scripts, read.Data); diff != "" {
		t.Errorf("Argo CD reads other scripts (-files +ConfigMap):\n%s", diff)
	}
}

// healthCheck is an entry of spec.healthCheckExprs of a Flux Kustomization.
type healthCheck struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Current    string `json:"current"`
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
}

func shippedChecks(t *testing.T) []healthCheck {
	t.Helper()
	text, err := os.ReadFile(root + "/config/flux/wait-for-fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []healthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		t.Fatal(err)
	}
	return kustomization.Spec.HealthCheckExprs
}

// TestFluxResultOfEveryState evaluates every object with the shipped health checks, as Flux does.
func TestFluxResultOfEveryState(t *testing.T) {
	checks := shippedChecks(t)
	if len(checks) == 0 {
		t.Fatal("there are no health checks")
	}
	every(t, func(t *testing.T, o *unstructured.Unstructured, kind, _ string, want result) {
		got, err := fluxStatus(checks, o)
		if err != nil {
			got = "error"
		}
		if got != want.Fleet {
			t.Errorf("Flux says %s (%v), want %s", got, err, want.Fleet)
		}
	})
}

// fluxStatus returns the status of an object with health checks: a check for the group and the kind
// of the object is used in place of kstatus.
func fluxStatus(checks []healthCheck, o *unstructured.Unstructured) (string, error) {
	for _, check := range checks {
		group, _, _ := strings.Cut(check.APIVersion, "/")
		if group == o.GroupVersionKind().Group && (check.Kind == "" || check.Kind == o.GetKind()) {
			return evaluate(check, o)
		}
	}
	computed, err := status.Compute(o)
	if err != nil {
		return "", err
	}
	return string(computed.Status), nil
}

func evaluate(check healthCheck, o *unstructured.Unstructured) (string, error) {
	observed, has, err := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if err != nil {
		return "", err
	}
	if has && observed != o.GetGeneration() {
		return "InProgress", nil
	}
	for _, expression := range []struct{ text, status string }{{check.InProgress, "InProgress"}, {check.Failed, "Failed"}, {check.Current, "Current"}} {
		if expression.text == "" {
			continue
		}
		if is, err := isTrue(expression.text, o); err != nil {
			return "", err
		} else if is {
			return expression.status, nil
		}
	}
	return "InProgress", nil
}

// isTrue evaluates an expression in the environment of Flux: parsed and not compiled, because the
// fields of a kind are not known.
func isTrue(expression string, o *unstructured.Unstructured) (bool, error) {
	env, err := cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
	if err != nil {
		return false, err
	}
	parsed, issues := env.Parse(expression)
	if issues.Err() != nil {
		return false, issues.Err()
	}
	program, err := env.Program(parsed, cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(100))
	if err != nil {
		return false, err
	}
	value, _, err := program.ContextEval(context.Background(), o.Object)
	if err != nil {
		return false, err
	}
	is, ok := value.(types.Bool)
	if !ok {
		return false, errors.New("the expression is not boolean")
	}
	return bool(is), nil
}
