// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/artifact"
)

const (
	// linkKeysName is the Secret with the keys that sign links to artifacts, in Goshawk's own
	// namespace, and linkKeysType its type.
	linkKeysName = "goshawk-artifact-links"
	linkKeysType = "goshawk.dev/artifact-link-keys"

	// keysInterval is how often the keys are read, and keysPause the time between two reads that
	// devices cause.
	keysInterval, keysPause = 30 * time.Second, 5 * time.Second
	// secretTimeout limits a request for a Secret.
	secretTimeout = 5 * time.Second
)

// secretClient returns a client for Secrets. It knows their resource, because a client that asks
// the API server for it waits without end for one that does not respond.
func secretClient(config *rest.Config) (client.Client, error) {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	return client.New(config, client.Options{Scheme: Scheme(), Mapper: mapper})
}

// linkKeys are the keys that sign links to artifacts. All replicas read the same Secret, which the
// first one creates.
type linkKeys struct {
	client  client.Client
	secret  types.NamespacedName
	current atomic.Pointer[artifact.Keys]

	mu sync.Mutex
	at time.Time // of the last read
}

// Keys returns the keys that were read last.
func (k *linkKeys) Keys() artifact.Keys {
	if keys := k.current.Load(); keys != nil {
		return *keys
	}
	return artifact.Keys{}
}

// Reload reads the keys, unless it did so a moment ago.
func (k *linkKeys) Reload(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.at) < keysPause {
		return
	}
	_ = k.load(ctx) // run logs it
}

// run reads the keys until ctx ends. While they cannot be read, the keys that were read last are
// used.
func (k *linkKeys) run(ctx context.Context) error {
	log, said := ctrl.Log.WithName("artifacts"), ""
	for ctx.Err() == nil {
		k.mu.Lock()
		err := k.load(ctx)
		k.mu.Unlock()
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			log.Error(err, "The keys for links to artifacts cannot be read. Without keys, links are not signed, and a client needs the credentials of its device for each download",
				"secret", k.secret, "hasKeys", !k.Keys().IsEmpty())
		}
		pause(ctx, keysInterval)
	}
	return nil
}

// load reads the Secret, and creates it if it does not exist.
func (k *linkKeys) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	k.at = time.Now()
	secret := corev1.Secret{}
	err := k.client.Get(ctx, k.secret, &secret)
	if apierrors.IsNotFound(err) {
		if err = k.create(ctx); err == nil || apierrors.IsAlreadyExists(err) {
			err = k.client.Get(ctx, k.secret, &secret)
		}
	}
	if err != nil {
		return err
	}
	keys, err := artifact.NewKeys(secret.Data)
	if err != nil {
		return fmt.Errorf("read Secret %s: %w; correct its data, or delete it, then Goshawk creates it again and present links end", k.secret, err)
	}
	k.current.Store(&keys)
	return nil
}

func (k *linkKeys) create(ctx context.Context) error {
	key := make([]byte, artifact.MinKeyBytes)
	_, _ = rand.Read(key) // it never fails
	return k.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.secret.Namespace, Name: k.secret.Name,
			Labels: map[string]string{"app.kubernetes.io/managed-by": "goshawk"},
		},
		Type: linkKeysType,
		Data: map[string][]byte{"1": key},
	})
}

// pullSecrets returns a reader of the Secrets that pullSecretRef names.
func pullSecrets(reader client.Reader) artifact.PullSecrets {
	return func(ctx context.Context, namespace, name string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, secretTimeout)
		defer cancel()
		refused := func(why string) error {
			return artifact.Error{Source: true, Reason: fmt.Sprintf("Secret %s in namespace %s (pullSecretRef) %s", name, namespace, why)}
		}
		secret := corev1.Secret{}
		switch err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret); {
		case apierrors.IsNotFound(err):
			return nil, refused("does not exist: create it with kubectl create secret docker-registry")
		case apierrors.IsForbidden(err):
			return nil, refused("may not be read by Goshawk: grant the permissions in config/rbac")
		case err != nil:
			return nil, fmt.Errorf("read Secret %s in namespace %s: %w", name, namespace, err)
		case secret.Type != corev1.SecretTypeDockerConfigJson:
			return nil, refused(fmt.Sprintf("has type %s and must have %s: create it with kubectl create secret docker-registry", secret.Type, corev1.SecretTypeDockerConfigJson))
		}
		return secret.Data[corev1.DockerConfigJsonKey], nil
	}
}
