// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/ddi"
	"github.com/goshawk-dev/goshawk/internal/agent/download"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Server is the server of a device, and what was said to it.
type Server struct {
	Client *ddi.Client
	// Attributes returns the attributes of the device. The inventory is added to them.
	Attributes func(ctx context.Context) map[string]string
	// Poll is the time between two polls if the server names none. Longest is the longest time
	// between two attempts while the server cannot be reached.
	Poll, Longest time.Duration
	// Random returns a number from 0 to 1.
	Random func() float64

	pollNow  bool              // the next poll is due
	sent     map[string]string // the attributes that the server has; nil: not known
	facts    map[string]string // those of them that factsOf returned
	reported report            // the last report of the update in progress
}

// report is what the server knows about the update in progress.
type report struct {
	id      string
	phase   update.Phase
	percent int
	message string
	at      time.Time
}

// progressPause is the shortest time between two reports in which only the progress differs.
const progressPause = 10 * time.Second

// InventoryPrefix is the prefix of the attributes that have the installed software, as Goshawk
// reads them: sw.TYPE.NAME = VERSION.
const InventoryPrefix = "sw."

// Attributes by which Goshawk knows what this agent reports and can do.
const (
	// ConsistentAttribute is "true" or "false": whether the device is consistent. It also says that
	// each result names an inconsistency.
	ConsistentAttribute = "goshawk-agent.consistent"
	// RemovesAttribute says that the agent removes the software modules of a deployment whose
	// chunks have wire.MetadataRemove.
	RemovesAttribute = "goshawk-agent.removes"
)

