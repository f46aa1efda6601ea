// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// defaultTenant is the tenant of clients that cannot be configured with another one. hawkBit writes
// it DEFAULT.
const defaultTenant = "default"

// deviceOf reads the device from the path. Tenants are compared case-insensitively, as in hawkBit.
func (v *visit) deviceOf() (deviceapi.Device, error) {
	device := deviceapi.Device{Namespace: strings.ToLower(v.PathValue("tenant")), ControllerID: v.PathValue("controllerId")}
	if device.Namespace == defaultTenant && v.defaultNamespace != "" {
		device.Namespace = v.defaultNamespace
	}
	if err := deviceapi.CheckID("the tenant in the path", device.Namespace); err != nil {
		return device, asKind(wrongID, err)
	}
	return device, asKind(wrongID, deviceapi.CheckID("the controllerId in the path", device.ControllerID))
}

// identify finds the device of the request. Its credentials are checked first, so that wrong
// credentials, however many and from any address, never block a device with the right token. The
// check is cheap. Beyond the rates of wrong credentials, the response no longer says what is wrong.
//
// A request with a valid link needs no credentials, so the backend is not asked about them: it
// would count a refusal.
func (v *visit) identify(resource *resource, namesDevice bool) error {
	err := v.checkLink(resource)
	if err != nil {
		denied := v.authorize(namesDevice)
		if !errors.Is(err, errExpired) || !errors.Is(denied, deviceapi.ErrUnauthorized) {
			err = denied
		}
	}
	if err == nil || isOurs(err) {
		return err
	}
	v.isRefused = true
	if !v.limits.ExplainRefusal(v.origin.address, v.device, v.now) {
		v.noteGuesses()
		return tooManyRefusals
	}
	return err
}

// noteGuesses logs, at most once a minute, that wrong credentials arrive faster than the rates
// allow.
func (v *visit) noteGuesses() {
	v.guessNotes.Do(func() {
		v.log.Info("Requests with wrong credentials come so often that some are answered 429. Devices with the right token are not affected. "+
			"This is logged once a minute at most, with one of the requests",
			"tenant", text.LimitBytes(v.device.Namespace, maxReason), "controllerID", text.LimitBytes(v.device.ControllerID, maxReason), "address", v.origin.address)
	})
}

// isOurs reports whether an error is not caused by the request.
func isOurs(err error) bool {
	_, isBad := errors.AsType[deviceapi.BadRequest](err)
	return !isBad && !errors.Is(err, deviceapi.ErrUnauthorized) && !errors.Is(err, deviceapi.ErrNotServed) && !errors.Is(err, deviceapi.ErrNotFound)
}

// authorize asks the backend of the device's tenant. A path without a device has no valid
// credentials, but a request without credentials is refused in the same way as elsewhere. Only the
// backend knows which headers are credentials, so a request without any other ones is refused as
// one without credentials if no backend serves the tenant.
func (v *visit) authorize(namesDevice bool) (err error) {
	credentials := v.credentials()
	hasSome := credentials.TargetToken != "" || credentials.GatewayToken != "" || len(credentials.Certificates) > 0
	if !namesDevice {
		if !hasSome {
			return deviceapi.ErrUnauthorized
		}
		return deviceapi.ErrNotFound
	}
	if v.device, err = v.deviceOf(); err != nil {
		return err
	}
	if v.backend, err = v.namespaces(v.device.Namespace); err != nil {
		if !hasSome && errors.Is(err, deviceapi.ErrNotServed) {
			return deviceapi.ErrUnauthorized
		}
		return err
	}
	v.gatewayToken = credentials.GatewayToken
	return v.backend.Authorize(v.Context(), v.device, credentials)
}

// credentials returns the credentials of the request.
func (v *visit) credentials() deviceapi.Credentials {
	c := deviceapi.Credentials{Peer: v.origin.peer, Header: v.Header}
	var authorization string
	if given := v.Header["Authorization"]; len(given) > 0 {
		authorization = given[0]
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	switch token = strings.TrimSpace(token); {
	case strings.EqualFold(scheme, "TargetToken"):
		c.TargetToken = token
	case strings.EqualFold(scheme, "GatewayToken"):
		c.GatewayToken = token
	}
	if v.TLS != nil {
		c.Certificates = v.TLS.PeerCertificates
	}
	return c
}
