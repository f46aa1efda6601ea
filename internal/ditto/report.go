// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// processed is what was processed of the operations of a feature: the hashes of the last one, and
// of the last one that failed. event is that of the last one.
type processed struct {
	last, lastFailed uint64
	event            action.Event
}

// changes handles a change of the digital twin.
func (r *received) changes(ctx context.Context) error {
	changes, err := r.envelope.Changes()
	if err != nil {
		return deviceapi.BadRequest{Reason: err.Error()}
	}
	if _, err := r.session.featuresOf(ctx); err != nil {
		return err
	}
	if err := r.admit(ctx, r.session.isProgress(changes)); err != nil {
		return err
	}
	if len(changes.Features) == 0 && !changes.ReplacesAll {
		r.metrics.messages.WithLabelValues("other").Inc()
		return nil
	}
	var refused error
	isFirst := changes.ReplacesAll
	for _, c := range changes.Features {
		for _, err := range []error{r.reports(ctx, c), r.inventory(ctx, c, isFirst)} {
			switch {
			case isOurs(err):
				return err
			case refused == nil:
				refused = err
			}
		}
		isFirst = isFirst && c.Removed
	}
	if changes.ReplacesAll {
		if err := r.dropOthers(ctx, changes.Features); err != nil {
			return err
		}
	}
	return refused
}

// isProgress reports whether changes only repeat what the device is doing.
func (session *session) isProgress(changes wire.Changes) bool {
	session.mu.Lock()
	defer session.mu.Unlock()
	for _, c := range changes.Features {
		if c.Removed || c.Replaced || c.Definition != nil || c.ModuleType != nil || c.Installed != nil || c.Context != nil || len(c.Edits) > 0 || c.LastFailed != nil {
			return false
		}
		if c.Last == nil {
			continue
		}
		switch event, _ := action.FromSoftwareUpdatable(c.Last.Status); event {
		case action.Download, action.Install, action.Remove, action.Warn:
			if event != session.processed[c.ID].event && event != action.Warn {
				return false
			}
		default:
			return false
		}
	}
	return !changes.ReplacesAll
}

// reports handles the operations of a feature. A device writes a failure to both of its properties;
// that is one report.
func (r *received) reports(ctx context.Context, c wire.Change) error {
	if c.LastFailed != nil {
		if err := r.report(ctx, c.ID, c.LastFailed, true); err != nil {
			return err
		}
	}
	if c.Last != nil {
		return r.report(ctx, c.ID, c.Last, false)
	}
	return nil
}

// report handles one report. It returns nil for one that has no effect.
func (r *received) report(ctx context.Context, feature string, o *wire.OperationStatus, isFailed bool) error {
	hash := hashOf(operationOf(o))
	if r.session.isProcessed(feature, hash, isFailed) {
		return nil
	}
	r.metrics.messages.WithLabelValues("report").Inc()
	event, known := action.FromSoftwareUpdatable(o.Status)
	id, ok := actionIDOf(o.CorrelationID)
	if ok {
		w, err := r.workOf(ctx, id)
		if err == nil {
			err = r.apply(ctx, w, feature, id, o, event, known)
		}
		if err = ignoring(err, deviceapi.ErrGone, deviceapi.ErrNotFound, deviceapi.ErrNotAllowed, deviceapi.ErrTooMany); err != nil {
			return err
		}
	} else {
		r.note("Ignored a report about a command that Goshawk has not sent", r.session.device, errors.New("its correlationId is "+strconv.Quote(text.LimitBytes(o.CorrelationID, maxText))))
	}
	r.session.setProcessed(feature, hash, isFailed, event)
	return nil
}

