// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package browser

// isRace is true if the test runs under the race detector.
const isRace = true
