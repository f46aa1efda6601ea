package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/ddi"
)

// TokenSecretType is the type of the Secrets that hold device tokens. Only these are read, so that a door never holds other secrets in memory.
const TokenSecretType corev1.SecretType = "goshawk.dev/device-tokens"

// Authorize compares the device's token with the one in its Secret. An unknown device, one without a token and a wrong token look and last the same.
func (b *Backend) Authorize(ctx context.Context, d ddi.Device, token string) error {
	if !b.index.HasSynced() {
		return ddi.Unavailable{}
	}
	wanted := b.tokenOf(ctx, d)
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256(wanted)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || len(wanted) == 0 {
		return ddi.ErrUnauthorized
	}
	return nil
}

// tokenOf is the token of the target that serves the device; empty: it has none.
func (b *Backend) tokenOf(ctx context.Context, d ddi.Device) []byte {
	t := b.index.Device(d.Tenant, d.ControllerID)
	if t == nil || t.Spec.TokenSecretRef == nil {
		return nil
	}
	var secret corev1.Secret
	if err := b.secrets.Get(ctx, types.NamespacedName{Namespace: t.Namespace, Name: t.Spec.TokenSecretRef.Name}, &secret); err != nil {
		return nil
	}
	if secret.Type != TokenSecretType {
		return nil
	}
	return bytes.TrimSpace(secret.Data[t.Spec.TokenSecretRef.Key]) // files end in a newline, headers cannot hold one
}
