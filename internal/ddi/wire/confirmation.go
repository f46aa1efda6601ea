// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "strings"

// ConfirmationBase is the confirmation state of a device (resource 9).
type ConfirmationBase struct {
	AutoConfirm AutoConfirm       `json:"autoConfirm"`
	Links       ConfirmationLinks `json:"_links,omitzero"`
}

// AutoConfirm says whether the device consents to every update. The other
// fields are written only while it is active.
type AutoConfirm struct {
	Active    bool   `json:"active"`
	Initiator string `json:"initiator,omitempty"`
	Remark    string `json:"remark,omitempty"`
	// ActivatedAt is in milliseconds since 1970.
	ActivatedAt int64 `json:"activatedAt,omitempty"`
}

// ConfirmationLinks are the moves open to the device: one of activate and
// deactivate, and the action that waits, if any.
type ConfirmationLinks struct {
	ActivateAutoConfirm   Link `json:"activateAutoConfirm,omitzero"`
	DeactivateAutoConfirm Link `json:"deactivateAutoConfirm,omitzero"`
	ConfirmationBase      Link `json:"confirmationBase,omitzero"`
}

// Confirmation is a user's answer.
type Confirmation string

const (
	// Confirmed means that the user agrees to the update.
	Confirmed Confirmation = "confirmed"
	// Denied means that the user does not agree to the update.
	Denied Confirmation = "denied"
)

// ConfirmationFeedback answers a waiting action (resource 11).
type ConfirmationFeedback struct {
	Confirmation Confirmation `json:"confirmation"`
	Code         Text         `json:"code,omitempty"`
	Details      Details      `json:"details,omitempty"`
}

// DecodeConfirmationFeedback reads an answer; confirmation is mandatory.
func DecodeConfirmationFeedback(body []byte) (ConfirmationFeedback, error) {
	var f ConfirmationFeedback
	if err := decode(body, &f); err != nil {
		return ConfirmationFeedback{}, err
	}
	if err := oneOf("confirmation", f.Confirmation, []Confirmation{Confirmed, Denied}); err != nil {
		return ConfirmationFeedback{}, err
	}
	return f, nil
}

// ActivateAutoConfirm switches automatic consent on (resource 12).
type ActivateAutoConfirm struct {
	Initiator string `json:"initiator,omitempty"`
	Remark    string `json:"remark,omitempty"`
}

// DecodeActivateAutoConfirm reads the request; no body is a valid one.
func DecodeActivateAutoConfirm(body []byte) (ActivateAutoConfirm, error) {
	var request ActivateAutoConfirm
	if strings.TrimSpace(string(body)) == "" {
		return request, nil
	}
	err := decode(body, &request)
	return request, err
}
