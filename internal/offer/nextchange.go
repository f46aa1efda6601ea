// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// NextChange returns when the offer to the target of this world, or what ApplyPending does, may
// change by time alone; zero: never. Until then only an event changes them. It may return a time at
// which nothing changes, and never one that is not after w.Now.
func NextChange(w World) time.Time {
	var next time.Time
	at := func(times ...time.Time) {
		for _, t := range times {
			if t.After(w.Now) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	if a := action.Open(&w.Target.Status); a != nil {
		update := CurrentUpdate(w, a)
		at(action.ProgressDeadline(a), action.CancelDeadline(a), forcedAt(update.Type, update.ForceAt), window.NextChange(a.Update.MaintenanceWindow, w.Now))
	}
	if a := pendingCancel(&w); a != nil {
		at(answerBy(a))
	}
	for _, v := range judgeAll(&w) {
		in := v.in
		at(v.Until, in.Closed.Until, window.NextChange(in.Update.MaintenanceWindow, w.Now), forcedAt(in.Update.Type, in.Update.ForceAt))
	}
	return next
}

// forcedAt returns when a TimeForced update becomes a forced one, or zero for all others.
func forcedAt(kind v1alpha1.UpdateType, forceAt *metav1.Time) time.Time {
	if kind != v1alpha1.UpdateTypeTimeForced || forceAt == nil {
		return time.Time{}
	}
	return forceAt.Time
}
