// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TargetName is the name of a Target.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
type TargetName string

// GroupConditions are the conditions of a group in the plan.
type GroupConditions struct {
	// successThreshold is the share of targets in percent, 0 to 100, that must succeed.
	// +required
	SuccessThreshold int32 `json:"successThreshold"`
	// successAction is what happens when successThreshold is reached.
	// +required
	SuccessAction SuccessAction `json:"successAction"`
	// errorThreshold is the share of targets in percent, 0 to 100, that may fail.
	// +required
	ErrorThreshold int32 `json:"errorThreshold"`
	// errorAction is what happens when errorThreshold is exceeded.
	// +required
	ErrorAction ErrorAction `json:"errorAction"`
	// confirmationRequired is true if a person at the device has to agree before a member starts.
	// +kubebuilder:default=false
	// +optional
	ConfirmationRequired bool `json:"confirmationRequired,omitempty"`
}

// DeploymentGroupSpec is the frozen membership of one group. It is generated and immutable, except
// that targets can be appended to a dynamic group. Written by the Rollout controller.
// +kubebuilder:validation:XValidation:rule="self.rolloutUID == oldSelf.rolloutUID && self.rollout == oldSelf.rollout && self.group == oldSelf.group && self.index == oldSelf.index && self.planHash == oldSelf.planHash && (has(self.dynamic) && self.dynamic) == (has(oldSelf.dynamic) && oldSelf.dynamic)",message="a DeploymentGroup is immutable: it is the frozen record of one plan; change the Rollout instead"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.targets) || (has(self.targets) && self.targets.size() >= oldSelf.targets.size() && oldSelf.targets.all(i, name, self.targets[i] == name))",message="targets is immutable, except that a dynamic group appends: membership was frozen with the plan; create another Rollout",fieldPath=".targets"
// +kubebuilder:validation:XValidation:rule="(has(self.dynamic) && self.dynamic) || (has(self.targets) ? self.targets : []).size() <= (has(oldSelf.targets) ? oldSelf.targets : []).size()",message="targets is immutable: membership was frozen with the plan; only a dynamic group appends",fieldPath=".targets"
type DeploymentGroupSpec struct {
	// rollout is the name of the Rollout that the group belongs to.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Rollout string `json:"rollout"`
	// rolloutUID is status.uid of that Rollout. A rollout of the same name that is created later
	// does not own the group, unless it was restored with its status.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	RolloutUID types.UID `json:"rolloutUID"`
	// group is the name of the group in the rollout.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Group string `json:"group"`
	// index is the position of the group in the order in which groups open, from 0.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=499
	Index int32 `json:"index"`
	// planHash is the hash of the plan. A group is ignored if its planHash differs from
	// status.plan.hash of the rollout.
	// +required
	// +kubebuilder:validation:MaxLength=71
	PlanHash string `json:"planHash"`
	// dynamic is true for a group that targets can join later.
	// +optional
	Dynamic bool `json:"dynamic,omitempty"`
	// conditions are the conditions at the time of the plan. The spec of the rollout may have
	// changed them since.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="conditions is immutable: a DeploymentGroup is the frozen record of one plan; change the Rollout instead"
	Conditions GroupConditions `json:"conditions"`
	// targets are the names of the members, in the order of the plan. At most 20 000 names and 700
	// KiB.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20000
	Targets []TargetName `json:"targets,omitempty"`
}

// JoinedBatch describes targets that joined a dynamic group together.
type JoinedBatch struct {
	// first is the position in spec.targets of the first target of the batch.
	// +required
	First int32 `json:"first"`
	// at is when they joined.
	// +required
	At metav1.MicroTime `json:"at"`
	// offering is the value of status.offering of the rollout in seconds when they joined.
	// +optional
	Offering int64 `json:"offering,omitempty"`
}

// ExpiredBatch describes members that were counted as failed together because they had not started
// in time.
type ExpiredBatch struct {
	// through is a position in spec.targets: marked members before it belong to this batch or to an
	// earlier one.
	// +required
	Through int32 `json:"through"`
	// at is when they were counted as failed.
	// +required
	At metav1.MicroTime `json:"at"`
	// members is a bitmap of the members of this batch that lie before through of an earlier batch:
	// a newer update had taken them over and was withdrawn. Only the newest 20 batches with such
	// members keep it.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Members []byte `json:"members,omitempty"`
}

