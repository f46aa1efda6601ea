// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/hack/kustomize"
)

// dist writes the files of a release into a folder, and SHA256SUMS of all files that are there.
func (r release) dist(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := r.manifests(folder); err != nil {
		return err
	}
	managers, err := r.buildManagers(ctx)
	if err != nil {
		return err
	}
	for p, manager := range managers {
		if err := r.writeProgram(folder, p, manager); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "goshawk-image.tar"), r.image(managerImage, managers), 0o644); err != nil {
		return err
	}
	agents, err := r.buildAgents(ctx)
	if err != nil {
		return err
	}
	if err := r.writeAgents(ctx, folder, agents); err != nil {
		return err
	}
	return writeSums(folder)
}

// manifests writes the manifests and the chart.
func (r release) manifests(folder string) error {
	for name, config := range map[string]string{"install.yaml": "default", "console.yaml": "console", "crds.yaml": "crd"} {
		text, err := kustomize.Build(filepath.Join("config", config))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	chart, err := r.chart(filepath.Join("charts", "goshawk"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "goshawk-"+strings.TrimPrefix(r.version, "v")+".tgz"), chart, 0o644)
}

// chart returns the packaged chart. `helm package` writes the same files, with the times of the
// checkout.
func (r release) chart(folder string) ([]byte, error) {
	files := map[string]file{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		files["goshawk/"+filepath.ToSlash(name)] = file{content, 0o644}
		return err
	})
	return compress(archive(files, r.time, false)), err
}

// writeProgram writes the manager with the licence.
func (r release) writeProgram(folder string, p platform, manager []byte) error {
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	packed := compress(archive(map[string]file{"LICENSE": {licence, 0o644}, "goshawk": {manager, 0o755}}, r.time, false))
	return os.WriteFile(filepath.Join(folder, fmt.Sprintf("goshawk_%s_linux_%s.tar.gz", r.version, p.architecture)), packed, 0o644)
}

// writeSums writes SHA256SUMS in the form of sha256sum.
func writeSums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var lines []string
	for _, entry := range entries {
		if entry.IsDir() || entry.Name() == "SHA256SUMS" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(content), entry.Name()))
	}
	slices.Sort(lines)
	return os.WriteFile(filepath.Join(folder, "SHA256SUMS"), []byte(strings.Join(lines, "")), 0o644)
}
