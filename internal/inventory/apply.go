// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Cause is the action that a change of the installed software belongs to. The zero value is none.
type Cause struct {
	ActionID int32
	Source   v1alpha1.InventorySource
}

// recent is how long after its end an action still is the cause of a change: a device may report
// its software after its result.
const recent = 2 * time.Minute

// CauseOf returns the open action of a target, or else the one that was closed last, if that was
// within two minutes before now.
func CauseOf(s *v1alpha1.TargetStatus, now time.Time) Cause {
	var found *v1alpha1.Action
	for i := range s.Actions {
		a := &s.Actions[i]
		switch {
		case a.State == v1alpha1.ActionWaitingForConfirmation:
		case a.ClosedAt == nil:
			return causeOf(a)
		case now.Sub(a.ClosedAt.Time) <= recent && (found == nil || !a.ClosedAt.Before(found.ClosedAt)):
			found = a
		}
	}
	if found == nil {
		return Cause{}
	}
	return causeOf(found)
}

func causeOf(a *v1alpha1.Action) Cause {
	return Cause{a.ID, v1alpha1.InventorySource{Kind: a.Source.Kind, Name: a.Source.Name}}
}

// Effect is what a batch does to an inventory.
type Effect struct {
	// Changes is whether something changes that is stored at once: the features, their entries, or
	// the end of an operation.
	Changes bool
	// Exceeds is whether a feature of the batch is beyond the limit.
	Exceeds bool
	// Features are those after the batch.
	Features []v1alpha1.InventoryFeature
}

// Effect returns what the batch does to an inventory, which may be compressed.
func (b Batch) Effect(known Facts) Effect {
	before := known.status(b.hasLists())
	after := before.DeepCopy()
	b.merge(after)
	return Effect{
		Changes: after.Truncated != before.Truncated || !slices.Equal(after.Installed, before.Installed) || !slices.Equal(after.Context, before.Context) ||
			!slices.EqualFunc(after.Features, before.Features, isUnchanged),
		Exceeds: slices.ContainsFunc(b.reports, func(p pending) bool {
			return p.feature.ID != "" && !p.removed && !p.stale && !slices.ContainsFunc(after.Features, func(f v1alpha1.InventoryFeature) bool { return f.ID == p.feature.ID })
		}),
		Features: after.Features,
	}
}

// hasLists reports whether the batch may change installed or context.
func (b Batch) hasLists() bool {
	return b.replacesAll || slices.ContainsFunc(b.reports, func(p pending) bool { return !p.installed.isEmpty() || !p.context.isEmpty() || p.fresh })
}

func isUnchanged(a, b v1alpha1.InventoryFeature) bool {
	return a.ID == b.ID && a.SoftwareModuleType == b.SoftwareModuleType && a.Definition == b.Definition && a.InstalledReported == b.InstalledReported &&
		a.TruncatedInstalled == b.TruncatedInstalled && a.TruncatedContext == b.TruncatedContext &&
		!isNewEnd(a.LastOperation, b.LastOperation) && !isNewEnd(a.LastFailedOperation, b.LastFailedOperation)
}

// isNewEnd reports whether an operation has ended and the stored one is another.
func isNewEnd(o, stored *v1alpha1.InventoryOperation) bool {
	return o != nil && strings.HasPrefix(o.Status, "FINISHED_") &&
		(stored == nil || o.Status != stored.Status || o.CorrelationID != stored.CorrelationID || o.SoftwareModule != stored.SoftwareModule)
}

// Apply applies a batch to a status. The status stays within its limits: entries that do not fit
// are counted. now is the time of the report.
func (b Batch) Apply(s *v1alpha1.TargetInventoryStatus, cause Cause, now time.Time) {
	before, known := s.Installed, map[string]bool{"": len(s.Features) > 0 || len(s.Installed) > 0}
	for i := range s.Features {
		known[s.Features[i].ID] = s.Features[i].InstalledReported
	}
	for i := range before { // also those that a device has reported one by one
		known[before[i].Feature] = true
	}
	b.merge(s)
	s.ContentsHash = hashOf(s)
	note(s, before, known, cause, now)
	setConditions(s, now)
}

