// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/world"
)

// An image goes from a commit to a device: it is installed, waits for its confirmation, and only
// then counts.
func TestSwupdateInstallsAndConfirms(t *testing.T) {
	for name, confirm := range map[string]func(s *story, id int32){
		"by a word to the running device": func(s *story, id int32) { s.device.confirm(id) },
		"by starting the new system": func(s *story, _ int32) {
			s.device.stop()
			s.device = start(s.T, s.pairing, "-c 2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.commit("firmware", s.signer.build(t, "1.0", s.installed(), "firmware 1.0", 0))
			s.start()
			s.Eventually("the image to be installed", func() string { return s.missing(http.MethodPost, "/feedback", "All Chunks Installed.") })
			a := s.action()
			if a.State.IsClosed() {
				t.Fatalf("the action is %s before the device has confirmed it", a.State)
			}
			if content, err := os.ReadFile(s.installed()); err != nil || string(content) != "firmware 1.0" {
				t.Fatalf("the device has %q (%v) instead of the firmware", content, err)
			}

			confirm(s, a.ID)

			s.EventuallyRollout("firmware", "finishes", world.InState(v1alpha1.RolloutFinished))
			target := s.Target(s.name)
			if got := action(target, a.ID); got.State != v1alpha1.ActionFinished {
				t.Errorf("action %d is %s, want Finished", a.ID, got.State)
			}
			if i := target.Status.Installed; i == nil || i.DistributionSet != "firmware" || i.ActionID != a.ID {
				t.Errorf("installed is %+v, want firmware by action %d", i, a.ID)
			}
			if target.Status.UpdateStatus != v1alpha1.UpdateStatusInSync {
				t.Errorf("the target is %s, want InSync", target.Status.UpdateStatus)
			}
			if target.Status.Attributes["hwId"] != "demo" {
				t.Errorf("attributes are %v, want what the device identifies itself with", target.Status.Attributes)
			}
			s.wantNothingOffered()
			s.wantNoSkip()
			s.wantAll(http.StatusOK)
		})
	}
}

// The script in the image fails. The device says so at once, and nobody knows any more what runs on
// it.
func TestSwupdateFails(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.commit("firmware", s.signer.build(t, "1.1", s.installed(), "firmware 1.1", 1))
	s.start()
	r := s.EventuallyRollout("firmware", "has one failure", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.Failed == 1 && len(r.Status.Failures) == 1
	})
	// The image's own script gives the cause, in one of the log lines before the result; swupdate
	// closes with the same words whatever failed.
	if f := r.Status.Failures[0]; f.Count != 1 || !slices.Equal(f.Examples, []string{s.name}) || f.StatusCode != "" || !strings.Contains(f.Message, "<path> postinst command returned <n>") {
		t.Errorf("the table of failures has %+v, want one failure of %s, with the line of the log about the script", f, s.name)
	}
	if a := s.action(); !strings.Contains(a.FailureMessage, "post.sh postinst command returned 1") || !slices.ContainsFunc(a.Messages, func(m string) bool { return m == "ERROR : execute postinstall scripts failed" }) || a.Message == a.FailureMessage {
		t.Errorf("failure message %q, messages %q, message %q", a.FailureMessage, a.Messages, a.Message)
	}
	target := s.Target(s.name)
	if a := s.action(); a.State != v1alpha1.ActionError || target.Status.UpdateStatus != v1alpha1.UpdateStatusError {
		t.Errorf("the action is %s and the target %s, want Error twice", a.State, target.Status.UpdateStatus)
	}
	if target.Status.Installed != nil {
		t.Errorf("installed is %+v after a failure", target.Status.Installed)
	}
	if !isInDoubt(target) {
		t.Errorf("the device is not in doubt, and the image declares no rollback: %+v", target.Status.Conditions)
	}
	s.wantNoSkip()
	s.wantAll(http.StatusOK)
}

