// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxWrite is the maximum size of one write to a device, which must take it within writeTime.
	maxWrite  = 32 << 10
	writeTime = time.Minute
)

// Serve answers a GET or HEAD of a device with the file: 200, 206, 304, 412 or 416, as
// http.ServeContent does. The ETag is the SHA-256. device names the device, for its limit. started
// is called before the file is opened, and its error is returned.
//
// If nothing was sent it returns an Error, or the error of started, and the caller answers. If the
// transfer breaks, the connection is closed before the last byte, and Serve returns the status that
// was sent, together with the error. The client gets the rest with a Range request.
func (s *Store) Serve(w http.ResponseWriter, r *http.Request, device string, file File, started func() error) (status int, err error) {
	if err := file.check(); err != nil {
		return 0, err
	}
	to := &writer{ResponseWriter: w, ctx: r.Context(), store: s, control: http.NewResponseController(w), size: file.Size}
	from := s.newContent(r.Context(), file)
	defer from.Close()
	r = withoutEmptyRanges(r, file.Size)
	if r.Method != http.MethodHead {
		leave := s.enter(device, file.Namespace)
		if leave == nil {
			return 0, Error{RetryAfter: limitRetry, Reason: "too many artifacts are being downloaded"}
		}
		defer leave()
		if err := started(); err != nil {
			return 0, err
		}
		r = s.singleRange(r, from)
	}
	setHeaders(w.Header(), file)
	http.ServeContent(to, r, "", time.Time{}, from)
	return s.finish(to, from.failure())
}

// finish returns the result of a download.
func (s *Store) finish(to *writer, failure error) (int, error) {
	switch {
	case failure == nil:
		if !to.isSent { // a file without bytes, or HEAD
			to.send()
		}
		s.metrics.results.WithLabelValues(result(to)).Inc()
		return to.status, nil
	case !to.isSent:
		for name := range to.Header() {
			if strings.HasPrefix(name, "Content-") || name == "Etag" || name == "Accept-Ranges" || name == "Cache-Control" {
				to.Header().Del(name)
			}
		}
		if to.ctx.Err() != nil {
			s.metrics.results.WithLabelValues("gone").Inc()
			return 0, to.ctx.Err()
		}
		s.metrics.results.WithLabelValues("failed").Inc()
		return 0, errorOf(failure)
	case to.ctx.Err() != nil:
		s.metrics.results.WithLabelValues("gone").Inc()
		return to.status, nil //nolint:nilerr // the device has gone away: this is no error
	}
	s.metrics.results.WithLabelValues("aborted").Inc()
	return to.status, errorOf(failure)
}

func result(w *writer) string {
	if w.failed != nil {
		return "gone"
	}
	return "sent"
}

// singleRange removes a Range of several ranges if the file is streamed past the cache: each of
// them could need the file from its start. HTTP allows a server to ignore it.
func (s *Store) singleRange(r *http.Request, from *content) *http.Request {
	if !strings.Contains(r.Header.Get("Range"), ",") || !from.isStreamed() {
		return r
	}
	return withRange(r, "")
}

// withoutEmptyRanges removes the ranges of the last 0 bytes, which http.ServeContent would answer
// with 206 and a Content-Range that ends before it starts. If there are no others, the range is one
// behind the file.
func withoutEmptyRanges(r *http.Request, size int64) *http.Request {
	list, isBytes := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !isBytes || !strings.Contains(list, "-0") {
		return r
	}
	wanted := slices.DeleteFunc(strings.Split(list, ","), func(one string) bool {
		last, isSuffix := strings.CutPrefix(strings.TrimSpace(one), "-")
		return isSuffix && last != "" && strings.Trim(last, "0") == ""
	})
	if len(wanted) == 0 {
		return withRange(r, fmt.Sprintf("bytes=%d-", size))
	}
	return withRange(r, "bytes="+strings.Join(wanted, ","))
}

// withRange returns the request with another Range; "": without one.
func withRange(r *http.Request, value string) *http.Request {
	changed := r.Clone(r.Context())
	changed.Header.Del("Range")
	if value != "" {
		changed.Header.Set("Range", value)
	}
	return changed
}

func setHeaders(h http.Header, file File) {
	h.Set("ETag", `"`+file.SHA256+`"`)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.Name}))
	h.Set("Cache-Control", "private, no-transform")
}

// writer sends the header with the first byte, so that an error before it gets another answer. Each
// write has a deadline of its own, because a download takes longer than other requests.
type writer struct {
	http.ResponseWriter
	ctx     context.Context
	store   *Store
	control *http.ResponseController
	size    int64
	status  int
	isSent  bool
	failed  error
}

// WriteHeader sets the status. Every 416 has the size of the file, also that of a malformed range.
func (w *writer) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
	}
	w.status = status
}

func (w *writer) send() {
	w.isSent = true
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTime)) // only a test has a writer without a connection
	w.ResponseWriter.WriteHeader(w.status)
}

// Write sends bytes to the device.
func (w *writer) Write(p []byte) (written int, err error) {
	if !w.isSent {
		w.send()
	}
	for len(p) > 0 && err == nil {
		piece := p[:min(len(p), maxWrite)]
		if w.store.bytes != nil {
			if err = w.store.bytes.WaitN(w.ctx, len(piece)); err != nil {
				break
			}
		}
		_ = w.control.SetWriteDeadline(time.Now().Add(writeTime))
		var n int
		n, err = w.ResponseWriter.Write(piece)
		w.store.metrics.sent.Add(float64(n))
		written += n
		p = p[n:]
	}
	w.failed = errors.Join(w.failed, err)
	return written, err
}
