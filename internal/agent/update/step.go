// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package update

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Verb is what a handler is asked to do with a module.
type Verb string

// The verbs of a handler, in the order of an update that succeeds. Rollback follows a failure, and
// Remove replaces Install for a module that is removed.
const (
	Check    Verb = "check"
	Download Verb = "download"
	Install  Verb = "install"
	Verify   Verb = "verify"
	Commit   Verb = "commit"
	Rollback Verb = "rollback"
	Remove   Verb = "remove"
	Cleanup  Verb = "cleanup"
)

// MaxInterruptions is how often a call may be interrupted by the end of the agent or of the device
// before it counts as failed. Without a limit, a new version that lets the device crash would be
// verified again and again.
const MaxInterruptions = 3

// Kind says what kind of step is next.
type Kind string

const (
	// Nothing means that there is no update, or that it waits for permission to install.
	Nothing Kind = "Nothing"
	// Call means that the handler of a module is called.
	Call Kind = "Call"
	// Reboot means that the device is rebooted.
	Reboot Kind = "Reboot"
	// Advance means that nothing is left to do for this phase: End only advances the document.
	Advance Kind = "Advance"
)

// Step is what the device does next.
type Step struct {
	Kind Kind
	Verb Verb
	// Change is an index of Update.Changes.
	Change int
}

// Conditions are what the next step depends on beside the document.
type Conditions struct {
	// Boot identifies the present boot of the device.
	Boot string
	// MayInstall says that the server or the person permits the installation now.
	MayInstall bool
}

// StepResult is how one step ended.
type StepResult struct {
	// Err says why the call failed, or is empty.
	Err string
	// Code is the code that the handler printed, or empty.
	Code string
	// Messages are what the handler printed for people.
	Messages []string
	// NeedsReboot says that the handler requested a reboot.
	NeedsReboot bool
	// Repeatable says that the handler may repeat an interrupted install or remove (only Check and
	// Download).
	Repeatable bool
	// Missing says that the handler does not know this verb.
	Missing bool
	// NotStarted says that the call failed before any of the handler ran, so it changed nothing.
	NotStarted bool
}

// Limits of an update. One beyond them fails at once.
const (
	// MaxModules is the maximum number of modules.
	MaxModules = 100
	// MaxName is the maximum length of a type, a name, a version and the id of an update in bytes.
	MaxName = 256
)

// problemOf returns why the device cannot do an update with these modules, or "".
func problemOf(id string, changes []Change) string {
	if len(changes) > MaxModules {
		return fmt.Sprintf("the update has %d software modules, and a device can do %d", len(changes), MaxModules)
	}
	for i, c := range changes {
		if len(id) > MaxName || len(c.Type) > MaxName || len(c.Name) > MaxName || len(c.Version) > MaxName {
			return fmt.Sprintf("the type, name or version of software module %.64q, or the id of the update, has more than %d bytes", c.Name, MaxName)
		}
		if slices.ContainsFunc(changes[:i], func(o Change) bool { return o.IsSame(c.Module) }) {
			return fmt.Sprintf("the update has two software modules of type %s with the name %s: a device has one version of each", c.Type, c.Name)
		}
	}
	return ""
}

// Accept returns the document with a new update. It must not have one in progress. An update that
// the device can never do has failed when it starts, so that its result is reported.
func (d *Document) Accept(id string, source Source, changes []Change, now time.Time) (*Document, error) {
	if d.Update != nil {
		return nil, fmt.Errorf("update %s is in progress (%s): wait for its end, or cancel it", d.Update.ID, d.Update.Phase)
	}
	next := d.clone()
	next.Update = &Update{ID: id, Source: source, Started: now, Phase: Downloading, Changes: slices.Clone(changes)}
	for i := range next.Update.Changes {
		next.Update.Changes[i].Stage = Pending
		next.Update.Changes[i].Store = fmt.Sprintf("%s-%x", id, now.UnixNano())
	}
	if problem := problemOf(id, changes); problem != "" {
		next.Update.Changes = nil // they may be too large to be stored
		next.Update.fail(CodeUnsupported, problem)
	}
	return next, nil
}

