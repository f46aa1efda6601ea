// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"net/http/httptest"
	"testing"
)

func TestRequestOf(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Request{
		"GET /apis/goshawk.dev/v1alpha1/namespaces/fleet/targets/gw-1":           {"get", "goshawk.dev", "targets", "", "fleet", "gw-1"},
		"GET /apis/goshawk.dev/v1alpha1/namespaces/fleet/targets":                {"list", "goshawk.dev", "targets", "", "fleet", ""},
		"GET /apis/goshawk.dev/v1alpha1/targets?watch=true":                      {"watch", "goshawk.dev", "targets", "", "", ""},
		"PATCH /apis/goshawk.dev/v1alpha1/namespaces/fleet/targets/gw-1/status":  {"patch", "goshawk.dev", "targets", "status", "fleet", "gw-1"},
		"PUT /api/v1/namespaces/goshawk-system/configmaps/invalidated":           {"update", "", "configmaps", "", "goshawk-system", "invalidated"},
		"POST /apis/events.k8s.io/v1/namespaces/fleet/events":                    {"create", "events.k8s.io", "events", "", "fleet", ""},
		"DELETE /apis/goshawk.dev/v1alpha1/namespaces/fleet/deploymentgroups/a":  {"delete", "goshawk.dev", "deploymentgroups", "", "fleet", "a"},
		"DELETE /apis/goshawk.dev/v1alpha1/namespaces/fleet/deploymentgroups":    {"deletecollection", "goshawk.dev", "deploymentgroups", "", "fleet", ""},
		"GET /api/v1/namespaces/fleet":                                           {"get", "", "namespaces", "", "", "fleet"},
		"GET /apis/goshawk.dev/v1alpha1":                                         {Verb: "list"},
		"GET /apis":                                                              {Verb: "list"},
		"PATCH /apis/apiextensions.k8s.io/v1/customresourcedefinitions/a/status": {"patch", "apiextensions.k8s.io", "customresourcedefinitions", "status", "", "a"},
	} {
		var method, target string
		for i := range line {
			if line[i] == ' ' {
				method, target = line[:i], line[i+1:]
			}
		}
		if got := RequestOf(httptest.NewRequest(method, target, nil)); got != want {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
}
