// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/operation"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

// hashOfPlan is the hash of the plan of every rollout in these tests.
var hashOfPlan = "sha256:" + strings.Repeat("6d28f836", 8)

func before(d time.Duration) metav1.Time { return metav1.NewTime(worldTime.Add(-d)) }

func microBefore(d time.Duration) *metav1.MicroTime {
	at := metav1.NewMicroTime(worldTime.Add(-d))
	return &at
}

// waitingRollout returns a rollout of 30 targets in three groups that waits for an approval.
func waitingRollout(edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return objects.Rollout("firmware", "set-a", append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Spec.ApprovalRequired = v1alpha1.IntentRunning, true
		r.Status = v1alpha1.RolloutStatus{ObservedGeneration: 1, UID: r.UID, State: v1alpha1.RolloutWaitingForApproval,
			Plan: &v1alpha1.PlanStatus{Hash: hashOfPlan, Targets: 30, Groups: 3}, Targets: &v1alpha1.Counts{Targets: 30, Scheduled: 30}}
		for _, name := range []string{"canary", "early", "rest"} {
			r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupReady, Counts: v1alpha1.Counts{Targets: 10, Scheduled: 10}})
		}
	}}, edits...)...)
}

// runningRollout returns a rollout with one open group, two devices in progress, and one that has
// failed.
func runningRollout(edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return waitingRollout(append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		opened, seen := before(40*time.Minute), before(20*time.Minute)
		r.Spec.ApprovalRequired = false
		r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, microBefore(40*time.Minute)
		r.Status.Groups[0].State, r.Status.Groups[0].OpenedAt = v1alpha1.GroupRunning, &opened
		r.Status.Targets = &v1alpha1.Counts{Targets: 30, Scheduled: 20, Pending: 2, InProgress: 2, Succeeded: 5, Failed: 1}
		r.Status.Failures = []v1alpha1.FailureCount{{StatusCode: "110", Count: 1, Examples: []string{"gw-03"}, FirstSeen: &seen, LastSeen: &seen}}
	}}, edits...)...)
}

func hasApproval(r *v1alpha1.Rollout) { r.Spec.Approval = &v1alpha1.Approval{PlanHash: hashOfPlan} }

func pausedByErrors(r *v1alpha1.Rollout) {
	r.Status.State, r.Status.PauseReason, r.Status.PausedAt = v1alpha1.RolloutPaused, v1alpha1.PauseByErrorThreshold, microBefore(10*time.Minute)
	r.Status.PauseMessage = "group canary went into Error"
}

func wants(state v1alpha1.RolloutIntent) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Spec.State = state }
}

// ownedBy makes a field manager the owner of fields, a minute before the world.
func ownedBy(o client.Object, manager, fields string) {
	at := before(time.Minute)
	o.SetManagedFields(append(o.GetManagedFields(), metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "goshawk.dev/v1alpha1", Time: &at,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}))
}

// roleRights are the verbs and resources of the roles of config/rbac, as far as actions need them.
var roleRights = map[string][]string{
	"viewer":   {},
	"editor":   {"patch rollouts", "update rollouts", "patch distributionsets", "patch autoassignments", "patch targets", "cancel targets", "delete rollouts"},
	"approver": {"patch rollouts", "approve rollouts", "resume rollouts"},
	"stopper":  {"patch rollouts", "update rollouts", "patch distributionsets", "patch autoassignments", "patch targets", "update targets", "cancel targets", "forcecancel targets"},
	"admin": {"patch rollouts", "update rollouts", "patch distributionsets", "patch autoassignments", "patch targets", "update targets", "cancel targets", "forcecancel targets",
		"approve rollouts", "resume rollouts", "delete rollouts"},
}

// actionWorld is a world with an API server in memory, to which the viewer has a client.
type actionWorld struct {
	*world
	server client.WithWatch
	// role has the rights of the viewer, of whom the API server knows as well.
	role string
	// needs are the rights that the API server asks for in a patch.
	needs []operation.Right
	// writes counts the patches that were no dry run, and dryRuns the others. manager is the field
	// manager of the last one.
	writes, dryRuns int
	manager         string
	// before is called before a patch that is no dry run, and answers it if it returns an error.
	before func() error
}

func newActionWorld(t *testing.T, all ...client.Object) *actionWorld {
	t.Helper()
	builder := fakes.Server(t).WithReturnManagedFields()
	for _, o := range all {
		builder = builder.WithObjects(o.DeepCopyObject().(client.Object))
	}
	w := &actionWorld{world: newWorld(t, all...), server: builder.Build(), role: "admin"}
	w.viewer.Authorizer = w
	w.viewer.Client = interceptor.NewClient(w.server, interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
		asked := (&client.PatchOptions{}).ApplyOptions(options)
		isDryRun := len(asked.DryRun) > 0
		if isDryRun {
			w.dryRuns++
		} else if w.before != nil {
			if err := w.before(); err != nil {
				return err
			}
		}
		for _, right := range w.needs {
			if !w.may(right.Verb, right.Resource) {
				return apierrors.NewForbidden(schema.GroupResource{Group: "goshawk.dev", Resource: right.Resource}, o.GetName(), fmt.Errorf("User %q cannot %s resource %q", w.viewer.Name, right.Verb, right.Resource))
			}
		}
		if !isDryRun {
			w.writes, w.manager = w.writes+1, asked.FieldManager
		}
		return c.Patch(ctx, o, p, options...)
	}})
	return w
}

func (w *actionWorld) may(verb, resource string) bool {
	return slices.Contains([]string{"get", "list", "watch"}, verb) || slices.Contains(roleRights[w.role], verb+" "+resource)
}

// May implements Authorizer.
func (w *actionWorld) May(_ context.Context, a Access) (Decision, error) {
	return Decision{Allowed: w.may(a.Verb, string(a.Resource))}, w.rights.err
}

