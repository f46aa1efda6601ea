// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

var (
	secret   = regexp.MustCompile(`(?i)\b(TargetToken|GatewayToken|Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	assigned = regexp.MustCompile(`(?i)\b([a-z_-]*(?:token|passw(?:or)?d|passphrase|secret|api[_-]?key))(["']?\s*=\s*)("[^"]*"|'[^']*'|[^\s"',;&]+)`)
)

// redactByPatterns is what Redact does, as patterns. They are too slow for large texts.
func redactByPatterns(s string) string {
	s = url.ReplaceAllString(s, "$1$3$4")
	s = secret.ReplaceAllString(s, "$1 <secret>")
	return assigned.ReplaceAllString(s, "$1$2<secret>")
}

// parts of random texts that contain credentials, and texts that almost do.
var parts = []string{"token", "Token", "TOKEN", "passwd", "password", "passphrase", "secret", "\u017fecret", "to\u212aen", "api", "key", "api_key", "api-key", "TargetToken", "GatewayToken", "Bearer", "basic", "ba\u017fic",
	"=", "==", " ", "  ", "\t", "\n", `"`, "'", ",", ";", "&", "-", "_", ".", "a", "x1", "0123456789", "abcdefgh", "://", ":", "/", "?", "#", "@", "https://", "u:p@h", "a+b", "é", "\u00a0", "\xff", "\xe2\x84", "~", "<secret>"}

// TestRedactIsEqualToItsPatterns compares the two on random texts.
func TestRedactIsEqualToItsPatterns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var s strings.Builder
		for range 1 + random.IntN(14) {
			s.WriteString(parts[random.IntN(len(parts))])
		}
		if got, want := Redact(s.String()), redactByPatterns(s.String()); got != want {
			t.Fatalf("%q becomes\n%q, want\n%q", s.String(), got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add(`curl https://ada:s3cret@cdn.example.com/fw?X=1 Bearer aaaa.bbbb.cccc password="a b" api_key=x`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := Redact(s), redactByPatterns(s); got != want {
			t.Errorf("%q becomes\n%q, want\n%q", s, got, want)
		}
	})
}
