// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/agent/ddi"
	"github.com/goshawk-dev/goshawk/internal/agent/download"
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
	sent     map[string]string // the attributes that the server has
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

// ConsistentAttribute is the attribute that says whether the device is consistent.
const ConsistentAttribute = "goshawk-agent.consistent"

// serve talks to the server until the end of the context.
func (a *Agent) serve(ctx context.Context) {
	s := a.Server
	pause := download.PauseWithJitter(time.Second, s.Longest, s.Random)
	for failures := 0; ctx.Err() == nil; {
		poll, err := a.visit(ctx)
		if err == nil {
			failures = 0
			a.waitForNews(ctx, poll)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		a.Log.Warn("the server cannot be used now", "error", err)
		if answer := (*ddi.Error)(nil); errors.As(err, &answer) && answer.RetryAfter > 0 {
			sleep(ctx, answer.RetryAfter)
		}
		pause(ctx, failures)
		failures++
	}
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
		if isDue || len(d.Results) > 0 || d.Question != nil && d.Question.Answer != "" || a.news() != nil {
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

// visit reports what is new and asks for work. It returns the time until the next visit.
func (a *Agent) visit(ctx context.Context) (time.Duration, error) {
	s := a.Server
	if err := errors.Join(a.reportResults(ctx), a.reportAnswer(ctx), a.reportProgress(ctx)); err != nil {
		return 0, err
	}
	base, err := s.Client.Poll(ctx)
	if err != nil {
		return 0, err
	}
	if err := a.sendAttributes(ctx, base.Links.ConfigData); err != nil {
		return 0, err
	}
	if link := base.Links.CancelAction; link.Href != "" {
		err = a.cancel(ctx, link)
	} else if link := base.Links.DeploymentBase; link.Href != "" {
		err = a.deployment(ctx, link)
	}
	if err == nil {
		err = a.confirmation(ctx, base.Links.ConfirmationBase)
	}
	poll := time.Duration(base.Config.Polling.Sleep)
	if poll <= 0 {
		poll = s.Poll
	}
	return poll, err
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
		f.Status.Details = append(f.Status.Details, r.Failure.Message)
		if r.Inconsistent {
			f.Status.Code = update.CodeInconsistent
			f.Status.Details = append(f.Status.Details, fmt.Sprintf("The device is inconsistent. The code of the failure is %s.", r.Failure.Code))
		}
	}
	return a.ignoreRefusal(send(ctx, r.ID, f))
}

// ignoreRefusal returns nil if the server does not want this report: it has closed the action, and
// the same report would be refused again.
func (a *Agent) ignoreRefusal(err error) error {
	if err != nil && (ddi.IsGone(err) || ddi.IsRefused(err)) {
		a.Log.Warn("the server does not accept a report", "error", err)
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

// sendAttributes sends the attributes if the server asks for them or they have changed.
func (a *Agent) sendAttributes(ctx context.Context, link wire.Link) error {
	s := a.Server
	want := a.attributes(ctx)
	if link.Href == "" {
		if s.sent == nil || maps.Equal(s.sent, want) {
			return nil
		}
		link = s.Client.AttributesLink()
	}
	if err := a.ignoreRefusal(s.Client.SendAttributes(ctx, link, want)); err != nil {
		return err
	}
	s.sent = want
	return nil
}

// attributes returns the attributes, with the inventory and the consistency.
func (a *Agent) attributes(ctx context.Context) map[string]string {
	d, _ := a.Document()
	out := map[string]string{}
	if a.Server.Attributes != nil {
		maps.Copy(out, a.Server.Attributes(ctx))
	}
	for _, m := range d.Installed {
		out[InventoryPrefix+m.Type+"."+m.Name] = m.Version
	}
	out[ConsistentAttribute] = fmt.Sprint(d.Inconsistency == nil)
	return out
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
	changes := changesOf(offered.Deployment)
	mayInstall := offered.Deployment.Update != wire.HandlingSkip && offered.Deployment.MaintenanceWindow != wire.WindowUnavailable
	d, _ := a.Document()
	switch u := d.Update; {
	case u == nil:
		if e := d.Ended; e != nil && e.ID == offered.ID && e.Source == update.FromServer {
			return a.reportResult(ctx, e) // the server has lost it
		}
		return a.Accept(ctx, offered.ID, update.FromServer, changes, mayInstall)
	case u.ID == offered.ID && u.Source == update.FromServer:
		return a.change(ctx, func(d *update.Document) *update.Document {
			a.mayInstall = mayInstall
			return d.Relocate(changes)
		})
	}
	return nil // it starts after the end of the update in progress
}

// changesOf returns the modules of a deployment. The client of hawkBit renames two types; the agent
// undoes that.
func changesOf(d wire.Deployment) []update.Change {
	changes := make([]update.Change, 0, len(d.Chunks))
	for _, chunk := range d.Chunks {
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
		changes = append(changes, update.Change{Module: m})
	}
	return changes
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
			for _, c := range changesOf(action.Confirmation) {
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

// Authorize adds the credentials of the device to a download from its server.
func (s *Server) Authorize(request *http.Request) { s.Client.Authorize(request) }
