// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// idleBackend has nothing for anybody and remembers nothing.
type idleBackend struct{ deviceapi.Backend }

func (idleBackend) Authorize(context.Context, deviceapi.Device, deviceapi.Credentials) error {
	return nil
}

func (idleBackend) State(context.Context, deviceapi.Device, string) (deviceapi.State, error) {
	return deviceapi.State{Sleep: 5 * time.Minute, InstalledID: 173000017}, nil
}

// bare answers the same bytes as the device API and does nothing else.
func bare(of http.Handler) http.Handler {
	w := answered(of, poll())
	headers, body := w.Header(), w.Body.Bytes()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name := range headers {
			w.Header().Set(name, headers.Get(name))
		}
		_, _ = w.Write(body)
	})
}

// idleDeviceAPI keeps a bucket for every device, large enough for a benchmark.
func idleDeviceAPI(b *testing.B) http.Handler {
	return deviceAPI(b, idleBackend{}, func(o *ddi.Options) {
		o.BaseURL = "https://devices.example"
		o.Rates.Device = deviceapi.Rate{PerSecond: 1e6, Burst: 1e6}
	})
}

// BenchmarkIdlePollHandler is the device API alone, without the network and without a backend.
func BenchmarkIdlePollHandler(b *testing.B) { benchmarkHandler(b, idleDeviceAPI(b)) }

// BenchmarkBareHandler is what BenchmarkIdlePollHandler cannot beat.
func BenchmarkBareHandler(b *testing.B) { benchmarkHandler(b, bare(idleDeviceAPI(b))) }

func benchmarkHandler(b *testing.B, handler http.Handler) {
	fleet := make([]*http.Request, 1000)
	for i := range fleet {
		fleet[i] = ask("GET "+wire.RootPath("acme", "dev"+strconv.Itoa(i)), "Accept: application/hal+json")
	}
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		clear(w.header)
		handler.ServeHTTP(w, fleet[n%len(fleet)])
		n++
	}
	if w.refused > 0 {
		b.Fatalf("%d polls were refused", w.refused)
	}
}

// discard is a response writer that only looks at the status.
type discard struct {
	header  http.Header
	refused int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int) {
	if status != http.StatusOK {
		d.refused++
	}
}
