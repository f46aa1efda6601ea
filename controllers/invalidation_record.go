// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// invalidationEntryPrefix is the prefix of the ConfigMaps with the entries of a namespace:
	// prefix, namespace, dash, number. In an older layout the prefix was followed by the first two
	// hexadecimal digits of the entry's key, for all namespaces together. Such ConfigMaps are read,
	// but no longer written.
	invalidationEntryPrefix = "goshawk-invalidated-"
	// maxShardBytes and maxShards limit the record of one namespace to 8 MiB, which is at least 14
	// 000 entries. A ConfigMap may have 1 MiB, including its metadata.
	maxShardBytes = 256 << 10
	maxShards     = 32
	// maxEntryBytes is the maximum length of the line of an entry.
	maxEntryBytes = 512
	// maxInvalidationEntryTries is how often a write is tried when other writers change the record.
	maxInvalidationEntryTries = 4
	// fewShards is how many ConfigMaps of the old layout are read one by one. If more are needed,
	// they are listed.
	fewShards = 4
)

// errShardFull is returned when the record of a namespace has no room for an entry.
var errShardFull = errors.New("the record of invalidated sets of the namespace is full")

// InvalidationRecord stores which sets were invalidated, beyond the lifetime of the sets: a set
// that is deleted and applied again is invalid from its first reconcile. It is read from the API
// server, not from the cache.
type InvalidationRecord struct {
	Reader    client.Reader
	Client    client.Client
	Namespace string
}

// InvalidationEntry is the record of one invalidated set.
type InvalidationEntry struct {
	Cancellation v1alpha1.Cancellation
	// Since is when the invalidation was first observed.
	Since time.Time
	// Reason of the invalidation, perhaps truncated.
	Reason string
	// ConfigMap and Key locate the entry.
	ConfigMap types.NamespacedName
	Key       string
}

// Find returns the entry for a set's namespace, name, version and type, or nil if there is none.
func (t InvalidationRecord) Find(ctx context.Context, set *v1alpha1.DistributionSet) (*InvalidationEntry, error) {
	r, err := t.read(ctx, []*v1alpha1.DistributionSet{set})
	if err != nil {
		return nil, err
	}
	return r.entry(set), nil
}

// PutAll records that sets of one namespace were invalidated, in as few writes as possible. An
// entry that exists is left as it is, because an invalidation is final. PutAll returns the recorded
// entries by their keys, also with an error. Where there is not room for all sets, the earlier ones
// of the list are recorded, and the error is errShardFull.
func (t InvalidationRecord) PutAll(ctx context.Context, sets []*v1alpha1.DistributionSet, now time.Time) (map[string]*InvalidationEntry, error) {
	for try := 1; ; try++ {
		entries, err := t.tryPut(ctx, sets, now)
		if lost := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err); !lost || try == maxInvalidationEntryTries {
			if err != nil {
				err = fmt.Errorf("record the invalidation of DistributionSet %s/%s: %w", sets[0].Namespace, sets[0].Name, err)
			}
			return entries, err
		}
	}
}

func (t InvalidationRecord) tryPut(ctx context.Context, sets []*v1alpha1.DistributionSet, now time.Time) (map[string]*InvalidationEntry, error) {
	r, err := t.read(ctx, sets)
	if err != nil {
		return nil, err
	}
	entries := map[string]*InvalidationEntry{}
	var full error
	for _, set := range sets {
		if r.entry(set) == nil && !r.add(set, now) {
			full = fmt.Errorf("%w: %d ConfigMaps %s* with at most %d KiB each; delete the entries of sets that will never be applied again",
				errShardFull, maxShards, client.ObjectKey{Namespace: t.Namespace, Name: r.name("")}, maxShardBytes>>10)
			break
		}
	}
	if err := t.write(ctx, r); err != nil {
		return nil, err
	}
	for _, set := range sets {
		if found := r.entry(set); found != nil {
			entries[invalidationEntryKey(set)] = found
		}
	}
	return entries, full
}

