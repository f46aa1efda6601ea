// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"time"

	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// Kind is a kind that the console reads, by its resource in the API of Goshawk.
type Kind string

// The kinds that the console reads.
const (
	Rollouts         Kind = "rollouts"
	DeploymentGroups Kind = "deploymentgroups"
	DistributionSets Kind = "distributionsets"
	SoftwareModules  Kind = "softwaremodules"
	Targets          Kind = "targets"
	Inventories      Kind = "targetinventories"
	AutoAssignments  Kind = "autoassignments"
)

// Kinds are all kinds that the console reads.
func Kinds() []Kind {
	return []Kind{Rollouts, DeploymentGroups, DistributionSets, SoftwareModules, Targets, Inventories, AutoAssignments}
}

// Source is what the pages are rendered from: caches of the objects, and what is known about them.
// Its methods may be called at any time by several goroutines.
type Source interface {
	// Index is the index over the caches. Its objects must not be changed.
	Index() *fleet.Index
	// Counts are the counts of the objects of the index. They follow it from its start: make
	// Counts().Changed a watcher of the index before the index follows the caches.
	Counts() *fleetcounts.Counter
	// Reading returns how far the cache of a kind is in a namespace; without a namespace, in all
	// namespaces of the source.
	Reading(kind Kind, namespace string) Reading
	// Contact returns when the API server was reached last.
	Contact() Contact
	// Watch adds a function that is called after the index has applied a change of a kind in a
	// namespace, and with an empty kind after a change of what Reading or Contact return.
	Watch(func(kind Kind, namespace string))
}

// Reading is how far the cache of a kind is.
type Reading struct {
	// Synced is true once the cache has had every object that existed at its start.
	Synced bool
	// Objects is the number of objects that the cache has.
	Objects int
	// Outside is true for a namespace that the console does not read.
	Outside bool
	// Refused is the message with which the API server refuses to list the kind. Empty: it does
	// not.
	Refused string
}

// Contact is when the API server was reached.
type Contact struct {
	// LostSince is when the API server was reached last, if it cannot be reached now. Zero: it can.
	LostSince time.Time
	// Message says why it cannot be reached.
	Message string
}
