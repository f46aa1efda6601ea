// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "strings"

// ConfirmationBase is the confirmation state of a device (resource 9).
type ConfirmationBase struct {
	AutoConfirm AutoConfirm       `json:"autoConfirm"`
	Links       ConfirmationLinks `json:"_links,omitzero"`
}

// AutoConfirm says whether the device confirms all updates automatically. The other fields are
// written only while it does.
type AutoConfirm struct {
	Active    bool   `json:"active"`
	Initiator string `json:"initiator,omitempty"`
	Remark    string `json:"remark,omitempty"`
	// ActivatedAt is in milliseconds since 1970.
	ActivatedAt int64 `json:"activatedAt,omitempty"`
}

// ConfirmationLinks are the links to activate or deactivate auto-confirm, and to the action that
// waits, if there is one.
type ConfirmationLinks struct {
	ActivateAutoConfirm   Link `json:"activateAutoConfirm,omitzero"`
	DeactivateAutoConfirm Link `json:"deactivateAutoConfirm,omitzero"`
	ConfirmationBase      Link `json:"confirmationBase,omitzero"`
}

// Confirmation is the answer of a user.
type Confirmation string

const (
	// Confirmed means that the user agrees to the update.
	Confirmed Confirmation = "confirmed"
	// Denied means that the user does not agree to the update.
	Denied Confirmation = "denied"
)

// ConfirmationFeedback is the answer for an action that waits for confirmation (resource 11).
type ConfirmationFeedback struct {
	Confirmation Confirmation `json:"confirmation"`
	Code         Text         `json:"code,omitempty"`
	Details      Details      `json:"details,omitempty"`
}

// DecodeConfirmationFeedback reads an answer. The field confirmation is required.
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

// ActivateAutoConfirm activates auto-confirm (resource 12).
type ActivateAutoConfirm struct {
	Initiator string `json:"initiator,omitempty"`
	Remark    string `json:"remark,omitempty"`
}

// DecodeActivateAutoConfirm reads the request, whose body may be empty.
func DecodeActivateAutoConfirm(body []byte) (ActivateAutoConfirm, error) {
	var request ActivateAutoConfirm
	if strings.TrimSpace(string(body)) == "" {
		return request, nil
	}
	err := decode(body, &request)
	return request, err
}