// stored returns the object of the API server, in the form of JSON.
func (w *actionWorld) stored(o client.Object) map[string]any {
	w.Helper()
	now := o.DeepCopyObject().(client.Object)
	if err := w.server.Get(w.Context(), client.ObjectKeyFromObject(o), now); err != nil {
		w.Fatal(err)
	}
	data, err := json.Marshal(now)
	if err != nil {
		w.Fatal(err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(data, &object); err != nil {
		w.Fatal(err)
	}
	return object
}

func (w *actionWorld) field(o client.Object, path string) string {
	w.Helper()
	value, found := operation.ValueAt(w.stored(o), path)
	if !found {
		return ""
	}
	return fmt.Sprint(value)
}

// edit changes an object at the API server, and in the caches.
func (w *actionWorld) edit(o client.Object, change func(client.Object)) {
	w.Helper()
	now := o.DeepCopyObject().(client.Object)
	if err := w.server.Get(w.Context(), client.ObjectKeyFromObject(o), now); err != nil {
		w.Fatal(err)
	}
	change(now)
	status := now.DeepCopyObject().(client.Object)
	if err := w.server.Status().Update(w.Context(), status); err != nil {
		w.Fatal(err)
	}
	now.SetResourceVersion(status.GetResourceVersion())
	if err := w.server.Update(w.Context(), now); err != nil {
		w.Fatal(err)
	}
}

// form returns the fields of the form that applies an action, and nil if the page has none.
func (p *response) form() url.Values {
	for _, form := range p.all("form") {
		if attribute(form, "method") != "post" {
			continue
		}
		values := url.Values{}
		for n := range form.Descendants() {
			if n.Type == html.ElementNode && n.Data == "input" && attribute(n, "type") == "hidden" {
				values.Add(attribute(n, "name"), attribute(n, "value"))
			}
		}
		return values
	}
	return nil
}

// pre returns the text of the element with this id, unchanged.
func (p *response) pre(id string) string {
	p.Helper()
	for _, n := range p.all("pre") {
		if attribute(n, "id") == id {
			return n.FirstChild.Data
		}
	}
	p.Fatalf("%s has no %s", p.path, id)
	return ""
}

// with returns a form with more values.
func with(form url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// operationsOfPeople are all operations, each on an object in a state in which it makes sense.
var operationsOfPeople = map[string]struct {
	object client.Object
	path   string
	// confirm are further values of the form.
	confirm []string
	// field is a field that changes, and value its new value.
	field, value string
	// may are the roles that may apply it.
	may string
}{
	"approve":          {waitingRollout(), "rollouts/fleet/firmware/approve", nil, "spec.approval.planHash", hashOfPlan, "approver"},
	"withdraw":         {waitingRollout(hasApproval), "rollouts/fleet/firmware/withdraw-approval", nil, "spec.approval", "", "approver"},
	"start":            {waitingRollout(wants(v1alpha1.IntentPlanned)), "rollouts/fleet/firmware/start", nil, "spec.state", "Running", "editor approver stopper"},
	"pause":            {runningRollout(), "rollouts/fleet/firmware/pause", nil, "spec.state", "Paused", "editor approver stopper"},
	"resume":           {runningRollout(wants(v1alpha1.IntentPaused)), "rollouts/fleet/firmware/resume", nil, "spec.state", "Running", "editor approver stopper"},
	"resume errors":    {runningRollout(pausedByErrors), "rollouts/fleet/firmware/resume", nil, "spec.resumedAt", "2026-06-01T11:50:00Z", "approver"},
	"advance":          {runningRollout(), "rollouts/fleet/firmware/advance?to=rest", nil, "spec.advance.to", "rest", "editor approver stopper"},
	"advance approved": {runningRollout(hasApproval), "rollouts/fleet/firmware/advance", nil, "spec.advance.to", "early", "approver"},
	"retry":            {runningRollout(), "rollouts/fleet/firmware/retry?code=110", nil, "spec.retry.statusCodes", "[110]", "editor approver stopper"},
	"stop":             {runningRollout(), "rollouts/fleet/firmware/stop", nil, "spec.state", "Stopped", "editor stopper"},
	"stop None":        {runningRollout(), "rollouts/fleet/firmware/stop?type=None", nil, "spec.stopCancellation", "None", "editor approver stopper"},
	"stop Force":       {runningRollout(), "rollouts/fleet/firmware/stop?type=Force", []string{"confirm", "firmware"}, "spec.stopCancellation", "Force", "stopper"},
	"deny a plan":      {waitingRollout(), "rollouts/fleet/firmware/stop", nil, "spec.state", "Stopped", "editor approver stopper"},
	"pause auto":       {objects.AutoAssignment("latest", "set-a"), "autoassignments/fleet/latest/pause", nil, "spec.state", "Paused", "editor stopper"},
	"resume auto": {objects.AutoAssignment("latest", "set-a", func(a *v1alpha1.AutoAssignment) { a.Spec.State = v1alpha1.AutoAssignmentIntentPaused }),
		"autoassignments/fleet/latest/resume", nil, "spec.state", "Running", "editor stopper"},
	"hold":             {objects.Target("gw-01"), "targets/fleet/gw-01/hold", nil, "spec.hold", "true", "editor stopper"},
	"release":          {objects.Target("gw-01", func(t *v1alpha1.Target) { t.Spec.Hold = true }), "targets/fleet/gw-01/release", nil, "spec.hold", "", "editor stopper"},
	"invalidate None":  {objects.DistributionSet("set-a"), "sets/fleet/set-a/invalidate?type=None", []string{"confirm", "set-a"}, "spec.invalidation.cancellation", "None", "editor stopper"},
	"invalidate Soft":  {objects.DistributionSet("set-a"), "sets/fleet/set-a/invalidate?type=Soft&reason=bricks", []string{"confirm", "set-a"}, "spec.invalidation.reason", "bricks", "stopper"},
	"invalidate Force": {objects.DistributionSet("set-a"), "sets/fleet/set-a/invalidate?type=Force", []string{"confirm", "set-a"}, "spec.invalidation.cancellation", "Force", "stopper"},
	"invalidate all":   {objects.DistributionSet("set-a"), "sets/fleet/set-a/invalidate?type=Force&deleteRollouts=true", []string{"confirm", "set-a"}, "spec.invalidation.deleteRollouts", "true", ""},
}

// Each operation as each viewer: a viewer with the rights gets the form and the change is written,
// another one gets the reason, and the API server refuses a form that is sent all the same.
func TestActionsOfEachViewer(t *testing.T) {
	for name, tc := range operationsOfPeople {
		t.Run(name, func(t *testing.T) {
			for _, role := range []string{"viewer", "editor", "approver", "stopper", "admin", "anonymous"} {
				may := role == "admin" || slices.Contains(strings.Fields(tc.may), role)
				w := newActionWorld(t, tc.object)
				before := w.field(tc.object, tc.field)
				page := w.get("/actions/" + tc.path).wantStatus(http.StatusOK).wantText(tc.field)
				form := page.form()
				if form == nil {
					t.Fatalf("an admin has no form: %s", page.text())
				}
				if w.writes != 0 || w.dryRuns != 1 {
					t.Fatalf("the proposal caused %d writes and %d dry runs", w.writes, w.dryRuns)
				}
				w.needs = rightsOf(t, tc.object, tc.path)
				w.role = role
				if role == "anonymous" {
					w.viewer = &Viewer{Name: "goshawk:anonymous", Anonymous: true, Login: "/login", Authorizer: w}
				}
				switch page := w.get("/actions/" + tc.path).wantStatus(http.StatusOK); {
				case may != (page.form() != nil):
					t.Errorf("%s: a form: %t\n%s", role, page.form() != nil, page.text())
				case role == "anonymous":
					page.wantText("You are not logged in", tc.field).wantNoText("Type ")
				case !may:
					page.wantText("jane may not do this: a right is missing.")
				}
				path, _, _ := strings.Cut("/actions/"+tc.path, "?")
				sent := w.post(path, with(form, tc.confirm...))
				written := w.field(tc.object, tc.field)
				switch {
				case may:
					sent.wantStatus(http.StatusSeeOther)
					if written != tc.value && (tc.field != "spec.hold" || written == "true") || w.writes != 1 || w.manager != "goshawk-console" {
						t.Errorf("%s: %s is %q after %d writes by %q", role, tc.field, written, w.writes, w.manager)
					}
					w.get(sent.header.Get("Location")).wantStatus(http.StatusOK).wantText(": result", tc.field)
				case role == "anonymous":
					sent.wantStatus(http.StatusForbidden).wantText("Changes need a login.")
				default:
					sent.wantStatus(http.StatusForbidden).wantText(fmt.Sprintf("User %q cannot", w.viewer.Name))
				}
				if !may && (written != before || w.writes != 0) {
					t.Errorf("%s: %s is %q, was %q", role, tc.field, written, before)
				}
			}
		})
	}
}

// rightsOf returns the rights of a request.
func rightsOf(t *testing.T, object client.Object, path string) []operation.Right {
	t.Helper()
	address, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(address.Path, "/")
	q := operation.Defaults(object, operation.Verb(parts[len(parts)-1]))
	if kind := address.Query().Get("type"); kind != "" {
		q.Cancellation = v1alpha1.Cancellation(kind)
	}
	q.To, q.Codes, q.DeleteRollouts = address.Query().Get("to"), address.Query()["code"], address.Query().Get("deleteRollouts") == "true"
	c, err := q.On(object, worldTime)
	if err != nil {
		t.Fatal(err)
	}
	return c.Rights
}

// A form that is sent twice is written once, also for operations with the time as a token.
func TestFormThatIsSentTwice(t *testing.T) {
	for name, tc := range operationsOfPeople {
		t.Run(name, func(t *testing.T) {
			w := newActionWorld(t, tc.object)
			form := with(w.get("/actions/"+tc.path).form(), tc.confirm...)
			path, _, _ := strings.Cut("/actions/"+tc.path, "?")
			first := w.post(path, form).wantStatus(http.StatusSeeOther)
			stored := w.stored(tc.object)
			w.now = w.now.Add(10 * time.Minute)
			second := w.post(path, form).wantStatus(http.StatusSeeOther)
			if w.writes != 1 || fmt.Sprint(stored) != fmt.Sprint(w.stored(tc.object)) || first.header.Get("Location") != second.header.Get("Location") {
				t.Errorf("%d writes; %v", w.writes, w.stored(tc.object))
			}
		})
	}
	t.Run("at the same time", func(t *testing.T) {
		r := runningRollout()
		w := newActionWorld(t, r)
		form := w.get("/actions/rollouts/fleet/firmware/advance").form()
		w.before = func() error { // the other one is written first
			w.before = nil
			w.post("/actions/rollouts/fleet/firmware/advance", form).wantStatus(http.StatusSeeOther)
			return nil
		}
		w.post("/actions/rollouts/fleet/firmware/advance", form).wantStatus(http.StatusSeeOther)
		if generation := w.field(r, "spec.advance.at"); generation != "2026-06-01T12:00:00Z" {
			t.Errorf("spec.advance.at is %s", generation)
		}
	})
}

// A field that a GitOps tool owns is locked, with its owner and what that means. A bad update can
// be stopped all the same, with a warning and a confirmation.
func TestLockedFields(t *testing.T) {
	flux := func(o client.Object) {
		o.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "rollouts", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"})
		ownedBy(o, "kustomize-controller", `{"f:spec":{"f:state":{},"f:hold":{},"f:invalidation":{"f:cancellation":{}}}}`)
	}
	argo := func(o client.Object) {
		o.SetAnnotations(map[string]string{"argocd.argoproj.io/tracking-id": "fleet-a:goshawk.dev/Rollout:fleet/firmware"})
		ownedBy(o, "argocd-controller", `{"f:spec":{"f:state":{}}}`)
	}
	for name, tc := range map[string]struct {
		object  client.Object
		owner   func(client.Object)
		path    string
		confirm []string
		field   string
		locked  bool
		want    string
	}{
		"a pause of what Flux owns":         {runningRollout(), flux, "rollouts/fleet/firmware/pause", nil, "spec.state", true, "Flux owns spec.state (field manager kustomize-controller, Kustomization flux-system/rollouts), and its next sync sets the field back to the value in Git."},
		"a pause of what Argo CD owns":      {runningRollout(), argo, "rollouts/fleet/firmware/pause", nil, "spec.state", true, "Argo CD owns spec.state (field manager argocd-controller, Application fleet-a)"},
		"a hold that Flux owns":             {objects.Target("gw-01", func(t *v1alpha1.Target) { t.Spec.Hold = true }), flux, "targets/fleet/gw-01/release", nil, "spec.hold", true, "Flux owns spec.hold"},
		"a stop of what Argo CD owns":       {runningRollout(), argo, "rollouts/fleet/firmware/stop", nil, "spec.state", false, "The field belongs to Git, and this is an emergency action"},
		"an invalidation of what Flux owns": {objects.DistributionSet("set-a"), flux, "sets/fleet/set-a/invalidate?type=Soft", []string{"confirm", "set-a"}, "spec.invalidation.cancellation", false, "Flux owns spec.invalidation"},
	} {
		t.Run(name, func(t *testing.T) {
			free := newActionWorld(t, tc.object)
			form := with(free.get("/actions/"+tc.path).form(), tc.confirm...) // made before the tool owned the field
			object := tc.object.DeepCopyObject().(client.Object)
			tc.owner(object)
			w := newActionWorld(t, object)
			page := w.get("/actions/"+tc.path).wantStatus(http.StatusOK).wantText(tc.want, "kubectl goshawk", "--apply --force")
			if locked := page.form() == nil; locked != tc.locked {
				t.Errorf("locked: %t\n%s", locked, page.text())
			}
			before := w.field(object, tc.field)
			path, _, _ := strings.Cut("/actions/"+tc.path, "?")
			form.Set("resourceVersion", "another")
			w.post(path, form).wantText("Nothing was written")
			if w.writes != 0 || w.field(object, tc.field) != before {
				t.Fatalf("%d writes without the confirmation", w.writes)
			}
			if tc.locked {
				page.wantText("Locked: the field belongs to Git", "Commit the manifest")
				w.post(path, with(form, "owned", "yes")).wantStatus(http.StatusConflict).wantText("the field is locked")
				return
			}
			w.post(path, with(page.form(), append(tc.confirm, "owned", "yes")...)).wantStatus(http.StatusSeeOther)
			if w.writes != 1 {
				t.Errorf("%d writes", w.writes)
			}
		})
	}
	other := runningRollout()
	other.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "rollouts", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"})
	ownedBy(other, "kustomize-controller", `{"f:spec":{"f:update":{}}}`)
	w := newActionWorld(t, other)
	if page := w.get("/actions/rollouts/fleet/firmware/pause").wantText("Flux Kustomization flux-system/rollouts applies this object, and does not own this field"); page.form() == nil {
		t.Error("a field that the tool does not own is locked")
	}
}

// What the decision depends on and has changed since is shown, and asked again. Numbers of a
// running rollout change all the time, and ask nothing again.
func TestObjectThatChangesAfterThePreview(t *testing.T) {
	rollout := func(change func(*v1alpha1.Rollout)) func(client.Object) {
		return func(o client.Object) { change(o.(*v1alpha1.Rollout)) }
	}
	counts := rollout(func(r *v1alpha1.Rollout) { r.Status.Targets.InProgress, r.Status.Targets.Pending = 4, 0 })
	for name, tc := range map[string]struct {
		object *v1alpha1.Rollout
		verb   string
		change func(client.Object)
		want   string // "": it is written
		asks   bool   // again
	}{
		"nothing changes":                         {runningRollout(), "pause", func(client.Object) {}, "", false},
		"counts of a running rollout":             {runningRollout(), "pause", counts, "", false},
		"the state, before a pause":               {runningRollout(), "pause", rollout(pausedByErrors), `The state was "Running", and is now "Paused, ErrorThresholdExceeded".`, true},
		"the state, before a stop":                {runningRollout(), "stop", rollout(pausedByErrors), "", false},
		"the spec, before an advance":             {runningRollout(), "advance", func(o client.Object) { o.SetGeneration(2) }, "The spec was changed: from generation 1 to 2.", true},
		"the spec, before a stop":                 {runningRollout(), "stop", func(o client.Object) { o.SetGeneration(2) }, "", false},
		"more failures, before a resume":          {runningRollout(pausedByErrors), "resume", rollout(func(r *v1alpha1.Rollout) { r.Status.Targets.Failed = 40 }), "1 target had failed, and now 40 have failed.", true},
		"a later pause, before a resume":          {runningRollout(pausedByErrors), "resume", rollout(func(r *v1alpha1.Rollout) { r.Status.PausedAt = microBefore(time.Minute) }), "The change is now spec.resumedAt: (not set) -> 2026-06-01T11:59:00Z.", true},
		"the plan, before an approval":            {waitingRollout(), "approve", rollout(func(r *v1alpha1.Rollout) { r.Status.Plan.Hash = "sha256:" + strings.Repeat("0", 64) }), "the spec, the set or the targets have changed since", false},
		"another person pauses it, before a stop": {runningRollout(), "stop", rollout(wants(v1alpha1.IntentPaused)), "The change is now spec.state: Paused -> Stopped.", true},
		"it finishes, before a pause":             {runningRollout(), "pause", rollout(func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }), "cannot pause rollout fleet/firmware: it has finished", false},
	} {
		for when, meanwhile := range map[string]func(*actionWorld){
			"before the form is sent": func(w *actionWorld) { w.edit(tc.object, tc.change) },
			"while the change is written": func(w *actionWorld) {
				w.before = func() error { w.before = nil; w.edit(tc.object, tc.change); return nil }
			},
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				w := newActionWorld(t, tc.object)
				path := "/actions/rollouts/fleet/firmware/" + tc.verb
				form := w.get(path).form()
				meanwhile(w)
				w.writes = 0
				sent := w.post(path, form)
				if tc.want == "" {
					sent.wantStatus(http.StatusSeeOther)
					return
				}
				sent.wantStatus(http.StatusConflict).wantText("Nothing was written", tc.want)
				if asks := sent.form() != nil; asks != tc.asks {
					t.Errorf("asks again: %t\n%s", asks, sent.text())
				}
				if tc.asks { // the new proposal can be applied
					w.post(path, sent.form()).wantStatus(http.StatusSeeOther)
				}
			})
		}
	}
	w := newActionWorld(t, runningRollout())
	form := w.get("/actions/rollouts/fleet/firmware/pause").form()
	w.now = w.now.Add(2 * time.Hour)
	w.post("/actions/rollouts/fleet/firmware/pause", form).wantStatus(http.StatusConflict).wantText("The proposal was made more than an hour ago.")
	if w.writes != 0 {
		t.Error("an old proposal was written")
	}
}

