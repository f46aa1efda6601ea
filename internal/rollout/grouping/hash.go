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
	"reflect"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// PlanHash returns the hash that an approval names: a SHA-256 over the contentHash of the set, the
// hash of the spec, and the groups in their order with the names of their targets. The conditions
// of the groups follow from the spec, whose hash covers them, so a new condition does not change
// the hash of a plan that does not use it. The length precedes every text and the number of items
// every list, so different plans never have the same input.
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

// notApproved lists the fields that an approval does not cover, each with its reason. Every other
// field, including new ones, is part of the plan hash.
var notApproved = []struct {
	field, reason string
	remove        func(*v1alpha1.RolloutSpec)
}{
	{"stabilizationSeconds", "has no effect after the plan was made, and the plan lists its members",
		func(s *v1alpha1.RolloutSpec) { s.StabilizationSeconds = nil }},
	{"state", "starts, pauses and stops the approved plan",
		func(s *v1alpha1.RolloutSpec) { s.State = "" }},
	{"startAt", "is the time of the start, and may be set after the approval; with an approval, config/policy guards an earlier time",
		func(s *v1alpha1.RolloutSpec) { s.StartAt = nil }},
	{"approvalRequired", "requires the approval; config/policy guards its removal",
		func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = false }},
	{"approval", "is the approval",
		func(s *v1alpha1.RolloutSpec) { s.Approval = nil }},
	{"resumedAt", "is a request about one pause; config/policy guards it with a separate permission",
		func(s *v1alpha1.RolloutSpec) { s.ResumedAt = nil }},
	{"retry", "is a request to offer the approved update to its approved members again",
		func(s *v1alpha1.RolloutSpec) { s.Retry = nil }},
}

// hashOfSpec returns the hash of what an approver of the spec agrees to: all of it without
// notApproved. A value that equals the default of its field counts as absent.
//
// An upgrade must not change the hash of a spec that does not use the new fields. So a new field is
// optional and left out of the JSON when it is absent; if it has a default, hashOfSpec removes the
// default instead of filling it in.
func hashOfSpec(spec *v1alpha1.RolloutSpec) string {
	bound := withDefaults(spec)
	for _, f := range notApproved {
		f.remove(bound)
	}
	return hashOfJSON(bound)
}

// hashOfJSON returns the SHA-256 of a value as JSON with sorted keys, so that the order of fields
// in a Go struct does not matter.
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

// SpecHash returns the hash of the spec of a rollout for the plan hash. It ignores an advance from
// before the rollout was created, which opens nothing, so that approvals stay valid in a cluster
// that is rebuilt from Git.
func SpecHash(r *v1alpha1.Rollout) string {
	spec := r.Spec
	if spec.Advance != nil && !spec.Advance.At.Truncate(time.Microsecond).After(r.CreationTimestamp.Time) {
		spec.Advance = nil
	}
	return hashOfSpec(&spec)
}

// withDefaults returns a copy of the spec with all defaults filled in, in which no group repeats a
// condition of the rollout. The API server fills in most defaults itself, but not those of items in
// lists.
func withDefaults(spec *v1alpha1.RolloutSpec) *v1alpha1.RolloutSpec {
	s := spec.DeepCopy()
	updateDefaults(&s.Update)
	selectionDefaults(&s.Selection)
	conditions := Conditions(spec, nil)
	if len(s.Groups) == 0 {
		s.GroupCount = cmp.Or(s.GroupCount, new(int32(1)))
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		removeInherited(g, Conditions(spec, g), conditions)
		selectionDefaults(&g.Selection)
		g.Percentage = cmp.Or(g.Percentage, new(int32(100)))
	}
	s.SuccessThreshold, s.SuccessAction = &conditions.SuccessThreshold, conditions.SuccessAction
	s.ErrorThreshold, s.ErrorAction = &conditions.ErrorThreshold, conditions.ErrorAction
	s.GroupOrder = cmp.Or(s.GroupOrder, v1alpha1.GroupOrderHash)
	s.StopCancellation = cmp.Or(s.StopCancellation, v1alpha1.CancellationSoft)
	s.DeletionCancellation = cmp.Or(s.DeletionCancellation, v1alpha1.CancellationNone)
	return s
}

// removeInherited removes from a group with these conditions those that it would inherit.
func removeInherited(g *v1alpha1.Group, conditions, inherited v1alpha1.GroupConditions) {
	group, own, of := reflect.ValueOf(g).Elem(), reflect.ValueOf(conditions), reflect.ValueOf(inherited)
	for i := range own.NumField() {
		if given := group.FieldByName(own.Type().Field(i).Name); given.IsValid() && own.Field(i).Equal(of.Field(i)) {
			given.SetZero()
		}
	}
}

func updateDefaults(u *v1alpha1.Update) {
	u.Type = cmp.Or(u.Type, v1alpha1.UpdateTypeForced)
	u.Weight = cmp.Or(u.Weight, new(v1alpha1.DefaultWeight))
	u.Superseding = cmp.Or(u.Superseding, v1alpha1.SupersedingReplace)
	if u.FinishedWarning == v1alpha1.FinishedWarningSuccess { // as in a rollout from before this field
		u.FinishedWarning = ""
	}
	u.StartDeadlineAction = cmp.Or(u.StartDeadlineAction, v1alpha1.DeadlineActionFail)
	if u.MaintenanceWindow != nil {
		u.MaintenanceWindow.TimeZone = cmp.Or(u.MaintenanceWindow.TimeZone, "UTC")
	}
	if u.Retries != nil {
		u.Retries.BackoffSeconds = cmp.Or(u.Retries.BackoffSeconds, new(int32(600)))
	}
}

// selectionDefaults removes a selector without requirements, which selects the same as an absent
// one.
func selectionDefaults(s *v1alpha1.Selection) {
	if t := s.TargetSelector; t != nil && len(t.MatchLabels) == 0 && len(t.MatchExpressions) == 0 {
		s.TargetSelector = nil
	}
}
