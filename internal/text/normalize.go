// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var url = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)([^\s/?#]*@)?([^\s/?#"']*)([^\s?#"']*)([?#][^\s"']*)?`)

// The order matters: longer and more specific patterns go first.
var (
	times = regexp.MustCompile(strings.Join([]string{
		`\d{4}[-/]\d{2}[-/]\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)?(?: ?(?:Z\b|UTC\b|GMT\b|[+-]\d{2}:?\d{2}\b))?`,
		`\b\d{8}T\d{4,6}Z?\b`,
		`\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{1,2}(?:,? \d{4})?(?: \d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(?: \d{4}\b)?`,
		`\b\d{1,3}:\d{2}:\d{2}(?:[.,]\d+)?(?: ?[AP]M\b)?`,
		`\b(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|h|m|s))+\b`,
	}, "|"))
	ids = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5,7}\b`)
	// paths are absolute, or start in the working or home directory. The character before the path
	// is kept.
	paths     = regexp.MustCompile(`(^|[\s"'(\[{=,;:|<>])(?:(?:~|\.{1,2})?/[^\s/"'()\[\]{},;:|][^\s"'(),;:|]*|[A-Za-z]:\\[^\s"',;|]*)`)
	addresses = regexp.MustCompile(`[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]+`)
	long      = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)
	words     = regexp.MustCompile(`[\pL\pN_]+`)
	digits    = regexp.MustCompile(`\pN+`)
	signed    = regexp.MustCompile(`(^|[\s=(:,\[])[+-]<n>`)
	numbers   = regexp.MustCompile(`<n>(?:(?:[.,:/*+-]|,? )<n>)+`)
)

// Normalize returns a text by which texts about the same thing can be grouped: times, numbers,
// hexadecimal numbers, IDs, IP addresses and absolute paths are replaced by <time>, <n>, <hex>,
// <id>, <ip> and <path>, URLs keep only scheme and host, and each of the given names of the device
// itself becomes <id>. The result is clean, contains no digit and has at most limit characters.
func Normalize(s string, limit int, own ...string) string {
	s = Redact(Clean(s, 0))
	for _, name := range own {
		s = withoutName(s, name)
	}
	s = url.ReplaceAllStringFunc(s, hostOnly)
	s = times.ReplaceAllString(s, "<time>")
	s = ids.ReplaceAllString(s, "<id>")
	s = paths.ReplaceAllString(s, "$1<path>")
	s = addresses.ReplaceAllStringFunc(s, address)
	s = long.ReplaceAllStringFunc(s, longWord)
	s = words.ReplaceAllStringFunc(s, word)
	s = signed.ReplaceAllString(s, "$1<n>")
	s = numbers.ReplaceAllString(s, "<n>")
	return cut(Clean(s, 0), limit)
}

// withoutName replaces a name of the device where it is a whole word.
func withoutName(s, name string) string {
	const shortest = 3
	if utf8.RuneCountInString(name) < shortest {
		return s
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, name)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		if isWord(last) || isWord(next) {
			out.WriteString(name)
		} else {
			out.WriteString("<id>")
		}
		s = after
	}
}

func isWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsNumber(r)) }

// hostOnly returns a URL with its path, if any, replaced.
func hostOnly(match string) string {
	parts := url.FindStringSubmatch(match)
	scheme, host, path := parts[1], parts[3], parts[4]
	switch strings.TrimRight(path, ".,;:)]") {
	case "", "/":
		return scheme + host + path
	}
	return scheme + host + "/<path>"
}

// address replaces an IP address, with or without a port.
func address(match string) string {
	plain := strings.TrimRight(match, ".:")
	rest := match[len(plain):]
	if strings.HasSuffix(match, "::") {
		plain, rest = match, ""
	}
	if strings.Count(plain, ":") < 2 && strings.Count(plain, ".") != 3 {
		return match
	}
	if _, err := netip.ParseAddr(plain); err == nil {
		return "<ip>" + rest
	}
	if _, err := netip.ParseAddrPort(plain); err == nil {
		return "<ip>:<n>" + rest
	}
	return match
}

// longWord replaces a word that looks like a token or a checksum: long, with digits, lower case and
// upper case letters.
func longWord(w string) string {
	if strings.ContainsFunc(w, unicode.IsDigit) && strings.ContainsFunc(w, unicode.IsLower) && strings.ContainsFunc(w, unicode.IsUpper) {
		return "<id>"
	}
	return w
}

// word replaces the numbers in a word, or the whole word if it is a number or an ID.
func word(w string) string {
	count, turns, hex, was := 0, 0, true, false
	for i, r := range w {
		digit := unicode.IsNumber(r)
		if digit {
			count++
		}
		if i > 0 && digit != was {
			turns++
		}
		was, hex = digit, hex && (r <= '9' && digit || strings.ContainsRune("abcdefABCDEF", r))
	}
	n := utf8.RuneCountInString(w)
	const hexDigits, idLetters, longest = 6, 8, 20
	switch {
	case count == 0:
		return w
	case count == n:
		return "<n>"
	case strings.HasPrefix(w, "0x") || strings.HasPrefix(w, "0X"), hex && n >= hexDigits && count > 1:
		return "<hex>"
	case n >= idLetters && turns > 2 && !strings.Contains(w, "_"), n >= longest && count > 1:
		return "<id>"
	}
	return digits.ReplaceAllString(w, "<n>")
}
