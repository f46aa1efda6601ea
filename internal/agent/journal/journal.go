// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package journal stores the document of the agent so that it survives a kill and a loss of power
// at any moment, and derives two files for people and programs from it: the state and the history.
package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// The files of the journal, in its folder.
const (
	// FileName has the document. Only the agent reads and writes it.
	FileName = "journal.json"
	// StateFile has the State. Everybody may read it.
	StateFile = "state.json"
	// HistoryFile has one result in each line, oldest first, at most MaxHistory
	// and about 1 MiB.
	HistoryFile = "history.jsonl"
)

// MaxHistory is the maximum number of results in the history.
const MaxHistory = 1000

// maxHistorySize is the size in bytes above which the history has fewer results.
const maxHistorySize = 1 << 20

// Journal is the stored document.
type Journal struct {
	fs      disk.FS
	folder  string
	current *update.Document
	// now returns the time for the reason of an inconsistency that the journal itself finds.
	now func() time.Time
	// last is the last result in the history.
	last *update.Result
	// connection is in the state, and not in the document. It may be nil.
	connection *Connection
}

// sealed is the form of the file: the document with its checksum.
type sealed struct {
	SHA256   string          `json:"sha256"`
	Document json.RawMessage `json:"document"`
}

// Open reads the journal in a folder, which it creates if it does not exist. If the document cannot
// be read, which no kill and no loss of power causes, the file is kept with the suffix .damaged,
// and the device counts as inconsistent, because nothing is known about it. A document of a newer
// agent is an error, and stays as it is.
func Open(fsys disk.FS, folder string, now func() time.Time) (*Journal, error) {
	if err := disk.MkdirAll(fsys, folder, 0o755); err != nil {
		return nil, fmt.Errorf("create the folder of the journal: %w", err)
	}
	j := &Journal{fs: fsys, folder: folder, now: now}
	data, err := os.ReadFile(j.path(FileName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.current = &update.Document{Format: update.FormatVersion}
	case err != nil:
		return nil, fmt.Errorf("read the journal: %w", err)
	default:
		if j.current, err = decode(data); errors.As(err, &newer{}) {
			return nil, fmt.Errorf("%s %w", j.path(FileName), err)
		} else if err != nil {
			if j.current, err = j.replaceDamaged(err); err != nil {
				return nil, err
			}
		}
	}
	if err := j.readHistory(); err != nil {
		return nil, err
	}
	return j, nil
}

func (j *Journal) replaceDamaged(why error) (*update.Document, error) {
	if err := errors.Join(j.fs.Rename(j.path(FileName), j.path(FileName+".damaged")), j.fs.Sync(j.folder)); err != nil {
		return nil, fmt.Errorf("keep the damaged journal: %w", err)
	}
	return &update.Document{
		Format: update.FormatVersion,
		Inconsistency: &update.Inconsistency{
			Since:  j.now(),
			Reason: fmt.Sprintf("the journal of the agent is damaged (%v), so the installed software is unknown: install an update", why),
		},
	}, nil
}

// Document returns the stored document. It must not be changed.
func (j *Journal) Document() *update.Document { return j.current }

// Store replaces the stored document, then the state and, after the end of an update, the history.
// After an error of the first step the old document is still stored. An error of the other two
// steps is repaired by the next Store: both files are derived from the document.
func (j *Journal) Store(d *update.Document) error {
	encoded, err := encode(d)
	if err != nil {
		return err
	}
	if err := j.replace(FileName, encoded, 0o600); err != nil {
		return fmt.Errorf("store the journal: %w", err)
	}
	j.current = d
	return j.Publish()
}

// Connect sets the connection in the state, which Store and Publish write.
func (j *Journal) Connect(c *Connection) { j.connection = c }

// Publish writes the state and the history of the stored document. The agent calls it at its start,
// because it may have been killed after the document was stored.
func (j *Journal) Publish() error {
	if err := j.appendHistory(); err != nil {
		return fmt.Errorf("store the history: %w", err)
	}
	state := StateOf(j.current)
	state.Server = j.connection
	encoded, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(j.path(StateFile)); err == nil && bytes.Equal(old, append(encoded, '\n')) {
		return nil
	}
	if err := j.replace(StateFile, append(encoded, '\n'), 0o644); err != nil {
		return fmt.Errorf("store the state: %w", err)
	}
	return nil
}

// replace writes a file so that its name has either the old content or the whole new one.
func (j *Journal) replace(name string, data []byte, mode fs.FileMode) error {
	return disk.Replace(j.fs, j.path(name), mode, func(out io.Writer) error {
		_, err := out.Write(data)
		return err
	})
}

func (j *Journal) path(name string) string { return filepath.Join(j.folder, name) }

func encode(d *update.Document) ([]byte, error) {
	document, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealed{SHA256: checksum(document), Document: document})
}

func decode(data []byte) (*update.Document, error) {
	var s sealed
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if got := checksum(s.Document); got != s.SHA256 {
		return nil, errors.New("its checksum is wrong")
	}
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(s.Document, &format); err != nil {
		return nil, err
	}
	if format.Format > update.FormatVersion {
		return nil, newer{format.Format}
	}
	if format.Format != update.FormatVersion {
		return nil, fmt.Errorf("it has format %d, and this agent reads format %d", format.Format, update.FormatVersion)
	}
	d := &update.Document{}
	return d, json.Unmarshal(s.Document, d)
}

// newer is the error for the document of a newer agent, with its format.
type newer struct{ format int }

func (n newer) Error() string {
	return fmt.Sprintf("was written by a newer goshawk-agent (format %d; this one reads up to format %d): install the newer goshawk-agent again. Nothing was changed", n.format, update.FormatVersion)
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
