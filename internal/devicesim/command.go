// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	ddi "github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/devicesim/mqtt"
	ditto "github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// maxJobs is the number of commands that wait at a device.
const maxJobs = 16

// received handles a message to the device. It does not wait for the broker, because it is called
// by the goroutine that reads.
func (a *agent) received(message mqtt.Message, identity chan ditto.Identity) {
	if message.Topic == ditto.IdentityResponse {
		var is ditto.Identity
		if json.Unmarshal(message.Payload, &is) == nil {
			select {
			case identity <- is:
			default:
			}
		}
		return
	}
	request, isCommand := ditto.ParseRequest(message.Topic)
	if !isCommand {
		return
	}
	envelope, err := ditto.DecodeEnvelope(message.Payload)
	if err != nil {
		return
	}
	featureID, _, ok := envelope.MessageOf()
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.unlock()
	if envelope.Topic.Namespace != a.namespace || envelope.Topic.Name != a.name {
		return // it is for another device
	}
	if a.Behavior == NoResponse {
		return
	}
	refusal := a.command(featureID, request.Subject, envelope.Value)
	if isCancel := request.Subject == ditto.Cancel || request.Subject == ditto.CancelRemove; isCancel && (a.Behavior == IgnoresCancel || a.Behavior.neverReports()) || !envelope.Headers.ResponseRequired {
		return
	}
	a.respond(request, envelope, refusal)
	if a.Behavior == Vanishes && refusal == nil && a.client != nil {
		a.isAway = true
		a.client.Abort()
	}
}

// respond answers a command.
func (a *agent) respond(request ditto.Request, envelope ditto.Envelope, refusal *ditto.Error) {
	status := 204
	reply, err := envelope.Reply(status, nil)
	if refusal != nil {
		status = refusal.Status
		reply, err = envelope.Refuse(*refusal)
	}
	if err != nil || a.client == nil {
		return
	}
	if payload, err := reply.Encode(); err == nil {
		_ = a.client.Post(mqtt.Message{Topic: request.ResponseTopic(status), Payload: payload}) // if it is lost, the command comes again
	}
}

// command accepts a command, or returns why not.
func (a *agent) command(featureID, subject string, value json.RawMessage) *ditto.Error {
	moduleType, ok := a.moduleType(featureID)
	if !ok {
		return &ditto.Error{Status: 404, Code: ditto.CodeSubjectNotFound, Message: "there is no feature " + featureID}
	}
	j, err := readJob(featureID, subject, value)
	switch {
	case err != nil:
		return &ditto.Error{Status: 400, Code: ditto.CodeWrongParameter, Message: err.Error()}
	case a.Behavior == RefusesCommands:
		return &ditto.Error{Status: 400, Code: ditto.CodeWrongParameter, Message: "This device refuses commands."}
	case subject == ditto.Cancel || subject == ditto.CancelRemove:
		a.cancel(j)
		return nil
	case len(a.queue) >= maxJobs:
		return &ditto.Error{Status: 429, Code: ditto.CodeTooMany, Message: "too many commands wait"}
	}
	a.accept(j, moduleType)
	return nil
}

func readJob(featureID, subject string, value json.RawMessage) (*job, error) {
	j := &job{subject: subject, featureID: featureID, finals: map[string]ditto.OperationStatus{}}
	switch subject {
	case ditto.Install, ditto.Download, ditto.Cancel:
		update, err := ditto.DecodeUpdateAction(value)
		if err != nil {
			return nil, err
		}
		j.id, j.modules, j.forced = update.CorrelationID, update.Modules, update.Forced
		if update.Weight != nil {
			j.weight = *update.Weight
		}
	case ditto.Remove, ditto.CancelRemove:
		removal, err := ditto.DecodeRemoveAction(value)
		if err != nil {
			return nil, err
		}
		j.id, j.software, j.forced = removal.CorrelationID, removal.Software, removal.Forced
		if removal.Weight != nil {
			j.weight = *removal.Weight
		}
	default:
		return nil, fmt.Errorf("there is no operation %s", subject)
	}
	if j.entries() == 0 && subject != ditto.Cancel && subject != ditto.CancelRemove {
		return nil, errors.New("the command names no software")
	}
	return j, nil
}

// isSame reports whether two jobs are the same action of the same feature.
func (j *job) isSame(o *job) bool { return o != nil && j.id == o.id && j.featureID == o.featureID }

