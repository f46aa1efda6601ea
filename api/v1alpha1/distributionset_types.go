// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ModuleReference names a SoftwareModule of the same namespace.
type ModuleReference struct {
	// name of the SoftwareModule.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ModuleTypes says which types of modules a set must and may have (hawkBit: distribution set type).
type ModuleTypes struct {
	// mandatory types must each be present; the set is incomplete without. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	Mandatory []string `json:"mandatory,omitempty"`

	// optional types may be present; a module of a type in neither list makes the set incomplete.
	// At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	Optional []string `json:"optional,omitempty"`
}

// Invalidation takes a set out of circulation, for good.
// +kubebuilder:validation:XValidation:rule="!has(self.deleteRollouts) || !self.deleteRollouts || self.cancellation == 'Force'",message="deleteRollouts goes with cancellation Force only: choose Force, or remove deleteRollouts",fieldPath=".deleteRollouts"
type Invalidation struct {
	// cancellation says what happens to rollouts and to devices that have started. None: they go
	// on. Soft: rollouts are stopped and devices asked to cancel. Force: rollouts are stopped and
	// actions closed at once. Needs, beyond update on distributionsets, for Soft and Force update
	// on targets and rollouts (Bosch IoT Rollouts: UPDATE_TARGET, UPDATE_ROLLOUT).
	// +required
	Cancellation Cancellation `json:"cancellation"`

	// deleteRollouts also deletes, once, the set's rollouts that were created before the
	// invalidation. Goes with Force only and needs delete on rollouts (Bosch IoT Rollouts:
	// DELETE_ROLLOUT). Default false.
	// +optional
	DeleteRollouts bool `json:"deleteRollouts,omitempty"`

	// reason is for people: why. It is shown in conditions and kept in the invalidation entry.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

// DistributionSetSpec is one release: modules that belong together.
type DistributionSetSpec struct {
	// name of the release. (name, version, type) is unique in the namespace: the newer duplicate is
	// Ready=False, Duplicate. Immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="name is immutable: create another DistributionSet"
	Name string `json:"name"`

	// version of the release. Immutable.
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

	// description is for people. Optional.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`

	// modules are the SoftwareModules of the release, at most 100. None yet is legal: the set is
	// incomplete until it has one. Frozen once the set is locked.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Modules []ModuleReference `json:"modules,omitempty"`

	// moduleTypes says which module types the set must and may have. Absent: any.
	// +optional
	ModuleTypes *ModuleTypes `json:"moduleTypes,omitempty"`

	// compatibleTargetTypes are the target types that the set fits, at most 50. Absent: all. A
	// target without type fits every set (hawkBit).
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	CompatibleTargetTypes []string `json:"compatibleTargetTypes,omitempty"`

	// requiredMigrationStep marks a release that must not be skipped: newer updates do not
	// supersede it and wait for it (hawkBit), from when it has reached the device, its group being
	// open, until it succeeds, fails for good or is canceled. Default false. Frozen once the set is
	// locked.
	// +optional
	RequiredMigrationStep bool `json:"requiredMigrationStep,omitempty"`

	// metadata are free words about the set, at most 100. Those that are visibleToDevice are frozen
	// once the set is locked.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=100
	Metadata []MetadataEntry `json:"metadata,omitempty"`

	// invalidation takes the set out of circulation, for good (Bosch IoT Rollouts: not repeatable,
	// never valid again). It can be set once: a change or removal is refused until
	// status.invalidation.recorded repeats the field, and has no effect from then on (Ready=False,
	// reason InvalidationIsFinal). A set of the same namespace, name, version and type that is
	// created later is invalid, too.
	// +optional
	Invalidation *Invalidation `json:"invalidation,omitempty"`
}

// InvalidatedActions counts the actions that an invalidation met.
type InvalidatedActions struct {
	// total is how many open actions of the set were met.
	Total int32 `json:"total"`
	// canceling is how many devices have been asked to cancel and have not answered.
	Canceling int32 `json:"canceling"`
	// canceled is how many are closed as Canceled.
	Canceled int32 `json:"canceled"`
	// refused is how many devices refused the cancel, or closed with a result of their own.
	Refused int32 `json:"refused"`
}

// InvalidationStatus is how far an invalidation has come.
type InvalidationStatus struct {
	// cancellation is what was asked for.
	// +optional
	Cancellation Cancellation `json:"cancellation,omitempty"`
	// recorded is spec.invalidation as it is carried out. It is final and decides from then on,
	// whatever spec.invalidation says. Absent: spec.invalidation was not seen yet, or the set is
	// invalid because an earlier set of the same identity was invalidated.
	// +optional
	Recorded *Invalidation `json:"recorded,omitempty"`
	// observedAt is when Goshawk first saw the invalidation; rollouts created later are never
	// deleted by it.
	// +optional
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`
	// finishedAt is when the walk over all open actions had been through. Actions met later are
	// applied all the same.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// autoAssignments is how many AutoAssignments of the set there are; all are Stopped.
	// +optional
	AutoAssignments int32 `json:"autoAssignments,omitempty"`
	// rollouts is how many Rollouts of the set there were when the invalidation was observed.
	// +optional
	Rollouts int32 `json:"rollouts,omitempty"`
	// actions counts the device actions met.
	// +optional
	Actions *InvalidatedActions `json:"actions,omitempty"`
}

// SetTargets counts the targets of a set.
type SetTargets struct {
	// started is how many targets have an open action of the set.
	Started int32 `json:"started"`
	// installed is how many targets run the set, as far as they have reported.
	Installed int32 `json:"installed"`
}

// DistributionSetStatus is what Goshawk knows of the set. Written by the DistributionSet
// controller.
type DistributionSetStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// contentHash is a SHA-256 over modules, artifacts (without URLs) and device-visible metadata,
	// in hexadecimal: what "installed" means. Two sets with the same content have the same hash.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentHash string `json:"contentHash,omitempty"`

	// locked is true from the first use on (a rollout, an auto-assignment or a single assignment),
	// or from the invalidation on, also of a set that was never used or is incomplete. Never goes
	// back.
	// +optional
	Locked bool `json:"locked,omitempty"`

	// invalidation is how far spec.invalidation has come, or the invalidation entry that this set
	// was created under.
	// +optional
	Invalidation *InvalidationStatus `json:"invalidation,omitempty"`

	// targets counts devices; refreshed about once a second while it changes.
	// +optional
	Targets *SetTargets `json:"targets,omitempty"`

	// conditions: Ready, Complete, Locked, Invalidated, Stalled.
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
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is written by the user.
	// +required
	Spec DistributionSetSpec `json:"spec"`
	// status is written by Goshawk.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status DistributionSetStatus `json:"status,omitempty"`

	// Unreadable is set in memory only, where the stored object cannot be decoded as a whole; nil:
	// it can.
	Unreadable *Unreadable `json:"-"`
}

// InvalidationInForce returns the invalidation that was committed on this set: the recorded one
// once there is one, spec.invalidation until then. nil: there is none.
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
