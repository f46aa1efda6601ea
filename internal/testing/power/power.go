// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package power has a disk for tests of goshawk-agent that loses its power at a chosen operation,
// or whose program is killed there, or that is full or read-only. Its files are in a folder of the
// real file system, so programs can read and run them.
package power

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
)

// Killed is what an operation panics with when the program is killed.
type Killed struct{}

// Run runs a program and reports whether it was killed.
func Run(program func()) (killed bool) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case Killed{}:
			killed = true
		default:
			panic(r)
		}
	}()
	program()
	return false
}

// Disk is a disk. All folders and files below its root that are not synced are lost, or damaged,
// when it loses its power.
type Disk struct {
	root   string
	random *rand.Rand
	// nodes are the files and folders that exist now, by path.
	nodes map[string]*node
	// Operations is the number of operations so far.
	Operations int
	// KillAt is the number of the operation in which the program is killed, or 0. Part of that
	// operation may be done.
	KillAt int
	// Fail is the error of all operations that need space, if it is syscall.ENOSPC, or that write
	// something, if it is syscall.EROFS. nil is no error.
	Fail error
	// FailFrom and FailUntil are the first and the last operation with that error. If both are 0,
	// all operations have it.
	FailFrom, FailUntil int
	// failing is the error of the present operation, or nil.
	failing error
}

// A node is a file or a folder with what is durable of it.
type node struct {
	isFolder bool
	// isSynced says that content is what the file has after a loss of power.
	isSynced bool
	content  []byte
	// names are the durable names in a folder.
	names map[string]*node
}

// New returns a disk in a folder. What the folder has already is durable.
func New(root string, seed uint64) *Disk {
	d := &Disk{root: root, random: rand.New(rand.NewPCG(seed, 7))} //nolint:gosec // it only has to be reproducible
	d.Synced()
	return d
}

// Synced makes everything durable that is on the disk now.
func (d *Disk) Synced() {
	d.nodes = map[string]*node{}
	d.must(filepath.WalkDir(d.root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			d.at(path)
		}
		return err
	}))
	for _, path := range slices.Sorted(maps.Keys(d.nodes)) {
		d.must(d.sync(path))
	}
}

func (d *Disk) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("the disk of the test: %v", err))
	}
}

// at returns the node of a path. A program may have made the file or folder without the disk.
func (d *Disk) at(path string) *node {
	n := d.nodes[path]
	if n == nil {
		info, err := os.Lstat(path)
		n = &node{isFolder: err == nil && info.IsDir()}
		d.nodes[path] = n
	}
	return n
}

// operation does an operation, unless the program is killed before it, in it or after it.
func (d *Disk) operation(do func() error) error {
	d.Operations++
	d.failing = d.Fail
	if d.FailUntil > 0 && (d.Operations < d.FailFrom || d.Operations > d.FailUntil) {
		d.failing = nil
	}
	last := d.Operations == d.KillAt
	if last && d.random.IntN(2) == 0 {
		panic(Killed{})
	}
	err := do()
	if last {
		panic(Killed{})
	}
	return err
}

func (d *Disk) forget(path string) {
	for p := range d.nodes {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(d.nodes, p)
		}
	}
}

// Mkdir creates a folder.
func (d *Disk) Mkdir(folder string, mode fs.FileMode) error {
	return d.operation(func() error {
		if d.failing != nil {
			return &fs.PathError{Op: "mkdir", Path: folder, Err: d.failing}
		}
		if err := os.Mkdir(folder, mode); err != nil {
			return err
		}
		d.nodes[folder] = &node{isFolder: true}
		return nil
	})
}

// OpenFile opens a file for writing.
func (d *Disk) OpenFile(name string, flag int, mode fs.FileMode) (disk.File, error) {
	var f *os.File
	err := d.operation(func() error {
		if d.failing != nil {
			if _, err := os.Stat(name); err != nil || errors.Is(d.failing, syscall.EROFS) {
				return &fs.PathError{Op: "open", Path: name, Err: d.failing}
			}
		}
		var err error
		if f, err = os.OpenFile(name, flag, mode); err != nil {
			return err
		}
		d.at(name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &file{f, d, name}, nil
}

// Rename replaces a file or an empty folder.
func (d *Disk) Rename(from, to string) error {
	return d.operation(func() error {
		if err := d.readOnly("rename", from); err != nil {
			return err
		}
		d.at(from)
		if err := os.Rename(from, to); err != nil {
			return err
		}
		d.forget(to)
		for p, n := range maps.Clone(d.nodes) {
			if p == from || strings.HasPrefix(p, from+"/") {
				delete(d.nodes, p)
				d.nodes[to+strings.TrimPrefix(p, from)] = n
			}
		}
		return nil
	})
}

// readOnly returns the error of an operation that needs no space.
func (d *Disk) readOnly(operation, path string) error {
	if errors.Is(d.failing, syscall.EROFS) {
		return &fs.PathError{Op: operation, Path: path, Err: d.failing}
	}
	return nil
}

// Remove removes a file or an empty folder.
func (d *Disk) Remove(name string) error {
	return d.operation(func() error {
		if err := d.readOnly("remove", name); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
		d.forget(name)
		return nil
	})
}

// RemoveAll removes a folder with its content. If it is the last operation, a part of the content
// may stay.
func (d *Disk) RemoveAll(name string) error {
	return d.operation(func() error {
		if err := d.readOnly("remove", name); err != nil {
			return err
		}
		if d.Operations == d.KillAt && d.random.IntN(2) == 0 {
			return filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() && d.random.IntN(2) == 0 {
					d.forget(path)
					return os.Remove(path)
				}
				return err
			})
		}
		if err := os.RemoveAll(name); err != nil {
			return err
		}
		d.forget(name)
		return nil
	})
}

// Sync makes the content of a file, or the names in a folder, durable.
func (d *Disk) Sync(name string) error { return d.operation(func() error { return d.sync(name) }) }

// SyncAll makes everything durable that programs have written below the root.
func (d *Disk) SyncAll() {
	_ = d.operation(func() error {
		d.must(filepath.WalkDir(d.root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return d.sync(path)
		}))
		return nil
	})
}