// A refusal of the API server is shown word for word, on the page of the proposal if a dry run
// finds it, and after the form was sent if it comes then.
func TestRefusalsOfTheAPIServer(t *testing.T) {
	const sentence = "ValidatingAdmissionPolicy 'rollouts.rights.goshawk.dev' with binding 'rollouts.rights.goshawk.dev' denied request: to stop with stopCancellation Soft needs the verb cancel on targets in namespace fleet, which jane lacks: bind the ClusterRole goshawk-stopper to jane in that namespace, or stop with None"
	resource := schema.GroupResource{Group: "goshawk.dev", Resource: "rollouts"}
	for name, tc := range map[string]struct {
		err    error
		status int
		want   []string
	}{
		"of a policy":     {apierrors.NewForbidden(resource, "firmware", errors.New(sentence)), http.StatusForbidden, []string{sentence, "A policy of the cluster decides this."}},
		"of RBAC":         {apierrors.NewForbidden(resource, "firmware", errors.New(`User "jane" cannot patch resource`)), http.StatusForbidden, []string{`User "jane" cannot patch resource`, "docs/rights.md"}},
		"of a CEL rule":   {apierrors.NewInvalid(schema.GroupKind{Group: "goshawk.dev", Kind: "Rollout"}, "firmware", nil), http.StatusUnprocessableEntity, []string{`Rollout.goshawk.dev "firmware" is invalid`, "Correct the value"}},
		"of the session":  {apierrors.NewUnauthorized("token expired"), http.StatusUnauthorized, []string{"token expired", "Log in again."}},
		"of the rate":     {apierrors.NewTooManyRequests("too many requests", 1), http.StatusTooManyRequests, []string{"too many requests", "Try again in some seconds."}},
		"without answer":  {errors.New("dial tcp: connection refused"), http.StatusBadGateway, []string{"connection refused", "It is not known whether the change was written."}},
		"after a timeout": {context.DeadlineExceeded, http.StatusBadGateway, []string{"context deadline exceeded", "written once"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newActionWorld(t, runningRollout())
			form := w.get("/actions/rollouts/fleet/firmware/stop").form()
			w.before = func() error { return tc.err }
			sent := w.post("/actions/rollouts/fleet/firmware/stop", form).wantStatus(tc.status).wantText(tc.want...)
			if w.writes != 0 || sent.form() == nil {
				t.Errorf("%d writes, the form can be sent again: %t", w.writes, sent.form() != nil)
			}
			w.viewer.Client = interceptor.NewClient(w.server, interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return tc.err
			}})
			title := "The API server would refuse this change."
			if tc.status == http.StatusBadGateway {
				title = "The API server did not check this change."
			}
			if page := w.get("/actions/rollouts/fleet/firmware/stop").wantStatus(http.StatusOK).wantText(tc.want[0], title).wantNoText("It is not known whether the change was written"); page.form() != nil {
				t.Error("the page has a form for a change that the API server refuses")
			}
			w.viewer.Client = interceptor.NewClient(w.server, interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return tc.err
			}})
			w.get("/actions/rollouts/fleet/firmware/stop").wantStatus(tc.status).wantText("cannot be read", tc.want[0]).wantNoText("It is not known whether the change was written")
		})
	}
}

