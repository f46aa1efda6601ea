// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

func TestAuthorize(t *testing.T) {
	ref := func(name, key string) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) { t.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: name, Key: key} }
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.Target)
		device string
		token  string
		ok     bool
	}{
		"the device's token":     {nil, "dev-0", "let-me-in", true},
		"a wrong token":          {nil, "dev-0", "let-me-out", false},
		"the start of the token": {nil, "dev-0", "let-me-i", false},
		"no token":               {nil, "dev-0", "", false},
		"an unknown device":      {nil, "dev-7", "let-me-in", false},
		"the name of a target with another controllerID": {func(t *v1alpha1.Target) { t.Spec.ControllerID = "serial-1" }, "dev-0", "let-me-in", false},
		"the controllerID of that target":                {func(t *v1alpha1.Target) { t.Spec.ControllerID = "serial-1" }, "serial-1", "let-me-in", true},
		"a target without a token":                       {func(t *v1alpha1.Target) { t.Spec.TokenSecretRef = nil }, "dev-0", "", false},
		"a key that is not in the Secret":                {ref("tokens", "other"), "dev-0", "", false},
		"an empty value":                                 {ref("tokens", "empty"), "dev-0", "", false},
		"a Secret that does not exist":                   {ref("gone", "all"), "dev-0", "let-me-in", false},
		"a Secret of another type":                       {ref("opaque", "all"), "dev-0", "let-me-in", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			if err := w.server.Create(context.Background(), tokens("opaque", corev1.SecretTypeOpaque)); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				w.editTarget(c.change)
			}
			d := w.deviceAPI(Options{})
			err := d.Authorize(context.Background(), deviceapi.Device{Namespace: fleetNamespace, ControllerID: c.device}, deviceapi.Credentials{TargetToken: c.token})
			if c.ok && err != nil || !c.ok && !errors.Is(err, deviceapi.ErrUnauthorized) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestTokenIsRotated(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	edit(w, "tokens", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["all"] = []byte("new") })
	d.sync()
	if err := d.Authorize(context.Background(), dev0, deviceapi.Credentials{TargetToken: "let-me-in"}); !errors.Is(err, deviceapi.ErrUnauthorized) {
		t.Errorf("the old token: %v", err)
	}
	if err := d.Authorize(context.Background(), dev0, deviceapi.Credentials{TargetToken: "new"}); err != nil {
		t.Errorf("the new token: %v", err)
	}
}

func TestTenantsAreNamespaces(t *testing.T) {
	d := newWorld(t, 1).deviceAPI(Options{})
	elsewhere := deviceapi.Device{Namespace: "elsewhere", ControllerID: "dev-0"}
	if err := d.Authorize(context.Background(), elsewhere, deviceapi.Credentials{TargetToken: "let-me-in"}); !errors.Is(err, deviceapi.ErrUnauthorized) {
		t.Errorf("authorize: %v", err)
	}
	if _, err := d.State(context.Background(), elsewhere, ""); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("poll: %v", err)
	}
}

