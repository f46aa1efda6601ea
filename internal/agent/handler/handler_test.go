// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// device has the folders of a device in a test.
type device struct {
	*testing.T
	registry *Registry
	root     string
	lines    []Line
	// update numbers the updates: each one has a store of its own.
	update int
	old    []string
	others []string
	// change is what the tests of an example install.
	change update.Change
}

func newDevice(t *testing.T) *device {
	t.Helper()
	root := t.TempDir()
	d := &device{T: t, root: root}
	d.registry = &Registry{Folder: filepath.Join(root, "handlers.d"), Roots: []string{filepath.Join(root, "opt")}, State: root, Disk: &syncing{}, BuiltIn: map[string]string{"app": "bundle", "config": "file"}}
	for _, folder := range []string{"handlers.d", "files", "work", "kept", "opt"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *device) write(name, content string, mode os.FileMode) {
	d.Helper()
	path := filepath.Join(d.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		d.Fatal(err)
	}
}

func (d *device) read(name string) string {
	data, err := os.ReadFile(filepath.Join(d.root, name))
	if err != nil {
		return "(" + filepath.Base(name) + " does not exist)"
	}
	return string(data)
}

func (d *device) do(verb update.Verb, c update.Change) update.StepResult {
	d.Helper()
	h, err := d.registry.For(c.Type)
	if err != nil {
		return failed(err)
	}
	call := Call{Verb: verb, Update: "7", Change: c, OldVersion: "1", Files: filepath.Join(d.root, "files"), Work: filepath.Join(d.root, "work"), Kept: filepath.Join(d.root, "kept"), Store: d.store(d.update), Old: d.old, Others: d.others}
	return h.Do(d.Context(), call, func(l Line) { d.lines = append(d.lines, l) })
}

func (d *device) store(update int) string { return filepath.Join(d.root, fmt.Sprint("store-", update)) }

// must does calls that must succeed.
func (d *device) must(c update.Change, verbs ...update.Verb) {
	d.Helper()
	for _, verb := range verbs {
		if r := d.do(verb, c); r.Err != "" {
			d.Fatalf("%s: %s", verb, r.Err)
		}
	}
}

// after empties the folders that an update has for itself. old are the updates whose stores stay.
func (d *device) after(old ...int) {
	d.Helper()
	d.update++
	d.old = nil
	for _, o := range old {
		d.old = append(d.old, d.store(o))
	}
	for _, folder := range []string{"files", "work"} {
		if err := os.RemoveAll(filepath.Join(d.root, folder)); err != nil {
			d.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(d.root, folder), 0o755); err != nil {
			d.Fatal(err)
		}
	}
}

func module(kind, name, version string) update.Change {
	return update.Change{Module: update.Module{Type: kind, Name: name, Version: version}}
}

func TestProgramReadsItsCallAndPrintsLines(t *testing.T) {
	d := newDevice(t)
	d.write("handlers.d/os", `#!/bin/sh
echo "progress 40" >&3
echo "progress 400%" >&3
echo "message halfway" >&3
echo "a line without a word that is known" >&3
echo "code 17" >&3
echo "reboot" >&3
echo "repeatable" >&3
echo "$1 $GOSHAWK_TYPE $GOSHAWK_NAME $GOSHAWK_VERSION $GOSHAWK_OLD_VERSION $GOSHAWK_UPDATE" > "$GOSHAWK_WORK/call"
grep -q '"version": "2"' "$GOSHAWK_MODULE"
`, 0o755)
	got := d.do(update.Install, module("os", "linux", "2"))
	want := update.StepResult{Code: "17", Messages: []string{"halfway", "a line without a word that is known"}, NeedsReboot: true, Repeatable: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result:\n%s", diff)
	}
	if diff := cmp.Diff([]Line{{Percent: 40}, {Percent: 100}, {-1, "halfway"}, {-1, "a line without a word that is known"}}, d.lines); diff != "" {
		t.Errorf("lines:\n%s", diff)
	}
	if got := d.read("work/call"); got != "install os linux 2 1 7\n" {
		t.Errorf("the call was %q", got)
	}
}

// syncing counts the calls of SyncAll.
type syncing struct {
	disk.OS
	calls int
}

func (s *syncing) SyncAll() { s.calls++ }

func TestChangesOfAProgramAreSynced(t *testing.T) {
	d := newDevice(t)
	s := &syncing{}
	d.registry.Disk = s
	d.write("handlers.d/os", "#!/bin/sh\n[ $GOSHAWK_NAME != bad ]\n", 0o755)
	for verb, want := range map[update.Verb]int{update.Check: 0, update.Download: 0, update.Install: 1, update.Remove: 1, update.Verify: 0, update.Commit: 1, update.Rollback: 1, update.Cleanup: 0} {
		s.calls, d.registry.SkipSync = 0, false
		d.must(module("os", "linux", "2"), verb)
		if s.calls != want {
			t.Errorf("%s: %d syncs, want %d", verb, s.calls, want)
		}
		d.registry.SkipSync = true
		d.must(module("os", "linux", "2"), verb)
		d.registry.SkipSync = false
		_ = d.do(verb, module("os", "bad", "2"))
		if s.calls != want {
			t.Errorf("%s: %d syncs after a call without syncs and one that failed, want %d", verb, s.calls, want)
		}
	}
}

func TestProgramFails(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   update.StepResult
	}{
		"with its output":                    {"#!/bin/sh\necho no space; exit 3", update.StepResult{Err: "install: exit status 3: no space"}},
		"with a code":                        {"#!/bin/sh\necho code E17 >&3; exit 1", update.StepResult{Err: "install: exit status 1", Code: "E17"}},
		"because it does not know the verb":  {"#!/bin/sh\nexit 64", update.StepResult{Missing: true}},
		"because it is killed":               {"#!/bin/sh\nkill -9 $$", update.StepResult{Err: "install: signal: killed"}},
		"because it does not end":            {"#!/bin/sh\nsleep 60 & sleep 60", update.StepResult{Err: "install: no end after 300ms"}},
		"because its interpreter is missing": {"#!/nothing/sh\n", update.StepResult{Err: "no such file or directory", NotStarted: true}},
		"because it is for no interpreter":   {"install it\n", update.StepResult{Err: "exec format error", NotStarted: true}},
		"because it starts nothing":          {"#!/bin/sh\nexec /nothing", update.StepResult{Err: "not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.registry.Timeout = 300 * time.Millisecond
			if name != "because it does not end" {
				d.registry.Timeout = time.Minute
			}
			d.write("handlers.d/os", tc.script, 0o755)
			started := time.Now()
			got := d.do(update.Install, module("os", "linux", "2"))
			if !strings.HasSuffix(got.Err, tc.want.Err) || got.Code != tc.want.Code || got.Missing != tc.want.Missing || got.NotStarted != tc.want.NotStarted || (got.Err == "") != (tc.want.Err == "") {
				t.Errorf("result %+v, want %+v", got, tc.want)
			}
			if took := time.Since(started); took > 40*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestProgramThatIsBusy has a file that is open for writing at first, as in a process that was
// forked while it was written.
func TestProgramThatIsBusy(t *testing.T) {
	d := newDevice(t)
	d.write("handlers.d/os", "#!/bin/sh\n", 0o755)
	writing, err := os.OpenFile(filepath.Join(d.root, "handlers.d/os"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(3*busyPause, func() { _ = writing.Close() })
	d.must(module("os", "linux", "2"), update.Install)
}

func TestLinesOfAProgramAreBounded(t *testing.T) {
	d := newDevice(t)
	d.write("handlers.d/os", `#!/bin/sh
head -c 300000 /dev/zero | tr '\0' x >&3
echo >&3
for i in $(seq 100); do echo "message $i" >&3; done
head -c 300000 /dev/zero | tr '\0' y
exit 1
`, 0o755)
	got := d.do(update.Install, module("os", "linux", "2"))
	if len(got.Messages) != maxMessages || got.Messages[maxMessages-1] != "100" {
		t.Errorf("%d messages, the last one is %q", len(got.Messages), got.Messages[len(got.Messages)-1])
	}
	if len(got.Err) > maxOutput+100 {
		t.Errorf("the failure has %d bytes", len(got.Err))
	}
	if len(d.lines[0].Message) != maxLine {
		t.Errorf("the first line has %d bytes", len(d.lines[0].Message))
	}
}

func TestTypeWithoutAHandler(t *testing.T) {
	d := newDevice(t)
	d.write("handlers.d/plain", "#!/bin/sh\n", 0o644)
	for kind, want := range map[string]string{
		"os":         `there is no handler for type "os": put an executable at`,
		"plain":      "is not an executable file: chmod +x",
		"../evil":    "cannot have a handler",
		".hidden":    "cannot have a handler",
		"":           "cannot have a handler",
		"handlers.d": "there is no handler",
	} {
		if _, err := d.registry.For(kind); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("type %q: %v, want %q", kind, err, want)
		}
	}
}

func configModule(d *device, version string, files map[string]string) update.Change {
	d.Helper()
	c := module("config", "settings", version)
	c.Metadata = map[string]string{"path": filepath.Join(d.root, "opt", "settings"), "mode": "0640"}
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		if content, ok := files[name]; ok {
			d.write("files/"+name, content, 0o600)
			sum, _, err := disk.SHA256(filepath.Join(d.root, "files", name))
			if err != nil {
				d.Fatal(err)
			}
			c.Artifacts = append(c.Artifacts, update.Artifact{Filename: name, SHA256: sum})
		}
	}
	return c
}

var verbs = []update.Verb{update.Check, update.Download, update.Install, update.Verify, update.Commit, update.Cleanup}

func TestFilesAreInstalledReplacedRolledBackAndRemoved(t *testing.T) {
	d := newDevice(t)
	one := configModule(d, "1", map[string]string{"a.txt": "a1", "b.txt": "b1"})
	d.must(one, verbs...)
	if got := d.read("opt/settings/a.txt") + d.read("opt/settings/b.txt"); got != "a1b1" {
		t.Errorf("installed %s", got)
	}
	if info, err := os.Stat(filepath.Join(d.root, "opt/settings/a.txt")); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info, err)
	}
	d.after(0)

	two := configModule(d, "2", map[string]string{"b.txt": "b2", "c.txt": "c2"})
	d.must(two, update.Check, update.Install, update.Verify)
	if got := d.read("opt/settings/a.txt") + d.read("opt/settings/b.txt") + d.read("opt/settings/c.txt"); got != "(a.txt does not exist)b2c2" {
		t.Errorf("replaced by %s", got)
	}
	d.must(two, update.Install, update.Rollback, update.Rollback) // repeated calls
	if got := d.read("opt/settings/a.txt") + d.read("opt/settings/b.txt") + d.read("opt/settings/c.txt"); got != "a1b1(c.txt does not exist)" {
		t.Errorf("rolled back to %s", got)
	}
	d.after(0)

	remove := module("config", "settings", "")
	remove.Removes = true
	d.must(remove, update.Check, update.Remove, update.Verify)
	if got := d.read("opt/settings/a.txt"); got != "(a.txt does not exist)" {
		t.Errorf("after the removal: %s", got)
	}
	d.must(remove, update.Rollback)
	if got := d.read("opt/settings/a.txt"); got != "a1" {
		t.Errorf("after the rollback of the removal: %s", got)
	}
	d.after(0)
	d.must(remove, update.Check, update.Download, update.Remove, update.Verify, update.Commit, update.Cleanup)
	if got := d.read("opt/settings/a.txt"); got != "(a.txt does not exist)" {
		t.Errorf("after the removal: %s", got)
	}
}

func TestFilesOfAnotherModuleAreNotReplaced(t *testing.T) {
	d := newDevice(t)
	d.must(configModule(d, "1", map[string]string{"a.txt": "a1"}), verbs...)
	d.after()
	d.others = []string{d.store(0), filepath.Join(d.root, "nothing")}
	other := configModule(d, "1", map[string]string{"a.txt": "other", "b.txt": "other"})
	other.Name = "other"
	d.must(other, update.Check)
	if r := d.do(update.Install, other); !strings.Contains(r.Err, "opt/settings/a.txt belongs to software module settings: change the metadata") {
		t.Errorf("result %+v", r)
	}
	d.must(other, update.Rollback)
	if got := d.read("opt/settings/a.txt") + d.read("opt/settings/b.txt"); got != "a1(b.txt does not exist)" {
		t.Errorf("the files are %s", got)
	}
	other.Metadata["path"] += "/other"
	d.must(other, verbs...)
}

func TestFilesThatMayNotBeInstalled(t *testing.T) {
	for name, tc := range map[string]struct {
		path, mode, want string
	}{
		"without a path":                    {"", "", `has no metadata "path"`},
		"into a folder that is not allowed": {"/etc", "", "the configuration of the agent (fileRoots) permits"},
		"out of the folder":                 {"ROOT/opt/../etc", "", "permits"},
		"beside the folder":                 {"ROOT/optional", "", "permits"},
		"into a relative folder":            {"opt", "", "permits"},
		"with a wrong mode":                 {"ROOT/opt", "rw", "want an octal number"},
		"with a mode of a set-uid program":  {"ROOT/opt", "4755", "want an octal number"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			c := module("config", "settings", "1")
			c.Metadata = map[string]string{"path": strings.Replace(tc.path, "ROOT", d.root, 1), "mode": tc.mode}
			if r := d.do(update.Check, c); !strings.Contains(r.Err, tc.want) {
				t.Errorf("result %+v, want %q", r, tc.want)
			}
		})
	}
}

// fullDisk is a disk on which no file can be opened for writing while it is full.
type fullDisk struct {
	syncing
	isFull bool
}

func (f *fullDisk) OpenFile(name string, flag int, mode os.FileMode) (disk.File, error) {
	if f.isFull {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
	}
	return f.syncing.OpenFile(name, flag, mode)
}

// TestFilesOnAFullDisk checks that a rollback needs no space for files that are still the old ones.
func TestFilesOnAFullDisk(t *testing.T) {
	d := newDevice(t)
	d.must(configModule(d, "1", map[string]string{"a.txt": "a1"}), verbs...)
	d.after(0)
	full := &fullDisk{}
	d.registry.Disk = full
	two := configModule(d, "2", map[string]string{"a.txt": "a2", "b.txt": "b2"})
	if err := os.MkdirAll(d.store(d.update), 0o755); err != nil {
		t.Fatal(err)
	}
	d.write("opt/settings/.a.txt.goshawk-new/x", "", 0o600) // so that a.txt cannot be written
	if r := d.do(update.Install, two); r.Err == "" {
		t.Fatal("the installation did not fail")
	}
	full.isFull = true
	d.must(two, update.Rollback)
	if got := d.read("opt/settings/a.txt") + d.read("opt/settings/b.txt"); got != "a1(b.txt does not exist)" {
		t.Errorf("the files are %s", got)
	}
	d.write("opt/settings/a.txt", "half", 0o640)
	if r := d.do(update.Rollback, two); !strings.Contains(r.Err, "no space left on device") {
		t.Errorf("a rollback that cannot restore a file: %+v", r)
	}
}

func TestSpaceForFilesIsCheckedFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		state, target int64 // free bytes
		want          string
	}{
		"for the copies of the old files": {disk.Reserve + 99, 1 << 30, "/work has 4194403 bytes free, and the update needs 4194404"},
		"for the new files":               {1 << 30, disk.Reserve + 599, "/opt/settings has 4194903 bytes free, and the update needs 4194904"},
		"enough":                          {disk.Reserve + 100, disk.Reserve + 600, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.must(configModule(d, "1", map[string]string{"a.txt": strings.Repeat("1", 100)}), verbs...)
			d.after(0)
			d.registry.Free = func(folder string) (int64, error) {
				if strings.HasPrefix(folder, filepath.Join(d.root, "opt")) {
					return tc.target, nil
				}
				return tc.state, nil
			}
			// a.txt grows by 100, b.txt is new, and the largest file is there twice for a moment.
			two := configModule(d, "2", map[string]string{"a.txt": strings.Repeat("2", 200), "b.txt": strings.Repeat("2", 250)})
			two.Artifacts[0].Size, two.Artifacts[1].Size = 200, 250
			if r := d.do(update.Install, two); !strings.Contains(r.Err, tc.want) || (r.Err == "") != (tc.want == "") {
				t.Errorf("result %+v, want %q", r, tc.want)
			}
			d.must(two, update.Rollback)
			if got := d.read("opt/settings/a.txt"); got != strings.Repeat("1", 100) {
				t.Errorf("the file is %s", got)
			}
		})
	}
}

