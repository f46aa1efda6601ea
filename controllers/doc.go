// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers brings Goshawk's rules to a cluster: each controller loads, asks a pure rule,
// applies its answer, patches status once and records events. It decides nothing itself.
package controllers
