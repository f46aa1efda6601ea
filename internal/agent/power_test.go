// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/handler"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/testing/power"
)

// The tests in this file run the whole agent on a disk that loses its power, or whose agent is
// killed, at a chosen operation. They start the agent again, and compare what it says at the end
// with what is on the device.

// powered is a device on such a disk. Its software are the files of a module of type config, a
// module of type legacy with files, and a module of type os with a handler of the test.
type powered struct {
	*testing.T
	root string
	disk *power.Disk
	// archives are those of module app, and outside is where its scripts write.
	archives map[string]string
	outside  string
	os       osHandler
	boot     int
	// mayInstall is what the server says about the installation.
	mayInstall bool
}

// osHandler writes the version into a file. It is what a good handler does: it keeps the old
// version, and syncs.
type osHandler struct {
	device *powered
	// Lists of words of a handler, such as "verify commit".
	missing, failing, reboot string
	repeatable, cancel       bool
}

func (h *osHandler) Do(ctx context.Context, c handler.Call, _ func(handler.Line)) update.StepResult {
	d, verb := h.device, string(c.Verb)
	slot, saved := filepath.Join(d.root, "slot"), filepath.Join(c.Work, "saved")
	if slices.Contains(strings.Fields(h.missing), verb) {
		return update.StepResult{Missing: true}
	}
	var err error
	switch c.Verb {
	case update.Install:
		if _, errStat := os.Stat(saved); errStat != nil {
			err = disk.Copy(d.disk, slot, saved, 0o600)
		}
		for _, content := range []string{"mixed", c.Change.Version} {
			if err == nil { // nothing is changed before the old version is saved
				err = d.put(slot, content)
			}
		}
		if h.cancel {
			_, _ = d.agent(ctx).Cancel(ctx, update.FromServer)
		}
	case update.Rollback:
		if _, errStat := os.Stat(saved); errStat == nil {
			err = errors.Join(d.put(slot, "mixed"), disk.Copy(d.disk, saved, slot, 0o600))
		}
	}
	if err != nil {
		return update.StepResult{Err: err.Error()}
	}
	if slices.Contains(strings.Fields(h.failing), verb) {
		return update.StepResult{Err: verb + " fails"}
	}
	return update.StepResult{Repeatable: h.repeatable, NeedsReboot: slices.Contains(strings.Fields(h.reboot), verb)}
}

// running is the key of the agent in the context of a call.
type running struct{}

func (d *powered) agent(ctx context.Context) *Agent { return ctx.Value(running{}).(*Agent) }

func (d *powered) put(path, content string) error {
	return disk.Replace(d.disk, path, 0o600, func(out io.Writer) error {
		_, err := io.WriteString(out, content)
		return err
	})
}

// For returns the handler of the test for type os.
func (d *powered) For(kind string) (handler.Handler, error) {
	if kind == "os" {
		return &d.os, nil
	}
	return d.registry().For(kind)
}

func (d *powered) registry() *handler.Registry {
	return &handler.Registry{
		Folder: filepath.Join(d.root, "handlers.d"), BuiltIn: map[string]string{"config": "file", "legacy": "file", "app": "bundle"}, Roots: []string{filepath.Join(d.root, "opt")},
		State: filepath.Join(d.root, "state"), Disk: d.disk,
	}
}

// RoundTrip answers each request with the last part of its path.
func (d *powered) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(d.contentOf(filepath.Base(r.URL.Path))))
	return w.Result(), nil
}

func (d *powered) contentOf(name string) string {
	if archive, ok := d.archives[name]; ok {
		return archive
	}
	return strings.Repeat("content of "+name+"\n", 3000)
}

// appPath stands for the file of module app.
const appPath = "app"

// files returns a module with files, whose names have their version: a-1 is the file a.
func (d *powered) files(kind, version string, names ...string) update.Change {
	c := update.Change{Module: update.Module{Type: kind, Name: kind, Version: version, Metadata: map[string]string{"path": filepath.Join(d.root, "opt", kind)}}}
	for _, name := range names {
		content := d.contentOf(name + "-" + version)
		sum := sha256.Sum256([]byte(content))
		c.Artifacts = append(c.Artifacts, update.Artifact{Filename: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), URL: "http://files/" + name + "-" + version})
	}
	return c
}

