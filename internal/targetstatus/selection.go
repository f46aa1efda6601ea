// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// NoteSelection remembers when labels, type or attributes last changed: what selects the target may
// be new since then.
func NoteSelection(t *v1alpha1.Target, status *v1alpha1.TargetStatus, now time.Time) {
	hash := selectionHash(t, status)
	if status.SelectionHash == hash {
		return
	}
	if status.SelectionHash != "" {
		status.SelectionChangedAt = &metav1.MicroTime{Time: now}
	}
	status.SelectionHash = hash
}

// maxSelectedBy is how many auto-assignments are remembered.
const maxSelectedBy = 50

// noteSelecting remembers which auto-assignments, of those that run, select a target that is about
// to be written. One that was there and did not select it before has started to, because the target
// has changed; but the first attributes of a device are no change: they are what it always was.
func noteSelecting(selecting []*v1alpha1.AutoAssignment, old, next *v1alpha1.Target, now time.Time) {
	status := &next.Status
	changed := status.SelectionHash != old.Status.SelectionHash && old.Status.SelectionHash != ""
	isFirst := len(old.Status.Attributes) == 0 && len(status.Attributes) > 0
	var list []v1alpha1.SelectingAutoAssignment
	for _, a := range selecting {
		entry := v1alpha1.SelectingAutoAssignment{UID: a.Identity()}
		switch i := slices.IndexFunc(status.SelectedBy, func(s v1alpha1.SelectingAutoAssignment) bool { return s.UID == a.Identity() }); {
		case i >= 0:
			entry = status.SelectedBy[i]
		case status.SelectedAt == nil, status.SelectedAt.Time.Before(a.Status.StartedAt.Time): // nobody has asked before
		case changed && !isFirst:
			entry.Since = &metav1.MicroTime{Time: now}
		case !changed && a.Status.Selecting != nil: // not the target has changed, but the selection
			entry.Since = a.Status.Selecting.Since.DeepCopy()
		}
		if len(list) < maxSelectedBy {
			list = append(list, entry)
		}
	}
	status.SelectedBy, status.SelectedAt = list, &metav1.MicroTime{Time: now}
}

func selectionHash(t *v1alpha1.Target, status *v1alpha1.TargetStatus) string {
	encoded, err := json.Marshal([]any{t.Labels, t.Spec.Type, status.Attributes}) // encoding/json sorts the keys of maps
	if err != nil {
		panic(err) // maps of strings always encode
	}
	h := fnv.New64a()
	h.Write(encoded)
	return hex.EncodeToString(h.Sum(nil))
}
