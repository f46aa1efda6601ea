// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxID is hawkBit's limit for a controller id, in characters.
const maxID = 256

// CheckID returns a BadRequest for an ID that no Target can have, and nil for all others. field is
// the subject of its reason, such as "the controllerId in the path". The schema of
// spec.controllerID has the same rule, and refuses a slash as well, with which an ID is that of an
// unknown device here.
func CheckID(field, id string) error {
	if isPlainID(id) {
		return nil
	}
	switch {
	case id == "":
		return BadRequest{Reason: field + " is empty"}
	case id == "." || id == "..":
		return BadRequest{Reason: field + " is a dot or two, which clients and proxies take for a step in the path"}
	case !utf8.ValidString(id):
		return BadRequest{Reason: field + " is not UTF-8"}
	case utf8.RuneCountInString(id) > maxID:
		return BadRequest{Reason: field + " has more than 256 characters"}
	case strings.ContainsFunc(id, isUnprintable):
		return BadRequest{Reason: field + " contains white space or an invisible character; remove it"}
	}
	return nil
}

// isPlainID reports whether an ID is valid and consists of printable ASCII characters, the first of
// them not a dot. It is a fast form of CheckID for nearly all IDs.
func isPlainID(id string) bool {
	if id == "" || id[0] == '.' || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// isUnprintable reports whether a character is white space, a control character, or another one
// that has no visible form, so that two IDs that look the same are the same.
func isUnprintable(r rune) bool {
	if r < utf8.RuneSelf { // as below, without a search in tables
		return r <= ' ' || r == 0x7f
	}
	return unicode.IsSpace(r) || unicode.In(r, unicode.Z, unicode.Cc, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
