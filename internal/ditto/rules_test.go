// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

// Each story below is named after a rule of the specification of SoftwareUpdatable.

func TestInstallIsInvokedOnTheFeatureOfTheModuleType(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("os", "app", "software")
		w.offer("app")
		if c := d.command(wire.Install); c.Path != "/features/APP/inbox/messages/install" || c.Topic.String() != "fleet/dev-1/things/live/messages/install" {
			t.Errorf("the command is for %s of %s", c.Path, c.Topic)
		}
	})
}

func TestCommandHasEveryFieldOfSoftwareUpdateAction(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		s := set("app")
		s.Metadata = []deviceapi.Metadata{{Key: "release", Value: "stable"}}
		s.Modules[0].Metadata = []deviceapi.Metadata{{Key: "artifact-type", Value: "plain"}}
		w.backend.SetUpdate(&deviceapitest.Update{Set: s, Weight: 90})
		c := d.command(wire.Install)
		weight := int32(90)
		want := wire.UpdateAction{CorrelationID: fmt.Sprint(c.id()), Weight: &weight, Forced: true, Metadata: map[string]string{"release": "stable"}, Modules: []wire.ModuleAction{{
			Module: wire.ModuleID{Name: "app-1", Version: "1.2"}, Metadata: map[string]string{"artifact-type": "plain"}, Artifacts: []wire.ArtifactAction{{
				FileName: "app.bin", Size: 7, Checksums: map[string]string{"SHA1": "a1", "MD5": "b2", "SHA256": "c3"}, Download: map[string]wire.Links{
					"HTTPS": {URL: "https://files/app", MD5URL: "https://files/app.MD5SUM"}, "HTTP": {URL: "http://files/app"}}}}}}}
		if diff := cmp.Diff(want, c.update); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !c.Headers.ResponseRequired || c.Headers.ContentType != "application/json" || c.Headers.CorrelationID == "" {
			t.Errorf("the headers are %+v", c.Headers)
		}
	})
}

func TestForcedIsFalseForASoftUpdate(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(&deviceapitest.Update{Set: set("app"), Soft: true})
		if c := d.command(wire.Install); c.update.Forced || !strings.Contains(string(c.Value), `"forced":false`) {
			t.Errorf("the command is %s", c.Value)
		}
	})
}

func TestFilesOfTheDeviceAPIHaveItsLinks(t *testing.T) {
	story(t, func(w *world) {
		w.options.FileURL = func(device deviceapi.Device, moduleID, fileName string) string {
			return "https://goshawk/" + device.ControllerID + "/" + moduleID + "/" + fileName
		}
		w.crash(true)
		d := w.online("app")
		s := set("app")
		s.Modules[0].Artifacts[0].Proxied = true
		w.backend.SetUpdate(&deviceapitest.Update{Set: s})
		c := d.command(wire.Install)
		want := map[string]wire.Links{"HTTPS": {URL: "https://goshawk/dev-1/id-app/app.bin", MD5URL: "https://goshawk/dev-1/id-app/app.bin.MD5SUM"}}
		if diff := cmp.Diff(want, c.update.Modules[0].Artifacts[0].Download); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestModuleWithoutArtifactsIsSent(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		s := set("app")
		s.Modules[0].Artifacts = nil
		w.backend.SetUpdate(&deviceapitest.Update{Set: s})
		if c := d.command(wire.Install); len(c.update.Modules) != 1 || len(c.update.Modules[0].Artifacts) != 0 {
			t.Errorf("the command is %s", c.Value)
		}
	})
}

func TestCommandThatIsNotAcknowledgedIsRedeliveredAtEachConnection(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		id := d.command(wire.Install).id()
		time.Sleep(time.Hour)
		d.nothing("without a new connection")
		for range 3 {
			d.disconnect()
			d = w.online("app")
			if c := d.command(wire.Install); c.id() != id {
				t.Errorf("the action is %d after a connection, and was %d", c.id(), id)
			}
		}
		w.wantReports()
	})
}

func TestAcknowledgedCommandIsNotRedelivered(t *testing.T) {
	acknowledgements := map[string]func(d *device, c command){
		"a response":       func(d *device, c command) { d.respond(c, 204) },
		"another response": func(d *device, c command) { d.respond(c, 200) },
		"a report":         func(d *device, c command) { d.report(c.id(), wire.Downloading, "app") },
		"a result":         func(d *device, c command) { d.report(c.id(), wire.FinishedSuccess, "app") },
	}
	for name, acknowledge := range acknowledgements {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app")
				w.offer("app")
				c := d.command(wire.Install)
				acknowledge(d, c)
				d.disconnect()
				d = w.online("app")
				d.nothing("after a new connection")
				w.crash(true)
				d = w.online("app")
				d.nothing("after a restart of the process")
			})
		})
	}
}