// Before the caches have synced every request gets "unavailable".
func TestDeviceAPIThatHasNotSynced(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	for _, informer := range d.caches.Informers() {
		if _, ok := informer.Object.(*v1alpha1.DistributionSet); ok {
			informer.Synced.Store(false)
		}
	}
	ctx := context.Background()
	for name, ask := range map[string]func() error{
		"authorize":  func() error { return d.Authorize(ctx, dev0, deviceapi.Credentials{TargetToken: "let-me-in"}) },
		"poll":       func() error { _, err := d.State(ctx, dev0, ""); return err },
		"deployment": func() error { _, err := d.Deployment(ctx, dev0, firstID); return err },
		"feedback":   func() error { return d.Feedback(ctx, dev0, firstID, succeeded) },
		"attributes": func() error { return d.Attributes(ctx, dev0, deviceapi.Attributes{}) },
		"installed":  func() error { _, err := d.ReportInstalled(ctx, dev0, "firmware", "1.0"); return err },
	} {
		if err := ask(); !isUnavailable(err) {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
	}
	w.wantWrites(0, "a device API that has not synced")
}

func TestPollsOfAnIdleDevice(t *testing.T) {
	w := newWorld(t, 1, func(r *v1alpha1.Rollout, _ *v1alpha1.DistributionSet) { r.Spec.State = v1alpha1.IntentPaused })
	d := w.deviceAPI(Options{})
	if p := d.poll(); !p.WantAttributes || p.DeployID != 0 {
		t.Errorf("the first poll returns %+v", p)
	}
	w.wantWrites(1, "the first poll")
	s := w.target("dev-0").Status
	if s.UpdateStatus != v1alpha1.UpdateStatusRegistered || s.Address != "192.0.2.7" || s.LastSeen == nil || !s.LastSeen.Time.Equal(w.clock()) {
		t.Errorf("after the first poll the target has %s, %s, %v", s.UpdateStatus, s.Address, s.LastSeen)
	}
	for range 20 {
		w.wait(time.Hour)
		d.poll()
	}
	w.wantWrites(0, "twenty hours of polls")
	w.wait(seenEvery/10 + 4*time.Hour)
	d.poll()
	d.poll()
	w.wantWrites(1, "a day")
	w.wait(time.Hour)
	w.deviceAPI(Options{}).poll()
	w.wantWrites(0, "a poll at a device API that has just started")
}

// The poll intervals of devices differ, so that a fleet does not poll at the same time.
func TestSleepIsSpread(t *testing.T) {
	tenths := map[time.Duration]int{}
	for i := range 1000 {
		sleep := usualSleep(deviceName(i), 5*time.Minute)
		if sleep != usualSleep(deviceName(i), 5*time.Minute) {
			t.Fatal("one device gets two intervals")
		}
		if sleep < 270*time.Second || sleep >= 330*time.Second {
			t.Fatalf("%s is more than a tenth away from the interval", sleep)
		}
		tenths[(sleep-270*time.Second)/(6*time.Second)]++
	}
	for i := range time.Duration(10) {
		if tenths[i] < 50 || tenths[i] > 150 {
			t.Errorf("of 1000 devices %d are in tenth %d", tenths[i], i+1)
		}
	}
	if got := usualSleep("dev-0", time.Second); got != time.Second {
		t.Errorf("an interval of a second becomes %s", got)
	}
}

func data(mode deviceapi.AttributesMode, pairs map[string]string, remove ...string) deviceapi.Attributes {
	d := deviceapi.Attributes{Mode: mode, Values: map[string]*string{}}
	for k, v := range pairs {
		d.Values[k] = &v
	}
	for _, k := range remove {
		d.Values[k] = nil
	}
	return d
}

func TestAttributes(t *testing.T) {
	type attributes = map[string]v1alpha1.AttributeValue
	many := map[string]string{}
	for i := range 100 {
		many[fmt.Sprint(i)] = "v"
	}
	long := strings.Repeat("ä", 128)
	for name, c := range map[string]struct {
		data   deviceapi.Attributes
		want   attributes
		writes int
		err    func(error) bool
	}{
		"merged":                   {data(deviceapi.MergeAttributes, map[string]string{"b": "2"}), attributes{"a": "1", "b": "2"}, 1, nil},
		"merged by default":        {data("", map[string]string{"b": "2"}), attributes{"a": "1", "b": "2"}, 1, nil},
		"changed":                  {data(deviceapi.MergeAttributes, map[string]string{"a": "2"}), attributes{"a": "2"}, 1, nil},
		"the same again":           {data(deviceapi.MergeAttributes, map[string]string{"a": "1"}), attributes{"a": "1"}, 0, nil},
		"null removes":             {data(deviceapi.MergeAttributes, nil, "a"), nil, 1, nil},
		"replaced":                 {data(deviceapi.ReplaceAttributes, map[string]string{"b": "2"}), attributes{"b": "2"}, 1, nil},
		"replaced by the same":     {data(deviceapi.ReplaceAttributes, map[string]string{"a": "1"}), attributes{"a": "1"}, 0, nil},
		"replaced by nothing":      {data(deviceapi.ReplaceAttributes, nil), nil, 1, nil},
		"removed":                  {data(deviceapi.RemoveAttributes, map[string]string{"a": "whatever"}), nil, 1, nil},
		"removed, but not stored":  {data(deviceapi.RemoveAttributes, map[string]string{"b": ""}), attributes{"a": "1"}, 0, nil},
		"128 characters":           {data(deviceapi.ReplaceAttributes, map[string]string{long: long}), attributes{long: v1alpha1.AttributeValue(long)}, 1, nil},
		"a key that is too long":   {data(deviceapi.MergeAttributes, map[string]string{long + "x": "1"}), attributes{"a": "1"}, 0, isBadRequest},
		"an empty key":             {data(deviceapi.MergeAttributes, map[string]string{"": "1"}), attributes{"a": "1"}, 0, isBadRequest},
		"a value that is too long": {data(deviceapi.MergeAttributes, map[string]string{"b": long + "x"}), attributes{"a": "1"}, 0, isBadRequest},
		"control characters":       {data(deviceapi.MergeAttributes, map[string]string{"c\x1b\u202e": " x\x1b[31m\n\ty\xff "}), attributes{"a": "1", "c": "x[31m y\uFFFD"}, 1, nil},
		"the same again, with control characters":                     {data(deviceapi.MergeAttributes, map[string]string{"a\u200b": "\x001"}), attributes{"a": "1"}, 0, nil},
		"keys that are the same after cleaning":                       {data(deviceapi.MergeAttributes, map[string]string{"b": "exact", "b\x00": "other", "\x00b": "other"}), attributes{"a": "1", "b": "exact"}, 1, nil},
		"a key with a control character is removed by its clean name": {data(deviceapi.RemoveAttributes, map[string]string{"\x07a": ""}), nil, 1, nil},
		"a key of only control characters":                            {data(deviceapi.MergeAttributes, map[string]string{"\x1b\u202e ": "1"}), attributes{"a": "1"}, 0, isBadRequest},
		"too many":                                                    {data(deviceapi.MergeAttributes, many), attributes{"a": "1"}, 0, func(err error) bool { return errors.Is(err, deviceapi.ErrTooMany) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.editTarget(func(t *v1alpha1.Target) { t.Status.Attributes = attributes{"a": "1"} })
			d := w.deviceAPI(Options{})
			err := d.Attributes(context.Background(), dev0, c.data)
			if c.err == nil && err != nil || c.err != nil && !c.err(err) {
				t.Errorf("the error is %v", err)
			}
			if diff := cmp.Diff(c.want, w.target("dev-0").Status.Attributes); diff != "" {
				t.Errorf("the attributes are not as wanted (-want +got):\n%s", diff)
			}
			w.wantWrites(c.writes, "the update")
		})
	}
}

// A device is asked for its attributes if it never sent any, and once after each success.
func TestWhenAttributesAreRequested(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	wantRequested := func(when string, want bool) {
		t.Helper()
		if got := d.poll().WantAttributes; got != want {
			t.Errorf("%s: attributes requested: %t, want %t", when, got, want)
		}
	}
	send := func() {
		t.Helper()
		if err := d.Attributes(context.Background(), dev0, data(deviceapi.ReplaceAttributes, map[string]string{"hw": "B"})); err != nil {
			t.Fatal(err)
		}
	}
	wantRequested("at first", true)
	send()
	wantRequested("after they were sent", false)
	d.start()
	wantRequested("during an update", false)
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	wantRequested("after a success", true)
	w.takeWrites()
	send()
	w.wantWrites(0, "the same attributes")
	wantRequested("after they were sent again", false)

	w.remove(built.Target("dev-0"))
	again := aTarget("dev-0")
	again.UID, again.Status.NextActionID = "another", firstID+1000
	if err := w.server.Create(context.Background(), again); err != nil {
		t.Fatal(err)
	}
	d.sync()
	wantRequested("a new target of the same name", true)
}

func TestSelectionIsNoted(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	for i, hw := range []string{"A", "B"} {
		if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"hw": hw})); err != nil {
			t.Fatal(err)
		}
		s := w.target("dev-0").Status
		if s.SelectionHash == "" || (s.SelectionChangedAt != nil) != (i == 1) {
			t.Errorf("after hardware %s the selection changed at %v", hw, s.SelectionChangedAt)
		}
	}
}

