// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// admission reports whether the rules of the schema for spec.targetExpression accept a text. It
// evaluates them as the API server does.
func admission(t *testing.T) func(text string) bool {
	t.Helper()
	crd, err := os.ReadFile("../../config/crd/bases/goshawk.dev_autoassignments.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Properties  map[string]schema
		Validations []struct{ Rule string } `json:"x-kubernetes-validations"`
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(crd, &definition); err != nil {
		t.Fatal(err)
	}
	rules := definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["targetExpression"].Validations
	if len(rules) == 0 {
		t.Fatal("there is no rule about targetExpression")
	}
	env, err := cel.NewEnv(cel.Variable("self", cel.StringType), ext.Strings())
	if err != nil {
		t.Fatal(err)
	}
	var programs []cel.Program
	for _, r := range rules {
		compiled, issues := env.Compile(r.Rule)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(compiled)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, program)
	}
	return func(text string) bool {
		for _, program := range programs {
			out, _, err := program.Eval(map[string]any{"self": text})
			if err != nil {
				t.Fatal(err)
			}
			if out.Value() != true {
				return false
			}
		}
		return true
	}
}

func compiles(text string) bool {
	_, err := Compile(v1alpha1.Selection{TargetExpression: text}, nil)
	return err == nil
}

// TestAdmissionAcceptsEveryExpression: the API server accepts every expression that the controllers
// accept. The expressions are all those in the other tests of this package.
func TestAdmissionAcceptsEveryExpression(t *testing.T) {
	accepts, taken := admission(t), 0
	more := []string{
		`target.name == "it's"`, `target.name == 'say "hi"'`, `target.name == "a\"b"`, `target.name == 'a\'b'`, `target.name == "a = b & c | d (e"`,
		`target.name.matches(r"\d+(a|b)")`, `target.name.matches(r'"')`, `target.name == """a "quoted" name"""`, `target.name == "a" // isn't it`,
		`target.name >= "a" && target.name <= "b" || target.name != "c"`, `((((((((((((target.hold))))))))))))`, `target.name in ["a", "b"] ? target.hold : !target.hold`,
		"target.name == \"a\" &&\n\ttarget.hold", `target.attributes["a=b"] == "[c"`, `true`,
	}
	for _, text := range append(literals(t, "query_test.go"), more...) {
		if !compiles(text) {
			continue
		}
		if taken++; !accepts(text) {
			t.Errorf("the schema refuses %s", text)
		}
	}
	if taken < 60 {
		t.Errorf("only %d expressions compile", taken)
	}
	for _, text := range more {
		if !compiles(text) {
			t.Errorf("%s does not compile, so it tests nothing", text)
		}
	}
}

// literals returns the string literals in a Go file.
func literals(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, "target") {
				texts = append(texts, text)
			}
		}
		return true
	})
	return texts
}

func TestAdmissionRefusesObviousErrors(t *testing.T) {
	accepts := admission(t)
	for name, text := range map[string]string{
		"an unterminated string":                `target.type == "gateway`,
		"an unterminated string in apostrophes": `target.type == 'gateway`,
		"a string with two different quotes":    `target.type == "gateway'`,
		"an open bracket":                       `(target.type == "a" && target.hold`,
		"a bracket too many":                    `target.type == "a")`,
		"an open list":                          `target.type in ["a", "b"`,
		"an open index":                         `target.labels["a" == "b"`,
		"one equals sign":                       `target.type = "a"`,
		"three equals signs":                    `target.type === "a"`,
		"one ampersand":                         `target.hold & target.inconsistent`,
		"one bar":                               `target.hold | target.inconsistent`,
		"an arrow":                              `target.size => 5`,
	} {
		if accepts(text) {
			t.Errorf("%s: the schema accepts %s", name, text)
		}
		if compiles(text) {
			t.Errorf("%s: %s compiles", name, text)
		}
	}
}

func FuzzAdmissionAcceptsEveryExpression(f *testing.F) {
	f.Add(`target.type == "a" && (target.hold || target.name in ["b", 'c'])`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) <= maxExpression && compiles(text) && !admission(t)(text) {
			t.Errorf("the schema refuses %q", text)
		}
	})
}
