// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/config/rbac"
)

// userRoles returns the rules of the ClusterRoles of config/rbac for people, by name.
var userRoles = sync.OnceValues(func() (map[string][]rbacv1.PolicyRule, error) {
	roles := map[string][]rbacv1.PolicyRule{}
	for document := range bytes.SplitSeq(rbac.UserRoles, []byte("\n---\n")) {
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(document, &role); err != nil {
			return nil, err
		}
		roles[role.Name] = role.Rules
	}
	return roles, nil
})

// RoleNames returns the names of the ClusterRoles for people, sorted.
func RoleNames() ([]string, error) {
	roles, err := userRoles()
	return slices.Sorted(maps.Keys(roles)), err
}

// RightsOf returns a function that reports whether an account with these ClusterRoles has a right.
func RightsOf(names []string) (func(authorizer.Attributes) bool, error) {
	roles, err := userRoles()
	if err != nil {
		return nil, err
	}
	var rules []rbacv1.PolicyRule
	for _, name := range names {
		of, ok := roles[name]
		if !ok {
			return nil, fmt.Errorf("there is no ClusterRole %s in config/rbac", name)
		}
		rules = append(rules, of...)
	}
	return func(a authorizer.Attributes) bool {
		return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, a.GetAPIGroup()) && slices.Contains(rule.Resources, a.GetResource()) && slices.Contains(rule.Verbs, a.GetVerb()) && len(rule.ResourceNames) == 0
		})
	}, nil
}
