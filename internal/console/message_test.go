// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestViewerWithoutALoginIsSentToTheLogin: the page that may not be seen says so first, and the
// link returns to it. A viewer with a login, or without the possibility to log in, gets no such
// link.
func TestViewerWithoutALoginIsSentToTheLogin(t *testing.T) {
	for name, test := range map[string]struct {
		isAnonymous bool
		login, want string
	}{
		"anonymous":              {true, "/login?return=%2Frollouts", "/login?return=%2Frollouts"},
		"logged in":              {false, "/login", ""},
		"anonymous, no provider": {true, "", ""},
	} {
		v := &Viewer{Name: "v", Anonymous: test.isAnonymous, Login: test.login}
		p := problemOf(forbidden(Access{Verb: "list", Resource: Rollouts}, v.Name, "no rule")).beforeLogin(v)
		if p.link != test.want || strings.HasPrefix(p.fix, "Log in") != (test.want != "") || !strings.Contains(p.fix, "Ask an administrator") {
			t.Errorf("%s: the link is %q and the fix %q", name, p.link, p.fix)
		}
	}
	v := &Viewer{Anonymous: true, Login: "/login"}
	if p := problemOf(notFound(Rollouts, "fleet", "a")).beforeLogin(v); p.linkText == "Log in" {
		t.Errorf("the page of an object that does not exist has the link %q", p.link)
	}
}

// TestMessageOfTheLogin: it has the frame of the console, and its texts are escaped.
func TestMessageOfTheLogin(t *testing.T) {
	w := newWorld(t)
	out := httptest.NewRecorder()
	w.server.ServeMessage(out, httptest.NewRequest(http.MethodGet, "/callback", nil), Message{
		Status: http.StatusBadGateway, Title: "Login failed", Message: "<script>alert(1)</script>", Fix: "Log in again.", Link: "javascript:alert(1)", LinkText: "Log in",
	})
	page := out.Body.String()
	if out.Code != http.StatusBadGateway || !strings.Contains(page, "<title>Login failed - Goshawk</title>") || !strings.Contains(page, "&lt;script&gt;alert(1)") || strings.Contains(page, "href=\"javascript") {
		t.Errorf("the page is %d\n%s", out.Code, page)
	}
}
