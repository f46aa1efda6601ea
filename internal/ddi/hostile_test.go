// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// fleetOf returns a backend with n more devices: honest-0, honest-1 and so on.
func fleetOf(n int) *deviceapitest.Backend {
	b := backend()
	for i := range n {
		b.Tokens[deviceapi.Device{Namespace: "acme", ControllerID: fmt.Sprint("honest-", i)}] = token
	}
	return b
}

// floods are requests that a client without a token can send, by what they contain. They come from
// the address of the devices unless the name of the row says otherwise.
var floods = map[string]func(i int) *http.Request{
	"wrong tokens of a device":          func(i int) *http.Request { return poll(fmt.Sprint("Authorization: TargetToken guess-", i)) },
	"no token":                          func(int) *http.Request { return poll("Authorization: ") },
	"the token of a gateway":            func(int) *http.Request { return poll("Authorization: GatewayToken " + token) },
	"wrong tokens from another address": func(int) *http.Request { return from("198.51.100.1:1", poll("Authorization: TargetToken guess")) },
	"wrong tokens from many addresses": func(i int) *http.Request {
		return from(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), poll("Authorization: TargetToken guess"))
	},
	"wrong tokens from many IPv6 networks": func(i int) *http.Request {
		return from(fmt.Sprintf("[2001:db8:%x::1]:1", i), poll("Authorization: TargetToken guess"))
	},
	"unknown devices":                               func(i int) *http.Request { return ask(fmt.Sprint("GET /acme/controller/v1/unknown-", i)) },
	"unknown devices with long names":               func(i int) *http.Request { return ask(fmt.Sprintf("GET /acme/controller/v1/%0256d", i)) },
	"unknown devices with names that are too long":  func(i int) *http.Request { return ask(fmt.Sprintf("GET /acme/controller/v1/%0300d", i)) },
	"unknown tenants":                               func(i int) *http.Request { return ask(fmt.Sprintf("GET /tenant-%d/controller/v1/dev1", i)) },
	"paths without a device":                        func(i int) *http.Request { return ask(fmt.Sprint("GET /wp-admin/", i)) },
	"results with a wrong token":                    func(int) *http.Request { return guessed(report("deploymentBase", success)) },
	"answers to cancels with a wrong token":         func(int) *http.Request { return guessed(report("cancelAction", rejected)) },
	"wrong tokens through the proxy of the devices": func(int) *http.Request { return poll("Authorization: TargetToken guess", "X-Forwarded-For: 192.0.2.7") },
}

func guessed(r *http.Request) *http.Request {
	r.Header.Set("Authorization", "TargetToken guess")
	return r
}

func from(address string, r *http.Request) *http.Request {
	r.RemoteAddr = address
	return r
}

// A flood of requests with wrong credentials does not change the responses to devices with the
// right token: not to devices at the same address, and not to the device whose ID it uses.
func TestWrongTokensDoNotBlockTheRightToken(t *testing.T) {
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := newServer(fleetOf(10), ddi.Options{})
			if err != nil {
				t.Fatal(err)
			}
			counted := map[int]int{}
			for i := range 20_000 {
				counted[answered(s, flood(i)).Code]++
			}
			if n := counted[http.StatusTooManyRequests]; n < 18_000 || counted[200] > 0 {
				t.Errorf("codes of 20 000 responses: %v", counted)
			}
			got := codes(s, poll(), report("deploymentBase", proceeding), report("deploymentBase", success), report("cancelAction", rejected),
				ask("GET /acme/controller/v1/honest-3"), ask("POST /acme/controller/v1/honest-4/deploymentBase/31/feedback", `{"status":`+success+`}`))
			if diff := cmp.Diff([]int{200, 200, 200, 200, 200, 200}, got); diff != "" {
				t.Errorf("responses to devices with the right token (-want +got):\n%s", diff)
			}
		})
	}
}