// namespaceRecord is the record of one namespace, as far as it was read.
type namespaceRecord struct {
	system, namespace string
	shards            []*corev1.ConfigMap // by number
	sizes             map[*corev1.ConfigMap]int
	changed           []*corev1.ConfigMap
	// old contains ConfigMaps of the older layout, by name.
	old map[string]*corev1.ConfigMap
}

func (r *namespaceRecord) name(number string) string {
	return invalidationEntryPrefix + r.namespace + "-" + number
}

// read reads all ConfigMaps of a namespace, and those of the older layout that belong to the sets.
func (t InvalidationRecord) read(ctx context.Context, sets []*v1alpha1.DistributionSet) (*namespaceRecord, error) {
	r := &namespaceRecord{system: t.Namespace, namespace: sets[0].Namespace, sizes: map[*corev1.ConfigMap]int{}, old: map[string]*corev1.ConfigMap{}}
	var list corev1.ConfigMapList
	if err := t.Reader.List(ctx, &list, client.InNamespace(t.Namespace), client.MatchingLabels{v1alpha1.InvalidatedNamespaceLabel: r.namespace}); err != nil {
		return nil, fmt.Errorf("list the record of invalidated sets of namespace %s in namespace %s: %w", r.namespace, t.Namespace, err)
	}
	for i := range list.Items {
		if shard := &list.Items[i]; strings.HasPrefix(shard.Name, r.name("")) {
			r.shards = append(r.shards, shard)
			r.sizes[shard] = sizeOf(shard)
		}
	}
	slices.SortFunc(r.shards, func(a, b *corev1.ConfigMap) int { return strings.Compare(a.Name, b.Name) })
	return r, t.readOld(ctx, sets, r.old)
}

// readOld reads the ConfigMaps of the older layout that belong to the sets.
func (t InvalidationRecord) readOld(ctx context.Context, sets []*v1alpha1.DistributionSet, into map[string]*corev1.ConfigMap) error {
	names := map[string]bool{}
	for _, set := range sets {
		names[oldShard(set)] = true
	}
	if len(names) > fewShards {
		var list corev1.ConfigMapList
		old, err := labels.Parse(v1alpha1.ManagedByLabel + "=" + v1alpha1.ManagedByValue + ",!" + v1alpha1.InvalidatedNamespaceLabel)
		if err != nil {
			return err
		}
		if err := t.Reader.List(ctx, &list, client.InNamespace(t.Namespace), client.MatchingLabelsSelector{Selector: old}); err != nil {
			return fmt.Errorf("list the older record of invalidated sets in namespace %s: %w", t.Namespace, err)
		}
		for i := range list.Items {
			into[list.Items[i].Name] = &list.Items[i]
		}
		return nil
	}
	for name := range names {
		shard, key := &corev1.ConfigMap{}, types.NamespacedName{Namespace: t.Namespace, Name: name}
		if err := t.Reader.Get(ctx, key, shard); err == nil {
			into[name] = shard
		} else if !apierrors.IsNotFound(err) {
			return fmt.Errorf("read the older record of invalidated sets in ConfigMap %s: %w", key, err)
		}
	}
	return nil
}

func oldShard(set *v1alpha1.DistributionSet) string {
	return invalidationEntryPrefix + invalidationEntryKey(set)[:2]
}

// entry returns the entry of a set, or nil if there is none. The older layout is read first,
// because its entries are older.
func (r *namespaceRecord) entry(set *v1alpha1.DistributionSet) *InvalidationEntry {
	if shard := r.old[oldShard(set)]; shard != nil {
		if found := entryIn(shard, set); found != nil {
			return found
		}
	}
	for _, shard := range r.shards {
		if found := entryIn(shard, set); found != nil {
			return found
		}
	}
	return nil
}

