// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
	"github.com/goshawk-dev/goshawk/internal/agent/update"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

func TestAttributeNamesAreThoseOfGoshawk(t *testing.T) {
	if ConsistentAttribute != v1alpha1.AttributeConsistent || RemovesAttribute != v1alpha1.AttributeRemoves || update.CodeInconsistent != v1alpha1.CodeInconsistent {
		t.Error("the agent and Goshawk use other names for the same attribute or code")
	}
}

// attributes returns what the server got with its last request for attributes, and how many
// requests with these values there were.
func (s *site) attributes() (last map[string]string, count int) {
	for _, call := range s.backend.Calls() {
		if call.Method != "Attributes" {
			continue
		}
		count++
		last = map[string]string{}
		for name, value := range call.Args[0].(deviceapi.Attributes).Values {
			last[name] = *value
		}
	}
	return last, count
}

// wantAttributes waits until the server has got these attributes.
func (s *site) wantAttributes(want map[string]string) {
	s.Helper()
	s.until(func() string {
		if got, _ := s.attributes(); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("the server has got %v, want %v", got, want)
		}
		return ""
	})
}

// TestAttributesAreSentBeforeTheFirstPoll: what a server offers may depend on what it knows about
// the device, also after a restart of either side.
func TestAttributesAreSentBeforeTheFirstPoll(t *testing.T) {
	s := newSite(t, "exit 0")
	want := map[string]string{"hw": "rev2", ConsistentAttribute: "true", RemovesAttribute: "true"}
	s.wantAttributes(want)
	first := slices.IndexFunc(s.backend.Calls(), func(c deviceapitest.Call) bool { return c.Method == "State" || c.Method == "Attributes" })
	if got := s.backend.Calls()[first].Method; got != "Attributes" {
		t.Errorf("the first request was %s", got)
	}
	_, before := s.attributes()
	s.start(t.Context()) // another agent on the same files: only its requests matter here
	s.until(func() string {
		if _, count := s.attributes(); count == before {
			return "the attributes were not sent after the start"
		}
		return ""
	})
	s.wantAttributes(want)
}

// TestUpdateByHandIsReported: the server gets the new inventory without waiting for the next poll.
func TestUpdateByHandIsReported(t *testing.T) {
	s := newSite(t, "exit 0")
	s.offer("2")
	s.action(100, v1alpha1.ActionFinished)
	s.wantAttributes(map[string]string{"hw": "rev2", "sw.os.linux": "2", ConsistentAttribute: "true", RemovesAttribute: "true"})
	if err := s.agent.Accept(t.Context(), "by-hand", update.FromDevice, []update.Change{{Module: update.Module{Type: "os", Name: "linux"}, Removes: true}}, true); err != nil {
		t.Fatal(err)
	}
	s.wantAttributes(map[string]string{"hw": "rev2", ConsistentAttribute: "true", RemovesAttribute: "true"})
}

// TestSetThatAPersonInstallsIsReported: the server learns which of its sets the device runs, at the
// next connection.
func TestSetThatAPersonInstallsIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		set       update.Set
		isUnknown bool
	}{
		"a set of the server":               {set: update.Set{Name: "firmware", Version: "2"}},
		"a set that the server has not got": {set: update.Set{Name: "firmware", Version: "9"}, isUnknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "[ $GOSHAWK_VERSION != bad ]")
			s.offer("2")
			s.action(100, v1alpha1.ActionFinished)
			s.offer("3") // the device runs another set of the server
			s.action(101, v1alpha1.ActionFinished)
			s.untilConnected(true, "")
			s.answers(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
			install := func(version string, set *update.Set) (string, error) {
				m := update.Module{Type: "os", Name: "linux", Version: version}
				return s.agent.acceptByHand(t.Context(), Request{Changes: []update.Change{{Module: m}}, Set: set})
			}
			ended := func(version string, set *update.Set) {
				t.Helper()
				id, err := install(version, set)
				if err != nil {
					t.Fatal(err)
				}
				s.until(func() string {
					if d, _ := s.agent.Document(); d.Ended.ID != id {
						return "the update has not ended"
					}
					return ""
				})
			}
			pending := func() *update.Set {
				d, _ := s.agent.Document()
				return d.Set
			}
			ended("2", &tc.set)
			ended("bad", &update.Set{Name: "bad", Version: "1"}) // it fails, so the device runs the first one
			if got := pending(); got == nil || *got != tc.set {
				t.Errorf("without the server the set is %v", got)
			}
			s.stop()
			s.start(t.Context())
			s.answers(nil)
			s.until(func() string {
				if pending() != nil {
					return "the set is not reported"
				}
				return ""
			})
			s.untilConnected(true, "")
			var got []any
			for _, call := range s.backend.Calls() {
				if call.Method == "ReportInstalled" {
					got = append(got, call.Args...)
				}
			}
			if fmt.Sprint(got) != fmt.Sprintf("[%s %s]", tc.set.Name, tc.set.Version) {
				t.Errorf("the server has got %v", got)
			}
			if d, _ := s.agent.Document(); d.Installed[0].Version != "2" {
				t.Errorf("the device has %+v", d.Installed)
			}
			s.answers(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
			ended("2", &tc.set)
			ended("4", nil)
			if got := pending(); got != nil {
				t.Errorf("after an update of a person without a set it is %v", got)
			}
		})
	}
	s := newSite(t, "exit 0")
	for _, set := range []update.Set{{Name: "x"}, {Version: "1"}, {Name: strings.Repeat("x", 257), Version: "1"}} {
		if _, err := s.agent.acceptByHand(t.Context(), Request{Changes: []update.Change{{}}, Set: &set}); err == nil || !strings.Contains(err.Error(), "the distribution set needs a name and a version") {
			t.Errorf("set %v: %v", set, err)
		}
	}
}

