// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/access"
)

// tokenDigest is compared with the token of a request.
type tokenDigest struct {
	sum access.Digest
	// fault is the reason why the token is not usable, one of the reasons of the condition
	// TokenUsable, or "".
	fault string
}

// tokenDigests holds the digest of every token by Secret and key. It follows the cache of Secrets,
// so that the cost of a request does not depend on the number of keys, and no Secret is copied.
type tokenDigests struct {
	// changed is called for a Secret with keys whose fault has changed. It must be set before the
	// digests follow a cache.
	changed func(secret types.NamespacedName, isChanged func(key string) bool)

	// lost is called for a Secret with keys whose token was changed or removed. It must be set
	// before the digests follow a cache.
	lost func(secret types.NamespacedName, isLost func(key string) bool)

	mu       sync.RWMutex
	bySecret map[types.NamespacedName]map[string]tokenDigest
	synced   toolscache.InformerSynced
	// nothing is searched if there is no Secret, so that this takes the same time.
	nothing map[string]tokenDigest
}

func newTokenDigests() *tokenDigests {
	return &tokenDigests{
		changed:  func(types.NamespacedName, func(string) bool) {},
		lost:     func(types.NamespacedName, func(string) bool) {},
		bySecret: map[types.NamespacedName]map[string]tokenDigest{},
		nothing:  map[string]tokenDigest{"": {}},
	}
}

// follow makes the digests follow a cache of Secrets. The returned function reports whether the
// digests have everything that the cache has read first.
func (d *tokenDigests) follow(secrets cache.Informer) (toolscache.InformerSynced, error) {
	following, err := secrets.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
		// Every target is checked when the caches have synced, so changed is not called for the
		// initial list.
		AddFunc:    func(o any, isInInitialList bool) { d.set(o.(*corev1.Secret), !isInInitialList) },
		UpdateFunc: func(_, o any) { d.set(o.(*corev1.Secret), true) },
		DeleteFunc: d.remove,
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = following.HasSynced
	return following.HasSynced, nil
}

func (d *tokenDigests) hasSynced() bool {
	d.mu.RLock()
	synced := d.synced
	d.mu.RUnlock()
	return synced != nil && synced()
}

// find returns the digest of one token. If there is no such Secret or key, the digest has that
// fault, and a sum that matches no token.
func (d *tokenDigests) find(secret types.NamespacedName, key string) tokenDigest {
	d.mu.RLock()
	defer d.mu.RUnlock()
	keys, exists := d.bySecret[secret]
	if !exists {
		_ = d.nothing[key]
		return tokenDigest{fault: v1alpha1.ReasonTokenSecretNotFound}
	}
	return digestOf(keys, key)
}

func digestOf(keys map[string]tokenDigest, key string) tokenDigest {
	if found, ok := keys[key]; ok {
		return found
	}
	return tokenDigest{fault: v1alpha1.ReasonTokenKeyMissing}
}

func (d *tokenDigests) set(secret *corev1.Secret, notify bool) {
	if secret.Type != TokenSecretType {
		d.remove(secret)
		return
	}
	name, now := client.ObjectKeyFromObject(secret), digestsOf(secret)
	d.mu.Lock()
	before, existed := d.bySecret[name]
	d.bySecret[name] = now
	d.mu.Unlock()
	d.tellLost(name, before, now)
	if notify {
		d.changed(name, func(key string) bool { return !existed || digestOf(before, key).fault != digestOf(now, key).fault })
	}
}

func (d *tokenDigests) remove(o any) {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	name := client.ObjectKeyFromObject(o.(*corev1.Secret))
	d.mu.Lock()
	before := d.bySecret[name]
	delete(d.bySecret, name)
	d.mu.Unlock()
	d.tellLost(name, before, nil)
	d.changed(name, func(string) bool { return true })
}

// tellLost calls lost if a token of a Secret was changed or removed.
func (d *tokenDigests) tellLost(secret types.NamespacedName, before, now map[string]tokenDigest) {
	isLost := func(key string) bool {
		was, existed := before[key]
		return existed && now[key] != was
	}
	for key := range before {
		if isLost(key) {
			d.lost(secret, isLost)
			return
		}
	}
}

// digestsOf returns the digests of a Secret of TokenSecretType. A Secret has at most 1 MiB, so this
// takes a few milliseconds at most.
func digestsOf(secret *corev1.Secret) map[string]tokenDigest {
	keys := make(map[string]tokenDigest, len(secret.Data))
	for key, token := range secret.Data {
		keys[key] = tokenDigest{sum: access.DigestOf(token), fault: access.TokenFault(token)}
	}
	return keys
}