// A response is read by its topic, because some devices send something else than an envelope.
func TestResponseWithAnotherPayloadAcknowledges(t *testing.T) {
	for name, payload := range map[string]string{"none": "", "a text": "OK", "an empty object": "{}", "null": "null", "another object": `{"status":204}`, "a feature that does not exist": `{"topic":"fleet/dev-1/things/live/messages/install","path":"/features/OTHER/outbox/messages/install","status":204}`} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app", "os")
				w.offer("app", "os")
				for _, c := range d.commands() {
					d.publish(c.topic.ResponseTopic(204), []byte(payload))
				}
				d.disconnect()
				d = w.online("app", "os")
				d.nothing("after a new connection")
			})
		})
	}
}

// A device that ends its subscription gets no command, and gets it after it has subscribed again.
func TestSubscriptionThatEnds(t *testing.T) {
	const long, short = "command///req/#", "c///q/#"
	for name, test := range map[string]struct {
		before, ended, after []string
		isReached            bool // in between
		want                 string
	}{
		"the same filter again":      {[]string{long}, []string{long}, []string{long}, false, long},
		"the short form after that":  {[]string{long}, []string{long}, []string{short}, false, short},
		"one of two forms":           {[]string{long, short}, []string{long}, nil, true, short},
		"one of two filters":         {[]string{"#", "command/#"}, []string{"#"}, nil, true, long},
		"a filter of something else": {[]string{long, "e"}, []string{"e"}, nil, true, long},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.connect(dev1)
				for _, filter := range test.before {
					d.subscribe(filter)
				}
				d.activate("app")
				time.Sleep(time.Minute)
				for _, filter := range test.ended {
					d.unsubscribe(filter)
				}
				w.offer("app")
				time.Sleep(time.Minute)
				if !test.isReached {
					d.nothing("without a subscription")
				}
				for _, filter := range test.after {
					d.subscribe(filter)
				}
				time.Sleep(time.Minute)
				if c := d.command(wire.Install); c.topic.IsShort != (test.want == short) {
					t.Errorf("the command is on %+v", c.topic)
				}
			})
		})
	}
}

func TestReportOfFeaturesAfterTheCommandDoesNotRedeliverAtOnce(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		d.command(wire.Install)
		d.activate("app")
		d.nothing("when the feature is reported at the same time as the command is sent")
		time.Sleep(time.Minute)
		d.command(wire.Install)
		time.Sleep(time.Hour)
		d.nothing("later")
	})
}

// TestDeviceRefusesACommand: the failure of the action has the code and the text of the device.
func TestDeviceRefusesACommand(t *testing.T) {
	for name, test := range map[string]struct {
		says wire.Error
		want string
	}{
		"a message":           {wire.Error{Code: wire.CodeWrongParameter, Message: "no space left"}, "the device refused the command with status 400: no space left"},
		"a description":       {wire.Error{Code: wire.CodeWrongParameter, Description: "only zip"}, "the device refused the command with status 400: only zip"},
		"both":                {wire.Error{Code: wire.CodeWrongParameter, Message: "wrong file", Description: "only zip"}, "the device refused the command with status 400: wrong file; only zip"},
		"neither, but a code": {wire.Error{Code: wire.CodeWrongParameter}, "the device refused the command with status 400"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app")
				w.offer("app")
				c := d.command(wire.Install)
				test.says.Status = 400
				d.respond(c, 400, test.says)
				w.wantState(c.id(), v1alpha1.ActionError)
				if a := w.action(c.id()); a.StatusCode != wire.CodeWrongParameter || a.Message != test.want || a.FailureMessage != test.want {
					t.Errorf("the action has the code %q, the message %q and the failure %q, want %q", a.StatusCode, a.Message, a.FailureMessage, test.want)
				}
			})
		})
	}
}

func TestDeviceThatIsBusyGetsTheCommandAgain(t *testing.T) {
	for _, status := range []int{408, 429, 503, 504} {
		story(t, func(w *world) {
			d := w.online("app")
			w.offer("app")
			c := d.command(wire.Install)
			d.respond(c, status)
			w.wantState(c.id(), v1alpha1.ActionRetrieved)
			d.disconnect()
			if again := w.online("app").command(wire.Install); again.id() != c.id() {
				t.Errorf("after status %d the action is %d, and was %d", status, again.id(), c.id())
			}
		})
	}
}

