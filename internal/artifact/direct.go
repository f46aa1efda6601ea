// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// direct streams a file past the cache, for one download. Also bytes that the device does not want
// are read, because the checksum is that of the whole file.
type direct struct {
	body *body
	pos  int64  // bytes that were read
	end  []byte // the last bytes, once they are verified

	// after fallBack, the first prefixAt bytes must have the SHA-256 prefix, because the device
	// has some of them already.
	prefixAt int64
	prefix   []byte
	scratch  []byte
}

func (s *Store) newDirect(ctx context.Context, file File) *direct {
	return &direct{body: s.newBody(ctx, file)}
}

func (d *direct) close() { d.body.Close() }

// errBackward means that bytes are wanted again that were streamed already.
var errBackward = errors.New("a file that is streamed past the cache is read from its start to its end")

// readAt reads at an offset, which never moves backward.
func (d *direct) readAt(p []byte, offset int64) (int, error) {
	limit := max(0, d.body.file.Size-tail)
	for d.pos < min(offset, limit) {
		if d.scratch == nil {
			d.scratch = make([]byte, piece)
		}
		if _, err := d.read(d.scratch[:min(piece, min(offset, limit)-d.pos)]); err != nil {
			return 0, err
		}
	}
	if offset < limit {
		if offset < d.pos {
			return 0, errBackward
		}
		return d.read(p[:min(int64(len(p)), limit-offset)])
	}
	if d.end == nil {
		if err := d.readEnd(); err != nil {
			return 0, err
		}
	}
	return copy(p, d.end[offset-limit:]), nil
}

// readEnd reads the last bytes and verifies the file.
func (d *direct) readEnd() error {
	end := make([]byte, d.body.file.Size-d.pos)
	for read := 0; read < len(end); {
		n, err := d.read(end[read:])
		if read += n; err != nil {
			return err
		}
	}
	if err := d.body.finish(); err != nil {
		return err
	}
	d.end = end
	return nil
}

// read reads the next bytes of the file.
func (d *direct) read(p []byte) (int, error) {
	if d.pos < d.prefixAt {
		p = p[:min(int64(len(p)), d.prefixAt-d.pos)]
	}
	n, err := d.body.Read(p)
	if n == 0 {
		if err == io.EOF { //nolint:errorlint // readers return io.EOF itself
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	_, _ = d.body.hash.Write(p[:n]) // a hash never fails
	d.pos += int64(n)
	if d.prefix != nil && d.pos == d.prefixAt && !bytes.Equal(d.body.hash.Sum(nil), d.prefix) {
		return 0, passing("the source sends another file than a moment ago")
	}
	return n, nil
}
