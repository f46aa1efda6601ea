// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// fleet is a number of devices with goshawk-agent, and a host with their artifacts.
type fleet struct {
	*world.World
	t       *testing.T
	devices []*device
	// program is goshawk-agent, and folder has a folder for each device.
	program, folder string
	artifacts       *httptest.Server
	// rollouts is the number of rollouts so far.
	rollouts int
}

// device is one agent, as a process.
type device struct {
	t                     *testing.T
	name, program, folder string

	mu      sync.Mutex
	process *exec.Cmd
	log     bytes.Buffer
}

// newFleet starts a fleet in a new namespace. Devices with even numbers have the label half=a, and
// the others half=b.
func newFleet(t *testing.T, size int) *fleet {
	t.Helper()
	f := &fleet{World: world.New(t), t: t, folder: executableFolder(t)}
	f.program = filepath.Join(f.folder, "goshawk-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", f.program, "./cmd/goshawk-agent")
	build.Dir = cluster.Root()
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build goshawk-agent: %v\n%s", err, output)
	}
	f.artifacts = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bundle(t, strings.Trim(r.URL.Path, "/"))))
	}))
	t.Cleanup(f.artifacts.Close)
	names := append(f.Targets("a", size/2, map[string]string{"half": "a"}), f.Targets("b", size-size/2, map[string]string{"half": "b"})...)
	for _, name := range names {
		d := &device{t: t, name: name, program: f.program, folder: filepath.Join(f.folder, name)}
		d.configure(f.DeviceAPI + "/" + f.Namespace)
		d.start()
		t.Cleanup(d.stop)
		f.devices = append(f.devices, d)
	}
	return f
}

// executableFolder returns a temporary folder with a short path (that of a socket has at most 107
// characters), in memory if that is possible: the agents wait for the disk after each step.
func executableFolder(t *testing.T) string {
	t.Helper()
	for _, parent := range []string{"/dev/shm", ""} {
		folder, err := os.MkdirTemp(parent, "agents") //nolint:usetesting // t.TempDir has a long path, on a disk
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		write(t, filepath.Join(folder, "probe"), "#!/bin/sh\n")
		if exec.CommandContext(t.Context(), filepath.Join(folder, "probe")).Run() == nil {
			return folder
		}
	}
	t.Fatal("no folder for temporary files permits to run programs")
	return ""
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
		t.Fatal(err)
	}
}

// script is each script of a bundle. The file slot is the software of a device: its version, or
// "mixed". Files in the folder of the fleet say what goes wrong with a version.
const script = `#!/bin/sh
cd "$DEVICE" || exit 1
is() { [ -e "../$1-$GOSHAWK_VERSION" ]; }
saved=$GOSHAWK_WORK/saved
case $1 in
check) echo repeatable >&3 ;;
install|remove)
  if [ ! -e $saved ]; then cat slot >$saved.new 2>/dev/null; mv $saved.new $saved; fi
  echo mixed >slot
  while is held; do sleep 0.1; done
  if [ $1 = install ]; then echo $GOSHAWK_VERSION >slot; else rm -f slot; fi
  ;;
verify)
  ! is broken || { echo code E17 >&3; echo version $GOSHAWK_VERSION does not start; exit 1; }
  ;;
rollback)
  ! is stuck || { echo mixed >slot; exit 1; }
  [ -e $saved ] || exit 0
  if [ -s $saved ]; then cp $saved slot; else rm -f slot; fi
  ;;
esac
`

// bundle returns the archive of a version, always with the same bytes.
func bundle(t *testing.T, version string) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, name := range []string{"check", "install", "remove", "rollback", "verify", "version"} {
		content := script
		if name == "version" {
			content = version
		}
		err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))})
		if err == nil {
			_, err = archive.Write([]byte(content))
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Error(err)
	}
	return out.Bytes()
}

// release creates a software module of type app and a set with it, with the names app-VERSION.
func (f *fleet) release(version string) {
	f.T.Helper()
	content := bundle(f.t, version)
	f.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: app-%[1]s}