func TestDownloadThenInstall(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(&deviceapitest.Update{Set: set("app"), DownloadOnly: true})
		c := d.command(wire.Download)
		d.respond(c, 204)
		for _, status := range []string{wire.Started, wire.Downloading, wire.Downloaded, wire.FinishedSuccess, "DOWNLOADED_FILE_STORED"} {
			d.report(c.id(), status, "app")
		}
		w.wantState(c.id(), v1alpha1.ActionFinished)
		w.wantReports(action.Start, action.Download, action.Downloaded, action.Succeed) // and nothing after the result
	})
}

func TestDownloadThatReportsOnlyItsResult(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(&deviceapitest.Update{Set: set("app"), DownloadOnly: true})
		c := d.command(wire.Download)
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
		d.report(c.id(), wire.FinishedSuccess, "app")
		d.disconnect()
		w.online("app").report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
	})
}

func TestCancelIsAnsweredWithFinishedCanceled(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.respond(c, 204)
		w.backend.CancelUpdate(dev1)
		cancel := d.command(wire.Cancel)
		if cancel.id() != c.id() || len(cancel.update.Modules) != 1 || cancel.update.Modules[0].Module.Name != "app-1" || cancel.update.Modules[0].Artifacts != nil {
			t.Errorf("the cancel is %s", cancel.Value)
		}
		d.respond(cancel, 204)
		w.wantState(c.id(), v1alpha1.ActionCanceling)
		d.report(c.id(), wire.Canceling, "app")
		w.wantState(c.id(), v1alpha1.ActionCanceling)
		d.report(c.id(), wire.FinishedCanceled, "app")
		w.wantState(c.id(), v1alpha1.ActionCanceled)
	})
}

func TestCancelIsSentOncePerConnection(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.respond(c, 204)
		w.backend.CancelUpdate(dev1)
		d.command(wire.Cancel)
		d.report(c.id(), wire.Installing, "app")
		time.Sleep(time.Hour)
		d.nothing("without an answer to the cancel")
		d.disconnect()
		d = w.online("app")
		if again := d.command(wire.Cancel); len(again.update.Modules) != 1 {
			t.Errorf("the second cancel is %s", again.Value)
		}
		w.crash(true)
		d = w.online("app")
		if again := d.command(wire.Cancel); len(again.update.Modules) != 1 {
			t.Errorf("the cancel after a restart is %s", again.Value)
		}
	})
}

func TestCancelRejected(t *testing.T) {
	for name, reject := range map[string]func(d *device, c command, id int32){
		"with a status": func(d *device, _ command, id int32) {
			d.property("APP", "lastFailedOperation", status1(id, wire.CancelRejected, "app"))
			d.report(id, wire.CancelRejected, "app")
		},
		"because the device has no cancel": func(d *device, c command, _ int32) {
			d.respond(c, 404, wire.Error{Status: 404, Code: wire.CodeSubjectNotFound, Message: "subject not found"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app")
				w.offer("app")
				c := d.command(wire.Install)
				d.report(c.id(), wire.Installing, "app")
				w.backend.CancelUpdate(dev1)
				reject(d, d.command(wire.Cancel), c.id())
				w.wantState(c.id(), v1alpha1.ActionInstalling)
				d.nothing("after the cancel was rejected")
				d.report(c.id(), wire.FinishedSuccess, "app")
				w.wantState(c.id(), v1alpha1.ActionFinished)
				if n := len(w.calls("AnswerCancel")); n != 1 {
					t.Errorf("the cancel was answered %d times", n)
				}
			})
		})
	}
}

func TestSecondCauseOfACancelIsSentAgain(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		d.report(c.id(), wire.Installing, "app")
		for n, cause := range []v1alpha1.CancelCause{v1alpha1.CauseStopped, v1alpha1.CauseInvalidated} {
			w.backend.CancelFor(cause, dev1)
			d.command(wire.Cancel)
			d.report(c.id(), wire.CancelRejected, "app") // the same text as before
			w.wantState(c.id(), v1alpha1.ActionInstalling)
			if answers := len(w.calls("AnswerCancel")); answers != n+1 {
				t.Errorf("after cancel %d there are %d answers", n+1, answers)
			}
		}
	})
}

func TestFirstReportIsStoredAsAcknowledgement(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		for _, status := range []string{wire.Started, wire.Downloading, wire.Installing, wire.FinishedSuccess} {
			d.report(c.id(), status, "app")
		}
		if n := len(w.calls("Acknowledge")); n != 1 {
			t.Errorf("%d acknowledgements, want one before the first report", n)
		}
		w.offer("app", "app")
		d.report(d.command(wire.Install).id(), wire.FinishedSuccess, "app")
		if n := len(w.calls("Acknowledge")); n != 1 {
			t.Errorf("%d acknowledgements, want none for an action of which only the result is reported", n)
		}
	})
}

