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

// Rate is a token bucket. The zero Rate means the default; with PerSecond
// below zero nothing is bounded.
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

// maxBuckets bounds the memory of each set of buckets. One that has not been
// touched for as long as it takes to fill is no different from a new one, so
// only those that were busy in the last seconds matter.
const maxBuckets = 1 << 14

// limits are the rates of one device API. A device has buckets of its own only once it is
// authorized, and no credential that is right is ever refused because of wrong ones: those have
// limits of their own.
type limits struct {
	devices *buckets[deviceapi.Device]
	// bodies has room for large reports of a device that asks too often, in pieces of 4 KiB: only a
	// report that has been read is known to be a result. results has room for the results among
	// them, allResults for those of all devices.
	bodies, results *buckets[deviceapi.Device]
	all, allResults *rate.Limiter

	// guesses, addresses and refusals count wrong credentials: of one address for one device, of
	// one address, and all of them.
	guesses   *buckets[guess]
	addresses *buckets[netip.Prefix]
	refusals  *rate.Limiter
	// notes bounds the lines about refusals in the log.
	notes *rate.Limiter

	// large has room for maxLarge bodies.
	large chan struct{}

	// underWay counts the requests of each device that has some, and readsLarge has the devices of
	// which a large body is read.
	entering   sync.Mutex
	underWay   map[deviceapi.Device]int
	readsLarge map[deviceapi.Device]bool
}

// maxUnderWay is how many requests of one device are worked on at the same time, so that one that
// sends its bodies slowly holds no more connections.
const maxUnderWay = 8

// enter reports whether one more request of an authorized device is worked on; leave ends it.
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

// guess is where a wrong credential comes from, and the device that it is for: the zero Device for
// a path that names none.
type guess struct {
	from   netip.Prefix
	device deviceapi.Device
}

const (
	// bodyPiece is what a request may have in its body at no cost beyond that of any request.
	bodyPiece = 4 << 10
	// piecesPerRequest is how many pieces of bodies of a device that asks too often are read for
	// each request that it may send.
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
// devices together, ask too often.
func (l *limits) admit(device deviceapi.Device, now time.Time) error {
	if !l.devices.take(device, now) {
		return tooFast
	}
	if !l.all.AllowN(now, 1) {
		return tooBusy
	}
	return nil
}

// admitBody reports whether a report is read that admit would have refused. length is that of its
// body, negative if it is not known.
func (l *limits) admitBody(device deviceapi.Device, length int64, now time.Time) bool {
	if length < 0 {
		length = maxBody
	}
	pieces := int(min(length, maxResult) / bodyPiece)
	return pieces == 0 || l.bodies.takeN(device, now, pieces)
}

// admitResult reports whether a result is taken that admit would have refused.
func (l *limits) admitResult(device deviceapi.Device, now time.Time) bool {
	return l.results.take(device, now) && l.allResults.AllowN(now, 1)
}

// explains counts a wrong credential, and reports whether it is answered with what is wrong about
// it. A flood for one device leaves room for other devices of its address, and a flood from one
// address for other addresses.
func (l *limits) explains(address netip.Addr, device deviceapi.Device, now time.Time) bool {
	from := neighbours(address)
	return l.guesses.take(guess{from, device}, now) && l.addresses.take(from, now) && l.refusals.AllowN(now, 1)
}

// neighbours are the addresses that one customer of a provider has: the one in
// IPv4, a /64 in IPv6.
func neighbours(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // and without its zone
	return prefix
}

// buckets are token buckets by key, at most max; the one that was taken from longest ago makes
// room. They hold hashes of the keys, so that their memory does not depend on the length of an id.
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
