// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// The tests in this file are what happens to a device on a bad day. After each of them the device
// is on its old or on its new software, and says so to the server and in its state.

// answers lets a function answer requests, until it is called with nil.
func (s *site) answers(f func(http.ResponseWriter, *http.Request) bool) {
	if f == nil {
		s.answer.Store(nil)
		return
	}
	s.answer.Store(&f)
}

// wantInstalled checks the version of the only module, or "" for none, and that the device is
// consistent.
func (s *site) wantInstalled(version string) {
	s.Helper()
	got := s.state()
	installed := ""
	for _, m := range got.Installed {
		installed += m.Version
	}
	if installed != version || !got.Consistent {
		s.Errorf("the device has %q, want %q; state %+v", installed, version, got)
	}
}

func TestFilesThatAreNotThoseOfTheUpdate(t *testing.T) {
	public, _, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*site, *deviceapitest.Update)
		keys   []string
		want   string
	}{
		"a truncated file":       {change: func(s *site, _ *deviceapitest.Update) { s.files["linux-2.img"] = "ima" }, want: "the file of the server has 3 bytes, and the artifact 7"},
		"a file that is longer":  {change: func(s *site, _ *deviceapitest.Update) { s.files["linux-2.img"] += "x" }, want: "the file of the server has 8 bytes, and the artifact 7"},
		"another file":           {change: func(s *site, _ *deviceapitest.Update) { s.files["linux-2.img"] = "image X" }, want: "it has SHA-256 "},
		"no file":                {change: func(s *site, u *deviceapitest.Update) { u.Set.Modules[0].Artifacts[0].Downloads[0].URL += "/x" }, want: "the server answered 404 Not Found"},
		"a file without its sum": {change: func(_ *site, u *deviceapitest.Update) { u.Set.Modules[0].Artifacts[0].SHA256 = "" }, want: "the server must send 64 hexadecimal digits"},
		"a file without a signature of the keys": {
			change: func(*site, *deviceapitest.Update) {}, keys: []string{public.String()}, want: "it has no signature, and the configuration of the agent has keys",
		},
		"a module twice": {change: func(_ *site, u *deviceapitest.Update) { u.Set.Modules = append(u.Set.Modules, u.Set.Modules[0]) }, want: "two software modules of type os with the name linux"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSiteWith(t, "exit 0", func(c *Config, _ *Agent) { c.SignatureKeys = tc.keys })
			s.offer("2", func(u *deviceapitest.Update) { tc.change(s, u) })
			a := s.action(100, v1alpha1.ActionError)
			if !strings.Contains(fmt.Sprint(a), tc.want) {
				t.Errorf("action: %+v, want %q", a, tc.want)
			}
			s.wantInstalled("")
			if _, err := os.Stat(filepath.Join(s.folder, "calls")); err == nil && s.calls() != "check cleanup" {
				t.Errorf("calls: %s", s.calls())
			}
		})
	}
}

// TestSignedBundle installs an archive whose signature is another artifact of its module.
func TestSignedBundle(t *testing.T) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteWith(t, "exit 0", func(c *Config, _ *Agent) {
		c.SignatureKeys, c.Handlers = []string{public.String()}, map[string]string{"app": "bundle"}
	})
	archive := tarOf(t, map[string]string{"install": "#!/bin/sh\necho $GOSHAWK_VERSION > " + s.folder + "/app; ls $GOSHAWK_FILES > " + s.folder + "/files"})
	reader := minisign.NewReader(strings.NewReader(archive))
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	s.files["app.tar"], s.files["app.tar.minisig"] = archive, string(reader.Sign(private))
	s.offer("2", func(u *deviceapitest.Update) {
		m := &u.Set.Modules[0]
		m.Type, m.Name, m.Artifacts = "app", "web", nil
		for _, name := range []string{"app.tar", "app.tar.minisig"} {
			a := artifactOf(s.files[name], s.server.URL+"/files/"+name)
			m.Artifacts = append(m.Artifacts, deviceapi.Artifact{FileName: name, Size: a.Size, SHA256: a.SHA256, Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: a.URL}}})
		}
	})
	s.action(100, v1alpha1.ActionFinished)
	s.wantInstalled("2")
	if data, err := os.ReadFile(filepath.Join(s.folder, "files")); err != nil || string(data) != "app.tar\napp.tar.minisig\n" {
		t.Errorf("the files of the module are %q, %v", data, err)
	}
}

