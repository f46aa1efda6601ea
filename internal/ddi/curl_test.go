// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumentedRequestsOfAnyClient runs the commands of docs/devices.md for a client that is not
// listed there.
func TestDocumentedRequestsOfAnyClient(t *testing.T) {
	for _, program := range []string{"bash", "curl", "jq", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("this test needs %s, which is not installed", program)
		}
	}
	page, err := os.ReadFile("../../docs/devices.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(page), "\n## Connect any other DDI client\n")
	_, script, hasScript := strings.Cut(part, "```sh\n")
	if !found || !hasScript {
		t.Fatal("docs/devices.md does not say how to connect any other DDI client")
	}
	script, _, _ = strings.Cut(script, "```")

	c := client{tenant: "acme", id: "dev-00a1"}
	w := newClientWorld(t, c, false)
	script = strings.NewReplacer("https://devices.example.com/fleet/", "http://"+w.address+"/acme/", "TOKEN", token).Replace(script)
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	command.Dir = t.TempDir()
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(filepath.Join(command.Dir, "update.bin"))
	if err != nil || !bytes.Equal(content, w.content) {
		t.Errorf("the downloaded file has %d bytes of other contents: %v", len(content), err)
	}
	state, err := w.backend.State(t.Context(), w.device, "")
	if err != nil || state.InstalledID == 0 {
		t.Errorf("the state of the device is %+v, %v; want an installed action", state, err)
	}
}
