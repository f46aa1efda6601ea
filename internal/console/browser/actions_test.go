// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
	"github.com/goshawk-dev/goshawk/internal/testing/demofleet"
)

// testStop: a person with the role goshawk-stopper stops a rollout that Git owns, and
// another person sees it on an open page.
func (s *stage) testStop(t *testing.T) {
	onlooker := s.as(t, "vera", "rollouts/fleet/sensor-1-5", chromium.Options{})
	onlooker.AwaitText("Paused")
	check := stays(onlooker)

	tab := s.as(t, "stan", "rollouts/fleet/sensor-1-5", chromium.Options{})
	tab.ClickTo("main .actions a.danger")
	tab.AwaitText("Nothing is written before")
	tab.Click("#type-Soft")
	tab.ClickTo("form.choose button")
	tab.AwaitText("A stop is final")
	tab.Await(`document.querySelector("#locked").innerText.includes("Argo CD")`)
	tab.CheckAccessibility()

	t.Log("another choice, which the page does not show yet, cannot be applied")
	hides := func(selector string) string { return `!document.querySelector("` + selector + `").checkVisibility()` }
	tab.Await(hides(".outdated"))
	tab.Click("#type-None")
	tab.Await(hides("form.apply"))
	tab.Await("!(" + hides(".outdated") + ")")
	tab.CheckAccessibility()
	tab.Click("#type-Soft")
	tab.Await(hides(".outdated"))

	t.Log("without the confirmation the browser sends nothing, with a wrong one nothing is written")
	tab.Click("form.apply button")
	tab.Await(`document.querySelector("form.apply:invalid") !== null`)
	tab.Click("#owned")
	if tab.Has("#confirm") {
		tab.Allow("status of 4")
		tab.Fill("#confirm", "sensor-1-4")
		tab.ClickTo("form.apply button")
		tab.Await(`document.querySelector("#said") !== null`)
		tab.Fill("#confirm", "sensor-1-5")
		tab.Click("#owned")
	}
	if state := demofleet.Get(s.world, demofleet.Rollout("sensor-1-5")).Spec.State; state != v1alpha1.IntentRunning {
		t.Fatalf("spec.state is %s before the confirmation", state)
	}

	t.Log("with it the rollout is stopped")
	if got := tab.ClickTo("form.apply button"); got != http.StatusOK {
		t.Errorf("the page after the stop has status %d", got)
	}
	tab.AwaitText("The fields as they are now")
	tab.AwaitText("goshawk-console")
	tab.CheckAccessibility()
	stopped := demofleet.Get(s.world, demofleet.Rollout("sensor-1-5"))
	if stopped.Spec.State != v1alpha1.IntentStopped {
		t.Errorf("spec.state is %s", stopped.Spec.State)
	}
	if !slices.ContainsFunc(stopped.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == "goshawk-console" }) {
		t.Errorf("the field managers are %+v", stopped.ManagedFields)
	}
	s.world.Pass(time.Minute)
	onlooker.Await(`/Stopp(ed|ing)/.test(document.querySelector("h1").parentElement.innerText)`)
	check(t)
}

// testInvalidation: a person with the role goshawk-stopper invalidates a set.
func (s *stage) testInvalidation(t *testing.T) {
	onlooker := s.as(t, "vera", "rollouts/fleet/gateway-2-1", chromium.Options{Dark: true})
	onlooker.AwaitText("Running")

	tab := s.as(t, "stan", "actions/sets/fleet/gateway-2-1/invalidate", chromium.Options{Width: 360, Height: 740})
	tab.AwaitText("What uses the set")
	tab.CheckAccessibility()
	tab.Click("#type-Force")
	tab.Fill(`form.choose input[name="reason"]`, "bricks the modem "+demofleet.Hostile)
	tab.ClickTo("form.choose button")
	tab.AwaitText("There is no way back.")
	tab.AwaitText("bricks the modem")
	fitsWidth(t, tab)
	tab.CheckAccessibility()

	t.Log("with a name as long as names can be it fits the width, too")
	chromium.Value[bool](tab, `(() => {
		const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
		while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll("gateway-2-1", "g".repeat(253));
		return true;
	})()`)
	fitsWidth(t, tab)

	t.Log("the API server refuses it, and its words are shown")
	refusal := apierrors.NewForbidden(schema.GroupResource{Group: "goshawk.dev", Resource: "distributionsets"}, "gateway-2-1", errPolicy)
	s.refuse(refusal)
	tab.Allow("status of 4")
	confirm := func() {
		if tab.Has("#owned") {
			tab.Click("#owned")
		}
		tab.Fill("#confirm", "gateway-2-1")
	}
	confirm()
	tab.ClickTo("form.apply button")
	tab.Await(`document.querySelector("#said blockquote").innerText.trim() === ` + quoted(refusal.Error()))
	if set := demofleet.Get(s.world, demofleet.DistributionSet("gateway-2-1")); set.Spec.Invalidation != nil {
		t.Fatal("the set is invalidated although it was refused")
	}
	s.refuse(nil)

	t.Log("the API server accepts it")
	tab.Visit(s.url + "actions/sets/fleet/gateway-2-1/invalidate?type=Force&reason=bricks+the+modem")
	confirm()
	tab.ClickTo("form.apply button")
	tab.AwaitText("The fields as they are now")
	set := demofleet.Get(s.world, demofleet.DistributionSet("gateway-2-1"))
	if i := set.Spec.Invalidation; i == nil || i.Cancellation != v1alpha1.CancellationForce || i.Reason != "bricks the modem" {
		t.Fatalf("spec.invalidation is %+v", i)
	}
	s.world.Pass(time.Minute)
	onlooker.AwaitText("bricks the modem")
	onlooker.Await(`/Stopped/.test(document.querySelector("h1").parentElement.innerText)`)
	if r := s.world.Index.Rollout(client.ObjectKey{Namespace: demofleet.Namespace, Name: "gateway-2-1"}); r.Status.State != v1alpha1.RolloutStopped {
		t.Errorf("the rollout is %s", r.Status.State)
	}
}