// Recover returns the document after a start of the agent: it decides about the call that the end
// of the agent, or of the device, has interrupted.
func (d *Document) Recover() *Document {
	next := d.clone()
	u := next.Update
	if u == nil {
		return next
	}
	for i := range u.Changes {
		c := &u.Changes[i]
		verb := c.Calling
		if verb == "" {
			continue
		}
		c.Calling = ""
		c.Interruptions++
		mayRepeat := c.Repeatable || verb != Install && verb != Remove
		if mayRepeat && c.Interruptions < MaxInterruptions {
			continue
		}
		interruptions := c.Interruptions
		c.Interruptions = 0
		u.end(c, verb, StepResult{Code: CodeInterrupted, Err: fmt.Sprintf("%s of %s was interrupted by the end of the agent or of the device (%d times)", verb, c.title(), interruptions)})
	}
	return next
}

// Cancel returns the document after a cancel of its update. ok is false if it can no longer be
// canceled, because it commits already or has failed.
func (d *Document) Cancel(by Source) (next *Document, ok bool) {
	u := d.Update
	if u == nil || u.Phase == Committing || u.Failure != nil && u.CanceledBy == "" {
		return d, false
	}
	if u.CanceledBy != "" {
		return d, true
	}
	next = d.clone()
	u = next.Update
	u.CanceledBy = by
	u.fail(CodeCanceled, "the update was canceled")
	return next, true
}

// Next returns the next step.
func (d *Document) Next(on Conditions) Step {
	u := d.Update
	if u == nil {
		return Step{Kind: Nothing}
	}
	switch u.Phase {
	case Downloading:
		for i := range u.Changes {
			switch c := &u.Changes[i]; c.Stage {
			case Pending:
				return Step{Call, Check, i}
			case Checked:
				return Step{Call, Download, i}
			default: // the next one
			}
		}
	case Downloaded:
		if !on.MayInstall {
			return Step{Kind: Nothing}
		}
	case Installing:
		for i := range u.Changes {
			switch c := &u.Changes[i]; c.Stage {
			case Ready, Changing:
				return Step{Call, c.verb(), i}
			default: // the next one
			}
		}
	case Rebooting:
		if u.BootBefore == on.Boot {
			return Step{Kind: Reboot}
		}
	case Verifying:
		if i := u.first(Changed); i >= 0 {
			return Step{Call, Verify, i}
		}
	case Committing:
		if i := u.first(Verified); i >= 0 {
			return Step{Call, Commit, i}
		}
		return u.cleanup()
	case RollingBack:
		for i := len(u.Changes) - 1; i >= 0; i-- {
			if u.Changes[i].changed() {
				return Step{Call, Rollback, i}
			}
		}
		if !u.needsReboot() {
			return u.cleanup()
		}
	case Idle, Inconsistent: // no update has this phase
	}
	return Step{Kind: Advance}
}

// cleanup returns the call of cleanup for the next module, or Advance after the last one.
func (u *Update) cleanup() Step {
	for i := range u.Changes {
		if !u.Changes[i].IsClean && u.Changes[i].Stage != Pending {
			return Step{Call, Cleanup, i}
		}
	}
	return Step{Kind: Advance}
}

// Start returns the document to store before the step is done.
func (d *Document) Start(s Step) *Document {
	next := d.clone()
	if s.Kind != Call {
		return next
	}
	c := &next.Update.Changes[s.Change]
	c.Calling = s.Verb
	if s.Verb == Install || s.Verb == Remove {
		c.Stage = Changing
	}
	return next
}

// End returns the document to store after the step was done.
func (d *Document) End(s Step, r StepResult, on Conditions, now time.Time) *Document {
	next := d.clone()
	u := next.Update
	switch {
	case u == nil:
	case s.Kind == Call:
		c := &u.Changes[s.Change]
		r.NotStarted = r.NotStarted && c.Interruptions == 0 // an interrupted call may have changed something
		c.Calling, c.Interruptions = "", 0
		u.end(c, s.Verb, r)
	case s.Kind == Advance:
		next.advance(on, now)
	}
	return next
}

