// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/console"
	index "github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
)

// consoleOf is a console in the browser of a person. Its caches are empty: actions read objects as
// the viewer.
type consoleOf struct {
	*testing.T
	index  *index.Index
	counts *fleetcounts.Counter
	viewer console.Viewer
	server *console.Server
}

func (c *consoleOf) Index() *index.Index          { return c.index }
func (c *consoleOf) Counts() *fleetcounts.Counter { return c.counts }
func (c *consoleOf) Reading(console.Kind, string) console.Reading {
	return console.Reading{Synced: true}
}
func (c *consoleOf) Contact() console.Contact         { return console.Contact{} }
func (c *consoleOf) Watch(func(console.Kind, string)) {}

// Of implements console.Viewers.
func (c *consoleOf) Of(*http.Request) (*console.Viewer, error) { return &c.viewer, nil }

// all allows everything, so that the API server has to refuse.
type all struct{}

func (all) May(context.Context, console.Access) (console.Decision, error) {
	return console.Decision{Allowed: true}, nil
}

func (f *fleet) console(t *testing.T, person string) *consoleOf {
	c := &consoleOf{T: t, index: index.New(), counts: fleetcounts.New()}
	c.server = console.New(console.Options{Source: c, Viewers: c})
	c.isNow(f, person)
	return c
}

// isNow changes the person of the session.
func (c *consoleOf) isNow(f *fleet, person string) {
	as := f.as(c.T, person)
	c.viewer = console.Viewer{Name: person, Session: "session", Client: as, Authorizer: console.NewReviews(time.Now).Of(person, as)}
}

func (c *consoleOf) get(path string) (status int, page string) {
	c.Helper()
	recorder := httptest.NewRecorder()
	c.server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, recorder.Body.String()
}

// form returns the hidden fields of the form of a page that applies an action, or nil.
func (c *consoleOf) form(page string) url.Values {
	c.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		c.Fatal(err)
	}
	values := url.Values{}
	for n := range doc.Descendants() {
		if attributes := attributesOf(n); n.Data == "input" && attributes["type"] == "hidden" {
			values.Set(attributes["name"], attributes["value"])
		}
	}
	if !values.Has("fields") {
		return nil
	}
	return values
}

func attributesOf(n *html.Node) map[string]string {
	all := map[string]string{}
	for _, a := range n.Attr {
		all[a.Key] = a.Val
	}
	return all
}

func (c *consoleOf) post(path string, form url.Values) (status int, page string) {
	c.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	recorder := httptest.NewRecorder()
	c.server.ServeHTTP(recorder, r)
	return recorder.Code, html.UnescapeString(recorder.Body.String())
}

// The console writes as the viewer what the rights of the viewer allow, and shows the sentence of
// RBAC or of a policy for everything else.
func TestConsoleAppliesAsTheViewer(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	object := f.object(t, "Rollout", newName("console"))
	f.give(t, object, started)
	path := "/actions/rollouts/" + f.namespace + "/" + object.GetName() + "/stop"
	c := f.console(t, "stopper")
	_, page := c.get(path + "?type=Force")
	form := c.form(page)
	if form == nil {
		t.Fatalf("a stopper has no form:\n%s", page)
	}

	// The others have no form, and no way around that.
	policy := strings.NewReplacer("NS", f.namespace, "WHO", "editor").Replace(stopsForce)
	for person, sentence := range map[string]string{"viewer": `User "viewer" cannot patch resource`, "editor": policy} {
		c.isNow(f, person)
		if status, page := c.get(path + "?type=Force"); status != http.StatusOK || c.form(page) != nil || !strings.Contains(page, "a right is missing") {
			t.Errorf("%s: status %d\n%s", person, status, page)
		}
		if status, page := c.post(path, form); status != http.StatusForbidden || !strings.Contains(page, sentence) {
			t.Errorf("%s sends the form: status %d, want the sentence %q in\n%s", person, status, sentence, page)
		}
		c.viewer.Authorizer = all{}
		if _, page := c.get(path + "?type=Force"); c.form(page) != nil || !strings.Contains(html.UnescapeString(page), sentence) {
			t.Errorf("%s: a dry run has not the sentence %q:\n%s", person, sentence, page)
		}
	}
	if state := f.valueOf(t, object, "state"); state == "Stopped" {
		t.Fatal("the rollout was stopped without the right")
	}

	c.isNow(f, "stopper")
	for range 2 { // the second form writes nothing
		if status, page := c.post(path, form); status != http.StatusSeeOther {
			t.Fatalf("a stopper: status %d\n%s", status, page)
		}
	}
	now := object.DeepCopy()
	if err := f.admin.Get(t.Context(), client.ObjectKeyFromObject(object), now); err != nil {
		t.Fatal(err)
	}
	if state, kind := f.valueOf(t, object, "state"), f.valueOf(t, object, "stopCancellation"); state != "Stopped" || kind != "Force" || now.GetGeneration() != 2 {
		t.Errorf("state %s, stopCancellation %s, generation %d", state, kind, now.GetGeneration())
	}
	if _, page := c.get(path + "/done"); !strings.Contains(page, "goshawk-console") || !strings.Contains(page, "written") {
		t.Errorf("the page after the stop lacks its writer:\n%s", page)
	}
}

// The owners of a field are those that the API server has recorded.
func TestConsoleLocksWhatAToolHasApplied(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	applied := func(spec string) *unstructured.Unstructured {
		object := f.object(t, "Rollout", newName("owned"), spec)
		f.give(t, object, started)
		if err := f.admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("kustomize-controller"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
		return object
	}
	c := f.console(t, "stopper")
	for spec, isLocked := range map[string]bool{`{state: Running}`: true, `{}`: false} {
		object := applied(spec)
		status, page := c.get("/actions/rollouts/" + f.namespace + "/" + object.GetName() + "/pause")
		if locked := strings.Contains(page, "Flux owns spec.state (field manager kustomize-controller)"); status != http.StatusOK || locked != isLocked || (c.form(page) == nil) != isLocked {
			t.Errorf("%s: status %d, locked %t\n%s", spec, status, locked, page)
		}
	}
}
