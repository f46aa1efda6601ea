// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/hack/kustomize"
	"github.com/goshawk-dev/goshawk/internal/testing/helm"
)

// deployments returns the Deployments of a YAML stream.
func deployments(t *testing.T, manifests string) []*appsv1.Deployment {
	t.Helper()
	objects, err := kustomize.Parse([]byte(manifests))
	if err != nil {
		t.Fatal(err)
	}
	var list []*appsv1.Deployment
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		d := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	if len(list) != 2 {
		t.Fatalf("there are %d Deployments", len(list))
	}
	return list
}

// combinations are values of the chart that users set together.
var combinations = map[string]string{
	"the defaults":                  "",
	"some namespaces, with proxies": "{watchNamespaces: [default], deviceAPI: {trustedProxies: [10.1.2.0/24], defaultNamespace: default}, requireApproval: true}",
	"TLS in the device API, at a load balancer": `
image: {repository: registry.example/goshawk, digest: "sha256:` + strings.Repeat("0", 64) + `"}
imagePullSecrets: [{name: registry}]
deviceAPI:
  replicas: 3
  tls: {secretName: device-api-tls}
  service: {type: LoadBalancer, port: 443, mqttPort: 8883, externalTrafficPolicy: Local, annotations: {example.com/lb: internal}}
  pollIntervals: [{targetSelector: {matchLabels: {ring: test}}, interval: 30s}]
  extraEnv: [{name: SSL_CERT_DIR, value: /ca}]
  extraVolumes: [{name: ca, configMap: {name: ca}}]
  extraVolumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]
mqtt: {tls: {secretName: mqtt-tls}}`,
	"an external broker and artifacts in a volume of their own": `
mqtt: {externalBroker: {url: "mqtts://broker.example:8883", user: goshawk, secretName: broker, useSecretCA: true}}
deviceAPI: {baseURL: "https://devices.example"}
artifacts:
  delivery: Proxy
  sources: [public, registry.corp.example]
  cache:
    size: 50Gi
    volume: {ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 55Gi}}}}}}`,
	"an Ingress, and places for the pods": `
ingress: {enabled: true, host: devices.example, className: nginx, tlsSecretName: devices-tls}
networkPolicy: {devicesFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}], controllersExtraEgress: [{ports: [{port: 8088, protocol: TCP}]}]}
mqtt: {enabled: false}
controllers: {replicas: 1, podDisruptionBudget: {maxUnavailable: 50%}, tolerations: [{key: system, operator: Exists}], nodeSelector: {pool: system}}
deviceAPI: {replicas: 1, affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {a: b}}}]}}}`,
}

// The API server accepts what the chart renders, and the Pod Security Standard "restricted" accepts
// the pods.
func TestTheServerAcceptsWhatTheChartRenders(t *testing.T) {
	_, c := Start(t)
	chart := filepath.Join(Root(), "charts", "goshawk")
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "restricted", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := c.Create(t.Context(), system); err != nil {
		t.Fatal(err)
	}
	for name, values := range combinations {
		t.Run(name, func(t *testing.T) {
			rendered, err := helm.Run(t, "template", "goshawk", chart, "--namespace="+system.Name, "--values="+helm.Values(t, values))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := TryKubectl(t, rendered, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			for _, d := range deployments(t, rendered) {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: system.Name, Name: d.Name, Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
				if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
					t.Errorf("a pod of %s: %v", d.Name, err)
				}
			}
		})
	}
}

// makeIt runs a target of the Makefile on the test's API server, without a terminal.
func makeIt(t *testing.T, target ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", append([]string{"--directory=" + Root(), "KUBECTL=" + KubectlPath(t)}, target...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+Kubeconfig(t), "MAKEFLAGS=", "KUBECACHEDIR="+filepath.Join(shared.folder, "cache"))
	out, err := command.CombinedOutput()
	return string(out), err
}

// contextOf returns the name of the only context of the test's kubeconfig.
func contextOf(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(Kubectl(t, "config", "current-context"))
}

