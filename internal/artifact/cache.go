// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// partial is the end of the name of a file that is not complete.
	partial = ".part"
	// diskPause is how long the cache takes no further file after a failure of the disk.
	diskPause = time.Minute
)

// cache keeps files on disk, as DIR/NAMESPACE/SHA256-SIZE. The file that was used least recently is
// removed first. A file that is being read or written is never removed.
type cache struct {
	dir  string
	most int64
	lock *os.File
	// allocate and writeAt are allocate and os.File's WriteAt; tests let them fail.
	allocate func(*os.File, int64) error
	writeAt  func(*os.File, []byte, int64) (int, error)

	mu      sync.Mutex
	used    int64 // bytes of all entries, complete or not
	entries map[string]*entry
	recent  *list.List // of *entry, the newest first
	pause   time.Time  // until when it takes no further file
}

// entry is one file of the cache.
type entry struct {
	path string
	size int64
	// users are the downloads that read it, and the fill while it runs.
	users   int
	element *list.Element
	// file is open while there are users.
	file *os.File
	// fill of the file; nil after a restart, before it was verified.
	fill *fill
	// stamp is what the file system said about the complete file.
	stamp os.FileInfo
	// isGone means that the cache has removed it, and that its users are the last ones.
	isGone bool
}

// errNoRoom means that a file is streamed past the cache, and its kind is why.
type errNoRoom struct{ kind string }

func (e errNoRoom) Error() string { return "no room in the artifact cache: " + e.kind }

// Kinds of errNoRoom, which are values of a metric.
const (
	roomOff   = "off"   // there is no cache
	roomLarge = "large" // the file is larger than the cache
	roomFull  = "full"  // all files in the cache are in use
	roomDisk  = "disk"  // the disk is full or fails
)

var (
	cachedName    = regexp.MustCompile(`^([0-9a-f]{64})-([0-9]{1,19})(\.part)?$`)
	namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
)

// openCache reads what an earlier process has left in dir. Complete files are used again, after
// they were verified; incomplete ones are removed. Files with other names are left alone.
func openCache(dir string, most int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another process uses the folder %s: give each its own", dir)
	}
	c := &cache{
		dir: dir, most: most, lock: lock, allocate: allocate, writeAt: (*os.File).WriteAt,
		entries: map[string]*entry{}, recent: list.New(),
	}
	if err := c.load(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return c, nil
}

func (c *cache) load() error {
	paths, err := filepath.Glob(filepath.Join(c.dir, "*", "*"))
	if err != nil {
		return err
	}
	var found []*entry
	for _, path := range paths {
		name := cachedName.FindStringSubmatch(filepath.Base(path))
		info, err := os.Lstat(path)
		if name == nil || err != nil || !info.Mode().IsRegular() {
			continue
		}
		if size, err := strconv.ParseInt(name[2], 10, 64); name[3] != "" || err != nil || size != info.Size() {
			_ = os.Remove(path)
			continue
		}
		found = append(found, &entry{path: path, size: info.Size(), stamp: info})
	}
	slices.SortFunc(found, func(a, b *entry) int {
		return cmp.Or(a.stamp.ModTime().Compare(b.stamp.ModTime()), strings.Compare(a.path, b.path))
	})
	for _, e := range found {
		c.add(e)
	}
	c.makeRoom(0)
	return nil
}

func (c *cache) close() { _ = c.lock.Close() }

func (c *cache) add(e *entry) {
	c.entries[e.path] = e
	e.element = c.recent.PushFront(e)
	c.used += e.size
}

// pathOf returns the path of a file in the cache.
func (c *cache) pathOf(file File) string {
	return filepath.Join(c.dir, file.Namespace, file.SHA256+"-"+strconv.FormatInt(file.Size, 10))
}

// job is what the caller of use must start: to write a file, or to verify it.
type job int

const (
	noJob job = iota
	writeJob
	verifyJob
)

