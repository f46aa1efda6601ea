// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package download brings the artifacts of an update to the device. A download continues where an
// earlier one ended, and no file gets its name before its SHA-256 is right.
package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aead.dev/minisign"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// SignatureSuffix is the suffix of the name of an artifact that is the minisign signature of
// another one of the same module.
const SignatureSuffix = ".minisig"

// Client downloads artifacts.
type Client struct {
	// HTTP is the client for the downloads, with the credentials for the server.
	HTTP *http.Client
	// Request adds what a server needs to a request, such as a token. It may be nil.
	Request func(*http.Request)
	// Keys are the public keys, one of which must have signed every artifact. Without keys no
	// signature is needed.
	Keys []minisign.PublicKey
	// BytesPerSecond limits the rate of all downloads together. 0 is no limit.
	BytesPerSecond int
	// Free returns the number of free bytes of the file system of a folder. It may be nil.
	Free func(folder string) (int64, error)
	// Pause is the time between two attempts. It must return at the end of the context.
	Pause func(ctx context.Context, attempt int)
}

// Reserve is the number of bytes that a download leaves free on the file system.
const Reserve = 4 << 20

// maxUseless is how many attempts of a download may end one after another without a further byte
// because the server refuses them. An attempt that the network ends is repeated without limit.
const maxUseless = 3

// maxSignature is the maximum size of a signature in bytes.
const maxSignature = 16 << 10

// refused is an answer that another attempt does not change.
type refused struct{ error }

// All downloads the artifacts of a module into a folder. Files of it that are there already are not
// downloaded again. done is called with the number of bytes of all artifacts that are on the
// device.
func (c *Client) All(ctx context.Context, m update.Module, folder string, done func(bytes int64)) error {
	if err := check(m); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := c.checkSpace(m, folder); err != nil {
		return err
	}
	before := int64(0)
	for _, a := range m.Artifacts {
		if err := c.one(ctx, a, folder, func(bytes int64) { done(before + bytes) }); err != nil {
			return fmt.Errorf("download of %s: %w", a.Filename, err)
		}
		before += a.Size
	}
	return c.checkSignatures(m, folder)
}

// check refuses artifacts that cannot be stored or verified.
func check(m update.Module) error {
	names := map[string]bool{}
	for _, a := range m.Artifacts {
		sum, err := hex.DecodeString(a.SHA256)
		switch {
		case a.Filename == "" || a.Filename == "." || a.Filename == ".." || strings.ContainsAny(a.Filename, "/\x00"):
			return fmt.Errorf("artifact %q of software module %s: the name must be that of a file without folder", a.Filename, m.Name)
		case names[a.Filename]:
			return fmt.Errorf("software module %s has two artifacts with name %s", m.Name, a.Filename)
		case err != nil || len(sum) != sha256.Size:
			return fmt.Errorf("artifact %s of software module %s has SHA-256 %q: the server must send 64 hexadecimal digits", a.Filename, m.Name, a.SHA256)
		case a.Size < 0:
			return fmt.Errorf("artifact %s of software module %s has size %d", a.Filename, m.Name, a.Size)
		}
		names[a.Filename] = true
	}
	return nil
}

// checkSpace compares the bytes that are missing with the free ones.
func (c *Client) checkSpace(m update.Module, folder string) error {
	if c.Free == nil {
		return nil
	}
	need := int64(Reserve)
	for _, a := range m.Artifacts {
		need += a.Size
		for _, name := range []string{a.Filename, a.Filename + partial} {
			if info, err := os.Stat(filepath.Join(folder, name)); err == nil {
				need -= info.Size()
			}
		}
	}
	free, err := c.Free(folder)
	if err != nil {
		return fmt.Errorf("read the free space of %s: %w", folder, err)
	}
	if free < need {
		return fmt.Errorf("%s has %d bytes free, and the download of software module %s needs %d (with a reserve of %d): remove files, or use a larger file system", folder, free, m.Name, need, int64(Reserve))
	}
	return nil
}

// partial is the suffix of a file that is not complete.
const partial = ".part"

