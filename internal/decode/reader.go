// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Reader returns a reader of the API server that isolates objects that cannot be decoded, as the
// caches do: it returns such an object with the mark and without an error. It does not report them,
// because the caches of the same process contain them too.
func Reader(live client.Reader) client.Reader { return reader{live} }

type reader struct{ client.Reader }

// Get reads one object.
func (r reader) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	err := r.Reader.Get(ctx, key, object, opts...)
	if !IsIsolated(object) || err == nil && problemOf(object) == "" || isNoAnswer(ctx, err) {
		return err
	}
	raw := &unstructured.Unstructured{}
	raw.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf(object)))
	if err := r.Reader.Get(ctx, key, raw, opts...); err != nil {
		return err
	}
	data, err := raw.MarshalJSON()
	if err != nil {
		return err
	}
	return decodeOne(data, object)
}

// List reads a list.
func (r reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := r.Reader.List(ctx, list, opts...)
	if !isList(list) || err == nil && !hasProblem(list) || isNoAnswer(ctx, err) {
		return err
	}
	raw := &unstructured.UnstructuredList{}
	raw.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf(list)))
	if err := r.Reader.List(ctx, raw, opts...); err != nil {
		return err
	}
	data, err := raw.MarshalJSON()
	if err != nil {
		return err
	}
	return decodeList(data, list)
}

// isNoAnswer reports whether an error says that the API server sent no object.
func isNoAnswer(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	var refused apierrors.APIStatus
	return errors.As(err, &refused) || ctx.Err() != nil
}
