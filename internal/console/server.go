// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/goshawk-dev/goshawk/internal/explain"
)

const (
	// maxForm is the maximum size of the body of a request, in bytes.
	maxForm = 64 << 10
	// maxAddress is the maximum length of a path with its query, in bytes.
	maxAddress = 4 << 10
)

// partHeader is the header with which the script of a page asks for the page without its frame.
const partHeader = "X-Goshawk-Part"

// Options are the settings of a Server.
type Options struct {
	// Source is what the pages are rendered from.
	Source Source
	// Viewers returns the viewer of each request.
	Viewers Viewers
	// Login lets viewers log in. nil: that is not possible.
	Login Login
	// IsHost reports whether a value of the header Host is one of this server. nil: each is.
	IsHost func(string) bool
	// TLS is the configuration of Serve. nil: it serves HTTP.
	TLS *tls.Config
	// Now is the clock. nil: the clock of the machine.
	Now func() time.Time
	// Log has errors of the console, and the changes that viewers apply.
	Log logr.Logger
}

// Login lets viewers log in: it serves the paths /login, /logout and /callback.
type Login interface {
	http.Handler
	// Wrap finds the session of each request before next serves it, for Viewers.
	Wrap(next http.Handler) http.Handler
}

// Server is the console as a handler of HTTP.
type Server struct {
	o     Options
	pages []*page
	// instance differs for each start of a server, so that a page notices a restart.
	instance string
	handler  http.Handler
	// roster lists the targets.
	roster   *explain.Roster
	overlaps *overlapCache
	render   *renderer
	previews previews
	hub      *hub
	cache    *pageCache
	// heartbeat is heartbeatInterval. Tests set it and the bounds.
	heartbeat time.Duration
	bounds    bounds
}

// New returns a server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, pages: append(pages(), actionPages()...), instance: rand.Text(), render: newRenderer(), hub: newHub(), cache: newPageCache(), heartbeat: heartbeatInterval, bounds: defaultBounds}
	o.Source.Watch(s.hub.note)
	s.roster, s.overlaps = explain.NewRoster(o.Source.Index()), newOverlapCache(o.Source.Index(), o.Now)
	o.Source.Index().Watch(s.roster.Note)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/", serveStatic)
	mux.HandleFunc("GET /events", s.serveEvents)
	for _, p := range s.pages {
		mux.HandleFunc(p.pattern, func(w http.ResponseWriter, r *http.Request) { s.servePage(w, r, p) })
	}
	if o.Login != nil {
		for _, path := range []string{"/login", "/logout", "/callback"} {
			mux.Handle(path, o.Login)
		}
	}
	mux.HandleFunc("/", s.serveUnknown)
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serveProblem(w, r, nil, &problem{
			status: http.StatusForbidden, title: "Not allowed",
			message: "This request was sent by a page of another site, so it was refused.", fix: "Open the console in its own window and try again there.",
		})
	}))
	s.handler = crossOrigin.Handler(mux)
	if o.Login != nil {
		s.handler = crossOrigin.Handler(o.Login.Wrap(mux))
	}
	return s
}

// ServeHTTP serves the console.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.bounds.write)) // not all servers have one
	switch {
	case s.o.IsHost != nil && !s.o.IsHost(r.Host):
		http.Error(w, "The console is not served under this name. Open the address that it printed, or that of --console-base-url.", http.StatusMisdirectedRequest)
	case len(r.URL.Path)+len(r.URL.RawQuery) > maxAddress:
		http.Error(w, "The address is too long.", http.StatusRequestURITooLong)
	default:
		s.handler.ServeHTTP(w, r)
	}
}

// serveUnknown serves the problem of a path that does not exist.
func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	viewer, err := s.o.Viewers.Of(r)
	if err != nil {
		s.serveProblem(w, r, nil, problemOf(err))
		return
	}
	s.serveProblem(w, r, viewer, &problem{
		status: http.StatusNotFound, title: "Not found", message: "The console has no page at this address.", fix: "Check the address.", link: "/", linkText: "The start page",
	})
}

