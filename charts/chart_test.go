// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package charts_test renders the Helm chart with the program helm.
package charts_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/hack/kustomize"
	"github.com/goshawk-dev/goshawk/internal/testing/helm"
)

const chart = "goshawk"

// objects returns the rendered objects by kind, namespace and name.
func objects(t *testing.T, manifests string) map[string]*unstructured.Unstructured {
	t.Helper()
	list, err := kustomize.Parse([]byte(manifests))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*unstructured.Unstructured{}
	for _, o := range list {
		key := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
		if found[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		found[key] = o
	}
	return found
}

// chartLabels are the labels that each object of the chart has.
var chartLabels = []string{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}

// With its defaults, the chart renders the objects of config/default, and with monitoring those of
// config/prometheus and config/grafana as well. There are these differences: the namespace, which
// `helm install --create-namespace` creates; the labels of the chart; and the annotation that keeps
// the CustomResourceDefinitions.
func TestChartRendersTheObjectsOfKustomize(t *testing.T) {
	t.Parallel()
	for values, folders := range map[string][]string{
		"": {"default"},
		"monitoring: {enabled: true, dashboard: true}": {"default", "prometheus", "grafana"},
		"console: {enabled: true}":                     {"default", "console"},
	} {
		compare(t, values, folders)
	}
}

func compare(t *testing.T, values string, folders []string) {
	t.Helper()
	rendered, err := helm.Template(t, chart, values)
	if err != nil {
		t.Fatal(err)
	}
	got, want := objects(t, rendered), map[string]*unstructured.Unstructured{}
	for _, folder := range folders {
		built, err := kustomize.Build(filepath.Join("..", "config", folder))
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(want, objects(t, string(built)))
	}
	delete(want, "Namespace /goshawk-system")
	for key, o := range got {
		labels, notes := o.GetLabels(), o.GetAnnotations()
		for _, label := range chartLabels {
			if labels[label] == "" {
				t.Errorf("%s does not have the label %s", key, label)
			}
		}
		if isCRD := o.GetKind() == "CustomResourceDefinition"; isCRD != (notes["helm.sh/resource-policy"] == "keep") {
			t.Errorf("%s has the annotations %v", key, notes)
		}
		delete(notes, "helm.sh/resource-policy")
		o.SetAnnotations(notes)
	}
	for _, list := range []map[string]*unstructured.Unstructured{got, want} {
		for _, o := range list {
			labels := o.GetLabels()
			for _, label := range chartLabels {
				delete(labels, label)
			}
			o.SetLabels(labels)
			if len(labels) == 0 {
				unstructured.RemoveNestedField(o.Object, "metadata", "labels")
			}
			if len(o.GetAnnotations()) == 0 {
				unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
			}
		}
	}
	if d := diff.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Fatalf("objects of config/ (-) and of the chart (+):\n%s", d)
	}
	for key := range want {
		if d := diff.Diff(want[key].Object, got[key].Object); d != "" {
			t.Errorf("%s of config/ (-) and of the chart (+):\n%s", key, d)
		}
	}
	if len(want) < 30 {
		t.Errorf("config/default has only %d objects", len(want))
	}
}

// A release with another name, in another namespace, has objects with this name and namespace.
func TestReleaseWithAnotherName(t *testing.T) {
	t.Parallel()
	rendered, err := helm.Run(t, "template", "fleet", chart, "--namespace=fleet-system", "--set=watchNamespaces={fleet-a}")
	if err != nil {
		t.Fatal(err)
	}
	got := objects(t, rendered)
	for _, key := range []string{
		"Deployment fleet-system/fleet-goshawk-controllers", "Deployment fleet-system/fleet-goshawk-device-api", "Service fleet-system/fleet-goshawk-device-api",
		"ConfigMap fleet-system/fleet-goshawk-poll-intervals", "ServiceAccount fleet-system/fleet-goshawk-manager", "Role fleet-system/fleet-goshawk-manager",
		"RoleBinding fleet-a/fleet-goshawk-manager", "RoleBinding fleet-a/fleet-goshawk-device-api", "RoleBinding fleet-a/fleet-goshawk-device-api-tokens",
	} {
		if got[key] == nil {
			t.Errorf("there is no %s", key)
		}
	}
	for key, o := range got {
		if namespace := o.GetNamespace(); namespace != "" && namespace != "fleet-system" && namespace != "fleet-a" {
			t.Errorf("%s is in a namespace of another release", key)
		}
	}
	if strings.Contains(rendered, "goshawk-system") {
		t.Error("an object names goshawk-system, which is not the namespace of this release")
	}
}

// With watchNamespaces, the accounts of Goshawk have rights in these namespaces and in that of the
// release only, also if it is one of them.
func TestWatchedNamespacesLimitTheRights(t *testing.T) {
	t.Parallel()
	rendered, err := helm.Template(t, chart, "watchNamespaces: [fleet-a, goshawk-system]")
	if err != nil {
		t.Fatal(err)
	}
	for key, o := range objects(t, rendered) {
		switch o.GetKind() {
		case "ClusterRoleBinding":
			t.Errorf("%s gives rights in all namespaces", key)
		case "RoleBinding":
			role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
			if objects(t, rendered)["Role "+o.GetNamespace()+"/"+role] == nil {
				t.Errorf("%s: its role %s does not exist", key, role)
			}
		case "Deployment":
			if !strings.Contains(fmt.Sprint(o.Object), "--watch-namespaces=fleet-a,goshawk-system") {
				t.Errorf("%s watches all namespaces", key)
			}
		}
	}
}

