// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/console/login"
	"github.com/goshawk-dev/goshawk/internal/testing/chromium"
	"github.com/goshawk-dev/goshawk/internal/testing/dex"
)

// groupRights give a viewer the roles that groups have in the tests: oidc:NAME has those of the
// person NAME.
type groupRights struct{ s *stage }

// Of implements login.Rights.
func (g groupRights) Of(v *console.Viewer, groups []string) error {
	var roles []string
	for _, group := range groups {
		roles = append(roles, people[strings.TrimPrefix(group, "oidc:")]...)
	}
	p := person{name: v.Name, roles: rolesOf(g.s.t, roles)}
	v.Authorizer = p
	if !v.Anonymous {
		v.Client = p.client(g.s.world.Server)
	}
	return nil
}

// TestLogin: without a login the page says what is missing; the provider is down at first; then a
// person logs in, sees the page that they wanted, and logs out.
func TestLogin(t *testing.T) {
	s := newStage(t)
	base, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	stan := dex.User{Name: "stan", Password: "a-password", Groups: []string{"stan"}}
	d := dex.New(t, s.url+"callback", stan)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(dex.ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	people, err := login.New(login.Options{
		BaseURL: base, Issuer: d.Issuer, ClientID: dex.ClientID, ClientSecretFile: secret, Scopes: []string{"openid", "profile", "groups", "offline_access"},
		Claims:   login.Claims{Username: "preferred_username", UsernamePrefix: "oidc:", Groups: "groups", GroupsPrefix: "oidc:"},
		Lifetime: time.Hour, Rights: groupRights{s}, Now: time.Now, Log: logr.Discard(),
		Show: func(w http.ResponseWriter, r *http.Request, m console.Message) {
			s.console.Load().ServeMessage(w, r, m)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.console.Store(console.New(console.Options{Source: s.source, Viewers: people, Login: people, IsHost: people.IsHost, Now: s.world.Now}))

	tab := chromium.Open(t, chromium.Options{})
	tab.Allow("status of 403")
	if got := tab.Visit(s.url + "rollouts?q=gateway"); got != http.StatusForbidden {
		t.Errorf("without a login the status is %d", got)
	}
	tab.AwaitText("goshawk:anonymous may not list rollouts.goshawk.dev")
	tab.AwaitText("Log in to see what you may see with your own rights.")

	t.Log("the provider is down")
	tab.Allow("status of 503")
	if got := tab.ClickTo("main a"); got != http.StatusServiceUnavailable {
		t.Errorf("while the provider is down, the status is %d", got)
	}
	tab.AwaitText("Login is not possible")
	tab.CheckAccessibility()

	t.Log("the provider is up again")
	d.Start()
	tab.Allow("request to another host: " + d.Issuer)
	for deadline := time.Now().Add(time.Minute); tab.ClickTo("main a") != http.StatusOK; time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the login is not possible again")
		}
	}
	tab.Fill("#login", stan.Name)
	tab.Fill("#password", stan.Password)
	tab.ClickTo("#submit-login")
	tab.AwaitText("gateway-2-1")
	tab.AwaitText("oidc:stan")
	tab.Await(`location.pathname + location.search === "/rollouts?q=gateway"`)

	t.Log("the person logs out")
	tab.ClickTo(`form[action="/logout"] button`)
	tab.AwaitText("Logged out")
	tab.AwaitText("You may still be logged in at the provider")
	if got := tab.Visit(s.url + "rollouts"); got != http.StatusForbidden {
		t.Errorf("after the logout the status is %d", got)
	}
}
