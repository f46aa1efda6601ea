// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "goshawk.dev", Version: "v1alpha1"}

// AddToScheme adds the kinds of this package to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&SoftwareModule{}, &SoftwareModuleList{},
		&DistributionSet{}, &DistributionSetList{},
		&Target{}, &TargetList{},
		&Rollout{}, &RolloutList{},
		&DeploymentGroup{}, &DeploymentGroupList{},
		&AutoAssignment{}, &AutoAssignmentList{},
		&DeviceAccess{}, &DeviceAccessList{},
		&TargetInventory{}, &TargetInventoryList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
