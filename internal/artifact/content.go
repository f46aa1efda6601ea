// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// firstByteTime is how long a device waits for the first byte of a file that is being fetched: less
// than clients wait, so that they get an answer. The file is fetched on.
const firstByteTime = 45 * time.Second

// content is a file for one download. It asks for the file when the first byte is read, so that a
// request that needs no bytes causes no request to a source. Its Seek and Read are those that
// http.ServeContent calls.
type content struct {
	ctx    context.Context
	cancel context.CancelFunc
	store  *Store
	file   File

	mu       sync.Mutex // http.ServeContent may still read when it has returned
	isClosed bool
	offset   int64

	entry  *entry  // in the cache
	direct *direct // or past it
	// isRead means that bytes were returned.
	isRead bool
	err    error
}

func (s *Store) newContent(ctx context.Context, file File) *content {
	c := &content{store: s, file: file}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// Close ends a Read that waits, and releases what was opened.
func (c *content) Close() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isClosed = true
	c.release()
}

// failure returns the error of the last Read, other than io.EOF.
func (c *content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// isStreamed opens the file, and reports whether it is streamed past the cache.
func (c *content) isStreamed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open()
	return c.direct != nil
}

// Seek sets the offset of the next Read.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += c.offset
	case io.SeekEnd:
		offset += c.file.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	c.offset = offset
	return offset, nil
}

// Read returns bytes that may be sent.
func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return 0, io.ErrClosedPipe
	}
	if c.offset >= c.file.Size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.read(p)
	c.offset += int64(n)
	c.isRead = c.isRead || n > 0
	if err != nil {
		c.err = err
	}
	return n, err
}

func (c *content) read(p []byte) (int, error) {
	for {
		if c.entry == nil && c.direct == nil {
			c.open()
		}
		if c.direct != nil {
			return c.direct.readAt(p, c.offset)
		}
		n, err := c.readEntry(p)
		_, isDisk := errors.AsType[diskError](err)
		switch {
		case isDisk:
			if err := c.fallBack(err); err != nil {
				return 0, err
			}
		case errors.Is(err, errCorrupt) && !c.isRead: // the cache has removed the file
			c.release()
		default:
			return n, err
		}
	}
}

// readEntry reads from the cache. The first byte must be there in some time.
func (c *content) readEntry(p []byte) (int, error) {
	ctx := c.ctx
	if !c.isRead {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.store.firstByte)
		defer cancel()
	}
	n, err := c.entry.fill.readAt(ctx, c.entry.file, p, c.offset)
	if err != nil && ctx.Err() != nil && c.ctx.Err() == nil {
		return 0, Error{RetryAfter: sourceRetry, Reason: "the file is still being fetched from its source"}
	}
	return n, err
}

// open takes the file from the cache, or else streams it past the cache.
func (c *content) open() {
	e, err := c.store.use(c.file)
	if err != nil {
		c.direct = c.store.newDirect(c.ctx, c.file)
		return
	}
	c.entry = e
}

// fallBack goes on past the cache after a failure of the disk. What the device has already must be
// the start of the same file: verified, or with the same checksum as the start of what follows.
func (c *content) fallBack(cause error) error {
	f := c.entry.fill
	f.mu.Lock()
	at, prefix, isVerified := f.pos, f.prefix, f.isVerified
	f.mu.Unlock()
	if c.isRead && prefix == nil && !isVerified {
		return Error{RetryAfter: sourceRetry, Reason: cause.Error()}
	}
	c.release()
	c.direct = c.store.newDirect(c.ctx, c.file)
	if c.isRead && !isVerified {
		c.direct.prefixAt, c.direct.prefix = at, prefix
	}
	return nil
}

func (c *content) release() {
	if c.entry != nil {
		c.store.cache.release(c.entry)
		c.entry = nil
	}
	if c.direct != nil {
		c.direct.close()
		c.direct = nil
	}
}
