// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AutoAssignmentIntent is what is wanted of an auto-assignment.
// +kubebuilder:validation:Enum=Running;Paused
type AutoAssignmentIntent string

const (
	// AutoAssignmentIntentRunning offers the set.
	AutoAssignmentIntentRunning AutoAssignmentIntent = "Running"
	// AutoAssignmentIntentPaused offers nothing to devices that have not started.
	AutoAssignmentIntentPaused AutoAssignmentIntent = "Paused"
)

// AutoAssignmentState is one word for where an auto-assignment stands (hawkBit).
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
	// deleted, which ends when it is restored.
	AutoAssignmentStopped AutoAssignmentState = "Stopped"
)

// AutoAssignmentSpec offers a set to every matching target, present or future.
type AutoAssignmentSpec struct {
	// update is what is brought to a device. A missing set is Stalled and recovers; an invalidated
	// one stops the auto-assignment for good.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.type) || self.type != 'TimeForced'",message="update.type TimeForced does not fit an auto-assignment: targets join at any time; choose Forced or Soft",fieldPath=".type"
	// +kubebuilder:validation:XValidation:rule="!has(self.startDeadlineSeconds)",message="startDeadlineSeconds is for the groups of a rollout: an auto-assignment waits for its devices; remove it",fieldPath=".startDeadlineSeconds"
	Update Update `json:"update"`

	Selection `json:",inline"`

	// state is what is wanted now. Default Running.
	// +optional
	// +default="Running"
	State AutoAssignmentIntent `json:"state,omitempty"`

	// startAt is when to start, and the place in the order of updates: the newer wins. Give it in
	// production: it survives a rebuild from Git. Absent: at once.
	// +optional
	StartAt *metav1.Time `json:"startAt,omitempty"`
}

// AutoAssignmentTargets counts targets.
type AutoAssignmentTargets struct {
	// matched targets that are compatible.
	Matched int32 `json:"matched"`
	// started: an action of this auto-assignment is open.
	Started int32 `json:"started"`
	// succeeded: the newest action of this auto-assignment finished.
	Succeeded int32 `json:"succeeded"`
	// failed: it ended in Error.
	Failed int32 `json:"failed"`
}

// OfferedSet is what an auto-assignment offers.
type OfferedSet struct {
	// distributionSet as in spec.update.
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet"`
	// since when, if another one was offered before.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// SelectionMark tells selections apart.
type SelectionMark struct {
	// hash of targetSelector and targetExpression.
	// +kubebuilder:validation:MaxLength=16
	Hash string `json:"hash"`
	// since when, if it was another one before.
	// +optional
	Since *metav1.MicroTime `json:"since,omitempty"`
}

// AutoAssignmentStatus is what Goshawk decided and counted. Written by the AutoAssignment
// controller.
type AutoAssignmentStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// uid is by what the actions of targets name this object: its metadata.uid. After a restore
	// with status it stays that of the object that was backed up, so that they still belong to it.
	// Written at the first look, then never changed.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
	// state is one word for where it stands.
	// +optional
	State AutoAssignmentState `json:"state,omitempty"`
	// startedAt is when it first ran.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// offering is the set that it offers, and since when, if it offered another one before: from
	// then on it is as new as that.
	// +optional
	Offering *OfferedSet `json:"offering,omitempty"`
	// selecting is a fingerprint of the selection, and since when, if it selected by another one
	// before: to targets that it did not select then, it is as new as that.
	// +optional
	Selecting *SelectionMark `json:"selecting,omitempty"`
	// targets counts devices.
	// +optional
	Targets *AutoAssignmentTargets `json:"targets,omitempty"`
	// conditions: Ready, Reconciling, Stalled, Paused, Overlapping, Invalidated.
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
// +kubebuilder:printcolumn:name="Set",type=string,JSONPath=`.spec.update.distributionSet`
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
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec AutoAssignmentSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status AutoAssignmentStatus `json:"status,omitempty"`

	// Unreadable is set in memory only, where the stored object cannot be decoded as a whole; nil:
	// it can.
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
