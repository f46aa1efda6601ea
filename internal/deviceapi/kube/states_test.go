// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/inventory"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
	"github.com/goshawk-dev/goshawk/internal/testing/states"
)

var update = flag.Bool("update", false, "write the files with the objects of this package in every state")

// TestAccessesInEveryState compares the status of DeviceAccesses in every state with the files of
// config/argocd.
func TestAccessesInEveryState(t *testing.T) {
	without := func(g *guard, name string) {
		if err := g.w.server.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: fleetNamespace, Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	full := func(g *guard) {
		g.edit(func(a *v1alpha1.DeviceAccess) {
			registers(a)
			a.Spec.Registration.MaxTargets = 1
		})
		if err := g.ask("new-1", g.gateway); err != nil {
			t.Fatal(err)
		}
	}
	objects := map[string]*v1alpha1.DeviceAccess{}
	for state, change := range map[string]func(*guard){
		"ready":                   func(*guard) {},
		"a-secret-is-missing":     func(g *guard) { without(g, "gateway") },
		"two-secrets-are-missing": func(g *guard) { without(g, "gateway"); without(g, "ca") },
		"a-secret-has-another-type": func(g *guard) {
			without(g, "gateway")
			if err := g.w.server.Create(t.Context(), &corev1.Secret{ObjectMeta: built("gateway"), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"old": []byte("gate-1")}}); err != nil {
				t.Fatal(err)
			}
			g.accesses.setSecret(client.ObjectKey{Namespace: fleetNamespace, Name: "gateway"}, nil)
		},
		"a-key-is-missing": func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.ClientCertificate.CASecretRef.Key = "tls.crt" })
		},
		"a-token-is-empty": func(g *guard) { g.editSecret("gateway", func(s *corev1.Secret) { s.Data["old"] = nil }) },
		"a-ca-is-invalid":  func(g *guard) { g.editSecret("ca", func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("x") }) },
		"a-ca-has-expired": func(g *guard) { g.w.wait(48 * time.Hour) },
		"it-registers-devices-that-it-does-not-select": func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) {
				registers(a)
				a.Spec.TargetSelector = &v1alpha1.TargetSelector{MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "country", Operator: "Exists"}}}
			})
		},
		"no-more-devices-register": full,
		"no-more-devices-register-and-a-secret-is-missing": func(g *guard) {
			without(g, "ca")
			g.checked() // the conditions are added one after the other
			full(g)
		},
		"a-registration-failed": func(g *guard) {
			g.edit(registers)
			g.refuseCreate = func(t *v1alpha1.Target) error {
				return apierrors.NewForbidden(schema.GroupResource{Group: "goshawk.dev", Resource: "targets"}, t.Name, errors.New("exceeded quota: targets"))
			}
			_ = g.ask("new-1", g.gateway)
		},
	} {
		t.Run(state, func(t *testing.T) {
			g := newGuard(t)
			change(g)
			objects[state] = g.checked()
		})
	}
	states.Check(t, "../../..", *update, objects)
	states.CheckEvents(t, "../../..", *update, objects["ready"])
}

// TestTargetsWithoutAUsableToken compares the status of Targets whose tokens cannot be used with
// the files of config/argocd.
func TestTargetsWithoutAUsableToken(t *testing.T) {
	objects := map[string]*v1alpha1.Target{}
	ref := &v1alpha1.SecretKeyReference{Name: "tokens", Key: "dev-01"}
	with := func(token string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: built("tokens"), Type: TokenSecretType, Data: map[string][]byte{"dev-01": []byte(token)}}
	}
	for state, tc := range map[string]struct {
		secret  *corev1.Secret
		isOther bool
	}{
		"the-token-secret-is-missing":       {},
		"the-token-secret-has-another-type": {isOther: true},
		"the-token-key-is-missing":          {secret: &corev1.Secret{ObjectMeta: built("tokens"), Type: TokenSecretType}},
		"the-token-is-empty":                {secret: with("")},
		"the-token-is-invalid":              {secret: with("abc\ndef")},
	} {
		target := aTarget("dev-01")
		target.CreationTimestamp = metav1.NewTime(rolloutStart)
		target.Spec.TokenSecretRef = ref
		c := checkToken(fleetNamespace, ref, faultIn(tc.secret, ref.Key), tc.isOther).condition(target, rolloutStart)
		target.Status = v1alpha1.TargetStatus{ObservedGeneration: target.Generation, ControllerID: "dev-01", UID: target.UID, UpdateStatus: v1alpha1.UpdateStatusUnknown, NextActionID: 100,
			Conditions: []metav1.Condition{*c}}
		targetstatus.NoteReady(target, &target.Status, nil, rolloutStart)
		objects[state] = sorted(target)
	}
	states.Check(t, "../../..", *update, objects)
}

// TestInventoriesInEveryState compares the status of TargetInventories in every state with the
// files of config/argocd.
func TestInventoriesInEveryState(t *testing.T) {
	reported := func(definition string, entries int) inventory.Report {
		r := inventory.Report{Feature: v1alpha1.InventoryFeature{ID: "SoftwareUpdatable", Definition: "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:" + definition}}
		for i := range entries {
			r.Installed = append(r.Installed, v1alpha1.InventorySoftware{Group: "org.example", Name: fmt.Sprintf("app-%03d", i), Version: "1.0"})
		}
		return r
	}
	objects := map[string]*v1alpha1.TargetInventory{}
	for state, report := range map[string]inventory.Report{
		"stored":                    reported("2.0.0", 1),
		"truncated":                 reported("2.0.0", v1alpha1.MaxInventoryEntries+1),
		"an-unsupported-definition": reported("1.0.0", 1),
	} {
		target := aTarget("dev-01")
		o := newInventory(target)
		o.UID, o.Generation, o.CreationTimestamp = "uid-inventory", 1, metav1.NewTime(rolloutStart)
		inventory.Batch{}.Add(report).Apply(&o.Status, inventory.Cause{}, rolloutStart)
		if n := len(o.Status.Installed); n > 1 { // the file needs only the conditions
			o.Status.Installed = o.Status.Installed[:1]
		}
		objects[state] = o
	}
	states.Check(t, "../../..", *update, objects)
	states.CheckEvents(t, "../../..", *update, objects["stored"])
}

// sorted returns a target with its conditions in the order in which targetstatus stores them.
func sorted(t *v1alpha1.Target) *v1alpha1.Target {
	slices.SortFunc(t.Status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	return t
}
