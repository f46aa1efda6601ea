// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/console/login"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

const consoleAccount = "goshawk-console"

// consoleConfig returns a config with a token of the account of the console, which has the rights
// of config/console in a namespace. Requests as other users are sent with this token, so the API
// server checks that the account may impersonate them.
func consoleConfig(t *testing.T, namespace string) *rest.Config {
	t.Helper()
	admin, c := cluster.Start(t)
	cluster.Kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", filepath.Join(cluster.Root(), "config", "console", "rbac.yaml"))
	everywhere := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: consoleAccount}}
	if err := c.Delete(t.Context(), everywhere); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	bind(t, c, namespace, consoleAccount, consoleAccount)
	request := &authenticationv1.TokenRequest{}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: world.SystemNamespace, Name: consoleAccount}}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = request.Status.Token
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil && response.StatusCode < http.StatusBadRequest {
				recordConsole(r)
			}
			return response, err
		})
	})
	return config
}

// recordConsole records the rights that the account of the console needs for a request.
func recordConsole(r *http.Request) {
	of := world.RequestOf(r)
	if of.Resource == "" {
		return // discovery, which every account may read
	}
	needed := needs(of, nil)
	if r.Header.Get("Impersonate-User") != "" { // the request itself needs the rights of that user
		needed = []right{{"users", "impersonate"}}
		if len(r.Header.Values("Impersonate-Group")) > 0 {
			needed = append(needed, right{"groups", "impersonate"})
		}
	}
	usage.Lock()
	defer usage.Unlock()
	at := place{account: consoleAccount}
	if usage.rights[at] == nil {
		usage.rights[at] = map[right]string{}
	}
	for _, n := range needed {
		usage.rights[at][n] = r.Method + " " + r.URL.Path
	}
}

// grant binds a ClusterRole to a user or a group in a namespace.
func grant(t *testing.T, namespace, role, kind, name string) {
	t.Helper()
	_, c := cluster.Start(t)
	if err := c.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role + "-for-people"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}},
	}); err != nil {
		t.Fatal(err)
	}
}

// lookAtTheConsole runs the console with its own account: an anonymous viewer sees the namespace in
// which the viewer role is bound, and no other one, and a person in a group with goshawk-stopper
// pauses a rollout.
func lookAtTheConsole(t *testing.T, w *world.World) {
	t.Helper()
	grant(t, w.Namespace, "goshawk-viewer", rbacv1.UserKind, login.Anonymous)
	grant(t, w.Namespace, "goshawk-stopper", rbacv1.GroupKind, "oidc:on-call")
	w.ApplySpec("Rollout", "seen", `{update: {distributionSet: unknown}, targetSelector: {matchLabels: {site: none}}, groupCount: 1, startAt: "2999-01-01T00:00:00Z"}`)
	config := consoleConfig(t, w.Namespace)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	health := ports.Free(t)
	go func() {
		ended <- manager.Run(ctx, config, manager.Options{
			Console: manager.ConsoleOptions{Listener: listener}, Namespace: world.SystemNamespace, WatchNamespaces: []string{w.Namespace},
			MetricsAddress: "0", HealthAddress: health, WritesInFlight: 1,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the console ended with %v", err)
		}
	})
	eventually(t, "readiness of the console", func() string { return is("/readyz", get(t, "http://"+health+"/readyz").status, http.StatusOK) })
	eventually(t, "the rollout in the console", func() string {
		if status, page := visit(t, "http://"+listener.Addr().String()+"/rollouts"); status != http.StatusOK || !strings.Contains(page, "/rollouts/"+w.Namespace+"/seen") {
			return fmt.Sprintf("the page is %d %s", status, page)
		}
		return ""
	})
	if status, page := visit(t, "http://"+listener.Addr().String()+"/rollouts?namespace="+world.SystemNamespace); strings.Contains(page, "/rollouts/"+world.SystemNamespace) {
		t.Errorf("the page of another namespace is %d %s", status, page)
	}
	pauseAsPerson(t, config, w)
}

