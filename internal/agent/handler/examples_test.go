// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// withExample uses the handler of a type of examples/agent/handlers.d.
func withExample(t *testing.T, kind string) *device {
	t.Helper()
	d := newDevice(t)
	folder, err := filepath.Abs("../../../examples/agent/handlers.d")
	if err != nil {
		t.Fatal(err)
	}
	d.registry.Folder = folder
	if err := os.Mkdir(filepath.Join(d.root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(d.root, "bin")+":"+os.Getenv("PATH"))
	t.Setenv("DEVICE", d.root)
	d.change = module(kind, "web", "2")
	return d
}

// fakeRauc is a device with the systems A and B. Its boot loader starts the primary one, unless it
// does not boot.
const fakeRauc = `#!/bin/sh
cd "$DEVICE"
echo "$*" >>calls
other() { if [ "$(cat running)" = A ]; then echo B; else echo A; fi; }
case "$1 ${2:-} ${3:-}" in
"status --output-format=shell "*) echo "RAUC_SYSTEM_BOOTED_BOOTNAME='$(cat running)'" ;;
"info "*) grep -q signed "$2" ;;
"install "*) cat "$2" >"system-$(other)"; other >primary ;;
"status mark-active booted") cat running >primary ;;
"status mark-active other") other >primary ;;
"status mark-bad booted") echo "$(cat running) is bad" >>marks ;;
"status mark-good booted") echo "$(cat running) is good" >>marks ;;
*) exit 2 ;;
esac
`

func TestRaucHandler(t *testing.T) {
	start := func(t *testing.T) *device {
		d := withExample(t, "rauc")
		d.write("bin/rauc", fakeRauc, 0o755)
		d.write("running", "A\n", 0o644)
		d.write("primary", "A\n", 0o644)
		d.write("files/image.raucb", "signed, version 2", 0o644)
		return d
	}
	boot := func(d *device) { d.write("running", d.read("primary"), 0o644) }

	t.Run("the new system boots and is marked as good", func(t *testing.T) {
		d := start(t)
		if r := d.do(update.Check, d.change); r.Err != "" || !r.Repeatable {
			t.Fatalf("check: %+v", r)
		}
		d.must(d.change, update.Download)
		for range 2 { // it is repeated after a loss of power
			if r := d.do(update.Install, d.change); r.Err != "" || !r.NeedsReboot {
				t.Fatalf("install: %+v", r)
			}
		}
		boot(d)
		d.must(d.change, update.Verify, update.Commit)
		d.want("running", "B\n")
		d.want("marks", "B is good\n")
	})
	t.Run("a bundle without a valid signature is refused", func(t *testing.T) {
		d := start(t)
		d.write("files/image.raucb", "version 2", 0o644)
		d.must(d.change, update.Check)
		d.fails(update.Download, "")
		d.want("primary", "A\n")
	})
	t.Run("two artifacts are refused", func(t *testing.T) {
		d := start(t)
		d.write("files/other", "x", 0o644)
		if r := d.fails(update.Download, "2 artifacts"); r.Code != "NoBundle" {
			t.Errorf("the code is %q", r.Code)
		}
	})
	t.Run("the boot loader fell back to the old system", func(t *testing.T) {
		d := start(t)
		d.must(d.change, update.Check, update.Install)
		if r := d.fails(update.Verify, "runs the old system A"); r.Code != "Fallback" {
			t.Errorf("the code is %q", r.Code)
		}
		if r := d.do(update.Rollback, d.change); r.Err != "" || r.NeedsReboot {
			t.Errorf("rollback: %+v", r)
		}
		d.want("primary", "A\n")
	})
	t.Run("the new system boots and does not work", func(t *testing.T) {
		d := start(t)
		d.must(d.change, update.Check, update.Install)
		boot(d)
		d.must(d.change, update.Verify)
		if r := d.do(update.Rollback, d.change); r.Err != "" || !r.NeedsReboot {
			t.Errorf("rollback: %+v", r)
		}
		boot(d)
		d.want("running", "A\n")
		d.want("marks", "B is bad\n")
	})
	t.Run("a rollback before the installation changes nothing", func(t *testing.T) {
		d := start(t)
		d.must(d.change, update.Check, update.Rollback)
		if strings.Contains(d.read("calls"), "mark-") {
			t.Errorf("the calls are\n%s", d.read("calls"))
		}
	})
	t.Run("it cannot be removed", func(t *testing.T) {
		d := start(t)
		if r := d.do(update.Remove, d.change); !r.Missing {
			t.Errorf("remove: %+v", r)
		}
	})
}

// fakePodman stores a file for each container: its arguments, and "running" or "stopped".
const fakePodman = `#!/bin/sh
cd "$DEVICE"
mkdir -p containers
echo "$*" >>calls
verb=$1
shift
for last; do :; done
case "$verb" in
load) echo "Loaded image: $(cat "$last")" ;;
container) [ -e "containers/$2" ] ;;
rename) mv "containers/$1" "containers/$2" ;;
stop) sed -i 's/^running/stopped/' "containers/$1" ;;
start) sed -i 's/^stopped/running/' "containers/$1" ;;
rm) rm -f "containers/$last" ;;
run) [ ! -e refuse ] || exit 125; while [ "$1" != --name ]; do shift; done; echo "running $*" >"containers/$2" ;;
inspect)
	case "$2" in
	*State*) if grep -q "^running.*broken" "containers/$last"; then echo "true 3"; elif grep -q ^running "containers/$last"; then echo "true 0"; else echo "false 0"; fi ;;
	*) if grep -q sick "containers/$last"; then echo yes; fi ;;
	esac ;;
healthcheck) ! grep -q sick "containers/$2" ;;
logs) echo "its last line" ;;
image) ;;
*) exit 2 ;;
esac
`

func TestPodmanHandler(t *testing.T) {
	start := func(t *testing.T, image string) *device {
		d := withExample(t, "podman")
		t.Setenv("GOSHAWK_PODMAN_SECONDS", "0")
		d.write("bin/podman", fakePodman, 0o755)
		d.write("containers/web", "running --name web web:1\n", 0o644)
		d.write("files/web.tar", image, 0o644)
		d.write("files/run.args", "--publish=8080:8080\n--label=two words\n", 0o644)
		return d
	}
	for name, test := range map[string]struct {
		image, code, message string
	}{
		"works": {"web:2", "", ""}, "is restarted again and again": {"broken:2", "NotRunning", "its last line"}, "fails its health check": {"sick:2", "Unhealthy", "health check"},
	} {
		t.Run("an image that "+name, func(t *testing.T) {
			d := start(t, test.image)
			d.must(d.change, update.Check, update.Download, update.Install, update.Install)
			d.want("containers/web", "running --name web --publish=8080:8080 --label=two words "+test.image+"\n")
			d.want("containers/web.old", "stopped --name web web:1\n")
			if test.code == "" {
				d.must(d.change, update.Verify)
				d.do(update.Cleanup, d.change)
				d.want("containers/web.old", "(web.old does not exist)")
				return
			}
			if r := d.fails(update.Verify, test.message); r.Code != test.code {
				t.Errorf("the code is %q", r.Code)
			}
			d.must(d.change, update.Rollback, update.Rollback, update.Cleanup)
			d.want("containers/web", "running --name web web:1\n")
		})
	}
	t.Run("a container that Podman does not start", func(t *testing.T) {
		d := start(t, "web:2")
		d.write("refuse", "", 0o644)
		d.must(d.change, update.Check, update.Download)
		d.fails(update.Install, "")
		d.must(d.change, update.Rollback)
		d.want("containers/web", "running --name web web:1\n")
	})
	t.Run("a removal, and its rollback", func(t *testing.T) {
		d := start(t, "web:2")
		d.change.Removes = true
		d.must(d.change, update.Check, update.Remove)
		d.want("containers/web", "(web does not exist)")
		d.must(d.change, update.Rollback)
		d.want("containers/web", "running --name web web:1\n")
		if err := os.RemoveAll(filepath.Join(d.root, "work", "rollback")); err != nil {
			t.Fatal(err)
		}
		d.must(d.change, update.Check, update.Remove, update.Cleanup)
		d.want("containers/web.old", "(web.old does not exist)")
	})
	t.Run("the old container is lost", func(t *testing.T) {
		d := start(t, "broken:2")
		d.must(d.change, update.Check, update.Download, update.Install)
		if err := os.Remove(filepath.Join(d.root, "containers", "web.old")); err != nil {
			t.Fatal(err)
		}
		if r := d.fails(update.Rollback, "does not exist any more"); r.Code != "NoOlderContainer" {
			t.Errorf("the code is %q", r.Code)
		}
	})
}

// TestSwupdateHandler runs Debian's swupdate, whose images write one file each.
func TestSwupdateHandler(t *testing.T) {
	for _, program := range []string{"swupdate", "cpio", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("GOSHAWK_REQUIRE_SWUPDATE") != "" {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed: apt-get install swupdate cpio openssl", program)
		}
	}
	d := withExample(t, "swupdate")
	d.pipe("", "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
		"-subj", "/CN=signer of a test", "-addext", "extendedKeyUsage=emailProtection", "-addext", "keyUsage=digitalSignature")
	d.write("swupdate.args", "-k\n"+filepath.Join(d.root, "cert.pem")+"\n-H\nboard:1.0\n", 0o644)
	t.Setenv("GOSHAWK_SWUPDATE_ARGS", filepath.Join(d.root, "swupdate.args"))
	t.Setenv("GOSHAWK_SWUPDATE_REBOOT", "yes")
	t.Setenv("TMPDIR", d.root) // for the sockets of swupdate
	d.image("1")
	if r := d.do(update.Check, d.change); r.Err != "" || !r.Repeatable {
		t.Fatalf("check: %+v", r)
	}
	d.succeeds(update.Download)
	if r := d.succeeds(update.Install); !r.NeedsReboot {
		t.Fatalf("install: %+v", r)
	}
	d.want("opt/version", "1")
	if r := d.fails(update.Rollback, "no older image"); r.Code != "NoOlderImage" {
		t.Errorf("the code is %q", r.Code)
	}
	d.must(d.change, update.Verify, update.Commit)

	d.after()
	d.image("2")
	d.must(d.change, update.Check, update.Rollback) // nothing is installed yet
	d.want("opt/version", "1")
	d.succeeds(update.Install)
	d.must(d.change, update.Commit)
	d.want("opt/version", "2")
	d.succeeds(update.Rollback) // another module of the update could not be committed
	d.want("opt/version", "1")

	d.after()
	d.write("files/image.swu", "not an image", 0o644)
	d.must(d.change, update.Check)
	d.fails(update.Download, "")
	d.want("opt/version", "1")
}

// succeeds repeats a call until it succeeds: on a busy machine the processes of swupdate wait for
// each other for too short a time, and it fails although it has installed the image.
func (d *device) succeeds(verb update.Verb) (r update.StepResult) {
	d.Helper()
	for range 20 {
		if r = d.do(verb, d.change); r.Err == "" {
			return r
		}
	}
	d.Fatalf("%s: %+v", verb, r)
	return r
}

// image writes a signed image of swupdate that writes a version to opt/version.
func (d *device) image(version string) {
	d.Helper()
	d.write("version", version, 0o644)
	d.write("sw-description", fmt.Sprintf(`software = { version = "%s.0"; hardware-compatibility: [ "1.0" ];
  files: ( { filename = "version"; path = "%s/opt/version"; sha256 = "%x"; } ); };`, version, d.root, sha256.Sum256([]byte(version))), 0o644)
	d.pipe("", "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", "cert.pem", "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary")
	d.write("files/image.swu", d.pipe("sw-description\nsw-description.sig\nversion\n", "cpio", "-o", "-H", "crc", "--quiet"), 0o644)
}

// pipe runs a program in the folder of the device, and returns its output.
func (d *device) pipe(stdin, program string, args ...string) string {
	d.Helper()
	var out, problems bytes.Buffer
	command := exec.CommandContext(d.Context(), program, args...)
	command.Dir, command.Stdin, command.Stdout, command.Stderr = d.root, strings.NewReader(stdin), &out, &problems
	if err := command.Run(); err != nil {
		d.Fatalf("%s: %v\n%s", program, err, problems.String())
	}
	return out.String()
}

// want compares a file.
func (d *device) want(name, content string) {
	d.Helper()
	if got := d.read(name); got != content {
		d.Errorf("%s has %q, want %q", name, got, content)
	}
}

// fails does a call that must fail with a message.
func (d *device) fails(verb update.Verb, message string) update.StepResult {
	d.Helper()
	r := d.do(verb, d.change)
	if r.Err == "" || !strings.Contains(r.Err, message) {
		d.Errorf("%s: %+v, want a failure with %q", verb, r, message)
	}
	return r
}
