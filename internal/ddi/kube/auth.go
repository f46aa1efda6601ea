package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/goshawk-dev/goshawk/internal/ddi"
)

// TokenSecretType is the type of the Secrets that hold device tokens. Only these are read, so that a door never holds other secrets in memory.
const TokenSecretType corev1.SecretType = "goshawk.dev/device-tokens"

// secretTimeout bounds one read of a Secret. The cache that normally answers it does so at once; one that has not synced would wait for ever.
const secretTimeout = 5 * time.Second

// Authorize compares the device's token with the one in its Secret. An unknown device, one without a token and a wrong token look and last the same. It
// returns Unavailable if the Secret cannot be read.
func (b *Backend) Authorize(ctx context.Context, d ddi.Device, token string) error {
	if !b.index.HasSynced() {
		return ddi.Unavailable{}
	}
	if t := b.index.Device(d.Tenant, d.ControllerID); t != nil && t.Unreadable.Lacks("spec.tokenSecretRef") {
		return ddi.Unavailable{RetryAfter: unreadablePause} // nobody can tell whether the token is right
	}
	wanted, err := b.tokenOf(ctx, d)
	if err != nil {
		return ddi.Unavailable{Cause: err}
	}
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256(wanted)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || len(wanted) == 0 {
		return ddi.ErrUnauthorized
	}
	return nil
}

// tokenOf returns the token of the target that serves the device; empty if it has none. The error says that the Secret could not be read, which is not the
// same as a Secret that does not exist.
func (b *Backend) tokenOf(ctx context.Context, d ddi.Device) ([]byte, error) {
	t := b.index.Device(d.Tenant, d.ControllerID)
	if t == nil || t.Spec.TokenSecretRef == nil {
		return nil, nil
	}
	secret, err := b.secret(ctx, t)
	if err != nil || secret == nil {
		return nil, err
	}
	return bytes.TrimSpace(secret.Data[t.Spec.TokenSecretRef.Key]), nil // files end in a newline, headers cannot hold one
}
