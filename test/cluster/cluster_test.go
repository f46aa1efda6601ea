// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) {
	Main(m, APIServerArg("disable-admission-plugins", "ServiceAccount", "NamespaceLifecycle"))
}

func TestAnAPIServerArgReachesTheServer(t *testing.T) {
	_, c := Start(t)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "nowhere", Name: "a"}}
	if err := c.Create(t.Context(), object); err != nil {
		t.Errorf("without NamespaceLifecycle creating in a missing namespace: %v", err)
	}
}

func TestEveryTestHasItsOwnNamespace(t *testing.T) {
	first, second := Namespace(t), Namespace(t)
	if first == second || !strings.HasPrefix(first, "testeverytesthasitsownnamespace-") {
		t.Errorf("namespaces %q and %q", first, second)
	}
	if got := Kubectl(t, "get", "namespace", first, "-o", "name"); got != "namespace/"+first+"\n" {
		t.Errorf("kubectl get namespace printed %q", got)
	}
}

func TestErrorOfKubectlHasItsOutput(t *testing.T) {
	_, err := TryKubectl(t, "{}", "apply", "-f", "-")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "apiVersion") {
		t.Errorf("kubectl apply of an empty object: %v", err)
	}
}

func TestADNSLabel(t *testing.T) {
	for name, want := range map[string]string{
		"TestA":           "testa",
		"A/it's":          "a-it-s",
		"A/Ünicode!":      "a-nicode",
		"Test/1234567890": "test-12345",
		"Test56789/1":     "test56789",
	} {
		if got := dnsLabel(name, 10); got != want {
			t.Errorf("dnsLabel(%q, 10) = %q, want %q", name, got, want)
		}
	}
}
