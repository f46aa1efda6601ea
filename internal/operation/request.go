// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// Verb is the name of an operation, as a command and a URL have it.
type Verb string

// Verbs of all operations.
const (
	VerbApprove          Verb = "approve"
	VerbWithdrawApproval Verb = "withdraw-approval"
	VerbStart            Verb = "start"
	VerbPause            Verb = "pause"
	VerbResume           Verb = "resume"
	VerbAdvance          Verb = "advance"
	VerbRetry            Verb = "retry"
	VerbStop             Verb = "stop"
	VerbInvalidate       Verb = "invalidate"
	VerbHold             Verb = "hold"
	VerbRelease          Verb = "release"
)

// IsEmergency reports whether the operation ends a bad update. It may be needed before a commit can
// be made, so a field that a GitOps tool owns does not prevent it.
func (v Verb) IsEmergency() bool { return v == VerbStop || v == VerbInvalidate }

// Request is an operation with its parameters. A parameter that the operation does not have is
// ignored.
type Request struct {
	Verb Verb
	// PlanHash is what an approval names: the hash of the plan, or its first digits.
	PlanHash string
	// To is the last group that an advance opens. Empty: the next group.
	To string
	// Codes and Messages are the failures that a retry selects. Without any: all.
	Codes, Messages []string
	// Cancellation is the type of a stop or of an invalidation. Empty: for a stop
	// spec.stopCancellation; an invalidation needs one.
	Cancellation v1alpha1.Cancellation
	// DeleteRollouts and Reason are fields of an invalidation.
	DeleteRollouts bool
	Reason         string
}

// On returns the change that the request makes of an object, or a Refusal. now is the time of
// requests that carry one.
func (q *Request) On(object metav1.Object, now time.Time) (*Change, error) {
	switch o := object.(type) {
	case *v1alpha1.Rollout:
		return q.onRollout(o, now)
	case *v1alpha1.AutoAssignment:
		switch q.Verb {
		case VerbPause:
			return PauseAutoAssignment(o)
		case VerbResume:
			return ResumeAutoAssignment(o)
		default:
		}
	case *v1alpha1.Target:
		switch q.Verb {
		case VerbHold:
			return Hold(o)
		case VerbRelease:
			return Release(o)
		default:
		}
	case *v1alpha1.DistributionSet:
		if q.Verb == VerbInvalidate {
			return Invalidate(o, Invalidation{Cancellation: q.Cancellation, DeleteRollouts: q.DeleteRollouts, Reason: q.Reason})
		}
	}
	return nil, q.unknown(object)
}

func (q *Request) onRollout(r *v1alpha1.Rollout, now time.Time) (*Change, error) {
	switch q.Verb {
	case VerbApprove:
		return Approve(r, q.PlanHash)
	case VerbWithdrawApproval:
		return WithdrawApproval(r)
	case VerbStart:
		return Start(r)
	case VerbPause:
		return Pause(r)
	case VerbResume:
		return Resume(r, now)
	case VerbAdvance:
		return Advance(r, q.To, now)
	case VerbRetry:
		return Retry(r, q.Codes, q.Messages, now)
	case VerbStop:
		return Stop(r, q.Cancellation)
	default:
		return nil, q.unknown(r)
	}
}

func (q *Request) unknown(object metav1.Object) error {
	return &Refusal{Operation: string(q.Verb), Object: object.GetNamespace() + "/" + object.GetName(), Reason: "this kind of object has no such operation"}
}

// VerbsOf returns the verbs of the operations on an object, in the order of the life of a rollout,
// or none for a kind without operations.
func VerbsOf(object metav1.Object) []Verb {
	switch object.(type) {
	case *v1alpha1.Rollout:
		return []Verb{VerbApprove, VerbWithdrawApproval, VerbStart, VerbPause, VerbResume, VerbAdvance, VerbRetry, VerbStop}
	case *v1alpha1.AutoAssignment:
		return []Verb{VerbPause, VerbResume}
	case *v1alpha1.Target:
		return []Verb{VerbHold, VerbRelease}
	case *v1alpha1.DistributionSet:
		return []Verb{VerbInvalidate}
	}
	return nil
}

