// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Edit is a change of one stored entry. An entry is the same if group.name:version is: a device
// that removes one may know only this key.
type Edit struct {
	// Context means that the entry is one of Context, and not of Installed.
	Context bool
	// Removed means that the entry is gone. Otherwise it is added, or replaces the same entry.
	Removed bool
	Entry   v1alpha1.InventorySoftware
}

// keyOf returns the key by which an Edit finds an entry.
func keyOf(e v1alpha1.InventorySoftware) string { return e.Group + "." + e.Name + ":" + e.Version }

// change is what a report changes of one of the lists of a feature. The zero value is nothing.
type change struct {
	// list replaces the stored list, unless it is nil.
	list *list
	// edits are applied to the stored list if list is nil. Each has another key.
	edits []Edit
	// omitted is the number of edits that were left out.
	omitted int32
}

func (c change) isEmpty() bool { return c.list == nil && len(c.edits) == 0 && c.omitted == 0 }

// edited returns the change of the edits to one of the lists.
func edited(feature string, edits []Edit, isContext bool) change {
	c := change{}
	for _, e := range edits {
		if e.Context != isContext {
			continue
		}
		entry, ok := cleanEntry(feature, e.Entry)
		if !ok {
			c.omitted++
			continue
		}
		e.Entry = entry
		c.edits = append(c.edits, e)
	}
	c.limit()
	return c
}

// limit leaves only the last edit of each key, and no more edits than can have an effect.
func (c *change) limit() {
	last := make(map[string]int, len(c.edits))
	for i, e := range c.edits {
		last[keyOf(e.Entry)] = i
	}
	bytes, kept := 0, make([]Edit, 0, len(last))
	for i, e := range c.edits {
		if last[keyOf(e.Entry)] != i {
			continue
		}
		if bytes += size(e.Entry); len(kept) == v1alpha1.MaxInventoryEntries || bytes > v1alpha1.MaxInventoryBytes {
			c.omitted++
			continue
		}
		kept = append(kept, e)
	}
	c.edits = kept
}

// then returns the change that has the effect of c and then of a later change.
func (c change) then(later change) change {
	switch {
	case later.list != nil || c.isEmpty():
		return later
	case later.isEmpty():
		return c
	case c.list != nil:
		l := later.of(*c.list)
		return change{list: &l}
	}
	next := change{edits: slices.Concat(c.edits, later.edits), omitted: c.omitted + later.omitted}
	next.limit()
	return next
}

// of returns the list after the change.
func (c change) of(stored list) list {
	switch {
	case c.list != nil:
		return *c.list
	case c.isEmpty():
		return stored
	}
	changed := make(map[string]bool, len(c.edits))
	for _, e := range c.edits {
		changed[keyOf(e.Entry)] = true
	}
	next := list{omitted: c.omitted, before: max(stored.omitted, stored.before)}
	for _, entry := range stored.entries {
		if !changed[keyOf(entry)] {
			next.entries = append(next.entries, entry)
		}
	}
	for _, e := range c.edits {
		if !e.Removed {
			next.entries = append(next.entries, e.Entry)
		}
	}
	slices.SortFunc(next.entries, compare)
	next.limit(v1alpha1.MaxInventoryEntries, v1alpha1.MaxInventoryBytes)
	return next
}
