// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"context"
	"net/http"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// visit does everything that is due: first the poll, so that a cancel is seen before the next step,
// then the next step.
func (f *Fleet) visit(ctx context.Context, d *device) {
	if d.isInactive() {
		return
	}
	if !d.nextPoll.After(time.Now()) {
		f.poll(ctx, d)
		f.schedulePoll(d)
	}
	if w := d.work; w != nil && !w.waits() && !w.due.After(time.Now()) {
		f.advance(ctx, d)
	}
}

func (f *Fleet) schedulePoll(d *device) {
	interval := d.interval(f.config.PollInterval)
	stray := (2*d.random() - 1) * f.config.Jitter
	d.nextPoll = time.Now().Add(interval + time.Duration(stray*float64(interval)))
}

func (f *Fleet) poll(ctx context.Context, d *device) {
	var base wire.Base
	root := f.base.String() + wire.RootPath(d.Tenant, d.ID)
	x := f.get(ctx, d, root, &base)
	if !x.ok() {
		f.recordFailure(ctx, d, x)
		return
	}
	d.sleep = time.Duration(base.Config.Polling.Sleep)
	f.emit(Event{Kind: Polled, Device: d.ID, Asked: x.asked, At: x.at})
	f.follow(ctx, d, base.Links)
}

// follow follows the links, a cancel before anything else.
func (f *Fleet) follow(ctx context.Context, d *device, links wire.BaseLinks) {
	d.release(links)
	switch {
	case links.CancelAction.Href != "":
		f.cancel(ctx, d, links.CancelAction.Href)
	case links.ConfirmationBase.Href != "":
		f.confirm(ctx, d, links.ConfirmationBase.Href)
	case links.DeploymentBase.Href != "":
		f.offered(ctx, d, links.DeploymentBase.Href)
	}
	if links.ConfigData.Href != "" {
		f.sendAttributes(ctx, d, links.ConfigData.Href)
	}
}

// release detects that the device API has closed an action with a delayed report, or the action of
// a silent device.
func (d *device) release(links wire.BaseLinks) {
	if d.work == nil {
		return
	}
	for _, link := range []wire.Link{links.DeploymentBase, links.CancelAction, links.ConfirmationBase} {
		if actionIn(link.Href) == d.work.id {
			return
		}
	}
	d.work.released = true
}

func (f *Fleet) sendAttributes(ctx context.Context, d *device, href string) {
	x := f.call(ctx, d, http.MethodPut, href, wire.NewConfigData(wire.ModeMerge, d.Attributes), nil)
	if !x.ok() {
		f.recordFailure(ctx, d, x)
		return
	}
	f.emit(Event{Kind: AttributesSent, Device: d.ID, Asked: x.asked, At: x.at})
}

// offered handles a deployment: a new action, a present action that may now continue, or a closed
// action whose report the device API must have lost.
func (f *Fleet) offered(ctx context.Context, d *device, href string) {
	id := actionIn(href)
	if d.work != nil && d.work.released && d.Behavior.neverReports() {
		f.setWork(d, nil)
	}
	if status, closed := d.outcome(id); closed {
		f.send(ctx, d, id, feedbackURL(href), status)
		return
	}
	if d.work != nil && (d.work.id != id || !d.work.held()) {
		return
	}
	var offer wire.DeploymentBase
	x := f.get(ctx, d, href, &offer)
	switch {
	case x.http == http.StatusNotFound:
		f.drop(d, id, x)
	case !x.ok():
		f.recordFailure(ctx, d, x)
	case d.work != nil:
		d.work.download, d.work.update = offer.Deployment.Download, offer.Deployment.Update
	default:
		f.start(d, feedbackURL(href), offer, x)
	}
}

