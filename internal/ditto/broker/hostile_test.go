// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// embedded is a running broker.
type embedded struct {
	*broker.Embedded
	*handler
	address string
}

func embeddedFor(t *testing.T, options broker.EmbeddedOptions, prepare ...func(*broker.Embedded)) *embedded {
	t.Helper()
	e := &embedded{handler: newHandler(), address: ports.Free(t)}
	b, end := startEmbedded(t, e.address, options, e.handler, prepare...)
	t.Cleanup(end)
	e.Embedded = b
	return e
}

// dial connects a client with the right password.
func (e *embedded) dial(t *testing.T, user string, change func(*mqtt.Options)) (*mqtt.Client, error) {
	t.Helper()
	options := mqtt.Options{Address: e.address, User: user, Password: "secret"}
	if change != nil {
		change(&options)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := mqtt.Connect(ctx, options)
	if err == nil {
		t.Cleanup(client.Abort)
	}
	return client, err
}

func (e *embedded) mustDial(t *testing.T, user string, change func(*mqtt.Options)) *mqtt.Client {
	t.Helper()
	client, err := e.dial(t, user, change)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func isDone(t *testing.T, what string, client *mqtt.Client) {
	t.Helper()
	select {
	case <-client.Done():
	case <-time.After(patience):
		t.Errorf("%s: the connection is still open after %s", what, patience)
	}
}

// serves fails unless a device can connect and report.
func (e *embedded) serves(t *testing.T) {
	t.Helper()
	honest := e.mustDial(t, "honest@fleet", nil)
	if err := honest.Publish(t.Context(), mqtt.Message{Topic: "e", Payload: []byte("fine")}); err != nil {
		t.Errorf("a message of another device: %v", err)
	}
	honest.Close()
}

// collect returns a handler of messages and what it got.
func collect() (func(mqtt.Message) bool, chan mqtt.Message) {
	got := make(chan mqtt.Message, 1000)
	return func(m mqtt.Message) bool { got <- m; return true }, got
}

// A client gets nothing but what is sent to its own device, whatever it subscribes to, and no
// message of a client reaches another one.
func TestAClientSeesNoMessageOfAnotherClient(t *testing.T) {
	for _, filter := range []string{
		"#", "+/#", "+", "e", "/#", "+/+/+/+/+", "command///req/#", "1/#", "2/#", "$SYS/#", "$share/g/#", "$share/g/e", "$SHARE/g/2/#", "../#", "2/e",
		"event/fleet/victim", "edge/thing/response", "command/fleet/victim/req/#",
	} {
		t.Run(filter, func(t *testing.T) {
			e := embeddedFor(t, fast())
			received, got := collect()
			spy := e.mustDial(t, "spy@fleet", func(o *mqtt.Options) { o.Received = received })
			_, err := spy.Subscribe(t.Context(), filter, "mine")
			if err != nil {
				t.Fatal(err)
			}
			victim := e.mustDial(t, "victim@fleet", func(o *mqtt.Options) { o.Will = &mqtt.Message{Topic: "e", Payload: []byte("will")} })
			if _, err := victim.Subscribe(t.Context(), "command///req/#", "edge/thing/response"); err != nil {
				t.Fatal(err)
			}
			for _, topic := range []string{"e", "a", "a/b/c/d/e", "command///res/1/204", "1/e", "edge/thing/response", "mine"} {
				if err := victim.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: []byte("secret")}); err != nil {
					t.Fatalf("%s: %v", topic, err)
				}
			}
			for _, topic := range []string{"command///req/1-install-1/install", "edge/thing/response"} {
				if err := e.Send(t.Context(), deviceOf("victim@fleet"), ditto.Message{Topic: topic, Payload: []byte("secret")}); err != nil {
					t.Fatal(err)
				}
			}
			victim.Abort()
			e.await(t, "victim disconnected")
			if err := e.Send(t.Context(), deviceOf("spy@fleet"), ditto.Message{Topic: "mine", Payload: []byte("last")}); err != nil {
				t.Fatal(err)
			}
			if m := <-got; string(m.Payload) != "last" {
				t.Errorf("with a subscription to %s the client got %s on %s", filter, m.Payload, m.Topic)
			}
		})
	}
}

