// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func inNamespace[T client.Object](o T, namespace string) T {
	o.SetNamespace(namespace)
	return o
}

func TestListOfRolloutsHasPagesAndFilters(t *testing.T) {
	var all []client.Object
	for i := range 120 {
		all = append(all, objects.Rollout(fmt.Sprintf("r-%03d", i), "firmware-2", func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutRunning }))
	}
	all = append(all, inNamespace(objects.Rollout("other", "firmware-3"), "plant"))
	w := newWorld(t, all...)
	page := w.get("/rollouts").wantStatus(http.StatusOK)
	if got := page.rows("121 rollouts"); len(got) != rowsPerPage || got[0][0] != "r-000 fleet · set firmware-2" {
		t.Errorf("the first page has %d rows, the first one %q", len(got), got[0])
	}
	if got := w.get(w.get(page.link("Next")).link("Next")).wantStatus(http.StatusOK).rows("121 rollouts"); len(got) != 21 {
		t.Errorf("the last page has %d rows, want 21", len(got))
	}
	if got := w.get("/rollouts?page=99").wantStatus(http.StatusOK).rows(""); len(got) != 21 {
		t.Errorf("a page beyond the last one has %d rows, want those of the last one", len(got))
	}
	if got := w.get("/rollouts?namespace=plant").rows("1 rollout"); len(got) != 1 || got[0][0] != "other plant · set firmware-3" {
		t.Errorf("namespace plant has the rows %q", got)
	}
	if got := w.get("/rollouts?q=R-011&state=Running").rows("1 rollout"); len(got) != 1 {
		t.Errorf("the search for R-011 has the rows %q", got)
	}
	for _, wrong := range []string{"page=0", "page=x", "state=Flying"} {
		w.get("/rollouts?" + wrong).wantStatus(http.StatusBadRequest)
	}
}

func TestViewerSeesOnlyAllowedNamespaces(t *testing.T) {
	w := newWorld(t, objects.Rollout("mine", "set"), inNamespace(objects.Rollout("theirs", "set"), "plant"))
	w.rights.deny(Access{Verb: "list", Resource: Rollouts, Namespace: "plant"})
	w.get("/rollouts").wantStatus(http.StatusOK).wantText("mine").wantNoText("theirs")
	w.get("/rollouts?namespace=plant").wantStatus(http.StatusForbidden).
		wantText("jane may not list rollouts.goshawk.dev in namespace plant", "no RBAC rule allows it", "goshawk-viewer").wantNoText("theirs")
	w.rights.deny(Access{Verb: "list", Resource: Rollouts})
	w.get("/rollouts").wantStatus(http.StatusForbidden).wantText("in all namespaces")
}

func TestPageSaysWhyItHasNoObjects(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		status int
		text   string
	}{
		{"the caches are being filled", func(w *world) { w.source.setReading(Rollouts, Reading{Objects: 1234}) }, http.StatusServiceUnavailable, "1234 so far"},
		{"the caches may not read the kind", func(w *world) { w.source.setReading(Rollouts, Reading{Refused: "rollouts is forbidden"}) }, http.StatusForbidden, "rollouts is forbidden"},
		{"with what helps if they read all namespaces", func(w *world) { w.source.setReading(Rollouts, Reading{Refused: "rollouts is forbidden"}) }, http.StatusForbidden, "bound in all namespaces that this console reads. Or read only one in which you have them: kubectl goshawk ui -n NAMESPACE"},
		{"the rights are not known", func(w *world) { w.rights.err = errors.New("connection refused") }, http.StatusServiceUnavailable, "connection refused"},
		{"there is no session", func(w *world) { w.viewer = nil }, http.StatusUnauthorized, "You are not logged in."},
		{"a namespace is not read", func(w *world) { w.source.setReading(Rollouts, Reading{Outside: true}) }, http.StatusNotFound, "--watch-namespaces"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, objects.Rollout("hidden", "set"))
			c.change(w)
			w.get("/rollouts").wantStatus(c.status).wantText(c.text).wantNoText("hidden")
		})
	}
}

func TestSearchFindsOnlyWhatTheViewerMaySee(t *testing.T) {
	w := newWorld(t, objects.Rollout("pump-update", "set"), objects.DistributionSet("pump-os"), objects.Target("pump-1"), objects.Target("pump-2"),
		inNamespace(objects.Target("pump-3"), "plant"), objects.AutoAssignment("valves", "set"))
	w.get("/search").wantStatus(http.StatusOK).wantText("NAMESPACE/NAME")
	page := w.get("/search?q=pump").wantStatus(http.StatusOK).wantText("pump-update", "pump-os", "Targets 3", "pump-3 plant").wantNoText("valves")
	if got := page.link("pump-3"); got != "/targets/plant/pump-3" {
		t.Errorf("the target has the link %s", got)
	}
	if got := w.get("/search?q=valve").wantStatus(http.StatusSeeOther).header.Get("Location"); got != "/autoassignments/fleet/valves" {
		t.Errorf("the only object that is found is at %s", got)
	}
	w.rights.deny(Access{Verb: "list", Resource: Targets, Namespace: "plant"})
	w.rights.deny(Access{Verb: "list", Resource: Rollouts})
	w.get("/search?q=pump").wantStatus(http.StatusOK).wantText("Targets 2", "The rollouts are not shown. jane may not list rollouts.goshawk.dev in all namespaces", "Ask an administrator").wantNoText("pump-update", "pump-3")
	w.get("/search?q=nothing").wantStatus(http.StatusOK).wantText("Nothing that you may see")
	for _, kind := range searchPage.kinds {
		w.rights.deny(Access{Verb: "list", Resource: kind})
	}
	w.get("/search?q=pump").wantStatus(http.StatusForbidden)
}

