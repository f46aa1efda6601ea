// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// putOne records the invalidation of one set and returns its entry.
func putOne(ctx context.Context, record InvalidationRecord, set *v1alpha1.DistributionSet, now time.Time) (*InvalidationEntry, error) {
	entries, err := record.PutAll(ctx, []*v1alpha1.DistributionSet{set}, now)
	return entries[invalidationEntryKey(set)], err
}

func anInvalidSet(name, version, kind, reason string, c v1alpha1.Cancellation) *v1alpha1.DistributionSet {
	return built.DistributionSet("object", func(s *v1alpha1.DistributionSet) {
		s.Namespace, s.Spec.Name, s.Spec.Version, s.Spec.Type = fleetNamespace, name, version, kind
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: c, Reason: reason}
	})
}

func TestInvalidationEntryIsFoundAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		set    *v1alpha1.DistributionSet
		line   string
		reason string
	}{
		"an ordinary set": {
			anInvalidSet("firmware", "2.1", "full-image", "bricks the modem", v1alpha1.CancellationForce),
			"fleet/firmware 2.1 (full-image) Force since 2026-11-02T06:00:00Z: bricks the modem", "bricks the modem"},
		"no reason": {
			anInvalidSet("firmware", "2.1", "full-image", "", v1alpha1.CancellationSoft),
			"fleet/firmware 2.1 (full-image) Soft since 2026-11-02T06:00:00Z", ""},
		"a name that looks like an entry": {
			anInvalidSet("a (b) Force since 2020-01-01T00:00:00Z: x", "1", "t", "", v1alpha1.CancellationNone),
			"fleet/a (b) Force since 2020-01-01T00:00:00Z: x 1 (t) None since 2026-11-02T06:00:00Z", ""},
		"a reason that looks like an entry": {
			anInvalidSet("a", "1", "t", "see b 2 (t) Force since 2020-01-01T00:00:00Z: x", v1alpha1.CancellationNone),
			"fleet/a 1 (t) None since 2026-11-02T06:00:00Z: see b 2 (t) Force since 2020-01-01T00:00:00Z: x", "see b 2 (t) Force since 2020-01-01T00:00:00Z: x"},
		"a reason of several lines": {
			anInvalidSet("a", "1", "t", "one\ntwo", v1alpha1.CancellationSoft),
			"fleet/a 1 (t) Soft since 2026-11-02T06:00:00Z: one two", "one two"},
	} {
		t.Run(name, func(t *testing.T) {
			record := InvalidationRecord{Namespace: system}
			record.Client = fake.NewClientBuilder().Build()
			record.Reader = record.Client
			if found, err := record.Find(t.Context(), tc.set); found != nil || err != nil {
				t.Fatalf("before it was recorded Find returns %v, %v", found, err)
			}
			put, err := putOne(t.Context(), record, tc.set, dawn.Add(300*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			found, err := record.Find(t.Context(), tc.set)
			if err != nil {
				t.Fatal(err)
			}
			want := &InvalidationEntry{Cancellation: tc.set.Spec.Invalidation.Cancellation, Since: dawn, Reason: tc.reason, ConfigMap: put.ConfigMap, Key: put.Key}
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
			var shard corev1.ConfigMap
			if err := record.Client.Get(t.Context(), put.ConfigMap, &shard); err != nil {
				t.Fatal(err)
			}
			if got := shard.Data[put.Key]; got != tc.line {
				t.Errorf("line\n got %s\nwant %s", got, tc.line)
			}
			if shard.Name != "goshawk-invalidated-fleet-0" || shard.Labels[v1alpha1.InvalidatedNamespaceLabel] != fleetNamespace || shard.Labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue {
				t.Errorf("ConfigMap %s with labels %v", shard.Name, shard.Labels)
			}
		})
	}
}

func TestInvalidationEntryLineHasBounds(t *testing.T) {
	long := anInvalidSet(strings.Repeat("ü", 128), strings.Repeat("漢", 64), strings.Repeat("é", 64), strings.Repeat("ß", 256), v1alpha1.CancellationForce)
	long.Namespace = strings.Repeat("n", 63)
	line := invalidationEntryLine(long, dawn)
	if len(line) > 512 || !utf8.ValidString(line) {
		t.Errorf("%d bytes, valid %v", len(line), utf8.ValidString(line))
	}
	shard := &corev1.ConfigMap{Data: map[string]string{invalidationEntryKey(long): line}}
	if found := entryIn(shard, long); found.Cancellation != v1alpha1.CancellationForce || !found.Since.Equal(dawn) {
		t.Errorf("a truncated line is parsed as %+v", found)
	}
}

func TestInvalidationEntryKeySeparatesItsParts(t *testing.T) {
	keys := map[string]string{}
	for _, set := range []*v1alpha1.DistributionSet{
		anInvalidSet("a", "b", "c", "", ""), anInvalidSet("ab", "", "c", "", ""), anInvalidSet("a", "bc", "", "", ""),
		anInvalidSet(`a","b`, "c", "", "", ""), anInvalidSet("a", "c", "b", "", ""),
	} {
		key := invalidationEntryKey(set)
		if other, ok := keys[key]; ok {
			t.Errorf("%v and %s share a key", set.Spec, other)
		}
		keys[key] = fmt.Sprint(set.Spec)
	}
	elsewhere := anInvalidSet("a", "b", "c", "", "")
	elsewhere.Namespace = "other"
	if _, ok := keys[invalidationEntryKey(elsewhere)]; ok {
		t.Error("namespaces share a key")
	}
}

func TestDamagedInvalidationEntryStillCounts(t *testing.T) {
	set := anInvalidSet("a", "1", "t", "", v1alpha1.CancellationForce)
	for _, line := range []string{"", "???", "fleet/a 1 (t) Utterly since 2026-11-02T06:00:00Z", "fleet/a 1 (t) Force since 2026-99-02T06:00:00Z"} {
		shard := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(dawn)}, Data: map[string]string{invalidationEntryKey(set): line}}
		found := entryIn(shard, set)
		if found == nil || found.Cancellation != v1alpha1.CancellationNone || !found.Since.Equal(dawn) {
			t.Errorf("%q is parsed as %+v", line, found)
		}
	}
}