func TestAClientCannotWriteForAnotherDevice(t *testing.T) {
	e := embeddedFor(t, fast())
	received, got := collect()
	victim := e.mustDial(t, "victim@fleet", func(o *mqtt.Options) { o.Received = received })
	if _, err := victim.Subscribe(t.Context(), "#"); err != nil {
		t.Fatal(err)
	}
	attacker := e.mustDial(t, "attacker@fleet", nil)
	for _, topic := range []string{"1/command///req/1/install", "command///req/1/install", "command/fleet/victim/req/1/install", "event/fleet/victim", "e"} {
		if err := attacker.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: []byte("forged")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range e.got() {
		if m.device != deviceOf("attacker@fleet") {
			t.Errorf("a message of the attacker counts as one of %v", m.device)
		}
	}
	if err := e.Send(t.Context(), deviceOf("victim@fleet"), ditto.Message{Topic: "last", Payload: []byte("last")}); err != nil {
		t.Fatal(err)
	}
	if m := <-got; string(m.Payload) != "last" {
		t.Errorf("the victim got %s on %s", m.Payload, m.Topic)
	}
}

// Client ids belong to a device: the same id of another device is another client.
func TestClientIDsBelongToTheirDevice(t *testing.T) {
	e := embeddedFor(t, fast())
	withID := func(o *mqtt.Options) { o.ClientID = "agent" }
	first := e.mustDial(t, "dev-1@fleet", withID)
	other := e.mustDial(t, "dev-2@fleet", withID)
	again := e.mustDial(t, "dev-1@fleet", withID)
	isDone(t, "an earlier connection with the same client id", first)
	for name, client := range map[string]*mqtt.Client{"the newer connection": again, "the connection of another device": other} {
		if err := client.Publish(t.Context(), mqtt.Message{Topic: "e"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.awaitThat(t, "the calls for the connections", func() bool {
		return slices.Contains(e.events, "dev-1 disconnected") && !slices.Contains(e.events, "dev-2 disconnected")
	})
}

// A device whose client id is random leaves dead connections after each network failure.
func TestADeviceHasAtMostEightConnections(t *testing.T) {
	e := embeddedFor(t, fast())
	var clients []*mqtt.Client
	for range 10 {
		clients = append(clients, e.mustDial(t, "dev-1@fleet", nil))
		e.awaitThat(t, "the connection", func() bool {
			return len(slices.DeleteFunc(slices.Clone(e.events), func(s string) bool { return s != "dev-1 connected" })) == len(clients)
		})
	}
	isDone(t, "the oldest connection", clients[0])
	isDone(t, "the second connection", clients[1])
	for i, client := range clients[2:] {
		if err := client.Publish(t.Context(), mqtt.Message{Topic: "e"}); err != nil {
			t.Errorf("connection %d: %v", i+2, err)
		}
	}
}

// Every agent of a device gets the commands that it has subscribed to.
func TestAllConnectionsOfADeviceGetItsCommands(t *testing.T) {
	e := embeddedFor(t, fast())
	var inboxes []chan mqtt.Message
	for range 3 {
		received, got := collect()
		client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Received = received })
		if _, err := client.Subscribe(t.Context(), "command///req/#"); err != nil {
			t.Fatal(err)
		}
		inboxes = append(inboxes, got)
	}
	e.mustDial(t, "dev-1@fleet", nil) // and one without a subscription
	if err := e.Send(t.Context(), one, ditto.Message{Topic: "command///req/1-install-1/install"}); err != nil {
		t.Fatal(err)
	}
	for i, got := range inboxes {
		select {
		case <-got:
		case <-time.After(patience):
			t.Errorf("connection %d got no command", i)
		}
	}
}

func TestSendToADeviceThatCannotBeReached(t *testing.T) {
	e := embeddedFor(t, fast())
	command := ditto.Message{Topic: "command///req/1-install-1/install"}
	if err := e.Send(t.Context(), one, command); !errors.Is(err, ditto.ErrNotConnected) {
		t.Errorf("without a connection the error is %v", err)
	}
	client := e.mustDial(t, "dev-1@fleet", nil)
	if err := e.Send(t.Context(), one, command); !errors.Is(err, ditto.ErrNotConnected) {
		t.Errorf("without a subscription the error is %v", err)
	}
	if _, err := client.Subscribe(t.Context(), "command///req/#"); err != nil {
		t.Fatal(err)
	}
	if err := e.Send(t.Context(), one, command); err != nil {
		t.Errorf("with a subscription the error is %v", err)
	}
	if err := client.Unsubscribe(t.Context(), "command///req/#"); err != nil {
		t.Fatal(err)
	}
	if err := e.Send(t.Context(), one, command); !errors.Is(err, ditto.ErrNotConnected) {
		t.Errorf("after the end of the subscription the error is %v", err)
	}
	e.await(t, "dev-1 subscribed to command///req/#")
	client.Close()
	e.await(t, "dev-1 disconnected")
	if err := e.Send(t.Context(), one, command); !errors.Is(err, ditto.ErrNotConnected) {
		t.Errorf("after the end of the connection the error is %v", err)
	}
}

func TestRefusedConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		v3, v5 byte
	}{
		"wrong credentials":                    {deviceapi.ErrUnauthorized, 5, 0x86},
		"a backend that is not ready":          {deviceapi.Unavailable{}, 3, 0x88},
		"a device that sends too much":         {deviceapi.ErrDeviceRate, 3, 0x9f},
		"a failure of the device API":          {errors.New("no such table"), 3, 0x88},
		"a wrapped error of wrong credentials": {fmt.Errorf("user: %w", deviceapi.ErrUnauthorized), 5, 0x86},
	} {
		t.Run(name, func(t *testing.T) {
			e := embeddedFor(t, fast())
			e.authorize = func(ditto.Connection) error { return tc.err }
			for version, want := range map[byte]byte{4: tc.v3, 5: tc.v5} {
				_, err := e.dial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Version = version })
				if refused := new(mqtt.Refused); !errors.As(err, refused) || refused.Code != want {
					t.Errorf("with version %d the error is %v, want code %#x", version, err, want)
				}
			}
			if events := e.noted(); len(events) > 0 {
				t.Errorf("the handler got %q", events)
			}
		})
	}
}

