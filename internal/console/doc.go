// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package console is the web console: pages that show a fleet with the rights of the viewer, and
// propose changes. Pages are rendered from an index over informer caches, so a page that is open
// costs the API server nothing. What the pages say is computed by internal/explain; this package
// has no rules of its own.
package console
