// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package webhook sends notifications as CloudEvents over HTTP. It knows no Kubernetes.
package webhook

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Keys of the Secret.
const (
	KeyURL         = "url"
	KeyKey         = "key"
	KeyPreviousKey = "previousKey"
	KeyCA          = "ca.crt"
	KeyToken       = "token"
	KeyHeaders     = "headers"
	KeySource      = "source"
	KeyAllowHTTP   = "allowHTTP"
)

// known are the keys in the order of messages.
var known = []string{KeyURL, KeyKey, KeyPreviousKey, KeyCA, KeyToken, KeyHeaders, KeySource, KeyAllowHTTP}

const (
	// DefaultSource is the source of events without KeySource.
	DefaultSource = "goshawk"
	// MinKeyBytes is the minimum length of a key, and maxKeyBytes the maximum.
	MinKeyBytes, maxKeyBytes = 24, 1024
	// maxHeaders is the maximum number of lines of KeyHeaders, and maxHeaderBytes their length.
	maxHeaders, maxHeaderBytes = 20, 8 << 10
	maxURLBytes                = 2048
)

// Endpoint is where notifications are sent, and with which credentials.
type Endpoint struct {
	url    *url.URL
	source string
	// keys sign: the present one first, then the one before it.
	keys   [][]byte
	header http.Header
	roots  *x509.CertPool
	// secrets are texts that must not be in a message.
	secrets []string
}

// Parse reads the data of a Secret. An error names the key and what to do, and never has a value of
// a key that is a secret.
func Parse(data map[string][]byte) (*Endpoint, error) {
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("%s: there is no such key; the keys are %s", key, strings.Join(known, ", "))
		}
	}
	e := &Endpoint{header: http.Header{}, source: DefaultSource}
	for _, parse := range []func(map[string][]byte) error{e.parseURL, e.parseKeys, e.parseCA, e.parseSource, e.parseHeaders} {
		if err := parse(data); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Place returns the scheme and host of the URL. The rest of it may be a secret.
func (e *Endpoint) Place() string { return e.url.Scheme + "://" + e.url.Host }

func (e *Endpoint) parseURL(data map[string][]byte) error {
	text := strings.TrimSpace(string(data[KeyURL]))
	u, err := url.Parse(text)
	switch {
	case text == "":
		return fmt.Errorf("%s is missing: set it to the URL of the receiver, such as https://events.example.com/goshawk", KeyURL)
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || len(text) > maxURLBytes:
		return fmt.Errorf("%s is not a URL such as https://events.example.com/goshawk", KeyURL)
	case u.User != nil:
		return fmt.Errorf("%s has a user: remove it, and use %s or %s", KeyURL, KeyToken, KeyHeaders)
	case u.Fragment != "":
		return fmt.Errorf("%s has a fragment (#): remove it", KeyURL)
	case u.Scheme == "http" && strings.TrimSpace(string(data[KeyAllowHTTP])) != "true":
		return fmt.Errorf("%s has the scheme http, without encryption: use https, or set %s to true if the network between Goshawk and the receiver is trusted", KeyURL, KeyAllowHTTP)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s has the scheme %q and must have https", KeyURL, u.Scheme)
	}
	e.url = u
	for _, part := range append(strings.Split(u.EscapedPath(), "/"), u.RawQuery, u.RequestURI()) {
		if len(part) >= minSecret {
			e.secrets = append(e.secrets, part)
		}
	}
	return nil
}

// minSecret is the minimum length of a part of the URL that is removed from messages.
const minSecret = 8

func (e *Endpoint) parseKeys(data map[string][]byte) error {
	if len(data[KeyKey]) == 0 {
		return fmt.Errorf("%s is missing: create one with openssl rand -base64 32", KeyKey)
	}
	for _, name := range []string{KeyKey, KeyPreviousKey} {
		text := strings.TrimSpace(string(data[name]))
		if text == "" {
			continue
		}
		key := []byte(text)
		if encoded, ok := strings.CutPrefix(text, "whsec_"); ok {
			var err error
			if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
				return fmt.Errorf("%s starts with whsec_, and what follows is not base64", name)
			}
		}
		if len(key) < MinKeyBytes || len(key) > maxKeyBytes {
			return fmt.Errorf("%s has %d bytes and must have %d to %d: create one with openssl rand -base64 32", name, len(key), MinKeyBytes, maxKeyBytes)
		}
		e.keys = append(e.keys, key)
		e.secrets = append(e.secrets, text)
	}
	return nil
}

func (e *Endpoint) parseCA(data map[string][]byte) error {
	if len(data[KeyCA]) == 0 {
		return nil
	}
	e.roots = x509.NewCertPool()
	if !e.roots.AppendCertsFromPEM(data[KeyCA]) {
		return fmt.Errorf("%s has no CA certificate in PEM", KeyCA)
	}
	return nil
}

func (e *Endpoint) parseSource(data map[string][]byte) error {
	text := strings.TrimSpace(string(data[KeySource]))
	if text == "" {
		return nil
	}
	if _, err := url.Parse(text); err != nil || len(text) > 256 || strings.ContainsAny(text, " \t\r\n") {
		return fmt.Errorf("%s is not a URI of at most 256 characters, such as https://goshawk.example.com/cluster-a", KeySource)
	}
	e.source = text
	return nil
}

// own are headers that Goshawk sets itself.
var own = []string{"Host", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Te", "User-Agent"}

func (e *Endpoint) parseHeaders(data map[string][]byte) error {
	if token := strings.TrimSpace(string(data[KeyToken])); token != "" {
		if !httpguts.ValidHeaderFieldValue(token) || strings.ContainsAny(token, " \t") {
			return fmt.Errorf("%s has a character that is not allowed in an HTTP header", KeyToken)
		}
		e.header.Set("Authorization", "Bearer "+token)
		e.secrets = append(e.secrets, token)
	}
	if len(data[KeyHeaders]) > maxHeaderBytes {
		return fmt.Errorf("%s has more than %d bytes", KeyHeaders, maxHeaderBytes)
	}
	lines := 0
	for line := range strings.Lines(string(data[KeyHeaders])) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if lines++; lines > maxHeaders {
			return fmt.Errorf("%s has more than %d lines", KeyHeaders, maxHeaders)
		}
		if err := e.addHeader(lines, line); err != nil {
			return err
		}
	}
	return nil
}

func (e *Endpoint) addHeader(number int, line string) error {
	name, value, found := strings.Cut(line, ":")
	name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
	lower := strings.ToLower(name)
	switch {
	case !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("%s: line %d is not a header such as X-Team: fleet", KeyHeaders, number)
	case slices.Contains(own, name) || strings.HasPrefix(lower, "ce-") || strings.HasPrefix(lower, "webhook-"):
		return fmt.Errorf("%s: Goshawk sets the header %s itself: remove line %d", KeyHeaders, name, number)
	case name == "Authorization" && e.header.Get(name) != "":
		return errors.New("give the header Authorization or token, not both")
	}
	e.header.Add(name, value)
	if len(value) >= minSecret {
		e.secrets = append(e.secrets, value)
	}
	return nil
}

// redact removes the secrets of the endpoint from a text.
func (e *Endpoint) redact(text string) string {
	sorted := slices.SortedFunc(slices.Values(e.secrets), func(a, b string) int { return len(b) - len(a) })
	for _, secret := range sorted {
		text = strings.ReplaceAll(text, secret, "<redacted>")
	}
	return text
}