// apply passes a report to the backend. w is nil for an action that is not known. Of that, and of
// one that is closed, only results are of interest.
func (r *received) apply(ctx context.Context, w *work, feature string, id int32, o *wire.OperationStatus, event action.Event, known bool) error {
	report := action.Report{ID: id, Event: event, Stage: o.Status, StatusCode: o.StatusCode, Progress: o.Progress, ModuleCount: 1}
	switch {
	case !known && o.Message == "":
		report.Details = []string{"status " + o.Status}
	case !known:
		report.Details = []string{o.Status + ": " + o.Message}
	case o.Message != "":
		report.Details = []string{o.Message}
	}
	isFinal := isResult(event)
	if w == nil {
		if !isFinal {
			return nil
		}
		if o.Module != nil {
			report.Module = o.Module.String()
		}
		return r.session.backend.Report(ctx, r.session.device, report)
	}
	if w.isClosed && !isFinal {
		return nil
	}
	report.ModuleCount = w.count
	names, isOther := w.namesIn(feature, o)
	if isOther {
		report.Event = action.Warn
		return r.session.backend.Report(ctx, r.session.device, report)
	}
	if len(names) > 0 {
		report.Module, report.Modules = names[0], names[1:]
	}
	if event == action.CancelRejected {
		return r.answerCancel(ctx, report)
	}
	if !isFinal {
		if err := r.acknowledge(ctx, w, feature, "the device reported "+o.Status); err != nil {
			return err
		}
	}
	err := retried(ctx, func() error { return r.session.backend.Report(ctx, r.session.device, report) })
	if err == nil {
		r.session.setAcknowledged(w, feature)
	}
	return err
}

// isResult reports whether an event may end an action or a part of it.
func isResult(e action.Event) bool {
	switch e {
	case action.Succeed, action.FinishWithWarning, action.Fail, action.Abandon, action.Removed, action.CancelRejected:
		return true
	default:
		return false
	}
}

// answerCancel passes the refusal of a cancel to the backend. If no cancel is offered, its text is
// recorded.
func (r *received) answerCancel(ctx context.Context, report action.Report) error {
	report.Module, report.Modules = "", nil
	err := retried(ctx, func() error { return r.session.backend.AnswerCancel(ctx, r.session.device, report) })
	if err == nil {
		r.session.mu.Lock()
		if r.session.cancelSent == report.ID {
			r.session.cancelSent = 0 // the cancel for another cause is sent
		}
		r.session.mu.Unlock()
	}
	if !errors.Is(err, deviceapi.ErrNotAllowed) && !errors.Is(err, deviceapi.ErrNotFound) {
		return err
	}
	report.Event = action.Warn
	return r.session.backend.Report(ctx, r.session.device, report)
}

// acknowledge stores that the device has got the command of a part.
func (r *received) acknowledge(ctx context.Context, w *work, feature, message string) error {
	r.session.mu.Lock()
	isStored := w.isAcknowledged
	r.session.mu.Unlock()
	if !isStored {
		if err := retried(ctx, func() error { return r.session.backend.Acknowledge(ctx, r.session.device, w.id, message) }); err != nil {
			return err
		}
	}
	r.session.setAcknowledged(w, feature)
	return nil
}

func (session *session) setAcknowledged(w *work, feature string) {
	session.mu.Lock()
	defer session.mu.Unlock()
	w.isAcknowledged = true
	if p := w.partOf(feature); p != nil {
		p.isAcknowledged = true
	}
}

