// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/goshawk-dev/goshawk/hack/kustomize"
	"github.com/goshawk-dev/goshawk/internal/testing/helm"
)

var sample = release{version: "v1.2.3", revision: strings.Repeat("a", 40), time: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}

var managers = programsFor(managerImage)

// programsFor returns a small program for each platform of an image.
func programsFor(c container) map[platform][]byte {
	programs := map[platform][]byte{}
	for _, p := range c.platforms {
		programs[p] = []byte(c.name + " for " + p.architecture)
	}
	return programs
}

// Each image is pushed to a registry for its platforms. Its only layer has the program and the
// certificate authorities.
func TestImagesInARegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	for _, c := range []container{managerImage, agentImage} {
		t.Run(c.name, func(t *testing.T) {
			tarFile := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(tarFile, sample.image(c, programsFor(c)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := push(t.Context(), tarFile, address+"/team/"+c.name+":v1.2.3", true); err != nil {
				t.Fatal(err)
			}
			repository, err := remote.NewRepository(address + "/team/" + c.name)
			if err != nil {
				t.Fatal(err)
			}
			repository.PlainHTTP = true
			checkImage(t, repository, c)
		})
	}
}

func checkImage(t *testing.T, repository *remote.Repository, c container) {
	t.Helper()
	top, err := repository.Resolve(t.Context(), "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	fetch(t, repository, top, &index)
	if len(index.Manifests) != len(c.platforms) {
		t.Fatalf("the index has %d manifests", len(index.Manifests))
	}
	for i, want := range c.platforms {
		if p := index.Manifests[i].Platform; p.OS != "linux" || p.Architecture != want.architecture || p.Variant != want.variant {
			t.Errorf("manifest %d is for %s/%s%s", i, p.OS, p.Architecture, p.Variant)
		}
		var manifest ocispec.Manifest
		fetch(t, repository, index.Manifests[i], &manifest)
		var image ocispec.Image
		fetch(t, repository, manifest.Config, &image)
		if image.Architecture != want.architecture || image.Config.User != c.user || !slices.Equal(image.Config.Entrypoint, []string{"/" + c.name}) {
			t.Errorf("the image has the configuration %+v", image)
		}
		if d := diff.Diff(sample.labels(c), image.Config.Labels); d != "" {
			t.Errorf("labels:\n%s", d)
		}
		files := layer(t, repository, manifest.Layers[0])
		if got := files[c.name]; string(got.content) != c.name+" for "+want.architecture || got.mode != 0o755 {
			t.Errorf("the program is %q with mode %o", got.content, got.mode)
		}
		if len(files) != 2 || !x509.NewCertPool().AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].content) {
			t.Errorf("the layer has %d files, or no certificates", len(files))
		}
	}
}

// fetch reads an object of a registry and verifies its digest.
func fetch(t *testing.T, from content.Fetcher, d ocispec.Descriptor, into any) {
	t.Helper()
	text, err := content.FetchAll(t.Context(), from, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func layer(t *testing.T, from content.Fetcher, d ocispec.Descriptor) map[string]file {
	t.Helper()
	packed, err := content.FetchAll(t.Context(), from, d)
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, packed)
}

// unpack returns the files of a compressed tar file, and requires that each entry has the time of
// the release.
func unpack(t *testing.T, packed []byte) map[string]file {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]file{}
	reader := tar.NewReader(unzipped)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(sample.time) || header.Uid != 0 || header.Uname != "" && header.Uname != "root" {
			t.Errorf("%s has the time %s and the user %d %q", header.Name, header.ModTime, header.Uid, header.Uname)
		}
		if header.Typeflag == tar.TypeReg {
			text, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			files[header.Name] = file{text, header.Mode}
		}
	}
}

func TestPushRefusesAnImageWithoutATag(t *testing.T) {
	for to, want := range map[string]string{
		"registry.example/goshawk": "give it a tag, such as registry.example/goshawk:v0.1.0",
		"goshawk":                  "image goshawk: ",
		"registry.example/goshawk@sha256:" + strings.Repeat("0", 64): "give it a tag",
	} {
		if err := push(context.Background(), "none.tar", to, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("push to %s: %v, want %q", to, err, want)
		}
	}
}

