// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bitmap reads and changes the bitmaps in the status of a DeploymentGroup. Bit i stands for
// member i of spec.targets, lowest bit first. A bitmap may be shorter than the list: members behind
// its end are not in it.
package bitmap

import (
	"math/bits"
	"slices"
)

// Has reports whether a bitmap contains member i.
func Has(bitmap []byte, i int) bool {
	return i/8 < len(bitmap) && bitmap[i/8]&(1<<(i%8)) != 0
}

// Set adds member i of n and returns the bitmap. It changes the bitmap in place, unless that is
// too short for n members.
func Set(bitmap []byte, i, n int) []byte {
	if size := (n + 7) / 8; len(bitmap) < size {
		bitmap = append(make([]byte, 0, size), bitmap...)[:size]
	}
	bitmap[i/8] |= 1 << (i % 8)
	return bitmap
}

// Union returns the members of n that are in one of the two bitmaps, and how many of them are only
// in the second. It changes neither bitmap.
func Union(bitmap, more []byte, n int) (union []byte, added int) {
	union = make([]byte, (n+7)/8)
	copy(union, bitmap)
	for i := range min(len(union), len(more)) {
		added += bits.OnesCount8(more[i] &^ union[i])
		union[i] |= more[i]
	}
	if added == 0 {
		return bitmap, 0
	}
	return union, added
}

// First returns a copy of the bitmap with only those of the first n members, or nil if it contains
// none of them.
func First(bitmap []byte, n int) []byte {
	kept := slices.Clone(bitmap[:min(len(bitmap), (n+7)/8)])
	if n%8 > 0 && n/8 < len(kept) {
		kept[n/8] &= 1<<(n%8) - 1
	}
	if IsEmpty(kept) {
		return nil
	}
	return kept
}

// IsEmpty reports whether a bitmap contains no member.
func IsEmpty(bitmap []byte) bool {
	for _, b := range bitmap {
		if b != 0 {
			return false
		}
	}
	return true
}
