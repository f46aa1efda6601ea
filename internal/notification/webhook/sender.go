// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/goshawk-dev/goshawk/internal/notification"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// Headers of a request, as the Standard Webhooks specification has them.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Outcome is what an attempt to deliver an event has led to.
type Outcome int

const (
	// Delivered means that the receiver has accepted the event.
	Delivered Outcome = iota
	// Failed means that another attempt may succeed.
	Failed
	// Refused means that the receiver will never accept this event.
	Refused
	// Gone means that the receiver accepts no events any more.
	Gone
)

// Result is the result of an attempt.
type Result struct {
	Outcome Outcome
	// RetryAfter is the delay that the receiver asks for, or 0.
	RetryAfter time.Duration
	// Err is why the event was not delivered. It has no secret.
	Err error
}

const (
	// maxAnswer is how much of an answer is read, and maxQuoted how much of it is quoted.
	maxAnswer, maxQuoted = 4 << 10, 200
	dialTimeout          = 5 * time.Second
)

// Sender sends events to one endpoint.
type Sender struct {
	endpoint  *Endpoint
	transport *http.Transport
	client    *http.Client
	now       func() time.Time
}

// NewSender returns a sender that verifies TLS, follows no redirect, and connects to no address at
// which clouds serve credentials.
func NewSender(e *Endpoint, now func() time.Time) *Sender {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: checkAddress}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: e.roots},
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Sender{endpoint: e, transport: transport, client: client, now: now}
}

// Close closes the connections that no attempt uses.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Place returns the scheme and host of the endpoint.
func (s *Sender) Place() string { return s.endpoint.Place() }

// metadata are addresses at which clouds serve credentials, outside of the link-local ranges.
var metadata = []netip.Addr{netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("192.0.0.192")}

// checkAddress refuses to connect to addresses that are no receiver. The address is that after the
// name was resolved, so that a name cannot evade the check.
func checkAddress(_, resolved string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return err
	}
	a := at.Addr().Unmap().WithZone("")
	if slices.Contains(metadata, a) || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return fmt.Errorf("the receiver has the address %s, which is refused: link-local, multicast and metadata addresses get no notifications", a)
	}
	return nil
}

// CloudEvent returns an event with the attributes of CloudEvents 1.0.
func CloudEvent(source string, e *notification.Event) (event.Event, error) {
	ce := event.New()
	ce.SetID(e.ID)
	ce.SetSource(source)
	ce.SetType(e.Type())
	ce.SetSubject(fmt.Sprintf("namespaces/%s/%ss/%s", e.Data.Namespace, strings.ToLower(e.Data.Kind), e.Data.Name))
	ce.SetTime(e.Time)
	ce.SetExtension("partitionkey", string(e.Data.UID))
	if err := ce.SetData(event.ApplicationJSON, e.Data); err != nil {
		return ce, err
	}
	return ce, ce.Validate()
}

// Send makes one attempt to deliver an event.
func (s *Sender) Send(ctx context.Context, e *notification.Event) Result {
	request, err := s.request(ctx, e)
	if err != nil {
		return Result{Outcome: Refused, Err: errors.New(s.endpoint.redact(err.Error()))}
	}
	response, err := s.client.Do(request)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err // the URL may be a secret
		}
		return Result{Outcome: Failed, Err: fmt.Errorf("%s: %s", s.Place(), s.endpoint.redact(err.Error()))}
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // the status decides
	return s.result(response, answer)
}

// request returns the request of an event in structured mode, so that the signature covers all its
// attributes.
func (s *Sender) request(ctx context.Context, e *notification.Event) (*http.Request, error) {
	ce, err := CloudEvent(s.endpoint.source, e)
	if err != nil {
		return nil, fmt.Errorf("make the CloudEvent: %w", err)
	}
	request, err := cehttp.NewHTTPRequestFromEvent(binding.WithForceStructured(ctx), s.endpoint.url.String(), ce)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	for name, values := range s.endpoint.header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", "goshawk")
	at := strconv.FormatInt(s.now().Unix(), 10)
	request.Header.Set(HeaderID, e.ID)
	request.Header.Set(HeaderTimestamp, at)
	var signatures []string
	for _, key := range s.endpoint.keys {
		signatures = append(signatures, sign(key, e.ID, at, body))
	}
	request.Header.Set(HeaderSignature, strings.Join(signatures, " "))
	return request, nil
}

// sign returns a signature: v1, and the base64 of the HMAC-SHA256 of id, time and body, separated
// by dots.
func sign(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// result returns what the status of an answer means. A status that says that the credentials or the
// URL are wrong is Failed, because a change of the Secret fixes it.
func (s *Sender) result(response *http.Response, answer []byte) Result {
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return Result{Outcome: Delivered}
	}
	why := fmt.Sprintf("%s answered %d %s", s.Place(), status, http.StatusText(status))
	if len(answer) > 0 {
		why += ": " + text.Clean(text.Redact(s.endpoint.redact(string(answer))), maxQuoted)
	}
	r := Result{Outcome: Failed}
	switch {
	case status >= 300 && status < 400:
		why += "; redirects are not followed: set url in the Secret to the final URL"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		why += "; check key, token and headers in the Secret"
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		why += "; check url in the Secret"
	case status == http.StatusGone:
		r.Outcome = Gone
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		r.Outcome = Refused
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		r.RetryAfter = s.retryAfter(response.Header.Get("Retry-After"))
	}
	r.Err = errors.New(why)
	return r
}

// retryAfter returns the delay of a header Retry-After: seconds, or a date.
func (s *Sender) retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(s.now()))
	}
	return 0
}
