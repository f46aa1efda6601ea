// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// feedback takes a report, translated for the backend. An intermediate report with too many details
// is refused. A result is accepted without the details that are too many.
func feedback(translate func(int32, wire.Feedback) action.Report, take func(deviceapi.Backend, context.Context, deviceapi.Device, action.Report) error) handler {
	return func(v *visit) (answer, error) {
		id, err := v.actionID()
		if err != nil {
			return answer{}, err
		}
		report, isWhole, err := readResult(v, wire.DecodeFeedback, isResult)
		if err != nil {
			return answer{}, err
		}
		if len(report.Status.Details) > maxDetails && !isResult(report) {
			return answer{}, tooManyDetails
		}
		report.Status.Details = limited(report.Status.Details, isWhole)
		return done, take(v.backend, v.Context(), v.device, translate(id, report))
	}
}

// readResult reads a body of at most maxBody or, for a result, of at most maxResult. Results are
// not refused because of their size: of a larger one the start is used if it contains the result,
// and isWhole is false. Beyond the rate of the device only results are accepted.
func readResult[T any](v *visit, decode func([]byte) (T, error), isResult func(T) bool) (document T, isWhole bool, err error) {
	if err := v.checkContent(maxPast); err != nil {
		return document, false, err
	}
	body, err := v.readBody(maxBody)
	switch {
	case err != nil:
		return document, false, err
	case len(body) <= maxBody:
		document, err = decoded(v, body, decode)
		isWhole = true
	default:
		document, isWhole, err = readLarge(v, body, decode)
		if err == nil && !isResult(document) {
			err = tooLarge
		}
		if errors.Is(err, tooLarge) || errors.Is(err, cutResult) {
			v.noteTooLarge()
		}
	}
	if err == nil && v.beyondRate != nil && (!isResult(document) || !v.limits.AdmitResult(v.device, v.gatewayToken, v.now)) {
		err = v.beyondRate
	}
	return document, isWhole, err
}

// readLarge continues to read a body larger than maxBody. If it cannot be decoded, it is too large.
func readLarge[T any](v *visit, body []byte, decode func([]byte) (T, error)) (document T, isWhole bool, err error) {
	release, err := v.limits.takeLarge(v.device, v.Context().Done())
	if err != nil {
		return document, false, err
	}
	defer release()
	rest, err := v.readBody(maxResult - len(body))
	if err != nil {
		return document, false, err
	}
	body = append(body, rest...)
	if len(body) <= maxResult {
		if document, err = decoded(v, body, decode); err != nil {
			err = tooLarge
		}
		return document, true, err
	}
	if v.sentType() == wire.CBORMediaType { // the start of a CBOR document is none
		return document, false, cutResult
	}
	if document, err = decode(wire.Salvage(body[:maxResult])); err != nil {
		return document, false, cutResult
	}
	_, _ = io.CopyN(io.Discard, v.Body, maxPast-maxResult) // a client that is still writing would not read the response
	return document, false, nil
}

// takeLarge waits for room for a large body, because all large bodies together must fit into
// memory. Each device has at most one at a time, so that a single device cannot take all the room
// by sending slowly.
func (l *limits) takeLarge(device deviceapi.Device, gone <-chan struct{}) (release func(), err error) {
	l.entering.Lock()
	isSecond := l.readsLarge[device]
	l.readsLarge[device] = true
	l.entering.Unlock()
	if isSecond {
		return nil, secondLarge
	}
	leave := func() {
		l.entering.Lock()
		defer l.entering.Unlock()
		delete(l.readsLarge, device)
	}
	if done := l.large.Enter(device.Namespace, gone, time.After(largeWait)); done != nil {
		return func() { done(); leave() }, nil
	}
	leave()
	select {
	case <-gone:
		return nil, clientGone
	default:
		return nil, deviceapi.ErrGlobalRate
	}
}

// intermediates are executions of reports that may be lost without losing a result.
var intermediates = []wire.Execution{
	wire.ExecutionProceeding, wire.ExecutionScheduled, wire.ExecutionResumed, wire.ExecutionDownload,
}

// isResult reports whether a report must not be lost.
func isResult(f wire.Feedback) bool { return !slices.Contains(intermediates, f.Status.Execution) }

const (
	// maxDetails is hawkBit's quota of messages in one report.
	maxDetails = 50
	// restWasCut is the last detail of a result that is larger than maxResult.
	restWasCut = "[… the report is larger than 1 MiB, and the rest of it was cut …]"
)

// limited keeps the first and the last of too many details of a result, and says in between how
// many were cut. isWhole is false if the result itself was cut, which is its last detail then.
func limited(details wire.Details, isWhole bool) wire.Details {
	if !isWhole {
		details = append(details, restWasCut)
	}
	if len(details) <= maxDetails {
		return details
	}
	const first, last = maxDetails / 2, maxDetails/2 - 1
	cut := fmt.Sprintf("[… %d details were cut …]", len(details)-first-last)
	return slices.Concat(details[:first], wire.Details{cut}, details[len(details)-last:])
}

// ReportOf translates feedback on deploymentBase.
func ReportOf(id int32, f wire.Feedback) action.Report {
	return reportOf(id, action.FromDDI(string(f.Status.Execution), string(f.Status.Result.Finished)), f.Status)
}

// CancelReportOf translates feedback on cancelAction.
func CancelReportOf(id int32, f wire.Feedback) action.Report {
	return reportOf(id, action.FromDDICancel(string(f.Status.Execution), string(f.Status.Result.Finished)), f.Status)
}

func reportOf(id int32, e action.Event, s wire.Status) action.Report {
	r := action.Report{ID: id, Event: e, Stage: string(s.Execution), StatusCode: string(s.Code), Details: s.Details}
	if percent, ok := s.Result.Progress.Percent(); ok {
		p := int32(percent)
		r.Progress = &p
	}
	return r
}

// ConfirmationReportOf translates feedback on confirmationBase.
func ConfirmationReportOf(id int32, f wire.ConfirmationFeedback) action.Report {
	e := action.Deny
	if f.Confirmation == wire.Confirmed {
		e = action.Confirm
	}
	return action.Report{ID: id, Event: e, Stage: string(f.Confirmation), StatusCode: string(f.Code), Details: f.Details}
}

// attributesOf translates a configData document.
func attributesOf(d wire.ConfigData) deviceapi.Attributes {
	a := deviceapi.Attributes{Mode: deviceapi.MergeAttributes, Values: d.Data}
	switch d.Mode {
	case wire.ModeReplace:
		a.Mode = deviceapi.ReplaceAttributes
	case wire.ModeRemove:
		a.Mode = deviceapi.RemoveAttributes
	case wire.ModeMerge: // the default
	}
	return a
}