// TestInstallThatCannotBeStarted has an archive for another kind of device: its scripts do not run,
// and it has no rollback. Nothing of it has changed the device, so the device is consistent.
func TestInstallThatCannotBeStarted(t *testing.T) {
	s := newSiteWith(t, "exit 0", func(c *Config, _ *Agent) { c.Handlers = map[string]string{"app": "bundle"} })
	s.files["app.tar"] = tarOf(t, map[string]string{"install": "#!/nothing/sh\n"})
	s.offer("2", func(u *deviceapitest.Update) {
		a := artifactOf(s.files["app.tar"], s.server.URL+"/files/app.tar")
		u.Set.Modules = append(u.Set.Modules, deviceapi.Module{ID: "2", Type: "app", Name: "web", Version: "2", Artifacts: []deviceapi.Artifact{
			{FileName: "app.tar", Size: a.Size, SHA256: a.SHA256, Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: a.URL}}},
		}})
	})
	a := s.action(100, v1alpha1.ActionError)
	if a.StatusCode != update.CodeInstallFailed || !strings.Contains(a.Message, "app web 2: start ") {
		t.Errorf("the action is %+v", a)
	}
	s.wantInstalled("")
	if got := s.calls(); got != "check download install rollback cleanup" { // those of the module os
		t.Errorf("calls: %s", got)
	}
}

func TestModuleWithALongName(t *testing.T) {
	for name, module := range map[string]string{"in ASCII": strings.Repeat("x", update.MaxName), "in Chinese": strings.Repeat("\u66f4", update.MaxName/3)} {
		t.Run(name, func(t *testing.T) {
			s := newSiteWith(t, "", func(c *Config, _ *Agent) { c.Handlers = map[string]string{"app": "bundle"} })
			s.files["app.tar"] = tarOf(t, map[string]string{"install": "#!/bin/sh\nexit 0\n", "remove": "#!/bin/sh\nexit 0\n"})
			s.offer("2", func(u *deviceapitest.Update) {
				a := artifactOf(s.files["app.tar"], s.server.URL+"/files/app.tar")
				m := &u.Set.Modules[0]
				m.Type, m.Name, m.Version = "app", module, strings.Repeat("2", update.MaxName)
				m.Artifacts = []deviceapi.Artifact{{FileName: "app.tar", Size: a.Size, SHA256: a.SHA256, Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: a.URL}}}}
			})
			s.action(100, v1alpha1.ActionFinished)
			s.wantInstalled(strings.Repeat("2", update.MaxName))
			s.stop()
			s.start(t.Context())
			if err := s.agent.Accept(t.Context(), "by-hand", update.FromDevice, []update.Change{{Module: update.Module{Type: "app", Name: module}, Removes: true}}, true); err != nil {
				t.Fatal(err)
			}
			s.until(func() string {
				if d, _ := s.agent.Document(); d.Update != nil || d.Ended.Outcome != update.Succeeded || len(d.Installed) > 0 {
					return fmt.Sprintf("the module is not removed: %+v", d.Ended)
				}
				return ""
			})
		})
	}
}