// Arguments are texts, also with a prefix that ends with a colon, which is a map without quotes.
func TestArgumentsOfTheConsoleAreTexts(t *testing.T) {
	t.Parallel()
	rendered, err := helm.Template(t, chart, "console: {enabled: true, oidc: {issuerURL: 'https://idp.example/#a', clientID: '1', usernameClaim: email, usernamePrefix: 'oidc:', groupsClaim: g, groupsPrefix: 'oidc:', groups: ['oidc:a b', 'c: d']}, baseURL: 'https://c.example', secretName: c}")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(objects(t, rendered)["Deployment goshawk-system/goshawk-console"].Object, &d, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--console-oidc-issuer-url=https://idp.example/#a", "--console-oidc-client-id=1", "--console-oidc-username-prefix=oidc:", "--console-oidc-groups-prefix=oidc:", "--console-oidc-groups=oidc:a b,c: d",
	} {
		if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, want) {
			t.Errorf("the arguments %q do not contain %s", args, want)
		}
	}
}

// The rights of the console to act as people are limited to the names in the values, or not given.
func TestConsoleActsAsListedPeopleOnly(t *testing.T) {
	t.Parallel()
	const login = "oidc: {issuerURL: 'https://idp.example', clientID: a, groups: ['oidc:a']}, baseURL: 'https://c.example', secretName: c"
	for values, want := range map[string][]any{
		"console: {enabled: true}": {map[string]any{"apiGroups": []any{""}, "resources": []any{"users", "groups"}, "verbs": []any{"impersonate"}}},
		"console: {enabled: true, impersonation: {enabled: false, users: [a]}}": nil,
		"console: {enabled: true, impersonation: {users: ['oidc:anna']}, " + login + "}": {
			map[string]any{"apiGroups": []any{""}, "resources": []any{"groups"}, "resourceNames": []any{"oidc:a"}, "verbs": []any{"impersonate"}},
			map[string]any{"apiGroups": []any{""}, "resources": []any{"users"}, "resourceNames": []any{"oidc:anna"}, "verbs": []any{"impersonate"}},
		},
	} {
		rendered, err := helm.Template(t, chart, values)
		if err != nil {
			t.Fatal(err)
		}
		var got []any
		role := objects(t, rendered)["ClusterRole /goshawk-console-impersonation"]
		if role != nil {
			got, _, _ = unstructured.NestedSlice(role.Object, "rules")
		}
		if d := diff.Diff(want, got); d != "" || strings.Count(rendered, "impersonate") != len(want) {
			t.Errorf("with %s, the rights to impersonate are (-want +got):\n%s", values, d)
		}
	}
	actions := map[string]any{"apiGroups": []any{"goshawk.dev"}, "resources": []any{"rollouts", "distributionsets", "targets", "autoassignments"}, "verbs": []any{"impersonate-on:user-info:get", "impersonate-on:user-info:patch"}}
	for values, want := range map[string][]any{
		"console: {enabled: true, impersonation: {constrained: true}}": {
			map[string]any{"apiGroups": []any{"authentication.k8s.io"}, "resources": []any{"groups"}, "verbs": []any{"impersonate:user-info"}},
			map[string]any{"apiGroups": []any{"authentication.k8s.io"}, "resources": []any{"users"}, "verbs": []any{"impersonate:user-info"}}, actions,
		},
		"console: {enabled: true, impersonation: {constrained: true, users: ['oidc:anna']}, " + login + "}": {
			map[string]any{"apiGroups": []any{"authentication.k8s.io"}, "resources": []any{"groups"}, "resourceNames": []any{"oidc:a"}, "verbs": []any{"impersonate:user-info"}},
			map[string]any{"apiGroups": []any{"authentication.k8s.io"}, "resources": []any{"users"}, "resourceNames": []any{"oidc:anna"}, "verbs": []any{"impersonate:user-info"}}, actions,
		},
	} {
		rendered, err := helm.Template(t, chart, values)
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ := unstructured.NestedSlice(objects(t, rendered)["ClusterRole /goshawk-console-impersonation"].Object, "rules")
		if d := diff.Diff(want, got); d != "" || strings.Contains(rendered, "impersonate]") {
			t.Errorf("with %s, the rights to impersonate are (-want +got):\n%s", values, d)
		}
	}
	watched, err := helm.Template(t, chart, "{watchNamespaces: [fleet-a], console: {enabled: true}}")
	if err != nil {
		t.Fatal(err)
	}
	got := objects(t, watched)
	if got["RoleBinding fleet-a/goshawk-console"] == nil || got["Role fleet-a/goshawk-console"] == nil || got["ClusterRoleBinding /goshawk-console"] != nil || got["ClusterRoleBinding /goshawk-console-reviews"] == nil {
		t.Error("with watchNamespaces, the console does not read these namespaces only")
	}
}

func TestServiceMonitorWithoutAlerts(t *testing.T) {
	t.Parallel()
	rendered, err := helm.Template(t, chart, "monitoring: {enabled: true, rules: false}")
	if err != nil || !strings.Contains(rendered, "kind: ServiceMonitor\n") || strings.Contains(rendered, "kind: PrometheusRule\n") {
		t.Errorf("error %v; ServiceMonitor %v, PrometheusRule %v", err, strings.Contains(rendered, "ServiceMonitor"), strings.Contains(rendered, "PrometheusRule"))
	}
}

