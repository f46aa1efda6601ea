// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A commit installs an image on a device. The action is open until the device confirms that the new
// software works.
func TestSwupdateInstallsAndConfirms(t *testing.T) {
	for name, confirm := range map[string]func(s *story, id int32){
		"by a message to the running device": (*story).confirmByMessage,
		"by starting the new system":         func(s *story, _ int32) { s.confirm() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.commit("firmware", s.signer.build(t, "1.0", s.installed(), "firmware 1.0", 0))
			s.start()
			a := s.eventuallyInstalled("firmware 1.0")
			if a.State.IsClosed() {
				t.Fatalf("the action is %s before the device has confirmed it", a.State)
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
				t.Errorf("attributes are %v, want the identity of the device", target.Status.Attributes)
			}
			s.wantNothingOffered()
			s.wantNoSkip()
			s.wantAllOK()
		})
	}
}

// The script in the image fails. The device reports it at once, and the target is inconsistent.
func TestSwupdateFails(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.commit("firmware", s.signer.build(t, "1.1", s.installed(), "firmware 1.1", 1))
	s.start()
	r := s.EventuallyRollout("firmware", "has one failure", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.Failed == 1 && len(r.Status.Failures) == 1
	})
	f, a := r.Status.Failures[0], s.action()
	if f.Count != 1 || !slices.Equal(f.Examples, []string{s.name}) || f.StatusCode != "" {
		t.Errorf("the table of failures has %+v, want one failure of %s", f, s.name)
	}
	// swupdate closes with the same message for every failure. The cause is in the lines of its log
	// that it reports before.
	if a.FailureMessage == "" || a.FailureMessage == a.Message {
		t.Errorf("the failure message is %q and the message %q, want a line of the log as the failure message", a.FailureMessage, a.Message)
	}
	// The cause is the script of the image. Which lines of the log are the newest depends on how
	// swupdate distributes them to reports. On a busy machine it loses some of them, and adds
	// errors about messages between its own processes.
	missing := s.missing(http.MethodPost, "/feedback", "post.sh postinst  command returned 1")
	switch {
	case missing != "":
		t.Logf("the device has not reported the cause of its failure: %s", missing)
	case s.missing(http.MethodPost, "/feedback", "Error write on socket ctrl") == "":
		t.Log("the device has reported errors between its own processes, too")
	case !strings.Contains(f.Message, "<path> postinst command returned <n>") || !strings.Contains(a.FailureMessage, "post.sh postinst command returned 1"):
		t.Errorf("the table of failures has %q and the failure message is %q, want the line of the log about the script", f.Message, a.FailureMessage)
	}
	if len(a.Messages) == 0 {
		t.Error("the action has no messages")
	}
	target := s.Target(s.name)
	if a.State != v1alpha1.ActionError || target.Status.UpdateStatus != v1alpha1.UpdateStatusError {
		t.Errorf("the action is %s and the target %s, want Error twice", a.State, target.Status.UpdateStatus)
	}
	if target.Status.Installed != nil {
		t.Errorf("installed is %+v after a failure", target.Status.Installed)
	}
	if !isInconsistent(target) {
		t.Errorf("the target is consistent, but the image declares no rollback: %+v", target.Status.Conditions)
	}
	s.wantNoSkip()
	s.wantAllOK()
}

// The rollout is stopped when the device has only fetched its deployment. It is asked to cancel,
// and cancels.
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
	s.eventuallyReceive(looked, "the device to fetch its deployment")
	s.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "firmware"}}, "spec: {state: Stopped, stopCancellation: Soft}")
	s.Eventually("the device to be asked to cancel", func() string {
		if a := s.action(); a.State != v1alpha1.ActionCanceling {
			return "the action is " + string(a.State)
		}
		return ""
	})
	close(goOn)
	a := s.eventuallyCanceled()
	if missing := s.missing(http.MethodPost, fmt.Sprintf("/cancelAction/%d/feedback", a.ID), "closed"); missing != "" {
		t.Error(missing)
	}
	if _, err := os.Stat(s.installed()); err == nil {
		t.Error("the device has installed the canceled update")
	}
	s.wantNothingOffered()
	s.wantNoSkip()
}

