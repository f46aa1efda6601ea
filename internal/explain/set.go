// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/rollout"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// SetState says whether a set can be used.
type SetState string

// States of a set.
const (
	// SetValid can be used.
	SetValid SetState = "Valid"
	// SetNotReady cannot be used before something is corrected or arrives.
	SetNotReady SetState = "NotReady"
	// SetInvalidated is never given to a device again.
	SetInvalidated SetState = "Invalidated"
)

// SetStates are all states of a set.
var SetStates = []SetState{SetValid, SetNotReady, SetInvalidated}

// SetSummary is one set in a list.
type SetSummary struct {
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`
	Release   string      `json:"release"`
	Created   metav1.Time `json:"created"`
	State     SetState    `json:"state"`
	// Message says why the set is not valid, or is not ready. Empty: it is valid.
	Message string `json:"message,omitempty"`
	// Installed is the number of targets that run the content of the set, Started the number of
	// targets with an open action of it, and Assigned the number of targets whose own assignment
	// names it.
	Installed int `json:"installed"`
	Started   int `json:"started"`
	Assigned  int `json:"assigned"`
	// Rollouts and AutoAssignments are how many of them use the set, and ActiveRollouts and
	// RunningAutoAssignments how many of these have not ended.
	Rollouts               int `json:"rollouts"`
	ActiveRollouts         int `json:"activeRollouts"`
	AutoAssignments        int `json:"autoAssignments"`
	RunningAutoAssignments int `json:"runningAutoAssignments"`
}

// SetUsers are the rollouts and auto-assignments of one set.
type SetUsers struct {
	Rollouts        []*v1alpha1.Rollout
	AutoAssignments []*v1alpha1.AutoAssignment
}

// UsersOfSets returns the rollouts and auto-assignments of each set of a namespace, by the name of
// the set.
func UsersOfSets(rollouts []*v1alpha1.Rollout, autos []*v1alpha1.AutoAssignment) map[string]*SetUsers {
	users := map[string]*SetUsers{}
	of := func(u *v1alpha1.Update) *SetUsers {
		if users[u.DistributionSet] == nil {
			users[u.DistributionSet] = &SetUsers{}
		}
		return users[u.DistributionSet]
	}
	for _, r := range rollouts {
		if u := &r.Spec.Update; u.DistributionSet != "" {
			of(u).Rollouts = append(of(u).Rollouts, r)
		}
	}
	for _, a := range autos {
		if u := &a.Spec.Update; u.DistributionSet != "" {
			of(u).AutoAssignments = append(of(u).AutoAssignments, a)
		}
	}
	return users
}

// SetStateOf returns the state of a set with its message.
func SetStateOf(set *v1alpha1.DistributionSet) (SetState, string) {
	if set.Unreadable != nil {
		return SetNotReady, "the set cannot be decoded: " + set.Unreadable.Message
	}
	if words := operation.Invalidated(set); words != "" {
		return SetInvalidated, words
	}
	ready := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		return SetNotReady, "Goshawk has not reconciled this set yet"
	case ready.Status != metav1.ConditionTrue:
		return SetNotReady, ReasonWords(ready.Reason, ready.Message, nil)
	}
	return SetValid, ""
}

// SummaryOfSet returns a set for a list. users may be nil: nothing uses the set.
func SummaryOfSet(set *v1alpha1.DistributionSet, users *SetUsers, uses *Uses) SetSummary {
	key := keyOfSet(set)
	s := SetSummary{Namespace: set.Namespace, Name: set.Name, Release: releaseOf(set), Created: set.CreationTimestamp,
		Installed: uses.Installed(set).Targets, Started: uses.Started(key), Assigned: uses.Assigned(key)}
	s.State, s.Message = SetStateOf(set)
	if users == nil {
		return s
	}
	s.Rollouts, s.AutoAssignments = len(users.Rollouts), len(users.AutoAssignments)
	for _, r := range users.Rollouts {
		if !rollout.IsOver(r) {
			s.ActiveRollouts++
		}
	}
	for _, a := range users.AutoAssignments {
		if a.Status.State == v1alpha1.AutoAssignmentRunning {
			s.RunningAutoAssignments++
		}
	}
	return s
}

func keyOfSet(set *v1alpha1.DistributionSet) types.NamespacedName {
	return types.NamespacedName{Namespace: set.Namespace, Name: set.Name}
}

// SetDetail is everything about one set.
type SetDetail struct {
	SetSummary
	Description string `json:"description,omitempty"`
	// Locked is true once the content can no longer change.
	Locked      bool   `json:"locked"`
	ContentHash string `json:"contentHash,omitempty"`
	// CompatibleTargetTypes that the set fits; empty: all.
	CompatibleTargetTypes []string `json:"compatibleTargetTypes,omitempty"`
	RequiredMigrationStep bool     `json:"requiredMigrationStep,omitempty"`
	// Runs counts the targets that run the set.
	Runs Installed `json:"runs"`
	// Conditions that need attention.
	Conditions   []Notice              `json:"conditions,omitempty"`
	Invalidation *InvalidationProgress `json:"invalidation,omitempty"`
	Modules      []ModuleDetail        `json:"modules"`
	// Size is the size of all artifacts in bytes.
	Size int64 `json:"size"`
}

// InvalidationProgress is what an invalidation does, and how far it is.
type InvalidationProgress struct {
	// Type is the cancellation that is carried out.
	Type v1alpha1.Cancellation `json:"type"`
	// Reason is the text that the invalidation was given.
	Reason     string       `json:"reason,omitempty"`
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// Earlier is true if an earlier set with the same name, version and type was invalidated,
	// before this object was created.
	Earlier bool `json:"earlier,omitempty"`
	// Effects say what the type does, one sentence each.
	Effects []string `json:"effects"`
	// Progress says how far it is.
	Progress string                      `json:"progress"`
	Actions  v1alpha1.InvalidatedActions `json:"actions"`
	// Rollouts and AutoAssignments are how many of them were affected.
	Rollouts        int32 `json:"rollouts"`
	AutoAssignments int32 `json:"autoAssignments"`
}

// ModuleDetail is one module of a set.
type ModuleDetail struct {
	// Name of the SoftwareModule. The other fields are empty if Problem says that it does not
	// exist.
	Name        string `json:"name"`
	Software    string `json:"software,omitempty"`
	Version     string `json:"version,omitempty"`
	Type        string `json:"type,omitempty"`
	Vendor      string `json:"vendor,omitempty"`
	Description string `json:"description,omitempty"`
	// Problem says why the module keeps the set from being used. Empty: it does not.
	Problem   string           `json:"problem,omitempty"`
	Artifacts []ArtifactDetail `json:"artifacts,omitempty"`
}

// ArtifactDetail is one file of a module.
type ArtifactDetail struct {
	FileName string `json:"fileName"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	// Sources are the protocols and hosts from which the file is fetched. Paths and queries are
	// left out, because they can be signed.
	Sources []string `json:"sources"`
}

