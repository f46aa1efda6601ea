// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package progress shows the status of a rollout in a terminal. The text depends only on the
// object, the time and the style of the terminal.
package progress
