// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

func TestRunPrintsCountsUntilTheTimeEnds(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	deviceAPI := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.URL.Path] = r.Header.Get("Authorization")
		if strings.HasSuffix(r.URL.Path, "dev-2") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write([]byte(`{"config":{"polling":{"sleep":"00:00:01"}}}`))
	}))
	defer deviceAPI.Close()
	var out bytes.Buffer
	err := run(t.Context(), strings.Fields("--url "+deviceAPI.URL+
		" --tenant acme --devices 2 --name-format dev-%d --token secret --poll 100ms --for 1200ms --verbose"), &out)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]string{
		"/acme/controller/v1/dev-1": "TargetToken secret",
		"/acme/controller/v1/dev-2": "TargetToken secret",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	counts := regexp.MustCompile(`(?m)^\d+s devices=2 polls=\d+ started=0 busy=0 succeeded=0 failed=0 canceled=0 http-errors=\d+ last-error="GET http.*/dev-2: answered 401 Unauthorized"$`)
	if n := len(counts.FindAllString(out.String(), -1)); n < 2 {
		t.Errorf("%d lines of counts, want one after each second and one at the end:\n%s", n, out.String())
	}
	if !regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} dev-2 HTTPError GET .* answered 401 Unauthorized$`).MatchString(out.String()) {
		t.Errorf("no line about dev-2:\n%s", out.String())
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("error %v, want %v", err, flag.ErrHelp)
	}
	for _, behavior := range devicesim.Behaviors() {
		if !strings.Contains(out.String(), "  "+string(behavior)+" ") {
			t.Errorf("help does not list %s", behavior)
		}
	}
	for _, line := range []string{
		"  --devices number         number of devices (default 10)\n",
		"  --for time               stop after this time; 0: run until interrupted\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("help has no line %q:\n%s", line, out.String())
		}
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	tests := map[string]string{
		"--devices 0":                      "--devices is 0; give at least 1",
		"--steps -1":                       "--steps is -1; give 0 or more",
		"--step -1s":                       "--step, --poll and --for must not be negative",
		"extra":                            `"extra" is not a flag; see --help`,
		"--token a --token-file b":         "--token and --token-file are both given; give one of them",
		"--mix other":                      `--mix: mix "other": unknown behavior "other"; known are`,
		"--name-format device":             `--name-format: "device" does not take one number; give one like device-%04d`,
		"--name-format %d-%d":              `--name-format: "%d-%d" does not take one number; give one like device-%04d`,
		"--mqtt-devices 2":                 "--mqtt-devices, --mqtt-ca and --mqtt-external need --mqtt",
		"--mqtt a:1 --mqtt-devices 11":     "--mqtt-devices is 11; give 0 to 10, the number of --devices",
		"--mqtt a:1 --mqtt-ca missing.pem": "--mqtt-ca: open missing.pem:",
		"--gateway":                        "--gateway needs --token or --token-file",
		"--url nowhere":                    `base URL "nowhere" is not usable`,
		"--attribute hw":                   `invalid value "hw" for flag -attribute: give key=value`,
		"--token-file missing.txt":         "--token-file: open missing.txt:",
	}
	for args, want := range tests {
		err := run(t.Context(), strings.Fields(args), new(bytes.Buffer))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v\ndoes not start with %s", args, err, want)
		}
	}
}

func TestDevicesWithMQTT(t *testing.T) {
	for flags, want := range map[string]string{
		"--devices 3":               "   ",
		"--devices 3 --mqtt a:1883": "os+app os+app os+app ",
		"--devices 3 --mqtt a:1883 --mqtt-devices 1 --mqtt-types os": "  os ",
	} {
		o, err := parse(strings.Fields(flags), new(bytes.Buffer))
		if err != nil {
			t.Fatal(err)
		}
		config, err := o.config(new(bytes.Buffer))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, d := range config.Devices {
			got += strings.Join(d.ModuleTypes, "+") + " "
		}
		if got != want {
			t.Errorf("%s: the types of the devices are %q, want %q", flags, got, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), strings.Fields("--mqtt 127.0.0.1:1 --devices 1 --for 1200ms"), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), " connection-errors=") || !strings.Contains(out.String(), "connection refused") {
		t.Errorf("nothing says that the broker is not reachable:\n%s", out.String())
	}
}

func TestTokenFile(t *testing.T) {
	tests := map[string]struct {
		content string
		want    []string // tokens of device-0001 and device-0002
		wantErr string
	}{
		"one token for each device":                  {"# lab\n\ndevice-0002=two\ndevice-0001=one==\n", []string{"one==", "two"}, ""},
		"one token for all devices":                  {"secret\n", []string{"secret", "secret"}, ""},
		"one token for all devices, which ends in =": {"c2VjcmV0==\n", []string{"c2VjcmV0==", "c2VjcmV0=="}, ""},
		"the token of the second device is missing":  {"device-0001=one\ndevice-0003=three\n", nil, "has no token for device-0002; add a line device-0002=TOKEN"},
		"only the token of the first device":         {"device-0001=one\n", nil, "has no token for device-0002; add a line device-0002=TOKEN"},
		"a line without an ID":                       {"device-0001=one\nhush\n", nil, "entry 2 is not id=token"},
		"only a comment":                             {"# lab\n", nil, "has no token for device-0001; add a line device-0001=TOKEN"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			o, err := parse([]string{"--devices", "2", "--token-file", file}, new(bytes.Buffer))
			if err != nil {
				t.Fatal(err)
			}
			config, err := o.config(new(bytes.Buffer))
			if tc.wantErr != "" {
				if err == nil || !strings.HasSuffix(err.Error(), tc.wantErr) || strings.Contains(err.Error(), "hush") {
					t.Errorf("error %v\ndoes not end in %s, or contains a token", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := []string{config.Devices[0].Token, config.Devices[1].Token}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlagsBecomeTheConfigOfTheFleet(t *testing.T) {
	o, err := parse(strings.Fields("--devices 1 --gateway --token g --attribute hw=B --attribute site=x=y --seed 7 --steps 0 --fail-code 17"), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.config(new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if got.GatewayToken != "g" || got.Seed != 7 || got.Steps != 0 || got.FailCode != "17" {
		t.Errorf("config %+v does not have the values of the flags", got)
	}
	want := []devicesim.Device{{ID: "device-0001", Attributes: map[string]string{"hw": "B", "site": "x=y"}}}
	if diff := cmp.Diff(want, got.Devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}
