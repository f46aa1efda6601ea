// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// A DeviceAccess decides which devices are let in, so writing one is a right of its own. All roles
// may read it.
func TestOnlyAccessAdminsWriteADeviceAccess(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	present := f.object(t, "DeviceAccess", "present")
	f.give(t, present, "")
	for person := range people {
		t.Run(person, func(t *testing.T) {
			t.Parallel()
			c := f.as(t, person)
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(present), present.DeepCopy()); err != nil {
				t.Errorf("read: %v", err)
			}
			mine := f.object(t, "DeviceAccess", newName("access"))
			theirs := f.object(t, "DeviceAccess", newName("access"))
			f.give(t, theirs, "")
			for deed, do := range map[string]func() error{
				"create": func() error { return c.Create(t.Context(), mine) },
				"apply":  func() error { return serverSideApply(t.Context(), c, f.object(t, "DeviceAccess", newName("access"))) },
				"patch": func() error {
					return c.Patch(t.Context(), theirs.DeepCopy(), mergePatch(t, parse(t, `{spec: {targetSelector: {matchLabels: {site: lab}}}}`)))
				},
				"update": func() error {
					whole := theirs.DeepCopy()
					if err := c.Get(t.Context(), client.ObjectKeyFromObject(whole), whole); err != nil {
						return err
					}
					return c.Update(t.Context(), whole)
				},
				"write the status": func() error {
					return c.Status().Patch(t.Context(), theirs.DeepCopy(), mergePatch(t, parse(t, `{status: {registered: 5}}`)))
				},
				"delete all": func() error {
					return c.DeleteAllOf(t.Context(), theirs.DeepCopy(), client.InNamespace(f.namespace), client.DryRunAll)
				},
			} {
				err, may := do(), person == "access" && deed != "write the status" && deed != "delete all"
				if may && err != nil || !may && !apierrors.IsForbidden(err) {
					t.Errorf("%s: %v, want allowed %v", deed, err, may)
				}
			}
			if err := c.Delete(t.Context(), theirs); (person == "access") != (err == nil) {
				t.Errorf("delete: %v", err)
			}
		})
	}
}

// The right to let devices in gives no other right, also not by the targets that are registered.
func TestAccessAdminsWriteNothingElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	c := f.as(t, "access")
	for _, kind := range []string{"SoftwareModule", "DistributionSet", "Target", "Rollout"} {
		if err := c.Create(t.Context(), f.object(t, kind, newName(kind))); !apierrors.IsForbidden(err) {
			t.Errorf("create a %s: %v", kind, err)
		}
		present := f.object(t, kind, newName(kind))
		f.give(t, present, "")
		if err := c.Patch(t.Context(), present, mergePatch(t, parse(t, `{metadata: {labels: {a: b}}}`))); !apierrors.IsForbidden(err) {
			t.Errorf("label a %s: %v", kind, err)
		}
	}
	for _, labels := range []string{`{goshawk.dev/rollout: r}`, `{app.kubernetes.io/managed-by: goshawk}`, `{kubernetes.io/metadata.name: x}`} {
		reserved := f.object(t, "DeviceAccess", newName("access"), `{registration: {labels: `+labels+`}}`)
		if err := c.Create(t.Context(), reserved); err == nil || !strings.Contains(err.Error(), "which are reserved") {
			t.Errorf("registration with the labels %s: %v", labels, err)
		}
	}
}

// The annotation of a registered Target is no right: the roles that may write Targets may change
// and remove it, and no other role may.
func TestTheAnnotationOfRegisteredTargets(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for person := range people {
		t.Run(person, func(t *testing.T) {
			t.Parallel()
			c := f.as(t, person)
			target := f.object(t, "Target", newName("target"))
			target.SetAnnotations(map[string]string{v1alpha1.DeviceAccessAnnotation: "factory"})
			f.give(t, target, "")
			may := strings.Contains(person, "editor") || person == "stopper" // the two roles with patch on targets
			for deed, patch := range map[string]string{
				"change": `{metadata: {annotations: {goshawk.dev/device-access: another}}}`,
				"remove": `{metadata: {annotations: {goshawk.dev/device-access: null}}}`,
			} {
				if err := c.Patch(t.Context(), target.DeepCopy(), mergePatch(t, parse(t, patch))); may && err != nil || !may && !apierrors.IsForbidden(err) {
					t.Errorf("%s: %v, want allowed %v", deed, err, may)
				}
			}
		})
	}
}

// The cluster's own roles do not contain the right.
func TestClusterRolesDoNotContainTheRightForDeviceAccesses(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "rbac", "user_roles.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		if strings.Contains(document, "name: goshawk-access-admin\n") {
			found = true
			if strings.Contains(document, "aggregate-to") {
				t.Error("goshawk-access-admin is part of a role of the cluster")
			}
		}
	}
	if !found {
		t.Error("there is no goshawk-access-admin")
	}
}
