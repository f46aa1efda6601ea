// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"crypto/sha256"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// tokenDigest is what a request is compared with.
type tokenDigest struct {
	// sum is the SHA-256 of the token, without blanks at its ends.
	sum [sha256.Size]byte
	// fault is the reason why no device can authenticate with the token, one of the reasons of
	// TokenUsable; empty if there is none.
	fault string
}

// tokenDigests hold the digest of every token by Secret and key. They follow the cache of Secrets,
// so that a request costs the same however many keys a Secret has, and copies none of them.
type tokenDigests struct {
	// changed is told of a Secret in which keys have another fault than before. It is set before
	// the digests follow a cache.
	changed func(secret types.NamespacedName, isChanged func(key string) bool)

	mu       sync.RWMutex
	bySecret map[types.NamespacedName]map[string]tokenDigest
	synced   toolscache.InformerSynced
	// nothing is looked into where there is no Secret: that takes as long.
	nothing map[string]tokenDigest
}

func newTokenDigests() *tokenDigests {
	return &tokenDigests{
		changed:  func(types.NamespacedName, func(string) bool) {},
		bySecret: map[types.NamespacedName]map[string]tokenDigest{},
		nothing:  map[string]tokenDigest{"": {}},
	}
}

// follow makes the digests follow a cache of Secrets. The function that it returns reports whether
// they have all that the cache has read first.
func (d *tokenDigests) follow(secrets cache.Informer) (toolscache.InformerSynced, error) {
	following, err := secrets.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
		// Every target has its look when the caches have synced, so what is read first is told to
		// nobody.
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

// find returns the digest of one token. Where there is no such Secret, or no such key, its fault
// says so, and its sum is that of no token.
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
	delete(d.bySecret, name)
	d.mu.Unlock()
	d.changed(name, func(string) bool { return true })
}

// digestsOf a Secret of TokenSecretType. A Secret has at most 1 MiB, so this takes a few
// milliseconds at most.
func digestsOf(secret *corev1.Secret) map[string]tokenDigest {
	keys := make(map[string]tokenDigest, len(secret.Data))
	for key, token := range secret.Data {
		token = bytes.TrimSpace(token) // files end in a newline, headers cannot hold one
		digest := tokenDigest{sum: sha256.Sum256(token)}
		switch {
		case len(token) == 0:
			digest.fault = v1alpha1.ReasonTokenEmpty
		case bytes.ContainsFunc(token, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			digest.fault = v1alpha1.ReasonTokenInvalid
		}
		keys[key] = digest
	}
	return keys
}
