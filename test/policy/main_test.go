// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy tests config/policy and the roles of config/rbac on a real API server: which users
// may commit which fields, with which commands, and the refusals for the others.
package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // without a logger the clients print a warning
	cluster.Main(m)
}

// people are the impersonated users, with the roles that each is bound to in every fleet.
var people = map[string][]string{
	"viewer":   {"goshawk-viewer"},
	"editor":   {"goshawk-editor"},
	"approver": {"goshawk-approver"},
	"stopper":  {"goshawk-stopper"},
	"access":   {"goshawk-access-admin"},
	// Only an editor may create; these two are editors with one more role.
	"editor-approver": {"goshawk-editor", "goshawk-approver"},
	"editor-stopper":  {"goshawk-editor", "goshawk-stopper"},
}

// A fleet is a namespace with the policies and with the people bound to their roles.
type fleet struct {
	namespace string
	config    *rest.Config
	admin     client.Client
}

var installed struct {
	once sync.Once
	err  error
}

// newFleet returns a new namespace in which the people have their roles.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	config, admin := cluster.Start(t)
	installed.once.Do(func() { installed.err = install(t, admin) })
	if installed.err != nil {
		t.Fatal(installed.err)
	}
	f := &fleet{namespace: cluster.Namespace(t), config: config, admin: client.WithFieldValidation(admin, metav1.FieldValidationStrict)}
	for person, roles := range people {
		for _, role := range roles {
			f.bind(t, "ClusterRole", role, person)
		}
	}
	f.waitUntilAllowed(t, "ClusterRole", "goshawk-viewer", rule("get", "targets"))
	return f
}

// install installs roles and policies and waits until each policy is in force.
func install(t *testing.T, admin client.Client) error {
	root := cluster.Root()
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", filepath.Join(root, "config", "rbac", "user_roles.yaml")},
		{"apply", "--server-side", "-k", filepath.Join(root, "config", "policy")},
	} {
		if _, err := cluster.TryKubectl(t, "", args...); err != nil {
			return err
		}
	}
	f := &fleet{namespace: cluster.Namespace(t), admin: admin}
	f.config, _ = cluster.Start(t)
	f.bindRules(t, "probe", rule("create", "distributionsets", "targets", "rollouts"))
	for kind, spec := range map[string]string{
		"DistributionSet": `{invalidation: {cancellation: Soft}}`,
		"Target":          `{cancel: {upTo: 1}}`,
		"Rollout":         `{resumedAt: "2026-12-01T02:00:00Z"}`,
	} {
		if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			err := f.as(t, "probe").Create(ctx, f.object(t, kind, kind, spec), client.DryRunAll)
			return err != nil && strings.Contains(err.Error(), "denied request: "), nil
		}); err != nil {
			return fmt.Errorf("the policy for %s refused no request: %w", kind, err)
		}
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := f.setOwners(t, "probe", f.object(t, "DistributionSet", newName("set")), owned(owner("gone", "1")), true, false)
		return err != nil && strings.Contains(err.Error(), "denied request: "), nil
	}); err != nil {
		return fmt.Errorf("the policy for owners refused no request: %w", err)
	}
	f.bindRules(t, "deleting-probe", rule("delete", "softwaremodules"))
	module := f.object(t, "SoftwareModule", newName("SoftwareModule"))
	f.give(t, module, `{locked: true}`)
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := f.as(t, "deleting-probe").Delete(ctx, module, client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "denied request: "), nil
	}); err != nil {
		return fmt.Errorf("the policy for deletions refused no request: %w", err)
	}
	return nil
}

// as returns a client that impersonates a user.
func (f *fleet) as(t *testing.T, person string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(f.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: person, Groups: groups}
	c, err := client.New(config, client.Options{Scheme: f.admin.Scheme(), Mapper: f.admin.RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return client.WithFieldValidation(c, metav1.FieldValidationStrict)
}

var names atomic.Int64

func (f *fleet) bind(t *testing.T, kind, role, person string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: fmt.Sprintf("binding-%d", names.Add(1))},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: person}},
	}
	if err := f.admin.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}

// rule returns a rule with verbs, separated by blanks, on Goshawk's resources.
func rule(verbs string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"goshawk.dev"}, Resources: resources, Verbs: strings.Fields(verbs)}
}

// bindRules binds a user to a new role with exactly these rules, and waits until the binding is in
// force.
func (f *fleet) bindRules(t *testing.T, person string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: fmt.Sprintf("role-%d", names.Add(1))}, Rules: rules}
	if err := f.admin.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	f.bind(t, "Role", role.Name, person)
	f.waitUntilAllowed(t, "Role", role.Name, rules[len(rules)-1])
}