// The rollout is stopped when the device has only looked at its update. It is asked to cancel, and
// does.
func TestSwupdateCancels(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.commit("firmware", s.signer.build(t, "1.2", s.installed(), "firmware 1.2", 0))
	looked, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.wire.beforeAnswering(func(e exchange) {
		if !strings.Contains(e.path, "/deploymentBase/") {
			return
		}
		once.Do(func() { close(looked) })
		select {
		case <-goOn:
		case <-t.Context().Done():
		}
	})
	s.start()
	select {
	case <-looked:
	case <-time.After(time.Minute):
		t.Fatal("the device has not fetched its deployment")
	}
	s.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "firmware"}}, "spec: {state: Stopped, stopCancellation: Soft}")
	s.Eventually("the device to be asked to cancel", func() string {
		if a := s.action(); a.State != v1alpha1.ActionCanceling {
			return "the action is " + string(a.State)
		}
		return ""
	})
	close(goOn)
	s.EventuallyRollout("firmware", "is stopped and its device has canceled", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutStopped && r.Status.Targets != nil && r.Status.Targets.Canceled == 1
	})
	a := s.action()
	if a.State != v1alpha1.ActionCanceled || a.Cancel == nil || a.Cancel.Answer != v1alpha1.AnswerAccepted {
		t.Errorf("the action is %s with cancel %+v, want Canceled and Accepted", a.State, a.Cancel)
	}
	if missing := s.missing(http.MethodPost, fmt.Sprintf("/cancelAction/%d/feedback", a.ID), "closed"); missing != "" {
		t.Error(missing)
	}
	if _, err := os.Stat(s.installed()); err == nil {
		t.Error("the device has installed what was canceled")
	}
	s.wantNothingOffered()
	s.wantNoSkip()
}

// The rollout is stopped while the device downloads: it hangs up, and says that it has canceled.
func TestSwupdateCancelsItsDownload(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	i := s.signer.build(t, "1.6", s.installed(), "firmware 1.6", 0)
	i.trickles = make(chan struct{}, 1)
	s.commit("firmware", i)
	s.start()
	select {
	case <-i.trickles:
	case <-time.After(time.Minute):
		t.Fatal("the device does not download")
	}
	s.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "firmware"}}, "spec: {state: Stopped, stopCancellation: Soft}")
	s.EventuallyRollout("firmware", "is stopped and its device has canceled", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutStopped && r.Status.Targets != nil && r.Status.Targets.Canceled == 1
	})
	a := s.action()
	if a.State != v1alpha1.ActionCanceled || a.Cancel == nil || a.Cancel.Answer != v1alpha1.AnswerAccepted {
		t.Errorf("the action is %s with cancel %+v, want Canceled and Accepted", a.State, a.Cancel)
	}
	if _, err := os.Stat(s.installed()); err == nil {
		t.Error("the device has installed what was canceled")
	}
	s.wantNothingOffered()
	s.wantNoSkip()
}

