// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"regexp"
	"strings"
)

// signs are parts of words in messages about an error.
var signs = []string{
	"error", "fail", "fatal", "panic", "exception", "abort", "critical", "denied", "refused", "reject", "cannot", "can't", "could not", "unable",
	"impossible", "mismatch", "invalid", "corrupt", "timeout", "timed out", "not found", "no such", "no space", "not enough", "unsupported",
	"not supported", "incompatible", "missing", "unreachable", "unexpected", "segfault", "killed", "fehler", "erreur",
}

// noError matches texts that report the absence of errors.
var noError = regexp.MustCompile(`\b(?:no|0|zero|without|any) (?:\w+ )?(?:errors?|failures?|failed|fails)\b|\b(?:errors?|failures?|failed)(?: code| count)? ?[:=]? ?(?:0|none|no|null|false|success)\b|\berror[- ]free\b`)

// exit matches texts about the exit code of a failed program.
var exit = regexp.MustCompile(`\b(?:returned|exit(?:ed)?|exit code|exit status|return code|status|rc|errno)(?: with)?(?: code| status| value)?[ :=]+-?(?:0x)?[1-9]\d*\b`)

// files matches paths, and the paths of URLs. Their names do not indicate an error.
var files = regexp.MustCompile(`/[^\s"',;:]*`)

// LooksLikeError reports whether a message seems to be about an error.
func LooksLikeError(s string) bool {
	s = strings.ToLower(s)
	if strings.IndexByte(s, '/') >= 0 {
		s = files.ReplaceAllString(s, "")
	}
	if hasSign(s) {
		if s = noError.ReplaceAllString(s, ""); hasSign(s) {
			return true
		}
	}
	return strings.ContainsAny(s, "123456789") && exit.MatchString(s)
}

func hasSign(s string) bool {
	for i := range len(s) {
		for _, sign := range signsBy[s[i]] {
			if strings.HasPrefix(s[i:], sign) {
				return true
			}
		}
	}
	return false
}

// signsBy are the signs by their first byte.
var signsBy = func() (by [256][]string) {
	for _, sign := range signs {
		by[sign[0]] = append(by[sign[0]], sign)
	}
	return by
}()

// common are words that do not describe the cause of an error, because they occur in messages about
// any failed update.
var common = func() map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(`a an and any are as at be been but by can could did do does during for from got had has have in into is it its
		not of on or our see so some than that the then there this to too was were when while will with would you your please check could

		error errors err lasterror fail failed fails failing failure failures fatal panic exception abort aborted aborting critical unsuccessful
		successful success successfully unknown unexpected internal general generic reason result status state code exit return returned details
		occurred happened encountered detail log logs message info warning warn trace debug none null true false yes no ok nok done finished closed complete completed

		update updates updated updating upgrade upgraded upgrading install installs installed installing installation installer uninstalled
		deploy deployed deploying deployment action process processing operation job task step run running execution execute executed executing
		software swupdate rauc swu bundle firmware image images artifact package packages chunk chunks module device system target file files
		suitable found invalid corrupted corrupt started starting start stopped stopping again retry try n hex id ip path time secret`) {
		set[w] = true
	}
	return set
}()

// summary is the start of the line in which RAUC summarizes an error.
const summary = "lasterror:"

// Specificity returns how well a message describes the cause of an error, from 0 to 12. It is
// 0 for a message that does not look like an error, and for one that any failed update could end
// with, such as "Failed to install software bundle."
func Specificity(s string) int {
	if !LooksLikeError(s) {
		return 0
	}
	return SpecificityOfError(s)
}

// SpecificityOfError is Specificity of a message that looks like an error.
func SpecificityOfError(s string) int {
	n := SpecificWords(s)
	if n > 0 && strings.HasPrefix(strings.ToLower(s), summary) {
		n += mostWords
	}
	return n
}

const mostWords = 6

// SpecificWords returns how many different words of a message are specific to this update, at most
// 6. Names of files and functions, and numbers, are not counted.
func SpecificWords(s string) int {
	seen := map[string]bool{}
	for _, w := range strings.Fields(strings.ToLower(s)) {
		w = strings.Trim(w, `.,;:!?()[]{}<>"'`+"`…-")
		for _, part := range strings.Split(w, "-") {
			if len(part) > 1 && !common[part] && !strings.ContainsFunc(part, isNoLetter) {
				seen[part] = true
			}
		}
	}
	return min(len(seen), mostWords)
}

func isNoLetter(r rune) bool { return !isWord(r) || r >= '0' && r <= '9' }
