// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// providerTimeout limits a request to the provider, and maxAnswer its answer in bytes.
	providerTimeout = 10 * time.Second
	maxAnswer       = 1 << 20
	// providerRequests is the maximum number of requests to the provider at the same time.
	providerRequests = 32
	// discoveryPause is the time between two attempts to reach a provider that did not answer.
	discoveryPause = 3 * time.Second
)

// provider is the OpenID Connect provider. It may be unavailable at any time.
type provider struct {
	issuer, clientID, secretFile, redirectURL string
	scopes                                    []string
	client                                    *http.Client
	now                                       func() time.Time
	slots                                     chan struct{}

	mu       sync.Mutex
	known    *endpoints
	failed   error
	failedAt time.Time
}

// endpoints are what the provider says about itself.
type endpoints struct {
	provider   *oidc.Provider
	verifier   *oidc.IDTokenVerifier
	endSession string
}

func newProvider(o Options, redirectURL string) (*provider, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if o.CAFile != "" {
		certificates, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA of the provider (--console-oidc-ca-file): %w", err)
		}
		if !roots.AppendCertsFromPEM(certificates) {
			return nil, fmt.Errorf("%s (--console-oidc-ca-file) has no certificate in PEM", o.CAFile)
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
	return &provider{
		issuer: o.Issuer, clientID: o.ClientID, secretFile: o.ClientSecretFile, redirectURL: redirectURL, scopes: o.Scopes, now: o.Now,
		client: &http.Client{Timeout: providerTimeout, Transport: bounded{transport}},
		slots:  make(chan struct{}, providerRequests),
	}, nil
}

// bounded limits the answers of the provider.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	}
	return response, err
}

var errBusy = errors.New("too many people log in at the moment")

// context returns a context for requests to the provider, and takes one of the slots for them.
func (p *provider) context(ctx context.Context) (context.Context, context.CancelFunc, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		return nil, nil, errBusy
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), p.client.Timeout)
	return ctx, func() { cancel(); <-p.slots }, nil
}

// endpoints returns what the provider says about itself. It asks the provider until it has answered
// once.
func (p *provider) endpoints(ctx context.Context) (*endpoints, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known, nil
	}
	if p.failed != nil && p.now().Sub(p.failedAt) < discoveryPause {
		return nil, p.failed
	}
	ctx, done, err := p.context(context.WithoutCancel(ctx)) // others wait for this answer as well
	if err != nil {
		return nil, err
	}
	defer done()
	p.known, p.failed = p.discover(ctx)
	p.failedAt = p.now()
	return p.known, p.failed
}

func (p *provider) discover(ctx context.Context) (*endpoints, error) {
	found, err := oidc.NewProvider(ctx, p.issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, err
	}
	for what, address := range map[string]string{"authorization_endpoint": found.Endpoint().AuthURL, "token_endpoint": found.Endpoint().TokenURL, "end_session_endpoint": more.EndSession} {
		if what == "end_session_endpoint" && address == "" {
			continue
		}
		if u, err := url.Parse(address); err != nil || checkURL(u) != nil {
			return nil, fmt.Errorf("its configuration has the %s %q, which is not a URL with https", what, address)
		}
	}
	return &endpoints{provider: found, verifier: found.Verifier(&oidc.Config{ClientID: p.clientID, Now: p.now}), endSession: more.EndSession}, nil
}

// oauth returns the configuration of a request. The secret is read for each of them, so that a
// changed one counts without a restart.
func (p *provider) oauth(e *endpoints) (*oauth2.Config, error) {
	c := &oauth2.Config{ClientID: p.clientID, Endpoint: e.provider.Endpoint(), RedirectURL: p.redirectURL, Scopes: p.scopes}
	if p.secretFile != "" {
		secret, err := os.ReadFile(p.secretFile)
		if err != nil {
			return nil, fmt.Errorf("read the secret of the client (--console-oidc-client-secret-file): %w", err)
		}
		c.ClientSecret = strings.TrimSpace(string(secret))
	}
	return c, nil
}

