// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

// TargetDetail is everything about one target, except credentials.
type TargetDetail struct {
	WhyTarget
	// DisplayName is the name for people, spec.name.
	DisplayName string `json:"displayName,omitempty"`
	Description string `json:"description,omitempty"`
	// Address is the address that the device API saw last or, if there is none, spec.address.
	Address string      `json:"address,omitempty"`
	Created metav1.Time `json:"created"`
	// InstalledBy is Device if only the device says that it runs the set.
	InstalledBy v1alpha1.InstalledSource `json:"installedBy,omitempty"`
	// Confirmation says how updates that require confirmation are confirmed.
	Confirmation string `json:"confirmation"`
	// Labels and Attributes are sorted by name. The device reports its attributes.
	Labels     []Fact `json:"labels,omitempty"`
	Attributes []Fact `json:"attributes,omitempty"`
	// AllConditions are the conditions of the target, in the order of their types.
	AllConditions []ConditionState `json:"allConditions,omitempty"`
	// Details are the actions of the target with their history, the newest first.
	Details []ActionDetail `json:"details,omitempty"`
	// Software is what the device has reported of its software.
	Software SoftwareDetail `json:"software"`
}

// Fact is a name with its value.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ConditionState is a condition of an object.
type ConditionState struct {
	Notice
	Status metav1.ConditionStatus `json:"status"`
	Since  metav1.Time            `json:"since"`
}

// ActionDetail is one action with what the device reported about it.
type ActionDetail struct {
	PastAction
	// Open is true while the action is not closed.
	Open bool `json:"open"`
	// Progress is in percent; nil if the device reported none.
	Progress *int32 `json:"progress,omitempty"`
	// Warning is true if the device finished with a warning.
	Warning bool `json:"warning,omitempty"`
	// Canceled says why and how the action is canceled, and what the device answered. Empty: it is
	// not canceled.
	Canceled string `json:"canceled,omitempty"`
	// Parts are the results of its modules, or of the software that it removes.
	Parts []ActionPart `json:"parts,omitempty"`
	// Messages are the last lines that the device reported before the result, the oldest first.
	Messages []string `json:"messages,omitempty"`
	// Events are the states that the action had, the oldest first.
	Events     []v1alpha1.ActionEvent `json:"events,omitempty"`
	ReportedAt *metav1.Time           `json:"reportedAt,omitempty"`
	Reports    int32                  `json:"reports"`
}

// ActionPart is the result of one module, or of one piece of software that is removed.
type ActionPart struct {
	Name    string               `json:"name"`
	State   v1alpha1.ActionState `json:"state"`
	Warning bool                 `json:"warning,omitempty"`
}

// SoftwareDetail is what a device has reported of its software.
type SoftwareDetail struct {
	Features  []FeatureDetail `json:"features,omitempty"`
	Installed []SoftwareEntry `json:"installed,omitempty"`
	Context   []SoftwareEntry `json:"context,omitempty"`
	// OmittedInstalled and OmittedContext are the numbers of further entries.
	OmittedInstalled int `json:"omittedInstalled,omitempty"`
	OmittedContext   int `json:"omittedContext,omitempty"`
}

// FeatureDetail is one type of software that the device can install.
type FeatureDetail struct {
	ID   string `json:"id"`
	Type string `json:"type,omitempty"`
	// Problem says why the feature serves no module. Empty: it does.
	Problem string `json:"problem,omitempty"`
}

// SoftwareEntry is one piece of software, or one property that software depends on.
type SoftwareEntry struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Type    string `json:"type,omitempty"`
	Feature string `json:"feature,omitempty"`
}

// maxSoftware is the number of entries of each list of software.
const maxSoftware = 100