// changes has, for each value, another value than the default, and text that the rendered objects
// have with it and not without it. Text that starts with "!" is in the default objects only.
var changes = map[string]struct {
	values, text string
}{
	"fullnameOverride":                               {"fullnameOverride: rollouts", "name: rollouts-controllers\n"},
	"commonLabels":                                   {"commonLabels: {team: fleet}", "    team: fleet\n"},
	"image.repository":                               {"image: {repository: registry.example/goshawk}", "image: registry.example/goshawk:v"},
	"image.tag":                                      {"image: {tag: v9.9.9}", "image: ghcr.io/goshawk-dev/goshawk:v9.9.9\n"},
	"image.digest":                                   {"image: {tag: v9.9.9, digest: 'sha256:" + strings.Repeat("0", 64) + "'}", "image: ghcr.io/goshawk-dev/goshawk@sha256:0"},
	"image.pullPolicy":                               {"image: {pullPolicy: Always}", "imagePullPolicy: Always"},
	"imagePullSecrets":                               {"imagePullSecrets: [{name: registry}]", "imagePullSecrets:\n      - name: registry\n"},
	"crds.install":                                   {"crds: {install: false}", "!kind: CustomResourceDefinition"},
	"crds.keep":                                      {"crds: {keep: false}", "!helm.sh/resource-policy: keep"},
	"policies.enabled":                               {"policies: {enabled: false}", "!kind: ValidatingAdmissionPolicy"},
	"userRoles.create":                               {"userRoles: {create: false}", "!name: goshawk-viewer"},
	"userRoles.aggregate":                            {"userRoles: {aggregate: false}", "!aggregate-to-view"},
	"watchNamespaces":                                {"watchNamespaces: [fleet-a, fleet-b]", "--watch-namespaces=fleet-a,fleet-b\n"},
	"requireApproval":                                {"requireApproval: true", "- --require-approval\n"},
	"logLevel":                                       {"logLevel: 1", "--zap-log-level=1\n"},
	"priorityClassName":                              {"priorityClassName: system-cluster-critical", "priorityClassName: system-cluster-critical\n"},
	"controllers.replicas":                           {"controllers: {replicas: 3}", "replicas: 3\n"},
	"controllers.extraArgs":                          {"controllers: {extraArgs: [--writes-in-flight=16]}", "- --writes-in-flight=16\n"},
	"controllers.extraEnv":                           {"controllers: {extraEnv: [{name: GOGC, value: '50'}]}", "name: GOGC\n"},
	"controllers.resources":                          {"controllers: {resources: {limits: {memory: 4Gi}}}", "memory: 4Gi\n"},
	"controllers.podAnnotations":                     {"controllers: {podAnnotations: {example.com/a: b}}", "example.com/a: b\n"},
	"controllers.podLabels":                          {"controllers: {podLabels: {example.com/a: b}}", "example.com/a: b\n"},
	"controllers.nodeSelector":                       {"controllers: {nodeSelector: {pool: system}}", "nodeSelector:\n        pool: system\n"},
	"controllers.tolerations":                        {"controllers: {tolerations: [{key: system, operator: Exists}]}", "- key: system\n        operator: Exists\n"},
	"controllers.affinity":                           {"controllers: {affinity: {podAntiAffinity: {}}}", "podAntiAffinity: {}\n"},
	"controllers.topologySpreadConstraints":          {"controllers: {topologySpreadConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}", "topologyKey: rack\n"},
	"controllers.serviceAccount.create":              {"controllers: {serviceAccount: {create: false, name: mine}}", "serviceAccountName: mine\n"},
	"controllers.serviceAccount.name":                {"controllers: {serviceAccount: {name: mine}}", "serviceAccountName: mine\n"},
	"controllers.serviceAccount.annotations":         {"controllers: {serviceAccount: {annotations: {example.com/role: a}}}", "example.com/role: a\n"},
	"controllers.podDisruptionBudget.enabled":        {"controllers: {podDisruptionBudget: {enabled: false}}", "!kind: PodDisruptionBudget\nmetadata:\n  name: goshawk-controllers\n"},
	"controllers.podDisruptionBudget.maxUnavailable": {"controllers: {podDisruptionBudget: {maxUnavailable: 50%}}", "maxUnavailable: 50%\n"},
	"deviceAPI.replicas":                             {"deviceAPI: {replicas: 1}", "!--device-api-replicated"},
	"deviceAPI.trustedProxies":                       {"deviceAPI: {trustedProxies: [10.1.2.0/24]}", "--trusted-proxies=10.1.2.0/24\n"},
	"deviceAPI.baseURL":                              {"deviceAPI: {baseURL: 'https://devices.example'}", "--ddi-base-url=https://devices.example\n"},
	"deviceAPI.defaultNamespace":                     {"deviceAPI: {defaultNamespace: fleet}", "--default-namespace=fleet\n"},
	"deviceAPI.pollInterval":                         {"deviceAPI: {pollInterval: 1m30s}", "--ddi-poll-interval=1m30s\n"},
	"deviceAPI.pollIntervals":                        {"deviceAPI: {pollIntervals: [{targetSelector: {matchLabels: {ring: test}}, interval: 30s}]}", "- interval: 30s\n"},
	"deviceAPI.tls.secretName":                       {"deviceAPI: {tls: {secretName: device-api-tls}}", "secretName: device-api-tls\n"},
	"deviceAPI.extraArgs":                            {"deviceAPI: {extraArgs: [--artifact-max-downloads=10]}", "- --artifact-max-downloads=10\n"},
	"deviceAPI.extraEnv":                             {"deviceAPI: {extraEnv: [{name: SSL_CERT_DIR, value: /ca}]}", "name: SSL_CERT_DIR\n"},
	"deviceAPI.extraVolumes":                         {"deviceAPI: {extraVolumes: [{name: ca, configMap: {name: ca}}]}", "- configMap:\n          name: ca\n        name: ca\n"},
	"deviceAPI.extraVolumeMounts":                    {"deviceAPI: {extraVolumeMounts: [{name: ca, mountPath: /ca}]}", "mountPath: /ca\n"},
	"deviceAPI.resources":                            {"deviceAPI: {resources: {limits: {memory: 4Gi}}}", "memory: 4Gi\n"},
	"deviceAPI.podAnnotations":                       {"deviceAPI: {podAnnotations: {example.com/a: b}}", "example.com/a: b\n"},
	"deviceAPI.podLabels":                            {"deviceAPI: {podLabels: {example.com/a: b}}", "example.com/a: b\n"},
	"deviceAPI.nodeSelector":                         {"deviceAPI: {nodeSelector: {pool: system}}", "nodeSelector:\n        pool: system\n"},
	"deviceAPI.tolerations":                          {"deviceAPI: {tolerations: [{key: system, operator: Exists}]}", "- key: system\n        operator: Exists\n"},
	"deviceAPI.affinity":                             {"deviceAPI: {affinity: {podAntiAffinity: {}}}", "podAntiAffinity: {}\n"},
	"deviceAPI.topologySpreadConstraints":            {"deviceAPI: {topologySpreadConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}", "topologyKey: rack\n"},
	"deviceAPI.serviceAccount.create":                {"deviceAPI: {serviceAccount: {create: false, name: mine}}", "serviceAccountName: mine\n"},
	"deviceAPI.serviceAccount.name":                  {"deviceAPI: {serviceAccount: {name: mine}}", "serviceAccountName: mine\n"},
	"deviceAPI.serviceAccount.annotations":           {"deviceAPI: {serviceAccount: {annotations: {example.com/role: a}}}", "example.com/role: a\n"},
	"deviceAPI.podDisruptionBudget.enabled":          {"deviceAPI: {podDisruptionBudget: {enabled: false}}", "!kind: PodDisruptionBudget\nmetadata:\n  name: goshawk-device-api\n"},
	"deviceAPI.podDisruptionBudget.maxUnavailable":   {"deviceAPI: {podDisruptionBudget: {maxUnavailable: 50%}}", "maxUnavailable: 50%\n"},
	"deviceAPI.service.type":                         {"deviceAPI: {service: {type: LoadBalancer}}", "type: LoadBalancer\n"},
	"deviceAPI.service.port":                         {"deviceAPI: {service: {port: 443}}", "- name: device-api\n    port: 443\n"},
	"deviceAPI.service.mqttPort":                     {"deviceAPI: {service: {mqttPort: 8883}}", "- name: mqtt\n    port: 8883\n"},
	"deviceAPI.service.annotations":                  {"deviceAPI: {service: {annotations: {example.com/lb: internal}}}", "example.com/lb: internal\n"},
	"deviceAPI.service.loadBalancerClass":            {"deviceAPI: {service: {type: LoadBalancer, loadBalancerClass: example.com/lb}}", "loadBalancerClass: example.com/lb\n"},
	"deviceAPI.service.externalTrafficPolicy":        {"deviceAPI: {service: {type: LoadBalancer, externalTrafficPolicy: Local}}", "externalTrafficPolicy: Local\n"},
	"mqtt.enabled":                                   {"mqtt: {enabled: false}", "!mqtt"},
	"mqtt.tls.secretName":                            {"mqtt: {tls: {secretName: mqtt-tls}}", "secretName: mqtt-tls\n"},
	"mqtt.externalBroker.url":                        {"mqtt: {externalBroker: {url: 'mqtts://broker.example:8883'}}", "--mqtt-broker-url=mqtts://broker.example:8883\n"},
	"mqtt.externalBroker.user":                       {"mqtt: {externalBroker: {url: 'mqtts://b:8883', user: goshawk, secretName: broker}}", "--mqtt-broker-user=goshawk\n"},
	"mqtt.externalBroker.secretName":                 {"mqtt: {externalBroker: {url: 'mqtts://b:8883', user: goshawk, secretName: broker}}", "secretName: broker\n"},
	"mqtt.externalBroker.useSecretCA":                {"mqtt: {externalBroker: {url: 'mqtts://b:8883', secretName: broker, useSecretCA: true}}", "--mqtt-broker-ca-file=/etc/goshawk/mqtt-broker/ca.crt\n"},
	"artifacts.delivery":                             {"{artifacts: {delivery: Proxy}, deviceAPI: {baseURL: 'https://devices.example'}}", "--artifact-delivery=Proxy\n"},
	"artifacts.sources":                              {"artifacts: {sources: [public, registry.corp.example]}", "--artifact-sources=public,registry.corp.example\n"},
	"artifacts.cache.enabled":                        {"artifacts: {cache: {enabled: false}}", "!artifact-cache"},
	"artifacts.cache.size":                           {"artifacts: {cache: {size: 50Gi}}", "--artifact-cache-size=50Gi\n"},
	"artifacts.cache.volumeSize":                     {"artifacts: {cache: {volumeSize: 55Gi}}", "sizeLimit: 55Gi\n"},
	"artifacts.cache.volume":                         {"artifacts: {cache: {volume: {hostPath: {path: /cache}}}}", "- name: artifacts\n        hostPath:\n          path: /cache\n"},
	"notifications.enabled":                          {"notifications: {enabled: true}", "- --notifications-secret=$(POD_NAMESPACE)/goshawk-notifications\n"},
	"console.enabled":                                {"console: {enabled: true}", "- --console\n"},
	"console.replicas":                               {"console: {enabled: true, replicas: 3}", "replicas: 3\n"},
	"console.baseURL":                                {"console: {enabled: true, baseURL: 'https://console.example'}", "--console-base-url=https://console.example\n"},
	"console.secretName":                             {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk}, baseURL: 'https://console.example', secretName: console}", "secretName: console\n"},
	"console.sessionLifetime":                        {"console: {enabled: true, sessionLifetime: 1h, oidc: {issuerURL: 'https://idp.example', clientID: goshawk}, baseURL: 'https://console.example', secretName: console}", "--console-session-lifetime=1h\n"},
	"console.oidc.issuerURL":                         {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-issuer-url=https://idp.example\"\n"},
	"console.oidc.clientID":                          {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-client-id=goshawk\"\n"},
	"console.oidc.scopes":                            {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, scopes: [openid, groups]}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-scopes=openid,groups\"\n"},
	"console.oidc.usernameClaim":                     {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, usernameClaim: email}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-username-claim=email\"\n"},
	"console.oidc.usernamePrefix":                    {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, usernamePrefix: 'oidc:'}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-username-prefix=oidc:\"\n"},
	"console.oidc.groupsClaim":                       {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, groupsClaim: groups}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-groups-claim=groups\"\n"},
	"console.oidc.groupsPrefix":                      {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, groupsPrefix: 'oidc:'}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-groups-prefix=oidc:\"\n"},
	"console.oidc.groups":                            {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, groups: ['oidc:a', 'oidc:b']}, baseURL: 'https://console.example', secretName: console}", "\"--console-oidc-groups=oidc:a,oidc:b\"\n"},
	"console.oidc.useSecretCA":                       {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: goshawk, useSecretCA: true}, baseURL: 'https://console.example', secretName: console}", "--console-oidc-ca-file=/etc/goshawk/console/ca.crt\n"},
	"console.impersonation.constrained":              {"console: {enabled: true, impersonation: {constrained: true}}", "impersonate-on:user-info:patch"},
	"console.impersonation.enabled":                  {"console: {enabled: true}", "name: goshawk-console-impersonation\n"},
	"console.impersonation.users":                    {"console: {enabled: true, impersonation: {users: ['oidc:anna']}}", "resources: [users]\n  resourceNames:\n  - oidc:anna\n"},
	"console.tls.secretName":                         {"console: {enabled: true, tls: {secretName: console-tls}}", "secretName: console-tls\n"},
	"console.extraArgs":                              {"console: {enabled: true, extraArgs: [--console-session-lifetime=1h]}", "- --console-session-lifetime=1h\n"},
	"console.extraEnv":                               {"console: {enabled: true, extraEnv: [{name: HTTPS_PROXY, value: 'http://proxy'}]}", "name: HTTPS_PROXY\n"},
	"console.resources":                              {"console: {enabled: true, resources: {limits: {memory: 4Gi}}}", "memory: 4Gi\n"},
	"console.podAnnotations":                         {"console: {enabled: true, podAnnotations: {example.com/a: b}}", "example.com/a: b\n"},
	"console.podLabels":                              {"console: {enabled: true, podLabels: {example.com/a: b}}", "example.com/a: b\n"},
	"console.nodeSelector":                           {"console: {enabled: true, nodeSelector: {pool: system}}", "nodeSelector:\n        pool: system\n"},
	"console.tolerations":                            {"console: {enabled: true, tolerations: [{key: system, operator: Exists}]}", "- key: system\n        operator: Exists\n"},
	"console.affinity":                               {"console: {enabled: true, affinity: {podAntiAffinity: {}}}", "podAntiAffinity: {}\n"},
	"console.topologySpreadConstraints":              {"console: {enabled: true, topologySpreadConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]}", "topologyKey: rack\n"},
	"console.serviceAccount.create":                  {"console: {enabled: true, serviceAccount: {create: false, name: mine}}", "serviceAccountName: mine\n"},
	"console.serviceAccount.name":                    {"console: {enabled: true, serviceAccount: {name: mine}}", "serviceAccountName: mine\n"},
	"console.serviceAccount.annotations":             {"console: {enabled: true, serviceAccount: {annotations: {example.com/role: a}}}", "example.com/role: a\n"},
	"console.podDisruptionBudget.enabled":            {"console: {enabled: true}", "kind: PodDisruptionBudget\nmetadata:\n  name: goshawk-console\n"},
	"console.podDisruptionBudget.maxUnavailable":     {"console: {enabled: true, podDisruptionBudget: {maxUnavailable: 50%}}", "maxUnavailable: 50%\n"},
	"console.service.type":                           {"console: {enabled: true, service: {type: LoadBalancer}}", "type: LoadBalancer\n"},
	"console.service.port":                           {"console: {enabled: true, service: {port: 443}}", "- name: console\n    port: 443\n"},
	"console.service.annotations":                    {"console: {enabled: true, service: {annotations: {example.com/lb: internal}}}", "example.com/lb: internal\n"},
	"console.ingress.enabled":                        {"console: {enabled: true, ingress: {enabled: true, host: console.example}}", "kind: Ingress\n"},
	"console.ingress.className":                      {"console: {enabled: true, ingress: {enabled: true, host: console.example, className: nginx}}", "ingressClassName: nginx\n"},
	"console.ingress.annotations":                    {"console: {enabled: true, ingress: {enabled: true, host: console.example, annotations: {example.com/a: b}}}", "example.com/a: b\n"},
	"console.ingress.host":                           {"console: {enabled: true, ingress: {enabled: true, host: console.example}}", "- host: \"console.example\"\n"},
	"console.ingress.tlsSecretName":                  {"console: {enabled: true, ingress: {enabled: true, host: console.example, tlsSecretName: console-tls}}", "secretName: console-tls\n"},
	"networkPolicy.browsersFrom":                     {"{networkPolicy: {browsersFrom: [{ipBlock: {cidr: 10.9.0.0/16}}]}, console: {enabled: true}}", "cidr: 10.9.0.0/16\n"},
	"networkPolicy.consoleExtraEgress":               {"{networkPolicy: {consoleExtraEgress: [{ports: [{port: 5556}]}]}, console: {enabled: true}}", "- port: 5556\n"},
	"ingress.enabled":                                {"ingress: {enabled: true, host: devices.example}", "kind: Ingress\n"},
	"ingress.className":                              {"ingress: {enabled: true, host: devices.example, className: nginx}", "ingressClassName: nginx\n"},
	"ingress.annotations":                            {"ingress: {enabled: true, host: devices.example, annotations: {example.com/a: b}}", "example.com/a: b\n"},
	"ingress.host":                                   {"ingress: {enabled: true, host: devices.example}", "- host: \"devices.example\"\n"},
	"ingress.tlsSecretName":                          {"ingress: {enabled: true, host: devices.example, tlsSecretName: devices-tls}", "secretName: devices-tls\n"},
	"httpRoute.enabled":                              {"httpRoute: {enabled: true, parentRefs: [{name: edge}]}", "kind: HTTPRoute\n"},
	"httpRoute.parentRefs":                           {"httpRoute: {enabled: true, parentRefs: [{name: edge}]}", "parentRefs:\n  - name: edge\n"},
	"httpRoute.hostnames":                            {"httpRoute: {enabled: true, parentRefs: [{name: edge}], hostnames: [devices.example]}", "hostnames:\n  - devices.example\n"},
	"httpRoute.annotations":                          {"httpRoute: {enabled: true, parentRefs: [{name: edge}], annotations: {example.com/a: b}}", "example.com/a: b\n"},
	"monitoring.enabled":                             {"monitoring: {enabled: true}", "kind: ServiceMonitor\n"},
	"monitoring.labels":                              {"monitoring: {enabled: true, labels: {release: prometheus}}", "release: prometheus\n"},
	"monitoring.rules":                               {"monitoring: {enabled: true}", "kind: PrometheusRule\n"},
	"monitoring.dashboard":                           {"monitoring: {dashboard: true}", "grafana_dashboard: \"1\"\n"},
	"networkPolicy.enabled":                          {"networkPolicy: {enabled: false}", "!kind: NetworkPolicy"},
	"networkPolicy.devicesFrom":                      {"networkPolicy: {devicesFrom: [{ipBlock: {cidr: 10.9.0.0/16}}]}", "cidr: 10.9.0.0/16\n"},
	"networkPolicy.metricsFrom":                      {"networkPolicy: {metricsFrom: [{podSelector: {matchLabels: {app: scraper}}}]}", "app: scraper\n"},
	"networkPolicy.apiServerPorts":                   {"networkPolicy: {apiServerPorts: [7443]}", "- port: 7443\n"},
	"networkPolicy.controllersExtraEgress":           {"networkPolicy: {controllersExtraEgress: [{ports: [{port: 8088}]}]}", "- port: 8088\n"},
}

