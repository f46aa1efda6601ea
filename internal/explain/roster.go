// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// Use is how a target uses a set.
type Use string

// Uses of a set.
const (
	// UseNamed is a target that has installed the set under its name, which is the name that
	// fleetcounts counts.
	UseNamed Use = ""
	// UseInstalled is a target that runs the content of the set, under whatever name.
	UseInstalled Use = "installed"
	// UseStarted is a target with an open action of the set.
	UseStarted Use = "started"
	// UseAssigned is a target whose own assignment names the set.
	UseAssigned Use = "assigned"
)

// NoSet is the Set of a query for targets of which it is not known what they run.
const NoSet = "-"

// TargetQuery selects targets. The zero value selects all.
type TargetQuery struct {
	// Namespaces of the targets. nil: all namespaces.
	Namespaces []string
	// Set is the name of a set, or NoSet, and Use how the targets use it.
	Set string
	Use Use
	// Statuses of the targets. Empty: any.
	Statuses []v1alpha1.UpdateStatus
	// Problems that the targets have, all of them.
	Problems []fleetcounts.Problem
	// Labels of the targets. nil: any.
	Labels labels.Selector
	// Type is spec.type of the targets. nil: any; empty: none.
	Type *string
	// Text is a part of the name, the controllerID, the name for people, the type or an address, in
	// lower or upper case.
	Text string
}

// TargetPage is one page of the targets that a query selects, sorted by namespace and name.
type TargetPage struct {
	Targets []TargetState `json:"targets"`
	// Total is the number of targets that the query selects, and Of the number of all targets in
	// its namespaces.
	Total int `json:"total"`
	Of    int `json:"of"`
}

// maxQueries is the number of queries whose result a roster keeps. Each takes a bit for each
// target.
const maxQueries = 64

// Roster lists and counts the targets of an index. It keeps a row for each target, and for the last
// queries which rows they select. After a change of a target only its row is made again, so a page
// of a query costs the same for any number of targets. It is safe for concurrent use.
type Roster struct {
	index *fleet.Index

	noting  sync.Mutex
	changed map[types.NamespacedName]struct{} // targets that changed since their rows were made

	mu      sync.Mutex
	rows    []row // nil: not read yet
	queries map[string]*selected
	clock   int64 // counts uses of queries
	uses    *Uses
}

// row is one target.
type row struct {
	target   *v1alpha1.Target
	text     string // in which Text is searched
	problems uint   // a bit for each of fleetcounts.Problems
}

// selected is the result of a query.
type selected struct {
	matches func(*row) bool
	bits    []uint64
	total   int
	of      int
	used    int64
}

// NewRoster returns a roster of the targets of an index. Note must be called with every change of
// the index from now on.
func NewRoster(x *fleet.Index) *Roster {
	return &Roster{index: x, changed: map[types.NamespacedName]struct{}{}, queries: map[string]*selected{}}
}

// Note notes a change of the index. It is a fleet.Watcher.
func (r *Roster) Note(old, now client.Object) {
	for _, o := range []client.Object{old, now} {
		if t, ok := o.(*v1alpha1.Target); ok {
			r.noting.Lock()
			r.changed[keyOf(t)] = struct{}{}
			r.noting.Unlock()
			return
		}
	}
}

// refresh makes the rows that have changed again. The caller holds the lock.
func (r *Roster) refresh() {
	r.noting.Lock()
	var changed map[types.NamespacedName]struct{}
	if len(r.changed) > 0 {
		changed, r.changed = r.changed, map[types.NamespacedName]struct{}{}
	}
	r.noting.Unlock()
	if r.rows == nil {
		r.read()
		return
	}
	var created []row
	gone := map[int]bool{}
	for key := range changed {
		i, found := slices.BinarySearchFunc(r.rows, key, func(w row, key types.NamespacedName) int { return compareKeys(keyOf(w.target), key) })
		switch t := r.index.Target(key); {
		case t == nil && found:
			gone[i] = true
		case t != nil && !found:
			created = append(created, rowOf(t))
		case t != nil:
			r.rows[i] = rowOf(t)
			for _, s := range r.queries {
				s.set(i, s.matches(&r.rows[i]))
			}
		}
	}
	if len(changed) > 0 {
		r.uses = nil
	}
	if len(created)+len(gone) > 0 {
		r.move(created, gone)
	}
}

