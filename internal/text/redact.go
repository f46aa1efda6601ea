// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"strings"
	"unicode/utf8"
)

// Redact removes credentials from a text of a device: user information, query and fragment of URLs,
// the tokens of an Authorization header, and values that are assigned to a name such as password or
// token. The rest is not changed.
//
// A device can send a large text with any content, so the time is linear and each step looks only
// at the places with "://", white space or "=".
func Redact(s string) string {
	s = redactURLs(s)
	s = redactHeaders(s)
	return redactAssigned(s)
}

// redactURLs removes user information, query and fragment of URLs.
func redactURLs(s string) string {
	r := redaction{text: s}
	for next := 0; ; {
		at := strings.Index(s[next:], "://")
		if at < 0 {
			return r.result()
		}
		colon := next + at
		next = colon + 1
		if !r.hasScheme(colon) {
			continue
		}
		host := colon + len("://")
		if user := strings.LastIndexByte(s[host:after(s, host, isInAuthority)], '@'); user >= 0 {
			r.replace(host, host+user+1, "")
			host += user + 1
		}
		path := after(s, host, isInPath)
		end := path
		if end < len(s) && (s[end] == '?' || s[end] == '#') {
			end = after(s, end, isInQuery)
		}
		r.replace(path, end, "")
		next = end
	}
}

// redactHeaders removes the tokens of Authorization headers.
func redactHeaders(s string) string {
	const shortest = 8
	r := redaction{text: s}
	for at := 1; at < len(s); at++ {
		if !isBlank(s[at]) || isBlank(s[at-1]) {
			continue
		}
		start := r.beforeWord(at, "targettoken", "gatewaytoken", "bearer", "basic")
		if start < 0 || !isBoundary(s, start) {
			continue
		}
		token := after(s, at, isBlank)
		end, n := token, 0
		for end < len(s) {
			c, size := lower(utf8.DecodeRuneInString(s[end:]))
			if !isLetter(c) && !strings.ContainsRune("0123456789._~+/=-", c) {
				break
			}
			end, n = end+size, n+1
		}
		if n >= shortest {
			r.replace(at, end, " <secret>")
			at = end - 1
		}
	}
	return r.result()
}

// redactAssigned removes the values that are assigned to a name such as password or token.
func redactAssigned(s string) string {
	r := redaction{text: s}
	for next := 0; ; {
		at := strings.IndexByte(s[next:], '=')
		if at < 0 {
			return r.result()
		}
		equals := next + at
		next = equals + 1
		name := equals
		for name > r.done && isBlank(s[name-1]) {
			name--
		}
		if name > r.done && (s[name-1] == '"' || s[name-1] == '\'') {
			name--
		}
		if !r.hasSecretName(name) {
			continue
		}
		value := after(s, equals+1, isBlank)
		if end := endOfValue(s, value); end > value {
			r.replace(value, end, "<secret>")
			next = end
		}
	}
}

// endOfValue returns the end of a value with or without quotation marks, or its start if there is
// none.
func endOfValue(s string, start int) int {
	if start < len(s) && (s[start] == '"' || s[start] == '\'') {
		if length := strings.IndexByte(s[start+1:], s[start]); length >= 0 {
			return start + length + len(`""`)
		}
		return start
	}
	return after(s, start, isInValue)
}

// redaction is a text of which parts are replaced, in their order.
type redaction struct {
	text string
	done int // the end of the last replaced part: a name does not start before it
	out  strings.Builder
}

func (r *redaction) replace(from, to int, by string) {
	if r.out.Len() == 0 {
		r.out.Grow(len(r.text))
	}
	r.out.WriteString(r.text[r.done:from])
	r.out.WriteString(by)
	r.done = to
}

func (r *redaction) result() string {
	if r.done == 0 {
		return r.text
	}
	r.out.WriteString(r.text[r.done:])
	return r.out.String()
}

// hasScheme reports whether the scheme of a URL ends at a place.
func (r *redaction) hasScheme(end int) bool {
	for i := end; i > r.done; {
		c, size := lower(utf8.DecodeLastRuneInString(r.text[r.done:i]))
		i -= size
		switch {
		case isLetter(c) && isBoundary(r.text, i):
			return true
		case !isLetter(c) && !strings.ContainsRune("0123456789+.-", c):
			return false
		}
	}
	return false
}

// hasSecretName reports whether the name of a secret ends at a place.
func (r *redaction) hasSecretName(end int) bool {
	start := r.beforeWord(end, "token", "passwd", "password", "passphrase", "secret", "apikey", "api_key", "api-key")
	if start < 0 {
		return false
	}
	for i := start; ; {
		if isBoundary(r.text, i) {
			return true
		}
		if i == r.done {
			return false
		}
		c, size := lower(utf8.DecodeLastRuneInString(r.text[r.done:i]))
		if !isLetter(c) && c != '_' && c != '-' {
			return false
		}
		i -= size
	}
}

// beforeWord returns where the word starts that ends at a place, or -1 if it is none of these
// words, which are in lower case.
func (r *redaction) beforeWord(end int, words ...string) int {
	for _, word := range words {
		start, i := end, len(word)
		for i > 0 && start > r.done {
			c, size := lower(utf8.DecodeLastRuneInString(r.text[r.done:start]))
			if c != rune(word[i-1]) {
				break
			}
			start, i = start-size, i-1
		}
		if i == 0 {
			return start
		}
	}
	return -1
}

// lower returns a character in lower case, as a pattern without regard to case compares it.
func lower(r rune, size int) (rune, int) {
	switch {
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A', size
	case r == '\u017f': // the long s
		return 's', size
	case r == '\u212a': // the sign of Kelvin
		return 'k', size
	}
	return r, size
}

// after returns the end of the run of characters from a place.
func after(s string, start int, is func(byte) bool) int {
	for start < len(s) && is(s[start]) {
		start++
	}
	return start
}

func isLetter(r rune) bool      { return r >= 'a' && r <= 'z' }
func isBlank(c byte) bool       { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r' }
func isInAuthority(c byte) bool { return c != '/' && c != '?' && c != '#' && !isBlank(c) }
func isInPath(c byte) bool      { return c != '?' && c != '#' && isInQuery(c) }
func isInQuery(c byte) bool     { return c != '"' && c != '\'' && !isBlank(c) }
func isInValue(c byte) bool     { return c != ',' && c != ';' && c != '&' && isInQuery(c) }

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// isBoundary reports whether a word of ASCII characters starts or ends at a place.
func isBoundary(s string, i int) bool {
	return (i > 0 && isWordByte(s[i-1])) != (i < len(s) && isWordByte(s[i]))
}