// TestSpaceForAnArchiveIsChecked checks that unpacking never fills the disk, and leaves nothing.
func TestSpaceForAnArchiveIsChecked(t *testing.T) {
	large := strings.Repeat("x", 100_000)
	for name, tc := range map[string]struct {
		zipped bool
		free   int64 // free bytes at the start
		want   string
	}{
		"before the first file":            {false, disk.Reserve + 100_000, "unpack app.tar: "},
		"for each file of a small archive": {true, disk.Reserve + 150_000, "unpack app.tar: "},
		"enough":                           {true, disk.Reserve + 250_000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			packed := archive(t, tc.zipped, entry{name: "install", mode: 0o755, content: "#!/bin/sh\n"}, entry{name: "one", content: large}, entry{name: "two", content: large})
			d.write("files/app.tar", packed, 0o600)
			store := filepath.Join(d.store(0), unpacked)
			d.registry.Free = func(string) (int64, error) {
				used := int64(0)
				for _, file := range []string{"one", "two"} {
					used += sizeOf(filepath.Join(store, file))
				}
				return tc.free - used, nil
			}
			c := module("app", "web", "2")
			c.Artifacts = []update.Artifact{{Filename: "app.tar"}}
			r := d.do(update.Download, c)
			if !strings.Contains(r.Err, tc.want) || (r.Err == "") != (tc.want == "") || r.Err != "" && !strings.Contains(r.Err, "remove files, or use a larger file system") {
				t.Errorf("result %+v, want %q", r, tc.want)
			}
			if _, err := os.Stat(store); (err == nil) != (tc.want == "") {
				t.Errorf("the unpacked files: %v", err)
			}
		})
	}
}

