// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"math"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// maxHadSets is the maximum number of contentHashes in hadSets.
	maxHadSets = 50
	// hadSetDigits is how many digits of a contentHash are stored.
	hadSetDigits = 16
	// idSlack is how far above the id of the present time (see FirstID) a reported id is still
	// accepted: about two years. swupdate reports 2147483647 for an id that it cannot parse;
	// accepting that would leave no further ids for the target.
	idSlack = 1 << 26
)

// epoch is the time from which ids count seconds.
var epoch = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

// FirstID returns the first action id of a target that is created now: the seconds since 2020.
// Because no device starts an update every second, a target that is deleted and created again
// never uses an id twice.
func FirstID(now time.Time) int32 {
	seconds := int64(now.Sub(epoch) / time.Second)
	return int32(min(max(seconds, 1), math.MaxInt32))
}

// StartIDs sets the first id of a new target, and reports whether that was needed. It must be
// stored before an id is offered to a device.
func StartIDs(s *v1alpha1.TargetStatus, now time.Time) bool {
	if s.NextActionID > 0 {
		return false
	}
	s.NextActionID = FirstID(now)
	return true
}

// RaiseNextID makes sure that id is not assigned again.
func RaiseNextID(s *v1alpha1.TargetStatus, id int32) {
	if id >= s.NextActionID && id < math.MaxInt32 {
		s.NextActionID = id + 1
	}
}

// Creation contains the values of a new action.
type Creation struct {
	Source                       v1alpha1.ActionSource
	DistributionSet, ContentHash string
	// Remove is the software to be removed, in place of a set.
	Remove []v1alpha1.SoftwareReference
	Update v1alpha1.ActionUpdate
	// Confirm makes the action wait for a confirmation at the device.
	Confirm bool
	// Modules of the set as name:version, if the device reports module by module. Optional; see
	// Report.ModuleCount.
	Modules []string
	Now     time.Time
}

// Create creates the action for the next id. It returns nil and changes nothing while another
// action is open, or when the target has used all ids.
func Create(s *v1alpha1.TargetStatus, b Creation) *v1alpha1.Action {
	StartIDs(s, b.Now)
	if Open(s) != nil || s.NextActionID == math.MaxInt32 {
		return nil
	}
	state := v1alpha1.ActionRetrieved
	if b.Confirm {
		state = v1alpha1.ActionWaitingForConfirmation
	}
	now := stamp(b.Now)
	s.Actions = append(s.Actions, v1alpha1.Action{
		ID:              s.NextActionID,
		Source:          b.Source,
		DistributionSet: b.DistributionSet,
		Removal:         v1alpha1.RemovalOf(b.Remove),
		Remove:          unremoved(b.Remove),
		ContentHash:     b.ContentHash,
		Update:          b.Update,
		State:           state,
		Modules:         unreported(b.Modules),
		History:         []v1alpha1.ActionEvent{{Time: now, State: state}},
		StartedAt:       &now,
		SkipRequested:   b.Update.Type == v1alpha1.UpdateTypeDownloadOnly,
		HadBefore:       HadContent(s, b.ContentHash),
		WasInconsistent: len(b.Remove) > 0 && wasInconsistent(s, b.ContentHash),
	})
	a := &s.Actions[len(s.Actions)-1]
	s.NextActionID++
	if state.HasStarted() {
		overtake(s, a.ID)
	}
	remember(s, b.ContentHash)
	s.UpdateStatus = updateStatusOf(s)
	return a
}

// Adopt moves an open action to a newer intent for the same content, instead of canceling it and
// installing the same again. It reports whether anything changed. An action that is closed or being
// canceled is not adopted.
func Adopt(s *v1alpha1.TargetStatus, id int32, source v1alpha1.ActionSource, update v1alpha1.ActionUpdate) bool {
	a := find(s, id)
	if a == nil || a.State.IsClosed() || a.State == v1alpha1.ActionCanceling || sameSource(a.Source, source) {
		return false
	}
	a.Source, a.Update = source, update
	if a.Cancel != nil {
		// A cancel of the old source does not count as one of the new source.
		a.Cancel.Causes = slices.DeleteFunc(a.Cancel.Causes, causeOfSource)
	}
	return true
}

func causeOfSource(c v1alpha1.CancelCause) bool {
	return c == v1alpha1.CauseStopped || c == v1alpha1.CauseDeleted || c == v1alpha1.CauseSuperseded
}

func sameSource(a, b v1alpha1.ActionSource) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.UID == b.UID && a.Group == b.Group && a.Attempt == b.Attempt && a.Since.Equal(b.Since)
}

// HadContent reports whether the target had an action for this content. It is used for
// auto-assignments.
func HadContent(s *v1alpha1.TargetStatus, hash string) bool {
	return hash != "" && slices.Contains(s.HadSets, digits(hash))
}

// HasLeftContent reports whether the target had the content before and has left it since: a newer
// update started, or the device reports that it runs something else. A target that runs the
// content, and has no open action for another one, has not left it.
func HasLeftContent(s *v1alpha1.TargetStatus, hash string) bool {
	if !HadContent(s, hash) {
		return false
	}
	if s.HadSets[len(s.HadSets)-1] != digits(hash) {
		open := Open(s)
		return !Installed(s, hash) || open != nil && open.ContentHash != hash
	}
	runs, brought := s.Installed, OfContent(s, hash)
	return runs != nil && runs.ContentHash != hash && runs.ActionID == 0 && runs.Since != nil &&
		brought != nil && brought.State == v1alpha1.ActionFinished && brought.ClosedAt.Before(runs.Since)
}

// remember adds the content to hadSets, newest last.
func remember(s *v1alpha1.TargetStatus, hash string) {
	if hash == "" {
		return
	}
	dropHad(s, hash)
	s.HadSets = append(s.HadSets, digits(hash))
	if extra := len(s.HadSets) - maxHadSets; extra > 0 {
		s.HadSets = slices.Delete(s.HadSets, 0, extra)
	}
}

// forget undoes remember for a, unless another action had the same content.
func forget(s *v1alpha1.TargetStatus, a *v1alpha1.Action) {
	if a.HadBefore || s.Installed != nil && digits(s.Installed.ContentHash) == digits(a.ContentHash) {
		return
	}
	for i := range s.Actions {
		other := &s.Actions[i]
		if other.ID != a.ID && other.StatusCode != v1alpha1.CodeSkipped && !isRefused(other) && digits(other.ContentHash) == digits(a.ContentHash) {
			return
		}
	}
	dropHad(s, a.ContentHash)
}

func dropHad(s *v1alpha1.TargetStatus, hash string) {
	s.HadSets = slices.DeleteFunc(s.HadSets, func(had string) bool { return had == digits(hash) })
}

func digits(hash string) string { return hash[:min(len(hash), hadSetDigits)] }

// stamp truncates a time to whole seconds, as it is stored, so that the status in memory equals the
// stored one.
func stamp(now time.Time) metav1.Time { return metav1.NewTime(now.Truncate(time.Second)) }
