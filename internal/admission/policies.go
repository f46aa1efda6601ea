// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission evaluates the ValidatingAdmissionPolicies of config/policy as the API server
// does when it creates or updates an object. It uses the libraries of the API server. The rights of
// the account that sends the request are given, such as those of the ClusterRoles of config/rbac.
package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/config/policy"
)

// Request is a write of an object.
type Request struct {
	// Resource is the resource of the object, such as rollouts.
	Resource string
	// Object is the object that is written.
	Object *unstructured.Unstructured
	// Old is the stored object; nil: the object is created.
	Old *unstructured.Unstructured
	// Account is the name of the account in the messages.
	Account string
	// Allows reports whether the account has a right.
	Allows func(authorizer.Attributes) bool
}

// Refusals returns the messages with which the policies refuse a request, in the order of the files
// and of the rules in them. The API server returns only the first one.
func Refusals(ctx context.Context, r *Request) ([]string, error) {
	policies, err := compiled()
	if err != nil {
		return nil, err
	}
	var messages []string
	for _, p := range policies {
		if !p.matches(r) {
			continue
		}
		refused, err := p.refusals(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("ValidatingAdmissionPolicy %s, %s %s/%s: %w", p.name, r.Object.GetKind(), r.Object.GetNamespace(), r.Object.GetName(), err)
		}
		messages = append(messages, refused...)
	}
	return messages, nil
}

// compiledPolicy is a policy whose expressions are compiled. validations and messages have the same
// length.
type compiledPolicy struct {
	name                              string
	rules                             []admissionregistrationv1.NamedRuleWithOperations
	conditions, validations, messages cel.ConditionEvaluator
}

// compiled returns the policies of config/policy that refuse requests.
var compiled = sync.OnceValues(func() ([]*compiledPolicy, error) {
	files, err := fs.Glob(policy.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*compiledPolicy
	for _, name := range files {
		if name == "kustomization.yaml" {
			continue
		}
		data, err := fs.ReadFile(policy.Files, name)
		if err != nil {
			return nil, err
		}
		p, err := read(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if p != nil {
			all = append(all, p)
		}
	}
	return all, nil
})

// read compiles the policy of a file with a policy and its binding. It returns nil if the binding
// refuses no request.
func read(data []byte) (*compiledPolicy, error) {
	first, second, _ := bytes.Cut(data, []byte("\n---\n"))
	var p admissionregistrationv1.ValidatingAdmissionPolicy
	var binding admissionregistrationv1.ValidatingAdmissionPolicyBinding
	if err := errors.Join(yaml.UnmarshalStrict(first, &p), yaml.UnmarshalStrict(second, &binding)); err != nil {
		return nil, err
	}
	if binding.Spec.PolicyName != p.Name {
		return nil, fmt.Errorf("the binding is of policy %q, not of %q", binding.Spec.PolicyName, p.Name)
	}
	if !slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny) {
		return nil, nil
	}
	return compile(&p)
}

// expression is an expression of a policy, for the library of the API server.
type expression struct {
	name, text string
	result     *celgo.Type
}

func (e *expression) GetName() string            { return e.name }
func (e *expression) GetExpression() string      { return e.text }
func (e *expression) ReturnTypes() []*celgo.Type { return []*celgo.Type{e.result} }

func compile(p *admissionregistrationv1.ValidatingAdmissionPolicy) (*compiledPolicy, error) {
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	withRights := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	var variables []cel.NamedExpressionAccessor
	for _, v := range p.Spec.Variables {
		variables = append(variables, &expression{name: v.Name, text: v.Expression, result: celgo.AnyType})
	}
	compiler.CompileAndStoreVariables(variables, withRights, environment.StoredExpressions)
	var conditions, validations, messages []cel.ExpressionAccessor
	for _, c := range p.Spec.MatchConditions {
		conditions = append(conditions, &expression{name: c.Name, text: c.Expression, result: celgo.BoolType})
	}
	for _, v := range p.Spec.Validations {
		validations = append(validations, &expression{text: v.Expression, result: celgo.BoolType})
		messages = append(messages, &expression{text: v.MessageExpression, result: celgo.StringType})
	}
	return &compiledPolicy{
		name: p.Name, rules: p.Spec.MatchConstraints.ResourceRules,
		conditions:  compiler.CompileCondition(conditions, withRights, environment.StoredExpressions),
		validations: compiler.CompileCondition(validations, withRights, environment.StoredExpressions),
		messages:    compiler.CompileCondition(messages, cel.OptionalVariableDeclarations{}, environment.StoredExpressions),
	}, nil
}

// matches reports whether the policy is for this resource and operation.
func (p *compiledPolicy) matches(r *Request) bool {
	operation := admissionregistrationv1.Create
	if r.Old != nil {
		operation = admissionregistrationv1.Update
	}
	return slices.ContainsFunc(p.rules, func(rule admissionregistrationv1.NamedRuleWithOperations) bool {
		return slices.Contains(rule.Resources, r.Resource) && slices.Contains(rule.Operations, operation)
	})
}

// refusals returns the messages of the rules that do not hold.
func (p *compiledPolicy) refusals(ctx context.Context, r *Request) ([]string, error) {
	conditions, err := r.evaluate(ctx, p.conditions)
	if err != nil {
		return nil, err
	}
	for i := range conditions {
		if holds, err := isTrue(&conditions[i]); err != nil || !holds {
			return nil, err
		}
	}
	validations, err := r.evaluate(ctx, p.validations)
	if err != nil {
		return nil, err
	}
	messages, err := r.evaluate(ctx, p.messages)
	if err != nil {
		return nil, err
	}
	var refused []string
	for i := range validations {
		holds, err := isTrue(&validations[i])
		switch {
		case err != nil:
			return nil, err
		case holds: // the message may have no value
		case messages[i].Error != nil:
			return nil, messages[i].Error
		default:
			refused = append(refused, fmt.Sprint(messages[i].EvalResult.Value()))
		}
	}
	return refused, nil
}

func isTrue(r *cel.EvaluationResult) (bool, error) { return r.EvalResult == types.True, r.Error }

// evaluate returns the results of expressions.
func (r *Request) evaluate(ctx context.Context, expressions cel.ConditionEvaluator) ([]cel.EvaluationResult, error) {
	attributes, request := r.attributes()
	rights := authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if r.Allows(a) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
	results, _, err := expressions.ForInput(ctx, attributes, request, cel.OptionalVariableBindings{Authorizer: rights}, nil, celconfig.RuntimeCELCostBudget)
	return results, err
}

// attributes returns the request as the library of the API server takes it.
func (r *Request) attributes() (*admission.VersionedAttributes, *admissionv1.AdmissionRequest) {
	kind := r.Object.GroupVersionKind()
	resource := kind.GroupVersion().WithResource(r.Resource)
	v := &admission.VersionedAttributes{VersionedKind: kind}
	v.VersionedObject.Set(r.Object)
	record := func(old runtime.Object, operation admission.Operation, options runtime.Object) admission.Attributes {
		return admission.NewAttributesRecord(r.Object, old, kind, r.Object.GetNamespace(), r.Object.GetName(), resource, "", operation, options, false, &user.DefaultInfo{Name: r.Account})
	}
	if r.Old == nil {
		v.Attributes = record(nil, admission.Create, &metav1.CreateOptions{})
	} else {
		v.Attributes = record(r.Old, admission.Update, &metav1.UpdateOptions{})
		v.VersionedOldObject.Set(r.Old)
	}
	return v, cel.CreateAdmissionRequest(v.Attributes, metav1.GroupVersionResource(resource), metav1.GroupVersionKind(kind))
}
