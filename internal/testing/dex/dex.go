// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dex runs dex, an OpenID Connect provider, in tests. Its program is in the module
// hack/dex, and is built when a test needs it.
package dex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/testing/ports"
)

// program builds dex and returns its path.
var program = sync.OnceValues(func() (string, error) {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(module)))
	path := filepath.Join(root, "bin", "dex")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	command := exec.Command("go", "build", "-C", filepath.Join(root, "hack", "dex"), "-o", path, ".")
	// The same flags as in the Makefile, also under the race detector, so that dex is built once.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build dex: %w\n%s", err, out)
	}
	return path, nil
})

// User is a user of dex.
type User struct {
	Name, Password, Email string
	Groups                []string
}

// The client that dex knows.
const (
	ClientID     = "goshawk-console"
	ClientSecret = "the-secret-of-the-client"
)

// Dex is a provider, which runs or not.
type Dex struct {
	// Issuer is its URL.
	Issuer string

	t           testing.TB
	redirectURL string
	file        string
	process     *exec.Cmd
	log         *bytes.Buffer
}

// New returns a provider that does not run yet. It skips the test if dex cannot be built, which
// needs its modules; with GOSHAWK_REQUIRE_DEX=1 the test fails.
func New(t testing.TB, redirectURL string, users ...User) *Dex {
	t.Helper()
	if _, err := program(); err != nil {
		if os.Getenv("GOSHAWK_REQUIRE_DEX") == "1" {
			t.Fatal(err)
		}
		t.Skipf("dex is not available, so the login with a real provider is not tested: %v", err)
	}
	d := &Dex{t: t, Issuer: "http://" + ports.Free(t) + "/dex", redirectURL: redirectURL, file: filepath.Join(t.TempDir(), "dex.json")}
	d.SetUsers(users...)
	t.Cleanup(d.Stop)
	return d
}

// SetUsers replaces the users. It counts from the next login or refresh on.
func (d *Dex) SetUsers(users ...User) {
	d.t.Helper()
	text, err := json.Marshal(map[string]any{
		"issuer": d.Issuer, "idTokenSeconds": 24 * 3600, "users": users,
		"clients": []map[string]any{{"id": ClientID, "secret": ClientSecret, "name": "console", "redirectURIs": []string{d.redirectURL}}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	// A rename, so that dex never reads a part of the file.
	if err := errors.Join(os.WriteFile(d.file+".new", text, 0o600), os.Rename(d.file+".new", d.file)); err != nil {
		d.t.Fatal(err)
	}
}

// Start starts the provider, without the sessions and keys that it had before.
func (d *Dex) Start() *Dex {
	d.t.Helper()
	path, err := program()
	if err != nil {
		d.t.Fatal(err)
	}
	d.log = &bytes.Buffer{}
	d.process = exec.Command(path, d.file)
	d.process.Stderr = d.log
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(d.Issuer + "/.well-known/openid-configuration")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return d
			}
		}
		if time.Now().After(deadline) {
			d.Stop()
			d.t.Fatalf("dex does not answer: %v\n%s", err, d.log)
		}
	}
}

// Stop stops the provider.
func (d *Dex) Stop() {
	if d.process != nil {
		_ = d.process.Process.Kill()
		_ = d.process.Wait() // it was killed
		d.process = nil
	}
}

var form = regexp.MustCompile(`<form method="post" action="([^"]+)"`)

// LogIn logs a user in at the page of the provider that a response shows, and returns the response
// of the console. browser has followed the redirects to that page.
func (d *Dex) LogIn(browser *http.Client, page *http.Response, name, password string) *http.Response {
	d.t.Helper()
	defer func() { _ = page.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(page.Body); err != nil {
		d.t.Fatal(err)
	}
	found := form.FindStringSubmatch(body.String())
	if page.StatusCode != http.StatusOK || found == nil {
		d.t.Fatalf("%s is no page to log in: %s\n%s", page.Request.URL, page.Status, body.String())
	}
	action, err := page.Request.URL.Parse(strings.ReplaceAll(found[1], "&amp;", "&"))
	if err != nil {
		d.t.Fatal(err)
	}
	response, err := browser.PostForm(action.String(), map[string][]string{"login": {name}, "password": {password}})
	if err != nil {
		d.t.Fatal(err)
	}
	return response
}
