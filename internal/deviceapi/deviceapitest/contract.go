// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapitest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// World is a backend with one device, on which a user wants one update. The update is the set
// firmware 1.0 with at least one module, which has at least one artifact. There are also the sets
// firmware 0.9, which can be deployed, and broken 1.0, which cannot.
type World struct {
	Backend deviceapi.Backend
	Device  deviceapi.Device
	Token   string
	// CancelUpdate makes the user cancel the update; the device is asked if it has started.
	CancelUpdate func()
	// Delete deletes the device.
	Delete func()
	// Wait lets time pass.
	Wait func(time.Duration)
}

// Setup is how a World starts.
type Setup struct {
	// Confirm means that the update needs a confirmation at the device.
	Confirm bool
	// DownloadOnly means that the device does not install the update.
	DownloadOnly bool
	// Starting means that the backend has not read its objects yet.
	Starting bool
}

// contract contains the errors that each method of a Backend may return, as their documentation
// says. Run finds each of them, and no other.
var contract = map[string][]string{
	"Authorize":             {"Unauthorized", "Unavailable"},
	"State":                 {"NotFound", "Unavailable"},
	"Deployment":            {"NotFound", "TooMany", "Unavailable"},
	"Acknowledge":           {"Gone", "NotFound", "Unavailable"},
	"Refuse":                {"Gone", "NotAllowed", "NotFound", "Unavailable"},
	"Preview":               {"NotFound", "Unavailable"},
	"Installed":             {"NotFound", "Unavailable"},
	"Cancel":                {"NotFound", "Unavailable"},
	"Command":               {"NotFound", "Unavailable"},
	"Report":                {"Gone", "NotFound", "TooMany", "Unavailable"},
	"AnswerCancel":          {"NotAllowed", "NotFound", "TooMany", "Unavailable"},
	"Consent":               {"NotFound", "Unavailable"},
	"Confirmation":          {"NotFound", "TooMany", "Unavailable"},
	"Confirm":               {"Gone", "NotFound", "TooMany", "Unavailable"},
	"ActivateAutoConfirm":   {"Conflict", "NotFound", "TooMany", "Unavailable"},
	"DeactivateAutoConfirm": {"NotFound", "TooMany", "Unavailable"},
	"Attributes":            {"BadRequest", "NotFound", "TooMany", "Unavailable"},
	"Inventory":             {"BadRequest", "NotFound", "TooMany", "Unavailable"},
	"Features":              {"NotFound", "Unavailable"},
	"ReportInstalled":       {"BadRequest", "NotFound", "TooMany", "Unavailable"},
	"Artifacts":             {"NotFound", "Unavailable"},
	"ArtifactFetched":       {"NotFound", "Unavailable"},
}

// Run checks that the backends that open returns keep the contract of deviceapi.Backend.
func Run(t *testing.T, open func(*testing.T, Setup) World) {
	seen := &observed{errors: map[string]map[string]bool{}}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			w := open(t, story.setup)
			story.run(&player{T: t, World: w, seen: seen})
		})
	}
	if t.Failed() {
		return
	}
	backend := reflect.TypeFor[deviceapi.Backend]()
	for i := range backend.NumMethod() {
		name := backend.Method(i).Name
		if diff := cmp.Diff(contract[name], slices.Sorted(maps.Keys(seen.errors[name]))); diff != "" {
			t.Errorf("errors of %s (-documented +returned):\n%s", name, diff)
		}
	}
}

// observed are the errors that methods have returned.
type observed struct {
	mu     sync.Mutex
	errors map[string]map[string]bool
}

func (o *observed) note(method string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.errors[method] == nil {
		o.errors[method] = map[string]bool{}
	}
	if err != nil {
		o.errors[method][kindOf(err)] = true
	}
}

// kindOf returns the name of an error of a Backend, or its text.
func kindOf(err error) string {
	if _, ok := errors.AsType[deviceapi.BadRequest](err); ok {
		return "BadRequest"
	}
	if _, ok := errors.AsType[deviceapi.Unavailable](err); ok {
		return "Unavailable"
	}
	for name, known := range map[string]error{
		"Unauthorized": deviceapi.ErrUnauthorized, "NotFound": deviceapi.ErrNotFound, "NotAllowed": deviceapi.ErrNotAllowed,
		"Conflict": deviceapi.ErrConflict, "Gone": deviceapi.ErrGone, "TooMany": deviceapi.ErrTooMany,
	} {
		if errors.Is(err, known) {
			return name
		}
	}
	if err == nil {
		return "nil"
	}
	return err.Error()
}