func TestReportInstalled(t *testing.T) {
	for name, c := range map[string]struct {
		change        func(*v1alpha1.Rollout, *v1alpha1.DistributionSet)
		name, version string
		installed     bool
		err           func(error) bool
	}{
		"a set":                          {nil, "firmware", "1.0", true, nil},
		"a set, with control characters": {nil, "\x00firm\u200bware\n", " 1.0\x1b", true, nil},
		"another version":                {nil, "firmware", "2.0", false, func(err error) bool { return errors.Is(err, deviceapi.ErrNotFound) }},
		"an invalidated set":             {func(_ *v1alpha1.Rollout, s *v1alpha1.DistributionSet) { invalidate(v1alpha1.CancellationSoft)(s) }, "firmware", "1.0", false, isBadRequest},
		"a set without content":          {func(_ *v1alpha1.Rollout, s *v1alpha1.DistributionSet) { s.Status.ContentHash = "" }, "firmware", "1.0", false, isBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, func(r *v1alpha1.Rollout, s *v1alpha1.DistributionSet) {
				r.Status.Groups[0].OpenedAt = nil
				if c.change != nil {
					c.change(r, s)
				}
			})
			d := w.deviceAPI(Options{})
			for _, first := range []bool{true, false} {
				w.wait(time.Minute)
				created, err := d.ReportInstalled(context.Background(), dev0, c.name, c.version)
				if c.err == nil && err != nil || c.err != nil && !c.err(err) {
					t.Errorf("the error is %v", err)
				}
				if want := first && c.installed; created != want {
					t.Errorf("created is %t, want %t", created, want)
				}
			}
			s := w.target("dev-0").Status
			if (s.Installed != nil) != c.installed {
				t.Fatalf("installed is %+v", s.Installed)
			}
			if !c.installed {
				w.wantWrites(0, "a refused report")
				return
			}
			w.wantWrites(1, "the same report twice")
			if s.UpdateStatus != v1alpha1.UpdateStatusInSync {
				t.Errorf("the target is %s, want InSync", s.UpdateStatus)
			}
			if p := d.poll(); p.InstalledID != 0 {
				t.Errorf("the poll links to action %d, but no action installed the set", p.InstalledID)
			}
		})
	}
}