// end records the end of a call.
func (u *Update) end(c *Change, verb Verb, r StepResult) {
	if r.Code != "" {
		u.Code = clip(r.Code, maxCode)
	}
	u.say(r.Messages...)
	failed := r.Err != "" || r.Missing && (verb == Install || verb == Remove)
	switch {
	case verb == Cleanup:
		c.IsClean = true
		if r.Err != "" {
			u.say(r.Err) // files that are left over are no reason to fail
		}
	case verb == Rollback && (failed || r.Missing):
		c.Stage, c.RollbackFailure, c.NeedsReboot = Broken, clip(r.Err, maxFailure), false
		if r.Missing {
			c.RollbackFailure = fmt.Sprintf("the handler of type %q has no rollback", c.Type)
		}
	case verb == Rollback:
		c.Stage, c.NeedsReboot = RolledBack, r.NeedsReboot
	case failed:
		if r.NotStarted && (verb == Install || verb == Remove) {
			c.Stage = Ready
		}
		u.failAt(c, verb, r)
	case verb == Check:
		c.Stage, c.Repeatable = Checked, r.Repeatable
	case verb == Download:
		c.Stage = Ready
		c.Repeatable = c.Repeatable || r.Repeatable // the check of a bundle runs after its download
	case verb == Install || verb == Remove:
		c.Stage, c.NeedsReboot = Changed, r.NeedsReboot
	case verb == Verify:
		c.Stage = Verified
	case verb == Commit:
		c.Stage = Committed
	}
}

var codes = map[Verb]string{
	Check: CodeUnsupported, Download: CodeDownloadFailed, Install: CodeInstallFailed, Remove: CodeRemoveFailed, Verify: CodeVerifyFailed, Commit: CodeCommitFailed,
}

func (u *Update) failAt(c *Change, verb Verb, r StepResult) {
	code, message := r.Code, r.Err
	if code == "" {
		code = codes[verb]
	}
	if message == "" {
		message = fmt.Sprintf("the handler of type %q has no %s", c.Type, verb)
	}
	u.fail(code, c.title()+": "+message)
}

// fail records the first failure and starts the rollback, which has nothing to do if nothing has
// changed.
func (u *Update) fail(code, message string) {
	if u.Failure == nil {
		u.Failure = &Failure{Code: clip(code, maxCode), Message: clip(message, maxFailure)}
	}
	u.Phase, u.BootBefore = RollingBack, ""
	for i := range u.Changes {
		u.Changes[i].NeedsReboot = false
	}
}

// advance moves to the next phase after the last step of this one.
func (d *Document) advance(on Conditions, now time.Time) {
	u := d.Update
	switch u.Phase {
	case Downloading:
		u.Phase = Downloaded
	case Downloaded:
		u.Phase = Installing
	case Installing:
		u.Phase = Verifying
		if u.needsReboot() {
			u.Phase, u.BootBefore = Rebooting, on.Boot
		}
	case Rebooting:
		u.Phase, u.BootBefore = Verifying, ""
		if u.WasRollingBack {
			u.Phase = RollingBack
		}
		for i := range u.Changes {
			u.Changes[i].NeedsReboot = false
		}
	case Verifying:
		u.Phase = Committing
	case Committing:
		d.finish(Succeeded, now)
	case RollingBack:
		if u.needsReboot() {
			u.Phase, u.BootBefore, u.WasRollingBack = Rebooting, on.Boot, true
			return
		}
		d.finish(Failed, now)
	case Idle, Inconsistent: // no update has this phase
	}
}

func (u *Update) needsReboot() bool {
	return slices.ContainsFunc(u.Changes, func(c Change) bool { return c.NeedsReboot })
}

// finish ends the update: the installed modules, the result and the inconsistency change together.
func (d *Document) finish(outcome Outcome, now time.Time) {
	u := d.Update
	broken := slices.ContainsFunc(u.Changes, func(c Change) bool { return c.Stage == Broken })
	if outcome == Failed && u.CanceledBy != "" && !broken {
		outcome = Canceled
	}
	if outcome == Succeeded {
		d.install(u.Changes)
		d.Set = u.Set
	}
	if broken {
		d.breakBy(u, now)
	}
	r := Result{
		ID: u.ID, Source: u.Source, Ended: now, Outcome: outcome, Failure: u.Failure, Messages: u.Messages, Code: u.Code,
		Changes: withoutContent(u.Changes), CanceledBy: u.CanceledBy, Inconsistent: d.Inconsistency != nil,
	}
	d.Ended = &r
	if u.Source == FromServer {
		d.Results = append(d.Results, r)
		d.Results = d.Results[max(0, len(d.Results)-MaxResults):]
	}
	d.Update = nil
}

