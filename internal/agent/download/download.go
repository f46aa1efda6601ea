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
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aead.dev/minisign"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// SignatureSuffix is the suffix of the name of an artifact that is the minisign signature of
// another one of the same module.
const SignatureSuffix = ".minisig"

// Client downloads artifacts.
type Client struct {
	// Disk is the disk for the files.
	Disk disk.FS
	// HTTP is the client for the downloads, with the credentials for the server.
	HTTP *http.Client
	// Request adds what a server needs to a request, such as a token. It may be nil.
	Request func(*http.Request) error
	// Keys are the public keys, one of which must have signed every artifact. Without keys no
	// signature is needed.
	Keys []minisign.PublicKey
	// BytesPerSecond limits the rate of all downloads together. 0 is no limit.
	BytesPerSecond int
	// Free returns the number of free bytes of the file system of a folder. It may be nil.
	Free func(folder string) (int64, error)
	// Pause is the time between two attempts. It must return at the end of the context.
	Pause func(ctx context.Context, attempt int)
	// RetryAfter returns the time that the server of a file asks to wait, or 0. It may be nil.
	RetryAfter func(*http.Response) time.Duration
	// Stall is how long a server may send nothing before the attempt ends. It is 1 minute if it is
	// 0.
	Stall time.Duration
	// Failed is called with the reason of each attempt that is repeated. It may be nil.
	Failed func(error)
}

// Addresses knows where the artifacts of an update are. Those of some servers are valid for a
// limited time.
type Addresses interface {
	// Of returns the present address of an artifact.
	Of(a update.Artifact) string
	// AreLocal reports whether the artifacts may be files of this device, with the scheme file.
	// Those of a server may not.
	AreLocal() bool
	// Refresh asks the server for the present addresses. It returns after the answer, or at the end
	// of the context.
	Refresh(ctx context.Context)
}

// maxUseless is how many attempts of a download may be refused without a further byte between them.
// An attempt that the network ends is repeated without limit.
const maxUseless = 3

// maxSignature is the maximum size of a signature in bytes.
const maxSignature = 16 << 10

// refused is the reason of an attempt that failed for another reason than the network: an answer of
// the server, the content of the file, or the disk of the device.
type refused struct {
	error
	// isAddress says that another address may help.
	isAddress bool
}

func (r refused) Unwrap() error { return r.error }

// later is the reason of an attempt that failed because the server asks to wait.
type later struct {
	error
	wait time.Duration
}

func (l later) Unwrap() error { return l.error }

// maxWait is the longest time that the server of a file can ask to wait.
const maxWait = time.Hour

// ErrAddress is the error for an address that no further attempt can use. The HTTP client returns
// it for a redirect to such an address.
var ErrAddress = errors.New("the address of the file cannot be used")

// All downloads the artifacts of a module into a folder. Files of it that are there already are not
// downloaded again. done is called with the number of bytes of all artifacts that are on the
// device.
func (c *Client) All(ctx context.Context, m update.Module, folder string, addresses Addresses, done func(bytes int64)) error {
	if err := check(m); err != nil {
		return err
	}
	for _, f := range []string{folder, folder + partial} {
		if err := disk.MkdirAll(c.Disk, f, 0o700); err != nil {
			return err
		}
	}
	if err := c.checkSpace(m, folder); err != nil {
		return err
	}
	before := int64(0)
	for _, a := range m.Artifacts {
		t := transfer{Client: c, artifact: a, part: filepath.Join(folder+partial, a.Filename), path: filepath.Join(folder, a.Filename), addresses: addresses, done: func(bytes int64) { done(before + bytes) }}
		if err := t.run(ctx); err != nil {
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
		case a.Size == 0 && [sha256.Size]byte(sum) != sha256.Sum256(nil):
			return fmt.Errorf("artifact %s of software module %s has size 0, and its SHA-256 is not that of an empty file: the server must send the size", a.Filename, m.Name)
		}
		names[a.Filename] = true
	}
	return nil
}

// checkSpace compares the bytes that are missing with the free ones.
func (c *Client) checkSpace(m update.Module, folder string) error {
	need := int64(0)
	for _, a := range m.Artifacts {
		need += a.Size
		need -= sizeOf(filepath.Join(folder, a.Filename)) + sizeOf(filepath.Join(folder+partial, a.Filename))
	}
	return disk.CheckSpace(c.Free, folder, "the download of software module "+m.Name, need)
}

// partial is the suffix of the folder with the files that are not complete.
const partial = ".part"