func TestResponsesHaveSecurityHeaders(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/rollouts", "/missing", "/static/missing"} {
		h := w.get(path).header
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s has the Content-Security-Policy %q", path, csp)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s has the headers %v", path, h)
		}
	}
	for _, a := range assets {
		if got := w.get(a.path).wantStatus(http.StatusOK).header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s has Cache-Control %q", a.path, got)
		}
	}
}

func TestPagesHaveNoInlineScriptOrStyle(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set", func(r *v1alpha1.Rollout) { r.Status.Targets = &v1alpha1.Counts{Targets: 3, Failed: 1, Pending: 2} }))
	page := w.get("/rollouts").wantStatus(http.StatusOK)
	for n := range page.doc.Descendants() {
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has the attribute %s, which the Content-Security-Policy refuses", n.Data, a.Key)
			}
		}
		if n.Data == "style" || n.Data == "script" && attribute(n, "src") == "" {
			t.Errorf("the page has an inline <%s>", n.Data)
		}
	}
}

func TestTextOfObjectsIsEscaped(t *testing.T) {
	hostile := `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`
	w := newWorld(t, objects.Rollout("r", hostile, func(r *v1alpha1.Rollout) {
		r.Status.WaitingFor = &v1alpha1.WaitingFor{Reason: "X", Message: hostile}
	}))
	page := w.get("/rollouts?q=" + url.QueryEscape(hostile)).wantStatus(http.StatusOK).wantText(hostile)
	if len(page.all("img")) > 0 || len(page.all("script")) != 1 {
		t.Errorf("text of an object became markup:\n%s", page.body)
	}
}

func TestAddressThatIsTooLongIsRefused(t *testing.T) {
	w := newWorld(t)
	w.get("/rollouts?q=" + strings.Repeat("x", maxAddress)).wantStatus(http.StatusRequestURITooLong)
}

func TestHostThatIsNotServedIsRefused(t *testing.T) {
	w := newWorld(t)
	w.server.o.IsHost = func(host string) bool { return host == "127.0.0.1:1234" }
	r := httptest.NewRequest(http.MethodGet, "/rollouts", nil)
	r.Host = "attacker.example:1234"
	w.do(r).wantStatus(http.StatusMisdirectedRequest)
	r.Host = "127.0.0.1:1234"
	w.do(r).wantStatus(http.StatusOK)
}

func TestFormIsAcceptedOnlyFromItsOwnSession(t *testing.T) {
	posted := &page{pattern: "POST /actions/test", template: "problem", personal: true, load: func(r *request) (content, error) {
		return content{}, &redirect{path: "/rollouts?q=" + r.form.Get("name")}
	}}
	for _, c := range []struct {
		name   string
		change func(*world, url.Values, *http.Request)
		status int
	}{
		{"a form of this session", func(*world, url.Values, *http.Request) {}, http.StatusSeeOther},
		{"a form without a token", func(_ *world, f url.Values, _ *http.Request) { f.Set("token", "") }, http.StatusForbidden},
		{"a form of another session", func(_ *world, f url.Values, _ *http.Request) {
			f.Set("token", (&Viewer{Session: "other"}).formToken())
		}, http.StatusForbidden},
		{"a form of another site", func(_ *world, _ url.Values, r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		{"an anonymous viewer", func(w *world, _ url.Values, _ *http.Request) { w.viewer.Anonymous = true }, http.StatusForbidden},
		{"a form that is too large", func(_ *world, f url.Values, _ *http.Request) { f.Set("name", strings.Repeat("x", maxForm)) }, http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			mux := http.NewServeMux()
			mux.HandleFunc(posted.pattern, func(rw http.ResponseWriter, r *http.Request) { w.server.servePage(rw, r, posted) })
			w.server.handler = http.NewCrossOriginProtection().Handler(mux)
			form := url.Values{"name": {"x"}, "token": {w.viewer.formToken()}}
			r := httptest.NewRequest(http.MethodPost, "/actions/test", nil)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			c.change(w, form, r)
			r.Body = io.NopCloser(strings.NewReader(form.Encode()))
			w.do(r).wantStatus(c.status)
		})
	}
}

func TestPartHasNoFrame(t *testing.T) {
	w := newWorld(t, objects.Rollout("r", "set"))
	r := httptest.NewRequest(http.MethodGet, "/rollouts", nil)
	r.Header.Set(partHeader, "main")
	part := w.do(r).wantStatus(http.StatusOK).wantText("Rollouts", "r fleet")
	if len(part.all("header")) > 0 || len(part.all("main")) != 1 {
		t.Errorf("the part is not the main element alone:\n%s", part.body)
	}
}

func TestEachPageOfTheNavigationHasItsKey(t *testing.T) {
	seen := map[string]string{}
	for _, p := range pages() {
		if p.nav == "" {
			continue
		}
		if p.key == "" || seen[p.key] != "" {
			t.Errorf("the page %s has the key %q, which is missing or that of %s", p.nav, p.key, seen[p.key])
		}
		seen[p.key] = p.nav
	}
}