func TestStatusIsAlsoTheLastFailedOperation(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		failure := status1(c.id(), wire.FinishedError, "app")
		failure.Message, failure.StatusCode = "the link has expired", "URL_EXPIRED"
		progress := int32(30)
		failure.Progress = &progress
		d.property("APP", "lastFailedOperation", failure)
		d.property("APP", "lastOperation", failure)
		w.wantReports(action.Fail)
		if a := w.action(c.id()); a.State != v1alpha1.ActionError || a.StatusCode != "URL_EXPIRED" || a.Message != "the link has expired" || *a.Progress != 30 || a.Stage != wire.FinishedError {
			t.Errorf("the action is %s", pretty(a))
		}
		d.activate("app") // with lastOperation null, as after each connection
		w.wantState(c.id(), v1alpha1.ActionError)
		d.property("APP", "lastFailedOperation", nil)
		d.property("APP", "lastOperation", failure)
		w.wantReports(action.Fail)
	})
}

func TestEveryStatus(t *testing.T) {
	want := map[string]v1alpha1.ActionState{
		wire.Started: v1alpha1.ActionRetrieved, wire.Downloading: v1alpha1.ActionDownloading, wire.DownloadingWaiting: v1alpha1.ActionDownloading, wire.Downloaded: v1alpha1.ActionDownloaded,
		wire.Installing: v1alpha1.ActionInstalling, wire.InstallingWaiting: v1alpha1.ActionInstalling, wire.Installed: v1alpha1.ActionInstalling,
		wire.Removing: v1alpha1.ActionRemoving, wire.RemovingWaiting: v1alpha1.ActionRemoving, wire.Removed: v1alpha1.ActionRemoving,
		wire.Canceling: v1alpha1.ActionRetrieved, wire.CancelingWaiting: v1alpha1.ActionRetrieved, wire.CancelRejected: v1alpha1.ActionRetrieved,
		wire.FinishedCanceled: v1alpha1.ActionCanceled, wire.FinishedSuccess: v1alpha1.ActionFinished, wire.FinishedWarning: v1alpha1.ActionFinished,
		wire.FinishedError: v1alpha1.ActionError, wire.FinishedRejected: v1alpha1.ActionError,
		"DOWNLOADED_FILE_STORED": v1alpha1.ActionRetrieved, "SOMETHING_NEW": v1alpha1.ActionRetrieved,
	}
	for _, status := range append([]string{"DOWNLOADED_FILE_STORED", "SOMETHING_NEW"}, wire.Statuses...) {
		t.Run(status, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app")
				w.offer("app")
				c := d.command(wire.Install)
				d.report(c.id(), status, "app")
				w.wantState(c.id(), want[status])
				for range 3 { // it may be reported several times
					d.report(c.id(), status, "app")
				}
				w.wantState(c.id(), want[status])
			})
		})
	}
}

func TestAThousandReports(t *testing.T) {
	story(t, func(w *world) {
		w.options.Rates = deviceapi.Rates{Device: deviceapi.Rate{PerSecond: -1}}
		w.crash(true)
		d := w.online("app")
		w.offer("app")
		c := d.command(wire.Install)
		for i := range 1100 {
			o := status1(c.id(), wire.Downloading, "app")
			o.Message = fmt.Sprintf("line %d", i)
			d.property("APP", "lastOperation", o)
		}
		w.wantState(c.id(), v1alpha1.ActionDownloading)
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionFinished)
	})
}

func TestDeviceWithoutAFeatureForTheTypeIsAnErrorOfThatDevice(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("os")
		w.offer("os", "app")
		d.nothing("although one of two modules could be installed")
		time.Sleep(time.Minute) // for features that are reported late
		d.nothing("a minute later")
		refused := w.calls("Refuse")
		if len(refused) != 1 {
			t.Fatalf("the backend got the refusals %v", refused)
		}
		refusal := refused[0].Args[1].(deviceapi.Refusal)
		if want := "no feature of the device serves software modules of type app (app-1:1.2); its features serve os"; refusal.Code != v1alpha1.CodeNoFeature || refusal.Message != want {
			t.Errorf("the refusal is %+v, want the message %q", refusal, want)
		}
		w.wantState(refused[0].Args[0].(int32), v1alpha1.ActionError)
	})
}

func TestDeviceThatHasNotReportedFeaturesIsWaitedFor(t *testing.T) {
	story(t, func(w *world) {
		w.offer("app")
		d := w.online()
		time.Sleep(time.Hour)
		d.nothing("without features")
		if n := len(w.calls("Deployment")) + len(w.calls("Refuse")); n != 0 {
			t.Errorf("%d calls that create or refuse an action", n)
		}
		d.activate("os")
		d.nothing("with a feature for another type")
		d.activate("app")
		d.command(wire.Install)
		if refused := w.calls("Refuse"); len(refused) != 0 {
			t.Errorf("the backend got the refusals %v", refused)
		}
	})
}

