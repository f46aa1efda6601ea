// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"fmt"
	"slices"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/cancellation"
)

// Invalidated says since when a set is invalid, or returns "" for a valid set.
func Invalidated(set *v1alpha1.DistributionSet) string {
	words, reason := "", ""
	if i := set.InvalidationInForce(); i != nil {
		words, reason = "invalidated with "+string(i.Cancellation), i.Reason
	} else if seen := set.Status.Invalidation; seen != nil {
		words = "invalidated with " + string(seen.Cancellation) + " before this object was created"
	}
	if words == "" {
		return ""
	}
	if seen := set.Status.Invalidation; seen != nil && seen.ObservedAt != nil {
		words += " at " + seen.ObservedAt.UTC().Format(time.RFC3339)
	}
	if reason != "" {
		words += " (" + reason + ")"
	}
	return words
}

func isType(c v1alpha1.Cancellation) bool { return slices.Contains(cancellation.Types, c) }

// noType says that there is no such cancellation, and chooseType what to do.
func noType(c v1alpha1.Cancellation) string { return fmt.Sprintf("there is no type %q", c) }

const chooseType = "choose None, Soft or Force"

// Invalidation is what the operation Invalidate asks for.
type Invalidation struct {
	Cancellation   v1alpha1.Cancellation
	DeleteRollouts bool
	// Reason is a text for people.
	Reason string
}

// Invalidate invalidates a set, which is final. The rest of its effect depends on everything that
// uses the set: explain.Invalidation has it.
func Invalidate(set *v1alpha1.DistributionSet, wanted Invalidation) (*Change, error) {
	const operation = "invalidate"
	object := "set " + set.Namespace + "/" + set.Name
	switch invalidated := Invalidated(set); {
	case !set.DeletionTimestamp.IsZero():
		return nil, &Refusal{operation, object, "it is being deleted", ""}
	case invalidated != "":
		return nil, &Refusal{operation, object, "it was " + invalidated, "an invalidation is not repeatable; to cancel more firmly on devices, stop its rollouts: `kubectl goshawk stop ROLLOUT --type Force`"}
	case wanted.DeleteRollouts && !cancellation.Of(wanted.Cancellation).DeleteRollouts:
		return nil, &Refusal{operation, object, fmt.Sprintf("--delete-rollouts does not go with --type %s", wanted.Cancellation), "choose --type Force, or leave --delete-rollouts out"}
	case !isType(wanted.Cancellation):
		return nil, &Refusal{operation, object, noType(wanted.Cancellation), chooseType}
	}
	c := &Change{Operation: operation, Kind: "DistributionSet", Namespace: set.Namespace, Name: set.Name,
		State: fmt.Sprintf("%s %s (%s)", set.Spec.Name, set.Spec.Version, set.Spec.Type)}
	c.set("spec.invalidation.cancellation", nil, string(wanted.Cancellation))
	if wanted.DeleteRollouts {
		c.set("spec.invalidation.deleteRollouts", nil, true)
	}
	if wanted.Reason != "" {
		c.set("spec.invalidation.reason", nil, wanted.Reason)
	}
	c.needs(InvalidationRights(set.Name, wanted.Cancellation, wanted.DeleteRollouts)...)
	c.Forced = cancellation.Of(wanted.Cancellation).StartedActions == cancellation.Close
	c.says("An invalidation is final: the set is never valid again, also if it is deleted and created again.")
	return c, nil
}