// read makes all rows.
func (r *Roster) read() {
	targets := r.index.AllTargets()
	r.rows = make([]row, len(targets))
	for i, t := range targets {
		r.rows[i] = rowOf(t)
	}
	slices.SortFunc(r.rows, compareRows)
}

// move adds rows of new targets, and removes those of targets that are gone. The results of queries
// name rows by their position, so they are dropped.
func (r *Roster) move(created []row, gone map[int]bool) {
	slices.SortFunc(created, compareRows)
	rows := make([]row, 0, len(r.rows)+len(created)-len(gone))
	for i := range r.rows {
		for len(created) > 0 && compareRows(created[0], r.rows[i]) < 0 {
			rows, created = append(rows, created[0]), created[1:]
		}
		if !gone[i] {
			rows = append(rows, r.rows[i])
		}
	}
	r.rows = append(rows, created...)
	clear(r.queries)
}

func compareRows(a, b row) int { return compareKeys(keyOf(a.target), keyOf(b.target)) }

func compareKeys(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

func rowOf(t *v1alpha1.Target) row {
	w := row{target: t}
	for i, has := range fleetcounts.ProblemsOf(t) {
		if has {
			w.problems |= 1 << i
		}
	}
	words := []string{t.Name}
	for _, word := range []string{t.ControllerID(), t.Spec.Name, t.Spec.Type, t.Spec.Address, t.Status.Address} {
		if word != "" && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	w.text = strings.ToLower(strings.Join(words, "\n"))
	return w
}

// maskOf returns the bits of problems. An unknown problem has a bit that no row has.
func maskOf(problems []fleetcounts.Problem) uint {
	mask := uint(0)
	for _, p := range problems {
		i := slices.Index(fleetcounts.Problems[:], p)
		if i < 0 {
			i = len(fleetcounts.Problems)
		}
		mask |= 1 << i
	}
	return mask
}

func (s *selected) set(i int, is bool) {
	word, bit := &s.bits[i/64], uint64(1)<<(i%64)
	switch was := *word&bit != 0; {
	case is && !was:
		*word |= bit
		s.total++
	case !is && was:
		*word &^= bit
		s.total--
	}
}

// from returns up to n positions of selected rows, without the first skip ones.
func (s *selected) from(skip, n int) []int {
	var out []int
	for w, word := range s.bits {
		if count := bits.OnesCount64(word); skip >= count {
			skip -= count
			continue
		}
		for ; word != 0; word &= word - 1 {
			if skip > 0 {
				skip--
				continue
			}
			if out = append(out, w*64+bits.TrailingZeros64(word)); len(out) == n {
				return out
			}
		}
	}
	return out
}

// Page returns one page, counted from 1, of the targets that a query selects, with size targets on
// each page. A page beyond the last one is the last one.
func (r *Roster) Page(q *TargetQuery, page, size int) TargetPage {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	s := r.query(q)
	p := TargetPage{Targets: []TargetState{}, Total: s.total, Of: s.of}
	page = min(max(page, 1), (s.total+size-1)/size)
	if page == 0 {
		return p
	}
	for _, i := range s.from((page-1)*size, size) {
		state, _ := (*Members)(nil).StateOf(r.rows[i].target)
		p.Targets = append(p.Targets, state)
	}
	return p
}

// query returns the result of a query, which it keeps. The caller holds the lock.
func (r *Roster) query(q *TargetQuery) *selected {
	hashes := hashesOf(r.index, q)
	key := keyOfQuery(q, hashes)
	r.clock++
	s := r.queries[key]
	if s == nil {
		if len(r.queries) >= maxQueries {
			r.forget()
		}
		s = &selected{matches: matcher(q, hashes), bits: make([]uint64, (len(r.rows)+63)/64)}
		inNamespace := namespaceMatcher(q)
		for i := range r.rows {
			if inNamespace(r.rows[i].target.Namespace) {
				s.of++
				s.set(i, s.matches(&r.rows[i]))
			}
		}
		r.queries[key] = s
	}
	s.used = r.clock
	return s
}

// forget drops the query that was used the longest time ago.
func (r *Roster) forget() {
	oldest, used := "", r.clock+1
	for key, s := range r.queries {
		if s.used < used {
			oldest, used = key, s.used
		}
	}
	delete(r.queries, oldest)
}

// hashesOf returns the content of the set of a query, by namespace.
func hashesOf(x *fleet.Index, q *TargetQuery) map[string]string {
	hashes := map[string]string{}
	if q.Use != UseInstalled {
		return hashes
	}
	for _, set := range x.AllSets() {
		if set.Name == q.Set && set.Status.ContentHash != "" {
			hashes[set.Namespace] = set.Status.ContentHash
		}
	}
	return hashes
}

func keyOfQuery(q *TargetQuery, hashes map[string]string) string {
	selector := ""
	if q.Labels != nil {
		selector = q.Labels.String()
	}
	targetType := "any"
	if q.Type != nil {
		targetType = "is " + *q.Type
	}
	var contents []string
	for _, namespace := range slices.Sorted(maps.Keys(hashes)) {
		contents = append(contents, namespace, hashes[namespace])
	}
	return fmt.Sprintf("%q %t %q %q %v %d %q %q %q %q", q.Namespaces, q.Namespaces == nil, q.Set, q.Use, q.Statuses, maskOf(q.Problems), selector, targetType, textOf(q), contents)
}

func textOf(q *TargetQuery) string { return strings.ToLower(strings.TrimSpace(q.Text)) }

func namespaceMatcher(q *TargetQuery) func(string) bool {
	if q.Namespaces == nil {
		return func(string) bool { return true }
	}
	wanted := map[string]bool{}
	for _, n := range q.Namespaces {
		wanted[n] = true
	}
	return func(namespace string) bool { return wanted[namespace] }
}

// matcher returns what decides whether a query selects a row.
func matcher(q *TargetQuery, hashes map[string]string) func(*row) bool {
	inNamespace, text, problems := namespaceMatcher(q), textOf(q), maskOf(q.Problems)
	set, use, statuses, selector := q.Set, q.Use, slices.Clone(q.Statuses), q.Labels
	targetType := q.Type
	return func(w *row) bool {
		t := w.target
		switch {
		case w.problems&problems != problems,
			len(statuses) > 0 && !slices.Contains(statuses, fleetcounts.StatusOf(t)),
			targetType != nil && *targetType != t.Spec.Type,
			text != "" && !strings.Contains(w.text, text),
			set != "" && !usesSet(t, set, use, hashes[t.Namespace]),
			selector != nil && !selector.Matches(labels.Set(t.Labels)):
			return false
		}
		return inNamespace(t.Namespace)
	}
}

// usesSet reports whether a target uses a set with this content; hash is empty if the set does not
// exist or has no content yet.
func usesSet(t *v1alpha1.Target, set string, use Use, hash string) bool {
	switch use {
	case UseStarted:
		a := action.Open(&t.Status)
		return a != nil && a.DistributionSet == set
	case UseAssigned:
		return t.Spec.Assignment != nil && t.Spec.Assignment.DistributionSet == set
	case UseInstalled:
		i := t.Status.Installed
		if i == nil || i.ContentHash != "" {
			return i != nil && i.ContentHash == hash
		}
		return i.DistributionSet == set
	case UseNamed:
	}
	name := fleetcounts.Installed(t)
	return name == set || set == NoSet && name == ""
}

// Peers returns up to limit targets that are like a target: those of its namespace with the same
// spec.type, the first by name.
func (r *Roster) Peers(t *v1alpha1.Target, limit int) []Compared {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	s := r.query(&TargetQuery{Namespaces: []string{t.Namespace}, Type: new(t.Spec.Type)})
	var peers []Compared
	for _, i := range s.from(0, limit+1) {
		if peer := r.rows[i].target; peer.Name != t.Name && len(peers) < limit {
			peers = append(peers, Compared{peer, r.index.InventoryObject(keyOf(peer))})
		}
	}
	return peers
}
