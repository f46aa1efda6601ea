// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/internal/artifact"
)

var linkSecret = types.NamespacedName{Namespace: "goshawk-system", Name: linkKeysName}

// isSigned reports whether a link that one process has signed is valid for another one.
func isSigned(t *testing.T, by, of artifact.Keys) bool {
	t.Helper()
	link := artifact.Link{Namespace: "fleet", ControllerID: "gw-01", Module: "os", FileName: "rootfs.swu"}
	query, err := url.ParseQuery(of.Sign(link, time.Now(), time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return by.Check(link, query, time.Now()) == artifact.Valid
}

// The first replica creates the key, and all of them use it, also after a restart.
func TestReplicasShareLinkKeys(t *testing.T) {
	t.Parallel()
	c := fake.NewClientBuilder().Build()
	one, two := &linkKeys{client: c, secret: linkSecret}, &linkKeys{client: c, secret: linkSecret}
	if err := errors.Join(one.load(t.Context()), two.load(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !isSigned(t, one.Keys(), two.Keys()) || !isSigned(t, two.Keys(), one.Keys()) {
		t.Error("the replicas have different keys")
	}
	stored := corev1.Secret{}
	if err := c.Get(t.Context(), linkSecret, &stored); err != nil || stored.Type != linkKeysType {
		t.Errorf("the Secret has type %s, %v", stored.Type, err)
	}
}

// Two replicas that start at the same moment agree on the key of the first one.
func TestReplicasCreateLinkKeysAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := fake.NewClientBuilder().Build()
	one := &linkKeys{client: c, secret: linkSecret}
	two := &linkKeys{secret: linkSecret, client: interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := one.load(ctx); err != nil {
				t.Error(err)
			}
			return c.Create(ctx, o, opts...)
		},
	})}
	if err := two.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !isSigned(t, one.Keys(), two.Keys()) {
		t.Error("the replicas have different keys")
	}
}

func TestLinkKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: linkSecret.Namespace, Name: linkSecret.Name}, Data: map[string][]byte{"1": bytes.Repeat([]byte{1}, 32)}}
	c := fake.NewClientBuilder().WithObjects(secret).Build()
	keys := &linkKeys{client: c, secret: linkSecret}
	if err := keys.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := keys.Keys()
	secret.Data["2"] = []byte("short")
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := keys.load(t.Context()); err == nil || !strings.Contains(err.Error(), "Secret goshawk-system/goshawk-artifact-links: key 2 has 5 bytes, and must have at least 32") {
		t.Errorf("the error is %v", err)
	}
	if !isSigned(t, before, keys.Keys()) {
		t.Error("the keys that were read last are lost")
	}
}

// However many links are wrong, the keys are read once in a while.
func TestReloadIsBounded(t *testing.T) {
	t.Parallel()
	reads := 0
	c := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, o, opts...)
		},
	})
	keys := &linkKeys{client: c, secret: linkSecret}
	for range 100 {
		keys.Reload(t.Context())
	}
	if reads > 2 { // it is created in between
		t.Errorf("%d reads", reads)
	}
}

func TestPullSecretsOfNamespaces(t *testing.T) {
	t.Parallel()
	secret := func(name string, kind corev1.SecretType, key string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name}, Type: kind, Data: map[string][]byte{key: []byte("{}")}}
	}
	c := interceptor.NewClient(fake.NewClientBuilder().WithObjects(
		secret("good", corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey),
		secret("tokens", "goshawk.dev/device-tokens", "gw-01"),
	).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			switch key.Name {
			case "secret":
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, nil)
			case "slow":
				return errors.New("timeout")
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	for name, tt := range map[string]struct {
		namespace, name, says string
		isFinal               bool
	}{
		"the right one":        {"fleet", "good", "", false},
		"of another type":      {"fleet", "tokens", "has type goshawk.dev/device-tokens and must have kubernetes.io/dockerconfigjson", true},
		"missing":              {"fleet", "none", "Secret none in namespace fleet (pullSecretRef) does not exist", true},
		"of another namespace": {"other", "good", "does not exist", true},
		"that is forbidden":    {"fleet", "secret", "may not be read by Goshawk", true},
		"that cannot be read":  {"fleet", "slow", "timeout", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, err := pullSecrets(c)(t.Context(), tt.namespace, tt.name)
			if tt.says == "" {
				if err != nil || string(content) != "{}" {
					t.Errorf("%q, %v", content, err)
				}
				return
			}
			known, isKnown := errors.AsType[artifact.Error](err)
			if err == nil || !strings.Contains(err.Error(), tt.says) || isKnown != tt.isFinal || isKnown && known.RetryAfter != 0 {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