// SetOf returns everything about a set.
func SetOf(x *fleet.Index, set *v1alpha1.DistributionSet, users *SetUsers, uses *Uses) SetDetail {
	d := SetDetail{
		SetSummary: SummaryOfSet(set, users, uses), Description: set.Spec.Description, Locked: set.Status.Locked, ContentHash: set.Status.ContentHash,
		CompatibleTargetTypes: set.Spec.CompatibleTargetTypes, RequiredMigrationStep: set.Spec.RequiredMigrationStep,
		Runs: uses.Installed(set), Invalidation: invalidationProgress(set), Modules: []ModuleDetail{},
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionComplete} {
		if c := meta.FindStatusCondition(set.Status.Conditions, kind); c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonDistributionSetInvalid {
			d.Conditions = append(d.Conditions, Notice{c.Type, c.Reason, c.Message})
		}
	}
	for _, ref := range set.Spec.Modules {
		m := moduleOf(x.Module(types.NamespacedName{Namespace: set.Namespace, Name: ref.Name}), ref.Name)
		for _, a := range m.Artifacts {
			d.Size += a.Size
		}
		d.Modules = append(d.Modules, m)
	}
	return d
}

func moduleOf(m *v1alpha1.SoftwareModule, name string) ModuleDetail {
	if m == nil {
		return ModuleDetail{Name: name, Problem: fmt.Sprintf("SoftwareModule %s does not exist: create it, or remove it from spec.modules", name)}
	}
	d := ModuleDetail{Name: name, Software: m.Spec.Name, Version: m.Spec.Version, Type: m.Spec.Type, Vendor: m.Spec.Vendor, Description: m.Spec.Description}
	if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionFalse {
		d.Problem = ReasonWords(c.Reason, c.Message, nil)
	}
	if m.Unreadable != nil {
		d.Problem = "the module cannot be decoded: " + m.Unreadable.Message
	}
	for i := range m.Spec.Artifacts {
		a := &m.Spec.Artifacts[i]
		artifact := ArtifactDetail{FileName: a.FileName, Size: a.Size, SHA256: a.Checksums.SHA256}
		for k := range a.Downloads {
			artifact.Sources = append(artifact.Sources, sourceOfDownload(&a.Downloads[k]))
		}
		d.Artifacts = append(d.Artifacts, artifact)
	}
	return d
}