// software are the versions of the device: what is where if a module has a version.
func (d *powered) software(m journal.Software) map[string]string {
	switch m.Type + m.Version {
	case "os1", "os2":
		return map[string]string{"slot": m.Version}
	case "config1":
		return map[string]string{"opt/config/a": d.contentOf("a-1"), "opt/config/b": d.contentOf("b-1")}
	case "config2":
		return map[string]string{"opt/config/b": d.contentOf("b-2"), "opt/config/c": d.contentOf("c-2")}
	case "legacy1":
		return map[string]string{"opt/legacy/x": d.contentOf("x-1")}
	case "app1", "app2":
		return map[string]string{appPath: m.Version}
	}
	d.Fatalf("the device cannot have %+v", m)
	return nil
}

func newPowered(t *testing.T, seed uint64, h osHandler, bundles bool) *powered {
	t.Helper()
	d := &powered{T: t, root: power.Folder(t), outside: power.Folder(t), archives: map[string]string{}, mayInstall: true}
	for _, folder := range []string{"opt", "state"} {
		if err := os.Mkdir(filepath.Join(d.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.root, "slot"), []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.disk = power.New(d.root, seed)
	d.os = osHandler{device: d}
	first := []update.Change{d.files("config", "1", "a", "b"), d.files("legacy", "1", "x"), {Module: update.Module{Type: "os", Name: "os", Version: "1"}}}
	if bundles {
		first = append(first, d.app("1"))
	}
	d.update("1", first)
	if s := d.truth(); s.Last == nil || s.Last.Outcome != update.Succeeded {
		t.Fatalf("the first installation failed: %+v", s)
	}
	h.device = d
	d.os = h
	d.disk.Synced()
	d.disk.Operations = 0
	return d
}

// second is the update of the scenarios: it replaces, removes and changes.
func (d *powered) second(bundles bool) []update.Change {
	changes := []update.Change{
		d.files("config", "2", "b", "c"), {Module: update.Module{Type: "legacy", Name: "legacy"}, Removes: true}, {Module: update.Module{Type: "os", Name: "os", Version: "2"}},
	}
	if bundles {
		changes = append(changes, d.app("2"))
	}
	return changes
}

// update runs the agent until the update has ended. After a kill it runs again, with a loss of
// power before if losesPower is set.
func (d *powered) update(id string, changes []update.Change) { d.updateWith(id, changes, false) }

func (d *powered) updateWith(id string, changes []update.Change, losesPower bool) {
	d.Helper()
	for starts := 1; ; starts++ {
		if starts > 20 {
			d.Fatal("the update does not end")
		}
		ended := false
		killed := power.Run(func() { ended = d.run(id, changes) })
		switch {
		case ended && !killed:
			return
		case killed && losesPower:
			d.disk.LosePower()
			d.boot++
		case !killed:
			d.boot++ // the update waits for a reboot
		}
		d.disk.KillAt = 0
	}
}

// run runs the agent until the update has ended or waits for a reboot.
func (d *powered) run(id string, changes []update.Change) (ended bool) {
	a, err := newOn(d.disk, Config{Folder: filepath.Join(d.root, "state")}, slog.New(slog.DiscardHandler))
	if err != nil {
		d.Fatal(err)
	}
	a.Handlers, a.Boot, a.StorePause = d, fmt.Sprint(d.boot), 0
	a.Download.HTTP, a.Download.Free, a.Download.Pause = &http.Client{Transport: d}, nil, func(context.Context, int) {}
	ctx := context.WithValue(d.Context(), running{}, a)
	if err := a.start(ctx); err != nil {
		d.Fatal(err)
	}
	now, _ := a.Document()
	if now.Update == nil && (now.Ended == nil || now.Ended.ID != id) {
		if err := a.Accept(ctx, id, update.FromServer, changes, d.mayInstall); err != nil {
			d.Fatal(err)
		}
	}
	a.mayInstall = d.mayInstall
	a.execute(ctx, func() bool {
		now, _ := a.Document()
		if u := now.Update; u != nil && u.Phase == update.Downloaded && !a.mayInstall {
			d.mayInstall, a.mayInstall = true, true // the next poll permits it
		}
		return now.Update == nil || now.Update.BootBefore == a.Boot
	})
	now, _ = a.Document()
	return now.Update == nil
}

// truth compares what the agent says with what is on the device.
func (d *powered) truth() journal.State {
	d.Helper()
	j, err := journal.Open(disk.OS{}, filepath.Join(d.root, "state"), time.Now)
	if err != nil {
		d.Fatal(err)
	}
	s := journal.StateOf(j.Document())
	want, unknown := map[string]string{}, []string{}
	for _, m := range s.Installed {
		for path, content := range d.software(m) {
			want[path] = content
		}
	}
	if s.Inconsistency != nil {
		for _, m := range s.Inconsistency.Software {
			unknown = append(unknown, map[string]string{"os": "slot", "app": appPath}[m.Type], "opt/"+m.Type+"/")
		}
	}
	isUnknown := func(path string) bool {
		return slices.ContainsFunc(unknown, func(u string) bool { return u != "" && strings.HasPrefix(path, u) })
	}
	paths := map[string]bool{"slot": true, appPath: true}
	for path := range want {
		paths[path] = true
	}
	for _, kind := range []string{"config", "legacy"} {
		entries, _ := os.ReadDir(filepath.Join(d.root, "opt", kind))
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".goshawk-new") {
				paths[filepath.Join("opt", kind, e.Name())] = true
			}
		}
	}
	for path := range paths {
		data, err := os.ReadFile(filepath.Join(d.root, path))
		if path == appPath {
			data, err = os.ReadFile(filepath.Join(d.outside, "app"))
		}
		if isUnknown(path) || err != nil && want[path] == "" || string(data) == want[path] {
			continue
		}
		d.Errorf("%s has %.30q, and the agent says %.30q; state: %+v", path, data, want[path], s)
	}
	return s
}

