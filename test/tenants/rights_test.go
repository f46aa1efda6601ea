// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

const rollout = `
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: firmware-1}
spec: {update: {distributionSet: firmware-1}, stabilizationSeconds: 0, groupCount: 2, successThreshold: 100}
`

// fleet creates a set, targets and a rollout in a namespace.
func fleet(w *world.World) []string {
	w.T.Helper()
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 4, nil)
	w.Apply(rollout)
	return names
}

// The two accounts have only the rights of the overlay. Whole rollouts run in the two namespaces,
// an invalidation is recorded in Goshawk's own namespace, and the API server refuses no request.
// Objects of a third namespace are not changed, and its devices get 404.
func TestOverlayHasTheRightsForWholeRollouts(t *testing.T) {
	t.Parallel()
	c := applyOverlay(t)
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-c"}}); err != nil {
		t.Fatal(err)
	}
	watched := []string{"fleet-a", "fleet-b"}
	if flag := "--watch-namespaces=" + strings.Join(watched, ","); !strings.Contains(fileOf(t, "config", "namespaced", "kustomization.yaml"), flag) {
		t.Errorf("the overlay does not set %s", flag)
	}
	devices := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: watched})
	controllers := start(t, "goshawk-manager", manager.Options{Controllers: true, LeaderElect: true, WatchNamespaces: watched})
	for _, namespace := range watched {
		w := devices.in(namespace)
		w.Devices(devicesim.Obedient, fleet(w)...)
	}
	elsewhere := devices.in("fleet-c")
	unwatched := fleet(elsewhere)[0]

	for _, namespace := range watched {
		w := devices.in(namespace)
		r := w.EventuallyRollout("firmware-1", "finishes in "+namespace, world.InState(v1alpha1.RolloutFinished))
		if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 4, Succeeded: 4}) {
			t.Errorf("counts in %s are %+v", namespace, got)
		}
		w.Kubectl("patch", "distset", "firmware-1", "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Soft"}}}`)
		w.Eventually("the invalidation in "+namespace, func() string {
			if s := w.DistributionSet("firmware-1"); !world.Says(s.Status.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonInvalidatedBySpec) {
				return "it is not recorded"
			}
			return ""
		})
	}
	for name, g := range map[string]*goshawk{"device API": devices, "controllers": controllers} {
		if code := g.ready(); code != http.StatusOK {
			t.Errorf("/readyz of the %s is %d", name, code)
		}
		if forbidden := g.seen(); len(forbidden) > 0 {
			t.Errorf("the %s were refused %v", name, forbidden)
		}
	}
	if a := devices.poll("fleet-c", unwatched); a.status != http.StatusNotFound || a.code != "goshawk.ddi.tenantNotServed" {
		t.Errorf("a device of a namespace that is not watched gets %+v", a)
	}
	if r := elsewhere.Rollout("firmware-1"); r.Status.State != "" || len(r.Finalizers) > 0 {
		t.Errorf("the rollout of a namespace that is not watched has finalizers %v and status %+v", r.Finalizers, r.Status)
	}
}

// In each of these namespaces a right, or the namespace, is missing. Its devices get 503 with
// Retry-After at once, and those of the complete namespace are served all the time. When the right
// is granted, the devices are served by the same process.
func TestMissingRightsStopOneNamespaceUntilTheyAreGranted(t *testing.T) {
	t.Parallel()
	c := applyOverlay(t)
	whole, noTokens, noKinds, nothing := cluster.Namespace(t), cluster.Namespace(t), cluster.Namespace(t), cluster.Namespace(t)
	late := "late-" + whole
	bind(t, c, whole, "goshawk-device-api", "goshawk-device-api")
	bind(t, c, whole, "goshawk-device-api", "goshawk-device-api-tokens")
	bind(t, c, noTokens, "goshawk-device-api", "goshawk-device-api")
	bind(t, c, noKinds, "goshawk-device-api", "goshawk-device-api-tokens")
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{whole, noTokens, noKinds, nothing, late}})
	for _, namespace := range []string{whole, noTokens, noKinds, nothing} {
		g.in(namespace).Targets("device", 1, nil)
	}
	served := func(namespace string) func() string {
		return func() string {
			return is("the answer in "+namespace, g.poll(namespace, "device-000").status, http.StatusOK)
		}
	}
	eventually(t, "the device of the complete namespace", served(whole))
	eventually(t, "readiness, because one namespace is served", func() string { return is("/readyz", g.ready(), http.StatusOK) })
	for name, namespace := range map[string]string{
		"no right for Secrets": noTokens, "a right for Secrets only": noKinds, "no right at all": nothing, "no namespace": late,
	} {
		if a := g.poll(namespace, "device-000"); a.status != http.StatusServiceUnavailable || a.retryAfter == "" || a.took > 3*time.Second {
			t.Errorf("with %s a device gets %+v", name, a)
		}
	}

	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: late}}); err != nil {
		t.Fatal(err)
	}
	g.in(late).Targets("device", 1, nil)
	for _, namespace := range []string{noKinds, nothing, late} {
		bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api")
	}
	for _, namespace := range []string{noTokens, nothing, late} {
		bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api-tokens")
	}
	for _, namespace := range []string{noTokens, noKinds, nothing, late} {
		eventually(t, "the device whose rights were granted", served(namespace))
	}
}

// Without any right Goshawk is not ready, in all namespaces and in one. The process runs, and
// devices get 503 with Retry-After.
func TestNothingIsReadyWithoutRights(t *testing.T) {
	t.Parallel()
	applyOverlay(t)
	for name, namespaces := range map[string][]string{"all namespaces": nil, "one namespace": {cluster.Namespace(t)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: namespaces})
			eventually(t, "the health probe", func() string { return is("/healthz", get(t, "http://"+g.health+"/healthz").status, http.StatusOK) })
			time.Sleep(2 * time.Second)
			if code := g.ready(); code != http.StatusInternalServerError {
				t.Errorf("/readyz is %d", code)
			}
			namespace := "fleet-a"
			if namespaces != nil {
				namespace = namespaces[0]
			}
			if a := g.poll(namespace, "device-000"); a.status != http.StatusServiceUnavailable || a.retryAfter == "" || a.took > 3*time.Second {
				t.Errorf("a device gets %+v", a)
			}
		})
	}
}

// The right for Secrets is removed while devices are served. Tokens that may have changed since are
// not accepted, until the right is granted again.
func TestRightsRevokedWhileRunning(t *testing.T) {
	t.Parallel()
	c := applyOverlay(t)
	namespace, other := cluster.Namespace(t), cluster.Namespace(t)
	for _, n := range []string{namespace, other} {
		bind(t, c, n, "goshawk-device-api", "goshawk-device-api")
		bind(t, c, n, "goshawk-device-api", "goshawk-device-api-tokens")
	}
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace, other}})
	answers := func(namespace string, status int) func() string {
		return func() string { return is("the answer in "+namespace, g.poll(namespace, "device-000").status, status) }
	}
	for _, n := range []string{namespace, other} {
		g.in(n).Targets("device", 1, nil)
		eventually(t, "the device", answers(n, http.StatusOK))
	}
	revoked := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "goshawk-device-api-tokens"}}
	if err := c.Delete(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // until the API server's own cache of roles has seen it
	g.endWatches()
	eventually(t, "the device without its Secret", answers(namespace, http.StatusServiceUnavailable))
	if missing := answers(other, http.StatusOK)(); missing != "" {
		t.Error(missing)
	}
	bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api-tokens")
	eventually(t, "the device with its Secret again", answers(namespace, http.StatusOK))
}