spec:
  type: app
  name: web
  version: %[1]q
  artifacts:
  - {fileName: app.tar, size: %[2]d, checksums: {sha256: %[3]x}, downloads: [{protocol: HTTP, url: "%[4]s/%[1]s"}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: app-%[1]s}
spec: {name: web, version: %[1]q, type: gateway, modules: [{name: app-%[1]s}]}
`, version, len(content), sha256.Sum256(content), f.artifacts.URL))
}

// happens lets something go wrong with a version, until the function that it returns is called:
// broken fails to verify, stuck fails to roll back, and held does not end its installation.
func (f *fleet) happens(what, version string) (repair func()) {
	f.T.Helper()
	path := filepath.Join(f.folder, what+"-"+version)
	write(f.t, path, "")
	return func() {
		f.T.Helper()
		if err := os.Remove(path); err != nil {
			f.T.Fatal(err)
		}
	}
}

// configure writes the configuration of a new device.
func (d *device) configure(server string) {
	d.t.Helper()
	write(d.t, filepath.Join(d.folder, "token"), world.Token)
	write(d.t, d.config(), fmt.Sprintf(`
folder: %[1]s/state
handlers: {app: bundle}
skipSync: true
server: {url: %[2]s, controllerID: %[3]s, targetTokenFile: %[1]s/token, retryInterval: 1s}
`, d.folder, server, d.name))
}

func (d *device) config() string { return filepath.Join(d.folder, "config.yaml") }

// start starts the agent, as after a boot.
func (d *device) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process = exec.Command(d.program, "run", "--config", d.config())
	d.process.Env = append(os.Environ(), "DEVICE="+d.folder)
	d.process.Stdout, d.process.Stderr = &d.log, &d.log
	if err := d.process.Start(); err != nil {
		d.t.Errorf("start the agent of %s: %v", d.name, err)
	}
}

// kill ends the agent with SIGKILL. What its handler has started continues.
func (d *device) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(os.Kill)
}

// stop ends the agent with SIGTERM at the end of the test.
func (d *device) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(syscall.SIGTERM)
	if d.t.Failed() {
		d.t.Logf("%s:\n%s", d.name, d.log.String())
	}
}

func (d *device) end(signal os.Signal) {
	if err := d.process.Process.Signal(signal); err != nil {
		d.t.Errorf("the agent of %s has ended by itself: %v", d.name, err)
	}
	_ = d.process.Wait() // the signal is its result
}

// state returns state.json, or the zero value before the first one is written.
func (d *device) state() (s journal.State) {
	d.t.Helper()
	data, err := os.ReadFile(filepath.Join(d.folder, "state", journal.StateFile))
	if errors.Is(err, os.ErrNotExist) {
		return s
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		d.t.Fatalf("state of %s: %v", d.name, err)
	}
	return s
}

// slot returns what is on the device.
func (d *device) slot() string {
	data, err := os.ReadFile(filepath.Join(d.folder, "slot"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// command runs a command of goshawk-agent on the device, and returns its output and exit code.
func (d *device) command(args ...string) (output string, code int) {
	d.t.Helper()
	c := exec.CommandContext(d.t.Context(), d.program, append(args, "--config", d.config())...)
	out, err := c.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// maxKills is how often a device is killed in one chapter of a story: once less than a step may be
// interrupted before it fails.
const maxKills = update.MaxInterruptions - 1

// chaos kills agents at random moments and starts them again, until the function that it returns is
// called. Then all agents run. It returns the number of kills.
func (f *fleet) chaos() (stop func() (kills int)) {
	left := map[*device]int{}
	for _, d := range f.devices {
		left[d] = maxKills
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	over := make(chan struct{})
	var running sync.WaitGroup
	kills := 0
	running.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(random.IntN(150)) * time.Millisecond):
			}
			if d := f.devices[random.IntN(len(f.devices))]; left[d] > 0 {
				left[d]--
				kills++
				d.kill()
				d.start()
			}
		}
	})
	return func() int {
		close(over)
		running.Wait()
		return kills
	}
}
