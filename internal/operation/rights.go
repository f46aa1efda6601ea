// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Right is one right that an operation needs: a verb on a resource of Goshawk, which RBAC or a
// policy of config/policy asks for. docs/rights.md has the table.
type Right struct {
	// Verb is a verb of Kubernetes, or one of approve, resume, cancel and forcecancel.
	Verb string `json:"verb"`
	// Resource is the resource, such as rollouts.
	Resource string `json:"resource"`
	// Name is the name of the object. Empty: the right is needed for the whole namespace.
	Name string `json:"name,omitempty"`
	// Role is a ClusterRole of config/rbac that gives the right.
	Role string `json:"role"`
	// Allowed reports whether the user has the right. nil: that is not known.
	Allowed *bool `json:"allowed,omitempty"`
}

func (r Right) String() string {
	resource := r.Resource + "." + v1alpha1.GroupVersion.Group
	if r.Name != "" {
		resource += "/" + r.Name
	}
	return r.Verb + " " + resource
}

// Roles of config/rbac.
const (
	roleEditor   = "goshawk-editor"
	roleApprover = "goshawk-approver"
	roleStopper  = "goshawk-stopper"
)

// Resources of Goshawk that operations change.
const (
	rollouts         = "rollouts"
	autoAssignments  = "autoassignments"
	distributionSets = "distributionsets"
	targetResource   = "targets"
)

func patchRight(resource, name, role string) Right {
	return Right{Verb: "patch", Resource: resource, Name: name, Role: role}
}

func approveRight(name string) Right {
	return Right{Verb: "approve", Resource: rollouts, Name: name, Role: roleApprover}
}

func resumeRight(name string) Right {
	return Right{Verb: "resume", Resource: rollouts, Name: name, Role: roleApprover}
}

// stopRights returns the rights over devices that a cancellation needs beside the one to write the
// rollout. They are rights for the whole namespace, because a stop can reach every device.
func stopRights(c v1alpha1.Cancellation) []Right {
	switch c {
	case v1alpha1.CancellationNone:
		return nil
	case v1alpha1.CancellationSoft:
		return []Right{{Verb: "cancel", Resource: targetResource, Role: roleStopper}}
	default:
		return []Right{{Verb: "forcecancel", Resource: targetResource, Role: roleStopper}}
	}
}

// InvalidationRights returns the rights that the invalidation of a set needs (Bosch IoT Rollouts:
// UPDATE_REPOSITORY, UPDATE_TARGET, UPDATE_ROLLOUT, DELETE_ROLLOUT).
func InvalidationRights(set string, c v1alpha1.Cancellation, deleteRollouts bool) []Right {
	rights := []Right{patchRight(distributionSets, set, roleStopper)}
	if c != v1alpha1.CancellationNone {
		rights = append(rights, Right{Verb: "update", Resource: targetResource, Role: roleStopper}, Right{Verb: "update", Resource: rollouts, Role: roleStopper})
	}
	if deleteRollouts {
		rights = append(rights, Right{Verb: "delete", Resource: rollouts, Role: roleEditor})
	}
	return rights
}

// Missing returns the rights that the user does not have.
func Missing(rights []Right) []Right {
	var missing []Right
	for _, r := range rights {
		if r.Allowed != nil && !*r.Allowed {
			missing = append(missing, r)
		}
	}
	return missing
}
