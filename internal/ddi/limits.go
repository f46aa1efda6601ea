package ddi

import (
	"cmp"
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
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

// limits are the rates of one door. Devices get a bucket only once they are
// authorized, so a stranger cannot fill the memory with invented names.
type limits struct {
	devices *buckets[Device]
	// results has room for what a device that asks too often must not lose.
	results   *buckets[Device]
	addresses *buckets[netip.Prefix]
	all       *rate.Limiter
	// large has room for maxLarge bodies.
	large chan struct{}
}

func newLimits(options Options) *limits {
	all := options.GlobalRate.or(Rate{PerSecond: 10_000, Burst: 20_000})
	device := options.DeviceRate.or(Rate{PerSecond: 5, Burst: 30})
	return &limits{
		devices:   newBuckets[Device](device, maxBuckets),
		results:   newBuckets[Device](device, maxBuckets),
		addresses: newBuckets[netip.Prefix](options.AddressRate.or(Rate{PerSecond: 10, Burst: 100}), maxBuckets),
		all:       rate.NewLimiter(all.limit(), all.Burst),
		large:     make(chan struct{}, maxLarge),
	}
}

// admit counts a request of an authorized device: hurried says that the device
// asks too often, the error that all of them together do.
func (l *limits) admit(device Device, now time.Time) (hurried bool, err error) {
	if !l.devices.take(device, now) {
		return true, nil
	}
	if !l.all.AllowN(now, 1) {
		return false, tooBusy
	}
	return false, nil
}

// barred: the address has sent too many wrong credentials.
func (l *limits) barred(address netip.Addr, now time.Time) bool {
	return l.addresses.empty(neighbours(address), now)
}

// suspect counts a wrong credential.
func (l *limits) suspect(address netip.Addr, now time.Time) {
	l.addresses.take(neighbours(address), now)
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

// buckets are token buckets by key, at most max; the one that was taken from
// longest ago makes room.
type buckets[K comparable] struct {
	rate Rate
	max  int

	mu     sync.Mutex
	byKey  map[K]*list.Element
	recent *list.List // of bucket[K], newest first
}

type bucket[K comparable] struct {
	key K
	*rate.Limiter
}

func newBuckets[K comparable](r Rate, most int) *buckets[K] {
	return &buckets[K]{rate: r, max: most, byKey: map[K]*list.Element{}, recent: list.New()}
}

// take takes one token and says whether there was one.
func (b *buckets[K]) take(key K, now time.Time) bool {
	if b.rate.PerSecond < 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(key).AllowN(now, 1)
}

// empty says whether take would fail, and changes nothing.
func (b *buckets[K]) empty(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	element, ok := b.byKey[key]
	return ok && element.Value.(bucket[K]).TokensAt(now) < 1
}

func (b *buckets[K]) of(key K) *rate.Limiter {
	if element, ok := b.byKey[key]; ok {
		b.recent.MoveToFront(element)
		return element.Value.(bucket[K]).Limiter
	}
	if b.recent.Len() >= b.max {
		oldest := b.recent.Back()
		delete(b.byKey, oldest.Value.(bucket[K]).key)
		b.recent.Remove(oldest)
	}
	limiter := rate.NewLimiter(b.rate.limit(), b.rate.Burst)
	b.byKey[key] = b.recent.PushFront(bucket[K]{key, limiter})
	return limiter
}