func TestSeveralFeaturesOnOneDevice(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app", "os")
		w.offer("app", "os")
		got := d.commands()
		if len(got) != 2 || got[0].Path != "/features/APP/inbox/messages/install" || got[1].Path != "/features/OS/inbox/messages/install" || got[0].id() != got[1].id() {
			t.Fatalf("the commands are %s", pretty(got))
		}
		for i, name := range []string{"app-1", "os-1"} {
			if modules := got[i].update.Modules; len(modules) != 1 || modules[0].Module.Name != name {
				t.Errorf("command %d has the modules %s", i, pretty(modules))
			}
		}
		id := got[0].id()
		d.report(id, wire.FinishedSuccess, "app")
		w.wantState(id, v1alpha1.ActionRetrieved)
		d.report(id, wire.FinishedSuccess, "os")
		w.wantState(id, v1alpha1.ActionFinished)
	})
}

// A device must not have two features for one type. If it has, one of them gets the modules, always
// the same one.
func TestTwoFeaturesForOneType(t *testing.T) {
	for name, order := range map[string][]string{"in order": {"A", "B"}, "in reverse": {"B", "A"}} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online()
				for _, id := range order {
					d.publish("e", encoded(wire.ModifyFeature("fleet", "dev-1", id, wire.Feature{ModuleType: "app"})))
				}
				time.Sleep(time.Minute)
				w.offer("app")
				c := d.command(wire.Install)
				if c.Path != "/features/A/inbox/messages/install" {
					t.Errorf("the command is for %s", c.Path)
				}
				d.property("A", "lastOperation", status1(c.id(), wire.FinishedSuccess, "app"))
				w.wantState(c.id(), v1alpha1.ActionFinished)
			})
		})
	}
}

// The metadata of a set without modules may be the whole update.
func TestUpdateWithoutModules(t *testing.T) {
	update := func() *deviceapitest.Update {
		return &deviceapitest.Update{Set: deviceapitest.Set{Name: "settings", Version: "1", Metadata: []deviceapi.Metadata{{Key: "url", Value: "https://x"}}}}
	}
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(update())
		c := d.command(wire.Install)
		if !strings.Contains(string(c.Value), `"softwareModules":[]`) || c.update.Metadata["url"] != "https://x" {
			t.Errorf("the command is %s", c.Value)
		}
		d.property("APP", "lastOperation", wire.OperationStatus{CorrelationID: fmt.Sprint(c.id()), Status: wire.FinishedSuccess})
		w.wantState(c.id(), v1alpha1.ActionFinished)
	})
	story(t, func(w *world) {
		d := w.online("app", "os")
		time.Sleep(time.Minute)
		w.backend.SetUpdate(update())
		d.nothing("with two features")
		if refused := w.calls("Refuse"); len(refused) != 1 || !strings.Contains(refused[0].Args[1].(deviceapi.Refusal).Message, "no single feature") {
			t.Errorf("the backend got the refusals %v", refused)
		}
	})
}

func TestFeatureThatHasNotAcknowledgedGetsItsPartAgain(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app", "os")
		w.offer("app", "os")
		got := d.commands()
		d.respond(got[1], 204)
		d.disconnect()
		d = w.online("app", "os")
		if again := d.command(wire.Install); again.Path != got[0].Path {
			t.Errorf("the command for %s is sent again, want that for %s", again.Path, got[0].Path)
		}
	})
}

func TestFeatureThatRefusesItsPartFailsOnlyThat(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app", "os")
		w.offer("app", "os")
		got := d.commands()
		d.respond(got[0], 400, wire.Error{Status: 400, Code: wire.CodeWrongParameter, Message: "no"})
		w.wantState(got[0].id(), v1alpha1.ActionRetrieved)
		d.report(got[0].id(), wire.FinishedSuccess, "os")
		w.wantState(got[0].id(), v1alpha1.ActionError)
	})
}

// A status without softwareModule is about all modules of its feature.
func TestStatusWithoutAModule(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app", "os")
		w.offer("app", "os")
		id := d.commands()[0].id()
		d.property("APP", "lastOperation", wire.OperationStatus{CorrelationID: fmt.Sprint(id), Status: wire.FinishedSuccess})
		w.wantState(id, v1alpha1.ActionRetrieved)
		d.property("OS", "lastOperation", wire.OperationStatus{CorrelationID: fmt.Sprint(id), Status: wire.FinishedSuccess})
		w.wantState(id, v1alpha1.ActionFinished)
	})
}

