// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWrongCommandLinesSayWhereTheHelpIs(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"an unknown command":  {[]string{"nonsense"}, "error: there is no command \"nonsense\"\nsee `kubectl goshawk --help`\n"},
		"a mistyped command":  {[]string{"verson"}, "error: there is no command \"verson\"; similar commands: version\nsee `kubectl goshawk --help`\n"},
		"an argument too few": {[]string{"compare"}, "error: an argument is missing: kubectl goshawk compare TARGET [TARGET] [flags]\nsee `kubectl goshawk compare --help`\n"},
		"an unknown flag":     {[]string{"version", "--nonsense"}, "error: unknown flag: --nonsense\nsee `kubectl goshawk version --help`\n"},
		"an unknown format": {[]string{"version", "-o", "xml"},
			"error: invalid argument \"xml\" for \"-o, --output\" flag: it must be one of text, json, yaml\nsee `kubectl goshawk version --help`\n"},
		"an argument too many": {[]string{"version", "one"}, "error: too many or too few arguments: kubectl goshawk version [flags]\nsee `kubectl goshawk version --help`\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t).run(tc.args...)
			if got.errOut != tc.want || got.code != CodeUsage || got.out != "" {
				t.Errorf("code %d, output %q, errors %q; want code %d, errors %q", got.code, got.out, got.errOut, CodeUsage, tc.want)
			}
		})
	}
}

func TestVersionForPrograms(t *testing.T) {
	got := newWorld(t).run("version", "-o", "json")
	var v version
	if err := json.Unmarshal([]byte(got.out), &v); err != nil {
		t.Fatal(err)
	}
	if v.API != "goshawk.dev/v1alpha1" || v.Version == "" || !strings.HasPrefix(v.Go, "go") {
		t.Errorf("version is %+v", v)
	}
}

func TestHelpHasExamples(t *testing.T) {
	golden(t, "version/help.txt", newWorld(t).run("version", "--help").out)
}
