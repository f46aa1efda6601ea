// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

func clock() time.Time { return time.Unix(5000, 0).UTC() }

func open(t *testing.T, fsys FS, folder string) *Journal {
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
		of   func(*memory)
	}{{"a kill", (*memory).restart}, {"a loss of power", (*memory).losePower}} {
		t.Run(end.name, func(t *testing.T) {
			all := documents()
			for operation := 1; ; operation++ {
				m := newMemory()
				m.random.IntN(operation)
				j := open(t, m, "/j")
				m.operations = operation
				stored := -1
				for i, d := range all {
					if err := j.Store(d); err != nil {
						break
					}
					stored = i
				}
				if stored == len(all)-1 {
					return
				}
				end.of(m)
				j = open(t, m, "/j")
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
				wantFiles(t, m, j)
			}
		})
	}
}

// wantFiles checks that the state and the history agree with the document.
func wantFiles(t *testing.T, m *memory, j *Journal) {
	t.Helper()
	var got State
	if err := json.Unmarshal([]byte(m.file("/j", StateFile)), &got); err != nil {
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

func TestFullDiskKeepsTheOldDocument(t *testing.T) {
	m := newMemory()
	j := open(t, m, "/j")
	all := documents()
	if err := j.Store(all[0]); err != nil {
		t.Fatal(err)
	}
	m.full = true
	if err := j.Store(all[1]); err == nil || !strings.Contains(err.Error(), "store the journal: no space left") {
		t.Errorf("the error is %v", err)
	}
	if j = open(t, m, "/j"); !cmp.Equal(j.Document(), all[0]) {
		t.Errorf("the document is %+v", j.Document())
	}
	m.full = false
	if err := j.Store(all[1]); err != nil {
		t.Fatal(err)
	}
	if j = open(t, m, "/j"); !cmp.Equal(j.Document(), all[1]) {
		t.Errorf("the document is %+v", j.Document())
	}
}

func TestDamagedJournalIsKeptAndMeansInconsistent(t *testing.T) {
	all := documents()
	good, err := encode(all[len(all)-1])
	if err != nil {
		t.Fatal(err)
	}
	future, err := encode(&update.Document{Format: update.FormatVersion + 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"an empty file":          "",
		"half of a file":         string(good[:len(good)/2]),
		"another version":        strings.Replace(string(good), "v2", "v3", 1),
		"zeros":                  strings.Repeat("\x00", 100),
		"a format of the future": string(future),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.files["/j/"+FileName] = []byte(data)
			j := open(t, m, "/j")
			if d := j.Document(); d.Inconsistency == nil || !strings.Contains(d.Inconsistency.Reason, "install an update") {
				t.Errorf("the document is %+v", d)
			}
			if m.file("/j", FileName+".damaged") != data {
				t.Error("the damaged file is not kept")
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	j := open(t, newMemory(), "/j")
	for i := range MaxHistory + 5 {
		d := &update.Document{Format: update.FormatVersion, Ended: &update.Result{ID: fmt.Sprint(i), Ended: clock()}}
		if err := j.Store(d); err != nil {
			t.Fatal(err)
		}
	}
	history, err := j.History()
	if err != nil {
		t.Fatal(err)
	}
	if len(history) != MaxHistory || history[0].ID != "5" {
		t.Errorf("the history has %d results, the first one is %s", len(history), history[0].ID)
	}
}

func TestFilesOnADisk(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	j := open(t, Disk{}, folder)
	all := documents()
	for _, d := range all {
		if err := j.Store(d); err != nil {
			t.Fatal(err)
		}
	}
	if j = open(t, Disk{}, folder); !cmp.Equal(j.Document(), all[len(all)-1]) {
		t.Errorf("the document is %+v", j.Document())
	}
	for name, mode := range map[string]os.FileMode{FileName: 0o600, StateFile: 0o644, HistoryFile: 0o644} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
}
