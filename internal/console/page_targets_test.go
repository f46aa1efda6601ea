// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// markup is what a device or a person can write to attack a page.
const markup = `"><script>alert(1)</script><img src=x onerror=alert(1)>`

// fleetOfTests has the sets firmware-1 and firmware-2 with a module each, the targets dev-1 to
// dev-9 that run firmware-1, a running rollout of firmware-2 to dev-1 to dev-6, and an
// auto-assignment of firmware-1. dev-1 has succeeded, dev-2 failed, dev-3 is silent, dev-4
// inconsistent, and dev-5 on hold.
func fleetOfTests() []client.Object {
	started := worldTime.Add(-2 * time.Hour)
	module := func(name string) *v1alpha1.SoftwareModule {
		return objects.SoftwareModule(name, func(m *v1alpha1.SoftwareModule) {
			m.Spec.Vendor = "acme"
			m.Spec.Artifacts = []v1alpha1.Artifact{{FileName: name + ".swu", Size: 3 << 20, Checksums: v1alpha1.Checksums{SHA256: strings.Repeat("ab", 32)},
				Downloads: []v1alpha1.Download{{Protocol: v1alpha1.ProtocolHTTPS, URL: "https://robot:hunter2@cdn.example.com/signed/path?token=letmein"}}}}
		})
	}
	os1, os2 := module("os-1"), module("os-2")
	one := objects.DistributionSet("firmware-1", build.Locked(started, offer.ContentHash, os1))
	two := objects.DistributionSet("firmware-2", build.Locked(started, offer.ContentHash, os2))
	r := objects.Rollout("newest", "firmware-2")
	g := objects.DeploymentGroup(r, 0, build.Members("dev-1", "dev-2", "dev-3", "dev-4", "dev-5", "dev-6"))
	build.Running(started, two.Status.ContentHash, g)(r)
	auto := objects.AutoAssignment("baseline", "firmware-1", func(a *v1alpha1.AutoAssignment) {
		at := metav1.NewMicroTime(started.Add(-time.Hour))
		a.Status.State, a.Status.StartedAt = v1alpha1.AutoAssignmentRunning, &at
		a.Status.Targets = &v1alpha1.AutoAssignmentTargets{Matched: 9, Succeeded: 8, Failed: 1}
		a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRunning, Message: "offering firmware-1 to 9 matching targets"}}
	})
	all := []client.Object{os1, os2, one, two, r, g, auto}
	for i := 1; i <= 9; i++ {
		all = append(all, objects.Target(fmt.Sprintf("dev-%d", i), func(t *v1alpha1.Target) {
			seen := metav1.NewTime(worldTime.Add(-time.Hour))
			t.Labels = map[string]string{"site": []string{"berlin", "oslo"}[i%2]}
			t.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "tokens-of-devices", Key: "dev-key"}
			t.Status.UpdateStatus, t.Status.LastSeen, t.Status.ControllerID = v1alpha1.UpdateStatusInSync, &seen, t.Name
			t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: one.Name, ContentHash: one.Status.ContentHash, Source: v1alpha1.InstalledByAction}
		}))
	}
	edit := func(name string, change func(*v1alpha1.Target)) {
		for _, o := range all {
			if t, ok := o.(*v1alpha1.Target); ok && t.Name == name {
				change(t)
			}
		}
	}
	isFalse := func(kind, reason string) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: "because of " + reason})
		}
	}
	acts := func(state v1alpha1.ActionState, more func(*v1alpha1.Action)) func(*v1alpha1.Target) {
		return func(t *v1alpha1.Target) {
			at, closed := metav1.NewTime(started.Add(time.Minute)), metav1.NewTime(started.Add(time.Hour))
			a := build.Action(100, "firmware-2", state, func(a *v1alpha1.Action) {
				a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID, Group: "group-1", Attempt: 1, Since: r.Status.StartedAt}
				a.ContentHash, a.StartedAt, a.ClosedAt = two.Status.ContentHash, &at, &closed
				a.History = []v1alpha1.ActionEvent{{Time: at, State: v1alpha1.ActionDownloading, Message: "fetching"}}
			})
			more(&a)
			t.Status.Actions, t.Status.NextActionID = []v1alpha1.Action{a}, 101
		}
	}
	edit("dev-1", acts(v1alpha1.ActionFinished, func(*v1alpha1.Action) {}))
	edit("dev-1", func(t *v1alpha1.Target) {
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: two.Name, ContentHash: two.Status.ContentHash, Source: v1alpha1.InstalledByAction}
	})
	edit("dev-2", acts(v1alpha1.ActionError, func(a *v1alpha1.Action) {
		a.StatusCode, a.FailureMessage = "E42", markup
		a.Messages = []string{markup, "no space left"}
	}))
	edit("dev-2", func(t *v1alpha1.Target) {
		t.Status.UpdateStatus = v1alpha1.UpdateStatusError
		t.Status.Attributes = map[string]v1alpha1.AttributeValue{"motto": markup, "serial": "4711"}
	})
	edit("dev-3", isFalse(v1alpha1.ConditionOnline, "Overdue"))
	edit("dev-4", isFalse(v1alpha1.ConditionConsistent, "UpdateFailed"))
	edit("dev-5", func(t *v1alpha1.Target) { t.Spec.Hold = true })
	return all
}