// A client that guesses passwords gets few answers that say that they are wrong. A device with the
// right password at the same address is not affected.
func TestWrongPasswordsAreLimited(t *testing.T) {
	options := fast()
	options.Rates.Guess = deviceapi.Rate{PerSecond: 0.001, Burst: 3}
	e := embeddedFor(t, options)
	codes := map[byte]int{}
	for range 10 {
		_, err := e.dial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Password, o.Version = "guess", 5 })
		refused := new(mqtt.Refused)
		if !errors.As(err, refused) {
			t.Fatal(err)
		}
		codes[refused.Code]++
	}
	if codes[0x86] != 3 || codes[0x9f] != 7 {
		t.Errorf("the codes are %v, want 3 of 0x86 and 7 of 0x9f", codes)
	}
	e.mustDial(t, "dev-1@fleet", nil)
}

func TestADeviceThatConnectsTooOften(t *testing.T) {
	options := fast()
	options.DeviceConnects = deviceapi.Rate{PerSecond: 0.001, Burst: 3}
	e := embeddedFor(t, options)
	for i := range 5 {
		_, err := e.dial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Version = 5 })
		refused := new(mqtt.Refused)
		if wantRefused := i >= 3; errors.As(err, refused) != wantRefused || wantRefused && refused.Code != 0x9f {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	e.serves(t)
}

