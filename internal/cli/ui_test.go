// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/goshawk-dev/goshawk/internal/testing/httpapi"
)

// lines is an output that a test reads while the command runs.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// openConsole is `kubectl goshawk ui` while it runs.
type openConsole struct {
	t           *testing.T
	out, errOut *lines
	opened      chan string
	// end interrupts the command, and returns its exit code.
	end func() int
}

// startUI runs `kubectl goshawk ui` with a kubeconfig for a server.
func startUI(t *testing.T, server *httpapi.Server, args ...string) *openConsole {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	content := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: of-the-kubeconfig, namespace: fleet}}]\n" +
		"clusters: [{name: c, cluster: {server: \"" + server.URL() + "\"}}]\nusers: [{name: of-the-kubeconfig, user: {}}]\n"
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &openConsole{t: t, out: &lines{}, errOut: &lines{}, opened: make(chan string, 1)}
	o := NewOptions(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: c.out, ErrOut: c.errOut})
	o.Config.KubeConfig = &config
	o.openBrowser = func(_ context.Context, address string) error { c.opened <- address; return nil }
	ctx, interrupt := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- Run(ctx, newCommand(o), c.errOut, append([]string{"ui"}, args...)) }()
	c.end = sync.OnceValue(func() int { interrupt(); return <-code })
	t.Cleanup(func() { c.end() })
	return c
}

var printedAddress = regexp.MustCompile(`http://\S+`)

// address returns the address that was printed last.
func (c *openConsole) address() string {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := printedAddress.FindAllString(c.out.String()+c.errOut.String(), -1); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	c.t.Fatalf("no address was printed: %s %s", c.out, c.errOut)
	return ""
}

// newBrowser returns a client that keeps cookies.
func newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: time.Minute}
}

