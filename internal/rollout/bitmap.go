package rollout

// Bit tells whether member i is marked in a bitmap over spec.targets, lowest bit first. A bitmap may be shorter than the list.
func Bit(bitmap []byte, i int) bool {
	return i/8 < len(bitmap) && bitmap[i/8]&(1<<(i%8)) != 0
}

// Marked returns the bitmap with member i of n marked.
func Marked(bitmap []byte, i, n int) []byte {
	if bitmap == nil {
		bitmap = make([]byte, (n+7)/8)
	}
	bitmap[i/8] |= 1 << (i % 8)
	return bitmap
}

// union adds what more marks to the bitmap over n members, and tells how many members are new. The given bitmap is not changed.
func union(bitmap, more []byte, n int) ([]byte, int) {
	all, added := bitmap, 0
	for i := range n {
		if !Bit(more, i) || Bit(bitmap, i) {
			continue
		}
		if added == 0 {
			all = make([]byte, (n+7)/8)
			copy(all, bitmap)
		}
		all = Marked(all, i, n)
		added++
	}
	return all, added
}

// isEmpty tells whether nobody among n members is marked.
func isEmpty(bitmap []byte, n int) bool {
	for i := range n {
		if Bit(bitmap, i) {
			return false
		}
	}
	return true
}