// testProposal: an open proposal says that the rollout has changed, and keeps what was typed.
func (s *stage) testProposal(t *testing.T) {
	tab := s.as(t, "stan", "actions/rollouts/fleet/gateway-2-1/stop?type=Force", chromium.Options{})
	check := stays(tab)
	tab.Fill("#confirm", "gateway-2")
	s.pause("gateway-2-1", v1alpha1.IntentPaused)
	tab.AwaitText("Since this page was made, something has changed. The change is now spec.state: Paused -> Stopped.")
	tab.Await(`document.querySelector("#confirm").value === "gateway-2" && document.querySelector("#change ~ table").innerText.includes("Running")`)
	tab.CheckAccessibility()
	check(t)
	tab.ClickTo("#live a")
	tab.Await(`document.querySelector("#change ~ table").innerText.includes("Paused") && document.querySelector("#live").innerText === ""`)
	s.pause("gateway-2-1", v1alpha1.IntentRunning)
	tab.AwaitText("Since this page was made, something has changed.")
}

// testChangesWithoutScript: a browser that runs no script applies changes, too: one click, a
// choice, and a confirmation that is typed.
func (s *stage) testChangesWithoutScript(t *testing.T) {
	tab := s.as(t, "stan", "rollouts/lab/lab-image", chromium.Options{NoScript: true})
	lab := func() *v1alpha1.Rollout {
		return demofleet.Get(s.world, &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: demofleet.Lab, Name: "lab-image"}})
	}
	tab.ClickTo("main .actions a") // pause
	tab.ClickTo("form.apply button")
	tab.AwaitText("The fields as they are now")
	if state := lab().Spec.State; state != v1alpha1.IntentPaused {
		t.Fatalf("spec.state is %s", state)
	}
	tab.Visit(s.url + "rollouts/lab/lab-image")
	tab.ClickTo("main .actions a.danger")
	tab.Click("#type-None")
	tab.ClickTo("form.choose button")
	tab.ClickTo("form.apply button")
	tab.AwaitText("The fields as they are now")
	if spec := lab().Spec; spec.State != v1alpha1.IntentStopped || spec.StopCancellation != v1alpha1.CancellationNone {
		t.Fatalf("the rollout is %s with %s", spec.State, spec.StopCancellation)
	}
	tab.Visit(s.url + "actions/sets/lab/lab-image/invalidate?type=Soft")
	tab.Fill("#confirm", "lab")
	tab.Allow("status of 422")
	if got := tab.ClickTo("form.apply button"); got != http.StatusUnprocessableEntity {
		t.Errorf("with another name the status is %d", got)
	}
	tab.AwaitText("a confirmation is missing")
	tab.Fill("#confirm", "lab-image")
	tab.ClickTo("form.apply button")
	tab.AwaitText("The fields as they are now")
	set := demofleet.Get(s.world, &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Namespace: demofleet.Lab, Name: "lab-image"}})
	if set.Spec.Invalidation == nil || set.Spec.Invalidation.Cancellation != v1alpha1.CancellationSoft {
		t.Errorf("spec.invalidation is %+v", set.Spec.Invalidation)
	}
}

// testViewer: a person with the role goshawk-viewer sees what would be done, and cannot do it.
func (s *stage) testViewer(t *testing.T) {
	t.Parallel()
	tab := s.as(t, "vera", "actions/rollouts/fleet/gateway-2-1/stop?type=Soft", chromium.Options{})
	tab.AwaitText("A stop is final")
	tab.AwaitText("goshawk-stopper")
	if tab.Has("form.apply") || !tab.Has("#why-not") {
		t.Error("the page lets a viewer apply the change")
	}
	tab.CheckAccessibility()

	t.Log("a form that was made for another person is refused")
	tab.Visit(s.url + "as/stan")
	tab.Visit(s.url + "actions/rollouts/fleet/gateway-2-1/stop?type=Soft")
	tab.Click("#owned")
	if tab.Has("#confirm") {
		tab.Fill("#confirm", "gateway-2-1")
	}
	chromium.Value[int](tab, `fetch("/as/vera").then(r => r.status)`)
	tab.Allow("status of 403")
	if got := tab.ClickTo("form.apply button"); got != http.StatusForbidden {
		t.Errorf("the status is %d", got)
	}
	tab.AwaitText("This form was made for another session, so nothing was changed.")
}

// errPolicy is what a policy of the API server says.
var errPolicy = errors.New("ValidatingAdmissionPolicy 'goshawk-distributionsets' denied request: only members of the group <release-team> may invalidate a set of production")

// quoted returns a text as a JavaScript literal.
func quoted(text string) string {
	literal, _ := json.Marshal(text)
	return string(literal)
}
