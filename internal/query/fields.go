// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// The types that an expression can see.
var (
	targetType    = types.NewObjectType("goshawk.Target")
	installedType = types.NewObjectType("goshawk.Installed")
	softwareType  = types.NewObjectType("goshawk.Software")

	stringsType = types.NewMapType(types.StringType, types.StringType)
)

// fields lists the fields of each type that an expression can use. No other fields are accessible.
var fields = map[string]map[string]*types.FieldType{
	targetType.TypeName(): {
		"name":         text(func(t *v1alpha1.Target) string { return t.Name }),
		"controllerID": text((*v1alpha1.Target).ControllerID),
		"description":  text(func(t *v1alpha1.Target) string { return t.Spec.Description }),
		"address":      text(func(t *v1alpha1.Target) string { return t.Spec.Address }),
		"type":         text(func(t *v1alpha1.Target) string { return t.Spec.Type }),
		"labels": field(stringsType, func(t *v1alpha1.Target) bool { return len(t.Labels) > 0 },
			func(t *v1alpha1.Target) (any, error) { return t.Labels, nil }),
		"attributes": field(stringsType, func(t *v1alpha1.Target) bool { return len(t.Status.Attributes) > 0 },
			func(t *v1alpha1.Target) (any, error) { return t.Status.Attributes, nil }),
		"updateStatus": text(func(t *v1alpha1.Target) string { return string(t.Status.UpdateStatus) }),
		"inconsistent": truth(isInconsistent),
		"installed": field(installedType, func(t *v1alpha1.Target) bool { return t.Status.Installed != nil },
			func(t *v1alpha1.Target) (any, error) { return installedOf(t), nil }),
		"software":  software(func(c *v1alpha1.CompactInventory) []entry { return c.Installed }),
		"context":   software(func(c *v1alpha1.CompactInventory) []entry { return c.Context }),
		"hold":      truth(func(t *v1alpha1.Target) bool { return t.Spec.Hold }),
		"lastSeen":  instant(func(t *v1alpha1.Target) *metav1.Time { return t.Status.LastSeen }),
		"createdAt": instant(func(t *v1alpha1.Target) *metav1.Time { return &t.CreationTimestamp }),
	},
	installedType.TypeName(): {
		"distributionSet": text(func(i *v1alpha1.InstalledSet) string { return i.DistributionSet }),
		"contentHash":     text(func(i *v1alpha1.InstalledSet) string { return i.ContentHash }),
	},
	softwareType.TypeName(): {
		"feature": word(func(s *v1alpha1.InventorySoftware) string { return s.Feature }),
		"group":   word(func(s *v1alpha1.InventorySoftware) string { return s.Group }),
		"name":    word(func(s *v1alpha1.InventorySoftware) string { return s.Name }),
		"version": word(func(s *v1alpha1.InventorySoftware) string { return s.Version }),
		"type":    word(func(s *v1alpha1.InventorySoftware) string { return s.Type }),
	},
}

// bounds are the maximum sizes that the schema allows, by path. The cost of an expression is
// estimated with them. Kubernetes does not limit the number of labels; 100 is assumed.
var bounds = map[string]uint64{
	"target.name":                      253,
	"target.controllerID":              256,
	"target.description":               512,
	"target.address":                   512,
	"target.type":                      64,
	"target.updateStatus":              16,
	"target.labels":                    100,
	"target.labels.@keys":              317,
	"target.labels.@values":            63,
	"target.attributes":                v1alpha1.MaxAttributes,
	"target.attributes.@keys":          128,
	"target.attributes.@values":        128,
	"target.installed.distributionSet": 253,
	"target.installed.contentHash":     64,
	"target.software":                  v1alpha1.MaxInventoryEntries,
	"target.software.@items.feature":   128,
	"target.software.@items.group":     256,
	"target.software.@items.name":      256,
	"target.software.@items.version":   128,
	"target.software.@items.type":      64,
	"target.context":                   v1alpha1.MaxInventoryEntries,
	"target.context.@items.feature":    128,
	"target.context.@items.group":      256,
	"target.context.@items.name":       256,
	"target.context.@items.version":    128,
	"target.context.@items.type":       64,
}

// as returns an object as a *T. A view is its target.
func as[T any](object any) (*T, bool) {
	if v, ok := object.(*view); ok {
		object = v.target
	}
	o, ok := object.(*T)
	return o, ok
}

// field returns one entry of the table for objects of Go type *T.
func field[T any](t *types.Type, isSet func(*T) bool, get func(*T) (any, error)) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(object any) bool {
			o, ok := as[T](object)
			return ok && isSet(o)
		},
		GetFrom: func(object any) (any, error) {
			o, ok := as[T](object)
			if !ok {
				return nil, fmt.Errorf("%T has no such field", object)
			}
			return get(o)
		},
	}
}

func text[T any](get func(*T) string) *types.FieldType {
	return field(types.StringType, func(o *T) bool { return get(o) != "" }, func(o *T) (any, error) { return get(o), nil })
}

func truth[T any](get func(*T) bool) *types.FieldType {
	return field(types.BoolType, get, func(o *T) (any, error) { return get(o), nil })
}

var errNever = errors.New("the time is not set yet")

func instant[T any](get func(*T) *metav1.Time) *types.FieldType {
	return field(types.TimestampType, func(o *T) bool { return !get(o).IsZero() }, func(o *T) (any, error) {
		if at := get(o); !at.IsZero() {
			return at.UTC().Truncate(time.Second), nil
		}
		return nil, errNever
	})
}

func isInconsistent(t *v1alpha1.Target) bool {
	for i := range t.Status.Conditions {
		if c := &t.Status.Conditions[i]; c.Type == v1alpha1.ConditionConsistent {
			return c.Status == metav1.ConditionFalse
		}
	}
	return false
}

var nothingInstalled = &v1alpha1.InstalledSet{}

// installedOf returns empty strings for a device whose installed set is unknown.
func installedOf(t *v1alpha1.Target) ref.Val {
	if t.Status.Installed == nil {
		return object{installedType, nothingInstalled}
	}
	return object{installedType, t.Status.Installed}
}

// provider adds our types to those of CEL.
type provider struct{ types.Provider }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if _, ours := fields[name]; ours {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if ours, ok := fields[name]; ok {
		return sortedKeys(ours), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if ours, ok := fields[name]; ok {
		t, found := ours[field]
		return t, found
	}
	return p.Provider.FindStructFieldType(name, field)
}

// object is a value of one of our types. It is read only through the table of fields.
type object struct {
	is *types.Type
	of any
}

func (o object) Type() ref.Type { return o.is }
func (o object) Value() any     { return o.of }

func (o object) Equal(other ref.Val) ref.Val { return types.Bool(other.Value() == o.of) }

func (o object) ConvertToNative(want reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s cannot become a %s", o.is, want)
}

func (o object) ConvertToType(want ref.Type) ref.Val {
	if want == types.TypeType {
		return o.is
	}
	return types.NewErr("%s cannot become a %s", o.is, want.TypeName())
}
