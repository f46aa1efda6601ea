// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package login lets people log in to the console with an OpenID Connect provider, and makes them
// the viewers of its pages. A session is an encrypted cookie, so that the console has no state: any
// replica with the same keys accepts it. What a viewer sees is decided by the API server, which is
// asked about the user and the groups that the provider names; changes are sent to it with
// impersonation.
package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-logr/logr"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/lru"

	"github.com/goshawk-dev/goshawk/internal/console"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// The paths of the login.
const (
	loginPath    = "/login"
	callbackPath = "/callback"
	logoutPath   = "/logout"
)

const (
	// flowLifetime is how long a person has for the login at the provider, and flows the number of
	// logins that one browser may have started.
	flowLifetime = 10 * time.Minute
	flows        = 5
	// renewInterval is the longest time, and minRenewInterval the shortest time, until a session is
	// confirmed with its refresh token, so that a changed group or a removed user counts.
	renewInterval, minRenewInterval = 15 * time.Minute, time.Minute
	// renewPause is the time between two attempts while the provider cannot be reached, and
	// renewGrace how long sessions stay valid without an answer.
	renewPause, renewGrace = 30 * time.Second, time.Hour
	// refusalGrace is how long a session stays valid after the provider has refused its refresh
	// token: providers accept a token once, and another replica may have used it a moment ago. Then
	// the browser has a newer session already, or gets it now.
	refusalGrace = time.Minute
	// renewedSessions is how many sessions of this process are remembered with their newest refresh
	// token, for browsers that have not received it.
	renewedSessions = 10_000
	// maxReturn is the maximum length of the path to which a login returns, in bytes.
	maxReturn = 1500
)

// Options are the settings of the login.
type Options struct {
	// BaseURL is the URL of the console in browsers: https, or http on loopback. It has no path,
	// because the console has a host of its own. Without Issuer it may be nil.
	BaseURL *url.URL
	// Issuer is the URL of the provider. If it is empty, there is no login, and all viewers are
	// anonymous.
	Issuer string
	// ClientID is the id of the console at the provider. ClientSecretFile has the secret for it; if
	// it is empty, the console is a public client.
	ClientID, ClientSecretFile string
	// CAFile has the certificates of the CA of the provider in PEM, in addition to those of the
	// system. It may be empty.
	CAFile string
	// Scopes are requested from the provider.
	Scopes []string
	// Claims are the claims that name the user and the groups.
	Claims Claims
	// KeyFile has the keys of sessions, and is read again after a change. If it is empty, there is
	// a random key, which ends with the process.
	KeyFile string
	// Lifetime is how long a session lasts.
	Lifetime time.Duration
	// Rights are those of the viewers.
	Rights Rights
	// Show writes a page with a message.
	Show func(http.ResponseWriter, *http.Request, console.Message)
	Now  func() time.Time
	Log  logr.Logger
}

// Rights make viewers of users.
type Rights interface {
	// Of sets Authorizer and Client of a viewer, who is a user with groups.
	Of(viewer *console.Viewer, groups []string) error
}

// Login is the login of one console.
type Login struct {
	o        Options
	cookies  cookies
	keys     *keyring
	provider *provider // nil: there is no login
	// renewed has a *renewal by the ID of the session.
	renewed  *lru.Cache
	renewing singleflight.Group
}

// renewal is what this process knows about a session beyond its cookie.
type renewal struct {
	session session
	// ended says why the session has ended. nil: it has not.
	ended *console.LoginError
	// failedAt is when the provider was asked in vain.
	failedAt time.Time
	// refused says why the provider has refused the refresh token of session. nil: it has not.
	refused   *console.LoginError
	refusedAt time.Time
}