// TestSuccessBesideAnInconsistentModule: each result says whether the device is inconsistent, also
// that of an update that has nothing to do with the reason.
func TestSuccessBesideAnInconsistentModule(t *testing.T) {
	s := newSite(t, "[ $GOSHAWK_NAME-$1 = linux-verify ] && exit 1\n[ $1 = rollback ] && exit 64\nexit 0")
	named := func(name string) func(*deviceapitest.Update) {
		return func(u *deviceapitest.Update) { u.Name, u.Modules[0].Name = name, name }
	}
	s.offer("2")
	s.action(100, v1alpha1.ActionError)
	s.offer("3", named("web"))
	if a := s.action(101, v1alpha1.ActionFinished); a.StatusCode != v1alpha1.CodeInconsistent || !strings.Contains(a.Message, "other software of the device is inconsistent") {
		t.Errorf("the action is %+v", a)
	}
	s.wantAttributes(map[string]string{"hw": "rev2", "sw.os.web": "3", ConsistentAttribute: "false", RemovesAttribute: "true"})
}

func TestRemovalByTheServer(t *testing.T) {
	for name, tc := range map[string]struct {
		module string // the name of the installed module
		remove deviceapi.Software
		calls  string
	}{
		"by the group, as the inventory has it": {"linux", deviceapi.Software{Group: "os", Name: "linux", Version: "2"}, "check download remove verify commit cleanup"},
		"by the type":                           {"linux", deviceapi.Software{Type: "os", Name: "linux", Version: "2"}, "check download remove verify commit cleanup"},
		"by both":                               {"linux", deviceapi.Software{Group: "os", Type: "os", Name: "linux", Version: "2"}, "check download remove verify commit cleanup"},
		"of a name with a dot":                  {"org.linux", deviceapi.Software{Group: "os.org", Name: "linux", Version: "2"}, "check download remove verify commit cleanup"},
		"of a name with a dot, and its type":    {"org.linux", deviceapi.Software{Group: "os.org", Type: "os", Name: "linux", Version: "2"}, "check download remove verify commit cleanup"},
		"of another version":                    {"linux", deviceapi.Software{Group: "os", Name: "linux", Version: "1"}, ""},
		"of another type":                       {"linux", deviceapi.Software{Group: "os", Type: "app", Name: "linux", Version: "2"}, ""},
		"of other software":                     {"linux", deviceapi.Software{Group: "os", Name: "web", Version: "2"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "exit 0")
			s.offer("2", func(u *deviceapitest.Update) { u.Modules[0].Name = tc.module })
			s.action(100, v1alpha1.ActionFinished)
			installed := s.calls()
			s.backend.SetUpdate(&deviceapitest.Update{Set: deviceapitest.Set{Name: "removal", Version: "1", Remove: []deviceapi.Software{tc.remove}}})
			s.poll()
			s.action(101, v1alpha1.ActionFinished)
			if got := strings.TrimSpace(strings.TrimPrefix(s.calls(), installed)); got != tc.calls {
				t.Errorf("calls: %s, want %s", got, tc.calls)
			}
			if got := s.state(); len(got.Installed) == 0 != (tc.calls != "") {
				t.Errorf("state: %+v", got)
			}
		})
	}
}