// accept queues a job. One that was accepted before is not queued again: if it has ended, its
// results are reported once more.
func (a *agent) accept(j *job, moduleType string) {
	if j.isSame(a.job) || slices.ContainsFunc(a.queue, j.isSame) {
		return
	}
	if i := slices.IndexFunc(a.closed, j.isSame); i >= 0 {
		again := a.closed[i]
		a.closed = slices.Delete(a.closed, i, i+1)
		again.steps = slices.DeleteFunc(again.steps, func(s operationStep) bool { return !s.isFinal() })
		again.done = 0
		a.enqueue(again)
		return
	}
	software := j.names(moduleType)
	if key := join(software); key != a.tried {
		a.tried, a.tries = key, 0
	}
	a.tries++
	config := a.fleet.config
	j.steps = j.plan(a.Behavior, scriptOptions{
		stepTime: config.StepTime, steps: config.Steps, failCode: cmp.Or(a.FailCode, config.FailCode),
		fails: a.Behavior == Flaky && a.tries <= config.FlakyFailures, downloadOnly: j.subject == ditto.Download,
	})
	if !a.knows(j.id) { // the command for another feature was noted
		a.note(Event{Kind: Started, Action: j.id, Software: software})
	}
	if a.Behavior == ReportsLate && a.job != nil {
		a.job.released = true
	}
	a.enqueue(j)
}

// knows reports whether the device has a job of this action.
func (a *agent) knows(id string) bool {
	isOf := func(j *job) bool { return j.id == id }
	return a.job != nil && isOf(a.job) || slices.ContainsFunc(a.queue, isOf) || slices.ContainsFunc(a.closed, isOf)
}

// enqueue starts a job, or queues it: forced ones first, then those with a greater weight. A device
// that never reports forgets its job for a new one.
func (a *agent) enqueue(j *job) {
	a.queue = append(a.queue, j)
	slices.SortStableFunc(a.queue, func(x, y *job) int {
		if x.forced != y.forced && y.forced {
			return 1
		} else if x.forced != y.forced {
			return -1
		}
		return cmp.Compare(y.weight, x.weight)
	})
	if a.job != nil && len(a.job.steps) == 0 {
		a.endJob()
	}
	a.proceed()
}

// cancel does with a cancel what the behavior requires.
func (a *agent) cancel(asked *job) {
	if a.Behavior == IgnoresCancel || a.Behavior.neverReports() {
		return
	}
	if i := slices.IndexFunc(a.queue, asked.isSame); i >= 0 {
		waiting := a.queue[i]
		waiting.steps, waiting.done = waiting.cancellation(a.Behavior, 0, nil), 0
		a.proceed()
		return
	}
	j := a.job
	if !asked.isSame(j) {
		if slices.ContainsFunc(a.closed, asked.isSame) {
			return // its result has been reported
		}
		if asked.subject = ditto.Install; len(asked.software) > 0 {
			asked.subject = ditto.Remove
		}
		asked.steps = asked.cancellation(a.Behavior, 0, nil)
		if len(asked.steps) > 0 {
			a.enqueue(asked)
		}
		return
	}
	a.next.stop()
	keep := j.done
	var present *operationStep
	if a.isBusy {
		present = &j.steps[j.done]
		keep++
	}
	switch {
	case a.Behavior == ReportsLate:
		j.released = true
	case a.Behavior == RejectsCancel, a.Behavior == FinishesInstall && j.isInstalling():
		if keep < len(j.steps) {
			entry := j.steps[keep].entry
			j.steps = slices.Insert(j.steps, keep, operationStep{entry: entry, status: j.status(entry, ditto.CancelRejected, "Cannot cancel, installation started already.")})
		}
	default:
		j.steps = append(j.steps[:keep:keep], j.cancellation(a.Behavior, a.fleet.config.StepTime, present)...)
	}
	a.proceed()
}

// proceed starts the next job, if none is present, and waits for its next step, unless that waits
// for something else.
func (a *agent) proceed() {
	if a.isBusy || a.client == nil {
		return
	}
	if a.job == nil && len(a.queue) > 0 {
		a.job, a.queue = a.queue[0], a.queue[1:]
		a.fleet.tally.busy.Add(1)
	}
	j := a.job
	if j == nil || j.done >= len(j.steps) || j.steps[j.done].late && !j.released {
		return
	}
	a.next.stop()
	a.next = a.fleet.after(j.steps[j.done].after, a.step)
}

// step executes the next step. After a failure it is executed again on the next connection.
func (a *agent) step(ctx context.Context) {
	a.mu.Lock()
	j, client := a.job, a.client
	if a.isBusy || j == nil || client == nil || j.done >= len(j.steps) {
		a.mu.Unlock()
		return
	}
	a.isBusy = true
	now := j.steps[j.done]
	a.mu.Unlock()

	err := a.fetch(ctx, j, now)
	if err == nil {
		err = a.execute(ctx, client, j, now)
	}
	a.mu.Lock()
	defer a.unlock()
	a.isBusy = false
	failedDownload := new(downloadError)
	switch {
	case a.job != j || ctx.Err() != nil: // restarted
	case errors.As(err, &failedDownload):
		j.fail(now.entry, failedDownload.Error(), cmp.Or(a.FailCode, a.fleet.config.FailCode))
	case err != nil:
		client.Abort() // it connects again and repeats the step
		return
	default:
		a.finish(j, now)
	}
	a.proceed()
}

// downloadError becomes the result of a module.
type downloadError struct{ error }

// fail ends an entry with a failure in place of its remaining steps.
func (j *job) fail(entry int, message, code string) {
	rest := slices.DeleteFunc(slices.Clone(j.steps[j.done:]), func(s operationStep) bool { return s.entry == entry })
	j.steps = slices.Concat(j.steps[:j.done], []operationStep{j.failure(scriptOptions{failCode: code}, entry, 0, installing, message)}, rest)
}

