// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goshawk-dev/goshawk/internal/text"
)

//go:embed templates/*.html
var templateFiles embed.FS

// renderer has the parsed templates.
type renderer struct {
	frame *template.Template
	pages map[string]*template.Template
}

// newRenderer parses the templates. Each file templates/NAME.html defines "main". The files
// templates/_NAME.html are shared between all of them.
func newRenderer() *renderer {
	r := &renderer{pages: map[string]*template.Template{}}
	r.frame = template.Must(template.New("frame").Funcs(funcs).ParseFS(templateFiles, "templates/_*.html"))
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // the files are compiled in
	}
	for _, f := range files {
		if name, isPage := strings.CutSuffix(f.Name(), ".html"); isPage && !strings.HasPrefix(name, "_") {
			r.pages[name] = template.Must(template.Must(r.frame.Clone()).ParseFS(templateFiles, "templates/"+f.Name()))
		}
	}
	return r
}

// made is a page without its frame. It has nothing of the viewer, unless the page is personal.
type made struct {
	title, section string
	status         int
	main           template.HTML
	// kinds and namespace are what the page shows: it is updated after a change of them.
	kinds     []Kind
	namespace string
	version   uint64
	live      bool
	changesAt time.Time
	check     string
}

// mainView is what the template of a page sees.
type mainView struct {
	// Data is the data of the page.
	Data any
	// Now is the time of the page.
	Now time.Time
	// Notices are sentences about what is not shown.
	Notices []string
	// Token is the token that each form with method="post" sends as "token". Only personal pages
	// have it.
	Token string
	// Viewer is the name of the viewer, of a personal page.
	Viewer string

	url *url.URL
}

// Param returns a value of the query of the page.
func (v *mainView) Param(name string) string { return v.url.Query().Get(name) }

// With returns a link to the page with another value of its query; an empty value removes it.
func (v *mainView) With(name, value string) string { return withParam(v.url, name, value) }

// Path returns the path of the page.
func (v *mainView) Path() string { return v.url.EscapedPath() }

// Age returns a time and how long ago it was. Until returns how long it takes until then.
func (v *mainView) Age(at any) template.HTML { return timeElement(at, v.Now) }

// makePage makes a page.
func (s *Server) makePage(r *request, p *page) (*made, error) {
	if hidden := r.scope.hidden(p); hidden != nil {
		return nil, hidden
	}
	c, err := p.load(r)
	if err != nil {
		return nil, err
	}
	v := &mainView{Data: c.Data, Now: r.now, Notices: r.scope.notices, url: r.url}
	if p.personal {
		v.Token, v.Viewer = r.viewer.formToken(), r.viewer.displayName()
	}
	m := &made{title: c.Title, section: p.section, status: http.StatusOK, kinds: p.kinds, namespace: r.namespace(), live: !p.personal && !p.still && len(p.kinds) > 0}
	m.changesAt, m.check = c.ChangesAt, c.Check
	if c.Status != 0 {
		m.status = c.Status
	}
	var out bytes.Buffer
	t := s.render.pages[p.template]
	if t == nil {
		return nil, fmt.Errorf("there is no template %s", p.template)
	}
	if err := t.ExecuteTemplate(&out, "main", v); err != nil {
		return nil, fmt.Errorf("template %s: %w", p.template, err)
	}
	m.main = template.HTML(visible(out.String())) //nolint:gosec // the output of a template, which has escaped its data
	return m, nil
}

// visible returns HTML without the invisible characters of its text, such as those that change the
// direction of the text after them: a name then cannot change how its neighbours read. Attributes
// and preformatted texts stay as they are, because forms send and people copy them. The HTML is the
// output of a template, in which < and > are in tags only.
func visible(markup string) string {
	var out strings.Builder
	out.Grow(len(markup))
	inTag, inPre, from := false, false, 0
	for i, r := range markup {
		switch {
		case r == '<':
			inTag = true
			if strings.HasPrefix(markup[i:], "<pre") {
				inPre = true
			} else if strings.HasPrefix(markup[i:], "</pre") {
				inPre = false
			}
		case r == '>':
			inTag = false
		case r < utf8.RuneSelf || inTag || inPre || unicode.IsSpace(r) || !text.IsInvisible(r):
		default:
			out.WriteString(markup[from:i])
			from = i + utf8.RuneLen(r)
		}
	}
	out.WriteString(markup[from:])
	return out.String()
}

