// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

// serve serves one page at /, whose Content-Security-Policy allows scripts of the server only, and
// /good.js.
func serve(t *testing.T, body string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; img-src * data:")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>a page</title><main><h1>Heading</h1>%s</main>`, body)
	})
	mux.HandleFunc("GET /script.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = fmt.Fprint(w, `document.querySelector("h1").textContent = "Changed";`)
	})
	mux.HandleFunc("GET /throws.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = fmt.Fprint(w, `console.error("printed", 7); throw new Error("thrown");`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func TestFaultsOfPages(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	tab := Open(t, Options{})
	tab.Allow("favicon.ico")
	outer := t
	defer tab.Allow(".")
	for _, tt := range []struct {
		name, body string
		want       []string
	}{
		{name: "a good page", body: `<script src="/script.js"></script>`},
		{name: "a script in the page", body: `<script>document.title = "changed"</script>`, want: []string{"violates script-src-elem (kInlineViolation)"}},
		{name: "a script that throws", body: `<script src="/throws.js"></script>`, want: []string{`console.error: "printed" 7`, "exception: Uncaught Error: thrown"}},
		{name: "a style of an element", body: `<p style="color: red">red</p>`, want: []string{"violates style-src-attr (kInlineViolation)"}},
		{name: "a picture of another host", body: `<img alt="" src="` + other.URL + `/a.png">`, want: []string{"request to another host: " + other.URL}},
		{name: "a script that is not there", body: `<script src="/missing.js"></script>`, want: []string{"404", "/missing.js"}},
		{name: "an icon that the server has no", body: `<img alt="" src="/icon.png">`, want: []string{"/icon.png"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab.t = t
			defer func() { tab.t = outer }()
			if got := tab.Visit(serve(t, tt.body)); got != http.StatusOK {
				t.Errorf("the status is %d", got)
			}
			for _, want := range tt.want {
				tab.AwaitFault(want)
			}
			if faults := tab.Faults(); len(tt.want) == 0 && len(faults) > 0 { // it is the first page of the tab
				t.Errorf("a good page has faults: %q", faults)
			}
		})
	}
}

func TestPagesWithoutScript(t *testing.T) {
	tab := Open(t, Options{NoScript: true, Width: 360, Height: 640})
	tab.Allow("favicon.ico")
	tab.Visit(serve(t, `<script src="/script.js"></script>`))
	if got := tab.Text("h1"); got != "Heading" {
		t.Errorf("the heading is %q: a script has run", got)
	}
	if got := Value[int](tab, "innerWidth"); got != 360 {
		t.Errorf("the page is %d wide", got)
	}
}

// TestAxeIsTheRecordedVersion: axe-core is changed with hack/axe.sh only.
func TestAxeIsTheRecordedVersion(t *testing.T) {
	version, err := os.ReadFile("axe/VERSION")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(version))
	if len(fields) != 3 || !strings.HasPrefix(axe, "/*! axe v"+fields[0]+"\n") || fmt.Sprintf("%x", sha256.Sum256([]byte(axe))) != fields[2] {
		t.Errorf("axe.min.js is not the file that axe/VERSION has: %s", version)
	}
}

// recorder records the failures of a test.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func TestAccessibilityOfPages(t *testing.T) {
	tab := Open(t, Options{})
	tab.Allow("favicon.ico")
	for name, tt := range map[string]struct{ body, want string }{
		"a good page":             {`<p>text</p>`, ""},
		"a picture without text":  {`<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">`, "image-alt"},
		"a field without a label": {`<input>`, "label"},
		"a button without a name": {`<button></button>`, "button-name"},
	} {
		t.Run(name, func(t *testing.T) {
			tab.Visit(serve(t, tt.body))
			recorded := &recorder{TB: t}
			tab.t = recorded
			tab.CheckAccessibility()
			tab.t = t
			failures := strings.Join(recorded.failures, "\n")
			if tt.want == "" && failures != "" || !strings.Contains(failures, tt.want) {
				t.Errorf("axe-core reports %q, want %q", failures, tt.want)
			}
		})
	}
}
