// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Report is what a device reports about one feature, or about its attributes.
type Report struct {
	// Feature is what is reported of the feature. Empty fields were not reported, and what is
	// stored stays. The id is empty for the software in attributes.
	Feature v1alpha1.InventoryFeature
	// Installed and Context replace the stored entries of the feature. nil: not reported, what is
	// stored stays. Attributes have no context.
	Installed, Context []v1alpha1.InventorySoftware
	// Edits change single stored entries of the feature, after Installed and Context. Attributes
	// have none.
	Edits []Edit
	// Removed means that the feature does not exist any more.
	Removed bool
	// ReplacesAll means that all features were replaced: those that are not reported from now on
	// are gone. The id of the feature may be empty then.
	ReplacesAll bool
}

// Batch collects reports of one device until they are applied together. The zero value is empty.
type Batch struct {
	// replacesAll means that features without a report in the batch are gone.
	replacesAll bool
	// reports has at most one report for each feature, in no defined order.
	reports []pending
}

// pending is the sum of the reports on one feature.
type pending struct {
	feature            v1alpha1.InventoryFeature
	installed, context change
	// fresh means that everything stored of the feature is gone.
	fresh bool
	// removed means that the feature is gone.
	removed bool
	// stale means that all features were replaced after the report. It counts only if the feature
	// is reported again.
	stale bool
}

// IsEmpty reports whether the batch changes nothing.
func (b Batch) IsEmpty() bool { return !b.replacesAll && len(b.reports) == 0 }

// Size returns an upper limit of the memory of the batch in bytes.
func (b Batch) Size() int {
	const base, perEntry = 512, 160
	bytes := base
	for i := range b.reports {
		p := &b.reports[i]
		bytes += base
		for _, c := range []change{p.installed, p.context} {
			if c.list != nil {
				for j := range c.list.entries {
					bytes += perEntry + textOf(&c.list.entries[j])
				}
			}
			for j := range c.edits {
				bytes += perEntry + textOf(&c.edits[j].Entry)
			}
		}
		for _, o := range []*v1alpha1.InventoryOperation{p.feature.LastOperation, p.feature.LastFailedOperation} {
			if o != nil {
				bytes += base + size(o)
			}
		}
	}
	return bytes
}

// textOf returns the number of bytes of the texts of an entry.
func textOf(e *v1alpha1.InventorySoftware) int {
	return len(e.Group) + len(e.Name) + len(e.Version) + len(e.Type)
}

// Add returns the batch with one more report. The old batch stays as it is.
func (b Batch) Add(r Report) Batch {
	id := text.Clean(r.Feature.ID, maxFeature)
	next := b.clone()
	if r.ReplacesAll {
		next.replaceAll()
	}
	if id == "" && r.Installed == nil {
		return next
	}
	i := slices.IndexFunc(next.reports, func(p pending) bool { return p.feature.ID == id })
	if i < 0 {
		i, next.reports = len(next.reports), append(next.reports, pending{feature: v1alpha1.InventoryFeature{ID: id}})
	}
	p := &next.reports[i]
	if r.Removed {
		*p = pending{feature: v1alpha1.InventoryFeature{ID: id}, removed: true, fresh: true}
		return next
	}
	p.removed, p.stale = false, false
	p.feature.SoftwareModuleType = cmp.Or(text.Clean(r.Feature.SoftwareModuleType, maxWord), p.feature.SoftwareModuleType)
	p.feature.Definition = cmp.Or(text.Clean(r.Feature.Definition, maxDefinition), p.feature.Definition)
	p.feature.LastOperation = cmp.Or(cleanOperation(r.Feature.LastOperation), p.feature.LastOperation)
	p.feature.LastFailedOperation = cmp.Or(cleanOperation(r.Feature.LastFailedOperation), p.feature.LastFailedOperation)
	if r.Installed != nil {
		l := clean(id, r.Installed)
		p.installed = change{list: &l}
	}
	if id == "" {
		return next
	}
	if r.Context != nil {
		l := clean(id, r.Context)
		p.context = change{list: &l}
	}
	p.installed = p.installed.then(edited(id, r.Edits, false))
	p.context = p.context.then(edited(id, r.Edits, true))
	return next
}

func (b Batch) clone() Batch { return Batch{b.replacesAll, slices.Clone(b.reports)} }

// replaceAll makes the reports on features count only if the features are reported again.
func (b *Batch) replaceAll() {
	b.replacesAll = true
	for i := range b.reports {
		b.reports[i].stale = b.reports[i].feature.ID != ""
	}
}

// Followed returns the batch of all reports of b and then those of a later batch.
func (b Batch) Followed(later Batch) Batch {
	next := b.clone()
	if later.replacesAll {
		next.replaceAll()
	}
	for _, l := range later.reports {
		i := slices.IndexFunc(next.reports, func(p pending) bool { return p.feature.ID == l.feature.ID })
		if i < 0 || l.fresh {
			next.reports = append(slices.DeleteFunc(next.reports, func(p pending) bool { return p.feature.ID == l.feature.ID }), l)
			continue
		}
		p := &next.reports[i]
		p.removed, p.stale = l.removed, l.stale
		p.feature = overlaid(p.feature, l.feature)
		p.installed, p.context = p.installed.then(l.installed), p.context.then(l.context)
	}
	return next
}

// overlaid returns a feature with what a later report has of it.
func overlaid(f, later v1alpha1.InventoryFeature) v1alpha1.InventoryFeature {
	f.SoftwareModuleType, f.Definition = cmp.Or(later.SoftwareModuleType, f.SoftwareModuleType), cmp.Or(later.Definition, f.Definition)
	f.LastOperation, f.LastFailedOperation = cmp.Or(later.LastOperation, f.LastOperation), cmp.Or(later.LastFailedOperation, f.LastFailedOperation)
	return f
}

// Progress returns only the states of operations, of a batch that changes nothing else.
func (b Batch) Progress() Batch {
	next := Batch{}
	for _, p := range b.reports {
		if o := p.feature; !p.stale && !p.removed && (o.LastOperation != nil || o.LastFailedOperation != nil) {
			next.reports = append(next.reports, pending{feature: v1alpha1.InventoryFeature{ID: o.ID, LastOperation: o.LastOperation, LastFailedOperation: o.LastFailedOperation}})
		}
	}
	return next
}

// sorted returns the reports that count, by the id of their feature.
func (b Batch) sorted() []pending {
	valid := slices.DeleteFunc(slices.Clone(b.reports), func(p pending) bool { return p.stale })
	return slices.SortedFunc(slices.Values(valid), func(a, b pending) int { return strings.Compare(a.feature.ID, b.feature.ID) })
}
