// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// minCompressed is the size from which a body is compressed, in bytes: a packet.
const minCompressed = 1400

var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level exists
	return w
}}

// writeBody writes a response, compressed if the browser accepts that.
func writeBody(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if len(body) >= minCompressed && acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		body = compressed(body)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a browser that has gone
}

// acceptsGzip reports whether the browser has listed gzip without a weight, as browsers do.
func acceptsGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if strings.TrimSpace(encoding) == "gzip" {
			return true
		}
	}
	return false
}

func compressed(body []byte) []byte {
	var out bytes.Buffer
	c := compressors.Get().(*gzip.Writer)
	defer compressors.Put(c)
	c.Reset(&out)
	_, _ = c.Write(body) // a buffer has no errors
	_ = c.Close()
	return out.Bytes()
}
