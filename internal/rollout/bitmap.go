// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"math/bits"
	"slices"
)

// Bit reports whether member i is marked in a bitmap over spec.targets, lowest bit first. A bitmap
// may be shorter than the list.
func Bit(bitmap []byte, i int) bool {
	return i/8 < len(bitmap) && bitmap[i/8]&(1<<(i%8)) != 0
}

// Marked returns the bitmap with member i of n marked. It changes the bitmap it is given, unless
// that is too short.
func Marked(bitmap []byte, i, n int) []byte {
	if size := (n + 7) / 8; len(bitmap) < size {
		bitmap = append(make([]byte, 0, size), bitmap...)[:size]
	}
	bitmap[i/8] |= 1 << (i % 8)
	return bitmap
}

// union adds what more marks to the bitmap over n members, and tells how many members are new. The
// given bitmap is not changed.
func union(bitmap, more []byte, n int) ([]byte, int) {
	all, added := make([]byte, (n+7)/8), 0
	copy(all, bitmap)
	for i := range min(len(all), len(more)) {
		added += bits.OnesCount8(more[i] &^ all[i])
		all[i] |= more[i]
	}
	if added == 0 {
		return bitmap, 0
	}
	return all, added
}

// firstOf is the bitmap without the members from n on.
func firstOf(bitmap []byte, n int) []byte {
	kept := slices.Clone(bitmap[:min(len(bitmap), (n+7)/8)])
	if n%8 > 0 && n/8 < len(kept) {
		kept[n/8] &= 1<<(n%8) - 1
	}
	if isEmpty(kept) {
		return nil
	}
	return kept
}

// isEmpty reports whether nobody is marked.
func isEmpty(bitmap []byte) bool {
	for _, b := range bitmap {
		if b != 0 {
			return false
		}
	}
	return true
}
