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
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// slowBackend holds a poll until it is released.
type slowBackend struct {
	*deviceapitest.Backend
	started, release chan struct{}
}

func (b slowBackend) State(ctx context.Context, device deviceapi.Device, remoteAddr string) (deviceapi.State, error) {
	close(b.started)
	<-b.release
	return b.Backend.State(ctx, device, remoteAddr)
}

// TestServeLetsRequestsFinish: a request that has started when the device API stops gets its
// response. A later connection is refused.
func TestServeLetsRequestsFinish(t *testing.T) {
	b := slowBackend{backend(), make(chan struct{}), make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, shut := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- deviceAPI(t, b).Serve(ctx, listener) }()

	polled := make(chan error, 1)
	poll := func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+root, nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "TargetToken "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	}
	go func() { polled <- poll() }()
	<-b.started
	shut()
	close(b.release)
	for what, outcome := range map[string]chan error{"the request that had started": polled, "Serve": served} {
		select {
		case err := <-outcome:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s does not end", what)
		}
	}
	if err := poll(); err == nil {
		t.Error("the device API still answers")
	}
}

func TestServeReturnsItsError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := deviceAPI(t, backend()).Serve(t.Context(), listener); err == nil {
		t.Error("want an error")
	}
}

// TestLog: a failure is logged as an error with its cause, and the response does not contain the
// cause. Refusals, which a device can cause, are logged at level 1, with everything from the device
// as a value.
func TestLog(t *testing.T) {
	const forged = "/acme/controller/v1/dev1%E2%80%8B\"msg\"=\"all is well\""
	tests := map[string]struct {
		verbosity int
		fails     error
		request   *http.Request
		want      string
	}{
		"a failure": {0, errors.New("etcd is on fire"), poll(),
			`"logger"="device-api" "msg"="The device API failed" "error"="etcd is on fire" "resource"="base" "method"="GET" "status"=500 "tenant"="acme" "controllerID"="dev1" "address"="192.0.2.7"`},
		"not ready":            {0, deviceapi.Unavailable{}, poll(), ""},
		"a refusal at level 0": {0, nil, poll("Authorization: TargetToken wrong"), ""},
		"a refusal, closely": {1, fmt.Errorf("target dev1: %w", deviceapi.ErrNotFound), poll(),
			`"logger"="device-api" "level"=1 "msg"="Refused a device" "resource"="base" "method"="GET" "status"=404 "tenant"="acme" "controllerID"="dev1" "address"="192.0.2.7" "reason"="target dev1: not found"`},
		"an id that looks like a log": {1, nil, ask("GET " + strings.ReplaceAll(strings.ReplaceAll(forged, `"`, "%22"), " ", "%0A")),
			`"logger"="device-api" "level"=1 "msg"="Refused a device" "resource"="base" "method"="GET" "status"=400 "tenant"="acme" "controllerID"="dev1\u200b\"msg\"=\"all\nis\nwell\"" "address"="192.0.2.7" "reason"="bad request: the controllerId in the path contains white space or an invisible character; remove it"`},
		"a long id": {1, nil, ask("GET /acme/controller/v1/" + strings.Repeat("x", 5000)),
			`"logger"="device-api" "level"=1 "msg"="Refused a device" "resource"="base" "method"="GET" "status"=400 "tenant"="acme" "controllerID"="` + strings.Repeat("x", 397) +
				`…" "address"="192.0.2.7" "reason"="bad request: the controllerId in the path has more than 256 characters"`},
		"a device that has disconnected": {0, context.Canceled, gone(poll()), ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var lines []string
			log := funcr.New(func(prefix, args string) {
				lines = append(lines, fmt.Sprintf(`"logger"=%q %s`, prefix, args))
			}, funcr.Options{Verbosity: tc.verbosity}).WithName("device-api")
			b := backend()
			b.Errors = map[string]error{"State": tc.fails}
			w := answered(deviceAPI(t, b, func(o *ddi.Options) { o.Log = log }), tc.request)
			if strings.Contains(w.Body.String(), "fire") {
				t.Errorf("the response contains the cause: %s", w.Body)
			}
			if diff := cmp.Diff(tc.want, strings.Join(lines, "\n")); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADisconnectedDeviceIsNoFailure(t *testing.T) {
	b := backend()
	b.Errors = map[string]error{"State": context.Canceled}
	if diff := cmp.Diff([]int{499, 500}, codes(deviceAPI(t, b), gone(poll()), poll())); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

func gone(r *http.Request) *http.Request {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	return r.WithContext(ctx)
}

// TestMetrics: the labels are resource and code, and not the device.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := deviceAPI(t, backend(), func(o *ddi.Options) { o.Registerer = registry })
	codes(s, poll(), poll(), otherDevice(), ask("DELETE "+root+"/configData"), ask("GET /robots.txt"),
		report("deploymentBase", success), ask("GET "+root+"/softwaremodules/9/artifacts/delta.swu"))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"goshawk_ddi_requests_total 200 base":                   2,
		"goshawk_ddi_requests_total 401 base":                   1,
		"goshawk_ddi_requests_total 405 configData":             1,
		"goshawk_ddi_requests_total 404 unknown":                1,
		"goshawk_ddi_requests_total 200 deploymentBaseFeedback": 1,
		"goshawk_ddi_requests_total 307 artifact":               1,
		"goshawk_ddi_connections":                               0,
		"goshawk_ddi_request_seconds base":                      3,
		"goshawk_ddi_request_seconds configData":                1,
		"goshawk_ddi_request_seconds unknown":                   1,
		"goshawk_ddi_request_seconds deploymentBaseFeedback":    1,
		"goshawk_ddi_request_seconds artifact":                  1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// TestDeviceAPIsOfOneProcessShareMetrics: a second device API with the same registry counts in the
// metrics of the first. NewServer returns an error if the registry has another metric of the same
// name.
func TestDeviceAPIsOfOneProcessShareMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	share := func(o *ddi.Options) { o.Registerer = registry }
	codes(deviceAPI(t, backend(), share), poll())
	codes(deviceAPI(t, backend(), share), poll())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetGauge() != nil {
				continue
			}
			if n := metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount()); n != 2 {
				t.Errorf("%s counts %v, want both polls", family.GetName(), n)
			}
		}
	}

	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "goshawk_ddi_requests_total", Help: "Something else."}))
	if _, err := newServer(backend(), ddi.Options{Registerer: taken}); err == nil {
		t.Error("another metric has the name: want an error")
	}
}

