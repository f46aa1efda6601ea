// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ddi is the client of a device for hawkBit's Direct Device Integration API. It works with
// any server of it.
package ddi

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// Client makes the requests of one device.
type Client struct {
	http *http.Client
	base *url.URL
	auth func() (string, error)
}

// maxBody is the maximum size of a response in bytes.
const maxBody = 4 << 20

// timeout of one request. Downloads of artifacts do not use it.
const timeout = time.Minute

// New returns the client of a device. server is the address of the server with its tenant, such as
// https://hawkbit.example.com/DEFAULT. authorization returns the value of the header Authorization
// for a request, such as "TargetToken 8a4c", or "" for a device with a client certificate.
func New(client *http.Client, server, controllerID string, authorization func() (string, error)) (*Client, error) {
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
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return false // the token, the rights, the load of the server, or another change may end
	}
	return true
}

// HasTooMany reports whether the server has got too many things: too many attributes, or too many
// requests in too short a time.
func HasTooMany(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusTooManyRequests
}

// Poll returns what the server has for the device.
func (c *Client) Poll(ctx context.Context) (wire.Base, error) {
	var found struct {
		Config struct {
			Polling struct {
				Sleep wire.Text `json:"sleep"`
			} `json:"polling"`
		} `json:"config"`
		Links wire.BaseLinks `json:"_links"`
	}
	if err := c.do(ctx, http.MethodGet, c.base.String(), nil, &found); err != nil {
		return wire.Base{}, err
	}
	base := wire.Base{Links: found.Links}
	base.Config.Polling.Sleep = sleepOf(string(found.Config.Polling.Sleep))
	return base, nil
}

// iso is the part of ISO-8601 durations that hawkBit writes for an interval of a day or more.
var iso = regexp.MustCompile(`^P(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?$`)

// sleepOf returns the interval, or 0 if the server has sent none that the agent can read: that is
// no reason to stop polling.
func sleepOf(text string) wire.Sleep {
	var s wire.Sleep
	if s.UnmarshalText([]byte(text)) == nil {
		return s
	}
	parts := iso.FindStringSubmatch(text)
	if parts == nil {
		return 0
	}
	total := time.Duration(0)
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi(parts[i+1]) // an absent part is 0
		total += time.Duration(n) * unit
	}
	return wire.Sleep(total)
}

// Deployment returns the update behind a link of Poll.
func (c *Client) Deployment(ctx context.Context, link wire.Link) (wire.DeploymentBase, error) {
	var found struct {
		ID         wire.Text       `json:"id"`
		Deployment wire.Deployment `json:"deployment"`
	}
	if err := c.do(ctx, http.MethodGet, link.Href, nil, &found); err != nil {
		return wire.DeploymentBase{}, err
	}
	d := wire.DeploymentBase{ID: string(found.ID), Deployment: found.Deployment}
	if d.ID == "" {
		return d, fmt.Errorf("GET %s: the response has no id", link.Href)
	}
	for _, chunk := range d.Deployment.Chunks {
		for i := range chunk.Artifacts {
			links := &chunk.Artifacts[i].Links
			links.Download.Href, links.DownloadHTTP.Href = c.absolute(links.Download.Href), c.absolute(links.DownloadHTTP.Href)
		}
	}
	return d, nil
}

// absolute returns the address of a link. DDI has absolute ones; some servers write relative ones.
func (c *Client) absolute(href string) string {
	if href == "" {
		return ""
	}
	address, err := c.base.Parse(href)
	if err != nil {
		return href
	}
	return address.String()
}

// Cancel returns the cancel behind a link of Poll.
func (c *Client) Cancel(ctx context.Context, link wire.Link) (wire.CancelAction, error) {
	var found struct {
		ID           wire.Text `json:"id"`
		CancelAction struct {
			StopID wire.Text `json:"stopId"`
		} `json:"cancelAction"`
	}
	if err := c.do(ctx, http.MethodGet, link.Href, nil, &found); err != nil {
		return wire.CancelAction{}, err
	}
	a := wire.NewCancelAction(string(found.CancelAction.StopID))
	if a.CancelAction.StopID == "" {
		return a, fmt.Errorf("GET %s: the response has no cancelAction.stopId", link.Href)
	}
	return a, nil
}

// Confirmation returns the update that waits for a confirmation, or ok is false if there is none.
// The link of Poll leads to the update itself, or to the confirmation state with a link to it.
func (c *Client) Confirmation(ctx context.Context, link wire.Link) (a wire.ConfirmationAction, ok bool, err error) {
	for range 2 {
		var found struct {
			ID           wire.Text              `json:"id"`
			Confirmation wire.Deployment        `json:"confirmation"`
			Links        wire.ConfirmationLinks `json:"_links"`
		}
		if err := c.do(ctx, http.MethodGet, link.Href, nil, &found); err != nil {
			return a, false, err
		}
		if found.ID != "" {
			return wire.ConfirmationAction{ID: string(found.ID), Confirmation: found.Confirmation}, true, nil
		}
		if link = found.Links.ConfirmationBase; link.Href == "" {
			break
		}
	}
	return a, false, nil
}

// Report sends a report on an action.
func (c *Client) Report(ctx context.Context, actionID string, f wire.Feedback) error {
	return c.report(ctx, c.path("deploymentBase", actionID, "feedback"), f)
}

