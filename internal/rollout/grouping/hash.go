// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package grouping

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// PlanHash returns what an approval agrees to: SHA-256 over the contentHash of the set, the hash of
// the spec that was planned, and the groups in their order with the names of their targets. The
// conditions of the groups follow from the spec, and the hash of the spec covers them, so a new
// condition changes no hash of a plan that does not use it. Every text is written after its length
// and every list after its count, so that two different plans are never written alike.
func PlanHash(contentHash, specHash string, groups []Group) string {
	d := digest{sha256.New()}
	d.text(contentHash)
	d.text(specHash)
	d.number(len(groups))
	for _, g := range groups {
		d.text(g.Name)
		d.number(len(g.Targets))
		for _, name := range g.Targets {
			d.text(name)
		}
	}
	return "sha256:" + hex.EncodeToString(d.Sum(nil))
}

type digest struct{ hash.Hash }

func (d digest) number(n int) {
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], uint64(n))
	d.Write(wide[:])
}

func (d digest) text(s string) {
	d.number(len(s))
	_, _ = io.WriteString(d, s)
}

// notApproved removes the fields that an approval does not bind from a spec, each for its reason.
// Every other field is part of the plan hash, new fields too.
var notApproved = []struct {
	field, reason string
	remove        func(*v1alpha1.RolloutSpec)
}{
	{"stabilizationSeconds", "has done its work when the plan is made; the plan names its members",
		func(s *v1alpha1.RolloutSpec) { s.StabilizationSeconds = nil }},
	{"state", "says whether the plan runs now; a plan is approved while Planned and started by Running",
		func(s *v1alpha1.RolloutSpec) { s.State = "" }},
	{"startAt", "says when, and may be given after the approval; with an approval, config/policy guards an earlier time",
		func(s *v1alpha1.RolloutSpec) { s.StartAt = nil }},
	{"approvalRequired", "asks for the approval; config/policy guards its withdrawal",
		func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = false }},
	{"approval", "is the approval",
		func(s *v1alpha1.RolloutSpec) { s.Approval = nil }},
	{"resumedAt", "is a request about one pause; config/policy guards it with a right of its own at any time",
		func(s *v1alpha1.RolloutSpec) { s.ResumedAt = nil }},
	{"retry", "is a request to offer the approved update to its approved members again",
		func(s *v1alpha1.RolloutSpec) { s.Retry = nil }},
}

// hashOfSpec returns the hash of what an approver of the spec agrees to: all of it without
// notApproved. A value that is written out and the default that it repeats are the same.
//
// An upgrade must not change the hash of a spec that does not use what is new. So a new field is
// optional and left out of the JSON when it is absent; if it has a default, hashOfSpec removes the
// default instead of filling it in.
func hashOfSpec(spec *v1alpha1.RolloutSpec) string {
	bound := withDefaults(spec)
	for _, f := range notApproved {
		f.remove(bound)
	}
	return hashOfJSON(bound)
}

// hashOfJSON returns the SHA-256 of a value as JSON with the keys of all objects sorted: where a
// field is in its Go struct does not matter.
func hashOfJSON(value any) string {
	var sorted any
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &sorted)
	}
	if err == nil {
		text, err = json.Marshal(sorted)
	}
	if err != nil {
		panic("a spec cannot be written as JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// SpecHash of a rollout leaves out an advance from before the rollout was created: it opens
// nothing, so that a cluster that is rebuilt from Git keeps its approvals.
func SpecHash(r *v1alpha1.Rollout) string {
	spec := r.Spec
	if spec.Advance != nil && !spec.Advance.At.Truncate(time.Microsecond).After(r.CreationTimestamp.Time) {
		spec.Advance = nil
	}
	return hashOfSpec(&spec)
}

// withDefaults is a copy of the spec in which every absent field that has a default says it. The
// API server writes most defaults itself, but none into the items of lists.
func withDefaults(spec *v1alpha1.RolloutSpec) *v1alpha1.RolloutSpec {
	s := spec.DeepCopy()
	updateDefaults(&s.Update)
	selectionDefaults(&s.Selection)
	if len(s.Groups) == 0 {
		s.GroupCount = cmp.Or(s.GroupCount, new(int32(1)))
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		conditions := Conditions(spec, g)
		selectionDefaults(&g.Selection)
		g.Percentage = cmp.Or(g.Percentage, new(int32(100)))
		g.SuccessThreshold, g.SuccessAction = &conditions.SuccessThreshold, conditions.SuccessAction
		g.ErrorThreshold, g.ErrorAction = &conditions.ErrorThreshold, conditions.ErrorAction
		g.ConfirmationRequired = &conditions.ConfirmationRequired
	}
	conditions := Conditions(spec, nil)
	s.SuccessThreshold, s.SuccessAction = &conditions.SuccessThreshold, conditions.SuccessAction
	s.ErrorThreshold, s.ErrorAction = &conditions.ErrorThreshold, conditions.ErrorAction
	s.GroupOrder = cmp.Or(s.GroupOrder, v1alpha1.GroupOrderHash)
	s.StopCancellation = cmp.Or(s.StopCancellation, v1alpha1.CancellationSoft)
	s.DeletionCancellation = cmp.Or(s.DeletionCancellation, v1alpha1.CancellationNone)
	return s
}

func updateDefaults(u *v1alpha1.Update) {
	u.Type = cmp.Or(u.Type, v1alpha1.UpdateTypeForced)
	u.Weight = cmp.Or(u.Weight, new(int32(1000)))
	u.Superseding = cmp.Or(u.Superseding, v1alpha1.SupersedingReplace)
	u.StartDeadlineAction = cmp.Or(u.StartDeadlineAction, v1alpha1.DeadlineActionFail)
	if u.MaintenanceWindow != nil {
		u.MaintenanceWindow.TimeZone = cmp.Or(u.MaintenanceWindow.TimeZone, "UTC")
	}
	if u.Retries != nil {
		u.Retries.BackoffSeconds = cmp.Or(u.Retries.BackoffSeconds, new(int32(600)))
	}
}

// selectionDefaults: a selector without requirements selects what an absent one does.
func selectionDefaults(s *v1alpha1.Selection) {
	if t := s.TargetSelector; t != nil && len(t.MatchLabels) == 0 && len(t.MatchExpressions) == 0 {
		s.TargetSelector = nil
	}
}
