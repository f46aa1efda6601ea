// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// file is the built-in handler that puts the files of a module into a folder. The folder is the
// metadata "path" of the module, and the mode of its files is the metadata "mode" (octal, default
// 0644). Each file is replaced atomically; the old ones are kept until cleanup.
type file struct {
	disk disk.FS
	// roots are the folders below which it may write.
	roots []string
	// checkSpace returns an error if a folder has no space for a number of bytes.
	checkSpace func(folder string, bytes int64) error
}

// placed is what the handler remembers of an installed module, in its store.
type placed struct {
	Module string            `json:"module"`
	Folder string            `json:"folder"`
	Files  map[string]string `json:"files"` // SHA256 by name
}

// saved says which files a rollback restores: those with true exist in the folder of old files, the
// others did not exist before.
type saved struct {
	Folders map[string]map[string]bool `json:"folders"`
}

const (
	placedFile = "placed.json"
	savedFile  = "saved.json"
)

func (f *file) Do(_ context.Context, c Call, _ func(Line)) update.StepResult {
	var err error
	switch c.Verb {
	case update.Check:
		if !c.Change.Removes {
			_, _, err = f.target(c.Change.Module)
		}
		if err == nil {
			return update.StepResult{Repeatable: true}
		}
	case update.Install, update.Remove:
		err = f.replace(c)
	case update.Verify:
		err = f.verify(c)
	case update.Rollback:
		err = f.rollback(c)
	case update.Download, update.Commit, update.Cleanup: // install has done everything
	}
	if err != nil {
		return failed(err)
	}
	return update.StepResult{}
}

// target returns the folder and the mode of the files of a module.
func (f *file) target(m update.Module) (folder string, mode fs.FileMode, err error) {
	folder = m.Metadata["path"]
	if folder == "" {
		return "", 0, fmt.Errorf("software module %s has no metadata \"path\": set it to the folder for its files", m.Name)
	}
	folder = filepath.Clean(folder)
	if !slices.ContainsFunc(f.roots, func(root string) bool { return isBelow(folder, root) }) {
		return "", 0, fmt.Errorf("metadata \"path\" of software module %s is %s, and the configuration of the agent (fileRoots) permits %s", m.Name, folder, strings.Join(f.roots, ", "))
	}
	mode = 0o644
	if text := m.Metadata["mode"]; text != "" {
		parsed, err := strconv.ParseUint(text, 8, 32)
		if err != nil || parsed > 0o777 {
			return "", 0, fmt.Errorf("metadata \"mode\" of software module %s is %q, want an octal number such as 0755", m.Name, text)
		}
		mode = fs.FileMode(parsed)
	}
	return folder, mode, nil
}

func isBelow(path, root string) bool {
	rest, err := filepath.Rel(root, path)
	return err == nil && filepath.IsAbs(path) && rest != ".." && !strings.HasPrefix(rest, "../")
}

