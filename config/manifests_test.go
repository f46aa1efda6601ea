// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config_test checks the manifests in config/ without an API server.
package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/goshawk-dev/goshawk/hack/kustomize"
)

const root = ".."

// build returns the objects of a folder of config/.
func build(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	text, err := kustomize.Build(folder)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := kustomize.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// of returns the objects of one kind by their names. A field that the kind does not have fails the
// test.
func of[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) map[string]*T {
	t.Helper()
	found := map[string]*T{}
	for _, o := range objects {
		if o.GetKind() != kind {
			continue
		}
		typed := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, typed, true); err != nil {
			t.Errorf("%s %s: %v", kind, o.GetName(), err)
		}
		found[o.GetName()] = typed
	}
	if len(found) == 0 {
		t.Fatalf("there is no %s", kind)
	}
	return found
}

// deployed returns the objects of config/default and config/console, which is not part of it.
func deployed(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	return append(build(t, "default"), build(t, "console")...)
}

// A pod of each Deployment fits into a namespace with the Pod Security Standard "restricted", and
// has what the standard does not require: a read-only root file system, all three probes, requests
// and a memory limit. The test in test/policy applies the pods to a real API server.
func TestPodsAreConfined(t *testing.T) {
	for name, d := range of[appsv1.Deployment](t, deployed(t), "Deployment") {
		t.Run(name, func(t *testing.T) {
			pod := d.Spec.Template.Spec
			if len(pod.Containers) != 1 {
				t.Fatalf("the pod has %d containers", len(pod.Containers))
			}
			c := pod.Containers[0]
			memory := c.Resources.Limits.Memory()
			for what, ok := range map[string]bool{
				"runs as non-root":                           ptr.Deref(pod.SecurityContext.RunAsNonRoot, false),
				"has a fixed user above 0":                   ptr.Deref(pod.SecurityContext.RunAsUser, 0) > 0,
				"has the runtime's seccomp profile":          pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
				"has a read-only root file system":           ptr.Deref(c.SecurityContext.ReadOnlyRootFilesystem, false),
				"drops all capabilities":                     slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}),
				"allows no further privileges":               !ptr.Deref(c.SecurityContext.AllowPrivilegeEscalation, true),
				"has no variables of other services":         !ptr.Deref(pod.EnableServiceLinks, true),
				"has startup, liveness and readiness probes": c.StartupProbe != nil && c.LivenessProbe != nil && c.ReadinessProbe != nil,
				"requests CPU and memory":                    !c.Resources.Requests.Cpu().IsZero() && !c.Resources.Requests.Memory().IsZero(),
				"has a memory limit and no CPU limit":        !memory.IsZero() && c.Resources.Limits.Cpu().IsZero(),
				"spreads over nodes and zones":               len(pod.TopologySpreadConstraints) == 2,
				"has two replicas":                           ptr.Deref(d.Spec.Replicas, 1) == 2,
				"names no priority class":                    pod.PriorityClassName == "", // a class that a cluster does not have keeps the pods from being created
			} {
				if !ok {
					t.Errorf("not so: it %s", what)
				}
			}
			for _, spread := range pod.TopologySpreadConstraints {
				if d := diff.Diff(d.Spec.Selector, spread.LabelSelector); d != "" {
					t.Errorf("the spread over %s counts other pods (-selector of the Deployment, +of the spread):\n%s", spread.TopologyKey, d)
				}
			}
		})
	}
}

// The pods mount the token of their account, and the accounts do not offer it to other pods.
func TestOnlyTheDeploymentsMountTokens(t *testing.T) {
	objects := deployed(t)
	accounts := of[corev1.ServiceAccount](t, objects, "ServiceAccount")
	for name, account := range accounts {
		if ptr.Deref(account.AutomountServiceAccountToken, true) {
			t.Errorf("account %s: each pod that names it gets a token", name)
		}
	}
	for name, d := range of[appsv1.Deployment](t, objects, "Deployment") {
		pod := d.Spec.Template.Spec
		if accounts[pod.ServiceAccountName] == nil || !ptr.Deref(pod.AutomountServiceAccountToken, false) {
			t.Errorf("Deployment %s has no token of its account %q", name, pod.ServiceAccountName)
		}
	}
}

// The time for the end of a pod contains the wait for the endpoints and the 15 s that the process
// gives to open requests.
func TestPodsHaveTimeToEnd(t *testing.T) {
	for name, d := range of[appsv1.Deployment](t, deployed(t), "Deployment") {
		pod := d.Spec.Template.Spec
		wait := int64(0)
		if l := pod.Containers[0].Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
			wait = l.PreStop.Sleep.Seconds
		}
		if grace := ptr.Deref(pod.TerminationGracePeriodSeconds, 0); grace < wait+15+10 {
			t.Errorf("Deployment %s: %d s are too short for a wait of %d s, requests of 15 s and the last writes", name, grace, wait)
		}
		if isServing := name != "goshawk-controllers"; isServing != (wait > 0) {
			t.Errorf("Deployment %s waits %d s before its end", name, wait)
		}
	}
}

