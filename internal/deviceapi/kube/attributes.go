// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// maxAttribute is the maximum length of a key or value of an attribute (hawkBit: 128).
const maxAttribute = 128

// maxSetWord is the number of characters that are read of the name or version of a set that a
// device reports. The schema allows less.
const maxSetWord = 256

// Attributes stores the attributes of a device. Unchanged attributes cause no write.
func (b *Backend) Attributes(ctx context.Context, d deviceapi.Device, reported deviceapi.Attributes) error {
	t, err := b.find(d)
	if err != nil {
		return err
	}
	next, err := merged(t.Status.Attributes, reported)
	if err != nil {
		return err
	}
	key, consistency := client.ObjectKeyFromObject(t), consistencyIn(reported)
	if !maps.Equal(next, t.Status.Attributes) || b.reportsNewInstalled(t, next) || action.ContradictsConsistency(&t.Status, consistency) {
		_, err = b.update(ctx, key, ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
			if next, err = merged(status.Attributes, reported); err != nil {
				return err
			}
			status.Attributes = next
			action.ReportConsistency(status, consistency, w.Now)
			targetstatus.NoteSelection(w.Target, status, b.index.SelectionFingerprint(w.Target), w.Now)
			seen(status, w.Now)
			if set := b.namedSet(w.Target.Namespace, status.Attributes); b.isNewInstalled(status, set) {
				action.ReportInstalled(status, set.Name, set.ContentHash, w.Now)
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	b.attribute.received(t)
	return b.noteSoftware(t, next)
}

// consistencyIn returns the value of AttributeConsistent that the device sends now, or "". What it
// sent earlier says nothing about the present.
func consistencyIn(reported deviceapi.Attributes) string {
	value := cleaned(reported.Values)[v1alpha1.AttributeConsistent]
	if value == nil || reported.Mode == deviceapi.RemoveAttributes {
		return ""
	}
	return *value
}

// merged returns the attributes after an update.
func merged(old map[string]v1alpha1.AttributeValue, reported deviceapi.Attributes) (map[string]v1alpha1.AttributeValue, error) {
	next := map[string]v1alpha1.AttributeValue{}
	if reported.Mode != deviceapi.ReplaceAttributes {
		maps.Copy(next, old)
	}
	sent := cleaned(reported.Values)
	for _, key := range slices.Sorted(maps.Keys(sent)) {
		value := sent[key]
		if key == "" || utf8.RuneCountInString(key) > maxAttribute {
			return nil, deviceapi.BadRequest{Reason: fmt.Sprintf("data has the key %.32q: a key has 1 to %d characters", key, maxAttribute)}
		}
		if reported.Mode == deviceapi.RemoveAttributes || value == nil {
			delete(next, key)
			continue
		}
		if utf8.RuneCountInString(*value) > maxAttribute {
			return nil, deviceapi.BadRequest{Reason: fmt.Sprintf("data[%.32q] is too long: a value has at most %d characters", key, maxAttribute)}
		}
		next[key] = v1alpha1.AttributeValue(*value)
	}
	if len(next) > v1alpha1.MaxAttributes {
		return nil, deviceapi.TooMany{Reason: fmt.Sprintf("the device would have %d attributes, of at most %d; remove some, or send them with mode replace", len(next), v1alpha1.MaxAttributes)}
	}
	if len(next) == 0 {
		return nil, nil
	}
	encoded, err := json.Marshal(next)
	if err != nil {
		return nil, fmt.Errorf("encode attributes: %w", err) // strings can always be encoded
	}
	if len(encoded) > v1alpha1.MaxAttributeBytes {
		return nil, deviceapi.TooMany{Reason: fmt.Sprintf("the attributes of the device would take %d bytes as JSON, of at most %d in all; send fewer or shorter ones, or remove some", len(encoded), v1alpha1.MaxAttributeBytes)}
	}
	return next, nil
}

// cleaned returns attributes with clean keys and values. If two keys become the same, the key that
// needed no cleaning takes precedence, else the last one in alphabetical order.
func cleaned(sent map[string]*string) map[string]*string {
	clean := make(map[string]*string, len(sent))
	for _, key := range slices.Sorted(maps.Keys(sent)) {
		name, value := text.Clean(key, 0), sent[key]
		if _, exact := sent[name]; exact && name != key {
			continue
		}
		if value != nil {
			v := text.Clean(*value, 0)
			value = &v
		}
		clean[name] = value
	}
	return clean
}

// reportsNewInstalled reports whether the attributes name an installed set that was not known
// before.
func (b *Backend) reportsNewInstalled(t *v1alpha1.Target, attributes map[string]v1alpha1.AttributeValue) bool {
	return b.isNewInstalled(&t.Status, b.namedSet(t.Namespace, attributes))
}

// isNewInstalled reports whether it was not known before that the device runs the set. An
// inconsistent device may report it repeatedly, because its report does not make it consistent
// again.
func (b *Backend) isNewInstalled(s *v1alpha1.TargetStatus, set *eligibility.Set) bool {
	switch i := s.Installed; {
	case set == nil || set.ContentHash == "":
		return false
	case i == nil:
		return true
	case i.ActionID != 0 && i.DistributionSet != set.Name && b.index.IsSameRelease(set.Namespace, i.DistributionSet, set.Name):
		return false // the installed set has the same name and version, and another type
	default:
		return i.DistributionSet != set.Name || i.ContentHash != set.ContentHash
	}
}

// hasUnappliedReport reports whether the set in a device's attributes was created after the
// attributes were sent: in a rebuild a device may report before its set exists.
func (b *Backend) hasUnappliedReport(t *v1alpha1.Target) bool {
	return t.Status.Installed == nil && len(t.Status.Attributes) > 0 && b.reportsNewInstalled(t, t.Status.Attributes)
}

// applyEarlierReport applies the device's earlier report of its installed set, if it is new.
func (b *Backend) applyEarlierReport(w offer.World, status *v1alpha1.TargetStatus) error {
	if set := b.namedSet(w.Target.Namespace, status.Attributes); status.Installed == nil && b.isNewInstalled(status, set) {
		action.ReportInstalled(status, set.Name, set.ContentHash, w.Now)
	}
	return nil
}

// namedSet returns the set that two attributes name, or nil.
func (b *Backend) namedSet(namespace string, attributes map[string]v1alpha1.AttributeValue) *eligibility.Set {
	if b.options.InstalledName == "" || b.options.InstalledVersion == "" {
		return nil
	}
	return b.index.SetOfVersion(namespace, string(attributes[b.options.InstalledName]), string(attributes[b.options.InstalledVersion]))
}

// ReportInstalled stores which set the device reports to run.
func (b *Backend) ReportInstalled(ctx context.Context, d deviceapi.Device, name, version string) (bool, error) {
	t, err := b.find(d)
	if err != nil {
		return false, err
	}
	name, version = text.Clean(name, maxSetWord), text.Clean(version, maxSetWord)
	set := b.index.SetOfVersion(t.Namespace, name, version)
	switch {
	case set == nil:
		return false, deviceapi.ErrNotFound
	case set.IsInvalid():
		return false, deviceapi.BadRequest{Reason: fmt.Sprintf("the distribution set %s %s is invalidated", name, version)}
	case set.ContentHash == "":
		return false, deviceapi.BadRequest{Reason: fmt.Sprintf("the distribution set %s %s is not complete: %s", name, version, set.NotDeployable)}
	case !b.isNewInstalled(&t.Status, set):
		return false, nil
	}
	_, err = b.update(ctx, client.ObjectKeyFromObject(t), ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		action.ReportInstalled(status, set.Name, set.ContentHash, w.Now)
		seen(status, w.Now)
		return nil
	})
	return err == nil, err
}

// canRemove returns whether the device has announced that it removes software by DDI.
func canRemove(t *v1alpha1.Target) deviceapi.CanRemove {
	if t.Status.Attributes[v1alpha1.AttributeRemoves] == "true" {
		return deviceapi.RemovesSoftware
	}
	return deviceapi.CannotRemove
}

// attributeRounds remembers after which update a device last sent its attributes. It is only a
// cache: after a restart the attributes are requested once more, and unchanged attributes cause no
// write.
type attributeRounds struct {
	mu   sync.Mutex
	last map[types.UID]int32
	// requested has devices without attributes that were asked for them before a removal.
	requested map[types.UID]bool
}

func newAttributeRounds() *attributeRounds {
	return &attributeRounds{last: map[types.UID]int32{}, requested: map[types.UID]bool{}}
}

// isFirstRequest reports whether a device without attributes is asked for them the first time
// before a removal.
func (r *attributeRounds) isFirstRequest(t *v1alpha1.Target) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.requested[t.UID] {
		return false
	}
	r.requested[t.UID] = true
	return true
}

// wanted reports whether the device should send its attributes: if it never sent any, and after
// each success.
func (r *attributeRounds) wanted(t *v1alpha1.Target) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	after, known := r.last[t.UID]
	if !known {
		return len(t.Status.Attributes) == 0 || lastSuccess(t) > 0
	}
	return lastSuccess(t) > after
}

// forget drops a deleted target.
func (r *attributeRounds) forget(old, now client.Object) {
	before, wasTarget := old.(*v1alpha1.Target)
	if after, isTarget := now.(*v1alpha1.Target); !wasTarget || before == nil || isTarget && after != nil && after.UID == before.UID {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, before.UID)
	delete(r.requested, before.UID)
}

func (r *attributeRounds) received(t *v1alpha1.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[t.UID] = lastSuccess(t)
	delete(r.requested, t.UID)
}

func lastSuccess(t *v1alpha1.Target) int32 {
	var last int32
	for i := range t.Status.Actions {
		if a := &t.Status.Actions[i]; a.State == v1alpha1.ActionFinished && a.ID > last {
			last = a.ID
		}
	}
	return last
}