// TestChangesAreLogged: a written change has a line with object, operation and user at the default
// level, a refused one at V(1).
func TestChangesAreLogged(t *testing.T) {
	w := newActionWorld(t, runningRollout())
	var lines []string
	w.world.server.o.Log = funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{Verbosity: 1})
	form := w.get("/actions/rollouts/fleet/firmware/pause").form()
	w.before = func() error { return errors.New("a policy refuses it") }
	w.post("/actions/rollouts/fleet/firmware/pause", form)
	w.before = nil
	w.post("/actions/rollouts/fleet/firmware/pause", form).wantStatus(http.StatusSeeOther)
	w.post("/actions/rollouts/fleet/firmware/pause", form).wantStatus(http.StatusSeeOther) // it is applied already
	const about = `"kind"="rollouts" "object"={"name"="firmware" "namespace"="fleet"} "operation"="pause" "user"="jane" "change"="spec.state: Running -> Paused"`
	want := []string{
		`"level"=1 "msg"="A change of a user was not written" ` + about + ` "reason"="a policy refuses it"`,
		`"level"=0 "msg"="Wrote a change of a user" ` + about,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Only a form of this session and of this site is accepted.
func TestFormsOfOthersAreRefused(t *testing.T) {
	const path = "/actions/rollouts/fleet/firmware/pause"
	for name, tc := range map[string]struct {
		edit func(url.Values, http.Header)
		want string
	}{
		"no token": {func(f url.Values, _ http.Header) { f.Set("token", "") }, "made for another session"},
		"a token of another viewer": {func(f url.Values, _ http.Header) {
			other := &Viewer{Session: "session-of-max"}
			f.Set("token", other.formToken())
		}, "made for another session"},
		"another site":             {func(_ url.Values, h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") }, "sent by a page of another site"},
		"another host of the site": {func(_ url.Values, h http.Header) { h.Set("Sec-Fetch-Site", "same-site") }, "sent by a page of another site"},
		"another origin":           {func(_ url.Values, h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "https://evil.example") }, "sent by a page of another site"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newActionWorld(t, runningRollout())
			form, header := w.get(path).form(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}}
			tc.edit(form, header)
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
			r.Header = header
			w.do(r).wantStatus(http.StatusForbidden).wantText(tc.want)
			if w.writes != 0 {
				t.Error("it was written")
			}
		})
	}
	w := newActionWorld(t, runningRollout())
	form := w.get(path).form()
	for _, field := range []string{"fields", "generation", "failed"} {
		lacking := url.Values{}
		for name, values := range form {
			if name != field {
				lacking[name] = values
			}
		}
		w.post(path, lacking).wantStatus(http.StatusBadRequest).wantText("nothing was written")
	}
	// The type in the form is not the one that was shown.
	stop := w.get("/actions/rollouts/fleet/firmware/stop?type=None").form()
	w.post("/actions/rollouts/fleet/firmware/stop", with(stop, "type", "Soft")).wantStatus(http.StatusConflict).wantText("The change is now")
	if w.writes != 0 {
		t.Error("it was written")
	}
}

