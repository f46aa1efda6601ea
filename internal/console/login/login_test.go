// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"

	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/testing/dex"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// noRights are the rights of viewers whose rights a test does not ask for. It records the groups.
type noRights struct{}

func (noRights) Of(v *console.Viewer, groups []string) error {
	v.Authorizer = nil
	v.Name = strings.Join(append([]string{v.Name}, groups...), " ")
	return nil
}

// testConsole is a console whose pages say who looks at them.
type testConsole struct {
	*httptest.Server
	login *Login
	clock *clock
}

// newConsole starts a console; change may change its settings. Without a change it has no login.
func newConsole(t *testing.T, change func(*Options)) *testConsole {
	t.Helper()
	c := &testConsole{Server: httptest.NewUnstartedServer(nil), clock: &clock{at: time.Now()}}
	base, err := url.Parse("https://" + c.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		BaseURL: base, Scopes: []string{"openid", "profile", "email", "groups", "offline_access"}, Lifetime: 8 * time.Hour,
		Claims: Claims{Username: "preferred_username", UsernamePrefix: "oidc:", Groups: "groups", GroupsPrefix: "oidc:"},
		Now:    c.clock.now, Log: testr.New(t), Rights: noRights{},
		Show: func(w http.ResponseWriter, _ *http.Request, m console.Message) {
			w.WriteHeader(m.Status)
			fmt.Fprintf(w, "%s. %s %s [%s](%s)", m.Title, m.Message, m.Fix, m.LinkText, m.Link)
		},
	}
	if change != nil {
		change(&o)
	}
	if c.login, err = New(o); err != nil {
		t.Fatal(err)
	}
	if c.login.provider != nil {
		c.login.provider.client.Timeout = time.Minute // it only passes if the test fails
	}
	mux := http.NewServeMux()
	for _, path := range []string{loginPath, callbackPath, logoutPath} {
		mux.Handle(path, c.login)
	}
	c.Config.Handler = c.login.Wrap(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		viewer, err := c.login.Of(r)
		if ended, ok := errors.AsType[*console.LoginError](err); ok {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, "%s %s (%s)", ended.Message, ended.Fix, ended.URL)
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(w, "%s looks at %s", viewer.Name, r.URL.RequestURI())
	})
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

// withDex returns settings for a console with dex as its provider. It starts dex at the first use.
func withDex(d **dex.Dex, t *testing.T, users ...dex.User) func(*Options) {
	return func(o *Options) {
		*d = dex.New(t, o.BaseURL.String()+callbackPath, users...)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte(dex.ClientSecret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.Issuer, o.ClientID, o.ClientSecretFile = (*d).Issuer, dex.ClientID, secret
	}
}

var anna = dex.User{Name: "anna", Password: "a-password", Email: "anna@example.com", Groups: []string{"stoppers", "release-team"}}

// browser has the cookies of one person.
type browser struct {
	*http.Client
	t *testing.T
}

func (c *testConsole) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := *c.Client()
	client.Jar = jar
	return &browser{&client, t}
}