// wantTidy checks that nothing is left over of the update.
func (d *powered) wantTidy(s journal.State) {
	d.Helper()
	left, _ := filepath.Glob(filepath.Join(d.root, "state", "work", "*"))
	modules, _ := filepath.Glob(filepath.Join(d.root, "state/kept/*/*"))
	known := s.Installed
	if s.Inconsistency != nil {
		known = slices.Concat(known, s.Inconsistency.Software)
	}
	for _, module := range modules {
		kind := strings.TrimPrefix(filepath.Base(module), "m-") // the modules have the names of their types
		if !slices.ContainsFunc(known, func(m journal.Software) bool { return m.Type == kind }) {
			left = append(left, module)
		}
		stores, _ := filepath.Glob(filepath.Join(module, "store-*"))
		if s.Consistent {
			left = append(left, stores[min(len(stores), 1):]...)
		}
	}
	if len(left) > 0 {
		d.Errorf("left over: %s; state %+v", left, s)
	}
}

func TestLossOfPowerAtAnyOperation(t *testing.T) {
	losses(t, false, everyMoment()*2-1)
}

func losses(t *testing.T, bundles bool, step int) {
	for i, tc := range []struct {
		name string
		os   osHandler
		want update.Outcome
		// isInconsistent says that the device ends inconsistent.
		isInconsistent, downloadOnly bool
	}{
		{name: "an update succeeds", os: osHandler{repeatable: true}, want: update.Succeeded},
		{name: "it needs a reboot", os: osHandler{repeatable: true, reboot: "install"}, want: update.Succeeded},
		{name: "it is downloaded and then installed", os: osHandler{repeatable: true}, want: update.Succeeded, downloadOnly: true},
		{name: "it fails", os: osHandler{repeatable: true, failing: "install"}, want: update.Failed},
		{name: "it fails after a reboot, and the rollback reboots", os: osHandler{repeatable: true, reboot: "install rollback", failing: "verify"}, want: update.Failed},
		{name: "the commit fails", os: osHandler{repeatable: true, failing: "commit"}, want: update.Failed},
		{name: "it fails without a rollback", os: osHandler{repeatable: true, failing: "verify", missing: "rollback"}, want: update.Failed, isInconsistent: true},
		{name: "the rollback fails", os: osHandler{repeatable: true, failing: "verify rollback"}, want: update.Failed, isInconsistent: true},
		{name: "it is canceled", os: osHandler{repeatable: true, cancel: true}, want: update.Canceled},
		{name: "its handler must not be called twice", os: osHandler{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			free := newPowered(t, 0, tc.os, bundles)
			free.mayInstall = !tc.downloadOnly
			free.update("7", free.second(bundles))
			operations := free.disk.Operations
			tried := 0
			for at := 0; at <= 2*operations && !t.Failed(); at++ {
				if (at+i*step/10)%step != 0 && at != 0 {
					continue
				}
				tried++
				t.Run(fmt.Sprintf("operation %d", at), func(t *testing.T) {
					d := newPowered(t, uint64(at), tc.os, bundles)
					d.mayInstall = !tc.downloadOnly
					d.disk.KillAt = at/2 + 1
					d.updateWith("7", d.second(bundles), at%2 == 0)
					s := d.truth()
					if tc.want != "" && (s.Last.Outcome != tc.want || s.Consistent == tc.isInconsistent) {
						t.Errorf("outcome %s, consistent %v; want %s, %v: %+v", s.Last.Outcome, s.Consistent, tc.want, !tc.isInconsistent, s)
					}
					d.wantTidy(s)
					// The next update finds everything that it needs.
					d.os = osHandler{device: d}
					d.update("8", d.second(bundles))
					if s = d.truth(); s.Last.Outcome != update.Succeeded || !s.Consistent {
						t.Errorf("the next update: %+v", s)
					}
					d.wantTidy(s)
				})
			}
			t.Logf("%d operations, %d losses and kills tried", operations, tried)
		})
	}
}