// A make target that changes a cluster needs the name of the context, prints it, and refuses an
// image without a version.
func TestDeployNeedsAChoice(t *testing.T) {
	_, c := Start(t)
	current := "CONTEXT=" + contextOf(t)
	for name, test := range map[string]struct {
		target  []string
		message string
	}{
		"deploy without a context":             {[]string{"deploy"}, "nothing was changed: choose the cluster with CONTEXT=NAME. The current context is " + contextOf(t)},
		"undeploy without a context":           {[]string{"undeploy"}, "nothing was changed: choose the cluster with CONTEXT=NAME"},
		"install without a context":            {[]string{"install"}, "nothing was changed: choose the cluster with CONTEXT=NAME"},
		"uninstall without a context":          {[]string{"uninstall"}, "nothing was changed: choose the cluster with CONTEXT=NAME"},
		"a context that does not exist":        {[]string{"deploy", "CONTEXT=other"}, "the kubeconfig has no context other; it has:\n" + contextOf(t)},
		"an image without a tag":               {[]string{"deploy", current, "IMAGE=registry.example:5000/goshawk"}, "IMAGE=registry.example:5000/goshawk has no tag"},
		"an image with the tag latest":         {[]string{"deploy", current, "IMAGE=registry.example/goshawk:latest"}, "the tag latest changes without a commit"},
		"up on a cluster, image without a tag": {[]string{"up", "KUBECONFIG=" + Kubeconfig(t), "IMAGE=goshawk"}, "IMAGE=goshawk has no tag"},
		"a wrong word for the CRDs":            {[]string{"undeploy", current, "CRDS=all"}, "CRDS=all: it must be keep or delete"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := makeIt(t, test.target...)
			if err == nil || !strings.Contains(out, test.message) {
				t.Errorf("make %v: %v, want %q in\n%s", test.target, err, test.message, out)
			}
		})
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "goshawk-system"}, &corev1.Namespace{}); err == nil {
		t.Error("a refused target has created the namespace")
	}
}

// The story of a cluster: deploy, deploy another image, remove without the CRDs, install a release
// of the chart and remove it, and remove the CRDs.
func TestDeployAndUndeploy(t *testing.T) {
	_, c := Start(t)
	current := "CONTEXT=" + contextOf(t)
	run := func(target ...string) {
		t.Helper()
		out, err := makeIt(t, target...)
		if err != nil || !strings.Contains(out, "context: "+contextOf(t)+" (https://") {
			t.Fatalf("make %v: %v\n%s", target, err, out)
		}
	}
	image := func(want string) {
		t.Helper()
		for _, name := range []string{"goshawk-controllers", "goshawk-device-api"} {
			d := &appsv1.Deployment{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: "goshawk-system", Name: name}, d); err != nil {
				t.Fatal(err)
			}
			if got := d.Spec.Template.Spec.Containers[0].Image; got != want {
				t.Errorf("%s has the image %s, want %s", name, got, want)
			}
		}
	}
	version, err := os.ReadFile(filepath.Join(Root(), "VERSION"))
	if err != nil {
		t.Fatal(err)
	}

	// No node runs the pods of this cluster, so deploy must not wait for them.
	run("deploy", current, "WAIT=0")
	image("ghcr.io/goshawk-dev/goshawk:" + strings.TrimSpace(string(version)))
	// The kubeconfig on the command line has one context, so it is a choice.
	run("up", "KUBECONFIG="+Kubeconfig(t), "WAIT=0", "IMAGE=registry.example:5000/team/goshawk:v1.2.3")
	image("registry.example:5000/team/goshawk:v1.2.3")
	digest := "sha256:" + strings.Repeat("0", 64)
	run("deploy", current, "WAIT=0", "IMAGE=registry.example:5000/goshawk:v1.2.3@"+digest)
	image("registry.example:5000/goshawk@" + digest)

	module := "apiVersion: goshawk.dev/v1alpha1\nkind: SoftwareModule\nmetadata: {name: kept, namespace: default}\nspec: {name: kept, version: '1', type: os}\n"
	if _, err := TryKubectl(t, module, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	run("undeploy", current)
	for what, args := range map[string][]string{
		"what is deployed": {"-n", "goshawk-system", "get", "deployments,services,serviceaccounts,networkpolicies,poddisruptionbudgets,roles,rolebindings", "-l", "app.kubernetes.io/name=goshawk"},
		"a ClusterRole":    {"get", "clusterroles", "goshawk-manager", "--ignore-not-found"},
		"a policy":         {"get", "validatingadmissionpolicies", "-o", "name"},
	} {
		if out := Kubectl(t, append(args, "-o", "name")...); strings.Contains(out, "goshawk") {
			t.Errorf("undeploy has left %s: %s", what, out)
		}
	}
	Kubectl(t, "get", "namespace", "goshawk-system")
	Kubectl(t, "get", "softwaremodules.goshawk.dev", "kept")

	release(t, c)
	Kubectl(t, "get", "softwaremodules.goshawk.dev", "kept")

	run("undeploy", current, "CRDS=delete")
	if out := Kubectl(t, "get", "crds", "-o", "name"); strings.Contains(out, "goshawk.dev") {
		t.Errorf("the CRDs are still there: %s", out)
	}
	run("install", current)
	Kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/rollouts.goshawk.dev")
	if out := Kubectl(t, "get", "softwaremodules.goshawk.dev", "-o", "name"); out != "" {
		t.Errorf("CRDS=delete has left %s", out)
	}
}

