// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/testing/power"
)

func clock() time.Time { return time.Unix(5000, 0).UTC() }

func open(t *testing.T, fsys disk.FS, folder string) *Journal {
	t.Helper()
	j, err := Open(fsys, folder, clock)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// documents returns the documents of two updates that end, in the order in which they are stored.
func documents() []*update.Document {
	var out []*update.Document
	d := &update.Document{Format: update.FormatVersion}
	for i := range 2 {
		d, _ = d.Accept(fmt.Sprint(i+1), update.FromServer, []update.Change{{Module: update.Module{Type: "os", Name: "linux", Version: fmt.Sprint("v", i+1)}}}, clock())
		out = append(out, d)
		for on := (update.Conditions{MayInstall: true}); d.Update != nil; {
			s := d.Next(on)
			started := d.Start(s)
			d = started.End(s, update.StepResult{Messages: []string{string(s.Verb)}}, on, clock().Add(time.Duration(i)*time.Second))
			out = append(out, started, d)
		}
	}
	return out
}

func TestDocumentSurvivesAKillAndALossOfPowerAtEachOperation(t *testing.T) {
	for _, end := range []struct {
		name string
		of   func(*power.Disk)
	}{{"a kill", func(*power.Disk) {}}, {"a loss of power", (*power.Disk).LosePower}} {
		t.Run(end.name, func(t *testing.T) {
			all := documents()
			for operation := 1; ; operation++ {
				folder := filepath.Join(power.Folder(t), "j")
				m := power.New(filepath.Dir(folder), uint64(operation)) //nolint:gosec // it is small
				m.KillAt = operation
				stored := -1
				power.Run(func() {
					j := open(t, m, folder)
					for i, d := range all {
						if err := j.Store(d); err != nil {
							t.Fatal(err)
						}
						stored = i
					}
				})
				if stored == len(all)-1 {
					return
				}
				end.of(m)
				j := open(t, m, folder)
				var want []*update.Document
				if stored < 0 {
					want = append(want, &update.Document{Format: update.FormatVersion})
				} else {
					want = append(want, all[stored])
				}
				want = append(want, all[stored+1])
				if !slices.ContainsFunc(want, func(d *update.Document) bool { return cmp.Equal(d, j.Document()) }) {
					t.Fatalf("after operation %d the document is neither the last stored one nor the next one: %s", operation, cmp.Diff(want[0], j.Document()))
				}
				if err := j.Publish(); err != nil {
					t.Fatal(err)
				}
				wantFiles(t, folder, j)
			}
		})
	}
}

// wantFiles checks that the state and the history agree with the document.
func wantFiles(t *testing.T, folder string, j *Journal) {
	t.Helper()
	var got State
	if err := json.Unmarshal([]byte(read(t, folder, StateFile)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(StateOf(j.Document()), got); diff != "" {
		t.Errorf("the state is not that of the document:\n%s", diff)
	}
	history, err := j.History()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range history {
		ids = append(ids, r.ID)
	}
	var want []string
	if r := j.Document().Ended; r != nil {
		for i := 1; fmt.Sprint(i) <= r.ID; i++ {
			want = append(want, fmt.Sprint(i))
		}
	}
	if !slices.Equal(ids, want) {
		t.Errorf("the history has the updates %v, want %v", ids, want)
	}
}

func TestFullOrReadOnlyDiskKeepsTheOldDocument(t *testing.T) {
	for _, why := range []error{syscall.ENOSPC, syscall.EROFS} {
		t.Run(why.Error(), func(t *testing.T) {
			folder := power.Folder(t)
			m := power.New(folder, 1)
			j := open(t, m, folder)
			all := documents()
			if err := j.Store(all[0]); err != nil {
				t.Fatal(err)
			}
			m.Fail = why
			if err := j.Store(all[1]); !errors.Is(err, why) || !strings.Contains(err.Error(), "store the journal: ") {
				t.Errorf("the error is %v", err)
			}
			if j = open(t, m, folder); !cmp.Equal(j.Document(), all[0]) {
				t.Errorf("the document is %+v", j.Document())
			}
			m.Fail = nil
			if err := j.Store(all[1]); err != nil {
				t.Fatal(err)
			}
			if j = open(t, m, folder); !cmp.Equal(j.Document(), all[1]) {
				t.Errorf("the document is %+v", j.Document())
			}
		})
	}
}

func read(t *testing.T, folder, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, folder, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestJournalOfANewerAgentIsRefused checks that a downgrade of the agent changes nothing.
func TestJournalOfANewerAgentIsRefused(t *testing.T) {
	document := fmt.Sprintf(`{"format":%d,"installed":{"of a type":"that this agent cannot read"}}`, update.FormatVersion+1)
	future := fmt.Sprintf(`{"sha256":%q,"document":%s}`, checksum([]byte(document)), document)
	folder := t.TempDir()
	write(t, folder, FileName, future)
	_, err := Open(disk.OS{}, folder, clock)
	if err == nil || !strings.Contains(err.Error(), "was written by a newer goshawk-agent (format 2; this one reads up to format 1): install the newer goshawk-agent again") {
		t.Errorf("the error is %v", err)
	}
	if read(t, folder, FileName) != future {
		t.Error("the journal has changed")
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("the folder has %v", entries)
	}
}

func TestDamagedJournalIsKeptAndMeansInconsistent(t *testing.T) {
	all := documents()
	good, err := encode(all[len(all)-1])
	if err != nil {
		t.Fatal(err)
	}
	none, err := encode(&update.Document{})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"an empty file":   "",
		"half of a file":  string(good[:len(good)/2]),
		"another version": strings.Replace(string(good), "v2", "v3", 1),
		"zeros":           strings.Repeat("\x00", 100),
		"no format":       string(none),
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			write(t, folder, FileName, data)
			j := open(t, disk.OS{}, folder)
			if d := j.Document(); d.Inconsistency == nil || !strings.Contains(d.Inconsistency.Reason, "install an update") {
				t.Errorf("the document is %+v", d)
			}
			if read(t, folder, FileName+".damaged") != data {
				t.Error("the damaged file is not kept")
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	folder := t.TempDir()
	line, err := json.Marshal(update.Result{ID: "old", Ended: clock()})
	if err != nil {
		t.Fatal(err)
	}
	write(t, folder, HistoryFile, strings.Repeat(string(line)+"\n", MaxHistory-2))
	j := open(t, disk.OS{}, folder)
	for i := range 5 {
		d := &update.Document{Format: update.FormatVersion, Ended: &update.Result{ID: fmt.Sprint(i), Ended: clock()}}
		if err := j.Store(d); err != nil {
			t.Fatal(err)
		}
	}
	history, err := j.History()
	if err != nil {
		t.Fatal(err)
	}
	if len(history) != MaxHistory || history[MaxHistory-6].ID != "old" || history[MaxHistory-5].ID != "0" {
		t.Errorf("the history has %d results, the last ones are %+v", len(history), history[MaxHistory-6:])
	}
}

func TestDamagedHistoryDoesNotStopTheAgent(t *testing.T) {
	for name, damage := range map[string]string{"zeros": "\x00\x00\n", "half of a line": `{"id":"2","sou`, "another document": "17\n[]\n{\"id\":{}}\n"} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			write(t, folder, HistoryFile, `{"id":"1","source":"Server","outcome":"Succeeded"}`+"\n"+damage)
			j := open(t, disk.OS{}, folder)
			if err := j.Store(&update.Document{Format: update.FormatVersion, Ended: &update.Result{ID: "3", Ended: clock()}}); err != nil {
				t.Fatal(err)
			}
			history, err := ReadHistory(folder)
			if err != nil || len(history) != 2 || history[0].ID != "1" || history[1].ID != "3" {
				t.Errorf("the history is %+v, %v", history, err)
			}
		})
	}
}

func TestFilesOnADisk(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	j := open(t, disk.OS{}, folder)
	all := documents()
	for _, d := range all {
		if err := j.Store(d); err != nil {
			t.Fatal(err)
		}
	}
	if j = open(t, disk.OS{}, folder); !cmp.Equal(j.Document(), all[len(all)-1]) {
		t.Errorf("the document is %+v", j.Document())
	}
	for name, mode := range map[string]os.FileMode{FileName: 0o600, StateFile: 0o644, HistoryFile: 0o644} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
}