// withoutContent returns the changes without what only their installation needed, which may be
// large.
func withoutContent(changes []Change) []Change {
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].Artifacts, changes[i].Metadata = nil, nil
	}
	return changes
}

// install records the new versions, and that their modules are consistent again.
func (d *Document) install(changes []Change) {
	for _, c := range changes {
		d.Installed = slices.DeleteFunc(d.Installed, c.IsSame)
		if !c.Removes {
			d.Installed = append(d.Installed, Module{Type: c.Type, Name: c.Name, Version: c.Version, Store: c.Store})
		}
		if d.Inconsistency != nil {
			d.Inconsistency.Modules = slices.DeleteFunc(d.Inconsistency.Modules, c.IsSame)
		}
	}
	sortModules(d.Installed)
	if d.Inconsistency != nil && len(d.Inconsistency.Modules) == 0 {
		d.Inconsistency = nil
	}
}

// breakBy records the modules that are on neither version. Modules that an earlier update left so
// stay in the list.
func (d *Document) breakBy(u *Update, now time.Time) {
	old := d.Inconsistency
	d.Inconsistency = &Inconsistency{Update: u.ID, Since: now}
	if old != nil {
		d.Inconsistency.Modules, d.Inconsistency.Since = old.Modules, old.Since
	}
	for _, c := range u.Changes {
		if c.Stage != Broken {
			continue
		}
		d.Inconsistency.Modules = append(slices.DeleteFunc(d.Inconsistency.Modules, c.IsSame), Module{Type: c.Type, Name: c.Name, Version: c.Version, Store: c.Store})
		d.Inconsistency.Reason = fmt.Sprintf("%s could not be rolled back: %s. The update was rolled back because of %s", c.title(), c.RollbackFailure, u.Failure.Message)
	}
	sortModules(d.Inconsistency.Modules)
}

// Stores returns the stores of a module that are in use: that of its installed version, and that of
// the version that an update could not roll back.
func (d *Document) Stores(m Module) []string {
	var stores []string
	known := d.Installed
	if d.Inconsistency != nil {
		known = slices.Concat(known, d.Inconsistency.Modules)
	}
	for _, k := range known {
		if k.IsSame(m) && k.Store != "" {
			stores = append(stores, k.Store)
		}
	}
	return stores
}

// Others returns what is on the device now of all other modules: their new version if the update in
// progress has changed them already, else their old one.
func (d *Document) Others(m Module) []Module {
	var others []Module
	add := func(o Module) {
		if !o.IsSame(m) {
			others = append(others, o)
		}
	}
	changed := func(Module) bool { return false }
	if u := d.Update; u != nil {
		changed = func(o Module) bool {
			return slices.ContainsFunc(u.Changes, func(c Change) bool { return c.IsSame(o) && c.changed() })
		}
		for _, c := range u.Changes {
			if c.changed() {
				add(c.Module)
			}
		}
	}
	for _, i := range d.Installed {
		if !changed(i) {
			add(i)
		}
	}
	return others
}

// InUse returns all modules whose files are needed: the installed ones, those that an update could
// not roll back, and those of the update in progress.
func (d *Document) InUse() []Module {
	used := slices.Clone(d.Installed)
	if d.Inconsistency != nil {
		used = append(used, d.Inconsistency.Modules...)
	}
	if d.Update != nil {
		for _, c := range d.Update.Changes {
			used = append(used, c.Module)
		}
	}
	return used
}

// WithSet returns the document whose update in progress installs a distribution set.
func (d *Document) WithSet(s *Set) *Document {
	next := d.clone()
	next.Update.Set = s
	return next
}

// WithoutSet returns the document after the server has got the set, or does not want it.
func (d *Document) WithoutSet() *Document {
	next := d.clone()
	next.Set = nil
	return next
}

// Ask returns the document with an update that waits for a person, or without one if q is nil.
func (d *Document) Ask(q *Question) *Document {
	next := d.clone()
	next.Question = q
	return next
}

