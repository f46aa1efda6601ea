// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// cookieRoom is the maximum length of the value of a cookie. Browsers accept 4096 bytes with
	// name and attributes.
	cookieRoom = 3800
	// sessionCookies is the maximum number of cookies that a session has. More would exceed what
	// proxies accept as headers.
	sessionCookies = 2
	// maxPlain limits what is decompressed of a cookie. Cookies are authenticated, so only this
	// console makes them.
	maxPlain = 1 << 20
)

// session is what the cookies of a browser hold. Times are seconds since 1970.
type session struct {
	// ID is a secret that only this browser has.
	ID string `json:"i"`
	// Subject is the claim sub. It stays the same when the session is renewed.
	Subject string   `json:"s"`
	Name    string   `json:"n"`
	Groups  []string `json:"g,omitempty"`
	// Started is the time of the login.
	Started int64 `json:"t"`
	// Renew is when the provider is asked again with the refresh token. Without one it is 0.
	Renew   int64  `json:"r,omitempty"`
	Refresh string `json:"f,omitempty"`
}

// box encrypts and authenticates what is stored in browsers.
type box struct{ ciphers []cipher.AEAD }

// newBox returns a box with keys for one purpose: what another box has sealed does not open.
func newBox(keys []string, purpose string) (box, error) {
	var b box
	for _, key := range keys {
		derived, err := hkdf.Key(sha256.New, []byte(key), nil, "goshawk console: "+purpose, 32)
		if err != nil {
			return box{}, err
		}
		block, err := aes.NewCipher(derived)
		if err != nil {
			return box{}, err
		}
		sealing, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return box{}, err
		}
		b.ciphers = append(b.ciphers, sealing)
	}
	return b, nil
}

// seal returns a value as text for a cookie.
func (b box) seal(value any) (string, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	var small bytes.Buffer
	w, err := flate.NewWriter(&small, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(plain); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b.ciphers[0].Seal(nil, nil, small.Bytes(), nil)), nil
}

var errNotSealed = errors.New("it was not sealed with one of the keys")

// open reads what seal returned.
func (b box) open(sealed string, value any) error {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return errNotSealed
	}
	for _, opening := range b.ciphers {
		small, err := opening.Open(nil, nil, raw, nil)
		if err != nil {
			continue
		}
		return json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(small)), maxPlain)).Decode(value)
	}
	return errNotSealed
}

// cookies are the names and attributes of the cookies of a console.
type cookies struct {
	prefix string
	secure bool
}

func (c cookies) session(part int) string {
	if part == 0 {
		return c.prefix + "goshawk-session"
	}
	return c.prefix + "goshawk-session-" + strconv.Itoa(part+1)
}

// flow returns the name of the cookie of a login that was started with a state.
func (c cookies) flow(state string) string {
	return c.prefix + "goshawk-login-" + state[:min(10, len(state))]
}

// set sets a cookie, or removes it if age is not positive.
func (c cookies) set(w http.ResponseWriter, name, value string, age time.Duration) {
	seconds := int(age / time.Second)
	if seconds <= 0 {
		value, seconds = "", -1
	}
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: seconds, Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// writeSession sets the cookies of a session. It returns false if the session does not fit, and
// then sets none.
func (c cookies) writeSession(w http.ResponseWriter, r *http.Request, sealed string, age time.Duration) bool {
	parts := []string{}
	for len(sealed) > 0 {
		n := min(len(sealed), cookieRoom)
		parts, sealed = append(parts, sealed[:n]), sealed[n:]
	}
	if len(parts) > sessionCookies {
		return false
	}
	// The first cookie says how many there are, so that an old second one is never read.
	parts[0] = strconv.Itoa(len(parts)) + "." + parts[0]
	for i, part := range parts {
		c.set(w, c.session(i), part, age)
	}
	c.removeSession(w, r, len(parts))
	return true
}

// removeSession removes the cookies of a session that the browser has, from a part on.
func (c cookies) removeSession(w http.ResponseWriter, r *http.Request, from int) {
	for i := from; i < sessionCookies; i++ {
		if _, err := r.Cookie(c.session(i)); err == nil {
			c.set(w, c.session(i), "", 0)
		}
	}
}

// readSession returns the sealed session of a request, and whether it has one. A session whose
// cookies do not belong together does not open.
func (c cookies) readSession(r *http.Request) (string, bool) {
	first, err := r.Cookie(c.session(0))
	if err != nil {
		return "", false
	}
	count, sealed, _ := strings.Cut(first.Value, ".")
	for i := 1; i < sessionCookies && count == strconv.Itoa(sessionCookies); i++ {
		next, err := r.Cookie(c.session(i))
		if err != nil {
			return "", true
		}
		sealed += next.Value
	}
	return sealed, true
}
