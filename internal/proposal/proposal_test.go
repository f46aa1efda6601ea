// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var objects = build.At(noon.Add(-time.Hour))

func running(edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return objects.Rollout("firmware", "firmware", append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		at := metav1.NewMicroTime(noon.Add(-30 * time.Minute))
		r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, &at
		r.Status.Targets = &v1alpha1.Counts{Targets: 3, InProgress: 1, Failed: 1}
	}}, edits...)...)
}

func changeOf(t *testing.T, object metav1.Object, q operation.Request) *operation.Change {
	t.Helper()
	c, err := q.On(object, noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The line of kubectl is one command also if a field has quotes.
func TestLineOfKubectl(t *testing.T) {
	set := objects.DistributionSet("firmware")
	for want, q := range map[string]operation.Request{
		`kubectl -n fleet patch distributionsets.goshawk.dev firmware --type=merge -p '{"spec":{"invalidation":{"cancellation":"Soft","reason":"it'\''s \"bad\""}}}'`: {Verb: operation.VerbInvalidate, Cancellation: "Soft", Reason: `it's "bad"`},
		`kubectl -n fleet patch distributionsets.goshawk.dev firmware --type=merge -p '{"spec":{"invalidation":{"cancellation":"None"}}}'`:                            {Verb: operation.VerbInvalidate, Cancellation: "None"},
	} {
		p, err := Of(changeOf(t, set, q), set)
		if err != nil || p.Kubectl != want {
			t.Errorf("got  %s\nwant %s, %v", p.Kubectl, want, err)
		}
	}
}

// The manifest for a commit has what people write, and nothing that a program adds.
func TestManifestForACommit(t *testing.T) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "goshawk.dev/v1alpha1", "kind": "Rollout",
		"metadata": map[string]any{
			"name": "firmware", "namespace": "fleet", "uid": "1", "resourceVersion": "7", "generation": int64(3), "creationTimestamp": "2026-06-01T12:00:00Z",
			"finalizers": []any{"goshawk.dev/rollout"}, "managedFields": []any{map[string]any{"manager": "kustomize-controller"}}, "selfLink": "/x",
			"ownerReferences": []any{map[string]any{"name": "o"}},
			"labels":          map[string]any{"team": "edge", "kustomize.toolkit.fluxcd.io/name": "rollouts", "kustomize.toolkit.fluxcd.io/namespace": "fleet"},
			"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "{}", "argocd.argoproj.io/tracking-id": "app:x", "meta.helm.sh/release-name": "r",
				"kustomize.toolkit.fluxcd.io/prune": "disabled", "argocd.argoproj.io/sync-options": "Prune=false"},
		},
		"spec": map[string]any{"state": "Running", "update": map[string]any{"distributionSet": "firmware"}, "retry": map[string]any{"at": "2026-06-01T10:00:00Z", "statusCodes": []any{"1"}},
			"newField": "of a newer version"},
		"status": map[string]any{"state": "Running"},
	}}
	before := object.DeepCopy()
	r := running(func(r *v1alpha1.Rollout) {
		r.Spec.Retry = &v1alpha1.Retry{At: metav1.NewTime(noon.Add(-2 * time.Hour)), StatusCodes: []string{"1"}}
	})
	got, err := Manifest(object, changeOf(t, r, operation.Request{Verb: operation.VerbRetry}))
	want := `apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata:
  annotations:
    argocd.argoproj.io/sync-options: Prune=false
    kustomize.toolkit.fluxcd.io/prune: disabled
  labels:
    team: edge
  name: firmware
  namespace: fleet
spec:
  newField: of a newer version
  retry:
    at: "2026-06-01T12:00:00Z"
  state: Running
  update:
    distributionSet: firmware
`
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("(-want +got) %v\n%s", err, diff)
	}
	if diff := cmp.Diff(before.Object, object.Object); diff != "" {
		t.Errorf("the object has changed:\n%s", diff)
	}
	withdrawn, err := Manifest(&unstructured.Unstructured{Object: map[string]any{"kind": "Rollout", "metadata": map[string]any{"name": "firmware"}}},
		&operation.Change{Fields: []operation.Field{{Path: "spec.approval.planHash"}, {Path: "spec.hold", New: true}}})
	if err != nil || strings.Contains(withdrawn, "approval") || !strings.Contains(withdrawn, "hold: true") {
		t.Errorf("an object without a spec: %v\n%s", err, withdrawn)
	}
}

