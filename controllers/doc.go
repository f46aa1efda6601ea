// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers applies Goshawk's rules to a cluster. Each controller loads the state, asks a
// pure package for a plan, applies the plan, patches the status once and records events. It makes
// no decision itself.
package controllers