// The rollout is stopped while the device downloads: it closes the connection, and reports that it
// has canceled.
func TestSwupdateCancelsItsDownload(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	i := s.signer.build(t, "1.6", s.installed(), "firmware 1.6", 0)
	i.trickles = make(chan struct{}, 1)
	s.commit("firmware", i)
	s.start()
	s.eventuallyReceive(i.trickles, "the device to download")
	s.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "firmware"}}, "spec: {state: Stopped, stopCancellation: Soft}")
	s.eventuallyCanceled()
	if _, err := os.Stat(s.installed()); err == nil {
		t.Error("the device has installed the canceled update")
	}
	s.wantNothingOffered()
	s.wantNoSkip()
}

// The set is invalidated with Force when the device has installed it and waits for its
// confirmation. The device reports that it has canceled, and still has the new files, so the target
// must be inconsistent. Then the next version makes it consistent.
func TestSwupdateIsInvalidatedAndFixed(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.commit("firmware", s.signer.build(t, "1.4", s.installed(), "firmware 1.4", 0))
	s.start()
	bad := s.eventuallyInstalled("firmware 1.4")
	s.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware"}}, "spec: {invalidation: {cancellation: Force, reason: bricks the modem}}")
	if a := s.eventuallyCanceled(); a.State != v1alpha1.ActionCanceled || a.Cancel.Cause != v1alpha1.CauseInvalidated {
		t.Errorf("the action is %s for the cause %s, want Canceled and Invalidated", a.State, a.Cancel.Cause)
	}
	if target := s.Target(s.name); !isInconsistent(target) || target.Status.Installed != nil {
		t.Errorf("inconsistent: %t, installed: %+v; want an inconsistent device", isInconsistent(target), target.Status.Installed)
	}
	s.wantNothingOffered()

	s.commit("fixed", s.signer.build(t, "1.5", s.installed(), "firmware 1.5", 0))
	good := s.eventuallyInstalled("firmware 1.5")
	if good.ID == bad.ID {
		t.Fatalf("both actions are %d", bad.ID)
	}
	s.confirm()
	s.EventuallyRollout("fixed", "finishes", world.InState(v1alpha1.RolloutFinished))
	target := s.Target(s.name)
	if i := target.Status.Installed; isInconsistent(target) || i == nil || i.DistributionSet != "fixed" || target.Status.UpdateStatus != v1alpha1.UpdateStatusInSync {
		t.Errorf("inconsistent: %t, %s, installed: %+v; want a device in sync with fixed", isInconsistent(target), target.Status.UpdateStatus, i)
	}
	s.wantNoSkip()
	s.wantAllOK()
}

func isInconsistent(t *v1alpha1.Target) bool {
	return meta.IsStatusConditionFalse(t.Status.Conditions, v1alpha1.ConditionConsistent)
}

// Images are on another host. By default swupdate sends its token to that host, which could then
// act as the device. With the option in docs/devices.md it does not.
func TestSwupdateKeepsItsTokenFromTheArtifactHost(t *testing.T) {
	for name, tt := range map[string]struct {
		option string
		sends  bool
	}{
		"by default":                  {"", true},
		"with the option in the docs": {"--disable-token-for-dwl", false},
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
			s.eventuallyInstalled("firmware 1.4")
			mu.Lock()
			defer mu.Unlock()
			for _, header := range sent {
				if (header != "") != tt.sends {
					t.Errorf("the artifact host got %q", header)
				}
			}
			if len(sent) == 0 {
				t.Error("the artifact host got no request")
			}
			s.wantAllOK()
		})
	}
}

