// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Mix is a weighted choice of behaviors. A device's behavior depends only on the seed and its
// ID, so adding devices does not change the others.
type Mix struct {
	shares []share
	total  uint64
}

type share struct {
	behavior Behavior
	weight   uint64
}

// maxWeight keeps the sum of weights far from an overflow.
const maxWeight = 1_000_000

// ParseMix parses weights such as "obedient=90,failing=5,silent=5". A name without a weight has
// weight 1.
func ParseMix(text string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseShare(part)
		if err != nil {
			return Mix{}, fmt.Errorf("mix %q: %w", text, err)
		}
		if m.has(s.behavior) {
			return Mix{}, fmt.Errorf("mix %q: %s is named twice; add the weights up", text, s.behavior)
		}
		m.shares = append(m.shares, s)
		m.total += s.weight
	}
	if m.total == 0 {
		return Mix{}, fmt.Errorf("mix %q: all weights are 0; give one a weight above 0", text)
	}
	return m, nil
}

func parseShare(part string) (share, error) {
	word, number, weighted := strings.Cut(part, "=")
	t, err := ParseBehavior(word)
	if err != nil || !weighted {
		return share{t, 1}, err
	}
	weight, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
	if err != nil || weight > maxWeight {
		return share{}, fmt.Errorf("the weight of %s is %q; give a whole number from 0 to %d", t, number, maxWeight)
	}
	return share{t, weight}, nil
}

func (m Mix) has(t Behavior) bool {
	for _, s := range m.shares {
		if s.behavior == t {
			return true
		}
	}
	return false
}

// Choose returns the behavior of one device, or Obedient for an empty mix.
func (m Mix) Choose(seed int64, deviceID string) Behavior {
	if m.total == 0 {
		return Obedient
	}
	drawn := draw(seed, "behavior", deviceID) % m.total
	for _, s := range m.shares {
		if drawn < s.weight {
			return s.behavior
		}
		drawn -= s.weight
	}
	return Obedient
}

// draw returns a random number that is determined by seed, purpose and device ID. A change of a
// purpose changes the results of all seeds.
func draw(seed int64, purpose, deviceID string) uint64 {
	hash := fnv.New64a()
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], uint64(seed))
	hash.Write(word[:])
	hash.Write([]byte(purpose))
	hash.Write([]byte{0})
	hash.Write([]byte(deviceID))
	return spreadBits(hash.Sum64())
}

// spreadBits spreads the last bytes over all bits, which FNV alone does not: IDs that differ in
// their last digit would otherwise have the same behavior.
func spreadBits(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