// New returns the login with these settings.
func New(o Options) (*Login, error) {
	l := &Login{o: o, renewed: lru.New(renewedSessions)}
	if o.Issuer == "" {
		return l, nil
	}
	if o.BaseURL == nil || checkURL(o.BaseURL) != nil || strings.Trim(o.BaseURL.Path, "/") != "" || o.BaseURL.RawQuery != "" || o.BaseURL.Fragment != "" || o.BaseURL.User != nil {
		return nil, fmt.Errorf("--console-base-url=%s must be the URL of the console in browsers, without a path, such as https://goshawk.example.com; http is possible on localhost only", o.BaseURL)
	}
	if l.cookies.secure = o.BaseURL.Scheme == "https"; l.cookies.secure {
		l.cookies.prefix = "__Host-"
	}
	issuer, err := url.Parse(o.Issuer)
	switch {
	case err != nil || checkURL(issuer) != nil:
		return nil, fmt.Errorf("--console-oidc-issuer-url=%s must be a URL with https; http is possible on localhost only", o.Issuer)
	case o.ClientID == "":
		return nil, errors.New("--console-oidc-issuer-url needs --console-oidc-client-id, the id of the console at the provider")
	case !slices.Contains(o.Scopes, oidc.ScopeOpenID):
		return nil, fmt.Errorf("--console-oidc-scopes=%s must contain openid", strings.Join(o.Scopes, ","))
	case o.Lifetime < time.Minute:
		return nil, fmt.Errorf("--console-session-lifetime=%s must be at least 1m", o.Lifetime)
	}
	if err := o.Claims.check(o.Issuer); err != nil {
		return nil, err
	}
	if l.keys, err = newKeyring(o.KeyFile, o.Issuer+" "+o.ClientID, o.Now, o.Log); err != nil {
		return nil, err
	}
	l.provider, err = newProvider(o, l.url(callbackPath))
	return l, err
}

// checkURL returns an error unless u is a URL with https, or with http on loopback.
func checkURL(u *url.URL) error {
	switch host := u.Hostname(); {
	case host == "":
		return errors.New("it has no host")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (host == "localhost" || net.ParseIP(host).IsLoopback()):
		return nil
	default:
		return errors.New("it is not a URL with https")
	}
}

// url returns the URL of a path of the console.
func (l *Login) url(path string) string {
	return l.o.BaseURL.Scheme + "://" + l.o.BaseURL.Host + path
}

// IsHost reports whether the header Host of a request names the console. Without a base URL each
// does.
func (l *Login) IsHost(host string) bool {
	base := l.o.BaseURL
	if base == nil || strings.EqualFold(host, base.Host) {
		return true
	}
	port := map[string]string{"https": "443", "http": "80"}[base.Scheme]
	return base.Port() == "" && strings.EqualFold(host, base.Host+":"+port) || base.Port() == port && strings.EqualFold(host, base.Hostname())
}

