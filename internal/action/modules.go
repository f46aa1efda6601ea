// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	maxModules    = 100
	maxModuleName = 256
	// maxModuleBytes is the maximum size of one name as JSON, because a hundred names must fit into
	// the status of one target.
	maxModuleBytes = 160
)

// part is a part of an action that the device may report a result for: a module, or an entry of the
// software that is removed.
type part struct {
	name    string
	state   *v1alpha1.ActionState
	warning *bool
}

// isDone reports whether the part has a result. The download of a module is its result if the
// action only downloads; an error may still follow.
func (p part) isDone(a *v1alpha1.Action) bool {
	return p.state.IsClosed() || downloadOnly(a) && *p.state == v1alpha1.ActionDownloaded
}

// SoftwareName returns the name of an entry of a removal, for Report.Module.
func SoftwareName(s v1alpha1.SoftwareReference) string {
	escape := strings.NewReplacer("%", "%25", ":", "%3A").Replace // so that different entries have different names
	return escape(s.Group) + ":" + escape(s.Name) + ":" + escape(s.Version)
}

// verdict returns what a report means for the whole action. A result of one part is not a result of
// the action while another part is not done. Then a failure takes precedence over a cancel, and a
// cancel over a success. A download-only update is done when it is downloaded.
func verdict(a *v1alpha1.Action, r Report) Event {
	e := r.Event
	ends := e.isResult() || e == Downloaded && downloadOnly(a)
	if len(r.names()) == 0 {
		return verdictForAll(a, r, ends)
	}
	needed := neededParts(a, r)
	open := false
	for _, name := range r.names() {
		p, ok := findPart(a, name, needed)
		if !ok || p.state.IsClosed() {
			continue
		}
		open = true
		advance(p, r)
	}
	switch parts := partsOf(a); {
	case !open:
		return withoutEffect(e)
	case !ends:
		return e
	case len(parts) < needed || !allDone(a, parts):
		return Warn
	default:
		return resultOf(parts)
	}
}

// neededParts returns how many parts must have a result before the action has one.
func neededParts(a *v1alpha1.Action, r Report) int {
	if len(a.Remove) > 0 {
		return len(a.Remove)
	}
	return min(max(r.ModuleCount, 1), maxModules)
}

// verdictForAll applies a report to each part that has no result of its own.
func verdictForAll(a *v1alpha1.Action, r Report, ends bool) Event {
	parts := partsOf(a)
	switch {
	case !ends:
		return r.Event
	case len(parts) == 0 && r.Event == Downloaded:
		return Succeed
	case len(parts) == 0:
		return r.Event
	}
	for _, p := range parts {
		if !p.state.IsClosed() {
			advance(p, r)
		}
	}
	return resultOf(parts)
}

func advance(p part, r Report) {
	*p.state = partState(*p.state, r.Event)
	*p.warning = *p.warning || r.warned
}

// withoutEffect returns the event of a report about software that is not, or no longer, part of the
// action: it is recorded and has no effect.
func withoutEffect(e Event) Event {
	if e == CancelRejected {
		return e
	}
	return Warn
}

// partsOf returns the parts of an action that are known.
func partsOf(a *v1alpha1.Action) []part {
	var parts []part
	for i := range a.Remove {
		s := &a.Remove[i]
		parts = append(parts, part{moduleName(SoftwareName(s.SoftwareReference)), &s.State, &s.Warning})
	}
	for i := range a.Modules {
		m := &a.Modules[i]
		parts = append(parts, part{m.Name, &m.State, &m.Warning})
	}
	return parts
}

// findPart returns the part with the name. A new module is added while the action has fewer modules
// than needed; the entries of a removal are known from the start.
func findPart(a *v1alpha1.Action, name string, needed int) (part, bool) {
	parts := partsOf(a)
	if i := slices.IndexFunc(parts, func(p part) bool { return p.name == name }); i >= 0 {
		return parts[i], true
	}
	if len(parts) >= needed || a.Removes() {
		return part{}, false
	}
	a.Modules = append(a.Modules, v1alpha1.ModuleState{Name: name, State: v1alpha1.ActionRetrieved})
	m := &a.Modules[len(a.Modules)-1]
	return part{name, &m.State, &m.Warning}, true
}

// partState returns the next state of one part. Parts are canceled together with the action, so
// there is no Canceling of a part.
func partState(s v1alpha1.ActionState, e Event) v1alpha1.ActionState {
	if e == CancelAccepted {
		e = Abandon
	}
	next, _ := Next(s, e)
	return next
}

func resultOf(parts []part) Event {
	e := Succeed
	for _, p := range parts {
		switch *p.state {
		case v1alpha1.ActionError:
			return Fail
		case v1alpha1.ActionCanceled:
			e = Abandon
		default:
		}
	}
	return e
}

func allDone(a *v1alpha1.Action, parts []part) bool {
	return !slices.ContainsFunc(parts, func(p part) bool { return !p.isDone(a) })
}

func hasFailed(a *v1alpha1.Action) bool {
	return slices.ContainsFunc(partsOf(a), func(p part) bool { return *p.state == v1alpha1.ActionError })
}

func unreported(names []string) []v1alpha1.ModuleState {
	var modules []v1alpha1.ModuleState
	for _, name := range names[:min(len(names), maxModules)] {
		modules = append(modules, v1alpha1.ModuleState{Name: moduleName(name), State: v1alpha1.ActionRetrieved})
	}
	return modules
}

// unremoved returns the entries of a removal before the first report.
func unremoved(software []v1alpha1.SoftwareReference) []v1alpha1.SoftwareRemoval {
	var entries []v1alpha1.SoftwareRemoval
	for _, s := range software {
		entries = append(entries, v1alpha1.SoftwareRemoval{SoftwareReference: s, State: v1alpha1.ActionRetrieved})
	}
	return entries
}

// moduleName returns the name as it is stored: always the same for the same name, and distinct for
// names that are too long.
func moduleName(name string) string {
	short := text.Clean(name, maxModuleName)
	if encoded, err := json.Marshal(short); err == nil && len(encoded) <= maxModuleBytes {
		return short
	}
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return fmt.Sprintf("%s~%08x", text.Clean(short, maxModuleBytes/6-2), sum.Sum32())
}