// 10 000 devices share the address of a gateway with one device that exceeds its rate all the time
// and a client without a token. Every other device polls and reports.
func TestManyDevicesAtOneAddress(t *testing.T) {
	const devices = 10_000
	s, err := newServer(fleetOf(devices), ddi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range devices {
		answered(s, guessed(ask(fmt.Sprint("GET /acme/controller/v1/honest-", i))))
		if answered(s, poll()).Code == http.StatusTooManyRequests {
			refused++
		}
		if i%2 == 0 {
			answered(s, report("deploymentBase", proceeding))
		}
		if got := codes(s, ask(fmt.Sprint("GET /acme/controller/v1/honest-", i))); got[0] != 200 {
			t.Fatalf("the poll of device %d is answered %d", i, got[0])
		}
	}
	if refused < devices/2 {
		t.Errorf("%d of %d polls of a device that polls all the time were refused", refused, devices)
	}
}

// Requests of a client without a token cause few and short log lines, also at the most verbose
// level.
func TestFloodsCauseFewLogLines(t *testing.T) {
	lines, warnings := 0, 0
	log := funcr.New(func(_, args string) {
		if lines++; strings.Contains(args, "Devices with the right token are not affected") {
			warnings++
		}
		if len(args) > 4096 {
			t.Errorf("a line of %d bytes", len(args))
		}
	}, funcr.Options{Verbosity: 1})
	s, err := newServer(backend(), ddi.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		for _, flood := range floods {
			answered(s, flood(i))
		}
	}
	if lines > 5000 || warnings != 1 {
		t.Errorf("%d lines, %d of them a warning", lines, warnings)
	}
}

// After a request with wrong credentials the connection is closed, and further requests on it get
// no response. Connections of devices with the right token stay open, and those of a trusted proxy,
// which other devices share.
func TestConnectionsWithWrongCredentialsAreClosed(t *testing.T) {
	right, wrong := "Authorization: TargetToken "+token+"\r\n", "Authorization: TargetToken guess\r\n"
	request := func(line, headers string) string { return line + " HTTP/1.1\r\nHost: devices\r\n" + headers + "\r\n" }
	trusted := func(o *ddi.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }
	for name, tc := range map[string]struct {
		change func(*ddi.Options)
		sent   string
		want   []int
	}{
		"the right token":                          {nil, request("GET "+root, right) + request("GET "+root+"/x", right) + request("GET "+root, right), []int{200, 404, 200}},
		"a wrong token":                            {nil, request("GET "+root, wrong) + request("GET "+root, right), []int{401}},
		"no token":                                 {nil, request("GET "+root, "") + request("GET "+root, right), []int{401}},
		"a wrong token after a right one":          {nil, request("GET "+root, right) + request("GET "+root, wrong) + request("GET "+root, right), []int{200, 401}},
		"a path that names no device":              {nil, request("GET /robots.txt", right) + request("GET "+root, right), []int{404}},
		"a report whose body is never sent":        {nil, request("POST "+root+"/deploymentBase/31/feedback", wrong+"Content-Type: application/json\r\nContent-Length: 1000\r\n"), []int{401}},
		"a wrong token through a trusted proxy":    {trusted, request("GET "+root, wrong) + request("GET "+root, right), []int{401, 200}},
		"a wrong token of a device behind a proxy": {trusted, request("GET "+root, wrong+"X-Forwarded-For: 203.0.113.9\r\n") + request("GET "+root, right), []int{401, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialed(t, served(t, tc.change))
			if _, err := conn.Write([]byte(tc.sent)); err != nil {
				t.Fatal(err)
			}
			answers := bufio.NewReader(conn)
			var got []int
			for range tc.want {
				response, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatalf("after %v: %v", got, err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				got = append(got, response.StatusCode)
				if last := len(got) == len(tc.want) && response.StatusCode != http.StatusOK; response.Close != last {
					t.Errorf("answer %d closes the connection: %t", len(got), response.Close)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
			_, err := answers.ReadByte()
			if isClosed := !errors.Is(err, os.ErrDeadlineExceeded); err == nil || isClosed != (got[len(got)-1] != 200) {
				t.Errorf("after %v: %v", got, err)
			}
		})
	}
}

// served returns the address of a device API with default rates and a device dev1.
func served(t *testing.T, change func(*ddi.Options)) string {
	t.Helper()
	options := ddi.Options{}
	if change != nil {
		change(&options)
	}
	s, err := newServer(backend(), options)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener) }()
	t.Cleanup(func() { stop(); <-ended })
	return listener.Addr().String()
}

func dialed(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Clients without a token open connections as fast as they can, and send half a header or nothing.
// Meanwhile a device gets a connection and its response, and devices with a connection keep it.
func TestSlowClientsDoNotBlockDevices(t *testing.T) {
	const most = 600
	registry := prometheus.NewRegistry()
	address := served(t, func(o *ddi.Options) {
		o.MaxConnections, o.MaxAddressConnections, o.Registerer = most, most, registry
		o.Rates.Device = deviceapi.Rate{PerSecond: -1}
	})
	pollOn := func(conn net.Conn, answers *bufio.Reader) (int, error) {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: devices\r\nAuthorization: TargetToken %s\r\n\r\n", root, token); err != nil {
			return 0, err
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
	type kept struct {
		net.Conn
		answers *bufio.Reader
	}
	var fleet []kept
	for range 30 {
		conn := dialed(t, address)
		device := kept{conn, bufio.NewReader(conn)}
		if code, err := pollOn(device.Conn, device.answers); code != 200 {
			t.Fatalf("before the flood: %d, %v", code, err)
		}
		fleet = append(fleet, device)
	}
	flooding, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	opened := make(chan net.Conn, 1<<14)
	for i := range 4 {
		flood.Go(func() {
			for n := 0; flooding.Err() == nil && n < 4000; n++ {
				if conn, err := net.Dial("tcp", address); err == nil {
					if i%2 == 0 {
						_, _ = io.WriteString(conn, "GET "+root+" HTTP/1.1\r\nHost: devices\r\nX-Slow: ")
					}
					opened <- conn
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for deadline := time.Now().Add(30 * time.Second); gathered(t, registry, "goshawk_ddi_connections_dropped_total") < 100; {
		if time.Now().After(deadline) {
			t.Fatal("the flood does not reach the limit")
		}
		time.Sleep(10 * time.Millisecond)
	}
	lost := 0
	for range 50 {
		conn := dialed(t, address)
		if code, err := pollOn(conn, bufio.NewReader(conn)); code != 200 {
			lost++
			t.Logf("a device in the flood gets %d, %v", code, err)
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	if lost > 2 { // 0 on an idle machine
		t.Errorf("of 50 polls in the flood %d were lost", lost)
	}
	for i, device := range fleet {
		if code, err := pollOn(device.Conn, device.answers); code != 200 {
			t.Errorf("device %d with a connection older than the flood gets %d, %v", i, code, err)
		}
	}
	stop()
	flood.Wait()
	if n := gathered(t, registry, "goshawk_ddi_connections"); n > most {
		t.Errorf("%v connections are open, want at most %d", n, most)
	}
	close(opened)
	for conn := range opened {
		conn.Close()
	}
}

func gathered(t *testing.T, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// A slow connection uses bounded memory, however much of its header has arrived.
func TestMemoryOfSlowConnections(t *testing.T) {
	address := served(t, nil)
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	const slow = 500
	for range slow {
		conn := dialed(t, address)
		_, _ = io.WriteString(conn, "GET "+root+" HTTP/1.1\r\nHost: devices\r\n"+strings.Repeat("X-Slow: "+strings.Repeat("x", 900)+"\r\n", 15))
	}
	time.Sleep(500 * time.Millisecond)
	if each := (int64(memory()) - int64(before)) / slow; each > 64<<10 {
		t.Errorf("a slow connection uses %d bytes, want 64 KiB at most", each)
	}
}

// The request line and the headers together are bounded.
func TestHeadersAreBounded(t *testing.T) {
	address := served(t, func(o *ddi.Options) { o.Rates.Device = deviceapi.Rate{PerSecond: -1} })
	right := "Authorization: TargetToken " + token + "\r\n"
	for name, tc := range map[string]struct {
		line, headers string
		want          int
	}{
		"a usual request":            {"GET " + root, right, 200},
		"a long query":               {"GET " + root + "?" + strings.Repeat("x", 12<<10), right, 200},
		"a query too long":           {"GET " + root + "?" + strings.Repeat("x", 24<<10), right, 431},
		"a path too long":            {"GET " + root + "/" + strings.Repeat("x/", 12<<10), right, 431},
		"one header too long":        {"GET " + root, right + "X-Long: " + strings.Repeat("x", 24<<10) + "\r\n", 431},
		"many headers":               {"GET " + root, right + strings.Repeat("X-Many: 1\r\n", 1000), 200},
		"too many headers":           {"GET " + root, right + strings.Repeat("X-Many: 1\r\n", 3000), 431},
		"a token too long":           {"GET " + root, "Authorization: TargetToken " + strings.Repeat("x", 24<<10) + "\r\n", 431},
		"a long token that is wrong": {"GET " + root, "Authorization: TargetToken " + strings.Repeat("x", 12<<10) + "\r\n", 401},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialed(t, address)
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			go func() { _, _ = io.WriteString(conn, tc.line+" HTTP/1.1\r\nHost: devices\r\n"+tc.headers+"\r\n") }()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tc.want || response.Close != (tc.want != 200) {
				t.Errorf("the answer is %d, closed: %t, want %d", response.StatusCode, response.Close, tc.want)
			}
		})
	}
}

// Requests that a device sends without waiting for responses are processed one after the other,
// within its rate.
func TestPipelinedRequestsAreBounded(t *testing.T) {
	conn := dialed(t, served(t, func(o *ddi.Options) { o.Rates.Device = thrice() }))
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	request := "GET " + root + " HTTP/1.1\r\nHost: devices\r\nAuthorization: TargetToken " + token + "\r\n\r\n"
	go func() { _, _ = io.WriteString(conn, strings.Repeat(request, 200)) }()
	answers := bufio.NewReader(conn)
	for i := range 200 {
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		if want := map[bool]int{true: 200, false: 429}[i < 3]; response.StatusCode != want {
			t.Fatalf("answer %d is %d, want %d", i, response.StatusCode, want)
		}
	}
}

// A device with the right token that sends bodies slowly has few requests at the same time, and no
// other device waits for it.
func TestRequestsOfOneDeviceAtTheSameTime(t *testing.T) {
	b := fleetOf(1)
	s := deviceAPI(t, b)
	var slow sync.WaitGroup
	var ends []*io.PipeWriter
	for range 8 {
		body, end := io.Pipe()
		ends = append(ends, end)
		r := report("deploymentBase", success)
		r.Body, r.ContentLength = body, -1
		slow.Go(func() { answered(s, r) })
		if _, err := io.WriteString(end, "{"); err != nil { // it is read
			t.Fatal(err)
		}
	}
	got := codes(s, poll(), report("deploymentBase", success), ask("GET /acme/controller/v1/honest-0"))
	if diff := cmp.Diff([]int{429, 429, 200}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, end := range ends {
		end.Close()
	}
	slow.Wait()
	if got := codes(s, poll()); got[0] != 200 {
		t.Errorf("afterwards the device gets %d", got[0])
	}
}

// Of a device that sends large results slowly, one result is read at a time. Large results of other
// devices are read meanwhile.
func TestSlowLargeResultsOfOneDevice(t *testing.T) {
	s := deviceAPI(t, fleetOf(1))
	large := func(path string, end io.Reader) *http.Request {
		r := ask("POST "+path+"/deploymentBase/31/feedback", `{"status":`+success+`}`)
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"status":`+success+strings.Repeat(" ", 100<<10)), end))
		r.ContentLength = -1
		return r
	}
	rest, end := io.Pipe()
	var slow sync.WaitGroup
	slow.Go(func() {
		if got := codes(s, large(root, rest)); got[0] != 200 {
			t.Errorf("the slow result is answered %d", got[0])
		}
	})
	if _, err := io.WriteString(end, " "); err != nil { // all before has been read
		t.Fatal(err)
	}
	got := codes(s, large(root, strings.NewReader("}")), report("deploymentBase", success), large("/acme/controller/v1/honest-0", strings.NewReader("}")))
	if diff := cmp.Diff([]int{429, 200, 200}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, _ = io.WriteString(end, "}")
	end.Close()
	slow.Wait()
	if got := codes(s, large(root, strings.NewReader("}"))); got[0] != 200 {
		t.Errorf("afterwards a large result is answered %d", got[0])
	}
}

// After a refusal, net/http waits for the rest of the body. Clients with wrong tokens that announce
// a body and never send it use up the limit of connections. A device at their address still gets a
// connection.
func TestRefusedConnectionsDoNotBlockDevices(t *testing.T) {
	const most = 100
	for name, bound := range map[string]func(*ddi.Options){
		"limit of the address":     func(o *ddi.Options) { o.MaxAddressConnections = most },
		"limit of all connections": func(o *ddi.Options) { o.MaxConnections = most },
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			address := served(t, func(o *ddi.Options) {
				bound(o)
				o.Rates.Device, o.Registerer = deviceapi.Rate{PerSecond: -1}, registry
			})
			send := func(token, length string) (int, error) {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					return 0, err
				}
				t.Cleanup(func() { conn.Close() })
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: device\r\nContent-Length: %s\r\nAuthorization: TargetToken %s\r\n\r\n", root, length, token); err != nil {
					return 0, err
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					return 0, err
				}
				return response.StatusCode, nil
			}
			for n := 0; n < 5000 && gathered(t, registry, "goshawk_ddi_connections_dropped_total") < 20; n++ {
				_, _ = send("guess", "1000")
			}
			lost := 0
			for range 50 {
				for range 4 {
					_, _ = send("guess", "1000")
				}
				if code, err := send(token, "0"); code != 200 {
					lost++
					t.Logf("a device gets %d, %v", code, err)
				}
			}
			if lost > 2 { // 0 on an idle machine
				t.Errorf("of 50 polls %d were lost", lost)
			}
			if gathered(t, registry, "goshawk_ddi_connections_dropped_total") < 20 {
				t.Error("the limit was not reached")
			}
		})
	}
}
