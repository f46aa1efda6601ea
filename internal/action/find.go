// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Open returns the target's open action, or nil.
func Open(s *v1alpha1.TargetStatus) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return !a.State.IsClosed() })
}

// Newest returns the action with the highest id, or nil.
func Newest(s *v1alpha1.TargetStatus) *v1alpha1.Action {
	return newest(s, func(*v1alpha1.Action) bool { return true })
}

// OfSource returns the newest action that was created from, or adopted by, this source, or nil.
func OfSource(s *v1alpha1.TargetStatus, uid types.UID) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return a.Source.UID == uid })
}

// OfContent returns the newest action for this content, or nil.
func OfContent(s *v1alpha1.TargetStatus, hash string) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return hash != "" && a.ContentHash == hash })
}

// PendingCancel returns the action that was closed by force and whose cancel is still offered,
// because the device has not answered it, reported no result and started nothing newer. It returns
// nil if there is none.
func PendingCancel(s *v1alpha1.TargetStatus) *v1alpha1.Action { return newest(s, cancelOnOffer) }

func find(s *v1alpha1.TargetStatus, id int32) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return a.ID == id })
}

func newest(s *v1alpha1.TargetStatus, matches func(*v1alpha1.Action) bool) *v1alpha1.Action {
	var found *v1alpha1.Action
	for i := range s.Actions {
		if a := &s.Actions[i]; matches(a) && (found == nil || a.ID > found.ID) {
			found = a
		}
	}
	return found
}

// IsUnconfirmed reports whether an action waits for confirmation, or was closed while it waited.
// Such an action has not started.
func IsUnconfirmed(a *v1alpha1.Action) bool {
	return a.State == v1alpha1.ActionWaitingForConfirmation ||
		a.State == v1alpha1.ActionCanceled && a.Cancel != nil && a.Cancel.From == v1alpha1.ActionWaitingForConfirmation
}