func TestLinksOfAnArchive(t *testing.T) {
	d := newDevice(t)
	d.write("files/app.tar", archive(t, true,
		entry{name: "./", folder: true}, entry{name: "./scripts/", folder: true}, entry{name: "./scripts/all", mode: 0o755, content: "#!/bin/sh\necho $1 >> " + filepath.Join(d.root, "log") + "\n"},
		entry{name: "./install", link: "scripts/all"}, entry{name: "./verify", hard: "./scripts/all"}, entry{name: "./localtime", link: "/usr/share/zoneinfo/UTC"},
	), 0o600)
	c := module("app", "web", "2")
	c.Artifacts = []update.Artifact{{Filename: "app.tar"}}
	d.must(c, update.Check, update.Download, update.Install, update.Verify, update.Commit, update.Cleanup)
	if got := d.read("log"); got != "install\nverify\n" {
		t.Errorf("the scripts wrote %q", got)
	}
}

type entry struct {
	name, content, link string
	hard                string // the name of the file of a hard link
	folder              bool
	mode                int64
}

func archive(t *testing.T, zipped bool, entries ...entry) string {
	t.Helper()
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if e.hard != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, e.hard
		}
		if e.folder {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !zipped {
		return plain.String()
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

func TestBundleRunsItsOwnScripts(t *testing.T) {
	for _, zipped := range []bool{false, true} {
		d := newDevice(t)
		log := filepath.Join(d.root, "log")
		script := func(name string) entry {
			return entry{name: name, mode: 0o755, content: "#!/bin/sh\necho " + name + " $1 $(cat payload/data) >> " + log + "\n"}
		}
		d.write("files/app.tar", archive(t, zipped, script("install"), script("verify"), script("rollback"), script("remove"), script("check"), entry{name: "payload/data", content: "v2", mode: 0o644}), 0o600)
		c := module("app", "web", "2")
		c.Artifacts = []update.Artifact{{Filename: "app.tar"}}
		d.must(c, update.Check, update.Download, update.Install, update.Verify, update.Rollback, update.Install, update.Commit, update.Cleanup)
		d.after(0)
		c.Removes = true
		d.must(c, update.Check, update.Download, update.Remove, update.Verify, update.Commit, update.Cleanup)
		want := "check check v2\ninstall install v2\nverify verify v2\nrollback rollback v2\ninstall install v2\ncheck check v2\nremove remove v2\nverify verify v2\n"
		if got := d.read("log"); got != want {
			t.Errorf("the scripts wrote\n%swant\n%s", got, want)
		}
		d.after()
		if r := d.do(update.Check, c); !strings.Contains(r.Err, "web cannot be removed") {
			t.Errorf("a second removal: %+v", r)
		}
	}
}

func TestArchiveCannotLeaveItsFolder(t *testing.T) {
	install := entry{name: "install", content: "#!/bin/sh\n", mode: 0o755}
	for name, tc := range map[string]struct {
		entries []entry
		want    string
	}{
		"by a path":                          {[]entry{install, {name: "../evil", content: "x"}}, "escapes"},
		"by an absolute path":                {[]entry{install, {name: "/evil", content: "x"}}, "escapes"},
		"by a link and a path through it":    {[]entry{install, {name: "out", link: "/"}, {name: "out/evil", content: "x"}}, "escapes"},
		"by a relative link":                 {[]entry{install, {name: "out", link: "../.."}, {name: "out/evil", content: "x"}}, "escapes"},
		"by a hard link":                     {[]entry{install, {name: "passwd", hard: "/etc/passwd"}}, "escapes"},
		"by a hard link to a relative path":  {[]entry{install, {name: "passwd", hard: "../files/app.tar"}}, "escapes"},
		"and must have a script for install": {[]entry{{name: "verify", content: "x"}}, "no script named install"},
		"and must not have a file twice":     {[]entry{install, install}, "file exists"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.write("files/app.tar", archive(t, false, tc.entries...), 0o600)
			c := module("app", "web", "2")
			c.Artifacts = []update.Artifact{{Filename: "app.tar"}}
			if r := d.do(update.Download, c); !strings.Contains(r.Err, tc.want) {
				t.Errorf("result %+v, want %q", r, tc.want)
			}
		})
	}
}