// TargetOf returns everything about a target of the index. withInventory says whether its inventory
// may be shown.
func TargetOf(x *fleet.Index, t *v1alpha1.Target, withInventory bool, now time.Time) TargetDetail {
	d := TargetDetail{
		WhyTarget: Why(x, t, "", now), DisplayName: t.Spec.Name, Description: t.Spec.Description, Address: cmp.Or(t.Status.Address, t.Spec.Address), Created: t.CreationTimestamp,
		Confirmation: confirmationOf(t), Labels: factsFrom(t.Labels), Attributes: factsFrom(t.Status.Attributes),
	}
	if t.Status.Installed != nil {
		d.InstalledBy = t.Status.Installed.Source
	}
	if t.Unreadable != nil {
		d.Conditions = append(d.Conditions, Notice{Type: "Unreadable", Reason: "Unreadable", Message: "the target cannot be decoded: " + t.Unreadable.Message})
	}
	for _, c := range t.Status.Conditions {
		d.AllConditions = append(d.AllConditions, ConditionState{Notice{c.Type, c.Reason, c.Message}, c.Status, c.LastTransitionTime})
	}
	slices.SortFunc(d.AllConditions, func(a, b ConditionState) int { return cmp.Compare(a.Type, b.Type) })
	for i := range t.Status.Actions {
		d.Details = append(d.Details, actionDetail(&t.Status.Actions[i]))
	}
	slices.SortFunc(d.Details, func(a, b ActionDetail) int { return cmp.Compare(b.ID, a.ID) })
	if withInventory {
		d.Software = softwareOf(x.Inventory(t))
	}
	return d
}

func factsFrom[V ~string](values map[string]V) []Fact {
	var out []Fact
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, Fact{name, string(values[name])})
	}
	return out
}

// confirmationOf says how updates that require confirmation are confirmed.
func confirmationOf(t *v1alpha1.Target) string {
	auto := t.Status.AutoConfirm
	switch {
	case t.Spec.AutoConfirm == v1alpha1.AutoConfirmAlways:
		return "always confirmed, without asking the device (spec.autoConfirm)"
	case auto != nil && auto.Active && auto.Initiator != "":
		return fmt.Sprintf("the device confirms all updates by itself, as %q asked it to", auto.Initiator)
	case auto != nil && auto.Active:
		return "the device confirms all updates by itself"
	}
	return "the device is asked"
}

func actionDetail(a *v1alpha1.Action) ActionDetail {
	d := ActionDetail{PastAction: pastAction(a), Open: !a.State.IsClosed(), Progress: a.Progress, Warning: a.Warning, Messages: a.Messages, Events: a.History, ReportedAt: a.ReportedAt, Reports: a.Reports}
	for i := range a.Modules {
		m := &a.Modules[i]
		d.Parts = append(d.Parts, ActionPart{m.Name, m.State, m.Warning})
	}
	for i := range a.Remove {
		s := &a.Remove[i]
		d.Parts = append(d.Parts, ActionPart{softwareName(s.Group, s.Name) + ":" + s.Version, s.State, s.Warning})
	}
	if c := a.Cancel; c != nil {
		d.Canceled = fmt.Sprintf("%s, %s", c.Cause, c.Cancellation)
		switch {
		case c.Answer != "":
			d.Canceled += "; answer: " + string(c.Answer)
		case a.State == v1alpha1.ActionCanceling:
			d.Canceled += "; the device has not answered yet"
		}
	}
	return d
}

func softwareOf(facts inventory.Facts) SoftwareDetail {
	var d SoftwareDetail
	for _, f := range facts.Features() {
		feature := FeatureDetail{ID: f.ID, Type: f.SoftwareModuleType}
		switch {
		case f.SoftwareModuleType == "":
			feature.Problem = "the device has not reported which type of modules it installs, so it serves no module"
		case !inventory.IsSupported(f.Definition):
			feature.Problem = fmt.Sprintf("its definition %q is not supported, so it serves no module", f.Definition)
		}
		d.Features = append(d.Features, feature)
	}
	contents := facts.Contents()
	for _, h := range contents.Installed[:min(len(contents.Installed), maxSoftware)] {
		d.Installed = append(d.Installed, softwareEntry(h.Value()))
	}
	for _, h := range contents.Context[:min(len(contents.Context), maxSoftware)] {
		d.Context = append(d.Context, softwareEntry(h.Value()))
	}
	d.OmittedInstalled, d.OmittedContext = len(contents.Installed)-len(d.Installed), len(contents.Context)-len(d.Context)
	return d
}

func softwareEntry(e v1alpha1.InventorySoftware) SoftwareEntry {
	return SoftwareEntry{Name: softwareName(e.Group, e.Name), Version: e.Version, Type: e.Type, Feature: e.Feature}
}

func softwareName(group, name string) string {
	if group == "" {
		return name
	}
	return group + "/" + name
}
