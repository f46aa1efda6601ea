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

// kinds are all that a fleet's namespace holds, by the words that kubectl knows.
var kinds = map[string]client.Object{
	"autoassign": &v1alpha1.AutoAssignment{},
	"dgroup":     &v1alpha1.DeploymentGroup{},
	"distset":    &v1alpha1.DistributionSet{},
	"grollout":   &v1alpha1.Rollout{},
	"swmod":      &v1alpha1.SoftwareModule{},
	"tgt":        &v1alpha1.Target{},
	"secret":     &corev1.Secret{},
}

// everything is a namespace with all that holds on to something: rollouts in every state, one that
// is about to make its plan, an auto-assignment, sets that are locked, invalid and neither, and
// targets with open actions whose devices will never answer, whatever they are asked.
func everything(t *testing.T) *several {
	t.Helper()
	s := severalOf(t, 2, 1)
	s.Set("bad", "0.1")
	s.Set("spare", "3.0")
	s.Apply(autoAssignment("gateways", "firmware-1", "kind", "gateway"))
	s.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: struck}
spec:
  update: {distributionSet: bad}
  targetSelector: {matchLabels: {state: struck}}
  stabilizationSeconds: 0
  startAt: "2026-01-01T00:00:00Z"
  deletionCancellation: Force
`)
	mute := together(s.Targets("gateway", 1, map[string]string{"kind": "gateway"}), s.Targets("struck", 1, map[string]string{"state": "struck"}))
	_, devices := s.Devices(devicesim.Silent, mute...)
	s.EventuallyStarted(devices, mute...)
	s.Kubectl("patch", "distset", "bad", "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Soft"}}}`)
	s.CommitRollout("running", "spec: {deletionCancellation: Soft}")
	s.EventuallyRollout("struck", "is stopped by the invalidation", world.InState(v1alpha1.RolloutStopped))
	s.Targets("planned", 1, map[string]string{"state": "planned"})
	s.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: planned}
spec: {update: {distributionSet: spare}, targetSelector: {matchLabels: {state: planned}}, stabilizationSeconds: 4, startAt: "2026-01-01T00:00:00Z"}
`)
	s.EventuallyRollout("planned", "is about to be planned", func(r *v1alpha1.Rollout) bool {
		return r.Status.WaitingFor != nil && r.Status.WaitingFor.Reason == v1alpha1.ReasonStabilizing
	})
	return s
}

// left names what the namespace still holds.
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

// restsInPeace: Goshawk writes nothing more into what is empty, and has not run against a wall
// since so many writes: what it was refused it asked for again only when something had changed.
func (s *several) restsInPeace(before int) {
	s.T.Helper()
	quiet(s.World)
	refused := map[string]int{}
	for _, w := range written.In(s.Namespace)[before:] {
		if w.Status >= 400 && w.Status != http.StatusNotFound && w.Status != http.StatusConflict {
			w.Body = nil // whatever it wanted to write
			refused[w.String()]++
		}
	}
	for write, n := range refused {
		if n > 3 {
			s.T.Errorf("%d times: %s", n, write)
		}
	}
}

// quiet waits until nothing has been written for a while, and answers how much was until then.
func quiet(w *world.World) int {
	w.T.Helper()
	last := -1
	w.Eventually("nobody writes any more", func() string {
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

// A namespace is deleted with all that is in it. Nothing can be created in it from then on, and
// what empties it goes by kind, in an order that nobody knows. Everything goes, and nobody has to
// lend a hand.
func TestNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"in alphabetical order": {"autoassign", "dgroup", "distset", "grollout", "secret", "swmod", "tgt"},
		"rollouts last":         {"tgt", "swmod", "secret", "distset", "dgroup", "autoassign", "grollout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := everything(t)
			before := len(written.In(s.Namespace))
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace}}
			if err := s.Client.Delete(t.Context(), namespace); err != nil {
				t.Fatal(err)
			}
			if err := s.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "late"}}); !apierrors.IsForbidden(err) {
				t.Fatalf("something can be created in a namespace that goes: %v", err)
			}
			time.Sleep(5 * time.Second) // the plan that was about to be made comes due
			for _, kind := range order {
				if err := s.Client.DeleteAllOf(t.Context(), kinds[kind], client.InNamespace(s.Namespace)); err != nil {
					t.Fatal(err)
				}
			}
			s.Eventually("the namespace is empty", s.left)
			s.restsInPeace(before)
			finalize(s.World)
			if err := s.Client.Get(t.Context(), types.NamespacedName{Name: s.Namespace}, namespace); !apierrors.IsNotFound(err) {
				t.Errorf("the namespace is still there: %v", err)
			}
		})
	}
}

// finalize lets the namespace go, as its controller does when it is empty.
func finalize(w *world.World) {
	w.T.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q},"spec":{"finalizers":[]}}`, w.Namespace)
	if _, err := cluster.TryKubectl(w.T, manifest, "replace", "--raw", "/api/v1/namespaces/"+w.Namespace+"/finalize", "-f", "-"); err != nil {
		w.T.Fatal(err)
	}
}

// Somebody deletes all of one kind after the other by hand and waits for each, what others need
// first or what needs others first. Deployment groups are the rollouts': they go with them, and not
// before.
func TestAllOfAKindIsDeleted(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"what others need first":  {"swmod", "distset", "tgt", "dgroup", "autoassign", "grollout", "secret"},
		"what needs others first": {"dgroup", "grollout", "autoassign", "tgt", "distset", "swmod", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := everything(t)
			before := len(written.In(s.Namespace))
			for _, kind := range order {
				wait := "--wait=true"
				if kind == "dgroup" {
					wait = "--wait=false"
				}
				s.Kubectl("delete", kind, "--all", wait, "--timeout=60s")
			}
			s.Eventually("the namespace is empty", s.left)
			s.restsInPeace(before)
		})
	}
}
