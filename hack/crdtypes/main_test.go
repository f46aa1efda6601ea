// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The rule accepts every existing day from 1970 to 9999, and no other.
func TestTimeRuleAcceptsExistingDays(t *testing.T) {
	takes := taker(t, rule(false))
	for year := 1960; year <= 9999; year++ {
		if year > 2110 && year%97 != 0 && year < 9990 {
			continue
		}
		for month := 1; month <= 12; month++ {
			for _, day := range []int{0, 1, 19, 28, 29, 30, 31, 32} {
				text := fmt.Sprintf("%04d-%02d-%02dT12:00:00Z", year, month, day)
				_, err := time.Parse(time.RFC3339, text)
				if got, want := takes(text), err == nil && year >= 1970; got != want {
					t.Errorf("%s: %t, want %t", text, got, want)
				}
			}
		}
	}
}

// Go can read all times that the rule accepts, and the rule accepts what Go writes for them.
func TestAcceptedTimesSurviveGo(t *testing.T) {
	for _, micro := range []bool{false, true} {
		takes, taken := taker(t, rule(micro)), 0
		for _, date := range []string{"1970-01-01", "2028-02-29", "2026-12-31", "9999-12-31"} {
			for _, clock := range []string{"00:00:00", "23:59:59", "23:59:60", "24:00:00"} {
				for _, fraction := range []string{"", ".5", ",5", ".123456", ".1234567", ".123456789", ".1234567891"} {
					for _, zone := range []string{"Z", "z", "", "+00:00", "-00:01", "+23:59", "-23:59", "+24:00", "+0100", "+01:60"} {
						for _, between := range []string{"T", "t", " "} {
							text := date + between + clock + fraction + zone
							if !takes(text) {
								continue
							}
							taken++
							if again, err := reread(text, micro); err != nil || !takes(again) {
								t.Errorf("%s is accepted and written back as %q: %v", text, again, err)
							}
						}
					}
				}
			}
		}
		if taken < 20 {
			t.Errorf("only %d forms were accepted", taken)
		}
	}
}

func reread(text string, micro bool) (string, error) {
	quoted, _ := json.Marshal(text)
	var into json.Unmarshaler = new(metav1.Time)
	if micro {
		into = new(metav1.MicroTime)
	}
	if err := into.UnmarshalJSON(quoted); err != nil {
		return "", err
	}
	written, err := json.Marshal(into)
	return strings.Trim(string(written), `"`), err
}

// taker returns a function that evaluates the rule like CEL: its parts are matches, contains, and,
// or, not.
func taker(t *testing.T, rule string) func(string) bool {
	t.Helper()
	found := regexp.MustCompile(`matches\('([^']*)'\)`).FindAllStringSubmatch(rule, -1)
	if len(found) != 3 {
		t.Fatalf("the rule is %s", rule)
	}
	form, leap, late := regexp.MustCompile(found[0][1]), regexp.MustCompile(found[1][1]), regexp.MustCompile(found[2][1])
	return func(text string) bool {
		return form.MatchString(text) && (!strings.Contains(text, "-02-29T") || leap.MatchString(text)) && !late.MatchString(text)
	}
}