// Run asks the provider about itself until it has answered, or ctx ends. The login works as soon as
// the provider does; Run only says in the log what is wrong.
func (l *Login) Run(ctx context.Context) {
	for said := ""; l.provider != nil && ctx.Err() == nil; {
		_, err := l.provider.endpoints(ctx)
		if err == nil {
			l.o.Log.Info("The provider of the console can be reached", "issuer", l.o.Issuer)
			return
		}
		if err.Error() != said {
			said = err.Error()
			l.o.Log.Error(err, "The provider of the console cannot be used, so logins are not possible; this is tried again", "issuer", l.o.Issuer)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	}
}

// visit is the viewer of a request, as Wrap has found it.
type visit struct {
	session *session // nil: anonymous
	err     *console.LoginError
}

type visitKey struct{}

// Wrap finds the session of each request, for Of, before next serves it. It renews a session when
// it is time, which sets cookies. The context of a request ends with its session.
func (l *Login) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.provider == nil || isAsset(r.URL.Path) || isOwn(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		v := visit{}
		v.session, v.err = l.resume(w, r)
		ctx := context.WithValue(r.Context(), visitKey{}, v)
		if v.session != nil {
			var done context.CancelFunc
			ctx, done = context.WithTimeout(ctx, l.end(v.session).Sub(l.o.Now()))
			defer done()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// isOwn reports whether a path is one of the login.
func isOwn(path string) bool {
	return path == loginPath || path == callbackPath || path == logoutPath
}

// isAsset reports whether a path is a file that is the same for everyone. A response for such a
// path may be stored by caches, so it must set no cookie.
func isAsset(path string) bool { return strings.HasPrefix(path, "/static/") }

// Of implements console.Viewers, for requests that Wrap has passed on.
func (l *Login) Of(r *http.Request) (*console.Viewer, error) {
	v, _ := r.Context().Value(visitKey{}).(visit)
	if v.err != nil {
		return nil, v.err
	}
	viewer := &console.Viewer{Name: Anonymous, Anonymous: true}
	var groups []string
	if l.provider != nil {
		viewer.Login = loginURL(r)
	}
	if v.session != nil {
		viewer.Name, viewer.Anonymous, viewer.Session, viewer.Logout = v.session.Name, false, v.session.ID, logoutPath
		groups = v.session.Groups
	}
	if err := l.o.Rights.Of(viewer, groups); err != nil {
		return nil, err
	}
	return viewer, nil
}

// end returns when a session ends.
func (l *Login) end(s *session) time.Time { return time.Unix(s.Started, 0).Add(l.o.Lifetime) }

// resume returns the session of a request; nil without one. It removes the cookies of a session
// that has ended, so that the next request is anonymous.
func (l *Login) resume(w http.ResponseWriter, r *http.Request) (*session, *console.LoginError) {
	sealed, isThere := l.cookies.readSession(r)
	if !isThere {
		return nil, nil
	}
	s, ended := l.open(sealed)
	if ended == nil {
		before := *s
		s, ended = l.confirm(r.Context(), s)
		if ended == nil && (s.Renew != before.Renew || s.Refresh != before.Refresh) && !l.store(w, r, s) {
			ended = tooManyGroups(s)
		}
	}
	if ended != nil {
		ended.URL = loginURL(r)
		l.cookies.removeSession(w, r, 0)
		return nil, ended
	}
	return s, nil
}

// open returns the session of a cookie.
func (l *Login) open(sealed string) (*session, *console.LoginError) {
	s := &session{}
	if err := l.keys.current().sessions.open(sealed, s); err != nil {
		return nil, &console.LoginError{
			Message: "Your session cannot be read: the console has other keys for sessions than at your login.",
			Fix:     "Log in again. If this happens after each restart of the console, or now and then with several replicas, its operator sets --console-session-key-file.",
		}
	}
	if end := l.end(s); !l.o.Now().Before(end) {
		return nil, &console.LoginError{
			Message: fmt.Sprintf("Your session has ended at %s, %s after the login.", end.UTC().Format("2006-01-02 15:04 MST"), l.o.Lifetime),
			Fix:     "Log in again. Without a login you see what everyone may see.",
		}
	}
	return s, nil
}

// store writes a session into the cookies of the browser. It returns false if it does not fit.
func (l *Login) store(w http.ResponseWriter, r *http.Request, s *session) bool {
	sealed, err := l.keys.current().sessions.seal(s)
	if err != nil {
		l.o.Log.Error(err, "A session of the console cannot be stored")
		return false
	}
	return l.cookies.writeSession(w, r, sealed, l.end(s).Sub(l.o.Now()))
}

func tooManyGroups(s *session) *console.LoginError {
	return &console.LoginError{
		Message: fmt.Sprintf("Your %d groups do not fit into the cookies of a session, which have room for about %d bytes.", len(s.Groups), sessionCookies*cookieRoom),
		Fix:     "The operator of the provider limits the groups that it sends to the console to those that have rights in the cluster.",
	}
}

// confirm returns a session that the provider has confirmed when it was time for that.
func (l *Login) confirm(ctx context.Context, s *session) (*session, *console.LoginError) {
	known := l.known(s.ID)
	switch {
	case known.ended != nil:
		again := *known.ended
		return nil, &again
	case known.session.Renew > s.Renew:
		s = &known.session
	}
	now := l.o.Now()
	if s.Renew == 0 || now.Before(time.Unix(s.Renew, 0)) {
		return s, nil
	}
	if now.Sub(known.failedAt) < renewPause {
		return l.unconfirmed(s)
	}
	if known.refused != nil && known.session.Refresh == s.Refresh {
		return l.refused(s, known)
	}
	result, _, _ := l.renewing.Do(s.ID, func() (any, error) {
		n := l.known(s.ID)
		if n.ended == nil && n.session.Renew <= s.Renew && (n.refused == nil || n.session.Refresh != s.Refresh) { // else another request was faster
			n = l.renew(context.WithoutCancel(ctx), s)
			l.renewed.Add(s.ID, n)
		}
		return n, nil
	})
	n, _ := result.(renewal)
	switch {
	case n.ended != nil:
		again := *n.ended
		return nil, &again
	case n.refused != nil:
		return l.refused(s, n)
	case !n.failedAt.IsZero():
		return l.unconfirmed(s)
	}
	return &n.session, nil
}

// refused returns a session whose refresh token the provider has refused, as long as another
// replica may have renewed it.
func (l *Login) refused(s *session, n renewal) (*session, *console.LoginError) {
	if l.o.Now().Sub(n.refusedAt) < refusalGrace {
		return s, nil
	}
	again := *n.refused
	return nil, &again
}

// known returns what this process knows about a session.
func (l *Login) known(id string) renewal {
	value, _ := l.renewed.Get(id)
	known, _ := value.(renewal)
	return known
}

// renew asks the provider about a session.
func (l *Login) renew(ctx context.Context, s *session) renewal {
	n := renewal{session: *s}
	t, err := l.provider.renew(ctx, s.Refresh)
	switch {
	case isFinal(err):
		n.refused, n.refusedAt = &console.LoginError{Message: "The provider has ended your session: " + explain(err) + ".", Fix: "Log in again."}, l.o.Now()
		return n
	case err != nil:
		l.o.Log.Error(err, "The provider did not confirm a session of the console; this is tried again", "user", s.Name, "issuer", l.o.Issuer)
		n.failedAt = l.o.Now()
		return n
	}
	if t.claims != nil {
		id, err := l.o.Claims.identity(l.o.Issuer, t.claims)
		refused, _ := errors.AsType[*refusal](err)
		switch {
		case refused != nil:
			n.ended = &console.LoginError{Message: refused.message, Fix: refused.fix}
			return n
		case t.subject != s.Subject:
			n.ended = &console.LoginError{Message: "The provider has renewed your session for another user.", Fix: "Log in again."}
			return n
		}
		n.session.Name, n.session.Groups = id.Name, id.Groups
	}
	n.session.Refresh = t.refresh // the token source keeps the old one if there is no new one
	n.session.Renew = l.renewAt(t)
	return n
}

// renewAt returns when a session is confirmed again, in seconds since 1970; 0 without a refresh
// token.
func (l *Login) renewAt(t tokens) int64 {
	if t.refresh == "" {
		return 0
	}
	interval := renewInterval
	if t.claims != nil {
		interval = max(minRenewInterval, min(renewInterval, t.expiry.Sub(l.o.Now())))
	}
	return l.o.Now().Add(interval).Unix()
}

// unconfirmed returns a session that should be confirmed while the provider cannot be reached.
func (l *Login) unconfirmed(s *session) (*session, *console.LoginError) {
	if since := time.Unix(s.Renew, 0); l.o.Now().Sub(since) >= renewGrace {
		return nil, &console.LoginError{
			Message: fmt.Sprintf("Your session has ended: the provider %s could not be asked about it since %s.", l.o.Issuer, since.UTC().Format("2006-01-02 15:04 MST")),
			Fix:     "Log in again when the provider can be reached.",
		}
	}
	return s, nil
}

// flow is a login that a browser has started.
type flow struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Return   string `json:"r"`
	Started  int64  `json:"t"`
}

// ServeHTTP serves the paths of the login. The server before it refuses requests that change
// something and come from other pages.
func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, method := r.URL.Path, http.MethodGet
	if path == logoutPath {
		method = http.MethodPost
	}
	switch {
	case l.provider == nil:
		l.o.Show(w, r, console.Message{
			Status: http.StatusNotFound, Title: "No login", Message: "This console has no login, because no provider is configured.",
			Fix: "Its operator sets --console-oidc-issuer-url.", Link: "/", LinkText: "To the console",
		})
	case r.Method != method:
		w.Header().Set("Allow", method)
		l.o.Show(w, r, console.Message{
			Status: http.StatusMethodNotAllowed, Title: "Not possible", Message: fmt.Sprintf("%s is for requests with the method %s.", path, method),
			Fix: "Use the links and buttons of the console.", Link: "/", LinkText: "To the console",
		})
	case path == loginPath:
		l.start(w, r)
	case path == callbackPath:
		l.callback(w, r)
	default:
		l.logout(w, r)
	}
}

// loginURL returns the path of a login that returns to the page of a request.
func loginURL(r *http.Request) string {
	if r.Method != http.MethodGet || ownPath(r.URL.RequestURI()) == "/" {
		return loginPath
	}
	return again(r.URL.RequestURI())
}

// again returns the path of a login that returns to a path.
func again(back string) string {
	return loginPath + "?" + url.Values{"return": {back}}.Encode()
}

// ownPath returns a path of the console, with its query, that is safe to redirect to. Anything else
// becomes the first page.
func ownPath(path string) string {
	u, err := url.Parse(path)
	switch {
	case err != nil || len(path) > maxReturn || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }),
		u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil,
		!strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.HasPrefix(u.Path, "//"),
		strings.Contains(u.Path, "/../") || strings.HasSuffix(u.Path, "/..") || strings.Contains(u.Path, `\`),
		isOwn(u.Path) || u.Path == "/events":
		return "/"
	}
	return u.RequestURI()
}

// start sends the browser to the provider.
func (l *Login) start(w http.ResponseWriter, r *http.Request) {
	back := ownPath(r.URL.Query().Get("return"))
	e, err := l.provider.endpoints(r.Context())
	if err != nil {
		l.notPossible(w, r, back, "The provider "+l.o.Issuer+" cannot be used at the moment: "+explain(err)+".")
		return
	}
	c, err := l.provider.oauth(e)
	if err != nil {
		l.o.Log.Error(err, "A login to the console is not possible")
		l.notPossible(w, r, back, "The console cannot read its secret for the provider.")
		return
	}
	f := flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: back, Started: l.o.Now().Unix()}
	sealed, err := l.keys.current().logins.seal(f)
	if err != nil {
		l.o.Log.Error(err, "A login of the console cannot be stored")
		l.notPossible(w, r, back, "The console cannot store the login.")
		return
	}
	l.removeFlows(w, r, flows-1)
	l.cookies.set(w, l.cookies.flow(f.State), sealed, flowLifetime)
	http.Redirect(w, r, c.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), http.StatusSeeOther)
}

// removeFlows removes the cookies of logins that were started, if there are more than a number.
func (l *Login) removeFlows(w http.ResponseWriter, r *http.Request, allowed int) {
	var names []string
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, l.cookies.flow("")) {
			names = append(names, cookie.Name)
		}
	}
	if len(names) > allowed {
		for _, name := range names {
			l.cookies.set(w, name, "", 0)
		}
	}
}

func (l *Login) notPossible(w http.ResponseWriter, r *http.Request, back, why string) {
	w.Header().Set("Retry-After", "10")
	l.o.Show(w, r, console.Message{
		Status: http.StatusServiceUnavailable, Title: "Login is not possible", Message: why,
		Fix:  "Try again; the console asks the provider each time. Pages that need no login work.",
		Link: again(back), LinkText: "Try again",
	})
}

// failed shows why a login has failed.
func (l *Login) failed(w http.ResponseWriter, r *http.Request, status int, back, why, fix string) {
	l.o.Log.Info("A login to the console has failed", "why", why)
	l.o.Show(w, r, console.Message{Status: status, Title: "Login failed", Message: why, Fix: fix, Link: again(back), LinkText: "Log in"})
}

// callback is where the provider sends the browser after the login there.
func (l *Login) callback(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f, err := l.flowOf(r, query.Get("state"))
	if err != nil {
		l.failed(w, r, http.StatusBadRequest, "", "This answer of the provider belongs to no login that this browser has started: "+err.Error()+".",
			"Log in again, in the same browser, and let it accept cookies of this page.")
		return
	}
	l.cookies.set(w, l.cookies.flow(f.State), "", 0)
	if issuer := query.Get("iss"); issuer != "" && issuer != l.o.Issuer {
		l.failed(w, r, http.StatusBadRequest, f.Return, "The answer is from another provider, "+text.Clean(issuer, 200)+".", "Log in again.")
		return
	}
	if code := query.Get("error"); code != "" {
		l.failed(w, r, http.StatusForbidden, f.Return, strings.TrimRight("The provider has refused the login: "+text.Clean(code, 100)+": "+text.Clean(query.Get("error_description"), 300), ".: ")+".",
			"Log in again. If the provider does not know the console or one of its scopes, their operators compare --console-oidc-client-id, --console-oidc-scopes and the redirect URL "+l.url(callbackPath)+" with the settings there.")
		return
	}
	e, err := l.provider.endpoints(r.Context())
	if err != nil {
		l.notPossible(w, r, f.Return, "The provider "+l.o.Issuer+" cannot be used at the moment: "+explain(err)+".")
		return
	}
	t, err := l.provider.exchange(r.Context(), e, query.Get("code"), f.Verifier)
	if err != nil {
		l.o.Log.Error(err, "A login to the console has failed", "issuer", l.o.Issuer)
		l.failed(w, r, http.StatusBadGateway, f.Return, "The provider does not confirm the login: "+explain(err)+".",
			"Log in again. If this lasts, the operator of the console looks into its log.")
		return
	}
	if t.nonce != f.Nonce {
		l.failed(w, r, http.StatusBadRequest, f.Return, "The ID token of the provider was made for another login: its nonce is not that of this login.", "Log in again.")
		return
	}
	l.enter(w, r, f, t)
}

// flowOf returns the login that this browser has started with a state.
func (l *Login) flowOf(r *http.Request, state string) (flow, error) {
	var f flow
	if state == "" {
		return f, errors.New("it has no state")
	}
	cookie, err := r.Cookie(l.cookies.flow(state))
	if err != nil || l.keys.current().logins.open(cookie.Value, &f) != nil || f.State != state {
		return flow{}, errors.New("its state is not known here")
	}
	if age := l.o.Now().Sub(time.Unix(f.Started, 0)); age > flowLifetime {
		return flow{}, fmt.Errorf("the login was started more than %d minutes ago", int(flowLifetime.Minutes()))
	}
	return f, nil
}

// enter makes a session of a login that the provider has confirmed.
func (l *Login) enter(w http.ResponseWriter, r *http.Request, f flow, t tokens) {
	id, err := l.o.Claims.identity(l.o.Issuer, t.claims)
	if refused, ok := errors.AsType[*refusal](err); ok {
		l.failed(w, r, http.StatusForbidden, f.Return, refused.message, refused.fix)
		return
	}
	s := &session{ID: rand.Text(), Subject: t.subject, Name: id.Name, Groups: id.Groups, Started: l.o.Now().Unix(), Refresh: t.refresh, Renew: l.renewAt(t)}
	if !l.store(w, r, s) {
		reason := tooManyGroups(s)
		l.failed(w, r, http.StatusForbidden, f.Return, reason.Message, reason.Fix)
		return
	}
	l.o.Log.Info("A user has logged in to the console", "user", s.Name, "groups", len(s.Groups), "isRenewed", s.Renew != 0)
	http.Redirect(w, r, f.Return, http.StatusSeeOther)
}

// logout ends the session here, and then at the provider, if it has an address for that.
func (l *Login) logout(w http.ResponseWriter, r *http.Request) {
	sealed, _ := l.cookies.readSession(r)
	if s, ended := l.open(sealed); ended == nil {
		l.renewed.Add(s.ID, renewal{session: *s, ended: &console.LoginError{Message: "You have logged out.", Fix: "Log in again."}})
		l.o.Log.Info("A user has logged out of the console", "user", s.Name)
	}
	l.cookies.removeSession(w, r, 0)
	l.removeFlows(w, r, 0)
	m := console.Message{Status: http.StatusOK, Title: "Logged out", Message: "Your session in this console has ended.", Link: "/", LinkText: "To the console"}
	e, err := l.provider.endpoints(r.Context())
	switch {
	case err != nil || e.endSession == "":
		m.Fix = "You may still be logged in at the provider " + l.o.Issuer + ". Log out there as well if others use this browser."
	default:
		m.Message += " The session at the provider has not ended yet: your browser goes there now."
		m.Link, m.LinkText = l.endSession(e), "Log out at the provider"
		// Not a redirect of the form: form-action 'self' would stop it.
		w.Header().Set("Refresh", "1; url="+m.Link)
	}
	l.o.Show(w, r, m)
}

// endSession returns the URL at which the provider ends its own session.
func (l *Login) endSession(e *endpoints) string {
	u, err := url.Parse(e.endSession)
	if err != nil { // discover has parsed it
		return "/"
	}
	query := u.Query()
	query.Set("client_id", l.o.ClientID)
	query.Set("post_logout_redirect_uri", l.url("/"))
	u.RawQuery = query.Encode()
	return u.String()
}