// release lets a release of the chart take over the CRDs that undeploy has left, upgrades it, and
// uninstalls it. The CRDs are upgraded with it, and kept at the end.
func release(t *testing.T, c client.Client) {
	t.Helper()
	chart := filepath.Join(Root(), "charts", "goshawk")
	run := func(args ...string) {
		t.Helper()
		if out, err := helm.RunOn(t, Kubeconfig(t), append(args, "--namespace=goshawk-system")...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run("install", "goshawk", chart, "--take-ownership")
	if got := Kubectl(t, "get", "crd", "rollouts.goshawk.dev", "-o", "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}"); got != "goshawk" {
		t.Errorf("the CRD belongs to the release %q", got)
	}
	// A CRD of an older version, without its short names: the upgrade brings them back.
	Kubectl(t, "patch", "crd", "rollouts.goshawk.dev", "--type=json", "-p", `[{"op":"remove","path":"/spec/names/shortNames"}]`)
	run("upgrade", "goshawk", chart, "--set=deviceAPI.replicas=3,mqtt.enabled=false")
	if got := Kubectl(t, "get", "crd", "rollouts.goshawk.dev", "-o", "jsonpath={.spec.names.shortNames}"); got == "" {
		t.Error("the upgrade has not upgraded the CRD")
	}
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "goshawk-system", Name: "goshawk-device-api"}, d); err != nil {
		t.Fatal(err)
	}
	if ports := Kubectl(t, "-n", "goshawk-system", "get", "service", "goshawk-device-api", "-o", "jsonpath={.spec.ports[*].name}"); ports != "device-api" {
		t.Errorf("after the upgrade the Service has the ports %s", ports)
	}
	if *d.Spec.Replicas != 3 || strings.Contains(strings.Join(d.Spec.Template.Spec.Containers[0].Args, " "), "mqtt") {
		t.Errorf("after the upgrade the device API has %d replicas and the arguments %v", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Args)
	}
	run("uninstall", "goshawk")
	if out := Kubectl(t, "-n", "goshawk-system", "get", "deployments,networkpolicies,roles", "-o", "name"); out != "" {
		t.Errorf("the release has left %s", out)
	}
}

// make run starts the manager outside the cluster, with the context that was chosen.
func TestRunStartsTheManagerWithTheChosenContext(t *testing.T) {
	Start(t)
	fake := filepath.Join(t.TempDir(), "manager")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho \"$@\"; cat .goshawk/run.kubeconfig\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(context string) (string, error) {
		command := exec.CommandContext(t.Context(), filepath.Join(Root(), "hack", "deploy.sh"), "run")
		command.Env = append(os.Environ(), "KUBECONFIG="+Kubeconfig(t), "KUBECTL="+KubectlPath(t), "CONTEXT="+context, "GOSHAWK_MANAGER="+fake, "GOSHAWK_MANAGER_FLAGS=--require-approval")
		out, err := command.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err == nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("without a context: %v\n%s", err, out)
	}
	Kubectl(t, "apply", "--server-side", "-f", filepath.Join(Root(), "config", "default", "namespace.yaml"))
	out, err := run(contextOf(t))
	for _, want := range []string{"--kubeconfig=.goshawk/run.kubeconfig", "--namespace=goshawk-system", "--ddi-bind-address=127.0.0.1:8080", "--require-approval", "current-context: " + contextOf(t)} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("with a context: %v, want %q in\n%s", err, want, out)
		}
	}
}