// get returns the status and the text of a page.
func (b *browser) get(address string) (int, string) {
	b.t.Helper()
	response, err := b.Get(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return read(b.t, response)
}

func read(t *testing.T, response *http.Response) (int, string) {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// logIn logs a user in and returns the page after it.
func (b *browser) logIn(c *testConsole, d *dex.Dex, user dex.User, path string) (int, string) {
	b.t.Helper()
	page, err := b.Get(c.URL + path)
	if err != nil {
		b.t.Fatal(err)
	}
	return read(b.t, d.LogIn(b.Client, page, user.Name, user.Password))
}

// sees fails the test if a page has another status or does not have a text.
func (b *browser) sees(address string, status int, want string) {
	b.t.Helper()
	got, text := b.get(address)
	expect(b.t, got, text, status, want)
}

func expect(t *testing.T, got int, text string, status int, want string) {
	t.Helper()
	if got != status || !strings.Contains(text, want) {
		t.Errorf("the page is %d %q, want %d with %q", got, text, status, want)
	}
}

// TestLogInWithDex: a person looks at a page without a login, logs in, returns to the page, has the
// groups of the provider, and logs out.
func TestLogInWithDex(t *testing.T) {
	t.Parallel()
	var d *dex.Dex
	c := newConsole(t, withDex(&d, t, anna))
	d.Start()
	b := c.browser(t)
	b.sees(c.URL+"/rollouts?state=Running", 200, "goshawk:anonymous looks at /rollouts?state=Running")
	status, text := b.logIn(c, d, anna, "/login?return=/rollouts%3Fstate%3DRunning")
	expect(t, status, text, 200, "oidc:anna oidc:release-team oidc:stoppers looks at /rollouts?state=Running")
	b.sees(c.URL+"/targets", 200, "oidc:anna")

	copied := c.browser(t)
	base, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	copied.Jar.SetCookies(base, b.Jar.Cookies(base))
	response, err := b.PostForm(c.URL+"/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, text = read(t, response)
	expect(t, status, text, 200, "You may still be logged in at the provider "+d.Issuer)
	b.sees(c.URL+"/targets", 200, "goshawk:anonymous looks at /targets")
	copied.sees(c.URL+"/targets", 401, "You have logged out.")
}

// TestSessionIsSafeInTheBrowser: scripts and other pages get no cookie of the console, and the
// cookie shows nothing of the session.
func TestSessionIsSafeInTheBrowser(t *testing.T) {
	t.Parallel()
	var d *dex.Dex
	c := newConsole(t, withDex(&d, t, anna))
	d.Start()
	b := c.browser(t)
	var set []*http.Cookie
	b.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := c.Client().Transport.RoundTrip(r)
		if err == nil && r.URL.Host == c.Listener.Addr().String() {
			set = append(set, response.Cookies()...)
		}
		return response, err
	})
	b.logIn(c, d, anna, "/login")
	names := []string{}
	for _, cookie := range set {
		if !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || !strings.HasPrefix(cookie.Name, "__Host-goshawk-") || len(cookie.String()) > 4096 {
			t.Errorf("the cookie is %s", cookie)
		}
		if strings.Contains(cookie.Value, "anna") {
			t.Errorf("the cookie shows its content: %s", cookie.Value)
		}
		names = append(names, cookie.Name)
	}
	if len(names) != 3 || names[0] != names[1] || names[2] != "__Host-goshawk-session" {
		t.Errorf("the cookies are %v; want one for the login, its removal, and one for the session", names)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestAnswersThatBelongToNoLogin: what the provider sends to the console counts only for the
// browser and the login that it was made for.
func TestAnswersThatBelongToNoLogin(t *testing.T) {
	t.Parallel()
	var d *dex.Dex
	c := newConsole(t, withDex(&d, t, anna))
	d.Start()
	// answer logs anna in at the provider, and returns the address to which the provider sends the
	// browser. change may change the request to the provider.
	answer := func(b *browser, change func(url.Values)) string {
		var last string
		b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			switch {
			case strings.HasSuffix(r.URL.Path, "/auth"):
				query := r.URL.Query()
				if query.Get("code_challenge_method") != "S256" || query.Get("nonce") == "" || query.Get("state") == "" {
					t.Errorf("the request to the provider has %v", query)
				}
				if change != nil {
					change(query)
				}
				r.URL.RawQuery = query.Encode()
			case r.URL.Path == callbackPath:
				last = r.URL.String()
				return http.ErrUseLastResponse
			}
			return nil
		}
		b.logIn(c, d, anna, "/login")
		b.CheckRedirect = nil
		if last == "" {
			t.Fatal("the provider has sent the browser nowhere")
		}
		return last
	}
	with := func(address, name, value string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		query.Set(name, value)
		u.RawQuery = query.Encode()
		return u.String()
	}
	for name, test := range map[string]struct {
		change  func(url.Values)
		address func(string) string
		other   bool
		status  int
		want    string
	}{
		"the right one":                {status: 200, want: "oidc:anna"},
		"another state":                {address: func(a string) string { return with(a, "state", "AAAAAAAAAAAAAAAAAAAAAAAAAA") }, status: 400, want: "its state is not known here"},
		"a state with the same start":  {address: func(a string) string { return a + "A" }, status: 400, want: "its state is not known here"},
		"no state":                     {address: func(a string) string { return with(a, "state", "") }, status: 400, want: "it has no state"},
		"the login of another browser": {other: true, status: 400, want: "its state is not known here"},
		"another nonce":                {change: func(q url.Values) { q.Set("nonce", "another") }, status: 400, want: "its nonce is not that of this login"},
		"without a nonce":              {change: func(q url.Values) { q.Del("nonce") }, status: 400, want: "its nonce is not that of this login"},
		"another challenge":            {change: func(q url.Values) { q.Set("code_challenge", strings.Repeat("A", 43)) }, status: 502, want: "The provider does not confirm the login: it says invalid_grant"},
		"another code":                 {address: func(a string) string { return with(a, "code", "another") }, status: 502, want: "The provider does not confirm the login: it says invalid_"},
		"another issuer":               {address: func(a string) string { return with(a, "iss", "https://other.example") }, status: 400, want: "from another provider, https://other.example"},
		"an error of the provider":     {address: func(a string) string { return with(a, "error", "access_denied") }, status: 403, want: "The provider has refused the login: access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.browser(t)
			address := answer(b, test.change)
			if test.address != nil {
				// The state is the last one of the query, so that a test can append to it.
				address = test.address(address)
			}
			if test.other {
				b = c.browser(t)
			}
			status, text := b.get(address)
			expect(t, status, text, test.status, test.want)
			if test.status != 200 {
				b.sees(c.URL+"/", 200, "goshawk:anonymous")
				return
			}
			status, text = b.get(address) // the same answer once more
			expect(t, status, text, 400, "its state is not known here")
		})
	}
	t.Run("after ten minutes", func(t *testing.T) {
		b := c.browser(t)
		address := answer(b, nil)
		c.clock.move(11 * time.Minute)
		b.sees(address, 400, "the login was started more than 10 minutes ago")
	})
}

// TestSessionEnds: after its lifetime, also for a page that is open.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	var d *dex.Dex
	c := newConsole(t, func(o *Options) {
		withDex(&d, t, anna)(o)
		o.Scopes = []string{"openid", "profile", "groups"} // no refresh token
	})
	d.Start()
	b := c.browser(t)
	b.logIn(c, d, anna, "/login")
	d.Stop() // without a refresh token, the provider is not asked again
	c.clock.move(8*time.Hour - time.Minute)
	b.sees(c.URL+"/", 200, "oidc:anna")
	c.clock.move(time.Minute)
	status, text := b.get(c.URL + "/rollouts?q=a")
	expect(t, status, text, 401, "8h0m0s after the login. Log in again.")
	expect(t, status, text, 401, "(/login?return=%2Frollouts%3Fq%3Da)")
	b.sees(c.URL+"/rollouts?q=a", 200, "goshawk:anonymous") // it was said once
}

