// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
)

const (
	// tail is how many of the last bytes of a file are sent only after its checksum was verified. A
	// file that is not larger is verified before its first byte is sent.
	tail = 64 << 10
	// piece is how much is read and written at once.
	piece = 128 << 10
)

// diskError is a failure of the cache. What was sent of the file so far is valid, and the rest is
// streamed past the cache.
type diskError struct{ cause error }

func (e diskError) Error() string { return fmt.Sprintf("the artifact cache failed: %v", e.cause) }

func (e diskError) Unwrap() error { return e.cause }

// fill is a file of the cache that is written, or verified after a restart, while devices read it.
type fill struct {
	size int64

	mu         sync.Mutex
	pos        int64         // bytes that are there
	isVerified bool          // all are there and the checksum is right
	err        error         // why it ended before
	prefix     []byte        // SHA-256 of the first pos bytes, after a diskError
	grown      chan struct{} // closed, and replaced, when any of these change
}

func newFill(size int64) *fill { return &fill{size: size, grown: make(chan struct{})} }

func (f *fill) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.grown)
	f.grown = make(chan struct{})
}

// readable returns how many bytes may be sent, a channel that is closed when that changes, and why
// there will not be more.
func (f *fill) readable() (int64, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isVerified {
		return f.size, nil, nil
	}
	return max(0, min(f.pos, f.size-tail)), f.grown, f.err
}

// readAt reads from file, as soon as there are bytes at the offset.
func (f *fill) readAt(ctx context.Context, file *os.File, p []byte, offset int64) (int, error) {
	for {
		readable, grown, err := f.readable()
		if offset < readable {
			n, err := file.ReadAt(p[:min(int64(len(p)), readable-offset)], offset)
			if n > 0 {
				return n, nil
			}
			return 0, diskError{err}
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// write reads the whole body and gives its bytes to writeAt.
func (f *fill) write(b *body, writeAt func([]byte, int64) (int, error)) error {
	buffer := make([]byte, max(1, min(piece, f.size)))
	for pos := int64(0); pos < f.size; {
		n, err := b.Read(buffer)
		if n > 0 {
			if _, err := writeAt(buffer[:n], pos); err != nil {
				f.update(func() { f.prefix = b.hash.Sum(nil) })
				return diskError{err}
			}
			_, _ = b.hash.Write(buffer[:n]) // a hash never fails
			pos += int64(n)
			f.update(func() { f.pos = pos })
		}
		if err != nil {
			return err
		}
	}
	return b.finish()
}

// errCorrupt means that a file of the cache is not what it was.
var errCorrupt = errors.New("the file in the artifact cache is damaged")

// verify reads a file that was written earlier.
func (f *fill) verify(ctx context.Context, file *os.File, sha256Hex string) error {
	buffer, sum := make([]byte, max(1, min(piece, f.size))), sha256.New()
	for pos := int64(0); pos < f.size; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := file.ReadAt(buffer[:min(int64(len(buffer)), f.size-pos)], pos)
		if n == 0 {
			return fmt.Errorf("%w: %w", errCorrupt, err)
		}
		_, _ = sum.Write(buffer[:n]) // a hash never fails
		pos += int64(n)
		f.update(func() { f.pos = pos })
	}
	if hex.EncodeToString(sum.Sum(nil)) != sha256Hex {
		return errCorrupt
	}
	return nil
}
