// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Limits of the texts in an activation of auto-confirm, in characters.
const (
	maxInitiator = 64
	maxRemark    = 512
)

// alreadyActive is the response to a second activation.
var alreadyActive = refusal{status: http.StatusConflict, kind: autoConfirmed,
	message: "auto-confirm is active already; deactivate it first to change its initiator or remark"}

func consent(v *visit) (any, error) {
	found, err := v.backend.Consent(v.Context(), v.device, v.remote())
	if err != nil {
		return nil, err
	}
	return v.confirmationBaseOf(found), nil
}

// confirmationBaseOf returns the state of auto-confirm and the action that waits, with links.
func (v *visit) confirmationBaseOf(c deviceapi.Consent) wire.ConfirmationBase {
	document := wire.ConfirmationBase{AutoConfirm: wire.AutoConfirm{Active: c.Active}}
	if c.ConfirmID != 0 {
		document.Links.ConfirmationBase = v.offered("/confirmationBase/", c.ConfirmID, c.CacheBuster)
	}
	if !c.Active {
		document.Links.ActivateAutoConfirm = wire.Link{Href: v.root() + "/confirmationBase/activateAutoConfirm"}
		return document
	}
	document.AutoConfirm.Initiator, document.AutoConfirm.Remark = c.Initiator, c.Remark
	document.AutoConfirm.ActivatedAt = millis(c.ActivatedAt)
	document.Links.DeactivateAutoConfirm = wire.Link{Href: v.root() + "/confirmationBase/deactivateAutoConfirm"}
	return document
}

// millis returns the milliseconds since 1970, or 0 if the time is not known.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// confirmationOf returns an action that waits for confirmation: the content of a deployment under
// another key.
func (v *visit) confirmationOf(d deviceapi.Deployment, messages int) wire.ConfirmationAction {
	base := v.deploymentBaseOf(d, messages)
	return wire.ConfirmationAction{ID: base.ID, Confirmation: base.Deployment, ActionHistory: base.ActionHistory}
}

// confirmationFeedback processes an answer. Like a result it is accepted beyond the rate of the
// device, and not refused because of its details.
func confirmationFeedback(v *visit) (answer, error) {
	id, err := v.actionID()
	if err != nil {
		return answer{}, err
	}
	word, isWhole, err := readResult(v, wire.DecodeConfirmationFeedback, func(wire.ConfirmationFeedback) bool { return true })
	if err != nil {
		return answer{}, err
	}
	word.Details = limited(word.Details, isWhole)
	return done, v.backend.Confirm(v.Context(), v.device, ConfirmationReportOf(id, word))
}

func activateAutoConfirm(v *visit) (answer, error) {
	request, err := readActivation(v)
	if err != nil {
		return answer{}, err
	}
	err = v.backend.ActivateAutoConfirm(v.Context(), v.device, deviceapi.AutoConfirm{Initiator: request.Initiator, Remark: request.Remark})
	if errors.Is(err, deviceapi.ErrConflict) {
		err = alreadyActive
	}
	return done, err
}

// readActivation reads the body, which may be missing.
func readActivation(v *visit) (wire.ActivateAutoConfirm, error) {
	if v.ContentLength == 0 {
		return wire.ActivateAutoConfirm{}, nil
	}
	request, err := read(v, wire.DecodeActivateAutoConfirm)
	if err != nil {
		return wire.ActivateAutoConfirm{}, err
	}
	if utf8.RuneCountInString(request.Initiator) > maxInitiator {
		return wire.ActivateAutoConfirm{}, deviceapi.BadRequest{Reason: fmt.Sprintf("initiator is too long: it has at most %d characters", maxInitiator)}
	}
	if utf8.RuneCountInString(request.Remark) > maxRemark {
		return wire.ActivateAutoConfirm{}, deviceapi.BadRequest{Reason: fmt.Sprintf("remark is too long: it has at most %d characters", maxRemark)}
	}
	return request, nil
}

func deactivateAutoConfirm(v *visit) (answer, error) {
	return done, v.backend.DeactivateAutoConfirm(v.Context(), v.device)
}