// Each Deployment has a PodDisruptionBudget and a NetworkPolicy that select its pods, and the
// Service and the policy name the ports that the pods have.
func TestPodsHaveABudgetAndAPolicy(t *testing.T) {
	objects := deployed(t)
	budgets := of[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget")
	policies := of[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")
	for name, d := range of[appsv1.Deployment](t, objects, "Deployment") {
		budget, policy := budgets[name], policies[name]
		if budget == nil || policy == nil {
			t.Errorf("Deployment %s: budget %v, policy %v", name, budget != nil, policy != nil)
			continue
		}
		if d := diff.Diff(d.Spec.Selector, budget.Spec.Selector); d != "" {
			t.Errorf("the budget of %s selects other pods:\n%s", name, d)
		}
		if d := diff.Diff(*d.Spec.Selector, policy.Spec.PodSelector); d != "" {
			t.Errorf("the policy of %s selects other pods:\n%s", name, d)
		}
		if len(policy.Spec.PolicyTypes) != 2 {
			t.Errorf("the policy of %s restricts only %v", name, policy.Spec.PolicyTypes)
		}
		var open, allowed []string
		for _, port := range d.Spec.Template.Spec.Containers[0].Ports {
			if port.Name != "health" { // the kubelet may always connect
				open = append(open, port.Name)
			}
		}
		for _, rule := range policy.Spec.Ingress {
			for _, port := range rule.Ports {
				allowed = append(allowed, port.Port.String())
			}
		}
		if d := diff.Diff(open, allowed); d != "" {
			t.Errorf("ports of the pods of %s (-) and of its policy (+):\n%s", name, d)
		}
	}
	for name, service := range of[corev1.Service](t, objects, "Service") {
		for _, port := range service.Spec.Ports {
			if !slices.ContainsFunc(policies[name].Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
				return len(rule.From) == 0 && slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return *p.Port == port.TargetPort })
			}) {
				t.Errorf("port %s of the Service %s cannot be reached", port.Name, name)
			}
		}
	}
}

// Metrics are not open to everybody, and no pod may connect to the link-local addresses at which
// clouds serve the credentials of their nodes.
func TestPoliciesKeepWhatIsNotForDevices(t *testing.T) {
	for name, policy := range of[networkingv1.NetworkPolicy](t, deployed(t), "NetworkPolicy") {
		for _, rule := range policy.Spec.Ingress {
			for _, port := range rule.Ports {
				if port.Port.String() == "metrics" && len(rule.From) == 0 {
					t.Errorf("%s: every pod of the cluster may read the metrics", name)
				}
			}
		}
		for _, rule := range policy.Spec.Egress {
			for _, to := range rule.To {
				if to.IPBlock != nil && to.IPBlock.CIDR == "0.0.0.0/0" && !slices.Contains(to.IPBlock.Except, "169.254.0.0/16") {
					t.Errorf("%s allows link-local addresses", name)
				}
			}
			isDNS := len(rule.Ports) > 0 && !slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port == nil || p.Port.IntValue() != 53 })
			isLimited := !slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port == nil || p.Port.IntValue() == 80 })
			if len(rule.To) == 0 && !isDNS && !isLimited {
				t.Errorf("%s allows port 80 of every address, also of link-local ones", name)
			}
		}
	}
}

// The namespace enforces the Pod Security Standard that the pods fulfil.
func TestTheNamespaceIsRestricted(t *testing.T) {
	for name, namespace := range of[corev1.Namespace](t, build(t, "default"), "Namespace") {
		for _, mode := range []string{"enforce", "audit", "warn"} {
			if got := namespace.Labels["pod-security.kubernetes.io/"+mode]; got != "restricted" {
				t.Errorf("namespace %s: %s is %q", name, mode, got)
			}
		}
	}
}

