// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// sources are the kinds that decide what targets get, apart from the targets.
func sources() []client.ObjectList {
	return []client.ObjectList{
		&v1alpha1.SoftwareModuleList{}, &v1alpha1.DistributionSetList{}, &v1alpha1.RolloutList{}, &v1alpha1.DeploymentGroupList{}, &v1alpha1.AutoAssignmentList{},
	}
}

// list returns the objects of a namespace, kind by kind. Those that cannot be decoded have their
// mark.
func list(ctx context.Context, c client.Client, namespace string, kinds ...client.ObjectList) ([]client.Object, error) {
	var objects []client.Object
	for _, kind := range kinds {
		all := func(page []client.Object) bool { objects = append(objects, page...); return true }
		if err := listPages(ctx, c, kind, all, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
	}
	return objects, nil
}