func TestNamesOfFolders(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{"web", "Web", "", ".", "..", "a/b", "a b", "a+b", strings.Repeat("x", 198), strings.Repeat("x", 199), strings.Repeat("x", 256), strings.Repeat("x", 255) + "y", strings.Repeat("\u66f4", 85), strings.Repeat("\u66f4", 84) + "\u65b0"} {
		for _, name := range []string{nameOf(text), storeOf(text)} {
			if other, ok := seen[name]; ok {
				t.Errorf("%q and %q have the same folder %s", text, other, name)
			}
			seen[name] = text
			if len(name) > maxFolderName || filepath.Base(name) != name || name == "." || name == ".." {
				t.Errorf("the folder of %q is %q", text, name)
			}
		}
	}
}

// TestUpdateWithoutModules checks that its action does not stay open for ever.
func TestUpdateWithoutModules(t *testing.T) {
	s := newSite(t, "exit 0")
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		const genuine = "X-Genuine"
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/deploymentBase/100") || r.Header.Get(genuine) != "" {
			return false
		}
		start, err := http.NewRequestWithContext(t.Context(), r.Method, s.server.URL+r.URL.Path, nil) // it starts the action
		if err != nil {
			t.Error(err)
			return false
		}
		start.Header.Set("Authorization", r.Header.Get("Authorization"))
		start.Header.Set(genuine, "true")
		answer, err := http.DefaultClient.Do(start)
		if err != nil {
			t.Error(err)
			return false
		}
		_ = answer.Body.Close()
		_, _ = io.WriteString(w, `{"id":"100","deployment":{"download":"forced","update":"forced","chunks":[]}}`)
		return true
	})
	s.offer("2")
	if a := s.action(100, v1alpha1.ActionError); a.StatusCode != update.CodeUnsupported || !strings.Contains(a.Message, "The update has no software modules.") {
		t.Errorf("the action is %+v", a)
	}
	s.wantInstalled("")
	s.untilConnected(true, "")
}

// TestRefusedModulesLeaveNothing checks that a server cannot fill the disk with modules that the
// device refuses.
func TestRefusedModulesLeaveNothing(t *testing.T) {
	s := newSite(t, "exit 1")
	for i := range 3 {
		s.offer(fmt.Sprint(i), func(u *deviceapitest.Update) { u.Set.Modules[0].Name = fmt.Sprint("module", i) })
		s.action(int32(100+i), v1alpha1.ActionError)
	}
	s.until(func() string {
		left, _ := filepath.Glob(filepath.Join(s.agent.Folder, "*", "*"))
		if len(left) > 0 {
			return fmt.Sprintf("left over: %s", left)
		}
		return ""
	})
}

func TestServerIsAwayForDays(t *testing.T) {
	for name, away := range map[string]func(http.ResponseWriter) bool{
		"its machine is off": func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) },
		"a proxy says so":    func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadGateway); return true },
		"it asks to wait": func(w http.ResponseWriter) bool {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		},
		"the token is refused":  func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusUnauthorized); return true },
		"there is a login page": func(w http.ResponseWriter) bool { _, _ = w.Write([]byte("<html>")); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "[ $1 = install ] && { touch installing; while [ ! -e go ]; do sleep 0.01; done; }\nexit 0")
			s.offer("2")
			s.until(func() string {
				if _, err := os.Stat(filepath.Join(s.folder, "installing")); err != nil {
					return "install is not called"
				}
				return ""
			})
			var requests atomic.Int32
			s.answers(func(w http.ResponseWriter, _ *http.Request) bool {
				requests.Add(1)
				return away(w)
			})
			if err := os.WriteFile(filepath.Join(s.folder, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s.until(func() string {
				if d, _ := s.agent.Document(); d.Update != nil || requests.Load() < 10 {
					return fmt.Sprintf("the update does not end without the server (%d requests)", requests.Load())
				}
				return ""
			})
			s.wantInstalled("2")
			s.answers(nil)
			s.action(100, v1alpha1.ActionFinished)
			s.until(func() string {
				if d, _ := s.agent.Document(); len(d.Results) > 0 {
					return "the result is not delivered"
				}
				return ""
			})
		})
	}
}

