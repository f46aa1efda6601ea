// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// ledger has every write that Goshawk sent to the API server. It is audited after the last test.
var ledger world.Ledger

// Finalizer and other marks of other programs, which Goshawk must not change.
const (
	foreignFinalizer = world.ForeignDomain + "hold"
	foreignNote      = world.ForeignDomain + "note"
)

// TestAuditFindsForbiddenWrites sends writes to the API server as Goshawk would send them. The
// audit accepts those that Goshawk sends, and finds each of the others.
func TestAuditFindsForbiddenWrites(t *testing.T) {
	t.Parallel()
	config, _ := cluster.Start(t)
	namespace := cluster.Namespace(t)
	var writes world.Ledger
	config.Wrap(writes.Wrap)
	c, err := client.New(config, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	merge := func(body string) func(context.Context, client.Object) error {
		return func(ctx context.Context, o client.Object) error {
			return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(body)))
		}
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	target := func(name string) client.Object { return &v1alpha1.Target{ObjectMeta: meta(name)} }
	owner := []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Rollout", Name: "a", UID: "1", Controller: new(true)}}
	marked := func(labels, annotations map[string]string, owners []metav1.OwnerReference) client.Object {
		g := &v1alpha1.DeploymentGroup{ObjectMeta: meta("group"), Spec: v1alpha1.DeploymentGroupSpec{Rollout: "a", RolloutUID: "1", Group: "1", PlanHash: "sha256:" + strings.Repeat("0", 64), Targets: []v1alpha1.TargetName{"a"},
			Conditions: v1alpha1.GroupConditions{SuccessThreshold: 50, SuccessAction: v1alpha1.SuccessActionNextGroup, ErrorThreshold: 50, ErrorAction: v1alpha1.ErrorActionPause}}}
		g.Labels, g.Annotations, g.OwnerReferences = labels, annotations, owners
		return g
	}
	managed := map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}
	ignored := map[string]string{v1alpha1.ArgoIgnoreAnnotation: "true"}
	create := func(ctx context.Context, o client.Object) error { return c.Create(ctx, o, client.DryRunAll) }

	for name, tt := range map[string]struct {
		object client.Object // created before, unless the write creates it
		write  func(context.Context, client.Object) error
		want   string // part of what the audit says
	}{
		"the status": {object: target("status"), write: func(ctx context.Context, o client.Object) error {
			next := o.DeepCopyObject().(*v1alpha1.Target)
			next.Status.ObservedGeneration = 1
			return c.Status().Patch(ctx, next, client.MergeFromWithOptions(o, client.MergeFromWithOptimisticLock{}))
		}},
		"the own finalizer": {object: target("own-finalizer"), write: func(ctx context.Context, o client.Object) error {
			next := o.DeepCopyObject().(*v1alpha1.Target)
			next.Finalizers = []string{v1alpha1.RolloutFinalizer}
			return c.Patch(ctx, next, client.MergeFromWithOptions(o, client.MergeFromWithOptimisticLock{}))
		}},
		"the last finalizer is removed": {object: target("no-finalizer"), write: func(ctx context.Context, o client.Object) error {
			return merge(fmt.Sprintf(`{"metadata":{"finalizers":null,"resourceVersion":%q}}`, o.GetResourceVersion()))(ctx, o)
		}},
		"a rollout of an invalidated set is deleted": {object: &v1alpha1.Rollout{ObjectMeta: meta("deleted"), Spec: v1alpha1.RolloutSpec{Update: v1alpha1.Update{DistributionSet: "a"}}},
			write: func(ctx context.Context, o client.Object) error { return c.Delete(ctx, o) }},
		"a device is registered": {write: func(ctx context.Context, _ client.Object) error {
			registered := &v1alpha1.Target{ObjectMeta: meta("registered"), Spec: v1alpha1.TargetSpec{Type: "gateway"}}
			registered.Labels, registered.Annotations = map[string]string{"site": "berlin"}, map[string]string{v1alpha1.DeviceAccessAnnotation: "factory"}
			return create(ctx, registered)
		}},
		"a group is created": {write: func(ctx context.Context, _ client.Object) error { return create(ctx, marked(managed, ignored, owner)) }},

		"a finalizer without a resourceVersion": {object: target("blind"), write: merge(`{"metadata":{"finalizers":["goshawk.dev/rollout"]}}`), want: "has no resourceVersion"},
		"the finalizer of another program": {object: target("other-finalizer"), write: func(ctx context.Context, o client.Object) error {
			return merge(fmt.Sprintf(`{"metadata":{"finalizers":["kubernetes.io/other"],"resourceVersion":%q}}`, o.GetResourceVersion()))(ctx, o)
		}, want: "finalizer kubernetes.io/other"},
		"a label": {object: target("label"), write: func(ctx context.Context, o client.Object) error {
			next := o.DeepCopyObject().(*v1alpha1.Target)
			next.Labels = map[string]string{"seen": "true"}
			return c.Patch(ctx, next, client.MergeFromWithOptions(o, client.MergeFromWithOptimisticLock{}))
		}, want: "writes metadata.labels"},
		"a label by a client for metadata": {object: target("metadata"), write: func(ctx context.Context, o client.Object) error {
			partial := &metav1.PartialObjectMetadata{ObjectMeta: meta(o.GetName())}
			partial.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Target"))
			return merge(`{"metadata":{"labels":{"seen":"true"},"resourceVersion":`+fmt.Sprintf("%q", o.GetResourceVersion())+`}}`)(ctx, partial)
		}, want: "writes metadata.labels"},
		"an annotation by server-side apply": {object: target("annotation"), write: func(ctx context.Context, o client.Object) error {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Target"))
			u.SetNamespace(namespace)
			u.SetName(o.GetName())
			u.SetResourceVersion(o.GetResourceVersion())
			u.SetAnnotations(map[string]string{"seen": "true"})
			return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("goshawk"))
		}, want: "writes apiVersion"},
		"an owner by a JSON patch": {object: target("owner"), write: func(ctx context.Context, o client.Object) error {
			return c.Patch(ctx, o, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/metadata/ownerReferences","value":[]}]`)))
		}, want: "cannot be read"},
		"a field of spec": {object: target("spec"), write: func(ctx context.Context, o client.Object) error {
			next := o.DeepCopyObject().(*v1alpha1.Target)
			next.Spec.Hold = true
			return c.Patch(ctx, next, client.MergeFromWithOptions(o, client.MergeFromWithOptimisticLock{}))
		}, want: "writes spec"},
		"the whole object": {object: target("whole"), write: func(ctx context.Context, o client.Object) error { return c.Update(ctx, o) }, want: "only status and the own finalizer"},
		"the whole status": {object: target("whole-status"), write: func(ctx context.Context, o client.Object) error { return c.Status().Update(ctx, o) }, want: "only status and the own finalizer"},
		"a label with the status": {object: target("label-status"), write: func(ctx context.Context, o client.Object) error {
			return c.Status().Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"seen":"true"}},"status":{"observedGeneration":1}}`)))
		}, want: "writes metadata.labels"},
		"a deletion": {object: target("deletion"), write: func(ctx context.Context, o client.Object) error { return c.Delete(ctx, o) }, want: "only status and the own finalizer"},
		"a deletion of all": {write: func(ctx context.Context, _ client.Object) error {
			return c.DeleteAllOf(ctx, &v1alpha1.Rollout{}, client.InNamespace(namespace), client.DryRunAll)
		}, want: "only status and the own finalizer"},
		"a rollout is created": {write: func(ctx context.Context, _ client.Object) error {
			return create(ctx, &v1alpha1.Rollout{ObjectMeta: meta("created"), Spec: v1alpha1.RolloutSpec{Update: v1alpha1.Update{DistributionSet: "a"}}})
		}, want: "only status and the own finalizer"},
		"a registered target on hold": {write: func(ctx context.Context, _ client.Object) error {
			return create(ctx, &v1alpha1.Target{ObjectMeta: meta("held"), Spec: v1alpha1.TargetSpec{Hold: true}})
		}, want: "spec.hold"},
		"a Secret of the fleet": {write: func(ctx context.Context, _ client.Object) error {
			return create(ctx, &corev1.Secret{ObjectMeta: meta("tokens")})
		}, want: "does not write this kind"},
		"a namespace": {write: func(ctx context.Context, _ client.Object) error {
			return create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-of-audit"}})
		}, want: "does not write this kind"},
		"a group with a mark of Flux": {write: func(ctx context.Context, _ client.Object) error {
			return create(ctx, marked(map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue, "kustomize.toolkit.fluxcd.io/name": "fleet"}, ignored, owner))
		}, want: "label kustomize.toolkit.fluxcd.io/name"},
		"a group with a mark of Argo CD": {write: func(ctx context.Context, _ client.Object) error {
			return create(ctx, marked(managed, map[string]string{v1alpha1.ArgoIgnoreAnnotation: "true", "argocd.argoproj.io/tracking-id": "a"}, owner))
		}, want: "annotation argocd.argoproj.io/tracking-id"},
		"a group without an owner":             {write: func(ctx context.Context, _ client.Object) error { return create(ctx, marked(managed, ignored, nil)) }, want: "exactly one owner"},
		"a group without the marks of Goshawk": {write: func(ctx context.Context, _ client.Object) error { return create(ctx, marked(managed, nil, owner)) }, want: "lacks app.kubernetes.io/managed-by or argocd.argoproj.io"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.object != nil {
				if err := c.Create(t.Context(), tt.object); err != nil {
					t.Fatal(err)
				}
			}
			before := len(writes.All())
			// The controllers write the status of these objects meanwhile, so a conflict is normal.
			// The audit reads requests, whatever the response.
			if err := tt.write(t.Context(), tt.object); err != nil && !apierrors.IsConflict(err) {
				t.Fatal(err)
			}
			recorded := writes.All()[before:]
			if len(recorded) != 1 {
				t.Fatalf("the ledger has %d writes, want 1: %v", len(recorded), recorded)
			}
			if got := world.Forbidden(recorded[0]); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("the audit says %q, want %q, about %s", got, tt.want, recorded[0])
			}
		})
	}
	if err := writes.Audit(); err == nil || strings.Count(err.Error(), "audit of writes: ") < 20 {
		t.Errorf("the audit of all of them says %v", err)
	}
}