// TestSessionIsRenewed: groups that change at the provider count after a quarter of an hour, a
// session that it has ended ends here, and a provider that cannot be reached ends it after an hour.
func TestSessionIsRenewed(t *testing.T) {
	t.Parallel()
	var d *dex.Dex
	c := newConsole(t, withDex(&d, t, anna))
	d.Start()
	b := c.browser(t)
	b.logIn(c, d, anna, "/login")
	base, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	old := c.browser(t) // a browser that never gets the answer with the newer session
	old.Jar.SetCookies(base, b.Jar.Cookies(base))
	old.Client.Jar = readOnly{old.Client.Jar}

	changed := anna
	changed.Groups = []string{"viewers"}
	d.SetUsers(changed)
	b.sees(c.URL+"/", 200, "oidc:anna oidc:release-team oidc:stoppers looks")
	c.clock.move(15 * time.Minute)
	b.sees(c.URL+"/static/style.css", 200, "goshawk:anonymous") // files are for everyone, and set no cookie
	var several sync.WaitGroup
	for range 5 { // dex accepts a refresh token once
		several.Go(func() { old.sees(c.URL+"/", 200, "oidc:anna oidc:viewers looks") })
	}
	several.Wait()
	b.sees(c.URL+"/", 200, "oidc:anna oidc:viewers looks")
	c.clock.move(15 * time.Minute)
	b.sees(c.URL+"/", 200, "oidc:anna oidc:viewers looks")
	old.sees(c.URL+"/", 200, "oidc:anna oidc:viewers looks")

	d.Stop()
	c.clock.move(20 * time.Minute)
	b.sees(c.URL+"/", 200, "oidc:anna oidc:viewers looks") // the provider is down for some minutes
	c.clock.move(60 * time.Minute)
	b.sees(c.URL+"/", 401, "could not be asked about it since")

	d.Start() // it has other refresh tokens, as after a session that was ended there
	b.logIn(c, d, changed, "/login")
	d.Stop()
	d.Start()
	c.clock.move(16 * time.Minute)
	b.sees(c.URL+"/", 200, "oidc:anna oidc:viewers looks") // another replica may have used the token
	c.clock.move(refusalGrace)
	b.sees(c.URL+"/", 401, "The provider has ended your session: it says invalid_request: Refresh token is invalid")
	b.sees(c.URL+"/", 200, "goshawk:anonymous")
}