func TestOperationOfOneFeatureWithSeveralModules(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		s := set("app")
		second := s.Modules[0]
		second.Name = "second"
		s.Modules = append(s.Modules, second)
		w.backend.SetUpdate(&deviceapitest.Update{Set: s})
		c := d.command(wire.Install)
		if len(c.update.Modules) != 2 {
			t.Fatalf("the command is %s", c.Value)
		}
		d.report(c.id(), wire.FinishedSuccess, "app")
		w.wantState(c.id(), v1alpha1.ActionRetrieved)
		d.property("APP", "lastOperation", wire.OperationStatus{CorrelationID: fmt.Sprint(c.id()), Status: wire.FinishedError, Module: &wire.ModuleID{Name: "second"}}) // without its version
		w.wantState(c.id(), v1alpha1.ActionError)
	})
}

func TestVersionsOfTheFeatureSideBySide(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/modify","path":"/features/OLD","value":{
			"definition":["org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0"],"properties":{"status":{"softwareModuleType":"os"}}}}`))
		w.offer("app")
		c := d.command(wire.Install)
		d.report(c.id(), wire.FinishedSuccess, "app")
		time.Sleep(time.Minute)
		w.offer("os")
		d.nothing("for a feature of version 1.0.0")
		time.Sleep(time.Minute)
		refused := w.calls("Refuse")
		if len(refused) != 1 || !strings.Contains(refused[0].Args[1].(deviceapi.Refusal).Message, "feature OLD has the definition org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0, which is not supported") {
			t.Errorf("the backend got the refusals %v", refused)
		}
		if got, ok := w.backend.Reported(dev1, "OLD"); !ok || got.Feature.Definition != "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0" {
			t.Errorf("the reported feature is %+v", got)
		}
	})
}

func TestDependenciesAreReported(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		d.property("APP", "installedDependencies", wire.DependencyMap{{Group: "acme.fw", Name: "app", Version: "1.2", Type: "app"}})
		d.property("APP", "contextDependencies", wire.DependencyMap{{Group: "system.cpu", Name: "architecture", Version: "arm64", Type: "hw-part"}})
		d.report(9, wire.FinishedSuccess, "app")
		got, ok := w.backend.Reported(dev1, "APP")
		if !ok || !cmp.Equal(got.Installed, []deviceapi.Software{{Group: "acme.fw", Name: "app", Version: "1.2", Type: "app"}}) ||
			!cmp.Equal(got.Context, []deviceapi.Software{{Group: "system.cpu", Name: "architecture", Version: "arm64", Type: "hw-part"}}) ||
			got.Feature.SoftwareModuleType != "app" || got.Feature.LastOperation == nil || got.Feature.LastOperation.Module != "app-1:1.2" {
			t.Errorf("the backend knows %s", pretty(got))
		}
		d.property("APP", "installedDependencies", wire.DependencyMap{})
		if got, _ := w.backend.Reported(dev1, "APP"); got.Installed == nil || len(got.Installed) != 0 {
			t.Errorf("the backend knows %s", pretty(got))
		}
	})
}

func TestSingleDependenciesAreReported(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/merge","path":"/features/APP/properties/status","value":{"installedDependencies":{
			"a.b:1":{"group":"a","name":"b","version":"1"},"c.d:2":null}}}`))
		calls := w.calls("Inventory")
		got := calls[len(calls)-1].Args[0].(deviceapi.Inventory)
		want := []deviceapi.SoftwareEdit{{Software: deviceapi.Software{Group: "a", Name: "b", Version: "1"}}, {Removed: true, Software: deviceapi.Software{Group: "c", Name: "d", Version: "2"}}}
		if !cmp.Equal(got.Edits, want) || got.Installed != nil {
			t.Errorf("the backend got %s", pretty(got))
		}
	})
}

func TestFeaturesThatAreRemoved(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app", "os", "third")
		d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/delete","path":"/features/OS"}`))
		if _, ok := w.backend.Reported(dev1, "OS"); ok {
			t.Error("a deleted feature is still known")
		}
		d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/modify","path":"/features","value":{"APP":{"properties":{"status":{"softwareModuleType":"app"}}}}}`))
		if _, ok := w.backend.Reported(dev1, "THIRD"); ok {
			t.Error("a feature that is missing in the new list is still known")
		}
		if _, ok := w.backend.Reported(dev1, "APP"); !ok {
			t.Error("the feature in the new list is not known")
		}
		d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/delete","path":"/"}`))
		if _, ok := w.backend.Reported(dev1, "APP"); ok {
			t.Error("a feature of a deleted thing is still known")
		}
	})
}

