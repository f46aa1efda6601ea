// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
)

// MQTTOptions are the settings of MQTT. The zero value serves no MQTT.
type MQTTOptions struct {
	// Listener accepts the MQTT connections of devices, for the broker in this process. nil: there
	// is none.
	Listener net.Listener
	// CertificateFile and KeyFile, in PEM, are the server certificate of that broker, which then
	// speaks TLS. They are read again when they change. If both are empty, it does not.
	CertificateFile, KeyFile string
	// MaxConnections and MaxAddressConnections are those of broker.EmbeddedOptions.
	MaxConnections, MaxAddressConnections int
	// External is an external broker in place of that one; without a URL, there is none. Its TLS,
	// Log and Registerer are set by the process.
	External broker.ExternalOptions
	// ExternalCAFile has the certificates, in PEM, of the CAs that may sign the certificate of the
	// external broker. Empty: those of the system.
	ExternalCAFile string
}

func (o *MQTTOptions) isServed() bool { return o.Listener != nil || o.External.URL != "" }

// mqttRestarts lets the parts of a process end the present run of MQTT.
type mqttRestarts struct {
	mu  sync.Mutex
	end context.CancelFunc
}

// start returns the context of a run, which ends with ctx or with the next call of restart.
func (r *mqttRestarts) start(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = cancel
	return ctx
}

func (r *mqttRestarts) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil {
		r.end()
	}
}

// serveMQTT serves devices over MQTT until ctx ends. A session with a device keeps the backend of
// its namespace, so all of them end when a part ends, and devices connect again. fileURL returns
// the link to an artifact at the device API.
func (p *process) serveMQTT(ctx context.Context, fileURL func(device deviceapi.Device, moduleID, fileName string) string) error {
	o := &p.o.MQTT
	settings, err := p.serverTLS(ctx, serverMQTT, o.CertificateFile, o.KeyFile)
	if err != nil {
		return err
	}
	for {
		running := p.mqtt.start(ctx)
		transport, err := p.transport(settings)
		if err != nil {
			return err
		}
		server, err := ditto.NewServer(p.tenant, transport, ditto.Options{
			Rates: p.o.DeviceAPIOptions.Rates, FileURL: fileURL, Reporters: p.reporters, Log: ctrl.Log.WithName("mqtt"), Registerer: metrics.Registry,
		})
		if err != nil {
			return fmt.Errorf("create the device API over MQTT: %w", err)
		}
		err = server.Run(running)
		switch {
		case ctx.Err() != nil:
			if err != nil {
				ctrl.Log.WithName("mqtt").Info("MQTT did not end in order", "error", err.Error())
			}
			return nil
		case running.Err() == nil:
			return fmt.Errorf("serve devices over MQTT: %w", err)
		}
	}
}

// transport returns the broker in this process, or the connection to an external one.
func (p *process) transport(settings *tls.Config) (ditto.Transport, error) {
	o, log := &p.o.MQTT, ctrl.Log.WithName("mqtt")
	if o.Listener != nil {
		if l, ok := o.Listener.(deadliner); ok { // after an earlier run
			if err := l.SetDeadline(time.Time{}); err != nil {
				return nil, fmt.Errorf("accept MQTT connections: %w", err)
			}
		}
		return broker.NewEmbedded(&kept{Listener: o.Listener}, broker.EmbeddedOptions{
			TLS: settings, TrustedProxies: p.o.DeviceAPIOptions.TrustedProxies, MaxConnections: o.MaxConnections, MaxAddressConnections: o.MaxAddressConnections,
			Rates: p.o.DeviceAPIOptions.Rates, Log: log, Registerer: metrics.Registry,
		})
	}
	external := o.External
	external.Log, external.Registerer = log, metrics.Registry
	if o.ExternalCAFile != "" {
		pool, err := pool(o.ExternalCAFile)
		if err != nil {
			return nil, err
		}
		external.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return broker.NewExternal(external)
}

// pool returns the certificates of a file.
func pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificates of the MQTT broker: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the CA certificates of the MQTT broker: %s has no certificate in PEM", file)
	}
	return pool, nil
}

// reporters returns the devices that have reported features, without those of a namespace that
// cannot be read at present. It waits for caches that are being filled.
func (p *process) reporters(ctx context.Context) ([]deviceapi.Device, error) {
	var devices []deviceapi.Device
	for _, part := range p.devices {
		state, _ := part.state()
		for state == stateSyncing && ctx.Err() == nil {
			pause(ctx, syncPause)
			state, _ = part.state()
		}
		if now := part.current.Load(); now != nil && state == stateReady {
			devices = append(devices, now.backend.Reporters()...)
		}
	}
	return devices, ctx.Err()
}

// syncPause is the time between two looks at caches that are being filled.
const syncPause = 200 * time.Millisecond

// kept is a listener that can be used again after its Close, which only ends the calls of Accept.
type kept struct {
	net.Listener
	closing sync.Once
}

// deadliner is a listener whose calls of Accept can be ended without closing it.
type deadliner interface{ SetDeadline(t time.Time) error }

// Accept waits for a connection. After Close the error is net.ErrClosed.
func (k *kept) Accept() (net.Conn, error) {
	conn, err := k.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close ends the calls of Accept. A listener that cannot do this is closed.
func (k *kept) Close() (err error) {
	k.closing.Do(func() {
		if l, ok := k.Listener.(deadliner); ok {
			err = l.SetDeadline(time.Unix(1, 0))
			return
		}
		err = k.Listener.Close()
	})
	return err
}