// transfer is the download of one artifact.
type transfer struct {
	*Client
	artifact update.Artifact
	// part is the file until it is complete, and path is its name after that.
	part, path string
	addresses  Addresses
	done       func(int64)
	// etag is what the server calls the content whose start is on the device, or empty.
	etag string
}

// run downloads the artifact, with as many attempts as needed.
func (t *transfer) run(ctx context.Context) error {
	if sum, _, err := disk.SHA256(t.path); err == nil && strings.EqualFold(sum, t.artifact.SHA256) {
		t.done(t.artifact.Size)
		return nil
	}
	most, useless := sizeOf(t.part), 0
	for attempt := 0; ; attempt++ {
		err := t.attempt(ctx)
		if err == nil {
			return t.finish()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if size := sizeOf(t.part); size > most {
			most, useless, attempt = size, 0, 0
		}
		why := refused{}
		if errors.As(err, &why) {
			if useless++; useless >= maxUseless {
				return err
			}
		}
		if t.Failed != nil {
			t.Failed(fmt.Errorf("download of %s: %w; it is continued", t.artifact.Filename, err))
		}
		if wait := (later{}); errors.As(err, &wait) {
			Sleep(ctx, min(wait.wait, maxWait))
		}
		t.Pause(ctx, attempt)
		if why.isAddress {
			t.addresses.Refresh(ctx)
		}
	}
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// attempt continues the download until its end, and verifies it.
func (t *transfer) attempt(ctx context.Context) error {
	out, err := t.Disk.OpenFile(t.part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return refused{error: err}
	}
	defer func() { _ = out.Close() }()
	have, err := out.Seek(0, io.SeekEnd)
	if err == nil && have > t.artifact.Size {
		have, err = restart(out)
	}
	if err != nil {
		return refused{error: err}
	}
	if have < t.artifact.Size {
		if err := t.get(ctx, out, have); err != nil {
			return err
		}
	}
	if err := out.Sync(); err != nil {
		return refused{error: err}
	}
	sum, _, err := disk.SHA256(t.part)
	if err != nil {
		return refused{error: err}
	}
	if !strings.EqualFold(sum, t.artifact.SHA256) {
		_, err := restart(out) // a part of it may be from another file, so nothing of it is used again
		return errors.Join(refused{error: fmt.Errorf("it has SHA-256 %s, want %s", sum, strings.ToLower(t.artifact.SHA256))}, err)
	}
	return nil
}

func restart(out disk.File) (int64, error) {
	if err := out.Truncate(0); err != nil {
		return 0, err
	}
	return out.Seek(0, io.SeekStart)
}

var errStalled = errors.New("the server has sent nothing for too long")

// get appends the bytes from a position to the file. A server that ignores the range sends all.
func (t *transfer) get(ctx context.Context, out disk.File, from int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := t.Stall
	if stall == 0 {
		stall = time.Minute
	}
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	request, err := t.request(ctx, from)
	if err != nil {
		return refused{error: err, isAddress: errors.Is(err, ErrAddress)}
	}
	response, err := t.HTTP.Do(request)
	timer.Stop()
	if errors.Is(err, ErrAddress) {
		return refused{error: err, isAddress: true}
	}
	if err != nil {
		return stalled(ctx, err)
	}
	defer response.Body.Close()
	start, err := startOf(response, from)
	if response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		_, errRestart := restart(out)
		err = errors.Join(err, errRestart)
	}
	if err != nil {
		if t.RetryAfter != nil {
			err = later{err, t.RetryAfter(response)}
		}
		return err
	}
	if start == 0 && from > 0 {
		if from, err = restart(out); err != nil {
			return refused{error: err}
		}
	}
	if tag := response.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		t.etag = tag // a weak one does not say that the bytes are the same
	}
	if length := response.ContentLength; length >= 0 && from+length != t.artifact.Size {
		return refused{error: fmt.Errorf("the file of the server has %d bytes, and the artifact %d", from+length, t.artifact.Size)}
	}
	body := &counted{from: t.limited(ctx, &alive{response.Body, timer, stall}), done: t.done, bytes: from}
	// One byte more than the artifact has: a file that is too long is not written to the disk.
	if _, err := io.Copy(&local{out}, io.LimitReader(body, t.artifact.Size-from+1)); err != nil {
		return stalled(ctx, err)
	}
	switch {
	case body.bytes > t.artifact.Size:
		_, err := restart(out)
		return errors.Join(refused{error: fmt.Errorf("the server sent more than the %d bytes of the artifact", t.artifact.Size)}, err)
	case body.bytes < t.artifact.Size:
		return refused{error: fmt.Errorf("the server sent %d of the %d bytes of the artifact", body.bytes, t.artifact.Size)}
	}
	return nil
}

