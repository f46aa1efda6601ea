// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/util/version"
)

// The functions for semantic versions are those of CEL in Kubernetes: semver, isSemver, isLessThan,
// isGreaterThan, compareTo, major, minor and patch. Kubernetes has them in k8s.io/apiserver, which
// would be a large dependency for this.

var semverType = types.NewOpaqueType("goshawk.Semver")

// semver is a semantic version in an expression.
type semver struct{ *version.Version }

func (v semver) Type() ref.Type { return semverType }
func (v semver) Value() any     { return v.Version }

func (v semver) Equal(other ref.Val) ref.Val {
	o, ok := other.(semver)
	return types.Bool(ok && compareSemver(v, o) == 0)
}

func (v semver) ConvertToNative(want reflect.Type) (any, error) {
	return nil, fmt.Errorf("a version cannot become a %s", want)
}

func (v semver) ConvertToType(want ref.Type) ref.Val {
	if want == types.TypeType {
		return semverType
	}
	return types.NewErr("a version cannot become a %s", want.TypeName())
}

func compareSemver(a, b semver) int {
	switch {
	case a.LessThan(b.Version):
		return -1
	case b.LessThan(a.Version):
		return 1
	}
	return 0
}

// parseSemver parses a semantic version. With normalize, it also takes one with a leading v, with
// leading zeros, and with fewer than three numbers, but then without a pre-release.
func parseSemver(text string, normalize bool) (semver, error) {
	if normalize {
		parts := strings.SplitN(strings.TrimPrefix(text, "v"), ".", 3)
		if len(parts) < 3 && strings.ContainsAny(text, "+-") {
			return semver{}, fmt.Errorf("%q has fewer than three numbers and a pre-release", text)
		}
		for i, part := range parts {
			digits := strings.TrimLeft(part, "0")
			if digits == "" || digits[0] < '0' || digits[0] > '9' {
				digits = part[max(0, len(part)-len(digits)-1):] // the last zero stays
			}
			parts[i] = digits
		}
		for len(parts) < 3 {
			parts = append(parts, "0")
		}
		text = strings.Join(parts, ".")
	}
	if text == "" || text[0] < '0' || text[0] > '9' || strings.ContainsAny(text, " \t") {
		return semver{}, fmt.Errorf("%q is not a semantic version", text)
	}
	parsed, err := version.ParseSemantic(text)
	if err != nil {
		return semver{}, fmt.Errorf("%q is not a semantic version: %w", text, err)
	}
	return semver{parsed}, nil
}

// semverFunctions declares the functions.
func semverFunctions() []cel.EnvOption {
	parse := func(text, normalize ref.Val) ref.Val {
		v, err := parseSemver(string(text.(types.String)), bool(normalize.(types.Bool)))
		if err != nil {
			return types.WrapErr(err)
		}
		return v
	}
	is := func(text, normalize ref.Val) ref.Val {
		_, err := parseSemver(string(text.(types.String)), bool(normalize.(types.Bool)))
		return types.Bool(err == nil)
	}
	compare := func(name, overload string, result *cel.Type, of func(int) ref.Val) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload(overload, []*cel.Type{semverType, semverType}, result,
			cel.BinaryBinding(func(a, b ref.Val) ref.Val { return of(compareSemver(a.(semver), b.(semver))) })))
	}
	part := func(name string, of func(semver) uint) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("semver_"+name, []*cel.Type{semverType}, cel.IntType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Int(of(v.(semver))) })))
	}
	return []cel.EnvOption{
		cel.Function("semver",
			cel.Overload("string_to_semver", []*cel.Type{cel.StringType}, semverType, cel.UnaryBinding(func(s ref.Val) ref.Val { return parse(s, types.False) })),
			cel.Overload("string_bool_to_semver", []*cel.Type{cel.StringType, cel.BoolType}, semverType, cel.BinaryBinding(parse))),
		cel.Function("isSemver",
			cel.Overload("is_semver_string", []*cel.Type{cel.StringType}, cel.BoolType, cel.UnaryBinding(func(s ref.Val) ref.Val { return is(s, types.False) })),
			cel.Overload("is_semver_string_bool", []*cel.Type{cel.StringType, cel.BoolType}, cel.BoolType, cel.BinaryBinding(is))),
		compare("isLessThan", "semver_is_less_than", cel.BoolType, func(c int) ref.Val { return types.Bool(c < 0) }),
		compare("isGreaterThan", "semver_is_greater_than", cel.BoolType, func(c int) ref.Val { return types.Bool(c > 0) }),
		compare("compareTo", "semver_compare_to", cel.IntType, func(c int) ref.Val { return types.Int(c) }),
		part("major", func(v semver) uint { return v.Major() }),
		part("minor", func(v semver) uint { return v.Minor() }),
		part("patch", func(v semver) uint { return v.Patch() }),
	}
}
