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
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/dditest"
)

// fleetOf returns a backend with this many devices more, named honest-0 and so on.
func fleetOf(n int) *dditest.Backend {
	b := backend()
	for i := range n {
		b.Tokens[ddi.Device{Tenant: "acme", ControllerID: fmt.Sprint("honest-", i)}] = token
	}
	return b
}

// floods are what a client without a token can send. Every request comes from the address of the devices,
// unless it says otherwise.
var floods = map[string]func(i int) *http.Request{
	"guesses the token of a device": func(i int) *http.Request { return poll(fmt.Sprint("Authorization: TargetToken guess-", i)) },
	"sends no token":                func(int) *http.Request { return poll("Authorization: ") },
	"sends the token of a gateway":  func(int) *http.Request { return poll("Authorization: GatewayToken " + token) },
	"guesses from another address":  func(int) *http.Request { return from("198.51.100.1:1", poll("Authorization: TargetToken guess")) },
	"guesses from many addresses": func(i int) *http.Request {
		return from(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), poll("Authorization: TargetToken guess"))
	},
	"guesses from many IPv6 networks": func(i int) *http.Request {
		return from(fmt.Sprintf("[2001:db8:%x::1]:1", i), poll("Authorization: TargetToken guess"))
	},
	"invents devices":                      func(i int) *http.Request { return ask(fmt.Sprint("GET /acme/controller/v1/nobody-", i)) },
	"invents devices with long names":      func(i int) *http.Request { return ask(fmt.Sprintf("GET /acme/controller/v1/%0256d", i)) },
	"invents devices with names too long":  func(i int) *http.Request { return ask(fmt.Sprintf("GET /acme/controller/v1/%0300d", i)) },
	"invents tenants":                      func(i int) *http.Request { return ask(fmt.Sprintf("GET /tenant-%d/controller/v1/dev1", i)) },
	"asks for paths that name no device":   func(i int) *http.Request { return ask(fmt.Sprint("GET /wp-admin/", i)) },
	"sends results with a wrong token":     func(int) *http.Request { return guessed(report("deploymentBase", success)) },
	"answers cancels with a wrong token":   func(int) *http.Request { return guessed(report("cancelAction", rejected)) },
	"guesses through the proxy of devices": func(int) *http.Request { return poll("Authorization: TargetToken guess", "X-Forwarded-For: 192.0.2.7") },
}

func guessed(r *http.Request) *http.Request {
	r.Header.Set("Authorization", "TargetToken guess")
	return r
}

func from(address string, r *http.Request) *http.Request {
	r.RemoteAddr = address
	return r
}

// A client without a token sends what it likes, and devices behind the same address are answered as ever: also the
// one whose name it uses.
func TestNoWrongTokenKeepsOutARightOne(t *testing.T) {
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := ddi.NewServer(fleetOf(10), ddi.Options{})
			if err != nil {
				t.Fatal(err)
			}
			counted := map[int]int{}
			for i := range 20_000 {
				counted[answered(s, flood(i)).Code]++
			}
			if n := counted[http.StatusTooManyRequests]; n < 18_000 || counted[200] > 0 {
				t.Errorf("of 20 000 answers %v", counted)
			}
			got := codes(s, poll(), report("deploymentBase", proceeding), report("deploymentBase", success), report("cancelAction", rejected),
				ask("GET /acme/controller/v1/honest-3"), ask("POST /acme/controller/v1/honest-4/deploymentBase/31/feedback", `{"status":`+success+`}`))
			if diff := cmp.Diff([]int{200, 200, 200, 200, 200, 200}, got); diff != "" {
				t.Errorf("honest devices (-want +got):\n%s", diff)
			}
		})
	}
}

// A gateway with 10 000 devices behind one address, one of which sends all that it can, and a client without a token
// there: every other device polls and reports.
func TestAGatewayOfManyDevices(t *testing.T) {
	const devices = 10_000
	s, err := ddi.NewServer(fleetOf(devices), ddi.Options{})
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

// What a client without a token makes the device API log is bounded, also with the most lines.
func TestFloodsLogLittle(t *testing.T) {
	lines, warnings := 0, 0
	log := funcr.New(func(_, args string) {
		if lines++; strings.Contains(args, "Devices with the right token are not affected") {
			warnings++
		}
		if len(args) > 4096 {
			t.Errorf("a line of %d bytes", len(args))
		}
	}, funcr.Options{Verbosity: 1})
	s, err := ddi.NewServer(backend(), ddi.Options{Log: log})
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

// A connection with wrong credentials is closed, and what came behind the request is not answered. Those of a
// trusted proxy, which other devices use, and of devices with the right token stay.
func TestConnectionsWithWrongCredentialsAreClosed(t *testing.T) {
	right, wrong := "Authorization: TargetToken "+token+"\r\n", "Authorization: TargetToken guess\r\n"
	request := func(line, headers string) string { return line + " HTTP/1.1\r\nHost: door\r\n" + headers + "\r\n" }
	trusted := func(o *ddi.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }
	for name, tc := range map[string]struct {
		change func(*ddi.Options)
		sent   string
		want   []int
	}{
		"the right token":                        {nil, request("GET "+root, right) + request("GET "+root+"/x", right) + request("GET "+root, right), []int{200, 404, 200}},
		"a wrong token":                          {nil, request("GET "+root, wrong) + request("GET "+root, right), []int{401}},
		"no token":                               {nil, request("GET "+root, "") + request("GET "+root, right), []int{401}},
		"a wrong token after a right one":        {nil, request("GET "+root, right) + request("GET "+root, wrong) + request("GET "+root, right), []int{200, 401}},
		"a path that names no device":            {nil, request("GET /robots.txt", right) + request("GET "+root, right), []int{404}},
		"a report with a body that never comes":  {nil, request("POST "+root+"/deploymentBase/31/feedback", wrong+"Content-Type: application/json\r\nContent-Length: 1000\r\n"), []int{401}},
		"a wrong token through a trusted proxy":  {trusted, request("GET "+root, wrong) + request("GET "+root, right), []int{401, 200}},
		"a wrong token of a device behind proxy": {trusted, request("GET "+root, wrong+"X-Forwarded-For: 203.0.113.9\r\n") + request("GET "+root, right), []int{401, 200}},
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
	s, err := ddi.NewServer(backend(), options)
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
