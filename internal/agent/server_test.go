// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
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