func TestInvalidationEntryIsNotOverwritten(t *testing.T) {
	c := fake.NewClientBuilder().Build()
	record := InvalidationRecord{Reader: c, Client: c, Namespace: system}
	set := anInvalidSet("a", "1", "t", "first", v1alpha1.CancellationSoft)
	if _, err := putOne(t.Context(), record, set, dawn); err != nil {
		t.Fatal(err)
	}
	set.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce, Reason: "second"}
	again, err := putOne(t.Context(), record, set, dawn.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if again.Cancellation != v1alpha1.CancellationSoft || again.Reason != "first" || !again.Since.Equal(dawn) {
		t.Errorf("the second Put returns %+v", again)
	}
}

func TestInvalidationEntryPutWithOtherWriters(t *testing.T) {
	var lost int
	store := fake.NewClientBuilder().Build()
	busy := interceptor.NewClient(store, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if lost++; lost == 1 { // another writer creates the ConfigMap first
				other := o.DeepCopyObject().(*corev1.ConfigMap)
				other.Data = map[string]string{"other": "entry"}
				if err := c.Create(ctx, other); err != nil {
					return err
				}
			}
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if lost++; lost == 2 {
				return apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, o.GetName(), errors.New("another writer was faster"))
			}
			return c.Update(ctx, o, opts...)
		},
	})
	set := anInvalidSet("a", "1", "t", "", v1alpha1.CancellationForce)
	put, err := putOne(t.Context(), InvalidationRecord{Reader: store, Client: busy, Namespace: system}, set, dawn)
	if err != nil {
		t.Fatal(err)
	}
	var shard corev1.ConfigMap
	if err := store.Get(t.Context(), put.ConfigMap, &shard); err != nil {
		t.Fatal(err)
	}
	if len(shard.Data) != 2 || lost != 3 {
		t.Errorf("after %d tries the shard holds %v, want both entries after 3", lost, shard.Data)
	}
}

