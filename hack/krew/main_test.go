// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// plugin has the fields of a manifest that krew requires or checks.
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string `json:"version"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"shortDescription"`
		Description      string `json:"description"`
		Caveats          string `json:"caveats"`
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			URI    string `json:"uri"`
			SHA256 string `json:"sha256"`
			Bin    string `json:"bin"`
			Files  []struct {
				From string `json:"from"`
				To   string `json:"to"`
			} `json:"files"`
		} `json:"platforms"`
	} `json:"spec"`
}

func fakeBuild(goos, arch, version, file string) error {
	return os.WriteFile(file, []byte(strings.Join([]string{goos, arch, version}, " ")), 0o600)
}

func TestManifestMatchesTheArchives(t *testing.T) {
	folder := t.TempDir()
	if err := run("../..", "v1.2.3", folder, platforms, fakeBuild); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "goshawk.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		t.Fatal(err)
	}
	s := &p.Spec
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "goshawk" || s.Version != "v1.2.3" {
		t.Errorf("%s %s %s %s", p.APIVersion, p.Kind, p.Metadata.Name, s.Version)
	}
	if s.Homepage == "" || s.Description == "" || s.Caveats == "" || s.ShortDescription == "" || len(s.ShortDescription) > 50 {
		t.Errorf("a text is missing, or the short description is longer than 50 characters: %+v", s)
	}
	seen := map[string]bool{}
	for _, platform := range s.Platforms {
		goos, arch := platform.Selector.MatchLabels["os"], platform.Selector.MatchLabels["arch"]
		seen[goos+"/"+arch] = true
		if (goos == "windows") != strings.HasSuffix(platform.Bin, ".exe") {
			t.Errorf("%s: the program is %s", goos, platform.Bin)
		}
		if !regexp.MustCompile(`^https://.*/v1\.2\.3/kubectl-goshawk_v1\.2\.3_[a-z0-9_]+\.tar\.gz$`).MatchString(platform.URI) {
			t.Errorf("uri %s", platform.URI)
		}
		archive, err := os.ReadFile(filepath.Join(folder, filepath.Base(platform.URI)))
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != platform.SHA256 {
			t.Errorf("%s: the checksum in the manifest is %s, that of the archive %x", platform.URI, platform.SHA256, sum)
		}
		files := unpack(t, archive)
		if files[platform.Bin] != goos+" "+arch+" v1.2.3" || !strings.Contains(files["LICENSE"], "Apache License") {
			t.Errorf("%s has the program %q", platform.URI, files[platform.Bin])
		}
		for _, f := range platform.Files {
			if _, has := files[f.From]; !has || f.To != "." {
				t.Errorf("%s: file %s to %s is not in the archive", platform.URI, f.From, f.To)
			}
		}
	}
	if len(seen) != len(platforms) || len(s.Platforms) != len(platforms) {
		t.Errorf("platforms %v", seen)
	}
}

func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files, r := map[string]string{}, tar.NewReader(zip)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(data)
	}
}

// The names of the archives are those of the release that `make dist` writes.
func TestDistUsesTheVersionOfTheRelease(t *testing.T) {
	version, err := os.ReadFile("../../VERSION")
	if err != nil {
		t.Fatal(err)
	}
	if !isVersion.MatchString(strings.TrimSpace(string(version))) {
		t.Errorf("krew does not accept VERSION %q", version)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, dist, _ := strings.Cut(string(makefile), "\ndist:")
	dist, _, _ = strings.Cut(dist, "\n.PHONY")
	plugin, sums := strings.Index(dist, `go run ./hack/krew "$$(<VERSION)" dist`), strings.Index(dist, "go run ./hack/release dist dist")
	if plugin < 0 || sums < plugin {
		t.Errorf("make dist does not write the plugin before SHA256SUMS:%s", dist)
	}
}

func TestArchivesAreTheSameEachTime(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	for _, folder := range []string{one, other} {
		if err := run("../..", "v1.2.3", folder, platforms[:1], fakeBuild); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(one, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		a, errA := os.ReadFile(file)
		b, errB := os.ReadFile(filepath.Join(other, filepath.Base(file)))
		if errors.Join(errA, errB) != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", filepath.Base(file), errors.Join(errA, errB))
		}
	}
}

func TestWhatKrewDoesNotAccept(t *testing.T) {
	for name, tc := range map[string]struct {
		version, platform string
		build             builder
	}{
		"a version without v":         {"1.2.3", "linux/amd64", fakeBuild},
		"a branch":                    {"main", "linux/amd64", fakeBuild},
		"a platform without arch":     {"v1.2.3", "linux", fakeBuild},
		"a program that is not built": {"v1.2.3", "linux/amd64", func(string, string, string, string) error { return errors.New("does not compile") }},
	} {
		folder := t.TempDir()
		if err := run("../..", tc.version, folder, []string{tc.platform}, tc.build); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if _, err := os.Stat(filepath.Join(folder, "goshawk.yaml")); err == nil {
			t.Errorf("%s: a manifest was written", name)
		}
	}
}
