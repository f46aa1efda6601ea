// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/access"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// TokenSecretType is the type of the Secrets that contain device tokens, and the CAs of device
// certificates. Only these are read, so that the device API never has other Secrets in memory.
const TokenSecretType corev1.SecretType = access.SecretType

// refusals are the errors for wrong credentials. All of them are ErrUnauthorized; only the log and
// a metric contain the reason.
var refusals = func() map[access.Reason]error {
	errs := map[access.Reason]error{}
	for reason, text := range map[access.Reason]string{
		access.NoCredentials:     "the request has no credentials",
		access.UntrustedProxy:    "the headers of a proxy come from an address that no DeviceAccess names in trustedProxy.addresses",
		access.UnknownToken:      "the token is neither that of the target nor one that a DeviceAccess accepts",
		access.UnknownAuthority:  "the client certificate, or the authority that a proxy names, is of no CA that a DeviceAccess accepts, or it is not valid now",
		access.Revoked:           "the serial number of the client certificate is in revokedSerials of the DeviceAccess",
		access.OtherDevice:       "the client certificate, or the header of a proxy, names another device",
		access.NotSelected:       "the DeviceAccess does not select the target",
		access.NotRegistered:     "the device has no target, and the DeviceAccess does not register it",
		access.MaxTargetsReached: "the device has no target, and the DeviceAccess has registered maxTargets devices",
	} {
		errs[reason] = fmt.Errorf("%w: %s: %s", deviceapi.ErrUnauthorized, reason, text)
	}
	return errs
}()

// Authorize compares the device's token with the one in its Secret, and else lets the
// DeviceAccesses of the namespace decide, all from memory. An unknown device, one without a token
// and wrong credentials cause the same response and take the same time, however many Secrets and
// keys there are. It returns Unavailable while the Secrets have not been read.
func (b *Backend) Authorize(ctx context.Context, d deviceapi.Device, c deviceapi.Credentials) error {
	if !b.index.HasSynced() || !b.tokens.hasSynced() || !b.accesses.hasSynced() {
		return deviceapi.Unavailable{}
	}
	t := b.index.Device(d.Namespace, d.ControllerID)
	got, want := access.DigestOf([]byte(c.TargetToken)), b.tokenOf(d, t)
	isEqual := subtle.ConstantTimeCompare(got[:], want.sum[:]) == 1
	if isEqual && want.fault == "" {
		return nil
	}
	decision := b.decide(d, t, c)
	if decision.Register {
		reason, err := b.registrations.register(ctx, d, decision.Access)
		switch {
		case err != nil:
			return err
		case reason != "":
			return refuse(reason)
		}
		// The Target may be one that the cache did not have, or that other credentials have
		// registered at the same moment, so its labels decide.
		if decision = b.decide(d, b.index.Device(d.Namespace, d.ControllerID), c); decision.Register {
			return deviceapi.Unavailable{Cause: errors.New("the new Target was deleted")}
		}
	}
	switch {
	case decision.Access != nil:
		return nil
	case decision.Reason == access.NoCredentials && c.TargetToken != "":
		return refuse(access.UnknownToken)
	}
	return refuse(decision.Reason)
}

// decide lets the DeviceAccesses of the namespace decide.
func (b *Backend) decide(d deviceapi.Device, t *v1alpha1.Target, c deviceapi.Credentials) access.Decision {
	return b.accesses.rulesOf(d.Namespace).Decide(&access.Request{
		ControllerID: d.ControllerID, Target: t, GatewayToken: c.GatewayToken, Certificates: c.Certificates, Peer: c.Peer, Header: c.Header, Now: b.now(),
	})
}

// refuse counts a refusal and returns its error.
func refuse(reason access.Reason) error {
	devicesRefused.WithLabelValues(string(reason)).Inc()
	return refusals[reason]
}

// tokenOf returns the digest of the token of the target that serves the device, or a digest with a
// fault. For an unknown device it does the same work.
func (b *Backend) tokenOf(d deviceapi.Device, t *v1alpha1.Target) tokenDigest {
	ref := &v1alpha1.SecretKeyReference{Key: d.ControllerID}
	switch {
	case t == nil:
		_ = b.index.Target(types.NamespacedName{Namespace: d.Namespace, Name: d.ControllerID})
	case t.Spec.TokenSecretRef != nil:
		ref = t.Spec.TokenSecretRef
	}
	return b.tokens.find(types.NamespacedName{Namespace: d.Namespace, Name: ref.Name}, ref.Key)
}
