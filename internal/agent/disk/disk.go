// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package disk changes files so that the changes survive a loss of power. What is written is on the
// device after the sync of its file, and a new name after the sync of its folder; the functions of
// this package sync both. Tests replace FS by a device that loses its power or has a full disk.
package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS are the operations that change files. None of them syncs anything, except Sync and SyncAll.
// Files are read with package os.
type FS interface {
	Mkdir(folder string, mode fs.FileMode) error
	// OpenFile opens a file for writing, as os.OpenFile does.
	OpenFile(name string, flag int, mode fs.FileMode) (File, error)
	// Rename replaces a file atomically.
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	// Sync makes the content of a file, or the names in a folder, durable.
	Sync(name string) error
	// SyncAll makes all that programs have written durable.
	SyncAll()
}

// Reserve is the number of bytes that updates leave free on a file system: for the state of the
// agent, and for what else the device must write.
const Reserve = 4 << 20

// CheckSpace returns an error if the file system of a folder has no space for a number of bytes and
// the Reserve. free returns the number of free bytes; if it is nil, nothing is checked. purpose is
// the subject of the error, such as "the update".
func CheckSpace(free func(folder string) (int64, error), folder, purpose string, bytes int64) error {
	if free == nil {
		return nil
	}
	has, err := free(folder)
	if err != nil {
		return fmt.Errorf("read the free space of %s: %w", folder, err)
	}
	if has < bytes+Reserve {
		return fmt.Errorf("%s has %d bytes free, and %s needs %d (with a reserve of %d): remove files, or use a larger file system", folder, has, purpose, bytes+Reserve, Reserve)
	}
	return nil
}

// File is a file that is open for writing.
type File interface {
	io.WriteCloser
	Sync() error
	Chmod(mode fs.FileMode) error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
}

// OS is the file system of the device.
type OS struct{}

// Mkdir creates a folder.
func (OS) Mkdir(folder string, mode fs.FileMode) error { return os.Mkdir(folder, mode) }

// OpenFile opens a file for writing.
func (OS) OpenFile(name string, flag int, mode fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Rename replaces a file atomically.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file or an empty folder.
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll removes a folder with its content.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Sync makes the content of a file, or the names in a folder, durable.
func (OS) Sync(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// MkdirAll creates a folder and its parents.
func MkdirAll(fsys FS, folder string, mode fs.FileMode) error {
	info, err := os.Stat(folder)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%s is a file, and a folder is needed", folder)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(folder)
	if err := MkdirAll(fsys, parent, mode); err != nil {
		return err
	}
	if err := fsys.Mkdir(folder, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.Sync(parent)
}

// Replace writes a file so that its name has either the old content or the whole new one.
func Replace(fsys FS, path string, mode fs.FileMode, write func(io.Writer) error) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".goshawk-new")
	out, err := fsys.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	err = write(out)
	if err == nil {
		err = out.Chmod(mode) // the umask of the service must not hide the file from others
	}
	if err == nil {
		err = out.Sync()
	}
	if errClose := out.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = fsys.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(fsys.Remove(temporary)))
	}
	return fsys.Sync(filepath.Dir(path))
}

// Copy replaces a file by a copy of another one.
func Copy(fsys FS, from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	return Replace(fsys, to, mode, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// Remove removes a file, unless it does not exist.
func Remove(fsys FS, name string) error {
	if err := fsys.Remove(name); err != nil {
		return ignoreMissing(err)
	}
	return fsys.Sync(filepath.Dir(name))
}

// RemoveAll removes a folder with its content, unless it does not exist.
func RemoveAll(fsys FS, name string) error {
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := fsys.RemoveAll(name); err != nil {
		return err
	}
	return fsys.Sync(filepath.Dir(name))
}

// SyncTree makes a folder and all that is below it durable. Its own name is durable after MkdirAll.
func SyncTree(fsys FS, folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err // a link has no content of its own, and its name is synced with the folder
		}
		return fsys.Sync(path)
	})
}

// SHA256 returns the checksum of the content of a file, in hexadecimal, and its size.
func SHA256(path string) (sum string, size int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = in.Close() }()
	hash := sha256.New()
	if size, err = io.Copy(hash, in); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