// Each value of the chart has an effect, and each of them is in the schema.
func TestEveryValueHasAnEffect(t *testing.T) {
	t.Parallel()
	defaults, err := helm.Template(t, chart, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range leaves(t) {
		if _, ok := changes[name]; !ok {
			t.Errorf("values.yaml has %s, for which this test has no other value", name)
		}
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !slices.Contains(leaves(t), name) {
				t.Errorf("values.yaml does not have %s", name)
			}
			rendered, err := helm.Template(t, chart, change.values)
			if err != nil {
				t.Fatal(err)
			}
			with, without := rendered, defaults
			text, isGone := strings.CutPrefix(change.text, "!")
			if isGone {
				with, without = without, with
			}
			if !strings.Contains(with, text) || strings.Contains(without, text) {
				t.Errorf("with %s: %q is in the rendered objects: %v; in those of the defaults: %v", change.values, text, strings.Contains(rendered, text), strings.Contains(defaults, text))
			}
			objects(t, rendered) // is YAML, without duplicates
		})
	}
}

// leaves returns the paths of the values in values.yaml, for which the schema has no fixed fields.
func leaves(t *testing.T) []string {
	t.Helper()
	var values map[string]any
	var schema node
	parse(t, filepath.Join(chart, "values.yaml"), &values)
	parse(t, filepath.Join(chart, "values.schema.json"), &schema)
	return below(t, "", values, schema)
}

