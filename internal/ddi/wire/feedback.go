// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Execution is the stage of an action that a device reports.
type Execution string

// The executions of DDI. Their meaning depends on the resource to which they are reported.
const (
	ExecutionClosed     Execution = "closed"
	ExecutionProceeding Execution = "proceeding"
	ExecutionCanceled   Execution = "canceled"
	ExecutionScheduled  Execution = "scheduled"
	ExecutionRejected   Execution = "rejected"
	ExecutionResumed    Execution = "resumed"
	ExecutionDownload   Execution = "download"
	ExecutionDownloaded Execution = "downloaded"
)

var executions = []Execution{
	ExecutionClosed, ExecutionProceeding, ExecutionCanceled, ExecutionScheduled,
	ExecutionRejected, ExecutionResumed, ExecutionDownload, ExecutionDownloaded,
}

// Finished is the result of an action so far.
type Finished string

const (
	// FinishedSuccess means that the action succeeded.
	FinishedSuccess Finished = "success"
	// FinishedFailure means that the action failed.
	FinishedFailure Finished = "failure"
	// FinishedNone means that the action has no result yet.
	FinishedNone Finished = "none"
)

var finishes = []Finished{FinishedSuccess, FinishedFailure, FinishedNone}

// Feedback is the report of a device on an action or on a cancel (resources 3 and 5).
type Feedback struct {
	// ID and Time are sent by older clients, and have no effect: the path contains the id.
	ID   Text `json:"id,omitempty"`
	Time Text `json:"time,omitempty"`
	// Timestamp is the time of the device, usually in milliseconds since 1970.
	Timestamp Text   `json:"timestamp,omitempty"`
	Status    Status `json:"status"`
}

// Status is the content of a report.
type Status struct {
	Execution Execution `json:"execution"`
	Result    Result    `json:"result"`
	// Code is a result code of the device, usually a number.
	Code    Text    `json:"code,omitempty"`
	Details Details `json:"details,omitempty"`
}

// Result is the result and, while there is none, the progress.
type Result struct {
	Finished Finished  `json:"finished"`
	Progress *Progress `json:"progress,omitempty"`
}

// Progress is a number of steps. Real clients send "1 of 0" and "3 of 1".
type Progress struct {
	Count int `json:"cnt"`
	Of    int `json:"of"`
}

// Percent returns the progress in whole percent. ok is false if the numbers have no meaning.
func (p *Progress) Percent() (int, bool) {
	if p == nil || p.Of <= 0 || p.Count < 0 {
		return 0, false
	}
	if p.Count >= p.Of {
		return 100, true
	}
	return int(float64(p.Count) / float64(p.Of) * 100), true
}

// UnmarshalJSON reads the numbers. A value that is not a number is read as 0, because a report is
// never refused because of its progress.
func (p *Progress) UnmarshalJSON(data []byte) error {
	var counts struct{ Cnt, Of Text }
	*p = Progress{}
	if json.Unmarshal(data, &counts) != nil {
		return nil //nolint:nilerr // progress is not a reason to refuse a report
	}
	p.Count, p.Of = counts.Cnt.integer(), counts.Of.integer()
	return nil
}

// Details are lines of text for people.
type Details []string

// UnmarshalJSON reads a list or a single text. Entries that are not texts are kept as JSON, because
// a report is never refused because of its details.
func (d *Details) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var entries []json.RawMessage
	if json.Unmarshal(data, &entries) != nil {
		entries = []json.RawMessage{data}
	}
	*d = make(Details, 0, len(entries))
	for _, entry := range entries {
		*d = append(*d, plain(entry))
	}
	return nil
}

// DecodeFeedback reads a report. The error names the field that is missing or wrong, and the
// accepted values.
func DecodeFeedback(body []byte) (Feedback, error) {
	var f Feedback
	if err := decode(body, &f); err != nil {
		return Feedback{}, err
	}
	if err := oneOf("status.execution", f.Status.Execution, executions); err != nil {
		return Feedback{}, err
	}
	if err := oneOf("status.result.finished", f.Status.Result.Finished, finishes); err != nil {
		return Feedback{}, err
	}
	return f, nil
}

// ReportedAt returns the time of the report according to the device, if it sent one that can be
// read. Devices often have no correct clock.
func (f Feedback) ReportedAt() (time.Time, bool) {
	for _, text := range []Text{f.Timestamp, f.Time} {
		if t, ok := readTime(string(text)); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

// maxMillis is the last millisecond of the year 9999. Later times cannot be written as JSON.
const maxMillis = 253402300799999

func readTime(text string) (time.Time, bool) {
	for _, layout := range []string{"20060102T150405", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 && ms <= maxMillis {
		return time.UnixMilli(ms).UTC(), true
	}
	return time.Time{}, false
}

func oneOf[T ~string](field string, got T, known []T) error {
	if slices.Contains(known, got) {
		return nil
	}
	words := make([]string, len(known))
	for i, word := range known {
		words[i] = string(word)
	}
	choice := strings.Join(words, ", ")
	if got == "" {
		return fmt.Errorf("%s is missing; send one of %s", field, choice)
	}
	return fmt.Errorf("%s is %q; send one of %s", field, got, choice)
}
