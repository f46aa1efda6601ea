// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// installation is a device in a folder.
type installation struct {
	*testing.T
	folder string
}

func newInstallation(t *testing.T, more string) *installation {
	t.Helper()
	folder, err := os.MkdirTemp("", "agent") //nolint:usetesting // the path of a socket has at most 107 characters, and that of t.TempDir has more
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	i := &installation{t, folder}
	i.write("config.yaml", fmt.Sprintf("folder: %s/state\nhandlersFolder: %s/handlers.d\nhandlers: {app: bundle}\n%s", folder, folder, more))
	return i
}

func (i *installation) path(name string) string { return filepath.Join(i.folder, name) }

func (i *installation) write(name, content string) {
	i.Helper()
	if err := os.WriteFile(i.path(name), []byte(content), 0o600); err != nil {
		i.Fatal(err)
	}
}

// bundle writes an archive with scripts of the device, by name, and returns its path.
func (i *installation) bundle(name string, scripts map[string]string) string {
	i.Helper()
	i.write(name, string(archiveOf(i.T, scripts)))
	return i.path(name)
}

func archiveOf(t *testing.T, scripts map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, script := range scripts {
		script = "#!/bin/sh\n" + script + "\n"
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(script))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// moment is what differs between two runs of a test.
var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)|device-[0-9a-zA-Z.-]+`)

// do runs a command, and returns its output, its error, and its exit code.
func (i *installation) do(args ...string) string {
	i.Helper()
	var out, log bytes.Buffer
	c := newCommand(&out, &log)
	c.SetArgs(append(args, "--config="+i.path("config.yaml")))
	err, code := c.ExecuteContext(i.Context()), 0
	if err != nil {
		code = exitFailed
		if e := (exit{}); errors.As(err, &e) {
			code, err = e.code, e.error
		}
		if err != nil {
			fmt.Fprintln(&out, "error:", err)
		}
	}
	fmt.Fprintln(&out, "exit code", code)
	text := strings.ReplaceAll(out.String(), i.folder, "FOLDER")
	return moment.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "device-") {
			return "ID"
		}
		return "TIME"
	})
}

// wants compares the output of a command.
func (i *installation) wants(want string, args ...string) {
	i.Helper()
	if d := cmp.Diff(strings.TrimLeft(want, "\n"), i.do(args...)); d != "" {
		i.Errorf("goshawk-agent %s (-want +got):\n%s", strings.Join(args, " "), d)
	}
}

func TestUpdatesByHand(t *testing.T) {
	i := newInstallation(t, "")
	i.wants(`
error: FOLDER/state has no state.json: the agent has not run on this device
exit code 1
`, "status")
	install := func(version, file string) []string {
		return []string{"install", file, "--type=app", "--name=web", "--version=" + version}
	}
	good := map[string]string{"install": "echo installed", "verify": "exit 0", "rollback": "exit 0", "remove": "exit 0"}
	bad := map[string]string{"install": "exit 0", "verify": "echo code E17 >&3; echo web does not start; exit 1", "rollback": "exit 0"}
	broken := map[string]string{"install": "exit 0", "verify": "echo code E17 >&3; echo web does not start; exit 1", "rollback": "exit 1"}

	i.wants("Succeeded: web 1\nexit code 0\n", install("1", i.bundle("1.tar", good))...)
	i.wants(`
Consistent:   yes
Phase:        Idle
Last update:  ID Succeeded TIME

TYPE  NAME  VERSION
app   web   1
exit code 0
`, "status")
	i.wants(`
Failed: web 2 (RolledBack)
error: app web 2: verify: exit status 1: web does not start (code E17)
exit code 1
`, install("2", i.bundle("2.tar", bad))...)
	i.wants(`
Failed: web 3 (Broken)
error: app web 3: verify: exit status 1: web does not start (code E17); the device is inconsistent: goshawk-agent status says why
exit code 3
`, install("3", i.bundle("3.tar", broken))...)
	if text := i.do("status"); !strings.Contains(text, "Consistent:   no, since TIME: ") ||
		!strings.Contains(text, "app   web   1 before the failure; now inconsistent\nexit code 3") {
		t.Errorf("the status of an inconsistent device is\n%s", text)
	}
	if text := i.do("status", "--json"); !strings.Contains(text, `"consistent": false`) {
		t.Errorf("state.json is\n%s", text)
	}
	i.wants(`
Succeeded: tool 1
error: the device is inconsistent because of an earlier update: goshawk-agent status says why
exit code 3
`, "install", i.bundle("tool.tar", good), "--type=app", "--name=tool", "--version=1")
	i.wants("Succeeded: web 4\nexit code 0\n", install("4", i.bundle("4.tar", good))...)
	i.wants("Succeeded: removal of web\nexit code 0\n", "remove", "--type=app", "--name=web")
	i.wants(`