// frameView is what the frame of a page sees.
type frameView struct {
	Title, Instance, Section string
	// Live pages are updated after a change of the Kinds in Namespace.
	Live      bool
	Kinds     []Kind
	Namespace string
	Version   uint64
	Main      template.HTML
	Nav       []navEntry
	Viewer    *Viewer
	Query     string
	Contact   Contact
	Now       time.Time
	// ChangesAt is content.ChangesAt as in RFC 3339. Empty: it changes only if its objects do.
	ChangesAt string
	// Check is content.Check.
	Check string
	// Retry is the number of seconds after which the page asks again. Zero: it does not.
	Retry int
}

// KindNames returns the kinds with commas.
func (v *frameView) KindNames() string {
	names := make([]string, len(v.Kinds))
	for i, kind := range v.Kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ",")
}

// ViewerName returns the name of the viewer for the header.
func (v *frameView) ViewerName() string { return v.Viewer.displayName() }

// Age returns a time and how long ago it was.
func (v *frameView) Age(at any) template.HTML { return timeElement(at, v.Now) }

type navEntry struct {
	Name, Path string
	// Key opens the page after the key g.
	Key     string
	Current bool
}

func (s *Server) nav(section string) []navEntry {
	var entries []navEntry
	for _, p := range s.pages {
		if p.nav != "" {
			entries = append(entries, navEntry{Name: p.nav, Path: p.section, Key: p.key, Current: p.section == section})
		}
	}
	return entries
}

// writeFrame writes a page, with its frame or as the part that the script of an open page asks for.
// A part that the script has already is not sent again.
func (s *Server) writeFrame(w http.ResponseWriter, r *http.Request, m *made, v *frameView) {
	v.Instance, v.Contact, v.Now = s.instance, s.o.Source.Contact(), s.o.Now()
	if !m.changesAt.IsZero() {
		v.ChangesAt = m.changesAt.UTC().Format(time.RFC3339)
	}
	name, isPart := "frame", r.Header.Get(partHeader) != ""
	if isPart {
		name = "part"
	} else {
		v.Nav = s.nav(v.Section)
		v.Query = r.URL.Query().Get("q")
	}
	var out bytes.Buffer
	if err := s.render.frame.ExecuteTemplate(&out, name, v); err != nil {
		s.o.Log.Error(err, "The frame of a page cannot be made")
		http.Error(w, "The console could not make this page.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Add("Vary", partHeader)
	if isPart {
		sum := sha256.Sum256(out.Bytes())
		tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		w.Header().Set("ETag", tag)
		w.Header().Set("X-Goshawk-Version", strconv.FormatUint(v.Version, 10))
		if m.status == http.StatusOK && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	writeBody(w, r, m.status, out.Bytes())
}

// serveProblem serves a page about a problem. The viewer is nil if it is not known.
func (s *Server) serveProblem(w http.ResponseWriter, r *http.Request, viewer *Viewer, p *problem) {
	p = p.beforeLogin(viewer)
	view := struct {
		Title, Message, Fix, Link, LinkText string
		Status                              int
		Retry                               bool
	}{p.title, p.message, p.fix, p.link, p.linkText, p.status, p.retry}
	var out bytes.Buffer
	if err := s.render.pages["problem"].ExecuteTemplate(&out, "main", view); err != nil {
		http.Error(w, p.message, p.status)
		return
	}
	f := &frameView{Title: p.title, Main: template.HTML(visible(out.String())), Viewer: viewer} //nolint:gosec // the output of a template
	if p.retry {
		f.Retry = 2
	}
	s.writeFrame(w, r, &made{status: p.status}, f)
}
