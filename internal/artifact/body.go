// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// stallBytes must arrive from a source within stallTime.
	stallBytes = 64 << 10
	stallTime  = 30 * time.Second
	// openTime limits all that happens before the first byte of a file: redirects, the token of a
	// registry, and the responses with errors.
	openTime = time.Minute
	// maxFailures is how often reading a file may fail without progressBytes between the failures.
	maxFailures   = 5
	progressBytes = 1 << 20
	// firstPause doubles with each attempt, up to maxFailures times.
	firstPause = 50 * time.Millisecond
)

// body reads a file from its places, from the first byte to the last. When a place fails, body
// continues at the same byte, at the next place or at the same one. Its user writes what it uses to
// hash, and calls finish at the end.
type body struct {
	ctx     context.Context
	fetch   *fetcher
	failed  *failures
	fetched prometheus.Counter
	file    File
	stall   time.Duration
	opening time.Duration
	pause   time.Duration
	hash    hash.Hash
	offset  int64

	place    int // index of the present place
	current  io.ReadCloser
	cancel   context.CancelFunc
	watch    *time.Timer // closes the present place if it is too slow
	isSlow   *atomic.Bool
	isBroken []bool  // places that are not asked again
	used     []bool  // places that were asked
	lasts    []error // the last failure of each place

	failedAt int64 // offset of the last failure
	count    int   // failures without progress
	spent    time.Duration
	arrived  int
}

func (s *Store) newBody(ctx context.Context, file File) *body {
	n := len(file.Places)
	return &body{
		ctx: ctx, fetch: s.fetch, failed: s.failed, fetched: s.metrics.fetched, file: file, stall: s.stall, opening: s.opening, pause: s.pause,
		hash: sha256.New(), isBroken: make([]bool, n), used: make([]bool, n), lasts: make([]error, n),
	}
}

// Read returns bytes of the file, and io.EOF after the last one. It returns an Error when no place
// is left.
func (b *body) Read(p []byte) (int, error) {
	if b.offset == b.file.Size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.file.Size-b.offset)]
	for {
		if b.current == nil {
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		n, err := b.readOnce(p)
		b.offset += int64(n)
		if err == nil || b.offset == b.file.Size {
			return n, nil
		}
		if err := b.fail(b.explain(err)); err != nil || n > 0 {
			return n, err
		}
	}
}

// explain returns the failure of the present place as an Error.
func (b *body) explain(err error) error {
	switch {
	case b.isSlow.Load():
		err = passing("it sends less than %d bytes in %s", stallBytes, b.stall)
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF): //nolint:errorlint // readers return io.EOF itself
		err = passing("it ends after %d of %d bytes", b.offset, b.file.Size)
	}
	return at(b.file.Places[b.place], err)
}

// readOnce reads from the present place, and closes the place if it is too slow.
func (b *body) readOnce(p []byte) (int, error) {
	started := time.Now()
	b.watch.Reset(b.stall - b.spent)
	n, err := b.current.Read(p)
	b.watch.Stop()
	b.spent += time.Since(started)
	b.fetched.Add(float64(n))
	if b.arrived += n; b.arrived >= stallBytes {
		b.spent, b.arrived = 0, 0
	}
	return n, err
}

// open opens the present place, or the next one that can be opened.
func (b *body) open() error {
	for {
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if err := b.next(); err != nil {
			return err
		}
		place := b.file.Places[b.place]
		err := b.failed.recent(b.file, place)
		if err == nil || b.used[b.place] {
			b.used[b.place] = true
			err = b.connect(place)
		}
		if err == nil {
			return nil
		}
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if err := b.fail(err); err != nil {
			return err
		}
	}
}

func (b *body) connect(place Place) error {
	ctx, cancel := context.WithCancel(b.ctx)
	slow := &atomic.Bool{}
	watch := time.AfterFunc(b.opening, func() { slow.Store(true); cancel() })
	current, start, err := b.fetch.open(ctx, b.file, place, b.offset)
	watch.Stop()
	if err != nil {
		cancel()
		if slow.Load() {
			err = at(place, passing("it does not start to send the file within %s", b.opening))
		}
		return err
	}
	b.current, b.cancel, b.isSlow, b.spent, b.arrived = current, cancel, slow, 0, 0
	b.watch = time.AfterFunc(b.stall, func() { slow.Store(true); cancel() })
	b.watch.Stop()
	if err := b.skip(b.offset - start); err != nil {
		return b.explain(err)
	}
	return nil
}

// skip reads n bytes that were read before, from a source without ranges.
func (b *body) skip(n int64) error {
	for scratch := make([]byte, min(piece, n)); n > 0; {
		read, err := b.readOnce(scratch[:min(int64(len(scratch)), n)])
		if n -= int64(read); n > 0 && err != nil {
			return err
		}
	}
	return nil
}