// An inconsistent device reports its installed set repeatedly. The reports do not make it
// consistent, and cause no write.
func TestReportInstalledOfAnInconsistentDevice(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{InstalledName: "set", InstalledVersion: "version"})
	d.poll() // the first poll only requests attributes
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, failed)
	if created, err := d.ReportInstalled(context.Background(), dev0, "firmware", "1.0"); !created || err != nil {
		t.Fatalf("the first report returns %t and %v", created, err)
	}
	words := map[string]string{"set": "firmware", "version": "1.0"}
	if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, words)); err != nil {
		t.Fatal(err)
	}
	w.takeWrites()
	for range 3 {
		w.wait(time.Minute)
		if created, err := d.ReportInstalled(context.Background(), dev0, "firmware", "1.0"); created || err != nil {
			t.Errorf("the same report again returns %t and %v", created, err)
		}
		if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, words)); err != nil {
			t.Error(err)
		}
	}
	w.wantWrites(0, "the same report")
	if !w.isInconsistent() {
		t.Error("the report made the device consistent")
	}
}

func TestAttributesReportTheInstalledSet(t *testing.T) {
	for name, c := range map[string]struct {
		attributes map[string]string
		installed  bool
	}{
		"name and version": {map[string]string{"set": "firmware", "version": "1.0", "hw": "B"}, true},
		"only the name":    {map[string]string{"set": "firmware"}, false},
		"an unknown set":   {map[string]string{"set": "firmware", "version": "3.0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{InstalledName: "set", InstalledVersion: "version"})
			if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, c.attributes)); err != nil {
				t.Fatal(err)
			}
			i := w.target("dev-0").Status.Installed
			if (i != nil) != c.installed {
				t.Fatalf("installed is %+v", i)
			}
			w.wantWrites(1, "attributes and the installed set")
			if offered := d.poll().DeployID != 0; offered == c.installed {
				t.Errorf("the set is installed: %t, and offered: %t", c.installed, offered)
			}
		})
	}
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"": "x"})); !isBadRequest(err) {
		t.Errorf("without configured names of attributes the error for an empty key is %v", err)
	}
	if i := w.target("dev-0").Status.Installed; i != nil {
		t.Errorf("installed is %+v", i)
	}
}