// TestConnectionsOfOldClientsAndIPv6: the device API listens on IPv4 and IPv6, and serves HTTP/1.0.
// Links have the host of the request, or the address of the connection if the request has none.
func TestConnectionsOfOldClientsAndIPv6(t *testing.T) {
	tests := map[string]struct {
		listen string
		// request is the end of the first line, and the header Host with %s for the address.
		request string
		// links start with http:// and this, with %s for the address.
		links, address string
		closes         bool
	}{
		"IPv4":                              {"127.0.0.1:0", "HTTP/1.1\r\nHost: %s", "%s", "127.0.0.1", false},
		"IPv6":                              {"[::1]:0", "HTTP/1.1\r\nHost: %s", "%s", "::1", false},
		"IPv6 with a name":                  {"[::1]:0", "HTTP/1.1\r\nHost: devices.example", "devices.example", "::1", false},
		"HTTP/1.0 with a host":              {"127.0.0.1:0", "HTTP/1.0\r\nHost: devices.example:80", "devices.example:80", "127.0.0.1", true},
		"HTTP/1.0 without a host":           {"127.0.0.1:0", "HTTP/1.0", "%s", "127.0.0.1", true},
		"HTTP/1.0 without a host over IPv6": {"[::1]:0", "HTTP/1.0", "%s", "::1", true},
		"HTTP/1.0 that stays connected":     {"127.0.0.1:0", "HTTP/1.0\r\nConnection: keep-alive", "%s", "127.0.0.1", false},
		"HTTP/1.1 with an empty host":       {"[::1]:0", "HTTP/1.1\r\nHost:", "%s", "::1", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", tc.listen)
			if err != nil {
				t.Skipf("this machine has no such address: %v", err)
			}
			b := backend()
			b.Offer.DeployID = 31
			go func() { _ = deviceAPI(t, b).Serve(t.Context(), listener) }()
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			insert := func(text string) string { return strings.Replace(text, "%s", listener.Addr().String(), 1) }
			fmt.Fprintf(conn, "GET %s %s\r\nAuthorization: TargetToken %s\r\n\r\n", root, insert(tc.request), token)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if want := `"http://` + insert(tc.links) + root + `/deploymentBase/31"`; err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
				t.Errorf("%d %s, %v, want a link to %s", response.StatusCode, body, err, want)
			}
			if response.Close != tc.closes || response.ContentLength != int64(len(body)) {
				t.Errorf("closes %t, Content-Length %d of %d bytes", response.Close, response.ContentLength, len(body))
			}
			if got := b.Calls()[0].Args[0]; got != tc.address {
				t.Errorf("the address of the device is %v, want %s", got, tc.address)
			}
		})
	}
}
