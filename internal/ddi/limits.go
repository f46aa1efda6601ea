// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"cmp"
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Rate is a token bucket. The zero Rate means the default. A negative PerSecond means no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

func (r Rate) or(standard Rate) Rate {
	return Rate{PerSecond: cmp.Or(r.PerSecond, standard.PerSecond), Burst: cmp.Or(r.Burst, standard.Burst)}
}

func (r Rate) limit() rate.Limit {
	if r.PerSecond < 0 {
		return rate.Inf
	}
	return rate.Limit(r.PerSecond)
}

// maxBuckets limits the memory of each set of buckets. A bucket that was not used for as long as it
// takes to fill is equal to a new one, so only the buckets of the last seconds matter.
const maxBuckets = 1 << 14

// limits are the rates of one device API. A device has its own buckets only after authorization.
// Right credentials are never refused because of wrong ones, which have their own limits.
type limits struct {
	devices *buckets[deviceapi.Device]
	// bodies limits the large reports of a device beyond its rate that are read, in pieces of 4
	// KiB: only after reading is it known whether a report is a result. results limits the results
	// among them, allResults those of all devices.
	bodies, results *buckets[deviceapi.Device]
	all, allResults *rate.Limiter

	// guesses, addresses and refusals count wrong credentials: of one address for one device, of
	// one address, and all.
	guesses   *buckets[guess]
	addresses *buckets[netip.Prefix]
	refusals  *rate.Limiter
	// notes limits the log lines about refusals.
	notes *rate.Limiter

	// large has room for maxLarge bodies.
	large chan struct{}

	// underWay counts the present requests of each device, and readsLarge contains the devices of
	// which a large body is being read.
	entering   sync.Mutex
	underWay   map[deviceapi.Device]int
	readsLarge map[deviceapi.Device]bool
}

// maxUnderWay is the maximum number of parallel requests of one device, so that a device that sends
// its bodies slowly does not use more connections.
const maxUnderWay = 8

// enter reports whether another request of an authorized device is accepted. leave ends the
// request.
func (l *limits) enter(device deviceapi.Device) bool {
	l.entering.Lock()
	defer l.entering.Unlock()
	if l.underWay[device] >= maxUnderWay {
		return false
	}
	l.underWay[device]++
	return true
}

func (l *limits) leave(device deviceapi.Device) {
	l.entering.Lock()
	defer l.entering.Unlock()
	if l.underWay[device]--; l.underWay[device] == 0 {
		delete(l.underWay, device)
	}
}

// guess is the source of wrong credentials and their device, which is the zero Device for a path
// without a device.
type guess struct {
	from   netip.Prefix
	device deviceapi.Device
}

const (
	// bodyPiece is the part of a body that is not counted separately.
	bodyPiece = 4 << 10
	// piecesPerRequest is the number of pieces of bodies that are read for each request within the
	// rate, if a device exceeds its rate.
	piecesPerRequest = 10
)

func newLimits(options Options) *limits {
	all := options.GlobalRate.or(Rate{PerSecond: 10_000, Burst: 20_000})
	device := options.DeviceRate.or(Rate{PerSecond: 5, Burst: 30})
	refusals := options.RefusalRate.or(Rate{PerSecond: 100, Burst: 1000})
	bodies := Rate{PerSecond: device.PerSecond * piecesPerRequest, Burst: device.Burst * piecesPerRequest}
	return &limits{
		devices:    newBuckets[deviceapi.Device](device, maxBuckets),
		bodies:     newBuckets[deviceapi.Device](bodies, maxBuckets),
		results:    newBuckets[deviceapi.Device](device, maxBuckets),
		all:        rate.NewLimiter(all.limit(), all.Burst),
		allResults: rate.NewLimiter(all.limit(), all.Burst),
		guesses:    newBuckets[guess](options.GuessRate.or(Rate{PerSecond: 1, Burst: 10}), maxBuckets),
		addresses:  newBuckets[netip.Prefix](options.AddressRate.or(Rate{PerSecond: 10, Burst: 100}), maxBuckets),
		refusals:   rate.NewLimiter(refusals.limit(), refusals.Burst),
		notes:      rate.NewLimiter(100, 1000),
		large:      make(chan struct{}, maxLarge),
		underWay:   map[deviceapi.Device]int{},
		readsLarge: map[deviceapi.Device]bool{},
	}
}

// admit counts a request of an authorized device. It returns the refusal if the device, or all
// devices together, exceed their rate.
func (l *limits) admit(device deviceapi.Device, now time.Time) error {
	if !l.devices.take(device, now) {
		return tooFast
	}
	if !l.all.AllowN(now, 1) {
		return tooBusy
	}
	return nil
}

// admitBody reports whether a report beyond the rate is read. length is that of its body, negative
// if it is not known.
func (l *limits) admitBody(device deviceapi.Device, length int64, now time.Time) bool {
	if length < 0 {
		length = maxBody
	}
	pieces := int(min(length, maxResult) / bodyPiece)
	return pieces == 0 || l.bodies.takeN(device, now, pieces)
}

// admitResult reports whether a result beyond the rate is accepted.
func (l *limits) admitResult(device deviceapi.Device, now time.Time) bool {
	return l.results.take(device, now) && l.allResults.AllowN(now, 1)
}

// explains counts wrong credentials, and reports whether the response says what is wrong. A flood
// for one device does not affect other devices of its address, and a flood from one address does
// not affect other addresses.
func (l *limits) explains(address netip.Addr, device deviceapi.Device, now time.Time) bool {
	from := neighbours(address)
	return l.guesses.take(guess{from, device}, now) && l.addresses.take(from, now) && l.refusals.AllowN(now, 1)
}

// neighbours returns the addresses of one customer of a provider: one address in IPv4, a /64 in
// IPv6.
func neighbours(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // and without its zone
	return prefix
}

// buckets are at most max token buckets by key. The one that was used least recently is dropped.
// They store hashes of the keys, so that their memory does not depend on the length of an ID.
type buckets[K comparable] struct {
	rate Rate
	max  int
	seed maphash.Seed

	mu     sync.Mutex
	byKey  map[uint64]*list.Element
	recent *list.List // of bucket, newest first
}

type bucket struct {
	hash uint64
	*rate.Limiter
}

func newBuckets[K comparable](r Rate, most int) *buckets[K] {
	return &buckets[K]{rate: r, max: most, seed: maphash.MakeSeed(), byKey: map[uint64]*list.Element{}, recent: list.New()}
}

// take takes one token and reports whether there was one.
func (b *buckets[K]) take(key K, now time.Time) bool { return b.takeN(key, now, 1) }

// takeN takes n tokens, or all that a full bucket has if that is less.
func (b *buckets[K]) takeN(key K, now time.Time, n int) bool {
	if b.rate.PerSecond < 0 {
		return true
	}
	hash := maphash.Comparable(b.seed, key)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(hash).AllowN(now, min(n, b.rate.Burst))
}

func (b *buckets[K]) of(hash uint64) *rate.Limiter {
	if element, ok := b.byKey[hash]; ok {
		b.recent.MoveToFront(element)
		return element.Value.(bucket).Limiter
	}
	if b.recent.Len() >= b.max {
		oldest := b.recent.Back()
		delete(b.byKey, oldest.Value.(bucket).hash)
		b.recent.Remove(oldest)
	}
	limiter := rate.NewLimiter(b.rate.limit(), b.rate.Burst)
	b.byKey[hash] = b.recent.PushFront(bucket{hash, limiter})
	return limiter
}