// one downloads an artifact, with as many attempts as needed.
func (c *Client) one(ctx context.Context, a update.Artifact, folder string, done func(int64)) error {
	path := filepath.Join(folder, a.Filename)
	if sum, err := sumOf(path); err == nil && strings.EqualFold(sum, a.SHA256) {
		done(a.Size)
		return nil
	}
	useless := 0
	for attempt := 0; ; attempt++ {
		before := sizeOf(path + partial)
		err := c.attempt(ctx, a, path+partial, done)
		if err == nil {
			return finish(path)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if sizeOf(path+partial) > before {
			useless, attempt = 0, 0
		}
		if errors.As(err, &refused{}) {
			if useless++; useless >= maxUseless {
				return err
			}
		}
		c.Pause(ctx, attempt)
	}
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// attempt continues a download until its end, and verifies it.
func (c *Client) attempt(ctx context.Context, a update.Artifact, path string, done func(int64)) error {
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if have > a.Size {
		if have, err = restart(out); err != nil {
			return err
		}
	}
	if have < a.Size || a.Size == 0 {
		if err := c.get(ctx, a, out, have, done); err != nil {
			return err
		}
	}
	if err := out.Sync(); err != nil {
		return err
	}
	sum, err := sumOf(path)
	if err != nil {
		return err
	}
	if !strings.EqualFold(sum, a.SHA256) {
		_, err := restart(out) // a part of it may be from another file, so nothing of it is used again
		return errors.Join(refused{fmt.Errorf("it has SHA-256 %s, want %s", sum, strings.ToLower(a.SHA256))}, err)
	}
	return nil
}

func restart(out *os.File) (int64, error) {
	if err := out.Truncate(0); err != nil {
		return 0, err
	}
	return out.Seek(0, io.SeekStart)
}

// get appends the bytes from a position to the file. A server that ignores the range sends all.
func (c *Client) get(ctx context.Context, a update.Artifact, out *os.File, from int64, done func(int64)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, nil)
	if err != nil {
		return refused{err}
	}
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	request.Header.Set("Accept-Encoding", "identity")
	if c.Request != nil {
		c.Request(request)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)):
	case code == http.StatusOK || code == http.StatusPartialContent:
		if code == http.StatusPartialContent {
			return refused{fmt.Errorf("the server sent the range %q, and bytes from %d were requested", response.Header.Get("Content-Range"), from)}
		}
		if from, err = restart(out); err != nil {
			return err
		}
	case code == http.StatusRequestedRangeNotSatisfiable:
		_, err := restart(out)
		return errors.Join(refused{fmt.Errorf("the server answered %s", response.Status)}, err)
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("the server answered %s", response.Status)
	default:
		return refused{fmt.Errorf("the server answered %s", response.Status)}
	}
	body := &counted{from: c.limited(ctx, response.Body), done: done, bytes: from}
	// One byte more than the artifact has: a file that is too long is not written to the disk.
	if _, err := io.Copy(out, io.LimitReader(body, a.Size-from+1)); err != nil {
		return err
	}
	switch {
	case body.bytes > a.Size:
		_, err := restart(out)
		return errors.Join(refused{fmt.Errorf("the server sent more than the %d bytes of the artifact", a.Size)}, err)
	case body.bytes < a.Size:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// counted reports the bytes that were read.
type counted struct {
	from  io.Reader
	bytes int64
	done  func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.bytes += int64(n)
	c.done(c.bytes)
	return n, err
}

// burst is the number of bytes that a limited download reads at a time.
const burst = 16 << 10

// limited returns a reader with the rate limit.
func (c *Client) limited(ctx context.Context, from io.Reader) io.Reader {
	if c.BytesPerSecond == 0 {
		return from
	}
	return &slow{ctx, from, rate.NewLimiter(rate.Limit(c.BytesPerSecond), burst)}
}

type slow struct {
	ctx     context.Context //nolint:containedctx // an io.Reader has no other way to get it
	from    io.Reader
	limiter *rate.Limiter
}

func (s *slow) Read(p []byte) (int, error) {
	n, err := s.from.Read(p[:min(len(p), burst)])
	if errWait := s.limiter.WaitN(s.ctx, n); errWait != nil {
		return n, errWait
	}
	return n, err
}

// finish gives a complete file its name.
func finish(path string) error {
	if err := os.Rename(path+partial, path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// checkSignatures checks that one of the keys has signed each artifact.
func (c *Client) checkSignatures(m update.Module, folder string) error {
	if len(c.Keys) == 0 {
		return nil
	}
	for _, a := range m.Artifacts {
		if strings.HasSuffix(a.Filename, SignatureSuffix) {
			continue
		}
		if err := c.checkSignature(filepath.Join(folder, a.Filename)); err != nil {
			return fmt.Errorf("artifact %s of software module %s: %w", a.Filename, m.Name, err)
		}
	}
	return nil
}

func (c *Client) checkSignature(path string) error {
	name := filepath.Base(path) + SignatureSuffix
	if sizeOf(path+SignatureSuffix) > maxSignature {
		return fmt.Errorf("%s is not a minisign signature", name)
	}
	signature, err := os.ReadFile(path + SignatureSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it has no signature, and the configuration of the agent has keys: add %s, made by minisign, to the software module", name)
	}
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	signed := minisign.NewReader(in)
	if _, err := io.Copy(io.Discard, signed); err != nil {
		return err
	}
	for _, key := range c.Keys {
		if signed.Verify(key, signature) {
			return nil
		}
	}
	return fmt.Errorf("none of the keys of the agent has made the signature %s", name)
}

func sumOf(path string) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// PauseWithJitter returns a Pause that doubles from the shortest time to the longest. random
// returns a number from 0 to 1; the pause is between half of the time and all of it.
func PauseWithJitter(shortest, longest time.Duration, random func() float64) func(context.Context, int) {
	return func(ctx context.Context, attempt int) {
		pause := min(longest, shortest<<min(attempt, 20))
		timer := time.NewTimer(pause/2 + time.Duration(random()*float64(pause/2)))
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}
