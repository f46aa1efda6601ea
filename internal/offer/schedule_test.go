// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/robfig/cron/v3"
)

// admitted returns the pattern with which the schema checks a schedule.
func admitted(t *testing.T) *regexp.Regexp {
	t.Helper()
	source, err := os.ReadFile("../../api/v1alpha1/shared_types.go")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`rule="self\.matches\('([^']+)'\)",message="schedule must be`).FindSubmatch(source)
	if match == nil {
		t.Fatal("found no rule about schedule")
	}
	return regexp.MustCompile(string(match[1]))
}

// TestAdmissionReadsSchedules checks that the schema accepts a schedule exactly if it can be
// parsed, except for ranges whose end is before their start.
func TestAdmissionReadsSchedules(t *testing.T) {
	pattern, random := admitted(t), rand.New(rand.NewSource(1))
	names := []string{"", "", "", "JAN FEB dec", "SUN mon Sat"}
	value := func(field int) string {
		if words := strings.Fields(names[field]); len(words) > 0 && random.Intn(3) == 0 {
			return words[random.Intn(len(words))]
		}
		return fmt.Sprint(random.Intn([]int{63, 27, 34, 15, 9}[field]))
	}
	item := func(field int) string {
		text := []string{"*", "?", value(field), value(field) + "-" + value(field)}[random.Intn(4)]
		if random.Intn(3) == 0 {
			text += fmt.Sprintf("/%d", random.Intn(20))
		}
		return text
	}
	read, refused := 0, 0
	for range 200_000 {
		fields := make([]string, 5)
		for i := range fields {
			if fields[i] = item(i); random.Intn(4) == 0 {
				fields[i] += "," + item(i)
			}
		}
		schedule := strings.Join(fields, " ")
		_, err := cron.ParseStandard(schedule)
		switch admitted := pattern.MatchString(schedule); {
		case err == nil && !admitted:
			t.Fatalf("the schema refuses %q, which can be parsed", schedule)
		case err != nil && admitted && !strings.Contains(err.Error(), "beyond end of range"):
			t.Fatalf("the schema accepts %q, which cannot be parsed: %v", schedule, err)
		case err == nil:
			read++
		default:
			refused++
		}
	}
	if read < 1000 || refused < 1000 {
		t.Errorf("%d schedules were accepted and %d refused, want at least 1000 of each", read, refused)
	}
	for _, schedule := range []string{"", "0 2 * *", "0 2 * * * *", "@daily", "TZ=UTC 0 2 * * *", "a b c d e", "0 2 * * SUNDAY", "*/0 * * * *", "1,,2 * * * *"} {
		if pattern.MatchString(schedule) {
			t.Errorf("the schema accepts %q", schedule)
		}
	}
}
