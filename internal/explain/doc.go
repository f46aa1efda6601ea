// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package explain computes what people ask about rollouts and targets: why a target gets what it
// gets, and what manifests would do before they are applied. The results are plain data, which a
// program prints or shows. Every rule is that of the controllers and of the device API: this
// package calls them and has none of its own.
//
// The package is pure: it knows no client, no clock and no log.
package explain