// TestOneReportThatTheServerCannotStore checks that the device gets its update nevertheless.
func TestOneReportThatTheServerCannotStore(t *testing.T) {
	for name, isBad := range map[string]func(*http.Request) bool{
		"the attributes": func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/configData") },
		"one of the progress": func(r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/feedback") && r.ContentLength%2 == 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "exit 0")
			var refused atomic.Int32
			s.answers(func(w http.ResponseWriter, r *http.Request) bool {
				if !isBad(r) || refused.Add(1) > 3 && name != "the attributes" {
					return false
				}
				w.WriteHeader(http.StatusInternalServerError)
				return true
			})
			s.offer("2")
			s.action(100, v1alpha1.ActionFinished)
			s.wantInstalled("2")
		})
	}
}

// TestAddressOfAFileExpires has a store that refuses the first address when the device uses it.
func TestAddressOfAFileExpires(t *testing.T) {
	s := newSite(t, "exit 0")
	var u *deviceapitest.Update
	var refused atomic.Int32
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/files/") || r.URL.Query().Get("signature") == "2" {
			return false
		}
		renewed := *u
		renewed.Set.Modules = []deviceapi.Module{u.Set.Modules[0]}
		renewed.Set.Modules[0].Artifacts = []deviceapi.Artifact{u.Set.Modules[0].Artifacts[0]}
		sign(&renewed, 2)
		s.backend.SetUpdate(&renewed)
		s.backend.SetUpdate(&renewed) // the backend prefers earlier sets with the same content
		refused.Add(1)
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	s.offer("2", func(offered *deviceapitest.Update) {
		sign(offered, 1)
		copied := *offered
		u = &copied
	})
	s.action(100, v1alpha1.ActionFinished)
	s.wantInstalled("2")
	if refused.Load() != 1 {
		t.Errorf("the old address was used %d times", refused.Load())
	}
}

// TestPersonPollsWhileTheServerIsAway checks that the agent does not wait for its next attempt.
func TestPersonPollsWhileTheServerIsAway(t *testing.T) {
	s := newSiteWith(t, "exit 0", func(c *Config, _ *Agent) { c.Server.RetryInterval = Duration(time.Hour) })
	var failing atomic.Bool
	failing.Store(true)
	s.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		if failing.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		return failing.Load()
	})
	s.polls(15) // the pauses are hours now
	failing.Store(false)
	s.offer("2")
	s.action(100, v1alpha1.ActionFinished)
}

// TestStoreOfFilesIsAway checks that the update waits for it and says why.
func TestStoreOfFilesIsAway(t *testing.T) {
	s := newSite(t, "exit 0")
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		isFile := strings.HasPrefix(r.URL.Path, "/files/")
		if isFile {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return isFile
	})
	s.offer("2")
	s.until(func() string {
		s.agent.mu.Lock()
		defer s.agent.mu.Unlock()
		if !strings.Contains(s.agent.message, "download of linux-2.img: the server answered 503 Service Unavailable; it is continued") {
			return "the message is " + s.agent.message
		}
		return ""
	})
	s.answers(nil)
	s.action(100, v1alpha1.ActionFinished)
	s.wantInstalled("2")
}

func sign(u *deviceapitest.Update, signature int) {
	a := &u.Set.Modules[0].Artifacts[0]
	address, _, _ := strings.Cut(a.Downloads[0].URL, "?")
	a.Downloads = []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: fmt.Sprintf("%s?signature=%d", address, signature)}}
}

