// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Field indexes of the cache, by which a controller finds what concerns it without a pass over the
// fleet.
const (
	// TargetByOpenSet finds the targets with an open action of a DistributionSet, by its name.
	TargetByOpenSet = "openActions.distributionSet"
	// TargetByOpenSource finds the targets with an open action of a source, by its uid.
	TargetByOpenSource = "openActions.source.uid"
	// TargetByAssignedSet finds the targets whose spec.assignment names a DistributionSet.
	TargetByAssignedSet = "assignment.distributionSet"
	// TargetByAssignment finds the targets that have a spec.assignment, by the word Assigned.
	TargetByAssignment = "assignment"
	// RolloutBySet finds the Rollouts of a DistributionSet.
	RolloutBySet = "rollout.update.distributionSet"
	// AutoAssignmentBySet finds the AutoAssignments of a DistributionSet.
	AutoAssignmentBySet = "autoAssignment.update.distributionSet"
	// SetByModule finds the DistributionSets that contain a SoftwareModule.
	SetByModule = "modules.name"
	// SetByIdentity finds the DistributionSets with the same name, version and type.
	SetByIdentity = "set.identity"
	// SetByContentHash finds the DistributionSets with the same content.
	SetByContentHash = "contentHash"
	// ModuleByIdentity finds the SoftwareModules with the same type, name and version.
	ModuleByIdentity = "module.identity"
)

// fieldIndex is one index: whose, its name, and the values that an object is found by.
type fieldIndex struct {
	object  client.Object
	name    string
	extract client.IndexerFunc
}

func fieldIndexes() []fieldIndex {
	return []fieldIndex{
		{&v1alpha1.Target{}, TargetByOpenSet, OpenSets},
		{&v1alpha1.Target{}, TargetByOpenSource, OpenSources},
		{&v1alpha1.Target{}, TargetByAssignedSet, UsedSet},
		{&v1alpha1.Target{}, TargetByAssignment, HasAssignment},
		{&v1alpha1.Rollout{}, RolloutBySet, UsedSet},
		{&v1alpha1.AutoAssignment{}, AutoAssignmentBySet, UsedSet},
		{&v1alpha1.DistributionSet{}, SetByModule, SetModules},
		{&v1alpha1.DistributionSet{}, SetByIdentity, SetIdentity},
		{&v1alpha1.DistributionSet{}, SetByContentHash, SetContentHash},
		{&v1alpha1.SoftwareModule{}, ModuleByIdentity, ModuleIdentity},
	}
}

// AddIndexes adds every field index of the controllers. It comes before the caches start.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, f := range fieldIndexes() {
		if err := indexer.IndexField(ctx, f.object, f.name, f.extract); err != nil {
			return fmt.Errorf("index %T by %s: %w", f.object, f.name, err)
		}
	}
	return nil
}

// OpenSets are the sets that a target has an open action of.
func OpenSets(o client.Object) []string {
	return ofOpenActions(o, func(a *v1alpha1.Action) string { return a.DistributionSet })
}

// OpenSources are the uids of the sources that a target has an open action of.
func OpenSources(o client.Object) []string {
	return ofOpenActions(o, func(a *v1alpha1.Action) string { return string(a.Source.UID) })
}

func ofOpenActions(o client.Object, value func(*v1alpha1.Action) string) []string {
	t := o.(*v1alpha1.Target)
	var values []string
	for i := range t.Status.Actions {
		if a := &t.Status.Actions[i]; !a.State.IsClosed() {
			values = append(values, value(a))
		}
	}
	return values
}

// UsedSet is the set that a Rollout, an AutoAssignment or a Target's own assignment deploys.
func UsedSet(o client.Object) []string {
	switch user := o.(type) {
	case *v1alpha1.Rollout:
		return []string{user.Spec.Update.DistributionSet}
	case *v1alpha1.AutoAssignment:
		return []string{user.Spec.Update.DistributionSet}
	case *v1alpha1.Target:
		if user.Spec.Assignment != nil {
			return []string{user.Spec.Assignment.DistributionSet}
		}
	}
	return nil
}

// Assigned is what every target with an assignment is found by.
const Assigned = "Assigned"

// HasAssignment is Assigned for a target with an assignment.
func HasAssignment(o client.Object) []string {
	if o.(*v1alpha1.Target).Spec.Assignment == nil {
		return nil
	}
	return []string{Assigned}
}

// SetModules are the modules that a set names.
func SetModules(o client.Object) []string {
	set := o.(*v1alpha1.DistributionSet)
	names := make([]string, 0, len(set.Spec.Modules))
	for _, m := range set.Spec.Modules {
		names = append(names, m.Name)
	}
	return names
}

// SetContentHash is the content hash of a set that has one.
func SetContentHash(o client.Object) []string {
	if hash := o.(*v1alpha1.DistributionSet).Status.ContentHash; hash != "" {
		return []string{hash}
	}
	return nil
}

// SetIdentity is what no two sets of a namespace share.
func SetIdentity(o client.Object) []string {
	s := o.(*v1alpha1.DistributionSet).Spec
	return []string{digest(s.Name, s.Version, s.Type)}
}

// ModuleIdentity is what no two modules of a namespace share.
func ModuleIdentity(o client.Object) []string {
	s := o.(*v1alpha1.SoftwareModule).Spec
	return []string{digest(s.Type, s.Name, s.Version)}
}

// digest is one fingerprint of several words that cannot be mistaken for other words: a JSON list
// keeps their borders.
func digest(words ...string) string {
	encoded, err := json.Marshal(words)
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
