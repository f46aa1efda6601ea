// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inventory holds the rules for what is stored of the software that a device reports: which
// entries are kept, in which order, how they are compared, and what counts as a change.
//
// The functions are pure and deterministic: the same reports give the same status.
package inventory

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Maximum lengths in characters. The schema has the same limits.
const (
	maxFeature    = 128
	maxName       = 256 // also of a group and of a software module
	maxVersion    = 128
	maxWord       = 64 // a type, a status, a status code, a correlation id
	maxDefinition = 256
	maxMessage    = 512
	maxSoftware   = 50 // entries of an operation
)

// list is a cleaned list of entries, and the number of entries that were left out of it.
type list struct {
	entries []v1alpha1.InventorySoftware
	omitted int32
	// before is the number of entries that were left out before the list was edited. Those of
	// omitted may be among them.
	before int32
}

// clean returns the entries of a feature sorted, each once, and without those that cannot be
// stored.
func clean(feature string, reported []v1alpha1.InventorySoftware) list {
	l := list{entries: make([]v1alpha1.InventorySoftware, 0, len(reported))}
	for _, e := range reported {
		entry, ok := cleanEntry(feature, e)
		if !ok {
			l.omitted++
			continue
		}
		l.entries = append(l.entries, entry)
	}
	slices.SortFunc(l.entries, compare)
	l.entries = slices.Compact(l.entries)
	l.limit(v1alpha1.MaxInventoryEntries, v1alpha1.MaxInventoryBytes)
	return l
}

// cleanEntry returns an entry of a feature, and reports whether it can be stored.
func cleanEntry(feature string, e v1alpha1.InventorySoftware) (v1alpha1.InventorySoftware, bool) {
	e = v1alpha1.InventorySoftware{
		Feature: feature, Group: text.Clean(e.Group, 0), Name: text.Clean(e.Name, 0), Version: text.Clean(e.Version, 0), Type: text.Clean(e.Type, 0),
	}
	return e, e.Name != "" && !isLong(e.Group, maxName) && !isLong(e.Name, maxName) && !isLong(e.Version, maxVersion) && !isLong(e.Type, maxWord)
}

// limit leaves out the entries after those that fit.
func (l *list) limit(entries, bytes int) {
	for i := range l.entries {
		if bytes -= size(l.entries[i]); i == entries || bytes < 0 {
			l.omitted += int32(len(l.entries) - i)
			l.entries = l.entries[:i:i]
			return
		}
	}
}

func isLong(s string, limit int) bool { return len(s) > limit && utf8.RuneCountInString(s) > limit }

// compare orders entries by feature, group, name, version and type.
func compare(a, b v1alpha1.InventorySoftware) int {
	return cmp.Or(strings.Compare(a.Feature, b.Feature), strings.Compare(a.Group, b.Group), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Version, b.Version), strings.Compare(a.Type, b.Type))
}

// size returns the number of bytes of a value as JSON in a list.
func size(value any) int {
	encoded, err := json.Marshal(value) // escapes more than the API server does
	if err != nil {
		panic(err) // the API types can always be encoded
	}
	return len(encoded) + 1
}

// cleanOperation returns an operation that can be stored, or nil if it has no status.
func cleanOperation(o *v1alpha1.InventoryOperation) *v1alpha1.InventoryOperation {
	if o == nil {
		return nil
	}
	c := &v1alpha1.InventoryOperation{
		CorrelationID: text.Clean(o.CorrelationID, maxWord), Status: text.Clean(o.Status, maxWord), Message: text.Clean(text.Redact(o.Message[:min(len(o.Message), 8*maxMessage)]), maxMessage),
		StatusCode: text.Clean(o.StatusCode, maxWord), SoftwareModule: text.Clean(o.SoftwareModule, maxName),
	}
	if c.Status == "" {
		return nil
	}
	if o.Progress != nil {
		c.Progress = new(min(max(*o.Progress, 0), 100))
	}
	software := clean("", o.Software[:min(len(o.Software), maxSoftware)])
	software.limit(maxSoftware, max(0, v1alpha1.MaxInventoryOperationBytes-size(c)-len(`,"software":[]`)))
	if len(software.entries) > 0 {
		c.Software = software.entries
	}
	for limit := maxMessage / 2; size(c) > v1alpha1.MaxInventoryOperationBytes && limit > 0; limit /= 2 {
		c.Message = text.Clean(c.Message, limit)
	}
	return c
}

// IsSupported reports whether Goshawk can use a feature with this definition, such as
// org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0. A feature without a definition, or with
// one without a version, counts as supported.
func IsSupported(definition string) bool {
	major, _, _ := strings.Cut(definition[strings.LastIndex(definition, ":")+1:], ".")
	n, err := strconv.Atoi(major)
	return err != nil || n == 2
}

// FromAttributes returns the entries that attributes with a prefix contain: <prefix><group>.<name>
// with the version as value. The group ends at the last dot, and may be missing.
func FromAttributes(prefix string, attributes map[string]v1alpha1.AttributeValue) []v1alpha1.InventorySoftware {
	entries := []v1alpha1.InventorySoftware{}
	if prefix == "" {
		return entries
	}
	for key, version := range attributes {
		rest, found := strings.CutPrefix(key, prefix)
		if !found || rest == "" {
			continue
		}
		e := v1alpha1.InventorySoftware{Name: rest, Version: string(version)}
		if dot := strings.LastIndex(rest, "."); dot >= 0 && dot+1 < len(rest) {
			e.Group, e.Name = rest[:dot], rest[dot+1:]
		}
		entries = append(entries, e)
	}
	return clean("", entries).entries
}
