// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// The ServiceMonitor selects the Service of the metrics, which selects the pods of both Deployments
// and names a port that they have. Prometheus keeps the labels of the metrics, and the label job
// has the value that the alerts select.
func TestTheServiceMonitorFindsEachPod(t *testing.T) {
	objects := build(t, "prometheus")
	service := of[corev1.Service](t, objects, "Service")["goshawk-metrics"]
	monitor := one(t, objects, "ServiceMonitor")
	var spec struct {
		JobLabel  string
		Selector  struct{ MatchLabels map[string]string }
		Endpoints []struct {
			Port, Path  string
			HonorLabels bool
		}
	}
	specOf(t, monitor, &spec)
	if !labels.SelectorFromSet(spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) || monitor.GetNamespace() != service.Namespace {
		t.Errorf("the ServiceMonitor selects %v, the Service has %v", spec.Selector.MatchLabels, service.Labels)
	}
	if service.Labels[spec.JobLabel] != "goshawk" {
		t.Errorf("job is %q, the alerts select goshawk", service.Labels[spec.JobLabel])
	}
	if len(spec.Endpoints) != 1 || spec.Endpoints[0].Port != service.Spec.Ports[0].Name || spec.Endpoints[0].Path != "/metrics" || !spec.Endpoints[0].HonorLabels {
		t.Errorf("the endpoints are %+v", spec.Endpoints)
	}
	if !service.Spec.PublishNotReadyAddresses || service.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Error("a pod that is not ready is not scraped, or a scrape reaches any pod")
	}
	for name, d := range of[appsv1.Deployment](t, build(t, "default"), "Deployment") {
		if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)) {
			t.Errorf("%s: the Service does not select the pods", name)
		}
		if !slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
			return p.Name == service.Spec.Ports[0].TargetPort.StrVal && p.ContainerPort == service.Spec.Ports[0].Port
		}) {
			t.Errorf("%s: the pods have no port %v", name, service.Spec.Ports[0].TargetPort)
		}
	}
}

// kustomize changes the namespace of all objects, and no default needs the CRDs of the Prometheus
// operator.
func TestMonitoringIsOptional(t *testing.T) {
	for _, o := range build(t, "default") {
		if o.GroupVersionKind().Group == "monitoring.coreos.com" {
			t.Errorf("config/default has the %s %s", o.GetKind(), o.GetName())
		}
	}
	var kinds []string
	for _, folder := range []string{"prometheus", "grafana"} {
		for _, o := range build(t, folder) {
			kinds = append(kinds, o.GetKind())
			if o.GetNamespace() != "goshawk-system" {
				t.Errorf("%s %s is in namespace %q", o.GetKind(), o.GetName(), o.GetNamespace())
			}
		}
	}
	slices.Sort(kinds)
	if d := diff.Diff([]string{"ConfigMap", "PrometheusRule", "Service", "ServiceMonitor"}, kinds); d != "" {
		t.Errorf("kinds: want (-), got (+):\n%s", d)
	}
}

// The dashboard is valid JSON in a ConfigMap that the sidecar of Grafana loads. No panel has the id
// of another one, none covers another one, and each has a title and a query.
func TestTheDashboardCanBeLoaded(t *testing.T) {
	config := of[corev1.ConfigMap](t, build(t, "grafana"), "ConfigMap")["goshawk-dashboard"]
	if config.Labels["grafana_dashboard"] != "1" || len(config.Data) != 1 {
		t.Errorf("the ConfigMap has the labels %v and %d files", config.Labels, len(config.Data))
	}
	var dashboard struct {
		UID, Title string
		Panels     []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(config.Data["goshawk.json"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || len(dashboard.Panels) < 30 {
		t.Errorf("the dashboard %q has %d panels", dashboard.UID, len(dashboard.Panels))
	}
	used, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range dashboard.Panels {
		if p.Title == "" || p.Type != "row" && len(p.Targets) == 0 || ids[p.ID] {
			t.Errorf("panel %d (%s) has no title, no query, or the id of another one", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := used[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q covers %q, or is outside of the grid", p.Title, other)
				}
				used[[2]int{x, y}] = p.Title
			}
		}
	}
}

// An operator sees each metric of docs/metrics.md that Goshawk itself defines in the dashboard.
func TestEveryMetricIsInTheDashboard(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	dashboard := of[corev1.ConfigMap](t, build(t, "grafana"), "ConfigMap")["goshawk-dashboard"].Data["goshawk.json"]
	metrics := regexp.MustCompile("(?m)^\\| `(goshawk_[a-z_]+)` ").FindAllStringSubmatch(string(page), -1)
	if len(metrics) < 40 {
		t.Errorf("docs/metrics.md has %d metrics", len(metrics))
	}
	for _, m := range metrics {
		if !regexp.MustCompile(`\b` + m[1] + `(_bucket)?\b`).MatchString(dashboard) {
			t.Errorf("no panel shows %s", m[1])
		}
	}
}

// one returns the only object of a kind.
func one(t *testing.T, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind })
	if i < 0 {
		t.Fatalf("there is no %s", kind)
	}
	return objects[i]
}

// specOf reads the spec of an object whose kind is not known here.
func specOf(t *testing.T, o *unstructured.Unstructured, into any) {
	t.Helper()
	text, err := json.Marshal(o.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}
