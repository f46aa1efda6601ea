// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package handler

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// TestProcessesOfAKilledAgentAreEnded: a handler that still runs is killed. One that has ended is
// not waited for, although its process group still exists: its parent has not read its exit code.
func TestProcessesOfAKilledAgentAreEnded(t *testing.T) {
	for name, script := range map[string]string{"that runs": "sleep 60 & sleep 60", "that has ended": "exit 0"} {
		t.Run("a handler "+name, func(t *testing.T) {
			folder := t.TempDir()
			handler := exec.Command("/bin/sh", "-c", script)
			setGroup(handler)
			if err := handler.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = handler.Wait() }() // only now: until then it is a zombie
			if err := rememberGroup(folder, handler.Process.Pid); err != nil {
				t.Fatal(err)
			}
			for script == "exit 0" && groupRuns(handler.Process.Pid) {
				time.Sleep(time.Millisecond)
			}
			if err := StopLeftOver(folder); err != nil {
				t.Fatal(err)
			}
			if groupRuns(handler.Process.Pid) {
				t.Error("processes of the handler still run")
			}
			if _, err := os.Stat(groupFile(folder)); err == nil {
				t.Error("the file with the process group is left over")
			}
		})
	}
}

// TestBundleSaysThatItIsRepeatable: the script check of an archive is called as a handler is.
func TestBundleSaysThatItIsRepeatable(t *testing.T) {
	d := newDevice(t)
	check := entry{name: "check", mode: 0o755, content: "#!/bin/sh\n[ $1 = check ] && echo repeatable >&3\nexit 0\n"}
	d.write("files/app.tar", archive(t, false, check, entry{name: "install", mode: 0o755, content: "#!/bin/sh\n"}), 0o600)
	c := module("app", "web", "2")
	c.Artifacts = []update.Artifact{{Filename: "app.tar"}}
	d.must(c, update.Check)
	if r := d.do(update.Download, c); r.Err != "" || !r.Repeatable {
		t.Errorf("the download, which runs the script: %+v", r)
	}
}