// player plays the device of a World.
type player struct {
	*testing.T
	World
	seen *observed
}

// want fails the test unless the error of a method is of a kind; "nil" for none.
func (p *player) want(kind, method string, err error) {
	p.Helper()
	p.seen.note(method, err)
	if got := kindOf(err); got != kind {
		p.Errorf("%s returned %s (%v), want %s", method, got, err, kind)
	}
}

func (p *player) state() deviceapi.State {
	p.Helper()
	state, err := p.Backend.State(p.Context(), p.Device, "192.0.2.7")
	p.want("nil", "State", err)
	return state
}

func (p *player) consent() deviceapi.Consent {
	p.Helper()
	consent, err := p.Backend.Consent(p.Context(), p.Device, "192.0.2.7")
	p.want("nil", "Consent", err)
	return consent
}

// wantOffer fails the test unless exactly these ids are on offer; zero: none.
func (p *player) wantOffer(cancel, confirm, deploy int32) {
	p.Helper()
	s := p.state()
	if got, want := [3]int32{s.CancelID, s.ConfirmID, s.DeployID}, [3]int32{cancel, confirm, deploy}; got != want {
		p.Errorf("the offer of cancel, confirmation and deployment is %v, want %v", got, want)
	}
}

func (p *player) deployment(want string, id int32) deviceapi.Deployment {
	p.Helper()
	d, err := p.Backend.Deployment(p.Context(), p.Device, id)
	p.want(want, "Deployment", err)
	return d
}

func (p *player) preview(want string, id int32, isConfirmation bool) deviceapi.Deployment {
	p.Helper()
	d, err := p.Backend.Preview(p.Context(), p.Device, id, isConfirmation)
	p.want(want, "Preview", err)
	return d
}

func (p *player) installed(want string, id int32) deviceapi.Deployment {
	p.Helper()
	d, err := p.Backend.Installed(p.Context(), p.Device, id)
	p.want(want, "Installed", err)
	return d
}

func (p *player) command(want string, id int32) deviceapi.Deployment {
	p.Helper()
	d, err := p.Backend.Command(p.Context(), p.Device, id)
	p.want(want, "Command", err)
	return d
}

func (p *player) confirmation(want string, id int32) deviceapi.Deployment {
	p.Helper()
	d, err := p.Backend.Confirmation(p.Context(), p.Device, id)
	p.want(want, "Confirmation", err)
	return d
}

func (p *player) cancel(want string, id int32) {
	p.Helper()
	p.want(want, "Cancel", p.Backend.Cancel(p.Context(), p.Device, id))
}

// pendingCancel fails the test unless PendingCancel returns this action, or none for zero.
func (p *player) pendingCancel(want int32) {
	p.Helper()
	switch d, ok := p.Backend.PendingCancel(p.Device); {
	case ok != (want != 0), d.ID != want:
		p.Errorf("PendingCancel returned %d (%t), want %d", d.ID, ok, want)
	case ok && (len(d.Modules) == 0 || d.Created):
		p.Errorf("PendingCancel returned %+v, want the modules of the action", d)
	}
}

func (p *player) acknowledge(want string, id int32) {
	p.Helper()
	p.want(want, "Acknowledge", p.Backend.Acknowledge(p.Context(), p.Device, id, "the device accepted the command"))
}

func (p *player) refuse(want string, id int32) {
	p.Helper()
	refusal := deviceapi.Refusal{Code: v1alpha1.CodeNoFeature, Message: "the device has no feature for modules of type os"}
	p.want(want, "Refuse", p.Backend.Refuse(p.Context(), p.Device, id, refusal))
}

func (p *player) report(want string, id int32, event action.Event, details ...string) {
	p.Helper()
	p.want(want, "Report", p.Backend.Report(p.Context(), p.Device, action.Report{ID: id, Event: event, Details: details}))
}

func (p *player) answerCancel(want string, id int32, event action.Event) {
	p.Helper()
	p.want(want, "AnswerCancel", p.Backend.AnswerCancel(p.Context(), p.Device, action.Report{ID: id, Event: event}))
}

func (p *player) confirm(want string, id int32, event action.Event) {
	p.Helper()
	p.want(want, "Confirm", p.Backend.Confirm(p.Context(), p.Device, action.Report{ID: id, Event: event}))
}

func (p *player) activate(want string) {
	p.Helper()
	p.want(want, "ActivateAutoConfirm", p.Backend.ActivateAutoConfirm(p.Context(), p.Device, deviceapi.AutoConfirm{Initiator: "ada", Remark: "night shift"}))
}

