// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command krew builds the kubectl plugin for all platforms, and the manifest by which krew installs
// it:
//
//	krew VERSION FOLDER
//
// It writes FOLDER/kubectl-goshawk_VERSION_OS_ARCH.tar.gz for each platform and
// FOLDER/goshawk.yaml. The same source and compiler give the same bytes. Run it from the root of
// the repository. KREW_PLATFORMS limits the platforms, such as linux/amd64,darwin/arm64.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

const manifestTemplate = "config/krew/goshawk.yaml.tmpl"

// platforms are those of kubectl that people have at their desks and in pipelines.
var platforms = []string{"darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64"}

// archive is the program for one platform.
type archive struct {
	OS, Arch, Bin, File, SHA256 string
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: krew VERSION FOLDER")
	}
	chosen := platforms
	if list := os.Getenv("KREW_PLATFORMS"); list != "" {
		chosen = strings.Split(list, ",")
	}
	if err := run(".", os.Args[1], os.Args[2], chosen, build); err != nil {
		log.Fatal("krew: ", err)
	}
}

// builder builds the program for a platform into a file.
type builder func(goos, arch, version, file string) error

var isVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// run writes the archives of the platforms and the manifest. root is the root of the repository.
func run(root, version, folder string, platforms []string, build builder) error {
	if !isVersion.MatchString(version) {
		return fmt.Errorf("version %q: krew needs one like v1.2.3", version)
	}
	license, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(root, manifestTemplate))
	if err != nil {
		return err
	}
	manifest, err := template.New(manifestTemplate).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var archives []archive
	for _, platform := range platforms {
		a, err := pack(platform, version, folder, license, build)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		archives = append(archives, a)
	}
	var out bytes.Buffer
	if err := manifest.Execute(&out, map[string]any{"Version": version, "Archives": archives}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "goshawk.yaml"), out.Bytes(), 0o644)
}

// pack builds the program for a platform and writes its archive.
func pack(platform, version, folder string, license []byte, build builder) (archive, error) {
	goos, arch, ok := strings.Cut(platform, "/")
	if !ok {
		return archive{}, errors.New("a platform is OS/ARCH")
	}
	a := archive{OS: goos, Arch: arch, Bin: "kubectl-goshawk", File: fmt.Sprintf("kubectl-goshawk_%s_%s_%s.tar.gz", version, goos, arch)}
	if goos == "windows" {
		a.Bin += ".exe"
	}
	temporary, err := os.MkdirTemp("", "krew")
	if err != nil {
		return a, err
	}
	defer func() { _ = os.RemoveAll(temporary) }() // a rest in the temporary folder does no harm
	program := filepath.Join(temporary, a.Bin)
	if err := build(goos, arch, version, program); err != nil {
		return a, err
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return a, err
	}
	data, err := compressed(a.Bin, binary, license)
	if err != nil {
		return a, err
	}
	sum := sha256.Sum256(data)
	a.SHA256 = hex.EncodeToString(sum[:])
	return a, os.WriteFile(filepath.Join(folder, a.File), data, 0o644)
}

// compressed returns an archive with the program and the license, without times and owners.
func compressed(name string, binary, license []byte) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	files := tar.NewWriter(zip)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{name, 0o755, binary}, {"LICENSE", 0o644, license}} {
		if err := files.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := files.Write(f.data); err != nil {
			return nil, err
		}
	}
	err = errors.Join(files.Close(), zip.Close())
	return out.Bytes(), err
}

// build builds the program with the flags of the Makefile.
func build(goos, arch, version, file string) error {
	const release = "github.com/goshawk-dev/goshawk/internal/cli.release"
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X "+release+"="+version, "-o", file, "./cmd/kubectl-goshawk")
	c.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0")
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}
