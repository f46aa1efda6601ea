// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"net/http"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// DDI has no command to remove software. A removal that a device would get is closed as failed, so
// that the thresholds of its rollout count it, and the device gets what comes after it.

var removeNotSupported = deviceapi.Refusal{
	Code: v1alpha1.CodeRemoveNotSupported,
	Message: "this device uses DDI, which cannot remove software: leave the target out of the selection, install a set that removes the software, " +
		"or connect the device by MQTT with SoftwareUpdatable",
}

// maxRefusals is how many removals one request closes. The next request closes further ones.
const maxRefusals = 3

// withoutRemoval returns what the device should do next, after removals were closed as failed. HEAD
// closes none.
func (v *visit) withoutRemoval(state deviceapi.State) (deviceapi.State, error) {
	for range maxRefusals {
		if !state.IsRemoval || v.Method == http.MethodHead {
			break
		}
		err := v.refuseRemoval(max(state.DeployID, state.ConfirmID))
		if err != nil {
			return state, err
		}
		if state, err = v.backend.State(v.Context(), v.device, v.remote()); err != nil {
			return state, err
		}
	}
	if state.IsRemoval {
		state.DeployID, state.ConfirmID = 0, 0
	}
	return state, nil
}

// refuseRemoval closes a removal as failed. One that the device has reported about by another
// protocol, or that is closed already, stays as it is.
func (v *visit) refuseRemoval(id int32) error {
	err := v.backend.Refuse(v.Context(), v.device, id, removeNotSupported)
	if errors.Is(err, deviceapi.ErrNotAllowed) || errors.Is(err, deviceapi.ErrGone) || errors.Is(err, deviceapi.ErrNotFound) {
		return nil
	}
	return err
}

// installation returns an action that find returns, or ErrNotFound if it is a removal. A removal is
// closed as failed, except by HEAD.
func (v *visit) installation(id int32, find func() (deviceapi.Deployment, error)) (deviceapi.Deployment, error) {
	found, err := find()
	if err != nil || len(found.Remove) == 0 {
		return found, err
	}
	if v.Method != http.MethodHead {
		if err := v.refuseRemoval(id); err != nil {
			return deviceapi.Deployment{}, err
		}
	}
	return deviceapi.Deployment{}, deviceapi.ErrNotFound
}
