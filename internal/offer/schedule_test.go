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

// admitted is the pattern by which the schema judges a schedule.
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

// The schema takes a schedule of ordinary forms exactly if it can be read, ranges that run
// backwards excepted.
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
			t.Fatalf("the schema refuses %q, which can be read", schedule)
		case err != nil && admitted && !strings.Contains(err.Error(), "beyond end of range"):
			t.Fatalf("the schema takes %q, which cannot be read: %v", schedule, err)
		case err == nil:
			read++
		default:
			refused++
		}
	}
	if read < 1000 || refused < 1000 {
		t.Errorf("%d schedules were read and %d not", read, refused)
	}
	for _, schedule := range []string{"", "0 2 * *", "0 2 * * * *", "@daily", "TZ=UTC 0 2 * * *", "a b c d e", "0 2 * * SUNDAY", "*/0 * * * *", "1,,2 * * * *"} {
		if pattern.MatchString(schedule) {
			t.Errorf("the schema takes %q", schedule)
		}
	}
}
