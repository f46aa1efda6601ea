// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// runs sets what a target runs, and its update status.
func runs(set string, status v1alpha1.UpdateStatus) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Status.UpdateStatus, t.Status.Installed = status, &v1alpha1.InstalledSet{DistributionSet: set}
	}
}

func isNot(condition string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) {
		t.Status.Conditions = append(t.Status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionFalse})
	}
}

// smallFleet has rollouts that need a person, one that runs, targets in several states, and a set
// that was invalidated.
func smallFleet(t *testing.T) []client.Object {
	all := rolloutsInStates(t)
	return []client.Object{
		all["running"], all["waiting-for-approval"], all["paused-by-error-threshold"], all["finished"],
		objects.Target("a", runs("firmware-1", v1alpha1.UpdateStatusInSync)),
		objects.Target("b", runs("firmware-1", v1alpha1.UpdateStatusError), isNot(v1alpha1.ConditionConsistent)),
		objects.Target("c", runs("firmware-2", v1alpha1.UpdateStatusInSync), isNot(v1alpha1.ConditionOnline)),
		objects.Target("d", func(t *v1alpha1.Target) { t.Spec.Hold = true }),
		objects.DistributionSet("firmware-1", func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft}
		}),
		inNamespace(objects.Target("e", runs("firmware-1", v1alpha1.UpdateStatusInSync)), "plant"),
	}
}

// A person who opens the console of a new cluster sees that the fleet is empty, and not only that
// nothing is to be done.
func TestEmptyFleet(t *testing.T) {
	const empty = "There are no targets and no rollouts yet"
	newWorld(t).get("/").wantStatus(http.StatusOK).wantText(empty+". Targets are created from manifests", "Nothing waits for a person.")
	w := newWorld(t, smallFleet(t)...)
	w.get("/").wantNoText(empty)
	w.get("/?namespace=new").wantText(empty + " in namespace new.")
	w.get("/?namespace=plant").wantText("1 target").wantNoText(empty)
	newWorld(t, rolloutsInStates(t)["running"]).get("/").wantNoText(empty)
}

func TestFleet(t *testing.T) {
	w := newWorld(t, smallFleet(t)...)
	page := w.get("/").wantStatus(http.StatusOK).wantText("5 targets", "1 Error", "3 In sync", "1 Unknown", "1 Inconsistent", "1 Silent", "1 Held")
	tasks := page.rows("3 tasks, the most urgent first")
	for i, want := range []string{"Check the failures, then resume or stop", "Review the plan, then approve it", "Check what runs on the devices"} {
		if !strings.Contains(tasks[i][1], want) {
			t.Errorf("task %d is %q, want %q", i, tasks[i], want)
		}
	}
	if running := page.rows("1 rollout"); len(running) != 1 || !strings.HasPrefix(running[0][0], "running ") {
		t.Errorf("running rollouts: %q", running)
	}
	if ended := page.rows("ended last"); len(ended) != 1 || !strings.HasPrefix(ended[0][0], "finished ") {
		t.Errorf("ended rollouts: %q", ended)
	}
	sets := page.rows("5 targets by installed distribution set")
	if len(sets) != 4 || sets[0][0] != "firmware-1 ✕ invalidated fleet · firmware firmware-1" || sets[0][1] != "2" || sets[0][3] != "1" || sets[0][4] != "1 Inconsistent" {
		t.Errorf("sets: %q", sets)
	}
	for text, want := range map[string]string{
		"1 Error": "/targets?state=Error", "1 Silent": "/targets?state=silent", "Review the plan, then approve it": "/rollouts/fleet/waiting-for-approval",
		"Check what runs on the devices": "/targets?state=inconsistent", "1 Inconsistent": "/targets?state=inconsistent",
	} {
		if got := page.link(text); got != want {
			t.Errorf("%s links to %s, want %s", text, got, want)
		}
	}
}

func TestFleetOfOneNamespace(t *testing.T) {
	w := newWorld(t, smallFleet(t)...)
	if got := w.get("/").link("plant"); got != "/?namespace=plant" {
		t.Errorf("the namespace links to %s", got)
	}
	w.get("/?namespace=plant").wantStatus(http.StatusOK).wantText("1 target", "Nothing waits for a person.", "No rollout runs by itself").wantNoText("Inconsistent 1")
}

func TestFleetOfAViewerWithFewRights(t *testing.T) {
	w := newWorld(t, smallFleet(t)...)
	w.rights.deny(Access{Resource: Targets, Namespace: "fleet"})
	w.get("/").wantStatus(http.StatusOK).wantText("1 target", "2 tasks").wantNoText("Check what runs on the devices")
	w.rights.deny(Access{Resource: Targets})
	w.get("/").wantStatus(http.StatusOK).wantText("The targets are not shown", "2 tasks").wantNoText("by installed distribution set")
	w.rights.deny(Access{Resource: Rollouts})
	w.get("/").wantStatus(http.StatusForbidden)
}

// A fleet in which much is wrong has a short page, with links to the rest.
func TestFleetWithManyTasks(t *testing.T) {
	all := rolloutsInStates(t)
	var world []client.Object
	for i := range 60 {
		paused, running := all["paused-by-error-threshold"].DeepCopy(), all["running"].DeepCopy()
		paused.Name, running.Name = fmt.Sprint("paused-", i), fmt.Sprint("running-", i)
		world = append(world, paused, running)
	}
	w := newWorld(t, world...)
	page := w.get("/?namespace=fleet").wantStatus(http.StatusOK)
	if n := len(page.rows("60 tasks, the most urgent first; the first 20 are shown")); n != fleetTasks {
		t.Errorf("%d tasks are shown", n)
	}
	if n := len(page.rows("60 rollouts")); n != fleetRollouts {
		t.Errorf("%d running rollouts are shown", n)
	}
	for link, rows := range map[string]string{"All rollouts that need a person": "60 rollouts", "All rollouts that have not ended": "120 rollouts"} {
		if n := len(w.get(page.link(link)).wantStatus(http.StatusOK).rows(rows)); n != rowsPerPage {
			t.Errorf("%s has %d rows", link, n)
		}
	}
}

// The number of each link to targets is the number of targets that the linked page has.
func TestNumbersOfTheFleetAreThoseOfTheListOfTargets(t *testing.T) {
	w := newWorld(t, smallFleet(t)...)
	page, followed := w.get("/"), 0
	for _, a := range page.all("a") {
		href, text := attribute(a, "href"), textOf(a)
		number, _, _ := strings.Cut(text, " ")
		if n, err := strconv.Atoi(number); err == nil && strings.HasPrefix(href, "/targets") {
			followed++
			if got := len(w.get(href).wantStatus(http.StatusOK).rows("target")); got != n {
				t.Errorf("the link %q to %s shows %d targets", text, href, got)
			}
		}
	}
	if followed < 15 {
		t.Errorf("the page has %d links to targets", followed)
	}
}
