// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package browser tests the console in a real browser, with a fleet that has a history and people
// with the roles that Goshawk ships.
package browser

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
	"github.com/goshawk-dev/goshawk/internal/testing/demofleet"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(chromium.Run(m))
}

// stage is a console at an address on loopback.
type stage struct {
	t testing.TB
	// world is the fleet of package demofleet; nil for another fleet.
	world  *demofleet.World
	source *source
	now    func() time.Time
	// api is the API server; nil if nothing is changed.
	api client.WithWatch
	// url of the server, with the slash.
	url string

	// console serves the requests. nil: connections are closed without an answer.
	console atomic.Pointer[console.Server]
	server  *httptest.Server
	// isMisdirected is true if the console is served under another name.
	isMisdirected atomic.Bool

	mu sync.Mutex
	// loggedOut has the people whose sessions have ended.
	loggedOut map[string]bool
	// silenced has the people whose requests get no answer.
	silenced map[string]bool
	// refusal is the error of the API server for each write. nil: the rights decide.
	refusal error
}

// people are the names of the people, and the roles that each of them has in all namespaces but
// that of demofleet.Vault.
var people = map[string][]string{
	"vera":  {"goshawk-viewer"},
	"oscar": {"goshawk-editor", "goshawk-approver"},
	"stan":  {"goshawk-stopper"},
	// A person without any right.
	"nora": nil,
}

// newStage returns a stage with a world of its own.
func newStage(t testing.TB) *stage {
	t.Helper()
	chromium.Require(t)
	s := &stage{t: t, source: newSource(), loggedOut: map[string]bool{}}
	s.world = demofleet.New(t, s.source.changed)
	s.source.index, s.now, s.api = s.world.Index, s.world.Now, s.world.Server
	s.serve()
	return s
}

// serve serves the console until the test ends.
func (s *stage) serve() {
	s.restart()
	mux := http.NewServeMux()
	// /as/NAME gives the browser a session of that person.
	mux.HandleFunc("GET /as/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: r.PathValue("name"), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/"+r.URL.Query().Get("to"), http.StatusFound)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.isSilent(r) {
			<-r.Context().Done()
			return
		}
		c := s.console.Load()
		if c == nil {
			panic(http.ErrAbortHandler)
		}
		c.ServeHTTP(w, r)
	})
	s.server = httptest.NewServer(mux)
	s.url = s.server.URL + "/"
	s.t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
}

// restart replaces the console by a new process of it.
func (s *stage) restart() {
	s.console.Store(console.New(console.Options{Source: s.source, Viewers: s, Now: s.now, IsHost: func(string) bool { return !s.isMisdirected.Load() }}))
}

// disconnect lets each connection end without an answer, until restart.
func (s *stage) disconnect() {
	s.console.Store(nil)
	s.server.CloseClientConnections()
}

// silence lets each new request of a person wait, as in a network that drops packets.
func (s *stage) silence(name string, isSilent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silenced == nil {
		s.silenced = map[string]bool{}
	}
	s.silenced[name] = isSilent
}

func (s *stage) isSilent(r *http.Request) bool {
	c, err := r.Cookie("session")
	s.mu.Lock()
	defer s.mu.Unlock()
	return err == nil && s.silenced[c.Value]
}

// Of implements console.Viewers.
func (s *stage) Of(r *http.Request) (*console.Viewer, error) {
	name := ""
	if c, err := r.Cookie("session"); err == nil {
		name = c.Value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := people[name]; !exists || s.loggedOut[name] {
		return nil, &console.LoginError{Message: "Your session has ended.", Fix: "Log in again.", URL: "/as/vera"}
	}
	p := person{name: name, roles: rolesOf(s.t, people[name]), refusal: s.refusal}
	v := &console.Viewer{Name: name, Session: "session of " + name, Authorizer: p}
	if s.api != nil {
		v.Client = p.client(s.api)
	}
	return v, nil
}

// logOut ends the sessions of a person.
func (s *stage) logOut(name string) {
	s.mu.Lock()
	s.loggedOut[name] = true
	s.mu.Unlock()
}

// logIn lets a person log in again.
func (s *stage) logIn(name string) {
	s.mu.Lock()
	delete(s.loggedOut, name)
	s.mu.Unlock()
}

// refuse lets the API server refuse each write with this error; nil ends it.
func (s *stage) refuse(err error) {
	s.mu.Lock()
	s.refusal = err
	s.mu.Unlock()
}

// as opens a tab with a page of the console, which a person sees.
func (s *stage) as(t testing.TB, name, path string, o chromium.Options) *chromium.Tab {
	t.Helper()
	tab := chromium.Open(t, o)
	tab.Visit(s.url + "as/" + name + "?to=" + path)
	return tab
}

// person has the rights of some roles in all namespaces but demofleet.Vault.
type person struct {
	name    string
	roles   []rbacv1.ClusterRole
	refusal error
}

// May implements console.Authorizer.
func (p person) May(_ context.Context, a console.Access) (console.Decision, error) {
	if a.Namespace == "" || a.Namespace == demofleet.Vault {
		return console.Decision{Reason: "no RBAC rule allows it"}, nil
	}
	return console.Decision{Allowed: p.has(a.Verb, string(a.Resource))}, nil
}

func (p person) has(verb, resource string) bool {
	for _, role := range p.roles {
		for _, rule := range role.Rules {
			if slices.Contains(rule.APIGroups, v1alpha1.GroupVersion.Group) && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb) {
				return true
			}
		}
	}
	return false
}

