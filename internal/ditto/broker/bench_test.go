// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
)

// quiet is a handler that records nothing.
type quiet struct{ handler }

func (*quiet) Connected(deviceapi.Device, ditto.Connection)              {}
func (*quiet) Disconnected(deviceapi.Device, ditto.ConnectionID)         {}
func (*quiet) Subscribed(deviceapi.Device, ditto.ConnectionID, string)   {}
func (*quiet) Unsubscribed(deviceapi.Device, ditto.ConnectionID, string) {}
func (*quiet) Received(context.Context, deviceapi.Device, ditto.ConnectionID, ditto.Message) error {
	return nil
}

// fleet is a broker with n devices that have subscribed to their commands, and room for more.
type fleet struct {
	*broker.Embedded
	address  string
	devices  []deviceapi.Device
	received atomic.Int64
}

func newFleet(b *testing.B, n, more int, security *tls.Config) *fleet {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	options := fast()
	options.TLS = security
	options.MaxConnections, options.MaxAddressConnections = n+more, n+more
	f := &fleet{address: listener.Addr().String()}
	if f.Embedded, err = broker.NewEmbedded(listener, options); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, &quiet{}) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	for i := range n {
		device := deviceapi.Device{Namespace: "fleet", ControllerID: fmt.Sprintf("dev-%d", i)}
		client, err := mqtt.Connect(ctx, mqtt.Options{
			Address: listener.Addr().String(), User: device.ControllerID + "@fleet", Password: "secret",
			Received: func(mqtt.Message) bool { f.received.Add(1); return true },
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.Abort)
		if _, err := client.Subscribe(ctx, "command///req/#"); err != nil {
			b.Fatal(err)
		}
		f.devices = append(f.devices, device)
	}
	return f
}

// heap returns the memory that is in use, with that of goroutines.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkIdleConnection measures the memory that one idle connection needs in the broker. The
// other end is a socket without a goroutine, and without the state of TLS.
func BenchmarkIdleConnection(b *testing.B) {
	const n = 2000
	ca := newAuthority(b)
	server := &tls.Config{Certificates: []tls.Certificate{ca.issue("server")}, ClientAuth: tls.RequestClientCert}
	for _, c := range []struct {
		name   string
		server *tls.Config
		client func(user string) *tls.Config
	}{
		{"TCP", nil, func(string) *tls.Config { return nil }},
		{"TLS", server, func(string) *tls.Config { return &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1"} }},
		{"mTLS", server, func(user string) *tls.Config {
			return &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.issue(user)}}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				f := newFleet(b, 0, n, c.server)
				conns := make([]net.Conn, 0, n)
				before := heap()
				for i := range n {
					user := fmt.Sprintf("dev-%d@fleet", i)
					conns = append(conns, bareConnection(b, f.address, user, c.client(user)))
				}
				b.ReportMetric(float64(heap()-before)/n/1024, "KiB/connection")
				for _, conn := range conns {
					_ = conn.Close()
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// bareConnection connects, subscribes to commands, and reads the responses.
func bareConnection(b *testing.B, address, user string, security *tls.Config) net.Conn {
	b.Helper()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	conn := raw
	if security != nil {
		conn = tls.Client(raw, security)
	}
	var sent bytes.Buffer
	connect := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Username: []byte(user), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true}
	subscribe := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "command///req/#", Qos: 1}}}
	if err := errors.Join(connect.ConnectEncode(&sent), subscribe.SubscribeEncode(&sent)); err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Write(sent.Bytes()); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4+5)); err != nil { // CONNACK, SUBACK
		b.Fatal(err)
	}
	return raw
}

// BenchmarkCommands measures how many commands a second reach 2000 devices.
func BenchmarkCommands(b *testing.B) {
	f := newFleet(b, 2000, 0, nil)
	payload := make([]byte, 1000)
	b.ResetTimer()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := worker; i < b.N; i += 8 {
				message := ditto.Message{Topic: fmt.Sprintf("command///req/%d-install-1/install", i), Payload: payload}
				if err := f.Send(b.Context(), f.devices[i%len(f.devices)], message); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	for f.received.Load() < int64(b.N) {
		runtime.Gosched()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}
