// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// server is an API server that has these objects of namespace fleet, by their path below the
// namespace.
func server(t *testing.T, stored map[string]string) *httptest.Server {
	t.Helper()
	documents := map[string]any{
		"/api":  map[string]any{"kind": "APIVersions", "versions": []string{"v1"}},
		"/apis": map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{map[string]any{"name": "goshawk.dev", "versions": []any{map[string]string{"groupVersion": "goshawk.dev/v1alpha1", "version": "v1alpha1"}}}}},
		"/apis/goshawk.dev/v1alpha1": map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "goshawk.dev/v1alpha1", "resources": []any{
			map[string]any{"name": "rollouts", "namespaced": true, "kind": "Rollout", "verbs": []string{"get", "list"}},
			map[string]any{"name": "targets", "namespaced": true, "kind": "Target", "verbs": []string{"get", "list"}},
		}},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		path, found := strings.CutPrefix(r.URL.Path, "/apis/goshawk.dev/v1alpha1/namespaces/fleet/")
		switch document, known := documents[r.URL.Path]; {
		case known:
			_ = json.NewEncoder(w).Encode(document)
		case found && stored[path] != "":
			_, _ = w.Write([]byte(stored[path]))
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"not found","code":404}`))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// One stored object that cannot be decoded hides neither itself nor the others.
func TestObjectsThatCannotBeDecodedAreShown(t *testing.T) {
	rollout := func(name, spec string) string {
		return `{"apiVersion":"goshawk.dev/v1alpha1","kind":"Rollout","metadata":{"namespace":"fleet","name":"` + name + `","uid":"u-` + name + `"},"spec":` + spec + `,"status":{"state":"Running"}}`
	}
	broken := rollout("broken", `{"update":{"distributionSet":"firmware"},"startAt":"2026-12-01t02:00:00z"}`)
	target := `{"apiVersion":"goshawk.dev/v1alpha1","kind":"Target","metadata":{"namespace":"fleet","name":"gateway"},"spec":{"assignment":{"distributionSet":"s","assignedAt":"2026-12-01T23:59:60Z"}},"status":{"updateStatus":"InSync"}}`
	list := func(kind string, items ...string) string {
		return `{"apiVersion":"goshawk.dev/v1alpha1","kind":"` + kind + `List","metadata":{"resourceVersion":"9"},"items":[` + strings.Join(items, ",") + `]}`
	}
	s := server(t, map[string]string{
		"rollouts": list("Rollout", broken, rollout("sound", `{"update":{"distributionSet":"firmware"}}`)), "rollouts/broken": broken,
		"targets": list("Target", target), "targets/gateway": target,
	})
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	run := func(args ...string) result {
		var out, errOut bytes.Buffer
		root := NewCommand(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
		code := Run(t.Context(), root, &errOut, append([]string{"--server", s.URL, "-n", "fleet"}, args...))
		return result{out.String(), errOut.String(), code}
	}
	const problem = `the stored Rollout cannot be decoded, so that nothing of it starts: correct it: spec.startAt`
	if got := run("status"); got.code != 0 || !strings.Contains(got.out, "sound") || !strings.Contains(got.out, problem) {
		t.Errorf("list: code %d\n%s%s", got.code, got.out, got.errOut)
	}
	if got := run("status", "broken", "--exit-code"); got.code != CodeWaitsForPerson || !strings.Contains(strings.Join(strings.Fields(got.out), " "), problem) {
		t.Errorf("one: code %d\n%s%s", got.code, got.out, got.errOut)
	}
	if got := run("targets"); got.code != 0 || !strings.Contains(got.out, "cannot be decoded: spec.assignment") {
		t.Errorf("targets: code %d\n%s%s", got.code, got.out, got.errOut)
	}
	want := "correct it, such as by `kubectl edit rollouts.goshawk.dev broken -n fleet`\n"
	if got := run("targets", "--rollout", "broken"); got.code != CodeError || !strings.HasPrefix(got.errOut, "error: Rollout fleet/broken cannot be decoded: spec.startAt") || !strings.HasSuffix(got.errOut, want) {
		t.Errorf("a command that needs all of the rollout: code %d\n%s%s", got.code, got.out, got.errOut)
	}
}