// TestRecordOfANamespaceGrowsToItsLimit: the record of a namespace grows by one ConfigMap at a time
// up to its limit. Each namespace has its own limit.
func TestRecordOfANamespaceGrowsToItsLimit(t *testing.T) {
	c := fake.NewClientBuilder().Build()
	record := InvalidationRecord{Reader: c, Client: c, Namespace: system}
	fill := func() {
		t.Helper()
		var list corev1.ConfigMapList
		if err := c.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			list.Items[i].Data["x"] = strings.Repeat("y", maxShardBytes)
			if err := c.Update(t.Context(), &list.Items[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range maxShards {
		put, err := putOne(t.Context(), record, anInvalidSet("a", fmt.Sprint(i), "t", "", v1alpha1.CancellationForce), dawn)
		if err != nil || put.ConfigMap.Name != fmt.Sprintf("goshawk-invalidated-fleet-%d", i) {
			t.Fatalf("entry %d is in %+v: %v", i, put, err)
		}
		fill()
	}
	if _, err := putOne(t.Context(), record, anInvalidSet("a", "last", "t", "", v1alpha1.CancellationForce), dawn); !errors.Is(err, errShardFull) || !strings.Contains(err.Error(), "goshawk-invalidated-fleet-") {
		t.Errorf("err = %v, want one that names the full ConfigMaps", err)
	}
	if found, err := record.Find(t.Context(), anInvalidSet("a", "0", "t", "", v1alpha1.CancellationForce)); found == nil || err != nil {
		t.Errorf("the first entry of a full record is %v, %v", found, err)
	}
	elsewhere := anInvalidSet("a", "last", "t", "", v1alpha1.CancellationForce)
	elsewhere.Namespace = "fleet-0"
	if put, err := putOne(t.Context(), record, elsewhere, dawn); err != nil || put.ConfigMap.Name != "goshawk-invalidated-fleet-0-0" {
		t.Errorf("the entry of another namespace is in %+v: %v", put, err)
	}
}

// TestRecordOfTheOlderLayoutIsRead: a record in the layout of an earlier version is read, and not
// changed.
func TestRecordOfTheOlderLayoutIsRead(t *testing.T) {
	var sets []*v1alpha1.DistributionSet
	c := fake.NewClientBuilder().Build()
	record := InvalidationRecord{Reader: c, Client: c, Namespace: system}
	for i := range 20 {
		set := anInvalidSet("a", fmt.Sprint(i), "t", "bricks the modem", v1alpha1.CancellationForce)
		sets = append(sets, set)
		if i%2 == 1 {
			continue
		}
		old := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: oldShard(set), Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}}}
		if err := client.IgnoreNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(old), old)); err != nil {
			t.Fatal(err)
		}
		if old.Data == nil {
			old.Data = map[string]string{}
		}
		old.Data[invalidationEntryKey(set)] = invalidationEntryLine(set, dawn)
		if err := errors.Join(client.IgnoreNotFound(c.Delete(t.Context(), old.DeepCopy()))); err != nil {
			t.Fatal(err)
		}
		old.ResourceVersion = ""
		if err := c.Create(t.Context(), old); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := record.Find(t.Context(), sets[0]); err != nil || found == nil || !found.Since.Equal(dawn) || found.ConfigMap.Name != oldShard(sets[0]) {
		t.Errorf("an entry of the older layout is %+v, %v", found, err)
	}
	if found, err := record.Find(t.Context(), sets[1]); err != nil || found != nil {
		t.Errorf("a set without an entry has %+v, %v", found, err)
	}
	entries, err := record.PutAll(t.Context(), sets, dawn.Add(time.Hour))
	if err != nil || len(entries) != len(sets) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, set := range sets {
		found := entries[invalidationEntryKey(set)]
		if isOld := i%2 == 0; (found.ConfigMap.Name == oldShard(set)) != isOld || found.Since.Equal(dawn) != isOld {
			t.Errorf("set %d is recorded as %+v", i, found)
		}
	}
}

// TestRecordIsWrittenOnceForMany: many invalidations are recorded in one write.
func TestRecordIsWrittenOnceForMany(t *testing.T) {
	writes := 0
	store := fake.NewClientBuilder().Build()
	counting := interceptor.NewClient(store, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		writes++
		return c.Create(ctx, o, opts...)
	}})
	var sets []*v1alpha1.DistributionSet
	for i := range 200 {
		sets = append(sets, anInvalidSet("a", fmt.Sprint(i), "t", "", v1alpha1.CancellationNone))
	}
	if entries, err := (InvalidationRecord{Reader: store, Client: counting, Namespace: system}).PutAll(t.Context(), sets, dawn); err != nil || len(entries) != len(sets) || writes != 1 {
		t.Errorf("%d entries in %d writes, %v", len(entries), writes, err)
	}
}
