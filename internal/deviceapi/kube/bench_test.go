// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package kube

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

const (
	// firstPoller and pollers are the devices that poll. Their names have the same length, so that
	// their responses have it too.
	firstPoller, pollers = 100, 200
	// clients is the number of connections to each server, which poll at the same time, and turn is
	// how many polls each of them sends before the other server gets its turn.
	clients, turn = 16, 32
	// leastRatio fails the benchmark. It is below the goal, which is 0.9: docs/operations.md has
	// the measured ratios. It is judged after enoughTurns.
	leastRatio, enoughTurns = 0.7, 40
)

// BenchmarkPoll measures polls of several clients over kept connections, in turns with a bare
// handler of net/http that sends the same headers and bytes from a server with the same settings.
// "ratio" is the throughput of the device API divided by that of the bare handler. It is taken from
// the CPU time of the process, clients and garbage collection included, which other processes
// affect less than the duration. A poll writes nothing.
func BenchmarkPoll(b *testing.B) {
	for _, fleet := range []struct {
		name, link string
		prepare    func(*deviceAPI, deviceapi.Device)
	}{
		{"idle", "installedBase", (*deviceAPI).finish},
		{"offered", "deploymentBase", func(*deviceAPI, deviceapi.Device) {}},
		{"running", "deploymentBase", func(d *deviceAPI, device deviceapi.Device) { d.startDevice(device) }},
	} {
		b.Run(fleet.name, func(b *testing.B) {
			d := pollingFleet(b, fleet.prepare)
			for _, authorization := range []string{"TargetToken let-me-in", "GatewayToken gate-1"} {
				scheme, _, _ := strings.Cut(authorization, " ")
				b.Run(scheme, func(b *testing.B) {
					b.Run("HTTP", func(b *testing.B) { benchmarkPolls(b, d, authorization, fleet.link, false) })
					b.Run("HTTPS", func(b *testing.B) { benchmarkPolls(b, d, authorization, fleet.link, true) })
				})
			}
		})
	}
}

// pollingFleet returns a device API whose devices have a target token and are accepted with a
// gateway token. All of them have polled and have sent their attributes.
func pollingFleet(b *testing.B, prepare func(*deviceAPI, deviceapi.Device)) *deviceAPI {
	w := newWorld(b, firstPoller+pollers)
	for _, o := range []client.Object{
		&v1alpha1.DeviceAccess{ObjectMeta: built("gateway"), Spec: v1alpha1.DeviceAccessSpec{GatewayToken: &v1alpha1.GatewayToken{SecretName: "gateway"}}},
		&corev1.Secret{ObjectMeta: built("gateway"), Type: TokenSecretType, Data: map[string][]byte{"token": []byte("gate-1")}},
	} {
		if err := w.server.Create(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
	d := w.deviceAPI(Options{})
	model := "m1"
	for i := range pollers {
		device := deviceapi.Device{Namespace: fleetNamespace, ControllerID: deviceName(firstPoller + i)}
		if _, err := d.State(b.Context(), device, "127.0.0.1"); err != nil {
			b.Fatal(err)
		}
		prepare(d, device)
		if err := d.Attributes(b.Context(), device, deviceapi.Attributes{Values: map[string]*string{"model": &model}}); err != nil {
			b.Fatal(err)
		}
	}
	d.sync()
	return d
}

// startDevice lets a device start what it is offered, and returns the action.
func (d *deviceAPI) startDevice(device deviceapi.Device) int32 {
	d.w.t.Helper()
	s, err := d.State(context.Background(), device, "127.0.0.1")
	if err == nil {
		_, err = d.Deployment(context.Background(), device, s.DeployID)
	}
	if err != nil {
		d.w.t.Fatal(err)
	}
	return s.DeployID
}

// finish lets a device install what it is offered.
func (d *deviceAPI) finish(device deviceapi.Device) {
	d.w.t.Helper()
	if err := d.Feedback(context.Background(), device, d.startDevice(device), succeeded); err != nil {
		d.w.t.Fatal(err)
	}
}

func benchmarkPolls(b *testing.B, d *deviceAPI, authorization, link string, encrypted bool) {
	var config *tls.Config
	if encrypted {
		config = serverTLS(b)
	}
	// Each device has its rates, large enough for a benchmark.
	many := deviceapi.Rate{PerSecond: 1e6, Burst: 1e6}
	server, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return d, nil },
		ddi.Options{TLS: config, Rates: deviceapi.Rates{Device: many, Gateway: many, Namespace: many, Global: many}})
	if err != nil {
		b.Fatal(err)
	}
	api := dial(b, config, authorization, func(ctx context.Context, l net.Listener) error { return server.Serve(ctx, l) })
	response := api[0].poll(b, 0)
	if !bytes.Contains(response.body, []byte(link)) {
		b.Fatalf("the response has no %s: %s", link, response.body)
	}
	bare := dial(b, config, authorization, serveBare(response, config))
	if again := bare[0].poll(b, 0); !bytes.Equal(again.body, response.body) || len(again.Header) != len(response.Header) {
		b.Fatalf("the bare handler sends %v %s, want %v %s", again.Header, again.body, response.Header, response.body)
	}
	d.w.takeWrites()

	var ofAPI, ofBare time.Duration
	for b.Loop() {
		ofAPI += pollAll(b, api, len(response.body))
		ofBare += pollAll(b, bare, len(response.body))
	}
	d.w.wantWrites(0, "polling")
	ratio, polls := float64(ofBare)/float64(ofAPI), float64(b.N*clients*turn)
	b.ReportMetric(ratio, "ratio")
	b.ReportMetric(float64(ofAPI.Nanoseconds())/polls, "cpu-ns/poll")
	b.ReportMetric(float64(ofBare.Nanoseconds())/polls, "cpu-ns/bare")
	if b.N >= enoughTurns && ratio < leastRatio {
		b.Errorf("the device API has %.2f of the throughput of a bare handler, want %.1f at least", ratio, leastRatio)
	}
}