func TestClockIsSetBack(t *testing.T) {
	var back atomic.Int64
	s := newSiteWith(t, "exit 0", func(_ *Config, a *Agent) {
		if a != nil {
			a.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		}
	})
	s.offer("2")
	s.action(100, v1alpha1.ActionFinished)
	back.Store(int64(50 * 365 * 24 * time.Hour)) // a device whose battery is empty
	s.offer("3")
	s.action(101, v1alpha1.ActionFinished)
	s.wantInstalled("3")
	s.stop()
	s.start(t.Context())
	back.Store(0)
	s.offer("4")
	s.action(102, v1alpha1.ActionFinished)
	s.wantInstalled("4")
	history, err := journal.ReadHistory(s.agent.Folder)
	if err != nil || len(history) != 3 || history[0].ID != "100" || history[1].ID != "101" || history[2].ID != "102" {
		t.Errorf("the history is %+v, %v", history, err)
	}
}

// failingDisk fails while it is switched on.
type failingDisk struct {
	disk.OS
	why atomic.Pointer[error]
}

func (d *failingDisk) OpenFile(name string, flag int, mode os.FileMode) (disk.File, error) {
	if why := d.why.Load(); why != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: *why}
	}
	return d.OS.OpenFile(name, flag, mode)
}

// TestDiskIsFullDuringAnUpdate checks that nothing is done before the state can be stored, and that
// the update goes on after that.
func TestDiskIsFullDuringAnUpdate(t *testing.T) {
	for _, why := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		t.Run(why.Error(), func(t *testing.T) {
			t.Parallel()
			device := &failingDisk{}
			s := newSiteWith(t, "[ $1 = install ] && { touch installing; while [ ! -e go ]; do sleep 0.01; done; }\nexit 0", func(c *Config, a *Agent) {
				if a != nil {
					j, err := journal.Open(device, c.Folder, time.Now)
					if err != nil {
						t.Fatal(err)
					}
					a.Journal, a.StorePause = j, time.Millisecond
				}
			})
			s.offer("2")
			s.until(func() string {
				if _, err := os.Stat(filepath.Join(s.folder, "installing")); err != nil {
					return "install is not called"
				}
				return ""
			})
			device.why.Store(&why)
			if err := os.WriteFile(filepath.Join(s.folder, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // many attempts
			if got := s.calls(); got != "check download install" {
				t.Errorf("calls while nothing can be stored: %s", got)
			}
			stored, err := journal.Open(disk.OS{}, s.agent.Folder, time.Now)
			if err != nil || stored.Document().Update.Changes[0].Calling != update.Install {
				t.Errorf("the stored document is %+v, %v", stored.Document(), err)
			}
			device.why.Store(nil)
			s.action(100, v1alpha1.ActionFinished)
			s.wantInstalled("2")
		})
	}
}

// TestServerOffersTheIDOfAnUpdateThatHasEnded checks that the device installs another update with
// the same id, which a server that was set up again sends, and reports the result of the same one,
// which the server has lost.
func TestServerOffersTheIDOfAnUpdateThatHasEnded(t *testing.T) {
	for version, calls := range map[string]string{"2": "", "3": "check download install verify commit cleanup"} {
		t.Run("version "+version, func(t *testing.T) {
			s := newSiteWith(t, "exit 0", func(c *Config, a *Agent) {
				if a != nil {
					return
				}
				j, err := journal.Open(disk.OS{}, c.Folder, time.Now)
				if err != nil {
					t.Fatal(err)
				}
				m := update.Module{Type: "os", Name: "linux", Version: "2"}
				ended := &update.Result{ID: "100", Source: update.FromServer, Outcome: update.Succeeded, Changes: []update.Change{{Module: m}}}
				if err := j.Store(&update.Document{Format: update.FormatVersion, Installed: []update.Module{m}, Ended: ended}); err != nil {
					t.Fatal(err)
				}
			})
			s.offer(version)
			s.action(100, v1alpha1.ActionFinished)
			s.wantInstalled(version)
			if _, err := os.Stat(filepath.Join(s.folder, "calls")); err == nil && s.calls() != calls || err != nil && calls != "" {
				t.Errorf("the calls are not %q (%v)", calls, err)
			}
		})
	}
}