ENDED                 UPDATE                      OUTCOME    MODULES             CODE
TIME  ID  Succeeded  web 1               
TIME  ID  Failed     web 2 (RolledBack)  E17
TIME  ID  Failed     web 3 (Broken)      E17
TIME  ID  Succeeded  tool 1              
TIME  ID  Succeeded  web 4               
TIME  ID  Succeeded  removal of web      
exit code 0
`, "history")
	var ends []journal.End
	if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.ReplaceAll(i.do("history", "-o", "json"), "TIME", "2026-11-26T12:00:00Z"), "exit code 0\n")), &ends); err != nil {
		t.Fatal(err)
	}
	if len(ends) != 6 || ends[2].Outcome != update.Failed || ends[2].Code != "E17" || !strings.Contains(ends[2].Message, "web does not start") || ends[2].Changes[0].Stage != update.Broken {
		t.Errorf("the history is %+v", ends)
	}
	if a, b := i.do("status", "-o", "json"), i.do("status", "--json"); a != b || !strings.Contains(a, `"consistent": true`) {
		t.Errorf("status -o json prints\n%s\nand --json\n%s", a, b)
	}
	if a, b := i.do("status", "-o", "text"), i.do("status"); a != b {
		t.Errorf("status -o text prints\n%s", a)
	}
}

// TestInstallWhileAnUpdateWaitsForAReboot: without a running agent nothing would end the update
// that the message says to wait for.
func TestInstallWhileAnUpdateWaitsForAReboot(t *testing.T) {
	i := newInstallation(t, "")
	bundle := i.bundle("1.tar", map[string]string{"install": "echo reboot >&3"})
	i.wants(`
error: reboot the device: the update continues when the agent runs after that
exit code 4
`, "install", bundle, "--type=app", "--name=web", "--version=1")
	i.wants(`
error: update ID is in progress (Rebooting), and the agent does not run: start it with goshawk-agent run, which continues the update
exit code 1
`, "install", bundle, "--type=app", "--name=web", "--version=2")
}

func TestCommandsThatNeedTheAgent(t *testing.T) {
	i := newInstallation(t, "")
	for _, command := range []string{"confirm", "deny", "rollback", "poll"} {
		i.wants(`
error: the agent does not run: start it with goshawk-agent run, or systemctl start goshawk-agent
exit code 5
`, command)
	}
}

func TestWrongCommandLines(t *testing.T) {
	i := newInstallation(t, "")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no file":                 {[]string{"install", "--type=app", "--name=web", "--version=1"}, "requires at least 1 arg"},
		"no version":              {[]string{"install", "x.tar", "--type=app", "--name=web"}, `required flag(s) "version" not set`},
		"no type":                 {[]string{"remove", "--name=web"}, `required flag(s) "type" not set`},
		"a file that is missing":  {[]string{"install", "/none.tar", "--type=app", "--name=web", "--version=1"}, "open /none.tar: no such file or directory"},
		"metadata without =":      {[]string{"install", i.path("config.yaml"), "--type=app", "--name=web", "--version=1", "--metadata=x"}, `--metadata is "x", want key=value`},
		"an unknown type":         {[]string{"install", i.path("config.yaml"), "--type=os", "--name=web", "--version=1"}, `there is no handler for type "os": put an executable at FOLDER/handlers.d/os`},
		"a set without a version": {[]string{"install", i.path("config.yaml"), "--type=app", "--name=web", "--version=1", "--set=firmware"}, "if any flags in the group [set set-version] are set they must all be set"},
		"an empty set":            {[]string{"install", i.path("config.yaml"), "--type=app", "--name=web", "--version=1", "--set=", "--set-version="}, "the distribution set needs a name and a version"},
		"an unknown format":       {[]string{"status", "-o", "yaml"}, `invalid argument "yaml" for "-o, --output" flag: it must be one of text, json`},
		"an unknown command":      {[]string{"update"}, `unknown command "update"`},
	} {
		t.Run(name, func(t *testing.T) {
			if text := i.do(test.args...); !strings.Contains(text, test.want) || !strings.HasSuffix(text, "exit code 1\n") {
				t.Errorf("the output is\n%s", text)
			}
		})
	}
}

// TestAgentAsAProcess: software that was installed without a server is reported at the first
// connection, a person confirms an update at the device, and the agent needs little memory.
func TestAgentAsAProcess(t *testing.T) {
	device := deviceapi.Device{Namespace: "acme", ControllerID: "dev1"}
	backend := &deviceapitest.Backend{Tokens: map[deviceapi.Device]string{device: "secret"}}
	boundless := deviceapi.Rate{PerSecond: -1}
	api, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return backend, nil },
		ddi.Options{Rates: deviceapi.Rates{Device: boundless, Guess: boundless, Address: boundless, Refusal: boundless, Global: boundless}})
	if err != nil {
		t.Fatal(err)
	}
	content := archiveOf(t, map[string]string{"install": "exit 0"})
	mux := http.NewServeMux()
	mux.Handle("/acme/", api)
	mux.HandleFunc("/web.tar", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	server := httptest.NewServer(mux)
	defer server.Close()

	i := newInstallation(t, "")
	i.wants("Succeeded: web 1\nexit code 0\n", "install", i.bundle("1.tar", map[string]string{"install": "exit 0"}), "--type=app", "--name=web", "--version=1")
	i.write("token", "secret\n")
	i = &installation{t, i.folder}
	i.write("config.yaml", fmt.Sprintf("folder: %s/state\nhandlersFolder: %s/handlers.d\nhandlers: {app: bundle}\nserver: {url: %q, controllerID: dev1, targetTokenFile: %s/token}\n", i.folder, i.folder, server.URL+"/acme", i.folder))
	sum := sha256.Sum256(content)
	backend.SetUpdate(&deviceapitest.Update{Confirm: true, Set: deviceapitest.Set{Name: "firmware", Version: "2", Modules: []deviceapi.Module{{
		ID: "1", Type: "app", Name: "web", Version: "2",
		Artifacts: []deviceapi.Artifact{{FileName: "web.tar", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: server.URL + "/web.tar"}}}},
	}}}})
	i.wants(fmt.Sprintf(`
