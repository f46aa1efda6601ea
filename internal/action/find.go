// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Open is the target's open action; nil: there is none.
func Open(s *v1alpha1.TargetStatus) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return !a.State.IsClosed() })
}

// Newest is the action with the highest id; nil: there is none.
func Newest(s *v1alpha1.TargetStatus) *v1alpha1.Action {
	return newest(s, func(*v1alpha1.Action) bool { return true })
}

// OfSource is the newest action that was created from, or adopted by, this source; nil: there is
// none.
func OfSource(s *v1alpha1.TargetStatus, uid types.UID) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return a.Source.UID == uid })
}

// OfContent is the newest action that brought this content; nil: there is none.
func OfContent(s *v1alpha1.TargetStatus, hash string) *v1alpha1.Action {
	return newest(s, func(a *v1alpha1.Action) bool { return hash != "" && a.ContentHash == hash })
}

// PendingCancel is the action that was closed by force and whose cancel is still on offer: the
// device has not answered, reported no result and started nothing newer. nil: there is none.
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
