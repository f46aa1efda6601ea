// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package states

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// TestEveryRuleHasARefusedCase: the tests of the API server (test/api), or those here, expect the
// message of every CEL rule of the CRDs. Each of their tables has accepted cases, too.
func TestEveryRuleHasARefusedCase(t *testing.T) {
	texts := append(literals(t, filepath.Join(root, "test", "api", "*_test.go")), literals(t, "schema_test.go")...)
	for kind, d := range definitions(t) {
		messages := map[string]string{}
		collectMessages(kind, d.structural, messages)
		for _, message := range slices.Sorted(maps.Keys(messages)) {
			if !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(message, text) }) {
				t.Errorf("no test expects the message of the rule of %s: %s", messages[message], message)
			}
		}
	}
}

// collectMessages collects the messages of the rules of a node, with its path.
func collectMessages(path string, s *schema.Structural, messages map[string]string) {
	for _, rule := range s.XValidations {
		messages[rule.Message] = path
	}
	for name := range s.Properties {
		inner := s.Properties[name]
		collectMessages(path+"."+name, &inner, messages)
	}
	if s.Items != nil {
		collectMessages(path+"[]", s.Items, messages)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		collectMessages(path+"{}", s.AdditionalProperties.Structural, messages)
	}
}

// literals returns the texts that tests expect of a refusal: of each string literal, what follows
// the name of a field.
func literals(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	field, verb := regexp.MustCompile(`^[a-zA-Z.\[\]0-9]+: `), regexp.MustCompile(`%(\[1\])?[a-z]`)
	var texts []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				for _, part := range verb.Split(text, -1) {
					if part = strings.TrimSuffix(field.ReplaceAllString(part, ""), ": "); len(part) >= 20 {
						texts = append(texts, part)
					}
				}
			}
			return true
		})
	}
	return texts
}
