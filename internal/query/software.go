// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"reflect"
	"slices"
	"unique"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Inventories returns the software that a target has reported. It is called only for expressions
// that read it, and must not return nil. A nil function means that no target has reported any.
type Inventories func(t *v1alpha1.Target) *v1alpha1.CompactInventory

// entry is one piece of software, as the index holds it.
type entry = unique.Handle[v1alpha1.InventorySoftware]

// view is a target together with its inventory.
type view struct {
	target      *v1alpha1.Target
	inventories Inventories
}

var noSoftware = &v1alpha1.CompactInventory{}

func (v *view) inventory() *v1alpha1.CompactInventory {
	if v.inventories == nil {
		return noSoftware
	}
	return v.inventories(v.target)
}

// software returns the field of a target that has a list of its inventory.
func software(list func(*v1alpha1.CompactInventory) []entry) *types.FieldType {
	return &types.FieldType{
		Type: types.NewListType(softwareType),
		IsSet: func(o any) bool {
			v, ok := o.(*view)
			return ok && len(list(v.inventory())) > 0
		},
		GetFrom: func(o any) (any, error) {
			v, ok := o.(*view)
			if !ok {
				return nil, fmt.Errorf("%T has no software", o)
			}
			return entries(list(v.inventory())), nil
		},
	}
}

// word returns one field of an entry.
func word(get func(*v1alpha1.InventorySoftware) string) *types.FieldType {
	read := func(o any) (string, bool) {
		e, ok := o.(entry)
		if !ok {
			return "", false
		}
		s := e.Value()
		return get(&s), true
	}
	return &types.FieldType{
		Type:  types.StringType,
		IsSet: func(o any) bool { s, _ := read(o); return s != "" },
		GetFrom: func(o any) (any, error) {
			s, ok := read(o)
			if !ok {
				return nil, fmt.Errorf("%T has no such field", o)
			}
			return s, nil
		},
	}
}

// entries is a list of software in an expression.
type entries []entry

func (l entries) Type() ref.Type { return types.ListType }
func (l entries) Value() any     { return []entry(l) }
func (l entries) Size() ref.Val  { return types.Int(len(l)) }

func (l entries) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok || i < 0 || int(i) >= len(l) {
		return types.NewErr("index %v is outside of the list", index)
	}
	return object{softwareType, l[i]}
}

func (l entries) Contains(value ref.Val) ref.Val {
	o, ok := value.(object)
	return types.Bool(ok && slices.ContainsFunc(l, func(e entry) bool { return o.of == any(e) }))
}

func (l entries) Equal(other ref.Val) ref.Val {
	o, ok := other.(entries)
	return types.Bool(ok && slices.Equal(l, o))
}

func (l entries) Add(other ref.Val) ref.Val {
	o, ok := other.(entries)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return slices.Concat(l, o)
}

func (l entries) Iterator() traits.Iterator { return &iterator{list: l} }

func (l entries) ConvertToNative(want reflect.Type) (any, error) {
	return nil, fmt.Errorf("a list of software cannot become a %s", want)
}

func (l entries) ConvertToType(want ref.Type) ref.Val {
	switch want {
	case types.ListType:
		return l
	case types.TypeType:
		return types.ListType
	}
	return types.NewErr("a list of software cannot become a %s", want.TypeName())
}

// iterator iterates over entries. CEL requires it to be a value.
type iterator struct {
	object
	list entries
	next int
}

func (i *iterator) HasNext() ref.Val { return types.Bool(i.next < len(i.list)) }

func (i *iterator) Next() ref.Val {
	if i.next >= len(i.list) {
		return nil
	}
	i.next++
	return object{softwareType, i.list[i.next-1]}
}