// Relocate returns the document with the present addresses of the files of an update in progress:
// those of some servers are valid for a limited time.
func (d *Document) Relocate(changes []Change) *Document {
	next := d.clone()
	if next.Update == nil {
		return next
	}
	for i := range next.Update.Changes {
		c := &next.Update.Changes[i]
		at := slices.IndexFunc(changes, func(o Change) bool { return o.IsSame(c.Module) && o.Version == c.Version })
		if at < 0 {
			continue
		}
		for j := range c.Artifacts {
			same := func(a Artifact) bool {
				return a.Filename == c.Artifacts[j].Filename && a.SHA256 == c.Artifacts[j].SHA256
			}
			if k := slices.IndexFunc(changes[at].Artifacts, same); k >= 0 {
				c.Artifacts[j].URL = changes[at].Artifacts[k].URL
			}
		}
	}
	return next
}

// NeedsAddresses reports whether the update still downloads files, and Relocate would change the
// addresses of some.
func (u *Update) NeedsAddresses(changes []Change) bool {
	if u.Phase != Downloading {
		return false
	}
	addresses := func(changes []Change) []string {
		var out []string
		for _, c := range changes {
			for _, a := range c.Artifacts {
				out = append(out, fmt.Sprintf("%q %q %q", c.Type+"/"+c.Name, a.Filename, a.URL))
			}
		}
		slices.Sort(out)
		return out
	}
	return !slices.Equal(addresses(u.Changes), addresses(changes))
}

// IsReplaceable reports whether the update in progress is one of the server that has changed
// nothing on the device and has not failed.
func (d *Document) IsReplaceable() bool {
	u := d.Update
	return u != nil && u.Source == FromServer && u.Failure == nil && (u.Phase == Downloading || u.Phase == Downloaded)
}

// HasContent reports whether the changes are those of the update, wherever their files are.
func (u *Update) HasContent(changes []Change) bool {
	return slices.EqualFunc(u.Changes, changes, func(a, b Change) bool {
		return a.IsSame(b.Module) && a.Version == b.Version && a.Removes == b.Removes && maps.Equal(a.Metadata, b.Metadata) &&
			slices.EqualFunc(a.Artifacts, b.Artifacts, func(f, g Artifact) bool { f.URL, g.URL = "", ""; return f == g })
	})
}

// Installs reports whether the update was one that installs the same software as these changes. A
// server that was set up again may use the id of an old update for another one.
func (r *Result) Installs(changes []Change) bool {
	return slices.Equal(installed(r.Changes), installed(changes))
}

// installed returns the software that changes install, sorted.
func installed(changes []Change) []string {
	var out []string
	for _, c := range changes {
		if !c.Removes {
			out = append(out, fmt.Sprintf("%q %q %q", c.Type, c.Name, c.Version))
		}
	}
	slices.Sort(out)
	return out
}

// Rename returns the document with another id of the update in progress.
func (d *Document) Rename(id string) *Document {
	next := d.clone()
	next.Update.ID = id
	return next
}

// Delivered returns the document without the results of the update, which the server has.
func (d *Document) Delivered(id string) *Document {
	next := d.clone()
	next.Results = slices.DeleteFunc(next.Results, func(r Result) bool { return r.ID == id })
	return next
}

// HasResult reports whether the server has not got the result of the update yet.
func (d *Document) HasResult(id string) bool {
	return slices.ContainsFunc(d.Results, func(r Result) bool { return r.ID == id })
}

func (u *Update) first(stage Stage) int {
	return slices.IndexFunc(u.Changes, func(c Change) bool { return c.Stage == stage })
}

// maxMessages and maxMessage limit what a result keeps of the lines of handlers.
const (
	maxMessages = 20
	maxMessage  = 500
	maxFailure  = 3000
	maxCode     = 64
)

// clip returns the start of a text, of at most limit bytes.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

func (u *Update) say(messages ...string) {
	for _, m := range messages {
		u.Messages = append(u.Messages, clip(m, maxMessage))
	}
	u.Messages = u.Messages[max(0, len(u.Messages)-maxMessages):]
}

func (c *Change) verb() Verb {
	if c.Removes {
		return Remove
	}
	return Install
}

func (c *Change) title() string {
	if c.Version == "" {
		return c.Type + " " + c.Name
	}
	return c.Type + " " + c.Name + " " + c.Version
}

// clone returns a copy that shares nothing with the document.
func (d *Document) clone() *Document {
	encoded, err := json.Marshal(d)
	if err != nil {
		panic(err) // the types of a Document can always be encoded
	}
	next := &Document{}
	if err := json.Unmarshal(encoded, next); err != nil {
		panic(err)
	}
	return next
}
