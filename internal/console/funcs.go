// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// funcs are the functions of all templates.
var funcs = template.FuncMap{
	"asset": assetPath,
	// count returns a number with its noun: "1 target", "2 targets".
	"count": func(n any, noun string) string { return text.Count(toInt(n), noun) },
	// number returns a number with a thin space between groups of three digits.
	"number": func(n any) string { return number(toInt(n)) },
	// path returns the path of the page of an object: path "rollouts" NAMESPACE NAME.
	"path": func(kind, namespace, name any) string {
		return objectPath(Kind(fmt.Sprint(kind)), fmt.Sprint(namespace), fmt.Sprint(name))
	},
	"badge": badgeOf,
	"bar":   barOf,
	// outcome returns the badge of a rollout, of its explain.Status.
	"outcome":     outcomeBadge,
	"bucketBadge": bucketBadge,
	"groupBadge":  groupBadge,
	// words returns a state or a reason in words: "GroupOpened" is "Group opened".
	"words": stateWords[string],
	"list":  func(values ...any) []any { return values },
	// notStarted returns how many targets of a rollout have not started.
	"notStarted": func(c v1alpha1.Counts) int32 { return c.Scheduled + c.Pending },
	// actions returns the actions of an object, for the template of the same name.
	"actions": actionsOf,
	// bytes returns a size with its unit.
	"bytes": bytesOf,
	// reachBadge returns the badge of an update of a target.
	"reachBadge": badgeOfReach,
	// setState returns the state of a set for people.
	"setState": func(s any) string { return setStateWords[explain.SetState(fmt.Sprint(s))] },
	"autoBar":  barOfAuto,
}

func toInt(n any) int {
	switch n := n.(type) {
	case int:
		return n
	case int32:
		return int(n)
	case int64:
		return int(n)
	}
	panic(fmt.Sprintf("%T is not a number", n))
}

func number(n int) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// timeOf returns the time of the types that the API has, and false for a time that is not set.
func timeOf(at any) (time.Time, bool) {
	var t time.Time
	switch at := at.(type) {
	case time.Time:
		t = at
	case *time.Time:
		if at != nil {
			t = *at
		}
	case metav1.Time:
		t = at.Time
	case *metav1.Time:
		if at != nil {
			t = at.Time
		}
	case metav1.MicroTime:
		t = at.Time
	case *metav1.MicroTime:
		if at != nil {
			t = at.Time
		}
	default:
		panic(fmt.Sprintf("%T is not a time", at))
	}
	return t, !t.IsZero()
}

// timeElement returns an element with how long ago a time was, or how long it takes until then,
// and the time itself as its title. It is empty for a time that is not set. The script of the page
// keeps the age correct.
func timeElement(at any, now time.Time) template.HTML {
	t, ok := timeOf(at)
	if !ok {
		return ""
	}
	relative := "just now"
	switch d := now.Sub(t); {
	case d >= time.Second:
		relative = briefly(d) + " ago"
	case d <= -time.Second:
		relative = "in " + briefly(-d)
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), relative)) //nolint:gosec // has no text of others
}

// briefly returns a duration with one unit, as the script of the page does.
func briefly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// Badge is a state with its tone.
type Badge struct {
	// Tone is one of good, bad, warn, busy and calm. The sign says the same without color.
	Tone, Sign, Text string
}

// tones are the tones of the states of all kinds.
var tones = map[string]string{
	string(v1alpha1.RolloutCreating): "calm", string(v1alpha1.RolloutReady): "calm", string(v1alpha1.RolloutStarting): "busy",
	string(v1alpha1.RolloutWaitingForApproval): "warn", string(v1alpha1.RolloutRunning): "busy", string(v1alpha1.RolloutPaused): "warn",
	string(v1alpha1.RolloutStopping): "warn", string(v1alpha1.RolloutStopped): "calm", string(v1alpha1.RolloutFinished): "good",
	// Targets.
	string(v1alpha1.UpdateStatusUnknown): "calm", string(v1alpha1.UpdateStatusRegistered): "calm", string(v1alpha1.UpdateStatusPending): "busy",
	string(v1alpha1.UpdateStatusInSync): "good", string(v1alpha1.UpdateStatusError): "bad",
	// Actions.
	string(v1alpha1.ActionWaitingForConfirmation): "warn", string(v1alpha1.ActionRetrieved): "busy", string(v1alpha1.ActionDownloading): "busy", string(v1alpha1.ActionDownloaded): "busy",
	string(v1alpha1.ActionInstalling): "busy", string(v1alpha1.ActionRemoving): "busy", string(v1alpha1.ActionCanceling): "warn", string(v1alpha1.ActionCanceled): "calm",
	// Sets, as setStateWords has them.
	"valid": "good", "not ready": "warn", "invalidated": "bad",
}

var signs = map[string]string{"good": "✓", "bad": "✕", "warn": "!", "busy": "›", "calm": "·"}