// ReportCancel sends a report on a cancel.
func (c *Client) ReportCancel(ctx context.Context, stopID string, f wire.Feedback) error {
	return c.report(ctx, c.path("cancelAction", stopID, "feedback"), f)
}

// report sends a report. The code of a report is a 32-bit integer for hawkBit, which refuses a
// report with another code: that report is sent again with its code as the last detail.
func (c *Client) report(ctx context.Context, address string, f wire.Feedback) error {
	err := c.do(ctx, http.MethodPost, address, f, nil)
	code := string(f.Status.Code)
	if answer := (*Error)(nil); !errors.As(err, &answer) || answer.Status != http.StatusBadRequest || code == "" {
		return err
	}
	if _, errParse := strconv.ParseInt(code, 10, 32); errParse == nil {
		return err
	}
	f.Status.Code = ""
	f.Status.Details = append(slices.Clone(f.Status.Details), "Code: "+code)
	return c.do(ctx, http.MethodPost, address, f, nil)
}

// ReportConfirmation sends the answer of a user.
func (c *Client) ReportConfirmation(ctx context.Context, actionID string, f wire.ConfirmationFeedback) error {
	return c.do(ctx, http.MethodPost, c.path("confirmationBase", actionID, "feedback"), f, nil)
}

// ReportInstalled says which distribution set the device runs, without an action of the server.
func (c *Client) ReportInstalled(ctx context.Context, name, version string) error {
	return c.do(ctx, http.MethodPut, c.path("installedBase"), wire.InstalledSet{Name: name, Version: version}, nil)
}

// SendAttributes replaces the attributes of the device.
func (c *Client) SendAttributes(ctx context.Context, link wire.Link, attributes map[string]string) error {
	return c.do(ctx, http.MethodPut, link.Href, wire.NewConfigData(wire.ModeReplace, attributes), nil)
}

// Limits of hawkBit and Goshawk for attributes.
const (
	maxAttributes = 100
	// maxAttribute is the maximum length of a name and of a value.
	maxAttribute = 128
)

// CommonAttributes returns the attributes that every server takes, and the sorted names of the
// others. They have names and values of at most 128 printable ASCII characters, and there are at
// most 100: those with the prefix are the first to be left out.
func CommonAttributes(attributes map[string]string, prefix string) (some map[string]string, others []string) {
	isCommon := func(text string) bool {
		return len(text) <= maxAttribute && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
	}
	names := slices.SortedFunc(maps.Keys(attributes), func(a, b string) int {
		switch isLast := strings.HasPrefix(a, prefix); {
		case isLast == strings.HasPrefix(b, prefix):
			return strings.Compare(a, b)
		case isLast:
			return 1
		}
		return -1
	})
	some = map[string]string{}
	for _, name := range names {
		if len(some) < maxAttributes && isCommon(name) && isCommon(attributes[name]) {
			some[name] = attributes[name]
		} else {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return some, others
}

func (c *Client) path(parts ...string) string {
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return c.base.JoinPath(parts...).String()
}

// Authorize adds the credentials of the device to a request for the server, and never to one for
// another host or port: artifacts may be anywhere.
func (c *Client) Authorize(request *http.Request) error {
	if !IsSameServer(request.URL, c.base) {
		return nil
	}
	authorization, err := c.auth()
	if err != nil {
		return err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	return nil
}

// IsSameServer reports whether two addresses have the same scheme, host and port. A missing port is
// that of the scheme, and the case of the host does not matter.
func IsSameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
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
	request, err := http.NewRequestWithContext(ctx, method, c.absolute(href), body)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", wire.MediaType)
	if document != nil {
		request.Header.Set("Content-Type", wire.MediaType)
	}
	if err := c.Authorize(request); err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := contentOf(response)
	if err != nil {
		return fmt.Errorf("%s %s: read the response: %w", method, request.URL, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &Error{method, request.URL.String(), response.StatusCode, RetryAfter(response), messageIn(content)}
	}
	if len(content) > maxBody {
		return fmt.Errorf("%s %s: the response has more than %d bytes", method, request.URL, maxBody)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind == "text/html" {
		return fmt.Errorf("%s %s: the answer is a web page, for example the login page of a network or a proxy", method, request.URL)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s %s: read the response: %w", method, request.URL, err)
	}
	return nil
}

// contentOf returns the start of the content of a response. The agent asks for no compression, and
// some servers and proxies use gzip nevertheless.
func contentOf(response *http.Response) ([]byte, error) {
	body := io.Reader(response.Body)
	if strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") {
		plain, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = plain
	}
	return io.ReadAll(io.LimitReader(body, maxBody+1))
}

// RetryAfter returns the time of the header of the same name: seconds, or a date, which counts from
// the date of the response, because the clock of a device is often wrong.
func RetryAfter(response *http.Response) time.Duration {
	header := response.Header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if until, err := http.ParseTime(header); err == nil {
		if now, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			wait = until.Sub(now)
		}
	}
	return min(max(wait, 0), maxRetryAfter)
}

// maxRetryAfter is the longest time that a server can ask the device to wait.
const maxRetryAfter = 24 * time.Hour

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

// Address returns the address of the device at the server, without a password.
func (c *Client) Address() string { return c.base.Redacted() }

// AttributesLink returns the address of the attributes, for a device whose attributes have changed
// without a request of the server.
func (c *Client) AttributesLink() wire.Link { return wire.Link{Href: c.path("configData")} }