// TestReplicasRenewASessionAtTheSameTime: dex accepts a refresh token once, so the second replica
// is refused. The browser stays logged in, with the session of the first one.
func TestReplicasRenewASessionAtTheSameTime(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(strings.Repeat("k", minKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	var d *dex.Dex
	one := newConsole(t, func(o *Options) {
		withDex(&d, t, anna)(o)
		o.KeyFile = keys
	})
	two := newConsole(t, func(o *Options) { *o = one.login.o; o.Log = logr.Discard() })
	two.clock, two.login.o.Now, two.login.provider.now = one.clock, one.clock.now, one.clock.now
	d.Start()
	b := one.browser(t)
	b.logIn(one, d, anna, "/login")
	base, err := url.Parse(one.URL)
	if err != nil {
		t.Fatal(err)
	}
	late := two.browser(t) // sends the old cookie to the second replica
	late.Jar.SetCookies(base, b.Jar.Cookies(base))
	other := late.Jar
	one.clock.move(renewInterval)
	b.sees(one.URL+"/", 200, "oidc:anna")
	late.sees(two.URL+"/", 200, "oidc:anna")
	late.Jar.SetCookies(base, b.Jar.Cookies(base)) // it has the session of the first replica now
	one.clock.move(5 * time.Minute)
	late.sees(two.URL+"/", 200, "oidc:anna")
	if len(other.Cookies(base)) != 1 {
		t.Errorf("the browser has the cookies %v", other.Cookies(base))
	}
}

// readOnly is a jar that stores nothing.
type readOnly struct{ http.CookieJar }

func (readOnly) SetCookies(*url.URL, []*http.Cookie) {}

// TestProviderIsDownAtTheStart: the console runs, says what is wrong, and lets people log in as
// soon as the provider can be reached.
func TestProviderIsDownAtTheStart(t *testing.T) {
	t.Parallel()
	var d *dex.Dex
	c := newConsole(t, withDex(&d, t, anna))
	b := c.browser(t)
	b.sees(c.URL+"/", 200, "goshawk:anonymous")
	status, text := b.get(c.URL + "/login?return=/targets")
	expect(t, status, text, 503, "The provider "+d.Issuer+" cannot be used at the moment: connection refused.")
	expect(t, status, text, 503, "[Try again](/login?return=%2Ftargets)")
	d.Start()
	c.clock.move(discoveryPause)
	status, text = b.logIn(c, d, anna, "/login?return=/targets")
	expect(t, status, text, 200, "oidc:anna oidc:release-team oidc:stoppers looks at /targets")
}

// TestProviderThatIsNotConfiguredWell: each wrong setting is named.
func TestProviderThatIsNotConfiguredWell(t *testing.T) {
	t.Parallel()
	serve := func(t *testing.T, configuration func(issuer string) string) string {
		t.Helper()
		var s *httptest.Server
		s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, configuration(s.URL))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, test := range map[string]struct {
		configuration func(string) string
		want          string
	}{
		"another issuer":       {func(string) string { return `{"issuer":"https://other.example"}` }, "its configuration says that the issuer is https://other.example, but --console-oidc-issuer-url is http://127.0.0.1"},
		"no address to log in": {func(i string) string { return `{"issuer":"` + i + `","token_endpoint":"` + i + `"}` }, `its configuration has the authorization_endpoint ""`},
		"an address with HTTP": {func(i string) string {
			return `{"issuer":"` + i + `","token_endpoint":"` + i + `","authorization_endpoint":"http://a.example"}`
		}, `authorization_endpoint "http://a.example", which is not a URL with https`},
		"a page that is no JSON": {func(string) string { return "<html>" }, "failed to decode provider discovery object"},
		"an endless answer":      {func(string) string { return strings.Repeat(" ", maxAnswer+1) }, "request body too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConsole(t, func(o *Options) { o.Issuer, o.ClientID = serve(t, test.configuration), "console" })
			c.browser(t).sees(c.URL+"/login", 503, test.want)
		})
	}
}

// TestLogoutAtTheProvider: the browser is sent to the address that the provider has for it.
func TestLogoutAtTheProvider(t *testing.T) {
	t.Parallel()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": s.URL, "token_endpoint": s.URL + "/t", "authorization_endpoint": s.URL + "/a", "end_session_endpoint": s.URL + "/end?realm=a"})
	}))
	defer s.Close()
	c := newConsole(t, func(o *Options) { o.Issuer, o.ClientID = s.URL, "console" })
	response, err := c.Client().PostForm(c.URL+"/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, text := read(t, response)
	want := s.URL + "/end?client_id=console&post_logout_redirect_uri=" + url.QueryEscape(c.URL+"/") + "&realm=a"
	expect(t, status, text, 200, "[Log out at the provider]("+want+")")
	if got := response.Header.Get("Refresh"); got != "1; url="+want {
		t.Errorf("Refresh is %q", got)
	}
	c.browser(t).sees(c.URL+"/logout", 405, "/logout is for requests with the method POST")
}

