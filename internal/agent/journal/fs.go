// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"io/fs"
	"os"
)

// FS are the operations on files that the journal needs. A write is on the device after the sync of
// its file, and a new name after the sync of its folder. The error of a missing file is
// fs.ErrNotExist.
type FS interface {
	MkdirAll(folder string, mode fs.FileMode) error
	ReadFile(name string) ([]byte, error)
	// WriteFile creates or truncates a file, writes the data, and syncs the file.
	WriteFile(name string, data []byte, mode fs.FileMode) error
	// Rename replaces a file atomically.
	Rename(from, to string) error
	// SyncFolder makes new names in a folder durable.
	SyncFolder(folder string) error
}

// Disk is the file system of the device.
type Disk struct{}

// MkdirAll creates a folder and its parents.
func (Disk) MkdirAll(folder string, mode fs.FileMode) error { return os.MkdirAll(folder, mode) }

// ReadFile returns the content of a file.
func (Disk) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// Rename replaces a file atomically.
func (Disk) Rename(from, to string) error { return os.Rename(from, to) }

// WriteFile creates or truncates a file, writes the data, and syncs the file.
func (Disk) WriteFile(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // the umask of the service must not hide the state from others
	}
	if err == nil {
		err = f.Sync()
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	return err
}

// SyncFolder makes new names in a folder durable.
func (Disk) SyncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	return err
}