// merge applies the reports to features, installed, context and truncated.
func (b Batch) merge(s *v1alpha1.TargetInventoryStatus) {
	reports := b.sorted()
	has := func(id string) *pending {
		if i, found := slices.BinarySearchFunc(reports, id, func(p pending, id string) int { return strings.Compare(p.feature.ID, id) }); found {
			return &reports[i]
		}
		return nil
	}
	s.Features = slices.DeleteFunc(s.Features, func(f v1alpha1.InventoryFeature) bool {
		p := has(f.ID)
		return p == nil && b.replacesAll || p != nil && p.fresh
	})
	for i := range reports {
		p := &reports[i]
		at := slices.IndexFunc(s.Features, func(f v1alpha1.InventoryFeature) bool { return f.ID == p.feature.ID })
		switch {
		case p.feature.ID == "" || p.removed || at < 0 && len(s.Features) == v1alpha1.MaxInventoryFeatures:
			continue
		case at < 0:
			at, s.Features = len(s.Features), append(s.Features, v1alpha1.InventoryFeature{ID: p.feature.ID})
		}
		f := &s.Features[at]
		*f = overlaid(*f, p.feature)
		f.InstalledReported = f.InstalledReported || p.installed.list != nil
	}
	slices.SortFunc(s.Features, func(a, b v1alpha1.InventoryFeature) int { return strings.Compare(a.ID, b.ID) })
	if b.hasLists() {
		fill(s, has)
	}
}

// fill fills installed and context. First come the entries from attributes, then those of the
// features without a report, which have their place already, then the others. Entries that do not
// fit are counted in their feature.
func fill(s *v1alpha1.TargetInventoryStatus, has func(id string) *pending) {
	installed, context := byFeature(s.Installed), byFeature(s.Context)
	room := room{entries: v1alpha1.MaxInventoryEntries, bytes: v1alpha1.MaxInventoryBytes}
	s.Installed, s.Context = nil, nil
	add := func(f *v1alpha1.InventoryFeature) {
		first, second := list{entries: installed[f.ID], omitted: f.TruncatedInstalled}, list{entries: context[f.ID], omitted: f.TruncatedContext}
		if p := has(f.ID); p != nil {
			if p.fresh {
				first, second = list{}, list{}
			}
			first, second = p.installed.of(first), p.context.of(second)
			if !p.installed.isEmpty() {
				first.entries = withType(first.entries, f.SoftwareModuleType)
			}
		}
		s.Installed, f.TruncatedInstalled = room.take(s.Installed, first.entries, first.omitted)
		s.Context, f.TruncatedContext = room.take(s.Context, second.entries, second.omitted)
		f.TruncatedInstalled, f.TruncatedContext = max(f.TruncatedInstalled, first.before), max(f.TruncatedContext, second.before)
		s.Truncated += f.TruncatedInstalled + f.TruncatedContext
	}
	s.Truncated = 0
	add(&v1alpha1.InventoryFeature{}) // attributes are much smaller than the limit
	for _, reported := range []bool{false, true} {
		for i := range s.Features {
			if f := &s.Features[i]; (has(f.ID) != nil) == reported {
				add(f)
			}
		}
	}
	slices.SortFunc(s.Installed, compare)
	slices.SortFunc(s.Context, compare)
}

// room is how much still fits.
type room struct{ entries, bytes int }

// take appends the entries that fit, and counts the others.
func (r *room) take(to, entries []v1alpha1.InventorySoftware, omitted int32) ([]v1alpha1.InventorySoftware, int32) {
	for _, e := range entries {
		if bytes := size(e); r.entries > 0 && bytes <= r.bytes {
			to = append(to, e)
			r.entries, r.bytes = r.entries-1, r.bytes-bytes
			continue
		}
		omitted++
	}
	return to, omitted
}

func byFeature(entries []v1alpha1.InventorySoftware) map[string][]v1alpha1.InventorySoftware {
	lists := map[string][]v1alpha1.InventorySoftware{}
	for _, e := range entries {
		lists[e.Feature] = append(lists[e.Feature], e)
	}
	return lists
}

// withType returns the entries with a default type, sorted, each once.
func withType(entries []v1alpha1.InventorySoftware, defaultType string) []v1alpha1.InventorySoftware {
	typed := slices.Clone(entries)
	for i := range typed {
		if typed[i].Type == "" {
			typed[i].Type = defaultType
		}
	}
	slices.SortFunc(typed, compare)
	return slices.Compact(typed)
}

