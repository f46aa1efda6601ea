// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// deviceOf reads the device from the path. Tenants are compared case-insensitively, as in hawkBit.
func deviceOf(r *http.Request) (deviceapi.Device, error) {
	device := deviceapi.Device{Namespace: strings.ToLower(r.PathValue("tenant")), ControllerID: r.PathValue("controllerId")}
	if err := deviceapi.CheckID("the tenant in the path", device.Namespace); err != nil {
		return device, asKind(wrongID, err)
	}
	return device, asKind(wrongID, deviceapi.CheckID("the controllerId in the path", device.ControllerID))
}

// identify finds the device of the request. Its credentials are checked first, so that wrong
// credentials, however many and from any address, never block a device with the right token. The
// check is cheap. Beyond the rates of wrong credentials, the response no longer says what is wrong.
func (v *visit) identify(namesDevice bool) error {
	err := v.authorize(namesDevice)
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
			"tenant", shorten(v.device.Namespace), "controllerID", shorten(v.device.ControllerID), "address", v.origin.address)
	})
}

// isOurs reports whether an error is not caused by the request.
func isOurs(err error) bool {
	_, isBad := errors.AsType[deviceapi.BadRequest](err)
	return !isBad && !errors.Is(err, deviceapi.ErrUnauthorized) && !errors.Is(err, deviceapi.ErrNotServed) && !errors.Is(err, deviceapi.ErrNotFound)
}

// authorize asks the backend of the device's tenant. A path without a device has no valid
// credentials, but a request without credentials is refused in the same way as elsewhere.
func (v *visit) authorize(namesDevice bool) (err error) {
	token := targetToken(v.Header.Get("Authorization"))
	if !namesDevice {
		if token == "" {
			return deviceapi.ErrUnauthorized
		}
		return deviceapi.ErrNotFound
	}
	if v.device, err = deviceOf(v.Request); err != nil {
		return err
	}
	if token == "" {
		return deviceapi.ErrUnauthorized
	}
	if v.backend, err = v.namespaces(v.device.Namespace); err != nil {
		return err
	}
	return v.backend.Authorize(v.Context(), v.device, token)
}

// targetToken returns the token of an Authorization header, or "".
func targetToken(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "TargetToken") {
		return ""
	}
	return strings.TrimSpace(token)
}
