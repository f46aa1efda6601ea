// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
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

// BenchmarkIdlePoll measures idle polls over kept connections, in turns with a
// bare handler that answers the same bytes; "ratio" is the device API's share of the
// bare handler's throughput.
func BenchmarkIdlePoll(b *testing.B) {
	s := idleDeviceAPI(b)
	fleet := []*line{dial(b, s), dial(b, bare(s))}
	var took [2]time.Duration
	const turn = 64
	polls := 0
	for b.Loop() {
		for i, l := range fleet {
			started := time.Now()
			for n := range turn {
				l.poll(b, polls+n)
			}
			took[i] += time.Since(started)
		}
		polls += turn
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
	b.ReportMetric(float64(polls)/took[0].Seconds(), "polls/s")
	b.ReportMetric(float64(polls)/took[1].Seconds(), "bare/s")
}

// line is one connection to a server, with as little client as possible.
type line struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

func dial(b *testing.B, handler http.Handler) *line {
	server := httptest.NewServer(handler)
	b.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &line{conn: conn, answers: bufio.NewReader(conn)}
}

func (l *line) poll(b *testing.B, n int) {
	l.request = append(l.request[:0], "GET /acme/controller/v1/dev"...)
	l.request = strconv.AppendInt(l.request, int64(n%100_000), 10)
	l.request = append(l.request, " HTTP/1.1\r\nHost: devices.example\r\nAccept: application/hal+json\r\nAuthorization: TargetToken secret\r\n\r\n"...)
	if _, err := l.conn.Write(l.request); err != nil {
		b.Fatal(err)
	}
	if err := l.skipAnswer(); err != nil {
		b.Fatal(err)
	}
}

func (l *line) skipAnswer() error {
	status, err := l.answers.ReadSlice('\n')
	if err != nil || !slices.Equal(status[:12], []byte("HTTP/1.1 200")) {
		return fmt.Errorf("%q, %w", status, err)
	}
	length := 0
	for {
		header, err := l.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(header) == 2 {
			break
		}
		if name := "Content-Length: "; len(header) > len(name) && string(header[:len(name)]) == name {
			length, _ = strconv.Atoi(string(header[len(name) : len(header)-2]))
		}
	}
	_, err = io.CopyN(io.Discard, l.answers, int64(length))
	return err
}

// BenchmarkIdlePollHandler is the device API alone, without the network.
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