// visit returns the status and the text of a page.
func visit(t *testing.T, browser *http.Client, address string) (int, string) {
	t.Helper()
	response, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// awaitPage visits a page until it has a text.
func awaitPage(t *testing.T, browser *http.Client, address, text string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, body := visit(t, browser, address)
		if strings.Contains(body, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no %q within a minute:\n%s", address, text, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestUIShowsTheNamespaceToTheBrowserThatWasOpened(t *testing.T) {
	other := objects.Rollout("elsewhere", "set")
	other.Namespace = "plant"
	server := httpapi.New(t, objects.Rollout("firmware-2", "set"), other)
	c := startUI(t, server)
	address := <-c.opened
	if printed := c.address(); printed != address {
		t.Errorf("the browser was opened at %s, but the command printed %s", address, printed)
	}
	at, err := url.Parse(address)
	if err != nil || at.Hostname() != "127.0.0.1" {
		t.Fatalf("the address is %s", address)
	}
	root := "http://" + at.Host
	if status, body := visit(t, newBrowser(t), root+"/rollouts"); status != http.StatusUnauthorized || strings.Contains(body, "firmware-2") {
		t.Errorf("without the secret the status is %d:\n%s", status, body)
	}
	if status, _ := visit(t, newBrowser(t), root+"/login?secret=wrong"); status != http.StatusForbidden {
		t.Errorf("with a wrong secret the status is %d", status)
	}
	browser := newBrowser(t)
	visit(t, browser, address)
	awaitPage(t, browser, root+"/rollouts", "firmware-2")
	if _, body := visit(t, browser, root+"/rollouts"); strings.Contains(body, "elsewhere") || !strings.Contains(body, httpapi.User) {
		t.Errorf("the page has another namespace, or not the user:\n%s", body)
	}
	if status, body := visit(t, browser, root+"/rollouts?namespace=plant"); status != http.StatusNotFound || !strings.Contains(body, "does not read the namespace plant") {
		t.Errorf("a namespace that is not read has status %d:\n%s", status, body)
	}

	if status, _ := visit(t, newBrowser(t), address); status != http.StatusForbidden {
		t.Errorf("a secret that was used has status %d", status)
	}
	if status, _ := visit(t, browser, address); status != http.StatusOK {
		t.Errorf("the browser that was opened has status %d at the same address", status)
	}
	next := c.address()
	if next == address {
		t.Fatalf("no address for another browser was printed: %s", c.errOut)
	}
	second := newBrowser(t)
	visit(t, second, next)
	for _, b := range []*http.Client{browser, second} {
		if status, _ := visit(t, b, root+"/rollouts"); status != http.StatusOK {
			t.Errorf("one of two browsers has status %d", status)
		}
	}

	r, err := http.NewRequest(http.MethodGet, root+"/rollouts", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "attacker.example:" + at.Port()
	response, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another name for this machine has status %d", response.StatusCode)
	}

	if code := c.end(); code != 0 {
		t.Errorf("the command ended with code %d: %s", code, c.errOut)
	}
	for _, request := range server.Requests() {
		if strings.Contains(request, "secrets") || strings.Contains(request, "GET /apis/goshawk.dev/v1alpha1/rollouts") {
			t.Errorf("the console requested %s", request)
		}
	}
}

func TestUIShowsAllNamespacesAndWhatIsRefused(t *testing.T) {
	other := objects.Rollout("elsewhere", "set")
	other.Namespace = "plant"
	server := httpapi.New(t, objects.Rollout("firmware-2", "set"), other)
	server.Deny("distributionsets", "")
	c := startUI(t, server, "-A", "--no-browser")
	browser := newBrowser(t)
	address := c.address()
	visit(t, browser, address)
	root := address[:strings.Index(address, "/login")]
	awaitPage(t, browser, root+"/rollouts", "elsewhere")
	awaitPage(t, browser, root+"/rollouts", "firmware-2")
	if len(c.opened) > 0 {
		t.Error("a browser was opened in spite of --no-browser")
	}
	server.Fail(http.StatusServiceUnavailable)
	awaitPage(t, browser, root+"/rollouts", "The API server was reached last")
	awaitPage(t, browser, root+"/rollouts", "elsewhere")
	server.Fail(0)
}

func TestUIIsServedOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0", "::", "192.168.1.2", "example.com", "127.0.0.1:80"} {
		w := newWorld(t)
		if r := w.run("ui", "--no-browser", "--address", address); r.code != CodeUsage || !strings.Contains(r.errOut, "loopback") {
			t.Errorf("--address %s has code %d: %s", address, r.code, r.errOut)
		}
	}
	for _, address := range []string{"127.0.0.1", "127.0.0.2", "::1", "localhost", "::ffff:127.0.0.1"} {
		if _, err := loopback(address); err != nil {
			t.Errorf("--address %s: %v", address, err)
		}
	}
}

func TestUISaysThatItsPortIsTaken(t *testing.T) {
	server := httpapi.New(t)
	taken, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := startUI(t, server, "--no-browser", "--port", taken.Port())
	for deadline := time.Now().Add(time.Minute); !strings.Contains(c.errOut.String(), "--port"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no error was printed: %s", c.errOut)
		}
	}
	if code := c.end(); code != CodeError {
		t.Errorf("the command ended with code %d", code)
	}
}

func TestUIForgetsTheOldestBrowser(t *testing.T) {
	s, err := newUISessions("127.0.0.1:1234")
	if err != nil {
		t.Fatal(err)
	}
	var first, last string
	for i := range maxUISessions + 1 {
		at, err := url.Parse(s.newAddress())
		if err != nil {
			t.Fatal(err)
		}
		session, ok := s.open(at.Query().Get("secret"))
		if !ok {
			t.Fatal("a new secret is refused")
		}
		if i == 0 {
			first = session
		}
		last = session
	}
	if s.has(first) || !s.has(last) || s.has("") || len(s.sessions) != maxUISessions {
		t.Errorf("%d browsers have a session; the first one: %t, the last one: %t", len(s.sessions), s.has(first), s.has(last))
	}
}