// With delivery: Proxy the image comes from the device API, with the token of the device and, with
// the option in docs/devices.md, without it. The host of the image sees Goshawk only.
func TestSwupdateDownloadsThroughTheDeviceAPI(t *testing.T) {
	for name, option := range map[string]string{"with its token": "", "with the signed link": "--disable-token-for-dwl"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			text := strings.Repeat("firmware 1.5", 50_000)
			i := s.signer.build(t, "1.5", s.installed(), text, 0)
			var mu sync.Mutex
			var agents []string
			i.asked = func(r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				agents = append(agents, r.UserAgent()+r.Header.Get("Authorization"))
			}
			s.delivery = "delivery: Proxy, "
			s.commit("firmware", i)
			s.device = start(t, s.pairing, option)
			s.eventuallyInstalled(text)
			mu.Lock()
			defer mu.Unlock()
			for _, agent := range agents {
				if agent != "goshawk" {
					t.Errorf("the host of the image got a request of %q", agent)
				}
			}
			if len(agents) == 0 || len(s.wire.find(http.MethodGet, "/softwaremodules/firmware/artifacts/")) == 0 {
				t.Error("the image did not come through the device API")
			}
			s.wantAllOK()
		})
	}
}

// A maintenance window is closed: the device polls and is offered nothing. A commit opens the
// window, and the device installs.
func TestSwupdateWaitsForItsWindow(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.set("firmware", s.signer.build(t, "1.7", s.installed(), "firmware 1.7", 0))
	window := func(opens time.Time) string {
		return fmt.Sprintf(`spec: {assignment: {distributionSet: firmware, maintenanceWindow: {schedule: "%d %d * * *", durationSeconds: 3600}}}`, opens.UTC().Minute(), opens.UTC().Hour())
	}
	target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	s.Commit(target, window(time.Now().Add(12*time.Hour)))
	s.EventuallyTarget(s.name, "waits for its window", func(t *v1alpha1.Target) bool {
		c := world.Condition(t.Status.Conditions, v1alpha1.ConditionAssigned)
		return c != nil && c.Reason == v1alpha1.ReasonWaitingForDevice && strings.Contains(c.Message, "open from ")
	})
	s.start()
	for range 3 {
		s.wantNothingOffered()
	}
	if actions := s.Target(s.name).Status.Actions; len(actions) != 0 {
		t.Errorf("before the window opens the target has %+v", actions)
	}

	s.Commit(target, window(time.Now().Add(-10*time.Minute)))
	s.eventuallyInstalled("firmware 1.7")
	s.confirm()
	s.EventuallyTarget(s.name, "is in sync", func(t *v1alpha1.Target) bool { return t.Status.UpdateStatus == v1alpha1.UpdateStatusInSync })
	s.wantNothingOffered()
	s.wantNoSkip()
	s.wantAllOK()
}

// The greatest id that an action can have: swupdate reads it from the deployment, and reports with
// it as a number. It reports 2147483647 for an id that it cannot read, so no action has that id.
func TestSwupdateWithTheGreatestID(t *testing.T) {
	const greatest = math.MaxInt32 - 1
	t.Parallel()
	s := newStory(t)
	target := s.Target(s.name)
	patch := fmt.Sprintf(`{"status": {"nextActionID": %d}}`, greatest)
	if err := s.Client.Status().Patch(t.Context(), target, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
	s.commit("firmware", s.signer.build(t, "1.8", s.installed(), "firmware 1.8", 0))
	s.start()
	if id := s.eventuallyInstalled("firmware 1.8").ID; id != greatest {
		t.Errorf("the id of the action is %d", id)
	}
	s.confirm()
	s.EventuallyRollout("firmware", "finishes", world.InState(v1alpha1.RolloutFinished))
	for _, e := range s.wire.find(http.MethodPost, "/feedback") {
		if !strings.Contains(strings.ReplaceAll(e.asked, " ", ""), fmt.Sprintf(`"id":%d,`, greatest)) {
			t.Errorf("the device reports another id, or not a number: %s", e)
		}
	}
	s.wantNothingOffered()
	s.wantAllOK()
}

// The download breaks off in the middle. The device asks for the size first, and after the break
// for the rest only. A swupdate that ends while it downloads starts again from the beginning.
func TestSwupdateResumesItsDownload(t *testing.T) {
	for name, delivery := range map[string]string{"from the host of the image": "", "from the device API": "delivery: Proxy, "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			text := strings.Repeat("firmware 1.9", 50_000)
			i := s.signer.build(t, "1.9", s.installed(), text, 0)
			var mu sync.Mutex
			var asked []string
			cut := func(method, ranges string) bool {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, strings.TrimSpace(method+" "+ranges))
				return method == http.MethodGet && ranges == ""
			}
			if s.delivery = delivery; delivery == "" {
				i.cut = func(r *http.Request) bool { return cut(r.Method, r.Header.Get("Range")) }
			} else {
				s.wire.cutOff(func(e exchange) bool { return strings.Contains(e.path, "/artifacts/") && cut(e.method, e.ranges) })
			}
			s.commit("firmware", i)
			s.device = start(t, s.pairing, "-w 1")
			s.eventuallyInstalled(text)
			mu.Lock()
			defer mu.Unlock()
			if want := []string{"HEAD", "GET", fmt.Sprintf("GET bytes=%d-", len(i.content)/2)}; len(asked) < 3 || !slices.Equal(asked[len(asked)-3:], want) {
				t.Errorf("the device has asked for %q, want %q at the end", asked, want)
			}
		})
	}
}