// Two builds have the same bytes. The programs themselves are compiled by `go build`, which has the
// same property; here they are given.
func TestFilesOfAReleaseAreReproducible(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	build := func() map[string]string {
		folder := t.TempDir()
		if err := sample.manifests(folder); err != nil {
			t.Fatal(err)
		}
		amd64 := managerImage.platforms[0]
		if err := sample.writeProgram(folder, amd64, managers[amd64]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "goshawk-image.tar"), sample.image(managerImage, managers), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sample.writeAgents(t.Context(), folder, programsFor(agentImage)); err != nil {
			t.Fatal(err)
		}
		if err := writeSums(folder); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[entry.Name()] = string(text)
		}
		return files
	}
	one, two := build(), build()
	for name := range one {
		if one[name] != two[name] {
			t.Errorf("%s differs between two builds", name)
		}
		if sum := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(one[name])), name); name != "SHA256SUMS" && !strings.Contains(one["SHA256SUMS"], sum) {
			t.Errorf("SHA256SUMS does not have %s", name)
		}
	}
	want := []string{
		"SHA256SUMS", "console.yaml", "crds.yaml", "goshawk-1.2.3.tgz",
		"goshawk-agent-image.tar", "goshawk-agent_1.2.3_amd64.deb", "goshawk-agent_1.2.3_arm64.deb", "goshawk-agent_1.2.3_armhf.deb",
		"goshawk-agent_v1.2.3_linux_amd64.tar.gz", "goshawk-agent_v1.2.3_linux_arm.tar.gz", "goshawk-agent_v1.2.3_linux_arm64.tar.gz",
		"goshawk-image.tar", "goshawk_v1.2.3_linux_amd64.tar.gz", "install.yaml",
	}
	if d := diff.Diff(want, keys(one)); d != "" {
		t.Errorf("files of a release:\n%s", d)
	}
	if files := unpack(t, []byte(one["goshawk_v1.2.3_linux_amd64.tar.gz"])); files["goshawk"].mode != 0o755 || files["LICENSE"].content == nil {
		t.Errorf("the archive of the program has %v", keys(files))
	}
	checkAgentArchive(t, []byte(one["goshawk-agent_v1.2.3_linux_arm.tar.gz"]))
	for _, p := range agentImage.platforms {
		checkPackage(t, []byte(one["goshawk-agent_1.2.3_"+p.debian+".deb"]), p)
	}
}

func keys[V any](m map[string]V) []string {
	var list []string
	for key := range m {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// helm accepts the packaged chart, and renders the same from it as from the folder.
func TestPackagedChart(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	packed, err := sample.chart(filepath.Join("charts", "goshawk"))
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "goshawk.tgz")
	if err := os.WriteFile(archive, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	fromFolder, err := helm.Template(t, filepath.Join("charts", "goshawk"), "")
	if err != nil {
		t.Fatal(err)
	}
	fromArchive, err := helm.Template(t, archive, "")
	if err != nil {
		t.Fatal(err)
	}
	if fromFolder != fromArchive {
		t.Errorf("the packaged chart renders something else:\n%s", diff.Diff(fromFolder, fromArchive))
	}
	if _, err := helm.Template(t, archive, "controllers: {replica: 2}"); err == nil {
		t.Error("the packaged chart has no schema")
	}
}

// install.yaml is complete, and what other objects need comes first.
func TestInstallIsInOrder(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	folder := t.TempDir()
	if err := sample.manifests(folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := kustomize.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range objects {
		kinds = append(kinds, o.GetKind())
	}
	order := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment"}
	last := -1
	for _, kind := range order {
		i := slices.Index(kinds, kind)
		if i <= last {
			t.Errorf("%s is at place %d, after %d", kind, i, last)
		}
		last = i
	}
}

func TestCertificatesAreRoots(t *testing.T) {
	rest, count := certificates(), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !c.IsCA {
			t.Errorf("certificate %d is no CA: %v", count, err)
		}
		count++
	}
	if count < 100 {
		t.Errorf("there are only %d certificate authorities", count)
	}
}
