// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli says in a terminal what an object's status says: what it prints is a function of the
// object, the time and the terminal's looks.
package progress
