// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Failure is what failed updates are counted by: the code, or without one the normalized message.
// Both are empty where the device sent neither. Failures can be compared with ==.
type Failure struct{ Code, Message string }

// FailureOf returns by what a failed action is counted.
func FailureOf(a *v1alpha1.Action) Failure {
	if a.StatusCode != "" {
		return Failure{Code: a.StatusCode}
	}
	return Failure{Message: a.FailureGroup}
}

// Because says why an action failed, as the end of a sentence; empty: the device gave no code and
// no message.
func Because(a *v1alpha1.Action) string {
	switch {
	case a.StatusCode != "" && a.FailureMessage != "":
		return fmt.Sprintf(" with code %s: %s", a.StatusCode, a.FailureMessage)
	case a.StatusCode != "":
		return " with code " + a.StatusCode
	case a.FailureMessage != "":
		return ": " + a.FailureMessage
	}
	return ""
}

// Failures names failures to be tried again: those with one of the codes, and those without a code
// with one of the messages. Without codes and messages it names all.
type Failures struct{ Codes, Messages []string }

// Name reports whether a failure is among those named.
func (n Failures) Name(f Failure) bool {
	switch {
	case len(n.Codes) == 0 && len(n.Messages) == 0:
		return true
	case f.Code == "" && slices.Contains(n.Messages, f.Message):
		return true
	}
	return slices.Contains(n.Codes, f.Code)
}

// Equal reports whether both name the same failures in the same order.
func (n Failures) Equal(o Failures) bool {
	return slices.Equal(n.Codes, o.Codes) && slices.Equal(n.Messages, o.Messages)
}