// next moves to a place that is not broken: the present one, or the next one.
func (b *body) next() error {
	for i := range b.file.Places {
		if at := (b.place + i) % len(b.file.Places); !b.isBroken[at] {
			b.place = at
			return nil
		}
	}
	return b.giveUp()
}

// fail counts a failure of the present place. It returns an error if there is no other attempt.
func (b *body) fail(err error) error {
	b.Close()
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	e := errorOf(err)
	b.lasts[b.place] = e
	b.isBroken[b.place] = e.RetryAfter == 0
	if b.offset-b.failedAt >= progressBytes {
		b.count = 0
	}
	b.failedAt = b.offset
	if b.count++; b.count > maxFailures {
		return b.giveUp()
	}
	b.place = (b.place + 1) % len(b.file.Places)
	if !b.isBroken[b.place] && b.used[b.place] { // not a first attempt
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(b.pause << b.count):
		}
	}
	return nil
}

// giveUp returns the failures of all places as one error, and remembers them.
func (b *body) giveUp() error {
	var all Error
	for i, err := range b.lasts {
		if err == nil {
			continue
		}
		e := errorOf(err)
		b.failed.note(b.file, b.file.Places[i], e)
		if all.Reason != "" {
			all.Reason += "; "
		}
		all.Reason += e.Reason
		all.RetryAfter = max(all.RetryAfter, e.RetryAfter)
	}
	all.Source = true
	if all.Reason == "" {
		all.Reason = "the artifact has no download that Goshawk can fetch: add one with protocol HTTPS, HTTP or OCI"
	}
	return all
}

// finish verifies, after all bytes were read, that the source ends there and that the checksum is
// right.
func (b *body) finish() error {
	if b.current != nil {
		var more [1]byte
		if n, _ := b.readOnce(more[:]); n > 0 { // without more bytes the checksum decides, whatever the error
			err := broken("it sends more bytes than size of the artifact, which is %d: correct the URL or size", b.file.Size)
			return b.wrong(at(b.file.Places[b.place], err))
		}
	}
	if sum := hex.EncodeToString(b.hash.Sum(nil)); sum != b.file.SHA256 {
		return b.wrong(at(b.file.Places[b.place], broken(
			"the file has the SHA-256 %s, but checksums.sha256 of the artifact is %s: correct the URL or the checksum", sum, b.file.SHA256)))
	}
	return nil
}

// wrong remembers that the places that were used have other content. It is not known which of them,
// if there are several. The next request uses the other places, if there are any.
func (b *body) wrong(err error) error {
	e := errorOf(err)
	for i, place := range b.file.Places {
		if b.used[i] {
			b.failed.note(b.file, place, e)
		}
	}
	for i := range b.file.Places {
		if !b.used[i] && !b.isBroken[i] {
			e.RetryAfter = sourceRetry
		}
	}
	return e
}

// Close closes the present place.
func (b *body) Close() {
	if b.current == nil {
		return
	}
	b.watch.Stop()
	b.cancel()
	_ = b.current.Close()
	b.current = nil
}

const (
	// maxRemembered limits the failures that are remembered.
	maxRemembered = 4096
	// passingMemory and brokenMemory are how long a place is not asked again after a failure.
	passingMemory, brokenMemory = 3 * time.Second, 15 * time.Second
)

// failures are places that failed a short time ago. They are not asked again at once, however often
// devices ask.
type failures struct {
	mu  sync.Mutex
	all map[failureKey]failure
}

type failureKey struct {
	namespace, sha256, url string
	size                   int64
}

type failure struct {
	err   Error
	until time.Time
}

func newFailures() *failures { return &failures{all: map[failureKey]failure{}} }

func keyOf(file File, place Place) failureKey {
	return failureKey{file.Namespace, file.SHA256, place.URL, file.Size}
}

// recent returns the failure of a place, or nil if there was none or it was some time ago.
func (f *failures) recent(file File, place Place) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known, ok := f.all[keyOf(file, place)]
	if !ok {
		return nil
	}
	if time.Now().After(known.until) {
		delete(f.all, keyOf(file, place))
		return nil
	}
	return known.err
}

func (f *failures) note(file File, place Place, err Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if known, ok := f.all[keyOf(file, place)]; ok && now.Before(known.until) {
		return // it was not asked since
	}
	if len(f.all) >= maxRemembered {
		clear(f.all)
	}
	memory := passingMemory
	if err.RetryAfter == 0 {
		memory = brokenMemory
	}
	f.all[keyOf(file, place)] = failure{err, now.Add(memory)}
}
