// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetcounts

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
)

// Problem is what a person should know about a target beside its update status.
type Problem string

const (
	// Inconsistent is a target with Consistent=False: it is not certain what runs on the device.
	Inconsistent Problem = "inconsistent"
	// Silent is a target with Online=False: its device has not been heard of lately, or has lost
	// its connection.
	Silent Problem = "silent"
	// Held is a target with spec.hold: it starts no update.
	Held Problem = "held"
	// WaitingForConfirmation is a target whose open action waits for a confirmation at the device.
	WaitingForConfirmation Problem = "waitingForConfirmation"
	// NotReady is a target with Ready=False, such as one whose controllerID another target has.
	NotReady Problem = "notReady"
	// Unreadable is a target whose stored object cannot be decoded.
	Unreadable Problem = "unreadable"
)

// Problems has all problems, in the order in which people should look at them.
var Problems = [...]Problem{Inconsistent, Silent, Held, WaitingForConfirmation, NotReady, Unreadable}

// Has reports whether a target has a problem. An unknown problem is one that no target has.
func Has(t *v1alpha1.Target, p Problem) bool {
	i := slices.Index(Problems[:], p)
	return i >= 0 && ProblemsOf(t)[i]
}

// ProblemsOf reports which of Problems a target has, in their order.
func ProblemsOf(t *v1alpha1.Target) (has [len(Problems)]bool) {
	open := action.Open(&t.Status)
	for i, p := range Problems {
		switch p {
		case Inconsistent:
			has[i] = isFalse(t.Status.Conditions, v1alpha1.ConditionConsistent)
		case Silent:
			has[i] = isFalse(t.Status.Conditions, v1alpha1.ConditionOnline)
		case Held:
			has[i] = t.Spec.Hold
		case WaitingForConfirmation:
			has[i] = open != nil && open.State == v1alpha1.ActionWaitingForConfirmation
		case NotReady:
			has[i] = isFalse(t.Status.Conditions, v1alpha1.ConditionReady)
		case Unreadable:
			has[i] = t.Unreadable != nil
		}
	}
	return has
}

// isFalse reports whether a condition is False.
func isFalse(conditions []metav1.Condition, condition string) bool {
	i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == condition })
	return i >= 0 && conditions[i].Status == metav1.ConditionFalse
}

// StatusOf returns the update status of a target; Unknown if it has none yet.
func StatusOf(t *v1alpha1.Target) v1alpha1.UpdateStatus {
	return cmp.Or(t.Status.UpdateStatus, v1alpha1.UpdateStatusUnknown)
}

// Installed returns the name of the set that a target runs, the first digits of its content hash if
// the set has no name, or "" if it is not known.
func Installed(t *v1alpha1.Target) string {
	i := t.Status.Installed
	if i == nil {
		return ""
	}
	return cmp.Or(i.DistributionSet, ShortHash(i.ContentHash))
}

// ShortHash returns the first digits of a content hash, for people.
func ShortHash(hash string) string { return hash[:min(len(hash), 12)] }
