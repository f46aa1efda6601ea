// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapi

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestOneRuleForIDs: the schema of spec.controllerID accepts an ID exactly if CheckID does. Only
// the schema refuses a slash.
func TestOneRuleForIDs(t *testing.T) {
	source, err := os.ReadFile("../../api/v1alpha1/target_types.go")
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`rule="self\.matches\('([^']+)'\)[^"]*",message="controllerID must`).FindAllSubmatch(source, -1)
	if len(rules) != 2 {
		t.Fatalf("found %d rules about controllerID", len(rules))
	}
	var patterns []*regexp.Regexp
	for _, match := range rules {
		rule := string(match[1])
		for range 2 { // the text of a Go comment, then a text of CEL
			if rule, err = strconv.Unquote(`"` + rule + `"`); err != nil {
				t.Fatal(err)
			}
		}
		patterns = append(patterns, regexp.MustCompile(rule))
	}
	check := func(id string) {
		t.Helper()
		schema := patterns[0].MatchString(id) && patterns[1].MatchString(id) && id != "" && id != "." && id != ".." && utf8.RuneCountInString(id) <= 256
		if deviceAPI := CheckID("controllerID", id) == nil && !strings.Contains(id, "/"); deviceAPI != schema {
			t.Errorf("%q: the device API accepts it: %t, the schema: %t", id, deviceAPI, schema)
		}
	}
	for _, id := range []string{"", "gw-1", "ABC:123", ".", "..", "...", "a b", "a/b", "a\tb", "a\x00", "a\u200eb", "ä", "型番", strings.Repeat("x", 256), strings.Repeat("ä", 256), strings.Repeat("x", 257)} {
		check(id)
	}
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) {
			check("a" + string(r))
		}
	}
}