// SoftwareUpdatable has no confirmation, so the action says what to do.
func TestUpdateThatNeedsConfirmation(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(&deviceapitest.Update{Set: set("app"), Confirm: true})
		d.nothing("without a confirmation")
		denied := w.calls("Confirm")
		if len(denied) != 1 {
			t.Fatalf("the backend got the confirmations %v", denied)
		}
		id := denied[0].Args[0].(action.Report).ID
		w.wantState(id, v1alpha1.ActionWaitingForConfirmation)
		if a := w.action(id); !strings.Contains(a.Message, "set spec.autoConfirm of its Target to Always") {
			t.Errorf("the message is %q", a.Message)
		}
		time.Sleep(time.Minute)
		d.nothing("a minute later")
		if err := w.backend.ActivateAutoConfirm(w.Context(), dev1, deviceapi.AutoConfirm{}); err != nil {
			t.Fatal(err)
		}
		if c := d.command(wire.Install); c.id() != id {
			t.Errorf("the command is for action %d", c.id())
		}
	})
}

func removal(names ...string) *deviceapitest.Update {
	s := deviceapitest.Set{Name: "removal of " + strings.Join(names, " "), Version: "1"}
	for _, name := range names {
		s.Remove = append(s.Remove, deviceapi.Software{Group: "acme", Name: name, Version: "1", Type: "app"})
	}
	return &deviceapitest.Update{Set: s}
}

// removed reports a status of entries of a removal.
func (d *device) removed(id int32, status string, names ...string) {
	d.Helper()
	o := wire.OperationStatus{CorrelationID: fmt.Sprint(id), Status: status}
	for _, name := range names {
		o.Software = append(o.Software, wire.Dependency{Group: "acme", Name: name, Version: "1"})
	}
	d.property("APP", "lastOperation", o)
	wait()
}

func TestRemoval(t *testing.T) {
	type step struct {
		status string
		names  []string
	}
	entries := func(names ...string) []string { return names }
	tests := map[string]struct {
		steps []step
		want  v1alpha1.ActionState
	}{
		"success of all":               {[]step{{wire.Removing, entries("a", "b", "c")}, {wire.FinishedSuccess, entries("a", "b", "c")}}, v1alpha1.ActionFinished},
		"success without a list":       {[]step{{wire.Removing, nil}, {wire.FinishedSuccess, nil}}, v1alpha1.ActionFinished},
		"success entry by entry":       {[]step{{wire.FinishedSuccess, entries("a")}, {wire.FinishedSuccess, entries("b")}, {wire.FinishedSuccess, entries("c")}}, v1alpha1.ActionFinished},
		"REMOVED counts as success":    {[]step{{wire.Removed, entries("a")}, {wire.Removed, entries("b")}, {wire.Removed, entries("c")}}, v1alpha1.ActionFinished},
		"all failed":                   {[]step{{wire.FinishedError, entries("a", "b", "c")}}, v1alpha1.ActionError},
		"some failed, some succeeded":  {[]step{{wire.FinishedError, entries("b")}, {wire.FinishedSuccess, entries("a", "c")}}, v1alpha1.ActionError},
		"fail fast":                    {[]step{{wire.Removed, entries("a")}, {wire.FinishedRejected, entries("c")}, {wire.FinishedError, entries("b")}, {wire.FinishedSuccess, entries("a")}}, v1alpha1.ActionError},
		"an error is not overwritten":  {[]step{{wire.FinishedError, entries("a")}, {wire.FinishedSuccess, entries("a", "b", "c")}}, v1alpha1.ActionError},
		"waiting for one entry":        {[]step{{wire.Removed, entries("a")}, {wire.RemovingWaiting, entries("b")}}, v1alpha1.ActionRemoving},
		"one entry is missing":         {[]step{{wire.FinishedSuccess, entries("a", "b")}}, v1alpha1.ActionRetrieved},
		"other software is removed":    {[]step{{wire.Removed, entries("x")}, {wire.FinishedSuccess, entries("x", "y")}}, v1alpha1.ActionRetrieved},
		"canceled":                     {[]step{{wire.Removed, entries("a")}, {wire.FinishedCanceled, entries("b", "c")}}, v1alpha1.ActionCanceled},
		"the rest fails without names": {[]step{{wire.Removed, entries("a")}, {wire.FinishedError, nil}}, v1alpha1.ActionError},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app")
				w.backend.SetUpdate(removal("a", "b", "c"))
				c := d.command(wire.Remove)
				if len(c.remove.Software) != 3 || !c.remove.Forced || c.remove.Weight == nil || c.remove.Software[0] != (wire.Dependency{Group: "acme", Name: "a", Version: "1", Type: "app"}) {
					t.Fatalf("the command is %s", c.Value)
				}
				d.respond(c, 204)
				for _, s := range test.steps {
					d.removed(c.id(), s.status, s.names...)
				}
				w.wantState(c.id(), test.want)
			})
		})
	}
}

