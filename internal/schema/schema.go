// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package schema checks objects as the API server does when it creates or updates them: unknown
// fields, defaults, the structural schema and the CEL rules of the CustomResourceDefinitions. It
// uses the libraries of the API server.
package schema

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/config/crd"
)

// Kind checks the objects of one kind.
type Kind struct {
	apiVersion string
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	// rules compiles the CEL rules at the first call.
	rules func() *cel.Validator
}

// Kinds returns the kinds of the embedded CustomResourceDefinitions, by name.
var Kinds = sync.OnceValues(func() (map[string]*Kind, error) {
	files, err := fs.Glob(crd.Files, "bases/*.yaml")
	if err != nil {
		return nil, err
	}
	kinds := map[string]*Kind{}
	for _, name := range files {
		data, err := fs.ReadFile(crd.Files, name)
		if err != nil {
			return nil, err
		}
		kind, k, err := read(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		kinds[kind] = k
	}
	return kinds, nil
})

// read returns a kind and its name.
func read(data []byte) (string, *Kind, error) {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &definition); err != nil {
		return "", nil, err
	}
	version := definition.Spec.Versions[0]
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
		return "", nil, err
	}
	structural, err := structuralschema.NewStructural(&props)
	if err != nil {
		return "", nil, err
	}
	validator, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return "", nil, err
	}
	return definition.Spec.Names.Kind, &Kind{
		apiVersion: definition.Spec.Group + "/" + version.Name, structural: structural, validator: validator,
		rules: sync.OnceValue(func() *cel.Validator { return cel.NewValidator(structural, true, celconfig.PerCallLimit) }),
	}, nil
}

// Create returns why the API server would refuse to create the object, with strict field
// validation. It fills in the defaults, in place, and removes the status.
func (k *Kind) Create(ctx context.Context, object *unstructured.Unstructured) field.ErrorList {
	errs := k.prepare(object)
	delete(object.Object, "status")
	return sorted(append(errs, k.validate(ctx, object)...))
}

// Stored returns what is wrong with an object and its status, as the API server would store them.
// It fills in the defaults, in place. Rules that compare with an older object are not evaluated.
func (k *Kind) Stored(ctx context.Context, object *unstructured.Unstructured) field.ErrorList {
	errs := k.prepare(object)
	return sorted(append(errs, k.validate(ctx, object)...))
}

// validate returns what is wrong with an object without unknown fields.
func (k *Kind) validate(ctx context.Context, object *unstructured.Unstructured) field.ErrorList {
	k.defaults(object)
	var errs field.ErrorList
	errs = append(errs, k.validateMeta(object)...)
	errs = append(errs, validation.ValidateCustomResource(nil, object.Object, k.validator)...)
	errs = append(errs, objectmeta.Validate(ctx, nil, object.Object, k.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, object.Object)...)
	if !blocks(errs) {
		refused, _ := k.rules().Validate(ctx, nil, k.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, refused...)
	}
	return errs
}

// Update returns why the API server would refuse to change old into the object. It fills in the
// defaults, in place, and takes the status and the metadata that only the API server writes from
// old.
func (k *Kind) Update(ctx context.Context, object, old *unstructured.Unstructured) field.ErrorList {
	errs, old := k.prepare(object), old.DeepCopy()
	k.defaults(old)
	if status, ok := old.Object["status"]; ok {
		object.Object["status"] = runtime.DeepCopyJSONValue(status)
	} else {
		delete(object.Object, "status")
	}
	k.defaults(object)
	object.SetUID(old.GetUID())
	object.SetCreationTimestamp(old.GetCreationTimestamp())
	errs = append(errs, k.validateMeta(object)...)
	correlated := common.NewCorrelatedObject(object.Object, old.Object, &model.Structural{Structural: k.structural})
	errs = append(errs, validation.ValidateCustomResourceUpdate(nil, object.Object, old.Object, k.validator, validation.WithRatcheting(correlated))...)
	errs = append(errs, objectmeta.Validate(ctx, nil, object.Object, k.structural, false)...)
	if len(listtype.ValidateListSetsAndMaps(nil, k.structural, old.Object)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, object.Object)...)
	}
	if !blocks(errs) {
		refused, _ := k.rules().Validate(ctx, nil, k.structural, object.Object, old.Object, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(correlated))
		errs = append(errs, refused...)
	}
	return sorted(errs)
}

// prepare removes unknown fields, and returns an error for each.
func (k *Kind) prepare(object *unstructured.Unstructured) field.ErrorList {
	var errs field.ErrorList
	for _, path := range pruning.PruneWithOptions(object.Object, k.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		errs = append(errs, &field.Error{Type: field.ErrorTypeForbidden, Field: path, Detail: "unknown field"})
	}
	return errs
}

func (k *Kind) defaults(object *unstructured.Unstructured) {
	defaulting.PruneNonNullableNullsWithoutDefaults(object.Object, k.structural)
	defaulting.Default(object.Object, k.structural)
}

// validateMeta checks apiVersion, kind and metadata.
func (k *Kind) validateMeta(object *unstructured.Unstructured) field.ErrorList {
	var errs field.ErrorList
	if got := object.GetAPIVersion(); got != k.apiVersion {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), got, "must be "+k.apiVersion))
	}
	path := field.NewPath("metadata")
	meta, _, err := objectmeta.GetObjectMeta(object.Object, false)
	if err != nil {
		return append(errs, field.Invalid(path, object.Object["metadata"], err.Error()))
	}
	if meta == nil {
		meta = &metav1.ObjectMeta{}
	}
	return append(errs, metavalidation.ValidateObjectMeta(meta, true, metavalidation.NameIsDNSSubdomain, path)...)
}

// blocks reports whether the API server does not evaluate the CEL rules because of these errors.
func blocks(errs field.ErrorList) bool {
	return slices.ContainsFunc(errs, func(err *field.Error) bool {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		default:
			return false
		}
	})
}

func sorted(errs field.ErrorList) field.ErrorList {
	slices.SortStableFunc(errs, func(a, b *field.Error) int { return strings.Compare(a.Field+"\n"+a.Detail, b.Field+"\n"+b.Detail) })
	return errs
}
