// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/testing/power"
)

// The tests in this file run the agent as a process that is killed at a chosen moment, start it
// again, and compare what it says at the end with what is on the device.

// killAt is the environment variable that says at which operation of the journal the process of a
// test kills itself; crashFolder is its folder. The handlers kill it as well: see crashHandler.
const (
	killAt      = "GOSHAWK_AGENT_TEST_KILL"
	crashFolder = "GOSHAWK_AGENT_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(crashFolder); folder != "" {
		at, _ := strconv.Atoi(os.Getenv(killAt))
		os.Exit(runToEnd(folder, at))
	}
	os.Exit(m.Run())
}

// killing is the disk of a process that kills itself in its operation number at: before it, or
// after it if at is negative. It syncs nothing, because a kill loses nothing that was written.
type killing struct {
	disk.OS
	at, operations int
}

func (k *killing) operation(do func() error) error {
	k.operations++
	if k.operations == k.at {
		die()
	}
	err := do()
	if k.operations == -k.at {
		die()
	}
	return err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal arrives
}

func (k *killing) OpenFile(name string, flag int, mode fs.FileMode) (f disk.File, err error) {
	err = k.operation(func() error {
		f, err = k.OS.OpenFile(name, flag, mode)
		return err
	})
	return &killingFile{f, k}, err
}

func (k *killing) Rename(from, to string) error {
	return k.operation(func() error { return k.OS.Rename(from, to) })
}

func (k *killing) RemoveAll(name string) error {
	return k.operation(func() error { return k.OS.RemoveAll(name) })
}

func (k *killing) Sync(string) error { return nil }

func (k *killing) SyncAll() {}

type killingFile struct {
	disk.File
	disk *killing
}

func (f *killingFile) Write(data []byte) (n int, err error) {
	err = f.disk.operation(func() error {
		n, err = f.File.Write(data)
		return err
	})
	return n, err
}

func (f *killingFile) Sync() error { return nil }

// crashUpdate is the update of all scenarios: one module is replaced, one is new, one is removed.
var crashUpdate = []update.Change{
	{Module: update.Module{Type: "os", Name: "linux", Version: "2"}},
	{Module: update.Module{Type: "os", Name: "web", Version: "2"}},
	{Module: update.Module{Type: "os", Name: "old"}, Removes: true},
}

