// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
		"an empty name":              {[]string{"status", ""}, "error: an argument is empty: kubectl goshawk status [ROLLOUT...] [flags]\nsee `kubectl goshawk status --help`\n"},
		"an empty filter":            {[]string{"targets", "--rollout", ""}, "error: --rollout is empty: give a value, or leave out the flag\nsee `kubectl goshawk targets --help`\n"},
		"an empty file name":         {[]string{"plan", "-f", "deploy", "--targets="}, "error: --targets is empty: give a value, or leave out the flag\nsee `kubectl goshawk plan --help`\n"},
		"an empty reason":            {[]string{"invalidate", "firmware-2-1", "--type", "Soft", "--reason", ""}, "error: --reason is empty: give a value, or leave out the flag\nsee `kubectl goshawk invalidate --help`\n"},
		"a name that is a path":      {[]string{"why", "a/b"}, "error: \"a/b\" cannot be the name of a Target: it may not contain '/'\n`kubectl get targets.goshawk.dev -n fleet` lists the names\n"},
		"a name of another kind":     {[]string{"status", "target/gw-01"}, "error: \"target/gw-01\" cannot be the name of a Rollout: it may not contain '/'\n`kubectl get rollouts.goshawk.dev -n fleet` lists the names\n"},
		"a name with an escape":      {[]string{"pause", "a%2f"}, "error: \"a%2f\" cannot be the name of a Rollout: it may not contain '%'\n`kubectl get rollouts.goshawk.dev -n fleet` lists the names\n"},
		"a name that is a folder":    {[]string{"targets", "--rollout", ".."}, "error: \"..\" cannot be the name of a Rollout: it may not be '..'\n`kubectl get rollouts.goshawk.dev -n fleet` lists the names\n"},
		"an unknown role":            {[]string{"lint", "-f", "deploy", "--role", "goshawk-owner"}, "error: --role is \"goshawk-owner\"; it must be one of goshawk-access-admin, goshawk-approver, goshawk-editor, goshawk-reporter, goshawk-stopper, goshawk-viewer\nsee `kubectl goshawk lint --help`\n"},
		"a number of groups below 0": {[]string{"plan", "-f", "deploy", "--groups", "-1"}, "error: --groups is -1; it must not be negative\nsee `kubectl goshawk plan --help`\n"},
		"an argument too many":       {[]string{"version", "one"}, "error: too many or too few arguments: kubectl goshawk version [flags]\nsee `kubectl goshawk version --help`\n"},
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

func TestAnEmptySelectorSelectsEverything(t *testing.T) {
	got := newWorld(t, objects.Target("gw-01")).run("targets", "-l", "")
	if got.code != 0 || !strings.Contains(got.out, "gw-01") {
		t.Errorf("code %d, output %q, errors %q", got.code, got.out, got.errOut)
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

func TestMissingRightsNameTheRole(t *testing.T) {
	targets, rights := "targets", "docs/rights.md lists the rights of each role; `kubectl auth whoami` prints the user"
	tests := map[string]struct {
		resource schema.GroupResource
		verb     string
		want     string
	}{
		"to list targets":     {schema.GroupResource{Group: "goshawk.dev", Resource: targets}, "list", "the ClusterRole goshawk-viewer gives this right; " + rights},
		"to watch targets":    {schema.GroupResource{Group: "goshawk.dev", Resource: targets}, "watch", "the ClusterRole goshawk-viewer gives this right; " + rights},
		"to change targets":   {schema.GroupResource{Group: "goshawk.dev", Resource: targets}, "patch", rights},
		"to archive a report": {schema.GroupResource{Resource: "configmaps"}, "create", "the ClusterRole goshawk-reporter gives the right to archive reports and to read them; " + rights},
		"to list events":      {schema.GroupResource{Resource: "events"}, "list", rights},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := apierrors.NewForbidden(tc.resource, "", fmt.Errorf("User %q cannot %s resource %q", "vera", tc.verb, tc.resource.Resource))
			if _, fix, _ := strings.Cut(withFix(err).Error(), "\n"); fix != tc.want {
				t.Errorf("%q, want %q", fix, tc.want)
			}
		})
	}
}
