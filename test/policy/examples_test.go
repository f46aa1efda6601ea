// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// TestExamplesAndSamplesAreAcceptedByADryRun applies every manifest of examples/fleet and
// config/samples by a server-side dry run against schema and policies, in one command as a pipeline
// does. The account has only the roles of docs/rights.md for a release team: examples need
// goshawk-editor, and the DeviceAccess of the samples goshawk-access-admin.
func TestExamplesAndSamplesAreAcceptedByADryRun(t *testing.T) {
	t.Parallel()
	for folder, person := range map[string]string{
		"examples/fleet/base":             "editor",
		"examples/fleet/sets":             "editor",
		"examples/fleet/rollouts":         "editor",
		"examples/fleet/rollouts-waiting": "editor",
		"config/samples":                  "editor-access",
	} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.bind(t, "ClusterRole", "goshawk-editor", "editor-access")
			f.bind(t, "ClusterRole", "goshawk-access-admin", "editor-access")
			f.waitUntilAllowed(t, "ClusterRole", "goshawk-access-admin", rule("create", "deviceaccesses"))
			var manifests []string
			built := cluster.Kubectl(t, "kustomize", filepath.Join(cluster.Root(), folder))
			for document := range strings.SplitSeq(built, "\n---\n") {
				if strings.Contains(document, "apiVersion: goshawk.dev/") { // namespaces and Secrets need other rights
					manifests = append(manifests, strings.ReplaceAll(document, "namespace: fleet\n", "namespace: "+f.namespace+"\n"))
				}
			}
			out, err := cluster.TryKubectl(t, strings.Join(manifests, "\n---\n"), "apply", "--server-side", "--dry-run=server", "--as", person, "-f", "-")
			if accepted := strings.Count(out, "serverside-applied (server dry run)"); err != nil || accepted != len(manifests) || accepted == 0 {
				t.Errorf("%d of %d manifests are accepted: %v\n%s", accepted, len(manifests), err, out)
			}
		})
	}
}
