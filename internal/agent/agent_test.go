// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/agent/download"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/testing/power"
)

var device = deviceapi.Device{Namespace: "acme", ControllerID: "dev1"}

// site is a server with one device, whose agent runs in this process.
type site struct {
	*testing.T
	backend *deviceapitest.Backend
	server  *httptest.Server
	files   map[string]string
	folder  string
	agent   *Agent
	reboots int
	mu      sync.Mutex
	// answer may answer a request in place of the server; it reports whether it did.
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	// adjust changes the configuration and the agent before its start. It may be nil.
	adjust func(*Config, *Agent)
	// stop ends the agent that was started last.
	stop func()
}

// newSite starts a server, and an agent whose handler of type os is the script.
func newSite(t *testing.T, script string) *site {
	t.Helper()
	return newSiteWith(t, script, nil)
}

func newSiteWith(t *testing.T, script string, adjust func(*Config, *Agent)) *site {
	t.Helper()
	s := &site{T: t, adjust: adjust, backend: &deviceapitest.Backend{Tokens: map[deviceapi.Device]string{device: "secret"}}, files: map[string]string{}, folder: power.Folder(t)}
	boundless := deviceapi.Rate{PerSecond: -1}
	api, err := ddi.NewServer(func(string) (deviceapi.Backend, error) { return s.backend, nil },
		ddi.Options{Rates: deviceapi.Rates{Device: boundless, Guess: boundless, Address: boundless, Refusal: boundless, Global: boundless}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/acme/", api)
	mux.HandleFunc("/files/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(s.files[r.PathValue("name")]))
	})
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := s.answer.Load(); answer != nil && (*answer)(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.server.Close)
	handlers := filepath.Join(s.folder, "handlers.d")
	if err := os.MkdirAll(handlers, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(handlers, "os"), []byte("#!/bin/sh\ncd "+s.folder+"\necho $1 >> calls\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.start(t.Context())
	return s
}

// start starts the agent, as after a boot.
func (s *site) start(ctx context.Context) {
	s.Helper()
	token := filepath.Join(s.folder, "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	c := Config{
		Folder: filepath.Join(s.folder, "state"), HandlersFolder: filepath.Join(s.folder, "handlers.d"), SkipSync: true, RebootCommand: []string{"true"},
		Attributes: map[string]string{"hw": "rev2"},
		Server:     &ServerConfig{URL: s.server.URL + "/acme", ControllerID: "dev1", TargetTokenFile: token, RetryInterval: Duration(20 * time.Millisecond)},
	}
	if s.adjust != nil {
		s.adjust(&c, nil)
	}
	a, err := New(c, slog.New(slog.NewTextHandler(s.Output(), nil)))
	if err != nil {
		s.Fatal(err)
	}
	a.Download.Pause = func(ctx context.Context, _ int) { download.Sleep(ctx, time.Millisecond) }
	if s.adjust != nil {
		s.adjust(&c, a)
	}
	s.mu.Lock()
	a.Boot = fmt.Sprint(s.reboots)
	s.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	a.Reboot = func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reboots++
		stop()
		return nil
	}
	s.agent = a
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := a.Run(ctx); err != nil {
			s.Errorf("the agent ended: %v", err)
		}
	}()
	s.stop = func() { stop(); <-ended }
	s.Cleanup(s.stop)
}

// offer lets the server offer a set with a module of type os.
func (s *site) offer(version string, change ...func(*deviceapitest.Update)) {
	s.Helper()
	content := "image " + version
	name := "linux-" + version + ".img"
	s.files[name] = content
	artifact := artifactOf(content, s.server.URL+"/files/"+name)
	u := &deviceapitest.Update{Set: deviceapitest.Set{Name: "firmware", Version: version, Modules: []deviceapi.Module{{
		ID: "1", Type: "os", Name: "linux", Version: version,
		Artifacts: []deviceapi.Artifact{{FileName: name, Size: artifact.Size, SHA256: artifact.SHA256, Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: artifact.URL}}}},
	}}}}
	for _, c := range change {
		c(u)
	}
	s.backend.SetUpdate(u)
	s.poll()
}

// artifactOf returns an artifact with a content.
func artifactOf(content, address string) update.Artifact {
	sum := sha256.Sum256([]byte(content))
	return update.Artifact{Filename: "image", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), URL: address}
}

// poll lets the agent poll now, and not after the interval.
func (s *site) poll() { s.agent.poll() }

// action waits until the server has an action with a state, and returns it.
func (s *site) action(id int32, states ...v1alpha1.ActionState) *v1alpha1.Action {
	s.Helper()
	var a *v1alpha1.Action
	s.until(func() string {
		if a = s.backend.StoredAction(device, id); a != nil && slices.Contains(states, a.State) {
			return ""
		}
		return fmt.Sprintf("action %d is %+v, want %v", id, a, states)
	})
	return a
}