// fetch downloads what the step needs.
func (a *agent) fetch(ctx context.Context, j *job, now operationStep) error {
	if !now.fetch || !a.fleet.config.FetchArtifacts {
		return nil
	}
	for _, artifact := range j.modules[now.entry].Artifacts {
		asked := time.Now()
		link := artifact.Download["HTTPS"].URL
		if link == "" {
			link = artifact.Download["HTTP"].URL
		}
		size, err := a.fleet.fetch(ctx, &device{Device: a.Device}, ddi.Artifact{
			Filename: artifact.FileName, Size: artifact.Size,
			Hashes: ddi.Hashes{SHA256: artifact.Checksums["SHA256"], SHA1: artifact.Checksums["SHA1"]},
			Links:  ddi.ArtifactLinks{Download: ddi.Link{Href: link}},
		})
		a.fleet.tally.bytes.Add(size)
		if err != nil {
			return &downloadError{fmt.Errorf("download of %s: %w", artifact.FileName, err)}
		}
		a.fleet.emit(Event{Kind: Downloaded, Device: a.ID, Action: j.id, Asked: asked, At: time.Now(), Message: fmt.Sprintf("%s, %d bytes", artifact.FileName, size)})
	}
	return nil
}

// execute changes the software and sends the reports of a step.
func (a *agent) execute(ctx context.Context, client *mqtt.Client, j *job, now operationStep) error {
	ctx, cancel := context.WithTimeout(ctx, a.fleet.config.RequestTimeout)
	defer cancel()
	a.mu.Lock()
	moduleType, _ := a.moduleType(j.featureID)
	switch {
	case now.installs:
		module := j.modules[now.entry].Module
		a.setSoftware(ditto.Dependency{Group: group, Name: module.Name, Version: module.Version, Type: moduleType})
	case now.removes:
		a.removeSoftware(j.software[now.entry])
	}
	installed := ditto.DependencyMap(a.softwareOf(moduleType))
	twice := a.Behavior == ReportsTwice
	a.mu.Unlock()

	properties := []string{"lastOperation"}
	switch now.status.Status {
	case ditto.FinishedError, ditto.FinishedRejected, ditto.FinishedWarning:
		properties = []string{"lastFailedOperation", "lastOperation"}
	}
	if twice {
		properties = append(properties, properties...)
	}
	for _, property := range properties {
		asked := time.Now()
		if err := a.report(ctx, client, j.featureID, property, now.status); err != nil {
			return err
		}
		if property == "lastOperation" {
			a.fleet.emit(Event{Kind: Reported, Device: a.ID, Action: j.id, Asked: asked, At: time.Now(), Operation: now.status})
		}
	}
	if now.installs || now.removes {
		return a.report(ctx, client, j.featureID, "installedDependencies", installed)
	}
	return nil
}

func (a *agent) report(ctx context.Context, client *mqtt.Client, featureID, property string, value any) error {
	a.mu.Lock()
	envelope, err := ditto.ModifyProperty(a.namespace, a.name, featureID, property, value)
	a.mu.Unlock()
	return a.publish(ctx, client, envelope, err)
}

// finish records that a step is done, and ends the job with its last one.
func (a *agent) finish(j *job, now operationStep) {
	j.done++
	event := Event{Action: j.id, Operation: now.status}
	switch {
	case now.status.Status == ditto.CancelRejected:
		event.Kind = CancelRejected
		a.note(event)
	case now.isFinal():
		j.finals[j.name(now.entry)] = now.status
	}
	if j.done < len(j.steps) {
		return
	}
	a.closed = append(a.closed, j)
	if !slices.ContainsFunc(a.queue, func(o *job) bool { return o.id == j.id }) {
		event.Kind, event.Status, event.Operation = a.outcome(j.id)
		a.note(event)
	}
	if len(a.closed) > memory {
		a.closed = slices.Delete(a.closed, 0, len(a.closed)-memory)
	}
	a.endJob()
}

// outcome returns the result of all closed jobs of an action: Closed or Canceled, as DDI and
// SoftwareUpdatable express it.
func (a *agent) outcome(id string) (Kind, ddi.Status, ditto.OperationStatus) {
	isCanceled := false
	var last ditto.OperationStatus
	for _, j := range a.closed {
		if j.id != id {
			continue
		}
		for entry := range j.entries() {
			last = j.finals[j.name(entry)]
			switch last.Status {
			case ditto.FinishedError, ditto.FinishedRejected:
				return Closed, failure(last.StatusCode, last.Message), last
			case ditto.FinishedCanceled:
				isCanceled = true
			}
		}
	}
	if isCanceled {
		return Canceled, success("Canceled."), last
	}
	return Closed, success(last.Message), last
}

// endJob ends the present job.
func (a *agent) endJob() {
	if a.job != nil {
		a.fleet.tally.busy.Add(-1)
		a.job = nil
	}
}
