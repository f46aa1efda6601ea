// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// DDI has no command to remove software. A device that has announced that it can, gets a removal as
// a deployment with a chunk for each entry, whose metadata says that it is removed. For any other
// device a removal is closed as failed, so that the thresholds of its rollout count it, and the
// device gets what comes after it.

var removeNotSupported = deviceapi.Refusal{
	Code: v1alpha1.CodeRemoveNotSupported,
	Message: "this device uses DDI and has not announced that it can remove software: leave the target out of the selection, " +
		"install a set that removes the software, or use goshawk-agent or MQTT with SoftwareUpdatable",
}

// maxRefusals is how many removals one request closes. The next request closes further ones.
const maxRefusals = 3

// withoutRemoval returns what the device should do next, after removals that it cannot carry out
// were closed as failed. HEAD closes none, and neither does a poll before the device was asked for
// its attributes.
func (v *visit) withoutRemoval(state deviceapi.State) (deviceapi.State, error) {
	for range maxRefusals {
		if !state.IsRemoval || state.CanRemove != deviceapi.CannotRemove || v.Method == http.MethodHead {
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
	if state.IsRemoval && state.CanRemove != deviceapi.RemovesSoftware {
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

// possible returns an action that find returns, or ErrNotFound if it is a removal that the device
// cannot carry out. Such a removal is closed as failed, except by HEAD.
func (v *visit) possible(id int32, find func() (deviceapi.Deployment, error)) (deviceapi.Deployment, error) {
	found, err := find()
	if err != nil || isPossible(found) {
		return found, err
	}
	if v.Method != http.MethodHead {
		if err := v.refuseRemoval(id); err != nil {
			return deviceapi.Deployment{}, err
		}
	}
	return deviceapi.Deployment{}, deviceapi.ErrNotFound
}

// isPossible reports whether the device can carry out the action by DDI.
func isPossible(d deviceapi.Deployment) bool {
	return len(d.Remove) == 0 || d.CanRemove == deviceapi.RemovesSoftware
}

// removalChunk returns an entry of a removal. Its part is the type of the software, or else its
// group: in the inventory of a device that uses DDI, the group is the type.
func removalChunk(s deviceapi.Software) wire.Chunk {
	chunk := wire.Chunk{
		Part: wire.PartOf(cmp.Or(s.Type, s.Group)), Name: s.Name, Version: s.Version, Artifacts: wire.List[wire.Artifact]{},
		Metadata: []wire.Metadata{{Key: wire.MetadataRemove, Value: "true"}},
	}
	if s.Group != "" {
		chunk.Metadata = append(chunk.Metadata, wire.Metadata{Key: wire.MetadataGroup, Value: s.Group})
	}
	return chunk
}