// serve talks to the server until the end of the context.
func (a *Agent) serve(ctx context.Context) {
	s := a.Server
	pause := download.PauseWithJitter(time.Second, s.Longest, s.Random)
	a.Log.Info("the agent runs", "server", s.Client.Address())
	isConnected := false
	for failures := 0; ctx.Err() == nil; {
		a.mu.Lock()
		a.visits++
		a.mu.Unlock()
		poll, err := a.visit(ctx)
		if ctx.Err() == nil {
			a.keepConnection(err)
		}
		if err == nil {
			if !isConnected {
				a.Log.Info("connected to the server")
			}
			isConnected, failures = true, 0
			a.waitForNews(ctx, poll)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		a.Log.Warn("the server cannot be used now", "error", err)
		isConnected = false
		a.unlessPolled(ctx, func(ctx context.Context) {
			if answer := (*ddi.Error)(nil); errors.As(err, &answer) && answer.RetryAfter > 0 {
				download.Sleep(ctx, answer.RetryAfter)
			}
			pause(ctx, failures)
		})
		failures++
	}
}

// connectionPause and connectionBurst limit how often the state file is written because of the
// connection: a flash memory bears a limited number of writes.
const (
	connectionPause = 10 * time.Minute
	connectionBurst = 5
)

// maxConnectionError is the maximum length of the error of a connection in bytes.
const maxConnectionError = 1000

// keepConnection keeps how a visit to the server ended. It writes the state file if the connection
// is lost or there again, or the reason is another one.
func (a *Agent) keepConnection(failure error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &journal.Connection{Address: a.Server.Client.Address(), Connected: failure == nil, Since: a.Now(), LastContact: a.contact}
	if old := a.connection; old != nil && old.Connected == c.Connected {
		c.Since = old.Since
	}
	if failure != nil {
		text := failure.Error()
		c.Error = strings.ToValidUTF8(text[:min(len(text), maxConnectionError)], "")
	}
	a.connection = c
	a.Journal.Connect(c)
	needed := 1.0
	switch p := a.published; {
	case p == nil || p.Connected != c.Connected:
	case p.Error != c.Error:
		needed = 2 // the last write is for the next change of Connected
	default:
		return
	}
	if a.mayPublish.Tokens() < needed || !a.mayPublish.Allow() {
		return // the next visit tries it again
	}
	if err := a.Journal.Publish(); err != nil {
		a.Log.Warn("the connection to the server is not in the state file", "error", err)
		return
	}
	a.published = c
}

// Connection returns how the last visit to the server ended, or nil before that.
func (a *Agent) Connection() *journal.Connection {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.connection
}

// unlessPolled waits, and ends that early if a person asks for a poll.
func (a *Agent) unlessPolled(ctx context.Context, wait func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		for {
			a.mu.Lock()
			changed, isDue := a.changed, a.Server.pollNow
			a.Server.pollNow = false
			a.mu.Unlock()
			if isDue {
				cancel()
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	wait(ctx)
}

// waitForNews returns at the time of the next poll, or earlier if there is news for the server.
func (a *Agent) waitForNews(ctx context.Context, poll time.Duration) {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for {
		a.mu.Lock()
		d, changed, isDue := a.document, a.changed, a.Server.pollNow
		a.Server.pollNow = false
		a.mu.Unlock()
		if isDue || len(d.Results) > 0 || d.Set != nil || d.Question != nil && d.Question.Answer != "" || a.news() != nil || !maps.Equal(a.Server.facts, factsOf(d)) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-changed:
		}
	}
}

// poll lets the agent poll now.
func (a *Agent) poll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Server.pollNow = true
	a.wake()
}

// visit reports what is new and asks for work. It returns the time until the next visit. A server
// that cannot take one report gets the others and is asked for work nevertheless: the same report
// follows in the next visit.
func (a *Agent) visit(ctx context.Context) (time.Duration, error) {
	s := a.Server
	refusals, err := all(ctx, a.reportResults, a.reportAnswer, a.reportProgress)
	if err != nil {
		return 0, err
	}
	// The attributes come before the poll: what the server offers may depend on them.
	sendAgain := func(context.Context) error { return nil }
	refused, err := all(ctx, func(ctx context.Context) (err error) {
		sendAgain, err = a.sendAttributes(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	base, err := s.Client.Poll(ctx)
	if err != nil {
		return 0, err
	}
	now := a.Now()
	a.mu.Lock()
	a.contact = &now
	a.mu.Unlock()
	if base.Links.ConfigData.Href == "" {
		sendAgain = func(context.Context) error { return nil }
	}
	work := func(ctx context.Context) error {
		err := a.work(ctx, base.Links)
		if err == nil {
			a.mu.Lock()
			a.visited = a.visits
			a.wake()
			a.mu.Unlock()
		}
		return err
	}
	confirmation := func(ctx context.Context) error { return a.confirmation(ctx, base.Links.ConfirmationBase) }
	later, err := all(ctx, sendAgain, a.reportSet, work, confirmation)
	poll := time.Duration(base.Config.Polling.Sleep)
	if poll <= 0 {
		poll = s.Poll
	}
	return poll, errors.Join(refusals, refused, later, err)
}

// all takes all steps, of which each one may end with an answer of the server that is an error. It
// ends after any other error.
func all(ctx context.Context, steps ...func(context.Context) error) (refusals, err error) {
	for _, step := range steps {
		err := step(ctx)
		if answer := (*ddi.Error)(nil); err == nil || errors.As(err, &answer) {
			refusals = errors.Join(refusals, err)
			continue
		}
		return nil, errors.Join(refusals, err)
	}
	return refusals, nil
}

// work does what the server asks for.
func (a *Agent) work(ctx context.Context, links wire.BaseLinks) error {
	switch {
	case links.CancelAction.Href != "":
		return a.cancel(ctx, links.CancelAction)
	case links.DeploymentBase.Href != "":
		return a.deployment(ctx, links.DeploymentBase)
	}
	return nil
}

// reportResults sends the results that the server does not have yet.
func (a *Agent) reportResults(ctx context.Context) error {
	d, _ := a.Document()
	for _, r := range d.Results {
		if err := a.reportResult(ctx, &r); err != nil {
			return err
		}
		if err := a.change(ctx, func(d *update.Document) *update.Document { return d.Delivered(r.ID) }); err != nil {
			return err
		}
		a.Server.sent = nil
	}
	return nil
}

func (a *Agent) reportResult(ctx context.Context, r *update.Result) error {
	f := wire.Feedback{Status: wire.Status{Execution: wire.ExecutionClosed, Result: wire.Result{Finished: wire.FinishedSuccess}, Code: wire.Text(r.Code)}}
	f.Status.Details = append(wire.Details{}, r.Messages...)
	send := a.Server.Client.Report
	switch {
	case r.Outcome == update.Canceled && r.CanceledBy == update.FromServer:
		send = a.Server.Client.ReportCancel
	case r.Outcome != update.Succeeded:
		f.Status.Result.Finished = wire.FinishedFailure
		f.Status.Code = wire.Text(r.Failure.Code)
		f.Status.Details = append(f.Status.Details, r.Failure.Message+leftBroken(r.Changes))
	}
	if r.Inconsistent {
		message := "The device is inconsistent."
		switch {
		case r.Outcome == update.Succeeded:
			message = "The update succeeded, and other software of the device is inconsistent."
		case f.Status.Code != "":
			message += fmt.Sprintf(" The code of the failure is %s.", f.Status.Code)
		}
		f.Status.Code, f.Status.Details = update.CodeInconsistent, append(f.Status.Details, message)
	}
	return a.ignoreRefusal(send(ctx, r.ID, f))
}

// leftBroken returns why modules could not be rolled back, as the end of the message of a failure,
// or "" if all were.
func leftBroken(changes []update.Change) string {
	text := ""
	for _, c := range changes {
		if c.Stage == update.Broken {
			text += fmt.Sprintf("; %s %s could not be rolled back: %s", c.Type, c.Name, c.RollbackFailure)
		}
	}
	return text
}

// ignoreRefusal returns nil if the server refuses a request and would refuse it again, for example
// a report on an action that it has closed.
func (a *Agent) ignoreRefusal(err error) error {
	if err != nil && (ddi.IsGone(err) || ddi.IsRefused(err)) {
		a.Log.Warn("the server refuses a request, which is not repeated", "error", err)
		return nil
	}
	return err
}

// reportAnswer sends the answer of a person.
func (a *Agent) reportAnswer(ctx context.Context) error {
	d, _ := a.Document()
	q := d.Question
	if q == nil || q.Answer == "" {
		return nil
	}
	f := wire.ConfirmationFeedback{Confirmation: wire.Confirmed, Details: wire.Details{"A person at the device confirmed the update."}}
	if q.Answer == update.Denied {
		f = wire.ConfirmationFeedback{Confirmation: wire.Denied, Details: wire.Details{"A person at the device denied the update."}}
	}
	if q.Remark != "" {
		f.Details = append(f.Details, q.Remark)
	}
	if err := a.ignoreRefusal(a.Server.Client.ReportConfirmation(ctx, q.ID, f)); err != nil {
		return err
	}
	return a.change(ctx, func(d *update.Document) *update.Document {
		if d.Question == nil || d.Question.ID != q.ID {
			return nil
		}
		return d.Ask(nil)
	})
}

// reportSet says which distribution set a person has installed. The server may not know the device
// before its first poll, so this comes after it.
func (a *Agent) reportSet(ctx context.Context) error {
	d, _ := a.Document()
	s := d.Set
	if s == nil {
		return nil
	}
	if err := a.ignoreRefusal(a.Server.Client.ReportInstalled(ctx, s.Name, s.Version)); err != nil {
		return err
	}
	return a.change(ctx, func(d *update.Document) *update.Document {
		if d.Set == nil || *d.Set != *s {
			return nil // another update has replaced it meanwhile
		}
		return d.WithoutSet()
	})
}

// news returns the next report of the update in progress, or nil if there is none now.
func (a *Agent) news() *report {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.document.Update
	if u == nil || u.Source != update.FromServer {
		return nil
	}
	last, r := a.Server.reported, report{u.ID, u.Phase, a.percent, a.message, a.Now()}
	if r.id == last.id && r.phase == last.phase && (r.percent == last.percent && r.message == last.message || r.at.Sub(last.at) < progressPause) {
		return nil
	}
	return &r
}

func (a *Agent) reportProgress(ctx context.Context) error {
	r := a.news()
	if r == nil {
		return nil
	}
	f := wire.Feedback{Status: wire.Status{Execution: wire.ExecutionProceeding, Result: wire.Result{Finished: wire.FinishedNone, Progress: &wire.Progress{Count: r.percent, Of: 100}}}}
	switch r.phase {
	case update.Downloading:
		f.Status.Execution = wire.ExecutionDownload
	case update.Downloaded:
		f.Status.Execution = wire.ExecutionDownloaded
	default: // all others are a part of the installation
	}
	f.Status.Details = wire.Details{string(r.phase)}
	if r.message != "" {
		f.Status.Details = append(f.Status.Details, r.message)
	}
	if err := a.ignoreRefusal(a.Server.Client.Report(ctx, r.id, f)); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Server.reported = *r
	return nil
}

// sendAttributes sends the attributes of the device, of its configuration and of the document, if
// they have changed or it is not known whether the server has them: after a start, and after each
// update. The function that it returns sends them in any case.
func (a *Agent) sendAttributes(ctx context.Context) (again func(context.Context) error, err error) {
	s := a.Server
	attributes := map[string]string{}
	if s.Attributes != nil {
		maps.Copy(attributes, s.Attributes(ctx))
	}
	d, _ := a.Document()
	facts := factsOf(d)
	maps.Copy(attributes, facts)
	send := func(ctx context.Context) error {
		err := s.Client.SendAttributes(ctx, s.Client.AttributesLink(), attributes)
		if some, others := ddi.CommonAttributes(attributes, InventoryPrefix); len(others) > 0 && (ddi.IsRefused(err) || ddi.HasTooMany(err)) {
			a.Log.Warn("the server refuses the attributes; it gets those that every server takes", "error", err, "without", others)
			err = s.Client.SendAttributes(ctx, s.Client.AttributesLink(), some)
		}
		if err := a.ignoreRefusal(err); err != nil {
			return err
		}
		s.sent, s.facts = attributes, facts
		return nil
	}
	if s.sent != nil && maps.Equal(s.sent, attributes) {
		return send, nil
	}
	return send, send(ctx)
}

// factsOf returns the attributes that say what is on the device.
func factsOf(d *update.Document) map[string]string {
	facts := map[string]string{ConsistentAttribute: fmt.Sprint(d.Inconsistency == nil), RemovesAttribute: "true"}
	for _, m := range d.Installed {
		facts[InventoryPrefix+m.Type+"."+m.Name] = m.Version
	}
	return facts
}

// cancel does what a cancel of the server asks for.
func (a *Agent) cancel(ctx context.Context, link wire.Link) error {
	c, err := a.Server.Client.Cancel(ctx, link)
	if err != nil {
		return a.ignoreRefusal(err)
	}
	id := c.CancelAction.StopID
	d, _ := a.Document()
	u := d.Update
	if u == nil || u.ID != id || u.Source != update.FromServer {
		if e := d.Ended; e != nil && e.ID == id && e.Source == update.FromServer && e.Outcome != update.Canceled {
			return a.reject(ctx, id, fmt.Sprintf("the update has ended: %s", e.Outcome))
		}
		return a.ignoreRefusal(a.Server.Client.ReportCancel(ctx, id, closed("The device does not work on this update.")))
	}
	ok, err := a.Cancel(ctx, update.FromServer)
	if err != nil {
		return err
	}
	if !ok {
		return a.reject(ctx, id, fmt.Sprintf("the update cannot be canceled in phase %s", u.Phase))
	}
	return nil // its end is reported as its result
}

func closed(message string) wire.Feedback {
	return wire.Feedback{Status: wire.Status{Execution: wire.ExecutionClosed, Result: wire.Result{Finished: wire.FinishedSuccess}, Details: wire.Details{message}}}
}

func (a *Agent) reject(ctx context.Context, id, why string) error {
	f := closed("The cancel is rejected: " + why + ".")
	f.Status.Execution, f.Status.Result.Finished = wire.ExecutionRejected, wire.FinishedNone
	return a.ignoreRefusal(a.Server.Client.ReportCancel(ctx, id, f))
}

// deployment starts the update of the server, or continues it.
func (a *Agent) deployment(ctx context.Context, link wire.Link) error {
	offered, err := a.Server.Client.Deployment(ctx, link)
	if err != nil {
		return a.ignoreRefusal(err)
	}
	d, _ := a.Document()
	if len(offered.Deployment.Chunks) == 0 && (d.Update == nil || d.Update.ID != offered.ID) {
		f := closed("The update has no software modules.")
		f.Status.Result.Finished, f.Status.Code = wire.FinishedFailure, update.CodeUnsupported
		return a.ignoreRefusal(a.Server.Client.Report(ctx, offered.ID, f))
	}
	changes := a.present(offered.ID, changesOf(offered.Deployment, d.Installed), d.Installed)
	mayInstall := offered.Deployment.Update != wire.HandlingSkip && offered.Deployment.MaintenanceWindow != wire.WindowUnavailable
	switch u := d.Update; {
	case u == nil:
		if d.HasResult(offered.ID) {
			return nil // it is reported first
		}
		if e := d.Ended; e != nil && e.ID == offered.ID && e.Source == update.FromServer && e.Installs(changes) {
			return a.reportResult(ctx, e) // the server has lost it
		}
		if offered.Deployment.Download == wire.HandlingSkip {
			return nil // the server wants nothing yet
		}
		return a.Accept(ctx, offered.ID, update.FromServer, changes, mayInstall)
	case u.ID == offered.ID && u.Source == update.FromServer:
		a.permit(mayInstall)
		return a.change(ctx, func(d *update.Document) *update.Document {
			if u := d.Update; u == nil || u.ID != offered.ID || !u.NeedsAddresses(changes) {
				return nil
			}
			return d.Relocate(changes)
		})
	}
	return a.follow(ctx, offered.ID, changes, mayInstall)
}

// permit keeps whether the update of the server may be installed now.
func (a *Agent) permit(mayInstall bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mayInstall != mayInstall {
		a.mayInstall = mayInstall
		a.wake()
	}
}

// follow lets an update of the server take the place of its earlier one that has not changed
// anything: the server waits no longer for that one. This is so after an update that was only to be
// downloaded. In all other cases the new update waits for the end of the one in progress.
func (a *Agent) follow(ctx context.Context, id string, changes []update.Change, mayInstall bool) error {
	d, _ := a.Document()
	if !d.IsReplaceable() {
		return nil
	}
	if !d.Update.HasContent(changes) {
		_, err := a.Cancel(ctx, update.FromServer)
		return err // the new one starts after its end
	}
	return a.change(ctx, func(d *update.Document) *update.Document {
		if !d.IsReplaceable() {
			return nil // it was canceled meanwhile
		}
		a.Log.Info("an update takes the place of one with the same content", "update", id, "earlier", d.Update.ID)
		a.mayInstall = mayInstall
		return d.Rename(id).Relocate(changes)
	})
}

// present returns the changes without removals of software that is not on the device in that
// version: there is nothing to do for them.
func (a *Agent) present(id string, changes []update.Change, installed []update.Module) []update.Change {
	return slices.DeleteFunc(changes, func(c update.Change) bool {
		absent := c.Removes && !slices.ContainsFunc(installed, func(m update.Module) bool { return m.IsSame(c.Module) && m.Version == c.Version })
		if absent {
			a.Log.Info("there is nothing to remove", "update", id, "type", c.Type, "name", c.Name, "version", c.Version)
		}
		return absent
	})
}

// changesOf returns the modules of a deployment for a device with these modules.
func changesOf(d wire.Deployment, installed []update.Module) []update.Change {
	changes := make([]update.Change, 0, len(d.Chunks))
	for _, chunk := range d.Chunks {
		changes = append(changes, changeOf(chunk, installed))
	}
	return changes
}

// changeOf returns the module of a chunk. DDI renames two types; the agent undoes that.
func changeOf(chunk wire.Chunk, installed []update.Module) update.Change {
	m := update.Module{Type: typeOf(chunk.Part), Name: chunk.Name, Version: chunk.Version}
	for _, artifact := range chunk.Artifacts {
		m.Artifacts = append(m.Artifacts, update.Artifact{
			Filename: artifact.Filename, Size: artifact.Size, SHA256: strings.ToLower(artifact.Hashes.SHA256), URL: artifact.Links.Preferred(),
		})
	}
	for _, entry := range chunk.Metadata {
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		m.Metadata[entry.Key] = entry.Value
	}
	if m.Metadata[wire.MetadataRemove] == "true" {
		return update.Change{Module: removedModule(m, installed), Removes: true}
	}
	return update.Change{Module: m}
}

// removedModule returns the installed module that a chunk removes. The server knows it as an entry
// of the inventory: TYPE.NAME, of which the part before the last dot is the group.
func removedModule(m update.Module, installed []update.Module) update.Module {
	group := m.Metadata[wire.MetadataGroup]
	m.Artifacts, m.Metadata = nil, nil
	for _, i := range installed {
		if group != "" && i.Version == m.Version && i.Type+"."+i.Name == group+"."+m.Name && (m.Type == i.Type || m.Type == group) {
			return i
		}
	}
	return m
}

func typeOf(part string) string {
	switch part {
	case wire.PartOf("application"):
		return "application"
	case wire.PartOf("runtime"):
		return "runtime"
	}
	return part
}

// confirmation stores an update that waits for a person at the device.
func (a *Agent) confirmation(ctx context.Context, link wire.Link) error {
	var q *update.Question
	if link.Href != "" {
		action, ok, err := a.Server.Client.Confirmation(ctx, link)
		if err != nil {
			return a.ignoreRefusal(err)
		}
		if ok {
			q = &update.Question{ID: action.ID}
			d, _ := a.Document()
			for _, c := range changesOf(action.Confirmation, d.Installed) {
				q.Modules = append(q.Modules, update.Module{Type: c.Type, Name: c.Name, Version: c.Version})
			}
		}
	}
	return a.change(ctx, func(d *update.Document) *update.Document {
		if q == nil && d.Question == nil || q != nil && d.Question != nil && q.ID == d.Question.ID {
			return nil // it has been stored, and may have an answer
		}
		return d.Ask(q)
	})
}

// Answer stores the answer of a person to the update that waits for it.
func (a *Agent) Answer(ctx context.Context, answer update.Answer, remark string) error {
	var refused error
	err := a.change(ctx, func(d *update.Document) *update.Document {
		if d.Question == nil {
			refused = errors.New("no update waits for a confirmation")
			return nil
		}
		q := *d.Question
		q.Answer, q.Remark = answer, remark
		return d.Ask(&q)
	})
	return errors.Join(refused, err)
}