// use returns the entry of a file, which release gives back. If the returned job is not noJob, the
// caller starts it, and it ends with done. The entry has one more user for it.
func (c *cache) use(file File) (*entry, job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := c.pathOf(file)
	e := c.entries[path]
	if e != nil && !e.isWriting() {
		info, err := os.Lstat(path)
		switch {
		case err != nil || info.Size() != e.size || !info.Mode().IsRegular():
			c.remove(e)
			e = nil
		case e.fill != nil && !isSame(info, e.stamp): // something else has written it
			if e.users > 0 {
				c.remove(e)
				e = nil
				break
			}
			e.fill, e.stamp = nil, info
		}
	}
	if e == nil {
		return c.create(file, path)
	}
	if e.file == nil {
		var err error
		if e.file, err = os.Open(path); err != nil {
			c.remove(e)
			return nil, noJob, c.diskFailed()
		}
	}
	c.recent.MoveToFront(e.element)
	e.users++
	if e.fill != nil {
		return e, noJob, nil
	}
	e.fill = newFill(e.size)
	e.users++
	return e, verifyJob, nil
}

func isSame(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// isWriting reports whether the file of an entry has not its name yet.
func (e *entry) isWriting() bool { return e.stamp == nil }

// create makes an entry for a file that is not in the cache.
func (c *cache) create(file File, path string) (*entry, job, error) {
	switch {
	case file.Size > c.most:
		return nil, noJob, errNoRoom{roomLarge}
	case time.Now().Before(c.pause):
		return nil, noJob, errNoRoom{roomDisk}
	case !c.makeRoom(file.Size):
		return nil, noJob, errNoRoom{roomFull}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, noJob, c.diskFailed()
	}
	f, err := os.OpenFile(path+partial, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, noJob, c.diskFailed()
	}
	if err := c.allocate(f, file.Size); err != nil {
		_ = f.Close()
		_ = os.Remove(path + partial)
		return nil, noJob, c.diskFailed()
	}
	e := &entry{path: path, size: file.Size, users: 2, file: f, fill: newFill(file.Size)}
	c.add(e)
	return e, writeJob, nil
}

// diskFailed makes the cache take no further file for some time.
func (c *cache) diskFailed() error {
	c.pause = time.Now().Add(diskPause)
	return errNoRoom{roomDisk}
}

// makeRoom removes files until another one of this size fits in, and reports whether it does.
func (c *cache) makeRoom(size int64) bool {
	for element := c.recent.Back(); element != nil && c.used+size > c.most; {
		e := element.Value.(*entry)
		element = element.Prev()
		if e.users == 0 {
			c.remove(e)
		}
	}
	return c.used+size <= c.most
}

// remove removes an entry. Its present users read on.
func (c *cache) remove(e *entry) {
	if e.isGone {
		return
	}
	e.isGone = true
	if c.entries[e.path] == e {
		delete(c.entries, e.path)
		name := e.path
		if e.isWriting() {
			name += partial
		}
		_ = os.Remove(name)
	}
	c.recent.Remove(e.element)
	if e.users == 0 {
		c.used -= e.size
		e.close()
	}
}

func (e *entry) close() {
	if e.file != nil {
		_ = e.file.Close()
		e.file = nil
	}
}

// release ends the use of an entry.
func (c *cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.users--; e.users > 0 {
		return
	}
	if e.isGone {
		c.used -= e.size
	}
	e.close()
}

// done ends the job of an entry: err is why the file is not complete.
func (c *cache) done(e *entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && e.isWriting() && !e.isGone {
		err = c.complete(e)
	}
	if _, isDisk := errors.AsType[diskError](err); isDisk {
		_ = c.diskFailed()
	}
	if err != nil {
		c.remove(e)
	}
}

// complete gives a verified file its name. A failure does not concern the present users.
func (c *cache) complete(e *entry) error {
	if err := os.Rename(e.path+partial, e.path); err != nil {
		return diskError{err}
	}
	info, err := e.file.Stat()
	if err != nil {
		return diskError{err}
	}
	e.stamp = info
	return nil
}

// size returns how many bytes the cache takes.
func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