// The set is invalidated by force when the device has it installed and waits for its confirmation.
// The device says that it has canceled, and still has the new files: nobody may believe that it is
// as it was. Then the next version fixes it.
func TestSwupdateIsInvalidatedAndMended(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.commit("firmware", s.signer.build(t, "1.4", s.installed(), "firmware 1.4", 0))
	s.start()
	s.Eventually("the image to be installed", func() string { return s.missing(http.MethodPost, "/feedback", "All Chunks Installed.") })
	bad := s.action()
	s.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware"}}, "spec: {invalidation: {cancellation: Force, reason: bricks the modem}}")
	s.EventuallyRollout("firmware", "is stopped", world.InState(v1alpha1.RolloutStopped))
	s.Eventually("the device to answer the cancel", func() string {
		if a := s.action(); a.Cancel == nil || a.Cancel.Answer != v1alpha1.AnswerAccepted {
			return fmt.Sprintf("the action is %s with cancel %+v", a.State, a.Cancel)
		}
		return ""
	})
	if a := s.action(); a.State != v1alpha1.ActionCanceled || a.Cancel.Cause != v1alpha1.CauseInvalidated {
		t.Errorf("the action is %s for the cause %s, want Canceled and Invalidated", a.State, a.Cancel.Cause)
	}
	if target := s.Target(s.name); !isInDoubt(target) || target.Status.Installed != nil {
		t.Errorf("in doubt: %t, installed: %+v; want a device that nobody is sure about", isInDoubt(target), target.Status.Installed)
	}
	s.wantNothingOffered()

	installedBefore := len(s.wire.find(http.MethodPost, "/feedback"))
	s.commit("fixed", s.signer.build(t, "1.5", s.installed(), "firmware 1.5", 0))
	s.Eventually("the next image to be installed", func() string {
		for _, e := range s.wire.find(http.MethodPost, "/feedback")[installedBefore:] {
			if strings.Contains(e.asked, "All Chunks Installed.") {
				return ""
			}
		}
		return "the device has not said so"
	})
	good := s.Target(s.name).Status.Actions[1]
	if good.ID == bad.ID {
		t.Fatalf("both actions are %d", bad.ID)
	}
	s.device.confirm(good.ID)
	s.EventuallyRollout("fixed", "finishes", world.InState(v1alpha1.RolloutFinished))
	target := s.Target(s.name)
	if i := target.Status.Installed; isInDoubt(target) || i == nil || i.DistributionSet != "fixed" || target.Status.UpdateStatus != v1alpha1.UpdateStatusInSync {
		t.Errorf("in doubt: %t, %s, installed: %+v; want a device in sync with fixed", isInDoubt(target), target.Status.UpdateStatus, i)
	}
	if content, err := os.ReadFile(s.installed()); err != nil || string(content) != "firmware 1.5" {
		t.Errorf("the device has %q (%v)", content, err)
	}
	s.wantNoSkip()
	s.wantAll(http.StatusOK)
}

func isInDoubt(t *v1alpha1.Target) bool {
	return meta.IsStatusConditionFalse(t.Status.Conditions, v1alpha1.ConditionConsistent)
}

// Images lie on another host. By default swupdate sends that host its token, by which the host
// could act as the device; with the option that docs/devices.md names it does not, and the host
// needs none.
func TestSwupdateKeepsItsTokenFromTheArtifactHost(t *testing.T) {
	for name, tt := range map[string]struct {
		option string
		sends  bool
	}{
		"by default":                         {"", true},
		"with the option that the docs name": {"--disable-token-for-dwl", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			var mu sync.Mutex
			var sent []string
			i := s.signer.build(t, "1.4", s.installed(), "firmware 1.4", 0)
			i.asked = func(r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, r.Header.Get("Authorization"))
			}
			s.commit("firmware", i)
			s.device = start(t, s.pairing, tt.option)
			s.Eventually("the image to be installed", func() string { return s.missing(http.MethodPost, "/feedback", "All Chunks Installed.") })
			mu.Lock()
			defer mu.Unlock()
			for _, header := range sent {
				if (header != "") != tt.sends {
					t.Errorf("the artifact host was sent %q", header)
				}
			}
			if len(sent) == 0 {
				t.Error("the artifact host was not asked")
			}
			s.wantAll(http.StatusOK)
		})
	}
}

// A device with a wrong token gets 401 and nothing else, and leaves no trace.
func TestSwupdateWithAWrongToken(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.commit("firmware", s.signer.build(t, "1.3", s.installed(), "firmware 1.3", 0))
	s.pairing.token = "guessed"
	s.start()
	s.Eventually("three polls", func() string {
		if polls := len(s.wire.find(http.MethodGet, "")); polls < 3 {
			return fmt.Sprintf("there were %d", polls)
		}
		return ""
	})
	s.device.stop()
	s.wantAll(http.StatusUnauthorized)
	status := s.Target(s.name).Status
	if status.LastSeen != nil || len(status.Actions) != 0 || len(status.Attributes) != 0 || status.UpdateStatus != v1alpha1.UpdateStatusUnknown {
		t.Errorf("a device that was refused left %+v", status)
	}
}