// TestUpdateAfterADownload: an update that was only to be downloaded has ended for the server, so
// the next update takes its place.
func TestUpdateAfterADownload(t *testing.T) {
	for name, tc := range map[string]struct {
		version, calls string
	}{
		"with the same content": {"2", "check download install verify commit cleanup"},
		"with another content":  {"3", "check download cleanup check download install verify commit cleanup"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "exit 0")
			s.offer("2", func(u *deviceapitest.Update) { u.DownloadOnly = true })
			s.action(100, v1alpha1.ActionFinished)
			if got := s.state(); got.Phase != update.Downloaded || len(got.Installed) > 0 {
				t.Fatalf("state: %+v", got)
			}
			s.offer(tc.version, func(u *deviceapitest.Update) { u.Name = "now" })
			s.until(func() string {
				s.poll()
				if a := s.backend.StoredAction(device, 101); a == nil || a.State != v1alpha1.ActionFinished {
					return fmt.Sprintf("the action is %+v", a)
				}
				return ""
			})
			if got := s.calls(); got != tc.calls {
				t.Errorf("calls: %s, want %s", got, tc.calls)
			}
			if got := s.state(); got.Last.ID != "101" || got.Installed[0].Version != tc.version {
				t.Errorf("state: %+v", got)
			}
		})
	}
}

// TestPollByHand: a poll that a person asks for does not wait for the interval, nor for the next
// attempt while the server cannot be used.
func TestPollByHand(t *testing.T) {
	s := newSite(t, "exit 0")
	polls := func() (n int) {
		for _, c := range s.backend.Calls() {
			if c.Method == "State" {
				n++
			}
		}
		return n
	}
	s.until(func() string {
		if polls() == 0 {
			return "the agent has not polled"
		}
		return ""
	})
	s.backend.SetErrors(map[string]error{"State": deviceapi.Unavailable{RetryAfter: time.Hour}})
	for range 3 {
		before := polls()
		s.poll()
		s.until(func() string {
			if polls() == before {
				return "the agent has not polled"
			}
			return ""
		})
	}
}

// polls waits until the agent has started a number of visits to the server.
func (s *site) polls(n int) {
	s.Helper()
	for range n {
		s.agent.mu.Lock()
		visits := s.agent.visits
		s.agent.mu.Unlock()
		s.until(func() string {
			s.poll()
			s.agent.mu.Lock()
			defer s.agent.mu.Unlock()
			if s.agent.visits == visits {
				return "the agent does not poll"
			}
			return ""
		})
	}
}

// counting is a disk that counts the files that are opened for writing.
type counting struct {
	disk.OS
	files atomic.Int32
}

func (c *counting) OpenFile(name string, flag int, mode os.FileMode) (disk.File, error) {
	c.files.Add(1)
	return c.OS.OpenFile(name, flag, mode)
}

// countWrites lets the agent of a new site write its state to a disk that counts the files.
func countWrites(t *testing.T) (*counting, func(*Config, *Agent)) {
	device := &counting{}
	return device, func(c *Config, a *Agent) {
		if a == nil {
			return
		}
		j, err := journal.Open(device, c.Folder, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		a.Journal = j
	}
}

// stored returns the state file, or an empty state if there is none.
func (s *site) stored() journal.State {
	s.Helper()
	var state journal.State
	data, err := os.ReadFile(filepath.Join(s.agent.Folder, journal.StateFile))
	if err != nil {
		return state
	}
	if err := json.Unmarshal(data, &state); err != nil {
		s.Fatal(err)
	}
	return state
}

// untilConnected waits until the agent says whether it is connected, and why it is not.
func (s *site) untilConnected(connected bool, failure string) journal.Connection {
	s.Helper()
	var got *journal.Connection
	s.until(func() string {
		if got = s.agent.Connection(); got == nil || got.Connected != connected || !strings.Contains(got.Error, failure) {
			return fmt.Sprintf("the connection is %+v, want %v %q", got, connected, failure)
		}
		return ""
	})
	return *got
}

func TestConnectionIsInTheState(t *testing.T) {
	s := newSite(t, "exit 0")
	s.listen()
	untilStored := func(want journal.Connection) {
		t.Helper()
		s.until(func() string {
			if c := s.stored().Server; c == nil || c.Connected != want.Connected || !c.Since.Equal(want.Since) || c.Address != s.server.URL+"/acme/controller/v1/dev1" {
				return fmt.Sprintf("the state file has %+v, want %+v", c, want)
			}
			return ""
		})
	}
	first := s.untilConnected(true, "")
	untilStored(first)
	if first.LastContact == nil {
		t.Error("there is no last contact")
	}
	s.answers(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusUnauthorized); return true })
	s.poll()
	away := s.untilConnected(false, "401 Unauthorized")
	untilStored(away)
	if away.LastContact == nil || away.LastContact.After(away.Since) {
		t.Errorf("the last contact is %v, and the connection was lost at %s", away.LastContact, away.Since)
	}
	s.polls(3)
	if c := s.untilConnected(false, "401 Unauthorized"); !c.Since.Equal(away.Since) {
		t.Errorf("a later visit changes the time from %s to %s", away.Since, c.Since)
	}
	var asked *journal.Connection
	if err := Ask(t.Context(), s.agent.Folder, "/connection", Request{}, &asked); err != nil || asked == nil || asked.Connected || !asked.Since.Equal(away.Since) {
		t.Errorf("the running agent says %+v, %v", asked, err)
	}
	s.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, strings.Repeat("\u00e9", 5000), http.StatusBadGateway)
		return true
	})
	s.untilConnected(false, "502")
	s.until(func() string {
		if c := s.stored().Server; !strings.Contains(c.Error, "502") || len(c.Error) > maxConnectionError {
			return fmt.Sprintf("the state file has %+v", c)
		}
		return ""
	})
	s.answers(nil)
	untilStored(s.untilConnected(true, ""))
}