func (p *player) deactivate(want string) {
	p.Helper()
	p.want(want, "DeactivateAutoConfirm", p.Backend.DeactivateAutoConfirm(p.Context(), p.Device))
}

func (p *player) attributes(want string, mode deviceapi.AttributesMode, values map[string]*string) error {
	p.Helper()
	err := p.Backend.Attributes(p.Context(), p.Device, deviceapi.Attributes{Mode: mode, Values: values})
	p.want(want, "Attributes", err)
	return err
}

func (p *player) reportInstalled(want, name, version string) bool {
	p.Helper()
	created, err := p.Backend.ReportInstalled(p.Context(), p.Device, name, version)
	p.want(want, "ReportInstalled", err)
	return created
}

func (p *player) artifacts(want, module string) deviceapi.Module {
	p.Helper()
	m, err := p.Backend.Artifacts(p.Context(), p.Device, module)
	p.want(want, "Artifacts", err)
	return m
}

func (p *player) artifactFetched(want, module string) {
	p.Helper()
	p.want(want, "ArtifactFetched", p.Backend.ArtifactFetched(p.Context(), p.Device, module))
}

// start starts the update that is on offer.
func (p *player) start() deviceapi.Deployment {
	p.Helper()
	id := p.state().DeployID
	if id == 0 {
		p.Fatal("no deployment is on offer")
	}
	d := p.deployment("nil", id)
	if d.ID != id || len(d.Modules) == 0 || len(d.Modules[0].Artifacts) == 0 {
		p.Fatalf("the deployment of action %d is %+v", id, d)
	}
	return d
}

// spend makes the device cause writes until it has used its budget, and returns the error.
func (p *player) spend() deviceapi.TooMany {
	p.Helper()
	for i := range 1000 {
		err := p.Backend.Attributes(p.Context(), p.Device, deviceapi.Attributes{Values: map[string]*string{"count": new(fmt.Sprint(i))}})
		if err == nil {
			continue
		}
		p.want("TooMany", "Attributes", err)
		refused, ok := errors.AsType[deviceapi.TooMany](err)
		if !ok || refused.Reason == "" || refused.RetryAfter <= 0 {
			p.Fatalf("the refusal is %#v, want a reason and a time after which to try again", err)
		}
		return refused
	}
	p.Fatal("a device may cause 1000 writes at once")
	return deviceapi.TooMany{}
}

const unknownID = 2147483647

// everyMethod calls all methods but Authorize, and expects the same error of each.
func (p *player) everyMethod(want string) {
	p.Helper()
	_, err := p.Backend.State(p.Context(), p.Device, "")
	p.want(want, "State", err)
	_, err = p.Backend.Consent(p.Context(), p.Device, "")
	p.want(want, "Consent", err)
	p.deployment(want, 1)
	p.preview(want, 1, false)
	p.preview(want, 1, true)
	p.installed(want, 1)
	p.cancel(want, 1)
	p.pendingCancel(0)
	p.command(want, 1)
	p.acknowledge(want, 1)
	p.refuse(want, 1)
	p.report(want, 1, action.Succeed)
	p.answerCancel(want, 1, action.CancelAccepted)
	p.confirmation(want, 1)
	p.confirm(want, 1, action.Confirm)
	p.activate(want)
	p.deactivate(want)
	_ = p.attributes(want, deviceapi.MergeAttributes, map[string]*string{"hw": new("B")})
	p.want(want, "Inventory", p.Backend.Inventory(p.Context(), p.Device, deviceapi.Inventory{Feature: deviceapi.Feature{ID: "SoftwareUpdatable"}}))
	p.want(want, "Features", second(p.Backend.Features(p.Context(), p.Device)))
	p.reportInstalled(want, "firmware", "1.0")
	p.artifacts(want, "linux")
	p.artifactFetched(want, "linux")
	p.Backend.ArtifactFailed(p.Context(), p.Device, "linux", "rootfs.swu", "it returns 404 Not Found") // returns no error
}

