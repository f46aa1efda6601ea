// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/test/cluster"
)

// kustomized returns a folder in which kustomize changes every name.
var kustomized = map[string]string{
	"kustomization.yaml": `
namePrefix: eu-
nameSuffix: -a
configurations: [namereference.yaml]
resources: [fleet.yaml]
secretGenerator:
- {name: tokens, type: goshawk.dev/device-tokens, literals: [gw-1=x]}
`,
	"fleet.yaml": `
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: linux}
spec: {type: os, name: linux, version: "1"}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: firmware}
spec: {name: firmware, version: "1", type: image, modules: [{name: linux}, {name: module-of-another-folder}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: Target
metadata: {name: gw-1}
spec: {controllerID: gw-1, tokenSecretRef: {name: tokens, key: gw-1}, assignment: {distributionSet: firmware}}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: rollout}
spec: {update: {distributionSet: firmware}}
---
apiVersion: goshawk.dev/v1alpha1
kind: AutoAssignment
metadata: {name: assignment}
spec: {update: {distributionSet: firmware}}
---
apiVersion: goshawk.dev/v1alpha1
kind: DeviceAccess
metadata: {name: access}
spec: {gatewayToken: {secretName: tokens}, clientCertificate: {caSecretRef: {name: tokens, key: ca.crt}}}
`,
}

// With config/kustomize/namereference.yaml, kustomize also changes the references to names that it
// changes.
func TestKustomizeRenamesReferences(t *testing.T) {
	t.Parallel()
	cluster.Start(t)
	folder := t.TempDir()
	shipped, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "kustomize", "namereference.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range kustomized {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "namereference.yaml"), shipped, 0o600); err != nil {
		t.Fatal(err)
	}
	specs := map[string]map[string]any{}
	secret := ""
	for document := range strings.SplitSeq(cluster.Kubectl(t, "kustomize", folder), "\n---\n") {
		object := parse(t, document)
		if object["kind"] == "Secret" {
			secret = dig[string](object, "metadata", "name")
		}
		specs[object["kind"].(string)] = dig[map[string]any](object, "spec")
	}
	if !regexp.MustCompile(`^eu-tokens-a-[a-z0-9]{10}$`).MatchString(secret) {
		t.Errorf("the Secret is named %s", secret)
	}
	for kind, want := range map[string]string{
		"DistributionSet": `{name: firmware, version: "1", type: image, modules: [{name: eu-linux-a}, {name: module-of-another-folder}]}`,
		"Target":          `{controllerID: gw-1, tokenSecretRef: {name: ` + secret + `, key: gw-1}, assignment: {distributionSet: eu-firmware-a}}`,
		"Rollout":         `{update: {distributionSet: eu-firmware-a}}`,
		"AutoAssignment":  `{update: {distributionSet: eu-firmware-a}}`,
		"DeviceAccess":    `{gatewayToken: {secretName: ` + secret + `}, clientCertificate: {caSecretRef: {name: ` + secret + `, key: ca.crt}}}`,
	} {
		if diff := cmp.Diff(parse(t, want), specs[kind]); diff != "" {
			t.Errorf("%s (-want +built):\n%s", kind, diff)
		}
	}
}

// Every field of a spec that refers to another object is in the file for kustomize. Such fields are
// found by their description.
func TestKustomizeFileHasEveryReference(t *testing.T) {
	var config struct {
		NameReference []struct {
			Kind       string
			FieldSpecs []struct{ Kind, Path string }
		}
	}
	for _, text := range files(t, "config/kustomize/namereference.yaml") {
		if err := yaml.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
	}
	var known []string
	for _, reference := range config.NameReference {
		for _, field := range reference.FieldSpecs {
			known = append(known, field.Kind+"."+strings.ReplaceAll(field.Path, "/", ".")+" names a "+reference.Kind)
		}
	}
	names := regexp.MustCompile(`(?i)(?:names? (?:the|of (?:the|a)|a) |^name of (?:the|a) )(SoftwareModule|DistributionSet|Secret|Target|Rollout|AutoAssignment)\b`)
	var found []string
	for kind, crd := range definitions(t) {
		walk("", crd.schema(), func(path string, schema map[string]any) {
			match := names.FindStringSubmatch(dig[string](schema, "description"))
			if kind != "DeploymentGroup" && strings.HasPrefix(path, ".spec") && schema["type"] == "string" && match != nil {
				found = append(found, kind+strings.ReplaceAll(path, "[]", "")+" names a "+match[1])
			}
		})
	}
	slices.Sort(known)
	slices.Sort(found)
	if diff := cmp.Diff(found, known); diff != "" {
		t.Errorf("references (-in the kinds +in the file):\n%s", diff)
	}
}

// The components for Argo CD and Flux add health scripts and health checks to what is there
// already.
func TestKustomizeAddsHealthForTools(t *testing.T) {
	t.Parallel()
	cluster.Start(t)
	folder := t.TempDir()
	for _, component := range []string{"argocd", "flux"} {
		if err := os.CopyFS(filepath.Join(folder, component), os.DirFS(filepath.Join(cluster.Root(), "config", component))); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"kustomization.yaml": "resources: [present.yaml]\ncomponents: [argocd, flux]\n",
		"present.yaml": `
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd}
data: {url: "https://argocd.example.com"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: rollouts-waiting, namespace: fleet, labels: {goshawk.dev/wait-for: fleet}}
spec: {path: ./fleet/rollouts-waiting, wait: true}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: sets, namespace: fleet}
spec: {path: ./fleet/sets}
`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	built, err := cluster.TryKubectl(t, "", "kustomize", folder)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for text := range strings.SplitSeq(built, "\n---\n") {
		var o struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Data map[string]string `json:"data"`
			Spec struct {
				Path             string           `json:"path"`
				HealthCheckExprs []map[string]any `json:"healthCheckExprs"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		if o.Spec.Path == "" && o.Data["url"] == "" {
			t.Errorf("the component has replaced %s", o.Metadata.Name)
		}
		got[o.Metadata.Name] = len(o.Data) + len(o.Spec.HealthCheckExprs)
	}
	if diff := cmp.Diff(map[string]int{"argocd-cm": 9, "rollouts-waiting": 1, "sets": 0}, got); diff != "" {
		t.Errorf("keys and health checks (-want +got):\n%s", diff)
	}
}
