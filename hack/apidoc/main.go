// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command apidoc generates the reference tables of docs/spec: it reads the CRDs and replaces, in
// the page of each kind, the text between a marker and its end:
//
//	<!-- apidoc spec --> ... <!-- end -->     the fields below spec
//	<!-- apidoc status --> ... <!-- end -->   the fields below status
//	<!-- apidoc rules --> ... <!-- end -->    what the API server refuses, with the sentence the user sees
//
// The other text of a page is not changed.
package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:generate go run . ../../config/crd/bases ../../docs/spec/v1alpha1

// definition has the fields of a CRD that a page needs.
type definition struct {
	Spec struct {
		Names    struct{ Singular string }
		Versions []struct {
			Schema struct{ OpenAPIV3Schema schema }
		}
	}
}

// schema has the fields of an OpenAPI schema that a line of a table needs.
type schema struct {
	Type, Description, Pattern string
	Properties                 map[string]schema
	Items                      *schema
	AdditionalProperties       *schema
	Required                   []string
	Enum                       []any
	Default                    any
	Minimum, Maximum           *int64
	MinLength, MaxLength       *int64
	MinItems, MaxItems         *int64
	MaxProperties              *int64
	MapKeys                    []string `json:"x-kubernetes-list-map-keys"`
	Rules                      []rule   `json:"x-kubernetes-validations"`
}

// isTime reports whether a field is a time with the rule that hack/crdtypes adds.
func (s schema) isTime() bool {
	return slices.ContainsFunc(s.Rules, func(r rule) bool { return strings.Contains(r.Message, " must be a time such as ") })
}

type rule struct{ Message, FieldPath string }

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: apidoc FOLDER-OF-CRDS FOLDER-OF-PAGES")
	}
	crds, err := filepath.Glob(filepath.Join(os.Args[1], "*.yaml"))
	if err != nil || len(crds) == 0 {
		log.Fatalf("apidoc: no CRDs in %s (%v)", os.Args[1], err)
	}
	for _, crd := range crds {
		if err := refresh(crd, os.Args[2]); err != nil {
			log.Fatalf("apidoc: %s: %v", crd, err)
		}
	}
}

// refresh writes the tables on the page of one kind.
func refresh(crd, pages string) error {
	text, err := os.ReadFile(crd)
	if err != nil {
		return err
	}
	var kind definition
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return err
	}
	path := filepath.Join(pages, kind.Spec.Names.Singular+".md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	root := kind.Spec.Versions[0].Schema.OpenAPIV3Schema
	fresh := string(page)
	tables := map[string]string{"status": fields(root.Properties["status"]), "rules": refusals(root)}
	if spec, ok := root.Properties["spec"]; ok {
		tables["spec"] = fields(spec)
	}
	for marker, table := range tables {
		if fresh, err = replace(fresh, marker, table); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(fresh), 0o644)
}

// replace returns the page with a table between a marker and its end.
func replace(page, marker, table string) (string, error) {
	start := "<!-- apidoc " + marker + " -->\n"
	head, rest, found := strings.Cut(page, start)
	_, tail, ended := strings.Cut(rest, "<!-- end -->")
	if !found || !ended {
		return "", fmt.Errorf("the page lacks %q or its <!-- end -->", strings.TrimSpace(start))
	}
	return head + start + table + "<!-- end -->" + tail, nil
}

// fields returns the table of all fields below a schema.
func fields(top schema) string {
	var lines strings.Builder
	lines.WriteString("| field | type and limits | meaning |\n|---|---|---|\n")
	walk("", top, func(path string, required bool, field schema) {
		limits := field.limits()
		if required {
			limits += ", required"
		}
		fmt.Fprintf(&lines, "| `%s` | %s | %s |\n", path, limits, cell(field.Description))
	})
	return lines.String()
}

