// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// writable are the media types of documents. The first one is the default, as in hawkBit.
var writable = []string{wire.HALMediaType, wire.MediaType, wire.CBORMediaType}

// preference is how much a device prefers a media type: by its quality, then by how exactly a range
// names it, then by its place in the header.
type preference struct {
	quality           float64
	exactness, before int
}

func (p preference) isAbove(o preference) bool {
	if p.quality != o.quality {
		return p.quality > o.quality
	}
	if p.exactness != o.exactness {
		return p.exactness > o.exactness
	}
	return p.before > o.before
}

// negotiate returns the media type that the device prefers of those that can be written. ok is
// false if it accepts none of them. Without an Accept header it accepts all.
func negotiate(accept []string) (mediaType string, ok bool) {
	if len(accept) == 0 {
		return writable[0], true
	}
	if len(accept) == 1 && slices.Contains(writable, accept[0]) { // the header of most clients
		return accept[0], true
	}
	ranges := strings.Split(strings.Join(accept, ","), ",")
	var best preference
	for _, candidate := range writable {
		p := preferenceOf(candidate, ranges)
		if p.quality > 0 && (mediaType == "" || p.isAbove(best)) {
			mediaType, best = candidate, p
		}
	}
	return mediaType, mediaType != ""
}

// preferenceOf returns the preference for a media type according to the range that names it most
// exactly. A range that cannot be read accepts nothing, and an empty one everything. If only its
// parameters cannot be read, it has none.
func preferenceOf(mediaType string, ranges []string) (found preference) {
	for i, text := range ranges {
		name := mediaTypeOf(text)
		if strings.TrimSpace(text) == "" {
			name = "*/*"
		}
		exactness := exactnessOf(name, mediaType)
		if exactness <= found.exactness {
			continue
		}
		found = preference{quality: 1, exactness: exactness, before: -i}
		_, parameters, _ := mime.ParseMediaType(text)
		if q, ok := parameters["q"]; ok {
			var err error
			if found.quality, err = strconv.ParseFloat(q, 64); err != nil || !(found.quality >= 0 && found.quality <= 1) { // NaN is neither
				found.quality = 1
			}
		}
	}
	return found
}

// exactnessOf returns how exactly a media range names a media type; 0: not at all.
func exactnessOf(name, mediaType string) int {
	switch {
	case name == mediaType:
		return 4
	case name == "application/*+json" && strings.HasSuffix(mediaType, "+json"):
		return 3
	case name == "application/*":
		return 2
	case name == "*/*" || name == "*":
		return 1
	}
	return 0
}
