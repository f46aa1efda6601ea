// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kinds reads Goshawk's CRDs for tests that visit every field. It returns samples with all
// fields, variants of a sample without one part, and definitions with all fields and no rules, so
// that objects of an older schema can be stored.
package kinds

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Definitions returns the CRDs below the root of the repository, by kind.
func Definitions(root string) (map[string]*unstructured.Unstructured, error) {
	paths, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%d CRDs below %s", len(paths), root))
	}
	byKind := map[string]*unstructured.Unstructured{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			return nil, err
		}
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		byKind[kind] = crd
	}
	return byKind, nil
}

// Schema returns the schema of the only version of a definition.
func Schema(crd *unstructured.Unstructured) map[string]any {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	schema, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
	return schema
}

// In returns a definition in another API group.
func In(group string, crd *unstructured.Unstructured) *unstructured.Unstructured {
	copied := crd.DeepCopy()
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	copied.SetName(plural + "." + group)
	spec := copied.Object["spec"].(map[string]any)
	spec["group"] = group
	names := spec["names"].(map[string]any)
	delete(names, "shortNames")
	delete(names, "categories")
	return copied
}

// Loosened returns a definition with all fields, without rules and required fields.
func Loosened(crd *unstructured.Unstructured) *unstructured.Unstructured {
	loose := crd.DeepCopy()
	version := loose.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	loosen(version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any))
	return loose
}

func loosen(schema map[string]any) {
	for _, rule := range []string{"x-kubernetes-validations", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "maxProperties"} {
		delete(schema, rule)
	}
	switch schema["x-kubernetes-list-type"] {
	case "set", "map": // A key of a list would have to be required.
		schema["x-kubernetes-list-type"] = "atomic"
		delete(schema, "x-kubernetes-list-map-keys")
	}
	delete(schema, "required")
	for _, inner := range below(schema) {
		loosen(inner)
	}
}

// below returns the schemas of the parts of a schema.
func below(schema map[string]any) []map[string]any {
	var parts []map[string]any
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		parts = append(parts, properties[name].(map[string]any))
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(map[string]any); ok {
			parts = append(parts, inner)
		}
	}
	return parts
}

// Sample returns a value with all fields of the schema; lists and maps have one item. choose
// selects the value of an enum.
func Sample(schema map[string]any, choose func(enum []any) any) any {
	if enum, ok := schema["enum"].([]any); ok {
		return choose(enum)
	}
	switch schema["type"] {
	case "object":
		sample := map[string]any{}
		if values, ok := schema["additionalProperties"].(map[string]any); ok {
			sample["key"] = Sample(values, choose)
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, inner := range properties {
			sample[name] = Sample(inner.(map[string]any), choose)
		}
		return sample
	case "array":
		return []any{Sample(schema["items"].(map[string]any), choose)}
	case "integer":
		return int64(1)
	case "boolean":
		return true
	case "string":
		if schema["format"] == "byte" {
			return "YQ=="
		}
		if text, _ := json.Marshal(schema["x-kubernetes-validations"]); strings.Contains(string(text), "T([01][0-9]|2[0-3])") || schema["format"] == "date-time" {
			return "2026-12-01T02:00:00.000000Z"
		}
		return "a"
	default:
		panic(fmt.Sprintf("there is no sample of type %v", schema["type"]))
	}
}

// A Variant is a sample without one part.
type Variant struct {
	Path   string
	Sample map[string]any
}

// Variants returns the sample without each of its parts. It has no variants with null: the API
// server removes null from every request before it evaluates rules and policies, because no part of
// Goshawk's kinds is nullable.
func Variants(sample map[string]any) []Variant {
	var variants []Variant
	visit("", sample, func(path string, find func(root map[string]any) map[string]any, key string) {
		without := (&unstructured.Unstructured{Object: sample}).DeepCopy().Object
		delete(find(without), key)
		variants = append(variants, Variant{path, without})
	})
	return variants
}

// Replaced returns the sample with a value in place of each of its parts.
func Replaced(sample map[string]any, value any) []Variant {
	var variants []Variant
	visit("", sample, func(path string, find func(root map[string]any) map[string]any, key string) {
		variant := (&unstructured.Unstructured{Object: sample}).DeepCopy().Object
		find(variant)[key] = runtime.DeepCopyJSONValue(value)
		variants = append(variants, Variant{path, variant})
	})
	return variants
}

// visit visits every part of a map: its path, a function that finds in a copy of the map the map
// that contains the part, and the key of the part in it.
func visit(path string, value any, do func(path string, find func(root map[string]any) map[string]any, key string)) {
	var walk func(path string, value any, find func(root map[string]any) any)
	walk = func(path string, value any, find func(root map[string]any) any) {
		switch value := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(value)) {
				do(strings.TrimPrefix(path+"."+key, "."), func(root map[string]any) map[string]any { return find(root).(map[string]any) }, key)
				walk(path+"."+key, value[key], func(root map[string]any) any { return find(root).(map[string]any)[key] })
			}
		case []any:
			walk(path+"[]", value[0], func(root map[string]any) any { return find(root).([]any)[0] })
		}
	}
	walk(path, value, func(root map[string]any) any { return root })
}

// IsOptional reports whether the part at a variant's path may be absent in the schema.
func IsOptional(schema map[string]any, path string) bool {
	parts := strings.Split(path, ".")
	for i, part := range parts {
		name, isItem := strings.CutSuffix(part, "[]")
		if i == len(parts)-1 {
			required, _ := schema["required"].([]any)
			return !slices.Contains(required, any(name))
		}
		properties, _ := schema["properties"].(map[string]any)
		inner, ok := properties[name].(map[string]any)
		if !ok {
			return true // the key of a map
		}
		if schema = inner; isItem {
			schema = inner["items"].(map[string]any)
		}
	}
	return true
}