func (d *Disk) sync(name string) error {
	n := d.at(name)
	if n.isFolder {
		entries, err := os.ReadDir(name)
		if err != nil {
			return err
		}
		n.names = map[string]*node{}
		for _, e := range entries {
			if e.Type().IsRegular() || e.IsDir() {
				n.names[e.Name()] = d.at(filepath.Join(name, e.Name()))
			}
		}
		return nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	n.content, n.isSynced = content, true
	return nil
}

// file is an open file.
type file struct {
	*os.File
	disk *Disk
	path string
}

func (f *file) Write(data []byte) (n int, err error) {
	err = f.disk.operation(func() error {
		part := data
		if f.disk.Operations == f.disk.KillAt {
			part = data[:f.disk.random.IntN(len(data)+1)]
		}
		if f.disk.failing != nil {
			part = data[:len(data)/2]
		}
		if n, err = f.File.Write(part); err == nil && f.disk.failing != nil {
			err = &fs.PathError{Op: "write", Path: f.path, Err: f.disk.failing}
		}
		return err
	})
	return n, err
}

func (f *file) Truncate(size int64) error {
	return f.disk.operation(func() error {
		if err := f.disk.readOnly("truncate", f.path); err != nil {
			return err
		}
		return f.File.Truncate(size)
	})
}

func (f *file) Sync() error { return f.disk.Sync(f.path) }

// LosePower leaves on the disk what is durable, and parts of what is not: of each name that
// changed, either the old or the new one; of each file that is not synced, its old content, a part
// of the new one, or zeros.
func (d *Disk) LosePower() {
	root := d.after(d.root, d.at(d.root))
	entries, err := os.ReadDir(d.root)
	d.must(err)
	modes := map[string]fs.FileMode{}
	d.must(filepath.WalkDir(d.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		modes[path] = info.Mode().Perm()
		return err
	}))
	for _, e := range entries {
		d.must(os.RemoveAll(filepath.Join(d.root, e.Name())))
	}
	d.write(d.root, root, modes)
	d.Synced()
}

// left is what a loss of power leaves of a file or a folder.
type left struct {
	content []byte
	names   map[string]*left // nil for a file
}

func (d *Disk) after(path string, n *node) *left {
	if !n.isFolder {
		return &left{content: d.content(path, n)}
	}
	out := &left{names: map[string]*left{}}
	names := map[string]bool{}
	for name := range n.names {
		names[name] = true
	}
	isThere := d.nodes[path] == n
	if isThere {
		entries, err := os.ReadDir(path)
		d.must(err)
		for _, e := range entries {
			if e.Type().IsRegular() || e.IsDir() {
				names[e.Name()] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		child, durable := filepath.Join(path, name), n.names[name]
		var now *node
		if _, err := os.Lstat(child); err == nil && isThere {
			now = d.at(child)
		}
		kept := durable
		if now != durable && d.random.IntN(2) == 0 {
			kept = now
		}
		if kept != nil {
			out.names[name] = d.after(child, kept)
		}
	}
	return out
}

func (d *Disk) content(path string, n *node) []byte {
	now := n.content
	if d.nodes[path] == n {
		read, err := os.ReadFile(path)
		d.must(err)
		now = read
	}
	if n.isSynced && slices.Equal(now, n.content) {
		return now
	}
	same := 0 // bytes at the start that are durable
	for n.isSynced && same < min(len(now), len(n.content)) && now[same] == n.content[same] {
		same++
	}
	switch d.random.IntN(3) {
	case 0:
		return n.content
	case 1:
		return now[:same+d.random.IntN(len(now)-same+1)]
	default:
		return append(slices.Clone(now[:same]), make([]byte, len(now)-same)...)
	}
}

func (d *Disk) write(path string, l *left, modes map[string]fs.FileMode) {
	mode, known := modes[path]
	if l.names == nil {
		if !known {
			mode = 0o755
		}
		d.must(os.WriteFile(path, l.content, mode))
		return
	}
	d.must(os.MkdirAll(path, 0o755))
	for name, child := range l.names {
		d.write(filepath.Join(path, name), child, modes)
	}
}

// Folder returns a folder for a disk, in memory if possible: there it is much faster.
func Folder(t *testing.T) string {
	t.Helper()
	if !memory() {
		return t.TempDir()
	}
	folder, err := os.MkdirTemp(shared, "goshawk-test-") //nolint:usetesting // t.TempDir is on the disk of the machine
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

const shared = "/dev/shm"

// memory reports whether there is a file system in memory that can run programs.
var memory = sync.OnceValue(func() bool {
	folder, err := os.MkdirTemp(shared, "goshawk-test-")
	if err != nil {
		return false
	}
	defer func() { _ = os.RemoveAll(folder) }()
	script := filepath.Join(folder, "script")
	return os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700) == nil && exec.Command(script).Run() == nil
})