func TestAnAddressThatConnectsTooOften(t *testing.T) {
	options := fast()
	options.AddressConnects = deviceapi.Rate{PerSecond: 0.001, Burst: 3}
	e := embeddedFor(t, options)
	for i := range 5 {
		if _, err := e.dial(t, fmt.Sprintf("dev-%d@fleet", i), nil); (err != nil) != (i >= 3) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

// Clients without credentials use up the connections, and a device still connects: the connection
// that has waited longest is closed.
func TestConnectionsWithoutCredentialsDoNotShutOutDevices(t *testing.T) {
	options := fast()
	options.MaxConnections = 10
	e := embeddedFor(t, options)
	device := e.mustDial(t, "dev-1@fleet", nil)
	var silent []net.Conn
	for range 30 {
		conn, err := net.Dial("tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write([]byte{0x10, 0x20, 0x00})
		silent = append(silent, conn)
	}
	e.serves(t)
	if err := device.Publish(t.Context(), mqtt.Message{Topic: "e"}); err != nil {
		t.Errorf("the connection of the device: %v", err)
	}
	_ = silent[0].SetReadDeadline(time.Now().Add(patience))
	if _, err := silent[0].Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || err == nil {
		t.Errorf("the connection that waited longest: %v", err)
	}
}

func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	options := fast()
	options.MaxAddressConnections = 3
	e := embeddedFor(t, options)
	for i := range 3 {
		e.mustDial(t, fmt.Sprintf("dev-%d@fleet", i), nil)
	}
	if _, err := e.dial(t, "dev-9@fleet", nil); err == nil {
		t.Error("a fourth connection is accepted")
	}
}

// encode returns the bytes of a packet.
func encode(t *testing.T, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func publishBytes(t *testing.T, topic string, payload []byte) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 1, ProtocolVersion: 4, TopicName: topic, Payload: payload}
	return encode(t, pk.PublishEncode)
}

// A packet beyond a limit ends the connection, and no other one.
func TestHostilePackets(t *testing.T) {
	connect := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Username: []byte("dev-1@fleet"), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true}
	hello := encode(t, connect.ConnectEncode)
	for name, sent := range map[string][]byte{
		"a first packet that is not CONNECT":            {0xc0, 0},
		"a first packet of 200 KiB":                     {0x10, 0x80, 0x80, 0x0c},
		"a first packet of 256 MiB":                     {0x10, 0xff, 0xff, 0xff, 0x7f},
		"a length that does not end":                    {0x10, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a large packet behind CONNECT":                 append(bytes.Clone(hello), 0x32, 0xff, 0xff, 0xff, 0x7f),
		"a second CONNECT":                              append(bytes.Clone(hello), hello...),
		"a topic of 3000 bytes":                         append(bytes.Clone(hello), publishBytes(t, strings.Repeat("a", 3000), nil)...),
		"a topic of 100 levels":                         append(bytes.Clone(hello), publishBytes(t, strings.Repeat("a/", 100), nil)...),
		"a topic with a wildcard":                       append(bytes.Clone(hello), publishBytes(t, "e/+", nil)...),
		"a topic of the broker":                         append(bytes.Clone(hello), publishBytes(t, "$SYS/broker/uptime", nil)...),
		"a payload larger than the maximum":             append(bytes.Clone(hello), publishBytes(t, "e", make([]byte, ditto.MaxPayload+1))...),
		"a packet type that does not exist":             append(bytes.Clone(hello), 0xf0, 0),
		"a subscription without a filter":               append(bytes.Clone(hello), 0x82, 2, 0, 1),
		"a topic that is not UTF-8":                     append(bytes.Clone(hello), 0x30, 4, 0, 2, 0xff, 0xfe),
		"a topic without end":                           append(bytes.Clone(hello), 0x30, 3, 0xff, 0xff, 'a'),
		"an acknowledgement that is empty":              append(bytes.Clone(hello), 0x40, 0),
		"a message with quality of service 3":           append(bytes.Clone(hello), 0x36, 5, 0, 1, 'e', 0, 1),
		"a message with quality of service 1 and no id": append(bytes.Clone(hello), 0x32, 3, 0, 1, 'e'),
		"a message with quality of service 1 and id 0":  append(bytes.Clone(hello), 0x32, 5, 0, 1, 'e', 0, 0),
		"a protocol that is not MQTT":                   []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"a TLS handshake on a port without TLS":         {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			e := embeddedFor(t, fast())
			conn, err := net.Dial("tcp", e.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Write(sent)
			answer, err := io.ReadAll(conn)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the connection is still open; the answer was %x", answer)
			}
			if len(e.got()) > 0 {
				t.Errorf("the handler got %v", e.got())
			}
			e.serves(t)
		})
	}
}