type node struct {
	Properties           map[string]node
	AdditionalProperties any
}

func below(t *testing.T, prefix string, values map[string]any, schema node) []string {
	t.Helper()
	if schema.AdditionalProperties != false {
		t.Errorf("the schema allows unknown fields in %q", prefix)
	}
	var list []string
	for name := range schema.Properties {
		if _, ok := values[name]; !ok && prefix+name != "global" { // Helm itself adds global to the values of a subchart
			t.Errorf("the schema has %s%s, and values.yaml does not", prefix, name)
		}
	}
	for name, value := range values {
		field, ok := schema.Properties[name]
		fields, isMap := value.(map[string]any)
		switch {
		case !ok:
			t.Errorf("values.yaml has %s%s, and the schema does not", prefix, name)
		case isMap && field.Properties != nil:
			list = append(list, below(t, prefix+name+".", fields, field)...)
		default:
			list = append(list, prefix+name)
		}
	}
	slices.Sort(list)
	return list
}

func parse(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".json") {
		err = json.Unmarshal(text, into)
	} else {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// A wrong value is refused with its path and what is expected there.
func TestWrongValuesAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ values, message string }{
		"a number as text":                          {"controllers: {replicas: two}", "at '/controllers/replicas': got string, want integer"},
		"a negative number":                         {"deviceAPI: {replicas: -1}", "at '/deviceAPI/replicas': minimum: got -1, want 0"},
		"a misspelled field":                        {"controllers: {replica: 2}", "at '/controllers': additional properties 'replica' not allowed"},
		"a misspelled field at the top":             {"watchNamespace: [a]", "additional properties 'watchNamespace' not allowed"},
		"a digest without its algorithm":            {"image: {digest: abc}", "at '/image/digest': 'abc' does not match pattern"},
		"a tag in the repository's digest":          {"image: {repository: 'a@sha256:00'}", "at '/image/repository': 'a@sha256:00' does not match pattern"},
		"a namespace that cannot exist":             {"watchNamespaces: [Fleet_A]", "at '/watchNamespaces/0': 'Fleet_A' does not match pattern"},
		"a namespace twice":                         {"watchNamespaces: [a, a]", "at '/watchNamespaces': items at 0 and 1 are equal"},
		"an unknown type of Service":                {"deviceAPI: {service: {type: External}}", "at '/deviceAPI/service/type': value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"},
		"a port that is too large":                  {"deviceAPI: {service: {port: 70000}}", "at '/deviceAPI/service/port': maximum: got 70,000, want 65,535"},
		"an unknown level":                          {"logLevel: trace", "at '/logLevel': 'trace' does not match pattern"},
		"an argument without dashes":                {"controllers: {extraArgs: [writes-in-flight=16]}", "at '/controllers/extraArgs/0': 'writes-in-flight=16' does not match pattern"},
		"a poll interval without a unit":            {"deviceAPI: {pollInterval: '30'}", "at '/deviceAPI/pollInterval': '30' does not match pattern"},
		"a poll interval without targets":           {"deviceAPI: {pollIntervals: [{interval: 30s}]}", "at '/deviceAPI/pollIntervals/0': missing property 'targetSelector'"},
		"an unknown delivery":                       {"artifacts: {delivery: proxy}", "at '/artifacts/delivery': value must be one of 'Direct', 'Proxy'"},
		"a URL without a scheme":                    {"deviceAPI: {baseURL: devices.example}", "at '/deviceAPI/baseURL': 'devices.example' does not match pattern"},
		"a broker with HTTP":                        {"mqtt: {externalBroker: {url: 'http://broker'}}", "at '/mqtt/externalBroker/url': 'http://broker' does not match pattern"},
		"an Ingress without a host":                 {"ingress: {enabled: true}", "ingress.enabled needs ingress.host, the name that devices connect to"},
		"an HTTPRoute without a Gateway":            {"httpRoute: {enabled: true}", "httpRoute.enabled needs httpRoute.parentRefs, the Gateways that the route is attached to"},
		"a proxy for MQTT devices without a URL":    {"artifacts: {delivery: Proxy}", "artifacts.delivery Proxy with MQTT needs deviceAPI.baseURL"},
		"a certificate for a broker that is not":    {"mqtt: {tls: {secretName: a}, externalBroker: {url: 'mqtts://b:8883'}}", "mqtt.tls.secretName is for the broker in the device API"},
		"a user of the broker without its password": {"mqtt: {externalBroker: {url: 'mqtts://b:8883', user: a}}", "mqtt.externalBroker.user needs mqtt.externalBroker.url and secretName"},
		"a login of the console without its URL":    {"console: {enabled: true, oidc: {issuerURL: 'https://idp.example', clientID: a}}", "console.oidc.issuerURL needs console.baseURL, console.oidc.clientID and console.secretName"},
		"groups of the console without a login":     {"console: {enabled: true, oidc: {groups: ['oidc:a']}}", "they need console.oidc.issuerURL"},
		"an Ingress with another host than the URL": {"console: {enabled: true, baseURL: 'https://a.example:8443', ingress: {enabled: true, host: b.example}}", "console.ingress.host b.example is not the host of console.baseURL, a.example: the console refuses requests for other hosts; make them equal"},
		"a session that is too short":               {"console: {sessionLifetime: 30s}", "at '/console/sessionLifetime': '30s' does not match pattern"},
		"a poll interval of more than a day":        {"deviceAPI: {pollInterval: 25h}", "at '/deviceAPI/pollInterval': '25h' does not match pattern"},
		"an empty poll interval of some targets":    {"deviceAPI: {pollIntervals: [{interval: '', targetSelector: {}}]}", "at '/deviceAPI/pollIntervals/0/interval': minLength: got 0, want 2"},
		"a range of proxies that does not exist":    {"deviceAPI: {trustedProxies: [10.0.0.0/33]}", "at '/deviceAPI/trustedProxies/0': '10.0.0.0/33' does not match pattern"},
		"a proxy by its name":                       {"deviceAPI: {trustedProxies: [proxy.example]}", "at '/deviceAPI/trustedProxies/0': 'proxy.example' does not match pattern"},
		"a label that no object can have":           {"commonLabels: {'a b': c}", "at '/commonLabels': additional properties 'a b' not allowed"},
		"a value of a label with a blank":           {"controllers: {podLabels: {team: 'the fleet'}}", "at '/controllers/podLabels/team': 'the fleet' does not match pattern"},
		"an external broker without MQTT":           {"mqtt: {enabled: false, externalBroker: {url: 'mqtts://b:8883'}}", "mqtt.externalBroker and mqtt.tls have no effect without MQTT"},
		"a URL of the console with a path":          {"console: {baseURL: 'https://a.example/goshawk'}", "at '/console/baseURL': 'https://a.example/goshawk' does not match pattern"},
		"scopes without openid":                     {"console: {oidc: {scopes: [profile]}}", "at '/console/oidc/scopes'"},
		"an Ingress of the console without a host":  {"console: {enabled: true, ingress: {enabled: true}}", "console.ingress.enabled needs console.ingress.host"},
		"a default namespace that is not watched":   {"{watchNamespaces: [a], deviceAPI: {defaultNamespace: b}}", "deviceAPI.defaultNamespace b is not one of watchNamespaces: add it there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := helm.Template(t, chart, test.values); err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("with %s the error is %v, want %q", test.values, err, test.message)
			}
		})
	}
}