// Devices leave parts of the software out, or do not have the feature of an entry any more when
// they report its result.
func TestSoftwareOfARemovalAsDevicesReportIt(t *testing.T) {
	for name, test := range map[string]struct {
		reported []wire.Dependency
		want     v1alpha1.ActionState
	}{
		"all parts":                    {[]wire.Dependency{{Group: "acme", Name: "a", Version: "1"}, {Group: "acme", Name: "b", Version: "1", Type: "x"}}, v1alpha1.ActionFinished},
		"without versions":             {[]wire.Dependency{{Group: "acme", Name: "a"}, {Group: "acme", Name: "b"}}, v1alpha1.ActionFinished},
		"without groups":               {[]wire.Dependency{{Name: "a", Version: "1"}, {Name: "b", Version: "1"}}, v1alpha1.ActionFinished},
		"only names":                   {[]wire.Dependency{{Name: "a"}, {Name: "b"}}, v1alpha1.ActionFinished},
		"the same entry twice":         {[]wire.Dependency{{Name: "a"}, {Group: "acme", Name: "a", Version: "1"}}, v1alpha1.ActionRetrieved},
		"another version":              {[]wire.Dependency{{Group: "acme", Name: "a", Version: "2"}, {Group: "acme", Name: "b", Version: "1"}}, v1alpha1.ActionRetrieved},
		"a name that two entries have": {[]wire.Dependency{{Name: "twice"}}, v1alpha1.ActionRetrieved},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online("app", "os", "third")
				u := removal("a", "b")
				if strings.Contains(name, "two entries") {
					u = removal("twice", "twice")
					u.Set.Remove[1].Version = "2"
				}
				w.backend.SetUpdate(u)
				c := d.command(wire.Remove)
				d.respond(c, 204)
				w.crash(true)
				d = w.connect(dev1)
				d.subscribe("command///req/#")
				d.publish("e", []byte(`{"topic":"fleet/dev-1/things/twin/commands/delete","path":"/features/APP"}`))
				d.property("OS", "lastOperation", wire.OperationStatus{CorrelationID: fmt.Sprint(c.id()), Status: wire.FinishedSuccess, Software: test.reported})
				w.wantState(c.id(), test.want)
			})
		})
	}
}

func TestCancelRemove(t *testing.T) {
	story(t, func(w *world) {
		d := w.online("app")
		w.backend.SetUpdate(removal("a", "b"))
		c := d.command(wire.Remove)
		d.respond(c, 204)
		w.backend.CancelUpdate(dev1)
		cancel := d.command(wire.CancelRemove)
		if cancel.remove.CorrelationID != fmt.Sprint(c.id()) || len(cancel.remove.Software) != 2 {
			t.Errorf("the cancel is %s", cancel.Value)
		}
		d.removed(c.id(), wire.FinishedCanceled)
		w.wantState(c.id(), v1alpha1.ActionCanceled)
	})
}

func TestFeatureOfARemoval(t *testing.T) {
	for name, test := range map[string]struct {
		types []string
		typ   string
		want  string // the path, or "" for a refusal
	}{
		"that of the type":                    {[]string{"app", "os"}, "os", "/features/OS/inbox/messages/remove"},
		"the only one, for another type":      {[]string{"app"}, "image", "/features/APP/inbox/messages/remove"},
		"the only one, without a type":        {[]string{"app"}, "", "/features/APP/inbox/messages/remove"},
		"none of several, without a type":     {[]string{"app", "os"}, "", ""},
		"none of several, for another type":   {[]string{"app", "os"}, "image", ""},
		"that of the type, of several others": {[]string{"app", "os", "image"}, "image", "/features/IMAGE/inbox/messages/remove"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				d := w.online(test.types...)
				time.Sleep(time.Minute)
				u := removal("a")
				u.Set.Remove[0].Type = test.typ
				w.backend.SetUpdate(u)
				if test.want != "" {
					if c := d.command(wire.Remove); c.Path != test.want {
						t.Errorf("the command is for %s", c.Path)
					}
					return
				}
				d.nothing("without a feature")
				if refused := w.calls("Refuse"); len(refused) != 1 || !strings.Contains(refused[0].Args[1].(deviceapi.Refusal).Message, "its features serve app, os") {
					t.Errorf("the backend got the refusals %v", refused)
				}
			})
		})
	}
}
