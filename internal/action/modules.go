// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

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

// verdict returns what a report means for the whole action. A result of one module is not a result
// of the action while another module is not done. Then a failure takes precedence over a cancel,
// and a cancel over a success. A download-only update is done when it is downloaded.
func verdict(a *v1alpha1.Action, r Report) Event {
	e := r.Event
	if e == Downloaded && downloadOnly(a) {
		e = Succeed
	}
	if r.Module == "" {
		return verdictForAll(a, e)
	}
	needed := min(max(r.ModuleCount, 1), maxModules)
	m := module(a, r.Module, needed)
	if m == nil || m.State.IsClosed() {
		return withoutEffect(e)
	}
	m.State = moduleState(m.State, e)
	switch {
	case !e.isResult():
		return e
	case len(a.Modules) < needed || !allClosed(a.Modules):
		return Warn
	}
	return resultOfModules(a.Modules)
}

// verdictForAll applies a report to each module that has no result of its own.
func verdictForAll(a *v1alpha1.Action, e Event) Event {
	if !e.isResult() || len(a.Modules) == 0 {
		return e
	}
	for i := range a.Modules {
		a.Modules[i].State = moduleState(a.Modules[i].State, e)
	}
	return resultOfModules(a.Modules)
}

// meanwhile returns the event of a report about software that is not, or no longer, part of the
// action: it is recorded and has no effect.
func withoutEffect(e Event) Event {
	if e == CancelRejected {
		return e
	}
	return Warn
}

// module returns the module with the name. A new name is added while the action has fewer modules
// than needed.
func module(a *v1alpha1.Action, name string, needed int) *v1alpha1.ModuleState {
	for i := range a.Modules {
		if a.Modules[i].Name == name {
			return &a.Modules[i]
		}
	}
	if len(a.Modules) >= needed {
		return nil
	}
	a.Modules = append(a.Modules, v1alpha1.ModuleState{Name: name, State: v1alpha1.ActionRetrieved})
	return &a.Modules[len(a.Modules)-1]
}

// moduleState returns the next state of one module. Modules are canceled together with the action,
// so there is no Canceling of a module.
func moduleState(s v1alpha1.ActionState, e Event) v1alpha1.ActionState {
	if e == CancelAccepted {
		e = Abandon
	}
	next, _ := Next(s, e)
	return next
}

func resultOfModules(modules []v1alpha1.ModuleState) Event {
	e := Succeed
	for _, m := range modules {
		switch m.State {
		case v1alpha1.ActionError:
			return Fail
		case v1alpha1.ActionCanceled:
			e = Abandon
		default:
		}
	}
	return e
}

func allClosed(modules []v1alpha1.ModuleState) bool {
	for _, m := range modules {
		if !m.State.IsClosed() {
			return false
		}
	}
	return true
}

func hasFailed(a *v1alpha1.Action) bool {
	for _, m := range a.Modules {
		if m.State == v1alpha1.ActionError {
			return true
		}
	}
	return false
}

func unreported(names []string) []v1alpha1.ModuleState {
	var modules []v1alpha1.ModuleState
	for _, name := range names[:min(len(names), maxModules)] {
		modules = append(modules, v1alpha1.ModuleState{Name: moduleName(name), State: v1alpha1.ActionRetrieved})
	}
	return modules
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
