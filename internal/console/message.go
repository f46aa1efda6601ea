// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import "net/http"

// Message is a page of the login: why it is not possible or has failed, or that it has ended.
type Message struct {
	Status int
	// Title of the page. Message and Fix are sentences; Fix says what to do, and may be empty.
	Title, Message, Fix string
	// Link is where the viewer can go on, with its text.
	Link, LinkText string
}

// ServeMessage serves a page with a message.
func (s *Server) ServeMessage(w http.ResponseWriter, r *http.Request, m Message) {
	s.serveProblem(w, r, nil, &problem{status: m.Status, title: m.Title, message: m.Message, fix: m.Fix, link: m.Link, linkText: m.LinkText})
}
