// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nginx runs nginx in front of the servers of a test.
package nginx

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Require returns the path of nginx. Without nginx it skips the test, or fails it if
// GOSHAWK_REQUIRE_NGINX is 1.
func Require(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const sentence = "this test needs nginx, which is not installed: run `apt-get install nginx`"
	if os.Getenv("GOSHAWK_REQUIRE_NGINX") == "1" {
		t.Fatal(sentence)
	}
	t.Skip(sentence)
	return ""
}

// listensWithin is how long nginx may take until it listens.
const listensWithin = time.Minute

// Run runs nginx with a server block that listens on address, until the test ends. Its files are in
// folder. See Require.
func Run(t testing.TB, folder, server, address string) {
	t.Helper()
	program := Require(t)
	text := fmt.Sprintf("daemon off; error_log stderr; pid %[1]s/pid; events {}\nhttp {\naccess_log off;\nclient_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; "+
		"fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n%[2]s}\n", folder, server)
	conf := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-p", folder, "-c", conf)
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Signal(os.Interrupt); _ = command.Wait() })
	for deadline := time.Now().Add(listensWithin); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nginx does not listen: %v", err)
		}
	}
}
