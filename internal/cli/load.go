// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/decode"
)

// sources are the kinds that decide what targets get, apart from the targets.
func sources() []client.ObjectList {
	return []client.ObjectList{
		&v1alpha1.SoftwareModuleList{}, &v1alpha1.DistributionSetList{}, &v1alpha1.RolloutList{}, &v1alpha1.DeploymentGroupList{}, &v1alpha1.AutoAssignmentList{},
	}
}

// list returns the objects of a namespace, kind by kind.
func list(ctx context.Context, c client.Client, namespace string, kinds ...client.ObjectList) ([]client.Object, error) {
	var objects []client.Object
	for _, kind := range kinds {
		found, err := pages(ctx, c, namespace, kind)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// pages returns all objects of one kind in a namespace. Those that cannot be decoded have their
// mark.
func pages(ctx context.Context, c client.Client, namespace string, kind client.ObjectList) ([]client.Object, error) {
	var objects []client.Object
	for next := ""; ; {
		page := kind.DeepCopyObject().(client.ObjectList)
		if err := decode.Reader(c).List(ctx, page, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, err
		}
		err := meta.EachListItem(page, func(o runtime.Object) error {
			object, ok := o.(client.Object)
			if !ok {
				return fmt.Errorf("%T has no metadata", o)
			}
			objects = append(objects, object)
			return nil
		})
		if next = page.GetContinue(); err != nil || next == "" {
			return objects, err
		}
	}
}
