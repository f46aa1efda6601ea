// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// bundle is the built-in handler for modules with one artifact that is a tar archive (also with
// gzip) with its own scripts: install, and any of check, verify, commit, rollback, remove and
// cleanup. A script is called like an executable in the folder of handlers, in the folder of the
// archive. The archive is unpacked into the store of the module, where it stays after a successful
// update, because its script remove removes the module later.
type bundle struct {
	registry *Registry
}

// Limits of an archive.
const (
	maxEntries   = 20_000
	maxExtracted = 16 << 30
)

// The folder of the unpacked archive in a store.
const unpacked = "bundle"

func (b *bundle) Do(ctx context.Context, c Call, progress func(Line)) update.StepResult {
	folder := filepath.Join(c.Store, unpacked)
	if c.Change.Removes {
		folder = installed(c)
	}
	switch c.Verb {
	case update.Check:
		return b.check(ctx, c, folder, progress)
	case update.Download:
		if c.Change.Removes {
			return update.StepResult{}
		}
		if err := b.unpack(c, folder); err != nil {
			// What is there may fill a disk that the state of the agent needs.
			return failed(errors.Join(err, disk.RemoveAll(b.registry.Disk, folder)))
		}
		return b.run(ctx, "check", c, folder, progress)
	default:
		return b.run(ctx, string(c.Verb), c, folder, progress)
	}
}

// installed returns the folder of the archive of the installed version, or of the version that an
// earlier update could not roll back. Without one it is a folder that does not exist.
func installed(c Call) string {
	for _, store := range c.Old {
		folder := filepath.Join(store, unpacked)
		if _, err := os.Stat(folder); err == nil {
			return folder
		}
	}
	return filepath.Join(c.Store, unpacked)
}

// check looks at what is known before the download. The script check of an archive runs after it.
func (b *bundle) check(ctx context.Context, c Call, folder string, progress func(Line)) update.StepResult {
	if c.Change.Removes {
		if _, err := os.Stat(filepath.Join(folder, "remove")); err != nil {
			return failed(fmt.Errorf("%s cannot be removed: no archive with a script named remove is installed", c.Change.Name))
		}
		return b.run(ctx, "check", c, folder, progress)
	}
	if n := len(c.Change.Artifacts); n != 1 {
		return failed(fmt.Errorf("software module %s has %d artifacts, and a bundle has exactly one: a tar archive", c.Change.Name, n))
	}
	return update.StepResult{}
}

// run runs a script of the archive. A script that is not there counts as a verb that is not known.
func (b *bundle) run(ctx context.Context, script string, c Call, folder string, progress func(Line)) update.StepResult {
	c.Verb = update.Verb(script) // check runs in the download
	path := filepath.Join(folder, script)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return update.StepResult{Missing: true, NotStarted: true}
	case err != nil:
		return notStarted(err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return notStarted(fmt.Errorf("%s in the archive is not an executable file", script))
	}
	return (&program{path: path, registry: b.registry, folder: folder}).Do(ctx, c, progress)
}

// unpack extracts the archive. os.Root refuses every path that leads out of the folder, also
// through a link.
func (b *bundle) unpack(c Call, folder string) error {
	archive, err := os.Open(filepath.Join(c.Files, c.Change.Artifacts[0].Filename))
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	if err := disk.RemoveAll(b.registry.Disk, folder); err != nil {
		return err
	}
	if err := disk.MkdirAll(b.registry.Disk, folder, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	name := c.Change.Artifacts[0].Filename
	space := func(bytes int64) error { return b.registry.checkSpace(folder, bytes) }
	info, err := archive.Stat()
	if err != nil {
		return err
	}
	if err := space(info.Size()); err != nil { // the content is rarely smaller than the archive
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := extract(archive, root, space); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if _, err := root.Stat("install"); err != nil {
		return fmt.Errorf("%s has no script named install at its top level", name)
	}
	return disk.SyncTree(b.registry.Disk, folder)
}

// extract extracts an archive. space reports whether there is space for the next file of it: only
// its end says how large the content of an archive with gzip is.
func extract(from io.Reader, root *os.Root, space func(bytes int64) error) error {
	buffered := bufio.NewReader(from)
	var plain io.Reader = buffered
	if magic, _ := buffered.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		plain = unzipped
	}
	archive := tar.NewReader(plain)
	left := int64(maxExtracted)
	for entries := 1; ; entries++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if left -= header.Size; entries > maxEntries || left < 0 {
			return fmt.Errorf("it has more than %d entries or %d GiB", maxEntries, maxExtracted>>30)
		}
		if err := space(header.Size); err != nil {
			return err
		}
		if err := extractEntry(archive, header, root); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

func extractEntry(archive io.Reader, header *tar.Header, root *os.Root) error {
	name := filepath.Clean(header.Name)
	mode := fs.FileMode(header.Mode).Perm()
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, mode|0o700)
	case tar.TypeReg:
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, archive) //nolint:gosec // the sizes of all entries are limited
		return errors.Join(err, out.Close())
	case tar.TypeSymlink:
		return root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return root.Link(filepath.Clean(header.Linkname), name)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return errors.New("only files, folders and links are supported")
}