// badgeOf returns the badge of a state: badge STATE, or badge TEXT TONE for a text with another
// tone.
func badgeOf(state any, tone ...string) Badge {
	b := Badge{Text: fmt.Sprint(state), Tone: "calm"}
	if t := tones[b.Text]; t != "" {
		b.Tone = t
	}
	if len(tone) > 0 {
		b.Tone = tone[0]
	}
	b.Sign, b.Text = signs[b.Tone], stateWords(b.Text)
	return b
}

// Bar is the counts of a rollout or a group as a bar.
type Bar struct {
	Segments []Segment
	// Label is the text of the bar.
	Label string
}

// Segment is a part of a bar that is 100 wide.
type Segment struct {
	// Class is the bucket in lower case.
	Class string
	X, W  string
}

// part is a part of a bar.
type part struct {
	class, name string
	n           int
}

// barOf returns the bar of these counts.
func barOf(c v1alpha1.Counts) Bar {
	return barOfParts(text.Count(c.Targets, "target"), []part{
		{"succeeded", "succeeded", int(c.Succeeded)}, {"failed", "failed", int(c.Failed)}, {"canceled", "canceled", int(c.Canceled)}, {"skipped", "skipped", int(c.Skipped)},
		{"removed", "removed", int(c.Removed)}, {"inprogress", "in progress", int(c.InProgress)}, {"pending", "pending", int(c.Pending)}, {"scheduled", "scheduled", int(c.Scheduled)},
	})
}

// barClasses are the parts of a bar in their order.
var barClasses = []string{"succeeded", "failed", "canceled", "skipped", "removed", "inprogress", "pending", "scheduled"}

func barOrder(class string) int { return slices.Index(barClasses, class) }

// barOfParts returns the bar of these parts. Each part above 0 has at least leastWidth, so that one
// failure among thousands is visible.
func barOfParts(whole string, parts []part) Bar {
	b := Bar{Label: whole}
	total, widest := 0, 0
	for _, p := range parts {
		total += p.n
	}
	widths := make([]float64, len(parts))
	for i, p := range parts {
		if p.n > 0 {
			widths[i] = max(100*float64(p.n)/float64(total), leastWidth)
		}
		if widths[i] > widths[widest] {
			widest = i
		}
	}
	var texts []string
	sum, at := 0.0, 0.0
	for _, width := range widths {
		sum += width
	}
	for i, p := range parts {
		width := widths[i]
		if i == widest {
			width -= sum - 100
		}
		if p.n == 0 {
			continue
		}
		b.Segments = append(b.Segments, Segment{Class: p.class, X: fmt.Sprintf("%.2f", at), W: fmt.Sprintf("%.2f", width)})
		at += width
		texts = append(texts, number(p.n)+" "+p.name)
	}
	if len(texts) > 0 {
		b.Label += ": " + strings.Join(texts, ", ")
	}
	return b
}

// leastWidth is the width of the smallest part of a bar.
const leastWidth = 1.5

// rolloutStates are the states of rollouts, in the order in which a rollout has them.
var rolloutStates = []string{
	string(v1alpha1.RolloutCreating), string(v1alpha1.RolloutWaitingForApproval), string(v1alpha1.RolloutReady), string(v1alpha1.RolloutStarting), string(v1alpha1.RolloutRunning),
	string(v1alpha1.RolloutPaused), string(v1alpha1.RolloutStopping), string(v1alpha1.RolloutStopped), string(v1alpha1.RolloutFinished),
}

// setStateWords are the states of sets for people.
var setStateWords = map[explain.SetState]string{explain.SetValid: "valid", explain.SetNotReady: "not ready", explain.SetInvalidated: "invalidated"}

// bytesOf returns a size with its unit.
func bytesOf(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}

// badgeOfReach returns the badge of an update that reaches a target.
func badgeOfReach(r explain.Reach) Badge {
	switch code := eligibility.Code(r.Code); {
	case r.Offered:
		return badgeOf("offered now", "busy")
	case code == "":
		return badgeOf("waits", "calm")
	case code == eligibility.CodeDone, code == eligibility.CodeAlreadyThere:
		return badgeOf(wordsOf(r.Code), "good")
	case code == eligibility.CodeFailed, code == eligibility.CodeDeadlinePassed, code == eligibility.CodeSetInvalid:
		return badgeOf(wordsOf(r.Code), "bad")
	case r.Final:
		return badgeOf(wordsOf(r.Code), "calm")
	}
	return badgeOf(wordsOf(r.Code), "warn")
}

// wordsOf returns a code as words: "GroupNotOpen" is "group not open".
func wordsOf(code string) string {
	var b strings.Builder
	for i, c := range code {
		if i > 0 && c >= 'A' && c <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToLower(string(c)))
	}
	return b.String()
}

// barOfAuto returns the counts of an auto-assignment as a bar.
func barOfAuto(n v1alpha1.AutoAssignmentTargets, waiting int32) Bar {
	return barOf(v1alpha1.Counts{Targets: n.Matched, Succeeded: n.Succeeded, Failed: n.Failed, InProgress: n.Started, Scheduled: waiting})
}
