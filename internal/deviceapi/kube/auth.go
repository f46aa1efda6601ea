// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// TokenSecretType is the type of the Secrets that contain device tokens. Only these are read, so
// that the device API never has other Secrets in memory.
const TokenSecretType corev1.SecretType = "goshawk.dev/device-tokens"

// Authorize compares the device's token with the one in its Secret, from memory. An unknown device,
// one without a token and a wrong token cause the same response and take the same time, however
// many keys a Secret has. It returns Unavailable while the Secrets have not been read.
func (b *Backend) Authorize(_ context.Context, d deviceapi.Device, token string) error {
	if !b.index.HasSynced() || !b.tokens.hasSynced() {
		return deviceapi.Unavailable{}
	}
	got, want := sha256.Sum256([]byte(token)), b.tokenOf(d)
	isEqual := subtle.ConstantTimeCompare(got[:], want.sum[:]) == 1
	if !isEqual || want.fault != "" {
		return deviceapi.ErrUnauthorized
	}
	return nil
}

// tokenOf returns the digest of the token of the target that serves the device, or a digest with a
// fault. For an unknown device it does the same work.
func (b *Backend) tokenOf(d deviceapi.Device) tokenDigest {
	t := b.index.Device(d.Namespace, d.ControllerID)
	ref := &v1alpha1.SecretKeyReference{Key: d.ControllerID}
	switch {
	case t == nil:
		_ = b.index.Target(types.NamespacedName{Namespace: d.Namespace, Name: d.ControllerID})
	case t.Spec.TokenSecretRef != nil:
		ref = t.Spec.TokenSecretRef
	}
	return b.tokens.find(types.NamespacedName{Namespace: d.Namespace, Name: ref.Name}, ref.Key)
}
