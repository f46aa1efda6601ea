// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"cmp"
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// maxActions is the maximum number of entries in status.actions.
	maxActions = 100
	// maxClosed is the number of closed actions that are kept in any case.
	maxClosed = 10
	// maxClosedHistories is the number of closed actions that keep their history.
	maxClosedHistories = 2
)

// Prune limits the size of a target's actions. It keeps open actions, the newest action of each
// existing source, the newest 10 closed actions, and history and messages of the open and the
// newest 2 closed ones. If these are still more than 32 KiB, the oldest are reduced first: their
// history and failureMessage, then actions of deleted sources, then details, then the rest. The
// keys by which failures are counted are always kept. The newest action is always kept, because
// intents older than it must not be offered.
func Prune(s *v1alpha1.TargetStatus, alive func(uid types.UID) bool) {
	slices.SortFunc(s.Actions, func(a, b v1alpha1.Action) int { return cmp.Compare(a.ID, b.ID) })
	p := pruning{actions: s.Actions, sources: newestOfSources(s.Actions, alive)}
	p.dropOld()
	p.shrink()
	s.Actions = p.actions
}

type pruning struct {
	// actions by id, oldest first.
	actions []v1alpha1.Action
	// sources are the ids of the newest action of each existing source.
	sources map[int32]bool
}

func newestOfSources(actions []v1alpha1.Action, alive func(uid types.UID) bool) map[int32]bool {
	newest := map[types.UID]int32{}
	for _, a := range actions {
		newest[a.Source.UID] = a.ID
	}
	ids := map[int32]bool{}
	for uid, id := range newest {
		if uid != "" && alive(uid) {
			ids[id] = true
		}
	}
	return ids
}

// dropOld drops old closed actions, and the histories of others.
func (p *pruning) dropOld() {
	newer := 0
	for i := len(p.actions) - 1; i >= 0; i-- {
		a := &p.actions[i]
		if !a.State.IsClosed() {
			continue
		}
		newer++
		switch {
		case newer > maxClosed && !p.sources[a.ID]:
			p.actions = slices.Delete(p.actions, i, i+1)
		case newer > maxClosedHistories:
			a.History, a.Messages = nil, nil
		}
	}
}

// shed reduces the actions one by one, the oldest first, until they fit.
func (p *pruning) shrink() {
	if p.fits() {
		return
	}
	p.strip(func(a *v1alpha1.Action) { a.History, a.Messages, a.FailureMessage = nil, nil, "" })
	p.drop(func(a *v1alpha1.Action) bool { return !p.sources[a.ID] })
	p.strip(func(a *v1alpha1.Action) { a.Modules, a.Remove, a.Message = nil, nil, "" })
	p.drop(func(*v1alpha1.Action) bool { return true })
	last := len(p.actions) - 1
	if !p.fits() {
		p.actions[last].History = nil
	}
	if !p.fits() {
		p.actions[last].Messages = nil
	}
}

func (p *pruning) strip(closed func(*v1alpha1.Action)) {
	for i := range p.actions {
		if p.fits() {
			return
		}
		if a := &p.actions[i]; a.State.IsClosed() {
			closed(a)
		}
	}
}

func (p *pruning) drop(may func(*v1alpha1.Action) bool) {
	for i := 0; i < len(p.actions)-1 && !p.fits(); {
		if a := &p.actions[i]; a.State.IsClosed() && may(a) {
			p.actions = slices.Delete(p.actions, i, i+1)
			continue
		}
		i++
	}
}

func (p *pruning) fits() bool {
	if len(p.actions) > maxActions {
		return false
	}
	encoded, err := json.Marshal(p.actions)
	return err == nil && len(encoded) <= v1alpha1.MaxActionBytes
}
