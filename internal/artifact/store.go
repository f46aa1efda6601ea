// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/room"
)

// Options of a Store. The zero value fetches nothing, because no source is allowed.
type Options struct {
	// Sources are the hosts that files may be fetched from.
	Sources Sources
	// PlainHTTP are the registries, as host or host:port, that speak HTTP without TLS.
	PlainHTTP []string
	// PullSecrets reads the credentials of registries. nil: there are none.
	PullSecrets PullSecrets
	// RootCAs verify the certificates of sources. nil: those of the machine.
	RootCAs *x509.CertPool

	// CacheDir is the folder of the cache; only one process may use it. Empty: there is no cache.
	CacheDir string
	// CacheBytes is the maximum size of the cache.
	CacheBytes int64

	// MaxDownloads limits the downloads of devices at the same time. Default: 1000.
	MaxDownloads int
	// MaxFetches limits how many files are fetched into the cache at the same time. Default: 8.
	MaxFetches int
	// BytesPerSecond limits what is sent to all devices. 0: no limit.
	BytesPerSecond int64

	// Log gets failures of the cache. Default: none.
	Log logr.Logger
	// Registerer registers the metrics. Default: none.
	Registerer prometheus.Registerer
}

const (
	defaultDownloads = 1000
	defaultFetches   = 8
	// MaxDeviceDownloads is how many downloads of one device may be under way.
	MaxDeviceDownloads = 4
)

// Store streams files. It is used by many requests at once.
type Store struct {
	fetch     *fetcher
	cache     *cache // nil: none
	failed    *failures
	downloads *room.Room
	fetches   *room.Room
	bytes     *rate.Limiter // nil: no limit
	stall     time.Duration
	opening   time.Duration
	pause     time.Duration
	firstByte time.Duration
	metrics   *metrics
	log       logr.Logger
	diskNotes rate.Sometimes

	mu      sync.Mutex
	devices map[string]int // downloads under way

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	jobs sync.WaitGroup
}

// New returns a Store, and uses the files that an earlier Store has left in its cache. The error
// says which option is wrong.
func New(o Options) (*Store, error) {
	metrics, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Store{
		fetch:     newFetcher(o),
		failed:    newFailures(),
		downloads: room.New(cmp.Or(o.MaxDownloads, defaultDownloads)),
		fetches:   room.New(cmp.Or(o.MaxFetches, defaultFetches)),
		stall:     stallTime,
		opening:   openTime,
		pause:     firstPause,
		firstByte: firstByteTime,
		metrics:   metrics,
		log:       o.Log,
		diskNotes: rate.Sometimes{Interval: time.Minute},
		devices:   map[string]int{},
	}
	if o.BytesPerSecond > 0 {
		s.bytes = rate.NewLimiter(rate.Limit(o.BytesPerSecond), int(max(o.BytesPerSecond, maxWrite)))
	}
	if o.CacheDir != "" {
		if s.cache, err = openCache(o.CacheDir, o.CacheBytes); err != nil {
			return nil, fmt.Errorf("open the artifact cache: %w", err)
		}
		s.metrics.cached.Set(float64(s.cache.size()))
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Close ends what is being fetched. Files that are not complete are removed.
func (s *Store) Close() {
	s.stop()
	s.jobs.Wait()
	if s.cache != nil {
		s.cache.close()
	}
}

// use returns a file of the cache, and starts to fetch or to verify it if that is necessary.
func (s *Store) use(file File) (*entry, error) {
	var (
		e   *entry
		do  job
		err error = errNoRoom{roomOff}
	)
	if s.cache != nil {
		e, do, err = s.cache.use(file)
	}
	if err != nil {
		s.noteNoRoom(err)
		return nil, err
	}
	switch do {
	case writeJob:
		s.jobs.Go(func() { s.run(e, func() error { return s.write(e, file) }) })
	case verifyJob:
		s.jobs.Go(func() { s.run(e, func() error { return e.fill.verify(s.ctx, e.file, file.SHA256) }) })
	case noJob:
	}
	s.metrics.cached.Set(float64(s.cache.size()))
	return e, nil
}

// noteNoRoom counts a file that is streamed past the cache. A failure of the disk is logged, once a
// minute at most.
func (s *Store) noteNoRoom(err error) {
	kind := roomDisk
	if known, ok := errors.AsType[errNoRoom](err); ok {
		kind = known.kind
	}
	s.metrics.uncached.WithLabelValues(kind).Inc()
	if kind != roomOff && kind != roomLarge {
		s.diskNotes.Do(func() {
			s.log.Info("Artifacts are streamed past the cache, so each download causes a request to the source. "+
				"This is logged once a minute at most. Raise --artifact-cache-size (full), or make room on its disk (disk)", "reason", kind)
		})
	}
}

// run runs the job of an entry. Its users see the end of the job after the cache does.
func (s *Store) run(e *entry, work func() error) {
	defer func() {
		s.cache.release(e)
		s.metrics.cached.Set(float64(s.cache.size()))
	}()
	fill := e.fill
	err := work()
	s.cache.done(e, err)
	fill.update(func() { fill.isVerified, fill.err = err == nil, err })
	if _, isDisk := errors.AsType[diskError](err); isDisk {
		s.noteNoRoom(errNoRoom{roomDisk})
	}
	if errors.Is(err, errCorrupt) {
		s.log.Info("A file in the artifact cache was damaged and is removed; it is fetched again", "path", e.path)
	}
}

// write fetches a file into the cache.
func (s *Store) write(e *entry, file File) error {
	leave := s.fetches.Enter(file.Namespace, s.ctx.Done(), nil)
	if leave == nil {
		return s.ctx.Err()
	}
	defer leave()
	b := s.newBody(s.ctx, file)
	defer b.Close()
	err := e.fill.write(b, func(p []byte, at int64) (int, error) { return s.cache.writeAt(e.file, p, at) })
	result := "verified"
	if err != nil {
		result = "failed"
	}
	s.metrics.fetches.WithLabelValues(result).Inc()
	return err
}

// enter returns the function that ends a download of a device, or nil if it may not start another
// one.
func (s *Store) enter(device, namespace string) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.devices[device] >= MaxDeviceDownloads {
		return nil
	}
	free := s.downloads.TryEnter(namespace)
	if free == nil {
		return nil
	}
	s.devices[device]++
	s.metrics.downloads.Inc()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.devices[device]--; s.devices[device] == 0 {
			delete(s.devices, device)
		}
		free()
		s.metrics.downloads.Dec()
	}
}

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// emptySHA256 is that of a file without bytes.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// check returns why a file cannot be streamed whatever its places are.
func (f File) check() error {
	switch {
	case !sha256Hex.MatchString(f.SHA256):
		return broken("checksums.sha256 must be 64 lower-case hexadecimal digits")
	case f.Size < 0:
		return broken("size must not be negative")
	case f.Size == 0 && f.SHA256 != emptySHA256:
		return broken("size is 0, but checksums.sha256 is not that of an empty file: correct size")
	case !namespaceName.MatchString(f.Namespace):
		return broken("%q is not the name of a namespace", f.Namespace)
	}
	return nil
}
