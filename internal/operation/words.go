// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// TypeWords are sentences about one type of a stop or of an invalidation.
type TypeWords struct {
	// Does says what the type does, and Choose when it is the right one.
	Does, Choose string
}

// WordsOf returns the sentences about a type of a stop or of an invalidation.
func WordsOf(verb Verb, c v1alpha1.Cancellation) TypeWords {
	devices := map[cancellation.Effect]string{
		cancellation.Continue: "Devices that have started finish their update.",
		cancellation.Ask:      "Devices that have started are asked to cancel. A device may refuse, and then it finishes its update.",
		cancellation.Close:    "The update of devices that have started is closed at once, and no answer is awaited. Such a device may be interrupted in the middle of an installation: its target is inconsistent until its next success.",
	}[cancellation.Of(c).StartedActions]
	choose := map[cancellation.Effect]string{
		cancellation.Continue: "The rollout is not needed any more, and what has started may finish.",
		cancellation.Ask:      "A device knows best whether it can still cancel.",
		cancellation.Close:    "A device that continues is worse than a device in an unknown state.",
	}[cancellation.Of(c).StartedActions]
	if verb == VerbStop {
		return TypeWords{Does: "Devices that have not started never start. " + devices, Choose: choose}
	}
	if cancellation.Of(c).StartedRollouts == cancellation.Continue {
		return TypeWords{
			Does:   "Nothing new uses the set: new rollouts and assignments are refused, and its auto-assignments stop. Rollouts that have started go on, also to devices that have not started. " + devices,
			Choose: "The release must not be used for new rollouts, and running ones may finish.",
		}
	}
	return TypeWords{Does: "Nothing new uses the set, and its auto-assignments and rollouts stop. Devices that have not started never start. " + devices, Choose: choose}
}

// Writer is what wrote a field last.
type Writer struct {
	// Manager is the field manager, and Tool the GitOps tool that it belongs to, or "".
	Manager, Tool string
	// At is the time of the write, which may be nil.
	At *metav1.Time
}

// WriterOf returns the newest owner of a field according to managedFields, or false if there is
// none.
func WriterOf(o metav1.Object, path string) (Writer, bool) {
	var writers []Writer
	for _, entry := range o.GetManagedFields() {
		if set := fieldsOf(&entry); set != nil && ownsPath(set, path) {
			writers = append(writers, Writer{Manager: entry.Manager, Tool: ToolOf(entry.Manager), At: entry.Time})
		}
	}
	if len(writers) == 0 {
		return Writer{}, false
	}
	return slices.MaxFunc(writers, func(a, b Writer) int {
		switch {
		case a.At == nil || b.At == nil:
			return strings.Compare(a.Manager, b.Manager)
		default:
			return a.At.Compare(b.At.Time)
		}
	}), true
}

// FieldsOf returns the fields that an operation may change.
func FieldsOf(verb Verb) []string {
	return map[Verb][]string{
		VerbApprove: {"spec.approval.planHash"}, VerbWithdrawApproval: {"spec.approval"}, VerbStart: {"spec.state"}, VerbPause: {"spec.state"},
		VerbResume: {"spec.state", "spec.resumedAt"}, VerbAdvance: {"spec.advance.to", "spec.advance.at"},
		VerbRetry: {"spec.retry.at", "spec.retry.statusCodes", "spec.retry.messages"}, VerbStop: {"spec.state", "spec.stopCancellation"},
		VerbInvalidate: {"spec.invalidation.cancellation", "spec.invalidation.deleteRollouts", "spec.invalidation.reason"},
		VerbHold:       {"spec.hold"}, VerbRelease: {"spec.hold"},
	}[verb]
}