func TestPollLinksToTheActionThatInstalled(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	if got := d.poll().InstalledID; got != firstID {
		t.Errorf("the poll links to action %d, want %d", got, firstID)
	}
	w.editTarget(func(t *v1alpha1.Target) { t.Status.Actions = nil })
	d.sync()
	if got := d.poll().InstalledID; got != 0 {
		t.Errorf("the poll links to action %d, which is no longer listed", got)
	}
}

func TestArtifacts(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	wantArtifacts := func(when string, want bool) {
		t.Helper()
		m, err := d.Artifacts(context.Background(), dev0, "linux")
		if want && (err != nil || m.ID != "linux" || len(m.Artifacts) != 1) || !want && !errors.Is(err, deviceapi.ErrNotFound) {
			t.Errorf("%s: %+v, %v", when, m, err)
		}
	}
	wantArtifacts("before the creation", false)
	d.start()
	wantArtifacts("at work", true)
	if _, err := d.Artifacts(context.Background(), dev0, "windows"); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("an unknown module: %v", err)
	}
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	wantArtifacts("installed", true)
}

// TestReportedSetGivesNoArtifacts: a device may report that it runs any set of its namespace. The
// set counts as installed with source Report, and the device cannot download its artifacts.
func TestReportedSetGivesNoArtifacts(t *testing.T) {
	ctx := context.Background()
	report := func(d *deviceAPI) error { _, err := d.ReportInstalled(ctx, dev0, "firmware", "1.0"); return err }
	attributes := func(d *deviceAPI) error {
		return d.Attributes(ctx, dev0, data(deviceapi.MergeAttributes, map[string]string{"fw": "firmware", "ver": "1.0"}))
	}
	late := func(d *deviceAPI) error { // the attributes came before the set
		d.w.editTarget(func(t *v1alpha1.Target) {
			t.Status.Attributes = map[string]v1alpha1.AttributeValue{"fw": "firmware", "ver": "1.0"}
		})
		d.sync()
		_, err := d.State(ctx, dev0, "")
		return err
	}
	installs := func(d *deviceAPI) {
		d.start()
		d.wantReport(nil, firstID, succeeded)
	}
	for name, c := range map[string]struct {
		before func(*deviceAPI)
		report func(*deviceAPI) error
		source v1alpha1.InstalledSource
		served bool
	}{
		"by PUT installedBase":                         {func(*deviceAPI) {}, report, v1alpha1.InstalledByReport, false},
		"by attributes":                                {func(*deviceAPI) {}, attributes, v1alpha1.InstalledByReport, false},
		"by attributes that came before the set":       {func(*deviceAPI) {}, late, v1alpha1.InstalledByReport, false},
		"an action installed it":                       {installs, func(*deviceAPI) error { return nil }, v1alpha1.InstalledByAction, true},
		"an action installed it, by PUT installedBase": {installs, report, v1alpha1.InstalledByAction, true},
		"an action installed it, by attributes":        {installs, attributes, v1alpha1.InstalledByAction, true},
		"while the action is open":                     {func(d *deviceAPI) { d.start() }, report, v1alpha1.InstalledByReport, true},
		"while the action is open, by attributes":      {func(d *deviceAPI) { d.start() }, attributes, v1alpha1.InstalledByReport, true},
		"after the update failed": {func(d *deviceAPI) {
			d.start()
			d.wantReport(nil, firstID, failed)
		}, report, v1alpha1.InstalledByReport, false},
		"an action installed it, and the device ran another set since": {func(d *deviceAPI) {
			installs(d)
			d.w.editTarget(func(t *v1alpha1.Target) {
				t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: "other", ContentHash: "other", Source: v1alpha1.InstalledByReport}
			})
			d.sync()
		}, report, v1alpha1.InstalledByReport, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			d := w.deviceAPI(Options{InstalledName: "fw", InstalledVersion: "ver"})
			if name != "by attributes that came before the set" {
				d.poll() // the first poll only requests attributes
			}
			c.before(d)
			if err := c.report(d); err != nil {
				t.Fatal(err)
			}
			i := w.target("dev-0").Status.Installed
			if i == nil || i.DistributionSet != "firmware" || i.Source != c.source {
				t.Fatalf("installed is %+v, want firmware by %s", i, c.source)
			}
			if m, err := d.Artifacts(ctx, dev0, "linux"); c.served && (err != nil || m.ID != "linux") || !c.served && !errors.Is(err, deviceapi.ErrNotFound) {
				t.Errorf("the artifacts are %+v, %v; served: want %t", m, err, c.served)
			}
		})
	}
}

