// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release writes what a release consists of, without a container engine:
//
//	release certificates FILE   the public certificate authorities, in PEM
//	release image FILE FILE     the images of the manager and of the agent, as OCI layouts in tar files
//	release push FILE IMAGE     that image to a registry, with the credentials of docker login
//	release dist FOLDER         manifests, chart, programs, image, and SHA256SUMS of all files of the folder
//
// Two runs for the same commit with the same version of Go write the same bytes: files are sorted,
// and their times are SOURCE_DATE_EPOCH, which is the time of the commit if it is not set.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background(), os.Args[1:]); err != nil {
		log.Fatalf("release: %v", err)
	}
}

var errUsage = errors.New("usage: release certificates FILE | image FILE FILE | push FILE IMAGE | dist FOLDER; run it in the root of the repository")

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "certificates":
		return os.WriteFile(args[1], certificates(), 0o644)
	case len(args) == 3 && args[0] == "image":
		r, err := describe()
		if err != nil {
			return err
		}
		return r.writeImages(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "push":
		return push(ctx, args[1], args[2], false)
	case len(args) == 2 && args[0] == "dist":
		r, err := describe()
		if err != nil {
			return err
		}
		return r.dist(ctx, args[1])
	}
	return errUsage
}

// release is what the files of a release have in common.
type release struct {
	version, revision string
	time              time.Time
}

// describe reads the version from the file VERSION, and revision and time from git. Without git,
// in an unpacked archive, the revision is empty and SOURCE_DATE_EPOCH is required.
func describe() (release, error) {
	text, err := os.ReadFile("VERSION")
	if err != nil {
		return release{}, err
	}
	r := release{version: strings.TrimSpace(string(text))}
	head, _ := exec.Command("git", "log", "-1", "--format=%H %ct").Output() // without git, head is empty
	r.revision, _, _ = strings.Cut(strings.TrimSpace(string(head)), " ")
	_, seconds, _ := strings.Cut(strings.TrimSpace(string(head)), " ")
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds = epoch
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return release{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: without git, set it to the seconds since 1970 of the release", seconds)
	}
	r.time = time.Unix(unix, 0).UTC()
	return r, nil
}

// build compiles a program of this repository for Linux. flags is what it needs beside those that
// make builds reproducible.
func (r release) build(ctx context.Context, p platform, program, flags string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "goshawk-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", strings.TrimSpace("-ldflags=-s -w -buildid= "+flags), "-o", file, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.architecture, "GOARM="+strings.TrimPrefix(p.variant, "v"))
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build %s for linux/%s: %w", program, p.architecture, err)
	}
	return os.ReadFile(file)
}

// buildManagers compiles the manager as the Dockerfile does.
func (r release) buildManagers(ctx context.Context) (map[platform][]byte, error) {
	managers := map[platform][]byte{}
	for _, p := range managerImage.platforms {
		var err error
		if managers[p], err = r.build(ctx, p, ".", ""); err != nil {
			return nil, err
		}
	}
	return managers, nil
}
