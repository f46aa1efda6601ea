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

// Field indexes of the cache. With them a controller finds related objects without listing the
// fleet.
const (
	// TargetByOpenSet finds the targets with an open action of a DistributionSet, by its name.
	TargetByOpenSet = "openActions.distributionSet"
	// TargetByOpenSource finds the targets with an open action of a source, by its uid.
	TargetByOpenSource = "openActions.source.uid"
	// TargetByAssignedSet finds the targets whose spec.assignment names a DistributionSet.
	TargetByAssignedSet = "assignment.distributionSet"
	// TargetByAssignment finds the targets that have a spec.assignment, by the constant Assigned.
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

// fieldIndex is one index: the type of object, the name, and the function that returns the values.
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

// AddIndexes adds all field indexes of the controllers. It must be called before the caches start.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, f := range fieldIndexes() {
		if err := indexer.IndexField(ctx, f.object, f.name, f.extract); err != nil {
			return fmt.Errorf("index %T by %s: %w", f.object, f.name, err)
		}
	}
	return nil
}

// OpenSets returns the sets that the target has an open action of.
func OpenSets(o client.Object) []string {
	return ofOpenActions(o, func(a *v1alpha1.Action) string { return a.DistributionSet })
}

// OpenSources returns the UIDs of the sources that the target has an open action of.
func OpenSources(o client.Object) []string {
	return ofOpenActions(o, func(a *v1alpha1.Action) string { return string(a.Source.UID) })
}

func ofOpenActions(o client.Object, value func(*v1alpha1.Action) string) []string {
	t := o.(*v1alpha1.Target)
	var values []string
	for i := range t.Status.Actions {
		a := &t.Status.Actions[i]
		if v := value(a); v != "" && !a.State.IsClosed() {
			values = append(values, v)
		}
	}
	return values
}

// UsedSet returns the set that a Rollout, an AutoAssignment or a Target's own assignment deploys.
func UsedSet(o client.Object) []string {
	name := ""
	switch user := o.(type) {
	case *v1alpha1.Rollout:
		name = user.Spec.Update.DistributionSet
	case *v1alpha1.AutoAssignment:
		name = user.Spec.Update.DistributionSet
	case *v1alpha1.Target:
		if user.Spec.Assignment != nil {
			name = user.Spec.Assignment.DistributionSet
		}
	}
	if name == "" { // software is removed
		return nil
	}
	return []string{name}
}

// Assigned is the index value of all targets that have a spec.assignment.
const Assigned = "Assigned"

// HasAssignment returns Assigned for a target with a spec.assignment, else nothing.
func HasAssignment(o client.Object) []string {
	if o.(*v1alpha1.Target).Spec.Assignment == nil {
		return nil
	}
	return []string{Assigned}
}

// SetModules returns the modules that a set names.
func SetModules(o client.Object) []string {
	set := o.(*v1alpha1.DistributionSet)
	names := make([]string, 0, len(set.Spec.Modules))
	for _, m := range set.Spec.Modules {
		names = append(names, m.Name)
	}
	return names
}

// SetContentHash returns the content hash of a set, if it has one.
func SetContentHash(o client.Object) []string {
	if hash := o.(*v1alpha1.DistributionSet).Status.ContentHash; hash != "" {
		return []string{hash}
	}
	return nil
}

// SetIdentity returns a value that is unique for each name, version and type of a set in a
// namespace.
func SetIdentity(o client.Object) []string {
	s := o.(*v1alpha1.DistributionSet).Spec
	return []string{digest(s.Name, s.Version, s.Type)}
}

// ModuleIdentity returns a value that is unique for each type, name and version of a module in a
// namespace.
func ModuleIdentity(o client.Object) []string {
	s := o.(*v1alpha1.SoftwareModule).Spec
	return []string{digest(s.Type, s.Name, s.Version)}
}

// digest returns one hash of several values. It hashes a JSON list, so that different lists never
// have the same input.
func digest(words ...string) string {
	encoded, err := json.Marshal(words)
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
