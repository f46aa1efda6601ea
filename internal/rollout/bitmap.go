package rollout

import "math/bits"

// Bit tells whether member i is marked in a bitmap over spec.targets, lowest bit first. A bitmap may be shorter than the list.
func Bit(bitmap []byte, i int) bool {
	return i/8 < len(bitmap) && bitmap[i/8]&(1<<(i%8)) != 0
}

// Marked returns the bitmap with member i of n marked. It changes the bitmap it is given, unless that is nil.
func Marked(bitmap []byte, i, n int) []byte {
	if bitmap == nil {
		bitmap = make([]byte, (n+7)/8)
	}
	bitmap[i/8] |= 1 << (i % 8)
	return bitmap
}

// union adds what more marks to the bitmap over n members, and tells how many members are new. The given bitmap is not changed.
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

// isEmpty tells whether nobody is marked.
func isEmpty(bitmap []byte) bool {
	for _, b := range bitmap {
		if b != 0 {
			return false
		}
	}
	return true
}
