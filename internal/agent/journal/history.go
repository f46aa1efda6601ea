// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// History returns the results of all updates, oldest first.
func (j *Journal) History() ([]update.Result, error) {
	lines, err := j.historyLines()
	if err != nil {
		return nil, err
	}
	results := make([]update.Result, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &results[i]); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", i+1, HistoryFile, err)
		}
	}
	return results, nil
}

// ReadHistory returns the results of all updates in the folder of a journal, oldest first. The
// agent does not need to run.
func ReadHistory(folder string) ([]update.Result, error) {
	return (&Journal{folder: folder}).History()
}

// historyLines returns the lines of the history. Lines that are no results are left out: a damaged
// history must not stop the agent.
func (j *Journal) historyLines() ([][]byte, error) {
	data, err := os.ReadFile(j.path(HistoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	var lines [][]byte
	for line := range bytes.Lines(data) {
		if json.Unmarshal(line, &update.Result{}) == nil {
			lines = append(lines, append(bytes.TrimSpace(line), '\n'))
		}
	}
	return lines, nil
}

func (j *Journal) readHistory() error {
	lines, err := j.historyLines()
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		j.last = &update.Result{}
		if err := json.Unmarshal(lines[len(lines)-1], j.last); err != nil {
			return fmt.Errorf("read the last line of the history: %w", err)
		}
	}
	return nil
}

// appendHistory adds the result of the last update, unless the history has it.
func (j *Journal) appendHistory() error {
	r := j.current.Ended
	if r == nil || j.last != nil && j.last.ID == r.ID && j.last.Source == r.Source && j.last.Ended.Equal(r.Ended) {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	lines, err := j.historyLines()
	if err != nil {
		return err
	}
	lines = append(lines[max(0, len(lines)+1-MaxHistory):], line)
	for size := len(bytes.Join(lines, nil)); size > maxHistorySize && len(lines) > 1; lines = lines[1:] {
		size -= len(lines[0])
	}
	if err := j.replace(HistoryFile, bytes.Join(lines, nil), 0o644); err != nil {
		return err
	}
	j.last = r
	return nil
}