// Choice is an operation on an object, and whether it makes sense in the present state.
type Choice struct {
	Verb Verb
	// Refusal is why it makes no sense now. nil: it is possible.
	Refusal *Refusal
}

// Choices returns all operations on an object, in the order of VerbsOf.
func Choices(object metav1.Object) []Choice {
	var choices []Choice
	for _, verb := range VerbsOf(object) {
		choices = append(choices, Choice{Verb: verb, Refusal: refusalOf(object, verb)})
	}
	return choices
}

// refusalOf returns why an operation is possible with no parameters, or nil.
func refusalOf(object metav1.Object, verb Verb) *Refusal {
	q := Defaults(object, verb)
	_, err := q.On(object, time.Time{})
	refusal, _ := err.(*Refusal)
	return refusal
}

// Defaults returns the request for an operation that a person has not given parameters: an approval
// of the present plan, and a stop with the weakest type that has an effect. An invalidation has no
// default type, so Defaults takes the one that interrupts no device.
func Defaults(object metav1.Object, verb Verb) Request {
	q := Request{Verb: verb}
	r, _ := object.(*v1alpha1.Rollout)
	switch {
	case verb == VerbInvalidate:
		q.Cancellation = v1alpha1.CancellationNone
	case verb == VerbApprove && r != nil && r.Status.Plan != nil:
		q.PlanHash = r.Status.Plan.Hash
	case verb == VerbStop && r != nil:
		q.Cancellation = cmp.Or(r.Spec.StopCancellation, v1alpha1.CancellationSoft)
		if _, isStopped := rollout.StopOf(r); isStopped {
			q.Cancellation = v1alpha1.CancellationForce
		}
	}
	return q
}

// Command returns the command of the plugin that makes the change, without --apply.
func (q *Request) Command(c *Change) string {
	words := []string{"kubectl", "goshawk", "-n", c.Namespace, string(q.Verb), c.Name}
	flag := func(name, value string) {
		if value != "" {
			words = append(words, name, quoted(value))
		}
	}
	switch q.Verb {
	case VerbWithdrawApproval:
		words[4] = string(VerbApprove)
		words = append(words, "--withdraw")
	case VerbApprove:
		flag("--hash", q.PlanHash)
	case VerbPause, VerbResume:
		if c.Kind == "AutoAssignment" {
			words[5] = "autoassignment/" + c.Name
		}
	case VerbAdvance:
		flag("--to", q.To)
	case VerbRetry:
		for _, code := range q.Codes {
			flag("--code", code)
		}
		for _, message := range q.Messages {
			flag("--message", message)
		}
	case VerbStop, VerbInvalidate:
		flag("--type", string(q.Cancellation))
		if q.DeleteRollouts && q.Verb == VerbInvalidate {
			words = append(words, "--delete-rollouts")
		}
		if q.Verb == VerbInvalidate {
			flag("--reason", q.Reason)
		}
	default:
	}
	return strings.Join(words, " ")
}

// quoted returns a text as one word of a shell.
func quoted(s string) string {
	isPlain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !isPlain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// IsApplied reports whether an object, in the form of JSON, has the new value of each field of the
// change, so that there is nothing left to write.
func (c *Change) IsApplied(object map[string]any) bool {
	return !slices.ContainsFunc(c.Fields, func(f Field) bool {
		value, found := ValueAt(object, f.Path)
		if f.New == nil || f.New == false && !found { // a field that is not set is false
			return found
		}
		return !found || fmt.Sprint(value) != fmt.Sprint(f.New)
	})
}

// ValueAt returns the value of a field of an object in the form of JSON, or false if it is not set.
func ValueAt(object map[string]any, path string) (value any, found bool) {
	value = object
	for name := range strings.SplitSeq(path, ".") {
		fields, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, found = fields[name]; !found {
			return nil, false
		}
	}
	return value, value != nil
}