// An image without a tag, or with the tag latest, changes without a commit.
func TestEveryImageHasAVersion(t *testing.T) {
	image := regexp.MustCompile(`(?m)^\s*(?:- )?image:\s*"?([^"\s#{]+)"?|^\s*newTag:\s*(\S+)`)
	latest := regexp.MustCompile(`[\w/-]:latest\b`)
	found := 0
	for _, folder := range []string{"config", "charts", "examples", "docs", "hack", "README.md", "Dockerfile", "Makefile"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range latest.FindAllString(string(text), -1) {
				t.Errorf("%s has an image %q", path, m)
			}
			if !strings.HasSuffix(path, ".yaml") || strings.HasPrefix(filepath.Base(path), "goshawk.dev_") {
				return nil
			}
			for _, m := range image.FindAllStringSubmatch(string(text), -1) {
				found++
				if m[1] != "" && !strings.ContainsAny(m[1][strings.LastIndex(m[1], "/")+1:], ":@") || m[2] == "latest" {
					t.Errorf("%s: %s has no version", path, strings.TrimSpace(m[0]))
				}
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if found < 3 {
		t.Errorf("found only %d images", found)
	}
}

// The file VERSION has the version of the next release, and config/ uses the image of that version.
func TestTheImageHasTheVersionOfTheRepository(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(text))
	if !regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(version) {
		t.Errorf("VERSION is %q, want a version such as v1.2.3", version)
	}
	for name, d := range of[appsv1.Deployment](t, deployed(t), "Deployment") {
		if got, want := d.Spec.Template.Spec.Containers[0].Image, "ghcr.io/goshawk-dev/goshawk:"+version; got != want {
			t.Errorf("Deployment %s uses %s, want %s", name, got, want)
		}
	}
	for _, file := range []string{"manager/controllers.yaml", "manager/device-api.yaml", "console/console.yaml"} {
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "goshawk:"+version+"\n") {
			t.Errorf("config/%s does not name the image of %s: %v", file, version, err)
		}
	}
}

// overlay builds a kustomization of config/console with further fields. CONSOLE is the path of that
// folder.
func overlay(t *testing.T, fields string) []*unstructured.Unstructured {
	t.Helper()
	folder := t.TempDir()
	back, err := filepath.Abs("console")
	if err != nil {
		t.Fatal(err)
	}
	if back, err = filepath.Rel(folder, back); err != nil {
		t.Fatal(err)
	}
	text := "resources: [CONSOLE]\n" + fields
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(strings.ReplaceAll(text, "CONSOLE", back)), 0o600); err != nil {
		t.Fatal(err)
	}
	return build(t, folder)
}

// The patch in docs/console.md gives the console its login, beside the component.
func TestDocumentedPatchOfTheConsole(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "console.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n   ```yaml\n   # kustomization.yaml\n(.*?)   ```").FindStringSubmatch(string(page))
	if block == nil {
		t.Fatal("docs/console.md has no kustomization.yaml")
	}
	objects := overlay(t, "components: [CONSOLE/limited]\n"+strings.ReplaceAll("\n"+block[1], "\n   ", "\n"))
	args := of[appsv1.Deployment](t, objects, "Deployment")["goshawk-console"].Spec.Template.Spec.Containers[0].Args
	for _, want := range []string{"--console-base-url=https://goshawk.example.com", "--console-oidc-groups-prefix=oidc:", "--console-oidc-groups=oidc:release-team,oidc:on-call"} {
		if !slices.Contains(args, want) {
			t.Errorf("the arguments %q do not contain %s", args, want)
		}
	}
}

// The component constrained lets the console read and patch the kinds with actions as its viewers,
// and nothing else.
func TestImpersonationCanBeConstrained(t *testing.T) {
	role := of[rbacv1.ClusterRole](t, overlay(t, "components: [CONSOLE/constrained]\n"), "ClusterRole")["goshawk-console-impersonation"]
	var verbs []string
	for _, rule := range role.Rules {
		verbs = append(verbs, rule.Verbs...)
	}
	if want := []string{"impersonate:user-info", "impersonate-on:user-info:get", "impersonate-on:user-info:patch"}; !slices.Equal(verbs, want) {
		t.Errorf("the verbs are %q, want %q", verbs, want)
	}
}

// The component limits the right to impersonate to names, and the console ignores other groups,
// with which the API server would refuse each request.
func TestImpersonationCanBeLimited(t *testing.T) {
	objects := overlay(t, "components: [CONSOLE/limited]\n")
	role := of[rbacv1.ClusterRole](t, objects, "ClusterRole")["goshawk-console-impersonation"]
	var groups []string
	for _, rule := range role.Rules {
		if len(rule.ResourceNames) == 0 {
			t.Errorf("the console may act as all %v", rule.Resources)
		}
		if slices.Contains(rule.Resources, "groups") {
			groups = append(groups, rule.ResourceNames...)
		}
	}
	args := of[appsv1.Deployment](t, objects, "Deployment")["goshawk-console"].Spec.Template.Spec.Containers[0].Args
	if want := "--console-oidc-groups=" + strings.Join(groups, ","); len(groups) == 0 || !slices.Contains(args, want) {
		t.Errorf("the arguments %v do not contain %s", args, want)
	}
}
