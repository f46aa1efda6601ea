// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"
	"strings"
	"unicode"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// devicePrefix marks a code of a device that is equal to one of Goshawk's own codes.
const devicePrefix = "device:"

// reservedCodes are the codes that only Goshawk writes to statusCode, each with the package that
// writes it. Retry rules and users rely on them, so a device cannot send them: see deviceCode.
var reservedCodes = []string{
	v1alpha1.CodeStartDeadlineExceeded,    // internal/rollout
	v1alpha1.CodeProgressDeadlineExceeded, // internal/action
	v1alpha1.CodeSkipped,                  // internal/action
	v1alpha1.CodeNoFeature,                // internal/ditto
	v1alpha1.CodeRemoveNotSupported,       // internal/ddi
}

// deviceCode returns a code of a device as it is stored: clean, at most 64 characters, and with the
// prefix "device:" if it looks like one of Goshawk's own codes, in any case.
func deviceCode(code string) string {
	code = text.Clean(code, maxWord)
	seen := strings.Map(withoutJoiners, code)
	if slices.ContainsFunc(reservedCodes, func(reserved string) bool { return strings.EqualFold(reserved, seen) }) {
		return devicePrefix + seen
	}
	return code
}

// withoutJoiners drops, in strings.Map, the characters without a form that a clean text may have.
func withoutJoiners(r rune) rune {
	if unicode.In(r, unicode.Cf, unicode.Variation_Selector) {
		return -1
	}
	return r
}