// Packets of MQTT 5 that do not keep to it end the connection.
func TestHostilePacketsOfMQTT5(t *testing.T) {
	connect := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Username: []byte("dev-1@fleet"), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true}
	hello := encode(t, connect.ConnectEncode)
	connect.Properties.AuthenticationMethod = "SCRAM-SHA-1"
	withMethod := encode(t, connect.ConnectEncode)
	unknownVersion := bytes.Clone(hello)
	unknownVersion[8] = 6
	for name, tc := range map[string]struct {
		sent []byte
		// last is the type and, at the second place, the code of the last packet of the broker.
		kind, code byte
	}{
		"a subscription that ends after its filter": {append(bytes.Clone(hello), 0x82, 6, 0, 1, 0, 0, 1, 'e'), packets.Connack, 0}, // a fault of the library
		"a topic alias":                     {append(bytes.Clone(hello), 0x30, 7, 0, 1, 'e', 3, 0x23, 0, 1), packets.Disconnect, 0x94},
		"a subscription with an identifier": {append(bytes.Clone(hello), 0x82, 9, 0, 1, 2, 0x0b, 1, 0, 1, 'e', 1), packets.Disconnect, 0xa1},
		"an AUTH packet":                    {append(bytes.Clone(hello), 0xf0, 0), packets.Disconnect, 0x82},
		"a topic of the broker":             {append(bytes.Clone(hello), 0x30, 6, 0, 2, '$', 'a', 0, 'x'), packets.Disconnect, 0x90},
		"a packet that is too large":        {append(bytes.Clone(hello), 0x30, 0xff, 0xff, 0xff, 0x7f), packets.Disconnect, 0x95},
		"an authentication method":          {withMethod, packets.Connack, 0x8c},
		"a version that does not exist":     {unknownVersion, packets.Connack, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := embeddedFor(t, fast())
			conn, err := net.Dial("tcp", e.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Write(tc.sent)
			answer, err := io.ReadAll(conn)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("the connection is still open; the answer was %x", answer)
			}
			last := answer
			for rest := answer; len(rest) > 1 && len(rest) >= 2+int(rest[1]); rest = rest[2+int(rest[1]):] {
				last = rest
			}
			code := byte(0)
			if len(last) > 2 && last[0]>>4 == packets.Disconnect {
				code = last[2]
			} else if len(last) > 3 {
				code = last[3]
			}
			if len(last) == 0 || last[0]>>4 != tc.kind || code != tc.code {
				t.Errorf("the answer is %x, want a last packet of type %d with code %#x", answer, tc.kind, tc.code)
			}
			e.serves(t)
		})
	}
}

// A client that sends the first packet, or a later one, too slowly is disconnected.
func TestSlowPackets(t *testing.T) {
	connect := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Username: []byte("dev-1@fleet"), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true}
	hello := encode(t, connect.ConnectEncode)
	for name, tc := range map[string]struct {
		at, slowly []byte
	}{
		"nothing":                     {nil, nil},
		"a slow first packet":         {nil, hello},
		"a slow later packet":         {hello, publishBytes(t, "e", make([]byte, 1000))},
		"a slow packet that is large": {hello, publishBytes(t, "e", make([]byte, 100<<10))},
	} {
		t.Run(name, func(t *testing.T) {
			e := embeddedFor(t, fast(), func(b *broker.Embedded) { b.SetTimeouts(time.Second/2, time.Second/2) })
			conn, err := net.Dial("tcp", e.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write(tc.at)
			go func() {
				for _, b := range tc.slowly {
					if _, err := conn.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}()
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			_, err = io.ReadAll(conn)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("the connection is still open")
			}
			until(t, "nothing is left of the connection", func() bool { return e.Left() == 0 })
		})
	}
}

// Few large packets are read in parallel, and a part of them for one namespace. Others wait, and
// small ones do not.
func TestLargePacketsWaitForEachOther(t *testing.T) {
	e := embeddedFor(t, fast())
	var started, most int
	release := make(chan struct{})
	e.answer = func(m received) error {
		if len(m.payload) > 64<<10 {
			e.mu.Lock()
			started++
			most = max(most, started)
			e.mu.Unlock()
			<-release
			e.mu.Lock()
			started--
			e.mu.Unlock()
		}
		return nil
	}
	const n = 40
	done := make(chan error, 2*n)
	for i, all := range []int{24, 32} { // in all, after the devices of each namespace
		namespace := []string{"fleet", "other"}[i]
		for i := range n {
			client := e.mustDial(t, fmt.Sprintf("dev-%d@%s", i, namespace), nil)
			go func() { done <- client.Publish(t.Context(), mqtt.Message{Topic: "e", Payload: make([]byte, 200<<10)}) }()
		}
		e.awaitThat(t, fmt.Sprint(all, " large packets"), func() bool { return len(e.messages) == all })
	}
	e.serves(t)
	close(release)
	for range 2 * n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most != 32 {
		t.Errorf("%d large packets were read in parallel, want 32", most)
	}
}

