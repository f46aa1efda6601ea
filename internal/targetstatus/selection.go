// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// NoteSelection records when labels, type, attributes or the reported software last changed: other
// sources may select the target since then. software is the SelectionFingerprint of the index.
func NoteSelection(t *v1alpha1.Target, status *v1alpha1.TargetStatus, software string, now time.Time) {
	hash := selectionHash(t, status)
	if software != "" {
		hash += "-" + software
	}
	if status.SelectionHash == hash {
		return
	}
	if differs(status.SelectionHash, hash) {
		status.SelectionChangedAt = &metav1.MicroTime{Time: now}
	}
	status.SelectionHash = hash
}

// differs reports whether a target with the first hash may be selected by other sources than one
// with the second hash. Without an earlier hash nothing is known. The software counts only if both
// hashes have it: one without it is from before an expression read it.
func differs(old, hash string) bool {
	before, softwareBefore, _ := strings.Cut(old, "-")
	after, softwareAfter, _ := strings.Cut(hash, "-")
	return old != "" && (before != after || softwareBefore != "" && softwareAfter != "" && softwareBefore != softwareAfter)
}

// maxSelectedBy is the maximum number of auto-assignments that are recorded.
const maxSelectedBy = 50

// noteSelecting records which running auto-assignments select a target that is about to be written.
// One that did not select the target before has started to, because the target has changed. The
// first attributes of a device do not count as a change.
func noteSelecting(selecting []*v1alpha1.AutoAssignment, old, next *v1alpha1.Target, now time.Time) {
	status := &next.Status
	changed := differs(old.Status.SelectionHash, status.SelectionHash)
	isFirst := len(old.Status.Attributes) == 0 && len(status.Attributes) > 0
	var list []v1alpha1.SelectingAutoAssignment
	for _, a := range selecting {
		entry := v1alpha1.SelectingAutoAssignment{UID: a.Identity()}
		switch i := slices.IndexFunc(status.SelectedBy, func(s v1alpha1.SelectingAutoAssignment) bool { return s.UID == a.Identity() }); {
		case i >= 0:
			entry = status.SelectedBy[i]
		case status.SelectedAt == nil, status.SelectedAt.Time.Before(a.Status.StartedAt.Time): // no selection was evaluated before
		case changed && !isFirst:
			entry.Since = &metav1.MicroTime{Time: now}
		case !changed && a.Status.Selecting != nil: // the selection has changed, not the target
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
