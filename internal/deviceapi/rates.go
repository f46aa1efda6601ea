// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import (
	"cmp"
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is a token bucket. The zero Rate means the default. A negative PerSecond means no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Or returns the rate with the missing values of another one.
func (r Rate) Or(standard Rate) Rate {
	return Rate{PerSecond: cmp.Or(r.PerSecond, standard.PerSecond), Burst: cmp.Or(r.Burst, standard.Burst)}
}

// limiter returns a full token bucket.
func (r Rate) limiter() *rate.Limiter {
	if r.PerSecond < 0 {
		return rate.NewLimiter(rate.Inf, r.Burst)
	}
	return rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
}

// Rates are the rates of one device API. The zero value means the defaults.
type Rates struct {
	// Device limits the requests of one device. Default: 5 a second, 30 at once.
	Device Rate
	// Gateway limits the requests of all devices with one gateway token in one namespace. The other
	// credentials belong to one device. Default: 5000 a second, 10 000 at once, half of Global.
	Gateway Rate
	// Namespace limits the requests of all devices of one namespace, so that none takes all of
	// Global. Default: 7500 a second, 15 000 at once, three quarters of Global; no limit if Global
	// has none.
	Namespace Rate
	// Global limits all authorized requests of this process. The same rate applies once more to
	// results beyond it. Default: 10 000 a second, 20 000 at once.
	Global Rate
	// Guess limits how many wrong credentials of one address (an IPv6 /64) for one controllerID get
	// a response that says what is wrong, Address how many of one address, and Refusal how many in
	// all. Defaults: 1 a second and 10 at once, 10 and 100, 100 and 1000.
	Guess, Address, Refusal Rate
}

// withDefaults returns the rates with the defaults for those that are zero.
func (r Rates) withDefaults() Rates {
	if r.Global.PerSecond < 0 {
		r.Namespace = r.Namespace.Or(r.Global)
	}
	return Rates{
		Device: r.Device.Or(Rate{PerSecond: 5, Burst: 30}), Gateway: r.Gateway.Or(Rate{PerSecond: 5000, Burst: 10_000}),
		Namespace: r.Namespace.Or(Rate{PerSecond: 7500, Burst: 15_000}), Global: r.Global.Or(Rate{PerSecond: 10_000, Burst: 20_000}),
		Guess: r.Guess.Or(Rate{PerSecond: 1, Burst: 10}), Address: r.Address.Or(Rate{PerSecond: 10, Burst: 100}),
		Refusal: r.Refusal.Or(Rate{PerSecond: 100, Burst: 1000}),
	}
}

// Limits count the requests of devices against Rates. A device has its own buckets only after it
// has been authorized. Right credentials are never refused because of wrong ones, which have limits
// of their own.
type Limits struct {
	// Rates are the rates in effect.
	Rates Rates

	// results, gatewayResults, namespaceResults and allResults limit the results beyond the rates,
	// of one device, of one gateway, of one namespace and of all.
	devices, results             *Buckets[Device]
	gateways, gatewayResults     *Buckets[gateway]
	namespaces, namespaceResults *Buckets[string]
	all, allResults              *rate.Limiter

	// guesses, addresses and refusals count wrong credentials: of one address for one device, of
	// one address, and all.
	guesses   *Buckets[guess]
	addresses *Buckets[netip.Prefix]
	refusals  *rate.Limiter
}

// gateway is the token of a gateway in a namespace.
type gateway struct{ namespace, token string }

// guess is the source of wrong credentials and their device, which is the zero Device if they name
// none.
type guess struct {
	from   netip.Prefix
	device Device
}

// NewLimits returns limits with these rates, and with the defaults for the rates that are zero.
func NewLimits(rates Rates) *Limits {
	rates = rates.withDefaults()
	return &Limits{
		Rates:            rates,
		devices:          NewBuckets[Device](rates.Device),
		results:          NewBuckets[Device](rates.Device),
		gateways:         NewBuckets[gateway](rates.Gateway),
		gatewayResults:   NewBuckets[gateway](rates.Gateway),
		namespaces:       NewBuckets[string](rates.Namespace),
		namespaceResults: NewBuckets[string](rates.Namespace),
		all:              rates.Global.limiter(),
		allResults:       rates.Global.limiter(),
		guesses:          NewBuckets[guess](rates.Guess),
		addresses:        NewBuckets[netip.Prefix](rates.Address),
		refusals:         rates.Refusal.limiter(),
	}
}

