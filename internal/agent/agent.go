// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agent updates the software of a device: it gets updates from a server of hawkBit's Direct
// Device Integration API or from a person, and lets handlers install them. It knows no Kubernetes.
//
// One goroutine does the steps of the update in progress, and another one talks to the server. Both
// change the document of the journal only through change, which stores it before it returns.
package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/download"
	"github.com/goshawk-dev/goshawk/internal/agent/handler"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// Agent is the agent of this device. New returns one.
type Agent struct {
	// Folder has the journal, the files of the update in progress and those that handlers keep.
	Folder   string
	Journal  *journal.Journal
	Handlers Handlers
	// Disk is the disk with the folder.
	Disk     disk.FS
	Download *download.Client
	// Server is nil on a device that is updated by hand only.
	Server *Server
	// Reboot reboots the device. It returns after the request.
	Reboot func(context.Context) error
	Boot   string
	Now    func() time.Time
	Log    *slog.Logger
	// StorePause is the time between two attempts to store the document on a disk that is full or
	// read-only.
	StorePause time.Duration

	mu sync.Mutex
	// document is the stored document. It is never changed, only replaced.
	document *update.Document
	// mayInstall says that the update may be installed now.
	mayInstall bool
	// percent and message are what the handler or the download reports now.
	percent int
	message string
	// stopDownload ends the download that runs now.
	stopDownload context.CancelFunc
	// changed is closed and replaced after each change of the document or the progress.
	changed chan struct{}
	// connection is how the last visit to the server ended, or nil before that. contact is when the
	// server last answered a poll. published is the connection in the state file, and
	// mayPublish limits how often it is written.
	connection *journal.Connection
	contact    *time.Time
	published  *journal.Connection
	mayPublish *rate.Limiter
	// visits is the number of visits to the server, and visited that of the last one in which the
	// server said what it wants.
	visits, visited int
}

// Handlers finds the handler of a type. Its error is a sentence for people.
type Handlers interface {
	For(kind string) (handler.Handler, error)
}

// storeLogPause is the time between two lines in the log about a disk that is full: the log may be
// on the same disk.
const storeLogPause = 10 * time.Minute

// rebootPause is the time after which a reboot that did not happen is requested again.
const rebootPause = 5 * time.Minute

// Run does the updates until the end of the context.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	if a.Server != nil {
		running.Go(func() { a.serve(ctx) })
	}
	a.execute(ctx, func() bool { return false })
	return nil
}

// ErrReboot means that an update continues after a reboot of the device.
var ErrReboot = errors.New("reboot the device: the update continues when the agent runs after that")

// UpdateAlone does an update of a person, without a running agent, and returns its result. It does
// not reboot the device.
func (a *Agent) UpdateAlone(ctx context.Context, r Request) (update.Result, error) {
	if err := a.start(ctx); err != nil {
		return update.Result{}, err
	}
	if d, _ := a.Document(); d.Update != nil {
		return update.Result{}, fmt.Errorf("update %s is in progress (%s), and the agent does not run: start it with goshawk-agent run, which continues the update", d.Update.ID, d.Update.Phase)
	}
	if _, err := a.acceptByHand(ctx, r); err != nil {
		return update.Result{}, err
	}
	a.execute(ctx, func() bool {
		d, _ := a.Document()
		return d.Update == nil || d.Update.Phase == update.Rebooting
	})
	d, _ := a.Document()
	switch {
	case d.Update == nil:
		return *d.Ended, nil
	case ctx.Err() != nil:
		return update.Result{}, ctx.Err()
	}
	return update.Result{}, ErrReboot
}

// acceptByHand starts an update of a person, and returns its id.
func (a *Agent) acceptByHand(ctx context.Context, r Request) (id string, err error) {
	if s := r.Set; s != nil && (s.Name == "" || s.Version == "" || len(s.Name) > update.MaxName || len(s.Version) > update.MaxName) {
		return "", fmt.Errorf("the distribution set needs a name and a version of at most %d bytes", update.MaxName)
	}
	id = fmt.Sprintf("device-%d", a.Now().UnixNano())
	return id, a.accept(ctx, id, update.FromDevice, r.Changes, true, r.Set)
}