// tokens are the answer of the provider to a code or a refresh token.
type tokens struct {
	// claims of the ID token. They are nil if the answer to a refresh token has no ID token.
	claims         map[string]json.RawMessage
	subject, nonce string
	expiry         time.Time
	// refresh is the refresh token. It is empty if there is none.
	refresh string
}

// ask returns the tokens that a request to the provider gets.
func (p *provider) ask(ctx context.Context, e *endpoints, request func(context.Context, *oauth2.Config) (*oauth2.Token, error)) (tokens, error) {
	ctx, done, err := p.context(ctx)
	if err != nil {
		return tokens{}, err
	}
	defer done()
	c, err := p.oauth(e)
	if err != nil {
		return tokens{}, err
	}
	token, err := request(ctx, c)
	if err != nil {
		return tokens{}, err
	}
	return verify(ctx, e, token)
}

// exchange returns the tokens for the code of a login.
func (p *provider) exchange(ctx context.Context, e *endpoints, code, verifier string) (tokens, error) {
	t, err := p.ask(ctx, e, func(ctx context.Context, c *oauth2.Config) (*oauth2.Token, error) {
		return c.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	})
	if err == nil && t.claims == nil {
		err = errors.New("its answer has no ID token: the scope openid must be one of --console-oidc-scopes, and the client must be one for OpenID Connect")
	}
	return t, err
}

// renew returns the tokens for a refresh token.
func (p *provider) renew(ctx context.Context, refresh string) (tokens, error) {
	e, err := p.endpoints(ctx)
	if err != nil {
		return tokens{}, err
	}
	return p.ask(ctx, e, func(ctx context.Context, c *oauth2.Config) (*oauth2.Token, error) {
		return c.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	})
}

// verify checks the ID token of an answer: its signature, issuer, audience and expiry.
func verify(ctx context.Context, e *endpoints, token *oauth2.Token) (tokens, error) {
	t := tokens{refresh: token.RefreshToken}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return t, nil
	}
	id, err := e.verifier.Verify(ctx, raw)
	if err != nil {
		return tokens{}, err
	}
	t.subject, t.nonce, t.expiry = id.Subject, id.Nonce, id.Expiry
	return t, id.Claims(&t.claims)
}

// isFinal reports whether the provider has refused a refresh token for good, in contrast to a
// provider that cannot be reached or a client that is not configured well.
func isFinal(err error) bool {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok:
		return false
	case refused.ErrorCode == "invalid_grant" || strings.HasSuffix(refused.ErrorCode, "_required"):
		return true
	default: // dex says so about a token that is not valid, and, with status 500, about errors of its own
		return refused.ErrorCode == "invalid_request" && refused.Response.StatusCode == http.StatusBadRequest
	}
}

// explain returns what is wrong with the provider, for the person who logs in: without addresses of
// the network and without tokens.
func explain(err error) string {
	if mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return fmt.Sprintf("its configuration says that the issuer is %s, but --console-oidc-issuer-url is %s: the two must be the same", mismatch.Discovered, mismatch.Provided)
	}
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.ErrorCode != "" {
		return strings.TrimRight(fmt.Sprintf("it says %s: %s", text.Clean(refused.ErrorCode, 100), text.Clean(refused.ErrorDescription, 300)), ".: ")
	}
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return "it returns " + refused.Response.Status
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		switch {
		case failed.Timeout():
			return "it does not answer in time"
		default:
			err = failed.Err
		}
	}
	if unknown, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the name %s is not found (%s)", unknown.Name, unknown.Err)
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		err = failed.Err
	}
	if failed, ok := errors.AsType[*os.SyscallError](err); ok {
		err = failed.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "it does not answer in time"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return text.Clean(err.Error(), 300) + " (--console-oidc-ca-file has the CA of the provider)"
	}
	return text.Clean(strings.TrimPrefix(err.Error(), "oidc: "), 300)
}