// The name has to be typed for an invalidation, and for a stop that interrupts devices.
func TestNameIsTypedToConfirm(t *testing.T) {
	set, rollout := objects.DistributionSet("set-a"), runningRollout()
	for _, address := range []string{"/actions/sets/fleet/set-a/invalidate?type=None", "/actions/sets/fleet/set-a/invalidate?type=Force", "/actions/rollouts/fleet/firmware/stop?type=Force"} {
		w := newActionWorld(t, set, rollout)
		form := w.get(address).wantText("Type ", "to confirm").form()
		path, _, _ := strings.Cut(address, "?")
		for _, typed := range []string{"", "yes", "set-b", "SET-A", "<script>alert(1)</script>"} {
			sent := w.post(path, with(form, "confirm", typed)).wantStatus(http.StatusUnprocessableEntity).wantText("Nothing was written: a confirmation is missing", fmt.Sprintf("%q was typed", typed))
			if strings.Contains(sent.body, "<script>alert") {
				t.Error("what was typed is not escaped")
			}
		}
		if w.writes != 0 {
			t.Errorf("%s: it was written", address)
		}
		name := strings.Split(path, "/")[4]
		w.post(path, with(form, "confirm", " "+name+" ")).wantStatus(http.StatusSeeOther)
	}
	newActionWorld(t, rollout).get("/actions/rollouts/fleet/firmware/stop?type=None").wantNoText("to confirm")
}