// start continues from the stored document.
func (a *Agent) start(ctx context.Context) error {
	if err := handler.StopLeftOver(a.Folder); err != nil {
		return err
	}
	err := a.change(ctx, func(d *update.Document) *update.Document {
		if u := d.Update; u != nil {
			a.Log.Info("continuing an update", "update", u.ID, "phase", u.Phase)
		}
		return d.Recover()
	})
	if err != nil {
		return err
	}
	d, _ := a.Document()
	a.tidy(d)
	return nil
}

// Accept starts an update.
func (a *Agent) Accept(ctx context.Context, id string, source update.Source, changes []update.Change, mayInstall bool) error {
	return a.accept(ctx, id, source, changes, mayInstall, nil)
}

// accept starts an update. set is the distribution set of a person, or nil.
func (a *Agent) accept(ctx context.Context, id string, source update.Source, changes []update.Change, mayInstall bool, set *update.Set) error {
	var refused error
	err := a.change(ctx, func(d *update.Document) *update.Document {
		var next *update.Document
		if next, refused = d.Accept(id, source, changes, a.Now()); refused != nil {
			return nil
		}
		a.mayInstall, a.percent, a.message = mayInstall, 0, ""
		a.Log.Info("an update starts", "update", id, "source", source, "modules", len(changes))
		return next.WithSet(set)
	})
	return errors.Join(refused, err)
}

// Cancel cancels the update in progress, and reports whether that is still possible.
func (a *Agent) Cancel(ctx context.Context, by update.Source) (ok bool, err error) {
	err = a.change(ctx, func(d *update.Document) *update.Document {
		var next *update.Document
		if next, ok = d.Cancel(by); !ok || next == d {
			return nil // it cannot be canceled, or is canceled already
		}
		if a.stopDownload != nil {
			a.stopDownload()
		}
		a.Log.Info("the update is canceled", "update", d.Update.ID, "by", by)
		return next
	})
	return ok, err
}

// Document returns the stored document, and a channel that is closed after the next change of it or
// of the progress.
func (a *Agent) Document() (*update.Document, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.document, a.changed
}

// change stores what f makes of the document. f is called again for each attempt, and with mu
// locked; nil means that nothing changes. On a full or read-only disk there are attempts until the
// end of the context: nothing is done before the disk can be written again.
func (a *Agent) change(ctx context.Context, f func(*update.Document) *update.Document) error {
	logged := time.Time{}
	for {
		err := a.try(f)
		if err == nil {
			return nil
		}
		if time.Since(logged) > storeLogPause {
			logged = time.Now()
			a.Log.Error("the state of the agent cannot be stored; nothing is done before it can", "error", err)
		}
		if download.Sleep(ctx, a.StorePause); ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

func (a *Agent) try(f func(*update.Document) *update.Document) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := f(a.document)
	if next == nil {
		return nil
	}
	if err := a.Journal.Store(next); err != nil {
		return err
	}
	a.document = next
	a.wake()
	return nil
}

// wake closes changed. The caller holds mu.
func (a *Agent) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// conditions returns what the next step depends on. The caller holds mu.
func (a *Agent) conditions() update.Conditions {
	u := a.document.Update
	return update.Conditions{Boot: a.Boot, MayInstall: a.mayInstall || u != nil && u.Source == update.FromDevice}
}

// execute does steps until stop returns true or the end of the context.
func (a *Agent) execute(ctx context.Context, stop func() bool) {
	for ctx.Err() == nil && !stop() {
		a.mu.Lock()
		step, on, changed := a.document.Next(a.conditions()), a.conditions(), a.changed
		a.mu.Unlock()
		var err error
		switch step.Kind {
		case update.Nothing:
			select {
			case <-ctx.Done():
			case <-changed:
			}
		case update.Advance:
			err = a.end(ctx, step, update.StepResult{}, on)
		case update.Reboot:
			a.reboot(ctx)
		case update.Call:
			err = a.call(ctx, step, on)
		}
		if err != nil && ctx.Err() == nil {
			a.Log.Error("the step was not done", "step", step, "error", err)
		}
	}
}

// reboot requests a reboot, and waits for it.
func (a *Agent) reboot(ctx context.Context) {
	a.Log.Info("rebooting the device")
	if err := a.Reboot(ctx); err != nil {
		a.Log.Error("the device cannot be rebooted", "error", err)
	}
	download.Sleep(ctx, rebootPause)
}

// call stores that a call starts, does it, and stores how it ended.
func (a *Agent) call(ctx context.Context, step update.Step, on update.Conditions) error {
	downloading, cancel := context.WithCancel(ctx)
	defer cancel()
	var u *update.Update
	err := a.change(ctx, func(d *update.Document) *update.Document {
		if d.Next(on) != step {
			return nil // a cancel came first
		}
		next := d.Start(step)
		u, a.percent, a.message = next.Update, 0, ""
		if step.Verb == update.Download {
			a.stopDownload = cancel
		}
		return next
	})
	if err != nil || u == nil {
		return err
	}
	result := a.do(downloading, u, step)
	a.mu.Lock()
	a.stopDownload = nil
	a.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // the next start decides about the interrupted call
	}
	log := a.Log.With("update", u.ID, "module", u.Changes[step.Change].Name, "step", step.Verb)
	if result.Err != "" {
		log.Error("a step failed", "code", result.Code, "error", result.Err)
	} else {
		log.Info("a step is done")
	}
	return a.end(ctx, step, result, on)
}