// stories are the contract. Each one starts with a new World.
var stories = map[string]struct {
	setup Setup
	run   func(*player)
}{
	"credentials": {run: func(p *player) {
		other, elsewhere := p.Device, p.Device
		other.ControllerID, elsewhere.Namespace = "unknown", "elsewhere"
		for name, tc := range map[string]struct {
			device deviceapi.Device
			token  string
			want   string
		}{
			"the right token":                   {p.Device, p.Token, "nil"},
			"a wrong token":                     {p.Device, p.Token + "x", "Unauthorized"},
			"no token":                          {p.Device, "", "Unauthorized"},
			"an unknown device":                 {other, p.Token, "Unauthorized"},
			"the same id in another namespace":  {elsewhere, p.Token, "Unauthorized"},
			"an unknown device without a token": {other, "", "Unauthorized"},
			"a device whose id differs in case": {deviceapi.Device{Namespace: p.Device.Namespace, ControllerID: strings.ToUpper(p.Device.ControllerID)}, p.Token, "Unauthorized"},
		} {
			err := p.Backend.Authorize(p.Context(), tc.device, deviceapi.Credentials{TargetToken: tc.token})
			p.seen.note("Authorize", err)
			if got := kindOf(err); got != tc.want {
				p.Errorf("%s: %s, want %s", name, got, tc.want)
			}
		}
		asGateway := p.Backend.Authorize(p.Context(), p.Device, deviceapi.Credentials{GatewayToken: p.Token})
		p.want("Unauthorized", "Authorize", asGateway)
	}},
	"a backend that starts": {setup: Setup{Starting: true}, run: func(p *player) {
		p.want("Unavailable", "Authorize", p.Backend.Authorize(p.Context(), p.Device, deviceapi.Credentials{TargetToken: p.Token}))
		p.everyMethod("Unavailable")
	}},
	"a device that is deleted": {run: func(p *player) {
		p.Delete()
		p.want("Unauthorized", "Authorize", p.Backend.Authorize(p.Context(), p.Device, deviceapi.Credentials{TargetToken: p.Token}))
		p.everyMethod("NotFound")
	}},
	"an update that succeeds": {run: func(p *player) {
		offered := p.state()
		if offered.Sleep <= 0 || offered.DeployID == 0 || offered.CancelID != 0 || offered.ConfirmID != 0 || offered.InstalledID != 0 || offered.CacheBuster == "" {
			p.Fatalf("the first state is %+v", offered)
		}
		if again := p.state(); again.DeployID != offered.DeployID || again.CacheBuster != offered.CacheBuster {
			p.Errorf("the second state is %+v, the first one %+v", again, offered)
		}
		id := offered.DeployID
		p.report("NotFound", id, action.Proceed) // it has not started
		p.installed("NotFound", id)
		p.confirmation("NotFound", id)
		p.confirm("Gone", id, action.Confirm) // the report has used up the id
		p.cancel("NotFound", id)

		if id = p.start().ID; id == offered.DeployID {
			p.Errorf("the action has the id %d, which the device has reported on before", id)
		}
		if d := p.deployment("nil", id); d.DownloadOnly || d.History.State != string(v1alpha1.ActionRetrieved) {
			p.Errorf("the second deployment is %+v", d)
		}
		p.deployment("NotFound", id+1)
		p.installed("NotFound", id)
		p.confirm("NotFound", id, action.Confirm)
		p.answerCancel("NotAllowed", id, action.CancelAccepted)
		p.report("nil", id, action.Download, "loads the image")
		p.report("nil", id, action.Proceed, "writes the image")
		if h := p.deployment("nil", id).History; h.State != string(v1alpha1.ActionRunning) || !slices.Equal(h.Messages, []string{"writes the image", "loads the image"}) {
			p.Errorf("the history is %+v, want the newest message first", h)
		}
		p.report("nil", id, action.Succeed, "restarted")
		p.report("Gone", id, action.Succeed)
		p.report("Gone", id, action.Proceed)

		p.wantOffer(0, 0, 0)
		if s := p.state(); s.InstalledID != id || !s.WantAttributes {
			p.Errorf("after the success the state is %+v", s)
		}
		after := p.installed("nil", id)
		if after.ID != id || len(after.Modules) == 0 || after.History.State != string(v1alpha1.ActionFinished) {
			p.Errorf("the installed action is %+v", after)
		}
		if m := after.History.Messages; len(m) == 0 || m[0] != "restarted" {
			p.Errorf("the messages are %q, want the newest first", m)
		}
		p.deployment("nil", id)
		p.artifacts("nil", after.Modules[0].ID)
		p.artifactFetched("nil", after.Modules[0].ID)
	}},
	"a preview": {run: func(p *player) {
		id := p.state().DeployID
		p.preview("NotFound", id, true)
		p.preview("NotFound", id+1, false)
		p.preview("nil", id, false)
		p.report("NotFound", id, action.Proceed) // the preview has not created the action
		id = p.state().DeployID
		before := p.preview("nil", id, false)
		before.Created = true
		if diff := cmp.Diff(before, p.deployment("nil", id)); diff != "" {
			p.Errorf("the deployment differs from its preview:\n%s", diff)
		}
		p.preview("nil", id, false)
		p.report("nil", id, action.Succeed)
		if diff := cmp.Diff(p.deployment("nil", id), p.preview("nil", id, false)); diff != "" {
			p.Errorf("the preview of a closed action differs from its deployment:\n%s", diff)
		}
	}},
	"a preview of a confirmation": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		p.preview("NotFound", id, false)
		before := p.preview("nil", id, true)
		before.Created = true
		if diff := cmp.Diff(before, p.confirmation("nil", id)); diff != "" {
			p.Errorf("the confirmation differs from its preview:\n%s", diff)
		}
		if p.confirmation("nil", id).Created {
			p.Error("the second call says that it has created the action")
		}
		p.preview("nil", id, true)
		p.confirm("nil", id, action.Confirm)
		p.preview("NotFound", id, true)
		p.preview("nil", id, false)
	}},
	"an update that fails": {run: func(p *player) {
		id := p.start().ID
		p.report("nil", id, action.Fail, "no space left")
		p.wantOffer(0, 0, 0)
		p.report("Gone", id, action.Fail)
		if s := p.state(); s.InstalledID != 0 {
			p.Errorf("after a failure InstalledID is %d", s.InstalledID)
		}
		if d := p.installed("nil", id); d.History.State != string(v1alpha1.ActionError) {
			p.Errorf("the failed action is %+v", d)
		}
	}},
	"a download-only update": {setup: Setup{DownloadOnly: true}, run: func(p *player) {
		d := p.start()
		if !d.DownloadOnly {
			p.Errorf("the deployment is %+v, want it download-only", d)
		}
		p.report("nil", d.ID, action.Downloaded)
		p.wantOffer(0, 0, 0)
		p.report("nil", d.ID, action.Succeed) // the installation later on
		p.report("Gone", d.ID, action.Succeed)
	}},
	"a report on an unknown action": {run: func(p *player) {
		p.report("NotFound", unknownID, action.Succeed)
		p.answerCancel("NotFound", unknownID, action.CancelAccepted)
		p.confirm("NotFound", unknownID, action.Deny)
		p.deployment("NotFound", unknownID)
		p.installed("NotFound", unknownID)
		p.confirmation("NotFound", unknownID)
	}},
	"too many reports on an action": {run: func(p *player) {
		id := p.start().ID
		var err error
		for i := 0; err == nil && i < 3*v1alpha1.MaxReports; i++ {
			err = p.Backend.Report(p.Context(), p.Device, action.Report{ID: id, Event: action.Proceed})
		}
		p.want("TooMany", "Report", err)
		p.report("nil", id, action.Succeed)
		p.installed("nil", id)
	}},
	"a cancel that the device accepts": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.wantOffer(id, 0, 0)
		p.cancel("nil", id)
		p.cancel("NotFound", id+1)
		p.deployment("NotFound", id)
		p.installed("NotFound", id)
		p.answerCancel("NotFound", id+1, action.CancelAccepted)
		p.answerCancel("nil", id, action.Warn)
		p.answerCancel("nil", id, action.CancelAccepted)
		p.wantOffer(0, 0, 0)
		p.cancel("nil", id)
		p.answerCancel("NotAllowed", id, action.CancelAccepted)
		p.deployment("NotFound", id)
		p.installed("NotFound", id)
		p.report("Gone", id, action.Succeed)
	}},
	"a cancel that the device rejects": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.wantOffer(id, 0, 0)
		p.answerCancel("nil", id, action.CancelRejected)
		p.wantOffer(0, 0, id)
		p.cancel("NotFound", id)
		p.report("nil", id, action.Succeed)
		p.cancel("NotFound", id)
		if s := p.state(); s.InstalledID != id {
			p.Errorf("after the success the state is %+v", s)
		}
	}},
	"a cancel that is sent from memory and accepted": {run: func(p *player) {
		p.pendingCancel(0)
		id := p.start().ID
		p.pendingCancel(0)
		p.CancelUpdate()
		p.pendingCancel(id)
		p.pendingCancel(id)
		p.answerCancel("nil", id, action.CancelAccepted)
		p.pendingCancel(0)
		p.wantOffer(0, 0, 0)
	}},
	"a cancel that is sent from memory and rejected": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.pendingCancel(id)
		p.answerCancel("nil", id, action.CancelRejected)
		p.pendingCancel(0)
		p.wantOffer(0, 0, id)
	}},
	"a cancel that is sent from memory and answered by giving up": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.pendingCancel(id)
		p.report("nil", id, action.Abandon)
		p.pendingCancel(0)
		p.wantOffer(0, 0, 0)
	}},
	"a cancel that is sent from memory while the state is stored": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.pendingCancel(id)
		p.wantOffer(id, 0, 0)
		p.pendingCancel(id)
		p.answerCancel("nil", id, action.Warn)
		p.pendingCancel(id)
	}},
	"a cancel before the start": {run: func(p *player) {
		id := p.state().DeployID
		p.CancelUpdate()
		p.pendingCancel(0)
		p.wantOffer(0, 0, 0)
		p.deployment("NotFound", id)
	}},
	"a result instead of the answer to a cancel": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.wantOffer(id, 0, 0)
		p.report("nil", id, action.Succeed)
		p.wantOffer(0, 0, 0)
		p.installed("nil", id)
	}},
	"a confirmation": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		if c := p.consent(); c.Active || c.ConfirmID != id || c.CacheBuster == "" || id == 0 {
			p.Fatalf("the consent is %+v, the action %d", c, id)
		}
		p.wantOffer(0, id, 0)
		p.deployment("NotFound", id)
		p.confirmation("NotFound", id+1)
		if d := p.confirmation("nil", id); d.ID != id || len(d.Modules) == 0 {
			p.Errorf("the action is %+v", d)
		}
		p.confirmation("nil", id)
		p.report("NotFound", id, action.Succeed)
		p.artifacts("NotFound", "linux")
		p.confirm("nil", id, action.Deny)
		p.wantOffer(0, id, 0)
		p.confirm("nil", id, action.Confirm)
		p.wantOffer(0, 0, id)
		p.confirm("NotFound", id, action.Confirm)
		p.confirmation("NotFound", id)
		p.deployment("nil", id)
		p.report("nil", id, action.Succeed)
		p.confirm("Gone", id, action.Confirm)
	}},
	"a confirmation of an action that was not fetched": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		p.confirm("nil", id, action.Confirm)
		p.wantOffer(0, 0, id)
	}},
	"a cancel while the action waits for confirmation": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		p.confirmation("nil", id)
		p.CancelUpdate()
		p.wantOffer(0, 0, 0)
		p.confirm("Gone", id, action.Confirm)
		p.confirm("Gone", id, action.Deny)
		p.confirmation("NotFound", id)
	}},
	"auto-confirm": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		p.confirmation("nil", id)
		p.deactivate("nil") // it is not active, and stays so
		p.activate("nil")
		p.activate("Conflict")
		if c := p.consent(); !c.Active || c.Initiator != "ada" || c.Remark != "night shift" || c.ActivatedAt.IsZero() || c.ConfirmID != 0 {
			p.Errorf("the consent is %+v", c)
		}
		p.wantOffer(0, 0, id) // the action that waited is confirmed
		p.deactivate("nil")
		if c := p.consent(); c.Active {
			p.Errorf("after the end of auto-confirm the consent is %+v", c)
		}
		p.wantOffer(0, 0, id) // confirmed actions stay confirmed
		p.activate("nil")
	}},
	"auto-confirm before the action exists": {setup: Setup{Confirm: true}, run: func(p *player) {
		p.activate("nil")
		s := p.state()
		p.wantOffer(0, 0, s.DeployID)
		p.deployment("nil", s.DeployID)
	}},
	"attributes": {run: func(p *player) {
		if !p.state().WantAttributes {
			p.Error("a new device is not asked for its attributes")
		}
		_ = p.attributes("nil", deviceapi.MergeAttributes, map[string]*string{"hw": new("B"), "site": new("factory")})
		if p.state().WantAttributes {
			p.Error("a device is asked again for attributes that it has sent")
		}
		_ = p.attributes("nil", deviceapi.RemoveAttributes, map[string]*string{"site": nil})
		_ = p.attributes("nil", deviceapi.MergeAttributes, map[string]*string{"hw": nil, "unknown": nil})
		_ = p.attributes("nil", deviceapi.ReplaceAttributes, nil)
		_ = p.attributes("BadRequest", deviceapi.MergeAttributes, map[string]*string{"": new("B")})
		_ = p.attributes("BadRequest", deviceapi.MergeAttributes, map[string]*string{strings.Repeat("x", 129): new("B")})
		_ = p.attributes("BadRequest", deviceapi.MergeAttributes, map[string]*string{"hw": new(strings.Repeat("x", 129))})
		_ = p.attributes("nil", deviceapi.MergeAttributes, map[string]*string{strings.Repeat("é", 128): new(strings.Repeat("é", 128))})
		many := map[string]*string{}
		for i := range v1alpha1.MaxAttributes + 1 {
			many[fmt.Sprint(i)] = new("")
		}
		refused, _ := errors.AsType[deviceapi.TooMany](p.attributes("TooMany", deviceapi.ReplaceAttributes, many))
		if refused.Reason == "" || refused.RetryAfter != 0 {
			p.Errorf("the refusal of too many attributes is %#v, want a reason, and no time after which it would be accepted", refused)
		}
	}},
	"features": {run: func(p *player) {
		report := func(want string, i deviceapi.Inventory) {
			p.Helper()
			p.want(want, "Inventory", p.Backend.Inventory(p.Context(), p.Device, i))
		}
		has := func(want string) {
			p.Helper()
			features, err := p.Backend.Features(p.Context(), p.Device)
			p.want("nil", "Features", err)
			var got []string
			for _, f := range features {
				got = append(got, f.ID+"="+f.SoftwareModuleType)
			}
			if strings.Join(got, " ") != want {
				p.Errorf("the features are %q, want %q", got, want)
			}
		}
		has("")
		report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "os", SoftwareModuleType: "os"}, Installed: []deviceapi.Software{{Name: "linux", Version: "6"}}})
		report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "app", SoftwareModuleType: "app"}})
		report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "app", LastOperation: &deviceapi.Operation{Status: "STARTED"}}})
		has("app=app os=os")
		report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "os"}, Removed: true})
		has("app=app")
		report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "fw", SoftwareModuleType: "fw"}, ReplacesAll: true})
		has("fw=fw")
		report("nil", deviceapi.Inventory{ReplacesAll: true})
		has("")
		report("BadRequest", deviceapi.Inventory{Feature: deviceapi.Feature{SoftwareModuleType: "app"}})
		for i := range v1alpha1.MaxInventoryFeatures {
			report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: fmt.Sprint(i)}})
		}
		report("TooMany", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "x"}})
		report("nil", deviceapi.Inventory{Feature: deviceapi.Feature{ID: "1"}})
	}},
	"a command that the device acknowledges": {run: func(p *player) {
		p.acknowledge("NotFound", unknownID)
		d := p.start()
		if !d.Created || d.Acknowledged || d.Weight != 1000 {
			p.Errorf("the new deployment is %+v, want one that was just created, not acknowledged, and of weight 1000", d)
		}
		if again := p.deployment("nil", d.ID); again.Created || again.Acknowledged {
			p.Errorf("the second request returns %+v", again)
		}
		p.acknowledge("nil", d.ID)
		p.acknowledge("nil", d.ID)
		if again := p.deployment("nil", d.ID); !again.Acknowledged {
			p.Errorf("after the acknowledgement the deployment is %+v", again)
		}
		p.refuse("NotAllowed", d.ID)
		p.report("nil", d.ID, action.Succeed)
		p.acknowledge("Gone", d.ID)
	}},
	"a report in place of an acknowledgement": {run: func(p *player) {
		d := p.start()
		p.report("nil", d.ID, action.Download)
		if again := p.deployment("nil", d.ID); !again.Acknowledged {
			p.Errorf("after a report the deployment is %+v", again)
		}
	}},
	"an action that the device cannot carry out": {run: func(p *player) {
		p.refuse("NotFound", unknownID)
		d := p.start()
		p.refuse("nil", d.ID)
		if got := p.deployment("nil", d.ID).History; got.State != string(v1alpha1.ActionError) {
			p.Errorf("the refused action is %+v", got)
		}
		p.wantOffer(0, 0, 0)
		p.refuse("Gone", d.ID)
		p.acknowledge("Gone", d.ID)
	}},
	"the command of an action is known in all of its states": {run: func(p *player) {
		p.command("NotFound", unknownID)
		p.command("NotFound", p.state().DeployID) // it creates nothing
		want := p.start().Modules
		wantModules := func(id int32, state string) {
			p.Helper()
			if d := p.command("nil", id); len(want) == 0 || !reflect.DeepEqual(d.Modules, want) || d.ID != id || d.History.State != state || d.Created {
				p.Errorf("the command of an action that is %s is %+v, want the modules %+v", state, d, want)
			}
		}
		id := p.state().DeployID
		wantModules(id, "Retrieved")
		p.CancelUpdate()
		wantModules(id, "Canceling")
		p.report("nil", id, action.Succeed)
		wantModules(id, "Finished")
	}},
	"an action that waits for confirmation gets no command": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		p.confirmation("nil", id)
		p.command("NotFound", id)
		p.acknowledge("NotFound", id)
		p.refuse("NotFound", id)
		p.wantOffer(0, id, 0)
	}},
	"changes": {run: func(p *player) {
		changed := make(chan struct{}, 1)
		notify := func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
		stop := p.Backend.Changed(p.Device, notify)
		other := p.Device
		other.ControllerID = "unknown"
		stopOther := p.Backend.Changed(other, notify) // it need not exist
		stopOther()
		receive := func(after string) {
			select {
			case <-changed:
			case <-time.After(10 * time.Second):
				p.Errorf("nothing was received after %s", after)
			}
		}
		id := p.start().ID
		p.CancelUpdate()
		receive("a cancel")
		p.wantOffer(id, 0, 0)
		p.Delete()
		receive("the deletion of the device")
		stop()
		stop()
	}},
	"connections": {run: func(p *player) {
		first := p.Backend.Connected(p.Device, "192.0.2.7")
		second := p.Backend.Connected(p.Device, "")
		first()
		first()
		p.state()
		second()
	}},
	"an installed set that the device reports": {run: func(p *player) {
		p.reportInstalled("NotFound", "firmware", "7.0")
		p.reportInstalled("BadRequest", "broken", "1.0")
		if !p.reportInstalled("nil", "firmware", "0.9") {
			p.Error("the first report is known already")
		}
		if p.reportInstalled("nil", "firmware", "0.9") {
			p.Error("the second report is new")
		}
		if s := p.state(); s.InstalledID != 0 || s.DeployID == 0 {
			p.Errorf("the state is %+v: no action has installed the set, and the update is still wanted", s)
		}
		if !p.reportInstalled("nil", "firmware", "1.0") {
			p.Error("the report of another set is known already")
		}
		p.wantOffer(0, 0, 0)
		p.artifacts("NotFound", "linux") // a device may report any set
	}},
	"artifacts": {run: func(p *player) {
		p.artifacts("NotFound", "linux") // it has not started
		p.artifactFetched("nil", "linux")
		d := p.start()
		module := d.Modules[0]
		if diff := cmp.Diff(module, p.artifacts("nil", module.ID)); diff != "" {
			p.Errorf("the module differs from that of the deployment:\n%s", diff)
		}
		p.artifacts("NotFound", "other")
		p.artifactFetched("nil", "other") // it is not known here, and needs no answer
		p.artifactFetched("nil", module.ID)
		p.artifactFetched("nil", module.ID)
		if !p.artifacts("nil", module.ID).Downloading {
			p.Error("the device has started to download, and Downloading is not set")
		}
		p.report("nil", d.ID, action.Succeed)
		if p.artifacts("nil", module.ID).Downloading {
			p.Error("the action is closed, and Downloading is set")
		}
	}},
	"a device that causes too many writes": {run: func(p *player) {
		id := p.start().ID
		wait := p.spend().RetryAfter
		p.want("TooMany", "ReportInstalled", second(p.Backend.ReportInstalled(p.Context(), p.Device, "firmware", "0.9")))
		p.activate("TooMany")
		p.report("nil", id, action.Succeed) // results are always stored
		p.report("TooMany", id, action.Succeed)
		p.Wait(wait)
		p.activate("nil")
		p.deactivate("TooMany")
	}},
	"a device that causes too many writes before an update": {run: func(p *player) {
		id := p.state().DeployID
		_ = p.spend()
		p.deployment("TooMany", id)
		p.wantOffer(0, 0, id)
	}},
	"a device that causes too many writes before a confirmation": {setup: Setup{Confirm: true}, run: func(p *player) {
		id := p.state().ConfirmID
		wait := p.spend().RetryAfter
		p.confirmation("TooMany", id)
		p.confirm("TooMany", id, action.Confirm)
		p.Wait(wait)
		p.confirmation("nil", id)
		p.confirm("TooMany", id, action.Deny)
		p.confirm("nil", id, action.Confirm)
		p.wantOffer(0, 0, id)
	}},
	"a device that causes too many writes before its answer to a cancel": {run: func(p *player) {
		id := p.start().ID
		p.CancelUpdate()
		p.wantOffer(id, 0, 0)
		_ = p.spend()
		p.answerCancel("TooMany", id, action.Warn)
		p.answerCancel("nil", id, action.CancelAccepted)
		p.wantOffer(0, 0, 0)
	}},
	"many requests at once": {run: func(p *player) {
		id := p.state().DeployID
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if d, err := p.Backend.Deployment(context.WithoutCancel(p.Context()), p.Device, id); err != nil || d.ID != id {
					p.Errorf("the deployment is %+v, %v", d, err)
				}
			})
		}
		group.Wait()
		p.wantOffer(0, 0, id)
		p.report("nil", id, action.Succeed)
		p.wantOffer(0, 0, 0)
	}},
}

func second[T any](_ T, err error) error { return err }
