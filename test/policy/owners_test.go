// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// owners may create and change all kinds. Their names say what other rights they have.
var owners = map[string][]rbacv1.PolicyRule{
	"owner":          nil,
	"owner-canceler": {rule("cancel", "targets")},
	"owner-forcer":   {rule("forcecancel", "targets")},
	"owner-all":      {rule("cancel forcecancel", "targets")},
}

const (
	anyOwner       = "owner owner-canceler owner-forcer owner-all"
	ownerCancelers = "owner-canceler owner-all"
	ownerForcers   = "owner-forcer owner-all"

	ownsSet    = "metadata.ownerReferences of distributionsets/NAME makes the API server delete it with its owner, which cancels on devices, and needs the verb cancel" + toStop + "remove ownerReferences"
	ownsModule = "metadata.ownerReferences of softwaremodules/NAME makes the API server delete it with its owner, which cancels on devices, and needs the verb cancel" + toStop + "remove ownerReferences"
	ownsTarget = "metadata.ownerReferences of targets/NAME makes the API server delete it with its owner, which ends the update of its device, and needs the verb cancel" + toStop + "remove ownerReferences"
	ownsSoft   = "metadata.ownerReferences of rollouts/NAME makes the API server delete it with its owner, which cancels on devices (spec.deletionCancellation Soft), and needs the verb cancel" +
		toStop + "remove ownerReferences"
	ownsForce = "metadata.ownerReferences of rollouts/NAME makes the API server delete it with its owner, which cancels on devices (spec.deletionCancellation Force), and needs the verb forcecancel" +
		toStop + "remove ownerReferences"
)

// The garbage collector deletes an object with its owner, and no policy asks for its rights. So a
// user who may not delete an object in use may not give it an owner either.
func TestRightsForOwners(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for person, more := range owners {
		f.bindRules(t, person, append(more, rule("get create update patch", "softwaremodules", "distributionsets", "targets", "rollouts"))...)
	}
	gone := owner("gone", "1")
	for name, tc := range map[string]struct {
		kind, spec      string
		before, after   []metav1.OwnerReference
		may, refused    string
		isNew, isInSpec bool
	}{
		"a set gets an owner":                                {kind: "DistributionSet", after: owned(gone), may: ownerCancelers, refused: ownsSet},
		"a module gets an owner":                             {kind: "SoftwareModule", after: owned(gone), may: ownerCancelers, refused: ownsModule},
		"a target gets an owner":                             {kind: "Target", after: owned(gone), may: ownerCancelers, refused: ownsTarget},
		"a rollout gets an owner: None":                      {kind: "Rollout", spec: `{deletionCancellation: None}`, after: owned(gone), may: anyOwner},
		"a rollout gets an owner: Soft":                      {kind: "Rollout", spec: `{deletionCancellation: Soft}`, after: owned(gone), may: ownerCancelers, refused: ownsSoft},
		"a rollout gets an owner: Force":                     {kind: "Rollout", spec: `{deletionCancellation: Force}`, after: owned(gone), may: ownerForcers, refused: ownsForce},
		"a new set has an owner":                             {kind: "DistributionSet", after: owned(gone), isNew: true, may: ownerCancelers, refused: ownsSet},
		"a new target has an owner":                          {kind: "Target", after: owned(gone), isNew: true, may: ownerCancelers, refused: ownsTarget},
		"a set gets a second owner":                          {kind: "DistributionSet", before: owned(owner("a", "2")), after: owned(owner("a", "2"), gone), may: ownerCancelers, refused: ownsSet},
		"the owner of a set gets another uid":                {kind: "DistributionSet", before: owned(owner("a", "2")), after: owned(owner("a", "3")), may: ownerCancelers, refused: ownsSet},
		"one of two owners of a set is removed":              {kind: "DistributionSet", before: owned(owner("a", "2"), gone), after: owned(gone), may: ownerCancelers, refused: ownsSet},
		"all owners of a set are removed":                    {kind: "DistributionSet", before: owned(gone), may: anyOwner},
		"another field of a set with an owner is changed":    {kind: "DistributionSet", before: owned(gone), after: owned(gone), isInSpec: true, may: anyOwner},
		"another field of a target without owner is changed": {kind: "Target", isInSpec: true, may: anyOwner},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for person := range owners {
				object := f.object(t, tc.kind, newName(tc.kind), orEmpty(tc.spec))
				object.SetOwnerReferences(tc.before)
				if !tc.isNew {
					f.give(t, object, "")
				}
				refusal := strings.ReplaceAll(edit{may: tc.may, refused: tc.refused}.refusal(person), "NAME", object.GetName())
				f.wantRefused(t, f.setOwners(t, person, object, tc.after, tc.isNew, tc.isInSpec), person, refusal)
			}
		})
	}
}

// setOwners writes the owners of an object, and its description as well if isInSpec.
func (f *fleet) setOwners(t *testing.T, person string, object *unstructured.Unstructured, after []metav1.OwnerReference, isNew, isInSpec bool) error {
	t.Helper()
	if isNew {
		object.SetOwnerReferences(after)
		return f.as(t, person).Create(t.Context(), object)
	}
	change := map[string]any{"metadata": map[string]any{"ownerReferences": after}}
	if isInSpec {
		change["spec"] = map[string]any{"description": "d"}
	}
	return f.as(t, person).Patch(t.Context(), object, mergePatch(t, change))
}

func owner(name, uid string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: "00000000-0000-0000-0000-00000000000" + types.UID(uid)}
}

func owned(by ...metav1.OwnerReference) []metav1.OwnerReference { return by }

// The garbage collector removes owners that do not exist while others do.
func TestTheGarbageCollectorMayRemoveAnOwner(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const collector = "system:serviceaccount:kube-system:generic-garbage-collector"
	f.bindRules(t, collector, rule("get patch", "distributionsets"))
	set := f.object(t, "DistributionSet", newName("set"))
	set.SetOwnerReferences(owned(owner("a", "1"), owner("b", "2")))
	f.give(t, set, `{locked: true}`)
	f.wantRefused(t, f.setOwners(t, collector, set, owned(owner("b", "2")), false, false), collector, "")
}