// hashOf returns the hash of the installed software, or "" if it is not known completely.
func hashOf(s *v1alpha1.TargetInventoryStatus) string {
	reports := slices.ContainsFunc(s.Features, func(f v1alpha1.InventoryFeature) bool { return f.InstalledReported })
	isTruncated := slices.ContainsFunc(s.Features, func(f v1alpha1.InventoryFeature) bool { return f.TruncatedInstalled > 0 })
	if isTruncated || !reports && len(s.Installed) == 0 {
		return ""
	}
	encoded, err := json.Marshal(s.Installed) // unambiguous: every text is quoted
	if err != nil {
		panic(err) // the API types can always be encoded
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// note adds the difference to the history. The first list of a feature is not a change.
func note(s *v1alpha1.TargetInventoryStatus, before []v1alpha1.InventorySoftware, known map[string]bool, cause Cause, now time.Time) {
	c := v1alpha1.InventoryChange{Time: metav1.NewTime(now.Truncate(time.Second)), ActionID: cause.ActionID}
	if cause.ActionID != 0 {
		c.Source = &cause.Source
	}
	room := room{entries: v1alpha1.MaxInventoryEntries, bytes: v1alpha1.MaxInventoryChangeBytes}
	c.Added, c.Omitted = room.take(nil, missingIn(before, s.Installed, known), 0)
	c.Removed, c.Omitted = room.take(nil, missingIn(s.Installed, before, known), c.Omitted)
	if len(c.Added) == 0 && len(c.Removed) == 0 && c.Omitted == 0 {
		return
	}
	s.History = append(s.History, c)
	bytes := 0
	for i := len(s.History) - 1; i >= 0; i-- {
		if bytes += size(s.History[i]); bytes > v1alpha1.MaxInventoryHistoryBytes || len(s.History)-i > v1alpha1.MaxInventoryHistory {
			s.History = slices.Clone(s.History[i+1:])
			return
		}
	}
}

// missingIn returns the entries of the second sorted list that the first one lacks, of features
// that have reported before.
func missingIn(list, entries []v1alpha1.InventorySoftware, known map[string]bool) []v1alpha1.InventorySoftware {
	var missing []v1alpha1.InventorySoftware
	for _, e := range entries {
		if _, found := slices.BinarySearchFunc(list, e, compare); !found && known[e.Feature] {
			missing = append(missing, e)
		}
	}
	return missing
}

// setConditions sets the conditions that follow from the rest of the status.
func setConditions(s *v1alpha1.TargetInventoryStatus, now time.Time) {
	set := func(kind string, is bool, reason, message string) {
		if !is {
			meta.RemoveStatusCondition(&s.Conditions, kind)
			return
		}
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))})
	}
	var unsupported []string
	for i := range s.Features {
		if f := &s.Features[i]; !IsSupported(f.Definition) {
			unsupported = append(unsupported, fmt.Sprintf("%s (%s)", f.ID, f.Definition))
		}
	}
	message := text.Shorten(fmt.Sprintf("version 2 of SoftwareUpdatable is supported; no module is installed by %s: update the device's agent", strings.Join(unsupported, ", ")), maxConditionMessage)
	set(v1alpha1.ConditionUnsupportedDefinition, len(unsupported) > 0, v1alpha1.ReasonUnsupportedDefinition, message)
	set(v1alpha1.ConditionTruncated, s.Truncated > 0, v1alpha1.ReasonTooManyEntries, fmt.Sprintf(
		"%d of the reported entries did not fit into status.installed and status.context, which have at most %d entries and %d KiB together: let the device report fewer or shorter ones",
		s.Truncated, v1alpha1.MaxInventoryEntries, v1alpha1.MaxInventoryBytes>>10))
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, Message: "the inventory of the device is stored", LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	if len(unsupported) > 0 {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonUnsupportedDefinition, message
	}
	meta.SetStatusCondition(&s.Conditions, ready)
	set(v1alpha1.ConditionStalled, len(unsupported) > 0, ready.Reason, ready.Message)
	slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

const maxConditionMessage = 1024
