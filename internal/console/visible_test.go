// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/http"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func TestVisibleText(t *testing.T) {
	for name, tc := range map[string]struct{ markup, want string }{
		"text stays as it is":                    {"<p>“a” … 更新 👩\u200d🔧\n</p>", "<p>“a” … 更新 👩\u200d🔧\n</p>"},
		"a change of the direction is left out":  {"<b>Gateway \u202egnp.exe</b> Error", "<b>Gateway gnp.exe</b> Error"},
		"an isolate and a mark":                  {"a\u2066b\u2069c\u200fd\u061ce", "abcde"},
		"other invisible characters":             {"a\u200bb\ufeffc\u00add", "abcd"},
		"a line separator is a blank":            {"a\u2028b\u0085c", "a\u2028b\u0085c"},
		"the value of a form stays as it is":     {"<input value=\"a\u202eb\">c\u202ed", "<input value=\"a\u202eb\">cd"},
		"a manifest to copy stays as it is":      {"<pre id=\"m\">a\u202eb</pre>c\u202ed<pre>e\u202e</pre>", "<pre id=\"m\">a\u202eb</pre>cd<pre>e\u202e</pre>"},
		"an invalid byte stays as it is":         {"a\xffb\u202ec", "a\xffbc"},
		"an invisible character at each end":     {"\u202ea\u202e", "a"},
		"nothing but an invisible character":     {"\u202e", ""},
		"the empty text":                         {"", ""},
		"invisible characters one after another": {"a\u202e\u202d\u2067b", "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := visible(tc.markup); got != tc.want {
				t.Errorf("visible(%q) = %q, want %q", tc.markup, got, tc.want)
			}
		})
	}
}

// Names that people give to objects cannot change how the text beside them reads.
func TestNamesDoNotChangeTheDirectionOfText(t *testing.T) {
	const name = "Gateway \u202egnp.exe"
	w := newWorld(t, objects.Target("gw", func(t *v1alpha1.Target) { t.Spec.Name = name }), objects.DistributionSet("set-a", func(s *v1alpha1.DistributionSet) { s.Spec.Name = name }))
	for _, path := range []string{"/targets", "/targets/fleet/gw", "/sets", "/sets/fleet/set-a", "/search?q=gateway", "/targets/fleet/%E2%80%AEx"} {
		page := w.get(path)
		if strings.Contains(page.body, "\u202e") {
			t.Errorf("%s contains a character that changes the direction of text", path)
		}
	}
	w.get("/targets/fleet/gw").wantStatus(http.StatusOK).wantText("Gateway gnp.exe")
}