// until waits until a condition returns an empty text.
func (s *site) until(condition func() string) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text := condition()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			s.Fatal(text)
		}
	}
}

func (s *site) calls() string {
	data, err := os.ReadFile(filepath.Join(s.folder, "calls"))
	if err != nil {
		s.Fatal(err)
	}
	return strings.Join(strings.Fields(string(data)), " ")
}

func (s *site) state() journal.State {
	d, _ := s.agent.Document()
	return journal.StateOf(d)
}

func TestUpdateOfAServerSucceeds(t *testing.T) {
	s := newSite(t, `
case $1 in install)
  echo "progress 30" >&3
  [ "$(cat $GOSHAWK_FILES/linux-2.img)" = "image 2" ] || exit 1
esac`)
	s.offer("2")
	s.action(100, v1alpha1.ActionFinished)
	if got := s.calls(); got != "check download install verify commit cleanup" {
		t.Errorf("calls: %s", got)
	}
	if got := s.state(); len(got.Installed) != 1 || got.Installed[0].Version != "2" || !got.Consistent {
		t.Errorf("state: %+v", got)
	}
}

func TestUpdateOfAServerFails(t *testing.T) {
	for name, tc := range map[string]struct {
		script, code, message string
		isInconsistent        bool
	}{
		"and is rolled back":     {"[ $1 = verify ] && { echo code E17 >&3; echo does not start; exit 1; }\nexit 0", "E17", "does not start", false},
		"and cannot be restored": {"case $1 in verify) echo code E17 >&3; exit 1;; rollback) exit 64; esac", "INCONSISTENT", "The code of the failure is E17", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, tc.script)
			s.offer("2")
			a := s.action(100, v1alpha1.ActionError)
			if a.StatusCode != tc.code || !strings.Contains(fmt.Sprint(a), tc.message) {
				t.Errorf("action: %+v", a)
			}
			if got := s.state(); got.Consistent == tc.isInconsistent || len(got.Installed) != 0 {
				t.Errorf("state: %+v", got)
			}
		})
	}
}

func TestRebootInTheMiddleOfAnUpdate(t *testing.T) {
	s := newSite(t, "[ $1 = install ] && echo reboot >&3\nexit 0")
	s.offer("2")
	s.until(func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reboots == 1 {
			return ""
		}
		return "no reboot"
	})
	s.start(t.Context())
	s.action(100, v1alpha1.ActionFinished)
	if got := s.calls(); got != "check download install verify commit cleanup" {
		t.Errorf("calls: %s", got)
	}
}

func TestCancelWhileInstalling(t *testing.T) {
	s := newSite(t, "[ $1 = install ] && { touch installing; while [ ! -e go ]; do sleep 0.01; done; }\nexit 0")
	s.offer("2")
	s.until(func() string {
		if _, err := os.Stat(filepath.Join(s.folder, "installing")); err != nil {
			return "install is not called"
		}
		return ""
	})
	s.backend.CancelUpdate(device)
	s.poll()
	s.until(func() string {
		if d, _ := s.agent.Document(); d.Update == nil || d.Update.CanceledBy != update.FromServer {
			return "the update is not canceled"
		}
		return ""
	})
	if err := os.WriteFile(filepath.Join(s.folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.action(100, v1alpha1.ActionCanceled)
	if got := s.calls(); got != "check download install rollback cleanup" {
		t.Errorf("calls: %s", got)
	}
}

func TestPersonConfirmsAnUpdate(t *testing.T) {
	for _, answer := range []update.Answer{update.Confirmed, update.Denied} {
		t.Run(string(answer), func(t *testing.T) {
			s := newSite(t, "exit 0")
			s.offer("2", func(u *deviceapitest.Update) { u.Confirm = true })
			s.until(func() string {
				if d, _ := s.agent.Document(); d.Question == nil {
					return "no question"
				}
				return ""
			})
			if err := s.agent.Answer(t.Context(), answer, "after lunch"); err != nil {
				t.Fatal(err)
			}
			if answer == update.Confirmed {
				s.poll()
				s.action(100, v1alpha1.ActionFinished)
				return
			}
			s.until(func() string {
				if d, _ := s.agent.Document(); d.Question != nil && d.Question.Answer != "" {
					return "the answer is not delivered"
				}
				return ""
			})
			if _, err := os.Stat(filepath.Join(s.folder, "calls")); err == nil {
				t.Errorf("calls: %s", s.calls())
			}
		})
	}
}