func (a *Agent) end(ctx context.Context, step update.Step, r update.StepResult, on update.Conditions) error {
	var stored *update.Document
	err := a.change(ctx, func(d *update.Document) *update.Document {
		stored = d.End(step, r, on, a.Now())
		if e := stored.Ended; d.Update != nil && stored.Update == nil && e != nil {
			a.Log.Info("the update ended", "update", e.ID, "outcome", e.Outcome, "consistent", stored.Inconsistency == nil)
		}
		return stored
	})
	if err == nil && stored.Update == nil {
		a.tidy(stored)
	}
	return err
}

// do does a call.
func (a *Agent) do(ctx context.Context, u *update.Update, step update.Step) update.StepResult {
	c := u.Changes[step.Change]
	h, err := a.Handlers.For(c.Type)
	if err != nil {
		return update.StepResult{Err: err.Error(), Code: update.CodeUnsupported, NotStarted: true}
	}
	d, _ := a.Document()
	call := a.newCall(d, u, step)
	for _, folder := range []string{call.Files, call.Work, call.Kept} {
		if err := disk.MkdirAll(a.Disk, folder, 0o700); err != nil {
			return update.StepResult{Err: err.Error(), NotStarted: true}
		}
	}
	if step.Verb == update.Download && !c.Removes {
		if err := a.Download.All(ctx, c.Module, call.Files, &addresses{a, u, step.Change}, func(bytes int64) { a.downloaded(c.Module, bytes) }); err != nil {
			return update.StepResult{Err: err.Error()}
		}
	}
	return h.Do(ctx, call, a.progress)
}

// newCall returns the call of a handler, with its folders. Those of an update have a name that no
// other update has, so nothing that an earlier one has left over is used.
func (a *Agent) newCall(d *update.Document, u *update.Update, step update.Step) handler.Call {
	c := u.Changes[step.Change]
	call := handler.Call{Verb: step.Verb, Update: u.ID, Change: c, OldVersion: versionOf(d, c.Module)}
	work := filepath.Join(a.workFolder(), storeOf(c.Store), fmt.Sprint(step.Change))
	call.Files, call.Work = filepath.Join(work, "files"), filepath.Join(work, "work")
	module := a.moduleFolder(c.Module)
	call.Kept, call.Store = filepath.Join(module, dataFolder), filepath.Join(module, storeOf(c.Store))
	for _, store := range d.Stores(c.Module) {
		call.Old = append(call.Old, filepath.Join(module, storeOf(store)))
	}
	for _, other := range d.Others(c.Module) {
		call.Others = append(call.Others, filepath.Join(a.moduleFolder(other), storeOf(other.Store)))
	}
	call.Change.Artifacts = download.WithoutSignatures(c.Artifacts)
	return call
}

const dataFolder = "data"

func (a *Agent) workFolder() string { return filepath.Join(a.Folder, "work") }
func (a *Agent) keptFolder() string { return filepath.Join(a.Folder, "kept") }