// A message with quality of service 2 is handled once, also if the client sends it again.
func TestQualityOfService2(t *testing.T) {
	e := embeddedFor(t, fast())
	connect := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Username: []byte("dev-1@fleet"), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true}
	publish := []byte{0x34, 8, 0, 1, 'e', 0, 7, 'a', 'b', 'c'}
	again := bytes.Clone(publish)
	again[0] |= 8
	pubrel := []byte{0x62, 2, 0, 7}
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write(slices.Concat(encode(t, connect.ConnectEncode), publish, again, pubrel, publish))
	want := []byte{0x20, 2, 0, 0, 0x50, 2, 0, 7, 0x50, 2, 0, 7, 0x70, 2, 0, 7, 0x50, 2, 0, 7}
	answer := make([]byte, len(want))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(conn, answer); err != nil || !bytes.Equal(answer, want) {
		t.Errorf("the answer is %x, %v, want %x", answer, err, want)
	}
	if got := len(e.got()); got != 2 {
		t.Errorf("%d messages were handled, want 2", got)
	}
}

func TestFilters(t *testing.T) {
	for _, tc := range []struct {
		filter, topic string
		want          bool
	}{
		{"#", "a", true}, {"#", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false},
		{"+", "a", true}, {"+", "a/b", false}, {"+/+", "a/b", true}, {"+/+", "/b", true}, {"/+", "/b", true}, {"/+", "b", false},
		{"a/+/c", "a/b/c", true}, {"a/+/c", "a/b/d", false}, {"a/+", "a", false}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true},
		{"a", "a", true}, {"a", "A", false}, {"a", "a/", false}, {"a/", "a", false}, {"a/", "a/", true}, {"a/+", "a/", true},
		{"command///req/#", "command///req/1-install-1/install", true}, {"command///req/#", "command///res/1/200", false},
		{"command//+/req/#", "command///req/1/install", true}, {"command/+/+/req/#", "command///req/1/install", true},
	} {
		if got := broker.Matches(tc.filter, tc.topic); got != tc.want {
			t.Errorf("%q matches %q: %t, want %t", tc.filter, tc.topic, got, tc.want)
		}
	}
}

// Random bytes, and whole packets with random changes, end at most their own connection.
func TestRandomBytes(t *testing.T) {
	e := embeddedFor(t, fast())
	random := rand.New(rand.NewPCG(1, 2))
	connect := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Username: []byte("dev-1@fleet"), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true}
	hello := encode(t, connect.ConnectEncode)
	subscribe := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 7, Filters: packets.Subscriptions{{Filter: "command///req/#", Qos: 1}}}
	rest := slices.Concat(encode(t, subscribe.SubscribeEncode), publishBytes(t, "e", []byte("{}")), []byte{0xc0, 0, 0xe0, 2, 0, 0})
	for i := range 500 {
		conn, err := net.Dial("tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		sent := slices.Concat(hello, rest)
		for range 1 + i%6 {
			at := random.IntN(len(sent))
			if i%2 == 0 {
				at = min(len(hello)+at, len(sent)-1) // after CONNECT
			}
			sent[at] = byte(random.IntN(256))
		}
		_, _ = conn.Write(sent)
		_ = conn.Close()
	}
	e.serves(t)
}

func TestSubscriptionsBeyondTheLimitAreRefused(t *testing.T) {
	e := embeddedFor(t, fast())
	received, got := collect()
	client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Version, o.Received = 5, received })
	var filters []string
	for i := range 40 {
		filters = append(filters, fmt.Sprintf("topic/%d", i))
	}
	for range 2 { // those that are present may be repeated
		codes, err := client.Subscribe(t.Context(), filters...)
		if err != nil {
			t.Fatal(err)
		}
		for i, code := range codes {
			if granted := code <= 2; granted != (i < 32) {
				t.Errorf("subscription %d is answered with %#x", i, code)
			}
		}
	}
	codes, err := client.Subscribe(t.Context(), "", strings.Repeat("a/", 100), strings.Repeat("a", 3000), "$share/g/e", "$SYS/#", "a/#/b")
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range codes {
		if code < 0x80 {
			t.Errorf("wrong subscription %d is answered with %#x", i, code)
		}
	}
	if err := e.Send(t.Context(), one, ditto.Message{Topic: "topic/31"}); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m.Topic != "topic/31" {
		t.Errorf("got a message on %s", m.Topic)
	}
}

