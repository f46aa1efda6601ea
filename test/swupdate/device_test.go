// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// requireSwupdate skips the test if swupdate is not installed. With GOSHAWK_REQUIRE_SWUPDATE=1 the
// test fails instead.
func requireSwupdate(t testing.TB) {
	t.Helper()
	for _, program := range []string{"swupdate", "swupdate-ipc", "cpio", "openssl"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		sentence := fmt.Sprintf("this test needs %s, which is not installed: run `apt-get install swupdate cpio openssl`", program)
		if os.Getenv("GOSHAWK_REQUIRE_SWUPDATE") == "1" {
			t.Fatal(sentence)
		}
		t.Skip(sentence)
	}
}

// maxCrashes is the number of ends of swupdate that fail the test. On a real device its supervisor
// starts it again, and so does this test.
const maxCrashes = 5

// noFreeName is what swupdate writes before it ends because no name is free for its notifier
// socket. TMPDIR does not change these names: they are in the abstract namespace of the host, and
// there are 11 of them. So at most 11 swupdates run on a host at the same time, including those of
// other tests.
const noFreeName = "Error binding notifier socket: Address already in use"

// withoutSIGPIPE runs its arguments with SIGPIPE ignored, as systemd runs a service. Otherwise
// swupdate ends while it installs if it takes more than 100 ms to answer its own hawkBit client, as
// on a busy machine: the client has then closed the connection.
const withoutSIGPIPE = `trap "" PIPE; exec "$@"`

// ownProcessor is the priority of a device, which does not share its processor with an API server
// and other tests. On a busy machine swupdate's processes wait for each other for too short a time:
// the client then loses lines of the log, and reports an installation that has not ended.
const ownProcessor = -10

// device is one running swupdate.
type device struct {
	t      testing.TB
	folder string   // its TMPDIR, with all its sockets except that of the notifier
	args   []string // the program and its arguments
	log    *os.File
	ended  chan struct{}

	mu      sync.Mutex
	group   int // process group, or 0 before the start
	stopped bool
}

// pairing has the values that a device needs to connect to its device API. credentials are
// arguments of suricatta, swupdate's client; certificate is the one of the signer of images.
type pairing struct{ deviceAPI, tenant, id, credentials, certificate string }

// start runs swupdate until the test ends. More arguments are for suricatta.
func start(t testing.TB, p pairing, suricatta string) *device {
	t.Helper()
	return startCommand(t, "globals : { loglevel = 5; };\nidentify : ( { name = \"hwId\"; value = \"demo\"; } );\n",
		"swupdate", "-v", "-k", p.certificate, "-H", "demo:1.0", "-f", configurationFile,
		"-u", fmt.Sprintf("-t %s -u %s -i %s -p 1 %s %s", p.tenant, p.deviceAPI, p.id, p.credentials, suricatta))
}

// configurationFile stands for the path of the configuration file in the arguments of a device, as
// in docs/devices.md.
const configurationFile = "/etc/swupdate.cfg"

// startCommand runs a command that runs swupdate with this configuration file, until the test ends.
func startCommand(t testing.TB, configuration string, args ...string) *device {
	t.Helper()
	folder, err := os.MkdirTemp("", "swu") //nolint:usetesting // the path of a socket has at most 107 characters, and that of t.TempDir has more
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	write(t, filepath.Join(folder, "swupdate.cfg"), configuration)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], configurationFile, filepath.Join(folder, "swupdate.cfg"))
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, folder: folder, log: log, ended: make(chan struct{}), args: args}
	go d.live()
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("swupdate's log:\n%s", d.logged())
		}
		_ = log.Close()
	})
	return d
}

// logged returns the log of the device.
func (d *device) logged() string {
	content, _ := os.ReadFile(d.log.Name())
	return string(content)
}

// live runs the device, and starts it again when it ends. A start that found no free name for its
// notifier socket is repeated until another swupdate has ended.
func (d *device) live() {
	defer close(d.ended)
	for crashes := 0; ; {
		output, err := d.run()
		switch {
		case d.isStopped():
			return
		case strings.Contains(output, noFreeName):
			d.t.Logf("swupdate waits for a free name of its notifier socket (%v)", err)
			time.Sleep(200 * time.Millisecond)
			continue
		}
		if crashes++; crashes == maxCrashes {
			d.t.Errorf("swupdate has ended %d times, the last time with %v", crashes, err)
			return
		}
		d.t.Logf("swupdate has ended (%v) and is started again", err)
	}
}

// run runs swupdate once, until its first process and all others of its group have ended. It
// returns what they wrote to the log.
func (d *device) run() (output string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	command, err := d.launch(w)
	_ = w.Close()
	if command == nil || err != nil {
		return "", err
	}
	var written strings.Builder
	closed := make(chan struct{}) // when no process can write to the log
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.MultiWriter(d.log, &written), r)
	}()
	err = command.Wait()
	d.kill(syscall.SIGKILL)
	<-closed
	return written.String(), err
}

// launch starts swupdate once. It returns nil if the device was stopped.
func (d *device) launch(output *os.File) (*exec.Cmd, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return nil, nil
	}
	for _, socket := range []string{"sockinstctrl", "swupdateprog"} {
		_ = os.Remove(filepath.Join(d.folder, socket))
	}
	command := exec.Command("sh", append([]string{"-c", withoutSIGPIPE, "sh"}, d.args...)...)
	command.Env = append(os.Environ(), "TMPDIR="+d.folder)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // swupdate has several processes, which are stopped together
	err := command.Start()
	if err == nil {
		d.group = command.Process.Pid
		_ = syscall.Setpriority(syscall.PRIO_PGRP, d.group, ownProcessor) // only root may do this
	}
	return command, err
}

// kill signals all processes of the device, if there are any.
func (d *device) kill(signal syscall.Signal) {
	if d.group != 0 {
		_ = syscall.Kill(-d.group, signal)
	}
}

func (d *device) isStopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// stop kills the device, as by a power failure. A second stop does nothing.
func (d *device) stop() {
	if d.isStopped() {
		return
	}
	d.mu.Lock()
	d.stopped = true
	d.kill(syscall.SIGTERM)
	d.mu.Unlock()
	select {
	case <-d.ended:
	case <-time.After(10 * time.Second):
	}
	d.kill(syscall.SIGKILL)
	<-d.ended
}

// ipc sends a message to the running device, with a program of swupdate.
func (d *device) ipc(args ...string) {
	d.t.Helper()
	command := exec.CommandContext(d.t.Context(), "swupdate-ipc", args...)
	command.Env = append(os.Environ(), "TMPDIR="+d.folder)
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "Server returns ACK") {
		d.t.Fatalf("swupdate-ipc %s: %v\n%s", args[0], err, out)
	}
}