// TestArtifactsOfAnotherContent: an action did not install a set that was created again with the
// same name and other content.
func TestArtifactsOfAnotherContent(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, succeeded)
	w.editTarget(func(t *v1alpha1.Target) {
		t.Status.Installed.ContentHash, t.Status.Actions[0].ContentHash = "older", "older"
	})
	d.sync()
	if m, err := d.Artifacts(context.Background(), dev0, "linux"); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("the artifacts are %+v, %v", m, err)
	}
}

func TestArtifactsOfACanceledUpdate(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	w.editRollout(stop(v1alpha1.CancellationSoft))
	d.sync()
	if _, err := d.Artifacts(context.Background(), dev0, "linux"); !errors.Is(err, deviceapi.ErrNotFound) {
		t.Errorf("a device that must cancel still gets the artifacts: %v", err)
	}
}

// The target is deleted between the read of the cache and the write.
func TestTargetIsDeletedMeanwhile(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	w.remove(built.Target("dev-0"))
	d.wantReport(deviceapi.ErrNotFound, firstID, succeeded)
}

func TestDeviceWithSeveralTargets(t *testing.T) {
	w := newWorld(t, 1)
	duplicate := aTarget("duplicate")
	duplicate.Spec.ControllerID = "dev-0"
	duplicate.CreationTimestamp.Time = duplicate.CreationTimestamp.Add(time.Minute)
	if err := w.server.Create(context.Background(), duplicate); err != nil {
		t.Fatal(err)
	}
	d := w.deviceAPI(Options{})
	d.start()
	if n := len(w.target("duplicate").Status.Actions); n != 0 {
		t.Errorf("the newer duplicate has %d actions", n)
	}
	w.wantState(firstID, v1alpha1.ActionRetrieved)
}

// If devices report their installed set, a new device must report it before it is offered an
// update: a rebuilt cluster does not know the set.
func TestANewDeviceReportsItsSetFirst(t *testing.T) {
	w := newWorld(t, 1)
	w.editTarget(func(target *v1alpha1.Target) { target.Status.LastSeen, target.Status.Attributes = nil, nil })
	d := w.deviceAPI(Options{InstalledName: "software", InstalledVersion: "release"})
	d.sync()
	if p := d.poll(); p.DeployID != 0 || !p.WantAttributes {
		t.Errorf("the first poll offers %d, requests attributes: %t; want only the request for attributes", p.DeployID, p.WantAttributes)
	}
	d.sync()
	if p := d.poll(); p.DeployID == 0 {
		t.Error("a device that reports nothing is never offered an update")
	}
	w = newWorld(t, 1)
	w.editTarget(func(target *v1alpha1.Target) { target.Status.LastSeen, target.Status.Attributes = nil, nil })
	d = w.deviceAPI(Options{})
	d.sync()
	if p := d.poll(); p.DeployID == 0 {
		t.Error("if devices do not report their installed set, the first poll must offer the update")
	}
}

