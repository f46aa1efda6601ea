// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package handler changes the software on the device. A handler is responsible for the modules of
// one type: an executable in the folder of handlers, or one of the two built-in handlers, bundle
// and file.
package handler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// Call is one call of a handler.
type Call struct {
	Verb   update.Verb
	Update string
	Change update.Change
	// OldVersion is the installed version of the same module, or empty.
	OldVersion string
	// Files is the folder with the files of the module. It exists from download to cleanup.
	Files string
	// Work is a folder for the handler, for example for the old version. It exists from check to
	// cleanup.
	Work string
	// Kept is a folder for the handler that exists until the module is removed.
	Kept string
	// Store is the folder of a built-in handler for this installation of the module. Old are those
	// of the installed version, and of a version that an earlier update could not roll back. They
	// need not exist.
	// Others are the stores of what is on the device now of all other modules.
	Store  string
	Old    []string
	Others []string
}

// Handler does one call after the other. A call that returns update.StepResult with Missing set did
// nothing. Progress is called with a percentage or a message while the call runs.
type Handler interface {
	Do(ctx context.Context, c Call, progress func(Line)) update.StepResult
}

// Registry finds the handler of a type.
type Registry struct {
	// Folder has an executable for each type, with the name of the type.
	Folder string
	// BuiltIn maps types to "bundle" or "file". Types with an executable are not looked up here.
	BuiltIn map[string]string
	// Roots are the folders below which the handler file may write.
	Roots []string
	// Timeout of each call. It is 1 hour if it is 0.
	Timeout time.Duration
	// State is a folder for the process that runs now.
	State string
	// Disk is the disk that the built-in handlers write to.
	Disk disk.FS
	// Free returns the number of free bytes of the file system of a folder. It may be nil.
	Free func(folder string) (int64, error)
	// SkipSync says that programs sync what they change themselves.
	SkipSync bool
}

// typeName is what a type must look like, because it is a name of a file.
var typeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// For returns the handler of a type. The error is a sentence for people.
func (r *Registry) For(kind string) (Handler, error) {
	if !typeName.MatchString(kind) {
		return nil, fmt.Errorf("type %q cannot have a handler: use letters, digits, '.', '_' and '-'", kind)
	}
	path := filepath.Join(r.Folder, kind)
	if info, err := os.Stat(path); err == nil {
		if info.Mode()&0o111 == 0 || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("the handler %s is not an executable file: chmod +x %s", path, path)
		}
		return &program{path: path, registry: r}, nil
	}
	builtIn := r.BuiltIn[kind]
	if builtIn == "" {
		builtIn = kind
	}
	switch builtIn {
	case "bundle":
		return &bundle{registry: r}, nil
	case "file":
		return &file{disk: r.Disk, roots: r.Roots, checkSpace: r.checkSpace}, nil
	}
	return nil, fmt.Errorf("there is no handler for type %q: put an executable at %s, or map the type to bundle or file in the configuration (handlers)", kind, path)
}

// checkSpace returns an error if the file system of a folder, which need not exist, has no place
// for a number of bytes and the reserve.
func (r *Registry) checkSpace(folder string, bytes int64) error {
	for {
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		folder = filepath.Dir(folder)
	}
	return disk.CheckSpace(r.Free, folder, "the update", bytes)
}

func (r *Registry) timeout() time.Duration {
	if r.Timeout == 0 {
		return time.Hour
	}
	return r.Timeout
}

func failed(err error) update.StepResult { return update.StepResult{Err: err.Error()} }

// notStarted returns the result of a call that failed before any of the handler ran.
func notStarted(err error) update.StepResult {
	return update.StepResult{Err: err.Error(), NotStarted: true}
}