// replace installs or removes the files. First it saves all old ones, once.
func (f *file) replace(c Call) error {
	want, old := placed{Module: c.Change.Name, Files: map[string]string{}}, make([]placed, len(c.Old))
	for i, store := range c.Old {
		if err := readJSON(filepath.Join(store, placedFile), &old[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if !c.Change.Removes {
		var err error
		if want.Folder, mode, err = f.target(c.Change.Module); err != nil {
			return err
		}
		for _, a := range c.Change.Artifacts {
			want.Files[a.Filename] = a.SHA256
		}
	}
	if err := conflict(want, c.Others); err != nil {
		return err
	}
	if err := f.checkFiles(c, want, old); err != nil {
		return err
	}
	if err := f.save(c.Work, slices.Concat(old, []placed{want})); err != nil {
		return fmt.Errorf("save the old files: %w", err)
	}
	if err := disk.MkdirAll(f.disk, c.Store, 0o700); err != nil {
		return err
	}
	// The record comes first: it says what to remove if the rollback fails.
	if err := f.writeJSON(filepath.Join(c.Store, placedFile), want); err != nil {
		return err
	}
	if want.Folder != "" {
		if err := disk.MkdirAll(f.disk, want.Folder, 0o755); err != nil {
			return err
		}
	}
	for _, a := range c.Change.Artifacts {
		if err := disk.Copy(f.disk, filepath.Join(c.Files, a.Filename), filepath.Join(want.Folder, a.Filename), mode); err != nil {
			return err
		}
	}
	for _, p := range old {
		for _, name := range slices.Sorted(maps.Keys(p.Files)) {
			if _, stays := want.Files[name]; p.Folder != want.Folder || !stays {
				if err := disk.Remove(f.disk, filepath.Join(p.Folder, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkFiles returns an error if there is no space for the new files, or for the copies of the old
// ones: each one is written beside the old one before it takes its place, also in a rollback.
func (f *file) checkFiles(c Call, want placed, old []placed) error {
	copies, more, largest := int64(0), int64(0), int64(0)
	all := append(slices.Clone(old), want)
	sizes := map[string]int64{}
	for _, p := range all {
		for name := range p.Files {
			path := filepath.Join(p.Folder, name)
			sizes[path] = sizeOf(path)
		}
	}
	for _, size := range sizes {
		copies, largest = copies+size, max(largest, size)
	}
	for _, a := range c.Change.Artifacts {
		more += max(0, a.Size-sizeOf(filepath.Join(want.Folder, a.Filename)))
		largest = max(largest, a.Size)
	}
	if err := f.checkSpace(c.Work, copies); err != nil {
		return err
	}
	for _, p := range all {
		if p.Folder == "" {
			continue
		}
		if err := f.checkSpace(p.Folder, more+largest); err != nil {
			return err
		}
	}
	return nil
}

func sizeOf(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// conflict returns an error if another module has put one of the files there: it would no longer
// have its version, and its removal would remove the file of this one.
func conflict(want placed, others []string) error {
	for _, store := range others {
		var other placed
		if err := readJSON(filepath.Join(store, placedFile), &other); errors.Is(err, fs.ErrNotExist) {
			continue // it has another handler
		} else if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(want.Files)) {
			if _, ok := other.Files[name]; ok && other.Folder == want.Folder {
				return fmt.Errorf("%s belongs to software module %s: change the metadata \"path\" or the name of the artifact", filepath.Join(want.Folder, name), other.Module)
			}
		}
	}
	return nil
}

// save copies all files that replace changes, and then writes what it saved. A call that is
// repeated after an interruption finds this record and saves nothing: some files are new by then.
func (f *file) save(work string, changes []placed) error {
	record := filepath.Join(work, savedFile)
	if _, err := os.Stat(record); err == nil {
		return nil
	}
	s := saved{Folders: map[string]map[string]bool{}}
	for _, p := range changes {
		for _, name := range slices.Sorted(maps.Keys(p.Files)) {
			if s.Folders[p.Folder] == nil {
				s.Folders[p.Folder] = map[string]bool{}
			}
			from := filepath.Join(p.Folder, name)
			info, err := os.Lstat(from)
			if errors.Is(err, fs.ErrNotExist) {
				s.Folders[p.Folder][name] = false
				continue
			}
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				return fmt.Errorf("%s is not a regular file: remove it, or install into another folder", from)
			}
			if err := disk.Copy(f.disk, from, savedAs(work, from), info.Mode().Perm()); err != nil {
				return err
			}
			s.Folders[p.Folder][name] = true
		}
	}
	return f.writeJSON(record, s)
}

// savedAs returns the name of the copy of an old file.
func savedAs(work, path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(work, "old-"+hex.EncodeToString(sum[:8]))
}

func (f *file) rollback(c Call) error {
	var s saved
	if err := readJSON(filepath.Join(c.Work, savedFile), &s); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was changed before everything was saved
	} else if err != nil {
		return err
	}
	for _, folder := range slices.Sorted(maps.Keys(s.Folders)) {
		files := s.Folders[folder]
		for _, name := range slices.Sorted(maps.Keys(files)) {
			existed := files[name]
			path := filepath.Join(folder, name)
			if existed {
				copied := savedAs(c.Work, path)
				info, err := os.Stat(copied)
				if err != nil {
					return err
				}
				if isSame(copied, path) { // no space is needed then: the update may have failed without any
					if err := f.disk.Sync(folder); err != nil {
						return err
					}
					continue
				}
				if err := disk.Copy(f.disk, copied, path, info.Mode().Perm()); err != nil {
					return err
				}
			} else if err := disk.Remove(f.disk, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// isSame reports whether two files have the same content and mode.
func isSame(a, b string) bool {
	infoA, errA := os.Lstat(a)
	infoB, errB := os.Lstat(b)
	if errA != nil || errB != nil || infoA.Mode() != infoB.Mode() || infoA.Size() != infoB.Size() {
		return false
	}
	sumA, _, errA := disk.SHA256(a)
	sumB, _, errB := disk.SHA256(b)
	return errA == nil && errB == nil && sumA == sumB
}

func (f *file) verify(c Call) error {
	var want placed
	if err := readJSON(filepath.Join(c.Store, placedFile), &want); err != nil {
		return err
	}
	for name, sum := range want.Files {
		path := filepath.Join(want.Folder, name)
		got, _, err := disk.SHA256(path)
		if err != nil {
			return err
		}
		if !strings.EqualFold(got, sum) {
			return fmt.Errorf("%s has SHA-256 %s, want %s", path, got, sum)
		}
	}
	return nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func (f *file) writeJSON(path string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return disk.Replace(f.disk, path, 0o600, func(out io.Writer) error {
		_, err := out.Write(encoded)
		return err
	})
}
