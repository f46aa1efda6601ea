// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package states

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	checks "github.com/goshawk-dev/goshawk/internal/schema"
)

// definition is a CRD with its schema, as the API server prepares it.
type definition struct {
	crd        *apiextensionsv1.CustomResourceDefinition
	version    apiextensionsv1.CustomResourceDefinitionVersion
	structural *schema.Structural
}

// definitions returns the CRDs, by kind.
func definitions(t *testing.T) map[string]*definition {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d CRDs: %v", len(files), err)
	}
	byKind := map[string]*definition{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := &definition{crd: &apiextensionsv1.CustomResourceDefinition{}}
		if err := yaml.UnmarshalStrict(text, d.crd); err != nil {
			t.Fatal(err)
		}
		if len(d.crd.Spec.Versions) != 1 {
			t.Fatalf("%s has %d versions", file, len(d.crd.Spec.Versions))
		}
		d.version = d.crd.Spec.Versions[0]
		var internal apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(d.version.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
			t.Fatal(err)
		}
		if d.structural, err = schema.NewStructural(&internal); err != nil {
			t.Fatal(err)
		}
		byKind[d.crd.Spec.Names.Kind] = d
	}
	return byKind
}

// faults returns what the API server finds wrong with an object.
func (d *definition) faults(t *testing.T, o *unstructured.Unstructured) []string {
	t.Helper()
	kinds, err := checks.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, err := range kinds[d.crd.Spec.Names.Kind].Stored(t.Context(), o.DeepCopy()) {
		found = append(found, err.Error())
	}
	return found
}

// TestEveryStateIsValid: the CRDs allow every object, with its status, so no status write of a
// controller is refused.
func TestEveryStateIsValid(t *testing.T) {
	byKind := definitions(t)
	every(t, func(t *testing.T, o *unstructured.Unstructured, kind, state string, _ result) {
		found := byKind[kind].faults(t, o)
		if isFuture(state) { // of a later version
			found = slices.DeleteFunc(found, func(fault string) bool { return strings.Contains(fault, Future) })
		}
		for _, fault := range found {
			t.Error(fault)
		}
	})
}

// TestInvalidStatesAreFound: the check of TestEveryStateIsValid finds every kind of fault.
func TestInvalidStatesAreFound(t *testing.T) {
	rollout := definitions(t)["Rollout"]
	for name, tt := range map[string]struct {
		edit func(o map[string]any)
		want string
	}{
		"an unknown field":   {func(o map[string]any) { o["status"].(map[string]any)["stage"] = "x" }, "status.stage: Forbidden: unknown field"},
		"an unknown state":   {func(o map[string]any) { o["status"].(map[string]any)["state"] = "Walking" }, "Unsupported value"},
		"a long message":     {func(o map[string]any) { o["status"].(map[string]any)["pauseMessage"] = strings.Repeat("x", 1<<16) }, "Too long"},
		"a rule of the spec": {func(o map[string]any) { o["spec"].(map[string]any)["errorBudget"] = map[string]any{} }, "errorBudget needs percent"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := Read(File(root, "Rollout", "running"))
			if err != nil {
				t.Fatal(err)
			}
			tt.edit(o.Object)
			if found := rollout.faults(t, o); !strings.Contains(strings.Join(found, "\n"), tt.want) {
				t.Errorf("the faults are %q, want %q", found, tt.want)
			}
		})
	}
}

// TestAttributesAreBoundedTogether: the attributes of a device have at most 8192 characters in all.
func TestAttributesAreBoundedTogether(t *testing.T) {
	target := definitions(t)["Target"]
	for more, want := range map[int]string{0: "", 1: "attributes must have at most 8192 characters in all"} {
		o, err := Read(File(root, "Target", "ready"))
		if err != nil {
			t.Fatal(err)
		}
		attributes := map[string]any{}
		for i := range 64 {
			attributes[fmt.Sprintf("k%03d", i)] = strings.Repeat("x", 124)
		}
		attributes["k000"] = strings.Repeat("x", 124+more)
		_ = unstructured.SetNestedMap(o.Object, attributes, "status", "attributes")
		if found := strings.Join(target.faults(t, o), "\n"); (found == "") != (want == "") || !strings.Contains(found, want) {
			t.Errorf("with %d characters the faults are %q, want %q", 8192+more, found, want)
		}
	}
}

// TestDefinitionsForTools: every CRD has a status subresource, the category, a short name, and the
// column Age. The kinds that users write have observedGeneration -1 before the first reconcile, so
// that no tool takes them as done; kinds with conditions have the columns Ready and Reason.
func TestDefinitionsForTools(t *testing.T) {
	for kind, d := range definitions(t) {
		names := d.crd.Spec.Names
		if d.version.Subresources == nil || d.version.Subresources.Status == nil {
			t.Errorf("%s has no status subresource", kind)
		}
		if len(names.ShortNames) == 0 || !slices.Equal(names.Categories, []string{"goshawk"}) {
			t.Errorf("%s has short names %v and categories %v", kind, names.ShortNames, names.Categories)
		}
		columns := map[string]string{}
		for _, c := range d.version.AdditionalPrinterColumns {
			columns[c.Name] = c.JSONPath
			if strings.Contains(c.JSONPath, "conditions[") && !strings.Contains(c.JSONPath, "conditions[?(@.type==") {
				t.Errorf("column %s of %s does not select a condition by its type: %s", c.Name, kind, c.JSONPath)
			}
		}
		if columns["Age"] != ".metadata.creationTimestamp" {
			t.Errorf("%s has no column Age", kind)
		}
		status := d.version.Schema.OpenAPIV3Schema.Properties["status"]
		if want := `{"observedGeneration":-1}`; !slices.Contains(generated, kind) && (status.Default == nil || string(status.Default.Raw) != want) {
			t.Errorf("the default of status of %s is not %s", kind, want)
		}
		conditions, has := status.Properties["conditions"]
		if has && (columns["Ready"] != `.status.conditions[?(@.type=="Ready")].status` || columns["Reason"] != `.status.conditions[?(@.type=="Ready")].reason`) {
			t.Errorf("the columns Ready and Reason of %s are %q and %q", kind, columns["Ready"], columns["Reason"])
		}
		if has && (conditions.XListType == nil || *conditions.XListType != "map" || !slices.Equal(conditions.XListMapKeys, []string{"type"}) || conditions.MaxItems == nil || *conditions.MaxItems > 16) {
			t.Errorf("the conditions of %s are not a map by type with at most 16 items", kind)
		}
	}
}