// story is one device and one rollout to it.
type story struct {
	*world.World
	signer  signer
	wire    *wire
	name    string
	folder  string
	pairing pairing
	device  *device
}

func newStory(t *testing.T) *story {
	t.Helper()
	requireSwupdate(t)
	s := &story{World: world.New(t), signer: newSigner(t), folder: t.TempDir()}
	s.wire = newWire(t, s.DeviceAPI)
	s.name = s.Targets("gateway", 1, nil)[0]
	s.pairing = pairing{deviceAPI: s.wire.url, tenant: s.Namespace, id: s.name, token: world.Token, certificate: s.signer.certificate()}
	return s
}

// installed is the file that the images of this story install.
func (s *story) installed() string { return filepath.Join(s.folder, "root", "app.bin") }

// commit brings an image to the device by module, set and rollout of this name, which is running
// when this returns. The time orders it among the others.
func (s *story) commit(name string, i image) {
	s.T.Helper()
	s.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: %[1]s}
spec: {type: os, name: linux, version: %[1]s, artifacts: [%[2]s]}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: %[1]s}
spec: {name: gateway, version: %[1]s, type: full-image, modules: [{name: %[1]s}]}
---
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %[1]s}
spec: {update: {distributionSet: %[1]s}, groupCount: 1, stabilizationSeconds: 1, startAt: %[3]q}
`, name, i.serve(s.T), time.Now().UTC().Format(time.RFC3339)))
	s.EventuallyRollout(name, "runs", world.InState(v1alpha1.RolloutRunning))
}

func (s *story) start() {
	s.T.Helper()
	s.device = start(s.T, s.pairing, "")
}

// action is the only one that the target ever had.
func (s *story) action() v1alpha1.Action {
	s.T.Helper()
	actions := s.Target(s.name).Status.Actions
	if len(actions) != 1 {
		s.T.Fatalf("the target has %d actions, want one", len(actions))
	}
	return actions[0]
}

func action(t *v1alpha1.Target, id int32) v1alpha1.Action {
	for _, a := range t.Status.Actions {
		if a.ID == id {
			return a
		}
	}
	return v1alpha1.Action{}
}

// missing says that no request of this kind has sent the words yet; empty: one has.
func (s *story) missing(method, path, words string) string {
	for _, e := range s.wire.find(method, path) {
		if strings.Contains(e.asked, words) {
			return ""
		}
	}
	return fmt.Sprintf("no %s of %s has said %q", method, path, words)
}

// wantNothingOffered waits for the next poll, which must find nothing to do.
func (s *story) wantNothingOffered() {
	s.T.Helper()
	before := len(s.wire.all())
	s.Eventually("one more poll", func() string {
		polls := s.wire.all()[before:]
		at := slices.IndexFunc(polls, func(e exchange) bool { return strings.HasSuffix(e.path, "/"+s.name) })
		if at < 0 {
			return "there was none"
		}
		if offered := polls[at].answered; strings.Contains(offered, "deploymentBase") || strings.Contains(offered, "cancelAction") {
			s.T.Fatalf("a device that is done is offered %s", offered)
		}
		return ""
	})
}

// wantNoSkip: swupdate would report a success without doing anything.
func (s *story) wantNoSkip() {
	s.T.Helper()
	fetched := s.wire.find(http.MethodGet, "/deploymentBase/")
	if len(fetched) == 0 {
		s.T.Error("the device never fetched its deployment")
	}
	for _, e := range fetched {
		if strings.Contains(e.answered, "skip") {
			s.T.Errorf("the device was told to skip: %s", e)
		}
	}
}

func (s *story) wantAll(status int) {
	s.T.Helper()
	for _, e := range s.wire.all() {
		if e.status != status {
			s.T.Errorf("want %d: %s", status, e)
		}
	}
}