// TestConsoleWithoutAProvider: everyone is anonymous, and the paths of the login say so.
func TestConsoleWithoutAProvider(t *testing.T) {
	t.Parallel()
	c := newConsole(t, nil)
	b := c.browser(t)
	b.sees(c.URL+"/", 200, "goshawk:anonymous")
	b.sees(c.URL+"/login", 404, "--console-oidc-issuer-url")
	b.sees(c.URL+"/callback", 404, "This console has no login")
}

// TestReplicasAcceptSessionsOfEachOther: with the same keys, also while the keys are changed. A
// session with another key, or of another provider, is refused with a sentence.
func TestReplicasAcceptSessionsOfEachOther(t *testing.T) {
	t.Parallel()
	key := func(keys ...string) string {
		file := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(file, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 44)
	replica := func(issuer, keys string) *testConsole {
		return newConsole(t, func(o *Options) { o.Issuer, o.ClientID, o.KeyFile = issuer, "console", keys })
	}
	const issuer = "https://idp.example"
	first := replica(issuer, key(one))
	sealed, err := first.login.keys.current().sessions.seal(session{ID: "id", Name: "oidc:anna", Started: first.clock.now().Unix()})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		replica *testConsole
		status  int
		want    string
	}{
		"the same key":            {replica(issuer, key(one)), 200, "oidc:anna"},
		"an older key":            {replica(issuer, key(two, one)), 200, "oidc:anna"},
		"another key":             {replica(issuer, key(two)), 401, "the console has other keys for sessions than at your login"},
		"no file":                 {replica(issuer, ""), 401, "its operator sets --console-session-key-file"},
		"a key of another issuer": {replica("https://other.example", key(one)), 401, "Your session cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequest(http.MethodGet, test.replica.URL+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.AddCookie(&http.Cookie{Name: "__Host-goshawk-session", Value: "1." + sealed})
			response, err := test.replica.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			status, text := read(t, response)
			expect(t, status, text, test.status, test.want)
		})
	}
	for name, test := range map[string]struct{ file, want string }{
		"a short key": {key(one, "short"), "the key in line 2 has 5 characters, and must have at least 32"},
		"no key":      {key(""), "has no key"},
		"no file":     {filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		if _, err := keysFrom(test.file); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

// TestKeysAreReplacedWithoutARestart: the file of the keys is read again. A file that cannot be
// used changes nothing.
func TestKeysAreReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	file, at := filepath.Join(t.TempDir(), "keys"), &clock{at: time.Now()}
	write := func(keys ...string) {
		if err := os.WriteFile(file, []byte(strings.Join(keys, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two := strings.Repeat("1", minKey), strings.Repeat("2", minKey)
	write(one)
	keys, err := newKeyring(file, "issuer", at.now, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	seal := func() string {
		sealed, err := keys.current().sessions.seal(session{ID: "id"})
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	withOne := seal()
	check := func(when, sealed string, want bool) {
		t.Helper()
		if got := keys.current().sessions.open(sealed, &session{}) == nil; got != want {
			t.Errorf("%s: a session opens: %t, want %t", when, got, want)
		}
		if keys.current().logins.open(sealed, &session{}) == nil {
			t.Errorf("%s: a session is accepted as a login that was started", when)
		}
	}
	write(two, one)
	check("the file was read a moment ago", withOne, true)
	at.move(keysInterval)
	check("the old key is the second one", withOne, true)
	withTwo := seal()
	for _, unusable := range []string{"short", ""} {
		write(unusable)
		at.move(keysInterval)
		check("the file cannot be used", withOne, true)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	at.move(keysInterval)
	check("there is no file", withOne, true)
	write(two)
	at.move(keysInterval)
	check("the old key is gone", withOne, false)
	check("the new key is there", withTwo, true)
}

// TestSessionOfManyGroups: it has a second cookie, and is refused with a sentence if that is not
// enough.
func TestSessionOfManyGroups(t *testing.T) {
	t.Parallel()
	c := newConsole(t, func(o *Options) { o.Issuer, o.ClientID = "https://idp.example", "console" })
	group := func(i int) string { // as Entra ID has them: not compressible
		b, err := c.login.keys.current().sessions.seal(i)
		if err != nil {
			t.Fatal(err)
		}
		return b[:22]
	}
	write := func(groups int, have ...*http.Cookie) ([]*http.Cookie, bool) {
		s := &session{ID: "id", Name: "oidc:anna", Started: c.clock.now().Unix()}
		for i := range groups {
			s.Groups = append(s.Groups, group(i))
		}
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		for _, cookie := range have {
			r.AddCookie(cookie)
		}
		ok := c.login.store(w, r, s)
		return w.Result().Cookies(), ok
	}
	many, ok := write(200)
	if !ok || len(many) != 2 {
		t.Fatalf("200 groups have %d cookies, %v", len(many), ok)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, cookie := range many {
		if len(cookie.String()) > 4096 {
			t.Errorf("a cookie has %d bytes", len(cookie.String()))
		}
		r.AddCookie(cookie)
	}
	sealed, _ := c.login.cookies.readSession(r)
	if s, ended := c.login.open(sealed); ended != nil || len(s.Groups) != 200 {
		t.Errorf("the session is read as %+v, %v", s, ended)
	}
	few, ok := write(2, many...)
	if !ok || len(few) != 2 || few[1].MaxAge >= 0 {
		t.Errorf("with fewer groups the cookies are %v, %v; want the second one removed", few, ok)
	}
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(few[0])
	r.AddCookie(many[1]) // the browser has not removed it yet
	sealed, _ = c.login.cookies.readSession(r)
	if s, ended := c.login.open(sealed); ended != nil || len(s.Groups) != 2 {
		t.Errorf("the session is read as %+v, %v", s, ended)
	}
	if cookies, ok := write(400); ok || len(cookies) != 0 {
		t.Errorf("400 groups are stored in %d cookies", len(cookies))
	}
	if e := tooManyGroups(&session{Groups: make([]string, 400)}); !strings.Contains(e.Message, "Your 400 groups do not fit") {
		t.Errorf("the message is %q", e.Message)
	}
}

// TestForgedCookies: whatever a browser sends, it gets no session.
func TestForgedCookies(t *testing.T) {
	t.Parallel()
	c := newConsole(t, func(o *Options) { o.Issuer, o.ClientID = "https://idp.example", "console" })
	flowCookie, err := c.login.keys.current().logins.seal(flow{State: "a"}) // sealed, for another purpose
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"text": "anna", "no part": "1.", "no count": "AAAA", "not base64": "1.%%%", "too short": "1.AAAA", "a second part that is missing": "2.AAAA",
		"the cookie of a login": "1." + flowCookie, "plain JSON": `1.eyJuIjoic3lzdGVtOmFkbWluIn0`,
	} {
		request, err := http.NewRequest(http.MethodGet, c.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Cookie", "__Host-goshawk-session="+value)
		response, err := c.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		status, text := read(t, response)
		if status != 401 || !strings.Contains(text, "Your session cannot be read") {
			t.Errorf("%s: the page is %d %q", name, status, text)
		}
	}
}

// TestLoginReturnsOnlyToTheConsole: another page cannot use the login to send people elsewhere.
func TestLoginReturnsOnlyToTheConsole(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/rollouts?state=Running&q=a%20b": "/rollouts?state=Running&q=a%20b", "/targets/fleet/a": "/targets/fleet/a", "/": "/", "/sets#a": "/sets", "/sets/fleet/a%2Fb": "/sets/fleet/a%2Fb",
		"": "/", "rollouts": "/", "https://evil.example/": "/", "//evil.example": "/", "///evil.example": "/", "/\\evil.example": "/", "\\\\evil.example": "/",
		"/%5Cevil.example": "/", "/\t/evil.example": "/", " /": "/", "/a\r\nSet-Cookie: a": "/", "javascript:alert(1)": "/", "/../a": "/", "/a/..": "/", "/a/../../b": "/", "//": "/", "/%2Fevil.example": "/", "/a/%2e%2e/b": "/",
		"/login": "/", "/login?return=/login": "/", "/callback?code=a": "/", "/logout": "/", "/events": "/", "/" + strings.Repeat("a", 3000): "/",
	} {
		if got := ownPath(path); got != want {
			t.Errorf("%q becomes %q, want %q", path, got, want)
		}
	}
}

// TestLoginsInSeveralTabs: each tab ends its own login, and a browser keeps a few of them only.
func TestLoginsInSeveralTabs(t *testing.T) {
	t.Parallel()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": s.URL, "token_endpoint": s.URL + "/t", "authorization_endpoint": s.URL + "/a"})
	}))
	defer s.Close()
	c := newConsole(t, func(o *Options) { o.Issuer, o.ClientID = s.URL, "console" })
	b := c.browser(t)
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	base, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for range 3 * flows {
		b.get(c.URL + "/login")
		most = max(most, len(b.Jar.Cookies(base)))
	}
	if most != flows {
		t.Errorf("the browser had up to %d logins, want %d", most, flows)
	}
}

// TestOnlyTheHostOfTheConsoleIsServed: another name that resolves to its address is refused, so
// that another page cannot read it with the address of the viewer.
func TestOnlyTheHostOfTheConsoleIsServed(t *testing.T) {
	t.Parallel()
	for base, hosts := range map[string]map[string]bool{
		"https://console.example":      {"console.example": true, "Console.Example": true, "console.example:443": true, "console.example:80": false, "evil.example": false, "": false, "127.0.0.1": false},
		"https://console.example:8443": {"console.example:8443": true, "console.example": false, "console.example:443": false},
		"https://console.example:443":  {"console.example:443": true, "console.example": true},
		"http://localhost:8083":        {"localhost:8083": true, "localhost": false},
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		for host, want := range hosts {
			if got := (&Login{o: Options{BaseURL: u}}).IsHost(host); got != want {
				t.Errorf("%s: host %q is %v", base, host, got)
			}
		}
	}
	if !(&Login{}).IsHost("anything") {
		t.Error("without a base URL a host is refused")
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no URL":                          {func(o *Options) { o.BaseURL = nil }, "must be the URL of the console in browsers"},
		"a URL with HTTP":                 {func(o *Options) { o.BaseURL = &url.URL{Scheme: "http", Host: "console.example"} }, "http is possible on localhost only"},
		"a URL with a query":              {func(o *Options) { o.BaseURL.RawQuery = "a=b" }, "must be the URL of the console in browsers"},
		"a URL with a path":               {func(o *Options) { o.BaseURL.Path = "/goshawk" }, "without a path"},
		"an issuer with HTTP":             {func(o *Options) { o.Issuer = "http://idp.example" }, "--console-oidc-issuer-url=http://idp.example must be a URL with https"},
		"no client id":                    {func(o *Options) { o.ClientID = "" }, "needs --console-oidc-client-id"},
		"no scope openid":                 {func(o *Options) { o.Scopes = []string{"profile"} }, "--console-oidc-scopes=profile must contain openid"},
		"a short session":                 {func(o *Options) { o.Lifetime = time.Second }, "--console-session-lifetime=1s must be at least 1m"},
		"a prefix of the API server":      {func(o *Options) { o.Claims.GroupsPrefix = "system:" }, "--console-oidc-groups-prefix=system: starts with system:, which is reserved"},
		"a prefix of the console's users": {func(o *Options) { o.Claims.UsernamePrefix = "goshawk:x" }, "--console-oidc-username-prefix=goshawk:x starts with goshawk:"},
		"a group of the API server":       {func(o *Options) { o.Claims.Only = []string{"a", "system:masters"} }, "--console-oidc-groups contains system:masters"},
		"a CA that is none":               {func(o *Options) { o.CAFile = "login_test.go" }, "has no certificate in PEM"},
	} {
		o := Options{
			BaseURL: &url.URL{Scheme: "https", Host: "console.example"}, Issuer: "https://idp.example", ClientID: "console",
			Scopes: []string{"openid"}, Lifetime: time.Hour, Now: time.Now, Log: logr.Discard(),
		}
		test.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

// TestNameAndGroupsOfAnIDToken: the rules of kube-apiserver, and no user or group of the API server
// itself.
func TestNameAndGroupsOfAnIDToken(t *testing.T) {
	t.Parallel()
	const issuer = "https://idp.example"
	for name, test := range map[string]struct {
		rules  Claims
		claims string
		want   identity
		says   string
	}{
		"the defaults":                      {Claims{}, `{"sub":"1","groups":["a"]}`, identity{Name: issuer + "#1"}, ""},
		"an address":                        {Claims{Username: "email"}, `{"sub":"1","email":"a@b.example","email_verified":true}`, identity{Name: "a@b.example"}, ""},
		"an address without a word on it":   {Claims{Username: "email"}, `{"sub":"1","email":"a@b.example"}`, identity{Name: "a@b.example"}, ""},
		"an address that is not verified":   {Claims{Username: "email"}, `{"sub":"1","email":"a@b.example","email_verified":false}`, identity{}, "has not verified the address a@b.example"},
		"a text that is not true":           {Claims{Username: "email"}, `{"sub":"1","email":"a@b.example","email_verified":"true"}`, identity{}, "has not verified the address a@b.example"},
		"a prefix":                          {Claims{Username: "name", UsernamePrefix: "oidc:"}, `{"name":"anna"}`, identity{Name: "oidc:anna"}, ""},
		"no prefix":                         {Claims{Username: "name", UsernamePrefix: "-"}, `{"name":"anna"}`, identity{Name: "anna"}, ""},
		"groups, sorted and once":           {Claims{Groups: "roles", GroupsPrefix: "g:"}, `{"sub":"1","roles":["b","a","b"]}`, identity{issuer + "#1", []string{"g:a", "g:b"}}, ""},
		"one group as text":                 {Claims{Groups: "roles"}, `{"sub":"1","roles":"a"}`, identity{issuer + "#1", []string{"a"}}, ""},
		"no groups":                         {Claims{Groups: "roles"}, `{"sub":"1"}`, identity{Name: issuer + "#1"}, ""},
		"groups that do not count":          {Claims{Groups: "g", GroupsPrefix: "o:", Only: []string{"o:a"}}, `{"sub":"1","g":["a","b","system:masters"]}`, identity{issuer + "#1", []string{"o:a"}}, ""},
		"groups that are numbers":           {Claims{Groups: "roles"}, `{"sub":"1","roles":[1]}`, identity{}, "neither a text nor a list of texts"},
		"groups that are elsewhere":         {Claims{Groups: "groups"}, `{"sub":"1","_claim_names":{"groups":"src1"}}`, identity{}, "You are in so many groups"},
		"no name":                           {Claims{Username: "name"}, `{"sub":"1"}`, identity{}, "has no text in the claim name"},
		"a name that is a number":           {Claims{Username: "name"}, `{"name":7}`, identity{}, "has no text in the claim name"},
		"system:masters":                    {Claims{Groups: "g"}, `{"sub":"1","g":["a","system:masters"]}`, identity{}, "The provider says that the group is system:masters. The console acts as no user and no group whose name starts with system:"},
		"system:masters with a prefix":      {Claims{Groups: "g", GroupsPrefix: "oidc:"}, `{"sub":"1","g":["system:masters"]}`, identity{issuer + "#1", []string{"oidc:system:masters"}}, ""},
		"the group of all nodes":            {Claims{Groups: "g"}, `{"sub":"1","g":["system:nodes"]}`, identity{}, "system:nodes"},
		"an account of the cluster":         {Claims{UsernamePrefix: "-"}, `{"sub":"system:serviceaccount:goshawk-system:goshawk-manager"}`, identity{}, "--console-oidc-username-prefix, such as oidc:"},
		"the administrator of the cluster":  {Claims{UsernamePrefix: "-"}, `{"sub":"system:admin"}`, identity{}, "The provider says that the user is system:admin"},
		"a prefix that the claim completes": {Claims{UsernamePrefix: "sys"}, `{"sub":"tem:admin"}`, identity{}, "The provider says that the user is system:admin"},
		"the anonymous viewer":              {Claims{UsernamePrefix: "-"}, `{"sub":"goshawk:anonymous"}`, identity{}, "starts with goshawk:"},
		"a line break":                      {Claims{UsernamePrefix: "-"}, `{"sub":"a\r\nImpersonate-Group: system:masters"}`, identity{}, "contains control characters"},
		"an empty group":                    {Claims{Groups: "g"}, `{"sub":"1","g":[""]}`, identity{}, "sends a group with an empty name"},
		"a long name":                       {Claims{UsernamePrefix: "-"}, `{"sub":"` + strings.Repeat("a", 600) + `"}`, identity{}, "has 600 bytes, and may have at most 512"},
	} {
		var claims map[string]json.RawMessage
		if err := json.Unmarshal([]byte(test.claims), &claims); err != nil {
			t.Fatal(err)
		}
		got, err := test.rules.identity(issuer, claims)
		if test.says != "" {
			refused, ok := errors.AsType[*refusal](err)
			if !ok || !strings.Contains(refused.message+" "+refused.fix, test.says) {
				t.Errorf("%s: the error is %v, want %q", name, err, test.says)
			}
			continue
		}
		if err != nil || got.Name != test.want.Name || !slices.Equal(got.Groups, test.want.Groups) {
			t.Errorf("%s: it is %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}

// TestReservedGroupOfDex: the login is refused, and a prefix makes the group harmless.
func TestReservedGroupOfDex(t *testing.T) {
	t.Parallel()
	eve := dex.User{Name: "eve", Password: "a-password", Groups: []string{"system:masters"}}
	for prefix, want := range map[string]struct {
		status int
		text   string
	}{
		"":      {403, "The console acts as no user and no group whose name starts with system:"},
		"oidc:": {200, "oidc:eve oidc:system:masters looks at /"},
	} {
		var d *dex.Dex
		c := newConsole(t, func(o *Options) {
			withDex(&d, t, eve)(o)
			o.Claims.GroupsPrefix = prefix
		})
		d.Start()
		b := c.browser(t)
		status, text := b.logIn(c, d, eve, "/login")
		expect(t, status, text, want.status, want.text)
	}
}