// sourceOfDownload returns the protocol and the host of a download.
func sourceOfDownload(d *v1alpha1.Download) string {
	_, rest, _ := strings.Cut(d.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndex(host, "@"); i >= 0 { // user information
		host = host[i+1:]
	}
	host, _, _ = strings.Cut(host, "?")
	return fmt.Sprintf("%s %s", d.Protocol, host)
}

// invalidationProgress returns the invalidation of a set, or nil if it is valid.
func invalidationProgress(set *v1alpha1.DistributionSet) *InvalidationProgress {
	given, seen := set.InvalidationInForce(), set.Status.Invalidation
	if given == nil && seen == nil {
		return nil
	}
	p := &InvalidationProgress{Earlier: given == nil}
	if given != nil {
		p.Type, p.Reason = given.Cancellation, given.Reason
	}
	if seen == nil {
		p.Effects = EffectsOfInvalidation(p.Type)
		p.Progress = "Goshawk has not recorded the invalidation yet: no device starts the set any more, and the rest follows within seconds."
		return p
	}
	p.Type = cmp.Or(p.Type, seen.Cancellation)
	p.Effects = EffectsOfInvalidation(p.Type)
	p.ObservedAt, p.FinishedAt, p.Rollouts, p.AutoAssignments = seen.ObservedAt, seen.FinishedAt, seen.Rollouts, seen.AutoAssignments
	if seen.Actions != nil {
		p.Actions = *seen.Actions
	}
	p.Progress = progressOf(p)
	return p
}

// progressOf says how far the cancellation of the open actions is.
func progressOf(p *InvalidationProgress) string {
	a := p.Actions
	if a.Total == 0 {
		return "No device was in progress with the set."
	}
	if cancellation.Of(p.Type).StartedActions == cancellation.Continue {
		return fmt.Sprintf("%s had started the set, and may finish it.", text.Count(a.Total, "device"))
	}
	var parts []string
	for _, part := range []struct {
		n     int32
		words string
	}{{a.Canceled, "canceled"}, {a.Refused, "refused to cancel or finished first"}, {a.Canceling, "asked to cancel and not answered yet"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.words))
		}
	}
	if rest := a.Total - a.Canceled - a.Refused - a.Canceling; rest > 0 {
		parts = append(parts, fmt.Sprintf("%d not asked yet", rest))
	}
	return fmt.Sprintf("%s had started the set: %s.", text.Count(a.Total, "device"), strings.Join(parts, ", "))
}

// EffectsOfInvalidation says what a type of an invalidation does, one sentence each, in the words
// of package cancellation.
func EffectsOfInvalidation(c v1alpha1.Cancellation) []string {
	e := cancellation.Of(c)
	out := []string{
		fmt.Sprintf("New uses of the set are %s.", e.NewUses),
		fmt.Sprintf("Its auto-assignments are %s.", e.AutoAssignments),
	}
	says := func(what string, effect cancellation.Effect) {
		verb := "are " + effect.String()
		if effect == cancellation.Continue {
			verb = effect.String()
		}
		out = append(out, fmt.Sprintf("%s %s.", what, verb))
	}
	says("Rollouts that had started", e.StartedRollouts)
	says("Rollouts that had not started", e.OtherRollouts)
	switch e.StartedActions {
	case cancellation.Ask:
		out = append(out, "Devices that had started are asked to cancel, which they may refuse.")
	case cancellation.Close:
		out = append(out, "Actions of devices that had started are closed at once, and these targets are inconsistent until their next success.")
	default:
		out = append(out, "Devices that had started go on.")
	}
	return append(out, "Devices that run the set keep it.")
}

// SortSets sorts sets for a list, the newest first.
func SortSets(sets []*v1alpha1.DistributionSet) {
	slices.SortFunc(sets, func(a, b *v1alpha1.DistributionSet) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
