// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values that Go can decode but that this version cannot work with: a string that is not a value of
// its enum, a number outside of its limits, and a time that cannot be encoded in UTC.

// check returns what is wrong with a value, or "", and the path of it below the value.
type check func(v reflect.Value) (path, problem string)

// checks of the types of this group's kinds. A type without a check contains no enum, no number
// with limits, and no time.
var checks = map[reflect.Type]check{}

// checkOf returns the check of a type, or nil if there is nothing to check. The checks are built
// during the initialization of the package.
func checkOf(t reflect.Type) check {
	if known, ok := checks[t]; ok {
		return known
	}
	c := build(t)
	checks[t] = c
	return c
}

func build(t reflect.Type) check {
	switch {
	case t == reflect.TypeFor[metav1.Time](), t == reflect.TypeFor[metav1.MicroTime]():
		return checkTime
	case t.Kind() == reflect.String && enums[t] != nil:
		return checkEnum(enums[t])
	case t.Kind() == reflect.Pointer:
		return checkPointer(t)
	case t.Kind() == reflect.Slice:
		return checkSlice(t)
	case t.Kind() == reflect.Struct:
		return checkStruct(t)
	}
	return nil
}

func checkTime(v reflect.Value) (string, string) {
	at := v.Field(0).Interface().(time.Time)
	if year := at.UTC().Year(); !at.IsZero() && (year < 1 || year > 9999) {
		return "", fmt.Sprintf("its year is %d in UTC, and only years from 1 to 9999 can be written back", year)
	}
	return "", ""
}

func checkEnum(values []string) check {
	return func(v reflect.Value) (string, string) {
		if word := v.String(); word != "" && !slices.Contains(values, word) {
			return "", fmt.Sprintf("%q is none of the values that this version knows (%s)", word, strings.Join(values, ", "))
		}
		return "", ""
	}
}

// limits are the minimum and the maximum of a number.
type limits struct{ least, most int64 }

// checkNumber returns the check of a number. A field that is not a pointer is 0 if the object does
// not have it.
func checkNumber(l limits, t reflect.Type) check {
	if t.Kind() == reflect.Pointer {
		return func(v reflect.Value) (string, string) {
			if v.IsNil() {
				return "", ""
			}
			return "", l.problem(v.Elem().Int())
		}
	}
	return func(v reflect.Value) (string, string) {
		if v.IsZero() {
			return "", ""
		}
		return "", l.problem(v.Int())
	}
}

// problem returns what is wrong with a number, or "".
func (l limits) problem(n int64) string {
	switch {
	case n < l.least:
		return fmt.Sprintf("%d is less than %d, the minimum of this version", n, l.least)
	case n > l.most:
		return fmt.Sprintf("%d is more than %d, the maximum of this version", n, l.most)
	}
	return ""
}

func checkPointer(t reflect.Type) check {
	inner := checkOf(t.Elem())
	if inner == nil {
		return nil
	}
	return func(v reflect.Value) (string, string) {
		if v.IsNil() {
			return "", ""
		}
		return inner(v.Elem())
	}
}

func checkSlice(t reflect.Type) check {
	inner := checkOf(t.Elem())
	if inner == nil {
		return nil
	}
	return func(v reflect.Value) (string, string) {
		for i := range v.Len() {
			if path, problem := inner(v.Index(i)); problem != "" {
				return "[" + strconv.Itoa(i) + "]" + path, problem
			}
		}
		return "", ""
	}
}

func checkStruct(t reflect.Type) check {
	type part struct {
		index int
		name  string
		check check
	}
	var parts []part
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || f.Type == reflect.TypeFor[metav1.ObjectMeta]() || !f.IsExported() {
			continue
		}
		inner := checkOf(f.Type)
		if l, ok := numbers[t][name]; ok {
			inner = checkNumber(l, f.Type)
		}
		if inner != nil {
			if name != "" {
				name = "." + name
			}
			parts = append(parts, part{i, name, inner})
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return func(v reflect.Value) (string, string) {
		for _, p := range parts {
			if path, problem := p.check(v.Field(p.index)); problem != "" {
				return p.name + path, problem
			}
		}
		return "", ""
	}
}