// The preview of an invalidation has what each type reaches, before a type is chosen.
func TestPreviewOfAnInvalidation(t *testing.T) {
	set, rollout := objects.DistributionSet("set-a"), runningRollout()
	auto := objects.AutoAssignment("latest", "set-a", func(a *v1alpha1.AutoAssignment) { a.Status.State = v1alpha1.AutoAssignmentRunning })
	downloading := objects.Target("gw-01", func(t *v1alpha1.Target) {
		a := build.Action(100, "set-a", v1alpha1.ActionDownloading)
		a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: rollout.Name, UID: rollout.UID}
		t.Status.Actions = []v1alpha1.Action{a}
	})
	w := newActionWorld(t, set, rollout, auto, downloading)
	page := w.get("/actions/sets/fleet/set-a/invalidate").wantStatus(http.StatusOK).wantText("asked to cancel", "Choose it if:").wantNoText("Apply now")
	want := [][]string{
		{"auto-assignments Running", "1", "stopped", "stopped", "stopped", "latest"},
		{"rollouts Running", "1", "go on", "stopped", "stopped at once", "firmware"},
		{"groups that have not opened", "2", "go on", "never open", "never open", ""},
		{"targets in these groups", "20", "go on", "canceled", "canceled", ""},
		{"targets in open groups that have not started", "2", "go on", "no longer offered", "no longer offered", ""},
		{"actions downloading", "1", "go on", "asked to cancel", "closed", "gw-01"},
		{"new uses of the set", "", "refused", "refused", "refused", ""},
	}
	if got := page.rows("The objects that an invalidation reaches"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the preview is %q", got)
	}
	if page.form() != nil || w.dryRuns != 0 {
		t.Error("the page applies before a type was chosen")
	}
	w.get("/actions/sets/fleet/set-a/invalidate?type=Force&reason=bricks").wantText("Devices that have started and whose action is closed at once", "An invalidation is final", "There is no way back.",
		"kubectl goshawk -n fleet invalidate set-a --type Force --reason bricks --apply")
	w.get("/actions/sets/fleet/set-a/invalidate?type=Hard").wantText("This is not possible now:", `there is no type "Hard"`)
	w.get("/actions/sets/fleet/set-a/invalidate?type=Soft&deleteRollouts=true").wantText("This is not possible now:")
	if w.writes != 0 {
		t.Error("it was written")
	}
	w.role = "editor" // may invalidate with None only
	if got := strings.Count(w.get("/actions/sets/fleet/set-a/invalidate").text(), "(you lack a right for it)"); got != 2 {
		t.Errorf("an editor lacks rights for %d types", got)
	}
}

// The manifest for a commit is on the page, and can be downloaded without JavaScript.
func TestManifestToDownload(t *testing.T) {
	r := runningRollout()
	ownedBy(r, "kubectl", `{"f:spec":{"f:update":{}}}`)
	w := newActionWorld(t, r)
	page := w.get("/actions/rollouts/fleet/firmware/retry?code=110")
	for _, viewer := range []*Viewer{w.viewer, {Name: "goshawk:anonymous", Anonymous: true, Authorizer: w}} {
		w.viewer = viewer
		file := w.get(page.link("Download")).wantStatus(http.StatusOK)
		if file.body != page.pre("manifest") || file.header.Get("Content-Disposition") != `attachment; filename="firmware.yaml"` || !strings.HasPrefix(file.header.Get("Content-Type"), "application/yaml") {
			t.Errorf("the file is %v\n%s\nthe page has\n%s", file.header, file.body, page.pre("manifest"))
		}
		var manifest struct {
			Metadata map[string]any
			Spec     v1alpha1.RolloutSpec
			Status   any
		}
		if err := yaml.Unmarshal([]byte(file.body), &manifest); err != nil || manifest.Status != nil || len(manifest.Metadata) != 2 || manifest.Spec.Retry == nil || manifest.Spec.Retry.StatusCodes[0] != "110" ||
			manifest.Spec.Update.DistributionSet != "set-a" {
			t.Errorf("%v\n%s", err, file.body)
		}
	}
	w.get("/actions/rollouts/fleet/firmware/resume/manifest.yaml").wantStatus(http.StatusConflict).wantText("cannot resume rollout fleet/firmware")
}

