// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestKubeconfigsThatLeadToNoCluster(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "config")
	config := `{apiVersion: v1, kind: Config, current-context: lab, clusters: [{name: lab, cluster: {server: "http://127.0.0.1:1"}}], contexts: [{name: lab, context: {cluster: lab}}]}`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(folder, "missing")
	broken := filepath.Join(folder, "broken")
	if err := os.WriteFile(broken, []byte("apiVersion: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fix := "correct the kubeconfig (%s) or the flags: `kubectl config view` shows what kubectl reads of it\n"
	tests := map[string]struct {
		kubeconfig string
		args       []string
		want       string
	}{
		"the file does not exist": {missing, nil, "error: no cluster is configured in " + missing + "\nset KUBECONFIG, or give --kubeconfig\n"},
		"the context does not exist": {file, []string{"--context", "prod"},
			"error: context \"prod\" does not exist\n`kubectl config get-contexts` lists the contexts\n"},
		"the file is broken":             {broken, nil, fmt.Sprintf(fix, broken)},
		"a timeout without a unit":       {file, []string{"--request-timeout", "soon"}, fmt.Sprintf(fix, file)},
		"the time is over":               {file, []string{"--request-timeout", "1ns"}, "the cluster did not answer in time: check the network, or raise --request-timeout\n"},
		"nothing listens at the address": {file, nil, "connect: connection refused\nthe cluster cannot be reached: check the address in the kubeconfig, the network, and --context\n"},
		"nothing listens at --server":    {missing, []string{"--server", "http://127.0.0.1:1"}, "connection refused\nthe cluster cannot be reached: check the address in the kubeconfig, the network, and --context\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tc.kubeconfig)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			t.Setenv("HTTP_PROXY", "")
			var out, errOut bytes.Buffer
			root := NewCommand(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
			code := Run(t.Context(), root, &errOut, append([]string{"status", "-n", "fleet"}, tc.args...))
			if code != CodeError || !strings.HasSuffix(errOut.String(), tc.want) || out.Len() > 0 {
				t.Errorf("code %d, output %q, errors %q; want errors that end with %q", code, out.String(), errOut.String(), tc.want)
			}
		})
	}
}
