// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Ready of a target says why its device cannot authenticate, as long as the cause exists and for
// any order of creation. The device API writes it, because the controllers have no right for
// Secrets.
func TestReadySaysWhyATokenIsNotUsable(t *testing.T) {
	t.Parallel()
	c := applyOverlay(t)
	namespace, elsewhere := cluster.Namespace(t), cluster.Namespace(t)
	for account, roles := range map[string][]string{"goshawk-device-api": {"goshawk-device-api", "goshawk-device-api-tokens"}, "goshawk-manager": {"goshawk-manager"}} {
		for _, role := range roles {
			bind(t, c, namespace, account, role)
		}
	}
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}})
	controllers := start(t, "goshawk-manager", manager.Options{Controllers: true, WatchNamespaces: []string{namespace}})
	w := g.in(namespace)
	secret := func(namespace, name string, kind corev1.SecretType, data map[string]string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: kind, StringData: data}
		if err := c.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	secret(namespace, "opaque", corev1.SecretTypeOpaque, map[string]string{"key": "abc"})
	secret(elsewhere, "elsewhere", kube.TokenSecretType, map[string]string{"key": "abc"})
	tokens := secret(namespace, "tokens", kube.TokenSecretType, map[string]string{"key": world.Token, "blank": " \n"})
	for name, ref := range map[string]string{"good": "tokens/key", "late": "late/key", "typed": "opaque/key", "keyless": "tokens/other", "blank": "tokens/blank", "foreign": "elsewhere/key"} {
		from, key, _ := strings.Cut(ref, "/")
		target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		target.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: from, Key: key}
		if err := c.Create(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	says := func(name, reason, words string) {
		t.Helper()
		want := metav1.ConditionFalse
		if reason == v1alpha1.ReasonReady {
			want = metav1.ConditionTrue
		}
		w.EventuallyTarget(name, "says "+reason, func(target *v1alpha1.Target) bool {
			ready := world.Condition(target.Status.Conditions, v1alpha1.ConditionReady)
			stalled := world.Condition(target.Status.Conditions, v1alpha1.ConditionStalled)
			return ready != nil && ready.Status == want && ready.Reason == reason && strings.Contains(ready.Message, words) && (stalled != nil) == (want == metav1.ConditionFalse)
		})
	}
	says("late", v1alpha1.ReasonTokenSecretNotFound, "Secret late in namespace "+namespace)
	says("foreign", v1alpha1.ReasonTokenSecretNotFound, "create it in this namespace")
	says("typed", v1alpha1.ReasonTokenSecretWrongType, string(kube.TokenSecretType))
	says("keyless", v1alpha1.ReasonTokenKeyMissing, `"other"`)
	says("blank", v1alpha1.ReasonTokenEmpty, `"blank"`)
	says("good", v1alpha1.ReasonReady, "serves")

	// Each cause is removed.
	secret(namespace, "late", kube.TokenSecretType, map[string]string{"key": world.Token})
	if err := c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "opaque"}}); err != nil {
		t.Fatal(err)
	}
	secret(namespace, "opaque", kube.TokenSecretType, map[string]string{"key": world.Token})
	secret(namespace, "elsewhere", kube.TokenSecretType, map[string]string{"key": world.Token})
	change := func(data string) {
		t.Helper()
		if err := c.Patch(t.Context(), tokens, client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{`+data+`}}`))); err != nil {
			t.Fatal(err)
		}
	}
	change(`"other":"abc","blank":"abc"`)
	for _, name := range []string{"late", "foreign", "typed", "keyless", "blank", "good"} {
		says(name, v1alpha1.ReasonReady, "serves")
	}
	if a := g.poll(namespace, "late"); a.status != 200 {
		t.Errorf("the device whose Secret was created late gets %+v", a)
	}

	// A Secret that is deleted and created again at once causes no write; a deleted one does.
	if err := c.Delete(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
	tokens = secret(namespace, "tokens", kube.TokenSecretType, map[string]string{"key": world.Token, "other": "abc", "blank": "abc"})
	before := w.Target("good").ResourceVersion
	time.Sleep(5 * time.Second)
	if target := w.Target("good"); target.ResourceVersion != before {
		t.Errorf("a rotation has changed the target: %+v", target.Status.Conditions)
	}
	if err := c.Delete(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
	says("good", v1alpha1.ReasonTokenSecretNotFound, "Secret tokens")
	if forbidden := controllers.seen(); len(forbidden) > 0 {
		t.Errorf("the controllers were refused %v", forbidden)
	}
}

// Many targets with one missing Secret are written at a bounded rate.
func TestMissingSecretOfManyTargetsIsWrittenSlowly(t *testing.T) {
	t.Parallel()
	c := applyOverlay(t)
	namespace := cluster.Namespace(t)
	bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api")
	bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api-tokens")
	const fleet = 200
	for i := range fleet {
		target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("device-%03d", i)}}
		target.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "missing", Key: "key"}
		if err := c.Create(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}})
	written := func() (n int) {
		var list v1alpha1.TargetList
		if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if world.Condition(list.Items[i].Status.Conditions, v1alpha1.ConditionTokenUsable) != nil {
				n++
			}
		}
		return n
	}
	var started time.Time
	eventually(t, "the first condition", func() string {
		if written() == 0 {
			return "there is no condition"
		}
		started = time.Now()
		return ""
	})
	eventually(t, "the last condition", func() string {
		if n := written(); n < fleet {
			return fmt.Sprintf("%d of %d", n, fleet)
		}
		return ""
	})
	if took := time.Since(started); took < 6*time.Second {
		t.Errorf("%d targets were written within %s", fleet, took)
	}
}
