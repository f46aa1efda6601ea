// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
)

const root = "../.."

// instruction is one line of the Dockerfile, with its continuations: FROM and its arguments.
type instruction struct{ name, args string }

func dockerfile(t *testing.T) []instruction {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var list []instruction
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		list = append(list, instruction{name, strings.Join(strings.Fields(args), " ")})
	}
	return list
}

func arguments(list []instruction, name string) []string {
	var found []string
	for _, i := range list {
		if i.name == name {
			found = append(found, i.args)
		}
	}
	return found
}

// Each image of the Dockerfile has a digest, and the last stage has no base image.
func TestImagesOfTheDockerfileArePinned(t *testing.T) {
	defaults, stages := map[string]string{}, []string{"scratch"}
	from := ""
	for _, i := range dockerfile(t) {
		switch i.name {
		case "ARG":
			name, value, _ := strings.Cut(i.args, "=")
			defaults[name] = value
		case "FROM":
			words := strings.Fields(i.args)
			words = slices.DeleteFunc(words, func(word string) bool { return strings.HasPrefix(word, "--") })
			from = regexp.MustCompile(`\$\{(\w+)\}`).ReplaceAllStringFunc(words[0], func(v string) string { return defaults[strings.Trim(v, "${}")] })
			if len(words) == 3 {
				stages = append(stages, words[2])
			}
			if !slices.Contains(stages, from) && !regexp.MustCompile(`^\S+:\d+\.\d+\.\d+@sha256:[0-9a-f]{64}$`).MatchString(from) {
				t.Errorf("FROM %s: an image needs the tag of a version and a digest", from)
			}
		}
	}
	if from != "scratch" {
		t.Errorf("the image has the base image %s", from)
	}
}

// The Dockerfile and hack/release build the same: the same flags, user, entry point and labels.
func TestDockerfileBuildsTheSameImage(t *testing.T) {
	list := dockerfile(t)
	var last []instruction
	for _, i := range list {
		if i.name == "FROM" {
			last = nil
		}
		last = append(last, i)
	}
	if d := diff.Diff([]string{"65532:65532"}, arguments(last, "USER")); d != "" {
		t.Errorf("USER:\n%s", d)
	}
	if d := diff.Diff([]string{`["/goshawk"]`}, arguments(last, "ENTRYPOINT")); d != "" {
		t.Errorf("ENTRYPOINT:\n%s", d)
	}
	if d := diff.Diff([]string{"--from=build /image/ /"}, arguments(last, "COPY")); d != "" {
		t.Errorf("files of the image:\n%s", d)
	}
	labels := map[string]string{}
	for _, m := range regexp.MustCompile(`(\S+)="([^"]*)"`).FindAllStringSubmatch(strings.Join(arguments(last, "LABEL"), " "), -1) {
		labels[m[1]] = strings.NewReplacer("${VERSION}", sample.version, "${REVISION}", sample.revision).Replace(m[2])
	}
	if d := diff.Diff(sample.labels(managerImage), labels); d != "" {
		t.Errorf("labels of hack/release (-) and of the Dockerfile (+):\n%s", d)
	}
	builds := strings.Join(arguments(list, "RUN"), "\n")
	for _, want := range []string{`GOOS=$TARGETOS GOARCH=$TARGETARCH go build -buildvcs=false -ldflags="-s -w -buildid=" -o /image/goshawk .`, "go run ./hack/release certificates /image/etc/ssl/certs/ca-certificates.crt"} {
		if !strings.Contains(builds, want) {
			t.Errorf("the Dockerfile does not run %q", want)
		}
	}
	if env := strings.Join(arguments(list, "ENV"), " "); !strings.Contains(env, "CGO_ENABLED=0") || !strings.Contains(env, "GOFLAGS=-trimpath") {
		t.Errorf("the Dockerfile builds with %q", env)
	}
}

// .dockerignore lets the files of the build through, and no others.
func TestDockerignoreHasWhatTheBuildNeeds(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, ".", "./hack/release")
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	needed := []string{"go.mod", "go.sum"}
	for _, file := range strings.Fields(string(out)) {
		relative, err := filepath.Rel(here, file)
		if err != nil {
			t.Fatal(err)
		}
		needed = append(needed, filepath.ToSlash(relative))
	}
	rules := ignoreRules(t)
	for _, file := range needed {
		if isIgnored(rules, file) {
			t.Errorf(".dockerignore keeps %s from the build", file)
		}
	}
	for _, file := range []string{".git/HEAD", "bin/k8s", ".goshawk/kubeconfig", "dist/goshawk-image.tar", "main_test.go", "internal/ddi/server_test.go", "internal/rollout/testdata/a.log", "internal/testing/fakes/fakes.go", "hack/lint/go.mod", "charts/goshawk/Chart.yaml", ".env"} {
		if !isIgnored(rules, file) {
			t.Errorf(".dockerignore sends %s to the builder", file)
		}
	}
}

func ignoreRules(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Fields(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(string(text), "")), func(s string) bool { return s == "" })
}

// isIgnored reports whether the last rule that matches the file or a folder above it excludes it.
func isIgnored(rules []string, file string) bool {
	ignored := false
	for _, rule := range rules {
		pattern, isException := strings.CutPrefix(rule, "!")
		pattern, isAnywhere := strings.CutPrefix(pattern, "**/")
		for p := file; p != "."; p = path.Dir(p) {
			name := p
			if isAnywhere {
				name = path.Base(p)
			}
			if ok, err := path.Match(pattern, name); err == nil && ok {
				ignored = !isException
			}
		}
	}
	return ignored
}
