// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// maxMessages is the maximum number of lines of a device in an action, and of one report in
	// addition to its most specific one.
	maxMessages = 5
	// maxLine is the maximum length of each line, and of a failure message.
	maxLine = 256
)

// Condense returns a report whose texts are cleaned, shortened and without credentials, and that
// has at most as many lines as an action keeps: the last ones, and before them the one that
// describes an error best. Such a report is small enough to be buffered. Apply condenses a report
// that is not condensed yet.
func Condense(r Report) Report {
	if r.condensed {
		return r
	}
	r.condensed = true
	r.inconsistent = saysInconsistent(r)
	r.Stage = text.Clean(r.Stage, maxWord)
	r.StatusCode = deviceCode(r.StatusCode)
	r.Module = moduleName(r.Module)
	r.Modules = slices.Clone(r.Modules[:min(len(r.Modules), maxModules)])
	for i, name := range r.Modules {
		r.Modules[i] = moduleName(name)
	}
	r.Details, r.message = condensed(r.Details)
	return r
}

// names returns the names of the parts of the action that the report is about.
func (r Report) names() []string {
	if r.Module == "" {
		return r.Modules
	}
	return append([]string{r.Module}, r.Modules...)
}

// Size returns the size of the texts of a report in bytes.
func (r Report) Size() int {
	n := len(r.Stage) + len(r.StatusCode) + len(r.Module) + len(r.message)
	for _, name := range r.Modules {
		n += len(name)
	}
	for _, line := range r.Details {
		n += len(line)
	}
	return n
}

// condensed returns the lines of a report that are kept, and all lines as one shortened line.
func condensed(details []string) (kept []string, message string) {
	var lines, said []string
	for _, detail := range details {
		var words []string
		for line := range strings.FieldsFuncSeq(detail, isLineEnd) {
			if line = text.Clean(text.Redact(text.Clean(line, 0)), 0); line != "" {
				words = append(words, line)
				lines = append(lines, text.Clean(line, maxMessage))
			}
		}
		said = append(said, strings.Join(words, " "))
	}
	message = text.Clean(text.Shorten(text.Clean(strings.Join(said, "; "), 0), maxMessage), maxMessage)
	if len(lines) <= maxMessages {
		return lines, message
	}
	last := lines[len(lines)-maxMessages:]
	if best := bestError("", "", lines); best != "" && !slices.Contains(last, best) {
		return append([]string{best}, last...), message
	}
	return slices.Clone(last), message
}

func isLineEnd(r rune) bool { return r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' }

// bestError returns the most specific of the last error messages. Consecutive lines that look like
// an error are about one error, and the most specific of them is taken; a later error replaces an
// earlier one. best is the result for the lines before these, and last is the last of them.
func bestError(best, last string, lines []string) string {
	if len(lines) == 0 {
		return best
	}
	follows, most := text.LooksLikeError(last), text.Specificity(best)
	for _, line := range lines {
		isError := text.LooksLikeError(line)
		if isError {
			if n := text.SpecificityOfError(line); n > 0 && (!follows || n > most) {
				best, most = line, n
			}
		}
		follows = isError
	}
	return best
}

// listen records the lines of a report that is not a result.
func listen(a *v1alpha1.Action, r Report) {
	a.FailureMessage = text.Clean(bestError(a.FailureMessage, lastOf(a.Messages), r.Details), maxLine)
	keepLines(a, r.Details)
}

// keepLines keeps the newest lines. A line that differs from the one before only in numbers, such
// as a progress, replaces it.
func keepLines(a *v1alpha1.Action, lines []string) {
	for _, line := range lines {
		line = text.Clean(line, maxLine)
		if n := len(a.Messages); n > 0 && withoutDigits(a.Messages[n-1]) == withoutDigits(line) {
			a.Messages = append(a.Messages[:n-1:n-1], line)
			continue
		}
		a.Messages = append(a.Messages, line)
	}
	if extra := len(a.Messages) - maxMessages; extra > 0 {
		a.Messages = slices.Clone(a.Messages[extra:])
	}
}

func withoutDigits(line string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, line)
}

func lastOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// explain chooses the message that explains the failed update. closing are the lines of the result.
// A closing message that is less specific than an error before it, such as "Failed to install
// software bundle.", is replaced by that error. A closing message that does not look like an error,
// such as "disk full", is used if no error was reported before.
func explain(a *v1alpha1.Action, closing []string) {
	before, best := a.FailureMessage, bestError("", "", closing)
	switch {
	case best != "" && text.Specificity(best) > text.Specificity(before):
		a.FailureMessage = best
	case before == "" && len(closing) > 0:
		a.FailureMessage = slices.MaxFunc(closing, func(x, y string) int { return text.SpecificWords(x) - text.SpecificWords(y) })
	case before == "":
		a.FailureMessage = lastError(a.Messages)
	}
	a.FailureMessage = text.Clean(a.FailureMessage, maxLine)
}

// lastError returns the last line that looks like an error, or "".
func lastError(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if text.LooksLikeError(line) {
			return line
		}
	}
	return ""
}

// finalizeMessages gives the messages of a closed action their final form.
func finalizeMessages(s *v1alpha1.TargetStatus, a *v1alpha1.Action) {
	switch {
	case a.State == v1alpha1.ActionFinished:
		a.Messages, a.FailureMessage = nil, ""
	case a.State == v1alpha1.ActionError && a.StatusCode == "":
		a.FailureGroup = text.Normalize(a.FailureMessage, maxLine, s.ControllerID)
	}
}
