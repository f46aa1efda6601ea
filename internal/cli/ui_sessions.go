// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/rand"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/goshawk-dev/goshawk/internal/console"
)

// maxUISessions is the maximum number of browsers in which the console is open; the oldest one is
// forgotten for another one.
const maxUISessions = 20

// uiSessions are the browsers in which the console is open. Each was opened with a secret that is
// valid once.
type uiSessions struct {
	// address is the host and the port of the server, and port its port.
	address, port string
	// viewer is the viewer of all sessions, without the session.
	viewer console.Viewer
	// opened is called after a browser was opened, with the address for another one.
	opened func(next string)

	mu       sync.Mutex
	secret   string
	sessions []string
}

// newUISessions returns the sessions of a server at an address, which is a host and a port.
func newUISessions(address string) (*uiSessions, error) {
	_, port, err := net.SplitHostPort(address)
	return &uiSessions{address: address, port: port}, err
}

// newAddress returns an address that opens one browser once. Addresses from before are not valid
// any more.
func (s *uiSessions) newAddress() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = rand.Text()
	return "http://" + s.address + "/login?" + url.Values{"secret": {s.secret}}.Encode()
}

// isHost reports whether a browser has asked for this server by a name of loopback, so that a page
// of another site cannot reach it by a name that was pointed here.
func (s *uiSessions) isHost(host string) bool {
	return host == s.address || host == "localhost:"+s.port || host == "127.0.0.1:"+s.port
}

// cookie is the name of the cookie. It has the port, because a browser sends the cookies of all
// ports of a host.
func (s *uiSessions) cookie() string { return "goshawk-console-" + s.port }

// Of implements console.Viewers.
func (s *uiSessions) Of(r *http.Request) (*console.Viewer, error) {
	if cookie, err := r.Cookie(s.cookie()); err == nil && s.has(cookie.Value) {
		viewer := s.viewer
		viewer.Session = cookie.Value
		return &viewer, nil
	}
	return nil, &console.LoginError{
		Message: "This browser has no session of this console, or the console was started again.",
		Fix:     "Open the address that `kubectl goshawk ui` has printed last: it has a secret that opens one browser.",
	}
}

func (s *uiSessions) has(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := 0
	for _, known := range s.sessions {
		found |= subtle.ConstantTimeCompare([]byte(known), []byte(session))
	}
	return found == 1
}

// ServeHTTP opens the console in a browser that has the secret.
func (s *uiSessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/login" {
		http.NotFound(w, r)
		return
	}
	session, ok := s.open(r.URL.Query().Get("secret"))
	switch {
	case ok:
		http.SetCookie(w, &http.Cookie{Name: s.cookie(), Value: session, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // loopback has no TLS
		next := s.newAddress()
		s.opened(next)
	default:
		if _, err := s.Of(r); err != nil {
			http.Error(w, "This address was used before, or is not the one that was printed last. Open the address that `kubectl goshawk ui` has printed last.", http.StatusForbidden)
			return
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// open returns a new session for the secret, which is not valid any more.
func (s *uiSessions) open(secret string) (session string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret == "" || subtle.ConstantTimeCompare([]byte(s.secret), []byte(secret)) != 1 {
		return "", false
	}
	s.secret = ""
	session = rand.Text()
	s.sessions = append(s.sessions, session)
	if len(s.sessions) > maxUISessions {
		s.sessions = s.sessions[1:]
	}
	return session, true
}

// Wrap implements console.Login. Of finds the session of a request by itself.
func (s *uiSessions) Wrap(next http.Handler) http.Handler { return next }
