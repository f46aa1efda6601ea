package controllers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// tombstonePrefix and the first two hexadecimal digits of an entry's key name the ConfigMap it is in.
	tombstonePrefix = "goshawk-invalidated-"
	// maxShardBytes keeps a ConfigMap below the API server's limit of 1 MiB.
	maxShardBytes = 900 << 10
	// maxEntryBytes is the longest line of an entry.
	maxEntryBytes = 512
	// maxTombstoneTries is how often an entry is tried against other writers of its shard.
	maxTombstoneTries = 4
)

// errShardFull says that an invalidation cannot be recorded.
var errShardFull = errors.New("the record of invalidated sets is full")

// Tombstones remember which sets were invalidated, longer than the sets themselves live: a set that is deleted and applied again is invalid from its
// first look. They are read past the cache.
type Tombstones struct {
	Reader    client.Reader
	Client    client.Client
	Namespace string
}

// Tombstone is one invalidated set.
type Tombstone struct {
	Cancelation v1alpha1.Cancelation
	// Since is when the invalidation was first observed.
	Since time.Time
	// Reason for people, perhaps shortened.
	Reason string
	// ConfigMap and Key are where the entry is.
	ConfigMap types.NamespacedName
	Key       string
}

// Find the entry of a set's namespace, name, version and type; nil: there is none.
func (t Tombstones) Find(ctx context.Context, set *v1alpha1.DistributionSet) (*Tombstone, error) {
	shard, err := t.shard(ctx, set)
	if err != nil || shard == nil {
		return nil, err
	}
	return entryIn(shard, set), nil
}

// Put records that a set was invalidated and answers the entry. One that exists is left as it is: an invalidation is not repeatable.
func (t Tombstones) Put(ctx context.Context, set *v1alpha1.DistributionSet, now time.Time) (*Tombstone, error) {
	for try := 1; ; try++ {
		shard, err := t.shard(ctx, set)
		if err != nil {
			return nil, err
		}
		if shard != nil {
			if found := entryIn(shard, set); found != nil {
				return found, nil
			}
		}
		written, err := t.write(ctx, shard, set, now)
		if err == nil {
			return entryIn(written, set), nil
		}
		if lost := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err); !lost || try == maxTombstoneTries {
			return nil, fmt.Errorf("record the invalidation of DistributionSet %s/%s: %w", set.Namespace, set.Name, err)
		}
	}
}

// shard is the ConfigMap that the set's entry belongs to; nil: it does not exist yet.
func (t Tombstones) shard(ctx context.Context, set *v1alpha1.DistributionSet) (*corev1.ConfigMap, error) {
	key := t.place(set)
	shard := &corev1.ConfigMap{}
	err := t.Reader.Get(ctx, key, shard)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of invalidated sets in ConfigMap %s: %w", key, err)
	}
	return shard, nil
}

func (t Tombstones) place(set *v1alpha1.DistributionSet) types.NamespacedName {
	return types.NamespacedName{Namespace: t.Namespace, Name: tombstonePrefix + tombstoneKey(set)[:2]}
}

// write adds the entry under the lock of the shard that was read, or creates the shard.
func (t Tombstones) write(ctx context.Context, shard *corev1.ConfigMap, set *v1alpha1.DistributionSet, now time.Time) (*corev1.ConfigMap, error) {
	if shard == nil {
		key := t.place(set)
		shard = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}}}
		bury(shard, set, now)
		return shard, t.Client.Create(ctx, shard, client.FieldOwner("goshawk"))
	}
	next := shard.DeepCopy()
	bury(next, set, now)
	if sizeOf(next) > maxShardBytes {
		return nil, fmt.Errorf("%w: ConfigMap %s would exceed %d KiB; delete entries of sets that will never be applied again", errShardFull, client.ObjectKeyFromObject(shard), maxShardBytes>>10)
	}
	return next, t.Client.Update(ctx, next, client.FieldOwner("goshawk"))
}

func bury(shard *corev1.ConfigMap, set *v1alpha1.DistributionSet, now time.Time) {
	if shard.Data == nil {
		shard.Data = map[string]string{}
	}
	shard.Data[tombstoneKey(set)] = tombstoneLine(set, now)
}

func sizeOf(shard *corev1.ConfigMap) int {
	n := 0
	for key, line := range shard.Data {
		n += len(key) + len(line)
	}
	return n
}

func tombstoneKey(set *v1alpha1.DistributionSet) string {
	return digest(set.Namespace, set.Spec.Name, set.Spec.Version, set.Spec.Type)
}

// tombstoneLine is what an operator reads: namespace/name version (type) Force since 2026-12-01T02:00:00Z: reason.
func tombstoneLine(set *v1alpha1.DistributionSet, now time.Time) string {
	invalidation := set.InvalidationInForce()
	line := fmt.Sprintf("%s %s since %s", tombstoneLabel(set), invalidation.Cancelation, now.UTC().Format(time.RFC3339))
	if reason := oneLine(invalidation.Reason); reason != "" {
		line += ": " + reason
	}
	return shorten(line, maxEntryBytes)
}

// tombstoneLabel is a set as the entry names it, short enough to leave room for what follows. The key, not the label, identifies the set.
func tombstoneLabel(set *v1alpha1.DistributionSet) string {
	return fmt.Sprintf("%s/%s %s (%s)", set.Namespace, shorten(oneLine(set.Spec.Name), 128), shorten(oneLine(set.Spec.Version), 64), shorten(oneLine(set.Spec.Type), 64))
}

var tombstoneFacts = regexp.MustCompile(`^ ?(None|Soft|Force) since (\S+Z)(?:: (.*))?$`)

// entryIn reads the set's entry. What cannot be read back counts as None since the record was begun: the key alone says that the set is invalid, and
// nobody is canceled for a garbled word.
func entryIn(shard *corev1.ConfigMap, set *v1alpha1.DistributionSet) *Tombstone {
	key := tombstoneKey(set)
	line, ok := shard.Data[key]
	if !ok {
		return nil
	}
	found := &Tombstone{Cancelation: v1alpha1.CancelationNone, Since: shard.CreationTimestamp.Time, ConfigMap: client.ObjectKeyFromObject(shard), Key: key}
	facts := tombstoneFacts.FindStringSubmatch(strings.TrimPrefix(line, tombstoneLabel(set)))
	if facts == nil {
		return found
	}
	if since, err := time.Parse(time.RFC3339, facts[2]); err == nil {
		found.Cancelation, found.Since, found.Reason = v1alpha1.Cancelation(facts[1]), since, facts[3]
	}
	return found
}

// oneLine replaces what would break a line or hide in one.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// shorten cuts at a whole character.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	cut := limit - len(mark)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}
