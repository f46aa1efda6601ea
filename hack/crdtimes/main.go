// Command crdtimes adds one rule to every time field of the CRDs, in spec and in status.
//
// The API server's date-time takes forms that Go cannot read (a lower-case t, an offset of 25 hours, a leap second) and times that
// Go cannot write back (after the year 9999 in UTC). An object with such a time can be stored and then cannot be read by any
// controller. controller-gen has no marker for a rule on each field of a Go type, and metav1.Condition is not ours to mark, so
// this program writes the rule after controller-gen: it walks the Go types of the kinds and their schemas together.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: crdtimes FOLDER-OF-CRDS")
	}
	for _, kind := range []any{
		v1alpha1.AutoAssignment{}, v1alpha1.DeploymentGroup{}, v1alpha1.DistributionSet{}, v1alpha1.Rollout{}, v1alpha1.SoftwareModule{}, v1alpha1.Target{},
	} {
		if err := rewrite(os.Args[1], reflect.TypeOf(kind)); err != nil {
			log.Fatal(err)
		}
	}
}

// rewrite adds the rule to the CRD of one kind.
func rewrite(folder string, kind reflect.Type) error {
	path := filepath.Join(folder, fmt.Sprintf("goshawk.dev_%ss.yaml", strings.ToLower(kind.Name())))
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, version := range crd["spec"].(map[string]any)["versions"].([]any) {
		schema := version.(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
		if err := walk(kind, schema, kind.Name()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	out, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("---\n"), out...), 0o644)
}

// walk adds the rule to every time below a Go type and its schema.
func walk(t reflect.Type, schema map[string]any, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[metav1.Time]():
		limit(schema, path, false)
	case t == reflect.TypeFor[metav1.MicroTime]():
		limit(schema, path, true)
	case t.Kind() == reflect.Struct:
		return walkStruct(t, schema, path)
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Map:
		for _, key := range []string{"items", "additionalProperties"} {
			if below, ok := schema[key].(map[string]any); ok {
				return walk(t.Elem(), below, path)
			}
		}
	case schema["format"] == "date-time":
		return fmt.Errorf("%s has the format date-time and is no Go time", path)
	}
	return nil
}

func walkStruct(t reflect.Type, schema map[string]any, path string) error {
	properties, _ := schema["properties"].(map[string]any)
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		below, known := properties[name].(map[string]any)
		switch {
		case name == "" && field.Anonymous:
			if err := walk(field.Type, schema, path); err != nil {
				return err
			}
		case known && name != "metadata":
			if err := walk(field.Type, below, path+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// limit replaces the schema of one time field. The format goes: with it CEL gets a time, which hides how it was written, and a
// text that is no time at all is refused without this sentence.
func limit(schema map[string]any, path string, micro bool) {
	field := path[strings.LastIndex(path, ".")+1:]
	delete(schema, "format")
	schema["maxLength"] = 64
	schema["x-kubernetes-validations"] = []any{map[string]any{"rule": rule(micro), "message": message(field, micro)}}
}

// rule accepts what both metav1.Time (metav1.MicroTime) and the API server read, and what stays writable in UTC.
func rule(micro bool) string {
	const (
		year = `(19[7-9]|[2-9][0-9]{2})[0-9]`
		// Years divisible by four, but of full centuries only those divisible by 400.
		leapYear = `([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)`
		day      = `((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)`
		clock    = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]`
		zone     = `(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`
	)
	fraction := `([.][0-9]{1,9})?`
	if micro {
		fraction = `[.][0-9]{6}`
	}
	return fmt.Sprintf(`self.matches('^%s-(%s|02-29)T%s%s%s%s') && (!self.contains('-02-29T') || self.matches('^%s-')) && !self.matches('^9999-12-31T.*-')`,
		year, day, clock, fraction, zone, "$", leapYear)
}

func message(field string, micro bool) string {
	example := "2026-12-01T02:00:00Z or 2026-12-01T03:00:00+01:00"
	if micro {
		example = "2026-12-01T02:00:00.000000Z, with six digits after the point"
	}
	return fmt.Sprintf("%s must be a time such as %s: a capital T and Z, an existing day, seconds up to 59, an offset below 24 hours, and a year from 1970 to 9999 in UTC", field, example)
}
