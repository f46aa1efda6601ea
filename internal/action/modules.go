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
	// maxModuleBytes is what one name may take as JSON: a hundred of them have to fit into the
	// status of one target.
	maxModuleBytes = 160
)

// verdict is what a report means for the whole action. A result of one module is none of the action
// while another module is not done; then an error outweighs a cancel, and a cancel outweighs a
// success. A download-only update is done when it is downloaded.
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
		return meanwhile(e)
	}
	m.State = moduleState(m.State, e)
	switch {
	case !e.isResult():
		return e
	case len(a.Modules) < needed || !allClosed(a.Modules):
		return Warn
	}
	return together(a.Modules)
}

// verdictForAll speaks for every module that has no result of its own.
func verdictForAll(a *v1alpha1.Action, e Event) Event {
	if !e.isResult() || len(a.Modules) == 0 {
		return e
	}
	for i := range a.Modules {
		a.Modules[i].State = moduleState(a.Modules[i].State, e)
	}
	return together(a.Modules)
}

// meanwhile is a report about software that is not, or no longer, part of the action: it is noted
// and moves nothing.
func meanwhile(e Event) Event {
	if e == CancelRejected {
		return e
	}
	return Warn
}

// module is the module of this name. A name that comes new is taken up as long as the action has
// fewer modules than it needs.
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

// moduleState is where a report takes one module. It is asked to cancel with its action, so it has
// no Canceling of its own.
func moduleState(s v1alpha1.ActionState, e Event) v1alpha1.ActionState {
	if e == CancelAccepted {
		e = Abandon
	}
	next, _ := Next(s, e)
	return next
}

func together(modules []v1alpha1.ModuleState) Event {
	e := Succeed
	for _, m := range modules {
		switch m.State {
		case v1alpha1.ActionError:
			return Fail
		case v1alpha1.ActionCanceled:
			e = Abandon
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

// moduleName is the name as it is stored: the same for the same name, and a name that is too long
// stays distinct.
func moduleName(name string) string {
	short := text.Clean(name, maxModuleName)
	if encoded, err := json.Marshal(short); err == nil && len(encoded) <= maxModuleBytes {
		return short
	}
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return fmt.Sprintf("%s~%08x", text.Clean(short, maxModuleBytes/6-2), sum.Sum32())
}
