// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"
)

// object returns an object of namespace fleet with this spec and status.
func object(t *testing.T, kind, content string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(content), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.SetAPIVersion("goshawk.dev/v1alpha1")
	o.SetKind(kind)
	o.SetNamespace("fleet")
	o.SetName("one")
	return o
}

// test/policy compares all refusals with those of an API server; here are those of an account
// without rights, in which several rules do not hold.
func TestRefusalsOfAnAccountWithoutRights(t *testing.T) {
	const (
		approver = " in namespace fleet, which vera lacks: bind the ClusterRole goshawk-approver to vera in that namespace, or "
		stopper  = " in namespace fleet, which vera lacks: bind the ClusterRole goshawk-stopper to vera in that namespace, or "
	)
	tests := map[string]struct {
		kind, resource, old, now string
		want                     []string
	}{
		"a rollout without a field that needs a right": {"Rollout", "rollouts", "", `{spec: {state: Paused, stopCancellation: Soft}}`, nil},
		"a new rollout with three of them": {"Rollout", "rollouts", "", `{spec: {approval: {planHash: a}, resumedAt: b, stopCancellation: Force}}`, []string{
			"spec.approval needs the verb approve on rollouts" + approver + "leave approval as it was",
			"spec.resumedAt needs the verb resume on rollouts" + approver + "leave resumedAt as it was",
			"spec.stopCancellation Force needs the verb forcecancel on targets" + stopper + "leave stopCancellation as it was",
		}},
		"the same manifest again": {"Rollout", "rollouts", `{spec: {approval: {planHash: a}}}`, `{spec: {approval: {planHash: a}}}`, nil},
		"a rollout that has started is stopped": {"Rollout", "rollouts", `{status: {startedAt: a}}`, `{spec: {state: Stopped}}`, []string{
			"to stop with stopCancellation Soft needs the verb cancel on targets" + stopper + "stop with None",
		}},
		"a target is created and canceled": {"Target", "targets", "", `{spec: {cancel: {upTo: 1}}}`, []string{
			"spec.cancel with cancellation Soft needs the verb cancel on targets" + stopper + "remove spec.cancel",
		}},
		"a rollout gets an owner": {"Rollout", "rollouts", `{spec: {}}`, `{metadata: {ownerReferences: [{name: a}]}, spec: {deletionCancellation: Force}}`, []string{
			"metadata.ownerReferences of rollouts/one makes the API server delete it with its owner, which cancels on devices (spec.deletionCancellation Force), and needs the verb forcecancel on targets" + stopper + "remove ownerReferences",
			"spec.deletionCancellation Force needs the verb forcecancel on targets" + stopper + "leave deletionCancellation as it was",
		}},
		"an update that causes a warning only": {"Rollout", "rollouts", `{metadata: {deletionTimestamp: "2026-03-01T00:00:00Z"}, spec: {}}`, `{spec: {}}`, nil},
		"an update without a policy":           {"AutoAssignment", "autoassignments", "", `{spec: {state: Paused}}`, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := &Request{Resource: tc.resource, Object: object(t, tc.kind, tc.now), Account: "vera", Allows: func(authorizer.Attributes) bool { return false }}
			if tc.old != "" {
				r.Old = object(t, tc.kind, tc.old)
			}
			got, err := Refusals(t.Context(), r)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("error %v, refusals\n%q\nwant\n%q", err, got, tc.want)
			}
		})
	}
}

func TestRightsOfRoles(t *testing.T) {
	tests := map[string]struct {
		roles                 []string
		verb, group, resource string
		want                  bool
	}{
		"an editor creates rollouts":              {[]string{"goshawk-editor"}, "create", "goshawk.dev", "rollouts", true},
		"an editor does not approve":              {[]string{"goshawk-editor"}, "approve", "goshawk.dev", "rollouts", false},
		"an editor with the role of an approver":  {[]string{"goshawk-editor", "goshawk-approver"}, "approve", "goshawk.dev", "rollouts", true},
		"rollouts of another group":               {[]string{"goshawk-editor"}, "create", "argoproj.io", "rollouts", false},
		"a viewer does not write":                 {[]string{"goshawk-viewer"}, "patch", "goshawk.dev", "targets", false},
		"a program that writes DeviceAccess":      {[]string{"goshawk-access-admin"}, "create", "goshawk.dev", "deviceaccesses", true},
		"an account without roles may do nothing": {nil, "get", "goshawk.dev", "rollouts", false},
		"an approver has no right on targets":     {[]string{"goshawk-approver"}, "approve", "goshawk.dev", "targets", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			allows, err := RightsOf(tc.roles)
			if err != nil {
				t.Fatal(err)
			}
			if got := allows(authorizer.AttributesRecord{Verb: tc.verb, APIGroup: tc.group, Resource: tc.resource, Namespace: "fleet", Name: "one"}); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
	if _, err := RightsOf([]string{"goshawk-owner"}); err == nil {
		t.Error("a role that does not exist is accepted")
	}
}