// Admit counts a request of an authorized device, whose gatewayToken is "" if it has none. It
// returns ErrDeviceRate if the device exceeds its rate, ErrGatewayRate if all devices with the
// token together exceed theirs, ErrNamespaceRate if all of the namespace do, and ErrGlobalRate if
// all devices do. What is refused does not count for the rates that follow.
func (l *Limits) Admit(device Device, gatewayToken string, now time.Time) error {
	switch {
	case !l.devices.Take(device, now):
		return ErrDeviceRate
	case gatewayToken != "" && !l.gateways.Take(gateway{device.Namespace, gatewayToken}, now):
		return ErrGatewayRate
	case !l.namespaces.Take(device.Namespace, now):
		return ErrNamespaceRate
	case !l.all.AllowN(now, 1):
		return ErrGlobalRate
	}
	return nil
}

// AdmitResult counts a result that Admit refuses, and reports whether it is accepted all the same.
func (l *Limits) AdmitResult(device Device, gatewayToken string, now time.Time) bool {
	return l.results.Take(device, now) &&
		(gatewayToken == "" || l.gatewayResults.Take(gateway{device.Namespace, gatewayToken}, now)) &&
		l.namespaceResults.Take(device.Namespace, now) &&
		l.allResults.AllowN(now, 1)
}

// ExplainRefusal counts wrong credentials, and reports whether the response says what is wrong. A
// flood for one device does not affect other devices of its address, and a flood from one address
// does not affect other addresses.
func (l *Limits) ExplainRefusal(address netip.Addr, device Device, now time.Time) bool {
	from := SourceOf(address)
	return l.guesses.Take(guess{from, device}, now) && l.addresses.Take(from, now) && l.refusals.AllowN(now, 1)
}

// SourceOf returns the addresses that are counted as one source: one address in IPv4, a /64, which
// is what a provider gives to one customer, in IPv6.
func SourceOf(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // and without its zone
	return prefix
}

// maxBuckets limits the memory of each set of buckets. A bucket that was not used for as long as it
// takes to fill is equal to a new one, so only the buckets of the last seconds matter.
const maxBuckets = 1 << 14

// Buckets are token buckets by key, at most 16384. The one that was used least recently is dropped.
// They store hashes of the keys, so that their memory does not depend on the length of an ID.
type Buckets[K comparable] struct {
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

// NewBuckets returns buckets with the same rate for each key. The rate has no defaults.
func NewBuckets[K comparable](r Rate) *Buckets[K] {
	return &Buckets[K]{rate: r, max: maxBuckets, seed: maphash.MakeSeed(), byKey: map[uint64]*list.Element{}, recent: list.New()}
}

// Take takes one token and reports whether there was one.
func (b *Buckets[K]) Take(key K, now time.Time) bool { return b.TakeN(key, now, 1) }

// TakeN takes n tokens, or all that a full bucket has if that is less. It reports whether there
// were enough.
func (b *Buckets[K]) TakeN(key K, now time.Time, n int) bool {
	if b.rate.PerSecond < 0 {
		return true
	}
	hash := maphash.Comparable(b.seed, key)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(hash).AllowN(now, min(n, b.rate.Burst))
}

func (b *Buckets[K]) of(hash uint64) *rate.Limiter {
	if element, ok := b.byKey[hash]; ok {
		b.recent.MoveToFront(element)
		return element.Value.(bucket).Limiter
	}
	if b.recent.Len() >= b.max {
		oldest := b.recent.Back()
		delete(b.byKey, oldest.Value.(bucket).hash)
		b.recent.Remove(oldest)
	}
	limiter := b.rate.limiter()
	b.byKey[hash] = b.recent.PushFront(bucket{hash, limiter})
	return limiter
}