// runToEnd runs the agent without a server until its update has ended.
func runToEnd(folder string, at int) int {
	unlock, err := Lock(folder)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	dying := &killing{at: at}
	a, err := newOn(dying, Config{Folder: folder, HandlersFolder: filepath.Join(folder, "handlers.d"), RebootCommand: []string{"true"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return fail(err)
	}
	boot, err := os.ReadFile(filepath.Join(folder, "boot"))
	if err != nil {
		return fail(err)
	}
	a.Boot = string(boot)
	ctx := context.Background()
	if d, _ := a.Document(); d.Ended != nil && d.Ended.ID == "7" {
		return 0
	}
	if d, _ := a.Document(); d.Update == nil {
		err = a.Accept(ctx, "7", update.FromDevice, crashUpdate, true)
	} else {
		err = a.start(ctx)
	}
	if err != nil {
		return fail(err)
	}
	a.execute(ctx, func() bool {
		d, _ := a.Document()
		return d.Update == nil || d.Update.BootBefore == a.Boot
	})
	fmt.Println(dying.operations)
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 2
}

// crashHandler changes the file slot/NAME, which has the version on the device. It counts its
// calls; in call number $(cat kill) it kills the agent in the middle of its work.
const crashHandler = `#!/bin/sh
cd %s
n=$(($(cat count) + 1)); echo $n > count
slot=slot/$GOSHAWK_NAME saved=$GOSHAWK_WORK/saved
here() { [ "$n" = "$(cat kill)" ] && { kill -9 $PPID; exit 1; }; }
for missing in %s; do [ "$GOSHAWK_NAME-$1" = $missing ] && exit 64; done
case $1 in
check) %s ;;
install|remove)
  [ -e $saved ] || { cp $slot $saved.new 2>/dev/null || : > $saved.new; mv $saved.new $saved; }
  echo mixed > $slot
  here
  if [ $1 = install ]; then echo $GOSHAWK_VERSION > $slot; else rm $slot; fi
  ;;
rollback)
  if [ -e $saved ]; then
    echo mixed > $slot
    here
    if [ -s $saved ]; then cp $saved $slot; else rm $slot; fi
  fi
  ;;
esac
here
for failing in %s; do [ "$GOSHAWK_NAME-$1" = $failing ] && exit 1; done
for reboot in %s; do [ "$GOSHAWK_NAME-$1" = $reboot ] && echo reboot >&3; done
exit 0
`

type crashScenario struct {
	missing, failing, reboot, check string
}

// crashed is a device with the scenario.
func newCrashed(t *testing.T, s crashScenario) string {
	t.Helper()
	folder := power.Folder(t)
	if s.check == "" {
		s.check = ":"
	}
	for name, content := range map[string]string{
		"handlers.d/os": fmt.Sprintf(crashHandler, folder, s.missing, s.check, s.failing, s.reboot),
		"slot/linux":    "1\n", "slot/old": "1\n", "count": "0", "kill": "0", "boot": "1",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	j := mustOpen(t, folder)
	d := &update.Document{Format: update.FormatVersion, Installed: []update.Module{{Type: "os", Name: "linux", Version: "1"}, {Type: "os", Name: "old", Version: "1"}}}
	if err := j.Store(d); err != nil {
		t.Fatal(err)
	}
	return folder
}

func mustOpen(t *testing.T, folder string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(&killing{}, folder, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// A moment is when the agent is killed: before (positive) or after (negative) an operation of the
// journal, or in a call of a handler. No kill at all is the zero value.
type moment struct {
	operation, call int
	// reboots says that the device starts again as well, not only the agent.
	reboots bool
}

// runCrashed starts the agent again and again until its update has ended, and kills it at the
// moment. It returns the number of operations of the process that ran first.
func runCrashed(t *testing.T, folder string, m moment) (operations int) {
	t.Helper()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("kill", strconv.Itoa(m.call))
	for starts := 1; ; starts++ {
		if starts > 20 {
			t.Fatal("the update does not end")
		}
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), crashFolder+"="+folder, killAt+"="+strconv.Itoa(m.operation))
		output, err := child.CombinedOutput()
		m.operation = 0
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
			write("kill", "0")
			if m.reboots {
				write("boot", strconv.Itoa(starts+100))
			}
			continue
		case err != nil:
			t.Fatalf("%v: %s", err, output)
		}
		if starts == 1 {
			operations, _ = strconv.Atoi(strings.TrimSpace(string(output)))
		}
		d := mustOpen(t, folder).Document()
		if d.Update == nil && d.Ended != nil {
			return operations
		}
		write("boot", strconv.Itoa(starts+200)) // it waits for a reboot
	}
}

// moments returns every moment of a scenario that ran without a kill in a folder.
func moments(t *testing.T, folder string, operations int) []moment {
	t.Helper()
	count, err := os.ReadFile(filepath.Join(folder, "count"))
	if err != nil {
		t.Fatal(err)
	}
	calls, err := strconv.Atoi(strings.TrimSpace(string(count)))
	if err != nil || operations == 0 || calls == 0 {
		t.Fatalf("%d operations, %q calls", operations, count)
	}
	var all []moment
	for i := 1; i <= operations; i++ {
		all = append(all, moment{operation: i, reboots: i%2 == 0}, moment{operation: -i, reboots: i%2 == 1})
	}
	for i := 1; i <= calls; i++ {
		all = append(all, moment{call: i, reboots: i%2 == 0})
	}
	return all
}

// wantTruth compares what the agent says with what is on the device.
func wantTruth(t *testing.T, folder string) journal.State {
	t.Helper()
	s := journal.StateOf(mustOpen(t, folder).Document())
	got, said := map[string]string{}, map[string]string{}
	slots, err := os.ReadDir(filepath.Join(folder, "slot"))
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		data, err := os.ReadFile(filepath.Join(folder, "slot", slot.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[slot.Name()] = strings.TrimSpace(string(data))
	}
	for _, m := range s.Installed {
		said[m.Name] = m.Version
	}
	if s.Inconsistency != nil {
		for _, m := range s.Inconsistency.Software {
			delete(got, m.Name)
			delete(said, m.Name)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(said) {
		t.Errorf("the device has %v, and the agent says %v; state: %+v", got, said, s)
	}
	return s
}

// everyMoment returns how many moments follow one that is tried: GOSHAWK_CRASH has the same meaning
// as for the crashes of controllers.
func everyMoment() int {
	switch os.Getenv("GOSHAWK_CRASH") {
	case "many":
		return 11
	case "every":
		return 1
	}
	return 73
}

func TestAgentThatIsKilledTellsTheTruth(t *testing.T) {
	const repeatable = "echo repeatable >&3"
	step := everyMoment()
	for i, tc := range []struct {
		name string
		crashScenario
	}{
		{"all succeed, and may be repeated", crashScenario{check: repeatable}},
		{"all succeed, and may not be repeated", crashScenario{}},
		{"one needs a reboot", crashScenario{reboot: "linux-install"}},
		{"the removal fails", crashScenario{failing: "old-remove"}},
		{"verify fails, and the rollback reboots", crashScenario{failing: "old-verify", reboot: "linux-rollback"}},
		{"verify fails, and one has no rollback", crashScenario{failing: "old-verify", missing: "web-rollback"}},
		{"commit fails, and so does a rollback", crashScenario{failing: "web-commit linux-rollback"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			free := newCrashed(t, tc.crashScenario)
			operations := runCrashed(t, free, moment{})
			want := wantTruth(t, free)
			tried := 0
			for at, m := range moments(t, free, operations) {
				if (at+i*step/7)%step != 0 {
					continue
				}
				tried++
				folder := newCrashed(t, tc.crashScenario)
				runCrashed(t, folder, m)
				got := wantTruth(t, folder)
				// A handler that may not be repeated fails after a kill in its middle: then the end
				// may differ.
				if tc.check == repeatable && got.Last.Outcome != want.Last.Outcome {
					t.Errorf("the update %s, and %s without a kill", got.Last.Outcome, want.Last.Outcome)
				}
				if t.Failed() {
					t.Fatalf("killed at %+v", m)
				}
				_ = os.RemoveAll(folder)
			}
			t.Logf("%d moments tried", tried)
		})
	}
}