// story has one device and one rollout for it.
type story struct {
	*world.World
	signer  signer
	wire    *wire
	name    string
	folder  string
	pairing pairing
	device  *device
	// canceled has the ids of actions that were canceled.
	canceled []string
	// delivery is a part of the spec of modules; empty for the default.
	delivery string
}

// newStory returns a story with the Target of its device, which has a target token.
func newStory(t *testing.T) *story {
	t.Helper()
	s := newStoryOf(t, "gateway-000")
	s.Targets("gateway", 1, nil)
	s.pairing.credentials = "-k " + world.Token
	return s
}

// newStoryOf returns a story without a Target and without credentials of its device.
func newStoryOf(t *testing.T, name string) *story {
	t.Helper()
	requireSwupdate(t)
	s := &story{World: world.New(t), signer: newSigner(t), folder: t.TempDir(), name: name}
	s.wire = newWire(t, s.DeviceAPI)
	s.pairing = pairing{deviceAPI: s.wire.url, tenant: s.Namespace, id: name, certificate: s.signer.certificate()}
	return s
}

// installed is the file that the images of this story install.
func (s *story) installed() string { return filepath.Join(s.folder, "root", "app.bin") }

// commit creates a module, a set and a rollout of this name for the image, and waits until the
// rollout is running. Later rollouts are newer.
func (s *story) commit(name string, i image) {
	s.T.Helper()
	s.set(name, i)
	s.ApplySpec("Rollout", name, fmt.Sprintf(`{update: {distributionSet: %s}, groupCount: 1, stabilizationSeconds: 1, startAt: %q}`, name, time.Now().UTC().Format(time.RFC3339)))
	s.EventuallyRollout(name, "runs", world.InState(v1alpha1.RolloutRunning))
}

