// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Query parameters of a signed link. They are short, because small clients limit the length of
// URLs.
const (
	expiryParameter    = "e"
	SignatureParameter = "s"
)

const (
	// MaxResume is how long after its expiry a link is still accepted for the rest of a download
	// that was started.
	MaxResume = 7 * 24 * time.Hour
	// signatureBytes of the HMAC-SHA256 are in the link.
	signatureBytes = 16
	// MinKeyBytes is the minimum length of a key.
	MinKeyBytes = 32
	// MaxKeys is the maximum number of keys.
	MaxKeys = 8
)

// Keys sign links. The key whose name is last in the alphabet signs, and all of them verify, so
// that a key can be replaced while links with the old key are in use.
type Keys struct {
	sign   []byte
	verify [][]byte
}

// IsEmpty reports whether there is no key.
func (k Keys) IsEmpty() bool { return len(k.verify) == 0 }

// NewKeys returns Keys from keys by name. The error says which key is wrong.
func NewKeys(byName map[string][]byte) (Keys, error) {
	if len(byName) == 0 || len(byName) > MaxKeys {
		return Keys{}, fmt.Errorf("it has %d keys, and must have 1 to %d", len(byName), MaxKeys)
	}
	var keys Keys
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		key := byName[name]
		if len(key) < MinKeyBytes {
			return Keys{}, fmt.Errorf("key %s has %d bytes, and must have at least %d", name, len(key), MinKeyBytes)
		}
		keys.sign = key
		keys.verify = append(keys.verify, key)
	}
	return keys, nil
}

// Link is what a signed link gives access to.
type Link struct{ Namespace, ControllerID, Module, FileName string }

// Sign returns the query of a link that is valid for lifetime at least, and a quarter longer at
// most: the expiry is rounded, so that the document with the link does not change at each poll.
func (k Keys) Sign(link Link, now time.Time, lifetime time.Duration) string {
	step := max(1, int64(lifetime/time.Second)/4)
	expiry := (now.Add(lifetime).Unix() + step - 1) / step * step
	return expiryParameter + "=" + strconv.FormatInt(expiry, 36) + "&" + SignatureParameter + "=" + encode(mac(k.sign, link, expiry))
}

// Validity is what a signed link is good for.
type Validity int

const (
	// NotSigned is a request without a signature.
	NotSigned Validity = iota
	// Forged is a wrong signature, or that of another link.
	Forged
	// Expired is a link that was valid in the past.
	Expired
	// Resumes is a link that is valid only for the rest of a download that was started.
	Resumes
	// Valid is a valid link.
	Valid
)

// Check returns what the query of a link is good for.
func (k Keys) Check(link Link, query url.Values, now time.Time) Validity {
	if !query.Has(SignatureParameter) {
		return NotSigned
	}
	expiry, err := strconv.ParseInt(query.Get(expiryParameter), 36, 64)
	signature, failed := base64.RawURLEncoding.DecodeString(query.Get(SignatureParameter))
	if err != nil || failed != nil {
		return Forged
	}
	isRight := false
	for _, key := range k.verify {
		isRight = hmac.Equal(mac(key, link, expiry), signature) || isRight
	}
	switch past := now.Sub(time.Unix(expiry, 0)); {
	case !isRight:
		return Forged
	case past <= 0:
		return Valid
	case past <= MaxResume:
		return Resumes
	}
	return Expired
}

func mac(key []byte, link Link, expiry int64) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(m, "%q %q %q %q %d", link.Namespace, link.ControllerID, link.Module, link.FileName, expiry) // a hash never fails
	return m.Sum(nil)[:signatureBytes]
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