// An object may name the page of its manifest in Git. An address that is no URL is no link.
func TestLinkToTheManifestInGit(t *testing.T) {
	const link = "Open the manifest in Git"
	named := func(url string) *v1alpha1.Rollout {
		r := runningRollout(wants(v1alpha1.IntentPaused))
		r.Annotations = map[string]string{v1alpha1.ManifestURLAnnotation: url}
		return r
	}
	const url = "https://forge.example/fleet/edit/main/firmware.yaml"
	for _, path := range []string{"/actions/rollouts/fleet/firmware/resume", "/actions/rollouts/fleet/firmware/pause/done"} {
		page := newActionWorld(t, named(url)).get(path).wantStatus(http.StatusOK)
		if got := page.link(link); got != url {
			t.Errorf("%s: the link is %q", path, got)
		}
		newActionWorld(t, named("javascript:alert(1)")).get(path).wantStatus(http.StatusOK).wantNoText(link)
	}
}

// The page after a change shows the fields as they are, and that a tool has set one back.
func TestPageAfterAChange(t *testing.T) {
	r := runningRollout(wants(v1alpha1.IntentPaused))
	ownedBy(r, "goshawk-console", `{"f:spec":{"f:state":{}}}`)
	w := newActionWorld(t, r)
	page := w.get("/actions/rollouts/fleet/firmware/pause/done").wantStatus(http.StatusOK).wantText("✓ written", "Paused", "goshawk-console, 60s ago").wantNoText("has written spec.state since")
	if !strings.Contains(page.pre("manifest"), "state: Paused") {
		t.Errorf("the manifest is %s", page.pre("manifest"))
	}
	reverted := runningRollout()
	ownedBy(reverted, "kustomize-controller", `{"f:spec":{"f:state":{}}}`)
	newActionWorld(t, reverted).get("/actions/rollouts/fleet/firmware/pause/done").wantText("The console is not the last writer of these fields.", "kustomize-controller (Flux)", "Flux has written spec.state since.", "commit the change")
}

// Texts of people and devices, and addresses without a link to them, do no harm.
func TestHostileActions(t *testing.T) {
	const script = `<script>alert(1)</script>`
	r := runningRollout(func(r *v1alpha1.Rollout) {
		r.Status.Failures = append(r.Status.Failures, v1alpha1.FailureCount{Message: `"><img src=x onerror=alert(1)> ` + script, Count: 1})
		r.Status.PauseMessage = script
		r.Annotations = map[string]string{"note": script + "\n---\nkind: Secret"}
	})
	set := objects.DistributionSet("set-a", func(s *v1alpha1.DistributionSet) { s.Spec.Version = script })
	w := newActionWorld(t, r, set)
	for _, path := range []string{
		"/actions/rollouts/fleet/firmware/retry", "/actions/rollouts/fleet/firmware/retry?message=" + url.QueryEscape(script), "/actions/rollouts/fleet/firmware/advance?to=" + url.QueryEscape(script),
		"/actions/rollouts/fleet/firmware/stop?type=" + url.QueryEscape(script), "/actions/sets/fleet/set-a/invalidate?type=Soft&reason=" + url.QueryEscape(`'; rm -rf / #"`+script),
		"/actions/rollouts/fleet/firmware/" + url.PathEscape(script), "/actions/rollouts/fleet/firmware/approve?hash=" + url.QueryEscape(script), "/actions/rollouts/" + url.PathEscape(script) + "/firmware/pause",
		"/actions/rollouts/fleet/" + url.PathEscape("../"+script) + "/pause", "/actions/rollouts/fleet/firmware/invalidate", "/actions/targets/fleet/firmware/hold", "/actions/rollouts/fleet/firmware/pause/done?x=" + url.QueryEscape(script),
	} {
		page := w.get(path)
		if page.status >= 500 || strings.Contains(page.body, script) || strings.Contains(page.body, "<img") {
			t.Errorf("%s: status %d\n%s", path, page.status, page.body)
		}
		for _, n := range page.all("script") {
			if attribute(n, "src") == "" {
				t.Errorf("%s has a script of its own", path)
			}
		}
	}
	page := w.get("/actions/sets/fleet/set-a/invalidate?type=Soft&reason=" + url.QueryEscape("it's '$(reboot)'"))
	if got := page.pre("plugin"); !strings.Contains(got, `--reason 'it'\''s '\''$(reboot)'\'''`) {
		t.Errorf("the line for the shell is %s", got)
	}
	for _, path := range []string{"/actions/rollouts/fleet/missing/pause", "/actions/sets/other/set-a/invalidate", "/actions/rollouts/fleet/firmware/hold"} {
		w.get(path).wantStatus(http.StatusNotFound)
	}
	w.get("/actions/rollouts/fleet/firmware/retry?" + strings.Repeat("code=1&", 51)).wantStatus(http.StatusBadRequest)
}