// TestConnectionThatComesAndGoesIsNotWrittenEachTime checks the limit for a flash memory.
func TestConnectionThatComesAndGoesIsNotWrittenEachTime(t *testing.T) {
	device, adjust := countWrites(t)
	s := newSiteWith(t, "exit 0", adjust)
	s.untilConnected(true, "")
	before := device.files.Load()
	for i := range 3 * connectionBurst {
		why := fmt.Sprintf("reason %d.", i)
		s.answers(func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, why, http.StatusBadGateway)
			return true
		})
		s.poll()
		s.untilConnected(false, why)
		s.answers(nil)
		s.untilConnected(true, "")
	}
	if n := device.files.Load() - before; n > connectionBurst {
		t.Errorf("%d files were written, want %d at most", n, connectionBurst)
	}
	// The limit is over: the state file gets what is true now.
	s.agent.mu.Lock()
	s.agent.mayPublish = rate.NewLimiter(rate.Inf, 1)
	s.agent.mu.Unlock()
	s.answers(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	s.poll()
	s.until(func() string {
		if c := s.stored().Server; c == nil || c.Connected {
			return fmt.Sprintf("the state file has %+v", c)
		}
		return ""
	})
}

// TestPollsWriteNothing has an update that waits: neither its polls nor those of an idle device
// write to the disk.
func TestPollsWriteNothing(t *testing.T) {
	device, adjust := countWrites(t)
	s := newSiteWith(t, "[ $1 = install ] && { touch installing; while [ ! -e go ]; do sleep 0.01; done; }\nexit 0", adjust)
	s.untilConnected(true, "")
	s.polls(2)
	before := device.files.Load()
	s.polls(5)
	if n := device.files.Load() - before; n > 0 {
		t.Errorf("the polls of an idle device wrote %d files", n)
	}
	s.offer("2")
	s.until(func() string {
		if _, err := os.Stat(filepath.Join(s.folder, "installing")); err != nil {
			return "install is not called"
		}
		return ""
	})
	s.polls(2)
	before = device.files.Load()
	s.polls(5)
	if n := device.files.Load() - before; n > 0 {
		t.Errorf("the polls during an installation wrote %d files", n)
	}
	if err := os.WriteFile(filepath.Join(s.folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.action(100, v1alpha1.ActionFinished)
}

// TestAttributesThatTheServerRefuses has a value that is longer than the limit of hawkBit and
// Goshawk. It must not hide that the device is inconsistent.
func TestAttributesThatTheServerRefuses(t *testing.T) {
	s := newSiteWith(t, "exit 0", func(c *Config, _ *Agent) {
		c.Attributes["long"], c.Attributes["place"] = strings.Repeat("x", 129), "M\u00fcnchen"
	})
	s.wantAttributes(map[string]string{"hw": "rev2", ConsistentAttribute: "true", RemovesAttribute: "true"})
	s.untilConnected(true, "")
}

// TestMessageOfAnInconsistentDevice says what failed, and why it could not be rolled back.
func TestMessageOfAnInconsistentDevice(t *testing.T) {
	s := newSite(t, "case $1 in verify) echo does not start; exit 1;; rollback) echo the old image is lost; exit 1; esac")
	s.offer("2")
	a := s.action(100, v1alpha1.ActionError)
	for _, want := range []string{"does not start", "os linux could not be rolled back", "the old image is lost"} {
		if !strings.Contains(a.FailureMessage, want) {
			t.Errorf("the message is %q, want %q in it", a.FailureMessage, want)
		}
	}
}

// TestRelativePathsOfAConfiguration are relative to the folder of the file, wherever the agent and
// its handlers run.
func TestRelativePathsOfAConfiguration(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "config.yaml")
	content := `
folder: state
handlersFolder: /handlers
server: {url: "https://devices.example.com/fleet", clientCertificateFile: tls/crt, clientKeyFile: ./tls/key, caFile: ../ca}
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Folder, c.HandlersFolder, c.Server.ClientCertificateFile, c.Server.ClientKeyFile, c.Server.CAFile, c.Server.TargetTokenFile}
	want := []string{folder + "/state", "/handlers", folder + "/tls/crt", folder + "/tls/key", filepath.Dir(folder) + "/ca", ""}
	if !slices.Equal(got, want) {
		t.Errorf("the paths are %q, want %q", got, want)
	}
}
