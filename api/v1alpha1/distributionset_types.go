// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ModuleReference names a SoftwareModule of the same namespace.
type ModuleReference struct {
	// name is the metadata.name of the SoftwareModule.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ModuleTypes lists the types of modules that a set must have and may have (hawkBit: distribution
// set type).
type ModuleTypes struct {
	// mandatory lists module types that must all be present; otherwise the set is incomplete. At
	// most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	Mandatory []string `json:"mandatory,omitempty"`

	// optional lists module types that may be present. A module whose type is in neither list makes
	// the set incomplete. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	Optional []string `json:"optional,omitempty"`
}

// Invalidation invalidates a set, which cannot be taken back.
// +kubebuilder:validation:XValidation:rule="!has(self.deleteRollouts) || !self.deleteRollouts || self.cancellation == 'Force'",message="deleteRollouts goes with cancellation Force only: choose Force, or remove deleteRollouts",fieldPath=".deleteRollouts"
type Invalidation struct {
	// cancellation is what happens to rollouts of the set and to devices that have started. None:
	// they continue. Soft: rollouts are stopped and devices are asked to cancel. Force: rollouts
	// are stopped and actions are closed at once. With config/policy, Soft and Force need the right
	// to update targets and rollouts, in addition to update on distributionsets (Bosch IoT
	// Rollouts: UPDATE_TARGET, UPDATE_ROLLOUT).
	// +required
	Cancellation Cancellation `json:"cancellation"`

	// deleteRollouts deletes, once, the rollouts of the set that were created before the
	// invalidation. Only with cancellation Force. With config/policy it needs the right to delete
	// rollouts (Bosch IoT Rollouts: DELETE_ROLLOUT). Default false.
	// +optional
	DeleteRollouts bool `json:"deleteRollouts,omitempty"`

	// reason is a text for people that says why. It is shown in conditions and stored in the
	// invalidation record. At most 256 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

// DistributionSetSpec describes one release: modules that are installed together. Written by the
// user.
type DistributionSetSpec struct {
	// name is the name of the release. The combination of name, version and type is unique in the
	// namespace: a newer duplicate has Ready=False with reason Duplicate. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="name is immutable: create another DistributionSet"
	Name string `json:"name"`

	// version is the version of the release. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="version is immutable: create another DistributionSet"
	Version string `json:"version"`

	// type is the kind of release, such as full-image. Immutable (hawkBit: distribution set type
	// key).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="type is immutable: create another DistributionSet"
	Type string `json:"type"`

	// description is a text for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// modules are the SoftwareModules of the release, at most 100. A set without modules is
	// accepted and is incomplete until it has one. Frozen once the set is locked.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Modules []ModuleReference `json:"modules,omitempty"`

	// moduleTypes lists the module types that the set must have and may have. Absent: any.
	// +optional
	ModuleTypes *ModuleTypes `json:"moduleTypes,omitempty"`

	// compatibleTargetTypes are the target types that the set fits, at most 50. Absent: all types.
	// A target without a type fits every set (hawkBit).
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	CompatibleTargetTypes []string `json:"compatibleTargetTypes,omitempty"`

	// requiredMigrationStep marks a release that a device must not skip. Once its group has opened
	// for a device, newer updates do not supersede it and wait (hawkBit) until it succeeds, fails
	// without another attempt or is canceled. Default false. Frozen once the set is locked.
	// +optional
	RequiredMigrationStep bool `json:"requiredMigrationStep,omitempty"`

	// metadata are key-value pairs about the set, at most 100. Entries that are visibleToDevice are
	// frozen once the set is locked.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=100
	Metadata []MetadataEntry `json:"metadata,omitempty"`

	// invalidation invalidates the set (Bosch IoT Rollouts: not repeatable, never valid again). It
	// can be set once: a change or removal is refused until status.invalidation.recorded has the
	// value, and has no effect afterwards (Ready=False, reason InvalidationIsFinal). A set with the
	// same namespace, name, version and type that is created later is invalid as well.
	// +optional
	Invalidation *Invalidation `json:"invalidation,omitempty"`
}

// InvalidatedActions counts the actions that an invalidation affects.
type InvalidatedActions struct {
	// total is the number of actions of the set that were open.
	// +required
	Total int32 `json:"total"`
	// canceling is the number of actions whose device has been asked to cancel and has not
	// answered.
	// +required
	Canceling int32 `json:"canceling"`
	// canceled is the number of actions that are closed as Canceled.
	// +required
	Canceled int32 `json:"canceled"`
	// refused is the number of actions whose device refused the cancel or closed the action with a
	// result.
	// +required
	Refused int32 `json:"refused"`
}

// InvalidationStatus is the progress of an invalidation.
type InvalidationStatus struct {
	// cancellation is the cancellation that is carried out.
	// +optional
	Cancellation Cancellation `json:"cancellation,omitempty"`
	// recorded is a copy of spec.invalidation at the time it was first observed. It is final: later
	// changes of spec.invalidation have no effect. Absent: spec.invalidation was not observed yet,
	// or the set is invalid because an earlier set with the same identity was invalidated.
	// +optional
	Recorded *Invalidation `json:"recorded,omitempty"`
	// observedAt is when the invalidation was first observed. Rollouts that were created later are
	// not deleted.
	// +optional
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`
	// finishedAt is when the cancellation had been applied to all open actions. It is also applied
	// to actions that are found later.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// autoAssignments is the number of AutoAssignments of the set. All of them are Stopped.
	// +optional
	AutoAssignments int32 `json:"autoAssignments,omitempty"`
	// rollouts is the number of Rollouts of the set when the invalidation was observed.
	// +optional
	Rollouts int32 `json:"rollouts,omitempty"`
	// actions counts the actions that are affected.
	// +optional
	Actions *InvalidatedActions `json:"actions,omitempty"`
}

// SetTargets counts the targets of a set.
type SetTargets struct {
	// started is the number of targets with an open action of the set.
	// +required
	Started int32 `json:"started"`
	// installed is the number of targets that have reported that they run the set.
	// +required
	Installed int32 `json:"installed"`
}

// DistributionSetStatus is the observed state of a DistributionSet. Written by the DistributionSet
// controller.
type DistributionSetStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// contentHash is a SHA-256 of modules, artifacts (without URLs) and metadata that is
	// visibleToDevice, in hexadecimal. Two sets with the same content have the same hash. A set
	// counts as installed on every device that runs this content.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`

	// locked is true once a rollout, an auto-assignment or a single assignment uses the set, or
	// once it is invalidated, even if it was never used or is incomplete. It never becomes false
	// again.
	// +optional
	Locked bool `json:"locked,omitempty"`

	// invalidation is the progress of spec.invalidation, or the entry of the invalidation record
	// under which this set was created.
	// +optional
	Invalidation *InvalidationStatus `json:"invalidation,omitempty"`

	// targets counts targets that use the set. Updated about once a second while it changes, less
	// often if the API server is slow.
	// +optional
	Targets *SetTargets `json:"targets,omitempty"`

	// conditions are the conditions of the object: Ready, Complete, Locked, Invalidated, Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DistributionSet is one release: SoftwareModules that are installed together (hawkBit:
// Distribution Set).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=distset,categories=goshawk
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Locked",type=boolean,JSONPath=`.status.locked`
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.targets.started`,description="targets with an open action of the set"
// +kubebuilder:printcolumn:name="Installed",type=integer,JSONPath=`.status.targets.installed`,description="targets that run the set, as far as they have reported"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="DistributionSetInvalid: the set was invalidated"
// +kubebuilder:printcolumn:name="Release",type=string,JSONPath=`.spec.name`,priority=1
// +kubebuilder:printcolumn:name="Complete",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].status`,priority=1
// +kubebuilder:printcolumn:name="Invalidated",type=string,JSONPath=`.status.conditions[?(@.type=="Invalidated")].status`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.locked) || !oldSelf.status.locked || ((has(self.spec.modules) ? self.spec.modules : []).size() == (has(oldSelf.spec.modules) ? oldSelf.spec.modules : []).size() && (!has(self.spec.modules) || self.spec.modules.all(m, oldSelf.spec.modules.exists(o, o.name == m.name))))",message="modules is immutable once the set is locked: it is in use or invalidated; create another DistributionSet",fieldPath=".spec.modules"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.locked) || !oldSelf.status.locked || (has(self.spec.requiredMigrationStep) && self.spec.requiredMigrationStep) == (has(oldSelf.spec.requiredMigrationStep) && oldSelf.spec.requiredMigrationStep)",message="requiredMigrationStep is immutable once the set is locked: it is in use or invalidated; create another DistributionSet",fieldPath=".spec.requiredMigrationStep"
// +kubebuilder:validation:XValidation:rule=`!has(oldSelf.status) || !has(oldSelf.status.locked) || !oldSelf.status.locked || (has(self.spec.metadata) ? self.spec.metadata : []).transformMapEntry(i, m, has(m.visibleToDevice) && m.visibleToDevice, {m.key: has(m.value) ? m.value : ""}) == (has(oldSelf.spec.metadata) ? oldSelf.spec.metadata : []).transformMapEntry(i, m, has(m.visibleToDevice) && m.visibleToDevice, {m.key: has(m.value) ? m.value : ""})`,message="metadata that is visibleToDevice is immutable once the set is locked: it is in use or invalidated; create another DistributionSet",fieldPath=".spec.metadata"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.spec.invalidation) || has(self.spec.invalidation) || (has(oldSelf.status) && has(oldSelf.status.invalidation) && has(oldSelf.status.invalidation.recorded))",message="invalidation is immutable: an invalidated set is never valid again; put the field back, and create another DistributionSet",fieldPath=".spec.invalidation"
// +kubebuilder:validation:XValidation:rule=`!has(oldSelf.spec.invalidation) || !has(self.spec.invalidation) || (has(oldSelf.status) && has(oldSelf.status.invalidation) && has(oldSelf.status.invalidation.recorded)) || (self.spec.invalidation.cancellation == oldSelf.spec.invalidation.cancellation && (has(self.spec.invalidation.deleteRollouts) && self.spec.invalidation.deleteRollouts) == (has(oldSelf.spec.invalidation.deleteRollouts) && oldSelf.spec.invalidation.deleteRollouts) && (has(self.spec.invalidation.reason) ? self.spec.invalidation.reason : "") == (has(oldSelf.spec.invalidation.reason) ? oldSelf.spec.invalidation.reason : ""))`,message="invalidation is immutable: it can be set once; put it back as it was (to stop devices more firmly, raise stopCancellation of the rollouts)",fieldPath=".spec.invalidation"
type DistributionSet struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec DistributionSetSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status DistributionSetStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// InvalidationInForce returns the invalidation that was committed on this set, or nil if there is
// none: the recorded one if there is one, else spec.invalidation.
func (s *DistributionSet) InvalidationInForce() *Invalidation {
	if i := s.Status.Invalidation; i != nil && i.Recorded != nil {
		return i.Recorded
	}
	return s.Spec.Invalidation
}

// DistributionSetList is a list of DistributionSets.
// +kubebuilder:object:root=true
type DistributionSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DistributionSet `json:"items"`
}