// set creates a module and a set of this name for the image.
func (s *story) set(name string, i image) {
	s.T.Helper()
	s.Apply(fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: SoftwareModule
metadata: {name: %[1]s}
spec: {type: os, name: linux, version: %[1]s, %[3]sartifacts: [%[2]s]}
---
apiVersion: goshawk.dev/v1alpha1
kind: DistributionSet
metadata: {name: %[1]s}
spec: {name: gateway, version: %[1]s, type: full-image, modules: [{name: %[1]s}]}
`, name, i.serve(s.T), s.delivery))
}

func (s *story) start() {
	s.T.Helper()
	s.device = start(s.T, s.pairing, "")
}

// eventuallyInstalled waits until the device has the text, and has reported its installation for
// its newest action, which is returned. On a busy machine swupdate reports it before it has the
// text.
func (s *story) eventuallyInstalled(text string) (newest v1alpha1.Action) {
	s.T.Helper()
	s.Eventually("the image to be installed", func() string {
		actions := s.Target(s.name).Status.Actions
		if len(actions) == 0 {
			return "the target has no action"
		}
		newest = actions[len(actions)-1]
		if content, err := os.ReadFile(s.installed()); err != nil || string(content) != text {
			return fmt.Sprintf("the device has %d bytes (%v) instead of the firmware", len(content), err)
		}
		return s.missing(http.MethodPost, fmt.Sprintf("/deploymentBase/%d/feedback", newest.ID), "All Chunks Installed.")
	})
	return newest
}

// eventuallyCanceled waits until the rollout is stopped and the device has answered the request to
// cancel, and returns the action. The rollout does not wait for the answer.
func (s *story) eventuallyCanceled() (a v1alpha1.Action) {
	s.T.Helper()
	s.EventuallyRollout("firmware", "is stopped and its device canceled", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutStopped && r.Status.Targets != nil && r.Status.Targets.Canceled == 1
	})
	s.Eventually("the device to cancel", func() string {
		if a = s.action(); a.Cancel == nil || a.Cancel.Answer == "" {
			return fmt.Sprintf("the action is %s with cancel %+v", a.State, a.Cancel)
		}
		return ""
	})
	if a.State != v1alpha1.ActionCanceled || a.Cancel.Answer != v1alpha1.AnswerAccepted {
		s.T.Errorf("the action is %s with cancel %+v, want Canceled and Accepted", a.State, a.Cancel)
	}
	s.canceled = append(s.canceled, strconv.Itoa(int(a.ID)))
	return a
}

func (s *story) eventuallyReceive(c <-chan struct{}, what string) {
	s.T.Helper()
	s.Eventually(what, func() string {
		select {
		case <-c:
			return ""
		default:
			return "it does not"
		}
	})
}

// confirm starts the device as a device that has booted its new software and found it working.
func (s *story) confirm() {
	s.T.Helper()
	s.device.stop()
	s.device = start(s.T, s.pairing, "-c 2")
}

// confirmByMessage sends the running device the message that the software of an action works.
// swupdate has one connection for this and for polls, and no lock: a message that arrives during a
// poll is lost, and so are all later ones. So it is sent directly after a poll, long before the
// next.
func (s *story) confirmByMessage(id int32) {
	s.T.Helper()
	s.device.ipc("hawkbitcfg", "-p", "15") // from the next poll on
	before := s.wire.ended("/deploymentBase/")
	s.Eventually("one more poll", func() string {
		if s.wire.ended("/deploymentBase/") == before {
			return "there was none"
		}
		return ""
	})
	s.device.ipc("sendtohawkbit", strconv.Itoa(int(id)), "2", "success", "closed", "activated")
	s.device.ipc("hawkbitcfg", "-p", "1")
}

// action returns the action of the target. The test fails unless there is exactly one.
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

// missing returns a message if no request of this kind contains the words, and otherwise "".
func (s *story) missing(method, path, words string) string {
	for _, e := range s.wire.find(method, path) {
		if strings.Contains(e.asked, words) {
			return ""
		}
	}
	return fmt.Sprintf("no %s of %s contains %q", method, path, words)
}

// wantNothingOffered waits for the next poll, and fails the test if it offers anything.
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

// wantNoSkip fails the test if a deployment says skip, because swupdate then reports a success
// without an installation.
func (s *story) wantNoSkip() {
	s.T.Helper()
	fetched := s.wire.find(http.MethodGet, "/deploymentBase/")
	if len(fetched) == 0 {
		s.T.Error("the device never fetched its deployment")
	}
	for _, e := range fetched {
		if strings.Contains(e.answered, "skip") {
			s.T.Errorf("the deployment says skip: %s", e)
		}
	}
}

// wantAllOK fails the test if a response was not 200. The deployment of an action that was canceled
// between a poll and the request for its deployment is 404.
func (s *story) wantAllOK() {
	s.T.Helper()
	for _, e := range s.wire.all() {
		gone := e.status == http.StatusNotFound && e.method == http.MethodGet && slices.Contains(s.canceled, path.Base(e.path))
		if e.status != http.StatusOK && !gone {
			s.T.Errorf("want 200: %s", e)
		}
	}
}
