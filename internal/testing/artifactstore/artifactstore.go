// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifactstore gives tests a store of artifacts, which fetches files from the servers of
// the test.
package artifactstore

import (
	"testing"

	"github.com/goshawk-dev/goshawk/internal/artifact"
)

// New returns a store with a cache of 1 MiB, until the test ends. It fetches from 127.0.0.1 only.
func New(t testing.TB) *artifact.Store {
	t.Helper()
	sources, err := artifact.ParseSources("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	store, err := artifact.New(artifact.Options{Sources: sources, CacheDir: t.TempDir(), CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}
