// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// maxExpression is the maximum number of characters of an expression. The schema has the same
	// limit.
	maxExpression = 1024
	// maxCost is the maximum worst-case cost of an expression for one target, in CEL's units.
	maxCost = 250_000
	// maxNesting is the maximum nesting depth of exists, all, filter and map.
	maxNesting = 2
)

// expression is a compiled targetExpression.
type expression struct {
	text    string
	program cel.Program
	// inventories of the targets. readsInventory is false if the expression does not use them.
	inventories    Inventories
	readsInventory bool
}

// holds reports whether the expression is true for the target. An evaluation error counts as false.
func (e *expression) holds(t *v1alpha1.Target) bool {
	out, _, err := e.program.Eval(subject{&view{t, e.inventories}})
	return err == nil && out == types.True
}

// subject provides the only variable of an expression.
type subject struct{ target *view }

func (s subject) ResolveName(name string) (any, bool) {
	if name != "target" {
		return nil, false
	}
	return object{targetType, s.target}, true
}

func (s subject) Parent() cel.Activation { return nil }

// language is CEL as a targetExpression may use it. Functions that would hide a wrong field name
// until it silently matches nothing are left out (dyn, type), and so are the string functions whose
// cost CEL cannot estimate (format, strings.quote).
var language = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewCustomEnv(append(semverFunctions(),
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction("dyn"), env.NewFunction("type")))),
		ext.Strings(ext.StringsVersion(5)),
		cel.Function("format", cel.DisableDeclaration(true),
			cel.MemberOverload("string_format", []*cel.Type{cel.StringType, cel.ListType(cel.DynType)}, cel.StringType)),
		cel.Function("strings.quote", cel.DisableDeclaration(true),
			cel.Overload("strings_quote", []*cel.Type{cel.StringType}, cel.StringType)),
		cel.CustomTypeAdapter(registry),
		cel.CustomTypeProvider(provider{registry}),
		cel.Variable("target", targetType),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateDurationLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(),
			cel.ValidateComprehensionNestingLimit(maxNesting),
		),
	)...)
})

func compileExpression(text string, inventories Inventories) (*expression, error) {
	if n := len([]rune(text)); n > maxExpression {
		return nil, fmt.Errorf("targetExpression: it has %d characters, the maximum is %d: move a part of the selection to labels and targetSelector", n, maxExpression)
	}
	cels, err := language()
	if err != nil {
		return nil, err
	}
	ast, issues := cels.Compile(text)
	if issues.Err() != nil {
		return nil, errorOf(issues.Errors())
	}
	if builds(ast) {
		return nil, errors.New("targetExpression: it creates an object, but may only read target: remove the part in braces")
	}
	if out := ast.OutputType(); !out.IsExactType(types.BoolType) {
		return nil, fmt.Errorf("targetExpression: the result is a %s, but must be true or false: compare it with a value, as in target.type == \"gateway\"", cel.FormatCELType(out))
	}
	if err := checkCost(cels, ast); err != nil {
		return nil, err
	}
	program, err := cels.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("targetExpression: %w", err)
	}
	return &expression{text: strings.TrimSpace(text), program: program, inventories: inventories, readsInventory: reads(ast, "software", "context")}, nil
}

// builds reports whether the expression creates an object, which could never match anything.
func builds(ast *cel.Ast) bool {
	root := celast.NavigateAST(ast.NativeRep())
	return len(celast.MatchDescendants(root, celast.KindMatcher(celast.StructKind))) > 0
}

// reads reports whether the expression reads one of these fields of a target.
func reads(ast *cel.Ast, names ...string) bool {
	native := ast.NativeRep()
	return len(celast.MatchDescendants(celast.NavigateAST(native), func(e celast.NavigableExpr) bool {
		return e.Kind() == celast.SelectKind && slices.Contains(names, e.AsSelect().FieldName()) &&
			native.GetType(e.AsSelect().Operand().ID()).TypeName() == targetType.TypeName()
	})) > 0
}

// checkCost refuses expressions that could be expensive for one target with the largest values that
// the schema allows, so that no evaluation needs a limit and none can delay the fleet.
func checkCost(cels *cel.Env, ast *cel.Ast) error {
	cost, err := cels.EstimateCost(ast, estimator{})
	if err != nil {
		return fmt.Errorf("targetExpression: %w", err)
	}
	if cost.Max > maxCost {
		return fmt.Errorf("targetExpression: it could take too long for one target with the largest labels, attributes and lists of software: look keys up instead of going through all of them, go through a list once, or put the answer into a label")
	}
	return nil
}

// estimator returns the maximum sizes of the fields of a target.
type estimator struct{}

func (estimator) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	if largest, known := bounds[strings.Join(node.Path(), ".")]; known {
		return &checker.SizeEstimate{Max: largest}
	}
	return nil
}

// semverCost is the cost of parsing the longest version.
const semverCost = 30

func (estimator) EstimateCallCost(function, _ string, _ *checker.AstNode, _ []checker.AstNode) *checker.CallEstimate {
	if function == "semver" || function == "isSemver" {
		return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: 1, Max: semverCost}, ResultSize: &checker.SizeEstimate{Min: 1, Max: 1}}
	}
	return nil
}

// errorOf returns an error with a sentence from the first of CEL's errors.
func errorOf(errs []*cel.Error) error {
	first := slices.MinFunc(errs, func(a, b *cel.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	message := first.Message
	for _, noise := range []string{" expecting {", " (in container"} {
		message, _, _ = strings.Cut(message, noise)
	}
	if first.Location.Line() < 1 {
		return fmt.Errorf("targetExpression: %s%s", message, hint(message))
	}
	return fmt.Errorf("targetExpression, line %d, column %d: %s%s", first.Location.Line(), first.Location.Column()+1, message, hint(message))
}

// hints for CEL's messages, by the start of the message.
var hints = []struct{ start, hint string }{
	{"undefined field", fmt.Sprintf(": target has %s; target.installed has %s; an entry of target.software or target.context has %s",
		fieldNames(targetType), fieldNames(installedType), fieldNames(softwareType))},
	{"undeclared reference", ": the only variable is target, as in target.labels[\"site\"]; there is no clock, so that plans are reproducible"},
	{"found no matching overload", ": both sides must be of the same type, and labels and attributes are strings"},
	{"Syntax error", ": write it as in target.attributes[\"hw\"] == \"B\" && !target.inconsistent"},
	{"comprehension exceeds", fmt.Sprintf(": write at most %d of exists, all, filter and map within or after each other", maxNesting)},
	{"invalid matches argument", ": it is not a regular expression in RE2 syntax"},
	{"invalid timestamp argument", ": write it as in timestamp(\"2026-12-01T02:00:00Z\")"},
	{"invalid duration argument", ": write it as in duration(\"36h\")"},
}

func hint(message string) string {
	for _, c := range hints {
		if strings.HasPrefix(message, c.start) {
			return c.hint
		}
	}
	return ""
}

func fieldNames(t *types.Type) string {
	return strings.Join(sortedKeys(fields[t.TypeName()]), ", ")
}