// In a rebuild a device may report a set that does not exist yet or is not reconciled. The report
// counts when the set is reconciled, and until then the device is offered nothing.
func TestReportOfASetThatIsNotReconciled(t *testing.T) {
	w := newWorld(t, 1)
	var known v1alpha1.DistributionSetStatus
	w.editSet(func(s *v1alpha1.DistributionSet) {
		known = *s.Status.DeepCopy()
		s.Status = v1alpha1.DistributionSetStatus{}
	})
	d := w.deviceAPI(Options{InstalledName: "set", InstalledVersion: "version"})
	if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"set": "firmware", "version": "1.0"})); err != nil {
		t.Fatal(err)
	}
	d.sync()
	if i := w.target("dev-0").Status.Installed; i != nil {
		t.Fatalf("the set is not reconciled, but %+v is installed", i)
	}
	if !d.installedUnknown(w.target("dev-0")) {
		t.Error("a device may be offered an update while the set that it reports is not reconciled")
	}
	w.editSet(func(s *v1alpha1.DistributionSet) { s.Status = known })
	d.sync()
	w.takeWrites()
	if p := d.poll(); p.DeployID != 0 {
		t.Error("a device is offered the set that it runs")
	}
	w.wantWrites(1, "the device's earlier report")
	if i := w.target("dev-0").Status.Installed; i == nil || i.ContentHash != known.ContentHash {
		t.Errorf("installed is %+v", i)
	}
	d.sync()
	d.poll()
	w.wantWrites(0, "another poll")
}

// Two sets have the same name and version, and different types. A device that has just installed
// one of them, and reports name and version, does not run the other.
func TestAttributesDoNotChangeTheTypeOfTheInstalledSet(t *testing.T) {
	w := newWorld(t, 1)
	older := aSet("earlier", "1.0")
	older.CreationTimestamp.Time = rolloutStart.Add(-48 * time.Hour)
	older.Status.ContentHash = strings.Repeat("0c", 32)
	if err := w.server.Create(context.Background(), older); err != nil {
		t.Fatal(err)
	}
	w.editTarget(func(target *v1alpha1.Target) {
		target.Status.Attributes = map[string]v1alpha1.AttributeValue{"hw": "B"}
	})
	d := w.deviceAPI(Options{InstalledName: "set", InstalledVersion: "version"})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	d.sync()
	if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"set": "firmware", "version": "1.0"})); err != nil {
		t.Fatal(err)
	}
	if i := w.target("dev-0").Status.Installed; i == nil || i.DistributionSet != "firmware" || i.ActionID != firstID {
		t.Errorf("installed is %+v", i)
	}
}

// An older auto-assignment of an older set selects all targets. A device that a newer rollout has
// updated, and that reports what it runs, is not downgraded. A device that starts to match another
// auto-assignment is offered the set of that one.
func TestAttributesDowngradeNoDevice(t *testing.T) {
	w := newWorld(t, 1)
	before := metav1.NewMicroTime(rolloutStart.Add(-time.Hour))
	for name, expression := range map[string]string{"default": "true", "prod": `target.attributes["ring"] == "prod"`} {
		set := aSet("set-of-"+name, name)
		set.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "content", Value: name, VisibleToDevice: true}}
		set.Status.ContentHash = offer.ContentHash(set, nil)
		auto := built.AutoAssignment(name, set.Name, func(a *v1alpha1.AutoAssignment) { a.Spec.TargetExpression = expression })
		auto.Status = v1alpha1.AutoAssignmentStatus{State: v1alpha1.AutoAssignmentRunning, StartedAt: &before}
		if err := errors.Join(w.server.Create(context.Background(), set), w.server.Create(context.Background(), auto)); err != nil {
			t.Fatal(err)
		}
	}
	w.editTarget(func(t *v1alpha1.Target) { t.CreationTimestamp = metav1.NewTime(rolloutStart.Add(-24 * time.Hour)) })
	d := w.deviceAPI(Options{})
	d.start()
	d.wantReport(nil, firstID, proceeding)
	d.wantReport(nil, firstID, succeeded)
	for i, version := range []string{"0.9", "1.0"} {
		w.wait(time.Hour)
		if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"sw": version, "ring": "lab"})); err != nil {
			t.Fatal(err)
		}
		d.sync()
		if p := d.poll(); p.DeployID != 0 {
			t.Errorf("after %d reports of attributes the device is offered an update", i+1)
		}
	}
	if err := d.Attributes(context.Background(), dev0, data(deviceapi.MergeAttributes, map[string]string{"ring": "prod"})); err != nil {
		t.Fatal(err)
	}
	d.sync()
	if p := d.poll(); p.DeployID != firstID+1 {
		t.Errorf("the device has moved to another ring, and is offered %d", p.DeployID)
	}
}