// pauseAsPerson pauses a rollout as a person without the right, and as one with it.
func pauseAsPerson(t *testing.T, config *rest.Config, w *world.World) {
	t.Helper()
	rights, err := login.NewImpersonation(config, cluster.Scheme(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pause := func(name string, groups ...string) error {
		v := &console.Viewer{Name: name}
		if err := rights.Of(v, groups); err != nil {
			t.Fatal(err)
		}
		o := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "seen"}}
		return v.Client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"state":"Paused"}}`)))
	}
	if err := pause("oidc:bob", "oidc:release-team"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "oidc:bob" cannot patch resource "rollouts"`) {
		t.Errorf("without the right, the API server says %v", err)
	}
	if err := pause("oidc:anna", "oidc:on-call"); err != nil {
		t.Errorf("with the right, the API server says %v", err)
	}
	if r := w.Rollout("seen"); r.Spec.State != v1alpha1.IntentPaused {
		t.Errorf("the rollout is %s", r.Spec.State)
	}
}

// visit returns the status and the text of a page.
func visit(t *testing.T, address string) (int, string) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, err.Error()
	}
	return response.StatusCode, string(page)
}

// TestConstrainedImpersonation: with the ClusterRole of config/console/constrained, the account of
// the console reads and patches as its viewers the kinds that have actions. The API server refuses
// everything else that these viewers may do.
func TestConstrainedImpersonation(t *testing.T) {
	admin, c := cluster.Start(t)
	version, err := discovery.NewDiscoveryClientForConfigOrDie(admin).ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if minor, _ := strconv.Atoi(strings.TrimSuffix(version.Minor, "+")); minor < 36 {
		t.Skipf("the API server %s has no constrained impersonation", version)
	}
	const namespace, name = "constrained", "goshawk-console-constrained"
	var component struct{ Patches []struct{ Patch string } }
	decode := func(text string, into any) {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	decode(fileOf(t, "config", "console", "constrained", "kustomization.yaml"), &component)
	role := &rbacv1.ClusterRole{}
	decode(component.Patches[0].Patch, role)
	role.Name = name
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}}}
	pausing := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name + "-people"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"rollouts"}, Verbs: []string{"get", "patch"}}}}
	seen := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seen"}}
	decode(`{update: {distributionSet: unknown}, targetSelector: {matchLabels: {site: none}}, groupCount: 1, startAt: "2999-01-01T00:00:00Z"}`, &seen.Spec)
	for _, o := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, role, account, binding, pausing, seen} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	grant(t, namespace, pausing.Name, rbacv1.GroupKind, "oidc:on-call")
	grant(t, namespace, "cluster-admin", rbacv1.UserKind, "oidc:root")
	request := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = request.Status.Token
	as := func(name string, groups ...string) client.Client {
		config := rest.CopyConfig(config)
		config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
		made, err := client.New(config, client.Options{Scheme: cluster.Scheme(), Mapper: c.RESTMapper()})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	key := client.ObjectKey{Namespace: namespace, Name: "seen"}
	get := func(c client.Client) error { return c.Get(t.Context(), key, &v1alpha1.Rollout{}) }
	patch := func(c client.Client, o ...client.PatchOption) error {
		r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seen"}}
		return c.Patch(t.Context(), r, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"state":"Paused"}}`)), o...)
	}
	groups := []string{"oidc:on-call", "oidc:a", "oidc:b", "oidc:c", "oidc:d"}
	for name, do := range map[string]func() error{
		"read a rollout":        func() error { return get(as("oidc:anna", groups...)) },
		"try a change":          func() error { return patch(as("oidc:anna", groups...), client.DryRunAll) },
		"change a rollout":      func() error { return patch(as("oidc:anna", groups...)) },
		"change it as an admin": func() error { return patch(as("oidc:root")) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	root := as("oidc:root")
	for name, do := range map[string]func() error{
		"a change without the right": func() error { return patch(as("oidc:bob")) },
		"the list of the rollouts":   func() error { return root.List(t.Context(), &v1alpha1.RolloutList{}, client.InNamespace(namespace)) },
		"the deletion of a rollout": func() error {
			return root.Delete(t.Context(), &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seen"}})
		},
		"the secrets":              func() error { return root.List(t.Context(), &corev1.SecretList{}, client.InNamespace(namespace)) },
		"the group system:masters": func() error { return get(as("oidc:anna", "system:masters")) },
		"a service account":        func() error { return get(as("system:serviceaccount:kube-system:default")) },
		"a node":                   func() error { return get(as("system:node:one")) },
	} {
		if err := do(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: the API server says %v", name, err)
		}
	}
	if err := c.Get(t.Context(), key, seen); err != nil || seen.Spec.State != v1alpha1.IntentPaused {
		t.Errorf("the rollout is %s: %v", seen.Spec.State, err)
	}
}