// start accepts an action.
func (f *Fleet) start(d *device, report string, offer wire.DeploymentBase, x exchange) {
	deployment := offer.Deployment
	w := &work{id: offer.ID, report: report, download: deployment.Download, update: deployment.Update}
	w.software, w.artifacts = softwareOf(deployment.Chunks)
	if !f.config.FetchArtifacts {
		w.artifacts = nil
	}
	w.steps = script(d.Behavior, f.scriptOptions(d, w, deployment))
	if len(w.steps) > 0 {
		w.due = x.at.Add(w.steps[0].after)
	}
	f.setWork(d, w)
	f.emit(Event{
		Kind: Started, Device: d.ID, Action: w.id, Software: w.software,
		Asked: x.asked, At: x.at,
	})
}

func (f *Fleet) scriptOptions(d *device, w *work, deployment wire.Deployment) scriptOptions {
	return scriptOptions{
		stepTime: f.config.StepTime, steps: f.config.Steps, failCode: f.failCode(d),
		fails:        d.Behavior == Flaky && d.attempt(w.software) < f.config.FlakyFailures,
		downloadOnly: deployment.Update == wire.HandlingSkip && deployment.MaintenanceWindow == "",
	}
}

func (f *Fleet) failCode(d *device) string {
	if d.FailCode != "" {
		return d.FailCode
	}
	return f.config.FailCode
}

// advance executes the next step. If its report fails, the step is repeated at the next poll.
func (f *Fleet) advance(ctx context.Context, d *device) {
	w := d.work
	if w.steps[w.done].fetch && !f.download(ctx, d) {
		return
	}
	now := w.steps[w.done]
	if now.installs {
		f.setInstalled(d, join(w.software))
	}
	x := f.send(ctx, d, w.id, w.report, now.status)
	switch {
	case x.ok(), x.isPermanent() && !x.isRejected():
		f.proceed(d, now)
	case x.isRejected() && now.final:
		f.proceed(d, now)
	case x.isRejected():
		f.abandon(d)
	default:
		w.due = d.nextPoll
	}
}

// download downloads what the next step needs. An error becomes the result of the action. It
// returns false only when the fleet is stopping.
func (f *Fleet) download(ctx context.Context, d *device) bool {
	err := f.fetchAll(ctx, d)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		d.work.done, d.work.steps = 0, []step{{final: true, status: failure(f.failCode(d), err.Error())}}
	}
	d.work.artifacts = nil // not again if the report must be repeated
	return true
}

// proceed continues after a step, or ends the work with its last one. A device remembers the
// actions that it has closed itself, not those that the device API has closed.
func (f *Fleet) proceed(d *device, after step) {
	w := d.work
	if after.final {
		d.remember(w.id, after.status)
		f.setWork(d, nil)
		return
	}
	w.done++
	w.due = time.Now().Add(w.steps[w.done].after)
}

// abandon ends work that the device API has canceled or closed. A ReportsLate device now reports
// its result.
func (f *Fleet) abandon(d *device) {
	w := d.work
	last := len(w.steps) - 1
	if last < 0 || !w.steps[last].late {
		f.setWork(d, nil)
		return
	}
	w.done, w.released, w.update = last, true, wire.HandlingForced
	w.due = time.Now()
}

// send reports on an action, twice for a ReportsTwice device.
func (f *Fleet) send(ctx context.Context, d *device, id, href string, status wire.Status) exchange {
	x := f.sendOnce(ctx, d, id, href, status)
	if x.ok() && closes(status) {
		f.emit(Event{Kind: Closed, Device: d.ID, Action: id, Asked: x.asked, At: x.at, Status: status})
	}
	if d.Behavior == ReportsTwice {
		f.sendOnce(ctx, d, id, href, status)
	}
	return x
}

func (f *Fleet) sendOnce(ctx context.Context, d *device, id, href string, status wire.Status) exchange {
	x := f.post(ctx, d, href, status)
	switch {
	case x.ok():
		f.emit(Event{Kind: Reported, Device: d.ID, Action: id, Asked: x.asked, At: x.at, Status: status})
	case x.isRejected():
		f.drop(d, id, x)
	default:
		f.recordFailure(ctx, d, x)
	}
	return x
}