// workOf returns the work of an action, or nil if the action is not known.
func (r *received) workOf(ctx context.Context, id int32) (*work, error) {
	r.session.mu.Lock()
	present := r.session.work
	r.session.mu.Unlock()
	if present != nil && present.id == id {
		return present, nil
	}
	d, err := r.session.backend.Command(ctx, r.session.device, id)
	if errors.Is(err, deviceapi.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	features, err := r.session.featuresOf(ctx)
	if err != nil {
		return nil, err
	}
	w, _ := divide(d, features)
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	if present = r.session.work; present != nil && present.id == id {
		return present, nil
	}
	w.resume(nil)
	if present == nil || present.id < id {
		r.session.work = w
	}
	return w, nil
}

// namesIn returns the names of the modules, or of the entries of a removal, that a report of a
// feature is about; none: all of the action. isOther means that it is only about others.
func (w *work) namesIn(feature string, o *wire.OperationStatus) (names []string, isOther bool) {
	if w.isRemoval && len(o.Software) > 0 {
		meant := map[int]bool{}
		for _, d := range o.Software {
			if at := w.entryOf(d); at >= 0 {
				meant[at] = true
			}
		}
		for _, at := range slices.Sorted(maps.Keys(meant)) {
			names = append(names, softwareName(w.remove[at]))
		}
		return names, len(names) == 0
	}
	if !w.isRemoval && o.Module != nil {
		return []string{w.moduleNamed(feature, *o.Module)}, false
	}
	if p := w.partOf(feature); p != nil && len(w.parts) > 1 {
		return p.names(), false
	}
	return nil, false
}

// entryOf returns the index of the entry of a removal that a device means, or -1. Some devices
// leave the group or the version out.
func (w *work) entryOf(d wire.Dependency) int {
	found := -1
	for i, entry := range w.remove {
		switch {
		case d.Name != entry.Name, d.Group != "" && d.Group != entry.Group, d.Version != "" && d.Version != entry.Version:
			continue
		case d.Group == entry.Group && d.Version == entry.Version:
			return i
		case found >= 0:
			found = len(w.remove)
		default:
			found = i
		}
	}
	if found == len(w.remove) { // several
		return -1
	}
	return found
}

// moduleNamed returns the name of the module that a device means. Some devices leave the version
// out.
func (w *work) moduleNamed(feature string, m wire.ModuleID) string {
	if p := w.partOf(feature); p != nil && m.Version == "" {
		same := slices.DeleteFunc(slices.Clone(p.modules), func(other deviceapi.Module) bool { return other.Name != m.Name })
		if len(same) == 1 {
			return moduleName(same[0])
		}
	}
	return m.String()
}

// inventory passes what a device reports about a feature to the backend. isFirst means that it
// replaces all features.
func (r *received) inventory(ctx context.Context, c wire.Change, isFirst bool) error {
	if c.Removed {
		return r.remove(ctx, c.ID)
	}
	f, isNew, err := r.session.setFeature(c)
	if err != nil {
		return err
	}
	if f == nil {
		return nil // a report of a feature that the device has not described
	}
	i := deviceapi.Inventory{
		Feature:   deviceapi.Feature{ID: f.id, SoftwareModuleType: f.moduleType, Definition: f.definition},
		Installed: softwareOf(c.Installed), Context: softwareOf(c.Context), ReplacesAll: isFirst,
	}
	if c.Last != nil {
		i.Feature.LastOperation = operationOf(c.Last)
	}
	if c.LastFailed != nil {
		i.Feature.LastFailedOperation = operationOf(c.LastFailed)
	}
	for _, e := range c.Edits {
		i.Edits = append(i.Edits, deviceapi.SoftwareEdit{Context: e.IsContext, Removed: e.Removed, Software: deviceapi.Software(e.Dependency)})
	}
	if c.Replaced || isNew || i.Installed != nil || i.Context != nil {
		r.metrics.messages.WithLabelValues("feature").Inc()
	}
	err = retried(ctx, func() error { return r.session.backend.Inventory(ctx, r.session.device, i) })
	if c.Replaced || isNew {
		r.session.activate(time.Now())
		r.queue.add(r.session)
	}
	return err
}

// remove removes a feature of the device.
func (r *received) remove(ctx context.Context, id string) error {
	r.session.mu.Lock()
	r.session.features = slices.DeleteFunc(slices.Clone(r.session.features), func(f feature) bool { return f.id == id })
	r.session.mu.Unlock()
	return r.session.backend.Inventory(ctx, r.session.device, deviceapi.Inventory{Feature: deviceapi.Feature{ID: id}, Removed: true})
}

// dropOthers removes the features that are not among those of the device.
func (r *received) dropOthers(ctx context.Context, present []wire.Change) error {
	features, err := r.session.featuresOf(ctx)
	if err != nil {
		return err
	}
	for _, f := range features {
		if slices.ContainsFunc(present, func(c wire.Change) bool { return c.ID == f.id && !c.Removed }) {
			continue
		}
		if err := r.remove(ctx, f.id); err != nil {
			return err
		}
	}
	return nil
}

// setFeature stores a change of a feature, and returns the feature, or nil if the device has not
// described it. isNew means that it serves another type now.
func (session *session) setFeature(c wire.Change) (changed *feature, isNew bool, err error) {
	session.mu.Lock()
	defer session.mu.Unlock()
	at, found := slices.BinarySearchFunc(session.features, c.ID, func(f feature, id string) int { return cmp.Compare(f.id, id) })
	switch {
	case !found && c.ModuleType == nil && c.Definition == nil:
		return nil, false, nil
	case !found && len(session.features) >= wire.MaxFeatures:
		return nil, false, deviceapi.BadRequest{Reason: fmt.Sprintf("the device has more than %d features of SoftwareUpdatable", wire.MaxFeatures)}
	}
	f := feature{id: strings.Clone(c.ID)}
	if found {
		f = session.features[at]
	}
	before := f
	if c.ModuleType != nil {
		f.moduleType = *c.ModuleType
	}
	if c.Definition != nil {
		f.definition = *c.Definition
	}
	features := slices.Clone(session.features)
	if found {
		features[at] = f
	} else {
		features = slices.Insert(features, at, f)
	}
	session.features = features
	return &f, !found || f != before, nil
}

func softwareOf(list []wire.Dependency) []deviceapi.Software {
	if list == nil {
		return nil
	}
	software := make([]deviceapi.Software, 0, len(list))
	for _, d := range list {
		software = append(software, deviceapi.Software(d))
	}
	return software
}

func operationOf(o *wire.OperationStatus) *deviceapi.Operation {
	made := &deviceapi.Operation{CorrelationID: o.CorrelationID, Status: o.Status, Message: o.Message, StatusCode: o.StatusCode, Progress: o.Progress, Software: softwareOf(o.Software)}
	if o.Module != nil {
		made.Module = o.Module.String()
	}
	return made
}

// hashOf returns a hash of an operation, which is 0 for nil. That of a result does not depend on
// its message.
func hashOf(o *deviceapi.Operation) uint64 {
	if o == nil {
		return 0
	}
	h := fnv.New64a()
	progress, message := int32(-1), o.Message
	if o.Progress != nil {
		progress = *o.Progress
	}
	if event, _ := action.FromSoftwareUpdatable(o.Status); isResult(event) {
		message = "" // it is stored in a shorter form
	}
	fmt.Fprintf(h, "%q %q %q %q %d %q %q", o.CorrelationID, o.Status, message, o.StatusCode, progress, o.Module, o.Software)
	return max(h.Sum64(), 1)
}

// isProcessed reports whether an operation was processed already: a device reports the same one as
// its last one and as its last failed one, and again each time that it connects.
func (session *session) isProcessed(feature string, hash uint64, isFailed bool) bool {
	session.mu.Lock()
	defer session.mu.Unlock()
	p := session.processed[feature]
	return hash == p.last || isFailed && hash == p.lastFailed
}

func (session *session) setProcessed(feature string, hash uint64, isFailed bool, event action.Event) {
	session.mu.Lock()
	defer session.mu.Unlock()
	p, known := session.processed[feature]
	if !known && len(session.processed) >= wire.MaxFeatures {
		return
	}
	if p.last, p.event = hash, event; isFailed {
		p.lastFailed = hash
	}
	if session.processed == nil {
		session.processed = map[string]processed{}
	}
	session.processed[strings.Clone(feature)] = p
}

// remember takes the stored operations of a feature for processed. The caller holds the lock.
func (session *session) remember(f deviceapi.Feature) {
	if f.LastOperation == nil && f.LastFailedOperation == nil {
		return
	}
	if session.processed == nil {
		session.processed = map[string]processed{}
	}
	session.processed[f.ID] = processed{last: hashOf(f.LastOperation), lastFailed: hashOf(f.LastFailedOperation)}
}

// countResponse counts a response to a command. A device may send any word as the operation, and
// only those of commands are counted.
func (r *received) countResponse(operation string, status int) {
	if !slices.Contains([]string{wire.Install, wire.Download, wire.Remove, wire.Cancel, wire.CancelRemove}, operation) {
		return
	}
	result := "refused"
	switch {
	case status < http.StatusBadRequest:
		result = "accepted"
	case isTemporary(status):
		result = "busy"
	}
	r.metrics.responses.WithLabelValues(operation, result).Inc()
}

// response handles the response of a device to a command.
func (r *received) response(ctx context.Context, topic wire.Topic) error {
	id, operation, at, ok := parseRequestID(topic.RequestID)
	if !ok {
		id, operation, at, ok = parseRequestID(r.envelope.Headers.CorrelationID)
	}
	if !ok {
		return deviceapi.BadRequest{Reason: "the id of the request in the topic is not one of Goshawk"}
	}
	if err := r.admit(ctx, false); err != nil {
		return err
	}
	r.metrics.messages.WithLabelValues("response").Inc()
	r.countResponse(operation, topic.Status)
	if isTemporary(topic.Status) {
		r.note("A device cannot take a command now; it is sent again at its next connection", r.session.device, fmt.Errorf("status %d", topic.Status))
		return nil
	}
	w, err := r.workOf(ctx, id)
	if err != nil || w == nil {
		return err
	}
	feature := r.feature
	if w.partOf(feature) == nil && at >= 0 && at < len(w.parts) {
		feature = w.parts[at].feature
	}
	isAccepted := topic.Status < http.StatusBadRequest
	switch operation {
	case wire.Install, wire.Download, wire.Remove:
		if isAccepted {
			err = r.acknowledge(ctx, w, feature, "the device accepted the command "+operation)
		} else {
			err = r.refused(ctx, w, feature, topic.Status)
		}
	case wire.Cancel, wire.CancelRemove:
		if !isAccepted {
			report := r.refusal(topic.Status)
			report.ID, report.Event, report.ModuleCount = id, action.CancelRejected, w.count
			err = r.answerCancel(ctx, report)
		}
	default:
		return deviceapi.BadRequest{Reason: "the id of the request in the topic is not one of Goshawk"}
	}
	return ignoring(err, deviceapi.ErrGone, deviceapi.ErrNotFound, deviceapi.ErrNotAllowed, deviceapi.ErrTooMany)
}

// isTemporary reports whether the status of a response says that the device can take the command
// later.
func isTemporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// refusal returns a report with what the device says about a command that it refuses. It is one
// line, so that the failure of the action has the text of the device as well as the status.
func (r *received) refusal(status int) action.Report {
	e := wire.DecodeError(r.envelope.Value)
	line := fmt.Sprintf("the device refused the command with status %d", status)
	if says := slices.DeleteFunc([]string{e.Message, e.Description}, func(s string) bool { return s == "" }); len(says) > 0 {
		line += ": " + strings.Join(says, "; ")
	}
	return action.Report{StatusCode: cmp.Or(e.Code, strconv.Itoa(status)), Details: []string{line}}
}

// refused reports the failure of the part that the device refuses.
func (r *received) refused(ctx context.Context, w *work, feature string, status int) error {
	report := r.refusal(status)
	report.ID, report.Event, report.ModuleCount = w.id, action.Fail, w.count
	if p := w.partOf(feature); p != nil && len(w.parts) > 1 {
		if names := p.names(); len(names) > 0 {
			report.Module, report.Modules = names[0], names[1:]
		}
	}
	err := retried(ctx, func() error { return r.session.backend.Report(ctx, r.session.device, report) })
	if err == nil {
		r.session.setAcknowledged(w, feature)
	}
	return err
}

// redeliver sends all commands of open actions again, because the device has lost them.
func (r *received) redeliver(ctx context.Context, why wire.Redelivery) error {
	state, err := r.session.backend.State(ctx, r.session.device, "")
	if err != nil {
		return err
	}
	if state.CancelID != 0 && why.FinishCancelActions {
		report := action.Report{ID: state.CancelID, Event: action.CancelAccepted, ModuleCount: 1, Details: []string{"the device has lost its commands: " + cmp.Or(why.Message, "no reason given")}}
		err := retried(ctx, func() error { return r.session.backend.AnswerCancel(ctx, r.session.device, report) })
		if err = ignoring(err, deviceapi.ErrNotAllowed, deviceapi.ErrNotFound, deviceapi.ErrGone); err != nil {
			return err
		}
	}
	r.session.mu.Lock()
	r.session.mustRedeliver, r.session.quietUntil, r.session.cancelSent = true, time.Time{}, 0
	r.session.mu.Unlock()
	r.queue.add(r.session)
	return nil
}

// retried calls the backend again while it is unavailable, for a few seconds. A message whose
// handling fails after that is not acknowledged.
func retried(ctx context.Context, call func() error) (err error) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err = call()
		if err == nil || wait > 2*time.Second || !errors.Is(err, deviceapi.ErrConflict) && !isUnavailable(err) {
			return err
		}
		if sleep(ctx, wait) != nil {
			return err
		}
	}
}

func isUnavailable(err error) bool {
	_, ok := errors.AsType[deviceapi.Unavailable](err)
	return ok
}
