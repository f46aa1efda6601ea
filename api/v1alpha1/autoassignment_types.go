// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AutoAssignmentIntent is the state that the user wants for an auto-assignment.
// +kubebuilder:validation:Enum=Running;Paused
type AutoAssignmentIntent string

const (
	// AutoAssignmentIntentRunning offers the set.
	AutoAssignmentIntentRunning AutoAssignmentIntent = "Running"
	// AutoAssignmentIntentPaused offers nothing to devices that have not started.
	AutoAssignmentIntentPaused AutoAssignmentIntent = "Paused"
)

// AutoAssignmentState is the state of an auto-assignment (hawkBit: auto assignment).
// +kubebuilder:validation:Enum=Ready;Running;Paused;Stopped
type AutoAssignmentState string

const (
	// AutoAssignmentReady waits for startAt or for its set.
	AutoAssignmentReady AutoAssignmentState = "Ready"
	// AutoAssignmentRunning offers the set.
	AutoAssignmentRunning AutoAssignmentState = "Running"
	// AutoAssignmentPaused offers nothing.
	AutoAssignmentPaused AutoAssignmentState = "Paused"
	// AutoAssignmentStopped offers nothing any more: the set was invalidated, which is final, or
	// deleted, which ends when the set is restored.
	AutoAssignmentStopped AutoAssignmentState = "Stopped"
)

// AutoAssignmentSpec offers a set to every matching target, present or future.
type AutoAssignmentSpec struct {
	// update is the set that is offered and how it is installed. If the set does not exist, the
	// auto-assignment is Stalled until the set appears. If the set is invalidated, the
	// auto-assignment is stopped, and cannot be started again.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'TimeForced'",message="update.type TimeForced does not fit an auto-assignment: targets join at any time; choose Forced or Soft",fieldPath=".type"
	// +kubebuilder:validation:XValidation:rule="!has(self.startDeadlineSeconds)",message="startDeadlineSeconds is for the groups of a rollout: an auto-assignment waits for its devices; remove it",fieldPath=".startDeadlineSeconds"
	Update Update `json:"update"`

	Selection `json:",inline"`

	// state is the wanted state: Running or Paused. Paused offers nothing to devices that have not
	// started. Default Running.
	// +optional
	// +default="Running"
	State AutoAssignmentIntent `json:"state,omitempty"`

	// startAt is when the auto-assignment starts, and its place in the order of updates: a newer
	// update replaces an older one. Set it in production, because it survives a rebuild of the
	// cluster from Git. Absent: the auto-assignment starts at once.
	// +optional
	StartAt *metav1.Time `json:"startAt,omitempty"`
}

// AutoAssignmentTargets counts targets.
type AutoAssignmentTargets struct {
	// matched is the number of selected targets that fit the set.
	// +required
	Matched int32 `json:"matched"`
	// started is the number of targets with an open action of this auto-assignment.
	// +required
	Started int32 `json:"started"`
	// succeeded is the number of targets whose newest action of this auto-assignment is Finished.
	// +required
	Succeeded int32 `json:"succeeded"`
	// failed is the number of targets whose newest action of this auto-assignment is in state
	// Error.
	// +required
	Failed int32 `json:"failed"`
}

// OfferedSet is what an auto-assignment offers, and since when.
type OfferedSet struct {
	// distributionSet is the name of the set, as in spec.update.distributionSet.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`
	// removal is the hash of spec.update.remove. Absent if a set is offered.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Removal string `json:"removal,omitempty"`
	// since is when the auto-assignment started to offer this set. Absent: it has not offered
	// another set before.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// SelectionMark identifies a selection by a hash.
type SelectionMark struct {
	// hash is a fingerprint of targetSelector and targetExpression.
	// +required
	// +kubebuilder:validation:MaxLength=16
	Hash string `json:"hash"`
	// since is when the selection changed to this one. Absent: it has not changed.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// AutoAssignmentStatus is the observed state of an AutoAssignment. Written by the AutoAssignment
// controller.
type AutoAssignmentStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// uid identifies this object in the actions of targets. It is metadata.uid at the first
	// reconcile and never changes. After a restore from a backup with status it is still the uid of
	// the object that was backed up, so that they still belong to it.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
	// state is the state of the auto-assignment: Ready, Running, Paused or Stopped.
	// +optional
	State AutoAssignmentState `json:"state,omitempty"`
	// startedAt is when the auto-assignment first ran. Absent: it has not run yet.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// update says in a few words what is offered: the name of the set, or what is removed.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Update string `json:"update,omitempty"`
	// offering is the set or the removal that is offered. If another one was offered before,
	// offering.since is its place in the order of updates.
	// +optional
	Offering *OfferedSet `json:"offering,omitempty"`
	// selecting identifies the present selection. If there was another selection before,
	// selecting.since is the place in the order of updates for targets that the earlier selection
	// did not select.
	// +optional
	Selecting *SelectionMark `json:"selecting,omitempty"`
	// targets counts the selected targets.
	// +optional
	Targets *AutoAssignmentTargets `json:"targets,omitempty"`
	// conditions are the conditions of the object: Ready, Reconciling, Stalled, Paused,
	// Overlapping, Invalidated.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AutoAssignment offers a set to every matching compatible target, present or future, that never
// had it (hawkBit: Auto Assignment).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=autoassign,categories=goshawk
// +kubebuilder:printcolumn:name="Set",type=string,JSONPath=`.status.update`,description="the set, or what is removed"
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Matched",type=integer,JSONPath=`.status.targets.matched`
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.targets.started`,description="targets in progress: the device has started"
// +kubebuilder:printcolumn:name="Done",type=integer,JSONPath=`.status.targets.succeeded`,description="targets that succeeded"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.targets.failed`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AutoAssignment struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec AutoAssignmentSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status AutoAssignmentStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// Identity returns the uid by which the actions of targets name this object: status.uid if there is
// one, else metadata.uid.
func (a *AutoAssignment) Identity() types.UID {
	if a.Status.UID != "" {
		return a.Status.UID
	}
	return a.UID
}

// AutoAssignmentList is a list of AutoAssignments.
// +kubebuilder:object:root=true
type AutoAssignmentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AutoAssignment `json:"items"`
}