Consistent:   yes
Phase:        Idle
Server:       %s/acme
              the agent does not run
Last update:  ID Succeeded TIME

TYPE  NAME  VERSION
app   web   1
exit code 0
`, server.URL), "status")
	pid := i.runs()
	i.until("the connection is in the status", func() bool {
		return strings.Contains(i.do("status"), fmt.Sprintf("Server:           %s/acme/controller/v1/dev1\n                  connected since TIME\n                  last contact TIME\n", server.URL))
	})
	i.until("the software that was installed by hand is reported", func() bool {
		for _, call := range backend.Calls() {
			if call.Method == "Attributes" {
				if version := call.Args[0].(deviceapi.Attributes).Values["sw.app.web"]; version != nil && *version == "1" {
					return true
				}
			}
		}
		return false
	})

	i.until("the update is to be confirmed", func() bool {
		return strings.Contains(i.do("status"), "To be confirmed:  100: web 2\n                  goshawk-agent confirm, or goshawk-agent deny\n")
	})
	i.wants("exit code 0\n", "confirm", "--remark=by Ada")
	i.until("the update is installed", func() bool {
		a := backend.StoredAction(device, 100)
		return a != nil && a.State == v1alpha1.ActionFinished && strings.Contains(i.do("status"), "app   web   2\n")
	})
	i.write("token", "another")
	i.wants("exit code 0\n", "poll")
	i.until("the reason of a lost connection is in the status", func() bool {
		return regexp.MustCompile(`\n {14}not connected since TIME: .*401 Unauthorized.*\n {14}last contact TIME\n`).MatchString(i.do("status"))
	})
	if runtime.GOOS == "linux" {
		const limit = 15 << 10
		if kib := resident(t, pid); kib > limit {
			t.Errorf("the agent needs %d KiB of memory, want %d at most", kib, limit)
		} else {
			t.Logf("the agent needs %d KiB of memory", kib)
		}
	}
}

// runs starts the agent as a process of its own, and returns its id.
func (i *installation) runs() int {
	i.Helper()
	build := exec.CommandContext(i.Context(), "go", "build", "-o", i.path("goshawk-agent"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		i.Fatalf("build goshawk-agent: %v\n%s", err, out)
	}
	agent := exec.Command(i.path("goshawk-agent"), "run", "--config="+i.path("config.yaml"))
	agent.Stderr = i.Output()
	if err := agent.Start(); err != nil {
		i.Fatal(err)
	}
	i.Cleanup(func() {
		_ = agent.Process.Signal(syscall.SIGTERM)
		if err := agent.Wait(); err != nil {
			i.Errorf("the agent ended after SIGTERM: %v", err)
		}
	})
	return agent.Process.Pid
}

func (i *installation) until(what string, is func() bool) {
	i.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			i.Fatalf("not reached: %s", what)
		}
	}
}

// resident returns the memory of a process in KiB, without the pages of its file, which the system
// may drop.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(text)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("there is no VmRSS")
	return 0
}