// Values that the documentation shows are accepted. A digest is shortened there. Other blocks are
// manifests, kustomizations, and the configuration of dex.
func TestValuesInTheDocumentation(t *testing.T) {
	t.Parallel()
	for page, least := range map[string]int{"install.md": 2, "console.md": 3} {
		text, err := os.ReadFile(filepath.Join("..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, block := range regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```").FindAllStringSubmatch(string(text), -1) {
			values := regexp.MustCompile("(?m)^"+block[1]).ReplaceAllString(block[2], "") // a block may be in a list
			values = strings.ReplaceAll(values, "sha256:…", "sha256:"+strings.Repeat("0", 64))
			var fields map[string]any
			if err := yaml.Unmarshal([]byte(values), &fields); err != nil {
				t.Errorf("docs/%s: %v in\n%s", page, err, values)
			}
			if fields["kind"] != nil || fields["patches"] != nil || fields["issuer"] != nil {
				continue
			}
			found++
			if rendered, err := helm.Template(t, chart, values); err != nil {
				t.Errorf("docs/%s: %v", page, err)
			} else {
				objects(t, rendered)
			}
		}
		if found < least {
			t.Errorf("docs/%s has only %d blocks with values", page, found)
		}
	}
}

func TestLintFindsNothing(t *testing.T) {
	t.Parallel()
	out, err := helm.Run(t, "lint", "--strict", chart)
	if err != nil || strings.Contains(out, "[WARNING]") || strings.Contains(out, "[ERROR]") {
		t.Errorf("helm lint: %v\n%s", err, out)
	}
}

// The notes name the address that devices connect to, and that of the console.
func TestNotesNameTheAddressForDevices(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"": "http://goshawk-device-api.goshawk-system.svc:8080",
		"deviceAPI: {tls: {secretName: a}, service: {port: 443}}":                        "https://goshawk-device-api.goshawk-system.svc:443",
		"ingress: {enabled: true, host: devices.example}":                                "  https://devices.example\n",
		"httpRoute: {enabled: true, parentRefs: [{name: edge}], hostnames: [a.example]}": "  https://a.example\n",
		"mqtt: {tls: {secretName: a}}":                                                   "mqtts://goshawk-device-api.goshawk-system.svc:1883",
		"console: {enabled: true}":                                                       "http://goshawk-console.goshawk-system.svc:8083, without a login",
		"console: {enabled: true, baseURL: 'https://c.example', secretName: c, oidc: {issuerURL: 'https://idp.example', clientID: a}}": "The console is at:\n  https://c.example\n",
	} {
		out, err := helm.Run(t, "install", "goshawk", chart, "--namespace=goshawk-system", "--dry-run=client", "--values="+helm.Values(t, values))
		if err != nil {
			t.Errorf("with %s: %v", values, err)
		}
		if _, notes, _ := strings.Cut(out, "\nNOTES:\n"); !strings.Contains(notes, want) {
			t.Errorf("with %s the notes do not have %q:\n%s", values, want, notes)
		}
	}
}

// The chart has the version of the repository.
func TestChartHasTheVersionOfTheRepository(t *testing.T) {
	t.Parallel()
	version, err := os.ReadFile(filepath.Join("..", "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct{ Version, AppVersion string }
	parse(t, filepath.Join(chart, "Chart.yaml"), &metadata)
	if want := strings.TrimSpace(string(version)); metadata.AppVersion != want || "v"+metadata.Version != want {
		t.Errorf("the chart has version %s of %s, the repository %s", metadata.Version, metadata.AppVersion, want)
	}
}