// firstCells returns the first cell of each row, without the namespace.
func firstCells(rows [][]string) string {
	var names []string
	for _, row := range rows {
		name, _, _ := strings.Cut(row[0], " ")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestFilterOfTargets(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	for query, want := range map[string]string{
		"":                                       "dev-1 dev-2 dev-3 dev-4 dev-5 dev-6 dev-7 dev-8 dev-9",
		"namespace=fleet&state=Error":            "dev-2",
		"state=silent":                           "dev-3",
		"state=inconsistent&state=InSync":        "dev-4",
		"state=held":                             "dev-5",
		"set=firmware-2":                         "dev-1",
		"set=firmware-2&use=installed":           "dev-1",
		"label=site%3Dberlin":                    "dev-2 dev-4 dev-6 dev-8",
		"label=site%3Dberlin,site!%3Doslo&q=V-8": "dev-8",
	} {
		if got := firstCells(w.get("/targets?" + query).wantStatus(http.StatusOK).rows("target")); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	w.get("/targets?state=silent&state=held").wantStatus(http.StatusOK).wantText("None of 9 targets matches.")
	w.get("/targets?namespace=nowhere").wantText("There are no targets here.")
	for _, query := range []string{"namespace=fleet&state=held", "namespace=nowhere&state=held"} {
		if got := w.get("/targets?" + query).link("All namespaces"); got != "/targets?state=held" {
			t.Errorf("the way from %s to all namespaces: %s", query, got)
		}
	}
	for query, want := range map[string]string{
		"state=broken":                  `state is "broken"`,
		"use=stolen":                    `use is "stolen"`,
		"label=a%20in%20(":              "no label selector",
		"page=0":                        `page is "0"`,
		"page=x":                        `page is "x"`,
		"q=" + strings.Repeat("x", 513): "more than 512",
	} {
		w.get("/targets?" + query).wantStatus(http.StatusBadRequest).wantText(want)
	}
}

func TestPagesOfTargets(t *testing.T) {
	var all []client.Object
	for i := range 120 {
		all = append(all, objects.Target(fmt.Sprintf("dev-%03d", i)))
	}
	w := newWorld(t, all...)
	p := w.get("/targets?q=dev").wantText("120 targets", "1 to 50 of 120")
	if rows := p.rows("target"); len(rows) != 50 {
		t.Errorf("%d rows", len(rows))
	}
	last := w.get(p.link("Next")).wantText("51 to 100 of 120").link("Next")
	if rows := w.get(last).wantText("101 to 120 of 120").rows("target"); len(rows) != 20 || !strings.HasPrefix(rows[19][0], "dev-119") {
		t.Errorf("the last page: %v", rows)
	}
}

// TestListOfTargetsFollowsChanges: a page that is requested after a change shows it, also with a
// filter that was used before.
func TestListOfTargetsFollowsChanges(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	w.get("/targets?state=held").wantText("1 of 9 targets")
	w.source.put(objects.Target("dev-6", func(t *v1alpha1.Target) { t.Spec.Hold = true }), objects.Target("dev-new", func(t *v1alpha1.Target) { t.Spec.Hold = true }))
	w.now = w.now.Add(time.Minute)
	if got := firstCells(w.get("/targets?state=held").rows("target")); got != "dev-5 dev-6 dev-new" {
		t.Errorf("held targets: %s", got)
	}
}

func TestPageOfATarget(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	failed := w.get("/targets/fleet/dev-2").wantStatus(http.StatusOK)
	failed.wantText("If the device asks now, it gets: nothing", "failed with code \"E42\" and is not tried again", "To change it: spec.retry.at", "no space left", "fetching",
		"kubectl goshawk why dev-2 -n fleet", "Compared with 8 peers", "attribute motto", "serial")
	if rows := failed.rows("in the order in which they are offered"); len(rows) != 2 || !strings.HasPrefix(rows[0][0], "newest") || !strings.Contains(rows[0][2], "failed") {
		t.Errorf("updates: %v", rows)
	}
	w.get("/targets/fleet/dev-6").wantText("it gets: deploy firmware-2 as action", "from newest", "There is no action yet")
	w.get("/targets/fleet/dev-5").wantText("Held", "spec.hold is true", "To change it: spec.hold: false of Target dev-5")
	w.get("/targets/fleet/dev-4").wantText("Needs attention", "because of UpdateFailed", "Inconsistent")
	w.get("/targets/fleet/dev-0").wantStatus(http.StatusNotFound)
}

// TestTargetThatRunsAnInvalidatedSet says so, if the viewer may see sets.
func TestTargetThatRunsAnInvalidatedSet(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	w.get("/targets/fleet/dev-3").wantNoText("nvalidated")
	w.source.put(objects.DistributionSet("firmware-1", func(s *v1alpha1.DistributionSet) {
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce, Reason: "bricks the modem"}
	}))
	w.get("/targets/fleet/dev-3").wantText("firmware-1", "invalidated with Force (bricks the modem)")
	w.rights.deny(Access{Resource: DistributionSets})
	w.get("/targets/fleet/dev-3").wantNoText("bricks the modem")
}

// TestPagesOfTargetsShowNoCredentials: nothing about the tokens of devices is on a page.
func TestPagesOfTargetsShowNoCredentials(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	for _, path := range []string{"/targets", "/targets/fleet/dev-2", "/sets/fleet/firmware-2"} {
		p := w.get(path).wantStatus(http.StatusOK)
		for _, secret := range []string{"tokens-of-devices", "dev-key", "hunter2", "letmein", "/signed/path"} {
			if strings.Contains(p.body, secret) {
				t.Errorf("%s has %q", path, secret)
			}
		}
	}
}

// TestTextOfDevicesIsNoMarkup: markup in the text of a device is text on the page.
func TestTextOfDevicesIsNoMarkup(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	for _, path := range []string{"/targets", "/targets/fleet/dev-2", "/targets?q=" + "%22%3E%3Cscript%3E", "/sets?q=%22%3E%3Cscript%3E", "/overlaps?q=%22%3E%3Cscript%3E", "/autoassignments?q=%22%3E%3Cscript%3E&namespace=%22%3E%3Cscript%3E"} {
		p := w.get(path)
		if slices.ContainsFunc(p.all("img"), func(n *html.Node) bool { return attribute(n, "onerror") != "" }) || strings.Contains(p.body, "<script>alert") {
			t.Errorf("%s has the markup of a device", path)
		}
	}
	w.get("/targets/fleet/dev-2").wantText(markup)
}

// TestTargetWithoutOtherRights: a viewer who may see targets only sees what is stored in the
// target, and which other kinds are not shown.
func TestTargetWithoutOtherRights(t *testing.T) {
	w := newWorld(t, fleetOfTests()...)
	w.rights.deny(Access{Resource: Rollouts})
	w.rights.deny(Access{Resource: Inventories})
	p := w.get("/targets/fleet/dev-2").wantStatus(http.StatusOK).wantText("E42", "The rollouts are not shown.")
	p.wantNoText("If the device asks now", "Updates that want this target")
	w.rights.deny(Access{Resource: Targets})
	w.get("/targets/fleet/dev-2").wantStatus(http.StatusForbidden)
	w.get("/targets").wantStatus(http.StatusForbidden)
}
