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

// GroupConditions are the conditions of a group as planned.
type GroupConditions struct {
	// successThreshold in percent.
	SuccessThreshold int32 `json:"successThreshold"`
	// successAction when it is reached.
	SuccessAction SuccessAction `json:"successAction"`
	// errorThreshold in percent.
	ErrorThreshold int32 `json:"errorThreshold"`
	// errorAction when it trips.
	ErrorAction ErrorAction `json:"errorAction"`
	// confirmationRequired of members.
	// +optional
	ConfirmationRequired bool `json:"confirmationRequired,omitempty"`
}

// DeploymentGroupSpec is the frozen membership of one group. Generated; immutable, except that a
// dynamic group's targets may be appended to.
// +kubebuilder:validation:XValidation:rule="self.rolloutUID == oldSelf.rolloutUID && self.rollout == oldSelf.rollout && self.group == oldSelf.group && self.index == oldSelf.index && self.planHash == oldSelf.planHash && (has(self.dynamic) && self.dynamic) == (has(oldSelf.dynamic) && oldSelf.dynamic) && self.conditions.successThreshold == oldSelf.conditions.successThreshold && self.conditions.successAction == oldSelf.conditions.successAction && self.conditions.errorThreshold == oldSelf.conditions.errorThreshold && self.conditions.errorAction == oldSelf.conditions.errorAction && (has(self.conditions.confirmationRequired) && self.conditions.confirmationRequired) == (has(oldSelf.conditions.confirmationRequired) && oldSelf.conditions.confirmationRequired)",message="a DeploymentGroup is immutable: it is the frozen record of one plan; change the Rollout instead"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.targets) || (has(self.targets) && self.targets.size() >= oldSelf.targets.size() && oldSelf.targets.all(i, name, self.targets[i] == name))",message="targets is immutable, except that a dynamic group appends: membership was frozen with the plan; create another Rollout",fieldPath=".targets"
// +kubebuilder:validation:XValidation:rule="(has(self.dynamic) && self.dynamic) || (has(self.targets) ? self.targets : []).size() <= (has(oldSelf.targets) ? oldSelf.targets : []).size()",message="targets is immutable: membership was frozen with the plan; only a dynamic group appends",fieldPath=".targets"
type DeploymentGroupSpec struct {
	// rollout that the group belongs to.
	// +kubebuilder:validation:MaxLength=253
	Rollout string `json:"rollout"`
	// rolloutUID is status.uid of that Rollout: a rollout of the same name that is created later
	// does not own the group, unless it was restored with its status.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	RolloutUID types.UID `json:"rolloutUID"`
	// group is the group's name in the rollout.
	// +kubebuilder:validation:MaxLength=63
	Group string `json:"group"`
	// index of the group, from 0, in the order the groups open.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=499
	Index int32 `json:"index"`
	// planHash of the plan. A group whose planHash is not the rollout's status.plan.hash does not
	// exist for anybody.
	// +kubebuilder:validation:MaxLength=71
	PlanHash string `json:"planHash"`
	// dynamic groups take in targets that appear later.
	// +optional
	Dynamic bool `json:"dynamic,omitempty"`
	// conditions as planned; the rollout's spec may have changed them since.
	Conditions GroupConditions `json:"conditions"`
	// targets that belong to the group, in the order of the plan. At most 20 000 names and 700 KiB.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20000
	Targets []TargetName `json:"targets,omitempty"`
}

// JoinedBatch is when targets joined a dynamic group.
type JoinedBatch struct {
	// first is the position in spec.targets of the first target of the batch.
	First int32 `json:"first"`
	// at is when they joined.
	At metav1.MicroTime `json:"at"`
	// offering is what the rollout's status.offering read then.
	// +optional
	Offering int64 `json:"offering,omitempty"`
}

// ExpiredBatch is when members counted as failed because they had not started in time.
type ExpiredBatch struct {
	// through is the position in spec.targets before which marked members belong to this batch or
	// an earlier one.
	Through int32 `json:"through"`
	// at is when.
	At metav1.MicroTime `json:"at"`
	// members is a bitmap of those of this batch that lie before through of an earlier one: a newer
	// update had taken them over, and was withdrawn. The newest 20 batches with such members keep
	// it.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Members []byte `json:"members,omitempty"`
}

// SupersedingRollout is a newer rollout that took targets of this group over before they started.
type SupersedingRollout struct {
	// name of the newer rollout.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
	// openGroups is how many of its groups, by their order, have been looked at; more open groups
	// are looked at again.
	// +optional
	OpenGroups int32 `json:"openGroups,omitempty"`
}

// DeploymentGroupStatus mirrors the group for people and keeps what must be remembered about
// members that have no action. Written by the Rollout controller only when the group's state
// changes or members are superseded, never periodically.
type DeploymentGroupStatus struct {
	// observedGeneration of the spec; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// state of the group, mirrored from the Rollout's status, which decides.
	// +optional
	State GroupState `json:"state,omitempty"`
	// openedAt as in the Rollout's status.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// targets is the number of members, the length of spec.targets. For the column of `kubectl
	// get`.
	// +optional
	Targets int32 `json:"targets"`
	// countedAt is when counts was written.
	// +optional
	CountedAt *metav1.Time `json:"countedAt,omitempty"`
	// counts at countedAt, which is when the group last changed its state or what it remembers of
	// its members. They are not live: the present counts are in status.groups of the Rollout.
	// +optional
	Counts *Counts `json:"counts,omitempty"`
	// failures by statusCode, or by message where there is no code; the 10 most frequent, once
	// every member has a result: a target that is deleted later does not rewrite them.
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
	// expiredAt says when, at most 1020.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1020
	ExpiredAt []ExpiredBatch `json:"expiredAt,omitempty"`
	// abandoned is a bitmap of members that failed, had another attempt ahead and did not start it
	// within startDeadlineSeconds of when they could: they count as failed with the code of their
	// last attempt. spec.retry takes it back.
	// +optional
	// +kubebuilder:validation:MaxLength=3400
	Abandoned []byte `json:"abandoned,omitempty"`
	// supersededBy are the newer rollouts that have been taken into account, at most 100.
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MaxItems=100
	SupersededBy []SupersedingRollout `json:"supersededBy,omitempty"`
	// joined says when the batches of a dynamic group joined, at most 1000. Written before the
	// batch is appended to spec.targets.
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
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the frozen membership.
	// +required
	Spec DeploymentGroupSpec `json:"spec"`
	// status mirrors the group.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status DeploymentGroupStatus `json:"status,omitempty"`

	// Unreadable is set in memory only, where the stored object cannot be decoded as a whole; nil:
	// it can.
	Unreadable *Unreadable `json:"-"`
}

// DeploymentGroupList is a list of DeploymentGroups.
// +kubebuilder:object:root=true
type DeploymentGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DeploymentGroup `json:"items"`
}