// TestEnumValuesArePascalCase: a value is one word in PascalCase, as the values of Kubernetes are.
func TestEnumValuesArePascalCase(t *testing.T) {
	word := regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	enums := 0
	for kind, d := range definitions(t) {
		visitEnums(kind, d.structural, func(path, value string) {
			if enums++; !word.MatchString(value) {
				t.Errorf("%s may be %q", path, value)
			}
		})
	}
	if enums < 50 {
		t.Errorf("only %d values of enums were found", enums)
	}
}

// TestNoFieldHasTwoNotations: no field of a spec accepts a number and a text for the same value, or
// a duration or quantity, which a tool may write in another way than the manifest.
func TestNoFieldHasTwoNotations(t *testing.T) {
	for kind, d := range definitions(t) {
		spec := d.structural.Properties["spec"]
		var visit func(path string, s *schema.Structural)
		visit = func(path string, s *schema.Structural) {
			if s.XIntOrString || s.ValueValidation != nil && slices.Contains([]string{"duration", "quantity", "int-or-string"}, s.ValueValidation.Format) {
				t.Errorf("%s has several notations", path)
			}
			for name := range s.Properties {
				inner := s.Properties[name]
				visit(path+"."+name, &inner)
			}
			if s.Items != nil {
				visit(path+"[]", s.Items)
			}
		}
		visit(kind, &spec)
	}
}

func visitEnums(path string, s *schema.Structural, visit func(path, value string)) {
	if s.ValueValidation != nil && !strings.Contains(path, ".conditions[]") { // the statuses of a condition are those of Kubernetes
		for _, value := range s.ValueValidation.Enum {
			if text, ok := value.Object.(string); ok {
				visit(path, text)
			}
		}
	}
	for name := range s.Properties {
		inner := s.Properties[name]
		visitEnums(path+"."+name, &inner, visit)
	}
	if s.Items != nil {
		visitEnums(path+"[]", s.Items, visit)
	}
}

// TestCostOfRules prints the estimated cost of the CEL rules of each CRD. It is below half of the
// limits of the API server, so that a new rule does not make a CRD unusable.
func TestCostOfRules(t *testing.T) {
	for kind, d := range definitions(t) {
		c := &costs{t: t}
		c.visit(kind, d.structural, new(uint64(1)), true)
		t.Logf("%-15s %3d rules, %5.2f%% of the limit of the CRD; most expensive rule %5.2f%%: %s", kind, c.rules,
			100*float64(c.total)/crdvalidation.StaticEstimatedCRDCostLimit, 100*float64(c.highest)/crdvalidation.StaticEstimatedCostLimit, c.name)
		if c.total > crdvalidation.StaticEstimatedCRDCostLimit/2 || c.highest > crdvalidation.StaticEstimatedCostLimit/2 {
			t.Errorf("the rules of %s cost %d of %d, the most expensive (%s) %d of %d", kind, c.total, uint64(crdvalidation.StaticEstimatedCRDCostLimit), c.name, c.highest, uint64(crdvalidation.StaticEstimatedCostLimit))
		}
	}
}

type costs struct {
	t              *testing.T
	rules          int
	total, highest uint64
	name           string
}

// visit adds the costs of the rules of a node, which exists at most max times in an object; nil
// means that the number is not limited by the schema.
func (c *costs) visit(path string, s *schema.Structural, most *uint64, isRoot bool) {
	c.t.Helper()
	results, err := cel.Compile(s, model.SchemaDeclType(s, isRoot), celconfig.PerCallLimit, environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()), cel.NewExpressionsEnvLoader())
	if err != nil {
		c.t.Fatal(err)
	}
	for i, r := range results {
		if r.Error != nil {
			c.t.Errorf("%s: rule %d: %v", path, i, r.Error)
		}
		number := r.MaxCardinality
		if most != nil {
			number = *most
		}
		cost := r.MaxCost * number
		c.rules++
		c.total += cost
		if cost > c.highest {
			c.highest, c.name = cost, fmt.Sprintf("%s: %s", path, s.XValidations[i].Rule)
		}
	}
	for name := range s.Properties {
		inner := s.Properties[name]
		c.visit(path+"."+name, &inner, most, false)
	}
	if s.Items != nil {
		var limit *int64
		if s.ValueValidation != nil {
			limit = s.ValueValidation.MaxItems
		}
		c.visit(path+"[]", s.Items, times(most, limit), false)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		var limit *int64
		if s.ValueValidation != nil {
			limit = s.ValueValidation.MaxProperties
		}
		c.visit(path+"{}", s.AdditionalProperties.Structural, times(most, limit), false)
	}
}

func times(a *uint64, b *int64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	return new(*a * uint64(*b))
}
