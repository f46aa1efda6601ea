// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// In every run an object of each kind exists that cannot be decoded: its status was written by
// another CRD. It is part of the state that is compared, so no process may write to it.

// otherCRDs changes the CRDs so that the status of each kind may have any value in place of a list
// of conditions or a time.
func otherCRDs(environment *envtest.Environment) {
	folder, err := os.MkdirTemp("", "goshawk-crds-")
	if err != nil {
		panic(err) // without the CRDs no test can run
	}
	paths, err := filepath.Glob(filepath.Join(cluster.Root(), "config/crd/bases/*.yaml"))
	if err != nil || len(paths) == 0 {
		panic("no CRDs")
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(text, &crd); err != nil {
			panic(err)
		}
		version := crd["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
		status, _, err := unstructured.NestedFieldNoCopy(version, "schema", "openAPIV3Schema", "properties", "status", "properties")
		if err != nil {
			panic(err)
		}
		fields := status.(map[string]any)
		for _, field := range []string{"conditions", "openedAt"} {
			if _, ok := fields[field]; ok {
				fields[field] = map[string]any{"x-kubernetes-preserve-unknown-fields": true}
			}
		}
		out, err := yaml.Marshal(crd)
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(path)), out, 0o600); err != nil {
			panic(err)
		}
	}
	environment.CRDDirectoryPaths = []string{folder}
}

// oddSpecs are the specs of objects that no other object of a run refers to.
var oddSpecs = map[string]string{
	"SoftwareModule": `{type: os, name: odd, version: "1"}`, "DistributionSet": `{name: odd, version: "1", type: t, modules: [{name: odd}]}`,
	"Target": `{}`, "Rollout": `{update: {distributionSet: odd}}`, "AutoAssignment": `{update: {distributionSet: odd}}`,
	"DeviceAccess":    `{gatewayToken: {secretName: odd}}`,
	"DeploymentGroup": `{rollout: odd, rolloutUID: u, group: g, index: 0, planHash: "sha256:00", conditions: {successThreshold: 50, successAction: NextGroup, errorThreshold: 50, errorAction: Pause}, targets: [odd]}`,
}

// addOdd stores an object of each kind that cannot be decoded.
func (r *run) addOdd() {
	r.T.Helper()
	for kind := range world.Kinds {
		o := &unstructured.Unstructured{Object: map[string]any{}}
		if err := yaml.Unmarshal([]byte(oddSpecs[kind]), &o.Object); err != nil {
			r.T.Fatal(err)
		}
		o.Object = map[string]any{"spec": o.Object}
		o.SetAPIVersion("goshawk.dev/v1alpha1")
		o.SetKind(kind)
		o.SetNamespace(r.Namespace)
		o.SetName("odd")
		if err := r.Client.Create(r.T.Context(), o); err != nil {
			r.T.Fatalf("store an unreadable %s: %v", kind, err)
		}
		status := `{"status":{"conditions":{"odd":true}}}`
		if strings.HasPrefix(kind, "Deployment") {
			status = `{"status":{"openedAt":{"odd":true}}}`
		}
		if err := r.Client.Status().Patch(r.T.Context(), o, client.RawPatch(types.MergePatchType, []byte(status))); err != nil {
			r.T.Fatalf("store an unreadable %s: %v", kind, err)
		}
	}
}
