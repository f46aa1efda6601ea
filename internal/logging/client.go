// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// NewClient returns a function that creates clients with newClient and makes them log every write.
// If newClient is nil, it uses that of controller-runtime.
func NewClient(newClient client.NewClientFunc) client.NewClientFunc {
	if newClient == nil {
		newClient = client.New
	}
	return func(config *rest.Config, options client.Options) (client.Client, error) {
		c, err := newClient(config, options)
		if err != nil {
			return nil, err
		}
		return Client(c), nil
	}
}

// Client returns a client that logs at V(1) every write that the API server has accepted. A write
// that fails is an error of its caller, which logs it or tries again.
func Client(c client.Client) client.Client { return &writes{c} }

type writes struct{ client.Client }

func (w *writes) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return w.log(ctx, "create", "", o, w.Client.Create(ctx, o, opts...))
}

func (w *writes) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	return w.log(ctx, "update", "", o, w.Client.Update(ctx, o, opts...))
}

func (w *writes) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	return w.log(ctx, "patch", "", o, w.Client.Patch(ctx, o, p, opts...))
}

func (w *writes) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return w.log(ctx, "delete", "", o, w.Client.Delete(ctx, o, opts...))
}

// Status returns the writer of the status of objects.
func (w *writes) Status() client.SubResourceWriter { return w.SubResource("status") }

// SubResource returns the client of a subresource.
func (w *writes) SubResource(name string) client.SubResourceClient {
	return &subresource{w.Client.SubResource(name), w, name}
}

type subresource struct {
	client.SubResourceClient
	writes *writes
	name   string
}

func (s *subresource) Create(ctx context.Context, o, sub client.Object, opts ...client.SubResourceCreateOption) error {
	return s.writes.log(ctx, "create", s.name, o, s.SubResourceClient.Create(ctx, o, sub, opts...))
}

func (s *subresource) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	return s.writes.log(ctx, "update", s.name, o, s.SubResourceClient.Update(ctx, o, opts...))
}

func (s *subresource) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
	return s.writes.log(ctx, "patch", s.name, o, s.SubResourceClient.Patch(ctx, o, p, opts...))
}

// log logs a write unless it failed, and returns the error of the write.
func (w *writes) log(ctx context.Context, verb, subresource string, o client.Object, err error) error {
	log := logf.FromContext(ctx).V(1)
	if err != nil || !log.Enabled() {
		return err
	}
	kind := ""
	if gvk, err := apiutil.GVKForObject(o, w.Scheme()); err == nil {
		kind = gvk.Kind
	}
	log.Info("Wrote", "verb", verb, "kind", kind, "subresource", subresource, "object", client.ObjectKeyFromObject(o), "resourceVersion", o.GetResourceVersion())
	return nil
}
