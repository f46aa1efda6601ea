// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/broker"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// mosquitto is Debian's mosquitto with the configuration of docs/mqtt.md.
type mosquitto struct {
	t       *testing.T
	dir     string
	address string
	tls     *tls.Config
	// isShared is for the transport of stand.
	isShared bool
	command  *exec.Cmd
	output   *bytes.Buffer
}

// requireMosquitto skips the test if mosquitto is not installed. With GOSHAWK_REQUIRE_MOSQUITTO=1
// the test fails.
func requireMosquitto(t *testing.T) {
	t.Helper()
	for _, program := range []string{"mosquitto", "mosquitto_passwd"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		const sentence = "this test needs mosquitto, which is not installed: run `apt-get install mosquitto`"
		if os.Getenv("GOSHAWK_REQUIRE_MOSQUITTO") == "1" {
			t.Fatal(sentence)
		}
		t.Skip(sentence)
	}
}

// newMosquitto starts mosquitto with the password "secret" for these users.
func newMosquitto(t *testing.T, users ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, dir: t.TempDir(), address: ports.Free(t)}
	ca := newAuthority(t)
	m.tls = &tls.Config{RootCAs: ca.pool()}
	m.write("certs/ca.crt", ca.pem())
	certificate, key := ca.pemOf(ca.issue("server"))
	m.write("certs/server.crt", certificate)
	m.write("certs/server.key", key)
	configuration, acl := documented(t)
	_, port, err := net.SplitHostPort(m.address)
	if err != nil {
		t.Fatal(err)
	}
	configuration = strings.NewReplacer("/etc/mosquitto/", m.dir+"/", "/var/lib/mosquitto/", m.dir+"/", "listener 8883", "listener "+port+" 127.0.0.1").Replace(configuration)
	m.write("mosquitto.conf", []byte("user root\n"+configuration)) // otherwise root becomes a user that cannot read these files
	m.write("goshawk.acl", []byte(acl))
	for i, user := range users {
		arguments := []string{"-b", filepath.Join(m.dir, "goshawk.passwd"), user, "secret"}
		if i == 0 {
			arguments = append([]string{"-c"}, arguments...)
		}
		if output, err := exec.Command("mosquitto_passwd", arguments...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, output)
		}
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

// documented returns the configuration and the access rules in docs/mqtt.md.
func documented(t *testing.T) (configuration, acl string) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## An external broker\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "\n```")
	if !found || len(blocks) != 5 {
		t.Fatalf("docs/mqtt.md has %d blocks about an external broker", len(blocks)/2)
	}
	return strings.TrimSpace(blocks[1]) + "\n", strings.TrimSpace(blocks[3]) + "\n"
}

func (m *mosquitto) write(name string, content []byte) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.output = &bytes.Buffer{}
	m.command = exec.Command("mosquitto", "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.command.Stdout, m.command.Stderr = m.output, m.output
	if err := m.command.Start(); err != nil {
		m.t.Fatal(err)
	}
	until(m.t, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", m.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// stop ends mosquitto as an operator does, so that it stores what it has.
func (m *mosquitto) stop() {
	m.t.Helper()
	_ = m.command.Process.Signal(syscall.SIGTERM)
	_ = m.command.Wait()
	if m.t.Failed() {
		m.t.Logf("mosquitto: %s", m.output)
	}
}

func (m *mosquitto) options(user string) mqtt.Options {
	return mqtt.Options{Address: m.address, TLS: m.tls, User: user, Password: "secret"}
}

// external returns the options of Goshawk.
func (m *mosquitto) external(id string) broker.ExternalOptions {
	m.write("password", []byte("secret\n"))
	return broker.ExternalOptions{URL: "mqtts://" + m.address, ClientID: id, User: "goshawk", PasswordFile: filepath.Join(m.dir, "password"), TLS: m.tls}
}

// stand returns the transport for the contract, with devices of the namespace fleet.
func (m *mosquitto) stand() *stand {
	return &stand{
		start: func(t *testing.T, h ditto.Handler) (ditto.Transport, func()) {
			options := m.external("goshawk-1")
			options.IsShared = m.isShared
			return startExternal(t, options, h)
		},
		isExternal: true,
		options:    func(d deviceapi.Device) mqtt.Options { return m.options(d.ControllerID) },
		topic: func(d deviceapi.Device, topic string) string {
			name := d.Namespace + "/" + d.ControllerID
			if topic == "e" {
				return "event/" + name
			}
			return strings.Replace(topic, "command//", "command/"+name, 1)
		},
	}
}