// pollAll lets all clients of a server send their polls of one turn, and returns the CPU time of
// the process for it. Each response must have a body of the given length.
func pollAll(b *testing.B, lines []*line, length int) time.Duration {
	started := cpuTime(b)
	var polling sync.WaitGroup
	for k, l := range lines {
		polling.Go(func() {
			for n := range turn {
				if got, err := l.exchange(k*turn + n); err != nil || got != length {
					b.Errorf("a response has %d bytes, want %d: %v", got, length, err)
					return
				}
			}
		})
	}
	polling.Wait()
	return cpuTime(b) - started
}

// cpuTime returns the CPU time that this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// response is one response that was read whole.
type response struct {
	http.Header
	body []byte
}

// serveBare returns a server with the settings of ddi.Server, whose handler only writes a response.
func serveBare(r response, config *tls.Config) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		handler := func(w http.ResponseWriter, _ *http.Request) {
			for name := range r.Header {
				w.Header().Set(name, r.Get(name))
			}
			_, _ = w.Write(r.body)
		}
		server := &http.Server{
			Handler: http.HandlerFunc(handler), MaxHeaderBytes: 16 << 10, TLSConfig: config, Protocols: new(http.Protocols),
			ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		}
		server.Protocols.SetHTTP1(true)
		defer context.AfterFunc(ctx, func() { _ = server.Close() })()
		if config != nil {
			return server.ServeTLS(l, "", "")
		}
		return server.Serve(l)
	}
}

// serverTLS returns the settings of a server of httptest, whose certificate dial trusts.
func serverTLS(b *testing.B) *tls.Config {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	b.Cleanup(server.Close)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: server.TLS.Certificates, ClientAuth: tls.RequestClientCert}
}

// line is one connection to a server, with as little client as possible.
type line struct {
	conn          net.Conn
	reader        *bufio.Reader
	request       []byte
	authorization string
}

// dial starts a server and connects all clients to it, with TLS if the server has settings for it.
func dial(b *testing.B, config *tls.Config, authorization string, serve func(context.Context, net.Listener) error) []*line {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = serve(ctx, listener) }()
	b.Cleanup(func() { stop(); <-ended })
	lines := make([]*line, clients)
	for i := range lines {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		if config != nil {
			conn = tls.Client(conn, &tls.Config{RootCAs: rootsOf(b, config), ServerName: "127.0.0.1"})
		}
		lines[i] = &line{conn: conn, reader: bufio.NewReader(conn), authorization: authorization}
	}
	return lines
}

// rootsOf returns the certificate of a server as the only trusted one.
func rootsOf(b *testing.B, config *tls.Config) *x509.CertPool {
	leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return roots
}

// send sends the nth poll of the fleet.
func (l *line) send(n int) error {
	l.request = append(l.request[:0], "GET /"+fleetNamespace+"/controller/v1/dev-"...)
	l.request = strconv.AppendInt(l.request, int64(firstPoller+n%pollers), 10)
	l.request = append(l.request, " HTTP/1.1\r\nHost: devices.example\r\nAccept: "+wire.HALMediaType+"\r\nAuthorization: "...)
	l.request = append(l.request, l.authorization...)
	l.request = append(l.request, "\r\n\r\n"...)
	_, err := l.conn.Write(l.request)
	return err
}

// poll sends the nth poll of the fleet and returns the response.
func (l *line) poll(b *testing.B, n int) response {
	if err := l.send(n); err != nil {
		b.Fatal(err)
	}
	r, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		b.Fatalf("%s: %s, %v", r.Status, body, err)
	}
	r.Header.Del("Date") // net/http sets it
	return response{r.Header, body}
}

// exchange sends the nth poll of the fleet and returns the length of the body of the response.
func (l *line) exchange(n int) (length int, err error) {
	if err := l.send(n); err != nil {
		return 0, err
	}
	return skip(l.reader)
}

func skip(from *bufio.Reader) (length int, err error) {
	status, err := from.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("the status line is %q: %w", status, err)
	}
	for {
		header, err := from.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(header) == len("\r\n") {
			return from.Discard(length)
		}
		if value, ok := bytes.CutPrefix(header, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}