func TestRightsAreThoseOfTheUserOfTheClient(t *testing.T) {
	asked := ""
	server := interceptor.NewClient(fakes.Server(t).Build(), interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
		review := o.(*authorizationv1.SelfSubjectAccessReview)
		a := review.Spec.ResourceAttributes
		asked += a.Verb + " " + a.Resource + "." + a.Group + " " + a.Namespace + "/" + a.Name + "; "
		review.Status.Allowed = a.Verb == "patch"
		return nil
	}})
	c := changeOf(t, running(), operation.Request{Verb: operation.VerbStop})
	if err := AskRights(t.Context(), server, "fleet", c.Rights); err != nil {
		t.Fatal(err)
	}
	if want := "patch rollouts.goshawk.dev fleet/firmware; cancel targets.goshawk.dev fleet/; "; asked != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	if missing := operation.Missing(c.Rights); len(missing) != 1 || missing[0].Verb != "cancel" {
		t.Errorf("missing are %v", missing)
	}
}

// A change is written for the version of the object that it was computed from. Other changes of the
// object do not prevent it, unless it is no longer the change that was shown.
func TestWriteAfterAConflict(t *testing.T) {
	for name, tc := range map[string]struct {
		conflicts int
		meanwhile func(*v1alpha1.Rollout)
		want      string // in the error; "": it is written
	}{
		"no other change":          {0, nil, ""},
		"the status changes":       {3, func(r *v1alpha1.Rollout) { r.Annotations = map[string]string{"seen": r.ResourceVersion} }, ""},
		"another person pauses it": {1, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPaused }, "was changed meanwhile: spec.state: Paused -> Stopped"},
		"it finishes":              {1, func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }, "it has finished"},
		"it changes at each attempt": {MaxAttempts, func(r *v1alpha1.Rollout) { r.Annotations = map[string]string{"seen": r.ResourceVersion} },
			"changed at every one of 30 attempts"},
	} {
		t.Run(name, func(t *testing.T) {
			stored := running()
			inner := fakes.Server(t).WithObjects(stored).Build()
			read := func(ctx context.Context, r *v1alpha1.Rollout) error {
				return inner.Get(ctx, client.ObjectKeyFromObject(stored), r)
			}
			manager := ""
			server := interceptor.NewClient(inner, interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
				manager = (&client.PatchOptions{}).ApplyOptions(options).FieldManager
				if tc.conflicts > 0 {
					tc.conflicts--
					other := &v1alpha1.Rollout{}
					if err := read(ctx, other); err != nil {
						return err
					}
					tc.meanwhile(other)
					status := other.DeepCopy()
					if err := inner.Status().Update(ctx, status); err != nil {
						return err
					}
					other.ResourceVersion = status.ResourceVersion
					if err := inner.Update(ctx, other); err != nil {
						return err
					}
				}
				return c.Patch(ctx, o, p, options...)
			}})
			r := &v1alpha1.Rollout{}
			if err := read(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			q := operation.Request{Verb: operation.VerbStop}
			w := Write{Client: server, Manager: "test", Object: r, Read: func(ctx context.Context) error { return read(ctx, r) },
				Compute: func() (*operation.Change, error) { return q.On(r, noon) }}
			err := w.Apply(t.Context(), changeOf(t, r, q))
			now := &v1alpha1.Rollout{}
			if err := read(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			if written := now.Spec.State == v1alpha1.IntentStopped; written != (tc.want == "") || manager != "test" {
				t.Errorf("written: %t, by %q", written, manager)
			}
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}
