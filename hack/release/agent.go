// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// agentImage has the agent alone, for the built-in handler file, and as a source for images of
// devices. It runs as root, because it writes the files of the device.
var agentImage = container{
	name: "goshawk-agent", description: "Updates the software of a Linux device", user: "0:0",
	platforms: []platform{
		{architecture: "amd64", debian: "amd64"},
		{architecture: "arm64", debian: "arm64"},
		{architecture: "arm", variant: "v6", debian: "armhf"}, // v6, so that it also runs on the first Raspberry Pi
	},
}

// agentFiles are the files of the archive of the agent, beside the program, by their path in the
// archive.
var agentFiles = map[string]string{
	"LICENSE":               "LICENSE",
	"config.yaml":           "examples/agent/config.yaml",
	"goshawk-agent.service": "packaging/agent/goshawk-agent.service",
	"hardening.conf":        "packaging/agent/hardening.conf",
	"handlers.d/podman":     "examples/agent/handlers.d/podman",
	"handlers.d/rauc":       "examples/agent/handlers.d/rauc",
	"handlers.d/swupdate":   "examples/agent/handlers.d/swupdate",
}

func (r release) buildAgents(ctx context.Context) (map[platform][]byte, error) {
	agents := map[platform][]byte{}
	for _, p := range agentImage.platforms {
		var err error
		if agents[p], err = r.build(ctx, p, "./cmd/goshawk-agent", "-X main.version="+r.version); err != nil {
			return nil, err
		}
	}
	return agents, nil
}

// writeAgents writes an archive and a Debian package of the agent for each platform, and its image.
func (r release) writeAgents(ctx context.Context, folder string, agents map[platform][]byte) error {
	files := map[string]file{}
	for name, from := range agentFiles {
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		files[name] = file{content, 0o644 | int64(info.Mode()&0o111)}
	}
	for _, p := range agentImage.platforms {
		files["goshawk-agent"] = file{agents[p], 0o755}
		name := fmt.Sprintf("goshawk-agent_%s_linux_%s.tar.gz", r.version, p.architecture)
		if err := os.WriteFile(filepath.Join(folder, name), compress(archive(files, r.time, true)), 0o644); err != nil {
			return err
		}
		if err := r.writePackage(ctx, folder, p, agents[p]); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "goshawk-agent-image.tar"), r.image(agentImage, agents), 0o644)
}

// writePackage writes the Debian package. Two runs write the same bytes.
func (r release) writePackage(ctx context.Context, folder string, p platform, agent []byte) error {
	program := filepath.Join(folder, "goshawk-agent")
	if err := os.WriteFile(program, agent, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.Remove(program) }()
	name := fmt.Sprintf("goshawk-agent_%s_%s.deb", strings.TrimPrefix(r.version, "v"), p.debian)
	nfpm := exec.CommandContext(ctx, "go", "tool", "-modfile=hack/nfpm/go.mod", "nfpm", "package", "--config=packaging/agent/nfpm.yaml", "--packager=deb", "--target="+filepath.Join(folder, name))
	nfpm.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath",
		"ARCHITECTURE="+p.debian, "VERSION="+r.version, "PROGRAM="+program, "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.time.Unix(), 10))
	if out, err := nfpm.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w\n%s", name, err, out)
	}
	return nil
}