// SupersedingRollout is a newer rollout that took over targets of this group before they started.
type SupersedingRollout struct {
	// name is the name of the newer rollout.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid is status.uid of the newer rollout.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
	// openGroups is the number of its groups, in their order, that have been taken into account. If
	// more groups are open, they are taken into account at the next reconcile.
	// +optional
	OpenGroups int32 `json:"openGroups,omitempty"`
}

// DeploymentGroupStatus mirrors the state of the group and stores facts about members that have no
// action. Written by the Rollout controller when the state of the group changes or members are
// superseded, never periodically.
type DeploymentGroupStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe. -1 before the
	// first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// state is the state of the group, copied from the status of the Rollout, which decides.
	// +optional
	State GroupState `json:"state,omitempty"`
	// openedAt is when the group opened, copied from the status of the Rollout.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// targets is the number of members, which is the length of spec.targets. It is shown by
	// `kubectl get`.
	// +optional
	Targets int32 `json:"targets"`
	// countedAt is when counts was written.
	// +optional
	CountedAt *metav1.Time `json:"countedAt,omitempty"`
	// counts are the counts at countedAt, when the group last changed its state or a stored fact
	// about its members. They are not live: the present counts are in status.groups of the Rollout.
	// +optional
	Counts *Counts `json:"counts,omitempty"`
	// failures are the 10 most frequent failures, by statusCode, or by message if there is no code.
	// Written once every member has a result; a target that is deleted later does not change them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []FailureCount `json:"failures,omitempty"`
	// superseded is a bitmap over spec.targets, lowest bit first, of members that a newer update
	// took over before they started.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Superseded []byte `json:"superseded,omitempty"`
	// alreadyThere is a bitmap of members that ran the set when the group opened.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	AlreadyThere []byte `json:"alreadyThere,omitempty"`
	// skipped is a bitmap of members that did not start in time, with startDeadlineAction Skip.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Skipped []byte `json:"skipped,omitempty"`
	// expired is a bitmap of members that did not start in time, with startDeadlineAction Fail:
	// they count as failed with code StartDeadlineExceeded.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Expired []byte `json:"expired,omitempty"`
	// expiredAt lists when members expired. At most 1020 entries.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1020
	ExpiredAt []ExpiredBatch `json:"expiredAt,omitempty"`
	// abandoned is a bitmap of members that failed, had another attempt left and did not start it
	// within startDeadlineSeconds. They count as failed with the code of their last attempt.
	// spec.retry clears it.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Abandoned []byte `json:"abandoned,omitempty"`
	// supersededBy lists the newer rollouts that have been taken into account, at most 100.
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MaxItems=100
	SupersededBy []SupersedingRollout `json:"supersededBy,omitempty"`
	// joined lists when targets joined a dynamic group, at most 1000 batches. An entry is written
	// before its batch is appended to spec.targets.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Joined []JoinedBatch `json:"joined,omitempty"`
}

// DeploymentGroup is the frozen membership of one group of a Rollout (hawkBit: rollout group).
// Generated by Goshawk; do not edit.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dgroup,categories=goshawk
// +kubebuilder:printcolumn:name="Group",type=string,JSONPath=`.spec.group`
// +kubebuilder:printcolumn:name="Index",type=integer,JSONPath=`.spec.index`,description="the place in the order in which the groups open, from 0"
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Targets",type=integer,JSONPath=`.status.targets`,description="members of the group; how many of them succeeded is in the status of the Rollout"
// +kubebuilder:printcolumn:name="Opened",type=date,JSONPath=`.status.openedAt`
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.spec.rollout`,priority=1
// +kubebuilder:printcolumn:name="Dynamic",type=boolean,JSONPath=`.spec.dynamic`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DeploymentGroup struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of a Kubernetes object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the frozen membership.
	// +required
	Spec DeploymentGroupSpec `json:"spec"`
	// status mirrors the group.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status DeploymentGroupStatus `json:"status,omitempty"`

	// Unreadable describes a stored object that cannot be decoded as a whole. It is nil if the
	// object was decoded. It is set in memory only and never stored.
	Unreadable *Unreadable `json:"-"`
}

// DeploymentGroupList is a list of DeploymentGroups.
// +kubebuilder:object:root=true
type DeploymentGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DeploymentGroup `json:"items"`
}
