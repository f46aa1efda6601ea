// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
)

// errPower is the error of every operation after the loss of power or the kill.
var errPower = errors.New("the device is off")

// memory is a file system that loses its power, or whose program is killed, at a chosen operation.
// A loss of power keeps a random part of the changes of names since the last sync of their folder.
type memory struct {
	files map[string][]byte
	// unsynced are changes of names that a loss of power may undo, oldest first.
	unsynced []func()
	// operations is how many operations are left, or negative for no end. The last one is done in
	// part.
	operations int
	random     *rand.Rand
	full       bool
}

func newMemory() *memory {
	return &memory{files: map[string][]byte{}, operations: -1, random: rand.New(rand.NewPCG(1, 2))}
}

// step reports how an operation goes: whole, in part (the last one), or not at all.
func (m *memory) step() (part bool, err error) {
	if m.operations == 0 {
		return false, errPower
	}
	m.operations--
	return m.operations == 0, nil
}

func (m *memory) MkdirAll(string, fs.FileMode) error { return nil }

func (m *memory) ReadFile(name string) ([]byte, error) {
	data, ok := m.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(data), nil
}

func (m *memory) WriteFile(name string, data []byte, _ fs.FileMode) error {
	part, err := m.step()
	if err != nil {
		return err
	}
	if m.full {
		m.files[name] = nil
		return errors.New("no space left on device")
	}
	m.undoable(name)
	if part {
		m.files[name] = slices.Clone(data[:m.random.IntN(len(data)+1)])
		return errPower
	}
	m.files[name] = slices.Clone(data)
	return nil
}

func (m *memory) Rename(from, to string) error {
	part, err := m.step()
	if err != nil {
		return err
	}
	if part && m.random.IntN(2) == 0 {
		return errPower
	}
	before := maps.Clone(m.files)
	m.unsynced = append(m.unsynced, func() { m.files = before })
	m.files[to] = m.files[from]
	delete(m.files, from)
	if part {
		return errPower
	}
	return nil
}

func (m *memory) SyncFolder(string) error {
	part, err := m.step()
	if err != nil {
		return err
	}
	if part && m.random.IntN(2) == 0 {
		return errPower
	}
	m.unsynced = nil
	if part {
		return errPower
	}
	return nil
}

// undoable remembers that the creation of a file may be undone.
func (m *memory) undoable(name string) {
	if _, ok := m.files[name]; !ok {
		before := maps.Clone(m.files)
		m.unsynced = append(m.unsynced, func() { m.files = before })
	}
}

// losePower undoes some of the newest changes of names that were not synced, and switches on again.
func (m *memory) losePower() {
	for range m.random.IntN(len(m.unsynced) + 1) {
		m.unsynced[len(m.unsynced)-1]()
		m.unsynced = m.unsynced[:len(m.unsynced)-1]
	}
	m.restart()
}

// restart lets all operations work again, as after a kill of the program.
func (m *memory) restart() { m.unsynced, m.operations = nil, -1 }

func (m *memory) file(folder, name string) string {
	return string(m.files[filepath.Join(folder, name)])
}
