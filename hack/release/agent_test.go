// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
)

func checkAgentArchive(t *testing.T, packed []byte) {
	t.Helper()
	files := unpack(t, packed)
	want := append([]string{"goshawk-agent"}, keys(agentFiles)...)
	if len(files) != len(want) {
		t.Errorf("the archive of the agent has %v", keys(files))
	}
	for name, mode := range map[string]int64{"goshawk-agent": 0o755, "handlers.d/rauc": 0o755, "config.yaml": 0o644, "goshawk-agent.service": 0o644} {
		if files[name].mode != mode {
			t.Errorf("%s has mode %o in the archive of the agent", name, files[name].mode)
		}
	}
}

// checkPackage reads a Debian package: its metadata, its scripts and its files.
func checkPackage(t *testing.T, content []byte, p platform) {
	t.Helper()
	parts := members(t, content)
	if string(parts["debian-binary"]) != "2.0\n" {
		t.Errorf("debian-binary is %q", parts["debian-binary"])
	}
	control := unpack(t, parts["control.tar.gz"])
	for _, line := range []string{"Package: goshawk-agent", "Version: 1.2.3", "Architecture: " + p.debian, "Maintainer: The Goshawk Authors"} {
		if text := string(control["./control"].content); !strings.Contains(text, line) {
			t.Errorf("the metadata of the package does not have %q:\n%s", line, text)
		}
	}
	for _, script := range []string{"./postinst", "./prerm", "./postrm"} {
		if control[script].mode&0o111 == 0 || !bytes.HasPrefix(control[script].content, []byte("#!/bin/sh\n")) {
			t.Errorf("the package has no script %s", script)
		}
	}
	files := unpack(t, parts["data.tar.gz"])
	const docs = "./usr/share/doc/goshawk-agent/"
	modes := map[string]int64{
		"./usr/bin/goshawk-agent": 0o755, "./lib/systemd/system/goshawk-agent.service": 0o644,
		docs + "copyright": 0o644, docs + "agent.md": 0o644, docs + "agent-state.schema.json": 0o644, docs + "examples/config.yaml": 0o644, docs + "examples/hardening.conf": 0o644,
		docs + "examples/handlers.d/podman": 0o755, docs + "examples/handlers.d/rauc": 0o755, docs + "examples/handlers.d/swupdate": 0o755,
	}
	got := map[string]int64{}
	for name, f := range files {
		got[name] = f.mode
	}
	if d := diff.Diff(modes, got); d != "" {
		t.Errorf("files of the package (-want +got):\n%s", d)
	}
	if text := string(files["./usr/bin/goshawk-agent"].content); text != "goshawk-agent for "+p.architecture {
		t.Errorf("the program of the package is %q", text)
	}
}

// members returns the files of an ar archive.
func members(t *testing.T, content []byte) map[string][]byte {
	t.Helper()
	rest, ok := bytes.CutPrefix(content, []byte("!<arch>\n"))
	if !ok {
		t.Fatal("the package is no ar archive")
	}
	files := map[string][]byte{}
	for len(rest) >= 60 {
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil || 60+size > len(rest) {
			t.Fatalf("the size of a member is %q: %v", rest[48:58], err)
		}
		files[strings.TrimRight(string(rest[:16]), " /")] = rest[60 : 60+size]
		rest = rest[min(60+size+size%2, len(rest)):]
	}
	return files
}

// TestAgentIsSmall compiles the agent for each platform.
func TestAgentIsSmall(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	const limit = 12 << 20
	agents, err := sample.buildAgents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p, program := range agents {
		if len(program) > limit {
			t.Errorf("the agent for linux/%s has %s, want 12 MiB at most", p.architecture, fmt.Sprint(len(program)>>20, " MiB"))
		}
		t.Logf("linux/%s: %.1f MiB", p.architecture, float64(len(program))/(1<<20))
	}
}