// waitUntilAllowed waits until all roles and bindings are in force. The API server reads them in
// their order, so it creates one more binding of the last role, for a new user, and waits until
// this user has the first right of the rule.
func (f *fleet) waitUntilAllowed(t *testing.T, kind, role string, given rbacv1.PolicyRule) {
	t.Helper()
	person := fmt.Sprintf("last-%d", names.Add(1))
	f.bind(t, kind, role, person)
	asked := &authorizationv1.ResourceAttributes{Namespace: f.namespace, Group: "goshawk.dev", Resource: given.Resources[0], Verb: given.Verbs[0]}
	if len(given.ResourceNames) > 0 {
		asked.Name = given.ResourceNames[0]
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: person, ResourceAttributes: asked}}
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		answer := review.DeepCopy()
		err := f.admin.Create(ctx, answer)
		return answer.Status.Allowed, err
	}); err != nil {
		t.Fatalf("the role %s is not in force: %v", role, err)
	}
}

func (f *fleet) eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	}); err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

func listOf(kind string) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("goshawk.dev/v1alpha1")
	list.SetKind(kind + "List")
	return list
}

// smallest has the smallest valid spec of every guarded kind.
var smallest = map[string]string{
	"SoftwareModule":  `{type: os, name: linux, version: 6.6.1}`,
	"DistributionSet": `{name: firmware, version: "2.1", type: full-image}`,
	"Target":          `{}`,
	"Rollout":         `{update: {distributionSet: firmware-2-1}}`,
	"AutoAssignment":  `{update: {distributionSet: firmware-2-1}}`,
	"DeviceAccess":    `{gatewayToken: {secretName: gateway}}`,
}

// object returns a manifest: the smallest spec with others merged into it one after the other; null
// removes a field.
func (f *fleet) object(t *testing.T, kind, name string, specs ...string) *unstructured.Unstructured {
	t.Helper()
	spec := parse(t, smallest[kind])
	for _, more := range specs {
		merge(spec, parse(t, more))
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetAPIVersion("goshawk.dev/v1alpha1")
	object.SetKind(kind)
	object.SetNamespace(f.namespace)
	object.SetName(strings.ToLower(name))
	return object
}

// newName returns a name that no object of this test binary has.
func newName(kind string) string { return fmt.Sprintf("%s-%d", strings.ToLower(kind), names.Add(1)) }

// give creates an object and its status as the administrator, with the field manager of writeFuncs.
func (f *fleet) give(t *testing.T, object *unstructured.Unstructured, status string) {
	t.Helper()
	if err := serverSideApply(t.Context(), f.admin, object); err != nil {
		t.Fatalf("the object before the edit is not accepted: %v", err)
	}
	if status == "" {
		return
	}
	if err := f.admin.Status().Patch(t.Context(), object.DeepCopy(), mergePatch(t, map[string]any{"status": parse(t, status)})); err != nil {
		t.Fatalf("writing the status: %v", err)
	}
}

func serverSideApply(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	manifest, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	return c.Patch(ctx, object.DeepCopy(), client.RawPatch(types.ApplyPatchType, manifest), client.FieldOwner("kubectl"))
}

func mergePatch(t *testing.T, value map[string]any) client.Patch {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return client.RawPatch(types.MergePatchType, text)
}

// wantRefused compares the refusal of a policy with a message, or with "" for acceptance. It must
// be Forbidden, because Flux with force deletes and re-creates objects that are Invalid or a
// Conflict.
func (f *fleet) wantRefused(t *testing.T, err error, person, sentence string) {
	t.Helper()
	if sentence == "" {
		if err != nil {
			t.Errorf("%s is refused: %v", person, err)
		}
		return
	}
	if err == nil {
		t.Fatalf("%s is not refused", person)
	}
	sentence = strings.NewReplacer("NS", f.namespace, "WHO", person).Replace(sentence)
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && !apierrors.IsForbidden(err) {
		t.Errorf("%s is refused with reason %s, want Forbidden", person, status.Status().Reason)
	}
	_, said, _ := strings.Cut(strings.TrimSpace(err.Error()), " denied request: ")
	if said != sentence {
		t.Errorf("%s is refused with\n%v\nwant\n%s", person, err, sentence)
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var value map[string]any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return value
}

// merge merges from into a map as a JSON merge patch does: null removes.
func merge(into, from map[string]any) {
	for key, value := range from {
		inner, isMap := value.(map[string]any)
		old, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			old = maps.Clone(old)
			merge(old, inner)
			into[key] = old
		default:
			into[key] = value
		}
	}
}