// A filter that the handler refuses gets a code that says so, and adds no subscription.
func TestSubscriptionThatTheHandlerRefuses(t *testing.T) {
	for version, want := range map[byte][]byte{4: {1, 0x80, 1}, 5: {1, 0x87, 1}} {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			e := embeddedFor(t, fast())
			received, got := collect()
			client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Version, o.Received = version, received })
			codes, err := client.Subscribe(t.Context(), "command///req/#", "command//secret/req/#", "last")
			if err != nil || !slices.Equal(codes, want) {
				t.Errorf("the response is %#x, %v", codes, err)
			}
			e.await(t, "dev-1 subscribed to last")
			if slices.Contains(e.noted(), "dev-1 subscribed to command//secret/req/#") {
				t.Error("the handler got a subscription that it has refused")
			}
			if err := e.Send(t.Context(), one, ditto.Message{Topic: "command//secret/req/1/install"}); !errors.Is(err, ditto.ErrNotConnected) {
				t.Errorf("a message to the refused topic: %v", err)
			}
			if err := client.Unsubscribe(t.Context(), "command///req/#", "command//secret/req/#"); err != nil {
				t.Fatal(err)
			}
			e.await(t, "dev-1 unsubscribed from command///req/#")
			if slices.Contains(e.noted(), "dev-1 unsubscribed from command//secret/req/#") {
				t.Error("the handler got the end of a subscription that it has refused")
			}
			if err := e.Send(t.Context(), one, ditto.Message{Topic: "command///req/1/install"}); !errors.Is(err, ditto.ErrNotConnected) {
				t.Errorf("a message after the end of the subscription: %v", err)
			}
			if err := e.Send(t.Context(), one, ditto.Message{Topic: "last"}); err != nil {
				t.Fatal(err)
			}
			if m := <-got; m.Topic != "last" {
				t.Errorf("got a message on %s", m.Topic)
			}
		})
	}
}

// A client that acknowledges nothing gets a bounded number of messages, and is disconnected when
// too many wait for it.
func TestAClientThatAcknowledgesNothing(t *testing.T) {
	for version, most := range map[byte]int{4: 16, 5: 3} {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			e := embeddedFor(t, fast())
			got := make(chan mqtt.Message, 1000)
			client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) {
				o.Version, o.Received = version, func(m mqtt.Message) bool { got <- m; return false }
				if version == 5 {
					o.ReceiveMaximum = 3
				}
			})
			if _, err := client.Subscribe(t.Context(), "command///req/#"); err != nil {
				t.Fatal(err)
			}
			for range most + 5 {
				if err := e.Send(t.Context(), one, ditto.Message{Topic: "command///req/1/install"}); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "the client gets messages", func() bool { return len(got) >= most })
			for range 10 { // what was sent before an acknowledgement arrives before it
				if err := client.Publish(t.Context(), mqtt.Message{Topic: "e"}); err != nil {
					t.Fatal(err)
				}
			}
			if len(got) != most {
				t.Errorf("the client got %d messages, want %d", len(got), most)
			}
			sent := most + 5
			for ; sent < 1000; sent++ {
				if err := e.Send(t.Context(), one, ditto.Message{Topic: "command///req/1/install"}); err != nil {
					break
				}
			}
			if sent < 64 || sent > most+64 {
				t.Errorf("%d messages were accepted, want 64 that wait, and up to %d that are sent", sent, most)
			}
			isDone(t, "a client that acknowledges nothing", client)
			if len(got) > most {
				t.Errorf("the client got %d messages, want at most %d", len(got), most)
			}
			e.serves(t)
		})
	}
}

// A client that reads nothing does not hold up the sender, nor other devices.
func TestAClientThatReadsNothing(t *testing.T) {
	e := embeddedFor(t, fast())
	hold := make(chan struct{})
	client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Received = func(mqtt.Message) bool { <-hold; return true } })
	defer close(hold)
	if _, err := client.Subscribe(t.Context(), "command///req/#"); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 200<<10)
	sent := 0
	for ; sent < 1000; sent++ {
		if err := e.Send(t.Context(), one, ditto.Message{Topic: "command///req/1/install", Payload: payload}); err != nil {
			break
		}
	}
	if sent > 200 {
		t.Errorf("%d messages were accepted for a client that reads nothing", sent)
	}
	e.serves(t)
}

