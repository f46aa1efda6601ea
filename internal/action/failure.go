// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"fmt"
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Failure is the key by which failed updates are counted: the code or, without a code, the
// normalized message. Both are empty if the device sent neither. Failures are comparable with ==.
type Failure struct{ Code, Message string }

// FailureOf returns the key of a failed action.
func FailureOf(a *v1alpha1.Action) Failure {
	if a.StatusCode != "" {
		return Failure{Code: a.StatusCode}
	}
	return Failure{Message: a.FailureGroup}
}

// String returns the key for a sentence after "failed with".
func (f Failure) String() string {
	switch {
	case f.Code != "":
		return "code " + f.Code
	case f.Message != "":
		return fmt.Sprintf("message %q", f.Message)
	}
	return "neither code nor message"
}

// WhyFailed returns why an action failed, as the end of a sentence, or "" if the device sent
// neither code nor message.
func WhyFailed(a *v1alpha1.Action) string {
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

// Failures selects failures for a retry: those with one of the codes, and those without a code but
// with one of the messages. Without codes and messages it selects all.
type Failures struct{ Codes, Messages []string }

// Name reports whether a failure is selected.
func (n Failures) Name(f Failure) bool {
	switch {
	case len(n.Codes) == 0 && len(n.Messages) == 0:
		return true
	case f.Code == "" && slices.Contains(n.Messages, f.Message):
		return true
	}
	return slices.Contains(n.Codes, f.Code)
}

// Equal reports whether both select the same failures in the same order.
func (n Failures) Equal(o Failures) bool {
	return slices.Equal(n.Codes, o.Codes) && slices.Equal(n.Messages, o.Messages)
}