// refusals returns the table of all rules, by the field that the API server names.
func refusals(root schema) string {
	sentences := map[string][]string{}
	note := func(path string, field schema) {
		if field.isTime() { // all times have the same rule
			sentence := field.Rules[0].Message
			sentences["every time"] = []string{"the field " + sentence[strings.Index(sentence, "must"):]}
			return
		}
		for _, rule := range field.Rules {
			at := strings.TrimPrefix(path+rule.FieldPath, ".")
			if !slices.Contains(sentences[at], rule.Message) {
				sentences[at] = append(sentences[at], rule.Message)
			}
		}
	}
	note("", root)
	note("spec", root.Properties["spec"])
	walk("", root.Properties["spec"], func(path string, _ bool, field schema) { note("spec."+path, field) })
	var lines strings.Builder
	lines.WriteString("| field | what the API server says |\n|---|---|\n")
	for _, path := range slices.Sorted(maps.Keys(sentences)) {
		fmt.Fprintf(&lines, "| `%s` | %s |\n", path, cell(strings.Join(sentences[path], "<br>")))
	}
	return lines.String()
}

// walk visits the fields below a schema in alphabetical order, required ones first. It does not
// visit the fields of types that Kubernetes defines.
func walk(path string, parent schema, visit func(path string, required bool, field schema)) {
	names := slices.Sorted(maps.Keys(parent.Properties))
	slices.SortStableFunc(names, func(a, b string) int {
		return order(slices.Contains(parent.Required, a)) - order(slices.Contains(parent.Required, b))
	})
	for _, name := range names {
		field := parent.Properties[name]
		below := strings.TrimPrefix(path+"."+name, ".")
		visit(below, slices.Contains(parent.Required, name), field)
		switch {
		case name == "conditions" && field.Items != nil:
		case field.Items != nil:
			walk(below+"[]", *field.Items, visit)
		default:
			walk(below, field, visit)
		}
	}
}

func order(required bool) int {
	if required {
		return 0
	}
	return 1
}

// limits returns type and limits of a field as a short text.
func (s schema) limits() string {
	words := []string{s.kind()}
	if s.isTime() {
		return words[0]
	}
	for _, bound := range []struct {
		low, high *int64
		unit      string
	}{{s.Minimum, s.Maximum, ""}, {s.MinLength, s.MaxLength, " characters"}, {s.MinItems, s.MaxItems, " items"}, {nil, s.MaxProperties, " entries"}} {
		switch {
		case bound.low != nil && bound.high != nil:
			words = append(words, fmt.Sprintf("%d to %d%s", *bound.low, *bound.high, bound.unit))
		case bound.high != nil:
			words = append(words, fmt.Sprintf("at most %d%s", *bound.high, bound.unit))
		case bound.low != nil:
			words = append(words, fmt.Sprintf("at least %d%s", *bound.low, bound.unit))
		}
	}
	if len(s.MapKeys) > 0 {
		words = append(words, "one for each "+strings.Join(s.MapKeys, ", "))
	}
	if value, plain := s.Default.(map[string]any); s.Default != nil && (!plain || len(value) == 0) {
		words = append(words, fmt.Sprintf("default `%v`", s.Default))
	}
	return strings.Join(words, ", ")
}

func (s schema) kind() string {
	switch {
	case len(s.Enum) > 0:
		values := make([]string, len(s.Enum))
		for i, value := range s.Enum {
			values[i] = fmt.Sprintf("`%v`", value)
		}
		return strings.Join(values, ", ")
	case s.isTime():
		return "time"
	case s.Items != nil && len(s.Items.Properties) > 0:
		return "list of objects"
	case s.Items != nil:
		return "list of " + s.Items.kind()
	case s.AdditionalProperties != nil:
		return "map to " + s.AdditionalProperties.kind()
	}
	return s.Type
}

var blanks = regexp.MustCompile(`\s+`)

// cell returns a text as one cell of a Markdown table.
func cell(text string) string {
	return strings.ReplaceAll(blanks.ReplaceAllString(strings.TrimSpace(text), " "), "|", `\|`)
}