// add adds an entry to the first ConfigMap with room, or to a new one. It reports whether there was
// room.
func (r *namespaceRecord) add(set *v1alpha1.DistributionSet, now time.Time) bool {
	key, line := invalidationEntryKey(set), invalidationEntryLine(set, now)
	for _, shard := range r.shards {
		if r.sizes[shard]+len(key)+len(line) <= maxShardBytes {
			r.put(shard, key, line)
			return true
		}
	}
	taken := map[string]bool{}
	for _, shard := range r.shards {
		taken[shard.Name] = true
	}
	for number := range maxShards {
		if name := r.name(strconv.Itoa(number)); !taken[name] {
			shard := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.system, Name: name,
				Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue, v1alpha1.InvalidatedNamespaceLabel: r.namespace}}}
			r.shards = append(r.shards, shard)
			r.put(shard, key, line)
			return true
		}
	}
	return false
}

func (r *namespaceRecord) put(shard *corev1.ConfigMap, key, line string) {
	if shard.Data == nil {
		shard.Data = map[string]string{}
	}
	shard.Data[key] = line
	r.sizes[shard] += len(key) + len(line)
	if !slices.Contains(r.changed, shard) {
		r.changed = append(r.changed, shard)
	}
}

// write writes the ConfigMaps that entries were added to, each with the resource version that was
// read.
func (t InvalidationRecord) write(ctx context.Context, r *namespaceRecord) error {
	for _, shard := range r.changed {
		var err error
		if shard.ResourceVersion == "" {
			err = t.Client.Create(ctx, shard, client.FieldOwner("goshawk"))
		} else {
			err = t.Client.Update(ctx, shard, client.FieldOwner("goshawk"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sizeOf(shard *corev1.ConfigMap) int {
	n := 0
	for key, line := range shard.Data {
		n += len(key) + len(line)
	}
	return n
}

func invalidationEntryKey(set *v1alpha1.DistributionSet) string {
	return digest(set.Namespace, set.Spec.Name, set.Spec.Version, set.Spec.Type)
}

// invalidationEntryLine returns the line of an entry, which is written for operators:
// namespace/name version (type) Force since 2026-12-01T02:00:00Z: reason.
func invalidationEntryLine(set *v1alpha1.DistributionSet, now time.Time) string {
	invalidation := set.InvalidationInForce()
	line := fmt.Sprintf("%s %s since %s", invalidationEntryLabel(set), invalidation.Cancellation, now.UTC().Format(time.RFC3339))
	if reason := oneLine(invalidation.Reason); reason != "" {
		line += ": " + reason
	}
	return text.LimitBytes(line, maxEntryBytes)
}

// invalidationEntryLabel returns the set as the entry names it, truncated to leave room for what
// follows. The key identifies the set, not this label.
func invalidationEntryLabel(set *v1alpha1.DistributionSet) string {
	return fmt.Sprintf("%s/%s %s (%s)", set.Namespace, text.LimitBytes(oneLine(set.Spec.Name), 128), text.LimitBytes(oneLine(set.Spec.Version), 64), text.LimitBytes(oneLine(set.Spec.Type), 64))
}

var invalidationEntryPattern = regexp.MustCompile(`^ ?(None|Soft|Force) since (\S+Z)(?:: (.*))?$`)

// entryIn returns the entry of the set. An entry whose text cannot be parsed counts as None since
// the creation of the ConfigMap: its key is enough to know that the set is invalid, but no action
// is canceled because of a damaged text.
func entryIn(shard *corev1.ConfigMap, set *v1alpha1.DistributionSet) *InvalidationEntry {
	key := invalidationEntryKey(set)
	line, ok := shard.Data[key]
	if !ok {
		return nil
	}
	found := &InvalidationEntry{Cancellation: v1alpha1.CancellationNone, Since: shard.CreationTimestamp.Time, ConfigMap: client.ObjectKeyFromObject(shard), Key: key}
	facts := invalidationEntryPattern.FindStringSubmatch(strings.TrimPrefix(line, invalidationEntryLabel(set)))
	if facts == nil {
		return found
	}
	if since, err := time.Parse(time.RFC3339, facts[2]); err == nil {
		found.Cancellation, found.Since, found.Reason = v1alpha1.Cancellation(facts[1]), since, facts[3]
	}
	return found
}

// oneLine replaces line breaks and invisible characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