func (a *Agent) moduleFolder(m update.Module) string {
	return filepath.Join(a.keptFolder(), nameOf(m.Type), nameOf(m.Name))
}

// tidy removes all files that no installed module and no update needs. It must not run beside a
// call of a handler.
func (a *Agent) tidy(d *update.Document) {
	keep := map[string]bool{a.workFolder(): true, a.keptFolder(): true}
	for _, m := range d.InUse() {
		module := a.moduleFolder(m)
		keep[filepath.Dir(module)], keep[module], keep[filepath.Join(module, dataFolder)] = true, true, true
		if m.Store != "" {
			keep[filepath.Join(module, storeOf(m.Store))] = true
		}
	}
	if u := d.Update; u != nil {
		for _, c := range u.Changes {
			keep[filepath.Join(a.workFolder(), storeOf(c.Store))] = true
		}
	}
	if err := errors.Join(a.removeOthers(a.workFolder(), 1, keep), a.removeOthers(a.keptFolder(), 3, keep)); err != nil {
		a.Log.Error("files of an update are left over; the next update removes them", "error", err)
	}
}

// removeOthers removes what is in a folder, and in the folders below it up to a depth, except the
// folders to keep.
func (a *Agent) removeOthers(folder string, depth int, keep map[string]bool) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) || depth == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if keep[path] {
			err = a.removeOthers(path, depth-1, keep)
		} else {
			err = disk.RemoveAll(a.Disk, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nameOf and storeOf return a name of a folder for any text.
func nameOf(text string) string  { return folderName("m-", text) }
func storeOf(text string) string { return folderName("store-", text) }

// maxFolderName is the length in bytes above which the name of a folder has a checksum in place of
// its end: file systems permit 255.
const maxFolderName = 200

func folderName(prefix, text string) string {
	name := prefix + url.QueryEscape(text)
	if len(name) <= maxFolderName {
		return name
	}
	sum := sha256.Sum256([]byte(text))
	return name[:maxFolderName-2*len(sum)-1] + "-" + hex.EncodeToString(sum[:])
}

func versionOf(d *update.Document, m update.Module) string {
	for _, i := range d.Installed {
		if i.IsSame(m) {
			return i.Version
		}
	}
	return ""
}

// progress keeps what a handler reports.
func (a *Agent) progress(l handler.Line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.Percent >= 0 {
		a.percent = l.Percent
	} else {
		a.message = l.Message
	}
	a.wake()
}

// addresses are the addresses of the artifacts of a module of the update in progress.
type addresses struct {
	*Agent
	update *update.Update
	change int
}

// Of returns the present address of an artifact.
func (a *addresses) Of(artifact update.Artifact) string {
	d, _ := a.Document()
	if d.Update == nil || d.Update.ID != a.update.ID {
		return artifact.URL
	}
	for _, now := range d.Update.Changes[a.change].Artifacts {
		if now.Filename == artifact.Filename {
			return now.URL
		}
	}
	return artifact.URL
}

// AreLocal reports whether a person at the device has named the files.
func (a *addresses) AreLocal() bool { return a.update.Source == update.FromDevice }

// Refresh visits the server, which sends the present addresses. While the server cannot be reached,
// the download waits for it.
func (a *addresses) Refresh(ctx context.Context) {
	if a.Server == nil || a.update.Source != update.FromServer {
		return
	}
	a.mu.Lock()
	next := a.visits + 1 // one that runs now may have got the old addresses
	a.mu.Unlock()
	a.poll()
	for {
		a.mu.Lock()
		changed, isDone := a.changed, a.visited >= next
		a.mu.Unlock()
		if isDone {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// downloadFailed says why an attempt of a download has failed. The server and the log get it.
func (a *Agent) downloadFailed(err error) {
	a.Log.Warn("an attempt of a download has failed", "error", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.message = err.Error()
	a.wake()
}

func (a *Agent) downloaded(m update.Module, bytes int64) {
	total := int64(0)
	for _, artifact := range m.Artifacts {
		total += artifact.Size
	}
	percent := 100
	if total > 0 {
		percent = int(min(bytes, total) * 100 / total)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.percent != percent {
		a.percent = percent
		a.wake()
	}
}
