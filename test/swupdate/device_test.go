// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// maxStarts is the maximum number of starts of a device. Sometimes Debian's swupdate ends with a
// broken pipe between its own processes while it installs. On a real device its supervisor starts
// it again, and so does this test.
const maxStarts = 5

// device is one running swupdate.
type device struct {
	t      testing.TB
	folder string   // its TMPDIR with its IPC sockets, so that devices can run in parallel
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

// live runs the device, and starts it again when it ends.
func (d *device) live() {
	defer close(d.ended)
	for starts := 1; ; starts++ {
		command, err := d.launch()
		if command == nil {
			return
		}
		if err == nil {
			err = command.Wait()
		}
		switch {
		case d.isStopped():
			return
		case starts == maxStarts:
			d.t.Errorf("swupdate has ended %d times, the last time with %v", starts, err)
			return
		}
		d.t.Logf("swupdate has ended (%v) and is started again", err)
	}
}

// launch starts swupdate once. It returns nil if the device was stopped.
func (d *device) launch() (*exec.Cmd, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return nil, nil
	}
	d.kill(syscall.SIGKILL) // processes of the last start
	for _, socket := range []string{"sockinstctrl", "swupdateprog"} {
		_ = os.Remove(filepath.Join(d.folder, socket))
	}
	command := exec.Command(d.args[0], d.args[1:]...)
	command.Env = append(os.Environ(), "TMPDIR="+d.folder)
	command.Stdout, command.Stderr = d.log, d.log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // swupdate has several processes, which are stopped together
	err := command.Start()
	if err == nil {
		d.group = command.Process.Pid
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

// confirm tells the device that the installed software works.
func (d *device) confirm(id int32) {
	d.t.Helper()
	command := exec.CommandContext(d.t.Context(), "swupdate-ipc", "sendtohawkbit", strconv.Itoa(int(id)), "2", "success", "closed", "activated")
	command.Env = append(os.Environ(), "TMPDIR="+d.folder)
	if out, err := command.CombinedOutput(); err != nil {
		d.t.Fatalf("swupdate-ipc: %v\n%s", err, out)
	}
}
