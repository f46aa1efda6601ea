// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ddi is the client of a device for hawkBit's Direct Device Integration API. It works with
// any server of it.
package ddi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Client makes the requests of one device.
type Client struct {
	http *http.Client
	base *url.URL
	auth string
}

// maxBody is the maximum size of a response in bytes.
const maxBody = 4 << 20

// timeout of one request. Downloads of artifacts do not use it.
const timeout = time.Minute

// New returns the client of a device. server is the address of the server with its tenant, such as
// https://hawkbit.example.com/DEFAULT. authorization is the value of the header Authorization, such
// as "TargetToken 8a4c", or empty for a device with a client certificate.
func New(client *http.Client, server, controllerID, authorization string) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("the address of the server is %q, want for example https://hawkbit.example.com/DEFAULT", server)
	}
	return &Client{http: client, base: base.JoinPath("controller", "v1", url.PathEscape(controllerID)), auth: authorization}, nil
}

// Error is an answer of the server other than 2xx.
type Error struct {
	Method, URL string
	Status      int
	// RetryAfter is the time that the server asks to wait, or 0.
	RetryAfter time.Duration
	// Message is what the server wrote.
	Message string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: the server answered %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// IsGone reports whether the server does not know the action, or accepts no report about it any
// longer.
func IsGone(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusGone || e.Status == http.StatusMethodNotAllowed)
}

// IsRefused reports whether the same request would be refused again.
func IsRefused(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status < 400 || e.Status >= 500 {
		return false
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false // the token, the rights or the load of the server may change
	}
	return true
}

// Poll returns what the server has for the device.
func (c *Client) Poll(ctx context.Context) (wire.Base, error) {
	var base wire.Base
	err := c.do(ctx, http.MethodGet, c.base.String(), nil, &base)
	return base, err
}

// Deployment returns the update behind a link of Poll.
func (c *Client) Deployment(ctx context.Context, link wire.Link) (wire.DeploymentBase, error) {
	var d wire.DeploymentBase
	err := c.do(ctx, http.MethodGet, link.Href, nil, &d)
	return d, err
}

// Cancel returns the cancel behind a link of Poll.
func (c *Client) Cancel(ctx context.Context, link wire.Link) (wire.CancelAction, error) {
	var a wire.CancelAction
	err := c.do(ctx, http.MethodGet, link.Href, nil, &a)
	return a, err
}

// Confirmation returns the update that waits for a confirmation, or ok is false if there is none.
// The link of Poll leads to the update itself, or to the confirmation state with a link to it.
func (c *Client) Confirmation(ctx context.Context, link wire.Link) (a wire.ConfirmationAction, ok bool, err error) {
	var found struct {
		wire.ConfirmationAction
		Links wire.ConfirmationLinks `json:"_links"`
	}
	if err := c.do(ctx, http.MethodGet, link.Href, nil, &found); err != nil {
		return a, false, err
	}
	if found.ID != "" {
		return found.ConfirmationAction, true, nil
	}
	if found.Links.ConfirmationBase.Href == "" {
		return a, false, nil
	}
	err = c.do(ctx, http.MethodGet, found.Links.ConfirmationBase.Href, nil, &a)
	return a, err == nil, err
}

// Report sends a report on an action.
func (c *Client) Report(ctx context.Context, actionID string, f wire.Feedback) error {
	return c.do(ctx, http.MethodPost, c.path("deploymentBase", actionID, "feedback"), f, nil)
}

// ReportCancel sends a report on a cancel.
func (c *Client) ReportCancel(ctx context.Context, stopID string, f wire.Feedback) error {
	return c.do(ctx, http.MethodPost, c.path("cancelAction", stopID, "feedback"), f, nil)
}

// ReportConfirmation sends the answer of a user.
func (c *Client) ReportConfirmation(ctx context.Context, actionID string, f wire.ConfirmationFeedback) error {
	return c.do(ctx, http.MethodPost, c.path("confirmationBase", actionID, "feedback"), f, nil)
}

// SendAttributes replaces the attributes of the device.
func (c *Client) SendAttributes(ctx context.Context, link wire.Link, attributes map[string]string) error {
	return c.do(ctx, http.MethodPut, link.Href, wire.NewConfigData(wire.ModeReplace, attributes), nil)
}

func (c *Client) path(parts ...string) string {
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return c.base.JoinPath(parts...).String()
}

// Authorize adds the credentials of the device to a request for the server, and never to one for
// another host: artifacts may be anywhere.
func (c *Client) Authorize(request *http.Request) {
	if c.auth != "" && request.URL.Host == c.base.Host && request.URL.Scheme == c.base.Scheme {
		request.Header.Set("Authorization", c.auth)
	}
}

func (c *Client) do(ctx context.Context, method, href string, document, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body io.Reader
	if document != nil {
		encoded, err := wire.Marshal(document)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, href, body)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", wire.MediaType)
	if document != nil {
		request.Header.Set("Content-Type", wire.MediaType)
	}
	c.Authorize(request)
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &Error{method, request.URL.String(), response.StatusCode, retryAfter(response), messageIn(content)}
	}
	if len(content) > maxBody {
		return fmt.Errorf("%s %s: the response has more than %d bytes", method, request.URL, maxBody)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s %s: read the response: %w", method, request.URL, err)
	}
	return nil
}

// retryAfter returns the seconds of the header of the same name. A date is not supported: the clock
// of a device is often wrong.
func retryAfter(response *http.Response) time.Duration {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 24*3600)) * time.Second
}

// messageIn returns the message of an error document of hawkBit, or the start of another body.
func messageIn(body []byte) string {
	var document struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &document) == nil && document.Message != "" {
		return document.Message
	}
	text := strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 200)])), "?")
	text, _, _ = strings.Cut(text, "\n")
	return text
}

// ActionIn returns the id of the action in a link of Poll.
func ActionIn(link wire.Link) string {
	path, _, _ := strings.Cut(link.Href, "?")
	id, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return ""
	}
	return id
}

// AttributesLink returns the address of the attributes, for a device whose attributes have changed
// without a request of the server.
func (c *Client) AttributesLink() wire.Link { return wire.Link{Href: c.path("configData")} }