func (t *transfer) request(ctx context.Context, from int64) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.addresses.Of(t.artifact), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if err := t.checkAddress(request.URL); err != nil {
		return nil, err
	}
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		if t.etag != "" {
			request.Header.Set("If-Range", t.etag)
		}
	}
	request.Header.Set("Accept-Encoding", "identity")
	if t.Request != nil {
		return request, t.Request(request)
	}
	return request, nil
}

// checkAddress refuses what would fail in every attempt, and files of the device that the server
// names.
func (t *transfer) checkAddress(address *url.URL) error {
	switch isWeb := address.Scheme == "http" || address.Scheme == "https"; {
	case isWeb && address.Host != "" || address.Scheme == "file" && t.addresses.AreLocal():
		return nil
	case address.String() == "":
		return fmt.Errorf("%w: the server has sent no link for it", ErrAddress)
	}
	return fmt.Errorf("%w: %s is no address of HTTP", ErrAddress, address.Redacted())
}

// startOf returns the position of the first byte of a response: the requested one or 0.
func startOf(response *http.Response, requested int64) (int64, error) {
	answered := fmt.Errorf("the server answered %s", response.Status)
	switch code := response.StatusCode; {
	case code == http.StatusOK:
		return 0, nil
	case code == http.StatusPartialContent && requested > 0:
		if got := response.Header.Get("Content-Range"); !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", requested)) {
			return 0, refused{error: fmt.Errorf("the server sent the range %q, and bytes from %d were requested", got, requested)}
		}
		return requested, nil
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		return 0, answered
	default:
		return 0, refused{error: answered, isAddress: true}
	}
}

// stalled returns the reason of the end of an attempt.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// alive ends the attempt if a read takes too long.
type alive struct {
	from  io.Reader
	timer *time.Timer
	limit time.Duration
}

func (a *alive) Read(p []byte) (int, error) {
	a.timer.Reset(a.limit)
	defer a.timer.Stop()
	return a.from.Read(p)
}

// local marks the errors of the disk.
type local struct{ io.Writer }

func (l *local) Write(p []byte) (int, error) {
	n, err := l.Writer.Write(p)
	if err != nil {
		err = refused{error: err}
	}
	return n, err
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

// finish gives the complete file its name.
func (t *transfer) finish() error {
	if err := t.Disk.Rename(t.part, t.path); err != nil {
		return err
	}
	return errors.Join(t.Disk.Sync(filepath.Dir(t.path)), t.Disk.Sync(filepath.Dir(t.part)))
}

// WithoutSignatures returns the artifacts that are not signatures of other ones.
func WithoutSignatures(artifacts []update.Artifact) []update.Artifact {
	return slices.DeleteFunc(slices.Clone(artifacts), func(a update.Artifact) bool {
		signed, ok := strings.CutSuffix(a.Filename, SignatureSuffix)
		return ok && slices.ContainsFunc(artifacts, func(o update.Artifact) bool { return o.Filename == signed })
	})
}

// checkSignatures checks that one of the keys has signed each artifact.
func (c *Client) checkSignatures(m update.Module, folder string) error {
	if len(c.Keys) == 0 {
		return nil
	}
	for _, a := range WithoutSignatures(m.Artifacts) {
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
	var parsed minisign.Signature
	if err := parsed.UnmarshalText(signature); err == nil && parsed.Algorithm == minisign.EdDSA {
		return fmt.Errorf("the signature %s was made by an old minisign: sign again with minisign 0.10 or newer, or with its option -H", name)
	}
	for _, key := range c.Keys {
		if signed.Verify(key, signature) {
			return nil
		}
	}
	return fmt.Errorf("none of the keys of the agent has made the signature %s", name)
}

// PauseWithJitter returns a Pause that doubles from the shortest time to the longest. random
// returns a number from 0 to 1; the pause is between half of the time and all of it.
func PauseWithJitter(shortest, longest time.Duration, random func() float64) func(context.Context, int) {
	return func(ctx context.Context, attempt int) {
		pause := min(longest, shortest<<min(attempt, 20))
		Sleep(ctx, pause/2+time.Duration(random()*float64(pause/2)))
	}
}

// Sleep waits, at most until the end of the context.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