// A viewer who may not see the kind does not see its actions.
func TestActionsOfAKindThatMayNotBeSeen(t *testing.T) {
	w := newActionWorld(t, runningRollout())
	w.viewer.Authorizer = w.rights
	w.rights.deny(Access{Verb: "list", Resource: Rollouts})
	w.get("/actions/rollouts/fleet/firmware/pause").wantStatus(http.StatusForbidden).wantNoText("spec.state")
	form := url.Values{"fields": {"[]"}}
	w.post("/actions/rollouts/fleet/firmware/pause", form).wantStatus(http.StatusForbidden)
	w = newActionWorld(t, runningRollout())
	w.rights.err = errors.New("timeout")
	w.get("/actions/rollouts/fleet/firmware/pause").wantStatus(http.StatusServiceUnavailable)
	w = newActionWorld(t, runningRollout())
	w.viewer.Client = interceptor.NewClient(w.server, interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "rollouts"}, "firmware", errors.New("no get"))
	}})
	w.get("/actions/rollouts/fleet/firmware/pause").wantStatus(http.StatusForbidden).wantText("no get")
}

// Viewers who ask for the preview of the same set at the same time cause one computation. A change
// of the set, other rights and a moment later another one is made.
func TestPreviewIsKeptForAMoment(t *testing.T) {
	var p previews
	computed := 0
	get := func(key, version string, now time.Time) {
		p.get(key, version, now, func() *explain.Invalidation { computed++; return &explain.Invalidation{} })
	}
	get("a", "1", worldTime)
	get("a", "1", worldTime.Add(time.Second))
	if computed != 1 {
		t.Errorf("it was computed %d times", computed)
	}
	get("a", "2", worldTime)
	get("b", "1", worldTime)
	get("b", "1", worldTime.Add(previewLifetime))
	if computed != 4 {
		t.Errorf("it was computed %d times", computed)
	}
	for i := range 10 * maxPreviews {
		get(fmt.Sprint(i), "1", worldTime)
	}
	if len(p.entries) > maxPreviews {
		t.Errorf("%d previews are kept", len(p.entries))
	}
}

// checkOf returns the address that an open proposal asks after a change.
func (p *response) checkOf() string { return attribute(p.all("main")[0], "data-check") }

// The page of each proposal can be asked whether it is still true, without a request to the API
// server.
func TestEachProposalCanBeChecked(t *testing.T) {
	for name, tc := range operationsOfPeople {
		t.Run(name, func(t *testing.T) {
			w := newActionWorld(t, tc.object)
			check := w.get("/actions/" + tc.path).wantStatus(200).checkOf()
			if check == "" {
				t.Fatal("the page of the proposal has no address to check it")
			}
			w.viewer.Client = interceptor.NewClient(w.server, interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				t.Error("the API server was asked")
				return nil
			}})
			if got := w.get(check).wantStatus(200); got.text() != "Nothing has changed." {
				t.Errorf("before a change the page says %q", got.text())
			}
			w.viewer.Anonymous = true
			w.get(check).wantStatus(200)
			w.viewer.Authorizer = w.rights
			w.rights.deny(Access{Verb: "list", Resource: actionKindOf(tc.object), Namespace: "fleet"})
			w.get(check).wantStatus(403)
		})
	}
}

// An open proposal says what has changed since it was made.
func TestChangesSinceAProposal(t *testing.T) {
	changed := func(edit func(*v1alpha1.Rollout)) func(*actionWorld) {
		return func(w *actionWorld) {
			w.source.put(runningRollout(func(r *v1alpha1.Rollout) {
				r.ResourceVersion = "2000"
				edit(r)
			}))
		}
	}
	fails := changed(func(r *v1alpha1.Rollout) { r.Status.Targets.Failed = 4 })
	pauses := changed(func(r *v1alpha1.Rollout) { pausedByErrors(r) })
	const pause, stop, advance = "/actions/rollouts/fleet/firmware/pause", "/actions/rollouts/fleet/firmware/stop?type=Soft", "/actions/rollouts/fleet/firmware/advance"
	for name, tc := range map[string]struct {
		path   string
		change func(*actionWorld)
		want   string
	}{
		"more failures before a pause":       {pause, fails, "Nothing has changed."},
		"more failures before an advance":    {advance, fails, "1 target had failed, and now 4 have failed."},
		"an automatic pause before a pause":  {pause, pauses, `The state was "Running", and is now "Paused, ErrorThresholdExceeded".`},
		"an automatic pause before a stop":   {stop, pauses, `The state was "Running", and is now "Paused, ErrorThresholdExceeded".`},
		"a change of the spec":               {stop, changed(func(r *v1alpha1.Rollout) { r.Generation = 2 }), "The spec was changed: from generation 1 to 2."},
		"another value of the field":         {stop, changed(func(r *v1alpha1.Rollout) { r.Spec.State, r.Generation = v1alpha1.IntentPaused, 2 }), "The change is now spec.state: Paused -> Stopped."},
		"the same change in another way":     {pause, changed(func(r *v1alpha1.Rollout) { r.Spec.State, r.Generation = v1alpha1.IntentPaused, 2 }), "The rollout has these values now."},
		"the end of the rollout":             {pause, changed(func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished }), "This is not possible any more: it has finished."},
		"caches that are behind the request": {pause, changed(func(r *v1alpha1.Rollout) { r.Generation, r.Status.State = 0, v1alpha1.RolloutReady }), "Nothing has changed."},
		"an old proposal":                    {pause, func(w *actionWorld) { w.now = w.now.Add(maxPreviewAge) }, "The proposal was made more than an hour ago."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newActionWorld(t, runningRollout())
			check := w.get(tc.path).wantStatus(200).checkOf()
			tc.change(w)
			got := w.get(check).wantText(tc.want)
			if got.status == http.StatusOK && tc.want != "Nothing has changed." {
				if link := got.link("Show the present proposal"); link != tc.path {
					t.Errorf("the present proposal is %s, want %s", link, tc.path)
				}
			}
		})
	}
	w := newActionWorld(t, runningRollout())
	w.get(pause + "/check").wantStatus(400)
	w.get(strings.Replace(w.get(pause).checkOf(), "/firmware/", "/deleted/", 1)).wantStatus(404).wantText("Rollout fleet/deleted does not exist.")
	if check := w.get("/actions/rollouts/fleet/firmware/retry?message=" + strings.Repeat("x", 2000)).checkOf(); check != "" {
		t.Errorf("an address that is too long: %d bytes", len(check))
	}
}
