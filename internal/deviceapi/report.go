// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

// AutoConfirm is the content of an activation of auto-confirm. Both texts are optional.
type AutoConfirm struct{ Initiator, Remark string }

// Attributes are what a device reports about itself.
type Attributes struct {
	Mode AttributesMode
	// Values by name. A nil value removes the attribute.
	Values map[string]*string
}

// AttributesMode says what reported attributes do to the stored ones.
type AttributesMode string

const (
	// MergeAttributes adds and overwrites.
	MergeAttributes AttributesMode = "merge"
	// ReplaceAttributes also removes every attribute that is not reported.
	ReplaceAttributes AttributesMode = "replace"
	// RemoveAttributes removes the reported names; their values have no meaning.
	RemoveAttributes AttributesMode = "remove"
)