// appScripts are the scripts of an archive. They keep the version in a file outside of the disk, as
// if they had synced it.
var appScripts = map[string]string{
	"check":    "echo repeatable >&3",
	"install":  "[ -e saved ] || { cp app saved.new 2>/dev/null || : > saved.new; mv saved.new saved; }; echo mixed > app; cp $bundle/version app",
	"rollback": "[ -e saved ] || exit 0; if [ -s saved ]; then cp saved app; else rm -f app; fi",
	"remove":   "[ -e saved ] || cp app saved; rm -f app",
	"cleanup":  "rm -f saved",
}

// tarOf returns an archive with executable files.
func tarOf(t *testing.T, files map[string]string) string {
	t.Helper()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

// app returns the module of type app with an archive.
func (d *powered) app(version string) update.Change {
	files := map[string]string{"version": version}
	for name, script := range appScripts {
		files[name] = "#!/bin/sh\nbundle=$PWD; cd " + d.outside + "\n" + script + "\n"
	}
	packed := tarOf(d.T, files)
	d.archives["app-"+version] = packed
	sum := sha256.Sum256([]byte(packed))
	return update.Change{Module: update.Module{Type: "app", Name: "app", Version: version, Artifacts: []update.Artifact{
		{Filename: "app.tar", Size: int64(len(packed)), SHA256: hex.EncodeToString(sum[:]), URL: "http://files/app-" + version},
	}}}
}

func TestLossOfPowerAtAnyOperationWithBundles(t *testing.T) {
	losses(t, true, everyMoment()*12-1)
}

// TestDiskThatFailsAtAnyOperation has a disk that is full or read-only for some time.
func TestDiskThatFailsAtAnyOperation(t *testing.T) {
	step := everyMoment()*4 - 1
	for name, tc := range map[string]struct {
		os       osHandler
		why      error
		duration int
	}{
		"full for a moment":                        {osHandler{repeatable: true}, syscall.ENOSPC, 1},
		"full for some time":                       {osHandler{repeatable: true}, syscall.ENOSPC, 40},
		"full during an update that fails":         {osHandler{repeatable: true, failing: "verify"}, syscall.ENOSPC, 20},
		"read-only for a moment":                   {osHandler{repeatable: true}, syscall.EROFS, 1},
		"read-only during an update that fails":    {osHandler{repeatable: true, failing: "commit"}, syscall.EROFS, 20},
		"read-only during an update with a reboot": {osHandler{repeatable: true, reboot: "install"}, syscall.EROFS, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			free := newPowered(t, 0, tc.os, false)
			free.update("7", free.second(false))
			for at := 1 + len(name)%step; at <= free.disk.Operations && !t.Failed(); at += step {
				t.Run(fmt.Sprintf("operation %d", at), func(t *testing.T) {
					d := newPowered(t, uint64(at), tc.os, false)
					d.disk.Fail, d.disk.FailFrom, d.disk.FailUntil = tc.why, at, at+tc.duration
					d.update("7", d.second(false))
					d.disk.Fail = nil
					if s := d.truth(); s.Last.Outcome != update.Succeeded && s.Last.Code == "" {
						t.Errorf("it has failed without a reason: %+v", s)
					}
					d.os = osHandler{device: d}
					d.update("8", d.second(false))
					if s := d.truth(); s.Last.Outcome != update.Succeeded || !s.Consistent {
						t.Errorf("the next update: %+v", s)
					}
				})
			}
		})
	}
}
