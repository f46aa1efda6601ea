// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import "time"

// page is a page of the console.
type page struct {
	// pattern is the pattern of net/http, such as "GET /rollouts/{namespace}/{name}". With the
	// method POST, a form of the page is sent there: it is refused without the token of the
	// session, and for anonymous viewers.
	pattern string
	// template is the file templates/NAME.html, which defines "main".
	template string
	// nav is the name in the navigation, of the page of a list.
	nav string
	// key is the key that opens the page of a list after the key g.
	key string
	// section is the path of the page in the navigation that this page belongs to.
	section string
	// kinds are the kinds that the page shows. The page is shown only if the viewer may see the
	// first one, in at least one namespace or in that of the path. If others may not be seen or are
	// not read yet, the page is shown with a sentence about it. After a change of an object of one
	// of these kinds, an open page is updated.
	kinds []Kind
	// anyKind shows the page also if the viewer may not see the first of the kinds, but another.
	anyKind bool
	// still pages are not updated after a change.
	still bool
	// personal pages are made for one viewer: they may use the viewer, and are not shared. Pages of
	// actions are personal.
	personal bool
	// load returns the content. An error is one of errors.go.
	load func(*request) (content, error)
}

// content is what a page shows.
type content struct {
	// Title is the title of the page.
	Title string
	// Data is what the template shows: exported types, which are .Data there.
	Data any
	// ChangesAt is when the page changes although its objects do not, such as when a window opens.
	// An open page is made again then. Zero: never.
	ChangesAt time.Time
	// Check is an address of this console. If it is set, an open page asks it after a change of the
	// kinds of the page whether it is still true, and says what has changed. It is not made again.
	Check string
	// Status is the status of the response. Zero: 200.
	Status int
}

// pages are the pages of the console. The navigation has the order of this list.
func pages() []*page {
	return []*page{
		fleetPage,
		rolloutsPage,
		rolloutPage,
		membersPage,
		setsPage,
		setPage,
		targetsPage,
		targetPage,
		autoAssignmentsPage,
		autoAssignmentPage,
		overlapsPage,
		searchPage,
	}
}
