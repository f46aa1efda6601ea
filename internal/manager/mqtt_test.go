// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
)

// TestMQTTStartsAgain: when a part ends, all connections end and MQTT is served again on the same
// listener; it ends with the process.
func TestMQTTStartsAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	p := &process{o: Options{MQTT: MQTTOptions{Listener: listener}}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.serveMQTT(ctx, nil) }()
	// A client gets as far as the check of its credentials: no part serves its namespace.
	connect := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := mqtt.Connect(ctx, mqtt.Options{Address: listener.Addr().String(), ClientID: "dev", User: "dev@fleet", Password: "let-me-in"})
		return err
	}
	for range 3 {
		if _, isRefused := errors.AsType[mqtt.Refused](connect()); !isRefused {
			t.Error("the client gets no response")
		}
		idle, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = idle.SetReadDeadline(time.Now().Add(20 * time.Second))
		time.Sleep(20 * time.Millisecond) // until it is accepted; else the next run closes it
		p.mqtt.restart()
		if _, err := idle.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the end of a part a connection is open: %v", err)
		}
		_ = idle.Close()
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("MQTT does not end with the process")
	}
}

// TestWrongMQTTOptions: the error names the option.
func TestWrongMQTTOptions(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		options MQTTOptions
		says    string
	}{
		"a URL of another protocol":    {MQTTOptions{External: broker.ExternalOptions{URL: "http://broker.example:1883"}}, "mqtt:// or mqtts://"},
		"a file of CAs without any":    {MQTTOptions{External: broker.ExternalOptions{URL: "mqtts://broker.example:8883"}, ExternalCAFile: empty}, "no certificate in PEM"},
		"a file of CAs that is absent": {MQTTOptions{External: broker.ExternalOptions{URL: "mqtts://broker.example:8883"}, ExternalCAFile: empty + "x"}, "read the CA certificates"},
		"a certificate that is absent": {MQTTOptions{CertificateFile: empty + "x", KeyFile: empty + "y"}, "read the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &process{o: Options{MQTT: tc.options}}
			if err := p.serveMQTT(t.Context(), nil); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %v, want %q", err, tc.says)
			}
		})
	}
}
