// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// kinds are the kinds in the namespace of a fleet, by their names for kubectl.
var kinds = map[string]client.Object{
	"autoassign": &v1alpha1.AutoAssignment{},
	"dgroup":     &v1alpha1.DeploymentGroup{},
	"distset":    &v1alpha1.DistributionSet{},
	"grollout":   &v1alpha1.Rollout{},
	"swmod":      &v1alpha1.SoftwareModule{},
	"tgt":        &v1alpha1.Target{},
	"secret":     &corev1.Secret{},
}

// fullNamespace returns a namespace with objects of all kinds that have finalizers or open work:
// rollouts in every state, one that is about to make its plan, an auto-assignment, sets that are
// locked, invalid and neither, and targets with open actions whose devices never answer.
func fullNamespace(t *testing.T) *several {
	t.Helper()
	s := severalOf(t, 2, 1)
	s.Set("bad", "0.1")
	s.Set("spare", "3.0")
	s.Apply(autoAssignment("gateways", "firmware-1", "kind", "gateway"))
	s.ApplySpec("Rollout", "struck", `
  update: {distributionSet: bad}
  targetSelector: {matchLabels: {state: struck}}
  stabilizationSeconds: 0
  startAt: "2026-01-01T00:00:00Z"
  deletionCancellation: Force
`)
	silent := together(s.Targets("gateway", 1, map[string]string{"kind": "gateway"}), s.Targets("struck", 1, map[string]string{"state": "struck"}))
	_, devices := s.Devices(devicesim.Silent, silent...)
	s.EventuallyStarted(devices, silent...)
	s.Kubectl("patch", "distset", "bad", "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Soft"}}}`)
	s.CommitRollout("running", "spec: {deletionCancellation: Soft}")
	s.EventuallyRollout("struck", "is stopped by the invalidation", world.InState(v1alpha1.RolloutStopped))
	s.Targets("planned", 1, map[string]string{"state": "planned"})
	s.ApplySpec("Rollout", "planned", `{update: {distributionSet: spare}, targetSelector: {matchLabels: {state: planned}}, stabilizationSeconds: 20, startAt: "2026-01-01T00:00:00Z"}`)
	s.EventuallyRollout("planned", "is about to be planned", func(r *v1alpha1.Rollout) bool {
		return r.Status.WaitingFor != nil && r.Status.WaitingFor.Reason == v1alpha1.ReasonStabilizing
	})
	return s
}

// left returns the objects that are still in the namespace.
func (s *several) left() string {
	s.T.Helper()
	var names []string
	for kind, object := range kinds {
		list := &metav1.PartialObjectMetadataList{}
		gvk, err := s.Client.GroupVersionKindFor(object)
		if err != nil {
			s.T.Fatal(err)
		}
		list.SetGroupVersionKind(gvk)
		if err := s.Client.List(s.T.Context(), list, client.InNamespace(s.Namespace)); err != nil {
			s.T.Fatal(err)
		}
		for _, item := range list.Items {
			names = append(names, fmt.Sprintf("%s/%s with finalizers %v", kind, item.Name, item.Finalizers))
		}
	}
	return strings.Join(names, ", ")
}

// staysQuiet waits until Goshawk writes nothing more, and fails the test if it has sent the same
// refused write more than three times, not counting the writes before.
func (s *several) staysQuiet(before int) {
	s.T.Helper()
	writesUntilQuiet(s.World)
	refused := map[string]int{}
	for _, w := range written.In(s.Namespace)[before:] {
		if w.Status >= 400 && w.Status != http.StatusNotFound && w.Status != http.StatusConflict {
			w.Body = nil // the content of the write is not compared
			refused[w.String()]++
		}
	}
	for write, n := range refused {
		if n > 3 {
			s.T.Errorf("%d times: %s", n, write)
		}
	}
}

// writesUntilQuiet waits until there are no more writes, and returns the number of writes until
// then.
func writesUntilQuiet(w *world.World) int {
	w.T.Helper()
	last := -1
	w.Eventually("there are no more writes", func() string {
		writes := written.In(w.Namespace)
		if n := len(writes); n != last {
			last = n
			time.Sleep(2 * time.Second)
			return fmt.Sprint(writes[max(n-3, 0):])
		}
		return ""
	})
	return last
}

// A namespace is deleted with all its objects. From then on nothing can be created in it, and the
// namespace controller deletes kind after kind in an unknown order. All objects are deleted without
// help of a user.
func TestNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"in alphabetical order": {"autoassign", "dgroup", "distset", "grollout", "secret", "swmod", "tgt"},
		"rollouts last":         {"tgt", "swmod", "secret", "distset", "dgroup", "autoassign", "grollout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fullNamespace(t)
			before := len(written.In(s.Namespace))
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}
			if err := s.Client.Delete(t.Context(), namespace); err != nil {
				t.Fatal(err)
			}
			if err := s.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "late"}}); !apierrors.IsForbidden(err) {
				t.Fatalf("an object was created in a namespace that is being deleted: %v", err)
			}
			time.Sleep(5 * time.Second) // the plan that was about to be made becomes due
			for _, kind := range order {
				if err := s.Client.DeleteAllOf(t.Context(), kinds[kind], client.InNamespace(s.Namespace)); err != nil {
					t.Fatal(err)
				}
			}
			s.Eventually("the namespace is empty", s.left)
			s.staysQuiet(before)
			finalize(s.World)
			if err := s.Client.Get(t.Context(), types.NamespacedName{Name: s.Namespace}, namespace); !apierrors.IsNotFound(err) {
				t.Errorf("the namespace is still there: %v", err)
			}
		})
	}
}

// finalize removes the finalizer of the namespace, as the namespace controller does when it is
// empty.
func finalize(w *world.World) {
	w.T.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q},"spec":{"finalizers":[]}}`, w.Namespace)
	if _, err := cluster.TryKubectl(w.T, manifest, "replace", "--raw", "/api/v1/namespaces/"+w.Namespace+"/finalize", "-f", "-"); err != nil {
		w.T.Fatal(err)
	}
}

// A user deletes all objects of one kind after the other and waits for each kind, in the order of
// references and in the opposite order. Deployment groups are deleted with their rollouts, and not
// before.
func TestKindsAreDeletedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"referenced kinds first":  {"swmod", "distset", "tgt", "dgroup", "autoassign", "grollout", "secret"},
		"referencing kinds first": {"dgroup", "grollout", "autoassign", "tgt", "distset", "swmod", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fullNamespace(t)
			before := len(written.In(s.Namespace))
			for _, kind := range order {
				wait := "--wait=true"
				if kind == "dgroup" {
					wait = "--wait=false"
				}
				s.Kubectl("delete", kind, "--all", wait, "--timeout=150s")
			}
			s.Eventually("the namespace is empty", s.left)
			s.staysQuiet(before)
		})
	}
}