func (f *Fleet) post(ctx context.Context, d *device, href string, status wire.Status) exchange {
	return f.call(ctx, d, http.MethodPost, href, wire.Feedback{Timestamp: wire.TextOfTime(time.Now()), Status: status}, nil)
}

// closes reports whether the report ends its action.
func closes(status wire.Status) bool {
	return status.Execution == wire.ExecutionClosed ||
		status.Execution == wire.ExecutionDownloaded && status.Result.Finished == wire.FinishedSuccess
}

// cancel answers a cancel, as the behavior requires.
func (f *Fleet) cancel(ctx context.Context, d *device, href string) {
	if d.Behavior.neverReports() {
		return
	}
	var asked wire.CancelAction
	x := f.get(ctx, d, href, &asked)
	if !x.ok() {
		f.recordFailure(ctx, d, x)
		return
	}
	stopID := asked.CancelAction.StopID
	if d.refuses(stopID) {
		// RAUC's client sends "success", too, when it rejects a cancel.
		f.answerCancel(ctx, d, href, stopID, CancelRejected,
			report(wire.ExecutionRejected, wire.FinishedSuccess, "Cannot cancel, installation started already."))
		return
	}
	answered := f.answerCancel(ctx, d, href, stopID, Canceled, success("Canceled."))
	if answered && d.work != nil && d.work.id == stopID {
		f.abandon(d)
	}
}

func (d *device) refuses(stopID string) bool {
	switch d.Behavior {
	case RejectsCancel:
		return true
	case FinishesInstall:
		return d.work != nil && d.work.id == stopID && d.work.installs()
	default:
		return false
	}
}

func (f *Fleet) answerCancel(ctx context.Context, d *device, href, id string, kind Kind, status wire.Status) bool {
	x := f.post(ctx, d, feedbackURL(href), status)
	switch {
	case x.ok():
		f.emit(Event{Kind: kind, Device: d.ID, Action: id, Asked: x.asked, At: x.at, Status: status})
	case x.isRejected():
		f.drop(d, id, x)
	default:
		f.recordFailure(ctx, d, x)
	}
	return x.ok()
}

// confirm answers a request for confirmation.
func (f *Fleet) confirm(ctx context.Context, d *device, href string) {
	id := actionIn(href)
	if d.Behavior == Unconfirmed || d.denied == id {
		return
	}
	answer := wire.ConfirmationFeedback{Confirmation: wire.Confirmed}
	if d.Behavior == Denies {
		answer.Confirmation = wire.Denied
	}
	var waiting wire.ConfirmationAction
	x := f.get(ctx, d, href, &waiting)
	if x.ok() {
		x = f.call(ctx, d, http.MethodPost, feedbackURL(href), answer, nil)
	}
	if !x.ok() {
		f.recordFailure(ctx, d, x)
		return
	}
	if d.Behavior == Denies {
		d.denied = id
	}
	f.emit(Event{
		Kind: Confirmed, Device: d.ID, Action: id, Asked: x.asked, At: x.at,
		Message: string(answer.Confirmation),
	})
}

// recordFailure records a failed exchange, unless the fleet is stopping.
func (f *Fleet) recordFailure(ctx context.Context, d *device, x exchange) {
	if ctx.Err() != nil {
		return
	}
	f.emit(Event{Kind: HTTPError, Device: d.ID, Asked: x.asked, At: x.at, Message: x.message()})
}

func (f *Fleet) drop(d *device, id string, x exchange) {
	f.emit(Event{Kind: Dropped, Device: d.ID, Action: id, Asked: x.asked, At: x.at, Message: x.message()})
}

func (f *Fleet) setWork(d *device, w *work) {
	if d.work != nil {
		f.tally.busy.Add(-1)
	}
	if w != nil {
		f.tally.busy.Add(1)
	}
	d.work = w
}

// setInstalled sets what the device runs, independent of its reports.
func (f *Fleet) setInstalled(d *device, software string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.Installed = software
}
