// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

// listen lets the agent of a site take commands.
func (s *site) listen() {
	s.Helper()
	l, err := Listen(s.agent.Folder)
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.Context())
	ended := make(chan error)
	go func() { ended <- s.agent.Serve(ctx, l) }()
	s.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// install asks the agent to install a file of the device.
func (s *site) install(version string) (update.Result, error) {
	s.Helper()
	path := writeFile(s.T, "image", "image "+version)
	m := update.Module{Type: "os", Name: "linux", Version: version, Artifacts: []update.Artifact{artifactOf("image "+version, FileURL(path))}}
	var result update.Result
	err := Ask(s.Context(), s.agent.Folder, "/update", Request{Changes: []update.Change{{Module: m}}}, &result)
	return result, err
}

func TestPersonInstallsWhileTheAgentRuns(t *testing.T) {
	s := newSite(t, `[ $1 = install ] && [ "$GOSHAWK_VERSION" = bad ] && { echo broken; exit 1; }; exit 0`)
	s.listen()
	result, err := s.install("3")
	if err != nil || result.Outcome != update.Succeeded || result.Source != update.FromDevice {
		t.Errorf("%+v, %v", result, err)
	}
	result, err = s.install("bad")
	if err != nil || result.Outcome != update.Failed || !strings.Contains(result.Failure.Message, "broken") {
		t.Errorf("%+v, %v", result, err)
	}
	if got := s.state(); len(got.Installed) != 1 || got.Installed[0].Version != "3" || !got.Consistent {
		t.Errorf("state: %+v", got)
	}
}

func TestCommandsThatAreRefused(t *testing.T) {
	s := newSite(t, "[ $1 = install ] && { touch installing; while [ ! -e go ]; do sleep 0.01; done; }\nexit 0")
	s.listen()
	ask := func(path string, r Request) error { return Ask(t.Context(), s.agent.Folder, path, r, nil) }
	for path, want := range map[string]string{"/confirm": "no update waits for a confirmation", "/deny": "no update waits for a confirmation", "/rollback": "no update is in progress", "/update": "the request has no software module", "/other": "404"} {
		if err := ask(path, Request{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if err := ask("/confirm", Request{Remark: strings.Repeat("x", 2<<20)}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a request of 2 MiB: %v", err)
	}
	first := make(chan error)
	go func() {
		_, err := s.install("3")
		first <- err
	}()
	s.until(func() string {
		if _, err := os.Stat(filepath.Join(s.folder, "installing")); err != nil {
			return "install is not called"
		}
		return ""
	})
	if _, err := s.install("4"); err == nil || !strings.Contains(err.Error(), "is in progress (Installing): wait for its end, or cancel it") {
		t.Errorf("a second update: %v", err)
	}
	if err := ask("/rollback", Request{}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(s.folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if got := s.calls(); got != "check download install rollback cleanup" {
		t.Errorf("calls: %s", got)
	}
	if got := s.state(); got.Last.Outcome != update.Canceled || len(got.Installed) != 0 {
		t.Errorf("state: %+v", got)
	}
}

func TestSocketIsForTheUserOfTheAgent(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, SocketName)
	if err := Ask(t.Context(), folder, "/rollback", Request{}, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := old.Close(); err != nil { // as after a kill
		t.Fatal(err)
	}
	if err := Ask(t.Context(), folder, "/rollback", Request{}, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with the socket of an agent that was killed: %v", err)
	}
	l, err := Listen(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Listen(filepath.Join(folder, strings.Repeat("long", 50))); err == nil {
		t.Error("a path that is too long for a socket is accepted")
	}
}

func TestRequestThatIsNoJSON(t *testing.T) {
	s := newSite(t, "exit 0")
	s.listen()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(s.agent.Folder, SocketName))
	}}}
	response, err := client.Post("http://agent/update", "application/json", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusConflict {
		t.Errorf("status %s", response.Status)
	}
}