// A client that floods is read at its rate, and others are served meanwhile.
func TestAClientThatFloodsIsReadSlowly(t *testing.T) {
	e := embeddedFor(t, fast())
	client := e.mustDial(t, "dev-1@fleet", nil)
	started := time.Now()
	go func() {
		for client.Post(mqtt.Message{Topic: "e", Payload: []byte("flood")}) == nil {
		}
	}()
	e.awaitThat(t, "the flood", func() bool { return len(e.messages) >= 250 })
	if took := time.Since(started); took < time.Second/2 {
		t.Errorf("250 messages were read in %s", took)
	}
	e.serves(t)
}

// What is retained is not kept: a client that connects later gets nothing.
func TestNothingIsRetained(t *testing.T) {
	e := embeddedFor(t, fast())
	retained := publishBytes(t, "e", []byte("kept"))
	retained[0] |= 1
	connect := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	connect.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: "me", Username: []byte("dev-1@fleet"), UsernameFlag: true, Password: []byte("secret"), PasswordFlag: true, Keepalive: 60}
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write(slices.Concat(encode(t, connect.ConnectEncode), retained))
	e.await(t, "dev-1 sent kept on e")
	_ = conn.Close()
	e.await(t, "dev-1 disconnected")
	received, got := collect()
	client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.ClientID, o.Received = "me", received })
	if _, err := client.Subscribe(t.Context(), "#"); err != nil {
		t.Fatal(err)
	}
	if err := e.Send(t.Context(), one, ditto.Message{Topic: "last", Payload: []byte("last")}); err != nil {
		t.Fatal(err)
	}
	if m := <-got; string(m.Payload) != "last" {
		t.Errorf("the client got %s on %s", m.Payload, m.Topic)
	}
}

// A will goes to the handler if the connection ends without DISCONNECT.
func TestAWill(t *testing.T) {
	for name, orderly := range map[string]bool{"a connection that breaks": false, "a connection that is ended": true} {
		t.Run(name, func(t *testing.T) {
			e := embeddedFor(t, fast())
			client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.Will = &mqtt.Message{Topic: "e", Payload: []byte("gone")} })
			if orderly {
				client.Close()
			} else {
				client.Abort()
			}
			e.await(t, "dev-1 disconnected")
			if sent := slices.Contains(e.noted(), "dev-1 sent gone on e"); sent == orderly {
				t.Errorf("the will was sent: %t", sent)
			}
		})
	}
}

func TestClose(t *testing.T) {
	e := embeddedFor(t, fast())
	ids := make(chan ditto.ConnectionID, 2)
	e.authorize = func(c ditto.Connection) error { ids <- c.ID; return nil }
	first, second := e.mustDial(t, "dev-1@fleet", nil), e.mustDial(t, "dev-1@fleet", nil)
	e.awaitThat(t, "both connections", func() bool { return len(e.events) == 2 })
	id := <-ids
	e.Close(two, id, "another device")
	e.Close(one, 999, "no such connection")
	e.Close(one, id, "its credential was revoked")
	isDone(t, "the connection that was closed", first)
	if err := second.Publish(t.Context(), mqtt.Message{Topic: "e"}); err != nil {
		t.Errorf("the other connection of the device: %v", err)
	}
}

// A client that is gone without a word is noticed after one and a half times its keep-alive time.
func TestAClientThatIsSilent(t *testing.T) {
	e := embeddedFor(t, fast())
	client := e.mustDial(t, "dev-1@fleet", func(o *mqtt.Options) { o.KeepAlive = 1 })
	isDone(t, "a silent client", client)
	e.await(t, "dev-1 disconnected")
}

// After all connections have ended nothing of them is left.
func TestConnectionsLeaveNothing(t *testing.T) {
	e := embeddedFor(t, fast())
	connectAll := func() {
		var clients []*mqtt.Client
		for i := range 50 {
			client := e.mustDial(t, fmt.Sprintf("dev-%d@fleet", i), nil)
			if _, err := client.Subscribe(t.Context(), "command///req/#"); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, client)
		}
		for _, client := range clients {
			client.Abort()
		}
		until(t, "all connections have ended", func() bool { return e.Left() == 0 })
	}
	connectAll()
	before := runtime.NumGoroutine()
	for range 3 {
		connectAll()
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+5 })
}