// servePage serves a page.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request, p *page) {
	viewer, err := s.o.Viewers.Of(r)
	if err != nil {
		s.serveProblem(w, r, nil, problemOf(err))
		return
	}
	defer s.recover(w, r, viewer)
	asked := &request{index: s.o.Source.Index(), roster: s.roster, overlaps: s.overlaps, source: s.o.Source, now: s.o.Now(), log: s.o.Log, viewer: viewer, url: r.URL, http: r, previews: &s.previews}
	if strings.HasPrefix(p.pattern, "POST ") {
		if err := readForm(w, asked); err != nil {
			s.serveProblem(w, r, viewer, problemOf(err))
			return
		}
	}
	asked.scope = s.scopeOf(r.Context(), viewer, p.kinds, asked.namespace())
	made, err := s.pageFor(asked, p)
	if err != nil {
		s.serveError(w, r, viewer, err)
		return
	}
	s.writeFrame(w, r, made, &frameView{Title: made.title, Section: made.section, Live: made.live, Kinds: made.kinds, Namespace: made.namespace, Version: made.version, Check: made.check, Main: made.main, Viewer: viewer})
}

// pageFor returns a page: one that was made for another viewer who sees the same, unless it is
// personal.
func (s *Server) pageFor(r *request, p *page) (*made, error) {
	version, flushes := s.hub.version(topicsOf(p.kinds, r.namespace()))
	load := func() (*made, error) {
		m, err := s.makePage(r, p)
		if err == nil {
			m.version = version
		}
		return m, err
	}
	if p.personal {
		return load()
	}
	r.viewer = nil
	return s.cache.get(r.context(), r.url.RequestURI()+"\n"+r.scope.key(), version, flushes, r.now, load)
}

// recover serves and logs a panic of a page: a fault of one page does not end the others.
func (s *Server) recover(w http.ResponseWriter, r *http.Request, viewer *Viewer) {
	if cause := recover(); cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // it is passed as it is
		s.o.Log.Error(fmt.Errorf("%v", cause), "A page of the console ended in a panic", "path", r.URL.Path, "stack", string(debug.Stack()))
		s.serveProblem(w, r, viewer, problemOf(errors.New("a fault of the program")))
	}
}

// readForm reads the form of a POST, which has to be one of this session.
func readForm(w http.ResponseWriter, r *request) error {
	r.http.Body = http.MaxBytesReader(w, r.http.Body, maxForm)
	if err := r.http.ParseForm(); err != nil {
		return badRequest("The form cannot be read: %s.", err)
	}
	r.form = r.http.PostForm
	switch {
	case r.viewer.Anonymous:
		return &problem{status: http.StatusForbidden, title: "Not allowed", message: "Changes need a login.", fix: "Log in, and send the form again.", link: r.viewer.Login, linkText: "Log in"}
	case !r.viewer.hasFormToken(r.form.Get("token")):
		return &problem{status: http.StatusForbidden, title: "Form expired", message: "This form was made for another session, so nothing was changed.", fix: "Load the page with the form again, and send it from there."}
	}
	return nil
}

// serveError serves what an error of a page is shown as.
func (s *Server) serveError(w http.ResponseWriter, r *http.Request, viewer *Viewer, err error) {
	if to, ok := err.(*redirect); ok { //nolint:errorlint // pages return it as it is
		http.Redirect(w, r, to.path, http.StatusSeeOther)
		return
	}
	if file, ok := err.(*download); ok { //nolint:errorlint // pages return it as it is
		file.serve(w)
		return
	}
	p := problemOf(err)
	if p.status == http.StatusInternalServerError && r.Context().Err() == nil {
		s.o.Log.Error(err, "A page of the console cannot be made", "path", r.URL.Path)
	}
	s.serveProblem(w, r, viewer, p)
}