// client returns a client of the API server that refuses what the roles do not allow.
func (p person) client(server client.WithWatch) client.Client {
	refuse := func(verb string, o client.Object) error {
		if p.refusal != nil {
			return p.refusal
		}
		resource := resourceOf(o)
		if p.has(verb, resource) && o.GetNamespace() != demofleet.Vault {
			return nil
		}
		return apierrors.NewForbidden(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: resource}, o.GetName(),
			fmt.Errorf("User %q cannot %s resource %q in API group %q in the namespace %q", p.name, verb, resource, v1alpha1.GroupVersion.Group, o.GetNamespace()))
	}
	return interceptor.NewClient(server, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if err := refuse("patch", o); err != nil {
				return err
			}
			return c.Patch(ctx, o, patch, options...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			if err := refuse("update", o); err != nil {
				return err
			}
			return c.Update(ctx, o, options...)
		},
	})
}

// resourceOf returns the resource of an object of Goshawk.
func resourceOf(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kind = reflect.TypeOf(o).Elem().Name()
	}
	if kind == "TargetInventory" {
		return string(console.Inventories)
	}
	return strings.ToLower(kind) + "s"
}

// shipped returns the ClusterRoles that Goshawk ships for people.
var shipped = sync.OnceValues(func() (map[string]rbacv1.ClusterRole, error) {
	text, err := os.ReadFile("../../../config/rbac/user_roles.yaml")
	if err != nil {
		return nil, err
	}
	roles := map[string]rbacv1.ClusterRole{}
	for _, document := range strings.Split(string(text), "\n---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			return nil, err
		}
		roles[role.Name] = role
	}
	return roles, nil
})

func rolesOf(t testing.TB, names []string) []rbacv1.ClusterRole {
	all, err := shipped()
	if err != nil {
		t.Error(err)
	}
	var roles []rbacv1.ClusterRole
	for _, name := range names {
		role, exists := all[name]
		if !exists {
			t.Errorf("there is no ClusterRole %s", name)
		}
		roles = append(roles, role)
	}
	return roles
}

// source is what the console shows: the index of a world.
type source struct {
	index  *fleet.Index
	counts *fleetcounts.Counter

	mu       sync.Mutex
	watchers []func(console.Kind, string)
	contact  console.Contact
	readings map[console.Kind]console.Reading
}

func newSource() *source {
	return &source{counts: fleetcounts.New(), readings: map[console.Kind]console.Reading{}}
}

// changed is the watcher of the index.
func (s *source) changed(old, now client.Object) {
	s.counts.Changed(old, now)
	o := now
	if o == nil {
		o = old
	}
	s.notify(console.Kind(resourceOf(o)), o.GetNamespace())
}

func (s *source) notify(kind console.Kind, namespace string) {
	s.mu.Lock()
	watchers := slices.Clone(s.watchers)
	s.mu.Unlock()
	for _, f := range watchers {
		f(kind, namespace)
	}
}

// Index implements console.Source.
func (s *source) Index() *fleet.Index { return s.index }

// Counts implements console.Source.
func (s *source) Counts() *fleetcounts.Counter { return s.counts }

// Reading implements console.Source.
func (s *source) Reading(kind console.Kind, _ string) console.Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.readings[kind]; ok {
		return r
	}
	return console.Reading{Synced: true}
}

// Contact implements console.Source.
func (s *source) Contact() console.Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contact
}

// Watch implements console.Source.
func (s *source) Watch(f func(console.Kind, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// set changes what Contact and Reading return.
func (s *source) set(change func(*source)) {
	s.mu.Lock()
	change(s)
	s.mu.Unlock()
	s.notify("", "")
}
